"""Files of Keras from models of this package."""
