"""Finding a named object: an initializer, regularizer, constraint or activation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._names import unknown_name


def look_up(kind: str, known: Mapping[str, Any], identifier: Any) -> Any:
    """Return what `identifier` stands for.

    Args:
        kind: what is looked for, for messages: `"initializer"`.
        known: the classes or functions by name; classes are called without arguments.
        identifier: a name, a class, an object (returned as it is), or a mapping with the keys
            `class_name` and `config`, as Keras writes its configurations.

    Raises:
        ValueError: there is no such name.
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
