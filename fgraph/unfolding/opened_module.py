"""`OpenedModule`: what a model file stores of an unfolded module."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import nn


class OpenedModule(nn.Module):
    """A module with the children, tensors and mode of an unfolded one, but without its forward.

    Args:
        kind: the name of the class of the unfolded module.
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
