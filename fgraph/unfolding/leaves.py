"""Which parts of an unfolded module stay leaves, and warnings about them."""

from __future__ import annotations

import fnmatch
import traceback
import warnings
from collections.abc import Callable

import torch
from torch import nn

from ..errors import BuildError, SymbolicError
from ..graph.recording.record import RealChange

Leaf = Callable[[nn.Module], bool] | type | str
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Leaves:
    """The rules for leaves, and the parts that had to be kept as leaves so far.

    Args:
        rules: classes, patterns of qualified names, or functions of the module.
        strict: whether to raise an error instead of keeping a part as a leaf.
    """

    def __init__(self, rules: tuple[Leaf, ...], strict: bool) -> None:
        self.strict = strict
        self._rules = rules
        self._kept: dict[tuple[str, str], tuple[str, list[str]]] = {}  # text and names of parts

    def why_kept(self, module: nn.Module, name: str) -> str | None:
        """Return why a module is not unfolded: `""` for a rule, `None` if it is unfolded."""
        for rule in self._rules:
            if isinstance(rule, str):
                found = fnmatch.fnmatchcase(name, rule)
            elif isinstance(rule, type):
                found = isinstance(module, rule)
            else:
                found = bool(rule(module))
            if found:
                return ""
        if is_of_torch(module):
            return ""
        if any(getattr(module, hook) for hook in _HOOKS):
            return "it has hooks"
        if module._compiled_call_impl is not None or "forward" in module.__dict__:
            return "it is compiled, or its forward is replaced"
        return None

    def add(self, module: nn.Module, name: str, error: Exception) -> None:
        """Keep a part as a leaf because of an error; raise the error if `strict`."""
        kind, where = type(module).__qualname__, origin(error)
        is_told = isinstance(error, (SymbolicError, RealChange))
        what = "" if is_told else f"{type(error).__name__}: "
        text = f"unfold: {kind} is kept as a leaf, {what}{error}{where}: "
        if self.strict:
            raise BuildError(f"{text}{name or 'the module itself'!r}") from error
        _, names = self._kept.setdefault((kind, where), (text, []))
        names.append(name or "the module itself")

    def restart(self, warning: str = "") -> None:
        """Drop the parts so far, and warn of something else instead."""
        self._kept = {("", ""): (warning, [])} if warning else {}

    def warn(self) -> None:
        """Warn of the parts that are kept as leaves, once for each reason."""
        for text, names in self._kept.values():
            more = f", and {len(names) - 3} more" if len(names) > 3 else ""
            warnings.warn(text + ", ".join(map(repr, names[:3])) + more, stacklevel=3)


def is_of_torch(module: nn.Module) -> bool:
    """Return whether a module is torch's own, and not a container."""
    if isinstance(module, torch.jit.ScriptModule):
        return True
    for kind in type(module).__mro__:
        if "forward" in kind.__dict__:
            return kind.__module__.startswith("torch.") and kind is not nn.Sequential
    return True


def origin(error: BaseException) -> str:
    """Return the line of the user's code, or of the module's, that an error comes from."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = frame.filename.replace("\\", "/")
        if "/fgraph/" not in file and "/torch/" not in file:
            return f", at {frame.filename}:{frame.lineno} ({frame.line})"
    return ""
