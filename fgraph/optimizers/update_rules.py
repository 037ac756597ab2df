"""Update rules for which torch's own optimizer differs from Keras's.

Each docstring says what differs. All use torch's foreach kernels on lists of parameters. Counters
are kept on the host, in the parameter group, and so are saved with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _ForeachOptimizer(torch.optim.Optimizer):
    """Collects parameters, gradients and state of each group and passes them to `update`."""

    slots: tuple[str, ...] = ()

    def _slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return self.slots

    def _first(self, slot: str, group: dict[str, Any], parameter: Tensor) -> Tensor:
        """Return the state of a parameter before its first step."""
        return torch.zeros_like(parameter)

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
            group["steps"] = group.get("steps", 0) + 1
            grads = self._unscaled([p.grad for p in params])
            if group["weight_decay"]:
                torch._foreach_mul_(params, self._or_one(1 - group["lr"] * group["weight_decay"]))
            self.update(group, params, grads, self._state_lists(group, params))
        return loss

    # A class whose `_step_supports_amp_scaling` is true skips steps with infinite gradients on the
    # device; torch's gradient scaler of float16 waits for the device otherwise, at every step.

    def _unscaled(self, grads: list[Tensor]) -> list[Tensor]:
        """Return the gradients divided by the scaler's factor; zeros in a skipped step."""
        found, scale = getattr(self, "found_inf", None), getattr(self, "grad_scale", None)
        if scale is not None:
            grads = list(torch._foreach_div(grads, scale))
        return grads if found is None else [torch.where(found > 0, 0, grad) for grad in grads]

    def _or_one(self, factor: float) -> Any:
        """Return the factor of a running mean or weight; 1 in a skipped step."""
        found = getattr(self, "found_inf", None)
        return factor if found is None else torch.where(found > 0, 1.0, factor).to(found.dtype)

    def _or_zeros(self, update: list[Tensor]) -> list[Tensor]:
        """Return an update; zeros in a skipped step."""
        found = getattr(self, "found_inf", None)
        return update if found is None else list(torch._foreach_mul(update, 1 - found))

    def _state_lists(self, group: dict[str, Any], params: list[Tensor]) -> dict[str, list[Tensor]]:
        lists: dict[str, list[Tensor]] = {}
        for slot in self._slots(group):
            for p in params:
                if slot not in self.state[p]:
                    self.state[p][slot] = self._first(slot, group, p)
            lists[slot] = [self.state[p][slot] for p in params]
        return lists


class KerasMomentumSGD(_ForeachOptimizer):
    """SGD with momentum; the velocity holds steps, not gradients.

    torch multiplies the velocity by the current learning rate, Keras multiplies each gradient by
    the rate of its step: they differ once the rate changes.
    """

    slots = ("momentum",)
    _step_supports_amp_scaling = True

    def update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        state: dict[str, list[Tensor]],
    ) -> None:
        """Apply `m = momentum * m - lr * g`, then `p += m` (or its Nesterov form)."""
        velocity, lr, momentum = state["momentum"], group["lr"], group["momentum"]
        torch._foreach_mul_(velocity, self._or_one(momentum))
        torch._foreach_add_(velocity, grads, alpha=-lr)
        if group["nesterov"]:
            torch._foreach_add_(params, self._or_zeros(velocity), alpha=momentum)
            torch._foreach_add_(params, grads, alpha=-lr)
        else:
            torch._foreach_add_(params, self._or_zeros(velocity))


class KerasRMSprop(_ForeachOptimizer):
    """RMSprop with epsilon under the root; torch adds it after the root."""

    @property
    def _step_supports_amp_scaling(self) -> bool:
        return not any(group["centered"] for group in self.param_groups)

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
        torch._foreach_mul_(velocity, self._or_one(rho))
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
            torch._foreach_mul_(momentum, self._or_one(group["momentum"]))
            torch._foreach_addcdiv_(momentum, grads, root, group["lr"])
            torch._foreach_sub_(params, self._or_zeros(momentum))
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
        scale = -group["lr"] / (1 - beta_1 ** group["steps"])
        divisor = torch._foreach_add(largest, group["eps"])
        torch._foreach_addcdiv_(params, momentum, divisor, scale)


