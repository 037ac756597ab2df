"""Reading parts of Keras's configurations: names, shapes, inputs, groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ....errors import LoadError
from ....graph import Input, SymbolicTensor
from ..keras_values import dtype_of, text
from ..operations import function_name, is_operation
from ..stored_weights import counted

_MODELS = ("Functional", "Model", "Sequential")


def is_model(written: Mapping[str, Any]) -> bool:
    """Return whether an object is a model."""
    return written.get("class_name") in _MODELS and "layers" in (
        {"layers": ()} if isinstance(written.get("config"), list) else written.get("config") or ()
    )


def has_models(written: Mapping[str, Any]) -> bool:
    """Return whether a model, or a layer in it, contains models."""
    config = written.get("config")
    waiting: list[Any] = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict) and part is not config and is_model(part):
            return True
        if isinstance(part, (dict, list)):
            waiting += part.values() if isinstance(part, dict) else part
    return False


def groups_of(kind: Any, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the groups of the parts of a model, empty for those without weights."""
    is_stack = kind == "Sequential"
    held = [
        entry for entry in entries
        if not is_operation(entry) and not (is_stack and entry.get("class_name") == "InputLayer")
    ]  # fmt: skip
    names = counted([text(entry.get("class_name"), "a layer's class") for entry in held])
    found = {id(entry): f"layers/{name}" for entry, name in zip(held, names, strict=True)}
    return [found.get(id(entry), "") for entry in entries]


def is_stateful(written: Any) -> bool:
    """Return whether a layer among these keeps states for each sample."""
    waiting = [written]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if part.get("stateful") is True:
                return True
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return False


def nodes_of(entry: Mapping[str, Any]) -> list[Any]:
    """Return the calls of a part."""
    nodes = entry.get("inbound_nodes")
    return nodes if isinstance(nodes, list) else []


def _name(entry: Mapping[str, Any]) -> Any:
    config = entry.get("config")
    return entry.get("name") or (config.get("name") if isinstance(config, dict) else None)


def name_of(entry: Mapping[str, Any], k: int) -> str:
    """Return the name of a part, the `k`-th of a model; Keras leaves out some in a stack."""
    name = _name(entry)
    if name is None and isinstance(kind := entry.get("class_name"), str):
        return f"{function_name(kind)}_{k}"
    return text(name, f"the name of layer {k}")


def label_of(entry: Mapping[str, Any]) -> str:
    """Return name and class of a part, for errors."""
    return f"layer {_name(entry)!r:.60} ({entry.get('class_name')!s:.60})"


def shape_of(written: Any, where: str, keeps_batch: bool = True) -> list[int | None]:
    """Return a shape with the batch, whose size Keras compares with nothing."""
    if isinstance(written, dict):
        written = written.get("items")
    if not isinstance(written, list) or not all(
        size is None or (type(size) is int and size >= 0) for size in written
    ):
        raise LoadError(f"{where}: the shape {written!r:.80} is none")
    return written if keeps_batch else [None, *written[1:]]


def first_dtype(entry: Mapping[str, Any], where: str) -> torch.dtype | None:
    """Return the dtype of the input of the first layer of a stack of Keras 2."""
    config = entry["config"]
    wanted = "int32" if entry.get("class_name") == "Embedding" else config.get("dtype")
    return dtype_of(wanted, where)[0]


def make_input(entry: Mapping[str, Any], where: str, keeps_batch: bool = True) -> SymbolicTensor:
    """Return the input that an `InputLayer` stands for."""
    config = entry.get("config")
    if not isinstance(config, dict):
        raise LoadError(f"{where}: an input without configuration")
    shape = config.get("batch_shape", config.get("batch_input_shape"))
    if config.get("sparse") or config.get("ragged") or config.get("optional"):
        raise LoadError(f"{where}: sparse, ragged and optional inputs cannot be read")
    name = config.get("name")
    try:
        return Input(
            batch_shape=shape_of(shape, where, keeps_batch),
            dtype=dtype_of(config.get("dtype"), where)[0],
            name=None if name is None else text(name, where),
        )
    except (TypeError, ValueError) as error:
        raise LoadError(f"{where}: {error}") from error
