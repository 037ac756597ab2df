"""Where `.keras` files store the weights of each layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import nn

from ...common.configured import is_of_fgraph
from ...errors import LoadError
from ...layers import wrappers
from ...layers.base import Layer
from ...layers.cells import RNN, StackedRNNCells, _Cell
from ...layers.multi_head_attention import _Heads
from ...layers.normalization import SpectralNormalization
from ...layers.recurrent import Recurrent
from ...layers.weight_layout import Weight
from ...model import Model
from .hdf5 import Hdf5
from .operations import function_name

# public names that are not those of the classes
_PYTHON_NAMES = {"GroupQueryAttention": "GroupedQueryAttention", "Model": "Functional"}
# the weights of a layer, each with the layer and the module that hold it, in Keras's order
Held = list[tuple[Any, nn.Module, Weight]]


class Place(NamedTuple):
    """Where the weights of a part of a model are stored.

    Attributes:
        group: the group of a `.keras` file.
        top: the layer of the outermost model that contains it, whose name `.h5` files use.
        trainable: whether all models around it are trainable.
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
    """Return Keras's paths for each weight of a layer, the newest first.

    Args:
        layer: a layer that is built.
        count: the number of its weights.
    """
    found = [[place] for place in _places(layer)]
    if not is_of_fgraph(type(layer)):
        found = found[:count]  # its own come first; its parts may have places of their own
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
    if len(layers_within(layer)) < sum(1 for _ in _leaf_parts(layer)):
        return []  # torch modules: it is not known where
    found = [place for part, path in paths_of_parts(layer) if part.built
             for place in _under(path, part)]  # fmt: skip
    return [*_own(layer, len(layer._held_weights()) - len(found)), *found]


def layers_within(layer: Any) -> list[Layer]:
    """Return the layers that are attributes of a layer or model, and those of models in it."""
    return [part for part in _leaf_parts(layer) if isinstance(part, Layer)]


def _leaf_parts(part: Any) -> Iterator[Any]:
    for inner in part.inner_parts() if isinstance(part, Layer) else part.layers:
        if isinstance(inner, Model):
            yield from _leaf_parts(inner)
        else:
            yield inner


def paths_of_parts(owner: Any) -> list[tuple[Layer, str]]:
    """Return the layers within a layer or model with the names of their groups, in Keras's order.

    Args:
        owner: the layer, or a model that is written with `call`.
    """
    found = _by_attributes(owner)
    return [(part, found[id(part)]) for part in layers_within(owner) if id(part) in found]


def _by_attributes(owner: Any) -> dict[int, str]:
    """Return the names of the groups of layers: by the first attribute, private ones come last."""
    names = (
        vars(owner) if isinstance(owner, Layer) else {*vars(owner).get("_assigned", ()), "layers"}
    )
    found: dict[int, str] = {}
    for name in sorted(names, key=lambda name: (name.startswith("_"), name)):
        for part, path in _named(getattr(owner, name, None), name):
            found.setdefault(id(part), path)
    return found


def _named(value: Any, path: str) -> Iterator[tuple[Layer, str]]:
    """Yield the layers in an attribute, each with the name of its group."""
    if isinstance(value, Layer):
        yield value, path
    elif isinstance(value, Model) and hasattr(type(value), "call"):
        found = _by_attributes(value)
        yield from ((part, f"{path}/{found[id(part)]}") for part in layers_within(value)
                    if id(part) in found)  # fmt: skip
    elif isinstance(value, Model):
        yield from _named(value.layers, f"{path}/layers")
    elif isinstance(value, (list, tuple, dict)):
        items = [item for item in (value.values() if isinstance(value, dict) else value)
                 if isinstance(item, (Layer, Model, list, tuple, dict))]  # fmt: skip
        kinds = [type(i).__name__ if isinstance(i, (Layer, Model)) else "Container" for i in items]
        for item, name in zip(items, counted(kinds), strict=True):
            yield from _named(item, f"{path}/{name}")


def _cells(prefix: str, cells: Sequence[Any]) -> list[str]:
    groups = counted([type(cell).__name__ for cell in cells])
    return [
        path
        for cell, group in zip(cells, groups, strict=True)
        for path in _under(f"{prefix}/{group}", cell)
    ]


def check_all_read(file: Hdf5) -> None:
    """Refuse a file with weights that no layer has read.

    Raises:
        LoadError: there are some; the text says where.
    """
    for path in file.unread("layers"):
        if "seed_generator" not in path:
            raise LoadError(
                f"the file has weights in {path!r:.120} that no layer here has taken: it is not "
                "known where Keras keeps those of torch modules in a layer"
            )


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
