"""Noise in training mode, for which torch has no modules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Noise(nn.Module):
    """Base class: adds noise in training mode, or if a call asks for it.

    Args:
        seed: gives the module random numbers of its own, which begin there.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def forward(self, x: Tensor, training: bool | None = None) -> Tensor:
        """Return a tensor of the shape of `x`; `training` fixes the mode."""
        return self.noisy(x) if (self.training if training is None else training) else x

    def noisy(self, x: Tensor) -> Tensor:
        """Return `x` with noise."""
        raise NotImplementedError

    def generator(self, x: Tensor) -> torch.Generator | None:
        """Return the module's own generator on the device of `x`; `None` for torch's default."""
        if self.seed is None or x.is_meta:
            return None
        if x.device not in self._generators:
            self._generators[x.device] = torch.Generator(x.device).manual_seed(self.seed)
        return self._generators[x.device]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_generators": {}}  # generators can be neither copied nor pickled


def _noise_shape(shape: Sequence[int | None] | None, x: Tensor) -> list[int]:
    if shape is None:
        return list(x.shape)
    return [x.shape[axis] if size is None else size for axis, size in enumerate(shape)]


class DropPath(Noise):
    """Sets whole samples to zero, and scales the others up.

    Args:
        rate: the fraction of dropped samples.
        seed: gives the module random numbers of its own.
    """

    def __init__(self, rate: float, seed: int | None = None) -> None:
        super().__init__(seed)
        self.rate = rate

    def noisy(self, x: Tensor) -> Tensor:
        """Return `x`, `(batch, ...)`, some samples zero."""
        kept = torch.rand(
            x.shape[0], *(1,) * (x.dim() - 1), device=x.device, generator=self.generator(x)
        )
        return torch.where(kept >= self.rate, x / (1.0 - self.rate), 0.0)


class SharedDropout(Noise):
    """Dropout with one choice along some axes.

    Args:
        rate: the share of dropped values.
        noise_shape: the shape of the choice; `None` for the sizes of the input.
        seed: gives the module random numbers of its own.
    """

    def __init__(
        self, rate: float, noise_shape: Sequence[int | None] | None, seed: int | None
    ) -> None:
        super().__init__(seed)
        self.rate = rate
        self.noise_shape = noise_shape

    def noisy(self, x: Tensor) -> Tensor:
        """Return `x` with values dropped and the others scaled up."""
        shape = _noise_shape(self.noise_shape, x)
        kept = torch.rand(shape, generator=self.generator(x), device=x.device) >= self.rate
        return x * kept / max(1.0 - self.rate, 1e-7)

    def extra_repr(self) -> str:
        """Show the arguments."""
        return f"{self.rate}, noise_shape={self.noise_shape}"


class GaussianTerm(Noise):
    """Adds normal noise.

    Args:
        stddev: its standard deviation.
        seed: gives the module random numbers of its own.
    """

    def __init__(self, stddev: float, seed: int | None) -> None:
        super().__init__(seed)
        self.stddev = stddev

    def noisy(self, x: Tensor) -> Tensor:
        """Return `x` plus noise."""
        return x + self.stddev * _normal_like(x, self.generator(x))


class GaussianFactor(Noise):
    """Multiplies by normal noise around one.

    Args:
        rate: the noise has the standard deviation `sqrt(rate / (1 - rate))`.
        seed: gives the module random numbers of its own.
    """

    def __init__(self, rate: float, seed: int | None) -> None:
        super().__init__(seed)
        self.rate = rate
        self.stddev = math.sqrt(rate / max(1.0 - rate, 1e-7))

    def noisy(self, x: Tensor) -> Tensor:
        """Return `x` times noise."""
        return x * (1.0 + self.stddev * _normal_like(x, self.generator(x)))


class AlphaNoise(Noise):
    """Sets values to the lower limit of SELU, and rescales to keep mean and variance.

    Args:
        rate: the share of dropped values.
        noise_shape: the shape of the choice; `None` for the sizes of the input.
        seed: gives the module random numbers of its own.
    """

    limit = -1.0507009873554805 * 1.6732632423543772  # Klambauer et al., 2017

    def __init__(
        self, rate: float, noise_shape: Sequence[int | None] | None, seed: int | None
    ) -> None:
        super().__init__(seed)
        self.rate = rate
        self.noise_shape = noise_shape

    def noisy(self, x: Tensor) -> Tensor:
        """Return `x` with values dropped."""
        if self.rate == 0.0:
            return x
        shape = _noise_shape(self.noise_shape, x)
        kept = torch.rand(shape, generator=self.generator(x), device=x.device) >= self.rate
        variance = (1.0 - self.rate) * (1.0 + self.rate * self.limit**2)
        scale = max(variance, 1e-7) ** -0.5
        noisy: Tensor = torch.where(kept, x, self.limit) - self.rate * self.limit
        return torch.mul(noisy, scale)


def _normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
