"""Side effects of a forward: changes in place, and random numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import SymbolicError
from ..graph.inference.run_on_meta import is_inferring
from ..graph.module_copies import is_uninitialised
from ..graph.nested import iter_leaves
from ..graph.node import Node
from ..graph.recording.function_calls import record_function
from ..graph.recording.record import Symbol
from ..graph.torch_functions import DRAWS


class SavedHandles:
    """The values of handles among the arguments of a call, to undo in-place operations.

    What was read of these values is undone as well, so a forward that is given up leaves nothing.
    """

    def __init__(self, arguments: Any) -> None:
        self._kept: list[tuple[Any, ...]] = []
        self._reads: dict[Node, dict[Any, None]] = {}  # of inputs: what was read of their values
        for leaf in iter_leaves(arguments):
            if isinstance(leaf, Symbol):
                memory = leaf._memory and leaf._memory.whole()
                state = memory and (list(memory.changes), memory.real, memory._of_several)
                self._kept.append((leaf, leaf.ref, leaf._memory, leaf._seen, memory, state))
                node = leaf.ref.node
                self._reads |= {of: dict(of.reads or {}) for of in node.sources or (node,)}

    def restore(self) -> None:
        """Restore the values of all handles."""
        for handle, ref, held, seen, memory, state in self._kept:
            handle._ref, handle._memory, handle._seen = ref, held, seen
            if memory is not None:
                memory.changes, memory.real, memory._of_several = state
                memory._joined = None
        for node, reads in self._reads.items():
            node.reads = dict(reads) or None


class OtherDraws:
    """Detects random draws that are not recorded, which would become constants, and seeding; undoes
    them.

    Args:
        of_torch: whether to watch torch's generators, besides those of numpy and Python. Functions
            that are known to draw are recorded; others, and seeding, are not.
    """

    def __init__(self, of_torch: bool) -> None:
        self._of_torch = of_torch

    def __enter__(self) -> OtherDraws:
        self._before: tuple[Any, Any] = random.getstate(), np.random.get_state()
        self._seed = torch.get_rng_state() if self._of_torch else None
        return self

    def _are_drawn(self) -> bool:
        python, ours = self._before
        theirs: Any = np.random.get_state()
        return (
            python != random.getstate()
            or ours[2] != theirs[2]
            or not np.array_equal(ours[1], theirs[1])
        )

    def _is_seeded(self) -> bool:
        now = torch.get_rng_state()
        return self._seed is not None and not np.array_equal(self._seed.numpy(), now.numpy())

    def check(self) -> None:
        """Raise an error where a number was drawn."""
        if self._are_drawn():
            raise SymbolicError(
                "it draws random numbers of numpy or Python, which would be the same in all calls"
            )
        if self._is_seeded():
            raise SymbolicError(
                "it seeds torch, or draws random numbers by a function that is not recorded: they "
                "would be the same in all calls"
            )

    def __exit__(self, *error: object) -> None:
        if self._are_drawn():
            random.setstate(self._before[0])
            np.random.set_state(self._before[1])
        if self._is_seeded():
            torch.set_rng_state(cast(Tensor, self._seed))


class RecordDraws(TorchFunctionMode):
    """Records functions that draw random numbers without symbolic arguments, so that each call
    draws.

    Args:
        module: the module that is unfolded.

    Attributes:
        all_recorded: whether nothing else draws, such as lazy modules before their first call.
        tables: whether to record also tensors that are made to be filled. Otherwise they are
            constants, like everything computed from them.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.all_recorded = not any(map(is_uninitialised, module.modules()))
        self.tables = False

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if is_inferring() or not (name in DRAWS or (self.tables and name in _TABLES)):
            return func(*args, **kwargs)
        if kwargs.get("generator") is not None:
            raise SymbolicError(
                "it draws from a generator, which a graph would not seed or keep as a forward does"
            )
        return record_function(func, args, kwargs)

    @contextmanager
    def with_tables(self) -> Iterator[None]:
        """Context manager: record tensors that are made to be filled."""
        outer, self.tables = self.tables, True
        try:
            yield
        finally:
            self.tables = outer


_TABLES = frozenset({"empty", "full", "ones", "zeros"})
