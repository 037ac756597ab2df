"""Writes layers in the form of Keras's files; `keras_layers` reads them."""

from __future__ import annotations

import inspect
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ....common.configured import is_of_fgraph
from ....constructions.construction import module_of
from ....constructions.differences import PLAIN, attributes_of
from ....errors import SaveError
from ....layers.base import Layer
from ....layers.modules.cells import RecordedStep
from ..keras_layers import _CLASSES
from .keras_config import custom, dtype_policy, keras_object, plain, role, with_lists

# classes of Keras's applications, which are not among its public ones
_ROOMS = {
    "LayerScale": "keras.src.applications.convnext",
    "StochasticDepth": "keras.src.applications.convnext",
    "CustomScaleLayer": "keras.src.applications.inception_resnet_v2",
}
# classes of Keras that lack arguments of other layers
_TAKE_LESS = {
    "Pipeline": ("trainable", "dtype"), "Discretization": ("trainable",),
    **{f"SpatialDropout{rank}D": ("trainable",) for rank in (1, 2, 3)},
}  # fmt: skip
# arguments that Keras lacks, or keeps private, with values that may be left out
_QUIET = ("activity_regularizer", "input_shape", "weights", "dtype", "flash_attention", "use_cudnn",
          "trainable", "seed")  # fmt: skip
# current settings of layers that `adapt` sets
_LEARNED: dict[str, Callable[[Any], dict[str, Any]]] = {
    "Discretization": lambda layer: (
        {"bin_boundaries": layer.bin_boundaries, "num_bins": None} if layer.bin_boundaries else {}
    ),
    "IntegerLookup": lambda layer: (
        {"vocabulary": layer.get_vocabulary(), "idf_weights": layer.idf} if layer.tokens else {}
    ),
}

Inner = Callable[[Any, str], Any]  # writes a layer or model in a configuration


def label(layer: Any, name: str) -> str:
    """Return the name of a layer for an error."""
    return f"layer {name!r} ({type(layer).__name__})"


def layer_entry(layer: Layer, name: str, dtype: torch.dtype, inner: Inner) -> dict[str, Any]:
    """Return class and configuration of a layer.

    Args:
        layer: the layer, built.
        name: its name in the model.
        dtype: the dtype that it computes in.
        inner: writes layers and models among its arguments.

    Raises:
        SaveError: it has no counterpart in Keras, or was changed after it was made.
    """
    cls, where = type(layer), label(layer, name)
    own = is_of_fgraph(type(layer))
    if own and _CLASSES.get(cls.__name__) is not cls:
        raise SaveError(f"{where} has no counterpart in Keras: write it with other layers")
    if layer.built:
        _check_unchanged(layer, where)
    config: dict[str, Any] = {"name": name}
    if own or _takes_options(cls):
        config |= {"trainable": trainable(layer, where), "dtype": dtype_policy(dtype)}
    arguments = {**layer.get_config(), **_LEARNED.get(cls.__name__, _nothing)(layer)}
    for key, value in arguments.items():
        if key in config or (value is None and key in _QUIET) or _is_absent(cls, key):
            continue
        place = f"{where}, argument {key!r}"
        written = _argument(layer, key, value, inner, place)
        if written is not _NOTHING:
            config[key] = written
    for key in _TAKE_LESS.get(cls.__name__, ()) if own else ():
        config.pop(key, None)
    if not own:
        return custom(cls, where, config)
    if cls.__name__ in _ROOMS:
        return keras_object(cls.__name__, config, _ROOMS[cls.__name__], cls.__name__)
    return keras_object(cls.__name__, config, "keras.layers")


_NOTHING = object()


def _is_absent(cls: type, key: str) -> bool:
    """Return whether Keras's class does not have an argument."""
    return key in ("input_shape", "weights", "input_length", "use_cudnn") or (
        key == "input_dim" and not hasattr(cls, "embeddings") and cls.__name__ not in (
            "Embedding", "ReversibleEmbedding")
    )  # fmt: skip


