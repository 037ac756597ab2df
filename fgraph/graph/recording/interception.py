"""Interception of module calls and autograd functions, only while something symbolic is alive.

All symbolic values hold the same token. Creating the first one replaces `nn.Module.__call__`; when
the last one dies, the token dies with it and torch is restored. Reference counting is all the
bookkeeping, so it works in any thread and during garbage collection.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import types
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch.utils.checkpoint
from torch import nn
from torch.autograd.function import Function, _SingleLevelFunction
from torch.nn.utils import stateless

from ...errors import BuildError
from ..modes import entering, leaving
from ..module_copies import has_own_call
from ..nested import is_container, iter_leaves

_MISSING = object()
# where `apply` hands over to C++: `Function.apply` itself since torch 2.15
_AppliesInC: Any = (
    Function
    if isinstance(Function.__dict__["apply"], types.ClassMethodDescriptorType)
    else _SingleLevelFunction
)
# what torch's checkpoint keeps its arguments with, up to torch 2.9: not a step of the program
_SAVES_INPUTS = getattr(torch.utils.checkpoint, "_NoopSaveInputs", None)
_SWAPS_TENSORS = stateless._functional_call.__code__
_SUSPENDABLE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def refuse_autograd_forward() -> None:
    """Refuse to record inside the forward of an autograd function, whose backward would be lost.

    It is reached since torch 2.15 by an `apply` that was looked up before anything symbolic lived.

    Raises:
        BuildError: always inside of such a forward.
    """
    if torch.is_grad_enabled():  # torch switches it off in there
        return
    frame = sys._getframe(1)
    while frame := frame.f_back:  # type: ignore[assignment]
        if frame.f_code.co_name == "forward" and (cls := _autograd_function(frame.f_code)):
            raise BuildError(
                f"{cls.__name__}.apply was looked up before the graph was built, so torch runs "
                f"its forward directly: write `{cls.__name__}.apply(...)` where it is called, or "
                "`fgraph.apply(function, ...)`"
            )


def _autograd_function(code: types.CodeType) -> type | None:
    waiting: list[type] = [Function]
    while waiting:
        cls = waiting.pop()
        if getattr(getattr(cls, "forward", None), "__code__", None) is code and cls is not Function:
            return cls
        waiting += cls.__subclasses__()
    return None


class _Token:
    """Held by every symbolic value; the interceptor has a weak reference to it."""

    __slots__ = ("__weakref__",)


class Interception:
    """Hand calls that have a symbolic argument to `record`, as long as a token is held.

    `nn.Module.__call__` is replaced, and `nn.Module._call_impl` below it, which is reached as well
    where another package has replaced `__call__` meanwhile. `torch.autograd.Function.apply` is
    intercepted where it hands over to C++, so that an `apply` looked up earlier is seen, too.
    Entering and leaving `torch.enable_grad` is noted, since torch cannot be asked for it.

    Args:
        symbolic: the classes of symbolic values.
        record: called as `record(op, target, args, kwargs, name=None)` in place of the target.
    """

    def __init__(
        self,
        symbolic: tuple[type, ...],
        record: Callable[..., Any],
    ) -> None:
        self._symbolic = symbolic
        self._record = record
        self._lock = threading.RLock()  # a dying token may call back inside hold()
        self._token: weakref.ref[_Token] | None = None
        self._replaced: dict[tuple[type, str], tuple[Any, Any]] = {}  # ours, and what was there
        self._failures: list[weakref.ref[BaseException]] = []

    def hold(self) -> _Token:
        """Return the token, intercepting calls from now until nobody holds it."""
        token = self._token() if self._token is not None else None
        if token is None:
            with self._lock:
                token = self._token() if self._token is not None else None
                if token is None:
                    token = _Token()
                    self._token = weakref.ref(token, self._release)
                    self._install()
        return token

    @property
    def is_on(self) -> bool:
        """Whether calls are intercepted now."""
        return self._token is not None

    def _install(self) -> None:
        for name in ("__call__", "_call_impl"):
            self._replace(nn.Module, name, self._module_call)
        self._replace(_AppliesInC, "apply", self._autograd_apply)
        self._replace(torch.enable_grad, "__enter__", entering)
        self._replace(torch.enable_grad, "__exit__", leaving)

    def _replace(self, owner: type, name: str, make: Callable[[Any], Any]) -> None:
        ours, _ = self._replaced.get((owner, name), (None, None))
        now = owner.__dict__.get(name, _MISSING)
        if ours is None or now is not ours:
            ours = make(now)
            self._replaced[owner, name] = ours, now
            setattr(owner, name, ours)

    def _module_call(self, original: Any) -> Any:
        has_symbolic, record, symbolic = self.has_symbolic, self._record, self._symbolic

        def __call__(self: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
            if "_traced_module" in self.__dict__:  # a copy that `unfold` runs
                return self.__dict__["_traced_module"].called(args, kwargs)
            for value in args:
                if isinstance(value, symbolic) or (is_container(value) and has_symbolic(value)):
                    break
            else:
                if not kwargs or not has_symbolic(kwargs):
                    return original(self, *args, **kwargs)
            kind = type(self).__name__
            if sys._getframe(1).f_code is _SWAPS_TENSORS:
                raise TypeError(
                    f"functional_call lends {kind} other tensors for one call, which a graph would "
                    "not see: write `fgraph.apply(torch.func.functional_call, module, tensors, "
                    "(x,))`"
                )
            if has_own_call(type(self)):
                raise TypeError(
                    f"{kind} has a __call__ of its own, which a graph would run now and again at "
                    f"each call of the model: write `fgraph.apply(module, ...)` to record the call "
                    "as a whole, or move what it does into forward"
                )
            if "name" in kwargs and not _takes_name(type(self).forward):
                return record("module", self, args, kwargs, name=kwargs.pop("name"))
            return record("module", self, args, kwargs)

        return __call__

    def _autograd_apply(self, original: Any) -> Any:
        has_symbolic, record = self.has_symbolic, self._record

        def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
            if has_symbolic(args) or (kwargs and has_symbolic(kwargs)):
                if cls is not _SAVES_INPUTS:
                    return record("function", cls.apply, args, kwargs)
            return super(_AppliesInC, cls).apply(*args, **kwargs)  # type: ignore[misc]

        return classmethod(apply)

    def _release(self, token: weakref.ref[_Token]) -> None:
        with self._lock:
            if self._token is not token:
                return  # a new token was made meanwhile
            self._token = None
            for (owner, name), (ours, original) in list(self._replaced.items()):
                # where somebody has wrapped our function since, it stays and passes calls through
                now = owner.__dict__.get(name)
                if now is not ours and type(now) is not _Unsettled:
                    continue
                if original is _MISSING:
                    delattr(owner, name)
                else:
                    setattr(owner, name, original)
                del self._replaced[owner, name]

    def underneath(self, name: str) -> Any:
        """Return what `nn.Module` has under this name, but for this interception."""
        now = nn.Module.__dict__[name]
        ours, original = self._replaced.get((nn.Module, name), (None, None))
        return original if now is ours or type(now) is _Unsettled else now

    def has_symbolic(self, value: Any) -> bool:
        """Whether a symbolic value is anywhere in the nested `value`."""
        return any(isinstance(leaf, self._symbolic) for leaf in iter_leaves(value))

    # ------------------------------------------------------------------ failed builds

    def failed(self, error: BaseException) -> None:
        """Remember an error that may end the building of a graph.

        An error that is kept keeps its traceback, and with it the local variables of all its
        frames, including symbolic values. They are cleared when `nn.Module.__call__` is next looked
        up.
        """
        if self._token is not None:
            self._failures.append(weakref.ref(error))
            setattr(nn.Module, "__call__", _Unsettled(self))  # noqa: B010 - a descriptor

    def settle(self) -> Any:
        """Drop the variables of frames that errors have ended; return `nn.Module.__call__`."""
        place = nn.Module, "__call__"
        errors = [error for made in self._failures if (error := made()) is not None]
        self._failures = [weakref.ref(e) for e in errors if not _cleared(e.__traceback__)]
        if place in self._replaced:  # else that was all that held the token, and torch is restored
            ours, _ = self._replaced[place]
            if self._failures:
                return ours  # asked again at the next call; replacing a method is slow
            nn.Module.__call__ = ours  # type: ignore[method-assign]
        return nn.Module.__call__


class _Unsettled:
    """Stands in for `nn.Module.__call__` after an error, and settles it when it is looked up."""

    def __init__(self, interception: Interception) -> None:
        self._interception = interception

    def __get__(self, module: nn.Module | None, kind: type[nn.Module]) -> Any:
        return self._interception.settle().__get__(module, kind)


def _cleared(traceback: TracebackType | None) -> bool:
    """Clear the variables of the frames of a traceback; return `False` if one still runs."""
    ended = True
    while traceback is not None:
        frame, traceback = traceback.tb_frame, traceback.tb_next
        if not frame.f_code.co_flags & _SUSPENDABLE:
            try:
                frame.clear()
            except RuntimeError:
                ended = False
    return ended


@functools.lru_cache(maxsize=256)
def _takes_name(forward: Callable[..., Any]) -> bool:
    """Whether `name=` is an argument of a forward, and not the name of the call in the graph."""
    try:
        parameters = inspect.signature(forward).parameters
    except (TypeError, ValueError):
        return True
    return "name" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
