"""torch modules that are exactly equivalent to one of Keras's layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ....layers.weight_layout import KERNEL, SAME, TRANSPOSED, Layout, Weight
from .keras_config import dtype_policy, keras_object

Weights = list[tuple[Tensor, Weight, bool]]  # value, place in torch, whether it is trained
Made = tuple[str, dict[str, Any], tuple[Weight, ...]]

_BIAS = Weight("bias", ("bias",))
_SCALE = (Weight("gamma", ("weight",)), Weight("beta", ("bias",)))
_FIRST = {"data_format": "channels_first"}


# why some modules that look equivalent are not
REASONS: dict[type, str] = {
    **dict.fromkeys(
        (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
        "its running variance is the unbiased one, Keras's is not: use "
        "layers.BatchNormalization(axis=1, momentum=0.9, epsilon=1e-5)",
    ),
    **dict.fromkeys((nn.LSTM, nn.GRU, nn.RNN), "use layers.LSTM, layers.GRU or layers.SimpleRNN"),
    nn.MultiheadAttention: "use layers.MultiHeadAttention",
}


def as_layer(
    module: nn.Module, name: str, dtype: torch.dtype | None = None
) -> tuple[dict[str, Any], Weights] | None:
    """Return the equivalent layer of Keras, `None` if there is none.

    Args:
        module: a module of torch.
        name: the name of the layer.
        dtype: the dtype of the output, for modules without weights.
    """
    make = _TABLE.get(type(module))
    found = None if make is None or _is_changed(module) else make(module)
    if found is None:
        return None
    kind, config, weights = found
    held = [weight for weight in weights if weight.tensors(module)]
    tensors = [tensor for weight in held for tensor in weight.tensors(module)]
    flags = {t.requires_grad for w in held if w.trainable for t in w.tensors(module)}
    if len(flags) > 1 or (flags == {False} and any(not weight.trainable for weight in held)):
        return None
    own = next((t.dtype for t in tensors if t.is_floating_point()), dtype)
    written = {"name": name, "trainable": flags != {False},
               "dtype": dtype_policy(own or torch.get_default_dtype()), **config}  # fmt: skip
    trained = flags != {False}
    values = [(w.read(module).detach(), w, w.trainable and trained) for w in held]
    return keras_object(kind, written, "keras.layers"), values


def _is_changed(module: nn.Module) -> bool:
    """Return whether a module has hooks, parametrizations or the like."""
    return bool(module._forward_pre_hooks or module._forward_hooks or "forward" in vars(module))


def _kernel(layout: Layout) -> tuple[Weight, Weight]:
    return Weight("kernel", ("weight",), layout), _BIAS


def _linear(module: nn.Linear) -> Made:
    config = {"units": module.out_features, "use_bias": module.bias is not None}
    return "Dense", config, _kernel(TRANSPOSED)


def _embedding(module: nn.Embedding) -> Made | None:
    if module.max_norm is not None or module.scale_grad_by_freq or module.padding_idx is not None:
        return None
    config = {"input_dim": module.num_embeddings, "output_dim": module.embedding_dim}
    return "Embedding", config, (Weight("embeddings", ("weight",), SAME),)


def _convolution(module: Any) -> Made | None:
    rank = len(module.kernel_size)
    padding = module.padding
    if not isinstance(padding, str):
        whole = tuple(d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True))
        if not any(padding):
            padding = "valid"
        elif all(s == 1 for s in module.stride) and tuple(2 * p for p in padding) == whole:
            padding = "same"
        else:
            return None
    if module.padding_mode != "zeros":
        return None
    config = {
        "filters": module.out_channels, "kernel_size": list(module.kernel_size),
        "strides": list(module.stride), "padding": padding, "groups": module.groups,
        "dilation_rate": list(module.dilation), "use_bias": module.bias is not None, **_FIRST,
    }  # fmt: skip
    return f"Conv{rank}D", config, _kernel(KERNEL)


def _layer_norm(module: nn.LayerNorm) -> Made | None:
    rank = len(module.normalized_shape)
    config = {"axis": list(range(-rank, 0)), "epsilon": module.eps,
              "scale": module.weight is not None, "center": module.bias is not None}  # fmt: skip
    return "LayerNormalization", config, _SCALE


def _group_norm(module: nn.GroupNorm) -> Made:
    config = {"groups": module.num_groups, "axis": 1, "epsilon": module.eps,
              "scale": module.affine, "center": module.affine}  # fmt: skip
    return "GroupNormalization", config, _SCALE


def _flatten(module: nn.Flatten) -> Made | None:
    return ("Flatten", {}, ()) if (module.start_dim, module.end_dim) == (1, -1) else None


def _activation(name: str) -> Callable[[Any], Made]:
    return lambda module: ("Activation", {"activation": name}, ())


def _softmax(module: nn.Softmax) -> Made | None:
    return None if module.dim is None else ("Softmax", {"axis": module.dim}, ())


def _gelu(module: nn.GELU) -> Made | None:
    return _activation("gelu")(module) if module.approximate == "none" else None


def _softplus(module: nn.Softplus) -> Made | None:
    return _activation("softplus")(module) if (module.beta, module.threshold) == (1, 20) else None


def _hard_tanh(module: nn.Hardtanh) -> Made | None:
    return _activation("hard_tanh")(module) if (module.min_val, module.max_val) == (-1, 1) else None


def _pool(kind: str, rank: int) -> Callable[[Any], Made | None]:
    def made(module: Any) -> Made | None:
        def sizes(value: Any) -> list[int]:
            return [value] * rank if isinstance(value, int) else list(value)

        if (
            any(sizes(module.padding)) or module.ceil_mode
            or any(d != 1 for d in sizes(getattr(module, "dilation", 1)))
            or getattr(module, "return_indices", False)
            or getattr(module, "divisor_override", None) is not None
        ):  # fmt: skip
            return None
        config = {"pool_size": sizes(module.kernel_size),
                  "strides": sizes(module.kernel_size if module.stride is None else module.stride),
                  "padding": "valid", **_FIRST}  # fmt: skip
        return f"{kind}Pooling{rank}D", config, ()

    return made


_TABLE: dict[type, Callable[[Any], Made | None]] = {
    nn.Linear: _linear, nn.Embedding: _embedding, nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm, nn.Flatten: _flatten, nn.GELU: _gelu, nn.Softmax: _softmax,
    nn.Softplus: _softplus, nn.Hardtanh: _hard_tanh,
    nn.Identity: lambda module: ("Identity", {}, ()),
    nn.Dropout: lambda module: ("Dropout", {"rate": module.p}, ()),
    nn.LeakyReLU: lambda m: ("LeakyReLU", {"negative_slope": m.negative_slope}, ()),
    nn.ELU: lambda module: ("ELU", {"alpha": module.alpha}, ()),
    nn.Conv1d: _convolution, nn.Conv2d: _convolution, nn.Conv3d: _convolution,
    **{kind: _activation(name) for kind, name in {
        nn.ReLU: "relu", nn.ReLU6: "relu6", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh",
        nn.SiLU: "silu", nn.SELU: "selu", nn.Mish: "mish", nn.Softsign: "softsign",
        nn.LogSigmoid: "log_sigmoid", nn.Hardswish: "hard_silu", nn.Hardsigmoid: "hard_sigmoid",
        nn.Tanhshrink: "tanh_shrink",
    }.items()},
    **{kind: _pool("Max", rank) for rank, kind in enumerate(
        (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), 1)},
    **{kind: _pool("Average", rank) for rank, kind in enumerate(
        (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d), 1)},
}  # fmt: skip
