"""The loop of `predict`, and what all loops owe the model and the user afterwards."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..callbacks import CallbackList
from ..graph.nested import map_leaves
from .feed import Feed
from .steps import Steps


@contextmanager
def keeping_modes(model: Any) -> Iterator[None]:
    """Puts every module's train or eval mode back, also after an error or Ctrl-C."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class Prediction(Steps):
    """The loop around `predict_step`."""

    # torch.nn.Module provides this
    eval: Any

    def _predict(self, feed: Feed, callbacks: CallbackList) -> Any:
        """Runs one pass of prediction and returns the outputs as numpy arrays."""
        parts: list[Any] = []
        with keeping_modes(self), torch.inference_mode():
            self.eval()
            callbacks.call("on_predict_begin")
            begins = callbacks.hooks("on_predict_batch_begin")
            ends = callbacks.hooks("on_predict_batch_end")
            for batch in feed.epoch():
                for hook in begins:
                    hook(len(parts), None)
                outputs = self.predict_step(batch)
                parts.append(map_leaves(_to_host, outputs))
                for hook in ends:
                    hook(len(parts) - 1, {"outputs": outputs})
            callbacks.call("on_predict_end")
        require_steps(feed, len(parts), "predict")
        if self._device().type == "cuda":
            torch.cuda.synchronize(self._device())  # the copies to the host were only begun
        return _joined(parts)


def _to_host(output: Any) -> Any:
    if not isinstance(output, Tensor):
        return output
    output = output.to("cpu", non_blocking=True)
    # a batch that is a view of the inputs, or of a buffer, would change with it
    return output.float() if output.dtype == torch.bfloat16 else output


def _joined(parts: list[Any]) -> Any:
    """Returns the batches' outputs joined along the first axis, as numpy arrays."""
    first = parts[0]
    if isinstance(first, Mapping):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, list | tuple):
        items = [_joined(list(column)) for column in zip(*parts, strict=True)]
        if hasattr(first, "_fields"):
            return type(first)(*items)
        return items if isinstance(first, list) else tuple(items)
    return torch.cat(parts).numpy() if isinstance(first, Tensor) else first


def require_steps(feed: Feed, steps: int, caller: str) -> None:
    """Refuses a pass without any batch, and warns of one that was shorter than asked for."""
    if not steps:
        raise ValueError(f"no data: {caller} was given no batch")
    if feed.dry and feed.steps is not None:
        warnings.warn(
            f"the data ran dry after {steps} of {feed.steps} steps of {caller}; no batch is used "
            "twice",
            stacklevel=4,
        )
