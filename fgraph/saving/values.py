"""Python values as JSON and back: numbers, texts, containers, dtypes, named things.

JSON has no tuples, slices or dtypes: these become objects with one key that begins with `$`.
What is no plain value is handed to two functions, `other` and its inverse.
"""

from __future__ import annotations

import base64
import collections
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..errors import LoadError

_PLAIN = frozenset({int, bool, str, type(None)})


def to_json(value: Any, other: Callable[[Any], Any]) -> Any:
    """Return `value` in the types of JSON.

    Args:
        value: any nesting of plain values and containers.
        other: from everything else to a JSON object with one key that begins with `$`.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if kind is list:
        return [to_json(item, other) for item in value]
    if kind is tuple:
        return {"$tuple": [to_json(item, other) for item in value]}
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: to_json(item, other) for key, item in value.items()}
        return {"$dict": [[to_json(k, other), to_json(v, other)] for k, v in value.items()]}
    if kind is collections.OrderedDict:
        return {"$ordered": to_json(list(value.items()), other)}
    if kind is slice:
        return {"$slice": [to_json(p, other) for p in (value.start, value.stop, value.step)]}
    if kind in (set, frozenset):
        return {f"${kind.__name__}": [to_json(item, other) for item in value]}
    if kind in _WRITERS:
        return {_WRITERS[kind][0]: _WRITERS[kind][1](value)}
    if isinstance(value, np.generic):
        return to_json(value.item(), other)
    return other(value)


_WRITERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    type(Ellipsis): ("$ellipsis", lambda _: True),
    complex: ("$complex", lambda value: [value.real, value.imag]),
    collections.Counter: ("$counter", lambda value: [list(pair) for pair in value.items()]),
    range: ("$range", lambda value: [value.start, value.stop, value.step]),
    bytes: ("$bytes", lambda value: base64.b64encode(value).decode()),
    torch.Size: ("$size", list),
    torch.dtype: ("$dtype", lambda value: str(value).removeprefix("torch.")),
    torch.device: ("$device", str),
    torch.memory_format: ("$memory_format", lambda value: str(value).removeprefix("torch.")),
    torch.layout: ("$layout", lambda value: str(value).removeprefix("torch.")),
}


def from_json(value: Any, other: Callable[[str, Any], Any]) -> Any:
    """Return the value that `to_json` wrote.

    Args:
        value: what JSON gave.
        other: from the key that begins with `$`, and what it holds, to the value.

    Raises:
        LoadError: the value has a form that is not known.
    """
    if type(value) is list:
        return [from_json(item, other) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        [(key, held)] = value.items()
        if key in _CONTAINERS:
            return _CONTAINERS[key](from_json(held, other))
        if key in _READERS:
            return _READERS[key](held)
        if key.startswith("$"):
            return other(key, held)
    return {key: from_json(item, other) for key, item in value.items()}


def _torch_value(kind: type) -> Callable[[str], Any]:
    def read(name: str) -> Any:
        found = getattr(torch, name, None)
        if not isinstance(found, kind):
            raise LoadError(f"the file names {name!r}, which is not a torch.{kind.__name__}")
        return found

    return read


_CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "$tuple": tuple,
    "$slice": lambda parts: slice(*parts),
    "$dict": dict,
    "$ordered": collections.OrderedDict,
    "$set": set,
    "$frozenset": frozenset,
}
_READERS: dict[str, Callable[[Any], Any]] = {
    "$float": float,
    "$ellipsis": lambda _: ...,
    "$complex": lambda parts: complex(*parts),
    "$bytes": lambda text: base64.b64decode(text, validate=True),
    "$counter": lambda pairs: collections.Counter(dict(pairs)),
    "$range": lambda parts: range(*parts),
    "$size": torch.Size,
    "$dtype": _torch_value(torch.dtype),
    "$device": torch.device,
    "$memory_format": _torch_value(torch.memory_format),
    "$layout": _torch_value(torch.layout),
}
