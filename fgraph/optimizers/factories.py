"""Optimizers by Keras's names: settings now, a torch optimizer once there are parameters."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import nn

from ..errors import Remembered
from . import update_rules as rules


class OptimizerFactory(Remembered):
    """Keras's settings of an optimizer; called with parameters it makes the torch optimizer.

    A factory rather than an optimizer, because the optimizer must be made after the model's
    parameters took their final form: moved to a device, sharded, frozen.

    Args:
        learning_rate: step size.
        weight_decay: share of `learning_rate` by which weights shrink each step (decoupled, as
            in AdamW), or None.
        clipnorm: largest norm of each parameter's gradient, or None.
        clipvalue: largest absolute value in a gradient, or None.
        global_clipnorm: largest norm of all gradients together, or None.
        name: accepted as in Keras; not used.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
    ) -> None:
        if isinstance(learning_rate, bool) or not isinstance(learning_rate, int | float):
            raise TypeError(
                f"learning_rate of {type(self).__name__} must be a number, got "
                f"{type(learning_rate).__name__}; for a schedule pass compile(scheduler=...)"
            )
        if learning_rate < 0:
            raise ValueError(
                f"learning_rate of {type(self).__name__} must not be negative, got {learning_rate}"
            )
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        self.clips = {key: value for key, value in clips.items() if value is not None}
        if len(self.clips) > 1:
            raise ValueError(
                f"give only one of clipnorm, clipvalue and global_clipnorm, got {self.clips}"
            )
        self.learning_rate = float(learning_rate)
        self.weight_decay = weight_decay or 0.0
        self.name = name or type(self).__name__

    decays: ClassVar[bool] = True
    """Whether what `make` returns applies the weight decay itself."""

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the torch optimizer for these parameters, before clipping is added."""
        raise NotImplementedError

    def __call__(self, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Make the torch optimizer.

        Args:
            params: the parameters to train.

        Returns:
            A `torch.optim.Optimizer` whose steps equal Keras's.
        """
        optimizer = self.make(list(params))
        if self.weight_decay and not self.decays:
            optimizer.register_step_pre_hook(functools.partial(_decay, self.weight_decay))
        for kind, limit in self.clips.items():
            optimizer.register_step_pre_hook(functools.partial(_clip, kind, limit))
        return optimizer


@torch.no_grad()
def _decay(rate: float, optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        params = [p for p in group["params"] if p.grad is not None]
        if params:
            torch._foreach_mul_(params, 1 - group["lr"] * rate)


def _clip(kind: str, limit: float, optimizer: torch.optim.Optimizer, *_: Any) -> None:
    params = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if kind == "clipvalue":
        nn.utils.clip_grad_value_(params, limit)
    elif kind == "global_clipnorm":
        nn.utils.clip_grad_norm_(params, limit)
    else:
        for p in params:
            nn.utils.clip_grad_norm_([p], limit)


_FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})


def fastest(params: list[nn.Parameter]) -> dict[str, bool]:
    """Return the keyword for torch's fastest implementation: fused, else foreach."""
    fused = all(p.device.type in _FUSED_DEVICES and torch.is_floating_point(p) for p in params)
    return {"fused": True} if fused else {"foreach": True}


class SGD(OptimizerFactory):
    """Stochastic gradient descent (Keras: `SGD`).

    Args:
        learning_rate: step size.
        momentum: share of the last step that is kept.
        nesterov: whether to look ahead by Nesterov's rule.
        **settings: As in `OptimizerFactory`.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, **settings)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum of SGD must be in [0, 1], got {momentum}")
        self.momentum = momentum
        self.nesterov = nesterov

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Return `torch.optim.SGD`, or the momentum rule of `rules`."""
        if not self.momentum and not self.weight_decay:
            return torch.optim.SGD(params, lr=self.learning_rate, **fastest(params))
        defaults = {
            "lr": self.learning_rate,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "weight_decay": self.weight_decay,
        }
        return rules.KerasMomentumSGD(params, defaults)


class RMSprop(OptimizerFactory):
    """RMSprop (Keras: `RMSprop`).

    Args:
        learning_rate: step size.
        rho: decay of the mean of squared gradients.
        momentum: share of the last step that is kept.
        epsilon: added under the root.
        centered: whether the gradient's mean is subtracted.
        **settings: As in `OptimizerFactory`.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, **settings)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.centered = centered

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the rule of `rules`."""
        defaults = {
            "lr": self.learning_rate,
            "rho": self.rho,
            "momentum": self.momentum,
            "eps": self.epsilon,
            "centered": self.centered,
            "weight_decay": self.weight_decay,
        }
        return rules.KerasRMSprop(params, defaults)


