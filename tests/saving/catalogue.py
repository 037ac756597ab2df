"""One model for every layer of `fgraph.layers`, and a few settings that change how it is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fgraph import Input, Model, layers

L = layers
STEPS, IMAGE, VOLUME = (6, 4), (8, 8, 4), (6, 6, 6, 2)


def whole(*shape: int) -> Input:
    """Make an input of whole numbers."""
    return Input(shape, dtype="int64", name="whole")


def twice(layer: Any, *shape: int) -> Any:
    """Call a layer on two inputs of one shape."""
    a, b = Input(shape), Input(shape)
    return [a, b], layer([a, b])


def once(layer: Any, *shape: int) -> Any:
    """Call a layer on one input."""
    x = Input(shape)
    return x, layer(x)


def double(x: torch.Tensor) -> torch.Tensor:
    """A function for `Lambda`."""
    return x * 2


def embedded(layer: Any, **options: Any) -> Any:
    """Call a layer on the vectors of whole numbers, with a mask."""
    x = whole(6)
    return x, layer(L.Embedding(5, 4, mask_zero=True, **options)(x))


def attention(layer: Any) -> Any:
    """Call a layer on a query, which is also key and value."""
    a, b = Input((5, 4)), Input((6, 4))
    return [a, b], layer([a, b])


def heads(layer: Any) -> Any:
    """Call a layer on a query and a value."""
    a, b = Input((5, 4)), Input((6, 4))
    return [a, b], layer(a, b)


def by_rank(name: str, *args: Any, ranks: str = "123", **options: Any) -> dict[str, Any]:
    """Make one row for each rank of a layer."""
    shapes = {"1": STEPS, "2": IMAGE, "3": VOLUME}
    return {
        name.format(rank): lambda r=rank: once(
            getattr(L, name.format(r))(*args, **options), *shapes[r]
        )
        for rank in ranks
    }


ROWS: dict[str, Callable[[], Any]] = {
    "Dense": lambda: once(L.Dense(3, activation="relu", kernel_initializer="he_normal"), 4),
    "Dense regularized": lambda: once(L.Dense(3, kernel_regularizer="l2", trainable=False), 4),
    "Dense activity": lambda: once(L.Dense(3, activity_regularizer="l1"), 4),
    "EinsumDense": lambda: once(L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d"), *STEPS),
    "Embedding": lambda: embedded(L.Identity()),
    "Identity": lambda: once(L.Identity(), 4),
    "Masking": lambda: once(L.Masking(), *STEPS),
    "Lambda": lambda: once(L.Lambda(double), 4),
    **{name: lambda n=name: once(getattr(L, n)(), 4) for name in (
        "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "UnitNormalization", "Flatten",
        "BatchNormalization", "LayerNormalization", "RMSNormalization")},
    "Activation": lambda: once(L.Activation("softplus"), 4),
    "Attention": lambda: attention(L.Attention(use_scale=True)),
    "AdditiveAttention": lambda: attention(L.AdditiveAttention()),
    "MultiHeadAttention": lambda: heads(L.MultiHeadAttention(2, 3, dropout=0.1)),
    "GroupQueryAttention": lambda: heads(L.GroupQueryAttention(2, 4, 2)),
    "RNN": lambda: once(L.RNN(L.LSTMCell(3), return_sequences=True), *STEPS),
    "RNN stacked": lambda: once(L.RNN(L.StackedRNNCells([L.GRUCell(3), L.SimpleRNNCell(2)])),
                                    *STEPS),
    **by_rank("Conv{}D", 3, 3, padding="same"),
    "Conv2D strides": lambda: once(L.Conv2D(3, 3, 2, "same", activation="relu"), *IMAGE),
    **by_rank("Conv{}DTranspose", 3, 2),
    **by_rank("DepthwiseConv{}D", 2, ranks="12"),
    **by_rank("SeparableConv{}D", 3, 2, ranks="12"),
    "ConvLSTM1D": lambda: once(L.ConvLSTM1D(2, 3), 3, *STEPS),
    "ConvLSTM2D": lambda: once(L.ConvLSTM2D(2, 3), 3, *IMAGE),
    "ConvLSTM3D": lambda: once(L.ConvLSTM3D(2, 3), 2, *VOLUME),
    **{name: lambda n=name: twice(getattr(L, n)(), 4) for name in (
        "Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")},
    "Dot": lambda: twice(L.Dot(axes=1), 4),
    "GroupNormalization": lambda: once(L.GroupNormalization(2), 4),
    "SpectralNormalization": lambda: once(L.SpectralNormalization(L.Dense(3)), 4),
    **by_rank("AveragePooling{}D", padding="same"), **by_rank("MaxPooling{}D"),
    **by_rank("GlobalAveragePooling{}D"), **by_rank("GlobalMaxPooling{}D"),
    "CategoryEncoding": lambda: (x := whole(3), L.CategoryEncoding(5)(x)),
    "CenterCrop": lambda: once(L.CenterCrop(4, 4), *IMAGE),
    "Discretization": lambda: once(L.Discretization([0.2, 0.5]), 4),
    "Normalization": lambda: once(L.Normalization(mean=[1.0] * 4, variance=[2.0] * 4), 4),
    "Rescaling": lambda: once(L.Rescaling(0.5, 1.0), 4),
    "Resizing": lambda: once(L.Resizing(5, 5), *IMAGE),
    "GRU": lambda: once(L.GRU(3, return_sequences=True), *STEPS),
    "LSTM": lambda: once(L.LSTM(3, return_state=True), *STEPS),
    "LSTM masked": lambda: embedded(L.LSTM(3)),
    "LSTM cells": lambda: once(L.LSTM(3, recurrent_dropout=0.1), *STEPS),
    "SimpleRNN": lambda: once(L.SimpleRNN(3, go_backwards=True), *STEPS),
    "ActivityRegularization": lambda: once(L.ActivityRegularization(l2=0.1), 4),
    **{name: lambda n=name: once(getattr(L, n)(0.3), 4) for name in (
        "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise")},
    **by_rank("SpatialDropout{}D", 0.3),
    **by_rank("Cropping{}D", 1), **by_rank("UpSampling{}D", 2), **by_rank("ZeroPadding{}D", 1),
    "Permute": lambda: once(L.Permute((2, 1)), *STEPS),
    "RepeatVector": lambda: once(L.RepeatVector(3), 4),
    "Reshape": lambda: once(L.Reshape((2, -1)), 4),
    "Bidirectional": lambda: once(L.Bidirectional(L.LSTM(3, return_sequences=True)), *STEPS),
    "TimeDistributed": lambda: once(L.TimeDistributed(L.Dense(3, activation="tanh")), *STEPS),
    "TimeDistributed model": lambda: once(
        L.TimeDistributed(Model(x := Input((4,)), nn.Linear(4, 2)(x))), *STEPS),
}  # fmt: skip

# classes that other rows contain, or that stand for an input
ELSEWHERE = {"StackedRNNCells", "Layer", "InputLayer", "LSTMCell", "GRUCell", "SimpleRNNCell"}


def model_of(row: str) -> Model:
    """Make the model of a row, in eval mode."""
    torch.manual_seed(0)
    inputs, outputs = ROWS[row]()
    return Model(inputs, outputs).eval()


def inputs_of(model: Model) -> list[torch.Tensor]:
    """Make inputs for a model."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for symbol in model.inputs:
        shape = [3 if size is None else size for size in symbol.shape]
        if symbol.dtype.is_floating_point:
            made.append(torch.rand(shape, generator=generator))
        else:
            made.append(torch.randint(0, 5, shape, generator=generator))
    return made
