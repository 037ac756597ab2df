"""`parallel.stages`: a model cut into several, which run one after the other.

The graph is cut where the parts cost about the same and few bytes pass from one to the next. The
result of one stage, a tensor or a tuple, is the arguments of the next. Skip connections, masks,
inputs that are first used later and outputs that are made earlier are passed along.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from ..errors import unknown_name
from ..graph import Ref
from ..graph.graph import Graph, describe
from ..graph.module_state import READS
from ..graph.nested import iter_leaves
from ..graph.specs import DeviceSpec, NumberSpec, TensorSpec
from ..model import Model
from .cut_points import closed, memory_spans, shared_spans
from .footprint import Footprint, measure
from .stage_model import stage_model

_BY = ("flops", "bytes", "parameters", "time")
_ADVICE = (
    "Weights that are used in several places stay in one stage: give each place a layer of its "
    "own, as by copy.deepcopy(layer)"
)
_SLACK = 1.1  # of the most expensive stage, to save bytes between the stages


def stages(model: Model, n: int, example: Any, by: str = "flops") -> list[Model]:
    """Cut a model into `n` models that run one after the other, for pipelines.

    They share the model's weights and keep their names: the `state_dict` keys of the stages are
    those of the model, divided among them. The first stage takes the model's inputs, the last
    returns the model's outputs, and the result of a stage, a tensor or a tuple, is the arguments of
    the next: `y = second(*first(x))`.

    A trained weight stays in one stage. If a layer is used in many places, such as a tied
    embedding, there may be no possible cut, which is an error.

    Args:
        model: a model that has a graph.
        n: the number of stages.
        example: the inputs of a batch, as in a call: a tensor, or a list or dict of them. The
            model is run on it once; its sizes decide what is cheap.
        by: what to balance: `"flops"` of the forward pass, `"bytes"` saved for gradients,
            `"parameters"` or `"time"`.

    Returns:
        The stages, in order.

    Raises:
        ValueError: the model cannot be cut so often, or an argument is out of range.
        TypeError: an argument is of another type.
        AttributeError: the model has no graph.

    Example:
        >>> x = h = Input((16,))
        >>> for _ in range(4):
        ...     h = nn.Linear(16, 16)(h).relu()
        >>> model = Model(x, h)
        >>> first, second = stages(model, 2, example=torch.zeros(8, 16))
        >>> [*first.state_dict(), *second.state_dict()] == [*model.state_dict()]
        True
        >>> y = second(first(torch.ones(8, 16)))
    """
    return [stage for stage, _, _ in parts_of(model, n, example, by)]


def parts_of(
    model: Model, n: int, example: Any, by: str, flat: bool = False
) -> list[tuple[Model, list[Any], list[Any]]]:
    """Return the stages, each with examples of what it takes and returns; see `stages`.

    With `flat`, the last one returns the outputs as a tensor or a tuple too.
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"stages: n= expects a whole number, got {n!r}")
    if n < 1:
        raise ValueError(f"stages: n= must be at least 1, got {n}")
    if by not in _BY:
        raise ValueError(f"stages: {unknown_name('by', by, _BY)}")
    if "_generated" not in vars(type(model)) or model._has_own_forward:
        raise TypeError(
            f"stages: the forward of {type(model).__name__} is not the generated one, so it cannot "
            "be cut: call stages() before fully_shard, on a model made of inputs and outputs"
        )
    found = measure(model, example, clock=by == "time")
    crossing = _Crossing(found)
    ends = [0, *_choose(crossing, _costs(model, found, by), n), len(found.graph.nodes)]
    passed = [crossing.at(cut) for cut in ends]
    passed[0], passed[-1] = found.graph.inputs, found.graph.outputs
    used, made = _used(found.graph), []
    for number in range(n):
        taken, given = passed[number], passed[number + 1]
        devices = crossing.devices(ends[number])
        left = used if number == n - 1 else None
        structured = number == n - 1 and not flat
        stage = stage_model(model, taken, devices, given, structured, left)
        made.append((stage, crossing.examples(taken), crossing.examples(given)))
    return made


