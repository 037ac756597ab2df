"""Shape inference: run one call on `meta` tensors, in lanes, without a trace in the real world.

Every unknown size is stood in for by a different number in each lane. A call is run in the two
main lanes; a size of the result on which they differ is unknown. Two are not enough where a call
can make one number of different ones (`x[:, :10]`, `192 % 8 == 288 % 8`): such a call, and every
call on its result, is also run in the probe lanes, which are small, prime, large, and different for
each axis. A lane that a call refuses is dropped from there on. How a call runs without touching
anything real is told in `meta` and `shadow`.
"""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from . import limits
from .hidden import Hidden, holds_tensors
from .memory import Watch
from .meta import LANES, run_on_meta
from .modes import Autocast, Modes
from .nested import iter_leaves
from .node import Node, Ref, ancestors
from .plain_calls import is_convolution, is_plain_target, says_plain
from .specs import Constant, DataSpec, DeviceSpec, Effects, NumberSpec, Spec, TensorSpec
from .torch_functions import torch_name

# Stand-ins for an unknown batch size and for any other unknown size, in the main lanes. Both pairs
# have many small divisors, for code that folds or halves sizes; the second one is large enough for
# a deep stack of poolings and small enough for a table of positions.
BATCH = (24, 36)
OTHER = (192, 288)
# The same for the probe lanes; in those that are not `even`, every axis gets a number of its own.
_PROBES = (
    (1, 1, True), (2, 3, True), (3, 2, True), (1, 7, True), (5, 4, True), (4, 11, True),
    (7, 16, True), (2, 29, True), (9, 64, True), (3, 97, True), (6, 509, True), (2, 4099, True),
    (3, 5, False), (8, 24, False), (5, 193, False),
)  # fmt: skip

Inferred = tuple[list[Spec], "pytree.TreeSpec | None", "Effects | None"]
Lane = dict[Ref, Any]  # what stands for a value in one lane: a shape, or a number


def spec_of(shape: tuple[int | None, ...], dtype: torch.dtype) -> TensorSpec:
    """Return the spec of a tensor whose unknown sizes are `None`; the first size is the batch."""
    first, second = (
        tuple(
            size if size is not None else (BATCH if axis == 0 else OTHER)[which]
            for axis, size in enumerate(shape)
        )
        for which in (0, 1)
    )
    return TensorSpec(first, second, dtype)


def infer(
    op: str,
    target: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    modes: Modes | None = None,
) -> Inferred:
    """Return the specs of the leaves of `target(*args, **kwargs)`, its structure and effects.

    Results of torch's own modules and functions are remembered by their settings and the specs of
    their inputs.

    Raises:
        Exception: whatever the call itself raises when the shapes do not fit.
    """
    refs = [leaf for leaf in iter_leaves((args, kwargs)) if type(leaf) is Ref]
    given = [ref.spec for ref in refs]
    autocast = modes.autocast if modes else ()
    key = _cache_key(op, target, args, kwargs)
    key = None if key is None else (key, autocast)
    found = _cache.get(key) if key is not None else None
    if found is None:
        try:
            found = _infer(target, args, kwargs, refs, autocast)
        except Exception:
            found, key = _infer_below(target, args, kwargs, refs, autocast), None
            if found is None:
                raise
        if key is not None:
            if len(_cache) >= _CACHE_SIZE:
                _cache.clear()
            _cache[key] = found
    specs, structure, loops, effects, plain = found
    plain = plain or is_plain_target(op, target)
    is_certain = True
    for spec in given:
        if type(spec) is not TensorSpec or spec.folded or not spec.proven:
            is_certain = False
            break
    if is_certain and (plain or not any(spec.is_open for spec in given)):
        return specs, structure, effects
    is_open = any(spec.is_open for spec in given)
    if not is_open or (all(spec.is_certain for spec in given) and plain):
        if all(spec.proven for spec in given):
            return specs, structure, effects
        return [_unproven(spec) for spec in specs], structure, effects
    if any(type(spec) is TensorSpec and spec.has_equal_sizes for spec in specs):
        node = Node(op, target, args, kwargs, specs, structure, modes=modes)
        node.loops = loops
        lanes = [lane for n in range(len(_PROBES)) if (lane := _lane_of(node, n)) is not None]
        specs = [_folded(spec, [lane[i] for lane in lanes]) for i, spec in enumerate(specs)]
    return [_unproven(spec) for spec in specs], structure, effects


