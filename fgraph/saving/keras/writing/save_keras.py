"""`model.save` for Keras's files."""

from __future__ import annotations

import io
import json
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

from ....common.atomic_files import replacing
from ....errors import SaveError
from ....model import Model
from ....training.state import TrainingState
from ..archive import CONFIG, WEIGHTS
from .call_entries import part_name
from .compile_config import CompileWriter
from .model_config import ModelWriter
from .weight_groups import WeightGroup
from .write_hdf5 import write_weights

METADATA = "metadata.json"
KERAS_VERSION = "3.15.0"  # whose format this is


def is_keras_file(path: Path) -> bool:
    """Return whether a file to be written is one of Keras.

    Raises:
        SaveError: it is one that is only read.
    """
    if path.suffix in (".h5", ".hdf5"):
        raise SaveError(
            f"cannot save {str(path)!r}: Keras's .h5 files are read, not written: write .keras"
        )
    return path.suffix == ".keras"


def save_keras(model: Model, path: Path, include_optimizer: bool = True) -> None:
    """Write a model to a `.keras` file, which Keras opens.

    Args:
        model: a model of Keras-named layers, and functions that Keras has operations for.
        path: the file.
        include_optimizer: whether to write the settings of `compile` and the optimizer's state.

    Raises:
        SaveError: a part has no counterpart in Keras; the message says which.
        OSError: the file cannot be written.
    """
    config, root = check_keras(model, path)
    if include_optimizer and model._trainer is not None:
        _add_training(model, model._trainer, config, root)
    weights = io.BytesIO()
    write_weights(weights, root)
    metadata = {"keras_version": KERAS_VERSION, "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S")}
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(METADATA, json.dumps(metadata))
        archive.writestr(CONFIG, json.dumps(config))
        archive.writestr(WEIGHTS, weights.getbuffer())


def check_keras(model: Model, path: Path) -> tuple[dict[str, Any], WeightGroup]:
    """Return the configuration of a model, and its weights with their places.

    Raises:
        SaveError: a part has no counterpart in Keras.
    """
    name = part_name(model.name)
    root = WeightGroup(name)
    writer = ModelWriter()
    try:
        config = writer.model(model, name, root)
    except SaveError as error:
        raise SaveError(f"cannot save {str(path)!r} as a file of Keras: {error}") from error
    if writer.narrowed:
        warnings.warn(
            f"Keras on torch computes {', '.join(map(repr, writer.narrowed[:5]))} in 32 bits, here "
            "64 are used", UserWarning, stacklevel=5,
        )  # fmt: skip
    return config, root


def _add_training(
    model: Model, state: TrainingState, config: dict[str, Any], root: WeightGroup
) -> None:
    """Write the settings of `compile` and the optimizer's state; warn of what is left out."""
    writer = CompileWriter(state)
    compiled = writer.config()
    if compiled is not None:
        config["compile_config"] = compiled
        variables = writer.state_group(model, root)
        if variables is not None:
            root.inner.append(("optimizer", variables))
    if writer.left_out:
        warnings.warn(
            f"left out of the file, as Keras has no counterpart: {'; '.join(writer.left_out)}",
            UserWarning, stacklevel=5,
        )  # fmt: skip
