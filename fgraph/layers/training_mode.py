"""The `training` argument of a layer's `call` when the caller does not fix the mode."""

from __future__ import annotations

from typing import Any, NoReturn

from ..errors import SymbolicError


class ModelMode:
    """Placeholder for the mode of the model, which is known only when the model runs.

    A layer may pass it on to other layers; its truth value raises an error.
    """

    def __bool__(self) -> NoReturn:
        raise SymbolicError(
            "`training` has no value while a layer is recorded: the model's mode is known only "
            "when it runs. Move the code that depends on it into an nn.Module, which reads "
            "self.training in its forward, and call that module in call(); or pass `training` on "
            "to layers such as Dropout"
        )

    def __eq__(self, other: object) -> Any:
        return self is other or bool(self)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return "<the mode of the model>"


MODEL_MODE = ModelMode()


def fixed_mode(training: Any) -> dict[str, bool]:
    """Return the keyword argument that fixes a module's mode, empty if it follows the model."""
    return {} if training is None else {"training": training}
