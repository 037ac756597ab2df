"""What a forward does beside returning something: changes in place, and random numbers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from torch.overrides import TorchFunctionMode

from ..errors import SymbolicError
from ..graph.meta import is_inferring
from ..graph.nested import iter_leaves
from ..graph.record import Symbol, record_function
from ..graph.torch_functions import DRAWS


class SavedHandles:
    """What the handles among the arguments of a call stand for, to undo in-place operations."""

    def __init__(self, arguments: Any) -> None:
        self._kept: list[tuple[Any, ...]] = []
        for leaf in iter_leaves(arguments):
            if isinstance(leaf, Symbol):
                memory = leaf._memory and leaf._memory.whole()
                state = memory and (list(memory.changes), memory.real, memory._of_several)
                self._kept.append((leaf, leaf.ref, leaf._memory, leaf._seen, memory, state))

    def restore(self) -> None:
        """Let all handles stand for what they stood for before."""
        for handle, ref, held, seen, memory, state in self._kept:
            handle._ref, handle._memory, handle._seen = ref, held, seen
            if memory is not None:
                memory.changes, memory.real, memory._of_several = state
                memory._joined = None


class OtherDraws:
    """Notices random numbers of numpy and of Python, which would be constants; undoes the draws."""

    def __enter__(self) -> OtherDraws:
        self._before = self._states()
        return self

    @staticmethod
    def _states() -> tuple[Any, Any]:
        return random.getstate(), np.random.get_state()

    def _are_drawn(self) -> bool:
        (python, ours), (now, theirs) = self._before, self._states()
        return python != now or ours[2] != theirs[2] or not np.array_equal(ours[1], theirs[1])

    def check(self) -> None:
        """Raise an error where a number was drawn."""
        if self._are_drawn():
            raise SymbolicError(
                "it draws random numbers of numpy or Python, which would be the same in all calls"
            )

    def __exit__(self, *error: object) -> None:
        if self._are_drawn():
            random.setstate(self._before[0])
            np.random.set_state(self._before[1])


class RecordDraws(TorchFunctionMode):
    """Records functions that draw random numbers of nothing symbolic: anew at each call."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if is_inferring() or getattr(func, "__name__", "") not in DRAWS:
            return func(*args, **(kwargs or {}))
        return record_function(func, args, kwargs or {})
