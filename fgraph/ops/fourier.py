"""Complex numbers and Fourier transforms, on pairs of real and imaginary parts as in Keras."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..graph import SymbolicTensor
from ..initializers import window_values
from .conversion import floating, promoted, tensor

__all__ = [
    "extract_sequences", "fft", "fft2", "ifft2", "irfft", "istft", "polar", "rfft", "stft",
    "view_as_complex", "view_as_real",
]  # fmt: skip

Pair = tuple[Tensor, Tensor]


def _complex(name: str, x: Any) -> Tensor:
    """Return one complex tensor for a pair of real ones."""
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise ValueError(
            f"{name} expects a pair of tensors, the real and the imaginary part; for one complex "
            f"tensor use torch.fft"
        )
    return torch.complex(floating(x[0]), floating(x[1]))


def _pair(x: Tensor) -> Pair:
    return x.real, x.imag


def fft(x: Any) -> Pair:
    """Return the discrete Fourier transform along the last axis, of a pair and as a pair."""
    return _pair(torch.fft.fft(_complex("fft", x)))


def fft2(x: Any) -> Pair:
    """Return the discrete Fourier transform along the last two axes, of a pair and as a pair."""
    return _pair(torch.fft.fft2(_complex("fft2", x)))


def ifft2(x: Any) -> Pair:
    """Return the inverse of `fft2`, of a pair and as a pair."""
    return _pair(torch.fft.ifft2(_complex("ifft2", x)))


def rfft(x: Any, fft_length: int | None = None) -> Pair:
    """Return the Fourier transform of real values, as a pair: `fft_length // 2 + 1` frequencies."""
    return _pair(torch.fft.rfft(floating(x), n=fft_length))


def irfft(x: Any, fft_length: int | None = None) -> Tensor:
    """Return the inverse of `rfft`, of a pair."""
    return torch.fft.irfft(_complex("irfft", x), n=fft_length)


def view_as_complex(x: Any) -> Tensor:
    """Return a complex tensor for pairs along the last axis.

    Raises:
        ValueError: The last axis has not size 2.
    """
    x = floating(x)
    if x.ndim < 1 or x.shape[-1] != 2:
        raise ValueError(f"view_as_complex expects size 2 along the last axis, got {x.shape}")
    return torch.complex(x[..., 0], x[..., 1])


def view_as_real(x: Any) -> Tensor:
    """Return real and imaginary parts along a new last axis."""
    return torch.view_as_real(tensor(x))


def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> Tensor:
    """Return windows of the last axis, which becomes two: their number and `sequence_length`."""
    return tensor(x).unfold(-1, sequence_length, sequence_stride)


def _window(window: Any, length: int, like: Tensor) -> Tensor:
    """Return the values of a window, by name or as they are."""
    if isinstance(window, SymbolicTensor):
        return window.to(like.dtype)
    made = window_values(window, length, like.dtype)
    return made.to(like.device) if isinstance(like, Tensor) else made


def stft(
    x: Any,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    window: Any = "hann",
    center: bool = True,
) -> Pair:
    """Return the Fourier transforms of overlapping windows, as a pair.

    Args:
        x: Signals, `(..., samples)`.
        sequence_length: Number of samples in a window.
        sequence_stride: Step from one window to the next.
        fft_length: Length of the transform, at least `sequence_length`.
        window: `"hann"`, `"hamming"`, `None` for none, or its `sequence_length` values.
        center: Whether the first window is centered on the first sample, by reflecting the signal.

    Returns:
        Real and imaginary parts, each `(..., windows, fft_length // 2 + 1)`.

    Raises:
        ValueError: The transform is shorter than the window, or the window is not known.
    """
    if fft_length < sequence_length:
        raise ValueError(f"stft expects fft_length of at least {sequence_length}, got {fft_length}")
    x = floating(x)
    leading = x.shape[:-1]
    made = torch.stft(
        x.reshape(-1, x.shape[-1]) if x.ndim > 2 else x,
        n_fft=fft_length,
        hop_length=sequence_stride,
        win_length=sequence_length,
        window=_window(window, sequence_length, x),
        center=center,
        return_complex=True,
    ).mT
    return _pair(made.reshape(*leading, *made.shape[-2:]) if x.ndim > 2 else made)


def istft(
    x: Any,
    sequence_length: int,
    sequence_stride: int,
    fft_length: int,
    length: int | None = None,
    window: Any = "hann",
    center: bool = True,
) -> Tensor:
    """Return the signals whose `stft` this is.

    Args:
        x: Real and imaginary parts, each `(..., windows, fft_length // 2 + 1)`.
        sequence_length, sequence_stride, fft_length, window, center: As given to `stft`.
        length: Number of samples to return. Defaults to as many as the windows cover.
    """
    frames = irfft(x, fft_length)
    if window is not None:
        frames = frames * _inverse_window(
            _window(window, sequence_length, frames), sequence_stride, fft_length
        )
    signal = _overlapped(frames, sequence_stride)
    start = fft_length // 2 if center else 0
    if length is not None:
        return signal[..., start : start + length]
    return signal[..., start : -start or None]


def _inverse_window(window: Tensor, stride: int, fft_length: int) -> Tensor:
    """Return the window over the sum of the squares of those that overlap with it."""
    before = (fft_length - window.shape[0]) // 2
    window = F.pad(window, (before, fft_length - window.shape[0] - before))
    count = -(-fft_length // stride)
    squares = F.pad(window.square(), (0, count * stride - fft_length))
    total = squares.reshape(count, stride).sum(0).repeat(count)
    return window / total[:fft_length]


def _overlapped(frames: Tensor, stride: int) -> Tensor:
    """Return the sum of frames `(..., number, length)`, each `stride` after the one before."""
    number, length = frames.shape[-2:]
    leading = frames.shape[:-2]
    columns = frames.reshape(-1, number, length).mT
    total = stride * (number - 1) + length
    made = F.fold(columns, (1, total), (1, length), stride=(1, stride))
    return made.reshape(*leading, total)


def polar(abs_: Any, angle: Any) -> Tensor:
    """Return complex numbers of these absolute values and angles."""
    return torch.polar(*promoted(floating(abs_), floating(angle)))
