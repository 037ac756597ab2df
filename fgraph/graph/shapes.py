"""Shape inference: run one call on `meta` tensors, twice, without a trace in the real world.

Every unknown size is stood in for by two different numbers; a call is run once with each, and a
size of the result that differs is unknown too. How a call runs without touching anything real is
told in `meta` and `shadow`.
"""

from __future__ import annotations

import dataclasses
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from .meta import run_on_meta
from .modes import Autocast, Modes
from .nested import iter_leaves
from .node import Constant, Ref, SizeSpec, Spec, TensorSpec
from .torch_functions import torch_name

# Stand-ins for an unknown batch size and for any other unknown size. Both pairs have many small
# divisors, for code that folds or halves sizes; the second one is large enough for a deep stack of
# poolings and small enough for a table of positions.
BATCH = (24, 36)
OTHER = (192, 288)

Inferred = tuple[list[Spec], "pytree.TreeSpec | None"]


def spec_of(shape: tuple[int | None, ...], dtype: torch.dtype) -> TensorSpec:
    """Make the spec of a tensor whose unknown sizes are `None`; the first size is the batch."""
    first, second = (
        tuple(
            size if size is not None else (BATCH if axis == 0 else OTHER)[which]
            for axis, size in enumerate(shape)
        )
        for which in (0, 1)
    )
    return TensorSpec(first, second, dtype)


def infer(
    op: str,
    target: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    modes: Modes | None = None,
) -> Inferred:
    """Return the specs of the leaves of `target(*args, **kwargs)`, and the result's structure.

    Results of torch's own modules and functions are remembered by their settings and the specs of
    their inputs.

    Raises:
        Exception: whatever the call itself raises when the shapes do not fit.
    """
    autocast = modes.autocast if modes else ()
    key = _cache_key(op, target, args, kwargs)
    if key is not None:
        key = (key, autocast)
        if (known := _cache.get(key)) is not None:
            return known
    result = _infer(target, args, kwargs, autocast)
    if key is not None:
        if len(_cache) >= _CACHE_SIZE:
            _cache.clear()
        _cache[key] = result
    return result


_CACHE_SIZE = 4096
_cache: dict[Any, Inferred] = {}


def _infer(
    target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], autocast: tuple[Autocast, ...]
) -> Inferred:
    first = run_on_meta(target, args, kwargs, 0, autocast)
    known = all(
        leaf.spec.first == leaf.spec.second
        for leaf in iter_leaves((args, kwargs))
        if type(leaf) is Ref
    )
    second = first if known else run_on_meta(target, args, kwargs, 1, autocast)
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return [_pair(first, second)], None
    first_leaves, structure = pytree.tree_flatten(first)
    second_leaves, other = pytree.tree_flatten(second)
    if structure != other:
        raise TypeError(
            "the structure of the result depends on sizes that are not known until run time"
        )
    return [_pair(a, b) for a, b in zip(first_leaves, second_leaves, strict=True)], structure


def _pair(first: Any, second: Any) -> Spec:
    """Merge one leaf of both runs into what is known of it."""
    if isinstance(first, Tensor):
        if first.dim() != second.dim():
            raise TypeError("the number of dimensions depends on a size not known until run time")
        return TensorSpec(tuple(first.shape), tuple(second.shape), first.dtype)
    if type(first) is int and first != second:
        return SizeSpec(first, second)
    if _hides_tensors(first):
        raise TypeError(
            f"the result is a {type(first).__name__} that holds tensors, and torch does not know "
            "its parts: return a tuple or dict, or register the class with "
            "torch.utils._pytree.register_dataclass"
        )
    return Constant(first)


def _hides_tensors(value: Any) -> bool:
    """Whether a dataclass that is no pytree holds tensors."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return False
    parts = [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    return any(isinstance(leaf, Tensor) or _hides_tensors(leaf) for leaf in iter_leaves(parts))


# ------------------------------------------------------------------ remembering results


class _Uncacheable(Exception):
    """A result that depends on more than can be compared."""


_PLAIN = (int, float, bool, str, complex, type(None), torch.dtype, torch.Size, type(Ellipsis))
_PLAIN_TYPES = frozenset({*_PLAIN, torch.device, torch.memory_format, torch.layout})
_BOOKKEEPING = frozenset(nn.Module().__dict__) - {"training"}


def _cache_key(op: str, target: Any, args: Any, kwargs: Any) -> Any:
    """Return what a call's result shape depends on, or `None` where that is not known."""
    try:
        if op == "module":
            head = _module_key(target)
        elif torch_name(target) is not None:
            head = target
        else:
            return None
        return (head, _value_key(args), _value_key(kwargs) if kwargs else None)
    except _Uncacheable:
        return None


def _value_key(value: Any) -> Any:
    kind = type(value)
    if kind is Ref:
        return value.spec
    if kind in _PLAIN_TYPES:
        return (kind, value)
    if kind is tuple or kind is list:
        return (kind, *[_value_key(item) for item in value])
    if kind is dict:
        return (kind, *[(key, _value_key(item)) for key, item in value.items()])
    if kind is slice:
        return (kind, _value_key((value.start, value.stop, value.step)))
    raise _Uncacheable


def _module_key(module: nn.Module) -> Any:
    """Key a module of `torch.nn` by its class, its attributes, and those of its children."""
    kind = type(module)
    if not kind.__module__.startswith("torch.nn.modules."):
        raise _Uncacheable
    attributes = module.__dict__
    settings = [
        (name, _setting_key(value))
        for name, value in attributes.items()
        if name not in _BOOKKEEPING
    ]
    tensors = [
        (name, _setting_key(value))
        for group in ("_parameters", "_buffers")
        for name, value in attributes[group].items()
    ]
    children = [
        (name, None if child is None else _module_key(child))
        for name, child in attributes["_modules"].items()
    ]
    return (kind, (*settings,), (*tensors,), (*children,))


def _setting_key(value: Any) -> Any:
    kind = type(value)
    if kind is nn.Parameter or kind is Tensor:
        return (kind, value.shape, value.dtype)
    if kind in _PLAIN_TYPES:
        return (kind, value)
    if kind is tuple or kind is list:
        return (kind, *[_setting_key(item) for item in value])
    if kind is weakref.ReferenceType:  # recurrent modules hold their weights so, a second time
        return None
    if callable(value) and torch_name(value) is not None:
        return value
    raise _Uncacheable
