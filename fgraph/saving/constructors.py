"""The constructor call that makes an object like a given one, read back from its attributes."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..layers.base import Layer
from ..model import Model
from .errors import SaveError

_MISSING = object()


@dataclass
class Construction:
    """How an object is made: `cls(*args, **kwargs)`, or `cls.from_config(config)`.

    With `blank` the constructor is not called at all: everything is filled in afterwards.
    """

    cls: type
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    blank: bool = False

    def make(self, real: bool = False) -> Any:
        """Make the object; modules of torch and of this package without values or memory.

        Random numbers are left as they were, whatever the constructor draws.

        Args:
            real: make these modules with values, too, and draw the numbers for it.
        """
        if self.blank:
            return _blank(self.cls)
        if real or not issubclass(self.cls, nn.Module):
            return self._call()
        if self.cls.__module__.startswith(("torch.nn.", "fgraph.")):
            with torch.device("meta"):
                made = self._call()
            if not _has_stray_meta(made):
                return made
        with torch.random.fork_rng(devices=()):
            return self._call()

    def _call(self) -> Any:
        if self.config is not None:
            return self.cls.from_config(self.config)  # type: ignore[attr-defined]
        return self.cls(*self.args, **self.kwargs)


def _blank(cls: type) -> Any:
    made = cls.__new__(cls)
    if isinstance(made, nn.Module):
        (Model if isinstance(made, Model) else nn.Module).__init__(made)
    return made


def construction_of(value: Any) -> Construction:
    """Find the constructor call of an object.

    A layer remembers its own. Any other object may have `get_config()`; otherwise each parameter
    of its constructor is read from the attribute of that name.

    Raises:
        SaveError: an argument can be read from no attribute.
    """
    cls = type(value)
    if isinstance(value, Layer):
        args, kwargs = value._arguments
        return Construction(cls, args, dict(kwargs))
    rule = _RULES.get(cls)
    if rule is not None:
        return rule(value)
    own = getattr(cls, "get_config", None)
    if own is not None and own is not getattr(Model, "get_config", None):
        config = value.get_config()
        if hasattr(cls, "from_config") and not issubclass(cls, Model):
            return Construction(cls, config=config)
        return Construction(cls, kwargs=config)
    return Construction(cls, *_read_arguments(value))


def _read_arguments(value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Read the arguments of the constructor from the attributes that have their names."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for parameter in _parameters(type(value)):
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        found = _read(value, parameter.name)
        if found is _MISSING:
            if parameter.default is parameter.empty:
                raise SaveError(_unreadable(value, parameter.name))
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            args.append(found)
        elif parameter.default is parameter.empty or not same(found, parameter.default):
            kwargs[parameter.name] = found
    return tuple(args), kwargs


@functools.lru_cache(maxsize=1024)
def _parameters(cls: type) -> tuple[inspect.Parameter, ...]:
    try:
        return tuple(inspect.signature(cls).parameters.values())
    except (TypeError, ValueError):
        return ()


def _read(value: Any, name: str) -> Any:
    if name in ("device", "dtype"):  # the weights that are filled in have their own
        return _MISSING
    attributes = vars(value) if hasattr(value, "__dict__") else {}
    if isinstance(value, nn.Module):
        for group in (value._parameters, value._buffers):
            if name in group:
                given = _takes_tensor(type(value), name)
                return group[name] if given else group[name] is not None  # Linear(bias=True)
        if name in value._modules:
            return value._modules[name]
    for key in (name, f"_{name}"):
        if key in attributes:
            return attributes[key]
    return getattr(value, name, _MISSING) if hasattr(type(value), name) else _MISSING


def _takes_tensor(cls: type, name: str) -> bool:
    """Whether the constructor takes the tensor itself, and not a flag, under this name."""
    parameter = next(p for p in _parameters(cls) if p.name == name)
    annotation = str(parameter.annotation)
    return "Tensor" in annotation or "Parameter" in annotation


def _unreadable(value: Any, name: str) -> str:
    kind = type(value).__name__
    return (
        f"the argument {name!r} of {kind} cannot be read back: keep it in an attribute "
        f"self.{name}, or give {kind} a method get_config() that returns the constructor's "
        "arguments"
    )


# ---------------------------------------------------------------------- torch's exceptions


def _recurrent(module: Any) -> Construction:
    names = ("num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size")
    kwargs = {name: getattr(module, name) for name in names}
    if not isinstance(module, nn.LSTM):
        del kwargs["proj_size"]
    if type(module) is nn.RNN:
        kwargs["nonlinearity"] = module.mode.removeprefix("RNN_").lower()
    defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
                "bidirectional": False, "proj_size": 0, "nonlinearity": "tanh"}  # fmt: skip
    kwargs = {key: item for key, item in kwargs.items() if item != defaults[key]}
    return Construction(type(module), (module.input_size, module.hidden_size), kwargs)


def _attention(module: nn.MultiheadAttention) -> Construction:
    optional = {
        "dropout": (module.dropout, 0.0),
        "bias": (module.in_proj_bias is not None, True),
        "add_bias_kv": (module.bias_k is not None, False),
        "add_zero_attn": (module.add_zero_attn, False),
        "kdim": (module.kdim, module.embed_dim),
        "vdim": (module.vdim, module.embed_dim),
        "batch_first": (module.batch_first, False),
    }
    kwargs = {name: value for name, (value, default) in optional.items() if value != default}
    return Construction(type(module), (module.embed_dim, module.num_heads), kwargs)


def _transformer_layer(module: Any) -> Construction:
    attention = module.self_attn
    # a part that was replaced may not tell; it is written by itself then
    optional = {
        "dim_feedforward": (getattr(module.linear1, "out_features", 1), 2048),
        "dropout": (getattr(module.dropout, "p", 0.1), 0.1),
        "activation": (module.activation, nn.functional.relu),
        "layer_norm_eps": (getattr(module.norm1, "eps", 1e-5), 1e-5),
        "batch_first": (getattr(attention, "batch_first", False), False),
        "norm_first": (module.norm_first, False),
        "bias": (getattr(module.linear1, "bias", True) is not None, True),
    }
    kwargs = {name: value for name, (value, default) in optional.items() if value != default}
    sizes = getattr(attention, "embed_dim", 1), getattr(attention, "num_heads", 1)
    return Construction(type(module), sizes, kwargs)


def _transformer_stack(module: Any) -> Construction:
    kwargs = {} if module.norm is None else {"norm": module.norm}
    if isinstance(module, nn.TransformerEncoder):
        kwargs["enable_nested_tensor"] = False  # what the real setting leaves is an attribute
    return Construction(type(module), (module.layers[0], module.num_layers), kwargs)


def _transformer(module: nn.Transformer) -> Construction:
    kwargs = {
        "d_model": module.d_model,
        "nhead": module.nhead,
        "custom_encoder": module.encoder,
        "custom_decoder": module.decoder,
        "batch_first": module.batch_first,
    }
    return Construction(nn.Transformer, (), kwargs)


def _container(module: nn.Module) -> Construction:
    return Construction(type(module))


def _parameter_list(module: nn.ParameterList) -> Construction:
    return Construction(type(module), ([torch.empty(0)] * len(module),))


def _parameter_dict(module: nn.ParameterDict) -> Construction:
    return Construction(type(module), (dict.fromkeys(module, torch.empty(0)),))


def _upsample(module: nn.Module) -> Construction:
    names = ("size", "scale_factor")
    kwargs = {name: found for name in names if (found := getattr(module, name)) is not None}
    if type(module) is nn.Upsample:
        kwargs |= {"mode": module.mode}
        kwargs |= {"align_corners": module.align_corners} if module.align_corners else {}
    return Construction(type(module), (), kwargs)


def _adaptive_softmax(module: nn.AdaptiveLogSoftmaxWithLoss) -> Construction:
    kwargs = {
        "cutoffs": module.cutoffs[:-1],
        "div_value": module.div_value,
        "head_bias": module.head_bias,
    }
    return Construction(type(module), (module.in_features, module.n_classes), kwargs)


_RULES: dict[type, Callable[[Any], Construction]] = {
    nn.RNN: _recurrent,
    nn.LSTM: _recurrent,
    nn.GRU: _recurrent,
    nn.MultiheadAttention: _attention,
    nn.TransformerEncoderLayer: _transformer_layer,
    nn.TransformerDecoderLayer: _transformer_layer,
    nn.TransformerEncoder: _transformer_stack,
    nn.TransformerDecoder: _transformer_stack,
    nn.Transformer: _transformer,
    nn.Sequential: _container,
    nn.ModuleList: _container,
    nn.ModuleDict: _container,
    nn.ParameterList: _parameter_list,
    nn.ParameterDict: _parameter_dict,
    nn.Upsample: _upsample,
    nn.UpsamplingNearest2d: _upsample,
    nn.UpsamplingBilinear2d: _upsample,
    nn.AdaptiveLogSoftmaxWithLoss: _adaptive_softmax,
}


# ---------------------------------------------------------------------- comparing


def same(first: Any, second: Any) -> bool:
    """Whether two settings are equal: numbers, texts, tensors, functions, containers, objects."""
    if first is second:
        return True
    kind = type(first)
    if kind is not type(second):
        return False
    if isinstance(first, Tensor):
        return _same_tensor(first, second)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, types.FunctionType):
        return first.__code__ == second.__code__ and first.__closure__ == second.__closure__
    if isinstance(first, functools.partial):
        return same(first.__reduce__()[2], second.__reduce__()[2])
    if kind.__eq__ is not object.__eq__:
        return bool(first == second)
    if isinstance(first, nn.Module) or not hasattr(first, "__dict__"):
        return False
    return same(vars(first), vars(second))


def _same_tensor(first: Tensor, second: Tensor) -> bool:
    return (
        first.shape == second.shape
        and first.dtype == second.dtype
        and first.device == second.device
        and first.device.type != "meta"
        and torch.equal(first, second)
    )


def _has_stray_meta(module: nn.Module) -> bool:
    """Whether a tensor that is neither parameter nor buffer was made without values."""
    return any(
        isinstance(value, Tensor) and value.device.type == "meta"
        for part in module.modules()
        for value in vars(part).values()
    )
