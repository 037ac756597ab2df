"""Layers from Keras's configurations, by a closed table of classes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ... import layers
from ...common.configured import is_of_fgraph
from ...errors import LoadError
from ...layers.base import Layer
from ...layers.configuration import _names
from ...layers.random_image import RandomImageLayer
from .cudnn_weights import CLASSES as CUDNN
from .keras2 import in_new_words
from .keras_values import Values, custom_object, dtype_of, is_of_keras, refusal, text

_REFUSED = {
    "Lambda": "it is Python code, which is never run: write the function in torch, or as a layer",
    "TFSMLayer": "it runs a TensorFlow program",
    "TorchModuleWrapper": "it holds a pickled torch module, which could run code",
    "JaxLayer": "it runs a JAX program",
    "FlaxLayer": "it runs a Flax program",
    "StringLookup": "torch has no texts: look texts up before the model",
    "TextVectorization": "torch has no texts: look texts up before the model",
    "FeatureSpace": "torch has no texts: make the features before the model",
    "HashedCrossing": "torch has no texts: cross the features before the model",
}
_CLASSES: dict[str, type[Layer]] = {
    name: kind
    for name, kind in vars(layers).items()
    if isinstance(kind, type) and issubclass(kind, Layer) and not name.startswith("_")
    and name not in ("Layer", "InputLayer", *_REFUSED)
}  # fmt: skip
_CLASSES["GroupedQueryAttention"] = layers.GroupQueryAttention  # its name in Keras's code
# augmentations that pass images on at inference
_UNCHANGED = ("AugMix", "CutMix", "MixUp", "RandAugment")
# arguments that change nothing here, or that say how Keras computes
_IGNORED = {"batch_input_shape", "ragged", "sparse", "implementation", "time_major", "optional",
            "quantization_config", "synchronized", "lora_rank", "lora_alpha", "fused", "batch_size",
            "gptq_unpacked_column_size", "input_length", "autocast"}  # fmt: skip


def class_of(written: Mapping[str, Any], values: Values, where: str) -> type[Layer]:
    """Return the class of a layer.

    Raises:
        LoadError: there is none; the text gives the reason.
    """
    kind = written.get("class_name")
    if not isinstance(kind, str):
        raise LoadError(f"{where}: a layer without class")
    found = custom_object(written, values.custom)
    if found is not None:
        if not isinstance(found, type) or not issubclass(found, Layer):
            raise LoadError(f"{where}: custom_objects gives {found!r:.80} for {kind!r:.60}, "
                            "expected a subclass of fgraph.layers.Layer")  # fmt: skip
        return found
    if kind in _REFUSED:
        raise LoadError(f"{where}: layers of class {kind} cannot be read: {_REFUSED[kind]}")
    if kind in _CLASSES and is_of_keras(written):
        return _CLASSES[kind]
    raise refusal(written, where)


def make_layer(
    written: Mapping[str, Any],
    values: Values,
    inner: Callable[[Mapping[str, Any], str], Any],
    where: str,
) -> Layer:
    """Make a layer from its configuration.

    Args:
        written: class and configuration.
        values: the values of its arguments.
        inner: makes the layers inside it.
        where: the layer, for errors.

    Raises:
        LoadError: the class or an argument is not known, or a value does not fit.
    """
    cudnn, others = False, len(values.cudnn)
    if values.is_old and is_of_keras(written):
        cudnn, written = written.get("class_name") in CUDNN, in_new_words(written)
    named = _named_function(written, values, where)
    if named is not None:
        return named
    if written.get("class_name") in _UNCHANGED and is_of_keras(written):
        return _unchanged(written, where)
    cls = class_of(written, values, where)
    config = written.get("config")
    if not isinstance(config, dict):
        raise LoadError(f"{where}: a layer without configuration")
    arguments = {}
    for key, value in config.items():
        place = f"{where}, argument {key!r:.40}"
        found = _argument(cls, key, value, values, inner, place)
        if found is not _NOTHING:
            arguments[key] = found
    name = arguments.get("name")
    if name is not None and not isinstance(name, str):
        raise LoadError(f"{where}: its name is no text")
    try:
        made = cls.from_config(arguments)
    except LoadError:
        raise
    except Exception as error:
        raise LoadError(f"{where}: {error}") from error
    if cudnn:
        values.cudnn.append(made)
    elif len(values.cudnn) > others:  # of a layer in it, which it may have copied
        values.cudnn += made.inner_layers()
    if isinstance(made, RandomImageLayer):
        warnings.warn(
            f"{where}: it changes its input at random during training, by other random numbers "
            "than Keras's", UserWarning, stacklevel=2,
        )  # fmt: skip
    return made


def _named_function(written: Mapping[str, Any], values: Values, where: str) -> Layer | None:
    """Return a `Lambda` of a function in `custom_objects`, `None` for anything else."""
    config = written.get("config")
    if written.get("class_name") != "Lambda" or not isinstance(config, dict):
        return None
    function = config.get("function")
    if isinstance(function, str):
        function = {"class_name": "function", "config": function}
    if not isinstance(function, dict) or function.get("class_name") != "function":
        return None
    name = function.get("config")
    found = values.custom.get(name) if isinstance(name, str) else None
    if found is None:
        return None
    arguments = values.plain(config.get("arguments") or {}, where)
    return layers.Lambda(found, arguments=arguments, name=text(config.get("name"), where))


def _unchanged(written: Mapping[str, Any], where: str) -> Layer:
    """Return a layer that returns its input, for an augmentation that fgraph does not have."""
    warnings.warn(
        f"{where}: fgraph has no {written['class_name']}; its input passes unchanged, in training, "
        "too", UserWarning, stacklevel=2,
    )  # fmt: skip
    config = written.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return layers.Identity(name=text(name, where))


_NOTHING = object()


def _argument(
    cls: type[Layer],
    key: str,
    value: Any,
    values: Values,
    inner: Callable[[Mapping[str, Any], str], Any],
    place: str,
) -> Any:
    """Return the value of a constructor's argument, `_NOTHING` for those that are left out."""
    if key == "dtype":
        return _dtype(value, values, place)
    if key == "autocast" and value is True:  # the default of every layer
        return _NOTHING
    own = is_of_fgraph(cls)
    if own and key not in _names(cls) and key != "data_format":
        if value is None or value is False or key in _IGNORED:
            return _NOTHING
        options = any(key == name for _, name, _ in _declared(cls))
        if not options and key not in cls.unsupported:
            raise LoadError(f"{place}: {value!r:.60} is not known here")
    for role in ("initializer", "regularizer", "constraint"):
        if key.endswith(f"_{role}"):
            return values.role(role, value, place)
    if key.endswith("activation") and not (
        isinstance(value, dict) and value.get("class_name") in _CLASSES
    ):
        return values.role("activation", value, place)

    def leaf(written: Mapping[str, Any], where: str) -> Any:
        if written.get("class_name") == "SeedGenerator":
            return None
        return inner(written, where)

    found = values.plain(value, place, leaf)
    if key == "data_format" and own and key not in inspect.signature(cls.__init__).parameters:
        if found != "channels_last":
            raise LoadError(f"{place}: {found!r:.60} is not known here")
        return _NOTHING
    if cls is layers.RandomShear and key in ("x_factor", "y_factor") and isinstance(found, list):
        if len(found) == 2 and found[0] == -found[1]:  # as Keras keeps one number
            return found[1]
    if key == "axis" and isinstance(found, list) and len(found) == 1 and cls.__name__ in (
        "BatchNormalization", "Softmax"):  # fmt: skip
        return found[0]
    return found


def _dtype(value: Any, values: Values, place: str) -> Any:
    """Return the dtype of a layer, `_NOTHING` for the default one."""
    dtype, mixed = dtype_of(value, place)
    if mixed is not None:
        values.mixed.add(mixed)
        dtype = torch.float32
    usual = dtype == torch.get_default_dtype() and not values.has_several_dtypes
    return _NOTHING if dtype is None or usual else dtype


def _declared(cls: type[Layer]) -> list[tuple[str, str, Any]]:
    return [(role, weight.argument(role), weight) for weight in cls.keras_weights
            for role in ("initializer", "regularizer", "constraint")]  # fmt: skip
