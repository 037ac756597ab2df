"""`.weights.h5`: Keras's files with only the weights of a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..common.atomic_files import replacing
from ..errors import LoadError, SaveError
from ..model import Model
from .keras.hdf5 import Hdf5
from .keras.stored_weights import check_all_read, paths_of_parts
from .keras.writing.call_entries import part_name
from .keras.writing.model_config import ModelWriter, put_weights
from .keras.writing.weight_groups import WeightGroup
from .keras.writing.write_hdf5 import write_weights

ENDING = ".weights.h5"


def save_keras_weights(model: Any, path: Path) -> None:
    """Write the weights of a model under the paths where Keras expects them.

    Raises:
        SaveError: Keras has no equivalent of the model.
        OSError: the file cannot be written.
    """
    root = places_of_weights(model, path)
    with replacing(path) as temporary, temporary.open("w+b") as file:
        write_weights(file, root)


def places_of_weights(model: Any, path: Path) -> WeightGroup:
    """Return where Keras expects the weights of a model.

    Raises:
        SaveError: Keras has no equivalent of the model.
    """
    try:
        return _groups(model)
    except SaveError as error:
        raise SaveError(
            f"cannot save {str(path)!r} as a file of Keras: {error}; a path that ends in "
            ".safetensors or .pt takes the weights of any model"
        ) from error


def load_keras_weights(model: Any, path: Path) -> None:
    """Copy the weights in a file of Keras into a model; change nothing if they do not fit.

    Raises:
        LoadError: the file is damaged, or is of another model.
    """
    try:
        with Hdf5(path) as file:
            found = [
                (at, torch.as_tensor(_read(file, paths, shape)))
                for at, paths, shape in _expected(_groups(model), "")
            ]
            check_all_read(file)
    except (LoadError, SaveError) as error:
        raise LoadError(f"cannot load {str(path)!r}: {error}") from error
    for (weight, module), value in found:
        weight.write(module, value)


def _groups(model: Any) -> WeightGroup:
    if not isinstance(model, Model):
        raise SaveError(f"a {type(model).__name__} is no model of layers; write .safetensors")
    name = part_name(model.name)
    root = WeightGroup(name)
    if hasattr(type(model), "call") and model.built:
        _put_by_attributes(model, root)
    else:
        ModelWriter().model(model, name, root)
    return root


def _put_by_attributes(model: Model, root: WeightGroup) -> None:
    """Put the weights of a subclassed model under the names of its attributes."""
    for layer, path in paths_of_parts(model):
        group = WeightGroup(layer.name)
        put_weights(layer, layer.name, group)
        root.inner.append((path, group))
    known = sum(len(group.weights) for _, group in root.inner)
    if known < len(model.get_weights()):
        raise SaveError(
            f"model {root.name!r} has weights that are in no Keras-named layer among its "
            "attributes: it is not known where Keras keeps them"
        )


def _expected(group: WeightGroup, place: str) -> Iterator[tuple[Any, list[str], tuple[int, ...]]]:
    """Yield each weight: its place in torch, its paths in the file, and its shape there."""
    for path, value, at in group.weights:
        others = [other for other, own in group.links if own == path and other != "vars/0"]
        yield at, [f"{place}/{p}" for p in (path, *others)], tuple(value.shape)
    for path, inner in group.inner:
        yield from _expected(inner, f"{place}/{path}")


def _read(file: Hdf5, paths: list[str], shape: tuple[int, ...]) -> Any:
    found = next((path for path in paths if file.has(path)), paths[0])
    return file.read(found, shape, f"the weight at {found!r}")


def is_keras_weights(path: Path) -> bool:
    """Return whether a file is, by its name, one of Keras's weights."""
    return path.name.endswith(ENDING)
