"""What several rooms share: processes, files written whole, configurations, numbers checked."""
