"""Optimizer steps without the overhead of torch's wrapper, if nothing hooks into the step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import profiler
from torch.optim import optimizer as torch_optimizer

_FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def fast_step(optimizer: Any) -> None:
    """Make a step as `optimizer.step()` does.

    In each step, torch enters its profiler and groups all tensors by device and dtype, which for a
    small model takes longer than the arithmetic. If no profiler runs, this calls the hooks and the
    step directly; and if all tensors of a fused Adam have one device and dtype, it passes them to
    torch's kernel without grouping. Nothing is kept between steps. An optimizer whose `step` was
    replaced, as torch's schedulers do, is called normally. So are all optimizers if the private
    parts of torch that this uses differ from those of torch 2.9 to 2.13.

    Args:
        optimizer: an optimizer of torch, or one with its interface.
    """
    if not _torch_is_known() or _is_watched(optimizer):
        optimizer.step()
    else:
        _step_with_hooks(optimizer)


@functools.cache
def _torch_is_known() -> bool:
    """Return whether steps made here equal torch's bit for bit, by a trial of two optimizers."""
    try:
        return all(map(_rehearsed, (torch.optim.Adam, torch.optim.AdamW)))
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError):
        return False


def _rehearsed(kind: Any) -> bool:
    """Return whether three steps made here equal three of torch's, without hooks."""
    results = []
    for lean in (True, False):
        parameter = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float32, device="cpu"))
        optimizer = kind([parameter], lr=0.1, weight_decay=0.1, fused=True)
        _is_watched(optimizer)  # fails where it cannot be told
        step: Callable[[Any], Any] = _step_with_hooks if lean else kind.step.__wrapped__
        for _ in range(3):
            parameter.grad = parameter.detach() + 1
            step(optimizer)
        results.append(parameter.detach())
    return torch.equal(*results)


@functools.cache
def _wrapper() -> Any:
    """Return the wrapper that `Optimizer.__init__` puts around a class's `step`."""
    return torch.optim.Optimizer.profile_hook_step(lambda: None).__code__


@functools.cache
def _step_of_adam() -> Any:
    """Return `Adam.step` without torch's wrapper, `None` if something else wraps it."""
    step: Any = torch.optim.Adam.step  # AdamW inherits it
    if getattr(step, "hooked", False):
        return step.__wrapped__ if getattr(step, "__code__", None) is _wrapper() else None
    return step


def _is_watched(optimizer: Any) -> bool:
    """Return whether a profiler runs, the step was replaced, or all optimizers have hooks."""
    step = getattr(type(optimizer), "step", None)
    return bool(
        getattr(step, "__code__", None) is not _wrapper()
        or "step" in vars(optimizer)
        or profiler._is_profiler_enabled
        or torch_optimizer._global_optimizer_pre_hooks
        or torch_optimizer._global_optimizer_post_hooks
    )


def _step_with_hooks(optimizer: Any) -> None:
    compute = type(optimizer).step.__wrapped__
    args: Any = (optimizer,)
    kwargs: Any = {}
    for hook in tuple(optimizer._optimizer_step_pre_hooks.values()):
        changed = hook(optimizer, args, kwargs)
        if changed is not None:
            args, kwargs = changed
    if compute is not _step_of_adam() or len(args) > 1 or kwargs or not _fused_adam(optimizer):
        compute(*args, **kwargs)
    for hook in tuple(optimizer._optimizer_step_post_hooks.values()):
        hook(optimizer, args, kwargs)


def _fused_adam(optimizer: Any) -> bool:
    """Make a step of Adam or AdamW by torch's fused kernel; return whether that was possible."""
    calls = []
    for group in optimizer.param_groups:
        if not group["fused"] or group["differentiable"] or group["capturable"]:
            return False
        lists = _lists_of(group, optimizer.state)
        if lists is None or not all(isinstance(group[key], int | float) for key in ("lr", "eps")):
            return False
        calls.append((group, lists))
    with torch.no_grad():
        for group, (params, grads, averages, squares, largest, steps) in calls:
            if not params:
                continue
            torch._foreach_add_(steps, 1)
            beta_1, beta_2 = group["betas"]
            kernel: Any = (
                torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
            )
            kernel(
                params,
                grads,
                averages,
                squares,
                largest,
                steps,
                amsgrad=group["amsgrad"],
                lr=group["lr"],
                beta1=beta_1,
                beta2=beta_2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=group["maximize"],
            )
    return True


def _lists_of(group: dict[str, Any], states: dict[Any, Any]) -> tuple[list[Tensor], ...] | None:
    """Return the tensors of a group that the kernel takes, `None` if they are not of one kind."""
    params: list[Tensor] = []
    grads: list[Tensor] = []
    averages: list[Tensor] = []
    squares: list[Tensor] = []
    largest: list[Tensor] = []
    steps: list[Tensor] = []
    device = dtype = None
    for p in group["params"]:
        grad = p.grad
        if grad is None:
            continue
        if dtype is None:
            device, dtype = p.device, p.dtype
            if dtype not in _FLOATING:
                return None
        state = states.get(p)
        if (
            not state  # torch makes it in the first step
            or type(p) is not nn.Parameter
            or type(grad) is not Tensor
            or grad.layout is not torch.strided
            or p.dtype is not dtype
            or grad.dtype is not dtype
            or p.device != device
        ):
            return None
        params.append(p)
        grads.append(grad)
        averages.append(state["exp_avg"])
        squares.append(state["exp_avg_sq"])
        steps.append(state["step"])
        if group["amsgrad"]:
            largest.append(state["max_exp_avg_sq"])
    return params, grads, averages, squares, largest, steps
