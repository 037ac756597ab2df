"""A note on errors that happen while a model runs: which layer, its settings, the shapes."""

from __future__ import annotations

import re
from typing import Any, Protocol

from torch import Tensor

from ..graph import Node, Ref
from ..graph.graph import Graph, describe
from ..graph.nested import iter_leaves
from .codegen import Source


class Generated(Protocol):
    """What this module needs to know of a model."""

    _graph: Graph | None
    _node_names: list[str]
    _forward_source: Source

    @property
    def name(self) -> str: ...

    @property
    def code(self) -> str: ...


def add_run_time_note(error: BaseException, model: Generated) -> None:
    """Add a note that names the layer whose generated line raised `error`; its type is kept."""
    forward = getattr(type(model), "_generated", None)
    if forward is None or model._graph is None:
        return
    code = forward.__code__
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code is code and frame.f_locals.get("self") is model:
            lines = model._forward_source.lines
            if traceback.tb_lineno in lines:
                position = lines.index(traceback.tb_lineno)
                name = model._node_names[position]
                note = _note(model, name, model._graph.nodes[position], frame.f_locals)
                error.add_note(note)
            return
        traceback = traceback.tb_next


def _note(model: Generated, name: str, node: Node, variables: dict[str, Any]) -> str:
    built = [_shape(ref.spec.shape) for ref in node.refs() if hasattr(ref.spec, "dtype")]
    given = _given_shapes(model, node, variables)
    return (
        f"in model {model.name!r}, layer {name!r}: {describe(node)}\n"
        f"  given: {', '.join(given)}\n"
        f"  built for: {', '.join(built)}"
    )


def _given_shapes(model: Generated, node: Node, variables: dict[str, Any]) -> list[str]:
    """Read the shapes of a call's arguments from the variables of the line that failed."""
    line = model.code.splitlines()[node_line(model, node) - 1]
    names = [word for word in _words(line.partition(" = ")[2]) if word in variables]
    shapes = [
        f"{name} {_shape(value.shape)} {str(value.dtype).removeprefix('torch.')} on {value.device}"
        for name in dict.fromkeys(names)
        if isinstance(value := variables[name], Tensor)
    ]
    return shapes or [
        type(leaf).__name__ for leaf in iter_leaves(node.args) if type(leaf) is not Ref
    ]


def node_line(model: Generated, node: Node) -> int:
    """Return the number of the line of `model.code` that runs `node`."""
    graph = model._graph
    return model._forward_source.lines[graph.nodes.index(node)]  # type: ignore[union-attr]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d]\w*", text)


def _shape(shape: Any) -> str:
    return str(tuple(shape))
