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

from ..constructions.forward_hooks import lost_hooks, warn_of_hooks
from ..constructions.shared_memory import with_views
from ..errors import LoadError, SaveError
from ..model import Model
from . import tensorfile
from .compile_settings import decode_compiled, encode_compiled
from .decoder import Decoder
from .encoder import Encoder
from .graph_records import check_fields
from .keras.archive import kind_of
from .keras.reading.load_keras import load_keras
from .keras.writing.save_keras import check_keras, is_keras_file, save_keras
from .keras_weight_files import is_keras_weights, places_of_weights

VERSION = 3
_TEXT = "fgraph"
_FIELDS = {
    "version", "fgraph", "torch", "objects", "root", "flipped", "devices", "compiled", "values",
}  # fmt: skip


def save_model(model: Model, path: str | os.PathLike[str], include_optimizer: bool = True) -> None:
    """Write a model to one file: graph, configurations, weights and training.

    The file is in the safetensors format: any reader of that format finds the weights, under the
    names of `model.state_dict()`. An existing file is replaced only when the new one is complete.
    Hooks and the running totals of metrics are not saved.

    Args:
        model: any `Model`.
        path: the file; the usual suffix is `.fgraph`. With `.keras` Keras can open it, too.
        include_optimizer: whether to save the settings of `compile` and the optimizer's state.

    Raises:
        SaveError: a part of the model cannot be written as data; the message says which, and what
            to do.
        OSError: the file cannot be written.
    """
    with tensorfile.on_host():
        if is_keras_file(Path(path)):
            save_keras(model, Path(path), include_optimizer)
            return
        document, tensors = encode_model(model, include_optimizer)
        devices = {name: str(t.device) for name, t in tensors.items() if t.device.type != "cpu"}
        text = json.dumps({**document, "devices": devices}, separators=(",", ":"), allow_nan=False)
        tensorfile.write(Path(path), tensors, {_TEXT: text})


def check_savable(model: Model, path: str | os.PathLike[str] = "") -> None:
    """Refuse a model that `save_model` would refuse; write nothing.

    Args:
        model: the model.
        path: the file that is to be written; its suffix says in which format.

    Raises:
        SaveError: a part of the model cannot be written.
    """
    with tensorfile.on_host():
        if is_keras_weights(Path(path)):
            places_of_weights(model, Path(path))
        elif is_keras_file(Path(path)):
            check_keras(model, Path(path))
        else:
            encode_model(model, include_optimizer=True)


