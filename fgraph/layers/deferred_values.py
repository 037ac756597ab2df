"""Building layers without initial values, to be filled from a file before anything reads them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

# called with a layer and what builds its module
Filler = Callable[[Any, Callable[[], nn.Module | None]], nn.Module | None]
_state = threading.local()


def filler() -> Filler | None:
    """Return what builds modules in this thread instead of initializers, or `None`."""
    found: Filler | None = getattr(_state, "filler", None)
    return found


@contextmanager
def filled_by(given: Filler | None) -> Iterator[None]:
    """Use `given` to build the modules of layers inside a `with` block."""
    before, _state.filler = filler(), given
    try:
        yield
    finally:
        _state.filler = before
