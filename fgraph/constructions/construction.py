"""A known constructor call, which can be run without values or memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from ..common.configured import is_of_fgraph
from ..errors import LoadError
from ..layers.base import Layer
from ..layers.deferred_values import filled_by
from ..layers.modules.added_weights import AddedWeights
from ..unfolding.opened_module import OpenedModule

# modules whose tensors are those passed to the constructor
FREE = (nn.ParameterList, nn.ParameterDict, AddedWeights, OpenedModule)
# modules whose children and tensors are all written separately; the constructors of some would #
# copy a child many times, or draw new values for it
EMPTY: dict[type, Callable[[], nn.Module]] = {
    **{kind: kind for kind in (nn.Sequential, nn.ModuleList, nn.ModuleDict, *FREE[:3])},
    nn.Transformer: lambda: nn.Transformer(
        custom_encoder=nn.Identity(), custom_decoder=nn.Identity()
    ),
    nn.TransformerEncoder: lambda: nn.TransformerEncoder(
        nn.Identity(),  # type: ignore[arg-type]
        0,
        enable_nested_tensor=False,
    ),
    nn.TransformerDecoder: lambda: nn.TransformerDecoder(nn.Identity(), 0),  # type: ignore[arg-type]
}


@dataclass
class Construction:
    """How an object is made: `cls(*args, **kwargs)`, or `cls.from_config(config)`."""

    cls: type
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] | None = None

    def make(self, real: bool = False, most_calls: int = 1_000_000) -> Any:
        """Make the object; modules of torch and of this package without values or memory.

        Random states are unchanged afterwards.

        Args:
            real: whether to make these modules with values, too, and draw random numbers.
            most_calls: the number of torch functions that constructors may call.

        Raises:
            LoadError: a constructor calls more functions, for example for thousands of layers.
        """
        if real or not issubclass(self.cls, nn.Module):
            return self._call()
        with without_values(self.cls, most_calls):
            return self._call()

    def _call(self) -> Any:
        cls: Any = self.cls
        if self.config is None:
            return cls(*self.args, **self.kwargs)
        if hasattr(cls, "from_config"):
            return cls.from_config(self.config)
        return cls(**self.config)


def without_values(cls: type, most_calls: int = 1_000_000) -> AbstractContextManager[Any]:
    """Return a context in which a class of torch or of this package makes tensors on `meta`.

    A user's class makes them with values, without a change of random states.

    Args:
        cls: the class.
        most_calls: the number of torch functions that may be called.
    """
    if is_of_fgraph(cls) or cls.__module__.startswith("torch.nn."):
        return _NoValues(cls, most_calls)
    return torch.random.fork_rng(devices=())


def module_of(layer: Layer, shapes: Any, named: Any) -> nn.Module | None:
    """Let a layer build its module for these shapes, inside `without_values`."""

    def build(part: Layer, make: Callable[[], nn.Module | None]) -> nn.Module | None:
        with without_values(type(part)):
            return make()

    with filled_by(build):
        return layer.make_module(*shapes, **named)


_FILLS = frozenset(
    "uniform_ normal_ trunc_normal_ constant_ ones_ zeros_ fill_ zero_ kaiming_uniform_ "
    "kaiming_normal_ xavier_uniform_ xavier_normal_ orthogonal_".split()
)


class _NoValues(TorchFunctionMode):
    """Makes tensors on `meta`, and does not initialise tensors."""

    def __init__(self, cls: type, most_calls: int) -> None:
        super().__init__()
        self._cls = cls
        self._most_calls = most_calls
        self._calls = 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a torch function without values."""
        self._calls += 1
        if self._calls > self._most_calls:
            raise LoadError(
                f"making a {self._cls.__name__} calls more than {self._most_calls} functions, the "
                "limit for the number of its tensors"
            )
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _FILLS:
            return args[0] if args else kwargs["tensor"]
        if func in _device_constructors():  # whatever device the constructor is told
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)
