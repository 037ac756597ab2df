"""Normalization layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Unpack

import torch
from torch import nn

from ..constraints import ConstraintLike
from ..errors import BuildError
from ..initializers import InitializerLike
from ..regularizers import RegularizerLike
from .arguments import LayerOptions, integer
from .base import Layer
from .input_checks import Expects
from .masks import attach_masks, mask_of
from .modules.normalization import (
    BatchNorm,
    BatchRenorm,
    CenteredGroupNorm,
    CenteredLayerNorm,
    SpectralNorm,
    VarianceScaledNorm,
)
from .training_mode import fixed_mode
from .weight_layout import Weight, scale_and_shift


def _axis_in(owner: str, axis: int, rank: int) -> int:
    """Return an axis counted from zero.

    Raises:
        BuildError: there is no such axis.
    """
    if not -rank <= axis < rank:
        raise BuildError(f"{owner}: axis={axis} does not exist in an input of {rank} axes")
    return axis % rank


class BatchNormalization(Layer):
    """Normalize by the statistics of the batch in training, by running statistics in evaluation.

    Equivalent to Keras's `BatchNormalization`; the module is a torch batch normalization whose
    running variance is biased, as in Keras. With `trainable = False` training, too, uses the
    running statistics and does not update them (Ioffe and Szegedy, 2015).

    Args:
        axis: Axis of the features.
        momentum: Fraction of the old value that the running statistics keep at each step.
        epsilon: Added to the variance.
        center: Whether to add a learned offset, `beta`.
        scale: Whether to multiply by a learned factor, `gamma`.
        beta_initializer, gamma_initializer: Initial values by name, object or function.
        moving_mean_initializer, moving_variance_initializer: Initial running statistics.
        beta_regularizer, gamma_regularizer: Penalties on the weights.
        beta_constraint, gamma_constraint: Functions applied to the weights after each step.
        renorm: Whether to correct the batch's statistics towards running ones (Ioffe, 2017).
        renorm_clipping: Bounds of the correction, `{"rmin": ..., "rmax": ..., "dmax": ...}`.
            Defaults to none.
        renorm_momentum: Like `momentum`, for the statistics of the correction.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ..., features)`, floating-point.
    Pass `training=True` or `False` at a call to fix the mode of that call.

    Output shape: that of the input.

    Differs from Keras: no `synchronized`, which is torch's `nn.SyncBatchNorm`.

    Raises:
        ValueError: `renorm_clipping` has unknown keys or wrong bounds.
        BuildError: The number of features is not known.

    Example:
        >>> x = Input((28, 28, 3))
        >>> layers.BatchNormalization()(x).shape
        (None, 28, 28, 3)
    """

    keras_weights: tuple[Weight, ...] = (
        *scale_and_shift(),
        Weight("moving_mean", ("running_mean",), trainable=False),
        Weight("moving_variance", ("running_var",), initializer="ones", trainable=False),
    )
    supports_masking = True
    unsupported: ClassVar = {
        "synchronized": "convert the model by `nn.SyncBatchNorm.convert_sync_batchnorm(model)`"
    }

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: InitializerLike = "zeros",
        gamma_initializer: InitializerLike = "ones",
        moving_mean_initializer: InitializerLike = "zeros",
        moving_variance_initializer: InitializerLike = "ones",
        beta_regularizer: RegularizerLike = None,
        gamma_regularizer: RegularizerLike = None,
        beta_constraint: ConstraintLike = None,
        gamma_constraint: ConstraintLike = None,
        renorm: bool = False,
        renorm_clipping: Mapping[str, float] | None = None,
        renorm_momentum: float = 0.99,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.renorm = renorm
        if renorm:
            self.keras_weights = (*self.keras_weights, *_RENORM_WEIGHTS)
        self._set_weight_options(locals())
        # Keras 2 wrote the axis as a list
        self.axis = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
        if not isinstance(self.axis, int):
            raise TypeError(f"BatchNormalization: axis= expects one axis, got {axis!r}")
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.renorm_clipping = _clipping(renorm_clipping or {})
        self.renorm_momentum = renorm_momentum
        self.expects = Expects(("batch", "..."), "floating", features=self.axis)

    def build(self, input_shape: Any) -> nn.Module:
        """Make the module."""
        axis = _axis_in("BatchNormalization", self.axis, len(input_shape))
        settings = (input_shape[axis], self.epsilon, 1.0 - self.momentum, self.scale, self.center)
        if not self.renorm:
            return BatchNorm(*settings)
        clipping = [self.renorm_clipping.get(key) for key in _CLIPPING]
        return BatchRenorm(*settings, clipping, 1.0 - self.renorm_momentum)

    def _initialize(self) -> None:
        super()._initialize()
        if self.renorm:
            self._module.reset_corrections()

    def call(self, inputs: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Record the module on a tensor whose features are second."""
        options: dict[str, Any] = fixed_mode(training)
        if mask is not None:
            options["mask"] = mask
        return _with_features_second(self._module, inputs, self.axis, options)


_CLIPPING = ("rmin", "rmax", "dmax")
_RENORM_WEIGHTS = tuple(
    Weight(name, (name,), trainable=False)
    for name in ("moving_stddev", "renorm_mean", "renorm_stddev")
)


def _clipping(bounds: Mapping[str, float]) -> dict[str, float]:
    """Return the bounds of the correction that batch renormalization makes.

    Raises:
        ValueError: A key is not known, or the bounds are wrong.
    """
    low, high, shift = (bounds.get(key) for key in _CLIPPING)
    crossed = low is not None and high is not None and high < low
    if not set(bounds) <= set(_CLIPPING) or crossed or (shift or 0.0) < 0:
        raise ValueError(
            "BatchNormalization: renorm_clipping= expects rmin, rmax and dmax with "
            f"rmin <= rmax and dmax >= 0, got {dict(bounds)}"
        )
    return dict(bounds)


def _with_features_second(module: Any, x: Any, axis: int, options: dict[str, Any]) -> Any:
    """Record a call of a channels-first module on a tensor whose features are on another axis."""
    axis = axis % x.ndim
    if axis == 1:
        return module(x, **options)
    return module(x.movedim(axis, 1), **options).movedim(1, axis)


class _AxesNormalization(Layer):
    """Base of the normalizations over some axes of each sample."""

    expects = Expects(("batch", "..."), "floating")
    supports_masking = True

    def __init__(
        self, axis: int | Sequence[int], epsilon: float, **options: Unpack[LayerOptions]
    ) -> None:
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

    def call(self, inputs: Any) -> Any:
        """Record the module on a tensor whose normalized axes are last."""
        axes = self._axes(inputs.ndim)
        last = list(range(inputs.ndim - len(axes), inputs.ndim))
        if axes == last:
            return self._module(inputs)
        return self._module(inputs.movedim(axes, last)).movedim(last, axes)


class LayerNormalization(_AxesNormalization):
    """Normalize each sample over some axes.

    Equivalent to Keras's `LayerNormalization`; the module is an `nn.LayerNorm` (Ba et al., 2016).

    Args:
        axis: Axis, or axes, to normalize over.
        epsilon: Added to the variance.
        center: Whether to add a learned offset, `beta`.
        scale: Whether to multiply by a learned factor, `gamma`.
        beta_initializer, gamma_initializer: Initial values by name, object or function.
        beta_regularizer, gamma_regularizer: Penalties on the weights.
        beta_constraint, gamma_constraint: Functions applied to the weights after each step.
        rms_scaling: Whether to divide by the standard deviation without subtracting the mean, as
            older versions of Keras did; see `RMSNormalization` for the root mean square.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ...)`, floating-point.

    Output shape: that of the input.

    Raises:
        BuildError: A size along the axes is not known.

    Example:
        >>> x = Input((10, 64))
        >>> layers.LayerNormalization()(x).shape
        (None, 10, 64)
    """

    keras_weights = scale_and_shift()

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: InitializerLike = "zeros",
        gamma_initializer: InitializerLike = "ones",
        beta_regularizer: RegularizerLike = None,
        gamma_regularizer: RegularizerLike = None,
        beta_constraint: ConstraintLike = None,
        gamma_constraint: ConstraintLike = None,
        *,
        rms_scaling: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        if not isinstance(axis, int):  # Keras sorts them, and so the axes of the weights
            axis = sorted(axis)
        super().__init__(axis, epsilon, **options)
        self._set_weight_options(locals())
        self.rms_scaling = rms_scaling
        self.center = center
        self.scale = scale

    def normalization(self, shape: list[int]) -> nn.Module:
        """Make the `nn.LayerNorm`."""
        if self.rms_scaling:
            return VarianceScaledNorm(shape, self.epsilon)
        if self.center and not self.scale:
            return CenteredLayerNorm(shape, self.epsilon)
        return nn.LayerNorm(shape, self.epsilon, self.scale, self.center)


class RMSNormalization(_AxesNormalization):
    """Divide each sample by its root mean square.

    Equivalent to Keras's `RMSNormalization`; the module is an `nn.RMSNorm` (Zhang and Sennrich,
    2019).

    Args:
        axis: Axis, or axes, to normalize over.
        epsilon: Added to the mean square.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ...)`, floating-point.

    Output shape: that of the input.

    Raises:
        BuildError: A size along the axes is not known.

    Example:
        >>> x = Input((10, 64))
        >>> layers.RMSNormalization()(x).shape
        (None, 10, 64)
    """

    keras_weights = (Weight("scale", ("weight",), initializer="ones"),)

    def __init__(
        self, axis: int | Sequence[int] = -1, epsilon: float = 1e-6, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(axis, epsilon, **options)

    def normalization(self, shape: list[int]) -> nn.Module:
        """Make the `nn.RMSNorm`."""
        return nn.RMSNorm(shape, eps=self.epsilon)


class GroupNormalization(Layer):
    """Normalize each sample within groups of features.

    Equivalent to Keras's `GroupNormalization`; the module is an `nn.GroupNorm` (Wu and He, 2018).

    Args:
        groups: Number of groups; -1 for one for each feature.
        axis: Axis of the features.
        epsilon: Added to the variance.
        center: Whether to add a learned offset, `beta`.
        scale: Whether to multiply by a learned factor, `gamma`.
        beta_initializer, gamma_initializer: Initial values by name, object or function.
        beta_regularizer, gamma_regularizer: Penalties on the weights.
        beta_constraint, gamma_constraint: Functions applied to the weights after each step.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ..., features)`, floating-point.

    Output shape: that of the input.

    Raises:
        BuildError: The features cannot be split into the groups.

    Example:
        >>> x = Input((28, 28, 32))
        >>> layers.GroupNormalization(8)(x).shape
        (None, 28, 28, 32)
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
        beta_initializer: InitializerLike = "zeros",
        gamma_initializer: InitializerLike = "ones",
        beta_regularizer: RegularizerLike = None,
        gamma_regularizer: RegularizerLike = None,
        beta_constraint: ConstraintLike = None,
        gamma_constraint: ConstraintLike = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self._set_weight_options(locals())
        self.groups = groups if groups == -1 else integer("GroupNormalization", "groups", groups)
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

    def call(self, inputs: Any) -> Any:
        """Record the module on a tensor whose features are second."""
        axis = self.axis % inputs.ndim
        if axis == 1:
            return self._module(inputs)
        first = inputs.movedim(axis, 1)
        if inputs.ndim > 3:
            # torch 2.13 stops the process in the backward of this module on the CPU where the
            # memory is channels-last and the input needs no gradient, as that of a model
            first = first.contiguous()
        return self._module(first).movedim(1, axis)


