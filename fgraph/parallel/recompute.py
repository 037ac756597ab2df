"""`model.recompute`: activation checkpointing, planned on the graph."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..errors import unknown_name
from ..graph import Node
from ..graph.graph import Graph
from ..graph.node import Scope
from ..model import Model
from .cut_points import UncutSpan, closed, generator_spans, memory_spans
from .footprint import measure
from .recompute_plan import MemoryEstimate, NodeRange, Planner
from .segmented_forward import Segments

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", 1)}


@dataclass(frozen=True)
class Recomputation:
    """What `model.recompute` has planned.

    Attributes:
        segments: the names of the layers and functions in each part that is computed again.
        peak: the most bytes that tensors between the layers and their gradients take in a training
            step; `None` without an example.
        peak_without: the same without computing anything again.
        work: the part of the forward pass that is computed twice, from 0 to 1, in FLOPs.
    """

    segments: list[list[str]] = field(default_factory=list)
    peak: int | None = None
    peak_without: int | None = None
    work: float | None = None


def recompute(model: Model, budget: Any, example: Any = None) -> Recomputation:
    """Plan what is computed again for gradients: see `Model.recompute`."""
    graph = model._live_graph("recompute")
    if "_generated" not in vars(type(model)) or model._has_own_forward:
        raise TypeError(
            f"recompute: the forward of {type(model).__name__} is not the generated one: call "
            "recompute() before fully_shard, and write checkpoints into a forward of your own"
        )
    limits = _Limits(graph)
    by_names = isinstance(budget, Iterable) and not isinstance(budget, str)
    if budget is None:
        runs: list[NodeRange] = []
    elif by_names:
        runs = limits.named(model, list(budget))
    else:
        size = bytes_of(budget)
        memory = MemoryEstimate(measure(model, example))
        runs = _planned(memory, limits, size, budget)
    rerun(model, runs)
    names = [list(dict.fromkeys(model._node_names[run.first : run.end])) for run in runs]
    if budget is None or (by_names and example is None):
        return Recomputation(names)
    if by_names:
        memory = MemoryEstimate(measure(model, example))
    whole = memory.work(0, memory.count) or 1
    return Recomputation(
        names,
        memory.peak(_filled(runs, memory.count)),
        memory.peak([NodeRange(0, memory.count, False)]),
        sum(memory.work(run.first, run.end) for run in runs) / whole,
    )


def rerun(model: Model, runs: Iterable[NodeRange]) -> None:
    """Let a model compute these runs of nodes again for gradients, and keep the others."""
    ends = {run.first: run.end - 1 for run in runs}
    segments = Segments(ends) if ends else None
    graph = model._live_graph("recompute")
    outputs = model._output_structure(graph.outputs)
    model._take(model._generate(graph, model._naming(graph), outputs, segments), segments)


def bytes_of(budget: Any) -> int:
    """Return a size in bytes: a number, or a string such as `"2 GB"` or `"500 MiB"`.

    Raises:
        ValueError: it is no size.
        TypeError: it is neither a number nor a string.

    Example:
        >>> bytes_of("2 GB"), bytes_of("1.5 KiB")
        (2000000000, 1536)
    """
    if isinstance(budget, bool) or not isinstance(budget, (int, float, str)):
        raise TypeError(
            'recompute expects a budget such as "2 GB" or a number of bytes, or a list of names '
            f'such as ["block_*"], got {budget!r:.80}'
        )
    found = re.fullmatch(r"\s*([\d_.]+(?:e\d+)?)\s*([kmgt]?i?)b?\s*", str(budget).lower())
    try:
        size = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    except (ValueError, KeyError, OverflowError):
        size = 0
    if size <= 0:
        raise ValueError(
            f'recompute: {budget!r} is no size: write "2 GB" (10^9 bytes), "500 MiB" (2^20 bytes) '
            'or a number of bytes; names of layers go into a list, ["block_*"]'
        )
    return size


def _planned(memory: MemoryEstimate, limits: _Limits, size: int, budget: Any) -> list[NodeRange]:
    if memory.peak([NodeRange(0, memory.count, False)]) <= size:
        return []
    cuts = [cut for cut in range(1, memory.count) if cut not in limits.closed]
    planner = Planner(memory, cuts, lambda first, end: limits.why_not(first, end) is None)
    runs = planner.plan(size)
    if runs is None:
        least = planner.least()
        raise ValueError(
            f"recompute: a budget of {budget} cannot be met: this model needs at least "
            f"{-(-least // 10**4) / 100:.2f} MB ({least:,} bytes) for a batch like the example; "
            "take a smaller batch, or recompute inside of nested models too: "
            "model.get_layer(name).recompute(...)"
        )
    return [run for run in runs if run.again]


def _filled(runs: list[NodeRange], count: int) -> list[NodeRange]:
    """Return the runs, and those between them, which are computed once."""
    found, at = [], 0
    for run in [*runs, NodeRange(count, count, True)]:
        if at < run.first:
            found.append(NodeRange(at, run.first, False))
        if run.first < run.end:
            found.append(run)
        at = run.end
    return found


class _Limits:
    """Which nodes of a graph may be computed again together."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._spans: list[UncutSpan] = [*memory_spans(graph), *generator_spans(graph)]
        self.closed = closed(self._spans)

    def why_not(self, first: int, end: int) -> str | None:
        """Return why the nodes from `first` to before `end` may not be computed again."""
        for span in self._spans:
            if span.outside and span.last >= first and max(span.first, 0) < end:
                return f"{span.reason}, and a second run would do so again"
        for cut in (first, end):
            if cut in self.closed:
                return self.closed[cut]
        modes = [node.modes for node in self._graph.nodes]
        if len(set(modes[first:end])) > 1:
            for cut in (first, end):
                around = modes[max(cut - 1, 0) : cut + 1]
                if len(around) == 2 and around[0] == around[1] and around[0] and around[0].autocast:
                    return "it would end within a block of torch.autocast"
        return None

    def named(self, model: Model, patterns: list[Any]) -> list[NodeRange]:
        """Return a run for each call of a layer or block whose name matches a pattern."""
        for pattern in patterns:
            if not isinstance(pattern, str):
                raise TypeError(f"recompute expects names of layers, got {pattern!r:.80}")
        left, names = set(patterns), set()
        runs: list[NodeRange] = []
        last: Any = None
        for position, node in enumerate(self._graph.nodes):
            owner = None
            for name, key in _blocks(node, model._node_names[position]):
                names.add(name)
                fits = [pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern)]
                left -= set(fits)
                if fits and owner is None:
                    owner = key
            if owner is not None and owner is last:
                runs[-1] = NodeRange(runs[-1].first, position + 1, True)
            elif owner is not None:
                runs.append(NodeRange(position, position + 1, True))
            last = owner
        if left:
            raise ValueError(f"recompute: {unknown_name('layer', sorted(left)[0], sorted(names))}")
        for run in runs:
            if (reason := self.why_not(run.first, run.end)) is not None:
                name = model._node_names[run.first]
                raise ValueError(f"recompute: {name!r} cannot be computed again alone: {reason}")
        return runs


def _blocks(node: Node, name: str) -> list[tuple[str, Any]]:
    """Return the names of what a node is part of, outer ones first, each with what it names."""
    found: list[tuple[str, Any]] = []
    scope: Scope | None = node.scope
    while scope is not None:
        if scope.name:
            found.insert(0, (scope.name, scope))
        scope = scope.outer
    return [*found, (name, node if node.call is None else node.call.outermost)]
