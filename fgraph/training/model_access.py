"""How training sees a model: its call, the names and dtypes of inputs, outputs, the device."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .added_losses import AddedLosses
from .output_structure import OutputStructure


class ModelAccess(AddedLosses):
    """Calls a model with inputs in any structure; models with a graph override some methods."""

    # torch.nn.Module provides these
    parameters: Any
    buffers: Any

    def _call_for_loss(self, inputs: Any) -> Any:
        """Call the model in a step of training or evaluation.

        A model that knows masks or logits of its outputs attaches them to the outputs (`annotate`).
        """
        return self._call(inputs)

    def _call(self, inputs: Any) -> Any:
        """Call the model: lists by position, dicts by name."""
        call: Any = self
        if isinstance(inputs, Tensor):
            return call(inputs)
        if isinstance(inputs, list | tuple):
            return call(*inputs)
        if isinstance(inputs, Mapping) and set(inputs) <= set(self._input_names()):
            return call(**inputs)
        return call(inputs)

    def _input_names(self) -> list[str]:
        """Return the names of the inputs: those of the graph, or `forward`'s parameters."""
        known = getattr(self, "input_names", None)
        if known is not None:
            return list(known)
        forward = self.forward  # type: ignore[attr-defined]
        if getattr(forward, "__self__", None) is self:
            return list(parameter_names(forward.__func__))[1:]
        return list(inspect.signature(forward).parameters)

    def _input_dtypes(self) -> dict[str, torch.dtype]:
        """Return the dtype of each input by name, in order; empty if they are not known."""
        return {}

    def _predicted(self, outputs: Any) -> Any:
        """Return what `predict` gives for the outputs of all samples."""
        return outputs

    def _known_outputs(self) -> OutputStructure | None:
        """Return the structure of the outputs, `None` if it is known only after a call."""
        names = getattr(self, "output_names", None)
        return None if names is None else OutputStructure(names)

    def _device(self) -> torch.device:
        """Return the device of the first parameter or buffer, where batches go."""
        for tensors in (self.parameters(), self.buffers()):
            for tensor in tensors:
                return torch.device(tensor.device)
        return torch.device("cpu")


@functools.lru_cache(maxsize=256)
def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a function's parameters, cached for calls with dict inputs."""
    return tuple(inspect.signature(function).parameters)
