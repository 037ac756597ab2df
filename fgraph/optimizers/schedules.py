"""Learning rates as functions of the step, equal to Keras's of the same names.

Pass one as `learning_rate` of an optimizer of `fgraph.optimizers`; the rate then changes with every
step, in `fit` and in a training loop of your own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..absent.missing_names import missing_names
from ..common.configured import Remembered
from ..common.number_checks import real_number


class LearningRateSchedule(Remembered):
    """A learning rate as a function of the step. Subclasses define `__call__(step)`."""

    def __call__(self, step: float) -> float:
        """Return the learning rate of a step, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__(step)")

    def _number(self, value: Any, name: str, interval: str = "(-inf, inf)") -> float:
        return real_number(value, f"{name} of {type(self).__name__}", interval)

    def _steps(self, value: Any, name: str = "decay_steps", least: int = 1) -> float:
        return self._number(value, name, "(0, inf)" if least else "[0, inf)")


class ExponentialDecay(LearningRateSchedule):
    """`initial_learning_rate * decay_rate ** (step / decay_steps)`.

    Args:
        initial_learning_rate: the rate at step 0.
        decay_steps: the number of steps over which the rate is multiplied by `decay_rate`.
        decay_rate: the factor.
        staircase: whether the rate only changes every `decay_steps` steps.
        name: accepted for compatibility with Keras; ignored.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        self.initial_learning_rate = self._number(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = self._steps(decay_steps)
        self.decay_rate = self._number(decay_rate, "decay_rate")
        self.staircase = staircase

    def _periods(self, step: float) -> float:
        periods = float(step) / self.decay_steps
        return math.floor(periods) if self.staircase else periods

    def __call__(self, step: float) -> float:
        """Return the learning rate of a step."""
        return self.initial_learning_rate * math.pow(self.decay_rate, self._periods(step))


class InverseTimeDecay(ExponentialDecay):
    """`initial_learning_rate / (1 + decay_rate * step / decay_steps)`.

    Arguments as in `ExponentialDecay`.
    """

    def __call__(self, step: float) -> float:
        """Return the learning rate of a step."""
        return self.initial_learning_rate / (1 + self.decay_rate * self._periods(step))


class PiecewiseConstantDecay(LearningRateSchedule):
    """A constant rate up to each boundary.

    Args:
        boundaries: increasing steps; the first value holds up to and including the first.
        values: the rates, one more than boundaries.
        name: accepted for compatibility with Keras; ignored.

    Raises:
        ValueError: their numbers do not fit, or the boundaries do not increase.
    """

    def __init__(
        self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant"
    ) -> None:
        if len(boundaries) != len(values) - 1:
            raise ValueError(
                "PiecewiseConstantDecay needs one more value than boundaries, got "
                f"{len(boundaries)} boundaries and {len(values)} values"
            )
        if list(boundaries) != sorted(boundaries):
            raise ValueError(f"boundaries of PiecewiseConstantDecay must increase: {boundaries}")
        self.boundaries = [float(b) for b in boundaries]
        self.values = [self._number(v, "each of values") for v in values]

    def __call__(self, step: float) -> float:
        """Return the learning rate of a step."""
        return self.values[sum(boundary < float(step) for boundary in self.boundaries)]


class PolynomialDecay(LearningRateSchedule):
    """From `initial_learning_rate` to `end_learning_rate` by a power of the remaining steps.

    Args:
        initial_learning_rate: the rate at step 0.
        decay_steps: the steps to the end.
        end_learning_rate: the rate from there on.
        power: the power; 1 is a straight line.
        cycle: whether to start again after the end, with ever longer multiples of `decay_steps`.
        name: accepted for compatibility with Keras; ignored.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate = self._number(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = self._steps(decay_steps)
        self.end_learning_rate = self._number(end_learning_rate, "end_learning_rate")
        self.power = self._number(power, "power")
        self.cycle = cycle

    def __call__(self, step: float) -> float:
        """Return the learning rate of a step."""
        step, total = float(step), self.decay_steps
        if self.cycle:
            total *= max(math.ceil(step / total), 1)
        left = 1 - min(step, total) / total
        span = self.initial_learning_rate - self.end_learning_rate
        return span * math.pow(left, self.power) + self.end_learning_rate


class CosineDecay(LearningRateSchedule):
    """Half a cosine down to `alpha` times the rate, after an optional linear warm-up.

    Loshchilov and Hutter, 2017.

    Args:
        initial_learning_rate: the rate at step 0.
        decay_steps: the steps of the cosine.
        alpha: the share of the rate at the end.
        name: accepted for compatibility with Keras; ignored.
        warmup_target: the rate that the warm-up ends with, `None` for no warm-up.
        warmup_steps: the steps of the warm-up, before those of the cosine.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        self.initial_learning_rate = self._number(initial_learning_rate, "initial_learning_rate")
        self.decay_steps = self._steps(decay_steps)
        self.alpha = self._number(alpha, "alpha")
        self.warmup_target = warmup_target
        self.warmup_steps = self._steps(warmup_steps, "warmup_steps", least=0)

    def __call__(self, step: float) -> float:
        """Return the learning rate of a step."""
        step, rate = float(step), self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return rate + (self.warmup_target - rate) * step / self.warmup_steps
            step, rate = step - self.warmup_steps, self.warmup_target
        return rate * _half_cosine(min(step / self.decay_steps, 1), self.alpha)


class CosineDecayRestarts(LearningRateSchedule):
    """Cosine decays one after the other, each longer and lower than the one before.

    Loshchilov and Hutter, 2017.

    Args:
        initial_learning_rate: the rate at step 0.
        first_decay_steps: the steps of the first decay.
        t_mul: what the number of steps is multiplied by at each restart.
        m_mul: what the rate is multiplied by at each restart.
        alpha: the share of the rate at the end of a decay.
        name: accepted for compatibility with Keras; ignored.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate = self._number(initial_learning_rate, "initial_learning_rate")
        self.first_decay_steps = self._steps(first_decay_steps, "first_decay_steps")
        self.t_mul = self._number(t_mul, "t_mul", "[1, inf)")
        self.m_mul = self._number(m_mul, "m_mul")
        self.alpha = self._number(alpha, "alpha")

    def __call__(self, step: float) -> float:
        """Return the learning rate of a step."""
        step, length, rate = float(step), self.first_decay_steps, self.initial_learning_rate
        if self.t_mul == 1:
            restarts = math.floor(step / length)
            step, scale = step - restarts * length, self.m_mul**restarts
        else:
            scale = 1.0
            while step >= length:
                step, length, scale = step - length, length * self.t_mul, scale * self.m_mul
        return rate * _half_cosine(step / length, self.alpha, scale)


def _half_cosine(share: float, alpha: float, scale: float = 1.0) -> float:
    """Return the fraction of the rate that remains after a fraction of a cosine decay."""
    return (1 - alpha) * 0.5 * scale * (1 + math.cos(math.pi * share)) + alpha


if not TYPE_CHECKING:
    _CONFIG = "call `schedule.get_config()` and `CosineDecay.from_config(config)`"
    __getattr__ = missing_names(__name__, {"serialize": _CONFIG, "deserialize": _CONFIG})
