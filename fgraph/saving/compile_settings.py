"""The settings of `compile` and the optimizer's state, as data."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import SaveError
from ..training.settings import Compiled, Schedule
from .decoder import Decoder
from .encoder import Encoder

_PRECISIONS = {None: None, torch.bfloat16: "bfloat16", torch.float16: "float16"}


def encode_compiled(compiled: Compiled, encoder: Encoder) -> dict[str, Any]:
    """Write what `compile` was told, and how far training has come.

    Raises:
        SaveError: a loss, metric or scheduler cannot be written as data.
    """
    settings = {
        "optimizer": compiled.optimizer_given,
        "loss": compiled.loss,
        "metrics": compiled.metrics,
        "loss_weights": compiled.loss_weights,
        "weighted_metrics": compiled.weighted_metrics,
        "scheduler": _schedule(compiled.schedule),
        "precision": _PRECISIONS[compiled.autocast_dtype],
        "clip_grad_norm": compiled.clip_grad_norm,
        "gradient_accumulation_steps": compiled.accumulation,
    }
    written: dict[str, Any] = {}
    for name, value in settings.items():
        try:
            written[name] = encoder.value(value)
        except SaveError as error:
            raise SaveError(
                f"the {name} given to compile cannot be saved: {error}. "
                "Or leave the settings out with include_optimizer=False"
            ) from error
    state = compiled.saved if compiled.optimizer is None else compiled.training_state()
    # gradients that wait for more batches are not saved: the next step begins anew
    return {"settings": written, "state": encoder.value(state and {**state, "waiting": 0})}


def _schedule(schedule: Schedule | None) -> Any:
    if schedule is None:
        return None
    if hasattr(schedule.given, "step"):
        raise SaveError(
            f"{type(schedule.given).__name__} is bound to its optimizer: give compile() a callable "
            "of the optimizer, such as functools.partial(StepLR, step_size=10)"
        )
    return schedule.given if schedule.when is None else (schedule.given, schedule.when)


def decode_compiled(model: Any, written: dict[str, Any], decoder: Decoder) -> None:
    """Compile a model with the settings that `encode_compiled` wrote."""
    settings = {name: decoder.value(value) for name, value in written["settings"].items()}
    model.compile(**settings)
    model._compiled.saved = decoder.value(written["state"])
