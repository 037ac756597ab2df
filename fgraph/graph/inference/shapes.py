"""Shape inference: run a call on `meta` tensors, in lanes, without side effects.

A lane is a set of numbers in place of the unknown sizes. A call is run in two main lanes; a size of
its result that differs between them is unknown. Equal sizes prove nothing if the call can map
different numbers to the same one (`x[:, :10]`, `192 % 8 == 288 % 8`): such a call, and every call
on its result, is also run in the probe lanes. The numbers are in `lanes`; `run_on_meta` runs a call
without side effects; `calls_without_probes` lists the calls that need no probe lanes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..memory import MemoryWatch
from ..node import Inferred, Node
from ..specs import ConstantSpec, DataSpec, DeviceSpec, NumberSpec, Spec, TensorSpec
from . import extrapolation
from .calls_without_probes import is_plain_target, tells_from_spec
from .lanes import BATCH, OTHER, PROBES, Lane, lane_of
from .opaque_objects import OpaqueObject, holds_tensors
from .run_on_meta import run_on_meta
from .shape_cache import Found, call_key
from .shape_cache import main_results as _cache


def spec_of(shape: tuple[int | None, ...], dtype: torch.dtype) -> TensorSpec:
    """Return the spec of a tensor of this shape, `None` where unknown; axis 0 is the batch."""
    first, second = (
        tuple(
            size if size is not None else (BATCH if axis == 0 else OTHER)[which]
            for axis, size in enumerate(shape)
        )
        for which in (0, 1)
    )
    return TensorSpec(first, second, dtype)


def infer(node: Node) -> Inferred:
    """Infer the specs, structure and effects of a call, and store them on its node.

    Results of torch's own modules and functions are cached by their settings and the specs of their
    inputs.

    Raises:
        Exception: the error of the call itself, if the shapes do not fit.
    """
    given = [ref.spec for ref in node.refs()]
    key = call_key(node, settings=node.settings)
    found = _cache.get(key) if key is not None else None
    if found is None:
        try:
            found = _infer(node)
        except Exception:
            found, key = _infer_below(node), None
            if found is None:
                raise
        if key is not None:
            _cache[key] = found
    node.specs, node.structure, node.loops, node.effects, plain = found
    if any([spec.is_open for spec in given]):
        plain = plain or is_plain_target(node.op, node.target)
        if not plain or not all([spec.is_certain for spec in given]):
            node.specs = [_unproven(spec) for spec in _compared_in_probes(node)]
            return node.known
    if not all([spec.proven for spec in given]):
        node.specs = [_unproven(spec) for spec in node.specs]
    return node.known


def _compared_in_probes(node: Node) -> Sequence[Spec]:
    """Return the specs of a call's result; sizes that vary between probe lanes become unknown."""
    if not any(type(spec) is TensorSpec and spec.has_equal_sizes for spec in node.specs):
        return node.specs
    lanes = [lane for n in range(len(PROBES)) if (lane := lane_of(node, n)) is not None]
    return [_folded(spec, [lane[i] for lane in lanes]) for i, spec in enumerate(node.specs)]


def _infer(node: Node) -> Found:
    """Infer the result of a call from the main lanes."""
    target, refs = node.target, node.refs()
    main: list[Lane] = [{ref: ref.spec.in_lane(which) for ref in refs} for which in (0, 1)]
    is_open = any(ref.spec.is_open for ref in refs)
    watch = MemoryWatch()
    first, seen = run_on_meta(node, main[0], watch, -1)
    second, last = first, seen
    if is_open or seen.counted:
        second, last = run_on_meta(node, main[1], watch, -2)
    given = [ref.spec for ref in refs]
    on_data = target is Tensor.type or any(type(spec) is DataSpec for spec in given)
    depends = not tells_from_spec(target, node.args, is_open)
    specs, structure = _merge(first, second, depends, on_data)
    if getattr(target, "training", False) and any(spec in given for spec in specs):
        watch.evaluating = True  # a dropout, for one, returns its very input then
        with suppress(Exception):  # only the mode that is recorded has to work
            run_on_meta(node, main[0], watch)
    plain = seen.plain and last.plain and not last.counted
    return Found(specs, structure, last.calls > seen.calls, watch.effects(), plain)


