"""Nodes of the graph, references to their outputs, and the order in which they were recorded."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from torch import nn
from torch.utils import _pytree as pytree

from .home import Home
from .modes import Autocast, Modes, under
from .nested import iter_leaves, map_leaves
from .specs import ConstantSpec, Effects, Spec

Inferred = tuple[Sequence[Spec], "pytree.TreeSpec | None", "Effects | None"]
_sequence = itertools.count()  # next() on it is atomic: graphs may be built in several threads


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

    @property
    def mask(self) -> Ref | None:
        """The mask that travels with the value, if any."""
        return (self.node.masks or {}).get(self.index)

    def __eq__(self, other: object) -> bool:
        return type(other) is Ref and self.node is other.node and self.index == other.index

    def __hash__(self) -> int:
        return hash(self.node) + self.index

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
        operation: the call of a function of `fgraph.ops` that this node was recorded in, if any.
        settings: of a module that is called, the settings that it had then, by name.
        sources: the inputs that it is computed from; none for an input.
    """

    __slots__ = (
        "__weakref__", "_refs", "args", "call", "declared", "effects", "kwargs", "lanes", "loops",
        "masks", "modes", "name", "op", "operation", "reads", "scope", "seq", "settings", "sources",
        "specs", "structure", "target",
    )  # fmt: skip

    def __init__(
        self,
        op: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        specs: Sequence[Spec] = (),
        structure: pytree.TreeSpec | None = None,
        name: str | None = None,
        modes: Modes | None = None,
    ) -> None:
        self.op = op
        self.target = target
        self.args = args
        self.kwargs = kwargs
        self.specs: Sequence[Spec] = specs
        self.structure = structure
        self.name = name
        self.seq = next(_sequence)
        self.call = _current.call
        self.scope = _current.scope
        self.operation = _current.operation
        self.masks: dict[int, Ref] | None = None
        self.declared = False
        self.effects: Effects | None = None
        self.modes = modes
        self.lanes: dict[int, Any] | None = None
        self.loops = False
        self.settings: tuple[tuple[str, Any], ...] = ()
        self.reads: dict[tuple[Ref, int], None] | None = None
        leaves = iter_leaves((args, kwargs) if kwargs else args)
        refs = tuple([leaf for leaf in leaves if type(leaf) is Ref])
        self._refs = args if refs == args else refs  # one tuple less for most calls
        found: tuple[Node, ...] = ()
        for ref in self._refs:
            of = ref.node.sources if ref.node.op != "input" else (ref.node,)
            if of is not found and of != found:
                found = tuple(dict.fromkeys((*found, *of))) if found else of
        self.sources: tuple[Node, ...] = found

    def refs(self) -> tuple[Ref, ...]:
        """Return the node outputs that this call takes, in argument order, repeats included."""
        return self._refs

    @property
    def autocast(self) -> tuple[Autocast, ...]:
        """The settings of autocast that the call runs under; empty for the caller's own."""
        return self.modes.autocast if self.modes else ()

    @property
    def known(self) -> Inferred:
        """What is known of the result: its specs, its structure, and the call's effects."""
        return self.specs, self.structure, self.effects

    def modules(self) -> list[nn.Module]:
        """Return the modules that the call uses: the target, or some among the arguments."""
        leaves = [self.target]
        if self.args is not self._refs or self.kwargs:  # most calls take nothing but values
            leaves += iter_leaves((self.args, self.kwargs))
        return [leaf for leaf in leaves if isinstance(leaf, nn.Module)]

    @property
    def maker(self) -> Any:
        """The layer or module that made the node, or the node itself."""
        if self.call is not None:
            return self.call.outermost.owner
        return self.target if self.op == "module" else self

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the target as the generated forward does, with real arguments."""
        with under(self.modes):
            return self.target(*args, **kwargs)

    def build(self, make: Callable[[Ref], Any]) -> Any:
        """Return the call's result with `make(ref)` for each symbolic leaf."""
        if self.structure is None:
            return make(Ref(self))
        leaves = [
            spec.value if type(spec) is ConstantSpec else make(Ref(self, index))
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


class Span:
    """Several nodes that belong to one call, of a layer or of an unfolded module.

    Attributes:
        inputs: the arguments `(args, kwargs)`, with a `Ref` for each symbolic value.
        outer: the step of the same kind that this one is part of, if any.
        seq: position in the order of recording.
    """

    __slots__ = ("__weakref__", "_outputs", "inputs", "outer", "seq")

    def __init__(self, inputs: Any, outer: Any) -> None:
        self.inputs = inputs
        self.outer = outer
        self.seq = next(_sequence)
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

    @property
    def outermost(self) -> Any:
        """The step of the same kind, made by the user's own code, that this one is part of."""
        span = self
        while span.outer is not None:
            span = span.outer
        return span


class Call(Span):
    """One call of a layer: the nodes recorded during it.

    Nodes hold their call, layers hold it only weakly: nothing here keeps a discarded graph alive.

    Attributes:
        owner: the layer that was called.
    """

    __slots__ = ("owner",)
    outer: Call | None

    def __init__(self, owner: Any, inputs: Any = None, outer: Call | None = None) -> None:
        super().__init__(inputs, outer)
        self.owner = owner


class Scope(Span):
    """One call of an unfolded module, or of one inside it: the nodes recorded during it.

    Attributes:
        home: the outermost unfolded module, and where it hangs.
        name: the qualified name of the module.
    """

    __slots__ = ("home", "name")
    outer: Scope | None

    def __init__(
        self, home: Home, name: str, inputs: Any = None, outer: Scope | None = None
    ) -> None:
        super().__init__(inputs, outer)
        self.home = home
        self.name = name


class Operation:
    """One call of an operation that is made of several torch calls, see `one_operation`.

    Attributes:
        inputs: the values among its arguments, in their order.
    """

    __slots__ = ("inputs",)

    def __init__(self, inputs: Iterable[Ref]) -> None:
        self.inputs = tuple(inputs)


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
    """The layer call, and the unfolded module, that is being recorded in this thread."""

    call: Call | None = None
    scope: Scope | None = None
    operation: Operation | None = None
    trial: Any = None  # told of each node that is recorded, see `unfolding.both_modes`


_current = _Current()


def current_call() -> Call | None:
    """Return the layer call that is being recorded in this thread, if any."""
    return _current.call


def current_scope() -> Scope | None:
    """Return the call of an unfolded module that is being recorded in this thread, if any."""
    return _current.scope


def current_operation() -> Operation | None:
    """Return the operation that is being recorded in this thread, if any."""
    return _current.operation


def current_trial() -> Any:
    """Return what is told of the nodes recorded in this thread, if anything."""
    return _current.trial


@contextmanager
def recording(
    span: Any, kind: Literal["call", "scope", "operation", "trial"] = "call"
) -> Iterator[None]:
    """Tag the nodes recorded in this thread, while the context is open, as parts of a step."""
    outer = getattr(_current, kind)
    setattr(_current, kind, span)
    try:
        yield
    finally:
        setattr(_current, kind, outer)


@contextmanager
def recording_apart() -> Iterator[None]:
    """Record a graph of its own, whose nodes are no parts of the call that it is made in."""
    with recording(None), recording(None, "scope"), recording(None, "operation"):
        yield
