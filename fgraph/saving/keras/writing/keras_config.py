"""Writes values in Keras's configurations; `keras_values` reads them."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .... import activations, constraints, initializers, regularizers
from ....errors import SaveError
from ...registered_names import registered_name

MOST_NUMBERS = 1_000_000  # of a tensor that is written as text
_ROOMS = {
    "initializer": initializers, "regularizer": regularizers, "constraint": constraints,
}  # fmt: skip
# torch's functions that are one of Keras's by default, under Keras's name
_ACTIVATIONS: dict[Any, str] = {
    F.gelu: "gelu", F.selu: "selu", F.elu: "elu", F.celu: "celu", F.sigmoid: "sigmoid",
    F.tanh: "tanh", F.relu: "relu", torch.relu: "relu", torch.celu: "celu",
    torch.hardshrink: "hard_shrink",
}  # fmt: skip


_OTHERS = {"torch", "fgraph", "builtins", "_operator"}  # packages whose names Keras does not have


def keras_object(kind: str, config: Any, room: str, name: str | None = None) -> dict[str, Any]:
    """Return an object of a configuration: class, arguments, and where Keras has it."""
    return {"module": room, "class_name": kind, "config": config, "registered_name": name}


def custom(target: Any, where: str, config: Any = None) -> dict[str, Any]:
    """Return a user's class or function by name; Keras needs its own object of that name.

    As in Keras that is the name that it was registered under, else the name of the class.

    Args:
        target: the class or function.
        where: whose it is, for errors.
        config: of an object of the class; `None` for a function.

    Raises:
        SaveError: it is not the user's, or has no name.
    """
    own = getattr(target, "__name__", "")
    room = getattr(target, "__module__", None) or "builtins"
    name = registered_name(target)
    if name is None and (room.partition(".")[0] in _OTHERS or not own.isidentifier()):
        raise SaveError(
            f"{where}: {own or repr(target)} is not Keras's: use one of your own, decorated with "
            f'@fgraph.register("package>{own if own.isidentifier() else "Name"}"), and register '
            "your counterpart under this name in Keras"
        )
    if isinstance(target, type):
        name = name or own
        return keras_object(name.rpartition(">")[2], config, room, name)
    if name is None:
        return keras_object("function", own, room, own)
    return keras_object("function", name, "builtins", "function")


def dtype_policy(dtype: torch.dtype) -> dict[str, Any]:
    """Return the policy of a layer whose weights have a dtype."""
    return keras_object("DTypePolicy", {"name": dtype_name(dtype)}, "keras")


def dtype_name(dtype: torch.dtype) -> str:
    """Return Keras's name of a dtype."""
    return str(dtype).removeprefix("torch.")


def plain(value: Any, where: str, leaf: Callable[[Any, str], Any] | None = None) -> Any:
    """Return a value as JSON.

    Args:
        value: what an argument is.
        where: the layer and argument, for errors.
        leaf: converts other values, such as layers, to JSON.

    Raises:
        SaveError: it cannot be written.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if value is ...:
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(value, torch.dtype):
        return dtype_name(value)
    if isinstance(value, torch.Size):
        return list(value)
    if isinstance(value, list):
        return [plain(item, where, leaf) for item in value]
    if isinstance(value, tuple):
        return {"class_name": "__tuple__", "items": [plain(item, where, leaf) for item in value]}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise SaveError(f"{where}: a dict whose keys are no texts")
        return {key: plain(item, where, leaf) for key, item in value.items()}
    if isinstance(value, slice):
        parts = {key: plain(getattr(value, key), where, leaf) for key in ("start", "stop", "step")}
        return {"class_name": "__slice__", "config": parts}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (Tensor, np.ndarray)):
        return _numbers(value, where)
    if leaf is not None:
        return leaf(value, where)
    raise SaveError(f"{where}: {value!r:.80} cannot be written")


def with_lists(value: Any) -> Any:
    """Return a value with lists instead of tuples, which Keras does not accept everywhere."""
    if isinstance(value, (list, tuple)):
        return [with_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: with_lists(item) for key, item in value.items()}
    return value


def _numbers(value: Any, where: str) -> dict[str, Any]:
    """Return an array or tensor that is part of a configuration."""
    array = value.detach().cpu() if isinstance(value, Tensor) else value
    count = array.numel() if isinstance(array, Tensor) else array.size
    if count > MOST_NUMBERS:
        raise SaveError(f"{where}: a tensor of {count} numbers, which Keras would keep as text: "
                        "make it the weight of a layer")  # fmt: skip
    if isinstance(array, Tensor) and array.is_complex():
        raise SaveError(f"{where}: a tensor of complex numbers cannot be written")
    kind = "__tensor__" if isinstance(value, Tensor) else "__numpy__"
    config = {"value": array.tolist(), "dtype": dtype_name(array.dtype)}
    return {"class_name": kind, "config": config}


def role(kind: str, value: Any, where: str) -> Any:
    """Return an initializer, regularizer, constraint or activation.

    Args:
        kind: which of them.
        value: a name, an object or a function.
        where: the layer and argument, for errors.

    Raises:
        SaveError: it is neither Keras's nor registered.
    """
    if kind == "activation":
        return _activation(value, where)
    if value is None:
        return None
    room = _ROOMS[kind]
    made: Any = room.get(value)
    known = type(made) in room._KNOWN.values()
    if isinstance(made, (types.FunctionType, types.BuiltinFunctionType)):
        return custom(made, where)
    config: dict[str, Any] = getattr(made, "get_config", dict)()
    written = {key: plain(item, where) for key, item in config.items()}
    if known:
        return keras_object(type(made).__name__, written, f"keras.{kind}s")
    return custom(type(made), where, written)


def _activation(value: Any, where: str) -> Any:
    made: Any = activations.get(value)
    for name, known in activations._KNOWN.items():
        if known is made:
            return name
    try:
        if made in _ACTIVATIONS:
            return _ACTIVATIONS[made]
    except TypeError:  # not hashable
        pass
    if isinstance(made, types.FunctionType):
        return custom(made, where)
    raise SaveError(f"{where}: {made!r:.80} is not one of Keras's activations: give its name")
