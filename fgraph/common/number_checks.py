"""Checks of numbers that users pass."""

from __future__ import annotations

import operator
from typing import Any


def whole_number(value: Any, name: str, least: int = 1, most: int | None = None) -> int:
    """Return a whole number, numpy's included, as an int.

    Args:
        value: what the user gave.
        name: what it is, for messages: `"batch_size"`.
        least: the smallest number that is allowed.
        most: the largest one; by default there is none.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is too small or too large.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    if most is not None and number > most:
        raise ValueError(f"{name} must be at most {most}, got {number}")
    return number


def real_number(value: Any, name: str, interval: str = "(-inf, inf)") -> float:
    """Return a number, numpy's and tensors of one element included, as a float.

    Args:
        value: what the user gave.
        name: what it is, for messages: `"beta_1 of Adam"`.
        interval: the allowed interval, in mathematical notation: `"[0, 1)"`.

    Raises:
        TypeError: it is not a number.
        ValueError: it lies elsewhere.
    """
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}: {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):  # of an array
        raise TypeError(f"{name} must be a single number, got {value!r}") from None
    low, high = map(float, interval[1:-1].split(","))
    inside = low < number < high or (
        (number == low and interval[0] == "[") or (number == high and interval[-1] == "]")
    )
    if not inside:
        raise ValueError(f"{name} must be in {interval}, got {value!r}")
    return number
