"""Python values as JSON, and back.

JSON has no tuples, slices or dtypes: these become objects with one key that begins with `$`. Values
that are not in the table, such as tensors and functions, are left to two callbacks.
"""

from __future__ import annotations

import base64
import collections
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..constructions.differences import PLAIN
from ..errors import LoadError, SaveError

_MOST_LEVELS = 64
_WHOLE = range(-(2**63), 2**64)


def _torch_values(kind: type) -> tuple[Callable[[Any], str], Callable[[str], Any]]:
    """Return the names of the values of a torch type, and the values by name."""
    known = {name: value for name, value in vars(torch).items() if isinstance(value, kind)}
    return (lambda value: str(value).removeprefix("torch.")), (lambda name: known[name])


def _pairs(mapping: Any) -> list[list[Any]]:
    return [[key, item] for key, item in mapping.items()]


_NUMPY = {
    name: np.dtype(name).type
    for name in "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 "
    "complex64 complex128".split()
}

# the type, its tag, and functions that convert a value to plainer ones, and back
_TABLE: list[tuple[type, str, Callable[[Any], Any], Callable[[Any], Any] | None]] = [
    (tuple, "$tuple", list, tuple),
    (dict, "$dict", _pairs, dict),
    (collections.OrderedDict, "$ordered", _pairs, collections.OrderedDict),
    (collections.Counter, "$counter", _pairs, lambda pairs: collections.Counter(dict(pairs))),
    (set, "$set", list, set),
    (frozenset, "$frozenset", list, frozenset),
    (range, "$range", lambda v: [v.start, v.stop, v.step], None),  # every value counts
    (slice, "$slice", lambda v: [v.start, v.stop, v.step], lambda parts: slice(*parts)),
    (float, "$float", repr, float),
    (complex, "$complex", lambda v: [v.real, v.imag], lambda parts: complex(*parts)),
    (bytes, "$bytes", lambda v: base64.b64encode(v).decode(), base64.b64decode),
    (type(Ellipsis), "$ellipsis", lambda _: None, lambda _: ...),
    (torch.Size, "$size", list, torch.Size),
    (torch.device, "$device", str, torch.device),
    (torch.dtype, "$dtype", *_torch_values(torch.dtype)),
    (torch.memory_format, "$memory_format", *_torch_values(torch.memory_format)),
    (torch.layout, "$layout", *_torch_values(torch.layout)),
    *((kind, f"$numpy.{name}", lambda v: v.item(), kind) for name, kind in _NUMPY.items()),
]
_WRITERS = {kind: (tag, apart) for kind, tag, apart, _ in _TABLE}
_READERS = {tag: together for _, tag, _, together in _TABLE if together}
# a tuple of a range would be larger than the file
_PARTS = {tag: PLAIN | {complex} if "numpy" in tag else {list, str, type(None)} for tag in _READERS}


def to_json(value: Any, other: Callable[[Any], tuple[str, Any]], level: int = 0) -> Any:
    """Return `value` in the types of JSON. Subclasses are not treated as their base classes.

    Args:
        value: any nesting of plain values and containers.
        other: converts any other value to a tag that begins with `$`, and plainer values.
        level: the nesting depth of this value.

    Raises:
        SaveError: a number is too large, or values are nested too deep.
    """
    kind = type(value)
    if level > _MOST_LEVELS:
        raise SaveError(f"values are nested more than {_MOST_LEVELS} levels deep: flatten them")
    if kind is int and value not in _WHOLE:
        raise SaveError(f"{hex(value)[:20]}... has more than 64 bits: keep it as text or bytes")
    if kind in PLAIN and not (kind is float and not math.isfinite(value)):
        return value
    if kind is list:
        return [to_json(item, other, level + 1) for item in value]
    if kind is dict and all(type(key) is str and key[:1] != "$" for key in value):
        return {key: to_json(item, other, level + 1) for key, item in value.items()}
    if kind in _WRITERS:
        tag, apart = _WRITERS[kind]
        parts = apart(value)
    else:
        tag, parts = other(value)
    return {tag: parts if type(parts) is str else to_json(parts, other, level + 1)}


def from_json(value: Any, other: Callable[[str, Any], Any], level: int = 0) -> Any:
    """Return the value written by `to_json`.

    Args:
        value: the parsed JSON.
        other: converts any other tag and its values to a value.
        level: the nesting depth of this value.

    Raises:
        LoadError: the value has a form that is not known, or is nested too deep.
    """
    if level > _MOST_LEVELS:
        raise LoadError(f"its values are nested more than {_MOST_LEVELS} levels deep, the limit")
    if type(value) is list:
        return [from_json(item, other, level + 1) for item in value]
    if type(value) is not dict:
        return value
    tag = next(iter(value), "")
    if tag[:1] != "$":
        return {key: from_json(item, other, level + 1) for key, item in value.items()}
    if len(value) > 1:
        raise LoadError(f"it has a value with the keys {list(value)!r:.80}, which is of no kind")
    parts = from_json(value[tag], other, level + 1)
    if tag not in _READERS:
        return other(tag, parts)
    if type(parts) not in _PARTS[tag]:
        raise LoadError(f"it has a {tag} of {type(parts).__name__} {parts!r:.80}")
    return _READERS[tag](parts)
