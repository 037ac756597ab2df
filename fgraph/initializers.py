"""Keras's initializers: starting values for weights, from their shape in Keras's layout."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .absent.missing_names import missing_names
from .common.configured import Configured
from .common.named_objects import look_up, serialized

InitializerLike = str | Callable[..., Any] | Mapping[str, Any] | None

# The standard deviation of a standard normal cut off at two standard deviations.
_TRUNCATED_STD = 0.87962566103423978


class Initializer(Configured):
    """Base class: a callable that makes a tensor of a given shape.

    Example:
        >>> Constant(3.0)((2,))
        tensor([3., 3.])
    """

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return a new tensor.

        Args:
            shape: Shape of the weight in Keras's layout: `(in, out)` for a kernel.
            dtype: Data type. Defaults to torch's default dtype.
        """
        raise NotImplementedError


def _generator(seed: int | None) -> torch.Generator | None:
    """Return a generator that starts from `seed`, or `None`, torch's own, without one."""
    return None if seed is None else torch.Generator().manual_seed(seed)


class Zeros(Initializer):
    """Fill with zeros."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return zeros of this shape."""
        return torch.zeros(tuple(shape), dtype=dtype)


class Ones(Initializer):
    """Fill with ones."""

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return ones of this shape."""
        return torch.ones(tuple(shape), dtype=dtype)


class Constant(Initializer):
    """Fill with one value.

    Args:
        value: A number, or an array that broadcasts to the shape.
    """

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return the value in this shape."""
        value = torch.as_tensor(self.value, dtype=dtype or torch.get_default_dtype())
        return value.expand(*shape).clone()


class RandomNormal(Initializer):
    """Draw from a normal distribution.

    Args:
        mean: Mean of the distribution.
        stddev: Standard deviation of the distribution.
        seed: Seed that makes every call return the same values. Defaults to torch's own random
            numbers.
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = mean
        self.stddev = stddev
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return normal values of this shape."""
        made = torch.empty(tuple(shape), dtype=dtype)
        return nn.init.normal_(made, self.mean, self.stddev, _generator(self.seed))


class RandomUniform(Initializer):
    """Draw from a uniform distribution.

    Args:
        minval: Lower bound.
        maxval: Upper bound.
        seed: Seed that makes every call return the same values. Defaults to torch's own random
            numbers.
    """

    def __init__(
        self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None
    ) -> None:
        self.minval = minval
        self.maxval = maxval
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return uniform values of this shape."""
        made = torch.empty(tuple(shape), dtype=dtype)
        return nn.init.uniform_(made, self.minval, self.maxval, _generator(self.seed))


class TruncatedNormal(Initializer):
    """Draw from a normal distribution, again where a value is beyond two standard deviations.

    Args:
        mean: Mean of the normal distribution.
        stddev: Standard deviation of the normal distribution before truncation.
        seed: Seed that makes every call return the same values. Defaults to torch's own random
            numbers.
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean = mean
        self.stddev = stddev
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return truncated normal values of this shape."""
        made = torch.empty(tuple(shape), dtype=dtype)
        low, high = self.mean - 2 * self.stddev, self.mean + 2 * self.stddev
        return nn.init.trunc_normal_(made, self.mean, self.stddev, low, high, _generator(self.seed))


def compute_fans(
    shape: Sequence[int],
    input_axes: Sequence[int] | None = None,
    output_axes: Sequence[int] | None = None,
) -> tuple[float, float]:
    """Return the numbers of inputs and outputs of a weight in Keras's layout.

    Args:
        shape: `(in, out)`, or `(*kernel_size, in, out)` for a convolution.
        input_axes: Axes whose sizes multiply to the number of inputs.
        output_axes: Axes whose sizes multiply to the number of outputs. Both or neither are given.
    """
    if input_axes is not None and output_axes is not None:
        fan_in, fan_out = ([shape[axis] for axis in axes] for axes in (input_axes, output_axes))
        return float(math.prod(fan_in)), float(math.prod(fan_out))
    if len(shape) < 2:
        size = float(shape[0]) if shape else 1.0
        return size, size
    receptive = math.prod(shape[:-2])
    return float(receptive * shape[-2]), float(receptive * shape[-1])


class VarianceScaling(Initializer):
    """Draw values of variance `scale / n`, where `n` is a number of inputs or outputs.

    Args:
        scale: Numerator, positive.
        mode: `"fan_in"`, the number of inputs, `"fan_out"`, that of outputs, or `"fan_avg"`, their
            mean.
        distribution: `"truncated_normal"`, `"untruncated_normal"` or `"uniform"`.
        seed: Seed that makes every call return the same values. Defaults to torch's own random
            numbers.
        input_axes: Axes of the inputs. Defaults to the last but one and those of the kernel size.
        output_axes: Axes of the outputs. Defaults to the last and those of the kernel size.

    Raises:
        ValueError: An argument is none of these.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        if scale <= 0:
            raise ValueError(f"VarianceScaling: scale= expects a positive number, got {scale}")
        modes = ("fan_in", "fan_out", "fan_avg")
        distributions = ("truncated_normal", "normal", "untruncated_normal", "uniform")
        for name, value, known in (
            ("mode", mode, modes),
            ("distribution", distribution, distributions),
        ):
            if value not in known:
                raise ValueError(f"VarianceScaling: {name}= expects one of {known}, got {value!r}")
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.seed = seed
        self.input_axes = input_axes
        self.output_axes = output_axes

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return values of this shape."""
        return self.draw(shape, compute_fans(shape, self.input_axes, self.output_axes), dtype)

    def draw(
        self, shape: Sequence[int], fans: tuple[float, float], dtype: torch.dtype | None = None
    ) -> Tensor:
        """Return values of this shape for given numbers of inputs and outputs."""
        fan_in, fan_out = fans
        by_mode = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        variance = self.scale / max(1.0, by_mode[self.mode])
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return RandomUniform(-limit, limit, self.seed)(shape, dtype)
        if self.distribution == "untruncated_normal":
            return RandomNormal(0.0, math.sqrt(variance), self.seed)(shape, dtype)
        return TruncatedNormal(0.0, math.sqrt(variance) / _TRUNCATED_STD, self.seed)(shape, dtype)


class _Scaling(VarianceScaling):
    """Base of the named cases of `VarianceScaling`."""

    _case: tuple[float, str, str]

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(*self._case, seed, input_axes, output_axes)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments by name."""
        return {name: getattr(self, name) for name in ("seed", "input_axes", "output_axes")}


