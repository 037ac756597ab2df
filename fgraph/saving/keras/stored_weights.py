"""Where `.keras` files keep the weights of each layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from ...errors import LoadError
from ...layers import wrappers
from ...layers.base import Layer
from ...layers.cells import RNN, StackedRNNCells, _Cell
from ...layers.multi_head_attention import _Heads
from ...layers.normalization import SpectralNormalization
from ...layers.recurrent import Recurrent
from ...layers.weight_layout import Weight
from .hdf5 import Hdf5
from .operations import function_name

# public names that are not those of the classes
_PYTHON_NAMES = {"GroupQueryAttention": "GroupedQueryAttention", "Model": "Functional"}
# the weights of a layer, each with the layer and the module that hold it, in Keras's order
Held = list[tuple[Any, nn.Module, Weight]]


class Place(NamedTuple):
    """Where the weights of a part of a model are.

    Attributes:
        group: the group of a `.keras` file.
        top: the layer of the outermost model that it belongs to, by whose name `.h5` files go.
        trainable: whether all models that it is in are trained.
    """

    group: str
    top: str = ""
    trainable: bool = True

    def inner(self, name: str, trainable: bool = True) -> Place:
        """Return the place of a part of this part."""
        return Place(f"{self.group}/{name}", self.top, self.trainable and trainable)


def counted(kinds: Sequence[str]) -> list[str]:
    """Return the names of the groups of layers: their classes, counted."""
    seen: Counter[str] = Counter()
    names = []
    for kind in map(function_name, [_PYTHON_NAMES.get(kind, kind) for kind in kinds]):
        names.append(f"{kind}_{seen[kind]}" if seen[kind] else kind)
        seen[kind] += 1
    return names


def places(layer: Layer, count: int) -> list[list[str]]:
    """Return for each weight of a layer the paths that Keras has for it, the newest first.

    Args:
        layer: a layer that is built.
        count: the number of its weights.
    """
    found = [[place] for place in _places(layer)]
    if isinstance(layer, _Heads):
        found = [[*paths, *(f"_{path}" for path in paths)] for paths in found]
    return found if len(found) == count else []


def _own(layer: Any, count: int | None = None) -> list[str]:
    held = layer._held_weights()
    return [f"vars/{k}" for k in range(len(held) if count is None else count)]


def _under(prefix: str, layer: Any) -> list[str]:
    return [f"{prefix}/{path}" for path in _places(layer)]


def _places(layer: Any) -> list[str]:
    if isinstance(layer, wrappers.Bidirectional):
        return [*_under("forward_layer", layer.forward_layer),
                *_under("backward_layer", layer.backward_layer)]  # fmt: skip
    if isinstance(layer, wrappers.TimeDistributed):
        return _under("layer", layer.layer) if isinstance(layer.layer, Layer) else []
    if isinstance(layer, SpectralNormalization):
        inner = _under("layer", layer.layer)
        return [inner[0], "vars/1", *inner[1:]]
    if isinstance(layer, RNN):
        return (_cells("cell/cells", layer.cells) if layer._stacked
                else _under("cell", layer.cells[0]))  # fmt: skip
    if isinstance(layer, StackedRNNCells):
        return _cells("cells", layer.cells)
    if isinstance(layer, Recurrent) and not isinstance(layer, _Cell):
        return [f"cell/{path}" for path in _own(layer)]
    if isinstance(layer, _Heads):
        names = [weight.name for _, _, weight in layer._held_weights()]
        return [f"{part}_dense/vars/{int(kind == 'bias')}"
                for part, _, kind in (name.rpartition("_") for name in names)]  # fmt: skip
    inner = layer.inner_layers()
    if len(layer.inner_parts()) > len(inner):  # models and torch modules: it is not known where
        return []
    if not inner:
        return _own(layer)
    if not all(part.built for part in inner):  # each has a place of its own
        return [f"vars/{k}" for k in range(len(held_weights(layer)))]
    own = len(layer._held_weights()) - sum(len(part._held_weights()) for part in inner)
    found = [place for part, path in paths_of_parts(layer) for place in _under(path, part)]
    return [*found, *(f"vars/{k}" for k in range(own))]


def held_weights(layer: Any, own: bool = False) -> Held:
    """Return the weights of a layer, without those of layers in it that are not built yet.

    Args:
        layer: the layer.
        own: whether to leave out those of all layers in it.
    """
    if not own and all(part.built for part in layer.inner_layers()):
        found: Held = layer._held_weights()
        return found
    declared = [*layer.keras_weights, *layer._added_weights()]
    return [(layer, layer.module, weight) for weight in declared if weight.tensors(layer.module)]


def paths_of_parts(layer: Any) -> list[tuple[Any, str]]:
    """Return the layers in a layer with the names of their groups."""
    inner = {id(part) for part in layer.inner_layers()}
    found: dict[int, tuple[Any, str]] = {}
    for key, value in vars(layer).items():
        if isinstance(value, Layer):
            named = [(value, key)]
        elif isinstance(value, (list, tuple, dict)):
            parts = [part for part in (value.values() if isinstance(value, dict) else value)
                     if isinstance(part, Layer)]  # fmt: skip
            names = counted([type(part).__name__ for part in parts])
            named = [(part, f"{key}/{name}") for part, name in zip(parts, names, strict=True)]
        else:
            continue
        for part, path in named:
            if id(part) in inner:
                found.setdefault(id(part), (part, path))
    return list(found.values())


def _cells(prefix: str, cells: Sequence[Any]) -> list[str]:
    groups = counted([type(cell).__name__ for cell in cells])
    return [
        path
        for cell, group in zip(cells, groups, strict=True)
        for path in _under(f"{prefix}/{group}", cell)
    ]


class GroupedWeights:
    """The weights of a `.keras` file: a group for each layer, by the names of classes.

    Args:
        file: its HDF5 file.
    """

    def __init__(self, file: Hdf5) -> None:
        self.file = file

    def put(self, place: Place, after: Place | None = None) -> None:
        """Do nothing: each group has a name."""

    def arrays(
        self, layer: Any, place: Place, held: Held, where: str
    ) -> list[np.ndarray[Any, Any]]:
        """Return the weights of a layer in Keras's order.

        Raises:
            LoadError: the file has others.
        """
        group, paths = place.group, places(layer, len(held))
        if len(paths) != len(held):
            raise LoadError(f"{where}: it is not known where Keras keeps its weights")
        self._count(group, paths, where)
        arrays = []
        for options, (_, part, weight) in zip(paths, held, strict=True):
            found = next((p for p in options if self.file.has(f"{group}/{p}")), options[0])
            shape = tuple(weight.read(part).shape)
            what = f"{where}, weight {weight.name!r}"
            arrays.append(self.file.read(f"{group}/{found}", shape, what))
        return arrays

    def _count(self, group: str, paths: list[list[str]], where: str) -> None:
        """Refuse weights in the file that the layer does not have."""
        file = self.file
        known = {path for options in paths for path in options}
        for folder in {path.rpartition("/")[0] for path in known} | {"vars"}:
            for name in file.names(f"{group}/{folder}"):
                inner = f"{folder}/{name}"
                if inner not in known and not inner.endswith("vars/0"):
                    raise LoadError(f"{where}: the file has a weight {group}/{inner}, which the "
                                    "layer does not have here")  # fmt: skip
        if "vars/0" not in known and file.names(f"{group}/vars") and "vars/1" not in known:
            raise LoadError(f"{where}: the file has a weight {group}/vars/0, which the layer does "
                            "not have here")  # fmt: skip
