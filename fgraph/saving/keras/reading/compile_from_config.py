"""Compile a model with the settings in a file of Keras, and restore the optimizer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ....errors import LoadError
from ....graph.nested import iter_leaves
from ....model import Model
from ....training.state import TrainingState
from ..hdf5 import Hdf5
from ..keras_values import Values
from ..optimizer_slots import optimizer_state, slots_together
from .filler import Filler
from .training_settings import training_settings


def compile_from_config(
    model: Model,
    written: Any,
    values: Values,
    filler: Filler,
    file: Hdf5,
    paths: Sequence[str],
) -> list[str]:
    """Compile a model with Keras's settings and the state of its optimizer.

    Args:
        model: the model.
        written: the settings, `None` for a model that was not compiled.
        values: the user's classes and functions.
        filler: has the weights in Keras's order.
        file: the file of the optimizer's variables.
        paths: their datasets, in order.

    Returns:
        Descriptions of what was left out.
    """
    if not isinstance(written, Mapping) or not written:
        return []
    outputs = len([*iter_leaves(model.output_shape)]) if model.built else 1
    outputs = len(model.outputs) if model.built else outputs
    settings, left = training_settings(written, values, outputs)
    if settings is None:
        return left
    if len(values.mixed) == 1:
        settings["precision"] = next(iter(values.mixed))
    try:
        model.compile(**settings)
    except (TypeError, ValueError) as error:
        return [*left, f"the training ({error})"]
    values.mixed.clear()
    paths = paths[_own_variables(written) :]
    if paths and settings["optimizer"] is not None:
        try:
            _take_over_state(model, settings, filler, file, list(paths))
        except (LoadError, TypeError, ValueError) as error:
            left.append(f"the optimizer's state ({error})")
    return left


def _own_variables(written: Mapping[str, Any]) -> int:
    """Return the number of variables before those of the inner optimizer.

    They belong to a `LossScaleOptimizer`: the step, the learning rate, the scale and its age.
    """
    optimizer = written.get("optimizer", written.get("optimizer_config"))
    kind = optimizer.get("class_name") if isinstance(optimizer, Mapping) else None
    return 4 if kind == "LossScaleOptimizer" else 0


def _take_over_state(
    model: Model, settings: Mapping[str, Any], filler: Filler, file: Hdf5, paths: list[str]
) -> None:
    factory: Any = settings["optimizer"]
    trained = filler.trained()

    def reads(path: str) -> Callable[[Sequence[int]], np.ndarray[Any, Any]]:
        return lambda shape: file.read(path, shape, "the optimizer's state")

    scalars_alone = len(paths) <= 2 and all(file.shape(path) == () for path in paths)
    if scalars_alone and (not paths or int(reads(paths[0])([])) == 0):
        return  # it has made no step yet
    held = {id(p) for _, part, weight in trained for p in weight.tensors(part)}
    named = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    if held != set(named):
        raise LoadError("other weights are trained here than in Keras")
    paths = _in_new_order(paths, slots_together(factory))
    shapes = [file.shape(path) for path in paths]
    if None in shapes or len(paths) > 20 * (len(trained) + 1):
        raise LoadError("its variables are no arrays, or too many")
    state: Any = model._trainer
    trying = TrainingState(state.settings)
    optimizer = trying.make_optimizer(model)
    kept = optimizer_state(
        factory, optimizer, trained, [reads(path) for path in paths],
        [tuple(shape) for shape in shapes if shape is not None],
        settings.get("gradient_accumulation_steps", 1),
    )  # fmt: skip
    state.loaded = {"optimizer": kept, "accumulated": 0}


def _in_new_order(paths: list[str], together: int) -> list[str]:
    """Reorder the variables of optimizers from before Keras 2.11.

    Those have all first slots, then all second slots, and no learning rate.
    """
    if not paths or not re.search(r"/iter(:0)?$", paths[0]):
        return paths
    by_slot: dict[str, list[str]] = {}
    for path in paths[1:]:
        by_slot.setdefault(path.rpartition("/")[2], []).append(path)
    slots = list(by_slot.values())
    if any(len(slot) != len(slots[0]) for slot in slots):
        raise LoadError("its variables are not as many for each weight")
    first = [path for one in zip(*slots[:together], strict=True) for path in one]
    return [paths[0], *first, *(path for slot in slots[together:] for path in slot)]
