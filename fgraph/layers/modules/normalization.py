"""Normalisations with Keras's statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm(_BatchNorm):
    """Batch normalisation whose running variance is that of the batch, as Keras has it.

    Torch's own running variance is the unbiased one, `n / (n - 1)` times that. Channels are
    second, as everywhere in torch; the number of axes is free.

    Args:
        channels: the number of channels.
        eps: added to the variance.
        momentum: the share of the new batch in the running statistics.
        scale: whether there is a learned factor.
        center: whether there is a learned summand.

    Attributes:
        frozen: True where the running statistics are used, and left alone, in training too.
    """

    def __init__(
        self, channels: int, eps: float, momentum: float, scale: bool = True, center: bool = True
    ) -> None:
        super().__init__(channels, eps, momentum)
        self.frozen = False
        if not scale:
            self.register_parameter("weight", None)
        if not center:
            self.register_parameter("bias", None)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of axes."""

    def forward(
        self, x: Tensor, mask: Tensor | None = None, training: bool | None = None
    ) -> Tensor:
        """Normalise `x`, `(batch, channels, ...)`.

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
        """Normalise by the statistics of the positions that count."""
        weight = mask.unsqueeze(1).to(x.dtype)
        axes = (0, *range(2, x.dim()))
        total = weight.sum(axes, keepdim=True) + 1e-7
        mean = (x * weight).sum(axes, keepdim=True) / total
        variance = ((x - mean).square() * weight).sum(axes, keepdim=True) / total
        with torch.no_grad():
            self.get_buffer("running_mean").lerp_(mean.flatten(), share)
            self.get_buffer("running_var").lerp_(variance.flatten(), share)
        made = (x - mean) * torch.rsqrt(variance + self.eps)
        shape = (-1, *(1,) * (x.dim() - 2))
        made = made if self.weight is None else made * self.weight.view(shape)
        return made if self.bias is None else made + self.bias.view(shape)


class CenteredGroupNorm(nn.GroupNorm):
    """An `nn.GroupNorm` with a learned summand and no factor.

    Torch's kernel has no gradient for that pair; the arguments are those of `nn.GroupNorm`.
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float, affine: bool) -> None:
        super().__init__(num_groups, num_channels, eps, affine)
        self.register_parameter("weight", None)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `(batch, channels, ...)`."""
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
        """Return `x`, which is next given to the layer, after the kernel was normalised."""
        if self.training if training is None else training:
            with torch.no_grad():
                self._normalize()
        return x

    def _normalize(self) -> None:
        matrix, u = self._matrix(), self.get_buffer("vector_u")
        for _ in range(self.power_iterations):
            v = F.normalize(u @ matrix, dim=1, eps=1e-12)
            u = F.normalize(v @ matrix.T, dim=1, eps=1e-12)
        sigma = (v @ matrix.T @ u.T).squeeze()
        zero = (matrix == 0).all()
        self.get_buffer("vector_u").copy_(torch.where(zero, self.get_buffer("vector_u"), u))
        self.layer.weight.div_(torch.where(zero, 1.0, sigma))  # type: ignore[operator]
