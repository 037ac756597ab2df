"""Symbolic values: handles on node outputs that record what is done with them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import torch
from torch import nn

from .node import Ref, SizeSpec, TensorSpec
from .record import Symbol, handle_classes, module_calls, no_value, record, record_function, symbol


class SymbolicTensor(Symbol):
    """A tensor that has a shape and a dtype but no values yet.

    It takes part in every torch function, every tensor method that makes a new tensor, operators
    on both sides, and indexing; each use is recorded as a node of the graph.
    """

    __slots__ = ()

    @property
    def spec(self) -> TensorSpec:
        """What is known of the tensor."""
        spec: TensorSpec = self.ref.spec
        return spec

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The sizes, `None` where one is not known until run time: `(None, 784)`."""
        return self.spec.shape

    @property
    def dtype(self) -> torch.dtype:
        """The element type."""
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.spec.first)

    @property
    def name(self) -> str:
        """The name given at the call, else the kind of the call that makes this tensor."""
        node = self.node
        owner = node.call.outermost.owner if node.call else None
        return str(node.name or getattr(owner, "name", None) or node.kind.lower())

    @property
    def mask(self) -> SymbolicTensor | None:
        """The boolean mask that travels with this tensor, if any."""
        masks = self.node.masks
        return (
            None if masks is None or self.ref.index not in masks else symbol(masks[self.ref.index])
        )

    def dim(self) -> int:
        """Return the number of dimensions."""
        return self.ndim

    def size(self, dim: int | None = None) -> Any:
        """Return a size, or all of them; those not known until run time are symbolic."""
        if dim is None:
            return tuple(self.size(axis) for axis in range(self.ndim))
        return record_function(torch.Tensor.size, (self, dim), {})

    def __call__(self, target: Any, *others: Any, name: str | None = None, **kwargs: Any) -> Any:
        """Chain a call: `x(module, *others)` is `module(x, *others)`."""
        if isinstance(target, nn.Module):
            return record("module", target, (self, *others), kwargs, name=name)
        if name is not None:
            raise TypeError(f"name= goes with torch modules; give it to {target!r} itself")
        return target(self, *others, **kwargs)

    def __getitem__(self, index: Any) -> SymbolicTensor:
        return record("function", operator.getitem, (self, index), {})  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[SymbolicTensor]:
        return iter(record_function(torch.unbind, (self,), {})) if len(self) else iter(())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d symbolic tensor")
        if self.shape[0] is None:
            no_value(self, "counted or iterated over", "its first size is not known: use x.size(0)")
        return self.shape[0]

    def __bool__(self) -> bool:
        no_value(
            self,
            "used as a truth value",
            "choose values by `torch.where`, or wrap the decision in `fgraph.apply(fn, x)`",
        )

    def __contains__(self, item: Any) -> NoReturn:
        no_value(self, "searched with `in`", "write `(x == item).any()`, which is symbolic too")

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        no_value(
            self,
            "assigned to",
            "build a new tensor: `torch.where`, `torch.cat`, `x.index_fill(...)`, `x.masked_fill`",
        )

    def __eq__(self, other: object) -> Any:
        return SymbolicComparison(operator.eq, self, other)

    def __ne__(self, other: object) -> Any:
        return SymbolicComparison(operator.ne, self, other)

    __hash__ = Symbol.__hash__

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(torch.Tensor, name, None)
        if attribute is None or name.startswith("__"):
            raise AttributeError(f"a symbolic tensor has no attribute {name!r}, as torch.Tensor")
        if name in _NEEDS_VALUE:
            no_value(self, f"asked for .{name}", _NEEDS_VALUE[name])
        if callable(attribute):
            return _Method(self, attribute)
        return record("function", getattr, (self, name), {})

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"<SymbolicTensor {self.name}: shape={self.shape}, dtype={dtype}>"


