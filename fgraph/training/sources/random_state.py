"""The states of all random generators, in plain containers."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from ...common.process_group import agreed, world_size


def get_random_state(cuda: bool = True) -> dict[str, Any]:
    """Return the states of torch's, numpy's and Python's global generators.

    Args:
        cuda: whether to return those of CUDA devices too.
    """
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [
            kind,
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            position,
            has_gauss,
            cached,
        ],
        "python": random.getstate(),
    }
    if cuda and torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the states returned by `get_random_state`, for the CUDA devices that exist."""
    torch.set_rng_state(state["torch"])
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])


class SharedRandom:
    """Context manager: all processes draw the same random numbers for data, but not for models.

    On entry, the global generators of the host continue from their state at the last exit, at first
    from the state of the first process. In one process it does nothing.

    Attributes:
        state: the state of the generators, `None` before the first use.
    """

    def __init__(self) -> None:
        self.state: dict[str, Any] | None = None
        self._began: dict[str, Any] | None = None

    def __enter__(self) -> None:
        if world_size() == 1:
            return
        self._outside = get_random_state(cuda=False)
        if self.state is None:
            self.state = agreed(self._outside)
            self._began = self.state
        set_random_state(self.state)

    def __exit__(self, *_: object) -> None:
        if world_size() > 1:
            self.state = get_random_state(cuda=False)
            set_random_state(self._outside)

    def restore(self, state: dict[str, Any] | None) -> None:
        """Restore a saved state; a single process draws everything from the global generators."""
        self.state = state
        if state is not None and world_size() == 1:
            set_random_state(state)
            self.state = None

    def release(self) -> None:
        """Continue the global generators from here, if nothing else has drawn from them.

        So the next run draws different numbers, the same ones as a single process.
        """
        if self.state is None or self._began is None:
            return
        now = get_random_state(cuda=False)
        for name, state in now.items():
            if _equal(state, self._began[name]):
                now[name] = self.state[name]
        set_random_state(now)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)
