"""`add_loss`: losses that a forward adds to what training minimises."""

from __future__ import annotations

import threading

from torch import Tensor


class _Collecting(threading.local):
    """The lists that collect losses of the running calls in this thread, innermost last."""

    def __init__(self) -> None:
        self.lists: list[list[Tensor]] = []


_collecting = _Collecting()


class collecting:
    """Context manager: collect the losses that calls inside add."""

    def __init__(self, losses: list[Tensor]) -> None:
        self._losses = losses

    def __enter__(self) -> None:
        _collecting.lists.append(self._losses)

    def __exit__(self, *_: object) -> None:
        _collecting.lists.pop()


class AddedLosses:
    """Adds Keras's `add_loss` to a module, for use in its `forward`."""

    _added_outside: bool = False

    def add_loss(self, loss: Tensor) -> None:
        """Add a scalar to the loss of the batch that is being processed.

        Call it in the `forward` of the model or of a model inside it. `fit`, `evaluate` and
        `compute_loss` add it to the loss; for your own training loop, return it from `forward`
        instead.

        Args:
            loss: a scalar tensor.

        Raises:
            TypeError: it is not a tensor.
            ValueError: it is not a scalar.
        """
        if not isinstance(loss, Tensor):
            raise TypeError(
                f"add_loss expects a scalar tensor, got {type(loss).__name__}: call it in a "
                "`forward` written by hand, where there are values; in a graph, override "
                "compute_loss"
            )
        if loss.ndim:
            raise ValueError(f"add_loss expects a scalar, got shape {tuple(loss.shape)}: reduce it")
        if _collecting.lists:
            _collecting.lists[-1].append(loss)
        else:
            self.__dict__["_added_outside"] = True

    def _collected(self, losses: list[Tensor] | None) -> list[Tensor]:
        """Return the losses of the current step; raise an error for losses outside a step."""
        if losses is None and self._added_outside:
            raise RuntimeError(
                f"{type(self).__name__}.losses: what add_loss is given is collected in fit and "
                "evaluate only; in a loop of your own return it from forward"
            )
        return losses or []
