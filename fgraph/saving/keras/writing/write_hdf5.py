"""Writes weights to Keras's HDF5 files; `hdf5` reads them."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ....errors import SaveError
from .weight_groups import WeightGroup


def write_weights(file: BinaryIO | io.BytesIO, root: WeightGroup) -> None:
    """Write the weights of a model.

    Args:
        file: what is written to.
        root: where each weight lies.

    Raises:
        SaveError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise SaveError(
            "weights of Keras are HDF5 files, for which the package h5py is needed: install "
            "fgraph[keras-files] or h5py"
        ) from error
    with h5py.File(file, "w") as made:
        _write(made, "", root)


def _write(file: Any, place: str, group: WeightGroup) -> None:
    """Write one layer or model, and what is in it."""
    file.require_group(f"{place}/vars").attrs["name"] = group.name
    for path, value, _ in group.weights:
        _put(file, f"{place}/{path}", value)
    for path, own in group.links:
        file[f"{place}/{path}"] = file[f"{place}/{own}"]
    for path, inner in group.inner:
        _write(file, f"{place}/{path}", inner)


def _put(file: Any, path: str, value: Tensor) -> None:
    kept = value.detach().cpu().contiguous()
    if kept.dtype == torch.bfloat16:  # which neither numpy nor HDF5 has
        raw = kept.view(torch.int16).numpy().view("V2")
        file.create_dataset(path, data=raw).attrs["dtype"] = "bfloat16"
    else:
        file.create_dataset(path, data=kept.numpy())
