"""Reading Keras's files: models from configurations and weights."""
