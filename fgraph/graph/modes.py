"""Grad mode and autocast: the context managers under which a call was recorded, and is run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch

from ..errors import BuildError


class Autocast(NamedTuple):
    """The arguments of one `torch.autocast`."""

    device: str
    enabled: bool
    dtype: torch.dtype | None
    cache_enabled: bool


class Modes(NamedTuple):
    """The grad mode and autocast of a call, where they are not those of the caller.

    Attributes:
        grad: `"no_grad"`, `"inference_mode"`, `"enable_grad"`, or `""` for the caller's own mode.
        autocast: the settings of each device type; empty for the caller's own.
    """

    grad: str
    autocast: tuple[Autocast, ...]

    @property
    def without_gradients(self) -> bool:
        """Whether what is computed has no gradients."""
        return self.grad in ("no_grad", "inference_mode")

    def contexts(self) -> list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]]:
        """Return the torch context managers, each with its arguments, outermost first."""
        found: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []
        for device, enabled, dtype, cache in self.autocast:
            options: dict[str, Any] = {"dtype": dtype} if enabled else {"enabled": False}
            if not cache:
                options["cache_enabled"] = False
            found.append((torch.autocast, (device,), options))
        if self.grad:
            found.append((getattr(torch, self.grad), (), {}))
        return found


@contextmanager
def under(modes: Modes | None) -> Iterator[None]:
    """Run a block under these modes; under the caller's if `None`."""
    with ExitStack() as stack:
        for make, args, options in modes.contexts() if modes else ():
            stack.enter_context(make(*args, **options))
        yield


class _Thread(threading.local):
    """How many contexts, and which hooks, belong to the caller, not to the graph.

    Attributes:
        enabling: the `torch.enable_grad` contexts that are open and were seen to be entered.
    """

    callers_autocasts = callers_enabling = 0
    callers_hooks: Any = None

    def __init__(self) -> None:
        self.enabling: list[Any] = []


_thread = _Thread()
AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu", "hpu", "mtia", "maia")


def entering(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return `torch.enable_grad.__enter__`, but for taking note of the context."""

    def __enter__(self: Any) -> None:
        original(self)
        _thread.enabling.append(self)

    return __enter__


def leaving(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return `torch.enable_grad.__exit__`, but for forgetting the context."""

    def __exit__(self: Any, *error: Any) -> Any:
        if self in _thread.enabling:
            _thread.enabling.remove(self)
        return original(self, *error)

    return __exit__


def current_modes() -> Modes | None:
    """Return what a call that is recorded now has to run under; `None` for nothing special.

    torch reports which modes are on, not which context managers were entered; of those,
    `entering` takes note. So a call recorded after `set_grad_enabled(True)` runs in the caller's
    grad mode, and disabling autocast disables it for both the CPU and CUDA.
    """
    grad = "" if torch.is_grad_enabled() else "no_grad"
    if not grad and len(_thread.enabling) > _thread.callers_enabling:
        grad = "enable_grad"
    if torch.is_inference_mode_enabled():
        grad = "inference_mode"
    autocast = _autocast() if _autocast_depth() > _thread.callers_autocasts else ()
    return Modes(grad, autocast) if grad or autocast else None


def _autocast() -> tuple[Autocast, ...]:
    cache = torch.is_autocast_cache_enabled()
    devices = [device for device in AUTOCAST_DEVICES if torch.is_autocast_enabled(device)]
    if not devices:
        return tuple(Autocast(device, False, None, True) for device in ("cpu", "cuda"))
    return tuple(Autocast(d, True, torch.get_autocast_dtype(d), cache) for d in devices)


def autocast_now() -> tuple[Autocast, ...]:
    """Return the settings of autocast that are on; empty where it is off."""
    return _autocast() if any(map(torch.is_autocast_enabled, AUTOCAST_DEVICES)) else ()


def _autocast_depth() -> int:
    depth: int = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return depth - 1


@contextmanager
def callers_modes() -> Iterator[None]:
    """Record what happens in the block as running in the caller's modes, whatever is on now.

    For graphs that are built when a model is first run, perhaps under `torch.no_grad()`.
    """
    before = _thread.callers_autocasts, _thread.callers_hooks, _thread.callers_enabling
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        _thread.callers_autocasts, _thread.callers_hooks = _autocast_depth(), _hooks()
        _thread.callers_enabling = len(_thread.enabling)
        try:
            yield
        finally:
            _thread.callers_autocasts, _thread.callers_hooks, _thread.callers_enabling = before


def refuse_hooks() -> None:
    """Refuse to record under hooks on saved tensors, which a graph does not keep.

    Raises:
        BuildError: in `torch.utils.checkpoint.checkpoint`, `save_on_cpu` or their like.
    """
    hooks = _hooks()
    if hooks is None or hooks == _thread.callers_hooks:
        return
    if hooks[0].__module__ == "torch.utils.checkpoint":
        raise BuildError(
            "torch.utils.checkpoint.checkpoint was called while the graph was built, and would not "
            "be part of it: write `fgraph.apply(checkpoint, block, x, use_reentrant=False)`"
        )
    raise BuildError(
        "a graph does not keep hooks on saved tensors, such as those of save_on_cpu(): open them "
        "in a function, and record that by `fgraph.apply(function, x)`"
    )


def _hooks() -> Any:
    return torch._C._autograd._top_saved_tensors_default_hooks(True)
