"""What `Model` inherits: methods for weights, penalties, files and pictures."""
