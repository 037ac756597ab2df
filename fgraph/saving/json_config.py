"""A model's graph and configurations without its weights: `get_config`, `to_json`, and back."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..constructions.construction import FREE
from ..model import Model
from .model_file import check_document, decode_model, encode_model
from .registered_names import name_of
from .tensorfile import DTYPES, bytes_of, dtype_name, on_host, parse_json, reading


def get_config(model: Model) -> dict[str, Any]:
    """Return a model's graph and configurations as plain data, without its weights.

    Real tensors that are part of the graph itself are included.

    Args:
        model: any `Model`.

    Returns:
        A dict of JSON's types.

    Raises:
        SaveError: a part of the model cannot be written as data.
    """
    with on_host():
        document, tensors = encode_model(model)
        free = {name_of(kind) for kind in FREE}
        objects = document["objects"]
        arguments = [
            [entry.get(part) for part in ("args", "kwargs", "config")] for entry in objects
        ]
        text = json.dumps(arguments, ensure_ascii=False)
        given = set(re.findall(r'"\$(?:tensor|array)": "(.*?)"', text))
        made_again = {
            name
            for entry in objects
            if entry["kind"] in ("module", "part") and entry.get("class") not in free
            for _, _, name in entry.get("tensors", ())
        }
        names = [name for name in tensors if name in given or name not in made_again]
        values = {name: _written(name, tensors[name]) for name in names}
    return {**document, "values": values}


def _written(name: str, tensor: Tensor) -> list[Any]:
    data = base64.b64encode(bytes_of(tensor).numpy().tobytes()).decode()
    return [dtype_name(name, tensor), list(tensor.shape), data]


def _read(dtype: Any, shape: Any, data: str) -> Tensor:
    kind, raw = DTYPES[dtype], base64.b64decode(data)
    flat = torch.frombuffer(bytearray(raw), dtype=kind) if raw else torch.empty(0, dtype=kind)
    return flat.reshape(shape)


def from_config(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> Model:
    """Make a model with fresh weights from a configuration of `get_config`.

    Args:
        config: the configuration.
        custom_objects: your own classes and functions by name.

    Raises:
        LoadError: the configuration needs something unknown.
    """
    with reading("the configuration"):
        document = check_document(dict(config))
        values = {name: _read(*written) for name, written in document["values"].items()}
        return decode_model(document, values, dict(custom_objects or {}), fresh=True)


def to_json(model: Model, **options: Any) -> str:
    """Return `get_config` as JSON text.

    Args:
        model: any `Model`.
        **options: keywords of `json.dumps`, such as `indent=2`.
    """
    return json.dumps(get_config(model), **options)


def model_from_json(text: str, custom_objects: Mapping[str, Any] | None = None) -> Model:
    """Make a model with fresh weights from the JSON of `model.to_json()`.

    Args:
        text: JSON.
        custom_objects: your own classes and functions by name.

    Raises:
        LoadError: the text is no JSON, or no model.

    Example:
        >>> import fgraph
        >>> from torch import nn
        >>> x = fgraph.Input((3,))
        >>> text = fgraph.Model(x, nn.Linear(3, 2)(x)).to_json()
        >>> model_from_json(text).output_shape
        (None, 2)
    """
    with reading("the text"):
        config = dict(parse_json(text))
    return from_config(config, custom_objects)
