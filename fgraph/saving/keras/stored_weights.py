"""Where Keras keeps the weights of each layer, and how they get into the modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import LoadError
from ...layers import wrappers
from ...layers.base import Layer
from ...layers.cells import RNN, StackedRNNCells, _Cell
from ...layers.filling import filled_by
from ...layers.multi_head_attention import _Heads
from ...layers.normalization import SpectralNormalization
from ...layers.recurrent import Recurrent
from ...layers.weight_layout import _attribute
from ..construction import _NoValues
from .hdf5 import Hdf5
from .operations import function_name

# public names that are not those of the classes
_PYTHON_NAMES = {"GroupQueryAttention": "GroupedQueryAttention", "Model": "Functional"}
_MOST_CALLS = 1_000_000
_MOST_REST = 2**28  # values of a layer's own that no file holds, such as windows


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
    if not inner:
        return _own(layer)
    attributes = {id(part): key for key, part in vars(layer).items() if isinstance(part, Layer)}
    own = len(layer._held_weights()) - sum(len(part._held_weights()) for part in inner)
    found = [path for part in inner for path in _under(attributes.get(id(part), "?"), part)]
    return [*found, *(f"vars/{k}" for k in range(own))]


def _cells(prefix: str, cells: Sequence[Any]) -> list[str]:
    groups = counted([type(cell).__name__ for cell in cells])
    return [
        path
        for cell, group in zip(cells, groups, strict=True)
        for path in _under(f"{prefix}/{group}", cell)
    ]


class Filler:
    """Builds the modules of layers on `meta` and gives them the weights in a file.

    Args:
        groups: for each layer of a graph, by its identity, its group in the file.
        file: the file.
    """

    def __init__(self, file: Hdf5 | None) -> None:
        self.file = file
        self.groups: dict[int, str] = {}
        self.kept: list[Any] = []  # so that identities stay theirs
        self.values: dict[int, list[np.ndarray[Any, Any]]] = {}

    def put(self, layer: Any, group: str) -> None:
        """Say where the weights of a layer are."""
        self.groups[id(layer)] = group
        self.kept.append(layer)

    def __call__(self, layer: Any, build: Callable[[], nn.Module | None]) -> nn.Module | None:
        """Build the module of a layer; it has no values if the layer is a part of another."""
        if type(layer).__module__.startswith("fgraph."):
            with _NoValues(type(layer), _MOST_CALLS):
                module = build()
        else:
            with torch.random.fork_rng(devices=()):
                module = build()
        group = self.groups.get(id(layer))
        if module is None or group is None:
            return module
        if isinstance(layer, wrappers.TimeDistributed) and not isinstance(layer.layer, Layer):
            return module  # the layers of its model were filled
        layer.module = module
        marked, layer.built = layer.built, True
        try:
            self._fill(layer, module, group)
            _complete(layer, module, build)
            if not layer._held_weights():  # values that are settings
                layer._initialize()
        finally:
            layer.built = marked
        return module

    def _fill(self, layer: Any, module: nn.Module, group: str) -> None:
        where = f"layer {layer.name!r} ({type(layer).__name__})"
        held = layer._held_weights()
        expected = [tuple(weight.read(part).shape) for _, part, weight in held]
        arrays = self._arrays(layer, group, expected, [w.name for _, _, w in held], where)
        for (_, part, weight), array in zip(held, arrays, strict=True):
            value = torch.as_tensor(array)
            tensors = weight.layout.to_torch(value, part)
            for path, tensor in zip(_present(part, weight.paths), tensors, strict=True):
                _assign(part, path, tensor)

    def _arrays(
        self, layer: Any, group: str, shapes: list[tuple[int, ...]], names: list[str], where: str
    ) -> list[np.ndarray[Any, Any]]:
        if self.file is None:
            raise LoadError(f"{where}: no file")
        paths = places(layer, len(shapes))
        if len(paths) != len(shapes):
            raise LoadError(f"{where}: it is not known where Keras keeps its weights")
        self._count(group, paths, where)
        arrays = []
        for options, shape, name in zip(paths, shapes, names, strict=True):
            place = next((p for p in options if self.file.has(f"{group}/{p}")), options[0])
            arrays.append(self.file.read(f"{group}/{place}", shape, f"{where}, weight {name!r}"))
        return arrays

    def _count(self, group: str, paths: list[list[str]], where: str) -> None:
        """Refuse weights in the file that the layer does not have."""
        file: Any = self.file
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


def _present(module: nn.Module, paths: Sequence[str]) -> list[str]:
    return [path for path in paths if _attribute(module, path) is not None]


def _assign(module: nn.Module, path: str, value: Tensor) -> None:
    """Put a tensor in the place of one without values."""
    owner, name = module.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2]
    old: Tensor = getattr(owner, name)
    if old.shape != value.shape:
        raise LoadError(f"a weight of shape {tuple(value.shape)} where {tuple(old.shape)} belongs")
    made = value.to(old.dtype).clone(memory_format=torch.contiguous_format)
    if isinstance(old, nn.Parameter):
        made = nn.Parameter(made, requires_grad=old.requires_grad)
    for part in module.modules():  # whoever shares it
        for table in (part._parameters, part._buffers):
            for key, kept in list(table.items()):
                if kept is old:
                    setattr(part, key, made)  # recurrent modules keep a list beside it


def _complete(layer: Any, module: nn.Module, build: Callable[[], nn.Module | None]) -> None:
    """Give tensors that no file holds, such as windows, the values that they are made with."""
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
    inner = list(layer.inner_layers())
    return [part for direct in inner for part in (direct, *_parts(direct))]
