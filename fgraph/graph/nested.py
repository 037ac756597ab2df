"""Nested structures: tensors and other leaves inside tuples, lists, dicts, slices and pytrees.

All arguments of calls, inputs and outputs of models, and batches of data are walked by this module.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

Path = tuple[Any, ...]

_BUILTIN = frozenset({tuple, list, dict, slice})
_PLAIN = frozenset({int, float, bool, str, type(None), torch.Tensor, torch.nn.Parameter})


def is_container(value: object) -> bool:
    """Return whether `value` can hold leaves: a builtin container, a tuple, mapping or pytree."""
    kind: Any = type(value)
    if kind in _BUILTIN or kind in _PLAIN:
        return kind in _BUILTIN
    if issubclass(kind, (tuple, list)) or kind in pytree.SUPPORTED_NODES:
        return kind is not torch.Size
    return hasattr(kind, "keys") and issubclass(kind, Mapping)


def map_leaves(fn: Callable[[Any], Any], value: Any) -> Any:
    """Return a copy of `value` with every leaf replaced by `fn(leaf)`.

    Unlike `torch.utils._pytree.tree_map`, slices are containers (`x[:, :n]` with a symbolic `n`)
    and so is any mapping. Containers keep their types, but for tuples of other classes, which
    become plain ones, and lists and mappings of other classes, which do if a leaf changes.
    """
    kind = type(value)
    if kind is tuple or kind is list:  # long lists of numbers are constants of some graphs
        parts = [fn(x) if type(x) in _PLAIN else map_leaves(fn, x) for x in value]
        return parts if kind is list else tuple(parts)
    if kind is dict:
        return {key: map_leaves(fn, item) for key, item in value.items()}
    if kind is slice:
        return slice(*(map_leaves(fn, part) for part in (value.start, value.stop, value.step)))
    if not is_container(value):
        return fn(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return same_tuple(kind, [map_leaves(fn, item) for item in value])
    if kind in pytree.SUPPORTED_NODES and kind is not torch.Size:
        leaves, spec = pytree.tree_flatten(value, is_leaf=lambda item: item is not value)
        return pytree.tree_unflatten([map_leaves(fn, leaf) for leaf in leaves], spec)
    if isinstance(value, tuple):
        return tuple([map_leaves(fn, item) for item in value])
    items = dict(value) if isinstance(value, Mapping) else list(value)
    mapped = map_leaves(fn, items)
    if all(a is b for a, b in zip(iter_leaves(items), iter_leaves(mapped), strict=True)):
        return value
    return mapped


def same_tuple(kind: Any, items: Iterable[Any]) -> Any:
    """Return a named tuple, or a result of torch such as `torch.return_types.max`, of `items`."""
    return kind(items) if hasattr(kind, "n_sequence_fields") else kind(*items)


def iter_leaves(value: Any) -> Iterator[Any]:
    """Return an iterator over the leaves of `value`, in order."""
    leaves: list[Any] = []
    _collect(value, leaves)
    return iter(leaves)


def _collect(value: Any, leaves: list[Any]) -> None:
    kind = type(value)
    if kind is tuple or kind is list:
        for item in value:
            if type(item) in _PLAIN:
                leaves.append(item)
            else:
                _collect(item, leaves)
    elif kind is dict:
        for item in value.values():
            _collect(item, leaves)
    elif kind is slice:
        leaves += (value.start, value.stop, value.step)
    elif kind not in _PLAIN and is_container(value):
        for _, item in _children(value):
            _collect(item, leaves)
    else:
        leaves.append(value)


def leaves_with_paths(value: Any) -> list[tuple[Path, Any]]:
    """Return the leaves of `value`, in order, each with the keys and indices that lead to it."""
    if not is_container(value):
        return [((), value)]
    return [
        ((key, *path), leaf)
        for key, child in _children(value)
        for path, leaf in leaves_with_paths(child)
    ]


def _children(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return the direct children of a container, each with its key or index."""
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, (tuple, list)):
        return enumerate(value)
    if isinstance(value, slice):
        return enumerate((value.start, value.stop, value.step))
    return enumerate(pytree.tree_flatten(value, is_leaf=lambda item: item is not value)[0])


def label(path: Path) -> str:
    """Return a path as text: `('pair', 0)` is `"pair[0]"`, `('left', 'ids')` is `"left.ids"`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text


def numbered(structure: Any) -> Any:
    """Return `structure` with its leaves replaced by 0, 1, 2, ..."""
    return filled(structure, itertools.count())


def filled(structure: Any, values: Iterable[Any]) -> Any:
    """Return `structure` with its leaves replaced by `values`, in order."""
    left = iter(values)
    return map_leaves(lambda _: next(left), structure)
