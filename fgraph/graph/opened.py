"""What graphs have of opened modules: their tensors and modes as values, and their parts."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import Tensor, nn

from .node import REAL, Effects, NumberSpec, TensorSpec


def parameter(tensor: Tensor) -> Tensor:
    """Return a parameter of an opened module, as it is when the model runs."""
    return tensor


def buffer(tensor: Tensor) -> Tensor:
    """Return a buffer of an opened module, as it is when the model runs."""
    return tensor


def training(module: nn.Module) -> bool:
    """Return the mode of an opened module, as it is when the model runs."""
    return module.training


READS = (parameter, buffer, training)


def known_of(read: Any, of: Any) -> tuple[list[Any], None, Effects | None]:
    """Return what is known of a value that one of these functions reads.

    Args:
        read: the function.
        of: its argument.

    Raises:
        TypeError: it reads nothing of that kind.
    """
    if read is training and isinstance(of, nn.Module):
        return [NumberSpec(True, False)], None, None
    if read is training or not isinstance(of, Tensor):
        raise TypeError(f"an opened module has no {read.__name__} {of!r:.80}")
    shape = tuple(of.shape)
    return [TensorSpec(shape, shape, of.dtype)], None, Effects((), ((0, REAL),))


class Opened(nn.Module):
    """What a file keeps of a module that was opened: its parts, tensors and mode, no forward.

    Args:
        kind: the name of its class.
    """

    def __init__(self, kind: str = "Module") -> None:
        super().__init__()
        if not (isinstance(kind, str) and kind.isidentifier()):
            raise ValueError(f"a class of modules is named {kind!r:.80}")
        self._kind = kind

    def _get_name(self) -> str:
        return self._kind

    def forward(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: only the graph of the model knows how the parts are called."""
        raise NotImplementedError(
            f"this {self._kind} was opened by `unfold` and came from a file, which has its parts "
            "but not its forward: call the model, or cut a part out of its graph with "
            "Model(model.input, model.output_of(name))"
        )
