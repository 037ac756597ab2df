"""Keras-named layers around torch modules."""

from ..graph import Input as Input
from .base import Layer as Layer
from .input import InputLayer as InputLayer
