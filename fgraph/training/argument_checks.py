"""Checks of the arguments of `fit` and `compile`."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from ..common.number_checks import real_number, whole_number
from ..errors import unknown_name
from ..graph.nested import map_leaves
from .sources.array_source import common_length
from .sources.make_source import is_loader

# what torch.compile takes; `model` is the module itself
TORCH_COMPILE_OPTIONS = [
    name for name in inspect.signature(torch.compile).parameters if name != "model"
]


def names_of(function: Callable[..., Any]) -> list[str]:
    """Return the names of a method's arguments, for suggestions."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name != "self"]


def check_options(options: Mapping[str, Any], known: list[str]) -> None:
    """Refuse keywords of `compile` that neither Keras nor torch knows.

    Raises:
        TypeError: one is unknown.
    """
    for name in options:
        if name not in TORCH_COMPILE_OPTIONS:
            names = [*known, *TORCH_COMPILE_OPTIONS]
            raise TypeError("compile: " + unknown_name("argument", name, names))


def optional_count(value: Any, name: str) -> int | None:
    """Return a whole number of at least 1, or `None`.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is less than 1.
    """
    return None if value is None else whole_number(value, name)


def validation_epochs(frequency: Any) -> int | frozenset[int]:
    """Return `validation_freq`, checked: a number of epochs, or a list of epochs from 1.

    Raises:
        TypeError: it is neither a whole number nor an iterable of these.
        ValueError: a number is less than 1.
    """
    if isinstance(frequency, Iterable) and not isinstance(frequency, str):
        return frozenset(whole_number(epoch, "each of validation_freq") for epoch in frequency)
    return whole_number(frequency, "validation_freq")


def check_shuffle(shuffle: Any) -> bool:
    """Return `shuffle`; raise `TypeError` unless it is a bool."""
    if not isinstance(shuffle, bool | int) or shuffle not in (0, 1):
        raise TypeError(f"shuffle must be True or False, got {shuffle!r}")
    return bool(shuffle)


def split_validation(
    x: Any, y: Any, sample_weight: Any, fraction: float
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """Divide arrays into training data and, from their end, validation data, as Keras does.

    Args:
        x: nested arrays.
        y: nested arrays, or `None`.
        sample_weight: nested arrays, or `None`.
        fraction: the share of the samples for validation.

    Returns:
        Two triples `(x, y, sample_weight)`; slices, not copies.

    Raises:
        ValueError: the data is no array, the fraction is out of range, or one part is empty.
    """
    real_number(fraction, "validation_split", "[0, 1)")
    if is_loader(x):
        raise ValueError(
            f"validation_split needs arrays, but x is a {type(x).__name__}: pass validation_data"
        )
    length = common_length({"x": x, "y": y, "sample_weight": sample_weight})
    at = math.floor(length * (1 - fraction))
    if at in (0, length):
        raise ValueError(f"validation_split={fraction} of {length} samples leaves one part empty")

    def cut(part: Any, where: slice) -> Any:
        return map_leaves(lambda leaf: None if leaf is None else leaf[where], part)

    parts = (x, y, sample_weight)
    head, tail = (
        tuple(cut(part, where) for part in parts) for where in (slice(at), slice(at, None))
    )
    return (head[0], head[1], head[2]), (tail[0], tail[1], tail[2])


def unpack_validation(data: Any) -> tuple[Any, Any, Any]:
    """Return `(x, y, sample_weight)` of `validation_data`: a tuple of arrays, or a loader.

    Raises:
        ValueError: it is a tuple of another length.
    """
    if is_loader(data):
        return data, None, None
    if not isinstance(data, list | tuple) or len(data) not in (2, 3):
        raise ValueError(
            "validation_data must be (x, y), (x, y, sample_weight) or a loader, got "
            f"{type(data).__name__}" + (f" of {len(data)}" if hasattr(data, "__len__") else "")
        )
    return (*data, None)[:3] if len(data) == 2 else (data[0], data[1], data[2])
