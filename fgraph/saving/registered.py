"""The names under which classes and functions are written in files."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from ..errors import LoadError, SaveError
from ..model import Model, Sequential
from .functions import find_function, known_function

T = TypeVar("T")

_by_name: dict[str, Any] = {}
_names: dict[int, str] = {}

# where this package keeps what may be part of a model; nothing else of it may be named
_OWN_PARTS = re.compile(
    r"fgraph\.(layers|losses|metrics|optimizers|initializers|regularizers|constraints|activations"
    r"|graph\.memory)"
    r"(\.\w+)*"
)
_OWN_NAME = re.compile(r"fgraph(\.\w+)*:[A-Za-z_]\w*")


def register(name: str) -> Callable[[T], T]:
    """Give a class or function the name under which files hold it: a decorator.

    Args:
        name: `"package>Name"`, unique over all packages that a file may meet.

    Returns:
        The decorator; it returns what it is given.

    Raises:
        ValueError: the name has another form, or belongs to something else.
        TypeError: what is decorated is neither a class nor a function.

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
        # a notebook cell that runs again defines the same thing again
        if before is not None and _place(before) != _place(target):
            raise ValueError(f"the name {name!r} is already registered for {before!r}")
        _by_name[name] = target
        _names[id(target)] = name
        return target

    return decorate


def _place(target: Any) -> tuple[str, str]:
    return getattr(target, "__module__", ""), getattr(target, "__qualname__", "")


def registered_name(target: Any) -> str | None:
    """Return the name that `target` was registered under."""
    name = _names.get(id(target))
    return name if name is not None and _by_name.get(name) is target else None


def name_of(target: Any) -> str:
    """Return the name of a class or function in a file.

    Raises:
        SaveError: it has none, as a lambda or a function defined within another one's call.
    """
    name = registered_name(target) or known_function(target) or _package_name(target)
    if name is not None:
        return name
    own = getattr(target, "__name__", None)
    if own is None or not own.isidentifier():
        raise SaveError(
            f"{target!r} has no name that a file could hold: define it with `def` or `class`, and "
            'decorate it with @fgraph.register("package>Name")'
        )
    return str(own)


def _package_name(target: Any) -> str | None:
    """Return the name of a public class of torch, or of a part of this package."""
    module, name = _place(target)
    if isinstance(target, type):
        for prefix, namespace in _NAMESPACES.items():
            if getattr(namespace, name, None) is target and _is_library_class(target):
                return f"{prefix}.{name}"
    if module == "fgraph.model.model" or module == "fgraph.model.sequential":
        return f"fgraph.{name}"
    if _OWN_PARTS.fullmatch(module) and name.isidentifier():
        return f"{module}:{name}"
    return None


_NAMESPACES: dict[str, Any] = {
    "torch.nn": nn,
    "torch.optim": torch.optim,
    "torch.optim.lr_scheduler": torch.optim.lr_scheduler,
    "torch.return_types": torch.return_types,
}


def _is_library_class(target: Any) -> bool:
    return (
        issubclass(target, (nn.Module, torch.optim.Optimizer, tuple))
        or target.__module__ == "torch.optim.lr_scheduler"
    )


def find(name: str, custom: Mapping[str, Any] | None = None) -> Any:
    """Return the class or function that a file names.

    Args:
        name: what `name_of` gave.
        custom: classes and functions by name, which come before those registered.

    Raises:
        LoadError: the name is not known.
    """
    if custom and name in custom:
        return custom[name]
    if name in _by_name:
        return _by_name[name]
    found = _find_package_name(name)
    if found is None:
        try:
            found = find_function(name)
        except LookupError:
            raise LoadError(_unknown(name)) from None
    return found


def _find_package_name(name: str) -> Any:
    if name in ("fgraph.Model", "fgraph.Sequential"):
        return Model if name == "fgraph.Model" else Sequential
    prefix, _, last = name.rpartition(".")
    if prefix in _NAMESPACES:
        found = getattr(_NAMESPACES[prefix], last, None)
        return found if isinstance(found, type) and _is_library_class(found) else None
    module, _, last = name.partition(":")
    if _OWN_NAME.fullmatch(name) and _OWN_PARTS.fullmatch(module):
        found = getattr(sys.modules.get(module), last, None)  # the package has imported them all
        defined_there = getattr(found, "__module__", None) == module
        return found if defined_there and isinstance(found, (type, types.FunctionType)) else None
    return None


def _unknown(name: str) -> str:
    if name.startswith(("torch.", "operator.", "fgraph.")):
        return (
            f"the file needs {name!r}, which this version does not have or a model may not "
            f"contain (torch {torch.__version__})"
        )
    return (
        f"the file needs {name!r}, which is not known here: pass "
        f"custom_objects={{{name!r}: ...}}, or decorate it with "
        '@fgraph.register("package>Name") before saving'
    )
