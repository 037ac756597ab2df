"""Builds the modules of layers without values, and fills them from a file of Keras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ....common.configured import is_of_fgraph
from ....constructions.construction import without_values
from ....errors import LoadError
from ....layers import wrappers
from ....layers.base import Layer
from ....layers.deferred_values import filled_by
from ....layers.weight_layout import _attribute
from ..stored_weights import Held, Place, layers_within, paths_of_parts

_MOST_REST = 2**28  # a layer's own values that no file holds, such as windows


class Weights(Protocol):
    """The weights in a file."""

    def put(self, place: Place, after: Place | None = None) -> None:
        """Store the place of the next layer, in the order of the configuration.

        Args:
            place: the place.
            after: the place of the layer that it follows; by default the last one.
        """

    def arrays(
        self, layer: Any, place: Place, held: Held, where: str
    ) -> list[np.ndarray[Any, Any]] | None:
        """Return the weights of a layer in Keras's order, `None` if they are not known yet."""


class Filler:
    """Builds the modules of layers on `meta`, and assigns the weights in a file.

    Args:
        weights: finds the weights in the file.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self._places: dict[
            int, tuple[Any, Place]
        ] = {}  # keeps the layers alive, so that ids stay unique
        self._order: list[Any] = []

    def put(self, layer: Any, place: Place) -> None:
        """Store where the weights of a layer, and of the layers inside it, are."""
        self._places[id(layer)] = (layer, place)
        for part in _parts(layer):
            self._places.pop(id(part), None)
        self._order.append(layer)
        self.weights.put(place)

    def trained(self) -> Held:
        """Return the weights that training changes, in the order of Keras."""
        layers = [layer for layer, _ in self._places.values() if isinstance(layer, Layer)]
        placed = {id(layer.module) for layer in layers}
        found: Held = []
        for layer in self._order:
            _, place = self._places.get(id(layer), (None, None))
            if place is None or not layer.built or not place.trainable:
                continue
            if isinstance(layer, wrappers.TimeDistributed) and not isinstance(layer.layer, Layer):
                continue
            for held in layer._held_weights():
                owner, module, weight = held
                if module is not layer.module and id(module) in placed:
                    continue  # a layer inside this one, which has its own place
                if weight.trainable and (not isinstance(owner, Layer) or owner.trainable):
                    found.append(held)
        return found

    def __call__(self, layer: Any, build: Callable[[], nn.Module | None]) -> nn.Module | None:
        """Build the module of a layer; without values if the layer is part of another."""
        with without_values(type(layer)):
            module = build()
        _, place = self._places.get(id(layer), (None, None))
        if place is None:
            return module
        layer.module = module
        marked, layer.built = layer.built, True
        try:
            self._fill_with_parts(layer, place, build)
        finally:
            layer.built = marked
        return module

    def _fill_with_parts(
        self, layer: Any, place: Place, build: Callable[[], nn.Module | None] | None
    ) -> None:
        """Fill a layer, and the layers inside it that were built before it."""
        built = self._put_parts(layer, place)
        if isinstance(layer, wrappers.TimeDistributed) and not isinstance(layer.layer, Layer):
            return  # the layers of its model were filled
        if layer.module is not None:
            self._fill(layer, layer.module, place, build)
        for part, inner in built:
            self._fill_with_parts(part, inner, _builder_of(part))

    def _put_parts(self, layer: Any, place: Place) -> list[tuple[Any, Place]]:
        """Store the places of the layers inside a layer; return those that are built already.

        Parts that this package's layers build themselves are filled with the layer.
        """
        before, last = place, layer
        built = []
        for part, path in paths_of_parts(layer):
            if id(part) in self._places or (part.built and is_of_fgraph(type(layer))):
                continue
            inner = place.inner(path, bool(layer.trainable))
            self._places[id(part)] = (part, inner)
            behind = next((k for k, one in enumerate(self._order) if one is last), 0)
            self._order.insert(behind + 1, part)
            self.weights.put(inner, before)
            last, before = part, inner
            if part.built:
                built.append((part, inner))
        return built

    def _fill(
        self,
        layer: Any,
        module: nn.Module,
        place: Place,
        build: Callable[[], nn.Module | None] | None,
    ) -> None:
        held = layer._held_weights()
        if not is_of_fgraph(type(layer)):  # its parts have their own places
            held = [found for found in held if found[1] is module]
        arrays = self.weights.arrays(layer, place, held, _where(layer))
        if arrays is None:
            return
        for (_, part, weight), array in zip(held, arrays, strict=True):
            value = torch.as_tensor(array)
            tensors = weight.layout.to_torch(value, part)
            for path, tensor in zip(_present(part, weight.paths), tensors, strict=True):
                _assign(part, path, tensor)
        if build is not None:
            _complete(layer, module, build)
        if not held:  # values that are settings
            layer._initialize()


def _builder_of(layer: Any) -> Callable[[], nn.Module | None] | None:
    """Return a function that builds the module of a layer of this package again."""
    shapes, named = layer._built_for
    return (lambda: layer.build(*shapes, **named)) if is_of_fgraph(type(layer)) else None


def _where(layer: Any) -> str:
    return f"layer {layer.name!r} ({type(layer).__name__})"


def _present(module: nn.Module, paths: Sequence[str]) -> list[str]:
    return [path for path in paths if _attribute(module, path) is not None]


def _assign(module: nn.Module, path: str, value: Tensor) -> None:
    """Replace a tensor without values."""
    owner, name = module.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2]
    old: Tensor = getattr(owner, name)
    if old.shape != value.shape:
        raise LoadError(f"a weight of shape {tuple(value.shape)} where {tuple(old.shape)} belongs")
    if not old.is_meta:  # a user's layer may also hold it as an attribute
        with torch.no_grad():
            old.copy_(value)
        return
    made = value.to(old.dtype).clone(memory_format=torch.contiguous_format)
    if isinstance(old, nn.Parameter):
        made = nn.Parameter(made, requires_grad=old.requires_grad)
    for part in module.modules():  # everything that shares it
        for table in (part._parameters, part._buffers):
            for key, kept in list(table.items()):
                if kept is old:
                    setattr(part, key, made)  # recurrent modules also keep a list of them


def _complete(layer: Any, module: nn.Module, build: Callable[[], nn.Module | None]) -> None:
    """Initialise tensors that no file holds, such as windows."""
    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    missing = [name for name, tensor in tensors.items() if tensor.is_meta]
    if not missing:
        return
    if sum(tensors[name].numel() for name in missing) > _MOST_REST:
        raise LoadError(f"layer {layer.name!r}: its own values are more than {_MOST_REST}")
    parts = [(part, part.module, part.built) for part in _parts(layer)]
    try:
        for part, _, _ in parts:
            part.built = False
        with torch.random.fork_rng(devices=()):
            with filled_by(lambda _, make: make()):
                real = build()
    finally:
        for part, kept, built in parts:
            part.module, part.built = kept, built
    values = dict([*real.named_parameters(), *real.named_buffers()]) if real is not None else {}
    for name in missing:
        _assign(module, name, values[name].detach())


def _parts(layer: Any) -> list[Any]:
    inner = layers_within(layer)
    return [part for direct in inner for part in (direct, *_parts(direct))]
