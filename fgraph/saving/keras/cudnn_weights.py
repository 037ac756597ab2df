"""Weights of Keras 2's `CuDNNLSTM` and `CuDNNGRU`, which are in cuDNN's layout.

The input kernel of each gate is a matrix `(units, features)`, stored as an array of shape
`(features, units)`; the recurrent kernel is transposed; each gate has a bias for both kernels.
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
        kind: the class of the layer that replaces it.
        weight: Keras's name of the weight.
        shape: that which the layer has.
    """
    if weight != "bias":
        return shape
    return (2 * shape[-1],) if kind == "LSTM" else (shape[0] * shape[1],)


def usual(kind: str, weight: str, stored: Array) -> Array:
    """Return a weight in the layout of the layer that replaces cuDNN's."""
    if weight == "bias":
        halves = stored.reshape(2, -1)
        return halves.sum(0) if kind == "LSTM" else halves
    gates = np.split(stored, _GATES[kind], axis=1)
    if weight == "kernel":
        return np.concatenate([gate.reshape(gate.shape[::-1]).T for gate in gates], axis=1)
    return np.concatenate([gate.T for gate in gates], axis=1)
