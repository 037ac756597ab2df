"""The base of metrics: accumulated over batches, on the device until they are read."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..common.configured import Remembered, declares
from ..losses.base import weighted, within
from .metric_variables import MetricVariable, initial_value

_PENDING_LIMIT = 128


def _wide(device: torch.device) -> torch.dtype:
    """Return the dtype of sums: float64, except on Apple's devices, which have none."""
    return torch.float32 if device.type == "mps" else torch.float64


class RunningMean:
    """A weighted mean whose terms stay on their device.

    Terms are collected and added up many at a time, so that a single term needs no kernel. When
    they are added up depends only on their number, not on reads of the mean, so the sum is the same
    bit for bit however often it is read.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all terms."""
        self._terms: list[Tensor] = []
        self._scale = 1.0
        self._total: Tensor | None = None
        self._weight = 0.0
        self._weights: Tensor | None = None

    def add(self, term: Tensor, scale: float, weight: float | Tensor) -> None:
        """Add `scale * term` to the total, and `weight` to the total weight.

        Args:
            term: a scalar without gradient, or several to be added up; kept, so it must not be
                changed afterwards.
            scale: A number on the host, for example the batch size for a mean over the batch.
            weight: the weight of the term, on the host or on the device.
        """
        terms = self._terms
        if terms and (
            scale != self._scale or len(terms) == _PENDING_LIMIT or term.shape != terms[0].shape
        ):
            self._total = self._sum()
            terms = self._terms = []
        self._scale = scale
        terms.append(term)
        if isinstance(weight, Tensor):
            wide = weight.to(_wide(weight.device))
            self._weights = wide if self._weights is None else self._weights + wide
        else:
            self._weight += weight

    def _sum(self) -> Tensor | None:
        if not self._terms:
            return self._total
        terms = torch.stack(self._terms)
        added = terms.sum(dtype=_wide(terms.device)) * self._scale
        return added if self._total is None else self._total + added

    @property
    def seen(self) -> bool:
        """Whether there was any term."""
        return bool(self._terms) or self._total is not None

    def summary(self) -> Tensor:
        """Return the pair (total, total weight), of shape `(2,)`; pairs can be added."""
        total = self._sum()
        if total is None:
            return torch.zeros(2, dtype=torch.float64)
        weight = torch.full_like(total, self._weight)
        if self._weights is not None:
            weight = weight + self._weights.to(weight.device)
        return torch.stack([total, weight])

    def state_dict(self) -> dict[str, Any]:
        """Return the state in plain containers; loading it continues bit for bit."""
        return {
            "terms": list(self._terms),
            "scale": self._scale,
            "total": self._total,
            "weight": self._weight,
            "weights": self._weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        self._terms = list(state["terms"])
        self._scale = state["scale"]
        self._total = state["total"]
        self._weight = state["weight"]
        self._weights = state["weights"]


def snake_case(name: str) -> str:
    """Return the key in logs for a class or function of that name, as Keras forms it."""
    words = re.sub(r"\W+", "", name)
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", words)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


class Metric(Remembered):
    """A streaming metric with Keras's interface: `update_state`, `result`, `reset_state`.

    A metric whose states can be added over processes, as all of this package, defines `summary` and
    `compute`. Your own metric may define just `update_state`, `result` and `reset_state`, and
    `merge` for use in several processes.

    Args:
        name: the key in logs; the class's name in snake case by default.
        dtype: taken as in Keras, without effect: sums are kept in float64.
    """

    direction: str | None = None
    """`"max"` if more is better, `"min"` if less is, `None` if that is not known."""

    takes_weights: bool = True
    """Whether `update_state` takes sample weights; masked values are cut out otherwise."""

    per_sample: bool = False
    """Whether `update_state` adds up over samples, so that `evaluate` may call it with several
    batches at once. A class says so for itself: its subclasses do not inherit it."""

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or snake_case(type(self).__name__)

    def add_variable(
        self,
        shape: Any,
        initializer: Any = "zeros",
        dtype: Any = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> MetricVariable:
        """Return a new variable of the metric's state, as Keras's method of this name.

        A plain tensor as an attribute works as well.

        Args:
            shape: its shape, such as `()`.
            initializer: `"zeros"`, `"ones"` or a function of a shape.
            dtype: a dtype, float32 by default.
            aggregation: how to combine the values of several processes: `"sum"`.
            name: a name, for messages.
        """
        if aggregation != "sum":
            raise ValueError(
                f"add_variable of {type(self).__name__}: the variables of several processes are "
                f"added up, aggregation={aggregation!r} is not available: define merge"
            )
        # not in `__init__`, which a subclass may not call
        known: dict[str, MetricVariable] = vars(self).setdefault("_variables", {})
        name = name or f"variable_{len(known)}"
        if name in known:
            raise ValueError(f"{type(self).__name__} has a variable {name!r} already")
        made = known[name] = MetricVariable(initial_value(shape, initializer, dtype), name)
        return made

    def add_weight(
        self,
        shape: Any = (),
        initializer: Any = None,
        dtype: Any = None,
        name: str | None = None,
    ) -> MetricVariable:
        """Return a new variable; see `add_variable`."""
        return self.add_variable(shape, initializer, dtype, name=name)

    @property
    def variables(self) -> list[MetricVariable]:
        """The variables made by `add_variable`, in that order."""
        return list(vars(self).get("_variables", {}).values())

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add one batch.

        Args:
            y_true: the target.
            y_pred: the prediction.
            sample_weight: weights of shape `(N,)` or of the values' shape, or `None`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update_state")

    def joins(self) -> bool:
        """Return whether one update with concatenated batches equals an update for each."""
        return declares(self, "per_sample")

    def summary(self) -> Tensor:
        """Return the whole state as one tensor; summaries of several processes can be added."""
        raise NotImplementedError(f"{type(self).__name__} must define summary or result")

    def compute(self, summary: Tensor) -> Tensor:
        """Return the metric's value, given its (summed) summary."""
        raise NotImplementedError(f"{type(self).__name__} must define compute or result")

    def result(self) -> Any:
        """Return the value over all batches since `reset_state`."""
        return self.compute(self.summary())

    def merge(self, states: list[dict[str, Any]]) -> None:
        """Add the states of other processes; for a metric that overrides `result`.

        By default the variables made by `add_variable` are added up, as in Keras.

        Args:
            states: the `state_dict()` of each of them.
        """
        if not self.variables:
            raise NotImplementedError(f"{type(self).__name__} must define merge, or summary")
        for state in states:
            for variable, value in zip(self.variables, state["variables"], strict=True):
                variable.assign_add(value.to(variable.value.device))

    def reset_state(self) -> None:
        """Forget all batches; by default variables become zero, as in Keras."""
        if not self.variables:
            raise NotImplementedError(f"{type(self).__name__} must define reset_state")
        for variable in self.variables:
            variable.assign(torch.zeros_like(variable.value))

    def keys(self, key: str) -> list[str]:
        """Return the names in logs: the given key, unless `result` has several values."""
        return [key]

    def state_dict(self) -> dict[str, Any]:
        """Return the tensors and numbers among the attributes, to continue from later."""
        kept = (Tensor, int, float, list)
        state: dict[str, Any] = {
            k: v for k, v in vars(self).items() if v is None or isinstance(v, kept)
        }
        if self.variables:
            state["variables"] = [variable.value for variable in self.variables]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        state = dict(state)
        for variable, value in zip(self.variables, state.pop("variables", []), strict=True):
            variable.assign(value)
        vars(self).update(state)


class MeanMetric(Metric):
    """The mean of a function's values over all samples (Keras: `MeanMetricWrapper`).

    Args:
        fn: `fn(y_true, y_pred, **settings)` returns values of shape `(N, ...)`, or a scalar that
            is the batch's mean.
        name: the key in logs; by default the function's name, in snake case.
        direction: `"max"`, `"min"` or `None`.
        **settings: keyword arguments of every call.
    """

    def __init__(
        self,
        fn: Callable[..., Tensor],
        name: str | None = None,
        direction: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(name or snake_case(getattr(fn, "__name__", type(fn).__name__)))
        self.fn = fn
        self.direction = direction
        self.settings = settings
        self._mean = RunningMean()

    def update_state(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> None:
        """Add the values of one batch; see `Metric.update_state`.

        Raises:
            ValueError: there are weights, but only one value for the whole batch.
        """
        values = self.fn(y_true, y_pred, **self.settings)
        if not isinstance(values, Tensor):
            try:
                values = torch.as_tensor(values)
            except (TypeError, ValueError, RuntimeError) as error:
                raise TypeError(
                    f"metric {self.name!r} returned {values!r}; it must return a number, or one "
                    "value for each sample"
                ) from error
        if not values.ndim:
            if sample_weight is not None:
                raise ValueError(
                    f"metric {self.name!r} returns one number for the whole batch, so weights and "
                    "masks cannot be applied: let it return one value for each sample"
                )
            self._mean.add(values, y_pred.shape[0], y_pred.shape[0])
            return
        self._add(values, sample_weight)

    def _add(self, values: Tensor, sample_weight: Tensor | None) -> None:
        """Add values; as in Keras, each sample's values are averaged first."""
        samples, count = values.shape[0], values.numel()
        share = samples / count if count else 1.0
        if sample_weight is None:
            # small whole numbers give the same sum in any order
            waits = count <= _PENDING_LIMIT * 8 and share == 1 and values.dtype is torch.bool
            self._mean.add(values if waits else values.sum(), share, samples)
        else:
            weights = weighted(torch.ones_like(values, dtype=torch.float32), sample_weight)
            self._mean.add((values * weights).sum(), share, weights.sum() * share)

    def joins(self) -> bool:
        """Return whether it joins batches; not where values are along the axis of the samples."""
        return super().joins() and within(self.settings.get("axis", -1))

    def summary(self) -> Tensor:
        """Return (sum of weighted values, sum of weights)."""
        return self._mean.summary()

    def compute(self, summary: Tensor) -> Tensor:
        """Return the mean, and 0 over nothing (Keras's `divide_no_nan`)."""
        return torch.where(summary[1] == 0, torch.zeros_like(summary[0]), summary[0] / summary[1])

    def reset_state(self) -> None:
        """Forget all batches."""
        self._mean.reset()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the running mean."""
        return self._mean.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state returned by `state_dict`."""
        self._mean.load_state_dict(state)
