"""FarmHash's 64-bit fingerprints of whole numbers, written as decimals (Pike, 2014).

Torch's int64 arithmetic wraps around as the unsigned arithmetic of the definition does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_K0 = 0xC3A5C85C97CB3127
_K1 = 0xB492B66FBE98F273
_K2 = 0x9AE16A3B2F90404F
_WIDTH = 20  # the characters of the longest number


class HashBins(nn.Module):
    """Turns whole numbers into bins by their fingerprints.

    Args:
        bins: the number of bins.
        mask: a number that gets bin 0 for itself, or `None`.
    """

    def __init__(self, bins: int, mask: int | None = None) -> None:
        super().__init__()
        self.bins, self.mask = bins, mask

    def forward(self, x: Tensor) -> Tensor:
        """Return the bins of numbers, of any shape."""
        x = x.long()
        if x.is_meta:  # a shape is asked for, and what follows is hundreds of operations
            return torch.empty_like(x)
        if self.mask is None or self.bins < 2:
            return fingerprint_bins(x, self.bins)
        return torch.where(x == self.mask, 0, fingerprint_bins(x, self.bins - 1) + 1)


def fingerprint_bins(x: Tensor, bins: int) -> Tensor:
    """Return the fingerprints of int64 numbers modulo the number of bins."""
    made = fingerprints(x)
    return (_shifted(made, 1) % bins * 2 + (made & 1)) % bins  # of unsigned numbers


def fingerprints(x: Tensor) -> Tensor:
    """Return the fingerprints of int64 numbers, as int64 of the same bits."""
    characters, length = _decimals(x)
    start = _WIDTH - length
    two = _signed(_K2)
    factor = length * 2 + two
    # up to 3 characters
    first, middle, last = (
        _bytes(characters, start + offset, 1) for offset in (0 * length, length >> 1, length - 1)
    )
    mixed = (first + (middle << 8)) * two ^ (length + (last << 2)) * _signed(_K0)
    short = (mixed ^ _shifted(mixed, 47)) * two
    # up to 7
    front, back = _bytes(characters, start, 4), _bytes(characters, start + length - 4, 4)
    medium = _mixed(length + (front << 3), back, factor)
    # up to 16
    a, b = _bytes(characters, start, 8) + two, _bytes(characters, start + length - 8, 8)
    c, d = _turned(b, 37) * factor + a, (_turned(a, 25) + b) * factor
    long = _mixed(c, d, factor)
    # up to 32
    a, b = _bytes(characters, start, 8) * _signed(_K1), _bytes(characters, start + 8, 8)
    c, d = (
        _bytes(characters, start + length - 8, 8) * factor,
        two * _bytes(characters, start + length - 16, 8),
    )
    longest = _mixed(_turned(a + b, 43) + _turned(c, 30) + d, a + _turned(b + two, 18) + c, factor)
    made = torch.where(length > 16, longest, long)
    return torch.where(length < 8, torch.where(length < 4, short, medium), made)


def _signed(number: int) -> int:
    """Return the int64 with the bits of an unsigned number."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _decimals(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return numbers as characters, at the end of a new last axis, and how many they are."""
    powers = 10 ** torch.arange(_WIDTH - 2, -1, -1, device=x.device)
    digits = torch.fmod(torch.div(x.unsqueeze(-1), powers, rounding_mode="trunc"), 10).abs()
    numbers = nn.functional.pad(digits, (1, 0))  # room for a sign
    places = torch.arange(_WIDTH, device=x.device)
    begin = torch.where(numbers > 0, places, _WIDTH - 1).amin(-1)
    negative = x < 0
    length = _WIDTH - begin + negative.long()
    sign = negative.unsqueeze(-1) & (places == (begin - 1).unsqueeze(-1))
    return torch.where(sign, ord("-"), numbers + ord("0")), length


def _bytes(characters: Tensor, start: Tensor, count: int) -> Tensor:
    """Return the number that so many characters make, the first one the lowest byte."""
    offsets = torch.arange(count, device=start.device)
    places = (start.unsqueeze(-1) + offsets).clamp(0, _WIDTH - 1)
    return (characters.gather(-1, places) << (8 * offsets)).sum(-1)


def _shifted(x: Tensor, count: int) -> Tensor:
    """Return bits moved to the right, with zeros from the left."""
    return (x >> count) & ((1 << (64 - count)) - 1)


def _turned(x: Tensor, count: int) -> Tensor:
    return _shifted(x, count) | (x << (64 - count))


def _mixed(u: Tensor, v: Tensor, factor: Tensor) -> Tensor:
    a = (u ^ v) * factor
    a = a ^ _shifted(a, 47)
    b = (v ^ a) * factor
    return (b ^ _shifted(b, 47)) * factor
