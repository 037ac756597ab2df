"""`fgraph.models`: `Model`, `Sequential`, and functions that load or copy models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from .absent.missing_names import missing_names
from .absent.tools import MODELS as _INSTEAD
from .model import Model as Model
from .model import Sequential as Sequential
from .model import clone_model as clone_model


def load_model(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
    *,
    map_location: str | torch.device | None = None,
    verify: bool = True,
) -> Model:
    """Load a model saved by `model.save` or Keras; nothing in the file is executed.

    Args:
        path: the file.
        custom_objects: your own classes and functions by their names in the file.
        compile: whether to restore the settings of `compile` and the optimizer's state.
        safe_mode: accepted for compatibility with Keras; must be true.
        map_location: the device for all tensors; by default each is restored to its own.
        verify: whether to verify the checksum of the weights, which reads all of them.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        LoadError: the file is damaged, of another kind or version, or needs something unknown.
        ValueError: `safe_mode` is not true.

    See `fgraph.saving.model_file.load_model`.
    """
    from .saving.model_file import load_model

    return load_model(
        path, custom_objects, compile, safe_mode, map_location=map_location, verify=verify
    )


def model_from_json(text: str, custom_objects: Mapping[str, Any] | None = None) -> Model:
    """Make a model with fresh weights from the JSON of `model.to_json()`.

    Args:
        text: JSON.
        custom_objects: your own classes and functions by name.

    Raises:
        LoadError: the text is not JSON, or needs something unknown.
    """
    from .saving.json_config import model_from_json

    return model_from_json(text, custom_objects)


if not TYPE_CHECKING:
    __getattr__ = missing_names(__name__, _INSTEAD)
