"""`model.save` for the files of Keras."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import torch

from ...callbacks.atomic import replacing
from ...errors import SaveError
from ...model import Model
from .archive import CONFIG, WEIGHTS
from .functional_config import Group, ModelWriter
from .hdf5_writing import write_weights

METADATA = "metadata.json"
KERAS_VERSION = "3.15.0"  # whose format this is


def save_keras(model: Model, path: Path, include_optimizer: bool = True) -> None:
    """Write a model to a `.keras` file, which Keras opens.

    Args:
        model: a model of Keras-named layers, and functions that Keras has operations for.
        path: the file.
        include_optimizer: whether to write what `compile` was told and the optimizer's state.

    Raises:
        SaveError: a part has no counterpart in Keras; the text says which.
        OSError: the file cannot be written.
    """
    root = Group(model.name)
    try:
        config = ModelWriter().model(model, model.name, root)
    except SaveError as error:
        raise SaveError(f"cannot save {str(path)!r} as a file of Keras: {error}") from error
    weights = io.BytesIO()
    write_weights(weights, root)
    metadata = {"keras_version": KERAS_VERSION, "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S")}
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(METADATA, json.dumps(metadata))
        archive.writestr(CONFIG, json.dumps(config))
        archive.writestr(WEIGHTS, weights.getbuffer())  # type: ignore[arg-type]


__all__ = ["save_keras"]
_: Any = torch