def encode_model(
    model: Model, include_optimizer: bool = False
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return a model as JSON, and the tensors that it refers to.

    The model is made again from that JSON, on tensors without memory, and compared: what could not
    be loaded again, or would be different, is refused here.

    Args:
        model: the model.
        include_optimizer: whether to write the settings of `compile` and the optimizer's state.

    Raises:
        SaveError: a part of the model cannot be written as data.
    """
    encoder = Encoder(model)
    try:
        document = {
            "version": VERSION,
            "fgraph": sys.modules["fgraph"].__version__,
            "torch": str(torch.__version__),
            "root": encoder.number(model),
            "objects": encoder.objects,
        }
        if include_optimizer and model._trainer is not None:
            document["compiled"] = encode_compiled(model._trainer, encoder)
        document["flipped"] = [
            name
            for name, tensor in encoder.tensors.items()
            if tensor.requires_grad != isinstance(tensor, nn.Parameter)
        ]
        made = _decoded(document, encoder.decoder)
    except SaveError:
        raise
    except Exception as error:
        raise SaveError(f"the model cannot be saved: {error}") from error
    warn_of_hooks("the file", lost_hooks(model, made), stacklevel=5)
    return document, encoder.tensors


def load_model(
    path: str | os.PathLike[str],
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
    *,
    map_location: str | torch.device | None = None,
    verify: bool = True,
) -> Model:
    """Load a model saved by `model.save`, with class, names, weights and training state.

    It also opens Keras's files, `.keras` and `.h5`, without Keras (extra `keras-files`). The kind
    of a file is recognised by its contents.

    No code in the file is run: it is a list of objects to construct, whose names are looked up in
    closed lists of torch's modules and tensor functions and this package's classes, among
    registered names, and in `custom_objects`. Registered classes and functions run without
    restrictions. The weights are read from the file when needed, so it must not be changed in
    place; `model.save` to the same path is safe.

    Args:
        path: the file.
        custom_objects: your own classes and functions by their names in the file: `Name`, or
            `package>Name` if registered.
        compile: whether to restore the settings of `compile` and the optimizer's state. Without it
            the file's settings are not even decoded.
        safe_mode: accepted for compatibility with Keras; must be true.
        map_location: the device for all tensors; by default each is restored to its own.
        verify: whether to verify the checksum of the weights. That reads all of them, a tenth of a
            second for a gigabyte in memory; otherwise they are read when used, and a damaged weight
            goes unnoticed. Everything else is always verified.

    Returns:
        The model.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: the path is a directory.
        LoadError: the file is damaged, of another kind or version, or needs something unknown.
        ValueError: `safe_mode` is not true.

    Example:
        >>> import fgraph, tempfile, os
        >>> from torch import nn
        >>> x = fgraph.Input((3,))
        >>> path = os.path.join(tempfile.mkdtemp(), "model.fgraph")
        >>> fgraph.Model(x, nn.Linear(3, 2)(x)).save(path)
        >>> fgraph.load_model(path).output_shape
        (None, 2)
    """
    if safe_mode is not True:
        raise ValueError(
            f"load_model: safe_mode={safe_mode!r} is not supported, as the code in a file is never "
            "run: pass the functions that it names by custom_objects={'name': function}"
        )
    device = _device(map_location)
    with tensorfile.on_host():
        source = Path(path)
        kind = kind_of(source) if source.is_file() else None
        if kind is not None:
            return load_keras(source, kind, dict(custom_objects or {}), compile, device)
        # another thread reads the weights while this one makes the model
        with tensorfile.reading(source), ThreadPoolExecutor(1) as executor:
            file = tensorfile.read(source, verify=False)
            if _TEXT not in file.texts or not file.check:
                raise LoadError(
                    "it holds weights but no model: make one and call model.load_weights(path)"
                )
            verified = executor.submit(file.verify) if verify else None
            document = check_document(tensorfile.parse_json(file.texts[_TEXT]))
            tensors = _placed(file.owners, document.get("devices", {}), device)
            tensors = with_views(tensors, file.views)
            model = decode_model(document, tensors, dict(custom_objects or {}), compile=compile)
            if verified is not None:
                verified.result()
    return model


def check_document(document: Any) -> dict[str, Any]:
    """Return the document that `encode_model` wrote.

    Raises:
        LoadError: it is something else, or of another version.
    """
    if not isinstance(document, dict) or type(document.get("version")) is not int:
        raise LoadError("it holds no description of a model")
    if document["version"] != VERSION:
        what = (
            "this fgraph is older: upgrade it" if document["version"] > VERSION else
            "build the model anew, model.load_weights(path) reads the weights, and save it again"
        )  # fmt: skip
        raise LoadError(
            f"it has format version {document['version']}, written by fgraph "
            f"{document.get('fgraph')!r:.40}; this fgraph reads version {VERSION}: {what}"
        )
    check_fields("the description", document, _FIELDS)
    return document


def decode_model(
    document: dict[str, Any],
    tensors: Mapping[str, Tensor],
    custom: Mapping[str, Any],
    fresh: bool = False,
    compile: bool = True,
) -> Model:
    """Make the model that `encode_model` wrote.

    Args:
        document: the document of `encode_model`.
        tensors: its tensors by name.
        custom: as in `load_model`.
        fresh: whether modules keep the values that their constructors draw.
        compile: whether to restore training; otherwise names that only training needs may be
            unknown.

    Raises:
        LoadError: the document needs something unknown, or does not fit together.
    """
    last = None if compile else document.get("compiled", {}).get("objects")  # of the model
    return _decoded(document, Decoder(document["objects"][:last], tensors, custom, fresh), compile)


def _decoded(document: dict[str, Any], decoder: Decoder, compile: bool = True) -> Model:
    decoder.make(document["flipped"])
    model = decoder.value({"$object": document["root"]})
    if not isinstance(model, Model):
        raise LoadError(f"it holds a {type(model).__name__}, which is no model")
    if compile and "compiled" in document:
        decode_compiled(model, document["compiled"], decoder)
    return model


def _device(map_location: Any) -> torch.device | None:
    try:
        return None if map_location is None else torch.device(map_location)
    except (RuntimeError, TypeError) as error:
        raise LoadError(f"load_model: map_location={map_location!r} is no device") from error


def _placed(
    tensors: dict[str, Tensor],
    devices: Mapping[str, str],
    device: torch.device | None,
) -> dict[str, Tensor]:
    """Move tensors to their devices, or to the requested one."""
    if device is None and "meta" in devices.values():
        raise LoadError("its tensors go to meta, where they would lose their values")
    places = devices if device is None else dict.fromkeys(tensors, str(device))
    try:
        return {n: t.to(places[n]) if n in places else t for n, t in tensors.items()}
    except (RuntimeError, AssertionError) as error:
        raise LoadError(
            f"its tensors go to {', '.join(sorted({*places.values()})):.100}, which this machine "
            'does not have: pass map_location="cpu"'
        ) from error
