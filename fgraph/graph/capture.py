"""Interception of `nn.Module.__call__`, only while something symbolic is alive.

Every symbolic value holds the same token. The first one made replaces `nn.Module.__call__`; when
the last one dies the token dies with it, and torch is put back as it was. Reference counting is
the whole bookkeeping, so it is right in any thread and in the garbage collector.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from torch import nn

from .nested import is_container, iter_leaves


class _Token:
    """Held by every symbolic value; weakly referenced by the interceptor."""

    __slots__ = ("__weakref__",)


class ModuleCalls:
    """Hands module calls that have a symbolic argument to `record`, while a token is held.

    Args:
        symbolic: the class of symbolic values.
        record: called as `record(module, args, kwargs)` in place of the module.
    """

    def __init__(
        self, symbolic: type, record: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]
    ) -> None:
        self._symbolic = symbolic
        self._record = record
        self._lock = threading.RLock()  # a dying token may call back inside hold()
        self._token: weakref.ref[_Token] | None = None
        self._installed: Any = None
        self._original: Any = None

    def hold(self) -> _Token:
        """Return the token, intercepting module calls from now until nobody holds it."""
        token = self._token() if self._token is not None else None
        if token is None:
            with self._lock:
                token = self._token() if self._token is not None else None
                if token is None:
                    token = _Token()
                    self._token = weakref.ref(token, self._release)
                    self._install()
        return token

    def _install(self) -> None:
        if self._installed is not None and nn.Module.__call__ is self._installed:
            return
        original = self._original = nn.Module.__call__
        has_symbolic, record, symbolic = self.has_symbolic, self._record, self._symbolic

        def __call__(self: nn.Module, /, *args: Any, **kwargs: Any) -> Any:
            for value in args:
                if isinstance(value, symbolic) or (is_container(value) and has_symbolic(value)):
                    return record(self, args, kwargs)
            if kwargs and has_symbolic(kwargs):
                return record(self, args, kwargs)
            return original(self, *args, **kwargs)

        self._installed = nn.Module.__call__ = __call__  # type: ignore[method-assign]

    def _release(self, token: weakref.ref[_Token]) -> None:
        with self._lock:
            if self._token is not token:
                return  # a new token was made meanwhile
            self._token = None
            # where somebody has wrapped our function since, it stays and passes calls through
            if nn.Module.__call__ is self._installed:
                nn.Module.__call__ = self._original  # type: ignore[method-assign]
                self._installed = None

    @property
    def underneath(self) -> Any:
        """What `nn.Module.__call__` is, but for this interception."""
        call: Any = nn.Module.__call__
        return self._original if call is self._installed else call

    def has_symbolic(self, value: Any) -> bool:
        """Whether a symbolic value is anywhere in the nested `value`."""
        return any(isinstance(leaf, self._symbolic) for leaf in iter_leaves(value))
