"""One stage of a cut model: a model with names and weights of the whole."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..graph import Node, Ref
from ..graph.flat_graph import Entry, EntryRef, FlatGraph, flatten, restore
from ..graph.graph import Graph
from ..graph.module_state import READS
from ..graph.nested import iter_leaves, map_leaves
from ..graph.specs import DeviceSpec, NumberSpec, TensorSpec
from ..model import Model
from ..model.identifiers import distinct
from ..model.naming import Naming

Path = tuple[str, ...]


def stage_model(
    model: Model,
    taken: Sequence[Ref],
    devices: Sequence[Ref],
    given: Sequence[Ref],
    structured: bool,
    used: set[int] | None,
) -> Model:
    """Return the part of a model that computes some values from others.

    Args:
        model: the whole.
        taken: the values that the stage takes.
        devices: devices that earlier stages have read, and this one uses.
        given: what it returns: a tensor, or a tuple of several.
        structured: whether it returns the outputs of the model in their own structure.
        used: for the one stage that also holds all unused tensors, the ids of the tensors that the
            whole graph uses.
    """
    graph = Graph([*taken, *devices], given)
    parts = _Parts(model, graph, used)
    stage = Model.__new__(Model)
    super(Model, stage).__init__()
    stage.explicit_name, stage._graph, stage._signature = model.explicit_name, None, None
    parts.register(stage)
    names = dict(zip(map(id, _nodes(model)), model._node_names, strict=True))
    paths = dict(zip(map(id, _nodes(model)), model._node_paths, strict=True))
    flat, reads, sizes = _SizeCarriers(_with_parts(flatten(graph), parts)).graph()
    inputs = _input_names(model, taken, names)
    naming = Naming(
        inputs,
        [*_fresh(reads, names), *(names[id(node)] for node in graph.nodes), *_fresh(sizes, names)],
        [*[None] * reads, *(paths[id(node)] for node in graph.nodes), *[None] * sizes],
        {name: child for name, child in stage._modules.items() if child is not None},
    )
    outputs: Any = 0 if len(given) == 1 else tuple(range(len(given)))
    outputs = model._output_template if structured else outputs
    structure: Any = 0 if len(taken) == 1 else list(range(len(taken)))
    stage._adopt(restore(flat), naming, structure, outputs)
    return stage


def _nodes(model: Model) -> list[Node]:
    return model._live_graph("stages").nodes


def _fresh(count: int, names: dict[int, str]) -> list[str]:
    """Return names for nodes that only pass sizes from stage to stage."""
    taken = set(names.values())
    found = (name for number in itertools.count(1) if (name := f"size_{number}") not in taken)
    return list(itertools.islice(found, count))


def _input_names(model: Model, taken: Sequence[Ref], names: dict[int, str]) -> list[str]:
    given = dict(zip(model._live_graph("stages").inputs, model.input_names, strict=True))
    return distinct(given.get(ref) or names[id(ref.node)] for ref in taken)


class _Parts:
    """The modules and tensors of a model that one stage has.

    A module that the stage calls is registered itself. A module that only contains such a module is
    copied without its other parts.
    """

    def __init__(self, model: Model, graph: Graph, used: set[int] | None) -> None:
        self._model = model
        self._whole: set[int] = set()
        self._tensors: set[int] = set()
        for node in graph.nodes:
            for leaf in (node.target, *iter_leaves((node.args, node.kwargs))):
                if isinstance(leaf, nn.Module) and node.target not in READS:
                    self._whole.add(id(leaf))
                    self._tensors |= {id(t) for t in (*leaf.parameters(), *leaf.buffers())}
                elif isinstance(leaf, Tensor):
                    self._tensors.add(id(leaf))
        self._modes = {
            id(node.args[0])
            for node in graph.nodes
            if node.target in READS and isinstance(node.args[0], nn.Module)
        }
        self._used = used  # by all stages; `None` if what is left belongs to another
        self.copies: dict[int, nn.Module] = {}

    def register(self, stage: Model) -> None:
        """Give the stage its parts."""
        made = self._cut(self._model)
        for group in ("_parameters", "_buffers", "_modules"):
            getattr(stage, group).update(getattr(made, group))
        stage._non_persistent_buffers_set.update(self._model._non_persistent_buffers_set)
        stage.training = self._model.training
        for home in self._model._live_graph("stages").homes:
            if id(home.module) not in self.copies:
                self.copies[id(home.module)] = self._cut(home.module)

    def _cut(self, module: nn.Module) -> nn.Module:
        """Return a copy of a module with only the parts that the stage needs."""
        made = object.__new__(nn.Module if module is self._model else type(module))
        made.__dict__.update(module.__dict__)
        for group in ("_parameters", "_buffers"):
            kept = {name: t for name, t in module.__dict__[group].items() if self._has(t)}
            made.__dict__[group] = kept
        modules = {}
        for name, child in module._modules.items():
            part = child if child is None or id(child) in self._whole else self._copy(child)
            if part is not None:
                modules[name] = part
        made.__dict__["_modules"] = modules
        return made

    def _copy(self, module: nn.Module) -> nn.Module | None:
        if id(module) not in self.copies:
            made = self._cut(module)
            empty = not (made._modules or made._parameters or made._buffers)
            if empty and id(module) not in self._modes:
                return None
            self.copies[id(module)] = made
        return self.copies[id(module)]

    def _has(self, tensor: Tensor | None) -> bool:
        is_left = self._used is not None and id(tensor) not in self._used
        return tensor is not None and (id(tensor) in self._tensors or is_left)

    def now(self, leaf: Any) -> Any:
        """Return the module that replaces a module in the stage."""
        return self.copies.get(id(leaf), leaf) if isinstance(leaf, nn.Module) else leaf


def _with_parts(flat: FlatGraph, parts: _Parts) -> FlatGraph:
    """Let a graph refer to the parts of the stage, and to layers without their other calls."""
    owners: dict[int, Any] = {}

    def owner(layer: Any) -> Any:
        return owners.setdefault(id(layer), layer.with_module(layer.module))

    return flat._replace(
        entries=[
            entry._replace(
                target=parts.now(entry.target),
                args=map_leaves(parts.now, entry.args),
                kwargs=map_leaves(parts.now, entry.kwargs),
            )
            for entry in flat.entries
        ],
        calls=[(owner(layer), *rest) for layer, *rest in flat.calls],
        homes=[(parts.now(module), name) for module, name in flat.homes],
    )


class _SizeCarriers:
    """Passes sizes from stage to stage as shapes of tensors without elements.

    Pipelines send only tensors, and a tensor of shape `(size, 0)` takes no bytes. A device that an
    earlier stage has read becomes the device of this stage's first input.

    Args:
        flat: the graph of a stage, whose inputs and outputs may be sizes and devices.
    """

    def __init__(self, flat: FlatGraph) -> None:
        self._flat = flat
        given = flat.inputs
        self._first = next((at for at in given if self._is(at, TensorSpec)), EntryRef(0, 0))
        self._numbers = [at for at in given if self._is(at, NumberSpec)]
        self._devices = [at for at in given if self._is(at, DeviceSpec)]
        self._sources = flat.sources + len(self._numbers)
        read = [*self._numbers, *self._devices]
        self._read = {at: EntryRef(self._sources + place, 0) for place, at in enumerate(read)}
        self._shift = len(self._numbers) + len(read)

    def _spec(self, at: EntryRef) -> Any:
        return self._flat.entries[at.node].specs[at.index]

    def _is(self, at: EntryRef, kind: type) -> bool:
        return isinstance(self._spec(at), kind)

    def _now(self, leaf: Any) -> Any:
        """Return the reference to a value in the new graph; other leaves unchanged."""
        if type(leaf) is not EntryRef or leaf.node < 0:
            return leaf
        inner = leaf.node >= self._flat.sources
        return self._read.get(leaf) or (
            EntryRef(leaf.node + self._shift, leaf.index) if inner else leaf
        )

    def _moved(self, structure: Any) -> Any:
        return map_leaves(self._now, structure)

    def graph(self) -> tuple[FlatGraph, int, int]:
        """Return the graph, and how many nodes it has more: at the beginning, and at the end."""
        flat = self._flat
        carriers = {at: EntryRef(flat.sources + n, 0) for n, at in enumerate(self._numbers)}
        entries = self._entries(carriers)
        outputs = []
        for at in flat.outputs:
            if self._is(at, NumberSpec):
                entries.append(self._carrying(at))
                outputs.append(EntryRef(len(entries) - 1, 0))
            else:
                outputs.append(self._now(at))
        sizes = sum(self._is(at, NumberSpec) for at in flat.outputs)
        made = flat._replace(
            inputs=[carriers.get(at, at) for at in flat.inputs if at not in self._devices],
            outputs=outputs,
            sources=self._sources,
            entries=entries,
            calls=[(c[0], self._moved(c[1]), self._moved(c[2]), c[3]) for c in flat.calls],
            scopes=[(*s[:3], self._moved(s[3]), self._moved(s[4])) for s in flat.scopes],
            between=flat.between + len(self._read) + sizes,
            operations=self._moved(flat.operations),
        )
        return made, len(self._read), sizes

    def _entries(self, carriers: dict[EntryRef, EntryRef]) -> list[Entry]:
        """Return the entries of the graph, after those that read sizes and devices."""
        flat, spec = self._flat, self._spec
        size, numbers = "torch.Tensor.size", self._numbers
        return [
            *flat.entries[: flat.sources],
            *(_entry("input", None, (), _carrier(spec(at))) for at in numbers),
            *(_entry("function", size, (carriers[at], 0), spec(at)) for at in numbers),
            *(
                _entry("function", "getattr", (self._first, "device"), spec(at))
                for at in self._devices
            ),
            *(
                entry._replace(
                    args=self._moved(entry.args),
                    kwargs=self._moved(entry.kwargs),
                    masks={i: self._now(at) for i, at in (entry.masks or {}).items()} or None,
                )
                for entry in flat.entries[flat.sources :]
            ),
        ]

    def _carrying(self, at: EntryRef) -> Entry:
        """Return the entry of a tensor that carries a size."""
        outputs = self._flat.outputs
        like = next((out for out in outputs if self._is(out, TensorSpec)), self._first)
        args = (self._now(like), (self._now(at), 0))
        made = _entry("function", "torch.Tensor.new_empty", args, _carrier(self._spec(at)))
        return made._replace(kwargs={"dtype": torch.float32})


def _carrier(size: NumberSpec) -> TensorSpec:
    return TensorSpec((size.first, 0), (size.second, 0), torch.float32)


def _entry(op: str, function: str | None, args: tuple[Any, ...], spec: Any) -> Entry:
    return Entry(op, None, function, args, {}, [spec], EntryRef(-1, 0), None, None)
