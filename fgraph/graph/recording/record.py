"""Recording: turn a call that has symbolic arguments into a node of the graph."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import torch

from ...errors import BuildError, SymbolicError, refuse_keras
from ..ancestry import DTYPE, add_reads
from ..closures import lift_captured
from ..memory import Memory, changed
from ..nested import iter_leaves, map_leaves
from ..node import Inferred, Node, Ref, current_scope
from ..specs import REAL, Effects
from ..torch_functions import torch_name
from .build_errors import function_name
from .interception import Interception
from .make_node import make_node


class Symbol:
    """A handle on one output of one node; equal to any other handle on the same output.

    An in-place operation makes the handle stand for another output, that of the operation; other
    handles on the same memory follow at their next use.
    """

    __slots__ = ("__weakref__", "_first", "_memory", "_ref", "_seen", "_token")
    __array_ufunc__ = None  # numpy leaves `array + symbol` to us

    def __init__(self, ref: Ref) -> None:
        self._first = self._ref = ref
        self._memory: Memory | None = None  # None: no other handle shares memory with this one
        self._seen = -1  # changes of the memory up to this place in the order are followed
        self._token = module_calls.hold()

    @property
    def ref(self) -> Ref:
        """The output that this handle stands for now."""
        if self._memory is not None and (newer := self.memory.changes_since(self._seen)):
            self._seen = newer[-1].node.seq
            value, effects = self._ref, Effects((), ((0, 0),))
            node = make_node(
                "function", changed, (value, *newer), {}, inferred=([value.spec], None, effects)
            )
            node.declared = False
            if value.node.masks and value.index in value.node.masks:
                node.masks = {0: value.node.masks[value.index]}
            self._ref = Ref(node)
        return self._ref

    @property
    def source(self) -> Ref:
        """The `Input` that this handle was made for, whatever changed it since; else `ref`."""
        return self._first if self._first.node.op == "input" else self.ref

    @property
    def memory(self) -> Memory:
        """The memory that the value lies in."""
        self._memory = Memory() if self._memory is None else self._memory.whole()
        return self._memory

    def become(self, other: Symbol) -> None:
        """Stand for what `other` stands for, after an in-place operation."""
        self._ref, self._memory, self._seen = other._ref, other._memory, other._seen

    @property
    def node(self) -> Any:
        """The `Node` that makes this value."""
        return self.ref.node

    def __hash__(self) -> int:
        return hash(self._first)

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        refuse_caller_of_keras()
        no_value(
            self, "converted to a numpy array", "use torch functions, or `fgraph.apply(fn, x)`"
        )

    def __int__(self) -> NoReturn:
        no_value(self, "converted to a number", "keep it as a tensor, or use `fgraph.apply`")

    __float__ = __complex__ = __index__ = __int__

    def __repr__(self) -> str:
        return f"<symbolic {self._ref.node.kind}>"  # of a device, which has no handle of its own

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return symbol(self.ref)  # its node belongs to the graph

    def __reduce__(self) -> NoReturn:
        raise SymbolicError(
            f"{self!r} cannot be pickled by itself: pickle the Model that is made of it, "
            "and ask the copy for `model.inputs`, `model.outputs` or `layer.output`"
        )


def refuse_caller_of_keras() -> None:
    """Refuse to be an argument of a layer of Keras itself.

    Raises:
        TypeError: it is a layer of Keras whose code asks now.
    """
    frame: Any = sys._getframe(2)
    asking = None
    while frame is not None:
        asked_by = frame.f_locals.get("self")
        asking = asked_by if hasattr(type(asked_by), "call") else asking
        frame = frame.f_back
    refuse_keras("a call on a symbolic tensor", asking)


class SymbolicDevice(str):
    """The device that a tensor is on at run time, as an argument for calls.

    It is a `str`, since torch's argument parsers take no other class. Calls on symbolic values
    record it. A factory on known sizes, `torch.zeros(3, device=x.device)`, makes a constant of
    the graph, on the CPU, which is moved with the model.
    """

    __slots__ = ("symbol",)
    symbol: Symbol

    def __new__(cls, ref: Ref) -> SymbolicDevice:
        """Make a handle."""
        made = super().__new__(cls, "cpu")
        made.symbol = Symbol(ref)
        return made

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SymbolicDevice) and other.symbol.ref == self.symbol.ref:
            return True
        no_value(self.symbol, "compared", _ON_DEVICES)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.symbol)

    @property
    def type(self) -> NoReturn:
        """Not known until run time."""
        no_value(self.symbol, "asked for its type", _ON_DEVICES)

    @property
    def index(self) -> NoReturn:
        """Not known until run time."""
        no_value(self.symbol, "asked for its index", _ON_DEVICES)

    def __repr__(self) -> str:
        return "<SymbolicDevice>"


_ON_DEVICES = (
    "a device is known only at run time, and can be an argument of calls: wrap code that decides "
    "on it in `fgraph.apply(fn, x)`"
)


handle_classes: dict[type, Any] = {}  # the class of handles for each kind of spec


def symbol(ref: Ref) -> Any:
    """Return a handle on `ref`: a `SymbolicTensor`, or a `SymbolicSize` for a whole number."""
    return handle_classes[type(ref.spec)](ref)


def to_symbols(structure: Any) -> Any:
    """Return a structure with a new handle for each reference in it."""
    return map_leaves(lambda leaf: symbol(leaf) if type(leaf) is Ref else leaf, structure)


def to_refs(structure: Any) -> Any:
    """Return a structure with a reference for each handle in it."""
    return map_leaves(lambda leaf: leaf.ref if isinstance(leaf, Symbol) else leaf, structure)


def note_read(ref: Ref, axis: int) -> None:
    """Remember that code relies on a size that is known only from trying out sizes.

    A model compares it with the real sizes: once for each new combination of input sizes.
    """
    add_reads(ref, [(ref, axis)])


def note_dtype(ref: Ref) -> None:
    """Remember that code relies on a dtype, which other inputs, weights or autocast would change.

    What it does with the dtype cannot be followed: torch takes no other objects in place of dtypes.
    """
    dtype, scope = ref.spec.dtype, current_scope()
    if not (dtype.is_floating_point or dtype.is_complex):
        return
    if ref.node.sources or ref.node.op == "input" or scope is None:
        add_reads(ref, [(ref, DTYPE)])
        return
    for given in iter_leaves(scope.outermost.inputs):  # of a parameter or buffer
        if type(given) is Ref:
            add_reads(given, [(ref, DTYPE)])


def no_value(value: Symbol, use: str, instead: str) -> NoReturn:
    """Raise the error for a use that needs a value, which says what to write instead."""
    error = SymbolicError(f"{value!r} has no value yet and cannot be {use}: {instead}")
    module_calls.failed(error)
    raise error


def record(
    op: str,
    target: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    name: str | None = None,
    inferred: Inferred | None = None,
) -> Any:
    """Record one call and return its result, with a handle for each symbolic leaf.

    Args:
        op: `"module"` or `"function"`.
        target: what is called.
        args, kwargs: its arguments, with handles for symbolic values.
        name: an explicit name.
        inferred: what is known of the result; worked out by running on meta tensors if `None`.

    Raises:
        BuildError: torch refuses the arguments, or the result's shape cannot be inferred.
    """
    if op == "function" and torch_name(target) is None:
        target, args, kwargs = lift_captured(target, args, kwargs, Symbol)
    node = node_of(op, target, args, kwargs, name=name, inferred=inferred)
    return result_of(node, (args, kwargs))


def result_of(node: Node, arguments: Any) -> Any:
    """Return the result of a call with handles, which know what they share memory with.

    Args:
        node: the call.
        arguments: its positional and keyword arguments, with handles.
    """
    effects = node.effects
    if effects is None:
        return node.build(symbol)
    taken: list[Any] = [x for x in iter_leaves(arguments) if isinstance(x, _TAKEN)]
    changes = [at for at in effects.changes if isinstance(taken[at], Symbol)]
    if any(taken[at].memory.real for at in changes):
        raise real_change(function_name(node.target), "a view of a real tensor")
    made: dict[int, Any] = {}

    def handle(ref: Ref) -> Any:
        found = made[ref.index] = symbol(ref)
        if isinstance(found, Symbol):
            found._seen = node.seq
        return found

    result = node.build(handle)
    _share_memory(effects, taken, made)
    for at in changes:
        taken[at].memory.add_change(Ref(node))
        returns_it = node.structure is None and effects.shares == ((0, at),)
        if node.op == "function" and returns_it:
            taken[at].become(result)
            result = taken[at]
    return result


def _share_memory(effects: Effects, taken: list[Any], made: dict[int, Any]) -> None:
    """Let the handles on outputs share memory with what the call's effects say."""
    for index, source in effects.shares:
        value = made.get(index)
        if value is not None and source == REAL:
            value.memory.real = True
        elif value is not None:
            other = taken[source] if source < len(taken) else made.get(source - len(taken))
            if isinstance(other, Symbol):
                if value._memory is None:
                    value._memory = other.memory
                value.memory.join(other.memory)


