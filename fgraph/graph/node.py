"""Nodes of the graph, references to their outputs, and the order in which they were recorded."""

from __future__ import annotations

import copy
import itertools
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils import _pytree as pytree

from .modes import Modes, under
from .nested import iter_leaves, map_leaves

_sequence = itertools.count()  # next() on it is atomic: graphs may be built in several threads


class TensorSpec(NamedTuple):
    """What is known of a tensor before it exists.

    Each unknown size of an input is stood in for by two different numbers, and both shapes are
    carried through the graph: a size on which they disagree is unknown, and so is one in `folded`.

    Attributes:
        first, second: the shape in each of the two main lanes.
        dtype: the element type.
        folded: the axes on which both agree although the size is unknown: `x[:, :10]`.
        proven: whether the known sizes follow from rules, not only from trying out sizes.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    dtype: torch.dtype
    folded: tuple[int, ...] = ()
    proven: bool = True

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The sizes, `None` where one is not known until run time."""
        if not self.is_open:
            return self.first
        return tuple(
            a if a == b and axis not in self.folded else None
            for axis, (a, b) in enumerate(zip(self.first, self.second, strict=True))
        )

    @property
    def is_open(self) -> bool:
        """Whether a size is unknown."""
        return self.first != self.second or bool(self.folded)

    @property
    def has_equal_sizes(self) -> bool:
        """Whether both main lanes agree on a size."""
        return any(a == b for a, b in zip(self.first, self.second, strict=True))

    @property
    def is_certain(self) -> bool:
        """Whether the main lanes tell the unknown sizes from the known ones."""
        return not self.folded

    @property
    def key(self) -> Any:
        """What the result of a call in the main lanes depends on."""
        return (self.first, self.second, self.dtype, bool(self.folded))

    def in_lane(self, which: int) -> tuple[int, ...]:
        """Return the shape in a main lane."""
        return self.second if which else self.first


class NumberSpec(NamedTuple):
    """A number that is known only at run time, as it is in each of the two main lanes.

    Attributes:
        first, second: the number in each of the main lanes: equal ones where it is an input.
        proven: whether it is computed from unknown sizes alone, which the lanes stand for.
    """

    first: Any
    second: Any
    proven: bool = True

    @property
    def shape(self) -> None:
        """Numbers have none."""
        return None

    @property
    def is_open(self) -> bool:
        """Whether it is unknown: it always is."""
        return True

    @property
    def is_certain(self) -> bool:
        """Whether the main lanes show that the number is unknown."""
        return bool(self.first != self.second)

    @property
    def key(self) -> Any:
        """What the result of a call in the main lanes depends on."""
        return (type(self.first), self.first, self.second)

    def in_lane(self, which: int) -> Any:
        """Return the number in a main lane."""
        return self.second if which else self.first


class DataSpec(NamedTuple):
    """Python data that is no tensor and no number, known only at run time.

    Attributes:
        example: what stands for it while shapes are inferred.
    """

    example: Any

    @property
    def shape(self) -> None:
        """Data has none."""
        return None

    @property
    def is_open(self) -> bool:
        """Whether it is unknown: it always is."""
        return True

    @property
    def proven(self) -> bool:
        """Whether rules tell what depends on it: they do not."""
        return False

    @property
    def is_certain(self) -> bool:
        """Whether the main lanes show what depends on it: they do not."""
        return False

    def in_lane(self, which: int) -> Any:
        """Return what stands for it in a main lane."""
        return self.example


class DeviceSpec(NamedTuple):
    """A device, known only at run time; no size depends on it."""

    shape: None = None

    @property
    def is_open(self) -> bool:
        """Whether a size is unknown: none is involved."""
        return False

    @property
    def proven(self) -> bool:
        """Whether what is taken as known follows from rules: nothing is taken so."""
        return True

    @property
    def is_certain(self) -> bool:
        """Whether the main lanes tell the unknown sizes from the known ones: none is involved."""
        return True

    @property
    def key(self) -> Any:
        """What the result of a call in the main lanes depends on."""
        return DeviceSpec

    def in_lane(self, which: int) -> str:
        """Return the device of all lanes."""
        return "meta"


class Constant(NamedTuple):
    """A part of a call's result that is the same at every run, such as `None`."""

    value: Any


Spec = TensorSpec | NumberSpec | DataSpec | DeviceSpec | Constant


REAL = -1  # in `Effects.shares`: the memory of a parameter, buffer or other real tensor


