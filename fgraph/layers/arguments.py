"""Checks of layers' arguments and inputs; every refusal names the layer and what it expects."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import BuildError, unknown_name

Shape = tuple[int | None, ...]


def whole(owner: str, argument: str, value: Any, least: int = 1) -> int:
    """Return `value` as a whole number of at least `least`.

    Raises:
        ValueError: it is something else.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        kind = "a positive whole number" if least == 1 else f"a whole number of at least {least}"
        raise ValueError(f"{owner}: {argument}= expects {kind}, got {value!r}")
    return number


def sizes(owner: str, argument: str, value: Any, rank: int, least: int = 1) -> tuple[int, ...]:
    """Return one whole number for each of `rank` axes; a single number stands for all.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, int) or not isinstance(value, Sequence):
        return (whole(owner, argument, value, least),) * rank
    if len(value) != rank:
        raise ValueError(f"{owner}: {argument}= expects {rank} numbers or one, got {value!r}")
    return tuple(whole(owner, argument, item, least) for item in value)


def pairs(owner: str, argument: str, value: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """Return a pair of whole numbers, before and after, for each of `rank` axes.

    Args:
        value: one number for everything, a number for each axis, or a pair for each axis; for one
            axis also the pair itself.

    Raises:
        ValueError: it is something else.
    """
    if rank == 1 and isinstance(value, Sequence) and len(value) == 2:
        value = (value,)
    if isinstance(value, int):
        value = (value,) * rank
    if not isinstance(value, Sequence) or len(value) != rank:
        raise ValueError(
            f"{owner}: {argument}= expects one number, or a number or pair for each of the "
            f"{rank} axes, got {value!r}"
        )
    first, second = zip(*(sizes(owner, argument, item, 2, least=0) for item in value), strict=True)
    return tuple(zip(first, second, strict=True))


def one_of(owner: str, argument: str, value: Any, known: Sequence[str]) -> str:
    """Return `value` in lower case, where it is one of the known names.

    Raises:
        ValueError: it is not; the closest names are in the text.
    """
    name = value.lower() if isinstance(value, str) else value
    if name not in known:
        raise ValueError(f"{owner}: {unknown_name(argument, str(value), known)}")
    return str(name)


def fraction(owner: str, argument: str, value: Any) -> float:
    """Return `value` as a number between 0 and 1.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{owner}: {argument}= expects a number between 0 and 1, got {value!r}")
    return float(value)


@dataclass(frozen=True)
class Expects:
    """What a layer takes as its input.

    Attributes:
        axes: the names of the axes; `...` stands for any number of them.
        dtype: `"floating"` or `"integer"`; any by default.
        features: the axis whose size has to be known, and the same at every call.
    """

    axes: tuple[str, ...] | None = None
    dtype: str | None = None
    features: int | None = None

    def check(self, owner: str, shape: Shape, dtype: torch.dtype) -> None:
        """Refuse an input that does not fit.

        Raises:
            BuildError: the rank, the dtype or an unknown number of features.
        """
        self._check_rank(owner, shape)
        floating = dtype.is_floating_point or dtype.is_complex
        if self.dtype == "floating" and not floating:
            raise BuildError(
                f"{owner} expects floating-point values, got {_name(dtype)} of shape {shape}: "
                "convert it, `x.float()`, or look values up by an Embedding"
            )
        if self.dtype == "integer" and (floating or dtype == torch.bool):
            raise BuildError(
                f"{owner} expects whole numbers, got {_name(dtype)} of shape {shape}: "
                'write Input(..., dtype="int64"), or convert it, `x.long()`'
            )
        if self.features is None:
            return
        if not -len(shape) <= self.features < len(shape):
            raise BuildError(f"{owner}: axis={self.features} does not exist in {shape}")
        if shape[self.features] is None:
            raise BuildError(
                f"{owner} needs to know the size of axis {self.features} to make its weights, "
                f"got {shape}"
            )

    def _check_rank(self, owner: str, shape: Shape) -> None:
        if self.axes is None:
            return
        least = sum(axis != "..." for axis in self.axes)
        if len(shape) == least or (len(shape) > least and "..." in self.axes):
            return
        raise BuildError(f"{owner} expects ({', '.join(self.axes)}), got {shape}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
