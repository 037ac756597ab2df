"""Update rules where torch's own optimizer cannot be equal to Keras's, step for step.

Each says what differs. All work on whole lists of parameters at once (torch's foreach kernels),
and keep their counters on the host, in the parameter group, so that they are saved with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class _ForeachOptimizer(torch.optim.Optimizer):
    """Collects parameters, gradients and state of each group and hands them to `update`."""

    slots: tuple[str, ...] = ()

    def _slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return self.slots

    def update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        state: dict[str, list[Tensor]],
    ) -> None:
        """Update the parameters of one group in place."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have a gradient.

        Args:
            closure: evaluates the loss again, or None.

        Returns:
            The closure's loss, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            group["iterations"] = group.get("iterations", 0) + 1
            grads = [p.grad for p in params]
            if group["weight_decay"]:
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            self.update(group, params, grads, self._state_lists(group, params))
        return loss

    def _state_lists(self, group: dict[str, Any], params: list[Tensor]) -> dict[str, list[Tensor]]:
        lists: dict[str, list[Tensor]] = {}
        for slot in self._slots(group):
            for p in params:
                if slot not in self.state[p]:
                    self.state[p][slot] = torch.zeros_like(p)
            lists[slot] = [self.state[p][slot] for p in params]
        return lists


class KerasMomentumSGD(_ForeachOptimizer):
    """SGD with momentum; the velocity holds steps, not gradients.

    torch multiplies the velocity by the current learning rate, Keras each gradient by the rate of
    its own step: they part as soon as the rate changes.
    """

    slots = ("momentum",)

    def update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        state: dict[str, list[Tensor]],
    ) -> None:
        """Apply `m = momentum * m - lr * g`, then `p += m` (or its Nesterov form)."""
        velocity, lr, momentum = state["momentum"], group["lr"], group["momentum"]
        torch._foreach_mul_(velocity, momentum)
        torch._foreach_add_(velocity, grads, alpha=-lr)
        if group["nesterov"]:
            torch._foreach_add_(params, velocity, alpha=momentum)
            torch._foreach_add_(params, grads, alpha=-lr)
        else:
            torch._foreach_add_(params, velocity)


class KerasRMSprop(_ForeachOptimizer):
    """RMSprop with epsilon under the root; torch adds it after the root."""

    def _slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        slots = ["velocity"]
        slots += ["average"] if group["centered"] else []
        slots += ["momentum"] if group["momentum"] else []
        return tuple(slots)

    def update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        state: dict[str, list[Tensor]],
    ) -> None:
        """Apply `p -= lr * g / sqrt(mean(g ** 2) + epsilon)`, through momentum if any."""
        rho, velocity = group["rho"], state["velocity"]
        torch._foreach_mul_(velocity, rho)
        torch._foreach_addcmul_(velocity, grads, grads, 1 - rho)
        if group["centered"]:
            average = state["average"]
            torch._foreach_lerp_(average, grads, 1 - rho)
            root = list(torch._foreach_addcmul(velocity, average, average, -1))
            torch._foreach_add_(root, group["eps"])
        else:
            root = list(torch._foreach_add(velocity, group["eps"]))
        torch._foreach_sqrt_(root)
        if group["momentum"]:
            momentum = state["momentum"]
            torch._foreach_mul_(momentum, group["momentum"])
            torch._foreach_addcdiv_(momentum, grads, root, group["lr"])
            torch._foreach_sub_(params, momentum)
        else:
            torch._foreach_addcdiv_(params, grads, root, -group["lr"])


class KerasAdamax(_ForeachOptimizer):
    """Adamax with epsilon beside the largest gradient; torch puts it inside the maximum."""

    slots = ("momentum", "largest")

    def update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        state: dict[str, list[Tensor]],
    ) -> None:
        """Apply `p -= lr / (1 - beta_1 ** t) * m / (u + epsilon)`."""
        beta_1, beta_2 = group["betas"]
        momentum, largest = state["momentum"], state["largest"]
        torch._foreach_lerp_(momentum, grads, 1 - beta_1)
        torch._foreach_mul_(largest, beta_2)
        torch._foreach_maximum_(largest, torch._foreach_abs(grads))
        scale = -group["lr"] / (1 - beta_1 ** group["iterations"])
        divisor = torch._foreach_add(largest, group["eps"])
        torch._foreach_addcdiv_(params, momentum, divisor, scale)


def _uncorrected_epsilon(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Set each group's epsilon so that torch's formula gives Keras's at this step.

    torch divides by `sqrt(v / (1 - beta_2 ** t)) + eps`, Keras by `sqrt(v) + eps` with the
    correction outside (Kingma and Ba's "epsilon hat"). Both are one rule where torch's epsilon is
    Keras's over `sqrt(1 - beta_2 ** t)`.
    """
    for group in optimizer.param_groups:
        group["iterations"] = group.get("iterations", 0) + 1
        correction = math.sqrt(1 - group["betas"][1] ** group["iterations"])
        group["eps"] = group["keras_epsilon"] / correction


class _KerasEpsilon:
    """Gives an optimizer of Adam's family Keras's epsilon, by a hook before each step.

    A hook and not an overridden `step`: torch wraps every class's `step` in its profiling, and two
    such wrappers cost as much as a kernel.
    """

    def __init__(self, params: Iterable[Tensor], *, eps: float, **settings: Any) -> None:
        super().__init__(params, eps=eps, **settings)  # type: ignore[call-arg]
        for group in self.param_groups:  # type: ignore[attr-defined]
            group["keras_epsilon"] = eps
        self._add_hook()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        self._add_hook()  # copies and unpickled optimizers have lost it

    def _add_hook(self) -> None:
        optimizer: Any = self
        if _uncorrected_epsilon not in optimizer._optimizer_step_pre_hooks.values():
            optimizer.register_step_pre_hook(_uncorrected_epsilon)


class KerasAdam(_KerasEpsilon, torch.optim.Adam):
    """torch's Adam with Keras's epsilon."""


class KerasAdamW(_KerasEpsilon, torch.optim.AdamW):
    """torch's AdamW with Keras's epsilon."""
