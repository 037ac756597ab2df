"""Initializers: their distributions are Keras's, for layers as for themselves."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, initializers, layers
from keras_oracle import keras

pytestmark = pytest.mark.filterwarnings("ignore")

SHAPE = (3, 3, 40, 50)
RANDOM: list[tuple[str, dict[str, Any]]] = [
    ("RandomNormal", {"mean": 1.0, "stddev": 0.5}),
    ("RandomUniform", {"minval": -1.0, "maxval": 3.0}),
    ("TruncatedNormal", {"stddev": 2.0}),
    ("GlorotUniform", {}),
    ("GlorotNormal", {}),
    ("HeUniform", {}),
    ("HeNormal", {}),
    ("LecunUniform", {}),
    ("LecunNormal", {}),
    ("VarianceScaling", {"scale": 3.0, "mode": "fan_out", "distribution": "untruncated_normal"}),
]


def distance(a: Any, b: Any) -> float:
    """Return the Kolmogorov-Smirnov distance of two samples of equal size."""
    values = np.sort(np.concatenate([a, b]))
    ranks = [np.searchsorted(np.sort(x), values, side="right") / len(x) for x in (a, b)]
    return float(np.abs(ranks[0] - ranks[1]).max())


@pytest.mark.parametrize(("name", "options"), RANDOM, ids=[row[0] for row in RANDOM])
def test_distribution_is_that_of_keras(name: str, options: Any) -> None:
    """18,000 values of either are of one distribution."""
    own = getattr(initializers, name)(**options)(SHAPE).numpy().ravel()
    keras.utils.set_random_seed(1)
    theirs = np.asarray(getattr(keras.initializers, name)(**options)(SHAPE).cpu()).ravel()
    assert distance(own, theirs) < 0.02
    assert abs(own).max() == pytest.approx(abs(theirs).max(), rel=0.2)


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (2, 3, 5)], ids=str)
def test_orthogonal_has_orthogonal_rows_or_columns(shape: Any) -> None:
    """The flattened matrix times its transpose is the identity, times the gain squared."""
    matrix = initializers.Orthogonal(gain=2.0)(shape).reshape(-1, shape[-1])
    product = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    torch.testing.assert_close(product, 4.0 * torch.eye(len(product)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("zeros", 0.0), ("Ones", 1.0), (initializers.Constant(2.5), 2.5), (initializers.Ones, 1.0),
     ({"class_name": "Constant", "config": {"value": 0.5}}, 0.5),
     (lambda shape, dtype: torch.full(shape, 7.0, dtype=dtype), 7.0)],
    ids=["name", "class name", "object", "class", "configuration", "function"],
)  # fmt: skip
def test_initializers_are_given_in_many_ways(given: Any, expected: float) -> None:
    """By name, object, class, configuration or function."""
    layer = layers.Dense(2, kernel_initializer=given)
    layer(Input((3,)))
    assert np.all(layer.get_weights()[0] == expected)


def test_torch_initializers_see_torch_layout() -> None:
    """`torch.nn.init.eye_` and fans refer to `(out, in)`, the parameter itself."""
    layer = layers.Dense(200, kernel_initializer=nn.init.kaiming_uniform_)
    layer(Input((50,)))
    bound = (6 / 50) ** 0.5 / 1.0  # fan-in is 50 in torch's layout
    assert layer.module.weight.abs().max().item() == pytest.approx(bound, rel=0.02)


def test_seed_repeats_values() -> None:
    """A seeded initializer gives the same values at each call, and leaves torch's state alone."""
    state = torch.get_rng_state()
    made = [initializers.GlorotUniform(seed=3)((4, 5)) for _ in range(2)]
    assert torch.equal(made[0], made[1])
    assert torch.equal(torch.get_rng_state(), state)


DEFAULTS: dict[str, tuple[Any, Any]] = {
    "dense": (lambda L: L.Dense(80), (60,)),
    "conv": (lambda L: L.Conv2D(40, 3), (5, 5, 20)),
    "depthwise": (lambda L: L.DepthwiseConv2D(3, depth_multiplier=4), (5, 5, 30)),
    "transpose": (lambda L: L.Conv2DTranspose(40, 3), (5, 5, 20)),
    "lstm": (lambda L: L.LSTM(40), (5, 30)),
    "gru": (lambda L: L.GRU(40), (5, 30)),
    "heads": (lambda L: L.TimeDistributed(L.EinsumDense("ab,bcd->acd", (4, 30))), (5, 30)),
    "batch": (lambda L: L.BatchNormalization(), (30,)),
}


@pytest.mark.parametrize(("make", "shape"), DEFAULTS.values(), ids=DEFAULTS.keys())
def test_layers_begin_as_keras_layers_do(make: Any, shape: Any) -> None:
    """Kernels, recurrent kernels and biases are of Keras's default distributions."""
    own, theirs = make(layers), make(keras.layers)
    own(Input(shape))
    theirs(keras.Input(shape))
    for mine, weight in zip(own.get_weights(), theirs.weights, strict=True):
        reference = weight.numpy()
        assert mine.shape == reference.shape
        limit = 0.06 if mine.size > 1000 and reference.std() > 0 else 1e-6
        assert distance(mine.ravel(), reference.ravel()) <= limit


def test_embedding_begins_uniform() -> None:
    """Between -0.05 and 0.05."""
    layer = layers.Embedding(1000, 20)
    layer(Input((3,), dtype="int64"))
    (table,) = layer.get_weights()
    assert -0.05 <= table.min() < -0.049
    assert 0.049 < table.max() <= 0.05


@pytest.mark.parametrize(
    ("room", "thing", "written"),
    [
        (fgraph.activations, "gelu", "gelu"),
        (fgraph.activations, torch.tanh, "tanh"),
        (fgraph.initializers, fgraph.initializers.Constant(2.0), "Constant"),
        (fgraph.regularizers, "l2", "L2"),
        (fgraph.constraints, fgraph.constraints.MaxNorm(3.0), "MaxNorm"),
    ],
)
def test_what_is_serialized_is_found_again(room, thing, written):
    made = room.get(thing)
    found = room.serialize(made)
    assert (found if isinstance(found, str) else found["class_name"]) == written
    again = room.deserialize(json.loads(json.dumps(found)))
    assert again is made or again.get_config() == made.get_config()


def test_what_has_no_name_is_not_serialized():
    with pytest.raises(TypeError, match="has neither a name nor get_config"):
        fgraph.activations.serialize(torch.nn.ReLU())
