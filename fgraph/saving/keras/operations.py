"""Keras's operations in a graph, as functions of `fgraph.ops`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from ... import ops
from ...errors import LoadError
from .keras_values import Values, refusal
from .tensorflow_calls import function_of, is_call

# where the name of Keras's class is not that of its function
_NAMES = {
    "AllClose": "allclose", "BatchNorm": "batch_normalization", "CDist": "cdist",
    "HSVToRGB": "hsv_to_rgb", "IsIn": "isin", "LayerNorm": "layer_normalization",
    "RGBToGrayscale": "rgb_to_grayscale", "RGBToHSV": "rgb_to_hsv",
    "RMSNorm": "rms_normalization", "SSIM": "ssim", "SearchSorted": "searchsorted",
    "Elu": "elu", "ReLU": "relu",
}  # fmt: skip
_ROOMS = ("numpy", "nn", "core", "math", "linalg", "image", "einops", "operation_utils")
_CODE = ("Cond", "WhileLoop", "ForiLoop", "VectorizedMap", "Map", "Scan", "AssociativeScan",
         "Switch", "CustomGradient")  # fmt: skip


def is_operation(written: Mapping[str, Any]) -> bool:
    """Return whether an object in a graph is an operation instead of a layer."""
    if is_call(written) or _is_of_legacy_file(written):
        return True
    module = str(written.get("module"))
    return module.startswith("keras.src.ops.") and module.count(".") == 3


def _is_of_legacy_file(written: Mapping[str, Any]) -> bool:
    """Return whether an object is an operation in an `.h5` file of Keras 3: without module."""
    kind, config = written.get("class_name"), written.get("config")
    return (
        written.get("module") is None
        and isinstance(kind, str) and isinstance(config, dict)
        and "trainable" not in config  # layers have it, also those of the same name
        and all(isinstance(node, dict) for node in written.get("inbound_nodes") or [None])
        and (kind == "GetItem" or (_NAMES.get(kind) or function_name(kind)) in _KNOWN)
    )  # fmt: skip


def operation(written: Mapping[str, Any], values: Values, where: str) -> Callable[..., Any]:
    """Return the function of an operation with its settings.

    Raises:
        LoadError: there is no such operation, or it takes other settings.
    """
    if is_call(written):
        return function_of(written, where)
    kind, room = written.get("class_name"), str(written.get("module")).rpartition(".")[2]
    room = _ROOMS[0] if _is_of_legacy_file(written) else room
    if not isinstance(kind, str) or not kind.isidentifier() or kind in _CODE or room not in _ROOMS:
        raise refusal(written, where)
    if kind == "GetItem":
        return _item
    name = _NAMES.get(kind) or function_name(kind)
    found = next((f for f in (getattr(place, name, None) for place in (ops, ops.image))
                  if inspect.isfunction(f)), None) if name in _KNOWN else None  # fmt: skip
    if found is None:
        raise LoadError(f"{where}: Keras's operation {kind!r:.60} is not among fgraph.ops")
    config = written.get("config")
    settings = {
        key: values.plain(value, f"{where}, argument {key!r:.40}")
        for key, value in (config if isinstance(config, dict) else {}).items()
        if key not in ("name", "dtype") or (key == "dtype" and not isinstance(value, dict)
                                             and value is not None)
    }  # fmt: skip
    return _Operation(found, kind, settings, where)


def function_name(kind: str) -> str:
    """Return the name of a class as Keras writes it in the names of functions and groups."""

    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", kind)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


_KNOWN = frozenset(
    name for room in (ops, ops.image) for name, value in vars(room).items()
    if inspect.isfunction(value) and not name.startswith("_")
)  # fmt: skip


def _item(x: Any, key: Any) -> Any:
    return ops.get_item(x, tuple(key) if isinstance(key, list) else key)


class _Operation:
    """A function of `fgraph.ops` with the settings of an operation."""

    def __init__(
        self, function: Callable[..., Any], kind: str, settings: dict[str, Any], where: str
    ) -> None:
        self.function = function
        self.where = where
        parameters = inspect.signature(function).parameters
        self.splat = next((p.name for p in parameters.values() if p.kind is p.VAR_POSITIONAL), None)
        known = set(parameters)
        unknown = [k for k, v in settings.items() if k not in known and v not in (None, False)]
        if unknown:
            raise LoadError(
                f"{where}: Keras's operation {kind!r:.60} has the argument {unknown[0]!r:.40}, "
                f"which fgraph.ops.{function.__name__} has not"
            )
        self.settings = {key: value for key, value in settings.items() if key in known}
        self.places = [name for name in parameters if name not in self.settings]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as Keras calls its operation, without the arguments that are set."""
        if self.splat is not None:  # einsum: its settings come first
            first = [self.settings[k] for k in self.settings]
            return self.function(*first, *args, **kwargs)
        if len(args) > len(self.places):
            raise LoadError(f"{self.where}: it is called with {len(args)} arguments, expected at "
                            f"most {len(self.places)}")  # fmt: skip
        placed = dict(zip(self.places, args, strict=False))
        return self.function(**{**self.settings, **placed, **kwargs})
