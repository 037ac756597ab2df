"""Evaluation with moving averages of the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..common.sharded_tensors import like_parameter
from .base import Callback, Logs


class SwapEMAWeights(Callback):
    """Evaluate with the moving averages of the weights (Keras: `SwapEMAWeights`).

    The optimizer computes them if it was made with `use_ema=True`. Before the first step there are
    none, and the weights stay as they are.

    Args:
        swap_on_epoch: whether the model also holds the averages between epochs, so that a
            `ModelCheckpoint` later in the list saves them.

    Raises:
        ValueError: before the first step, if the optimizer keeps no averages.

    Example:
        >>> from fgraph import optimizers
        >>> adam = optimizers.Adam(use_ema=True)
        >>> swap = SwapEMAWeights()  # model.compile(adam, ...); model.fit(..., callbacks=[swap])
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        super().__init__()
        self.swap_on_epoch = swap_on_epoch
        self._trained: list[Tensor] | None = None

    def check_run(self, model: Any, callbacks: list[Callback]) -> None:
        """Refuse an optimizer that keeps no averages."""
        _keeper(model.optimizer)

    @torch.no_grad()
    def _swap_in(self) -> None:
        optimizer = self.model.optimizer
        keeper = _keeper(optimizer)
        if keeper.averages(optimizer) is not None and self._trained is None:
            self._trained = [p.detach().clone() for p in self.model._trainer.trained]
            keeper.finish(optimizer)

    def _swap_out(self) -> None:
        if self._trained is not None:
            optimizer = self.model.optimizer
            _keeper(optimizer).set_weights(optimizer, self._trained)
            self._trained = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Restore the trained weights."""
        self._swap_out()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Put the averages into the model, with `swap_on_epoch`."""
        if self.swap_on_epoch:
            self._swap_in()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Leave the averages in the model, as `fit` does without this callback."""
        self._trained = None

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Put the averages into the model."""
        self._swap_in()

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Restore the trained weights."""
        self._swap_out()

    on_predict_begin = on_test_begin
    on_predict_end = on_test_end

    def state_dict(self) -> dict[str, Any]:
        """Return the trained weights that are not in the model."""
        return {"_trained": self._trained}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        kept, params = state["_trained"], self.model._trainer.trained
        if kept is not None:
            kept = [
                like_parameter(p, value.to(p.device)) for value, p in zip(kept, params, strict=True)
            ]
        self._trained = kept


def _keeper(optimizer: Any) -> Any:
    """Return the object that holds an optimizer's moving averages."""
    hooks = getattr(optimizer, "step_hooks", None)
    if getattr(hooks, "ema_momentum", None) is None:
        raise ValueError(
            f"SwapEMAWeights needs moving averages, but {type(optimizer).__name__} keeps none: "
            "compile with an optimizer of fgraph.optimizers and use_ema=True"
        )
    return hooks
