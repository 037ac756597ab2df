"""Inputs of another dtype than a layer computes in are cast where Keras casts them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fgraph
from fgraph import Input, Model, layers
from keras_oracle import keras

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras's own code warns

# not LayerNormalization, whose results Keras rounds to whole numbers
LAYERS = {
    "Dense": (lambda lib: lib.layers.Dense(2), (5,)),
    "LSTM": (lambda lib: lib.layers.LSTM(2), (4, 3)),
    "Bidirectional": (lambda lib: lib.layers.Bidirectional(lib.layers.GRU(2)), (4, 3)),
    "BatchNormalization": (lambda lib: lib.layers.BatchNormalization(), (5,)),
    "pooling": (lambda lib: lib.layers.GlobalAveragePooling1D(), (4, 3)),
    "TimeDistributed": (lambda lib: lib.layers.TimeDistributed(lib.layers.Dense(2)), (4, 3)),
}


def outputs(lib, make, shape, dtype, values, weights=None):
    x = lib.Input(shape, dtype=dtype)
    model = lib.Model(x, make(lib)(x))
    if weights is not None:
        model.set_weights(weights)
    return model, model.predict(values, verbose=0)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)
def test_whole_numbers_are_computed_with_as_floating_point_ones(make, shape, dtype):
    values = np.random.default_rng(0).integers(0, 3, (2, *shape)).astype(dtype)
    theirs, expected = outputs(keras, make, shape, dtype, values)
    ours, found = outputs(fgraph, make, shape, dtype, values, theirs.get_weights())
    assert str(found.dtype) == str(expected.dtype) == "float32"
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert ours.layers[1].input.dtype == ours.input.dtype  # the cast is the layer's


@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.parametrize("dtype", [None, "float64", "uint8"])
def test_an_embedding_takes_indices_in_any_dtype(dtype, mask_zero):
    """Keras's functional guide gives its texts no dtype."""

    def read(lib):
        return lambda x: lib.layers.LSTM(3)(lib.layers.Embedding(9, 4, mask_zero=mask_zero)(x))

    values = np.array([[1, 2, 8], [4, 0, 0]])
    theirs, expected = outputs(keras, read, (None,), dtype, values)
    _, found = outputs(fgraph, read, (None,), dtype, values, theirs.get_weights())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_layer_with_a_dtype_casts_to_it():
    x = Input((3,))
    layer = layers.Dense(2, dtype="float64")
    model = Model(x, layer(x))
    value = torch.rand(4, 3)
    assert torch.equal(model(value), layer.module(value.double()))


def test_constants_of_a_layer_in_double_precision_are_exact():
    """A list of numbers is not rounded to float32 on the way."""
    x = Input((3,), dtype="float64")
    mean, variance = [0.485, 0.456, 0.406], [0.229**2, 0.224**2, 0.225**2]
    model = Model(x, layers.Normalization(mean=mean, variance=variance, dtype="float64")(x))
    value = torch.rand(4, 3, dtype=torch.float64)
    shift, scale = (torch.tensor(v, dtype=torch.float64) for v in (mean, variance))
    torch.testing.assert_close(model(value), (value - shift) / scale.sqrt(), rtol=1e-15, atol=1e-15)
