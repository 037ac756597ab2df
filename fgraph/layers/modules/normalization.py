"""Normalizations with Keras's statistics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm(_BatchNorm):
    """Batch normalization with a biased running variance, as in Keras.

    Torch's own running variance is the unbiased one, `n / (n - 1)` times that. Channels are
    second, as everywhere in torch; the number of axes is free.

    Args:
        channels: the number of channels.
        eps: added to the variance.
        momentum: the share of the new batch in the running statistics.
        scale: whether to multiply by a learned factor.
        center: whether to add a learned offset.

    Attributes:
        frozen: Whether training, too, uses the running statistics and does not update them.
    """

    has_plain_sizes = True  # for the inference of shapes: those of the input

    def __init__(
        self, channels: int, eps: float, momentum: float, scale: bool = True, center: bool = True
    ) -> None:
        super().__init__(channels, eps, momentum)
        self.channels = channels
        self.frozen = False
        self.scale = scale
        self.center = center
        if not scale:
            self.register_parameter("weight", None)
        if not center:
            self.register_parameter("bias", None)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of axes."""

    def forward(
        self, x: Tensor, mask: Tensor | None = None, training: bool | None = None
    ) -> Tensor:
        """Normalize `x`, `(batch, channels, ...)`.

        Args:
            x: the input; the output has its shape.
            mask: `(batch, ...)`, true where a position counts for the statistics.
            training: fixes the mode.
        """
        active = (self.training if training is None else training) and not self.frozen
        mean, variance = self.running_mean, self.running_var
        if mean is None or variance is None or not active:
            return F.batch_norm(x, mean, variance, self.weight, self.bias, active, 0.0, self.eps)
        share = self.momentum or 0.0
        if mask is not None:
            return self._masked(x, mask, share)
        unbiased, count = variance.clone(), x.numel() // x.shape[1]
        made = F.batch_norm(x, mean, unbiased, self.weight, self.bias, True, share, self.eps)
        with torch.no_grad():  # the same mixture, with the biased variance of the batch
            variance.mul_((1 - share) / count).add_(unbiased, alpha=(count - 1) / count)
        return made

    def _masked(self, x: Tensor, mask: Tensor, share: float) -> Tensor:
        """Normalize by the statistics of the unmasked positions."""
        mean, variance = _moments(x, mask)
        with torch.no_grad():
            self.get_buffer("running_mean").lerp_(mean.flatten(), share)
            self.get_buffer("running_var").lerp_(variance.flatten(), share)
        return self._affine((x - mean) * torch.rsqrt(variance + self.eps))

    def _affine(self, x: Tensor) -> Tensor:
        shape = (-1, *(1,) * (x.dim() - 2))
        made = x if self.weight is None else x * self.weight.view(shape)
        return made if self.bias is None else made + self.bias.view(shape)


