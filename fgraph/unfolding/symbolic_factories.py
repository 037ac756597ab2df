"""torch's factories with symbolic sizes, while a module is unfolded.

torch's argument parsers require the first of several sizes to be a number: `torch.zeros(n, 8)`
fails before a symbolic `n` can intervene, and so does `torch.tensor(n)`. Code that builds a graph
can write `torch.zeros((n, 8))`, but existing modules cannot be changed. So while a forward is
recorded, these functions are replaced in the namespace of torch. Calls without symbolic arguments,
including those of other threads, are passed through.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..graph.recording.function_calls import record_function
from ..graph.recording.record import module_calls

_NAMES = ("empty", "eye", "ones", "rand", "randint", "randn", "randperm", "tensor", "zeros")
_SIZES_ALONE = frozenset({"empty", "ones", "rand", "randn", "zeros"})  # by position
_lock = threading.Lock()
_originals: dict[str, Any] = {}
_users = 0


@contextmanager
def symbolic_factories() -> Iterator[None]:
    """Let torch's factories take symbolic sizes, until the context has ended in all threads."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            for name in _NAMES:
                _originals[name] = getattr(torch, name)
                setattr(torch, name, _Factory(_originals[name]))
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                for name, original in _originals.items():
                    setattr(torch, name, original)


class _Factory:
    """Calls a factory, or records the call; takes the factory's place in sets and dictionaries.

    It may end up in tables of functions that outlive the context.
    """

    def __init__(self, original: Callable[..., Any]) -> None:
        functools.update_wrapper(self, original)
        self._original = original
        self._sizes_alone = original.__name__ in _SIZES_ALONE

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if module_calls.has_symbolic((args, kwargs)):
            if self._sizes_alone and args and not isinstance(args[0], (tuple, list)):
                args = (args,)  # the form that tracers of torch take, too
            return record_function(self._original, args, kwargs)
        return self._original(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return other is self or other == self._original

    def __hash__(self) -> int:
        return hash(self._original)