class RealChange(BuildError):
    """A call that would change a real tensor, when the graph runs."""


def real_change(function: str, what: str) -> RealChange:
    """Return the error for a function that would change a real tensor in place."""
    return RealChange(  # torch takes a TypeError of `buffer += x` for NotImplemented
        f"{function} changes {what} in place, a parameter, buffer or constant of the model: "
        "compute a new value, such as `y = buffer + x`, or write an nn.Module whose forward "
        "changes its own buffers"
    )


def node_of(
    op: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], **known: Any
) -> Node:
    """Make the node of a call whose arguments hold handles; the rest is as for `make_node`."""
    # most arguments are handles, and need no walk
    args = tuple([a.ref if isinstance(a, Symbol) else map_leaves(ref_of, a) for a in args])
    kwargs = {key: map_leaves(ref_of, value) for key, value in kwargs.items()}
    try:
        return make_node(op, target, args, kwargs, **known)
    except BuildError as error:
        refused = error  # kept by this frame, and so findable until the frame is cleared
        module_calls.failed(refused)
        raise


_TAKEN = (Symbol, SymbolicDevice, Ref)  # what makes a reference among the arguments of a call


def ref_of(leaf: Any) -> Any:
    """Return the reference behind a handle; anything else as it is."""
    if isinstance(leaf, Symbol):
        return leaf.ref
    if isinstance(leaf, SymbolicDevice):
        return leaf.symbol.ref
    refuse_keras("a graph", leaf)
    if isinstance(leaf, torch.Tensor) and leaf.grad_fn is not None:
        raise ValueError(
            f"a real tensor of shape {tuple(leaf.shape)} that was computed from parameters, by "
            f"{type(leaf.grad_fn).__name__}, is used in the graph: it would keep the value of now, "
            "and no gradient would reach the parameters. Use the parameter itself, as in "
            "`torch.nn.functional.linear(x, weight)`, or compute the tensor in the graph: "
            "`fgraph.apply(lambda x, p: ..., x, p)`, such as `fgraph.apply(lambda x, w: x @ w.T, "
            "x, weight)`; `.detach()` makes it a constant"
        )
    return leaf


module_calls = Interception((Symbol, SymbolicDevice), record)