def _moments(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance over all axes but the second, with ones along these axes.

    Args:
        x: `(batch, channels, ...)`.
        mask: `(batch, ...)`, true where a position counts; all positions count if `None`.
    """
    axes = (0, *range(2, x.dim()))
    if mask is None:
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return mean, variance
    counts = mask.unsqueeze(1)
    total = counts.to(x.dtype).sum(axes, keepdim=True) + 1e-7
    mean = torch.where(counts, x, 0.0).sum(axes, keepdim=True) / total
    difference = torch.where(counts, x - mean, 0.0)
    return mean, difference.square().sum(axes, keepdim=True) / total


class BatchRenorm(BatchNorm):
    """Batch normalization that corrects towards running statistics (Ioffe, 2017).

    Args:
        channels: Number of channels.
        eps: Added to the variance.
        momentum: Fraction of the new batch in the running statistics.
        scale: Whether there is a learned factor.
        center: Whether there is a learned summand.
        clipping: Lower and upper bound of the factor and bound of the shift, `None` for no bound.
        renorm_momentum: Fraction of the new batch in the statistics of the correction.
    """

    def __init__(
        self,
        channels: int,
        eps: float,
        momentum: float,
        scale: bool = True,
        center: bool = True,
        clipping: Sequence[float | None] = (None, None, None),
        renorm_momentum: float = 0.01,
    ) -> None:
        super().__init__(channels, eps, momentum, scale, center)
        self.clipping = tuple(clipping)
        self.renorm_momentum = renorm_momentum
        self.register_buffer("moving_stddev", torch.ones(channels))
        self.register_buffer("renorm_mean", torch.zeros(channels))
        self.register_buffer("renorm_stddev", torch.ones(channels))

    def reset_corrections(self) -> None:
        """Begin with the running mean and variance."""
        self.get_buffer("renorm_mean").copy_(self.get_buffer("running_mean"))
        stddev = self.get_buffer("running_var").sqrt()
        self.get_buffer("moving_stddev").copy_(stddev)
        self.get_buffer("renorm_stddev").copy_(stddev)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, training: bool | None = None
    ) -> Tensor:
        """Normalize `x`, `(batch, channels, ...)`; the arguments are those of `BatchNorm`."""
        if not (self.training if training is None else training) or self.frozen:
            return super().forward(x, mask, False)
        mean, variance = _moments(x, mask)
        stddev = (variance + self.eps).sqrt()
        shape = mean.shape
        known = self.get_buffer("renorm_stddev").view(shape).clamp(min=self.eps**0.5)
        low, high, shift = self.clipping
        r = (stddev / known).detach()
        d = ((mean - self.get_buffer("renorm_mean").view(shape)) / known).detach()
        r = r if low is None and high is None else r.clamp(low, high)
        d = d if shift is None else d.clamp(-shift, shift)
        made = self._affine((x - mean) / stddev * r + d)
        with torch.no_grad():
            self._update(mean.flatten(), stddev.flatten())
        return made

    def _update(self, mean: Tensor, stddev: Tensor) -> None:
        share = self.momentum or 0.0
        self.get_buffer("renorm_mean").lerp_(mean, self.renorm_momentum)
        self.get_buffer("renorm_stddev").lerp_(stddev, self.renorm_momentum)
        self.get_buffer("running_mean").lerp_(mean, share)
        moving = self.get_buffer("moving_stddev").lerp_(stddev, share)
        self.get_buffer("running_var").copy_((moving.square() - self.eps).clamp(min=0))


class VarianceScaledNorm(nn.LayerNorm):
    """Divides by the standard deviation over the last axes without subtracting the mean.

    Args:
        normalized_shape: Sizes of the last axes, which are normalized over.
        eps: Added to the variance.
    """

    def __init__(self, normalized_shape: Sequence[int], eps: float) -> None:
        super().__init__(list(normalized_shape), eps, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Return a tensor of the shape of `input`."""
        axes = tuple(range(-len(self.normalized_shape), 0))
        variance = input.var(axes, correction=0, keepdim=True)
        made = input * torch.rsqrt(variance + self.eps)
        return made if self.weight is None else made * self.weight


class CenteredLayerNorm(nn.LayerNorm):
    """An `nn.LayerNorm` with a learned offset and no factor, which torch does not have.

    Args:
        normalized_shape: Sizes of the last axes, which are normalized over.
        eps: Added to the variance.
    """

    def __init__(self, normalized_shape: Sequence[int], eps: float) -> None:
        super().__init__(list(normalized_shape), eps)
        self.register_parameter("weight", None)


class CenteredGroupNorm(nn.GroupNorm):
    """An `nn.GroupNorm` with a learned offset and no factor.

    Torch's kernel has no gradient for that pair; the arguments are those of `nn.GroupNorm`.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float, affine: bool) -> None:
        super().__init__(num_groups, num_channels, eps, affine)
        self.register_parameter("weight", None)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize `(batch, channels, ...)`."""
        made = F.group_norm(input, self.num_groups, eps=self.eps)
        return made if self.bias is None else made + self.bias.view(-1, *(1,) * (input.dim() - 2))


class SpectralNorm(nn.Module):
    """Divides a kernel by its largest singular value before each training call, as Keras does.

    Unlike `torch.nn.utils.parametrizations.spectral_norm` it replaces the kernel itself.

    Args:
        layer: the module whose `weight` is the kernel.
        power_iterations: the number of steps towards the singular vectors.
    """

    def __init__(self, layer: nn.Module, power_iterations: int) -> None:
        super().__init__()
        self.layer = layer
        self.power_iterations = power_iterations
        self.register_buffer("vector_u", torch.zeros(1, self._matrix().shape[0]))

    def _matrix(self) -> Tensor:
        """Return the kernel as a matrix, `(outputs, everything else)`."""
        weight: Tensor = self.layer.weight.detach()  # type: ignore[operator]
        return weight.T if isinstance(self.layer, nn.Embedding) else weight.flatten(1)

    def forward(self, x: Tensor, training: bool | None = None) -> Tensor:
        """Normalize the kernel and return `x`, the layer's input."""
        if self.training if training is None else training:
            with torch.no_grad():
                self._normalize()
        return x

    def _normalize(self) -> None:
        matrix, u = self._matrix(), self.get_buffer("vector_u")
        for _ in range(1 if matrix.is_meta else self.power_iterations):  # for shapes one will do
            v = F.normalize(u @ matrix, dim=1, eps=1e-12)
            u = F.normalize(v @ matrix.T, dim=1, eps=1e-12)
        sigma = (v @ matrix.T @ u.T).squeeze()
        zero = (matrix == 0).all()
        self.get_buffer("vector_u").copy_(torch.where(zero, self.get_buffer("vector_u"), u))
        self.layer.weight.div_(torch.where(zero, 1.0, sigma))  # type: ignore[operator]
