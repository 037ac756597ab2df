"""`model.summary()`: a table of the calls of a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..graph import Ref
from ..graph.nested import iter_leaves, map_leaves
from ..layers.base import Layer
from ..model import Model
from .outline import Outline, OutlineStep, ParameterCount, nested_call, parameters_of
from .table import GAP, printable, size_text, table, terminal_width

_HEADERS = ("Layer (type)", "Output shape", "Param #", "Connected to")
_NARROWEST = 40


@dataclass
class Row:
    """One line of the summary: an input, or one call of a layer, module or function.

    Attributes:
        name: the name in the model; a further call of the same layer has its number behind it.
        kind: the class of the layer or module, or the name of the function.
        shape: the output shape, in the structure of the result; `None` where it is not known.
        parameters: the number of parameters that the layer adds; `None` for a further call, -1 if
            the number is not known yet.
        sources: the names of the rows that it takes its input from.
        maker: the layer, module or node itself; `None` for an input.
        trainable: whether the parameters require gradients: `"Y"`, `"N"`, `"part"`, or `"-"`
            where there are none.
        depth: the number of nested models around the row.
    """

    name: str
    kind: str
    shape: Any
    parameters: int | None
    sources: list[str]
    maker: Any
    trainable: str = "-"
    depth: int = 0


def summary_rows(model: Model, expand_nested: bool = False) -> list[Row]:
    """Return the rows of `model.summary()`, in call order.

    Args:
        model: a model; where it has no graph, the rows are its layers or children.
        expand_nested: whether the first call of a nested model is followed by its own rows.

    Returns:
        A row for each input and each call.
    """
    if model._graph is None:
        return _rows_without_graph(model)
    return _rows(Outline(model, "summary"), expand_nested, 0)


def _rows(outline: Outline, expand_nested: bool, depth: int) -> list[Row]:
    count, rows = ParameterCount(), []
    for step in outline.steps:
        new = count.new(step)
        parameters = None if step.call else _number(new)
        sources = [source.name for source in outline.sources(step)]
        shape = map_leaves(_shape, _in_plain_containers(step.outputs))
        trainable = _trainable(parameters_of(step))
        rows.append(
            Row(step.name, step.kind, shape, parameters, sources, step.maker, trainable, depth)
        )
        nested = nested_call(step)
        if expand_nested and step.level is not None:
            rows += _rows(outline.inside(step), expand_nested, depth + 1)
        elif expand_nested and nested is not None and not step.call:
            rows += _rows(Outline(nested[1], "summary"), expand_nested, depth + 1)
    return rows


def _in_plain_containers(outputs: Any) -> Any:
    """Return a call's result with objects of other classes replaced by tuples of their tensors.

    These may be results of other packages, with many fields that are `None`; model files replace
    them as well.
    """
    if type(outputs) in (tuple, list):
        return type(outputs)(map(_in_plain_containers, outputs))
    if type(outputs) is dict:
        return {key: _in_plain_containers(item) for key, item in outputs.items()}
    if isinstance(outputs, Ref):
        return outputs
    return tuple(leaf for leaf in iter_leaves(outputs) if isinstance(leaf, Ref)) or None


def _rows_without_graph(model: Model) -> list[Row]:
    """Return rows for a model without a graph: its parts, in order."""
    parts: Iterable[tuple[str, Any]] = model.named_children()
    if (stack := getattr(model, "_stack", None)) is not None:
        parts = ((str(number), layer) for number, layer in enumerate(stack))
    rows, count = [], ParameterCount()
    for name, part in parts:
        step = OutlineStep(name, name, type(part).__name__, part, [], [], None)
        unbuilt = isinstance(part, Layer) and not part.built
        number = -1 if unbuilt else _number(count.new(step))
        trainable = "-" if unbuilt else _trainable(parameters_of(step))
        rows.append(Row(name, step.kind, None, number, [], part, trainable))
    return rows


def _number(parameters: list[nn.Parameter]) -> int:
    if any(is_lazy(parameter) for parameter in parameters):
        return -1
    return sum(parameter.numel() for parameter in parameters)


def _trainable(parameters: list[nn.Parameter]) -> str:
    found = {parameter.requires_grad for parameter in parameters}
    return "-" if not found else "part" if len(found) == 2 else "Y" if found.pop() else "N"


def _shape(leaf: Any) -> Any:
    return getattr(leaf.spec, "shape", ()) if type(leaf) is Ref else leaf


def print_summary(
    model: Model,
    line_length: int | None = None,
    positions: Sequence[float] | None = None,
    print_fn: Callable[[str], Any] | None = None,
    expand_nested: bool = False,
    show_trainable: bool = False,
    layer_range: Sequence[str] | None = None,
) -> None:
    """Print the layers of a model: see `Model.summary`, which has the same arguments."""
    write = print_fn or (lambda line: print(printable(line)))
    headers = (*_HEADERS, "Trainable") if show_trainable else _HEADERS
    width = _line_length(line_length, positions)
    widths = _widths(positions, width, headers)
    rows = _in_range(summary_rows(model, expand_nested), layer_range)
    cells = [_cells(row, show_trainable) for row in rows]
    lines = [f'Model: "{model.name}"', *table(headers, cells, (2,), width, widths)]
    for line in (*lines, *_totals(model)):
        write(line)


def _cells(row: Row, show_trainable: bool) -> list[str]:
    indent = "   " * (row.depth - 1) + "└─ " if row.depth else ""
    parameters = {None: "(shared)", -1: "?"}.get(row.parameters) or f"{row.parameters:,}"
    cells = [
        f"{indent}{row.name} ({row.kind})",
        "?" if row.shape is None else str(row.shape),
        parameters,
        ", ".join(row.sources),
    ]
    return [*cells, row.trainable] if show_trainable else cells


def _line_length(line_length: int | None, positions: Sequence[float] | None) -> int:
    if line_length is None:
        if positions is not None and max(positions, default=0) > 1:
            return int(max(positions))
        return terminal_width(88, _NARROWEST)
    if isinstance(line_length, bool) or not isinstance(line_length, int):
        raise TypeError(f"summary: line_length= expects a whole number, got {line_length!r}")
    if line_length < _NARROWEST:
        raise ValueError(f"summary: line_length= must be at least {_NARROWEST}, got {line_length}")
    return line_length


def _widths(
    positions: Sequence[float] | None, width: int, headers: Sequence[str]
) -> list[int] | None:
    """Turn the ends of columns into their widths."""
    if positions is None:
        return None
    if len(positions) != len(headers):
        raise ValueError(
            f"summary: positions= expects {len(headers)} numbers, one for each of the columns "
            f"{', '.join(headers)}; got {len(positions)}: {positions!r}"
        )
    scale = width if positions[-1] <= 1 else 1
    ends = [int(position * scale) for position in positions]
    widths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    widths = [size - GAP for size in widths[:-1]] + widths[-1:]
    if min(widths) < 4 or ends[-1] > width:
        raise ValueError(
            f"summary: positions={positions!r} in a line of {width} characters leave the columns "
            f"{widths} wide; each needs at least 4, and all must fit into the line"
        )
    return widths


def _in_range(rows: list[Row], layer_range: Sequence[str] | None) -> list[Row]:
    """Keep the rows from the first to the last requested layer."""
    if layer_range is None:
        return rows
    if (
        isinstance(layer_range, str)
        or len(layer_range) != 2
        or not all(isinstance(name, str) for name in layer_range)
    ):
        raise ValueError(
            f"summary: layer_range= expects two names, of the first and the last layer, "
            f"got {layer_range!r}"
        )
    first, last = (_matches(rows, name) for name in layer_range)
    start, end = min(first[0], last[0]), max(first[-1], last[-1])
    if first[0] <= last[-1]:
        start, end = first[0], last[-1]
    while end + 1 < len(rows) and rows[end + 1].depth:
        end += 1  # the rows of a nested model belong to it
    return rows[start : end + 1]


def _matches(rows: list[Row], name: str) -> list[int]:
    """Return which rows have this name or, where none has, match it as a regular expression."""
    names = {i: row.name.partition("[")[0] for i, row in enumerate(rows) if not row.depth}
    found = [i for i, known in names.items() if name in (known, rows[i].name)]
    if not found:
        try:
            found = [i for i, known in names.items() if re.match(name, known)]
        except re.error as error:
            raise ValueError(
                f"summary: layer_range= has {name!r}, which is neither the name of a layer nor a "
                f"regular expression: {error}"
            ) from error
    if not found:
        raise ValueError(
            f"summary: layer_range= names {name!r}, which matches none of the layers "
            f"{list(dict.fromkeys(names.values()))}"
        )
    return found


def _totals(model: Model) -> list[str]:
    """Write the numbers of parameters and buffers, and what is not known yet."""
    parameters = list(model.parameters())
    known = [parameter for parameter in parameters if not is_lazy(parameter)]
    trained = [parameter for parameter in known if parameter.requires_grad]
    frozen = [parameter for parameter in known if not parameter.requires_grad]
    buffers = [buffer for buffer in model.buffers() if not is_lazy(buffer)]
    lines = []
    if model._graph is not None or parameters:
        lines += [
            f"Total params: {_amount(known)}",
            f"Trainable params: {_amount(trained)}",
            f"Non-trainable params: {_amount(frozen)}",
        ]
    if buffers:
        lines.append(f"Buffers: {_amount(buffers)}")
    if len(known) < len(parameters):
        lines.append("Some parameters get their sizes at the first call, and are not counted.")
    if model._graph is None:
        lines.append(model._missing_graph("summary"))
    return lines


def _amount(tensors: Sequence[Tensor]) -> str:
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return f"{sum(tensor.numel() for tensor in tensors):,} ({size_text(size)})"
