"""Recording functions and tensor methods of torch, those that work in place among them."""

from __future__ import annotations

import operator
from contextlib import suppress
from typing import Any

import torch

from ...errors import BuildError, SymbolicError
from ..ancestry import ancestors
from ..inference.meta_mode import FACTORIES
from ..memory import setitem
from ..nested import iter_leaves
from ..specs import NumberSpec, TensorSpec
from .build_errors import function_name
from .record import Symbol, node_of, real_change, record, result_of, symbol

_FACTORY_NAMES = frozenset(function.__name__ for function in FACTORIES)
_INSTEAD = {
    "set": "`x = y`",
    "resize": "`x = x.reshape(...)`",
    "resize_as": "`x = x.reshape_as(...)`",
}
_DESCRIPTORS = (type(torch.Tensor.T), property)
_IN_PLACE = {
    "add": "add_", "sub": "sub_", "mul": "mul_", "truediv": "div_", "floordiv": "floor_divide_",
    "mod": "remainder_", "pow": "pow_", "and_": "bitwise_and_", "or_": "bitwise_or_",
    "xor": "bitwise_xor_", "lshift": "__ilshift__", "rshift": "__irshift__",
}  # fmt: skip


def record_function(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Record a torch function or tensor method."""
    name = getattr(func, "__name__", "")
    if kwargs.get("out") is not None:
        raise SymbolicError(
            f"{function_name(func)}(..., out=...) writes into a tensor, which a graph cannot "
            "record: use the returned tensor instead"
        )
    if getattr(func, "__self__", None).__class__ in _DESCRIPTORS and name == "__get__":
        return record("function", getattr, (args[0], func.__self__.__name__), {})
    if name == "__setitem__":
        func = setitem
    if name in _FACTORY_NAMES and kwargs.get("device") is None:
        kwargs = _placed(args, kwargs)
    if changes_first(func):
        return _record_in_place(func, tuple(args), kwargs)
    return record("function", func, tuple(args), kwargs)


def _placed(args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Put a tensor that is made of sizes where the tensor is that has these sizes.

    torch would put it on the default device, and fail as soon as the model runs on another one.
    """
    leaves = [leaf for leaf in iter_leaves((args, kwargs)) if isinstance(leaf, Symbol)]
    specs = [leaf.ref.spec for leaf in leaves]
    if torch.get_default_device().type != "cpu" or any(type(s) is TensorSpec for s in specs):
        return kwargs
    for leaf in leaves:
        if type(leaf.ref.spec) is NumberSpec:
            for node in ancestors([leaf.ref]):
                tensors = [ref for ref in node.refs() if type(ref.spec) is TensorSpec]
                if tensors:
                    device = record("function", getattr, (symbol(tensors[0]), "device"), {})
                    return {**kwargs, "device": device}
    return kwargs


def changes_first(func: Any) -> bool:
    """Return whether a function changes its first argument, as `setitem` and `torch.relu_` do."""
    name = getattr(func, "__name__", "")
    return func is setitem or (name.endswith("_") and not name.endswith("__"))


def _record_in_place(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Record a function that is called to change its first argument."""
    name = function_name(func)
    if any(isinstance(leaf, torch.Tensor) for leaf in iter_leaves(args[0])):
        raise real_change(name, "a real tensor")
    plain = func.__name__.rstrip("_")
    is_setting = func is torch.Tensor.requires_grad_
    if (is_setting or _moves_no_values(func.__name__)) and isinstance(args[0], Symbol):
        if plain not in ("resize", "resize_as", "set"):
            function = func if is_setting else getattr(torch.Tensor, plain)
            args[0].become(record("function", function, args, kwargs))
            return args[0]
    else:
        node = node_of("function", func, args, kwargs)
        if node.effects is not None and node.effects.changes:
            return result_of(node, (args, kwargs))
    makes_new = callable(getattr(torch.Tensor, plain, None)) and "resize" not in plain
    instead = f"`x = x.{plain}(...)`" if makes_new else _INSTEAD.get(plain, "`fgraph.apply(fn, x)`")
    raise SymbolicError(
        f"{name} changes a tensor in a way that a graph cannot record: write {instead}"
    )


def record_operator(value: Symbol, name: str, other: Any) -> Any:
    """Record `value += other`, or another augmented assignment.

    Where no other handle shares the memory, nobody can tell `x += y` from `x = x + y`, which
    spoils nothing that autograd has saved. `expand_as` refuses what would make `x` larger.

    Args:
        value: what is changed.
        name: `"add"` for `+=`, as in `operator.iadd`.
        other: what stands on the right.
    """
    if value._memory is None and torch.is_grad_enabled() and name != "pow":
        with suppress(BuildError):  # which the operation in place raises again
            known = other.ref.spec if isinstance(other, Symbol) else other
            if _might_enlarge(value._ref.spec.shape, getattr(known, "shape", None) or ()):
                added = record("function", torch.Tensor.expand_as, (other, value), {})
            else:
                added = other
            made = node_of("function", getattr(operator, name), (value, added), {})
            if made.specs[0][:3] == value._ref.spec[:3]:
                value.become(made.build(symbol))
                return value
    return record_function(getattr(torch.Tensor, _IN_PLACE[name]), (value, other), {})


def _might_enlarge(shape: tuple[int | None, ...], other: tuple[int | None, ...]) -> bool:
    """Whether a sum could be larger than `shape`, for some unknown sizes."""
    pairs = zip(reversed(shape), reversed(other), strict=False)
    return any(size is None and another != 1 for size, another in pairs)


def _moves_no_values(name: str) -> bool:
    """Whether an in-place operation changes a tensor's shape or strides, and no values."""
    operation = getattr(torch.ops.aten, name, None)
    overloads = [] if operation is None else operation.overloads()
    return any(torch.Tag.inplace_view in getattr(operation, o).tags for o in overloads)