def _infer_below(node: Node) -> Found | None:
    """Infer the result of a call that accepts only sizes below those of the main lanes.

    Returns:
        The result, extrapolated from smaller sizes; `None` if the call fails for another reason.
    """
    if not any(ref.spec.is_open for ref in node.refs()):
        return None
    watch = MemoryWatch()
    runs: dict[int, tuple[Lane, Any, int]] = {}
    even = [n for n, (_, _, is_even) in enumerate(PROBES) if is_even]
    numbers = sorted(even, key=lambda n: PROBES[n][1])
    for tried, number in enumerate(numbers):
        if tried == 3 and not runs:
            return None  # a call that never fits is refused without more trials
        with suppress(Exception):
            lane = {ref: lane_of(ref.node, number)[ref.index] for ref in node.refs()}  # type: ignore[index]
            result, mode = run_on_meta(node, lane, watch, number)
            runs[number] = lane, result, mode.calls
    lengths, taken = [PROBES[n][1] for n in numbers], [n in runs for n in numbers]
    if not extrapolation.takes_only_small(lengths, taken):
        return None
    lanes, results, calls = zip(*runs.values(), strict=True)
    flat = [pytree.tree_flatten(result) for result in results]
    structure = flat[0][1]
    if any(other != structure for _, other in flat):
        return None
    unknown = [*_unknown_sizes(lanes)]
    by_leaf = zip(*(leaves for leaves, _ in flat), strict=True)
    specs: list[Any] = [_continued([*leaves], unknown) for leaves in by_leaf]
    if None in specs:
        return None
    single = isinstance(results[0], Tensor)
    loops = calls[-1] > calls[0]
    return Found(specs, None if single else structure, loops, watch.effects(), False)


def _unknown_sizes(lanes: Sequence[Lane]) -> Iterator[tuple[list[Any], tuple[Any, Any]]]:
    """Yield, for each unknown size among the arguments, what it is in these and the main lanes."""
    for ref in lanes[0]:
        spec = ref.spec
        if type(spec) is NumberSpec:
            yield [lane[ref] for lane in lanes], spec[:2]
        elif type(spec) is TensorSpec:
            for axis, known in enumerate(spec.shape):
                if known is None:
                    yield [lane[ref][axis] for lane in lanes], (spec.first[axis], spec.second[axis])


def _continued(leaves: list[Any], unknown: list[Any]) -> Spec | None:
    """Extrapolate a leaf of the result from the probe lanes; return `None` where no rule fits."""
    first = leaves[0]
    if not isinstance(first, Tensor):
        if type(first) in (int, float):
            pair = extrapolation.extrapolated(leaves, unknown)
            return None if pair is None else NumberSpec(*pair)
        if holds_tensors(first):
            return _hidden(first)
        same = all(leaf == first for leaf in leaves)
        return ConstantSpec(first) if same and type(first) is not bool else None
    if any(leaf.dim() != first.dim() or leaf.dtype != first.dtype for leaf in leaves):
        return None
    pairs = [
        extrapolation.extrapolated(sizes, unknown)
        for sizes in zip(*(leaf.shape for leaf in leaves), strict=True)
    ]
    if None in pairs:
        return None
    one, other = zip(*pairs, strict=True) if pairs else ((), ())
    return TensorSpec(one, other, first.dtype)


def _merge(
    first: Any, second: Any, depends: bool, on_data: bool
) -> tuple[list[Spec], pytree.TreeSpec | None]:
    """Merge the results of both main lanes into what is known of the result."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return [_pair(first, second, depends, on_data)], None
    first_leaves, structure = pytree.tree_flatten(first)
    second_leaves, other = pytree.tree_flatten(second)
    if structure != other:
        raise TypeError(
            "the structure of the result depends on sizes that are not known until run time"
        )
    pairs = zip(first_leaves, second_leaves, strict=True)
    return [_pair(a, b, depends, on_data) for a, b in pairs], structure


def _pair(first: Any, second: Any, depends: bool, on_data: bool) -> Spec:
    """Return the spec of one leaf of the result, from its value in each main lane.

    Args:
        first, second: the leaf in each main lane.
        depends: whether a number may depend on unknown sizes or values, so that it is no constant.
        on_data: whether the call takes Python data, so that no object it returns is a constant.
    """
    if isinstance(first, Tensor):
        if first.dim() != second.dim():
            raise TypeError("the number of dimensions depends on a size not known until run time")
        return TensorSpec(tuple(first.shape), tuple(second.shape), first.dtype)
    if isinstance(first, torch.device):
        return DeviceSpec()
    if depends and type(first) in (int, float, bool):
        return NumberSpec(first, second)
    if holds_tensors(first):
        return _hidden(first)
    return DataSpec(first) if on_data and first is not None else ConstantSpec(first)


def _hidden(value: Any) -> Spec:
    """Return the spec of an object that holds tensors, one of a result's several parts.

    Raises:
        TypeError: it is a dataclass, whose tensors could be had.
    """
    if dataclasses.is_dataclass(value):
        raise TypeError(
            f"the result is a {type(value).__name__} that holds tensors, and torch does not know "
            "its parts: return a tuple or dict, or register the class with "
            "torch.utils._pytree.register_dataclass"
        )
    return DataSpec(OpaqueObject(type(value).__name__))


def _unproven(spec: Spec) -> Spec:
    if isinstance(spec, (TensorSpec, NumberSpec)) and spec.proven:
        return spec._replace(proven=False)
    return spec


def _folded(spec: Spec, in_lanes: list[Any]) -> Spec:
    """Return a spec with the sizes marked as unknown on which a probe lane differs."""
    if type(spec) is not TensorSpec:
        return spec
    pairs = enumerate(zip(spec.first, spec.second, strict=True))
    return spec._replace(
        folded=tuple(
            axis for axis, (a, b) in pairs if a == b and any(shape[axis] != a for shape in in_lanes)
        )
    )
