"""Functions of two tensors, element by element, and truth values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .conversion import floating, is_number, operands, promoted, tensor, tensors, unbool

__all__ = [
    "add", "allclose", "arctan2", "bitwise_and", "bitwise_left_shift", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "divide", "divide_no_nan", "equal", "floor_divide",
    "fmax", "fmin", "fmod", "gcd", "greater", "greater_equal", "heaviside", "hypot", "isclose",
    "isfinite", "isin", "isinf", "isnan", "isneginf", "isposinf", "isreal", "lcm", "ldexp",
    "left_shift", "less", "less_equal", "logaddexp", "logaddexp2", "logical_and", "logical_not",
    "logical_or", "logical_xor", "maximum", "minimum", "mod", "multiply", "nextafter", "not_equal",
    "power", "right_shift", "select", "subtract", "true_divide", "where",
]  # fmt: skip


def arctan2(x1: Any, x2: Any) -> Tensor:
    """Return the angle of the points `(x2, x1)`, in radians."""
    return torch.arctan2(*_floats(x1, x2))


def hypot(x1: Any, x2: Any) -> Tensor:
    """Return `sqrt(x1² + x2²)`."""
    return torch.hypot(*_floats(x1, x2))


def logaddexp(x1: Any, x2: Any) -> Tensor:
    """Return `log(exp(x1) + exp(x2))`."""
    return torch.logaddexp(*_floats(x1, x2))


def logaddexp2(x1: Any, x2: Any) -> Tensor:
    """Return `log2(2**x1 + 2**x2)`."""
    return torch.logaddexp2(*_floats(x1, x2))


def heaviside(x1: Any, x2: Any) -> Tensor:
    """Return 0 where `x1` is negative, 1 where it is positive, `x2` where it is 0."""
    return torch.heaviside(*_floats(x1, x2))


def fmax(x1: Any, x2: Any) -> Tensor:
    """Return the larger of two elements, or the other one if one is NaN."""
    return torch.fmax(*promoted(x1, x2))


def fmin(x1: Any, x2: Any) -> Tensor:
    """Return the smaller of two elements, or the other one if one is NaN."""
    return torch.fmin(*promoted(x1, x2))


def gcd(x1: Any, x2: Any) -> Tensor:
    """Return the greatest common divisor."""
    return torch.gcd(*tensors(x1, x2))


def lcm(x1: Any, x2: Any) -> Tensor:
    """Return the least common multiple."""
    return torch.lcm(*tensors(x1, x2))


def nextafter(x1: Any, x2: Any) -> Tensor:
    """Return the floating-point number next to `x1` in the direction of `x2`."""
    return torch.nextafter(*_floats(x1, x2))


def logical_and(x1: Any, x2: Any) -> Tensor:
    """Return whether both are true, element by element."""
    return torch.logical_and(*tensors(x1, x2))


def logical_or(x1: Any, x2: Any) -> Tensor:
    """Return whether one is true or both are, element by element."""
    return torch.logical_or(*tensors(x1, x2))


def logical_xor(x1: Any, x2: Any) -> Tensor:
    """Return whether exactly one is true, element by element."""
    return torch.logical_xor(*tensors(x1, x2))


def logical_not(x: Any) -> Tensor:
    """Return whether each element is false."""
    return torch.logical_not(tensor(x))


def isfinite(x: Any) -> Tensor:
    """Return whether each element is a finite number."""
    return torch.isfinite(tensor(x))


def isinf(x: Any) -> Tensor:
    """Return whether each element is infinite."""
    return torch.isinf(tensor(x))


def isnan(x: Any) -> Tensor:
    """Return whether each element is NaN."""
    return torch.isnan(tensor(x))


def isneginf(x: Any) -> Tensor:
    """Return whether each element is negative infinity."""
    return torch.isneginf(tensor(x))


def isposinf(x: Any) -> Tensor:
    """Return whether each element is positive infinity."""
    return torch.isposinf(tensor(x))


def isreal(x: Any) -> Tensor:
    """Return whether each element has no imaginary part."""
    return torch.isreal(tensor(x))


def bitwise_and(x: Any, y: Any) -> Tensor:
    """Return the bitwise AND."""
    return torch.bitwise_and(*tensors(x, y))


def bitwise_or(x: Any, y: Any) -> Tensor:
    """Return the bitwise OR."""
    return torch.bitwise_or(*tensors(x, y))


def bitwise_xor(x: Any, y: Any) -> Tensor:
    """Return the bitwise exclusive OR."""
    return torch.bitwise_xor(*tensors(x, y))


def bitwise_left_shift(x: Any, y: Any) -> Tensor:
    """Return `x` with its bits shifted to the left by `y`."""
    return torch.bitwise_left_shift(*tensors(x, y))


def bitwise_right_shift(x: Any, y: Any) -> Tensor:
    """Return `x` with its bits shifted to the right by `y`."""
    return torch.bitwise_right_shift(*tensors(x, y))


def add(x1: Any, x2: Any) -> Tensor:
    """Return the sum."""
    first, second = operands(x1, x2)
    return first + second  # type: ignore[no-any-return]


def subtract(x1: Any, x2: Any) -> Tensor:
    """Return the difference."""
    first, second = _numbers(x1, x2)
    return first - second  # type: ignore[no-any-return]


def multiply(x1: Any, x2: Any) -> Tensor:
    """Return the product."""
    first, second = operands(x1, x2)
    return first * second  # type: ignore[no-any-return]


def divide(x1: Any, x2: Any) -> Tensor:
    """Return the quotient, in floating point."""
    first, second = operands(x1, x2)
    return first / second  # type: ignore[no-any-return]


def divide_no_nan(x1: Any, x2: Any) -> Tensor:
    """Return the quotient, and 0 where `x2` is 0."""
    first, second = _floats(x1, x2)
    zero = second == 0
    return torch.where(zero, 0.0, first / torch.where(zero, 1.0, second))


def floor_divide(x1: Any, x2: Any) -> Tensor:
    """Return the quotient, rounded down to a whole number."""
    first, second = operands(x1, x2)
    return first // second  # type: ignore[no-any-return]


def mod(x1: Any, x2: Any) -> Tensor:
    """Return the remainder of `x1 / x2`, with the sign of `x2`."""
    first, second = _numbers(x1, x2)
    return first % second  # type: ignore[no-any-return]


def fmod(x1: Any, x2: Any) -> Tensor:
    """Return the remainder of `x1 / x2`, with the sign of `x1`."""
    return torch.fmod(*tensors(*_numbers(x1, x2)))


def power(x1: Any, x2: Any) -> Tensor:
    """Return `x1` to the power of `x2`."""
    first, second = operands(x1, x2)
    return first**second  # type: ignore[no-any-return]


def maximum(x1: Any, x2: Any) -> Tensor:
    """Return the larger of two elements; NaNs are propagated."""
    first, second = _tensor_first(x1, x2)
    if is_number(second):
        return torch.clamp(first, min=second)
    return torch.maximum(first, second)


def minimum(x1: Any, x2: Any) -> Tensor:
    """Return the smaller of two elements; NaNs are propagated."""
    first, second = _tensor_first(x1, x2)
    if is_number(second):
        return torch.clamp(first, max=second)
    return torch.minimum(first, second)


def ldexp(x1: Any, x2: Any) -> Tensor:
    """Return `x1 * 2**x2`.

    Raises:
        TypeError: `x2` is not of whole numbers.
    """
    first, second = tensors(x1, x2)
    if second.dtype.is_floating_point or second.dtype == torch.bool:
        raise TypeError(f"ldexp expects whole numbers as x2, got {second.dtype}")
    return torch.ldexp(floating(first), second)


def equal(x1: Any, x2: Any) -> Tensor:
    """Return `x1 == x2`, element by element."""
    return torch.eq(*_tensor_first(x1, x2))


def not_equal(x1: Any, x2: Any) -> Tensor:
    """Return `x1 != x2`, element by element."""
    return torch.ne(*_tensor_first(x1, x2))


def greater(x1: Any, x2: Any) -> Tensor:
    """Return `x1 > x2`, element by element."""
    return _compare(torch.gt, torch.lt, x1, x2)


def greater_equal(x1: Any, x2: Any) -> Tensor:
    """Return `x1 >= x2`, element by element."""
    return _compare(torch.ge, torch.le, x1, x2)


def less(x1: Any, x2: Any) -> Tensor:
    """Return `x1 < x2`, element by element."""
    return _compare(torch.lt, torch.gt, x1, x2)


def less_equal(x1: Any, x2: Any) -> Tensor:
    """Return `x1 <= x2`, element by element."""
    return _compare(torch.le, torch.ge, x1, x2)


def isclose(
    x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Return whether `|x1 - x2| <= atol + rtol * |x2|`, element by element."""
    first, second = promoted(x1, x2)
    if not (first.dtype.is_floating_point or first.dtype.is_complex):
        return torch.eq(first, second)
    return torch.isclose(first, second, rtol=rtol, atol=atol, equal_nan=equal_nan)