# specs, structure, whether the call loops over a size, its effects, whether all in it is plain
_Found = tuple[list[Spec], "pytree.TreeSpec | None", bool, "Effects | None", bool]
_CACHE_SIZE = 4096
_cache: dict[Any, _Found] = {}


def _infer(
    target: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    refs: list[Ref],
    autocast: tuple[Autocast, ...],
) -> _Found:
    """Run the main lanes; return what is found."""
    main: list[Lane] = [{ref: ref.spec.in_lane(which) for ref in refs} for which in (0, 1)]
    is_open = any(ref.spec.is_open for ref in refs)
    watch = Watch()
    first, seen = run_on_meta(target, args, kwargs, main[0], autocast, watch, -1)
    second, last = first, seen
    if is_open or seen.counted:
        second, last = run_on_meta(target, args, kwargs, main[1], autocast, watch, -2)
    given = [ref.spec for ref in refs]
    on_data = target is Tensor.type or any(type(spec) is DataSpec for spec in given)
    depends = not _tells_from_spec(target, args, is_open)
    specs, structure = _merge(first, second, depends, on_data)
    if getattr(target, "training", False) and any(spec in given for spec in specs):
        watch.evaluating = True  # a dropout, for one, returns its very input then
        with suppress(Exception):  # only the mode that is recorded has to work
            run_on_meta(target, args, kwargs, main[0], autocast, watch)
    plain = seen.plain and last.plain and not last.counted
    return specs, structure, last.calls > seen.calls, watch.effects(), plain


def _infer_below(
    target: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    refs: list[Ref],
    autocast: tuple[Autocast, ...],
) -> _Found | None:
    """Return what `_infer` would, for a call that takes only sizes below those of the main lanes.

    `None` if that is not why it refused them.
    """
    if not any(ref.spec.is_open for ref in refs):
        return None
    watch = Watch()
    lanes: list[Lane] = []
    results: list[tuple[Any, int]] = []
    taken: list[bool] = []
    numbers = sorted(
        (n for n, probe in enumerate(_PROBES) if probe[2]), key=lambda n: _PROBES[n][1]
    )
    for number in numbers:
        given = {ref: _lane_of(ref.node, number) for ref in refs}
        try:
            lane = {ref: leaves[ref.index] for ref, leaves in given.items()}  # type: ignore[index]
            result, mode = run_on_meta(target, args, kwargs, lane, autocast, watch, number)
            results.append((result, mode.calls))
            lanes.append(lane)
        except Exception:
            if len(taken) - sum(taken) == 2 and not any(taken):
                return None  # so a call that never fits is refused without more trials
            taken.append(False)
        else:
            taken.append(True)
    if not limits.fits_below([_PROBES[n][1] for n in numbers], taken):
        return None
    flat = [pytree.tree_flatten(result) for result, _ in results]
    structure = flat[0][1]
    if any(other != structure for _, other in flat):
        return None
    unknown = [*_unknown_sizes(lanes)]
    specs = [
        _continued([*leaves], unknown)
        for leaves in zip(*(leaves for leaves, _ in flat), strict=True)
    ]
    if any(spec is None for spec in specs):
        return None
    single = isinstance(results[0][0], Tensor)
    loops = results[-1][1] > results[0][1]
    return specs, None if single else structure, loops, watch.effects(), False  # type: ignore[return-value]


