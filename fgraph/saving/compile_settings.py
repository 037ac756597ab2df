"""The settings of `compile` and the optimizer's state, as data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..constructions.differences import PLAIN
from ..errors import LoadError, SaveError
from ..graph.nested import iter_leaves
from ..training.settings import CompileSettings
from ..training.state import TrainingState
from .decoder import Decoder
from .encoder import Encoder
from .graph_records import check_fields


def encode_compiled(state: TrainingState, encoder: Encoder) -> dict[str, Any]:
    """Write the settings of `compile` and the optimizer's state.

    Raises:
        SaveError: a loss, metric or scheduler cannot be written as data.
    """
    scheduler = state.settings.scheduler
    if scheduler is not None and hasattr(scheduler.given, "step"):
        raise SaveError(
            f"the scheduler given to compile cannot be saved: {type(scheduler.given).__name__} is "
            "bound to its optimizer. Give compile() a callable of the optimizer, such as "
            "functools.partial(StepLR, step_size=10), or leave the settings out with "
            "include_optimizer=False"
        )
    written: dict[str, Any] = {}
    first = len(encoder.objects)
    for name, value in state.settings.arguments().items():
        try:
            written[name] = encoder.value(value)
        except SaveError as error:
            raise SaveError(
                f"the {name} given to compile cannot be saved: {error}. "
                "Or leave the settings out with include_optimizer=False"
            ) from error
    kept = state.loaded if state.optimizer is None else state.optimizer_state()
    # accumulated gradients are not saved: the next step starts from zero
    kept = encoder.value(kept and {**kept, "accumulated": 0})
    return {"settings": written, "state": kept, "objects": first}


def decode_compiled(model: Any, written: dict[str, Any], decoder: Decoder) -> None:
    """Compile a model with the settings that `encode_compiled` wrote.

    Raises:
        LoadError: a setting is unknown, or the state holds more than numbers, texts and tensors.
    """
    check_fields("the training", written, {"settings", "state", "objects"})
    settings, state = decoder.value(written["settings"]), decoder.value(written["state"])
    for leaf in iter_leaves(state):
        if type(leaf) not in PLAIN and not isinstance(leaf, (Tensor, torch.dtype, set)):
            raise LoadError(f"the state of training holds {leaf!r:.80}, which is no plain value")
    model._train_with(CompileSettings(**settings))  # not `compile`, which may be torch's
    model._trainer.loaded = state
