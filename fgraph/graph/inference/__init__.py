"""What a call returns, found on meta tensors before anything runs: shapes, dtypes, effects."""
