"""One row or more for each layer: how to make it in fgraph or Keras, and how to call it.

The first row of a class is its example. Run `python tests/layers/rows.py` to write the table of
layers, `fgraph/layers/README.md`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

import fgraph
from fgraph import Input, layers
from fgraph.graph import Node, SymbolicTensor
from fgraph.graph.graph import Graph
from fgraph.graph.nested import iter_leaves
from fgraph.graph.torch_functions import torch_name
from fgraph.layers import Layer

README = Path(fgraph.__file__).parent / "layers" / "README.md"


def integers(*shape: int, high: int = 6) -> tuple[Any, ...]:
    """Stand for an input of integers below `high`."""
    return ("integers", high, shape)


def double(x: Any) -> Any:
    """A function for `Lambda`."""
    return x * 2


def together(layer: Any, *inputs: Any) -> Any:
    """Call a layer on one tensor, or on a list of several."""
    return layer(list(inputs) if len(inputs) > 1 else inputs[0])


def as_list(layer: Any, *inputs: Any) -> Any:
    """Call a layer on a list."""
    return layer(list(inputs))


def one_by_one(layer: Any, *inputs: Any) -> Any:
    """Call a layer with a tensor for each argument."""
    return layer(*inputs)


def states(layer: Any, x: Any, *given: Any) -> Any:
    """Call a cell on one step and its states."""
    return layer(x, given[0] if len(given) == 1 else list(given))


def reverse(layer: Any, x: Any) -> Any:
    """Call an embedding for scores."""
    return layer(x, reverse=True)


IMAGE = (9, 8, 4)
VOLUME = (6, 5, 7, 3)
STEPS = (7, 4)

# the name of the row, how to make the layer, shapes of the inputs, and how to call it on them
ROWS: list[tuple[Any, ...]] = [
    # core
    ("dense", lambda L: L.Dense(5), (3,)),
    ("dense 3d no bias", lambda L: L.Dense(5, use_bias=False, activation="relu"), (4, 3)),
    ("einsum dense", lambda L: L.EinsumDense("abc,cd->abd", (None, 6), bias_axes="d"), (5, 4)),
    ("einsum ellipsis", lambda L: L.EinsumDense("...x,xy->...y", 6, activation="tanh"), (5, 4)),
    ("einsum heads", lambda L: L.EinsumDense("abc,cde->abde", (None, 2, 3), None, "de"), (5, 4)),
    ("einsum bias inside", lambda L: L.EinsumDense("abc,cd->abd", (5, 6), bias_axes="b"), (5, 4)),
    ("embedding", lambda L: L.Embedding(6, 3), integers(5)),
    ("embedding keywords", lambda L: L.Embedding(output_dim=3, input_dim=6), integers(5)),
    ("reversible", lambda L: L.ReversibleEmbedding(6, 3), integers(5)),
    ("reversible untied", lambda L: L.ReversibleEmbedding(6, 3, False), integers(5)),
    ("reversible scores", lambda L: L.ReversibleEmbedding(6, 3), (5, 3), reverse),
    (
        "reversible scores bounded",
        lambda L: L.ReversibleEmbedding(6, 3, tie_weights=False, logit_soft_cap=0.5),
        (5, 3),
        reverse,
    ),
    ("layer scale", lambda L: L.LayerScale(0.1, 4), IMAGE),
    ("stochastic depth", lambda L: L.StochasticDepth(0.3), IMAGE),
    ("custom scale", lambda L: L.CustomScaleLayer(0.3), [IMAGE, IMAGE]),
    ("pipeline", lambda L: L.Pipeline([L.Rescaling(2.0), L.RandomFlip()]), IMAGE),
    ("pipeline weights", lambda L: L.Pipeline([L.Dense(4, activation="tanh"), L.Dense(2)]), (3,)),
    ("identity", lambda L: L.Identity(), (3,)),
    ("masking", lambda L: L.Masking(0.0), (4, 3)),
    ("lambda", lambda L: L.Lambda(double), (3,)),
    # activations
    ("activation", lambda L: L.Activation("softplus"), (3, 8)),
    ("relu", lambda L: L.ReLU(), (3,)),
    ("relu max", lambda L: L.ReLU(max_value=0.5), (8,)),
    ("relu all", lambda L: L.ReLU(1.0, 0.2, 0.3), (8,)),
    ("relu threshold", lambda L: L.ReLU(threshold=0.4), (8,)),
    ("leaky relu", lambda L: L.LeakyReLU(0.1), (8,)),
    ("leaky relu default", lambda L: L.LeakyReLU(), (8,)),
    ("prelu", lambda L: L.PReLU(), (4, 3)),
    ("prelu shared", lambda L: L.PReLU(shared_axes=[1, 2]), (4, 3, 2)),
    ("elu", lambda L: L.ELU(0.7), (8,)),
    ("softmax", lambda L: L.Softmax(), (8,)),
    ("softmax axes", lambda L: L.Softmax(axis=(1, 2)), (4, 3)),
    *[
        (f"activation {name}", lambda L, name=name: L.Activation(name), (3, 8))
        for name in (
            "linear", "relu", "leaky_relu", "elu", "celu", "gelu", "softmax", "log_softmax",
            "sparse_plus", "sparse_sigmoid", "squareplus", "sigmoid", "tanh",
            "exponential", "softplus", "softsign", "silu", "swish", "selu", "mish", "relu6",
            "log_sigmoid", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "hard_shrink",
            "soft_shrink", "tanh_shrink",
        )
    ],
    # convolutions
    ("conv1d", lambda L: L.Conv1D(5, 3), STEPS),
    ("conv1d causal", lambda L: L.Conv1D(5, 3, padding="causal", dilation_rate=2), STEPS),
    ("conv1d same strides", lambda L: L.Conv1D(5, 3, 2, "same"), STEPS),
    ("conv1d causal strides", lambda L: L.Conv1D(5, 3, 2, "causal"), STEPS),
    ("conv2d", lambda L: L.Conv2D(5, 3), IMAGE),
    ("conv2d same", lambda L: L.Conv2D(5, 3, padding="same", activation="relu"), IMAGE),
    ("conv2d same even", lambda L: L.Conv2D(5, (2, 4), padding="same"), IMAGE),
    ("conv2d same strides", lambda L: L.Conv2D(5, 3, strides=2, padding="same"), IMAGE),
    ("conv2d same strides 3", lambda L: L.Conv2D(5, (4, 5), (2, 3), "same"), IMAGE),
    ("conv2d same dilation", lambda L: L.Conv2D(5, 3, padding="same", dilation_rate=2), IMAGE),
    ("conv2d strides", lambda L: L.Conv2D(5, 3, strides=(2, 1)), IMAGE),
    ("conv2d groups", lambda L: L.Conv2D(6, 3, groups=2, use_bias=False), IMAGE),
    ("conv2d softmax", lambda L: L.Conv2D(5, 3, activation="softmax"), IMAGE),
    ("conv2d first", lambda L: L.Conv2D(5, 3, data_format="channels_first"), (4, 9, 8)),
    ("conv2d unknown", lambda L: L.Conv2D(5, 3, 2, "same"), (None, None, 4)),
    ("conv3d", lambda L: L.Conv3D(4, 2), VOLUME),
    ("conv3d same strides", lambda L: L.Conv3D(4, 3, 2, "same"), VOLUME),
    ("transpose 1d", lambda L: L.Conv1DTranspose(5, 3), STEPS),
    ("transpose 1d strides", lambda L: L.Conv1DTranspose(5, 2, 3), STEPS),
    ("transpose 2d", lambda L: L.Conv2DTranspose(5, 3), IMAGE),
    ("transpose 2d same", lambda L: L.Conv2DTranspose(5, 3, padding="same"), IMAGE),
    ("transpose 2d strides", lambda L: L.Conv2DTranspose(5, 3, strides=2), IMAGE),
    ("transpose 2d same strides", lambda L: L.Conv2DTranspose(5, 4, 2, "same"), IMAGE),
    ("transpose 2d same small", lambda L: L.Conv2DTranspose(5, 2, 2, "same"), IMAGE),
    ("transpose output padding", lambda L: L.Conv2DTranspose(5, 3, 2, "same", 0), IMAGE),
    ("transpose valid padding", lambda L: L.Conv2DTranspose(5, 3, 2, output_padding=1), IMAGE),
    ("transpose dilation", lambda L: L.Conv1DTranspose(5, 3, dilation_rate=2), STEPS),
    ("transpose first", lambda L: L.Conv2DTranspose(5, 3, data_format="channels_first"), IMAGE),
    ("transpose 3d", lambda L: L.Conv3DTranspose(4, 3), VOLUME),
    ("depthwise 1d", lambda L: L.DepthwiseConv1D(3, depth_multiplier=2), STEPS),
    ("depthwise 2d", lambda L: L.DepthwiseConv2D(3, 2, "same"), IMAGE),
    ("depthwise 2d multiplier", lambda L: L.DepthwiseConv2D((3, 2), depth_multiplier=3), IMAGE),
    ("separable 1d", lambda L: L.SeparableConv1D(5, 3, padding="same"), STEPS),
    ("separable 2d", lambda L: L.SeparableConv2D(5, 3, depth_multiplier=2), IMAGE),
    ("separable 2d strides", lambda L: L.SeparableConv2D(5, 3, 2, "same"), IMAGE),
    # pooling
    *[
        (f"adaptive {kind.lower()} {rank}d", lambda L, a=kind, r=rank: getattr(
            L, f"Adaptive{a}Pooling{r}D")(3), shape)
        for kind in ("Max", "Average")
        for rank, shape in ((1, STEPS), (2, IMAGE), (3, VOLUME))
    ],
    (
        "adaptive first",
        lambda L: L.AdaptiveAveragePooling2D((3, 2), data_format="channels_first"), IMAGE,
    ),
    *[
        (f"{kind.lower()} {rank}d {padding}", lambda L, a=kind, r=rank, p=padding: getattr(
            L, f"{a}Pooling{r}D")(2, padding=p), shape)
        for kind in ("Max", "Average")
        for rank, shape in ((1, STEPS), (2, IMAGE), (3, VOLUME))
        for padding in ("valid", "same")
    ],
    ("max 2d strides", lambda L: L.MaxPooling2D(3, 2, "same"), IMAGE),
    ("average 2d strides", lambda L: L.AveragePooling2D((3, 4), 2, "same"), IMAGE),
    ("average 2d step 1", lambda L: L.AveragePooling2D(2, 1, "same"), IMAGE),
    ("max 2d first", lambda L: L.MaxPooling2D(2, data_format="channels_first"), IMAGE),
    ("max 2d unknown", lambda L: L.MaxPooling2D(3, 2, "same"), (None, None, 4)),
    *[
        (f"global {kind.lower()} {rank}d", lambda L, a=kind, r=rank, k=keep: getattr(
            L, f"Global{a}Pooling{r}D")(keepdims=k), shape)
        for kind in ("Max", "Average")
        for rank, shape, keep in ((1, STEPS, False), (2, IMAGE, True), (3, VOLUME, False))
    ],
    ("global first", lambda L: L.GlobalMaxPooling2D(data_format="channels_first"), IMAGE),
    # normalisation
    ("batch", lambda L: L.BatchNormalization(), IMAGE),
    ("batch axis 1", lambda L: L.BatchNormalization(axis=1, epsilon=0.1), IMAGE),
    ("batch renorm", lambda L: L.BatchNormalization(renorm=True), IMAGE),
    ("batch no scale", lambda L: L.BatchNormalization(scale=False), (4,)),
    ("batch no center", lambda L: L.BatchNormalization(center=False), (4, 3)),
    ("layer", lambda L: L.LayerNormalization(), (4, 3)),
    ("layer axes", lambda L: L.LayerNormalization(axis=(1, 2), scale=False), (4, 3)),
    ("layer axes from the end", lambda L: L.LayerNormalization(axis=[-1, -2]), (4, 3)),
    ("layer axes in any order", lambda L: L.LayerNormalization(axis=(2, 1)), (3, 3)),
    ("layer rms", lambda L: L.LayerNormalization(rms_scaling=True), (4, 3)),
    ("rms", lambda L: L.RMSNormalization(), (4, 3)),
    ("group", lambda L: L.GroupNormalization(2), IMAGE),
    ("group instance", lambda L: L.GroupNormalization(-1, axis=1, scale=False), IMAGE),
    ("unit", lambda L: L.UnitNormalization(), (4, 3)),
    ("unit axes", lambda L: L.UnitNormalization(axis=[1, 2]), (4, 3)),
    ("spectral dense", lambda L: L.SpectralNormalization(L.Dense(4)), (3,)),
    # recurrent
    *[
        (f"{kind} {text}", lambda L, k=kind, o=options: getattr(L, k)(5, **o), STEPS)
        for kind in ("SimpleRNN", "LSTM", "GRU")
        for text, options in (
            ("", {}),
            ("sequences", {"return_sequences": True}),
            ("state", {"return_state": True}),
            ("both", {"return_state": True, "return_sequences": True}),
            ("backwards", {"go_backwards": True, "return_sequences": True}),
            ("relu", {"activation": "relu", "return_sequences": True}),
            ("no bias", {"use_bias": False}),
            ("dropouts", {"dropout": 0.3, "recurrent_dropout": 0.2}),
        )
    ],
    ("lstm gates", lambda L: L.LSTM(5, recurrent_activation="hard_sigmoid"), STEPS),
    ("gru before", lambda L: L.GRU(5, reset_after=False), STEPS),
    ("gru before no bias", lambda L: L.GRU(5, reset_after=False, use_bias=False), STEPS),
    *[
        (f"bidirectional {mode}", lambda L, m=mode: L.Bidirectional(
            L.LSTM(5, return_sequences=True), merge_mode=m), STEPS)
        for mode in ("concat", "sum", "mul", "ave", None)
    ],
    ("bidirectional last", lambda L: L.Bidirectional(L.GRU(5)), STEPS),
    ("bidirectional state", lambda L: L.Bidirectional(L.LSTM(5, return_state=True)), STEPS),
    ("time distributed", lambda L: L.TimeDistributed(L.Dense(5)), STEPS),
    ("time distributed conv", lambda L: L.TimeDistributed(L.Conv2D(5, 3)), (3, *IMAGE)),
    ("rnn cell", lambda L: L.RNN(L.LSTMCell(5)), STEPS),
    ("rnn cells", lambda L: L.RNN([L.LSTMCell(5), L.GRUCell(3)], return_sequences=True), STEPS),
    ("rnn simple", lambda L: L.RNN(L.SimpleRNNCell(5), return_state=True), STEPS),
    ("conv lstm 1d", lambda L: L.ConvLSTM1D(3, 3, return_sequences=True), (3, *STEPS)),
    ("conv lstm 2d", lambda L: L.ConvLSTM2D(3, 3, padding="same"), (3, *IMAGE)),
    ("conv lstm 2d state", lambda L: L.ConvLSTM2D(3, 3, 2, return_state=True), (3, *IMAGE)),
    ("conv lstm 2d same", lambda L: L.ConvLSTM2D(3, (2, 3), 2, "same"), (3, *IMAGE)),
    ("conv lstm 3d", lambda L: L.ConvLSTM3D(3, 2), (2, *VOLUME)),
    ("lstm cell", lambda L: L.LSTMCell(5), [(4,), (5,), (5,)], states),
    ("gru cell", lambda L: L.GRUCell(5), [(4,), (5,)], states),
    ("gru cell before", lambda L: L.GRUCell(5, reset_after=False), [(4,), (5,)], states),
    ("simple cell", lambda L: L.SimpleRNNCell(5), [(4,), (5,)], states),
    ("stacked cells", lambda L: L.StackedRNNCells([L.GRUCell(3), L.SimpleRNNCell(2)]),
     [(4,), (3,), (2,)], states),
    ("rnn stacked", lambda L: L.RNN(L.StackedRNNCells([L.GRUCell(3), L.SimpleRNNCell(2)])), STEPS),
    # attention
    ("multi head", lambda L: L.MultiHeadAttention(2, 3), [(5, 4), (6, 4)], one_by_one),
    ("multi head key", lambda L: L.MultiHeadAttention(2, 3, 5, output_shape=7),
     [(5, 4), (6, 3), (6, 2)], one_by_one),
    ("multi head by name", lambda L: L.MultiHeadAttention(2, 3), [(5, 4), (6, 3), (6, 2)],
     lambda layer, q, v, k: layer(q, v, key=k)),
    ("multi head axes", lambda L: L.MultiHeadAttention(2, 3), [(3, 5, 4), (2, 6, 4)], one_by_one),
    ("multi head one axis", lambda L: L.MultiHeadAttention(2, 3, attention_axes=(2,)),
     [(3, 5, 4), (3, 6, 4)], one_by_one),
    ("multi head first axis", lambda L: L.MultiHeadAttention(2, 3, attention_axes=1),
     [(3, 5, 4), (2, 5, 4)], one_by_one),
    ("multi head outer axes", lambda L: L.MultiHeadAttention(2, 3, attention_axes=(1, 3)),
     [(3, 2, 5, 4), (4, 2, 6, 4)], one_by_one),
    ("multi head axes mask", lambda L: L.MultiHeadAttention(2, 3, attention_axes=(2,)),
     [(3, 5, 4), (3, 5, 4), (5, 5)],
     lambda layer, q, v, m: layer(q, v, attention_mask=m > 0)),
    ("multi head gate", lambda L: L.MultiHeadAttention(2, 3, use_gate=True, use_bias=False),
     [(5, 4), (6, 4)], one_by_one),
    ("multi head window", lambda L: L.MultiHeadAttention(2, 3, sliding_window=2), [(5, 4), (6, 4)],
     lambda layer, q, v: layer(q, v, use_causal_mask=True)),
    ("multi head scores", lambda L: L.MultiHeadAttention(2, 3), [(5, 4), (5, 4)],
     lambda layer, q, v: layer(value=v, query=q, return_attention_scores=True)),
    ("group query", lambda L: L.GroupQueryAttention(3, 4, 2), [(5, 4), (6, 4)], one_by_one),
    ("attention", lambda L: L.Attention(), [(5, 4), (6, 4)]),
    ("attention key", lambda L: L.Attention(use_scale=True), [(5, 4), (6, 3), (6, 4)]),
    ("attention concat", lambda L: L.Attention(True, score_mode="concat"), [(5, 4), (6, 4)]),
    ("additive attention", lambda L: L.AdditiveAttention(), [(5, 4), (6, 4)]),
    ("additive plain", lambda L: L.AdditiveAttention(use_scale=False), [(5, 4), (6, 4)]),
    # regularisation
    ("dropout", lambda L: L.Dropout(0.4), (3,)),
    ("spatial dropout 1d", lambda L: L.SpatialDropout1D(0.4), STEPS),
    ("spatial dropout 2d", lambda L: L.SpatialDropout2D(0.4), IMAGE),
    ("spatial dropout 3d", lambda L: L.SpatialDropout3D(0.4), VOLUME),
    ("gaussian noise", lambda L: L.GaussianNoise(0.4), (3,)),
    ("gaussian dropout", lambda L: L.GaussianDropout(0.4), (3,)),
    ("alpha dropout", lambda L: L.AlphaDropout(0.4), (3,)),
    ("activity", lambda L: L.ActivityRegularization(0.1, 0.2), (3,)),
    # reshaping
    ("flatten", lambda L: L.Flatten(), IMAGE),
    ("flatten first", lambda L: L.Flatten(data_format="channels_first"), IMAGE),
    ("flatten nothing", lambda L: L.Flatten(), ()),
    ("reshape", lambda L: L.Reshape((3, 4)), (12,)),
    ("reshape -1", lambda L: L.Reshape((2, -1)), (3, 4)),
    ("permute", lambda L: L.Permute((2, 1, 3)), IMAGE),
    ("repeat", lambda L: L.RepeatVector(3), (4,)),
    ("crop 1d", lambda L: L.Cropping1D((1, 2)), STEPS),
    ("crop 1d start", lambda L: L.Cropping1D((2, 0)), STEPS),
    ("crop 2d", lambda L: L.Cropping2D(((1, 2), (0, 3))), IMAGE),
    ("crop 2d first", lambda L: L.Cropping2D((1, 1), data_format="channels_first"), IMAGE),
    ("crop 3d", lambda L: L.Cropping3D(1), VOLUME),
    ("pad 1d", lambda L: L.ZeroPadding1D((1, 2)), STEPS),
    ("pad 2d", lambda L: L.ZeroPadding2D((1, 2)), IMAGE),
    ("pad 2d first", lambda L: L.ZeroPadding2D(2, data_format="channels_first"), IMAGE),
    ("pad 3d", lambda L: L.ZeroPadding3D(((1, 0), (2, 1), (0, 0))), VOLUME),
    ("up 1d", lambda L: L.UpSampling1D(3), STEPS),
    ("up 2d", lambda L: L.UpSampling2D((2, 3)), IMAGE),
    ("up 2d bilinear", lambda L: L.UpSampling2D(2, interpolation="bilinear"), IMAGE),
    ("up 3d", lambda L: L.UpSampling3D(2), VOLUME),
    # merging
    ("add", lambda L: L.Add(), [(4, 3), (4, 3), (4, 3)]),
    ("add one", lambda L: L.Add(), [(4, 3)], as_list),
    ("add ranks", lambda L: L.Add(), [(4, 3), (3,)]),
    ("subtract", lambda L: L.Subtract(), [(4, 3), (4, 3)]),
    ("multiply", lambda L: L.Multiply(), [(4, 3), (1, 3)]),
    ("average", lambda L: L.Average(), [(3,), (3,), (3,)]),
    ("maximum", lambda L: L.Maximum(), [(3,), (3,)]),
    ("minimum", lambda L: L.Minimum(), [(3,), (3,), (3,)]),
    ("concatenate", lambda L: L.Concatenate(), [(4, 3), (4, 2)]),
    ("concatenate axis", lambda L: L.Concatenate(axis=1), [(4, 3), (5, 3)]),
    ("dot", lambda L: L.Dot(axes=(2, 1)), [(4, 3), (3, 5)]),
    ("dot vectors", lambda L: L.Dot(axes=1), [(3,), (3,)]),
    ("dot normalize", lambda L: L.Dot(axes=-1, normalize=True), [(4, 3), (5, 3)]),
    # preprocessing
    ("rescaling", lambda L: L.Rescaling(0.5, 2.0), IMAGE),
    ("resizing", lambda L: L.Resizing(5, 12), IMAGE),
    ("resizing nearest", lambda L: L.Resizing(5, 12, "nearest"), IMAGE),
    ("resizing crop", lambda L: L.Resizing(5, 5, crop_to_aspect_ratio=True), IMAGE),
    ("resizing pad", lambda L: L.Resizing(5, 6, pad_to_aspect_ratio=True), IMAGE),
    ("resizing pad odd", lambda L: L.Resizing(8, 4, pad_to_aspect_ratio=True), IMAGE),
    ("resizing antialias", lambda L: L.Resizing(5, 4, antialias=True), IMAGE),
    ("resizing bicubic", lambda L: L.Resizing(5, 4, "bicubic", antialias=True), IMAGE),
    ("center crop", lambda L: L.CenterCrop(4, 5), IMAGE),
    ("center crop larger", lambda L: L.CenterCrop(12, 6), IMAGE),
    ("up 2d bicubic", lambda L: L.UpSampling2D(2, interpolation="bicubic"), IMAGE),
    ("masking value", lambda L: L.Masking(1.0), (4, 3)),
    ("prelu regularized", lambda L: L.PReLU(shared_axes=1, alpha_regularizer="l2"), (4, 3)),
    ("dense float64", lambda L: L.Dense(3, kernel_initializer="he_normal", name="d"), (4,)),
    ("normalization", lambda L: L.Normalization(-1, [1.0, 2, 3, 4], [1.0, 4, 9, 1]), IMAGE),
    ("normalization scalar", lambda L: L.Normalization(None, 1.0, 2.0), IMAGE),
    ("normalization invert", lambda L: L.Normalization(None, 1.0, 2.0, invert=True), IMAGE),
    ("normalization adapted", lambda L: L.Normalization(), IMAGE),
    ("normalization axes", lambda L: L.Normalization(axis=(1, -1)), IMAGE),
    ("normalization all", lambda L: L.Normalization(axis=None), IMAGE),
    ("mel", lambda L: L.MelSpectrogram(64, 16, num_mel_bins=8), (200,)),
    (
        "mel settings",
        lambda L: L.MelSpectrogram(
            64, 16, 48, "hamming", 8000, 5, 100.0, 3000.0, power_to_db=False, mag_exp=1.5
        ),
        (200,),
    ),
    (
        "mel decibels",
        lambda L: L.MelSpectrogram(64, 16, top_db=9.0, ref_power=0.5, min_power=2.0), (200,),
    ),
    *[
        (f"stft {mode}", lambda L, m=mode: L.STFTSpectrogram(m, 16), (50, 2))
        for mode in ("log", "magnitude", "psd", "real", "imag", "angle", "stft")
    ],
    (
        "stft settings",
        lambda L: L.STFTSpectrogram(
            "magnitude", 12, 5, 16, "hamming", True, "spectrum", "same", expand_dims=True
        ),
        (50, 2),
    ),
    (
        "stft first",
        lambda L: L.STFTSpectrogram("psd", 16, 4, scaling=None, data_format="channels_first"),
        (2, 50),
    ),
    (
        "stft first image",
        lambda L: L.STFTSpectrogram("real", 16, expand_dims=True, data_format="channels_first"),
        (2, 50),
    ),
    ("discretization", lambda L: L.Discretization([-0.5, 0.0, 0.7]), (8,)),
    ("discretization hot", lambda L: L.Discretization([0.0, 1.0], output_mode="one_hot"), (8,)),
    ("random flip", lambda L: L.RandomFlip("horizontal"), IMAGE),
    ("random crop", lambda L: L.RandomCrop(4, 5), IMAGE),
    ("random rotation", lambda L: L.RandomRotation(0.1), IMAGE),
    ("random translation", lambda L: L.RandomTranslation(0.1, 0.2), IMAGE),
    ("random zoom", lambda L: L.RandomZoom(0.2), IMAGE),
    ("random shear", lambda L: L.RandomShear(0.2, 0.1), IMAGE),
    ("random perspective", lambda L: L.RandomPerspective(1.0, 0.3), IMAGE),
    ("random elastic", lambda L: L.RandomElasticTransform(), IMAGE),
    ("random erasing", lambda L: L.RandomErasing(), IMAGE),
    ("random brightness", lambda L: L.RandomBrightness(0.2), IMAGE),
    ("random contrast", lambda L: L.RandomContrast(0.2), IMAGE),
    ("random hue", lambda L: L.RandomHue(0.2), (9, 8, 3)),
    ("random saturation", lambda L: L.RandomSaturation((0.4, 0.6)), (9, 8, 3)),
    ("random sharpness", lambda L: L.RandomSharpness(0.7), IMAGE),
    ("random grayscale", lambda L: L.RandomGrayscale(), (9, 8, 3)),
    ("random invert", lambda L: L.RandomInvert(), IMAGE),
    ("random posterization", lambda L: L.RandomPosterization(3), IMAGE),
    ("random degeneration", lambda L: L.RandomColorDegeneration(0.5), (9, 8, 3)),
    ("random jitter", lambda L: L.RandomColorJitter(brightness_factor=0.2), (9, 8, 3)),
    ("random blur", lambda L: L.RandomGaussianBlur(), IMAGE),
    ("solarization", lambda L: L.Solarization(threshold_factor=0.5), IMAGE),
    ("equalization", lambda L: L.Equalization(), IMAGE),
    ("auto contrast", lambda L: L.AutoContrast((-1.0, 1.0)), IMAGE),
    ("hashing", lambda L: L.Hashing(4), integers(4)),
    ("integer lookup", lambda L: L.IntegerLookup(vocabulary=[5, 2, 9]), integers(4)),
    ("category multi", lambda L: L.CategoryEncoding(6), integers(4)),
    ("category one", lambda L: L.CategoryEncoding(6, "one_hot"), integers(4)),
    ("category count", lambda L: L.CategoryEncoding(6, "count"), integers(4)),
]  # fmt: skip


# compared elsewhere: Keras computes two in TensorFlow, in evaluation it does not crop, and its
# equalization is refused in functional models
ELSEWHERE = {"integer lookup", "hashing", "random crop", "equalization"}

EXAMPLES: dict[str, tuple[Any, ...]] = {}
for _row in ROWS:
    EXAMPLES.setdefault(type(_row[1](layers)).__name__, _row)


def public_layers() -> list[type[Layer]]:
    """Return the layers of the package, aliases once."""
    found = {v for v in vars(layers).values() if isinstance(v, type) and issubclass(v, Layer)}
    return sorted(found - {Layer, layers.InputLayer}, key=lambda kind: kind.__name__)


def called(make: Any, shapes: Any, call: Any = together) -> tuple[Layer, list[Any], Any]:
    """Make a layer and call it on inputs; return it, the inputs and the result."""
    given = [
        Input(shape[2], dtype="int64") if shape[:1] == ("integers",) else Input(shape)
        for shape in (shapes if isinstance(shapes, list) else [shapes])
    ]
    layer = make(layers)
    return layer, given, call(layer, *given)


# ---------------------------------------------------------------- the table of layers


def table() -> str:
    """Return the table, in Markdown."""
    lines = [
        "# Layers",
        "",
        "Generated by `python tests/layers/rows.py`. A layer is Keras 3's of the same name, with",
        "its arguments, weights and numbers; the second column is what a model holds or runs.",
        "Classes without `nn.` are in `fgraph.layers.modules`. Recurrent layers with settings that",
        "torch's kernels do not know hold a class derived from the one shown.",
        "",
        "| layer | torch underneath | differences |",
        "|---|---|---|",
    ]
    for kind in public_layers():
        lines.append(f"| `{kind.__name__}` | {underneath(kind)} | {differences(kind)} |")
    return "\n".join([*lines, ""])


def differences(kind: type[Layer]) -> str:
    """Return what the docstring says after "Differs from Keras:"."""
    text = re.search(r"Differs from Keras: (.*?)\.\n\n", inspect.getdoc(kind) or "", re.DOTALL)
    return "none" if text is None else " ".join(text[1].split())


def underneath(kind: type[Layer]) -> str:
    """Name the torch modules, or functions, that a layer records."""
    layer, _, output = called(*EXAMPLES[kind.__name__][1:])
    if kind is layers.Lambda:
        return "the function"
    if layer.module is not None:
        return ", ".join(f"`{name}`" for name in dict.fromkeys(_modules(layer.module)))
    refs = [leaf.ref for leaf in iter_leaves(output) if isinstance(leaf, SymbolicTensor)]
    inputs = dict.fromkeys(iter_leaves(layer.inbound_nodes[0].inputs[0]))
    functions = dict.fromkeys(_function(node) for node in Graph(list(inputs), refs).nodes)
    return ", ".join(f"`{name}`" for name in functions if name) or "nothing"


def _function(node: Node) -> str:
    name = torch_name(node.target) or node.kind
    if name.endswith(".permute") or name in ("_same", "operator.getitem"):
        return ""
    return name.replace("torch.nn.functional", "F").replace("torch.Tensor", "Tensor")


def _modules(module: nn.Module) -> Iterator[str]:
    """Name a module by its class in torch, and one of fgraph's own by its torch parts, too."""
    kind = type(module)
    if kind in (nn.Sequential, nn.ModuleDict, nn.ModuleList):
        for child in module.children():
            yield from _modules(child)
    elif kind.__module__.startswith("torch."):
        yield f"nn.{kind.__name__}"
    else:
        base = next(base for base in kind.__mro__ if base.__module__.startswith("torch."))
        plain = base is nn.Module or base.__name__.startswith("_")
        yield kind.__name__ if plain else f"{kind.__name__}(nn.{base.__name__})"
        for child in module.children():
            yield from _modules(child)


if __name__ == "__main__":
    README.write_text(table(), encoding="utf-8")
