"""Keras's initializers: starting values for weights, from their shape in Keras's layout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .errors import look_up

# The standard deviation of a standard normal cut off at two standard deviations.
_TRUNCATED_STD = 0.87962566103423978


class Initializer:
    """Base class: a callable that makes a tensor of a given shape.

    Example:
        >>> Constant(3.0)((2,))
        tensor([3., 3.])
    """

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return a new tensor.

        Args:
            shape: the sizes of the weight, in Keras's layout: `(in, out)` for a kernel.
            dtype: torch's default dtype by default.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]


def _generator(seed: int | None) -> torch.Generator | None:
    """Return a generator that starts from `seed`; `None`, torch's own, without one."""
    return None if seed is None else torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Zeros(Initializer):
    """All zeros."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return zeros of this shape."""
        return torch.zeros(tuple(shape), dtype=dtype)


@dataclass(frozen=True)
class Ones(Initializer):
    """All ones."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return ones of this shape."""
        return torch.ones(tuple(shape), dtype=dtype)


@dataclass(frozen=True)
class Constant(Initializer):
    """One value everywhere.

    Args:
        value: a number, or an array that broadcasts to the shape.
    """

    value: Any = 0.0

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return the value in this shape."""
        value = torch.as_tensor(self.value, dtype=dtype or torch.get_default_dtype())
        return value.expand(*shape).clone()


@dataclass(frozen=True)
class RandomNormal(Initializer):
    """Normal values.

    Args:
        mean: their mean.
        stddev: their standard deviation.
        seed: makes every call return the same values.
    """

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return normal values of this shape."""
        made = torch.empty(tuple(shape), dtype=dtype)
        return nn.init.normal_(made, self.mean, self.stddev, _generator(self.seed))


@dataclass(frozen=True)
class RandomUniform(Initializer):
    """Uniform values.

    Args:
        minval: their lower bound.
        maxval: their upper bound.
        seed: makes every call return the same values.
    """

    minval: float = -0.05
    maxval: float = 0.05
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return uniform values of this shape."""
        made = torch.empty(tuple(shape), dtype=dtype)
        return nn.init.uniform_(made, self.minval, self.maxval, _generator(self.seed))


@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """Normal values, those beyond two standard deviations drawn again.

    Args:
        mean: the mean of the normal.
        stddev: its standard deviation, before it is cut off.
        seed: makes every call return the same values.
    """

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return truncated normal values of this shape."""
        made = torch.empty(tuple(shape), dtype=dtype)
        low, high = self.mean - 2 * self.stddev, self.mean + 2 * self.stddev
        return nn.init.trunc_normal_(made, self.mean, self.stddev, low, high, _generator(self.seed))


def compute_fans(shape: Sequence[int]) -> tuple[float, float]:
    """Return fan-in and fan-out of a weight in Keras's layout: the last two sizes are in and out.

    Args:
        shape: `(in, out)`, or `(*kernel_size, in, out)` for a convolution.
    """
    if len(shape) < 2:
        size = float(shape[0]) if shape else 1.0
        return size, size
    receptive = math.prod(shape[:-2])
    return float(receptive * shape[-2]), float(receptive * shape[-1])


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Values whose variance is `scale / n`, n being a fan of the weight.

    Args:
        scale: the numerator, positive.
        mode: the fan: `"fan_in"`, `"fan_out"` or `"fan_avg"`.
        distribution: `"truncated_normal"`, `"untruncated_normal"` or `"uniform"`.
        seed: makes every call return the same values.

    Raises:
        ValueError: an argument is none of these.
    """

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.scale <= 0:
            raise ValueError(f"VarianceScaling: scale= expects a positive number, got {self.scale}")
        for name, value, allowed in (
            ("mode", self.mode, ("fan_in", "fan_out", "fan_avg")),
            (
                "distribution",
                self.distribution,
                ("truncated_normal", "normal", "untruncated_normal", "uniform"),
            ),
        ):
            if value not in allowed:
                raise ValueError(
                    f"VarianceScaling: {name}= expects one of {allowed}, got {value!r}"
                )

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return values of this shape."""
        fan_in, fan_out = compute_fans(shape)
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        variance = self.scale / max(1.0, fans[self.mode])
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return RandomUniform(-limit, limit, self.seed)(shape, dtype)
        if self.distribution == "untruncated_normal":
            return RandomNormal(0.0, math.sqrt(variance), self.seed)(shape, dtype)
        return TruncatedNormal(0.0, math.sqrt(variance) / _TRUNCATED_STD, self.seed)(shape, dtype)