class Effects(NamedTuple):
    """What a call does to memory.

    Attributes:
        changes: which of the values that it takes it changes in place, by their position in
            `Node.refs()`.
        shares: pairs of an output's index and what it may share memory with: a position in
            `Node.refs()`; beyond these, counted on, an earlier output; or `REAL`.
    """

    changes: tuple[int, ...]
    shares: tuple[tuple[int, int], ...]

    def with_more_taken(self, count: int, more: int) -> Effects:
        """Return the same effects for a call that takes `more` values after its first `count`."""
        moved = ((index, at + more if at >= count else at) for index, at in self.shares)
        return Effects(self.changes, tuple(moved))


class Ref:
    """One output of one node, without keeping torch's module calls intercepted."""

    __slots__ = ("index", "node")

    def __init__(self, node: Node, index: int = 0) -> None:
        self.node = node
        self.index = index

    @property
    def spec(self) -> Any:
        """What is known of the value: a `TensorSpec`, or a `NumberSpec` for a number."""
        return self.node.specs[self.index]

    def __eq__(self, other: object) -> bool:
        return type(other) is Ref and self.node is other.node and self.index == other.index

    def __hash__(self) -> int:
        return hash((id(self.node), self.index))

    def __repr__(self) -> str:
        return f"Ref({self.node!r}, {self.index})"


class Node:
    """One recorded call.

    Attributes:
        op: `"input"`, `"module"` (target is an `nn.Module`) or `"function"` (any callable).
        target: what is called; `None` for an input.
        args, kwargs: its arguments, nested containers with a `Ref` for each symbolic value.
        specs: what is known of each leaf of the result, in order.
        structure: the pytree structure of the result; `None` when it is a single tensor.
        name: the explicit name given at the call, if any.
        seq: position in the order of recording, over all graphs of the process.
        call: the layer call during which this node was recorded, if any.
        masks: masks that travel with outputs, by output index.
        declared: whether `specs` and `structure` were given by the caller, not worked out.
        effects: what the call does to memory; `None` where it makes new tensors only.
        modes: the grad mode and autocast that the call runs under; `None` for the caller's.
        lanes: what each leaf of the result is in the probe lanes that were run, see `shapes`.
        reads: of an input, the sizes that code read while the graph was built: values and axes.
        loops: whether the call does more the larger the sizes are, as a loop over them.
        scope: the call of an opened module during which this node was recorded, see `unfold`.
        sources: the inputs that it is computed from; none for an input.
    """

    __slots__ = (
        "__weakref__", "_refs", "args", "call", "declared", "effects", "kwargs", "lanes", "loops",
        "masks", "modes", "name", "op", "reads", "scope", "seq", "sources", "specs", "structure",
        "target",
    )  # fmt: skip

    def __init__(
        self,
        op: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        specs: list[Spec],
        structure: pytree.TreeSpec | None = None,
        name: str | None = None,
        modes: Modes | None = None,
    ) -> None:
        self.op = op
        self.target = target
        self.args = args
        self.kwargs = kwargs
        self.specs = specs
        self.structure = structure
        self.name = name
        self.seq = next(_sequence)
        self.call = _current.call
        self.scope = _current.scope
        self.masks: dict[int, Ref] | None = None
        self.declared = False
        self.effects: Effects | None = None
        self.modes = modes
        self.lanes: dict[int, Any] | None = None
        self.loops = False
        self.reads: dict[tuple[Ref, int], None] | None = None
        leaves = [leaf for leaf in iter_leaves(args) if type(leaf) is Ref]
        if kwargs:
            leaves += [leaf for leaf in iter_leaves(kwargs) if type(leaf) is Ref]
        self._refs = tuple(leaves)
        found: tuple[Node, ...] = ()
        for ref in leaves:
            of = ref.node.sources if ref.node.op != "input" else (ref.node,)
            if of is not found and of != found:
                found = tuple(dict.fromkeys((*found, *of))) if found else of
        self.sources: tuple[Node, ...] = found

    def refs(self) -> tuple[Ref, ...]:
        """Return the node outputs that this call takes, in argument order, repeats included."""
        return self._refs

    def modules(self) -> list[nn.Module]:
        """Return the modules that the call uses: the target, or some among the arguments."""
        leaves = [self.target]
        if self.args != self._refs or self.kwargs:  # most calls take nothing but values
            leaves += iter_leaves((self.args, self.kwargs))
        return [leaf for leaf in leaves if isinstance(leaf, nn.Module)]

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the target as the generated forward does, with real arguments."""
        with under(self.modes):
            return self.target(*args, **kwargs)

    def build(self, make: Callable[[Ref], Any]) -> Any:
        """Return the call's result with `make(ref)` for each symbolic leaf."""
        if self.structure is None:
            return make(Ref(self))
        leaves = [
            spec.value if type(spec) is Constant else make(Ref(self, index))
            for index, spec in enumerate(self.specs)
        ]
        return pytree.tree_unflatten(leaves, self.structure)

    @property
    def inputs(self) -> Any:
        """The arguments `(args, kwargs)`."""
        return self.args, self.kwargs

    @property
    def outputs(self) -> Any:
        """The structure of the result, with a `Ref` for each symbolic leaf."""
        return self.build(lambda ref: ref)

    def layout(self) -> Any:
        """Return the structure of the result, with each leaf's number in its place."""
        if self.structure is None:
            return 0
        return pytree.tree_unflatten(range(len(self.specs)), self.structure)

    @property
    def kind(self) -> str:
        """The class name of the module, or the name of the function, or `"Input"`.

        An attribute is named by itself, `"mT"`, and a function without a name is `"apply"`.
        """
        if self.op == "input":
            return "Input"
        if self.op == "module":
            return type(self.target).__name__
        if self.target is getattr:
            return str(self.args[1])
        if getattr(self.target, "__name__", "") == "<lambda>":
            return "apply"
        owner = getattr(self.target, "__self__", None)  # of `apply` of an autograd function
        named = owner if isinstance(owner, type) else self.target
        return getattr(named, "__name__", None) or type(named).__name__

    def __repr__(self) -> str:
        name = f" {self.name}" if self.name else ""
        return f"<Node {self.seq}: {self.kind}{name}>"


