"""`EinsumLinear`: an affine map given by an einsum."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class EinsumLinear(nn.Module):
    """`einsum(equation, x, weight) + bias`.

    Args:
        equation: of the input and the weight.
        shape: the shape of the weight.
        bias_shape: the shape of the bias, which broadcasts; `None` for no bias.
    """

    bias: nn.Parameter | None

    def __init__(
        self, equation: str, shape: Sequence[int], bias_shape: Sequence[int] | None
    ) -> None:
        super().__init__()
        self.equation = equation
        self.shape, self.bias_shape = shape, bias_shape
        self.weight = nn.Parameter(torch.zeros(*shape))
        bias = None if bias_shape is None else nn.Parameter(torch.zeros(*bias_shape))
        self.register_parameter("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of `x`; the shapes are those of the equation."""
        made = torch.einsum(self.equation, x, self.weight)
        return made if self.bias is None else made + self.bias

    def extra_repr(self) -> str:
        """Show the equation and the shape of the weight."""
        return f"{self.equation!r}, {tuple(self.weight.shape)}"
