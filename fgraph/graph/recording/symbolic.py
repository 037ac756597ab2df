"""Symbolic values: handles on node outputs that record what is done with them."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn

from ..memory import changed, setitem
from ..nested import map_leaves
from ..node import Ref
from ..specs import DataSpec, DeviceSpec, NumberSpec, TensorSpec
from .function_calls import record_function, record_operator
from .isinstance_checks import is_isinstance_check
from .record import (
    Symbol,
    SymbolicDevice,
    handle_classes,
    module_calls,
    no_value,
    note_dtype,
    note_read,
    record,
    refuse_caller_of_keras,
    symbol,
)
from .symbolic_sizes import Shape, SymbolicData, SymbolicSize

_PACKAGE = __name__.partition(".")[0]

if TYPE_CHECKING:

    class _SymbolicTensor(Symbol, torch.Tensor):  # type: ignore[misc]
        """What type checkers see: it may stand wherever torch takes a tensor."""

        def _binary(self, other: Any) -> SymbolicTensor: ...
        def _unary(self) -> SymbolicTensor: ...

        __add__ = __radd__ = __iadd__ = __sub__ = __rsub__ = __isub__ = _binary
        __mul__ = __rmul__ = __imul__ = __truediv__ = __rtruediv__ = __itruediv__ = _binary
        __floordiv__ = __rfloordiv__ = __ifloordiv__ = __mod__ = __rmod__ = __imod__ = _binary
        __pow__ = __rpow__ = __ipow__ = _binary  # type: ignore[assignment]
        __matmul__ = __rmatmul__ = _binary
        __and__ = __rand__ = __iand__ = __or__ = __ror__ = __ior__ = _binary
        __xor__ = __rxor__ = __ixor__ = __lshift__ = __rlshift__ = __ilshift__ = _binary
        __rshift__ = __rrshift__ = __irshift__ = _binary
        __lt__ = __le__ = __gt__ = __ge__ = _binary
        __neg__ = __pos__ = __abs__ = __invert__ = _unary

else:
    _SymbolicTensor = Symbol


class SymbolicTensor(_SymbolicTensor):
    """A tensor that has a shape and a dtype but no values yet.

    It takes part in every torch function, every tensor method that makes a new tensor, operators
    on both sides, and indexing; each use is recorded as a node of the graph.
    """

    __slots__ = ()

    if not TYPE_CHECKING:

        @property
        def __class__(self) -> type:
            """`torch.Tensor` where code asks `isinstance(x, torch.Tensor)`, else its class."""
            return (
                torch.Tensor if is_isinstance_check(sys._getframe(1), torch.Tensor) else type(self)
            )

    @property
    def spec(self) -> TensorSpec:
        """What is known of the tensor."""
        spec: TensorSpec = self._ref.spec
        return spec

    @property
    def shape(self) -> Shape:  # type: ignore[override]
        """The sizes; prints as `(None, 784)`, and the unknown ones are symbolic numbers."""
        if sys._getframe(1).f_globals.get("__name__", "").startswith("keras."):
            refuse_caller_of_keras()
        return Shape(self.size(axis) for axis in range(self.ndim))

    @property
    def dtype(self) -> torch.dtype:  # type: ignore[override]
        """The element type.

        A model whose code has read it refuses to run where it would be another one: after
        `model.half()`, on inputs of another dtype, under an autocast that changes it.
        """
        if sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] != _PACKAGE:
            note_dtype(self.ref)
        return self.spec.dtype

    @property
    def ndim(self) -> int:  # type: ignore[override]
        """The number of dimensions."""
        return len(self.spec.first)

    @property
    def name(self) -> str:
        """The name given at the call, else the kind of the call that makes this tensor."""
        node = self._ref.node
        while node.target is changed:
            node = node.args[0].node
        owner = node.call.outermost.owner if node.call else None
        return str(node.name or getattr(owner, "name", None) or node.kind.lower())

    @property
    def mask(self) -> SymbolicTensor | None:
        """The boolean mask that travels with this tensor, if any."""
        mask = self.ref.mask
        return None if mask is None else symbol(mask)

    def dim(self) -> int:
        """Return the number of dimensions."""
        return self.ndim

    ndimension = dim

    def size(self, dim: int | None = None) -> Any:
        """Return a size, or all of them; those not known until run time are symbolic."""
        if dim is None:
            return self.shape
        axis = operator.index(dim)
        if not -self.ndim <= axis < self.ndim:
            raise IndexError(f"{self!r} has {self.ndim} dimensions, got the dimension {dim}")
        known = self.spec.shape[axis]
        if known is None:
            return record_function(torch.Tensor.size, (self, axis), {})
        if not self.spec.proven:
            note_read(self.ref, axis % self.ndim)
        return known

    def __call__(self, target: Any, *others: Any, name: str | None = None, **kwargs: Any) -> Any:
        """Chain a call: `x(module, *others)` is `module(x, *others)`."""
        by_itself = name is None and getattr(target, "_records_its_calls", False)
        if isinstance(target, nn.Module) and not by_itself:
            return record("module", target, (self, *others), kwargs, name=name)
        if name is not None:
            raise TypeError(f"name= goes with torch modules; give it to {target!r} itself")
        return target(self, *others, **kwargs)

    def __getitem__(self, index: Any) -> SymbolicTensor:
        return record("function", operator.getitem, (self, index), {})  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[SymbolicTensor]:
        return iter(record_function(torch.unbind, (self,), {})) if len(self) else iter(())

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError(
                "len() of a 0-d symbolic tensor; torch.tensor takes real numbers: write "
                "`torch.stack([x, y])` to make a tensor of symbolic ones"
            )
        size = self.size(0)
        if isinstance(size, SymbolicSize):
            module = str(sys._getframe(1).f_globals.get("__name__"))
            instead = "its first size is not known: use x.size(0)"
            if module.startswith("torch."):
                instead += (
                    f". {module}.{sys._getframe(1).f_code.co_name} reads values: put its call, and "
                    "those on its result, into a function, and write `fgraph.apply(function, x)`"
                )
            no_value(self, "counted or iterated over", instead)
        return int(size)

    def __bool__(self) -> bool:
        instead = "choose values by `torch.where`, or wrap the decision in `fgraph.apply(fn, x)`"
        if self._ref.node.target is torch._is_all_true:
            instead += (
                "; torch.distributions check values: hand over validate_args=False, or record what "
                "is done with them by `fgraph.apply(function, x)`"
            )
        no_value(self, "used as a truth value", instead)

    @property
    def _is_param(self) -> bool:
        return False

    @_is_param.setter
    def _is_param(self, value: bool) -> NoReturn:  # by the constructor of `nn.Parameter`
        no_value(self, "made a parameter", "use it as it is, where a weight is wanted")

    def __contains__(self, item: Any) -> NoReturn:
        no_value(self, "searched with `in`", "write `(x == item).any()`, which is symbolic too")

    def __setitem__(self, index: Any, value: Any) -> None:
        record_function(setitem, (self, index, value), {})

    def __eq__(self, other: object) -> SymbolicTensor:  # type: ignore[override]
        return SymbolicComparison(operator.eq, self, other)

    def __ne__(self, other: object) -> SymbolicTensor:  # type: ignore[override]
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

    def __repr__(self) -> str:  # type: ignore[override]
        dtype = str(self.dtype).removeprefix("torch.")
        return f"<SymbolicTensor {self.name}: shape={self.shape}, dtype={dtype}>"


class SymbolicComparison(SymbolicTensor):
    """`x == y` or `x != y`: an elementwise comparison whose truth value is about identity.

    It is recorded only when it is used as a tensor, so that `x in [a, b]` and dictionary look-ups
    leave nothing in the graph and never fail for their shapes. Where eager torch would decide by
    the value, as in `if x.sum() == 0`, the truth value is refused.
    """

    __slots__ = ("_compare", "_left", "_right")

    def __init__(self, compare: Callable[..., Any], left: SymbolicTensor, right: object) -> None:
        self._compare = compare
        self._left = left.ref
        self._right = right.ref if isinstance(right, SymbolicTensor) else right
        self._token = module_calls.hold()

    def __getattr__(self, name: str) -> Any:
        """Record the comparison at its first use as a tensor."""
        if name not in Symbol.__slots__:
            return super().__getattr__(name)
        made = record("function", self._compare, (self._left, self._right), {})
        super().__init__(made.ref)
        return getattr(self, name)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"<SymbolicComparison {self._compare.__name__}({self._left!r}, {self._right!r})>"

    def __bool__(self) -> bool:
        if self._left == self._right:
            return self._compare is operator.eq
        if self._asks_for_values():
            no_value(
                self,
                "used as a truth value",
                "only `a == b` of two symbolic tensors with many elements tells whether they are "
                "the same one. Choose values by `torch.where`, or wrap the decision in "
                "`fgraph.apply(fn, x)`",
            )
        return self._compare is operator.ne

    def _asks_for_values(self) -> bool:
        """Whether eager torch would decide by values: there is one, or a number beside it."""
        if not isinstance(self._right, Ref):
            return isinstance(self._right, (int, float, complex, torch.Tensor, SymbolicSize))
        shapes = (self._left.spec.shape, self._right.spec.shape)
        return all(size == 1 for shape in shapes for size in shape)


def to_shapes(structure: Any) -> Any:
    """Return a structure with the shape of each symbolic tensor, or reference to one, in it."""

    def shape(leaf: Any) -> Any:
        return leaf.spec.shape if isinstance(leaf, (SymbolicTensor, Ref)) else leaf

    return map_leaves(shape, structure)


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
    "is_cuda": "the device is known only at run time: use `fgraph.apply(fn, x)`",
    "grad": "real tensors have gradients, after `backward()`",
    "grad_fn": "real tensors have one, after the model has run",
    **dict.fromkeys(("data_ptr", "untyped_storage", "storage"), "there is no memory behind it yet"),
    "register_hook": "register a hook on a module, or on the model's real output",
}


_BITWISE = ("and_", "or_", "xor", "lshift", "rshift")


def _install_operators() -> None:
    """Give symbols the arithmetic operators, and let torch's functions record them."""
    setattr(Symbol, "__torch_function__", classmethod(_torch_function))  # noqa: B010
    shared = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", *_BITWISE)
    tensor_only = ("matmul",)
    for kind, names in ((Symbol, shared), (SymbolicTensor, tensor_only)):
        for name in names:
            function, dunder = getattr(operator, name), name.rstrip("_")
            setattr(kind, f"__{dunder}__", _forward(function))
            setattr(kind, f"__r{dunder}__", _reflected(function))
            if function is not operator.matmul:
                setattr(SymbolicTensor, f"__i{dunder}__", _in_place(name))
    for name in ("lt", "le", "gt", "ge"):
        setattr(Symbol, f"__{name}__", _forward(getattr(operator, name)))
    for name in ("data", "grad", "requires_grad"):
        setattr(SymbolicTensor, name, _attribute(name))
    for name in ("neg", "pos", "abs", "invert"):
        setattr(Symbol, f"__{name}__", _unary(getattr(operator, name)))


def _torch_function(
    cls: type, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
) -> Any:
    """Record a torch function that was called with a symbolic argument."""
    return record_function(func, args, kwargs or {})


def _forward(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: record("function", function, (self, other), {})


def _reflected(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: record("function", function, (other, self), {})


def _unary(function: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda self: record("function", function, (self,), {})


def _attribute(name: str) -> property:
    """Return a tensor attribute that can be read, and not be assigned to."""

    def assign(self: SymbolicTensor, value: Any) -> None:
        if name == "requires_grad":
            record_function(torch.Tensor.requires_grad_, (self, value), {})
            return
        no_value(self, f"assigned to, .{name} = ...", "make a new tensor, `x = x.detach()`")

    return property(lambda self: self.__getattr__(name), assign)


def _in_place(name: str) -> Callable[[Any, Any], Any]:
    return lambda self, other: record_operator(self, name, other)


_install_operators()


handle_classes[TensorSpec] = SymbolicTensor
handle_classes[NumberSpec] = SymbolicSize
handle_classes[DataSpec] = SymbolicData
handle_classes[DeviceSpec] = SymbolicDevice
