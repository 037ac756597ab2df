"""Models of this package from the files of Keras."""
