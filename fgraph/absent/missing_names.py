"""Errors for names that a public module does not have: they say what to write instead."""

from __future__ import annotations

import opcode
import sys
from collections.abc import Callable, Mapping
from types import FrameType, ModuleType
from typing import Any

from ..errors import close_names


def missing_names(module: str, instead: Mapping[str, Any]) -> Callable[[str], ModuleType]:
    """Return a `__getattr__` for a public module that explains the names it does not have.

    Keep it from type checkers, for which a module with `__getattr__` has every name:
    `if not TYPE_CHECKING: __getattr__ = missing_names(__name__, {...})`.

    Args:
        module: the module's `__name__`.
        instead: for each name that Keras has and the module does not, what to write instead; for
            the name of a module, a table of its names; for a module that is loaded on first use,
            a function that loads and returns it.

    Returns:
        A function that raises `AttributeError`, or `ImportError` for `from module import name`,
        whose text says what to write instead or suggests similar names.
    """
    inner = {name: names for name, names in instead.items() if isinstance(names, Mapping)}
    modules = {name: _empty_module(f"{module}.{name}", names) for name, names in inner.items()}

    def __getattr__(name: str) -> ModuleType:
        if name in modules:
            return modules[name]
        if callable(load := instead.get(name)):
            loaded: ModuleType = load()
            return loaded
        text = f"{module} has no {name!r}"
        if name in instead:
            text += f": {instead[name]}"
        elif not name.startswith("_"):
            present = [
                key
                for key, value in vars(sys.modules[module]).items()
                if not key.startswith("_") and not isinstance(value, ModuleType)
            ]
            close = close_names(name, present or instead)
            text += close and f"; {close}"
        # `from module import name` replaces the text of an AttributeError by its own
        raise (ImportError if _is_import(sys._getframe(1)) else AttributeError)(text)

    return __getattr__


def _empty_module(name: str, instead: Mapping[str, Any]) -> ModuleType:
    """Make a module of which there are only names to explain, and let it be imported."""
    made = sys.modules[name] = ModuleType(name, "Keras has these names; torch has its own.")
    made.__dict__["__getattr__"] = missing_names(name, instead)
    return made


def _is_import(frame: FrameType) -> bool:
    """Return whether a frame is executing `from ... import ...`."""
    return frame.f_code.co_code[frame.f_lasti] == opcode.opmap["IMPORT_FROM"]
