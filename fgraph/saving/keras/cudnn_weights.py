"""Weights of `CuDNNLSTM` and `CuDNNGRU` of Keras 2, which lie as cuDNN wants them.

The input kernel of each gate is kept as the numbers of a matrix `(units, features)` in an array of
shape `(features, units)`, the recurrent one is transposed, and each gate has a bias for either.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
CLASSES = {"CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU"}
_GATES = {"LSTM": 4, "GRU": 3}


def stored_shape(kind: str, weight: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that the file has for a weight of a layer.

    Args:
        kind: the class of the layer that takes its place.
        weight: Keras's name of the weight.
        shape: that which the layer has.
    """
    if weight != "bias":
        return shape
    return (2 * shape[-1],) if kind == "LSTM" else (shape[0] * shape[1],)


def usual(kind: str, weight: str, stored: Array) -> Array:
    """Return a weight as the layer that takes the place of cuDNN's has it."""
    if weight == "bias":
        halves = stored.reshape(2, -1)
        return halves.sum(0) if kind == "LSTM" else halves
    gates = np.split(stored, _GATES[kind], axis=1)
    if weight == "kernel":
        return np.concatenate([gate.reshape(gate.shape[::-1]).T for gate in gates], axis=1)
    return np.concatenate([gate.T for gate in gates], axis=1)
