"""Where a torch module keeps each of Keras's weights, and in which layout.

A layer declares its weights once, as a tuple of `Weight`s. Initializers, regularizers,
constraints, `get_weights`, `set_weights` and `count_params` all follow from that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from ..common.sharded_tensors import like_parameter, whole_tensor


class Layout(NamedTuple):
    """How to convert a weight between torch's layout and Keras's.

    Attributes:
        to_keras: From torch's tensors and the module that holds them to Keras's one tensor.
        to_torch: From Keras's tensor and the module to as many tensors as torch has.
    """

    to_keras: Callable[[list[Tensor], nn.Module], Tensor]
    to_torch: Callable[[Tensor, nn.Module], list[Tensor]]


SAME = Layout(lambda tensors, _: tensors[0], lambda value, _: [value])
TRANSPOSED = Layout(lambda tensors, _: tensors[0].mT, lambda value, _: [value.mT])
# torch has (out, in, *kernel_size), or (in, out, ...) where transposed; Keras the reverse, last
KERNEL = Layout(
    lambda tensors, _: tensors[0].permute(*range(2, tensors[0].dim()), 1, 0),
    lambda value, _: [value.permute(value.dim() - 1, value.dim() - 2, *range(value.dim() - 2))],
)


def _depthwise_to_keras(tensors: list[Tensor], module: nn.Module) -> Tensor:
    """Turn `(in * multiplier, 1, *kernel_size)` into `(*kernel_size, in, multiplier)`."""
    tensor: Tensor = tensors[0].squeeze(1).unflatten(0, (_depthwise(module).groups, -1))
    return tensor.permute(*range(2, tensor.dim()), 0, 1)


def _depthwise_to_torch(value: Tensor, module: nn.Module) -> list[Tensor]:
    last = value.dim()
    return [value.permute(last - 2, last - 1, *range(last - 2)).flatten(0, 1).unsqueeze(1)]


def _depthwise(module: nn.Module) -> nn.Conv2d:
    """Return the depthwise convolution: the module itself, or the first of a separable pair."""
    return cast(nn.Conv2d, module[0] if isinstance(module, nn.Sequential) else module)


DEPTHWISE = Layout(_depthwise_to_keras, _depthwise_to_torch)

Fans = Callable[[Tensor, nn.Module], tuple[int, int]]


class Weight:
    """One of Keras's weights of a layer, and where torch keeps it.

    Args:
        name: Keras's name.
        paths: Names of its parameters or buffers in the torch module, dots included.
        layout: How to convert between the layouts.
        initializer: Default of `<name>_initializer`.
        trainable: False for statistics, which gradients do not change.
        option: Prefix of its constructor arguments. Defaults to `name`.
        fans: From torch's tensor and its module to the numbers of inputs and outputs that variance
            scaling uses. Defaults to what `initializers.compute_fans` finds.
    """

    def __init__(
        self,
        name: str,
        paths: tuple[str, ...],
        layout: Layout = SAME,
        initializer: str = "zeros",
        *,
        trainable: bool = True,
        option: str = "",
        fans: Fans | None = None,
    ) -> None:
        self.name = name
        self.paths = paths
        self.layout = layout
        self.initializer = initializer
        self.trainable = trainable
        self.option = option or name
        self.fans = fans

    def argument(self, role: str) -> str:
        """Return the name of a constructor argument: `kernel_initializer`."""
        return f"{self.option}_{role}"

    def tensors(self, module: nn.Module) -> list[Tensor]:
        """Return torch's tensors, an empty list if the module does not have this weight."""
        found = [_attribute(module, path) for path in self.paths]
        return [tensor for tensor in found if tensor is not None]

    def read(self, module: nn.Module) -> Tensor:
        """Return the weight in Keras's layout, a view if possible."""
        return self.layout.to_keras([whole_tensor(t) for t in self.tensors(module)], module)

    def write(self, module: nn.Module, value: Tensor) -> None:
        """Copy a value in Keras's layout into the module."""
        with torch.no_grad():
            made = self.layout.to_torch(value, module)
            for tensor, part in zip(self.tensors(module), made, strict=True):
                tensor.copy_(like_parameter(tensor, part))


def _attribute(module: nn.Module, path: str) -> Tensor | None:
    *parents, last = path.split(".")
    for name in parents:
        child = module._modules.get(name)
        if child is None:
            return None
        module = child
    return getattr(module, last, None)


def kernel_and_bias(layout: Layout) -> tuple[Weight, Weight]:
    """Declare a Glorot uniform kernel and a zero bias, as most layers have them."""
    return Weight("kernel", ("weight",), layout, "glorot_uniform"), Weight("bias", ("bias",))


def scale_and_shift() -> tuple[Weight, Weight]:
    """Declare the `gamma` and `beta` of a normalization."""
    return Weight("gamma", ("weight",), initializer="ones"), Weight("beta", ("bias",))