class KerasLion(_ForeachOptimizer):
    """Lion; torch has none."""

    slots = ("momentum",)

    def update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        state: dict[str, list[Tensor]],
    ) -> None:
        """Apply `p -= lr * sign(beta_1 * m + (1 - beta_1) * g)`, then update `m` by `beta_2`."""
        beta_1, beta_2 = group["betas"]
        direction = list(torch._foreach_lerp(state["momentum"], grads, 1 - beta_1))
        torch._foreach_sign_(direction)
        torch._foreach_add_(params, direction, alpha=-group["lr"])
        torch._foreach_lerp_(state["momentum"], grads, 1 - beta_2)


class KerasLamb(_ForeachOptimizer):
    """LAMB; torch has none."""

    slots = ("momentum", "velocity")

    def update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        state: dict[str, list[Tensor]],
    ) -> None:
        """Apply Adam's update, scaled to each parameter's norm."""
        update = _adam_update(group, grads, state, inside=False)
        ratios = [
            torch.where((weight > 0) & (change > 0), weight / change, 1.0)
            for weight, change in zip(
                torch._foreach_norm(params), torch._foreach_norm(update), strict=True
            )
        ]
        torch._foreach_mul_(update, ratios)
        torch._foreach_add_(params, update, alpha=-group["lr"])


class KerasFtrl(_ForeachOptimizer):
    """FTRL-proximal; torch has none."""

    slots = ("accumulator", "linear")

    def _first(self, slot: str, group: dict[str, Any], parameter: Tensor) -> Tensor:
        start = group["start"] if slot == "accumulator" else 0.0
        return torch.full_like(parameter, start)

    def update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        state: dict[str, list[Tensor]],
    ) -> None:
        """Apply McMahan et al.'s algorithm 1, with Keras's shrinkage."""
        lr, power, l1 = group["lr"], -group["power"], group["l1"]
        l2 = group["l2"] + group["beta"] / (2 * lr)
        for p, g, n, z in zip(params, grads, state["accumulator"], state["linear"], strict=True):
            total = n + g * g
            sigma = (total**power - n**power) / lr
            z.add_(g + 2 * group["shrinkage"] * p - sigma * p)
            p.copy_((z.clamp(-l1, l1) - z) / (total**power / lr + 2 * l2))
            n.copy_(total)


class KerasMuon(_ForeachOptimizer):
    """torch's Muon for the groups of matrices, Keras's AdamW for the others."""

    def _slots(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum",) if group["muon"] else ("momentum", "velocity")

    def update(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        state: dict[str, list[Tensor]],
    ) -> None:
        """Update the parameters of one group."""
        if not group["muon"]:
            update = _adam_update(group, grads, state, inside=True)
            torch._foreach_add_(params, update, alpha=-group["lr"] * group["ratio"])
            return
        try:
            from torch.optim._muon import muon
        except ImportError as error:
            raise ImportError("the optimizer Muon needs torch 2.9 or later") from error
        muon(
            params,
            grads,
            state["momentum"],
            lr=group["lr"],
            weight_decay=0.0,  # applied already
            momentum=group["momentum"],
            nesterov=group["nesterov"],
            ns_coefficients=group["ns_coefficients"],
            ns_steps=group["ns_steps"],
            eps=1e-7,
            adjust_lr_fn="match_rms_adamw",
            has_complex=False,
        )


def _adam_update(
    group: dict[str, Any], grads: list[Tensor], state: dict[str, list[Tensor]], inside: bool
) -> list[Tensor]:
    """Update Adam's means; return its update.

    Args:
        group: the settings.
        grads: the gradients.
        state: the means.
        inside: whether epsilon is added before the bias of the root is corrected, as in Keras's
            Adam, or after.
    """
    beta_1, beta_2 = group["betas"]
    first = 1 - beta_1 ** group["steps"]
    second = math.sqrt(1 - beta_2 ** group["steps"])
    torch._foreach_lerp_(state["momentum"], grads, 1 - beta_1)
    torch._foreach_mul_(state["velocity"], beta_2)
    torch._foreach_addcmul_(state["velocity"], grads, grads, 1 - beta_2)
    divisor = list(torch._foreach_sqrt(state["velocity"]))
    torch._foreach_div_(divisor, second)
    torch._foreach_add_(divisor, group["eps"] / second if inside else group["eps"])
    update = list(torch._foreach_div(state["momentum"], divisor))
    torch._foreach_div_(update, first)
    return update
