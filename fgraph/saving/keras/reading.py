"""`load_model` for the files of Keras."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...errors import LoadError
from ...layers.filling import filled_by
from ...model import Model
from .archive import read_archive
from .functional import Builder
from .hdf5 import Hdf5
from .keras_values import Values
from .stored_weights import Filler


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
        kind: what `kind_of` returned.
        custom: the user's classes and functions by name.
        compile: whether to take over the settings of training.
        device: where the tensors go.

    Raises:
        LoadError: the file is damaged, or needs something that is not known here.
    """
    try:
        config, weights = read_archive(path)
        values = Values(custom)
        with Hdf5(weights) as file:
            filler = Filler(file)
            with filled_by(filler):
                model = Builder(values, filler).model(config, "")
    except LoadError as error:
        raise LoadError(f"cannot load {str(path)!r}: {error}") from error
    except (RecursionError, MemoryError, OSError) as error:
        raise LoadError(f"cannot load {str(path)!r}: {type(error).__name__}: {error}") from error
    if values.mixed:
        names = " and ".join(sorted(values.mixed))
        warnings.warn(
            f"the model was made for mixed precision: its weights are float32 here; write "
            f"model.compile(..., precision={names!r})", UserWarning, stacklevel=3,
        )  # fmt: skip
    model.eval()
    return model if device is None else model.to(device)
