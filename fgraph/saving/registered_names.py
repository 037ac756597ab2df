"""The names that files may contain: a closed list, and names that users register."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..errors import LoadError, SaveError
from ..unfolding import opened_module  # noqa: F401 - one that the list names

T = TypeVar("T")

_by_name: dict[str, Any] = {}
_names: dict[int, str] = {}


def register(name: str) -> Callable[[T], T]:
    """Register a class or function under a name for files; a decorator.

    Args:
        name: `"package>Name"`, unique over all packages.

    Returns:
        The decorator; it returns its argument.

    Raises:
        ValueError: the name has another form, or belongs to something else.
        TypeError: the decorated object is neither a class nor a function.

    Example:
        >>> @register("docs>double")
        ... def double(x):
        ...     return 2 * x
    """
    package, mark, last = name.partition(">") if isinstance(name, str) else ("", "", "")
    if not (package and mark and last):
        raise ValueError(f"register expects a name such as 'package>Name', got {name!r}")

    def decorate(target: T) -> T:
        if not callable(target):
            raise TypeError(f"register({name!r}) expects a class or a function, got {target!r}")
        before = _by_name.get(name)
        # running a notebook cell again defines the same name again
        if before is not None and _place(before) != _place(target):
            raise ValueError(f"the name {name!r} is already registered for {before!r}")
        _by_name[name] = target
        _names[id(target)] = name
        return target

    return decorate


def registered(name: str) -> Any:
    """Return the object registered under a name, `None` if there is none."""
    return _by_name.get(name)


def _place(target: Any) -> tuple[str, str]:
    return getattr(target, "__module__", ""), getattr(target, "__qualname__", "")


@functools.cache
def allowed_names() -> dict[str, Any]:
    """Return the classes and functions of `allowed_names.txt` that exist here, by full name."""
    found: dict[str, Any] = {}
    section, space = "", None
    for line in Path(__file__).with_name("allowed_names.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
            space = torch.Tensor if section == "torch.Tensor" else sys.modules[section]
        elif not line.startswith("#"):  # other releases of torch have other functions
            known = [name for name in line.split() if hasattr(space, name)]
            found |= {f"{section}.{name}": getattr(space, name) for name in known}
    return found


@functools.cache
def _allowed_targets() -> dict[Any, str]:
    return {target: name for name, target in reversed(allowed_names().items())}


def is_allowed(target: Any) -> bool:
    """Return whether a class or function is on the closed list."""
    try:
        return target in _allowed_targets()
    except TypeError:  # not hashable
        return False


def registered_name(target: Any) -> str | None:
    """Return the name that `target` was registered under."""
    name = _names.get(id(target))
    return name if name is not None and _by_name.get(name) is target else None


def name_of(target: Any) -> str:
    """Return the name of a class or function in a file.

    That is its registered name, its name on the closed list, or else its own name, which must then
    be in `custom_objects`.

    Raises:
        SaveError: it has none, like a lambda, or belongs to torch or this package and is not on the
            closed list.
    """
    name = registered_name(target) or (_allowed_targets()[target] if is_allowed(target) else None)
    if name is not None:
        return name
    module, own = _place(target)
    advice = f'use one of your own, decorated with @fgraph.register("package>{own or "name"}")'
    if (module or "builtins").partition(".")[0] in {"torch", "fgraph", "builtins", "_operator"}:
        full = f"{module}.{own}".removeprefix("builtins.") if own else repr(target)
        raise SaveError(f"{full} is not among the names that a file may hold: {advice}")
    name = getattr(target, "__name__", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise SaveError(f"{target!r} has no name that a file could hold: {advice}")
    return name


def find(name: Any, custom: Mapping[str, Any] | None = None) -> Any:
    """Return the class or function that a file names.

    Args:
        name: the result of `name_of`.
        custom: classes and functions by name, which take precedence over registered ones.

    Raises:
        LoadError: the name is not known.
    """
    for known in (custom or {}, _by_name, allowed_names()):
        if name in known:
            return known[name]
    if str(name).partition(".")[0] in ("torch", "operator", "fgraph"):
        raise LoadError(
            f"it names {name!r}, which a file may not hold or this version does not have (torch "
            f"{torch.__version__})"
        )
    raise LoadError(
        f"it needs {name!r}, which is not known here: pass custom_objects={{{name!r}: ...}}, or "
        'decorate it with @fgraph.register("package>Name") before saving'
    )
