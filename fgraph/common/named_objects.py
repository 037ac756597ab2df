"""Objects from names and configurations, and the reverse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import unknown_name


def serialized(kind: str, known: Mapping[str, Any], thing: Any) -> Any:
    """Return the name of one of the known functions, or class and configuration, for `look_up`.

    Args:
        kind: What it is, for the message.
        known: The functions and classes by name.
        thing: A function, an object with `get_config`, or `None`.

    Raises:
        TypeError: It has neither a name nor a configuration.
    """
    if thing is None:
        return None
    name = next((name for name, value in known.items() if value is thing), None)
    name = name or getattr(thing, "__name__", None)
    if isinstance(name, str) and name.isidentifier():
        return name
    if not hasattr(thing, "get_config"):
        raise TypeError(f"{kind}: {thing!r} has neither a name nor get_config()")
    return {"class_name": type(thing).__name__, "config": thing.get_config()}


def look_up(
    kind: str,
    known: Mapping[str, Any],
    identifier: Any,
    custom_objects: Mapping[str, Any] | None = None,
) -> Any:
    """Return the object that a Keras identifier stands for.

    Args:
        kind: what is looked for, for messages: `"initializer"`.
        known: classes or functions by name; classes are called without arguments.
        identifier: a name, a class, an object (returned as it is), or a mapping with the keys
            `class_name` and `config`, as Keras writes configurations.
        custom_objects: classes and functions of the user's by name, which come first.

    Raises:
        ValueError: the name is unknown.
        TypeError: the identifier is none of these.
    """
    known = {**known, **custom_objects} if custom_objects else known
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
