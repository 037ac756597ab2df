"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..errors import BuildError
from .arguments import Expects, whole
from .base import Layer
from .modules.normalization import BatchNorm, CenteredGroupNorm, SpectralNorm
from .weight_spec import Weight, scale_and_shift


def _axis_in(owner: str, axis: int, rank: int) -> int:
    """Return an axis counted from zero.

    Raises:
        BuildError: there is no such axis.
    """
    if not -rank <= axis < rank:
        raise BuildError(f"{owner}: axis={axis} does not exist in an input of {rank} axes")
    return axis % rank


class BatchNormalization(Layer):
    """Normalises by the statistics of the batch, or by running ones, as `BatchNormalization`.

    The module is a torch batch normalisation whose running variance is Keras's, the biased one.
    With `trainable = False` the running statistics are used, and stay, in training too.

    Args:
        axis: the axis of the features.
        momentum: the share of the old value in the running statistics.
        epsilon: added to the variance.
        center: whether there is a learned summand, `beta`.
        scale: whether there is a learned factor, `gamma`.
        **options: initializers, regularizers and constraints of `gamma`, `beta`, `moving_mean`
            and `moving_variance`, and those of every `Layer`.

    Input and output shape: `(batch, ..., features)`. `training=` at a call fixes the mode there.
    """

    keras_weights = (
        *scale_and_shift(),
        Weight("moving_mean", ("running_mean",), trainable=False),
        Weight("moving_variance", ("running_var",), initializer="ones", trainable=False),
    )
    supports_masking = True

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.axis = axis
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.expects = Expects(("batch", "..."), "floating", features=axis)

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module."""
        axis = _axis_in("BatchNormalization", self.axis, len(input_shape))
        share = 1.0 - self.momentum
        return BatchNorm(input_shape[axis], self.epsilon, share, self.scale, self.center)

    def call(self, x: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Record the module on a tensor whose features are second."""
        options: dict[str, Any] = {} if training is None else {"training": training}
        if mask is not None:
            options["mask"] = mask
        axis = self.axis % x.ndim
        if axis == 1:
            return self._module(x, **options)
        return self._module(x.movedim(axis, 1), **options).movedim(1, axis)


