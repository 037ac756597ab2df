"""Functions that make tensors from shapes and numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .conversion import DType, floating, is_number, tensor, to_dtype
from .shape_tensors import numbers

__all__ = [
    "arange", "array", "bartlett", "blackman", "empty", "empty_like", "eye", "full", "full_like",
    "geomspace", "hamming", "hanning", "identity", "kaiser", "linspace", "logspace", "ones",
    "ones_like", "tri", "vander", "zeros", "zeros_like",
]  # fmt: skip


def array(x: Any, dtype: DType = None) -> Tensor:
    """Return `x`, a tensor, array, number or sequence, as a tensor."""
    return tensor(x, dtype)


def _sizes(shape: Any) -> tuple[Any, ...]:
    given = numbers(shape, "ops: shape")
    return tuple(given) if isinstance(given, list) else (given,)


def zeros(shape: Any, dtype: DType = None) -> Tensor:
    """Return zeros, of torch's default dtype unless one is given."""
    return torch.zeros(_sizes(shape), dtype=to_dtype(dtype))


def ones(shape: Any, dtype: DType = None) -> Tensor:
    """Return ones, of torch's default dtype unless one is given."""
    return torch.ones(_sizes(shape), dtype=to_dtype(dtype))


def empty(shape: Any, dtype: DType = None) -> Tensor:
    """Return a tensor to be filled; it holds zeros, as in Keras on most backends."""
    return zeros(shape, dtype)


def full(shape: Any, fill_value: Any, dtype: DType = None) -> Tensor:
    """Return a tensor of this shape with one value, or values that broadcast to it."""
    if is_number(fill_value):
        return torch.full(_sizes(shape), fill_value, dtype=to_dtype(dtype))
    return torch.broadcast_to(tensor(fill_value, dtype), _sizes(shape)).clone()


def zeros_like(x: Any, dtype: DType = None) -> Tensor:
    """Return zeros of the shape of `x`."""
    x = tensor(x)
    return torch.zeros_like(x, dtype=x.dtype if dtype is None else to_dtype(dtype))


def ones_like(x: Any, dtype: DType = None) -> Tensor:
    """Return ones of the shape of `x`."""
    x = tensor(x)
    return torch.ones_like(x, dtype=x.dtype if dtype is None else to_dtype(dtype))


def empty_like(x: Any, dtype: DType = None) -> Tensor:
    """Return a tensor of the shape of `x` to be filled; it holds zeros."""
    return zeros_like(x, dtype)


def full_like(x: Any, fill_value: Any, dtype: DType = None) -> Tensor:
    """Return a tensor of the shape of `x` with one value, or values that broadcast to it."""
    x = tensor(x)
    wanted = x.dtype if dtype is None else to_dtype(dtype)
    if is_number(fill_value):
        return torch.full_like(x, fill_value, dtype=wanted)
    return torch.broadcast_to(tensor(fill_value, wanted), tuple(x.shape)).clone()


def arange(start: Any, stop: Any = None, step: Any = None, dtype: DType = None) -> Tensor:
    """Return the numbers from `start`, or 0, up to but without `stop`.

    Whole numbers are int32, others of torch's default dtype, unless one is given.
    """
    if dtype is None:
        numbers = [value for value in (start, stop, step) if value is not None]
        real = any(isinstance(value, float) for value in numbers)
        kept = [value.dtype for value in numbers if isinstance(value, Tensor)]
        dtype = kept[0] if kept else torch.get_default_dtype() if real else torch.int32
    start, stop = (0, start) if stop is None else (start, stop)
    return torch.arange(start, stop, 1 if step is None else step, dtype=to_dtype(dtype))


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: DType = None,
    axis: int = 0,
) -> Any:
    """Return numbers at equal distances.

    Args:
        start, stop: The first and the last, numbers or tensors that broadcast.
        num: How many.
        endpoint: Whether `stop` is among them.
        retstep: Whether to return their distance, too.
        dtype: Data type of the result.
        axis: Where the new axis is in the result.
    """
    first, last = floating(start), floating(stop)
    step = (last - first) / max(num - 1 if endpoint else num, 1)
    places = torch.arange(num, dtype=first.dtype, device=first.device)
    shape = [num] + [1] * max(first.ndim, last.ndim)
    made = (first + places.reshape(shape) * step).movedim(0, axis)
    made = made if dtype is None else made.to(to_dtype(dtype))
    return (made, step) if retstep else made


def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: float = 10,
    dtype: DType = None,
    axis: int = 0,
) -> Tensor:
    """Return the powers of `base` from `base**start` to `base**stop`; see `linspace`."""
    made = base ** linspace(start, stop, num, endpoint, axis=axis)
    return tensor(made, made.dtype if dtype is None else dtype)


def geomspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    dtype: DType = None,
    axis: int = 0,
) -> Tensor:
    """Return numbers with equal ratios from `start` to `stop`, of one sign; see `linspace`."""
    first, last = floating(start), floating(stop)
    made = logspace(first.abs().log10(), last.abs().log10(), num, endpoint, 10, None, axis)
    made = made * torch.sign(first).unsqueeze(axis) if first.ndim else made * torch.sign(first)
    return tensor(made, made.dtype if dtype is None else dtype)


def eye(N: int, M: int | None = None, k: int | None = 0, dtype: DType = None) -> Tensor:
    """Return an `N` by `M` matrix with ones on the diagonal `k` and zeros elsewhere."""
    wanted = to_dtype(dtype)
    columns = N if M is None else M
    if not k:
        return torch.eye(N, columns, dtype=wanted)
    return tri(N, columns, k, wanted) - tri(N, columns, k - 1, wanted)


def identity(n: int, dtype: DType = None) -> Tensor:
    """Return an `n` by `n` matrix with ones on the diagonal and zeros elsewhere."""
    return eye(n, dtype=dtype)


def tri(N: int, M: int | None = None, k: int = 0, dtype: DType = None) -> Tensor:
    """Return an `N` by `M` matrix with ones up to the diagonal `k` and zeros above."""
    return torch.tril(torch.ones((N, N if M is None else M), dtype=to_dtype(dtype)), k)


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Tensor:
    """Return the matrix of the powers of `x`, `N` in each row; descending by default."""
    return torch.vander(tensor(x), N, increasing=increasing)


def bartlett(x: Any) -> Tensor:
    """Return Bartlett's window of `x` values."""
    return torch.signal.windows.bartlett(int(x))


def blackman(x: Any) -> Tensor:
    """Return Blackman's window of `x` values."""
    return torch.signal.windows.blackman(int(x))


def hamming(x: Any) -> Tensor:
    """Return Hamming's window of `x` values."""
    return torch.signal.windows.hamming(int(x))


def hanning(x: Any) -> Tensor:
    """Return von Hann's window of `x` values."""
    return torch.signal.windows.hann(int(x))


def kaiser(x: Any, beta: Any) -> Tensor:
    """Return Kaiser's window of `x` values."""
    return torch.signal.windows.kaiser(int(x), beta=float(beta))
