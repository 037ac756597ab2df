"""Models as plain PyTorch source."""

from .module import to_source as to_source