class GlorotUniform(_Scaling):
    """Draw uniformly within `sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio, 2010).

    Args:
        seed: Seed that makes every call return the same values.
        input_axes: Axes of the inputs, as for `VarianceScaling`.
        output_axes: Axes of the outputs, as for `VarianceScaling`.
    """

    _case = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaling):
    """Draw from a truncated normal of variance `2 / (fan_in + fan_out)` (Glorot and Bengio, 2010).

    Args:
        seed: Seed that makes every call return the same values.
        input_axes: Axes of the inputs, as for `VarianceScaling`.
        output_axes: Axes of the outputs, as for `VarianceScaling`.
    """

    _case = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Scaling):
    """Draw uniformly within `sqrt(6 / fan_in)` (He et al., 2015).

    Args:
        seed: Seed that makes every call return the same values.
        input_axes: Axes of the inputs, as for `VarianceScaling`.
        output_axes: Axes of the outputs, as for `VarianceScaling`.
    """

    _case = (2.0, "fan_in", "uniform")


class HeNormal(_Scaling):
    """Draw from a truncated normal of variance `2 / fan_in` (He et al., 2015).

    Args:
        seed: Seed that makes every call return the same values.
        input_axes: Axes of the inputs, as for `VarianceScaling`.
        output_axes: Axes of the outputs, as for `VarianceScaling`.
    """

    _case = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaling):
    """Draw uniformly within `sqrt(3 / fan_in)` (LeCun et al., 1998).

    Args:
        seed: Seed that makes every call return the same values.
        input_axes: Axes of the inputs, as for `VarianceScaling`.
        output_axes: Axes of the outputs, as for `VarianceScaling`.
    """

    _case = (1.0, "fan_in", "uniform")


class LecunNormal(_Scaling):
    """Draw from a truncated normal of variance `1 / fan_in` (LeCun et al., 1998).

    Args:
        seed: Seed that makes every call return the same values.
        input_axes: Axes of the inputs, as for `VarianceScaling`.
        output_axes: Axes of the outputs, as for `VarianceScaling`.
    """

    _case = (1.0, "fan_in", "truncated_normal")


class Orthogonal(Initializer):
    """Make an orthogonal matrix (Saxe et al., 2014); flatten other shapes to `(-1, last size)`.

    Args:
        gain: Factor on the values.
        seed: Seed that makes every call return the same values. Defaults to torch's own random
            numbers.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain = gain
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return orthogonal values of this shape, of two dimensions or more.

        Raises:
            ValueError: The shape has fewer dimensions.
        """
        if len(shape) < 2:
            raise ValueError(f"Orthogonal expects a shape of two sizes or more, got {tuple(shape)}")
        made = torch.empty(math.prod(shape[:-1]), shape[-1], dtype=dtype)
        nn.init.orthogonal_(made, self.gain, _generator(self.seed))
        return made.reshape(*shape)


