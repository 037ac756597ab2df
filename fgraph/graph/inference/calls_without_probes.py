"""Calls that need no probe lanes.

The sizes of their results are those of their arguments, or of their settings: where such a size is
the same in both main lanes it is the same for all.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..memory import changed, setitem
from ..nested import iter_leaves
from ..torch_functions import torch_name

_MODULES = (
    nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag, nn.Identity, nn.PReLU, nn.RNNBase,
    nn.RNNCellBase, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.LocalResponseNorm, nn.Softmax,
    nn.LogSoftmax, nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer,
    nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd, nn.Flatten,
)  # fmt: skip
_KINDS = frozenset({"torch.nn.modules.activation", "torch.nn.modules.conv"})
_FUNCTIONS = frozenset(
    "abs absolute add addmm all alpha_dropout any argmax argmin baddbmm batch_norm bilinear bmm "
    "broadcast_to cat celu clamp clone concat concatenate contiguous cos cosh cumsum detach div "
    "dropout einsum elu embedding eq erf exp expand expand_as expm1 flatten float floor ge gelu "
    "group_norm gt half hardtanh isnan layer_norm le leaky_relu lerp linear log log1p log_softmax "
    "logical_and logical_not logical_or long lt masked_fill matmul max maximum mean min minimum "
    "mish mm movedim mul multiply ne neg norm normalize ones_like permute pow prod rand_like "
    "randn_like reciprocal relu relu6 reshape rms_norm round rsqrt scaled_dot_product_attention "
    "selu sigmoid sign silu sin softmax softplus sqrt square squeeze stack std sub subtract sum "
    "swapaxes t tan tanh to transpose truediv tril triu true_divide type type_as unsqueeze var "
    "view where zeros_like T mT bool int".split()
)
# the functions below modules of torch, and what tells nothing of sizes
_CONVOLUTIONS = frozenset(
    f"conv{transposed}{n}d" for transposed in ("", "_transpose") for n in (1, 2, 3)
)
_INNER = frozenset(
    {"_assert", "hardsigmoid", "hardswish", "instance_norm", "prelu", "dropout1d", "dropout2d"}
)
_ATTRIBUTES = frozenset(
    "H T data device dtype imag is_cpu is_cuda is_leaf is_meta is_mps is_quantized is_sparse "
    "itemsize layout mH mT ndim real requires_grad".split()
)
_MOST_STRIDE = 16  # below, both main lanes tell a size that depends on an unknown one


def is_plain_target(op: str, target: Any) -> bool:
    """Return whether a recorded call needs no probe lanes, for what it calls."""
    if op == "module":
        kind = type(target)
        if says_plain(kind):
            return True
        if not kind.__module__.startswith("torch.nn.modules."):
            # a model whose own graph needed no trials
            return bool(getattr(getattr(target, "_graph", None), "is_proven", False))
        if kind.__module__ == "torch.nn.modules.conv":
            return bool(max(target.stride) < _MOST_STRIDE)
        return kind.__module__ in _KINDS or isinstance(target, _MODULES)
    if target is setitem or target is changed:
        return True
    return _has_plain_name(target, _FUNCTIONS) and torch_name(target) is not None


def says_plain(kind: type) -> bool:
    """Return whether a class of modules says itself that its calls need no probe lanes.

    Subclasses do not inherit that.
    """
    return bool(kind.__dict__.get("has_plain_sizes"))


def is_convolution(target: Any) -> bool:
    """Return whether a module or function is a convolution, which may divide sizes."""
    kind = type(target).__module__
    return kind == "torch.nn.modules.conv" or getattr(target, "__name__", "") in _CONVOLUTIONS


def is_plain(function: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Return whether a call of a torch function inside a recorded one needs no probe lanes."""
    name = getattr(function, "__name__", "")
    if name == "__get__":
        return getattr(getattr(function, "__self__", None), "__name__", "") in _ATTRIBUTES
    if name in _CONVOLUTIONS:
        strides = [*iter_leaves(args[3:4]), *iter_leaves(kwargs.get("stride"))]
        return all(stride is None or stride < _MOST_STRIDE for stride in strides)
    if name == "where" and len(args) + len(kwargs) == 1:
        return False  # it counts
    if name in _INNER or (name.startswith("__") and name.strip("_") in _ARITHMETIC):
        return True
    return _has_plain_name(function, _FUNCTIONS)


_ARITHMETIC = frozenset(
    "add radd iadd sub rsub isub mul rmul imul truediv rtruediv itruediv pow rpow neg matmul "
    "rmatmul lt le gt ge eq ne and or xor invert".split()
)


def _has_plain_name(function: Any, names: frozenset[str]) -> bool:
    name = getattr(function, "__name__", "")
    return name in names or (name.endswith("_") and not name.endswith("__"))


# What torch tells of a tensor without its values, by shape and dtype; its strides, its device, and
# whether it requires gradients are those of run time.
_OF_KIND = frozenset(
    "can_cast dense_dim dim dtype element_size is_complex is_conj is_floating_point is_mkldnn "
    "is_neg is_nested is_quantized is_signed is_sparse itemsize layout ndimension result_type "
    "sparse_dim".split()
)
_OF_SIZES = frozenset({"is_same_size", "nbytes", "nelement", "numel", "size"})


def tells_from_spec(target: Any, args: tuple[Any, ...], is_open: bool) -> bool:
    """Return whether numbers and truths that a call returns are the same at every run."""
    name = args[1] if target is getattr else getattr(target, "__name__", "")
    if torch_name(target) is None:
        return False
    return name in _OF_KIND or (not is_open and name in _OF_SIZES)
