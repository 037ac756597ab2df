"""The few exception classes that no builtin covers."""

from __future__ import annotations


class SymbolicError(TypeError):
    """A symbolic tensor was used where only a value, known at run time, could serve."""


class BuildError(ValueError, RuntimeError):
    """A call was refused while the graph was built; torch's own reason is chained.

    It is both a `ValueError` (the argument does not fit) and a `RuntimeError` (what torch raises
    when the same mistake meets real tensors).
    """


class AmbiguousNodeError(AssertionError, AttributeError):
    """A layer was asked for *the* input or output, but has several.

    An `AssertionError` because the Keras functional guide shows one, an `AttributeError` so that
    `hasattr(layer, "output")` is `False`.
    """


class UncalledLayerError(AttributeError):
    """A layer was asked for its input or output before it was called."""