def _argument(layer: Layer, key: str, value: Any, inner: Inner, place: str) -> Any:
    for kind in ("initializer", "regularizer", "constraint"):
        if key.endswith(f"_{kind}"):
            made = layer._options.get(key, value)
            if kind == "initializer" and isinstance(made, types.FunctionType):
                warnings.warn(f"{place}: {made.__name__} is left out, Keras has no such "
                              "initializer; the weights themselves are saved", UserWarning,
                              stacklevel=2)  # fmt: skip
                return _NOTHING
            return role(kind, made, place)
    if key.endswith("activation") and not isinstance(value, Layer):
        return role("activation", value, place)

    def leaf(found: Any, where: str) -> Any:
        if isinstance(found, (Layer, nn.Module)):
            return inner(found, where)
        if isinstance(found, type) or callable(found):
            return custom(found, where)
        raise SaveError(f"{where}: {found!r:.80} cannot be written")

    return plain(with_lists(value), place, leaf)


def _takes_options(cls: type) -> bool:
    """Return whether the constructor of a user's class takes the arguments of all layers."""
    parameters = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def trainable(layer: Layer, where: str) -> bool:
    """Return whether training changes the weights of a layer.

    Raises:
        SaveError: it changes some of them only.
    """
    if not layer.built:
        return layer.trainable
    held = layer._held_weights()
    flags = {
        any(tensor.requires_grad for tensor in weight.tensors(module))
        for _, module, weight in held if weight.trainable
    }  # fmt: skip
    if len(flags) == 2:
        raise SaveError(f"{where}: some of its parameters require gradients, others do not; Keras "
                        "freezes whole layers: set layer.trainable")  # fmt: skip
    found = flags.pop() if flags else layer.trainable
    if found != layer.trainable and any(not weight.trainable for _, _, weight in held):
        raise SaveError(f"{where}: its parameters are frozen, its statistics are not; Keras "
                        "freezes both: set layer.trainable = False")  # fmt: skip
    return found


def dtype_of_layer(layer: Layer, outputs: Iterator[torch.dtype]) -> torch.dtype:
    """Return the dtype in which a layer computes.

    Args:
        layer: the layer.
        outputs: the dtypes of its outputs.
    """
    if layer.built:
        for _, module, weight in layer._held_weights():
            for tensor in weight.tensors(module):
                if tensor.is_floating_point():
                    return tensor.dtype
    found = next((dtype for dtype in outputs if dtype.is_floating_point), None)
    return layer.dtype or found or torch.get_default_dtype()


def weights_of(layer: Layer) -> list[tuple[Tensor, bool, Any]]:
    """Return each weight in Keras's layout, whether it is trained, and its parts in torch."""
    return [
        (weight.read(module).detach(), weight.trainable, (weight, module))
        for _, module, weight in layer._held_weights()
    ]


def _modules_of(module: nn.Module) -> dict[str, nn.Module]:
    """Return the modules in one by name, without those of cells that are layers of the user's."""
    steps = (name for name, part in module.named_modules() if isinstance(part, RecordedStep))
    within = tuple(f"{name}." for name in steps)
    return {name: part for name, part in module.named_modules() if not name.startswith(within)}


def _check_unchanged(layer: Layer, where: str) -> None:
    """Refuse a layer whose module differs from the one that the layer makes."""
    if layer.module is None or not is_of_fgraph(type(layer)):
        return
    shapes, named = layer._built_for
    config = {**layer.get_config(), **_LEARNED.get(type(layer).__name__, _nothing)(layer)}
    made: Any = module_of(layer.from_config({**config, "name": None}), shapes, named)
    kept, now = _modules_of(made), _modules_of(layer.module)
    for name in kept.keys() | now.keys():
        before, part = kept.get(name), now.get(name)
        which = f"its module{f' {name!r}' if name else ''}"
        if type(before) is not type(part):
            raise SaveError(f"{where}: {which} is a {type(part).__name__}, the layer makes a "
                            f"{type(before).__name__}: Keras has no replaced parts")  # fmt: skip
        old, new = attributes_of(before), attributes_of(part)
        for key in old.keys() | new.keys():
            a, b = old.get(key), new.get(key)
            if key != "frozen" and type(a) in PLAIN and type(b) in PLAIN and a != b:
                raise SaveError(f"{where}: {key} of {which} is {b!r:.60}, the layer makes it "
                                f"{a!r:.60}: change the layer's argument instead")  # fmt: skip


def _nothing(layer: Any) -> dict[str, Any]:
    return {}
