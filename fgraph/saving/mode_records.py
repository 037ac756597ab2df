"""Grad mode and autocast of a call as plain data."""

from __future__ import annotations

from typing import Any

import torch

from ..graph.modes import AUTOCAST_DEVICES, Autocast, Modes


def modes_to_data(modes: Modes) -> list[Any]:
    """Return modes as plain data: `["no_grad", [["cpu", True, "bfloat16", True]]]`."""
    autocast = [
        [device, enabled, str(dtype).removeprefix("torch."), cache]
        for device, enabled, dtype, cache in modes.autocast
    ]
    return [modes.grad, autocast]


def modes_from_data(data: Any) -> Modes:
    """Return the modes that `modes_to_data` wrote.

    Raises:
        ValueError: the data stand for none.
    """
    try:
        grad, autocast = data
        found = Modes(grad, tuple(_read_autocast(*settings) for settings in autocast))
    except TypeError as error:
        raise ValueError(f"{data!r:.100} is no grad mode and autocast") from error
    if grad not in ("", "no_grad", "inference_mode"):
        raise ValueError(f"{grad!r:.100} is no grad mode")
    return found


def _read_autocast(device: Any, enabled: Any, dtype: Any, cache_enabled: Any) -> Autocast:
    plain = {"None": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if device not in AUTOCAST_DEVICES or dtype not in plain:
        raise ValueError(f"there is no autocast of {device!r:.20} to {dtype!r:.20}")
    return Autocast(device, enabled is True, plain[dtype], cache_enabled is True)
