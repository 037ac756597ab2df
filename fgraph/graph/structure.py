"""Nested arguments: find and replace leaves inside tuples, lists, dicts, slices and pytrees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils import _pytree as pytree

_BUILTIN = frozenset({tuple, list, dict, slice})


def is_container(value: object) -> bool:
    """Whether `value` can hold leaves: a builtin container, a named tuple, or a known pytree."""
    kind = type(value)
    return kind in _BUILTIN or kind in pytree.SUPPORTED_NODES or isinstance(value, tuple)


def map_leaves(fn: Callable[[Any], Any], value: Any) -> Any:
    """Copy `value` with every leaf replaced by `fn(leaf)`; containers keep their types.

    Unlike `pytree.tree_map`, slices are containers too (`x[:, :n]` with a symbolic `n`).
    """
    kind = type(value)
    if kind is tuple:
        return tuple([map_leaves(fn, item) for item in value])
    if kind is list:
        return [map_leaves(fn, item) for item in value]
    if kind is dict:
        return {key: map_leaves(fn, item) for key, item in value.items()}
    if kind is slice:
        return slice(*(map_leaves(fn, part) for part in (value.start, value.stop, value.step)))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return kind(*(map_leaves(fn, item) for item in value))
    if kind in pytree.SUPPORTED_NODES:
        leaves, spec = pytree.tree_flatten(value, is_leaf=lambda item: item is not value)
        return pytree.tree_unflatten([map_leaves(fn, leaf) for leaf in leaves], spec)
    return fn(value)


def iter_leaves(value: Any) -> Iterator[Any]:
    """Yield the leaves of `value`, in order."""
    kind = type(value)
    if kind is tuple or kind is list:
        for item in value:
            yield from iter_leaves(item)
    elif kind is dict:
        for item in value.values():
            yield from iter_leaves(item)
    elif kind is slice:
        yield from (value.start, value.stop, value.step)
    elif is_container(value):
        found: list[Any] = []
        map_leaves(found.append, value)
        yield from found
    else:
        yield value
