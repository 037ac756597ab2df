"""From data to the graph of a model, and its forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import nn

from ..errors import LoadError
from ..graph.graph import Graph, _At, _Entry, _Flat, _restore
from ..graph.modes import Modes
from ..graph.nested import filled
from ..graph.node import Constant, Effects, NumberSpec, Spec, TensorSpec
from ..layers.base import Layer
from ..model import Model, codegen
from ..model.naming import Naming
from ..model.signature import Signature
from .functions import is_tensor_attribute

Value = Callable[[Any], Any]


def attach_graph(model: Model, entry: dict[str, Any], value: Value) -> None:
    """Give a model its graph, its names and a forward that is generated anew.

    Args:
        model: a model that has its children and tensors.
        entry: what the encoder wrote of it.
        value: makes values of what was written.

    Raises:
        LoadError: graph and model do not fit.
    """
    graph = _graph(value, entry["graph"])
    paths = [None if path is None else tuple(path) for path in entry["node_paths"]]
    names = [_text(name) for name in entry["node_names"]]
    for node, path in zip(graph.nodes, paths, strict=True):
        if (path is None) == (node.op == "module") or (
            path is not None and model.get_submodule(".".join(path)) is not node.target
        ):
            raise LoadError(f"the graph calls a module that is not at {path!r} in the model")
    model._graph = graph
    model._input_template = value(entry["inputs"])
    model._output_template = value(entry["outputs"])
    model._node_names, model._node_paths = names, paths
    model._output_names = [_text(name) for name in entry["output_names"]]
    input_names = [_text(name) for name in entry["input_names"]]
    model._signature = Signature(
        f"model {model.name!r}", model._input_template, input_names, graph.inputs
    )
    children = {name: child for name, child in model._modules.items() if child is not None}
    naming = Naming(input_names, names, paths, children)
    outputs = filled(model._output_template, graph.outputs)
    source = codegen.generate(graph, naming, outputs, model._signature.parameters)
    for name, tensor in source.tensors.items():
        if getattr(model, name, None) is not tensor:
            raise LoadError(f"the graph holds a tensor that is not the model's {name!r}")
    model._graph_tensors = source.tensors | source.borrowed
    model._forward_source = source
    model._attach_forward()


def _graph(value: Value, held: dict[str, Any]) -> Graph:
    calls = [tuple(value(part) for part in call) for call in held["calls"]]
    if not all(isinstance(call[0], Layer) for call in calls):
        raise LoadError("a call in the file is of something that is not a layer")
    flat = _Flat(
        [_At(*at) for at in held["inputs"]],
        [_At(*at) for at in held["outputs"]],
        held["sources"],
        [_node(value, node) for node in held["nodes"]],
        cast("list[tuple[Any, Any, Any, int | None]]", calls),
    )
    return _restore(flat)


def _node(value: Value, held: dict[str, Any]) -> _Entry:
    reads = held.get("target") == {"$name": "getattr"}
    target = getattr if reads else value(held.get("target"))
    args = tuple(value(item) for item in held.get("args", ()))
    if held["op"] not in ("input", "module", "function"):
        raise LoadError(f"the file has a node of the kind {held['op']!r}")
    if (held["op"] == "module") != isinstance(target, nn.Module) or (
        held["op"] == "function" and not callable(target)
    ):
        raise LoadError("a node in the file calls what cannot be called")
    if target is getattr and not (len(args) == 2 and is_tensor_attribute(args[1])):
        raise LoadError(f"the file reads an attribute that tensors do not have: {args[1:]!r}")
    template = value(held["result"]) if "result" in held else _At(-1, 0)
    return _Entry(
        op=held["op"],
        target=target,
        function=None,
        args=args,
        kwargs=value(held.get("kwargs", {})),
        specs=[_spec(value, spec) for spec in held["specs"]],
        template=template,
        name=held.get("name"),
        call=held.get("call"),
        masks=value(held["masks"]) if "masks" in held else None,
        effects=_effects(held["effects"]) if "effects" in held else None,
        modes=Modes.from_data(held["modes"]) if "modes" in held else None,
    )


def _effects(held: Any) -> Effects:
    changes, shares = held
    return Effects(
        tuple(int(position) for position in changes),
        tuple((int(index), int(source)) for index, source in shares),
    )


def _spec(value: Value, held: Any) -> Spec:
    if isinstance(held, dict):
        return Constant(value(held["constant"]))
    if isinstance(held[0], str):
        first, second = held[1], held[-1]
        if not all(type(size) is int for size in (*first, *second)):
            raise LoadError("the file gives a shape that is none")
        dtype = value({"$dtype": held[0]})
        return TensorSpec(tuple(first), tuple(second), dtype)
    first, second = held
    return NumberSpec(int(first), int(second))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise LoadError(f"the file gives {value!r} as a name")
    return value