def _scaling(
    name: str, doc: str, scale: float, mode: str, distribution: str
) -> type[VarianceScaling]:
    """Make the class of a named case of `VarianceScaling`, whose only argument is the seed."""

    def __init__(self: VarianceScaling, seed: int | None = None) -> None:
        VarianceScaling.__init__(self, scale, mode, distribution, seed)

    def get_config(self: VarianceScaling) -> dict[str, Any]:
        return {"seed": self.seed}

    def __repr__(self: VarianceScaling) -> str:
        return f"{name}(seed={self.seed})"

    body = {
        "__init__": __init__,
        "get_config": get_config,
        "__repr__": __repr__,
        "__doc__": doc,
        "__module__": __name__,
    }
    return type(name, (VarianceScaling,), body)


GlorotUniform = _scaling(
    "GlorotUniform",
    "Uniform within `sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio, 2010).",
    1.0, "fan_avg", "uniform",
)  # fmt: skip
GlorotNormal = _scaling(
    "GlorotNormal",
    "Truncated normal of variance `2 / (fan_in + fan_out)` (Glorot and Bengio, 2010).",
    1.0, "fan_avg", "truncated_normal",
)  # fmt: skip
HeUniform = _scaling(
    "HeUniform", "Uniform within `sqrt(6 / fan_in)` (He et al., 2015).", 2.0, "fan_in", "uniform"
)
HeNormal = _scaling(
    "HeNormal",
    "Truncated normal of variance `2 / fan_in` (He et al., 2015).",
    2.0, "fan_in", "truncated_normal",
)  # fmt: skip
LecunUniform = _scaling(
    "LecunUniform", "Uniform within `sqrt(3 / fan_in)`.", 1.0, "fan_in", "uniform"
)
LecunNormal = _scaling(
    "LecunNormal", "Truncated normal of variance `1 / fan_in`.", 1.0, "fan_in", "truncated_normal"
)


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """An orthogonal matrix; other shapes are flattened to `(-1, last size)` first.

    Args:
        gain: a factor.
        seed: makes every call return the same values.
    """

    gain: float = 1.0
    seed: int | None = None

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return orthogonal values of this shape, of two dimensions or more.

        Raises:
            ValueError: the shape has fewer dimensions.
        """
        if len(shape) < 2:
            raise ValueError(f"Orthogonal expects a shape of two sizes or more, got {tuple(shape)}")
        made = torch.empty(math.prod(shape[:-1]), shape[-1], dtype=dtype)
        nn.init.orthogonal_(made, self.gain, _generator(self.seed))
        return made.reshape(*shape)


@dataclass(frozen=True)
class Identity(Initializer):
    """The identity matrix.

    Args:
        gain: a factor.
    """

    gain: float = 1.0

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return the identity in this shape, of two dimensions.

        Raises:
            ValueError: the shape has not two sizes.
        """
        if len(shape) != 2:
            raise ValueError(f"Identity expects a shape of two sizes, got {tuple(shape)}")
        return self.gain * torch.eye(*shape, dtype=dtype)


_CLASSES: dict[str, type[Initializer]] = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "random_normal": RandomNormal,
    "random_uniform": RandomUniform,
    "truncated_normal": TruncatedNormal,
    "variance_scaling": VarianceScaling,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
    "orthogonal": Orthogonal,
    "identity": Identity,
}
_KNOWN: dict[str, type[Initializer]] = {
    **_CLASSES,
    **{kind.__name__: kind for kind in _CLASSES.values()},
    "uniform": RandomUniform,
    "normal": RandomNormal,
}


def get(identifier: Any) -> Callable[..., Any]:
    """Return the initializer of that name, or the given object or function itself.

    Args:
        identifier: a name (`"he_normal"`), an `Initializer`, one of `torch.nn.init`'s in-place
            functions (which sees the weight in torch's layout), or any function of a shape and
            `dtype=`.

    Raises:
        ValueError: there is no such name.
    """
    return look_up("initializer", _KNOWN, identifier)  # type: ignore[no-any-return]
