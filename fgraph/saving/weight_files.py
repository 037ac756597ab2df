"""`save_weights` and `load_weights`: only the weights, for an existing model."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Container
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..common.atomic_files import save_atomically
from ..constructions.differences import named_tensors
from ..errors import LoadError
from . import tensorfile
from .keras_weight_files import is_keras_weights, load_keras_weights, save_keras_weights

_TORCH_ENDINGS = (".pt", ".pth", ".bin")


def save_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the parameters and buffers of a module, whole or not at all.

    Args:
        model: any module.
        path: the file. `.weights.h5` makes a file of Keras; `.pt`, `.pth` or `.bin` the result of
            `torch.save(model.state_dict())`; any other suffix, such as `.safetensors`, a file in
            the safetensors format.

    Raises:
        SaveError: a tensor has a dtype or layout that the format cannot hold.
        OSError: the file cannot be written.
    """
    target = Path(path)
    with tensorfile.on_host():
        if is_keras_weights(target):
            save_keras_weights(model, target)
            return
        if target.suffix in _TORCH_ENDINGS:
            save_atomically(model.state_dict(), target, make_folder=False)
            return
        seen: set[int] = set()
        tensors = {}
        for name, tensor in model.state_dict(keep_vars=True).items():
            if isinstance(tensor, Tensor) and id(tensor) not in seen:  # no ties in this format
                seen.add(id(tensor))
                tensors[name] = tensor
        tensorfile.write(target, tensors, {})


def load_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Copy the weights in a file into a module; change nothing if they do not fit.

    Args:
        model: the module; its parameters keep their devices and dtypes.
        path: a file of `save_weights`, of `model.save`, of `safetensors`, a `.weights.h5` of
            Keras, or a `state_dict` written by `torch.save`. Nothing in it is executed.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: the path is a directory.
        LoadError: the file is damaged, or its names and shapes are not those of the module.
    """
    source = Path(path)
    with tensorfile.on_host(), torch.no_grad():  # regardless of the default device
        if is_keras_weights(source) and source.is_file():
            load_keras_weights(model, source)
            return
        with tensorfile.reading(source):
            state = model.state_dict(keep_vars=True)
            wanted = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
            values = _matched(wanted, *_found(model, source))
        for name, value in values.items():
            wanted[name].copy_(value)


def _found(model: nn.Module, path: Path) -> tuple[dict[str, Tensor], Container[str]]:
    """Return the tensors in a file by name, and the names of those that the model may lack."""
    with path.open("rb") as opened:
        first = opened.read(2)
    if first == b"PK" or first[:1] == b"\x80":  # a zip archive, or a pickle
        return _read_torch(path), ()
    file = tensorfile.read(path)
    return file.tensors, dict(named_tensors(model)) if "fgraph" in file.texts else ()


def _read_torch(path: Path) -> dict[str, Tensor]:
    _refuse_packed(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the error says what an odd pickle warns of
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise LoadError(
            "it is not a whole file of weights written by torch.save, or holds more than tensors"
        ) from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    ):
        raise LoadError(f"it holds no state_dict, tensors by name, but {type(found).__name__}")
    return found


def _refuse_packed(path: Path) -> None:
    """Refuse compressed archives; torch never compresses."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, UnicodeError):
        return  # an old torch file, or a damaged one, which torch.load refuses
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > path.stat().st_size or any(entry.compress_type for entry in entries):
        raise LoadError(
            f"it is an archive of compressed files, {unpacked} bytes unpacked, and was not written "
            "by torch.save"
        )


def _matched(
    wanted: dict[str, Tensor], found: dict[str, Tensor], ignorable: Container[str]
) -> dict[str, Tensor]:
    """Return the value of each tensor of the model; check all before changing any."""
    first = {id(tensor): name for name, tensor in reversed(wanted.items())}
    values: dict[str, Tensor] = {}
    for name, tensor in wanted.items():
        key = name if name in found else first[id(tensor)]  # tied tensors are written once
        if key in found:
            values[name] = found[key]
    missing = [name for name in wanted if name not in values]
    unknown = [n for n in found if n not in wanted and "/" not in n and n not in ignorable]
    if missing or unknown:
        raise LoadError(
            f"its weights are not those of this model: missing {missing}, unknown {unknown}"
        )
    for name, value in values.items():
        _check_fit(name, wanted[name], value)
    return values


def _check_fit(name: str, tensor: Any, value: Tensor) -> None:
    if nn.parameter.is_lazy(tensor):
        raise LoadError(f"{name!r} has no shape yet; call the model once")
    if tensor.shape != value.shape:
        raise LoadError(
            f"{name!r} has shape {tuple(value.shape)} in the file, but {tuple(tensor.shape)} in "
            "the model"
        )
    if value.is_complex() and not tensor.is_complex():
        raise LoadError(f"{name!r} is complex in the file, not in the model")
