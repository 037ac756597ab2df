"""Count floating-point operations, including kernels that torch's own counter lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, flop_registry, shape_wrapper

Shape = tuple[int, ...]


@contextmanager
def counting_flops() -> Iterator[Callable[[], int]]:
    """Count the operations of matrix products, convolutions, attention and recurrent layers.

    A multiplication and an addition count as two, as in `torch.utils.flop_counter`; elementwise
    work is not counted. Recurrent kernels and CPU attention, which that counter leaves out, are
    counted by the same rule.

    Yields:
        A function that returns the count so far.

    Example:
        >>> with counting_flops() as count:
        ...     _ = torch.nn.Linear(8, 4)(torch.zeros(2, 8))
        >>> count()
        128
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its fused kernels are opaque to the counter
    try:
        with FlopCounterMode(display=False, custom_mapping=_MORE) as counter:
            yield counter.get_total_flops
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def _recurrent(x: Shape, weights: list[Shape]) -> int:
    """Count recurrent layers: every step of a sequence is multiplied by each matrix.

    `x` is the shape of the input, features last.
    """
    steps = math.prod(x[:-1])
    return 2 * steps * sum(math.prod(weight) for weight in weights if len(weight) == 2)


def _one_layer(x: Shape, w_input: Shape, w_hidden: Shape, *rest: Any, **kwargs: Any) -> int:
    return _recurrent(x, [w_input, w_hidden])


def _one_layer_backward(*args: Any, **kwargs: Any) -> int:
    return 2 * _one_layer(*args)  # the gradients of the input and of the weights


def _stack(x: Shape, weights: list[Shape], *rest: Any, **kwargs: Any) -> int:
    return _recurrent(x, weights)


def _stack_backward(*args: Any, **kwargs: Any) -> int:
    return 2 * _stack(*args)


def _attention(query: Shape, key: Shape, value: Shape, *rest: Any, **kwargs: Any) -> int:
    *batch, length, width = query
    return 2 * math.prod(batch) * length * key[-2] * (width + value[-1])


def _attention_backward(
    grad: Shape, query: Shape, key: Shape, value: Shape, *rest: Any, **kwargs: Any
) -> int:
    """Count the backward pass: five products, as the scores are computed again."""
    *batch, length, width = query
    return 2 * math.prod(batch) * length * key[-2] * (3 * width + 2 * value[-1])


def _known(rules: dict[str, Callable[..., int]]) -> dict[Any, Any]:
    """Return the rules by operator, without those that this torch does not have."""
    return {
        getattr(torch.ops.aten, name): rule
        for name, rule in rules.items()
        if hasattr(torch.ops.aten, name)
    }


_MORE = _known(
    {
        "mkldnn_rnn_layer": _one_layer,
        "mkldnn_rnn_layer_backward": _one_layer_backward,
        "_cudnn_rnn": _stack,
        "_cudnn_rnn_backward": _stack_backward,
        "_scaled_dot_product_flash_attention_for_cpu": _attention,
        "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
    }
)
_RULES = {**flop_registry, **{op: shape_wrapper(rule) for op, rule in _MORE.items()}}


def flops_of(op: Any, args: Any, kwargs: Any, result: Any) -> int:
    """Return the operations of one call of an operator of torch, by the rules of `counting_flops`.

    Args:
        op: the operator, as a `TorchDispatchMode` gets it.
        args, kwargs: what it was called with.
        result: what it returned.
    """
    rule = _RULES.get(getattr(op, "_overloadpacket", None))
    return 0 if rule is None else int(rule(*args, **kwargs, out_val=result))