class _AxesNormalization(Layer):
    """Base of the normalisations over some axes of each sample."""

    expects = Expects(("batch", "..."), "floating")
    supports_masking = True

    def __init__(self, axis: Any, epsilon: float, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axis
        self.epsilon = epsilon

    def _axes(self, rank: int) -> list[int]:
        axes = [self.axis] if isinstance(self.axis, int) else list(self.axis)
        return [_axis_in(type(self).__name__, axis, rank) for axis in axes]

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module for the sizes of the axes."""
        shape = [input_shape[axis] for axis in self._axes(len(input_shape))]
        if None in shape:
            raise BuildError(
                f"{type(self).__name__} needs to know the sizes of {self.axis} in {input_shape}"
            )
        return self.normalization(shape)

    def normalization(self, shape: list[int]) -> nn.Module:
        """Make the module for features of this shape, which are last."""
        raise NotImplementedError

    def call(self, x: Any) -> Any:
        """Record the module on a tensor whose normalised axes are last."""
        axes = self._axes(x.ndim)
        last = list(range(x.ndim - len(axes), x.ndim))
        if axes == last:
            return self._module(x)
        return self._module(x.movedim(axes, last)).movedim(last, axes)


class LayerNormalization(_AxesNormalization):
    """Normalises each sample over some axes, as Keras's `LayerNormalization`.

    The module is an `nn.LayerNorm`.

    Args:
        axis: the axis, or axes.
        epsilon: added to the variance.
        center: whether there is a learned summand, `beta`.
        scale: whether there is a learned factor, `gamma`.
        **options: initializers, regularizers and constraints of `gamma` and `beta`, and those of
            every `Layer`.

    Input and output shape: `(batch, ...)`, equal.
    """

    keras_weights = scale_and_shift()

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(axis, epsilon, **options)
        self.center = center
        self.scale = scale

    def normalization(self, shape: list[int]) -> nn.Module:
        """Make the `nn.LayerNorm`."""
        made = nn.LayerNorm(shape, eps=self.epsilon)
        if not self.scale:
            made.register_parameter("weight", None)
        if not self.center:
            made.register_parameter("bias", None)
        return made


class RMSNormalization(_AxesNormalization):
    """Divides each sample by its root mean square, as Keras's `RMSNormalization`.

    The module is an `nn.RMSNorm`.

    Args:
        axis: the axis, or axes.
        epsilon: added to the mean square.
        **options: those of every `Layer`.

    Input and output shape: `(batch, ...)`, equal.
    """

    keras_weights = (Weight("scale", ("weight",), initializer="ones"),)

    def __init__(
        self, axis: int | Sequence[int] = -1, epsilon: float = 1e-6, **options: Any
    ) -> None:
        super().__init__(axis, epsilon, **options)

    def normalization(self, shape: list[int]) -> nn.Module:
        """Make the `nn.RMSNorm`."""
        return nn.RMSNorm(shape, eps=self.epsilon)


class GroupNormalization(Layer):
    """Normalises each sample within groups of features, as Keras's `GroupNormalization`.

    The module is an `nn.GroupNorm`.

    Args:
        groups: the number of groups; -1 for one for each feature.
        axis: the axis of the features.
        epsilon: added to the variance.
        center: whether there is a learned summand, `beta`.
        scale: whether there is a learned factor, `gamma`.
        **options: initializers, regularizers and constraints of `gamma` and `beta`, and those of
            every `Layer`.

    Input and output shape: `(batch, ..., features)`, equal.

    Raises:
        BuildError: the features cannot be split into the groups.
    """

    keras_weights = scale_and_shift()
    supports_masking = True

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.groups = groups if groups == -1 else whole("GroupNormalization", "groups", groups)
        self.axis = axis
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.expects = Expects(("batch", "..."), "floating", features=axis)

    def build(self, input_shape: Any) -> nn.Module:
        """Make the `nn.GroupNorm`."""
        size = input_shape[_axis_in("GroupNormalization", self.axis, len(input_shape))]
        groups = size if self.groups == -1 else self.groups
        if size % groups:
            raise BuildError(
                f"GroupNormalization: {size} features cannot be split into {groups} equal groups"
            )
        made = nn.GroupNorm if self.scale else CenteredGroupNorm
        module = made(groups, size, self.epsilon, affine=self.scale or self.center)
        if not self.center:
            module.register_parameter("bias", None)
        return module

    def call(self, x: Any) -> Any:
        """Record the module on a tensor whose features are second."""
        axis = self.axis % x.ndim
        if axis == 1:
            return self._module(x)
        return self._module(x.movedim(axis, 1)).movedim(1, axis)


class UnitNormalization(Layer):
    """Divides by the L2 norm, as Keras's `UnitNormalization`.

    Args:
        axis: the axis, or axes, along which the norm is taken.
        **options: those of every `Layer`.

    Input and output shape: `(batch, ...)`, equal.
    """

    expects = Expects(("batch", "..."), "floating")
    supports_masking = True

    def __init__(self, axis: int | Sequence[int] = -1, **options: Any) -> None:
        super().__init__(**options)
        self.axis = axis if isinstance(axis, int) else tuple(axis)

    def call(self, x: Any) -> Any:
        """Record the division."""
        norm = torch.linalg.vector_norm(x, dim=self.axis, keepdim=True)
        return x / norm.clamp(min=1e-6)  # Keras's: the square has a floor of 1e-12


class SpectralNormalization(Layer):
    """Keeps the largest singular value of a layer's kernel at one, as `SpectralNormalization`.

    Args:
        layer: the layer, whose module has one kernel: a `Dense`, `Embedding` or convolution.
        power_iterations: the number of steps towards the singular vectors at each training call.
        **options: those of every `Layer`.

    Input and output shape: those of the layer. `training=` at a call fixes the mode there.

    Raises:
        TypeError: `layer` is not a layer.
        BuildError: the layer has no such kernel.
    """

    keras_weights = (
        Weight("vector_u", ("vector_u",), initializer="truncated_normal", trainable=False),
    )

    def __init__(self, layer: Layer, power_iterations: int = 1, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(layer, Layer):
            raise TypeError(f"SpectralNormalization expects a layer, got {layer!r}")
        self.layer = layer
        self.power_iterations = whole("SpectralNormalization", "power_iterations", power_iterations)

    def inner_layers(self) -> list[Layer]:
        """Return the layer."""
        return [self.layer]

    def build(self, *input_shapes: Any) -> nn.Module:
        """Build the layer, and put the normalisation around its module."""
        module = self.layer.make_module(*input_shapes)
        if module is None or not isinstance(getattr(module, "weight", None), nn.Parameter):
            raise BuildError(f"SpectralNormalization: {self.layer!r} has no kernel")
        return SpectralNorm(module, self.power_iterations)

    def _held_weights(self) -> list[Any]:
        kernel, *others, vector = super()._held_weights()
        return [kernel, vector, *others]  # Keras's order

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Record the normalisation, then the layer."""
        options: dict[str, Any] = {} if training is None else {"training": training}
        return self.layer(self._module(x, **options))