class _Span:
    """Several nodes seen from outside as one step, with a result."""

    __slots__ = ("__weakref__", "_outputs")

    def __init__(self) -> None:
        self._outputs: Any = None

    def set_outputs(self, outputs: Any) -> None:
        """Remember the result, a structure with a `Ref` for each symbolic leaf.

        A single output is held weakly: the graph lives as long as somebody else needs it, and
        without a cycle. Several are held, in a cycle, since one may be dropped that
        `layer.output` has to show as long as the others live.
        """
        self._outputs = outputs
        if sum(type(leaf) is Ref for leaf in iter_leaves(outputs)) == 1:
            self._outputs = map_leaves(_weaken, outputs)

    @property
    def alive(self) -> bool:
        """Whether the graph that this step belongs to still exists."""
        return not any(
            type(leaf) is _Weak and leaf.node() is None for leaf in iter_leaves(self._outputs)
        )

    @property
    def outputs(self) -> Any:
        """The result, a structure with a `Ref` for each symbolic leaf.

        Raises:
            ReferenceError: the step is not `alive`.
        """
        return map_leaves(_strengthen, self._outputs)


class Call(_Span):
    """One call of a layer: the nodes recorded during it.

    Nodes hold their call, layers hold it only weakly: nothing here keeps a discarded graph alive.

    Attributes:
        owner: the layer that was called.
        inputs: its arguments `(args, kwargs)`, with a `Ref` for each symbolic value.
        outer: the layer call during which this one was made, if any.
    """

    __slots__ = ("inputs", "outer", "owner", "seq")

    def __init__(self, owner: Any, inputs: Any) -> None:
        super().__init__()
        self.owner = owner
        self.inputs = inputs
        self.outer = _current.call
        self.seq = next(_sequence)

    @property
    def outermost(self) -> Call:
        """The layer call, made by the user's own code, that this one is part of."""
        call = self
        while call.outer is not None:
            call = call.outer
        return call


class Home:
    """A module that `unfold` opens, and where it hangs in a model.

    Attributes:
        module: the module.
        name: the name that it is registered under; `""` if its children are.
    """

    __slots__ = ("_counts", "module", "name")

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module = module
        self.name = name
        paths = (path for path, _ in module.named_modules(prefix=name) if path)
        self._counts = Counter(dict.fromkeys(paths, 1))

    def free(self, name: str) -> str:
        """Return `name`, or the next of `name_1`, `name_2`, ... if it is taken."""
        count = self._counts[name]
        self._counts[name] += 1
        return self.free(f"{name}_{count}") if count else name

    def replaced(self, new: Mapping[int, Any]) -> Home:
        """Return the home of a module like this one, with some of its direct parts replaced.

        The parts of one without a name hang in the model, which replaces them there.

        Args:
            new: what takes the place of each module or tensor, by the `id` of the old one.
        """
        groups = ("_modules", "_parameters", "_buffers")
        parts = {group: getattr(self.module, group) for group in groups}
        if self.name or not any(id(p) in new for group in parts.values() for p in group.values()):
            return self
        module = copy.copy(self.module)
        for group, held in parts.items():
            module.__dict__[group] = {name: new.get(id(part), part) for name, part in held.items()}
        return Home(module, self.name)

    def parts_for(self, nodes: Iterable[Node]) -> dict[str, nn.Module]:
        """Return the modules that a model of these nodes registers, by name.

        If the nodes lead to what the opened module returns, these are all of its children, used or
        not; else those that the nodes use.
        """
        if self.name:
            return {self.name: self.module}
        own = [node for node in nodes if node.scope is not None and node.scope.home is self]
        kept = {name: part for name, part in self.module._modules.items() if part is not None}
        if self.is_whole(own):
            return kept
        used = {id(leaf) for node in own for leaf in (node.target, *node.args)}
        return {
            name: part
            for name, part in kept.items()
            if any(id(p) in used for p in (*part.modules(), *part.parameters(), *part.buffers()))
        }

    def is_whole(self, nodes: Iterable[Node]) -> bool:
        """Return whether some of the nodes make what the opened module returns."""
        nodes = list(nodes)
        made = {id(node) for node in nodes}
        scopes = {id(whole): whole for n in nodes if n.scope and (whole := n.scope.outermost)}
        return any(
            any(type(leaf) is Ref and id(leaf.node) in made for leaf in iter_leaves(scope.outputs))
            for scope in scopes.values()
            if scope.home is self and scope.alive
        )