class _Betas(OptimizerFactory):
    """The settings that the family of Adam shares."""

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, **settings)
        for name, beta in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= beta < 1:
                raise ValueError(f"{name} of {type(self).__name__} must be in [0, 1), got {beta}")
        self.betas = (beta_1, beta_2)
        self.epsilon = epsilon


class Adam(_Betas):
    """Adam (Keras: `Adam`).

    Args:
        learning_rate: step size.
        beta_1: decay of the mean of gradients.
        beta_2: decay of the mean of squared gradients.
        epsilon: added to the root, before its bias is corrected.
        amsgrad: whether to divide by the largest mean of squares so far.
        **settings: As in `OptimizerFactory`.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **settings)
        self.amsgrad = amsgrad

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch's fused Adam with Keras's epsilon."""
        # with decoupled decay Adam is AdamW; torch's own Adam couples it
        cls: type[Any] = rules.KerasAdamW if self.weight_decay else rules.KerasAdam
        optimizer: torch.optim.Optimizer = cls(
            params,
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            amsgrad=self.amsgrad,
            **fastest(params),
        )
        return optimizer


class AdamW(Adam):
    """Adam with decoupled weight decay (Keras: `AdamW`).

    Args:
        learning_rate: step size.
        weight_decay: share of `learning_rate` by which weights shrink each step.
        **settings: As in `Adam`.
    """

    def __init__(
        self, learning_rate: float = 0.001, weight_decay: float = 0.004, **settings: Any
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay, **settings)


class Adagrad(OptimizerFactory):
    """Adagrad (Keras: `Adagrad`).

    Args:
        learning_rate: step size.
        initial_accumulator_value: where the sums of squared gradients start.
        epsilon: added under the root.
        **settings: As in `OptimizerFactory`.
    """

    decays = False

    def __init__(
        self,
        learning_rate: float = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, **settings)
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon = epsilon

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Return `torch.optim.Adagrad` whose sums start with epsilon inside."""
        # Keras: g / sqrt(sum + epsilon); torch: g / (sqrt(sum) + eps). As the sums only grow,
        # starting them at `initial + epsilon` with torch's eps at 0 is Keras's rule exactly.
        start = self.initial_accumulator_value + self.epsilon
        return torch.optim.Adagrad(
            params, lr=self.learning_rate, initial_accumulator_value=start, eps=0.0, foreach=True
        )


class Adadelta(OptimizerFactory):
    """Adadelta (Keras: `Adadelta`).

    Args:
        learning_rate: step size.
        rho: decay of both means of squares.
        epsilon: added under both roots.
        **settings: As in `OptimizerFactory`.
    """

    decays = False

    def __init__(
        self,
        learning_rate: float = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, **settings)
        self.rho = rho
        self.epsilon = epsilon

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Return `torch.optim.Adadelta`, whose rule is Keras's."""
        return torch.optim.Adadelta(
            params, lr=self.learning_rate, rho=self.rho, eps=self.epsilon, foreach=True
        )


class Adamax(_Betas):
    """Adamax (Keras: `Adamax`).

    Args:
        learning_rate: step size.
        beta_1: decay of the mean of gradients.
        beta_2: decay of the largest gradient.
        epsilon: added to the largest gradient.
        **settings: As in `OptimizerFactory`.
    """

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the rule of `rules`."""
        defaults = {
            "lr": self.learning_rate,
            "betas": self.betas,
            "eps": self.epsilon,
            "weight_decay": self.weight_decay,
        }
        return rules.KerasAdamax(params, defaults)


class Nadam(_Betas):
    """Adam with Nesterov momentum (Keras: `Nadam`).

    Args:
        learning_rate: step size.
        beta_1: decay of the mean of gradients.
        beta_2: decay of the mean of squared gradients.
        epsilon: added to the root.
        **settings: As in `OptimizerFactory`.
    """

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Return `torch.optim.NAdam`, whose rule is Keras's with a decay counted in steps."""
        return torch.optim.NAdam(
            params,
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            decoupled_weight_decay=True,
            momentum_decay=1.0,
            foreach=True,
        )
