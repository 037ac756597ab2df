"""`OptimizerFactory`: Keras's settings of an optimizer, which make a torch optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from ..common.configured import Remembered
from ..common.mixed_parameters import by_kind, kind_of
from ..common.number_checks import real_number, whole_number
from ..errors import unknown_name
from .learning_rate import with_learning_rate
from .step_hooks import StepHooks

Groups = list[dict[str, Any]]

_INSTEAD = {
    "lr": "write learning_rate=",
    "gradient_accumulation_steps": "pass it to compile(gradient_accumulation_steps=...)",
    "loss_scale_factor": "compile(precision='float16') scales the loss",
    "decay": "pass learning_rate=schedules.InverseTimeDecay(rate, 1, decay)",
}


_OF_OPTIMIZERS = frozenset(
    "add_param_group apply apply_gradients assign build iterations minimize param_groups "
    "state_dict step update_step variables zero_grad".split()
)


class OptimizerFactory(Remembered):
    """Keras's settings of an optimizer; a call with parameters makes the torch optimizer.

    A factory rather than an optimizer, because the optimizer must be made after the model's
    parameters have their final form: moved to a device, sharded, frozen.

    Args:
        learning_rate: the step size; or an object of `optimizers.schedules`, or a function of the
            step, counted from 0.
        weight_decay: the fraction of the weights, times `learning_rate`, that each step subtracts
            (decoupled, as in AdamW), or `None`.
        clipnorm: the largest norm of each parameter's gradient, or `None`.
        clipvalue: the largest absolute value in a gradient, or `None`.
        global_clipnorm: the largest norm of all gradients together, or `None`.
        use_ema: whether to keep moving averages of the weights, which replace them when `fit`
            ends.
        ema_momentum: the fraction of the averages that is kept each step.
        ema_overwrite_frequency: the number of steps after which the averages also replace the
            weights, or `None`.
        name: accepted for compatibility with Keras; ignored.

    Raises:
        TypeError: an argument is unknown, or of the wrong type.
        ValueError: a number is out of range.
    """

    decays: ClassVar[bool] = True
    """Whether the optimizer that `make` returns applies the weight decay itself."""

    def __init__(
        self,
        learning_rate: float | Callable[..., Any] = 0.001,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        name: str | None = None,
        **unknown: Any,
    ) -> None:
        self._refuse_unknown(unknown)
        scheduled = callable(learning_rate) and not isinstance(learning_rate, type)
        self.schedule: Any = learning_rate if scheduled else None
        self.learning_rate = 0.0
        if self.schedule is None:
            self.learning_rate = self._number(learning_rate, "learning_rate", "[0, inf)")
        self.weight_decay = self._number(weight_decay or 0.0, "weight_decay", "[0, inf)")
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = [
            (key, self._number(value, key, "(0, inf]"))
            for key, value in clips.items()
            if value is not None
        ]
        if len(given) > 1:
            raise ValueError(
                f"give only one of clipnorm, clipvalue and global_clipnorm, got {dict(given)}"
            )
        self.clip = given[0] if given else None
        momentum = self._number(ema_momentum, "ema_momentum", "[0, 1]")
        self.ema_momentum = momentum if use_ema else None
        self.ema_overwrite_frequency = None
        if ema_overwrite_frequency is not None:
            self.ema_overwrite_frequency = whole_number(
                ema_overwrite_frequency, "ema_overwrite_frequency"
            )
        self.name = name or type(self).__name__
        self._undecayed_names: list[str] = []
        self._undecayed: list[Tensor] = []

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name not in _OF_OPTIMIZERS:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            kind = type(self).__name__
            raise AttributeError(
                f"optimizers.{kind} has no {name!r}: it holds settings, and compile makes the "
                "torch optimizer from it. In a loop of your own make it from the parameters, "
                f"optimizer = optimizers.{kind}(...)(model.parameters()); then "
                "`optimizer.zero_grad(); loss.backward(); optimizer.step()`"
            )

    def _refuse_unknown(self, given: dict[str, Any]) -> None:
        for name in given:
            if name in _INSTEAD:
                raise TypeError(f"{type(self).__name__} has no {name!r}: {_INSTEAD[name]}")
            inits = [vars(cls).get("__init__") for cls in type(self).__mro__[:-1]]
            known = [key for init in inits if init for key in inspect.signature(init).parameters]
            known = [key for key in known if key not in ("self", "settings", "unknown")]
            raise TypeError(f"{type(self).__name__}: {unknown_name('argument', name, known)}")

    def _number(self, value: Any, name: str, interval: str = "[0, inf)") -> float:
        return real_number(value, f"{name} of {type(self).__name__}", interval)

    def make(self, groups: Groups) -> torch.optim.Optimizer:
        """Return the torch optimizer for parameter groups, without hooks."""
        raise NotImplementedError

    def epsilon_of_adam(self) -> float | None:
        """Return Keras's epsilon if torch's formula has its epsilon elsewhere, or `None`."""
        return None

    def exclude_from_weight_decay(
        self,
        var_list: Iterable[Tensor] | None = None,
        var_names: Sequence[str] | None = None,
    ) -> None:
        """Leave parameters out of the weight decay.

        Args:
            var_list: parameters.
            var_names: substrings of parameters' names, such as `"bias"` or `"norm"`.
        """
        self._undecayed += list(var_list or [])
        self._undecayed_names += [var_names] if isinstance(var_names, str) else var_names or []

    def __call__(self, params: Iterable[Any]) -> torch.optim.Optimizer:
        """Make the torch optimizer.

        Args:
            params: the parameters to train, or pairs of names and parameters, as
                `model.named_parameters()` yields them.

        Returns:
            A `torch.optim.Optimizer` whose steps equal Keras's.

        Raises:
            ValueError: a name given to `exclude_from_weight_decay` matches no parameter.
        """
        pairs = [item if isinstance(item, tuple) else ("", item) for item in params]
        optimizer = self.make(_of_one_kind(self._groups(pairs)))
        hooks = StepHooks(
            self.schedule,
            self.clip,
            0.0 if self.decays else self.weight_decay,
            self.epsilon_of_adam(),
            self.ema_momentum,
            self.ema_overwrite_frequency,
        )
        return with_learning_rate(optimizer, hooks)

    def _groups(self, pairs: list[tuple[str, Any]]) -> Groups:
        """Return the parameters as one group, or as one with and one without weight decay."""
        for part in self._undecayed_names:
            if not any(part in name for name, _ in pairs):
                raise ValueError(
                    f"exclude_from_weight_decay: no parameter has {part!r} in its name; there are "
                    f"{', '.join(name or '(without a name)' for name, _ in pairs[:8])}"
                    f"{', ...' * (len(pairs) > 8)}. An optimizer made by hand needs "
                    "model.named_parameters()"
                )
        listed = {id(p) for p in self._undecayed}
        kept: list[Any] = []
        left_out: list[Any] = []
        for name, p in pairs:
            excluded = id(p) in listed or any(part in name for part in self._undecayed_names)
            (left_out if excluded else kept).append(p)
        groups: Groups = [{"params": kept}] if kept else []
        if left_out:
            groups.append({"params": left_out, "weight_decay": 0.0, "decays": False})
        return groups


def _of_one_kind(groups: Groups) -> Groups:
    """Divide groups so that each has DTensors on one mesh, or plain tensors, only."""
    return [{**group, "params": same} for group in groups for same in by_kind(group["params"])]


_FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})


def fastest(groups: Groups) -> dict[str, bool]:
    """Return the keyword for torch's fastest implementation: fused, else foreach."""
    fused = all(
        p.device.type in _FUSED_DEVICES and torch.is_floating_point(p) and kind_of(p) is None
        for group in groups
        for p in group["params"]
    )
    return {"fused": True} if fused else {"foreach": True}
