"""Gradient descent with momentum or adaptive step sizes, as Keras defines it."""

from __future__ import annotations

from typing import Any

import torch

from . import update_rules as rules
from .optimizer_factory import Groups, OptimizerFactory, fastest
from .whole_matrix_steps import WholeSteps


class SGD(OptimizerFactory):
    """Stochastic gradient descent (Keras: `SGD`).

    Args:
        learning_rate: the step size.
        momentum: the fraction of the last step that is kept.
        nesterov: whether to look ahead by Nesterov's rule.
        **settings: as in `OptimizerFactory`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, **settings)
        self.momentum = self._number(momentum, "momentum", "[0, 1]")
        self.nesterov = nesterov

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """Return `torch.optim.SGD`, or the momentum rule of `update_rules`."""
        if not self.momentum and not self.weight_decay:
            return torch.optim.SGD(groups, lr=self.learning_rate, **fastest(groups))
        defaults = {
            "lr": self.learning_rate,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "weight_decay": self.weight_decay,
        }
        return rules.KerasMomentumSGD(groups, defaults)


class RMSprop(OptimizerFactory):
    """RMSprop (Keras: `RMSprop`).

    Args:
        learning_rate: the step size.
        rho: the decay of the mean of squared gradients.
        momentum: the fraction of the last step that is kept.
        epsilon: added under the root.
        centered: whether the gradient's mean is subtracted.
        **settings: as in `OptimizerFactory`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, **settings)
        self.rho = self._number(rho, "rho", "[0, 1]")
        self.momentum = self._number(momentum, "momentum", "[0, 1]")
        self.epsilon = self._number(epsilon, "epsilon")
        self.centered = centered

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """Return the optimizer of `update_rules`."""
        defaults = {
            "lr": self.learning_rate,
            "rho": self.rho,
            "momentum": self.momentum,
            "eps": self.epsilon,
            "centered": self.centered,
            "weight_decay": self.weight_decay,
        }
        return rules.KerasRMSprop(groups, defaults)


class Adagrad(OptimizerFactory):
    """Adagrad (Keras: `Adagrad`).

    Args:
        learning_rate: the step size.
        initial_accumulator_value: where the sums of squared gradients start.
        epsilon: added under the root.
        **settings: as in `OptimizerFactory`.
    """

    decays = False

    def __init__(
        self,
        learning_rate: Any = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, **settings)
        self.initial_accumulator_value = self._number(
            initial_accumulator_value, "initial_accumulator_value"
        )
        self.epsilon = self._number(epsilon, "epsilon")

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """Return `torch.optim.Adagrad` whose sums start with epsilon included."""
        # Keras: g / sqrt(sum + epsilon); torch: g / (sqrt(sum) + eps). As the sums only grow,
        # starting them at `initial + epsilon` with torch's eps at 0 is Keras's rule exactly.
        start = self.initial_accumulator_value + self.epsilon
        return torch.optim.Adagrad(
            groups, lr=self.learning_rate, initial_accumulator_value=start, eps=0.0, foreach=True
        )


class Adadelta(OptimizerFactory):
    """Adadelta (Keras: `Adadelta`).

    Args:
        learning_rate: the step size.
        rho: the decay of both means of squares.
        epsilon: added under both roots.
        **settings: as in `OptimizerFactory`.
    """

    decays = False

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, **settings)
        self.rho = self._number(rho, "rho", "[0, 1]")
        self.epsilon = self._number(epsilon, "epsilon")

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """Return `torch.optim.Adadelta`, whose rule is Keras's."""
        return torch.optim.Adadelta(
            groups, lr=self.learning_rate, rho=self.rho, eps=self.epsilon, foreach=True
        )


class Adafactor(OptimizerFactory):
    """Adafactor (Shazeer and Stern, 2018), torch's with Keras's settings (Keras: `Adafactor`).

    torch's kernels, like the embeddings', are the transpose of Keras's, so the same two axes of
    matrices are factored; of convolutions torch factors the axes of the window.

    Args:
        learning_rate: the largest step size.
        beta_2_decay: the exponent that makes the decay of the mean of squares slower over time.
        epsilon_1: the smallest squared gradient.
        epsilon_2: the smallest parameter scale that a step is relative to.
        clip_threshold: the largest root mean square of an update, at least 1.
        relative_step: accepted for compatibility with Keras; ignored, as in Keras: a step is always
            at most one over the root of the number of steps.
        **settings: as in `OptimizerFactory`.
    """

    decays = False

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, **settings)
        self.beta_2_decay = self._number(beta_2_decay, "beta_2_decay", "(-inf, 0]")
        self.epsilons = (
            self._number(epsilon_1, "epsilon_1"),
            self._number(epsilon_2, "epsilon_2"),
        )
        self.clip_threshold = self._number(clip_threshold, "clip_threshold", "[1, inf)")

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """Return `torch.optim.Adafactor`."""
        first, second = self.epsilons
        optimizer = torch.optim.Adafactor(
            groups,
            lr=self.learning_rate,
            beta2_decay=self.beta_2_decay,
            eps=(first**0.5, second),  # torch squares the first
            d=self.clip_threshold,
            foreach=True,
        )
        WholeSteps().attach(optimizer)
        return optimizer


class Ftrl(OptimizerFactory):
    """Follow the regularised leader (McMahan et al., 2013; Keras: `Ftrl`).

    Args:
        learning_rate: the step size.
        learning_rate_power: the power of the sums of squared gradients, at most 0.
        initial_accumulator_value: where these sums start.
        l1_regularization_strength: the factor of the sum of absolute weights.
        l2_regularization_strength: the factor of the sum of squared weights.
        l2_shrinkage_regularization_strength: the same, added to the gradient.
        beta: added to the inverse step size.
        **settings: as in `OptimizerFactory`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate, **settings)
        self.defaults = {
            "power": self._number(learning_rate_power, "learning_rate_power", "(-inf, 0]"),
            "start": self._number(initial_accumulator_value, "initial_accumulator_value"),
            "l1": self._number(l1_regularization_strength, "l1_regularization_strength"),
            "l2": self._number(l2_regularization_strength, "l2_regularization_strength"),
            "shrinkage": self._number(
                l2_shrinkage_regularization_strength, "l2_shrinkage_regularization_strength"
            ),
            "beta": self._number(beta, "beta"),
        }

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """Return the optimizer of `update_rules`."""
        defaults = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        return rules.KerasFtrl(groups, defaults | self.defaults)
