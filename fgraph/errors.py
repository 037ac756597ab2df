"""The exceptions that no builtin covers, and texts that suggest similar names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


class LoadError(ValueError):
    """A file is damaged, of another kind or version, or needs something that is unknown here."""


class SaveError(TypeError):
    """A part of a model cannot be written as data; the text names it and says what to do."""


def refuse_keras(what: str, value: object) -> None:
    """Refuse an object of Keras itself.

    Raises:
        TypeError: it is one.
    """
    if type(value).__module__.startswith("keras."):
        raise TypeError(
            f"{what} got a {type(value).__name__} of Keras itself; one graph is made of one "
            "package: import Input, Model and all layers from fgraph"
        )


def unknown_name(kind: str, given: str, known: Iterable[str]) -> str:
    """Return an error text that suggests the closest known names.

    Args:
        kind: what the name is for, for example `"loss"`.
        given: the name that was given.
        known: the names that exist.

    Returns:
        One sentence, with at most three suggestions, or with all names if none is close.
    """
    known = sorted(set(known))
    if close := close_names(given, known):
        return f"unknown {kind} {given!r}; {close}"
    return f"unknown {kind} {given!r}; known: {', '.join(known) or 'none'}"


def close_names(given: str, known: Iterable[str]) -> str:
    """Return a question that suggests similar names, or an empty text if no name is similar."""
    close = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    same = [name for name in known if name.lower() == given.lower()]
    close = same or close
    return f"did you mean {' or '.join(map(repr, close))}?" if close else ""
