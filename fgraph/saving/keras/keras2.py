"""Converts configurations of layers from Keras 2 to Keras 3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .cudnn_weights import CLASSES as _CUDNN

_NOTHING = ""
_KERNEL = {f"kernel_{role}": _NOTHING for role in ("initializer", "regularizer", "constraint")}
# the new name of an argument, empty for an ignored one
_ARGUMENTS: dict[str, dict[str, str]] = {
    "LeakyReLU": {"alpha": "negative_slope"},
    "ThresholdedReLU": {"theta": "threshold"},
    "MultiHeadAttention": {f"{name}_shape": _NOTHING for name in ("query", "key", "value")},
    "IntegerLookup": {"vocabulary_size": _NOTHING, "has_input_vocabulary": _NOTHING},
    "DepthwiseConv1D": {"groups": _NOTHING, "filters": _NOTHING, **_KERNEL},
    "DepthwiseConv2D": {"groups": _NOTHING, "filters": _NOTHING, **_KERNEL},
    "SeparableConv1D": {"groups": _NOTHING, **_KERNEL},
    "SeparableConv2D": {"groups": _NOTHING, **_KERNEL},
    "Conv1DTranspose": {"groups": _NOTHING},
    "Conv2DTranspose": {"groups": _NOTHING},
    "Conv3DTranspose": {"groups": _NOTHING},
}
_CLASSES = {**_CUDNN, "ThresholdedReLU": "ReLU", "SyncBatchNormalization": "BatchNormalization",
            **{f"Custom>{name}": name  # of Keras's applications
               for name in ("LayerScale", "StochasticDepth", "CustomScaleLayer")}}  # fmt: skip
_RECURRENT = ("GRU", "GRUCell")
_OLD_NAMES = {"hard_sigmoid": "legacy_hard_sigmoid"}


def in_new_words(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return the class and configuration of a layer as Keras 3 would write them.

    Args:
        written: a layer of Keras 2.
    """
    kind: Any = written.get("class_name")
    config = written.get("config")
    if not isinstance(kind, str) or not isinstance(config, dict):
        return dict(written)
    names = _ARGUMENTS.get(kind, {})
    found: dict[str, Any] = {names.get(str(key), str(key)): v for key, v in config.items()}
    found.pop(_NOTHING, None)
    if kind in _RECURRENT:
        found.setdefault("reset_after", False)
    for key, value in list(found.items()):
        if key.endswith("activation") and isinstance(value, str):
            found[key] = _OLD_NAMES.get(value, value)
    return {**written, "class_name": _CLASSES.get(kind, kind), "config": found}