class Identity(Initializer):
    """Make an identity matrix.

    Args:
        gain: Factor on the values.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return the identity in this shape, of two dimensions.

        Raises:
            ValueError: The shape does not have two sizes.
        """
        if len(shape) != 2:
            raise ValueError(f"Identity expects a shape of two sizes, got {tuple(shape)}")
        return self.gain * torch.eye(*shape, dtype=dtype)


def window_values(
    window: Any, length: int, dtype: torch.dtype | None = None, periodic: bool = True
) -> Tensor:
    """Return the values of a window by name, as given, or ones for `None`.

    Raises:
        ValueError: The name is not known, or it has not `length` values.
    """
    if window is None:
        return torch.ones(length, dtype=dtype)
    if isinstance(window, str):
        known = {"hann": torch.hann_window, "hamming": torch.hamming_window}
        if window not in known:
            raise ValueError(f"unknown window {window!r}; known: hann, hamming, or its values")
        return known[window](length, periodic=periodic, dtype=dtype)
    values = torch.as_tensor(window, dtype=dtype)
    if values.shape != (length,):
        raise ValueError(
            f"a window of {length} values is expected, got values of shape {tuple(values.shape)}"
        )
    return values


class STFT(Initializer):
    """Make the kernel of a convolution that computes a short-time Fourier transform.

    Args:
        side: `"real"` or `"imag"`, the part that it computes.
        window: `"hann"`, `"hamming"`, the values of a window, or `None` for none.
        scaling: `"density"` to divide by the root of the window's sum of squares, `"spectrum"` by
            its sum, or `None`.
        periodic: Whether the window is one for a periodic signal.

    Raises:
        ValueError: The side or scaling is not known.
    """

    def __init__(
        self,
        side: str = "real",
        window: Any = "hann",
        scaling: str | None = "density",
        periodic: bool = False,
    ) -> None:
        if side not in ("real", "imag"):
            raise ValueError(f"STFT: unknown side {side!r}; known: real, imag")
        if scaling not in ("density", "spectrum", None):
            raise ValueError(f"STFT: unknown scaling {scaling!r}; known: density, spectrum, None")
        self.side = side
        self.window = window
        self.scaling = scaling
        self.periodic = periodic

    def __call__(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return the kernel in the shape `(frame, 1, frequencies)`."""
        frame, _, bins = shape
        angles = -2 * math.pi * torch.arange(frame, dtype=dtype or torch.get_default_dtype())
        angles = angles[:, None] * torch.arange(bins) / (2 * (bins - 1))
        kernel = torch.cos(angles) if self.side == "real" else torch.sin(angles)
        if self.window is not None:
            window = window_values(self.window, frame, kernel.dtype, self.periodic)
            total = {"density": window.square().sum().sqrt(), "spectrum": window.abs().sum()}
            kernel = kernel * window[:, None] / total.get(self.scaling or "", 1.0)
        return kernel[:, None]


# the names that Keras has for some classes besides their own
zeros = Zeros
ones = Ones
constant = Constant
random_normal = normal = RandomNormal
random_uniform = uniform = RandomUniform
truncated_normal = TruncatedNormal
variance_scaling = VarianceScaling
glorot_uniform = GlorotUniform
glorot_normal = GlorotNormal
he_uniform = HeUniform
he_normal = HeNormal
lecun_uniform = LecunUniform
lecun_normal = LecunNormal
orthogonal = OrthogonalInitializer = Orthogonal
identity = IdentityInitializer = Identity
stft = STFTInitializer = STFT

_KNOWN: dict[str, type[Initializer]] = {
    name: value
    for name, value in globals().items()
    if isinstance(value, type) and issubclass(value, Initializer) and value is not Initializer
    if not name.startswith("_")
}


def get(identifier: InitializerLike) -> Callable[..., Any]:
    """Return the initializer of that name, or the given object or function itself.

    Args:
        identifier: A name (`"he_normal"`), an `Initializer`, one of `torch.nn.init`'s in-place
            functions (which sees the weight in torch's layout), or any function of a shape and
            `dtype=`.

    Raises:
        ValueError: There is no such name.
    """
    return deserialize(identifier)


def serialize(initializer: Any) -> Any:
    """Return an initializer as plain data, which `get` and `deserialize` take, for `get_config`.

    Args:
        initializer: A function or an object.

    Returns:
        The name of a function, class and configuration of an object, `None` for `None`.

    Raises:
        TypeError: It has neither a name nor a configuration.
    """
    return serialized("initializer", _KNOWN, initializer)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """Return the initializer that `serialize` wrote.

    Args:
        config: A name, or class and configuration.
        custom_objects: Classes and functions of your own by name.

    Raises:
        ValueError: There is no such name.
    """
    return look_up("initializer", _KNOWN, config, custom_objects)  # type: ignore[no-any-return]


if not TYPE_CHECKING:
    __getattr__ = missing_names(__name__, {})
