"""A model's graph and configurations without its weights: `get_config`, `to_json`, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..errors import LoadError
from ..graph import Ref
from ..graph.nested import map_leaves
from ..layers.base import Layer
from ..model import Model
from .constructor_calls import construction_of
from .encoder import Encoder
from .model_file import decode_model, encode_model


def get_config(model: Model) -> dict[str, Any]:
    """Return a model's graph and configurations as plain data, without its weights.

    Real tensors that are part of the graph itself are included.

    Args:
        model: any `Model`.

    Returns:
        A dict of what JSON has types for.

    Raises:
        SaveError: a part of the model cannot be written as data.
    """
    encoder = Encoder(model, inline=True)
    document = encode_model(model, encoder)
    encoder.finish()
    return document


def from_config(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> Model:
    """Make a model with fresh weights from what `get_config` returned.

    Args:
        config: the configuration.
        custom_objects: your own classes and functions by name.

    Raises:
        LoadError: the configuration needs something unknown.
    """
    try:
        model = decode_model(dict(config), None, custom_objects)
    except LoadError:
        raise
    except Exception as error:
        raise LoadError(
            f"the configuration does not fit this version of fgraph and torch "
            f"({type(error).__name__}: {error})"
        ) from error
    for part in model.modules():
        if isinstance(part, Model) and part._graph is not None:
            _initialise(part)
    for name in config["frozen"]:
        model.get_parameter(name).requires_grad_(False)
    return model


def _initialise(model: Model) -> None:
    """Draw the layers' weights by their own initializers, not by torch's defaults."""
    done: set[int] = set()
    for call in model._live_graph("from_config").calls:
        layer = call.owner
        if isinstance(layer, Layer) and layer.module is not None and id(layer) not in done:
            done.add(id(layer))
            args, _ = call.inputs
            shapes = map_leaves(lambda r: r.spec.shape if type(r) is Ref else r, args)
            fresh = construction_of(layer).make()
            _take_values(layer.module, fresh.make_module(*shapes))


def _take_values(module: nn.Module, fresh: nn.Module | None) -> None:
    """Copy the values of a freshly built module, where it still has the same tensors."""
    values = {} if fresh is None else fresh.state_dict()
    with torch.no_grad():
        for name, tensor in module.state_dict(keep_vars=True).items():
            if name in values and values[name].shape == tensor.shape:
                tensor.copy_(values[name])


def to_json(model: Model, **options: Any) -> str:
    """Return `get_config` as JSON text.

    Args:
        model: any `Model`.
        **options: keywords of `json.dumps`, such as `indent=2`.
    """
    return json.dumps(get_config(model), **options)


def model_from_json(text: str, custom_objects: Mapping[str, Any] | None = None) -> Model:
    """Make a model with fresh weights from what `model.to_json()` returned.

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
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LoadError(f"the text is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise LoadError("the text describes no model")
    return from_config(config, custom_objects)
