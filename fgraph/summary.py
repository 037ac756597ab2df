"""`model.summary()`: a table of the calls of a model."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from .graph import Node, Ref
from .graph.graph import Graph
from .graph.structure import iter_leaves, map_leaves
from .layers.base import Layer
from .naming import entity_of

if TYPE_CHECKING:
    from .model import Model

_HEADERS = ("Layer (type)", "Output shape", "Param #", "Connected to")
_LEFT = (True, True, False, True)


@dataclass
class Row:
    """One line of the summary: an input, or one call of a layer, module or function.

    Attributes:
        name: the name in the model; a further call of the same layer has its number behind it.
        kind: the class of the layer or module, or the name of the function.
        shape: the output shape, in the structure of the result.
        parameters: how many parameters the layer brings in; `None` for a further call.
        sources: the names of the rows that it takes its input from.
        entity: the layer, module or node itself; `None` for an input.
    """

    name: str
    kind: str
    shape: Any
    parameters: int | None
    sources: list[str]
    entity: Any


def summary_rows(model: Model) -> list[Row]:
    """Return the rows of `model.summary()`, in call order."""
    graph = model._live_graph("summary")
    return _Rows(model, graph).all


class _Rows:
    """Collects the rows of one model; remembers which row makes which value."""

    def __init__(self, model: Model, graph: Graph) -> None:
        self._made_by: dict[Ref, str] = {}
        self._calls: dict[str, int] = {}
        self._counted: set[int] = set()
        self.all: list[Row] = []
        for name, ref in zip(model.input_names, graph.inputs, strict=True):
            self._made_by[ref] = name
            shape = ref.spec.shape  # type: ignore[union-attr]
            self.all.append(Row(name, "Input", shape, 0, [], None))
        groups: dict[int, list[Node]] = {}
        names: dict[int, str] = {}
        for node, name in zip(graph.nodes, model._node_names, strict=True):
            key = id(node.call.outermost) if node.call is not None else id(node)
            groups.setdefault(key, []).append(node)
            names[key] = name
        for key, nodes in groups.items():
            self._add(names[key], nodes)

    def _add(self, name: str, nodes: list[Node]) -> None:
        entity = entity_of(nodes[0])
        number = self._calls[name] = self._calls.get(name, -1) + 1
        label = f"{name}[{number}]" if number else name
        inside = {id(node) for node in nodes}
        sources = [ref for node in nodes for ref in node.refs() if id(ref.node) not in inside]
        call = nodes[0].call
        outputs = nodes[-1].build(lambda ref: ref) if call is None else call.outermost.outputs
        for node in nodes:
            for index in range(len(node.specs)):
                self._made_by[Ref(node, index)] = label
        shape = map_leaves(lambda r: getattr(r.spec, "shape", ()) if type(r) is Ref else r, outputs)
        found = list(dict.fromkeys(self._made_by[ref] for ref in sources if ref in self._made_by))
        kind = nodes[0].kind if isinstance(entity, Node) else type(entity).__name__
        self.all.append(
            Row(label, kind, shape, None if number else self._new_parameters(entity, nodes), found, entity)
        )

    def _new_parameters(self, entity: Any, nodes: list[Node]) -> int:
        """Count the parameters that no row before has brought in."""
        module = entity.module if isinstance(entity, Layer) else entity
        found = list(module.parameters()) if isinstance(module, nn.Module) else []
        for node in nodes:
            found += [p for p in iter_leaves((node.args, node.kwargs)) if isinstance(p, nn.Parameter)]
        new = {id(p): p for p in found if id(p) not in self._counted}
        self._counted.update(new)
        return sum(p.numel() for p in new.values())


def print_summary(
    model: Model,
    line_length: int | None = None,
    print_fn: Callable[[str], Any] = print,
) -> None:
    """Print the layers of a model: name and type, output shape, parameters, where inputs come from.

    Args:
        model: a model that has a graph.
        line_length: the width in characters; that of the terminal by default, 88 in a pipe.
        print_fn: called with the whole text.
    """
    rows = [
        (f"{row.name} ({row.kind})", _shape_text(row.shape), _count_text(row), ", ".join(row.sources))
        for row in summary_rows(model)
    ]
    width = line_length or min(shutil.get_terminal_size((88, 24)).columns, 120)
    lines = [f'Model: "{model.name}"', *_table(rows, width), *_totals(model)]
    print_fn("\n".join(lines))


def _table(rows: list[tuple[str, ...]], width: int) -> list[str]:
    """Lay out the rows in columns, wrapping what is too long for `width`."""
    needed = [max(len(row[i]) for row in [_HEADERS, *rows]) for i in range(4)]
    room = max(width - 2 * 3, 40)
    while sum(needed) > room:
        widest = needed.index(max(needed))
        needed[widest] -= 1
    rule = "─" * (sum(needed) + 6)
    lines = [rule, *_wrapped(_HEADERS, needed), rule]
    for row in rows:
        lines += _wrapped(row, needed)
    return [*lines, rule]


def _wrapped(row: tuple[str, ...], widths: list[int]) -> list[str]:
    cells = [textwrap.wrap(text, w) or [""] for text, w in zip(row, widths, strict=True)]
    height = max(len(cell) for cell in cells)
    lines = []
    for i in range(height):
        parts = [
            (cell[i] if i < len(cell) else "").ljust(w)
            if left
            else (cell[i] if i < len(cell) else "").rjust(w)
            for cell, w, left in zip(cells, widths, _LEFT, strict=True)
        ]
        lines.append("  ".join(parts).rstrip())
    return lines


def _shape_text(shape: Any) -> str:
    return str(shape)


def _count_text(row: Row) -> str:
    return "(shared)" if row.parameters is None else f"{row.parameters:,}"


def _totals(model: Model) -> list[str]:
    parameters = list(model.parameters())
    total = sum(p.numel() for p in parameters)
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    size = sum(p.numel() * p.element_size() for p in parameters)
    return [
        f"Total params: {total:,} ({_bytes_text(size)})",
        f"Trainable params: {trainable:,}",
        f"Frozen params: {total - trainable:,}",
    ]


def _bytes_text(size: float) -> str:
    for unit in ("B", "KB", "MB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} GB"
