"""What goes wrong when a model is written or read."""

from __future__ import annotations


class LoadError(ValueError):
    """A file does not hold what was asked of it, or holds what is not known here."""


class SaveError(TypeError):
    """A part of a model cannot be written as data; the text names it and says what to do."""