def _unknown_sizes(lanes: list[Lane]) -> Iterator[tuple[list[Any], tuple[Any, Any]]]:
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
    """Return the spec of a leaf that is this in the probe lanes; `None` where no rule fits."""
    first = leaves[0]
    if not isinstance(first, Tensor):
        if type(first) in (int, float):
            pair = limits.continued(leaves, unknown)
            return None if pair is None else NumberSpec(*pair)
        if holds_tensors(first):
            return _hidden(first)
        same = all(leaf == first for leaf in leaves)
        return Constant(first) if same and type(first) is not bool else None
    if any(leaf.dim() != first.dim() or leaf.dtype != first.dtype for leaf in leaves):
        return None
    pairs = [
        limits.continued(sizes, unknown)
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


# What torch tells of a tensor without its values, by shape and dtype; its strides, its device, and
# whether it requires gradients are those of run time.
_OF_KIND = frozenset(
    "can_cast dense_dim dim dtype element_size is_complex is_conj is_floating_point is_mkldnn "
    "is_neg is_nested is_quantized is_signed is_sparse itemsize layout ndimension result_type "
    "sparse_dim".split()
)
_OF_SIZES = frozenset({"is_same_size", "nbytes", "nelement", "numel", "size"})


def _tells_from_spec(target: Any, args: tuple[Any, ...], is_open: bool) -> bool:
    """Return whether numbers and truths that a call returns are the same at every run."""
    name = args[1] if target is getattr else getattr(target, "__name__", "")
    if torch_name(target) is None:
        return False
    return name in _OF_KIND or (not is_open and name in _OF_SIZES)


def _pair(first: Any, second: Any, depends: bool, on_data: bool) -> Spec:
    """Merge one leaf of both runs into what is known of it.

    A number that `depends` is never taken for a constant, nor is anything that a call on data
    returns: it is computed when the model runs.
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
    return DataSpec(first) if on_data and first is not None else Constant(first)


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
    return DataSpec(Hidden(type(value).__name__))


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


# ------------------------------------------------------------------ lanes


def _lane_of(node: Node, number: int) -> list[Any] | None:
    """Return what each leaf of a node's result is in a probe lane; `None` if that was dropped."""
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
    batch, other, even = _PROBES[number % LANES]
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
    """Run a node in a probe lane, from what its arguments are there."""
    if node.loops and max(_PROBES[number % LANES][:2]) > OTHER[1]:
        return None  # it would take long
    lane: Lane = {}
    for ref in node.refs():
        given = ref.node.lanes[number]  # type: ignore[index]
        if given is None:
            return None
        lane[ref] = given[ref.index]
    return _without_running(node, lane) or _leaves_at(node, lane, number)


def _without_running(node: Node, lane: Lane) -> list[Any] | None:
    """Return what `_leaves_at` would, for a plain call whose unknown sizes its arguments have.

    `None` where that cannot be told: such a size may be one of several of the arguments.
    """
    plain = is_plain_target(node.op, node.target)
    if not plain:
        key = _cache_key(node.op, node.target, node.args, node.kwargs)
        found = _cache.get((key, node.modes.autocast if node.modes else ()))
        if found is None or not found[-1]:
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
    """Return shapes and numbers of a node's result; `None` where the call refuses the sizes."""
    autocast = node.modes.autocast if node.modes else ()
    key = _cache_key(node.op, node.target, node.args, node.kwargs, lane)
    head = None if key is None else (key, autocast)
    if head is not None and head in _lane_cache:
        return _lane_cache[head]
    found: list[Any] | None
    try:
        result, seen = run_on_meta(
            node.target, node.args, node.kwargs, lane, autocast, number=number
        )
        head = None if seen.counted else head
        leaves, structure = pytree.tree_flatten(result)
        found = [
            tuple(leaf.shape) if isinstance(leaf, Tensor)
            else Hidden(type(leaf).__name__) if holds_tensors(leaf) else leaf
            for leaf in leaves
        ]  # fmt: skip
        ranks = [len(spec.first) if type(spec) is TensorSpec else None for spec in node.specs]
        if (node.structure is not None and structure != node.structure) or ranks != [
            leaf.dim() if isinstance(leaf, Tensor) else None for leaf in leaves
        ]:
            found = None
    except Exception:
        found = None
    if head is not None:
        if len(_lane_cache) >= 8 * _CACHE_SIZE:
            _lane_cache.clear()
        _lane_cache[head] = found
    return found


_lane_cache: dict[Any, list[Any] | None] = {}


def numbers_agree(first: Ref, second: Ref) -> bool:
    """Whether two numbers are equal in all lanes that both can be had in.

    Those that depend on values never are: the second one is taken from lanes with other counts.
    """
    if first.spec[:2] != second.spec[:2]:
        return False
    for number in range(len(_PROBES)):
        one = _lane_of(first.node, number)
        other = None if one is None else _lane_of(second.node, number + LANES)
        if one is not None and other is not None and one[first.index] != other[second.index]:
            return False
    return True


def sizes_at(ref: Ref, inputs: dict[Ref, tuple[int, ...]]) -> tuple[int, ...] | None:
    """Return the shape of a value for inputs of these shapes; `None` where a call refuses them."""
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


# ------------------------------------------------------------------ remembering results


class _Uncacheable(Exception):
    """A result that depends on more than can be compared."""


_PLAIN = (int, float, bool, str, complex, type(None), torch.dtype, torch.Size, type(Ellipsis))
_PLAIN_TYPES = frozenset({*_PLAIN, torch.device, torch.memory_format, torch.layout})
_BOOKKEEPING = frozenset(nn.Module().__dict__) - {"training"}


def _cache_key(op: str, target: Any, args: Any, kwargs: Any, lane: Lane | None = None) -> Any:
    """Return what a call's result shape depends on, or `None` where that is not known."""
    try:
        if op == "module":
            head = _module_key(target)
        elif torch_name(target) is not None:
            head = target
        else:
            return None
        return (head, _value_key(args, lane), _value_key(kwargs, lane) if kwargs else None)
    except _Uncacheable:
        return None


def _value_key(value: Any, lane: Lane | None) -> Any:
    kind = type(value)
    if kind is Ref:
        if type(value.spec) is DataSpec:
            return _value_key(value.spec.example if lane is None else lane[value], None)
        return value.spec.key if lane is None else (lane[value], getattr(value.spec, "dtype", None))
    if kind in _PLAIN_TYPES:
        return (kind, value)
    if kind is tuple or kind is list:
        return (kind, *[_value_key(item, lane) for item in value])
    if kind is dict:
        return (kind, *[(key, _value_key(item, lane)) for key, item in value.items()])
    if kind is slice:
        return (kind, _value_key((value.start, value.stop, value.step), lane))
    raise _Uncacheable


def _module_key(module: nn.Module) -> Any:
    """Key a module of `torch.nn` by its class, its attributes, and those of its children."""
    kind = type(module)
    if kind.__module__.startswith("torch.nn.modules.") or says_plain(kind):
        period = None
    elif (period := _period.now) is None:
        raise _Uncacheable
    attributes = module.__dict__
    settings = [
        (name, _setting_key(value))
        for name, value in attributes.items()
        if name not in _BOOKKEEPING
    ]
    tensors = [
        (name, _setting_key(value))
        for group in ("_parameters", "_buffers")
        for name, value in attributes[group].items()
    ]
    children = [
        (name, None if child is None else _module_key(child))
        for name, child in attributes["_modules"].items()
    ]
    return (kind, period, (*settings,), (*tensors,), (*children,))


class _Period(threading.local):
    """The time during which own classes of modules are taken to do the same for same settings."""

    now: object = None


_period = _Period()


@contextmanager
def remembering() -> Iterator[None]:
    """Remember results of modules of all classes, not only torch's, until the context ends."""
    outer, _period.now = _period.now, object()
    try:
        yield
    finally:
        _period.now = outer


def _setting_key(value: Any) -> Any:
    kind = type(value)
    if kind is nn.Parameter or kind is Tensor:
        return (kind, value.shape, value.dtype)
    if kind in _PLAIN_TYPES:
        return (kind, value)
    if kind is tuple or kind is list:
        return (kind, *[_setting_key(item) for item in value])
    if kind is weakref.ReferenceType:  # recurrent modules hold their weights so, a second time
        return None
    if callable(value) and torch_name(value) is not None:
        return value
    raise _Uncacheable
