"""Checks of constructor arguments; every error names the layer, the argument and what it expects.

Also lists the arguments that every layer takes, for type checkers and editors.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypedDict

import torch

from ..errors import unknown_name
from ..regularizers import RegularizerLike

Sizes = int | Sequence[int]  # one for each spatial axis, or one for all
Pairs = int | Sequence[int | Sequence[int]]  # before and after, for each axis or for all


class BaseOptions(TypedDict, total=False):
    """Arguments that every layer takes, by keyword."""

    name: str | None
    trainable: bool
    dtype: torch.dtype | str | None
    input_shape: Sequence[int | None] | None
    input_dim: int | None


class LayerOptions(BaseOptions, total=False):
    """`BaseOptions`, and the penalty on the output, which some layers have in their signature."""

    activity_regularizer: RegularizerLike


class EmbeddingOptions(TypedDict, total=False):
    """`LayerOptions` for layers whose `input_dim` means something else."""

    name: str | None
    trainable: bool
    dtype: torch.dtype | str | None
    input_shape: Sequence[int | None] | None
    activity_regularizer: RegularizerLike


class NoOptions(TypedDict):
    """No arguments at all: type checkers refuse any, and the error at run time says which."""


def integer(owner: str, argument: str, value: Any, least: int = 1) -> int:
    """Return `value` as an integer of at least `least`.

    Raises:
        ValueError: It is something else.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise ValueError(f"{owner}: {argument}= expects {kind}, got {value!r}")
    return number


def integers(owner: str, argument: str, value: Any, rank: int, least: int = 1) -> tuple[int, ...]:
    """Return one integer for each of `rank` axes; a single number stands for all.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(value, int) or not isinstance(value, Sequence):
        return (integer(owner, argument, value, least),) * rank
    if len(value) != rank:
        raise ValueError(f"{owner}: {argument}= expects {rank} numbers or one, got {value!r}")
    return tuple(integer(owner, argument, item, least) for item in value)


def pairs(owner: str, argument: str, value: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """Return a pair of integers, before and after, for each of `rank` axes.

    Args:
        value: One number for everything, a number for each axis, or a pair for each axis; for one
            axis also the pair itself.

    Raises:
        ValueError: It is something else.
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
    found = [integers(owner, argument, item, 2, least=0) for item in value]
    return tuple((before, after) for before, after in found)


def one_of(owner: str, argument: str, value: Any, known: Sequence[str]) -> str:
    """Return `value` in lower case if it is one of the known names.

    Raises:
        ValueError: It is not; the closest names are in the text.
    """
    name = value.lower() if isinstance(value, str) else value
    if name not in known:
        raise ValueError(f"{owner}: {unknown_name(argument, str(value), known)}")
    return str(name)


def fraction(owner: str, argument: str, value: Any) -> float:
    """Return `value` as a number between 0 and 1.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise ValueError(f"{owner}: {argument}= expects a number between 0 and 1, got {value!r}")
    return float(value)