def allclose(
    x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Return whether all elements are close, a tensor of one truth value."""
    return torch.all(isclose(x1, x2, rtol, atol, equal_nan))


def isin(x1: Any, x2: Any, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Return whether each element of `x1` is among those of `x2`, or is not if `invert`."""
    first, second = promoted(*map(unbool, tensors(x1, x2)))
    return torch.isin(first, second, assume_unique=assume_unique, invert=invert)


def where(condition: Any, x1: Any = None, x2: Any = None) -> Tensor:
    """Return `x1` where the condition is true and `x2` elsewhere.

    Args:
        condition: Truth values.
        x1, x2: Values, whose shapes broadcast with the condition's. Without both, the indices are
            returned at which the condition is true, one row for each axis; of real tensors only,
            as the number of them depends on the values.
    """
    if x1 is None or x2 is None:
        return torch.stack(torch.where(tensor(condition, torch.bool)))
    first, second = operands(x1, x2)
    return torch.where(tensor(condition, torch.bool), first, second)


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Tensor:
    """Return, for each element, that of the first choice whose condition is true."""
    made = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        made = where(condition, choice, made)
    return tensor(made)


def _floats(*values: Any) -> list[Tensor]:
    """Return tensors of one floating-point dtype; numbers take that of the tensors."""
    made = [x if is_number(x) else floating(x) for x in values]
    kept = next((x.dtype for x in made if not is_number(x)), None)
    return promoted(*(tensor(x, kept) if is_number(x) else x for x in made))


def _numbers(x1: Any, x2: Any) -> tuple[Any, Any]:
    first, second = operands(x1, x2)
    return tuple(x if is_number(x) else unbool(x) for x in (first, second))  # type: ignore[return-value]


def _tensor_first(x1: Any, x2: Any) -> tuple[Tensor, Any]:
    """Return operands whose order does not matter, the number last."""
    first, second = operands(x1, x2)
    if is_number(first):
        first, second = second, first
    if is_number(second) and first.dtype == torch.bool:
        second = tensor(second)
    return first, second


def _compare(function: Any, mirrored: Any, x1: Any, x2: Any) -> Tensor:
    first, second = operands(x1, x2)
    return mirrored(second, first) if is_number(first) else function(first, second)  # type: ignore[no-any-return]


true_divide = divide
left_shift = bitwise_left_shift
right_shift = bitwise_right_shift
