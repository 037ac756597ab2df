"""Keras's optimizer settings on torch's optimizers, by hooks before and after a step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..common.mixed_parameters import by_kind, clip_norm, copy_into, each_kind

ITERATIONS = "iterations"
_AVERAGES = "averages"


class StepHooks:
    """Schedule, clipping, decoupled weight decay and moving averages of one optimizer.

    It uses torch's hooks before and after `step`; overriding `step` would cost more, since torch
    wraps it for profiling in every class. What changes between steps is kept in the optimizer's own
    state, so that `state_dict` holds it.

    Args:
        schedule: the learning rate of a step, counted from 0, or `None`.
        clip: `("clipnorm" | "clipvalue" | "global_clipnorm", limit)`, or `None`.
        decay: the weight decay, for optimizers that do not decay weights themselves; 0 for those
            that do.
        epsilon: Adam's epsilon as Keras means it, `None` for other optimizers.
        ema_momentum: the fraction of the moving averages that is kept each step, `None` for no
            averages.
        ema_overwrite_frequency: the steps after which the averages replace the weights, `None` for
            only at the end of training.
    """

    def __init__(
        self,
        schedule: Callable[..., Any] | None = None,
        clip: tuple[str, float] | None = None,
        decay: float = 0.0,
        epsilon: float | None = None,
        ema_momentum: float | None = None,
        ema_overwrite_frequency: int | None = None,
    ) -> None:
        self.schedule = schedule
        self.clip = clip
        self.decay = decay
        self.epsilon = epsilon
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency

    def attach(self, optimizer: Any) -> None:
        """Register the hooks with an optimizer."""
        optimizer.register_step_pre_hook(self._before)
        if self.ema_momentum is not None:
            optimizer.register_step_post_hook(self._after)
        if self.schedule is not None:
            self._set_rate(optimizer)

    def is_attached(self, optimizer: Any) -> bool:
        """Return whether `attach` was called for an optimizer."""
        hooks = (*optimizer._optimizer_step_pre_hooks.values(),)
        hooks += (*optimizer._optimizer_step_post_hooks.values(),)
        return any(getattr(hook, "__self__", None) is self for hook in hooks)

    def rate(self, optimizer: Any) -> float:
        """Return the learning rate of the next step, if there is a schedule."""
        assert self.schedule is not None
        step = optimizer.param_groups[0].get(ITERATIONS, 0)
        takes_step = bool(inspect.signature(self.schedule).parameters)
        return float(self.schedule(step) if takes_step else self.schedule())

    def _set_rate(self, optimizer: Any) -> None:
        rate = self.rate(optimizer)
        for group in optimizer.param_groups:
            group["lr"] = rate

    def _before(self, optimizer: Any, *_: Any) -> None:
        if self.schedule is not None:
            self._set_rate(optimizer)
        if self.clip is not None:
            _clip_gradients(optimizer, *self.clip)
        for group in optimizer.param_groups:
            group[ITERATIONS] = group.get(ITERATIONS, 0) + 1
            if self.epsilon is not None:
                # torch divides by sqrt(v / (1 - beta_2 ** t)) + eps, Keras by sqrt(v) + eps with
                # the correction outside (Kingma and Ba's "epsilon hat"): both are one rule if
                # torch's epsilon is Keras's over sqrt(1 - beta_2 ** t)
                correction = math.sqrt(1 - group["betas"][1] ** group[ITERATIONS])
                group["eps"] = self.epsilon / correction
            if self.decay and group.get("decays", True):
                params = [p for p in group["params"] if p.grad is not None]
                if params:
                    with torch.no_grad():
                        torch._foreach_mul_(params, 1 - group["lr"] * self.decay)

    @torch.no_grad()
    def _after(self, optimizer: Any, *_: Any) -> None:
        assert self.ema_momentum is not None
        params = _params(optimizer)
        averages = optimizer.state.get(_AVERAGES)
        if averages is None:
            optimizer.state[_AVERAGES] = [p.detach().clone() for p in params]
        else:
            if averages[0].device != params[0].device:  # just read from a file
                averages[:] = [a.to(p.device) for a, p in zip(averages, params, strict=True)]
            for kept, new in each_kind(averages, params):
                torch._foreach_lerp_(kept, new, 1 - self.ema_momentum)
        every = self.ema_overwrite_frequency
        if every is not None and optimizer.param_groups[0][ITERATIONS] % every == 0:
            self.finish(optimizer)

    def averages(self, optimizer: Any) -> list[Tensor] | None:
        """Return the moving averages of the weights, `None` before the first step."""
        found: list[Tensor] | None = optimizer.state.get(_AVERAGES)
        return found

    def finish(self, optimizer: Any) -> None:
        """Replace the weights by their moving averages, if there are any."""
        averages = self.averages(optimizer)
        if averages is not None:
            self.set_weights(optimizer, averages)

    def set_weights(self, optimizer: Any, values: list[Tensor]) -> None:
        """Replace the weights by others, sharded in the same way."""
        copy_into(_params(optimizer), values)


def _params(optimizer: Any) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _clip_gradients(optimizer: Any, kind: str, limit: float) -> None:
    params = [p for p in _params(optimizer) if p.grad is not None]
    if kind == "clipvalue":
        for same in by_kind(params):
            nn.utils.clip_grad_value_(same, limit)
    elif kind == "global_clipnorm":
        clip_norm(params, limit)
    else:
        for p in params:
            clip_norm([p], limit)
