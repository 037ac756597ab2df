"""Whether a user's loss broadcasts its target against its prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# what they return stands for what they are given
_COPIES = {"to", "float", "double", "half", "bfloat16", "type", "clone", "detach", "contiguous"}


def broadcasts(loss: Callable[[Tensor, Tensor], Any], y_true: Tensor, y_pred: Tensor) -> bool:
    """Return whether a loss combines all of the target with all of the prediction by broadcasting.

    It is called once, without gradients. What it raises then is left to the call that counts.

    Args:
        loss: called `loss(y_true, y_pred)`.
        y_true: the target, of another shape than the prediction.
        y_pred: the prediction.
    """
    y_true, y_pred = y_true.detach(), y_pred.detach()
    watch = _Watch(y_true, y_pred)
    with torch.no_grad(), watch:
        try:
            loss(y_true, y_pred)
        except Exception:
            return watch.found
    return watch.found


class _Watch(TorchFunctionMode):
    """Finds a call on both tensors whose result has their broadcast shape."""

    def __init__(self, y_true: Tensor, y_pred: Tensor) -> None:
        super().__init__()
        self.found = False
        self._kept = [[y_true], [y_pred]]  # with their copies

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if not isinstance(made, Tensor):
            return made
        given = [*args, *(kwargs or {}).values()]
        hit = [[kept for kept in known if any(kept is g for g in given)] for known in self._kept]
        if all(hit) and (a := hit[0][0].shape) != (b := hit[1][0].shape):
            self.found |= tuple(made.shape) == _joined(a, b)
        if func.__name__ in _COPIES:
            for known, found in zip(self._kept, hit, strict=True):
                known += [made] * bool(found)
        return made


def _joined(a: torch.Size, b: torch.Size) -> tuple[int, ...] | None:
    """Return the shape to which two are broadcast; `None` if they do not fit."""
    try:
        return tuple(torch.broadcast_shapes(a, b))
    except RuntimeError:
        return None
