"""`save_model` and `load_model`: a model as one file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import LoadError
from ..model import Model
from . import tensorfile
from .compile_settings import decode_compiled, encode_compiled
from .decoder import Decoder
from .differences import slots
from .encoder import Encoder
from .registered import find

VERSION = 1
_TEXT = "fgraph"


def save_model(model: Model, path: str | os.PathLike[str], include_optimizer: bool = True) -> None:
    """Write a model to one file: graph, configurations, weights and training.

    The file is in the safetensors format: whatever reads that reads the weights, under the names
    of `model.state_dict()`. It replaces an older one only once it is whole. Hooks, and values of
    metrics, are not saved.

    Args:
        model: any `Model`.
        path: the file; `.fgraph` is customary.
        include_optimizer: whether to save what `compile` was told and the optimizer's state.

    Raises:
        SaveError: a part of the model cannot be written as data; the text says which.
        OSError: the file cannot be written.
    """
    encoder = Encoder(model)
    document = encode_model(model, encoder)
    if include_optimizer and model._trainer is not None:
        document["compiled"] = encode_compiled(model._trainer, encoder)
    encoder.finish()
    tensors = {name: t for name, t in slots(model) if encoder.names[id(t)] == name}
    tensors |= encoder.tensors
    document["devices"] = {n: str(t.device) for n, t in tensors.items() if t.device.type != "cpu"}
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    tensorfile.write(Path(path), tensors, {_TEXT: text})


def encode_model(model: Model, encoder: Encoder) -> dict[str, Any]:
    """Return all but the training of a model as JSON."""
    ties = {name: first for name, t in slots(model) if (first := encoder.names[id(t)]) != name}
    modes = {path: module.training for path, module in model.named_modules()}
    trains = [path for path, training in modes.items() if training]
    return {
        "version": VERSION,
        "fgraph": sys.modules["fgraph"].__version__,
        "torch": str(torch.__version__),
        "root": encoder.value(model)["$object"],
        "objects": encoder.objects,
        "ties": ties,
        "frozen": [name for name, p in model.named_parameters() if not p.requires_grad],
        "training": trains if len(trains) not in (0, len(modes)) else bool(trains),
    }


def load_model(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    map_location: str | torch.device | None = None,
    verify: bool = True,
) -> Model:
    """Read a model that `model.save` wrote: the same class, names, weights and training.

    Nothing in the file is executed: it holds names, numbers and tensors. The names stand for
    torch's modules and tensor functions, this package's layers, what was registered, and what is
    in `custom_objects`. The weights are read from the file as they are needed, so it must not be
    changed in place meanwhile; `model.save` to the same path is safe.

    Args:
        path: the file.
        custom_objects: your own classes and functions by the names that the file has for them:
            `Name`, or `package>Name` where registered.
        map_location: the device for all tensors; by default each goes where it was.
        verify: whether to compare the checksum of the weights. That reads them all, a tenth of a
            second for a gigabyte in memory; without it they are read as they are used, and a
            damaged weight goes unnoticed. All else is always compared.

    Returns:
        The model.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: the path is a directory.
        LoadError: the file is damaged, of another kind or version, or needs something unknown.

    Example:
        >>> import fgraph, tempfile, os
        >>> from torch import nn
        >>> x = fgraph.Input((3,))
        >>> path = os.path.join(tempfile.mkdtemp(), "model.fgraph")
        >>> fgraph.Model(x, nn.Linear(3, 2)(x)).save(path)
        >>> fgraph.load_model(path).output_shape
        (None, 2)
    """
    device = None if map_location is None else torch.device(map_location)
    file = tensorfile.read(Path(path), verify=False)
    if _TEXT not in file.texts or not file.checked:
        raise LoadError(
            f"cannot load {str(path)!r}: it holds weights but no model; make the model and call "
            "model.load_weights(path)"
        )
    try:
        # the weights are read by one thread while this one makes the model
        with ThreadPoolExecutor(1) as executor:
            verified = executor.submit(file.verify) if verify else None
            document = json.loads(file.texts[_TEXT])
            tensors = _placed(file.tensors, document.get("devices", {}), device)
            model = decode_model(document, tensors, custom_objects)
            if verified is not None:
                verified.result()
        return model
    except LoadError as error:
        raise LoadError(f"cannot load {str(path)!r}: {error}") from error
    except Exception as error:
        raise LoadError(
            f"cannot load {str(path)!r}: its description of the model does not fit this version of "
            f"fgraph and torch ({type(error).__name__}: {error})"
        ) from error


def decode_model(
    document: Any,
    tensors: Mapping[str, Tensor] | None,
    custom_objects: Mapping[str, Any] | None = None,
) -> Model:
    """Make the model that `encode_model` wrote.

    Args:
        document: what `encode_model` returned.
        tensors: its weights by name; `None` for fresh ones.
        custom_objects: as in `load_model`.

    Raises:
        LoadError: the document is of another version, or needs something unknown.
    """
    if not isinstance(document, dict) or type(document.get("version")) is not int:
        raise LoadError("it holds no description of a model")
    if document["version"] > VERSION:
        raise LoadError(
            f"it has format version {document['version']}, written by fgraph "
            f"{document.get('fgraph')}; this fgraph reads versions up to {VERSION}: upgrade it"
        )
    custom = dict(custom_objects or {})
    for entry in document["objects"]:
        if "class" in entry:
            find(entry["class"], custom)  # what is unknown is said before anything is made
    decoder = Decoder(document["objects"], tensors or {}, custom, real=tensors is None)
    model = decoder.object(document["root"])
    if not isinstance(model, Model):
        raise LoadError("it holds something else than a model")
    decoder.make_all()
    if tensors is None:
        decoder.name_tensors(model)
    else:
        decoder.fill(model, document["ties"], frozenset(document["frozen"]))
        decoder.fill_others()
    decoder.finish()
    _set_modes(model, document["training"])
    if "compiled" in document:
        decode_compiled(model, document["compiled"], decoder)
    return model


def _set_modes(model: nn.Module, training: Any) -> None:
    if isinstance(training, bool):
        model.train(training)
        return
    trains = set(training)
    for path, module in model.named_modules():
        module.training = path in trains


def _placed(
    tensors: dict[str, Tensor],
    devices: Mapping[str, str],
    device: torch.device | None,
) -> dict[str, Tensor]:
    """Move tensors to where they were, or to the device that is asked for."""
    try:
        if device is not None:
            return {name: tensor.to(device) for name, tensor in tensors.items()}
        return {n: t.to(devices[n]) if n in devices else t for n, t in tensors.items()}
    except (RuntimeError, AssertionError) as error:
        where = str(device) if device is not None else ", ".join(sorted(set(devices.values())))
        raise LoadError(
            f'its tensors go to {where}, which this machine does not have: pass map_location="cpu"'
        ) from error
