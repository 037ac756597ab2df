"""A file of Keras with each of its layers: outputs, weights and a step of training are equal."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("h5py")
from keras_oracle import in_keras, keras
from layers.rows import ROWS
from saving.keras.keras_files import (
    assert_same_outputs,
    assert_same_step,
    assert_same_weights,
    is_random,
    opened,
    randomize,
    values_for,
)

pytestmark = pytest.mark.filterwarnings("ignore")
L = keras.layers
IMAGE, STEPS = (6, 5, 4), (7, 4)
ROLES = {"kernel_initializer": "he_normal", "kernel_regularizer": "l2",
         "kernel_constraint": "max_norm", "bias_initializer": "ones"}  # fmt: skip
RECURRENT = {
    **ROLES, "recurrent_initializer": "glorot_normal", "recurrent_regularizer": "l1",
    "unroll": False, "return_sequences": True, "recurrent_activation": "tanh",
}  # fmt: skip
# settings that the rows of the layers do not have
MORE: list[tuple[Any, ...]] = [
    ("dense roles", lambda L: L.Dense(3, activation="gelu", **ROLES), (4,)),
    ("dense objects", lambda L: L.Dense(
        3, kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "uniform", seed=3),
        kernel_regularizer=keras.regularizers.L1L2(0.1, 0.2),
        kernel_constraint=keras.constraints.MinMaxNorm(0.1, 0.9, 0.5, axis=0),
        bias_regularizer=keras.regularizers.OrthogonalRegularizer(0.01, "columns")), (4,)),
    ("dense orthogonal", lambda L: L.Dense(
        3, kernel_regularizer=keras.regularizers.OrthogonalRegularizer(0.01, "columns"),
        kernel_initializer=keras.initializers.Orthogonal(0.5, seed=1)), (4,)),
    ("dense layer as activation", lambda L: L.Dense(3, activation=L.LeakyReLU(0.3)), (4,)),
    ("dense frozen", lambda L: L.Dense(3, trainable=False), (4,)),
    ("conv roles", lambda L: L.Conv2D(3, 2, padding="same", **ROLES), IMAGE),
    ("embedding roles", lambda L: L.Embedding(
        6, 3, embeddings_initializer="ones", embeddings_constraint="unit_norm",
        embeddings_regularizer="l2", mask_zero=True), ("integers", 6, (5,))),
    ("separable roles", lambda L: L.SeparableConv2D(
        3, 2, 1, "same", depth_multiplier=2, dilation_rate=2, activation="selu",
        depthwise_initializer="he_uniform", pointwise_initializer="lecun_normal",
        depthwise_regularizer="l2", pointwise_constraint="non_neg"), IMAGE),
    ("depthwise roles", lambda L: L.DepthwiseConv2D(
        2, depthwise_constraint="max_norm", bias_initializer="ones", dilation_rate=2), IMAGE),
    *[(f"{kind} roles", lambda L, k=kind: getattr(L, k)(3, **RECURRENT), STEPS)
      for kind in ("LSTM", "GRU")],
    ("lstm forget", lambda L: L.LSTM(3, unit_forget_bias=False, stateful=False), STEPS),
    ("batch roles", lambda L: L.BatchNormalization(
        momentum=0.8, epsilon=0.01, gamma_initializer="he_normal", beta_regularizer="l2",
        moving_mean_initializer="ones", gamma_constraint="non_neg"), STEPS),
    ("spectral conv", lambda L: L.SpectralNormalization(L.Conv2D(3, 2), 2), IMAGE),
    ("multi head roles", lambda L: L.MultiHeadAttention(
        2, 3, kernel_initializer="he_normal", bias_regularizer="l2", dropout=0.0, use_bias=True),
     [(5, 4), (6, 4)], lambda layer, q, v: layer(q, v, use_causal_mask=True)),
    ("bidirectional two", lambda L: L.Bidirectional(
        L.GRU(3, return_sequences=True), merge_mode="mul",
        backward_layer=L.LSTM(3, go_backwards=True, return_sequences=True)), STEPS),
    ("bidirectional cells", lambda L: L.Bidirectional(L.RNN(L.LSTMCell(3))), STEPS),
    ("time distributed model", lambda L: L.TimeDistributed(keras.Sequential([
        keras.Input(IMAGE), L.Conv2D(2, 3), L.LayerNormalization(), L.Flatten(), L.Dense(2)])),
     (3, *IMAGE)),
    ("time distributed twice", lambda L: L.TimeDistributed(L.TimeDistributed(L.Dense(2))),
     (3, *STEPS)),
    ("time distributed recurrent", lambda L: L.TimeDistributed(L.GRU(2)), (3, *STEPS)),
    ("rnn roles", lambda L: L.RNN([L.LSTMCell(3, **ROLES), L.SimpleRNNCell(2)],
                                  return_state=True, go_backwards=True), STEPS),
    ("conv lstm roles", lambda L: L.ConvLSTM2D(
        2, 2, dilation_rate=2, activation="relu", recurrent_activation="sigmoid",
        unit_forget_bias=False, return_sequences=True), (3, 7, 6, 2)),
    ("activity", lambda L: L.Dense(3, activity_regularizer="l2"), (4,)),
    ("einsum roles", lambda L: L.EinsumDense("abc,cd->abd", (None, 6), **{
        "kernel_constraint": "unit_norm", "bias_axes": "d"}), (5, 4)),
    ("attention dropout", lambda L: L.Attention(True, dropout=0.2), [(5, 4), (6, 4)]),
    *[(name.lower(), lambda L, n=name: getattr(L, n)(), IMAGE)
      for name in ("AugMix", "CutMix", "MixUp", "RandAugment")],
]  # fmt: skip
# rows of the layers that cannot be a file: of Keras on torch, or by what they are
ELSEWHERE = {
    "lambda": "Python code; a test of its own", "hashing": "Keras computes it in TensorFlow",
    "integer lookup": "Keras computes it in TensorFlow; read from a file of Keras 2",
    "equalization": "Keras refuses it in functional models",
    "random crop": "Keras does not crop in evaluation, fgraph does",
}  # fmt: skip
REFUSED = {
    "Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "StringLookup",
    "TextVectorization", "HashedCrossing", "MaxNumBoundingBoxes",
    "ContrastLimitedAdaptiveHistogramEqualization",
}  # fmt: skip
ABSTRACT = {"Layer", "Wrapper", "InputLayer"}
ALL = [row for row in [*ROWS, *MORE] if row[0] not in ELSEWHERE]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Keras's, of old settings
    FIRST = {type(row[1](L)).__name__: row for row in ALL}


def compare(row: tuple[Any, ...], path: Path) -> None:
    _, make, shapes, *call = row
    _, theirs = in_keras(make, shapes if isinstance(shapes, list) else [shapes], *call)
    model = opened(randomize(theirs), path)
    values = values_for(theirs, np.random.default_rng(0))
    assert_same_outputs(model, theirs, values)
    assert_same_weights(model, theirs)
    if not is_random(theirs):
        assert_same_step(model, theirs, values)


@pytest.mark.parametrize("row", FIRST.values(), ids=FIRST)
def test_each_layer_in_a_file(row: tuple[Any, ...], tmp_path: Path) -> None:
    compare(row, tmp_path / "model.keras")


@pytest.mark.slow
@pytest.mark.parametrize("row", ALL, ids=[row[0] for row in ALL])
@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_all_settings_of_layers_in_a_file(kind: str, row: tuple[Any, ...], tmp_path: Path) -> None:
    try:
        compare(row, tmp_path / f"model.{kind}")
    except TypeError as error:
        if kind != "h5" or "cannot pickle" not in str(error):
            raise
        pytest.skip("Keras itself cannot write it as .h5")


def test_no_layer_of_keras_is_forgotten() -> None:
    known = {
        kind.__name__ for name, kind in vars(L).items()
        if isinstance(kind, type) and issubclass(kind, L.Layer) and not name.startswith("_")
    }  # fmt: skip
    elsewhere = {"Hashing", "IntegerLookup", "Equalization", "RandomCrop"}
    inner = {"LSTMCell", "GRUCell", "SimpleRNNCell", "StackedRNNCells", "RNN"}
    assert known - FIRST.keys() - REFUSED - ABSTRACT - elsewhere - inner == set()
