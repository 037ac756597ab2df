"""Penalties that layers add to the loss, and constraints that they apply after each step."""

from __future__ import annotations

import weakref
from typing import Any, cast

from torch import Tensor, nn

from ..common.sharded_tensors import reshard
from ..graph.graph import Graph
from ..layers.base import Layer
from ..layers.modules import KeptLoss


class Penalties:
    """Adds `losses` to a model, and applies the constraints of its layers' weights."""

    _graph: Graph | None

    @property
    def losses(self) -> list[Tensor]:
        """The penalties to add to the loss: of the current weights, and of the last activations.

        Each is a scalar tensor with gradients; those of nested models are included.
        """
        layers, activities = self._penalised()
        if not layers and not activities:
            return super().losses  # type: ignore[misc,no-any-return]
        if layers:
            reshard(cast(Any, self))  # after a forward, FSDP2 may still hold whole weights
        of_weights = [penalty for layer in layers for penalty in layer.losses]
        of_activations = [part.value for part in activities if part.value is not None]
        added: list[Tensor] = super().losses  # type: ignore[misc]
        return of_weights + of_activations + added

    def _is_penalised(self) -> bool:
        """Return whether `losses` may hold more than those of `add_loss`."""
        return type(self).losses is not Penalties.losses or any(self._penalised())

    def _after_step(self) -> None:
        """Apply the constraints of the layers' weights."""
        for layer in self._penalised()[0]:
            layer.apply_constraints()

    def _penalised(self) -> tuple[list[Layer], list[KeptLoss]]:
        """Return the layers and modules with penalties or constraints, cached for each graph."""
        graph = self._graph
        if graph is None:
            return _find(self)
        found = _found.get(graph)
        if found is None:
            found = _found[graph] = _find(self)
        return found


_Found = tuple[list[Layer], list[KeptLoss]]
_found: weakref.WeakKeyDictionary[Graph, _Found] = weakref.WeakKeyDictionary()


def _find(model: Any) -> _Found:
    """Return the layers with regularizers or constraints, and the modules that store penalties."""
    layers: dict[int, Layer] = {}
    parts: list[nn.Module] = list(model.modules())
    for part in parts:
        if isinstance(part, Penalties) and part._graph is not None:
            for layer in cast(Any, part).layers:
                if isinstance(layer, Layer) and layer.has_penalties:
                    layers[id(layer)] = layer
    return list(layers.values()), [part for part in parts if isinstance(part, KeptLoss)]
