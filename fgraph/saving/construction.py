"""A constructor call that is known, and can be made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from ..model import Model


@dataclass
class Construction:
    """How an object is made: `cls(*args, **kwargs)`, or `cls.from_config(config)`.

    With `blank` the constructor is not called at all: everything is filled in afterwards.
    """

    cls: type
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    blank: bool = False

    def make(self, real: bool = False) -> Any:
        """Make the object; modules of torch and of this package without values or memory.

        Random numbers are left as they were, whatever the constructor draws.

        Args:
            real: make these modules with values, too, and draw the numbers for it.
        """
        if self.blank:
            return _blank(self.cls)
        if real or not issubclass(self.cls, nn.Module):
            return self._call()
        if self.cls.__module__.startswith(("torch.nn.", "fgraph.")):
            with _NoValues():
                made = self._call()
            if not _has_stray_meta(made):
                return made
        with torch.random.fork_rng(devices=()):
            return self._call()

    def _call(self) -> Any:
        if self.config is not None:
            return self.cls.from_config(self.config)  # type: ignore[attr-defined]
        return self.cls(*self.args, **self.kwargs)


def _blank(cls: Any) -> Any:
    made = cls.__new__(cls)
    if isinstance(made, nn.Module):
        kind: Any = Model if isinstance(made, Model) else nn.Module
        kind.__init__(made)
    return made


_FILLS = frozenset(
    "uniform_ normal_ trunc_normal_ constant_ ones_ zeros_ fill_ zero_ kaiming_uniform_ "
    "kaiming_normal_ xavier_uniform_ xavier_normal_ orthogonal_".split()
)


class _NoValues(TorchFunctionMode):
    """Makes tensors on `meta`, as `torch.device("meta")` does, and fills them with nothing."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a torch function without values."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _FILLS:
            filled = args[0] if args else kwargs.get("tensor")
            if isinstance(filled, Tensor) and filled.is_meta:
                return filled
        if func in _device_constructors() and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


def _has_stray_meta(module: nn.Module) -> bool:
    """Whether a tensor that is neither parameter nor buffer was made without values."""
    return any(
        isinstance(value, Tensor) and value.device.type == "meta"
        for part in module.modules()
        for value in vars(part).values()
    )
