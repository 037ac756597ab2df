"""Keys under which the shapes of a call's result are remembered."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..node import Node, Ref
from ..specs import DataSpec, Effects, Spec
from ..torch_functions import torch_name
from .calls_without_probes import says_plain

_PLAIN = (int, float, bool, str, complex, type(None), torch.dtype, torch.Size, type(Ellipsis))
_PLAIN_TYPES = frozenset({*_PLAIN, torch.device, torch.memory_format, torch.layout})
_BOOKKEEPING = frozenset(nn.Module().__dict__) - {"training"}
Settings = tuple[tuple[str, Any], ...]
Value = TypeVar("Value")


class Cache(dict[Any, Value]):
    """A dict of results that is cleared when it is full.

    Args:
        most: how many it holds.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: Any, value: Value) -> None:
        if len(self) >= self._most:
            self.clear()
        super().__setitem__(key, value)


class Found(NamedTuple):
    """What running a call in the main lanes tells.

    Attributes:
        specs, structure: the leaves of the result, and its pytree structure.
        loops: whether the call does more the larger the sizes are.
        effects: what it does to memory.
        plain: whether all functions inside need no probe lanes, see `calls_without_probes`.
    """

    specs: list[Spec]
    structure: pytree.TreeSpec | None
    loops: bool
    effects: Effects | None
    plain: bool


main_results: Cache[Found] = Cache(4096)
_interned: Cache[Settings] = Cache(4096)
_UNKNOWN = object()  # the key of a setting that cannot be compared


class _Uncacheable(Exception):
    """A result that depends on more than can be compared."""


def call_key(
    node: Node, lane: Mapping[Ref, Any] | None = None, settings: Settings | None = None
) -> Any:
    """Return what the shapes of a call's result depend on, or `None` where that is not known.

    Args:
        node: the call.
        lane: what stands for each symbolic value; `None` for the main lanes.
        settings: those that a module has now, if they are known.
    """
    target, kwargs = node.target, node.kwargs
    try:
        if node.op == "module":
            target = _module_key(target, settings or settings_of(target))
        elif torch_name(target) is None:
            return None
        named = _key(kwargs, lane) if kwargs else None
        return (target, _key(node.args, lane), named, node.autocast)
    except _Uncacheable:
        return None


def _key(value: Any, lane: Mapping[Ref, Any] | None = None) -> Any:
    """Key an argument of a call, or a setting of a module."""
    kind = type(value)
    if kind is Ref:
        if type(value.spec) is DataSpec:
            return _key(value.spec.example if lane is None else lane[value])
        return value.spec.key if lane is None else (lane[value], getattr(value.spec, "dtype", None))
    if kind in _PLAIN_TYPES:
        return (kind, value)
    if kind is tuple or kind is list:
        return (kind, *[_key(item, lane) for item in value])
    if kind is dict:
        return (kind, *[(key, _key(item, lane)) for key, item in value.items()])
    if kind is slice:
        return (kind, _key((value.start, value.stop, value.step), lane))
    raise _Uncacheable


def settings_of(module: nn.Module) -> Settings:
    """Return the attributes of a module that are neither tensors nor modules, by name.

    Those of other classes than torch's, which may be large, only in `remembering`; else `()`.
    """
    kind = type(module)
    if _period.now is None and not (kind.__module__.startswith("torch.nn.") or says_plain(kind)):
        return ()
    attributes = module.__dict__
    found = [(n, _setting_key(v)) for n, v in attributes.items() if n not in _BOOKKEEPING]
    settings = (*found,)
    if (same := _interned.get(settings)) is not None:
        return same
    _interned[settings] = settings
    return settings


def changed_setting(before: Settings, now: Settings) -> str | None:
    """Return the name of a number, text or such that differs; `None` if there is none.

    The mode and private notes, such as those of FSDP2, are no settings.
    """
    earlier = dict(before)
    for name, key in now:
        public = name != "training" and not name.startswith("_")
        if public and key is not _UNKNOWN and key != earlier.get(name, key):
            return name
    return None


def _setting_key(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN_TYPES:
        return (kind, value)
    if kind is nn.Parameter or kind is Tensor:
        return (kind, value.shape, value.dtype)
    if kind is weakref.ReferenceType:  # recurrent modules hold their weights so, a second time
        return None
    if callable(value) and torch_name(value) is not None:
        return value
    try:
        return _key(value)
    except _Uncacheable:
        return _UNKNOWN


def _module_key(module: nn.Module, settings: Settings) -> Any:
    """Key a module of `torch.nn` by its class, its attributes, and those of its children."""
    kind = type(module)
    if kind.__module__.startswith("torch.nn.modules.") or says_plain(kind):
        period = None
    elif (period := _period.now) is None:
        raise _Uncacheable
    attributes = module.__dict__
    tensors = [
        (name, _setting_key(value))
        for group in ("_parameters", "_buffers")
        for name, value in attributes[group].items()
    ]
    for _, key in (*settings, *tensors):
        if key is _UNKNOWN:
            raise _Uncacheable
    children = [
        (name, None if child is None else _module_key(child, settings_of(child)))
        for name, child in attributes["_modules"].items()
    ]
    return (kind, period, settings, (*tensors,), (*children,))


class _Period(threading.local):
    """The time during which own classes of modules are taken to do the same for same settings."""

    now: object = None


_period = _Period()


@contextmanager
def remembering() -> Iterator[None]:
    """Remember results of modules of all classes, not only torch's, until the context ends."""
    outer, _period.now = _period.now, object()
    try:
        yield
    finally:
        _period.now = outer
