"""Conversions of a model to other dtypes and devices."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Self

import torch

from .generated_forward import GeneratedForward


class ModelConversion(GeneratedForward):
    """The part of a model that is told of conversions: `model.half()`, `model.to(...)`."""

    _built_in: dict[str, torch.dtype] | None = None  # the dtypes before the first conversion
    _converted = False  # whether the tensors have other dtypes than when the graph was built

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Convert or move all tensors.

        What an opened module computes of nothing but numbers keeps its dtype, as it would there.
        """
        constants = {name: self._buffers[name] for name in self._constants_of_opened()}
        if self._built_in is None and self._graph is not None:
            self._built_in = self._dtypes()
        super()._apply(fn, recurse)
        for name, before in constants.items():
            now = self._buffers[name]
            if before is not None and now is not None and now.dtype != before.dtype:
                self._buffers[name] = before.to(now.device)
        self._converted = self._built_in is not None and self._dtypes() != self._built_in
        return self

    def _dtypes(self) -> dict[str, torch.dtype]:
        tensors = itertools.chain(self.named_parameters(), self.named_buffers())
        return {name: tensor.dtype for name, tensor in tensors}

    def _constants_of_opened(self) -> set[str]:
        """Return the names of buffers that hold constants of opened modules."""
        if self._graph is None or not self._graph.homes:
            return set()
        own = {name for home in self._graph.homes for name in home.module._buffers if not home.name}
        return self._non_persistent_buffers_set - own
