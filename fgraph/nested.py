"""Structures of inputs and outputs: tensors in nested lists, tuples and dicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Path = tuple[Any, ...]


def flatten(structure: Any) -> list[tuple[Path, Any]]:
    """Return the leaves of a structure, each with the way to it."""
    if isinstance(structure, dict):
        items: Iterable[tuple[Any, Any]] = structure.items()
    elif isinstance(structure, (list, tuple)):
        items = enumerate(structure)
    else:
        return [((), structure)]
    return [((key, *path), leaf) for key, part in items for path, leaf in flatten(part)]


def label(path: Path) -> str:
    """Write the way to a leaf: `('pair', 0)` is `pair[0]`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text


def numbered(structure: Any) -> Any:
    """Return the structure with its leaves replaced by 0, 1, 2, ..."""
    return filled(structure, range(len(flatten(structure))))


def filled(structure: Any, values: Iterable[Any]) -> Any:
    """Return the structure with its leaves replaced by `values`, in order."""
    return _fill(structure, iter(values))


def _fill(part: Any, left: Iterator[Any]) -> Any:
    # not a function within filled: that would be a cycle, which keeps symbolic values alive
    if isinstance(part, dict):
        return {key: _fill(item, left) for key, item in part.items()}
    if isinstance(part, (list, tuple)):
        return type(part)([_fill(item, left) for item in part])
    return next(left)
