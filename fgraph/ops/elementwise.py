"""Functions of one tensor, element by element."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .conversion import floating, is_number, tensor, tensors, unbool

__all__ = [
    "abs",
    "absolute",
    "angle",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctanh",
    "bitwise_invert",
    "bitwise_not",
    "cbrt",
    "ceil",
    "clip",
    "conj",
    "conjugate",
    "cos",
    "cosh",
    "deg2rad",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "floor",
    "i0",
    "imag",
    "log",
    "log1p",
    "log2",
    "log10",
    "nan_to_num",
    "negative",
    "rad2deg",
    "real",
    "reciprocal",
    "round",
    "rsqrt",
    "sign",
    "signbit",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
]  # fmt: skip


def absolute(x: Any) -> Tensor:
    """Return the absolute value of each element."""
    return _abs(tensor(x))


def fabs(x: Any) -> Tensor:
    """Return the absolute value of each element, in floating point."""
    return torch.abs(floating(x))


def angle(x: Any) -> Tensor:
    """Return the angle in the complex plane of each element."""
    return torch.angle(tensor(x))


def arccos(x: Any) -> Tensor:
    """Return the arc cosine of each element."""
    return torch.arccos(tensor(x))


def arccosh(x: Any) -> Tensor:
    """Return the inverse hyperbolic cosine of each element."""
    return torch.arccosh(tensor(x))


def arcsin(x: Any) -> Tensor:
    """Return the arc sine of each element."""
    return torch.arcsin(tensor(x))


def arcsinh(x: Any) -> Tensor:
    """Return the inverse hyperbolic sine of each element."""
    return torch.arcsinh(tensor(x))


def arctan(x: Any) -> Tensor:
    """Return the arc tangent of each element."""
    return torch.arctan(tensor(x))


def arctanh(x: Any) -> Tensor:
    """Return the inverse hyperbolic tangent of each element."""
    return torch.arctanh(tensor(x))


def cos(x: Any) -> Tensor:
    """Return the cosine of each element."""
    return torch.cos(tensor(x))


def cosh(x: Any) -> Tensor:
    """Return the hyperbolic cosine of each element."""
    return torch.cosh(tensor(x))


def sin(x: Any) -> Tensor:
    """Return the sine of each element."""
    return torch.sin(tensor(x))


def sinc(x: Any) -> Tensor:
    """Return the normalized sinc, `sin(pi x) / (pi x)` of each element."""
    return torch.sinc(tensor(x))


def sinh(x: Any) -> Tensor:
    """Return the hyperbolic sine of each element."""
    return torch.sinh(tensor(x))


def tan(x: Any) -> Tensor:
    """Return the tangent of each element."""
    return torch.tan(tensor(x))


def tanh(x: Any) -> Tensor:
    """Return the hyperbolic tangent of each element."""
    return torch.tanh(tensor(x))


def deg2rad(x: Any) -> Tensor:
    """Return the angle in radians of each element."""
    return torch.deg2rad(tensor(x))


def rad2deg(x: Any) -> Tensor:
    """Return the angle in degrees of each element."""
    return torch.rad2deg(tensor(x))


def exp(x: Any) -> Tensor:
    """Return the exponential of each element."""
    return torch.exp(tensor(x))


def exp2(x: Any) -> Tensor:
    """Return the power of two of each element."""
    return torch.exp2(tensor(x))


def expm1(x: Any) -> Tensor:
    """Return `exp(x) - 1` of each element."""
    return torch.expm1(tensor(x))


def log(x: Any) -> Tensor:
    """Return the natural logarithm of each element."""
    return torch.log(tensor(x))


def log10(x: Any) -> Tensor:
    """Return the logarithm to base 10 of each element."""
    return torch.log10(tensor(x))


def log1p(x: Any) -> Tensor:
    """Return `log(1 + x)` of each element."""
    return torch.log1p(tensor(x))


def log2(x: Any) -> Tensor:
    """Return the logarithm to base 2 of each element."""
    return torch.log2(tensor(x))


def sqrt(x: Any) -> Tensor:
    """Return the square root of each element."""
    return torch.sqrt(tensor(x))


def rsqrt(x: Any) -> Tensor:
    """Return the reciprocal of the square root of each element."""
    return torch.rsqrt(tensor(x))


def square(x: Any) -> Tensor:
    """Return the square of each element."""
    return torch.square(unbool(x))


def reciprocal(x: Any) -> Tensor:
    """Return the reciprocal of each element."""
    return torch.reciprocal(tensor(x))


def negative(x: Any) -> Tensor:
    """Return the negative of each element."""
    return torch.negative(tensor(x))


def cbrt(x: Any) -> Tensor:
    """Return the cube root of each element."""
    return torch.sign(unbool(x)) * torch.abs(unbool(x)) ** (1 / 3)


def sign(x: Any) -> Tensor:
    """Return the sign of each element."""
    return torch.sign(tensor(x))


def signbit(x: Any) -> Tensor:
    """Return whether the sign of each element is negative."""
    return torch.signbit(tensor(x))


def ceil(x: Any) -> Tensor:
    """Return the next whole number above each element, in floating point."""
    return torch.ceil(floating(x))


def floor(x: Any) -> Tensor:
    """Return the next whole number below each element, in floating point."""
    return torch.floor(floating(x))


def erf(x: Any) -> Tensor:
    """Return the error function of each element."""
    return torch.erf(tensor(x))


def erfc(x: Any) -> Tensor:
    """Return the complementary error function of each element."""
    return torch.erfc(tensor(x))


def erfinv(x: Any) -> Tensor:
    """Return the inverse error function of each element."""
    return torch.erfinv(tensor(x))


def i0(x: Any) -> Tensor:
    """Return the modified Bessel function of order 0 of each element."""
    return torch.i0(tensor(x))


def conj(x: Any) -> Tensor:
    """Return the complex conjugate of each element."""
    return torch.conj_physical(tensor(x))


def real(x: Any) -> Tensor:
    """Return the real part of each element."""
    return torch.real(tensor(x))


def imag(x: Any) -> Tensor:
    """Return the imaginary part of each element."""
    return torch.imag(x) if tensor(x).dtype.is_complex else torch.zeros_like(tensor(x))


def nan_to_num(
    x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """Return `x` with numbers for not-a-number and infinity; by default 0 and the limits."""
    return torch.nan_to_num(tensor(x), nan, posinf, neginf)


def bitwise_not(x: Any) -> Tensor:
    """Return each element with all bits inverted."""
    return torch.bitwise_not(tensor(x))


def round(x: Any, decimals: int = 0) -> Tensor:
    """Return `x` rounded to so many decimals, halves to the even neighbor."""
    x = tensor(x)
    if x.dtype.is_floating_point:
        return torch.round(x, decimals=decimals) if decimals else torch.round(x)
    return torch.round(floating(x), decimals=decimals).to(x.dtype) if decimals < 0 else x


def trunc(x: Any) -> Tensor:
    """Return each element without its decimals."""
    x = tensor(x)
    return torch.trunc(x) if x.dtype.is_floating_point else x


def clip(x: Any, x_min: Any, x_max: Any) -> Tensor:
    """Return `x`, cut off below `x_min` and above `x_max`."""
    x = unbool(x)
    if not (is_number(x_min) and is_number(x_max)):
        x_min, x_max = tensors(x_min, x_max)
    return torch.clamp(x, x_min, x_max)


def _abs(x: Tensor) -> Tensor:
    return x if x.dtype == torch.bool else torch.abs(x)


abs = absolute
conjugate = conj
bitwise_invert = bitwise_not
