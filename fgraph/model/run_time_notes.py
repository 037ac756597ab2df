"""A note on errors that happen while a model runs: which layer, its settings, the shapes."""

from __future__ import annotations

import re
from types import CodeType, FrameType
from typing import Any

from torch import Tensor

from ..graph import Node, Ref
from ..graph.graph import describe
from ..graph.nested import iter_leaves


def add_run_time_note(error: BaseException, model: Any) -> None:
    """Add a note that names the layer whose generated line raised `error`; its type is kept."""
    if model._graph is None:
        return
    variants = [*model.__dict__.get("_view", ())[1:], *model.__dict__.get("_masked", {}).values()]
    by_code: dict[Any, Any] = {}
    for forward, *found in (
        (type(model)._generated, model._forward_source, model._graph, model._node_names),
        *((v.forward, v.source, v.graph, v.naming.nodes) for v in variants if v is not None),
    ):
        by_code |= dict.fromkeys(_with_segments(forward.__code__), found)
    traceback = error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code in by_code and _runs(frame, model):
            source, graph, names = by_code[frame.f_code]
            if traceback.tb_lineno in source.lines:
                position = source.lines.index(traceback.tb_lineno)
                line = source.text.splitlines()[traceback.tb_lineno - 1]
                node = graph.nodes[position]
                note = _note(names[position], node, _given_shapes(line, node, frame.f_locals))
                error.add_note(f"in model {model.name!r}, {note}")
                return
        traceback = traceback.tb_next


def _with_segments(code: CodeType) -> list[CodeType]:
    """Return the code of a generated forward, and of the functions inside it."""
    return [code, *(part for part in code.co_consts if isinstance(part, CodeType))]


def _runs(frame: FrameType, model: Any) -> bool:
    """Return whether a generated forward, or a function inside it, runs for this model."""
    owner = frame.f_locals.get("self", model)  # not every segment uses it
    return owner._graph is model._graph


def _note(name: str, node: Node, given: list[str]) -> str:
    built = [_shape(ref.spec.shape) for ref in node.refs() if hasattr(ref.spec, "dtype")]
    return (
        f"layer {name!r}: {describe(node)}\n"
        f"  given: {', '.join(given)}\n"
        f"  built for: {', '.join(built)}"
    )


def _given_shapes(line: str, node: Node, variables: dict[str, Any]) -> list[str]:
    """Read the shapes of a call's arguments from the variables of the line that failed."""
    names = [word for word in _words(line.partition(" = ")[2]) if word in variables]
    shapes = [
        f"{name} {_shape(value.shape)} {str(value.dtype).removeprefix('torch.')} on {value.device}"
        for name in dict.fromkeys(names)
        if isinstance(value := variables[name], Tensor)
    ]
    return shapes or [
        type(leaf).__name__ for leaf in iter_leaves(node.args) if type(leaf) is not Ref
    ]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d]\w*", text)


def _shape(shape: Any) -> str:
    return str(tuple(shape))
