"""`load_model` for Keras's files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ....errors import LoadError
from ....graph.modes import callers_modes
from ....layers.deferred_values import filled_by
from ....model import Model
from ..archive import MOST_TEXT, parse_config, read_archive
from ..hdf5 import Hdf5
from ..keras_values import Values
from ..stored_weights import GroupedWeights, Place, check_all_read
from .compile_from_config import compile_from_config
from .filler import Filler
from .functional import Builder
from .listed_weights import ListedWeights
from .parsed_parts import has_models
from .shared_parts import shared_groups


def load_keras(
    path: Path,
    kind: str,
    custom: Mapping[str, Any],
    compile: bool = True,
    device: torch.device | None = None,
) -> Model:
    """Read a model that Keras saved.

    Args:
        path: the file.
        kind: the result of `kind_of`.
        custom: the user's classes and functions by name.
        compile: whether to restore the settings of `compile`.
        device: the device of the tensors.

    Raises:
        LoadError: the file is damaged, or needs something that is not known here.
    """
    try:
        with callers_modes():  # a model loaded under no_grad() may be trained later
            read = (_from_archive if kind == "keras" else _from_hdf5)(path, custom, compile)
    except LoadError as error:
        raise LoadError(f"cannot load {str(path)!r}: {error}") from error
    except (RecursionError, MemoryError, OSError) as error:
        raise LoadError(f"cannot load {str(path)!r}: {type(error).__name__}: {error}") from error
    if read.left:
        warnings.warn(
            f"{str(path)!r}: left out were {'; '.join(read.left)}", UserWarning, stacklevel=3
        )
    if read.mixed:
        names = " and ".join(sorted(read.mixed))
        warnings.warn(
            f"the model was made for mixed precision: its weights are float32 here; write "
            f"model.compile(..., precision={names!r})", UserWarning, stacklevel=3,
        )  # fmt: skip
    model = read.model
    _check_filled(model, path)
    model.eval()
    return model if device is None else model.to(device)


def _check_filled(model: Model, path: Path) -> None:
    """Refuse a model with tensors that have no values.

    Raises:
        LoadError: there are some; the text names them.
    """
    named = (*model.named_parameters(), *model.named_buffers())
    empty = [name for name, tensor in named if tensor.is_meta]
    if empty:
        raise LoadError(
            f"cannot load {str(path)!r}: it is not known where Keras keeps the weights "
            f"{empty[:5]}; build the model here, and copy them by set_weights"
        )


class _Read(NamedTuple):
    """A model from a file, its mixed policies, and what was left out."""

    model: Model
    mixed: set[str]
    left: list[str]


def _from_archive(path: Path, custom: Mapping[str, Any], compile: bool) -> _Read:
    config, version, weights = read_archive(path)
    values = Values(custom, version, config)
    with Hdf5(weights) as file:
        filler = Filler(GroupedWeights(file))
        with filled_by(filler):
            model = Builder(values, filler, shared_groups(config, file)).model(config, Place(""))
        check_all_read(file)
        settings = config.get("compile_config") if compile else None
        paths = [f"optimizer/vars/{name}" for name in file.names("optimizer/vars")]
        left = compile_from_config(model, settings, values, filler, file, paths)
    return _Read(model, values.mixed, left)


def _from_hdf5(path: Path, custom: Mapping[str, Any], compile: bool) -> _Read:
    with Hdf5(path) as file:
        written = file.text("", "model_config")
        if written is None:
            raise LoadError(
                "it holds weights but no model; make the model, save it as a whole, or copy the "
                "weights by set_weights"
            )
        config, version = parse_config(_bounded(written)), _version(file)
        values = Values(custom, version, config)
        weights = ListedWeights(file, has_models(config), values.cudnn)
        while True:
            filler = Filler(weights)
            with filled_by(filler):
                model = Builder(values, filler).model(config, Place(""))
            if weights.measured:
                break
            weights.begin_second_round()
        settings = file.text("", "training_config") if compile else None
        names = file.texts("optimizer_weights", "weight_names") or []
        left = compile_from_config(
            model, None if settings is None else parse_config(_bounded(settings)), values, filler,
            file, [f"optimizer_weights/{name}" for name in names],
        )  # fmt: skip
    return _Read(model, values.mixed, left)


def _bounded(written: str) -> str:
    if len(written) > MOST_TEXT:
        raise LoadError(f"its configuration has {len(written)} characters")
    return written


def _version(file: Hdf5) -> str:
    """Return the version of Keras that wrote a file.

    Raises:
        LoadError: it is one whose weights lie in another order.
    """
    version = file.text("", "keras_version") or file.text("model_weights", "keras_version") or "1"
    if version.startswith("1"):
        raise LoadError("Keras 1 wrote it, whose layers have other weights: open it with Keras 2, "
                        "and save it again")  # fmt: skip
    backend = file.text("", "backend") or file.text("model_weights", "backend") or "tensorflow"
    if backend in ("theano", "cntk"):
        raise LoadError(f"Keras on {backend} wrote it, whose kernels lie in another order: open it "
                        "with Keras 2, and save it again")  # fmt: skip
    return version
