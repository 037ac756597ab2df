"""A call of one of Keras's operations, on the way into a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ....graph import Node, Ref
from ....graph.specs import TensorSpec


class KerasOp:
    """A call of one of Keras's operations; arguments may be calls of others.

    Args:
        room: the module of its class.
        kind: its class.
        config: its settings.
        args, kwargs: what it is called with.
    """

    def __init__(
        self, room: str, kind: str, config: Mapping[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        self.room, self.kind, self.config = room, kind, dict(config)
        self.args, self.kwargs = args, kwargs


Found = KerasOp | list[KerasOp | str] | None


def numpy_op(kind: str, *args: Any, **config: Any) -> KerasOp:
    """Return an operation of numpy's kind."""
    return KerasOp("numpy", kind, config, *args)


def cast_op(x: Any, dtype: torch.dtype) -> KerasOp:
    """Return a cast."""
    return KerasOp("core", "Cast", {"dtype": str(dtype).removeprefix("torch.")}, x)


def first_spec(node: Node) -> TensorSpec:
    """Return what is known of the first output of a node."""
    found: TensorSpec = node.specs[0]  # type: ignore[assignment]
    return found


def dtype_of_value(x: Any) -> torch.dtype | None:
    """Return the dtype of a value, `None` for a plain number."""
    return x.spec.dtype if type(x) is Ref else x.dtype if isinstance(x, Tensor) else None


def shape_of(value: Any) -> tuple[int | None, ...]:
    """Return the shape of a value of the graph or of a real tensor, `None` for unknown sizes."""
    return value.spec.shape if type(value) is Ref else tuple(value.shape)