class Scope(_Span):
    """One call of an opened module: the nodes recorded during it, see `unfold`.

    Attributes:
        home: the outermost opened module, and where it hangs.
        name: the qualified name of the module.
        outer: the scope that this one lies in, if any.
        inputs: its arguments `(args, kwargs)`, with a `Ref` for each symbolic value.
    """

    __slots__ = ("home", "inputs", "name", "outer")

    def __init__(self, home: Home, name: str, outer: Scope | None, inputs: Any = ((), {})) -> None:
        super().__init__()
        self.home = home
        self.name = name
        self.outer = outer
        self.inputs = inputs

    @property
    def outermost(self) -> Scope:
        """The call of the module that was opened by hand, which this one is part of."""
        scope = self
        while scope.outer is not None:
            scope = scope.outer
        return scope


class _Weak:
    """A `Ref` that does not keep its node alive."""

    __slots__ = ("index", "node")

    def __init__(self, ref: Ref) -> None:
        self.node = weakref.ref(ref.node)
        self.index = ref.index


def _weaken(leaf: Any) -> Any:
    return _Weak(leaf) if type(leaf) is Ref else leaf


def _strengthen(leaf: Any) -> Any:
    if type(leaf) is not _Weak:
        return leaf
    node = leaf.node()
    if node is None:
        raise ReferenceError("this layer call belongs to a graph that no longer exists")
    return Ref(node, leaf.index)


class _Current(threading.local):
    """The layer call, and the opened module, that is being recorded in this thread."""

    call: Call | None = None
    scope: Scope | None = None


_current = _Current()


def current_call() -> Call | None:
    """Return the layer call that is being recorded in this thread, if any."""
    return _current.call


@contextmanager
def recording(call: Call | None) -> Iterator[Call | None]:
    """Tag the nodes recorded in this thread, while the context is open, as parts of `call`."""
    outer = _current.call
    _current.call = call
    try:
        yield call
    finally:
        _current.call = outer


@contextmanager
def scoped(home: Home, name: str, inputs: Any) -> Iterator[Scope]:
    """Tag the nodes recorded in this thread, while the context is open, as parts of a module."""
    outer = _current.scope
    _current.scope = scope = Scope(home, name, outer, inputs)
    try:
        yield scope
    finally:
        _current.scope = outer


def reads_of(refs: Iterable[Ref]) -> dict[tuple[Ref, int], None]:
    """Return the sizes that code read of values that follow from the sources of `refs`."""
    sources = dict.fromkeys(node for ref in refs for node in ref.node.sources or (ref.node,))
    return {read: None for node in sources for read in node.reads or ()}


def add_reads(ref: Ref, reads: Iterable[tuple[Ref, int]]) -> None:
    """Remember sizes that code read, with the inputs that `ref` is computed from."""
    for node in ref.node.sources or (ref.node,):
        node.reads = node.reads or {}
        node.reads.update(dict.fromkeys(reads))


def ancestors(outputs: Iterable[Ref], boundary: Iterable[Ref] = ()) -> list[Node]:
    """Return the nodes that `outputs` need, in the order in which they were recorded.

    That order is a topological one, and running in it draws random numbers and sums gradients
    as the code that built the graph would have done.

    Args:
        outputs: what is to be computed.
        boundary: values taken as given; the nodes behind them are left out.
    """
    given = set(boundary)
    found: dict[int, Node] = {}
    stack = [ref for ref in outputs if ref not in given]
    while stack:
        node = stack.pop().node
        if id(node) not in found:
            found[id(node)] = node
            stack.extend(ref for ref in node.refs() if ref not in given)
    return sorted(found.values(), key=lambda node: node.seq)
