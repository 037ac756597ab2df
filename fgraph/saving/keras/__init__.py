"""Files of Keras: `.keras` and `.h5`, read and written without Keras."""
