"""Keras's settings of `compile`, as this package's optimizers, losses and metrics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .... import losses, metrics, optimizers
from ....errors import LoadError
from ....losses.base import Loss
from ....metrics.base import Metric
from ....optimizers import OptimizerFactory, schedules
from ..keras_values import Values, custom_object, is_of_keras

# settings that change nothing in what is computed
_SILENT = {"name", "dtype", "jit_compile", "is_legacy_optimizer", "loss_scale_factor", "fn"}
_STRINGS = ("accuracy", "acc", "crossentropy", "ce")


def training_settings(
    written: Mapping[str, Any], values: Values, outputs: int
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the arguments of `compile`, and what was left out.

    Args:
        written: `compile_config` of a `.keras` file, or `training_config` of an `.h5` file.
        values: the user's classes and functions.
        outputs: the number of the model's outputs.

    Returns:
        The arguments, `None` if the optimizer or a loss is not known, and a list of texts.
    """
    left: list[str] = []
    try:
        found = _optimizer(written.get("optimizer", written.get("optimizer_config")), values)
        found["loss"] = _nested(written.get("loss"), lambda v: _loss(v, values))
        found["loss_weights"] = written.get("loss_weights")
    except (LoadError, TypeError, ValueError) as error:
        return None, [f"the training ({error})"]
    for key in ("metrics", "weighted_metrics"):
        try:
            made = _nested(written.get(key), lambda v: _metric(v, values))
        except (LoadError, TypeError, ValueError) as error:
            left.append(f"{key} ({error})")
            continue
        if outputs == 1 and isinstance(made, list) and len(made) == 1 and isinstance(made[0], list):
            made = made[0]
        found[key] = made
    return found, left


def _nested(written: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(written, list):
        return [_nested(item, leaf) for item in written]
    if isinstance(written, dict) and "class_name" not in written:
        return {key: _nested(item, leaf) for key, item in written.items()}
    return None if written is None else leaf(written)


def _optimizer(written: Any, values: Values) -> dict[str, Any]:
    """Return the arguments of `compile` for an optimizer of Keras."""
    if isinstance(written, str):
        return {"optimizer": optimizers.get(written)}
    kind, config = _parts(written, "optimizer")
    if kind == "LossScaleOptimizer":
        return _optimizer(config.get("inner_optimizer", config.get("optimizer")), values)
    cls = _class(optimizers, kind, OptimizerFactory, written, values)
    arguments = dict(config)
    found: dict[str, Any] = {}
    every = arguments.pop("gradient_accumulation_steps", None)
    if every:
        found["gradient_accumulation_steps"] = every
    rate = arguments.get("learning_rate", arguments.pop("lr", None))
    decay = arguments.pop("decay", 0.0)
    if isinstance(rate, dict):
        kind, config = _parts(rate, "learning rate")
        schedule = _class(schedules, kind, schedules.LearningRateSchedule, rate, values)
        rate = _made(schedule, config)
    elif decay:
        rate = schedules.InverseTimeDecay(rate, 1, decay)
    if rate is not None:
        arguments["learning_rate"] = rate
    return {"optimizer": _made(cls, arguments), **found}


def _loss(written: Any, values: Values) -> Any:
    function = _function(written, values)
    if function is not None:
        return losses.get(function) if isinstance(function, str) else function
    kind, config = _parts(written, "loss")
    if kind in ("LossFunctionWrapper", "MeanMetricWrapper"):
        return _loss(config.get("fn"), values)
    arguments = dict(config)
    if arguments.get("reduction") == "auto":  # of Keras 2
        del arguments["reduction"]
    return _made(_class(losses, kind, Loss, written, values), arguments)


def _metric(written: Any, values: Values) -> Any:
    if written in _STRINGS:
        return written
    function = _function(written, values)
    if function is not None:
        metrics.get(function)
        return function
    kind, config = _parts(written, "metric")
    if kind == "MeanMetricWrapper":
        return _metric(config.get("fn"), values)
    return _made(_class(metrics, kind, Metric, written, values), config, names=True)


def _function(written: Any, values: Values) -> Any:
    """Return the function, or its name, of an object; `None` if it is not a function."""
    if isinstance(written, dict) and written.get("class_name") == "function":
        name = written.get("config")
        found = custom_object({**written, "class_name": name}, values.custom)
        if found is not None:
            return found
        if not is_of_keras(written):
            raise LoadError(f"the function {name!r:.60} is not known here")
        written = name
    if not isinstance(written, str):
        return None
    return custom_object({"class_name": written}, values.custom) or written


def _parts(written: Any, what: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(written, dict) or not isinstance(written.get("class_name"), str):
        raise LoadError(f"the {what} {written!r:.80} is not known here")
    config = written.get("config")
    return written["class_name"].removeprefix("Custom>"), config if isinstance(config, dict) else {}


def _class(
    room: Any, kind: str, base: type, written: Mapping[str, Any], values: Values
) -> Callable[..., Any]:
    found: Any = custom_object(written, values.custom)
    if found is None and kind.isidentifier() and not kind.startswith("_"):
        found = vars(room).get(kind)
        if not (isinstance(found, type) and issubclass(found, base) and found is not base):
            found = None
    if found is None:
        raise LoadError(f"{kind!r:.60} is not known here")
    return found  # type: ignore[no-any-return]


def _made(cls: Callable[..., Any], config: Mapping[str, Any], names: bool = False) -> Any:
    """Call a class with those settings that it has."""
    known: set[str] = set()
    for part in getattr(cls, "__mro__", (cls,))[:-1] if isinstance(cls, type) else (cls,):
        init = vars(part).get("__init__") if isinstance(part, type) else part
        known |= set(inspect.signature(init).parameters) if init is not None else set()
    arguments = {}
    for key, value in config.items():
        if value is None or (key in _SILENT and not (names and key == "name")):
            continue
        if key not in known:
            if value is False:
                continue
            raise LoadError(f"{getattr(cls, '__name__', cls)}: {key}={value!r:.40} is not known")
        arguments[key] = value
    return cls(**arguments)
