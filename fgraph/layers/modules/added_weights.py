"""`AddedWeights`: the weights that a layer made by `add_weight`."""

from __future__ import annotations

from torch import Tensor, nn


class AddedWeights(nn.Module):
    """Holds weights by name; they are used by the functions that a layer records.

    Args:
        parameters: Weights that training changes.
        buffers: Weights that it does not.
    """

    def add(self, name: str, value: Tensor, trainable: bool) -> Tensor:
        """Register a weight and return the parameter or buffer."""
        if not trainable:
            self.register_buffer(name, value)
            return value
        made = nn.Parameter(value)
        self.register_parameter(name, made)
        return made

    def forward(self) -> None:
        """Do nothing: the weights are read one by one."""
