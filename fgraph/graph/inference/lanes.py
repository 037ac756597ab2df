"""Lanes: running a graph's calls with numbers in place of unknown sizes.

Each lane has a different number in place of every unknown size. Specs hold the numbers of the two
main lanes. Probe lanes have small, prime and large numbers, and some have a different one for each
axis. If a call fails in a lane, the lane is dropped for that call and everything after it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from ..ancestry import ancestors
from ..node import Node, Ref
from ..specs import DeviceSpec, TensorSpec
from .calls_without_probes import is_convolution, is_plain_target
from .meta_mode import LANES
from .opaque_objects import OpaqueObject, holds_tensors
from .run_on_meta import run_on_meta
from .shape_cache import Cache, call_key, main_results

# Stand-ins for an unknown batch size and for any other unknown size, in the main lanes. Both pairs
# have many small divisors, for code that folds or halves sizes; the second one is large enough for
# a deep stack of poolings and small enough for a table of positions.
BATCH = (24, 36)
OTHER = (192, 288)
# The same for the probe lanes; in those that are not `even`, every axis gets a number of its own.
PROBES = (
    (1, 1, True), (2, 3, True), (3, 2, True), (1, 7, True), (5, 4, True), (4, 11, True),
    (7, 16, True), (2, 29, True), (9, 64, True), (3, 97, True), (6, 509, True), (2, 4099, True),
    (3, 5, False), (8, 24, False), (5, 193, False),
)  # fmt: skip


Lane = dict[Ref, Any]  # what stands for a value in one lane: a shape, or a number


def lane_of(node: Node, number: int) -> list[Any] | None:
    """Return the leaves of a node's result in a probe lane; `None` if the lane was dropped."""
    missing: dict[int, Node] = {}
    stack = [node]
    while stack:
        part = stack.pop()
        if part.lanes is None:
            part.lanes = {}
        if number not in part.lanes and id(part) not in missing:
            missing[id(part)] = part
            stack.extend(ref.node for ref in part.refs())
    for part in sorted(missing.values(), key=lambda part: part.seq):
        begins = part.op == "input" or part.declared
        part.lanes[number] = _begin(part, number) if begins else _follow(part, number)  # type: ignore[index]
    found: list[Any] | None = node.lanes[number]  # type: ignore[index]
    return found


def _begin(node: Node, number: int) -> list[Any]:
    batch, other, even = PROBES[number % LANES]
    salt = 0 if even else node.seq % 89

    def size(axis: int, known: int | None) -> int:
        if known is not None:
            return known
        return batch + salt if axis == 0 else other + (0 if even else 2 * salt + 7 * axis)

    return [
        tuple(size(axis, known) for axis, known in enumerate(spec.shape))
        if type(spec) is TensorSpec
        else getattr(spec, "first", getattr(spec, "example", None))
        for spec in node.specs
    ]


def _follow(node: Node, number: int) -> list[Any] | None:
    """Run a node in a probe lane, given its arguments there."""
    if node.loops and max(PROBES[number % LANES][:2]) > OTHER[1]:
        return None  # it would take long
    lane: Lane = {}
    for ref in node.refs():
        given = ref.node.lanes[number]  # type: ignore[index]
        if given is None:
            return None
        lane[ref] = given[ref.index]
    return _without_running(node, lane) or _leaves_at(node, lane, number)


def _without_running(node: Node, lane: Lane) -> list[Any] | None:
    """Return the result of `_leaves_at` without running a plain call.

    The unknown sizes of the result are sizes of the arguments, recognised by their numbers in the
    main lanes. Return `None` if a number is ambiguous.
    """
    plain = is_plain_target(node.op, node.target)
    if not plain:
        found = main_results.get(call_key(node))
        if found is None or not found.plain:
            return None
    sizes: dict[tuple[int, int], int] = {}  # by what stands for them in the main lanes
    for ref, stand_in in lane.items():
        spec = ref.spec
        if type(spec) is not TensorSpec:
            if type(spec) is DeviceSpec or type(stand_in) in (bool, float):
                continue
            return None
        for a, b, size in zip(spec.first, spec.second, stand_in, strict=True):
            if sizes.setdefault((a, b), size) != size or (a == b != size):
                return None
    unknown = sum(a != b for a, b in sizes)
    if unknown > 1 and (not plain or is_convolution(node.target)):
        return None  # which may divide one of them, and find another one
    leaves: list[Any] = []
    for spec in node.specs:
        if type(spec) is not TensorSpec:
            return None
        pairs = zip(spec.first, spec.second, strict=True)
        shape = tuple(a if a == b else sizes.get((a, b)) for a, b in pairs)
        if spec.folded or None in shape:
            return None
        leaves.append(shape)
    return leaves


def _leaves_at(node: Node, lane: Lane, number: int = -1) -> list[Any] | None:
    """Return the shapes and numbers of a node's result; `None` if the call fails."""
    key = call_key(node, lane)
    if key is not None and key in _cache:
        return _cache[key]
    try:
        result, seen = run_on_meta(node, lane, number=number)
        leaves, structure = pytree.tree_flatten(result)
        found = _leaves_like(node, leaves, structure)
        counted = seen.counted
    except Exception:
        found, counted = None, False
    if key is not None and not counted:
        _cache[key] = found
    return found


def _leaves_like(node: Node, leaves: list[Any], structure: Any) -> list[Any] | None:
    """Return the shapes and numbers of a result; `None` if its structure is not the node's."""
    ranks = [len(spec.first) if type(spec) is TensorSpec else None for spec in node.specs]
    if (node.structure is not None and structure != node.structure) or ranks != [
        leaf.dim() if isinstance(leaf, Tensor) else None for leaf in leaves
    ]:
        return None
    return [
        tuple(leaf.shape) if isinstance(leaf, Tensor)
        else OpaqueObject(type(leaf).__name__) if holds_tensors(leaf) else leaf
        for leaf in leaves
    ]  # fmt: skip


_cache: Cache[list[Any] | None] = Cache(32768)


def numbers_agree(first: Ref, second: Ref) -> bool:
    """Return whether two numbers are equal in all lanes in which both are known.

    Numbers that depend on values are never equal: the second one comes from lanes with other
    counts.
    """
    if first.spec[:2] != second.spec[:2]:
        return False
    for number in range(len(PROBES)):
        one = lane_of(first.node, number)
        other = None if one is None else lane_of(second.node, number + LANES)
        if one is not None and other is not None and one[first.index] != other[second.index]:
            return False
    return True


def sizes_at(ref: Ref, inputs: dict[Ref, tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return the shape of a value for inputs of these shapes; `None` if a call fails on them."""
    lane: Lane = dict(inputs)
    for node in ancestors([ref], inputs):
        if node.op == "input" or node.declared:
            return None
        leaves = _leaves_at(node, lane)
        if leaves is None:
            return None
        lane.update((Ref(node, index), leaf) for index, leaf in enumerate(leaves))
    shape: tuple[int, ...] = lane[ref]
    return shape
