"""What a model offers beside running its graph: methods that `Model` inherits."""
