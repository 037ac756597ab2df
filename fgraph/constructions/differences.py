"""The differences between an object and what its constructor makes."""

from __future__ import annotations

import dis
import functools
import operator
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..common.configured import is_of_fgraph
from ..errors import SaveError
from ..layers.base import Layer
from ..metrics import Metric
from ..model import Model

PLAIN = frozenset({type(None), bool, int, float, str})  # types of plain settings
# private attributes of nn.Module and some of its subclasses
MODULE_KEYS = frozenset(nn.Module().__dict__) | {
    "_compiled_call_impl", "_flat_weights", "_flat_weight_refs",
}  # fmt: skip
_PARAMETER_KEYS = MODULE_KEYS | {"_size", "_keys"}
# further attributes of a model, which are made again or written separately
MODEL_KEYS = MODULE_KEYS | {
    "_graph", "_signature", "_input_template", "_output_template", "_named_inputs", "_node_names",
    "_node_paths", "_output_names", "_graph_tensors", "_forward_source", "_view", "_masked",
    "_built_in", "_converted",
    "_segments", "_stack", "_trainer", "_added_outside", "history", "stop_training",
    "forward", "stop_evaluating", "stop_predicting",
}  # fmt: skip
# further attributes of a layer, which are made again or written separately
_LAYER_KEYS = frozenset({"module", "built", "_built_for", "_calls", "_arguments", "_container"})
_DERIVED = (weakref.ReferenceType, torch.Generator)  # made again when needed


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield each parameter and buffer of a module with its full name; tied ones several times."""
    for path, part in module.named_modules():
        for group in (part._parameters, part._buffers):
            for name, tensor in group.items():
                if tensor is not None:
                    yield (f"{path}.{name}" if path else name), tensor


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the attributes that may have to be written to a file."""
    own = getattr(type(value), "__getstate__", None)
    plain = getattr(object, "__getstate__", None)
    state = value.__getstate__() if own not in (None, plain) else getattr(value, "__dict__", {})
    if not isinstance(state, dict):
        state = vars(value)
    skipped = (
        MODEL_KEYS if isinstance(value, Model) else
        _PARAMETER_KEYS if isinstance(value, (nn.ParameterList, nn.ParameterDict)) else
        MODULE_KEYS if isinstance(value, nn.Module) else
        _LAYER_KEYS if isinstance(value, Layer) else frozenset({"_arguments"})
    )  # fmt: skip
    kept = {key: item for key, item in state.items() if key not in skipped}
    if isinstance(value, (nn.Module, Layer)) or not is_of_fgraph(type(value)):
        return kept
    return {key: item for key, item in kept.items() if key[:1] != "_"}  # private: they change


Paired = Callable[[Any, Any], bool]


def changed_settings(
    value: Any, made: Any, paired: Paired = operator.is_, marked: bool = False
) -> dict[str, Any]:
    """Return the plain settings in which an object differs from what its constructor made.

    Args:
        value: the object.
        made: what its constructor made.
        paired: returns whether one object corresponds to another.
        marked: whether to leave out plain attributes that the class does not define, which some
            library set on a torch module.

    Raises:
        SaveError: it differs in something else; the message says in what.
    """
    if isinstance(value, Metric):
        return {}  # its running totals are not saved
    before, now = attributes_of(made), attributes_of(value)
    found = {}
    for name, item in now.items():
        if (name in before and same(item, before[name], paired)) or _is_derived(item):
            continue
        if not is_setting(made, name, item):
            kind = type(value).__name__
            if marked and _is_plain(item) and name not in before and not hasattr(type(value), name):
                continue
            raise SaveError(
                f"its attribute {name!r} is {item!r:.100}, which the constructor of {kind} does "
                f"not make: give {kind} a method get_config() with what is to be kept, or make "
                "the tensors among its attributes buffers"
            )
        found[name] = item
    if missing := before.keys() - now.keys() - getattr(value, "_modules", {}).keys():
        raise SaveError(f"its attributes {sorted(missing)} were deleted")
    return found


def is_setting(made: Any, name: str, value: Any) -> bool:
    """Return whether a file may set this attribute: a plain value that the constructor also sets.

    The constructor of a model with a graph is not called: the attributes it sets are read from its
    code.
    """
    if isinstance(made, Model) and made._graph is None and name not in MODEL_KEYS:
        known = name in {"_trainable", "explicit_name"} | _set_in_init(type(made))
        return known and _is_plain(value, (tuple, list, dict))
    return all(map(_is_plain, (value, attributes_of(made).get(name, made))))


def _is_plain(value: Any, containers: tuple[type, ...] = (tuple,)) -> bool:
    if type(value) in containers:
        items = [*value, *value.values()] if type(value) is dict else value
        return all(_is_plain(item, containers) for item in items)
    return type(value) in PLAIN


def _set_in_init(cls: type) -> set[str]:
    """Return the attributes set by the constructors of a user's subclass of `Model`."""
    own = [kind.__init__ for kind in cls.__mro__ if issubclass(kind, Model)]
    return {
        instruction.argval
        for init in own
        if not is_of_fgraph(init)
        for instruction in dis.get_instructions(init)
        if instruction.opname == "STORE_ATTR"
    }


def _is_derived(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(_is_derived, value))
    return isinstance(value, _DERIVED)


def same(first: Any, second: Any, paired: Paired = operator.is_) -> bool:
    """Return whether two settings are equal: plain values, tensors, containers, objects."""
    kind = type(first)
    if first is second or paired(first, second):
        return True
    if kind is not type(second):
        return False
    if isinstance(first, Tensor):
        return _same_tensor(first, second)
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, (list, tuple)):
        alike = (same(a, b, paired) for a, b in zip(first, second, strict=False))
        return len(first) == len(second) and all(alike)
    if isinstance(first, dict):
        return [*first] == [*second] and all(same(first[k], second[k], paired) for k in first)
    if isinstance(first, types.FunctionType):
        parts = ("__code__", "__closure__", "__defaults__", "__kwdefaults__")
        return all(getattr(first, part) == getattr(second, part) for part in parts)
    if isinstance(first, functools.partial):
        return same(first.__reduce__()[2], second.__reduce__()[2], paired)
    if isinstance(first, Layer):
        return same(attributes_of(first), attributes_of(second), paired)
    if any("__eq__" in vars(base) for base in kind.__mro__[:-1]):
        return repr(first) == repr(second) and bool(first == second)  # 0.0 == -0.0
    if isinstance(first, nn.Module) or not hasattr(first, "__dict__"):
        return False
    return same(vars(first), vars(second), paired)


def _same_tensor(first: Tensor, second: Tensor) -> bool:
    return (
        first.shape == second.shape
        and first.dtype == second.dtype
        and first.device == second.device
        and first.device.type != "meta"
        and torch.equal(first, second)
    )
