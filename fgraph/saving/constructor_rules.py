"""How modules are made whose constructor's arguments are not their attributes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .construction import Construction

Rule = Callable[[Any], Construction]


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


_RULES: dict[type, Rule] = {
    nn.RNN: _recurrent,
    nn.LSTM: _recurrent,
    nn.GRU: _recurrent,
    nn.MultiheadAttention: _attention,
    nn.TransformerEncoderLayer: _transformer_layer,
    nn.TransformerDecoderLayer: _transformer_layer,
    nn.Upsample: _upsample,
    nn.UpsamplingNearest2d: _upsample,
    nn.UpsamplingBilinear2d: _upsample,
    nn.AdaptiveLogSoftmaxWithLoss: _adaptive_softmax,
}


def _prelu(module: Any) -> Construction:
    return Construction(type(module), (tuple(module.weight.shape),))


def _scale(module: Any) -> Construction:
    return Construction(type(module), tuple(module.weight.shape))


def _einsum(module: Any) -> Construction:
    bias = None if module.bias is None else tuple(module.bias.shape)
    return Construction(type(module), (module.equation, tuple(module.weight.shape), bias))


def _standardize(module: Any) -> Construction:
    return Construction(type(module), (tuple(module.mean.shape), module.invert))


def _gaussian_factor(module: Any) -> Construction:
    variance = module.stddev**2
    return Construction(type(module), (variance / (1 + variance), module.seed))


def _batch_norm(module: Any) -> Construction:
    kwargs = {}
    if module.weight is None:
        kwargs["scale"] = False
    if module.bias is None:
        kwargs["center"] = False
    return Construction(type(module), (module.num_features, module.eps, module.momentum), kwargs)


def _head_attention(module: Any) -> Construction:
    features = tuple(part.in_features for part in (module.query, module.key, module.value))
    optional = {
        "bias": (module.query.bias is not None, True),
        "dropout": (module.dropout, 0.0),
        "gate": (module.gate is not None, False),
    }
    kwargs = {name: value for name, (value, default) in optional.items() if value != default}
    heads, sizes = (module.heads, module.shared_heads), (module.key_size, module.value_size)
    return Construction(type(module), (features, heads, sizes, module.output.out_features), kwargs)


def _dropouts(module: Any) -> dict[str, Any]:
    """Read the rates and the seed that the dropouts of a recurrent module were made with."""
    found = {"dropout": module.input_dropout, "recurrent_dropout": module.recurrent_dropout}
    kwargs = {name: part.rate for name, part in found.items() if part is not None}
    seeds = [part.seed for part in found.values() if part is not None and part.seed is not None]
    return kwargs | ({"seed": seeds[0]} if seeds else {})


def _keras_recurrent(module: Any) -> Construction:
    optional = {
        "bias": (module.bias, True),
        "activation": (module.activation, torch.tanh),
        "recurrent_activation": (module.recurrent_activation, torch.sigmoid),
        "plain": (module.plain, True),
        "reset_after": (getattr(module, "reset_after", True), True),
    }
    kwargs = {name: value for name, (value, default) in optional.items() if value != default}
    if module.stateful:
        kwargs["batch_size"] = module.state_0.shape[0]
    sizes = module.input_size, module.hidden_size
    return Construction(type(module), sizes, {**kwargs, **_dropouts(module)})


def _conv_lstm(module: Any) -> Construction:
    parts = (module.input_conv, module.recurrent_conv)
    activations = (module.activation, module.recurrent_activation)
    kwargs = {"state_shape": tuple(module.state_0.shape)} if module.stateful else {}
    return Construction(type(module), (*parts, *activations), {**kwargs, **_dropouts(module)})


@functools.lru_cache(maxsize=1)
def _own_rules() -> dict[type, Rule]:
    """Return the rules for this package's modules whose arguments are no attributes."""
    from ..layers.modules import (
        activation,
        attention,
        conv_lstm,
        einsum,
        noise,
        normalization,
        preprocessing,
        recurrent,
    )

    return {
        activation.PReLUByAxes: _prelu,
        attention.HeadAttention: _head_attention,
        attention.Scale: _scale,
        conv_lstm.ConvLSTM: _conv_lstm,
        einsum.EinsumLinear: _einsum,
        noise.GaussianFactor: _gaussian_factor,
        normalization.BatchNorm: _batch_norm,
        preprocessing.Standardize: _standardize,
        recurrent.KerasLSTM: _keras_recurrent,
        recurrent.KerasGRU: _keras_recurrent,
        recurrent.KerasSimpleRNN: _keras_recurrent,
    }


def rule_for(cls: type) -> Rule | None:
    """Return what finds the constructor call of a class, where attributes do not tell."""
    found = _RULES.get(cls)
    if found is None and cls.__module__.startswith("fgraph.layers."):
        return _own_rules().get(cls)
    return found
