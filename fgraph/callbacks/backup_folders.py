"""Backups of several processes: one folder of `torch.distributed.checkpoint` for each.

A folder is valid once it has a marker, which the first process writes after all have finished.
Tensors are saved in shards, so that any number of processes can read them.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..common import process_group
from ..common.atomic_files import save_atomically
from ..common.sharded_tensors import is_dtensor

_TENSOR = "fgraph.tensor"
_MARKER = "complete.json"
_COMMON, _TENSORS = "run.pt", "tensors"


def newest_folder(backup_dir: Path) -> Path | None:
    """Return the folder of the last step that all processes saved, in every process alike."""
    found = [path.parent for path in backup_dir.glob(f"step-*/{_MARKER}")]
    name = process_group.agreed(max((path.name for path in found), default=None))
    return None if name is None else backup_dir / name


def write_folder(
    backup_dir: Path, at: tuple[int, int], common: Mapping[str, Any], own: Mapping[str, Any]
) -> Path:
    """Write a backup; all processes must call this.

    Args:
        backup_dir: where the folder is made.
        at: the epoch and the step.
        common: state shared by all processes, of which each may hold shards.
        own: state of this process alone.

    Returns:
        The folder.
    """
    from torch.distributed.checkpoint.state_dict_saver import save

    folder = backup_dir / f"step-{at[0]:08d}-{at[1]:010d}"
    if process_group.rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed while writing
        folder.mkdir(parents=True)
    process_group.wait_for_all()
    tensors: dict[str, Tensor] = {}
    plain = _without_tensors(common, (), tensors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about its own planners
        save(tensors, checkpoint_id=folder / _TENSORS)
    save_atomically(dict(own), folder / f"process-{process_group.rank()}.pt")
    if process_group.rank() == 0:
        save_atomically(plain, folder / _COMMON)
    process_group.wait_for_all()
    if process_group.rank() == 0:
        marker = {"epoch": at[0], "step": at[1], "processes": process_group.world_size()}
        temporary = folder / f".{_MARKER}"
        temporary.write_text(json.dumps(marker), encoding="utf-8")
        temporary.replace(folder / _MARKER)
    return folder


def read_folder(
    folder: Path, parameters: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read a backup; all processes must call this, however many there were.

    Args:
        folder: what `newest_folder` returned.
        parameters: the model's, by name: tensors that belong to one come sharded as it is.

    Returns:
        The shared state, and the own state of each process that wrote the backup.
    """
    from torch.distributed.checkpoint.state_dict_loader import load

    marker = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
    plain = torch.load(folder / _COMMON, map_location="cpu", weights_only=True)
    tensors: dict[str, Tensor] = {}
    _allocate(plain, (), parameters, tensors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is one process only
        load(tensors, checkpoint_id=folder / _TENSORS)
    own = [
        torch.load(folder / f"process-{rank}.pt", map_location="cpu", weights_only=True)
        for rank in range(marker["processes"])
    ]
    return _with_tensors(plain, tensors), own


def remove_folders(backup_dir: Path, keep: list[Path]) -> None:
    """Delete all backup folders except some, in the first process."""
    if process_group.rank() == 0:
        for folder in backup_dir.glob("step-*"):
            if folder not in keep:
                shutil.rmtree(folder, ignore_errors=True)


def _without_tensors(value: Any, path: tuple[Any, ...], tensors: dict[str, Tensor]) -> Any:
    """Return a nested value with keys in the place of tensors, which go into `tensors`."""
    if isinstance(value, Tensor):
        key = "/".join(map(str, path))
        tensors[key] = value.detach()
        return {_TENSOR: key, "shape": list(value.shape), "dtype": str(value.dtype)}
    if isinstance(value, Mapping):
        return {k: _without_tensors(v, (*path, k), tensors) for k, v in value.items()}
    if isinstance(value, list | tuple):
        made = [_without_tensors(v, (*path, i), tensors) for i, v in enumerate(value)]
        return made if isinstance(value, list) else tuple(made)
    return value


def _allocate(
    value: Any, path: tuple[Any, ...], parameters: Mapping[str, Any], tensors: dict[str, Tensor]
) -> None:
    """Make the tensors that a backup is read into."""
    if isinstance(value, dict) and _TENSOR in value:
        dtype, shape = getattr(torch, value["dtype"].removeprefix("torch.")), value["shape"]
        owner: Any = next((parameters[part] for part in reversed(path) if part in parameters), None)
        sharded = is_dtensor(owner) and list(owner.shape) == shape
        tensors[value[_TENSOR]] = (
            torch.zeros_like(owner, dtype=dtype, requires_grad=False)
            if sharded
            else torch.zeros(shape, dtype=dtype)
        )
        return
    parts: dict[Any, Any] = value if isinstance(value, dict) else {}
    if isinstance(value, list | tuple):
        parts = dict(enumerate(value))
    for key, part in parts.items():
        _allocate(part, (*path, key), parameters, tensors)


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _with_tensors(part, tensors) for key, part in value.items()}
    if isinstance(value, list | tuple):
        made = [_with_tensors(part, tensors) for part in value]
        return made if isinstance(value, list) else tuple(made)
    return value
