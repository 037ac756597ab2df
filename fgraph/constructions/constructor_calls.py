"""The constructor call that makes an object equal to a given one, read from its attributes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from ..common.configured import Remembered
from ..errors import SaveError
from ..layers.base import Layer
from ..model import Model
from .construction import Construction
from .differences import same

_MISSING = object()


def construction_of(value: Any, known: dict[str, Any] | None = None) -> Construction:
    """Find the constructor call of an object.

    Layers, losses, metrics and optimizers store theirs. Any other object may have `get_config()`;
    otherwise each parameter of its constructor is read from the attribute of the same name.

    Args:
        value: the object.
        known: arguments that are not attributes.

    Raises:
        SaveError: an argument cannot be read from an attribute.
    """
    cls = type(value)
    if has_own_config(cls):
        return Construction(cls, config=dict(value.get_config()))
    if isinstance(value, Remembered):
        args, kwargs = value._arguments
        return Construction(cls, args, dict(kwargs))
    return Construction(cls, *_read_arguments(value, known))


def _multi_head(module: nn.MultiheadAttention) -> dict[str, Any]:
    return {
        "bias": module.in_proj_bias is not None,
        "add_bias_kv": module.bias_k is not None,
        "kdim": None if module.kdim == module.embed_dim else module.kdim,
        "vdim": None if module.vdim == module.embed_dim else module.vdim,
    }


def _transformer_layer(module: Any) -> dict[str, Any]:
    attention, inner = module.self_attn, module.linear1
    return {  # a replaced part may lack the attribute; it is then written separately
        "d_model": getattr(attention, "embed_dim", 1),
        "nhead": getattr(attention, "num_heads", 1),
        "dim_feedforward": getattr(inner, "out_features", 1),
        "dropout": getattr(module.dropout, "p", 0.1),
        "layer_norm_eps": getattr(module.norm1, "eps", 1e-5),
        "batch_first": getattr(attention, "batch_first", False),
        "bias": getattr(inner, "bias", True) is not None,
    }


# arguments with other attribute names; missing ones have no attribute
_SPECIAL: dict[type, Callable[[Any], dict[str, Any]]] = {
    nn.RNN: lambda m: {"mode": _MISSING, "nonlinearity": m.mode.removeprefix("RNN_").lower()},
    nn.LSTM: lambda m: {"mode": _MISSING},
    nn.GRU: lambda m: {"mode": _MISSING},
    nn.MultiheadAttention: _multi_head,
    nn.TransformerEncoderLayer: _transformer_layer,
    nn.TransformerDecoderLayer: _transformer_layer,
    nn.AdaptiveLogSoftmaxWithLoss: lambda m: {"cutoffs": m.cutoffs[:-1]},
}


def has_own_config(cls: type) -> bool:
    """Return whether a class defines its own `get_config`."""
    own = getattr(cls, "get_config", None)
    return own not in (None, Model.get_config, Layer.get_config, Remembered.get_config)


def _read_arguments(
    value: Any, known: dict[str, Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Read the arguments of the constructor from the attributes of the same names."""
    args: list[Any] = []
    cls: Any = type(value)
    kwargs = known or (_SPECIAL[cls](value) if cls in _SPECIAL else {})
    for parameter in parameters_of(cls):
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        special = parameter.name in kwargs
        found = kwargs.pop(parameter.name) if special else _read(value, parameter)
        if found is _MISSING:
            if parameter.default is parameter.empty and not special:
                raise SaveError(_unreadable(value, parameter.name))
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            args.append(found)
        elif parameter.default is parameter.empty or not same(found, parameter.default):
            kwargs[parameter.name] = found
    return tuple(args), kwargs


@functools.lru_cache(maxsize=1024)
def parameters_of(cls: type) -> tuple[inspect.Parameter, ...]:
    """Return the parameters of a constructor, with the base class's instead of `**options`."""
    found: dict[str, inspect.Parameter] = {}
    for kind in cls.__mro__:
        if "__init__" not in vars(kind) or kind in (object, nn.Module):
            continue
        try:
            own = list(inspect.signature(kind.__init__).parameters.values())[1:]  # type: ignore[misc]
        except (TypeError, ValueError):
            break
        for parameter in own:
            found.setdefault(parameter.name, parameter)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in own):
            break
    return tuple(found.values())


def _read(value: Any, parameter: inspect.Parameter) -> Any:
    name = parameter.name
    if name in ("device", "dtype"):  # the weights that are filled in have their own
        return _MISSING
    attributes = vars(value) if hasattr(value, "__dict__") else {}
    if isinstance(value, nn.Module):
        for group in (value._parameters, value._buffers):
            if name in group:
                given = _takes_tensor(parameter)
                return group[name] if given else group[name] is not None  # Linear(bias=True)
        if name in value._modules:
            return value._modules[name]
    for key in (name, f"_{name}"):
        if key in attributes:
            return attributes[key]
    return getattr(value, name, _MISSING) if hasattr(type(value), name) else _MISSING


def _takes_tensor(parameter: inspect.Parameter) -> bool:
    """Return whether the constructor takes the tensor itself instead of a flag."""
    annotation = str(parameter.annotation)
    return parameter.default is None or "Tensor" in annotation or "Parameter" in annotation


def _unreadable(value: Any, name: str) -> str:
    kind = type(value).__name__
    return (
        f"the argument {name!r} of {kind} cannot be read back: keep it in an attribute "
        f"self.{name}, or give {kind} a method get_config() that returns the constructor's "
        "arguments"
    )
