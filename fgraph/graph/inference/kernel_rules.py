"""What torch functions return on `meta` tensors, where running them there fails or takes long."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def _recurrent(func: Callable[..., Any], *args: Any) -> Any:
    """Return what a recurrent kernel returns, from the shapes of its input and states.

    torch's meta kernel unrolls the sequence, which takes half a second for 140 steps.

    Args:
        func: `torch.lstm`, `torch.gru` or similar.
        *args: `(input, hx, params, has_biases, num_layers, dropout, train, bidirectional,
            batch_first)`; for packed sequences `(input, batch_sizes, hx, ..., bidirectional)`.
    """
    is_packed = not isinstance(args[3], bool)
    sequence, states, bidirectional = args[0], args[1 + is_packed], args[7 + is_packed]
    states = states if isinstance(states, (tuple, list)) else (states,)
    width = states[0].shape[-1] * (2 if bidirectional else 1)
    dtype, device = sequence.dtype, sequence.device.type
    if device != "meta" and (device, func) != ("cpu", torch.gru):  # under autocast
        dtype = torch.get_autocast_dtype(device)
    output = sequence.new_empty((*sequence.shape[:-1], width), dtype=dtype)
    return (output, *(torch.empty_like(state, dtype=dtype) for state in states))


def _gradients(func: Any, outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
    """Return what `torch.autograd.grad` returns; meta runs have no gradients."""
    if kwargs.get("is_grads_batched"):
        raise NotImplementedError("batched gradients are not followed")
    inputs = (inputs,) if isinstance(inputs, Tensor) else inputs
    return tuple(map(torch.empty_like, inputs))


def _batch_norm(
    func: Callable[..., Any],
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    *settings: Any,
    **named: Any,
) -> Any:
    """Return what `batch_norm` returns; torch's meta kernel is written in Python and slow.

    Unusual arguments, which torch may refuse, are passed on to torch.
    """
    given = [t for t in (mean, variance, weight, bias) if t is not None]
    usual = x.device.type == "meta" and all(
        t.shape == x.shape[1:2] and t.dtype == x.dtype for t in given
    )
    if not usual or x.numel() == x.shape[1] or (not training and len(given) < 2):
        return func(x, mean, variance, weight, bias, training, *settings, **named)
    if training:  # counts as a change where the statistics are inputs
        for statistic in (mean, variance):
            if statistic is not None:
                statistic.zero_()
    return torch.empty_like(x)


def _inverse_stft(
    func: Any,
    x: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """Return what `torch.istft` returns, which looks at the values of the window."""
    whole = n_fft + (hop_length or n_fft // 4) * (x.shape[-1] - 1)
    found = (whole - n_fft // 2 * 2 if center else whole) if length is None else length
    return x.new_empty((*x.shape[:-2], found), dtype=x.dtype if return_complex else x.real.dtype)


def _ctc_loss(func: Any, scores: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return what `ctc_loss` returns for scores of shape `(steps, batch, classes)`."""
    reduction = args[4] if len(args) > 4 else kwargs.get("reduction", "mean")
    return scores.new_empty(scores.shape[1:-1] if reduction in ("none", 0) else ())


def _gaussian_nll_loss(
    func: Any, x: Tensor, target: Tensor, var: Any, *args: Any, **kwargs: Any
) -> Tensor:
    """Return what `gaussian_nll_loss` returns, which looks at the values of the variance."""
    reduction = args[2] if len(args) > 2 else kwargs.get("reduction", "mean")
    return x - target if reduction == "none" else (x - target).mean()


def _grouped_mm(
    func: Any, a: Tensor, b: Tensor, *, offs: Tensor | None = None, **settings: Any
) -> Tensor:
    """Return what `grouped_mm` returns, whose meta kernel takes no dtype but bfloat16."""
    if offs is None:
        shape = torch.bmm(a, b).shape
    else:
        groups = offs.shape[:1] if a.dim() == b.dim() else ()
        shape = torch.Size((*groups, a.shape[-2], b.shape[-1]))
    return a.new_empty(shape, dtype=settings.get("out_dtype"))


def _no_hook(func: Any, tensor: Tensor, *args: Any) -> RemovableHandle | None:
    """Return what registering a gradient hook returns; meta runs have no gradients."""
    return None if func is Tensor.retain_grad else RemovableHandle(OrderedDict())


RULES: dict[Any, Callable[..., Any]] = dict.fromkeys(
    (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu), _recurrent
) | {
    torch.autograd.grad: _gradients,
    nn.functional.batch_norm: _batch_norm,
    torch.ctc_loss: _ctc_loss,
    **{
        function: _grouped_mm
        for function in (
            getattr(torch, "_grouped_mm", None),
            getattr(nn.functional, "grouped_mm", None),
        )
    },
    nn.functional.ctc_loss: _ctc_loss,
    nn.functional.gaussian_nll_loss: _gaussian_nll_loss,
    torch.istft: _inverse_stft,
    Tensor.istft: _inverse_stft,
    Tensor.register_hook: _no_hook,
    Tensor.retain_grad: _no_hook,
}