class _Crossing:
    """The values that have to pass each cut."""

    def __init__(self, found: Footprint) -> None:
        self._found = found
        graph = found.graph
        count = len(graph.nodes)
        place = {id(node): position for position, node in enumerate(graph.nodes)}
        last = {ref: position for position, node in enumerate(graph.nodes) for ref in node.refs()}
        last |= dict.fromkeys(graph.outputs, count)
        given = {ref: -1 for ref in graph.inputs}
        made = {ref: given.get(ref, place.get(id(ref.node), -1)) for ref in last}
        inner = sorted(made.keys() - given.keys(), key=lambda ref: (ref.node.seq, ref.index))
        order = [*graph.inputs, *inner]
        self._life = {
            ref: (made[ref], last[ref])
            for ref in order
            if ref in last and ref.node.target not in READS
        }
        self.closed = closed([*memory_spans(graph), *shared_spans(graph)])
        self.bytes = np.zeros(count + 1, dtype=np.int64)
        for ref, (first, end) in self._life.items():
            self.bytes[first + 1 : end + 1] += self._size(ref)
            if not isinstance(ref.spec, (TensorSpec, DeviceSpec)) and not _is_size(ref):
                reason = f"{describe(ref.node)} makes what is no tensor and no size"
                self.closed |= dict.fromkeys(range(first + 1, end + 1), reason)

    def at(self, cut: int) -> list[Ref]:
        """Return the values that are made before a cut and used after it."""
        return [ref for ref in self._alive(cut) if type(ref.spec) is not DeviceSpec]

    def devices(self, cut: int) -> list[Ref]:
        """Return the devices that are read before a cut and used after it."""
        return [ref for ref in self._alive(cut) if type(ref.spec) is DeviceSpec]

    def _alive(self, cut: int) -> list[Ref]:
        return [ref for ref, (first, end) in self._life.items() if first < cut <= end]

    def examples(self, refs: Sequence[Ref]) -> list[Any]:
        """Return an empty tensor on the meta device like each value; `None` for a size."""
        return [self._found.examples.get(ref) for ref in refs]

    def _size(self, ref: Ref) -> int:
        like = self._found.examples.get(ref)
        return 0 if like is None else like.numel() * like.element_size()


def _is_size(ref: Ref) -> bool:
    spec = ref.spec
    return isinstance(spec, NumberSpec) and all(
        type(number) is int and number >= 0 for number in (spec.first, spec.second)
    )


def _costs(model: Model, found: Footprint, by: str) -> list[float]:
    """Return what each node costs."""
    if by == "time":
        return list(found.seconds)
    if by == "flops":
        return [float(work) for work in found.work]
    costs = [0.0] * len(found.graph.nodes)
    if by == "bytes":
        for piece in set[int]().union(*found.saved):
            costs[found.made[piece]] += found.size[piece]
        return costs
    seen: set[int] = set()
    for position, node in enumerate(found.graph.nodes):
        for part in (node.target, *iter_leaves((node.args, node.kwargs))):
            weights = part.parameters() if isinstance(part, nn.Module) else [part]
            for weight in weights if node.target not in READS or weights == [part] else ():
                if isinstance(weight, nn.Parameter) and id(weight) not in seen:
                    seen.add(id(weight))
                    costs[position] += weight.numel()
    return costs


def _choose(crossing: _Crossing, costs: Sequence[float], n: int) -> list[int]:
    """Return the cuts for stages of about equal cost, with few bytes between them."""
    count = len(costs)
    cuts = [0, *(cut for cut in range(1, count) if cut not in crossing.closed), count]
    if len(cuts) - 1 < n:
        reasons = "; ".join(list(dict.fromkeys(crossing.closed.values()))[:3])
        raise ValueError(
            f"stages: this model cannot be cut into {n} stages, but into {len(cuts) - 1} at most"
            + (f": {reasons}. {_ADVICE}" if reasons else "")
        )
    upto = np.concatenate([[0.0], np.cumsum(costs)])[cuts]
    between = crossing.bytes[cuts].astype(float)
    even = _split(upto, np.zeros(len(cuts)), n, np.inf)
    most = max(upto[b] - upto[a] for a, b in itertools.pairwise(even))
    chosen = _split(upto, between, n, most * _SLACK)
    return [cuts[place] for place in chosen[1:-1]]


def _split(upto: Any, between: Any, n: int, most: float) -> list[int]:
    """Return where to cut, by dynamic programming.

    With `most`, no part costs more than that, and as few bytes as possible pass between parts;
    without, the most expensive part is as cheap as possible.
    """
    count = len(upto)
    best = np.full(count, np.inf)
    best[0] = 0.0
    back = []
    for _ in range(n):
        now = np.full(count, np.inf)
        source = np.zeros(count, dtype=int)
        for end in range(1, count):
            parts = upto[end] - upto[:end]
            if np.isinf(most):
                tried = np.maximum(best[:end], parts)
            else:
                tried = np.where(parts <= most, best[:end] + between[:end], np.inf)
            source[end] = int(np.argmin(tried))
            now[end] = tried[source[end]]
        best = now
        back.append(source)
    found = [count - 1]
    for source in reversed(back):
        found.append(int(source[found[-1]]))
    return found[::-1]


def _used(graph: Graph) -> set[int]:
    """Return the ids of all tensors that a graph uses."""
    return {
        id(tensor)
        for node in graph.nodes
        for part in (node.target, *iter_leaves((node.args, node.kwargs)))
        for tensor in _tensors_of(part, node.target in READS)
    }


def _tensors_of(part: Any, only_read: bool) -> list[Any]:
    if isinstance(part, nn.Module):
        return [] if only_read else [*part.parameters(), *part.buffers()]
    return [part]
