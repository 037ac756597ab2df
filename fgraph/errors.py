"""The exception classes that no builtin covers, and the look-up of names that users give."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


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
    close = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    if close:
        return f"unknown {kind} {given!r}; did you mean {' or '.join(map(repr, close))}?"
    return f"unknown {kind} {given!r}; known: {', '.join(known) or 'none'}"


def look_up(kind: str, known: Mapping[str, Any], identifier: Any) -> Any:
    """Return the object that a Keras identifier stands for.

    Args:
        kind: what is looked for, for messages: `"initializer"`.
        known: classes or functions by name; classes are called without arguments.
        identifier: a name, a class, an object (returned as it is), or a mapping with the keys
            `class_name` and `config`, as Keras writes configurations.

    Raises:
        ValueError: the name is unknown.
        TypeError: the identifier is none of these.
    """
    config: Mapping[str, Any] = {}
    found = identifier
    if isinstance(identifier, Mapping) and "class_name" in identifier:
        found, config = identifier["class_name"], identifier.get("config", {})
    if isinstance(found, str):
        if found not in known:
            raise ValueError(unknown_name(kind, found, known))
        found = known[found]
    if isinstance(found, type):
        return found(**config)
    if not callable(found):
        raise TypeError(f"{kind} expects a name, an object or a function, got {identifier!r}")
    return found