class SymbolicComparison(SymbolicTensor):
    """`x == y` or `x != y`: an elementwise comparison whose truth value is about identity.

    It is recorded only when it is used as a tensor, so that `x in [a, b]` and dictionary look-ups
    leave nothing in the graph and never fail for their shapes.
    """

    __slots__ = ("_compare", "_left", "_made", "_right")

    def __init__(self, compare: Callable[..., Any], left: SymbolicTensor, right: object) -> None:
        self._compare = compare
        self._left = left
        self._right = right
        self._made: Ref | None = None
        self._token = module_calls.hold()

    @property
    def ref(self) -> Ref:
        """The output of the comparison, recorded at the first use."""
        if self._made is None:
            made: Symbol = record("function", self._compare, (self._left, self._right), {})
            self._made = made.ref
        return self._made

    def __repr__(self) -> str:
        return f"<SymbolicComparison {self._compare.__name__}({self._left!r}, {self._right!r})>"

    def __bool__(self) -> bool:
        same = isinstance(self._right, SymbolicTensor) and self._left.ref == self._right.ref
        return same is (self._compare is operator.eq)


class SymbolicSize(Symbol):
    """A whole number computed from a size that is not known until run time."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SymbolicSize) and other.ref == self.ref:
            return True
        no_value(self, "compared", "sizes are known only at run time")

    __hash__ = Symbol.__hash__

    def __bool__(self) -> bool:
        no_value(self, "used as a truth value", "sizes are known only at run time")

    def __lt__(self, other: object) -> bool:
        no_value(self, "compared", "sizes are known only at run time")

    __le__ = __gt__ = __ge__ = __lt__

    def __repr__(self) -> str:
        return f"<SymbolicSize of {self.node.kind}>"


class _Method:
    """A tensor method bound to a symbolic tensor."""

    __slots__ = ("_function", "_self")

    def __init__(self, tensor: SymbolicTensor, function: Callable[..., Any]) -> None:
        self._self = tensor
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return record_function(self._function, (self._self, *args), kwargs)

    def __repr__(self) -> str:
        return f"<method {self._function.__name__} of {self._self!r}>"


_NEEDS_VALUE = {
    "item": "keep it as a tensor, or wrap the code that needs the number in `fgraph.apply(fn, x)`",
    "tolist": "wrap the code that needs the numbers in `fgraph.apply(fn, x)`",
    "numpy": "use torch functions, or `fgraph.apply(fn, x)`",
    "backward": "call it on the loss of real outputs",
    "device": "make new tensors by `x.new_zeros(...)`, `torch.zeros_like(x)`, "
    "or inside `fgraph.apply(fn, x)`",
    "is_cuda": "the device is known only at run time: use `fgraph.apply(fn, x)`",
    "data": "write `x.detach()`",
    "grad": "real tensors have gradients, after `backward()`",
    "grad_fn": "real tensors have one, after the model has run",
    "data_ptr": "there is no memory behind it yet",
    "register_hook": "register a hook on a module, or on the model's real output",
}


def _install_operators() -> None:
    """Give symbols the arithmetic operators, and refuse the in-place ones."""
    shared = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
    tensor_only = ("matmul", "and_", "or_", "xor", "lshift", "rshift")
    for kind, names in ((Symbol, shared), (SymbolicTensor, tensor_only)):
        for name in names:
            function, dunder = getattr(operator, name), name.rstrip("_")
            setattr(kind, f"__{dunder}__", _forward(function))
            setattr(kind, f"__r{dunder}__", _reflected(function))
            setattr(kind, f"__i{dunder}__", _in_place(dunder))
    for name in ("lt", "le", "gt", "ge"):
        setattr(SymbolicTensor, f"__{name}__", _forward(getattr(operator, name)))
    for name in ("neg", "pos", "abs", "invert"):
        setattr(SymbolicTensor, f"__{name}__", _unary(getattr(operator, name)))
    setattr(Symbol, "__neg__", _unary(operator.neg))  # noqa: B010 - mypy knows no __neg__


def _forward(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: record("function", function, (self, other), {})


def _reflected(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: record("function", function, (other, self), {})


def _unary(function: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda self: record("function", function, (self,), {})


def _in_place(name: str) -> Callable[[Any, Any], Any]:
    def refuse(self: Symbol, other: object) -> NoReturn:
        no_value(self, f"changed in place by `__i{name}__`", "write `x = x + y`, not `x += y`")

    return refuse


_install_operators()


handle_classes[TensorSpec] = SymbolicTensor
handle_classes[SizeSpec] = SymbolicSize
