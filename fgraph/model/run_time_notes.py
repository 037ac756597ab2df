"""A note on errors that happen while a model runs: which layer, its settings, the shapes."""

from __future__ import annotations

import re
from traceback import walk_tb
from types import CodeType
from typing import Any

from torch import Tensor

from ..graph import Node, Ref
from ..graph.graph import describe
from ..graph.nested import iter_leaves


def add_run_time_note(error: BaseException, model: Any) -> None:
    """Add a note that names the layer whose generated line raised `error`; its type is kept."""
    if model._graph is None:
        return
    others = [*model.__dict__.get("_view", ())[1:], *model.__dict__.get("_masked", {}).values()]
    by_code: dict[CodeType, Any] = {}
    for forward, *found in (
        (type(model)._generated, model._forward_source, model._graph, model._node_names),
        *((v.forward, v.source, v.graph, v.naming.nodes) for v in others if v is not None),
    ):
        inner = [part for part in forward.__code__.co_consts if isinstance(part, CodeType)]
        by_code |= dict.fromkeys([forward.__code__, *inner], found)
    for frame, number in walk_tb(error.__traceback__):
        if frame.f_code not in by_code:
            continue
        source, graph, names = by_code[frame.f_code]
        owner = frame.f_locals.get("self", model)  # not every function inside uses it
        if number in source.lines and owner._graph is model._graph:
            position = source.lines.index(number)
            node, line = graph.nodes[position], source.text.splitlines()[number - 1]
            built = [ref.spec.shape for ref in node.refs() if hasattr(ref.spec, "dtype")]
            error.add_note(
                f"in model {model.name!r}, layer {names[position]!r}: {describe(node)}\n"
                f"  given: {', '.join(_given_shapes(line, node, frame.f_locals))}\n"
                f"  built for: {', '.join(map(str, built))}"
            )
            return


def _given_shapes(line: str, node: Node, variables: dict[str, Any]) -> list[str]:
    """Read the shapes of a call's arguments from the variables of the line that failed."""
    words = re.findall(r"[^\W\d]\w*", line.partition(" = ")[2])
    shapes = [
        f"{name} {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')} on {value.device}"
        for name in dict.fromkeys(words)
        if isinstance(value := variables.get(name), Tensor)
    ]
    return shapes or [
        type(leaf).__name__ for leaf in iter_leaves(node.args) if type(leaf) is not Ref
    ]