class UnitNormalization(Layer):
    """Divide each sample by its L2 norm.

    Equivalent to Keras's `UnitNormalization`.

    Args:
        axis: Axis, or axes, along which the norm is computed.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, ...)`, floating-point.

    Output shape: that of the input.

    Example:
        >>> x = Input((10, 64))
        >>> layers.UnitNormalization()(x).shape
        (None, 10, 64)
    """

    expects = Expects(("batch", "..."), "floating")
    supports_masking = True

    def __init__(self, axis: int | Sequence[int] = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.axis = axis if isinstance(axis, int) else tuple(axis)

    def call(self, inputs: Any) -> Any:
        """Record the division."""
        norm = torch.linalg.vector_norm(inputs, dim=self.axis, keepdim=True)
        return inputs / norm.clamp(min=1e-6)  # Keras's: the square has a floor of 1e-12


class SpectralNormalization(Layer):
    """Keep the largest singular value of a layer's kernel at one.

    Equivalent to Keras's `SpectralNormalization` (Miyato et al., 2018).

    Args:
        layer: Layer whose module has one kernel: a `Dense`, `Embedding` or convolution.
        power_iterations: Number of steps towards the singular vectors at each training call.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: that of the layer. Pass `training=True` or `False` at a call to fix the mode of
    that call.

    Output shape: that of the layer.

    Raises:
        TypeError: `layer` is not a layer.
        BuildError: The layer has no such kernel.

    Example:
        >>> x = Input((16,))
        >>> layers.SpectralNormalization(layers.Dense(4))(x).shape
        (None, 4)
    """

    keras_weights = (
        Weight("vector_u", ("vector_u",), initializer="truncated_normal", trainable=False),
    )

    def __init__(
        self, layer: Layer, power_iterations: int = 1, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        if not isinstance(layer, Layer):
            raise TypeError(f"SpectralNormalization expects a layer, got {layer!r}")
        self.layer = layer
        self.power_iterations = integer(
            "SpectralNormalization", "power_iterations", power_iterations
        )

    def build(self, *input_shapes: Any) -> nn.Module:
        """Build the layer, and put the normalisation around its module."""
        module = self.layer.make_module(*input_shapes)
        if module is None or not isinstance(getattr(module, "weight", None), nn.Parameter):
            raise BuildError(f"SpectralNormalization: {self.layer!r} has no kernel")
        return SpectralNorm(module, self.power_iterations)

    def _held_weights(self) -> list[Any]:
        vector, kernel, *others = super()._held_weights()
        return [kernel, vector, *others]  # Keras's order

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Record the normalization, then the layer."""
        given = self._module(inputs, **fixed_mode(training))
        attach_masks(given, mask_of(inputs))  # the layer sees it, as in Keras
        return self.layer(given)
