"""Masks: where they come from, which layers pass them on, and what uses them, as in Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fgraph import Input, Model, layers
from keras_oracle import compare_models, keras

pytestmark = pytest.mark.filterwarnings("ignore")

# nothing that counts, gaps inside, padding at the end, padding at the start, no padding
TOKENS = np.array(
    [[0] * 6, [1, 2, 0, 1, 2, 0], [1, 2, 1, 2, 0, 0], [0, 0, 1, 2, 2, 1], [2, 1, 2, 1, 1, 2]]
)

# what follows a masked embedding: layers in the order of a chain
CHAINS: dict[str, Any] = {
    "lstm": lambda L: [L.LSTM(5)],
    "lstm sequences": lambda L: [L.LSTM(5, return_sequences=True)],
    "lstm stack": lambda L: [L.LSTM(5, return_sequences=True), L.LSTM(3)],
    "lstm states": lambda L: [L.LSTM(5, return_state=True)],
    "lstm everything": lambda L: [L.LSTM(5, return_state=True, return_sequences=True)],
    "lstm relu": lambda L: [L.LSTM(5, activation="relu", return_state=True)],
    "lstm backwards": lambda L: [L.LSTM(5, go_backwards=True, return_sequences=True)],
    "gru": lambda L: [L.GRU(5, return_sequences=True)],
    "gru everything": lambda L: [L.GRU(5, return_state=True, return_sequences=True)],
    "gru before": lambda L: [L.GRU(5, return_state=True, reset_after=False)],
    "rnn": lambda L: [L.SimpleRNN(5, return_state=True)],
    "bidirectional": lambda L: [L.Bidirectional(L.LSTM(5, return_sequences=True))],
    "bidirectional last": lambda L: [L.Bidirectional(L.GRU(5))],
    "bidirectional stack": lambda L: [
        L.Bidirectional(L.GRU(5, return_sequences=True)), L.Bidirectional(L.GRU(5))
    ],
    "cells": lambda L: [L.RNN([L.LSTMCell(5), L.GRUCell(4)])],
    "through dense": lambda L: [L.Dense(3, activation="relu"), L.Dropout(0.5), L.LSTM(5)],
    "through norms": lambda L: [L.LayerNormalization(), L.BatchNormalization(), L.LSTM(5)],
    "through activations": lambda L: [L.Activation("relu"), L.PReLU(), L.LSTM(5)],
    "through spectral normalization": lambda L: [L.SpectralNormalization(L.Dense(3)), L.LSTM(5)],
    "through time distributed": lambda L: [L.TimeDistributed(L.Dense(3)), L.LSTM(5)],
    "lost in a reshape": lambda L: [L.Reshape((6, 4)), L.LSTM(5)],
    "lost in a convolution": lambda L: [L.Conv1D(3, 2), L.LSTM(5)],
    "mean": lambda L: [L.GlobalAveragePooling1D()],
    "mean kept": lambda L: [L.GlobalAveragePooling1D(keepdims=True)],
}  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_chain_behind_a_masked_embedding(chain: Any) -> None:
    """Values behind `Embedding(mask_zero=True)` are Keras's."""

    def build(L: Any, tokens: Any) -> Any:
        made = [L.Embedding(3, 4, mask_zero=True), *chain(L)]
        x = tokens
        for layer in made:
            x = layer(x)
        return x, made

    compare_models(build, [TOKENS])


@pytest.mark.parametrize("kind", ["MultiHeadAttention", "GroupQueryAttention"])
@pytest.mark.parametrize("given", ["value_mask", "key_mask"])
def test_masks_that_are_given_to_attention_count(kind: str, given: str) -> None:
    """Also that of the key where the key is the value."""

    def build(L: Any, query: Any, value: Any, mask: Any) -> Any:
        sizes = (2, 3) if kind == "MultiHeadAttention" else (3, 2, 1)
        layer = getattr(L, kind)(*sizes)
        return layer(query, value, **{given: mask}), [layer]

    rng = np.random.default_rng(0)
    query, value = rng.normal(size=(2, 4, 6)), rng.normal(size=(2, 5, 6))
    mask = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 0, 0]])
    compare_models(build, [query.astype("float32"), value.astype("float32"), mask])


def pair(L: Any, e: Any) -> Any:
    return [e, L.Activation("tanh")(e)]


# what is made of a masked embedding: the result and the layers with weights
GRAPHS: dict[str, Any] = {
    "add": lambda L, e: (L.Add()(pair(L, e)), []),
    "multiply": lambda L, e: (L.Multiply()(pair(L, e)), []),
    "maximum": lambda L, e: (L.Maximum()(pair(L, e)), []),
    "minimum with unmasked": lambda L, e: (
        L.Minimum()([L.Reshape((6, 4))(e) / 2, e, L.Activation("tanh")(e)]), []),
    # Keras fills in no mask where several arguments are tensors
    "states": lambda L, e: with_states(L.GRU(4, return_sequences=True), e, {}, L),
    "states and mask": lambda L, e: with_states(
        L.LSTM(4, return_sequences=True), e, {"mask": mask_of(e)}, L),
    "concatenate": lambda L, e: (L.Concatenate()(pair(L, e)), []),
    "concatenate steps": lambda L, e: (L.Concatenate(axis=1)(pair(L, e)), []),
    "concatenate with unmasked": lambda L, e: (
        L.Concatenate(axis=1)([e, L.Reshape((6, 4))(e)]), []),
    "attention": lambda L, e: (L.Attention()([e, e]), []),
    "attention causal": lambda L, e: (L.Attention()([e, e], use_causal_mask=True), []),
    "additive attention": lambda L, e: (L.AdditiveAttention(use_scale=False)([e, e]), []),
    **{
        f"heads {name}": lambda L, e, o=options, c=call: attend(
            L.MultiHeadAttention(2, 3, **o), e, c)
        for name, options, call in (
            ("", {}, {}),
            ("causal", {}, {"use_causal_mask": True}),
            ("scores", {}, {"return_attention_scores": True}),
            ("sizes", {"value_dim": 5, "output_shape": 7, "use_bias": False}, {}),
            ("gate", {"use_gate": True, "sliding_window": 2}, {}),
        )
    },
    "groups": lambda L, e: attend(L.GroupQueryAttention(3, 4, 2), e, {}),
    "groups causal": lambda L, e: attend(
        L.GroupQueryAttention(3, 4, 2), e, {"use_causal_mask": True}),
}  # fmt: skip


def with_states(layer: Any, e: Any, call: Any, L: Any) -> Any:
    state = L.GlobalMaxPooling1D()(e)
    states = [state] * (2 if "LSTM" in type(layer).__name__ else 1)
    return layer(e, initial_state=states, **call), [layer]


def mask_of(e: Any) -> Any:
    return e.mask if hasattr(e, "mask") else keras.src.backend.get_keras_mask(e)


def attend(layer: Any, e: Any, call: Any) -> Any:
    return layer(e, e, **call), [layer]


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "unmasked"])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())
def test_graph_behind_an_embedding(graph: Any, masked: bool) -> None:
    """Merging and attention use masks as Keras does; a mean at the end shows what they pass on."""

    def build(L: Any, tokens: Any) -> Any:
        embedding = L.Embedding(3, 4, mask_zero=masked)
        result, made = graph(L, embedding(tokens))
        first = result[0] if isinstance(result, (tuple, list)) else result
        mean = L.GlobalAveragePooling1D()(first)
        rest = list(result) if isinstance(result, (tuple, list)) else [result]
        return [mean, *rest], [embedding, *made]

    compare_models(build, [TOKENS])


def test_masking_hides_steps_of_one_value() -> None:
    """`Masking` feeds an LSTM as in Keras."""
    values = np.random.default_rng(0).normal(size=(3, 5, 2)).astype("float32")
    values[0, 3:] = 0.0
    values[1, 1] = 0.0

    def build(L: Any, x: Any) -> Any:
        made = [L.Masking(), L.LSTM(3, return_sequences=True)]
        return made[1](made[0](x)), made

    compare_models(build, [values])


def test_mask_travels_with_the_output() -> None:
    """`layer.output.mask` is symbolic, and a model of it computes the mask."""
    tokens = Input((6,), dtype="int64")
    embedding, dense = layers.Embedding(3, 4, mask_zero=True), layers.Dense(2)
    hidden = dense(embedding(tokens))
    assert embedding.output.mask == dense.output.mask == hidden.mask
    assert hidden.mask.dtype is torch.bool
    assert layers.Flatten()(hidden).mask is None
    found = Model(tokens, hidden.mask)(torch.as_tensor(TOKENS))
    assert torch.equal(found, torch.as_tensor(TOKENS) != 0)


def test_explicit_mask_takes_precedence() -> None:
    """`mask=` at a call replaces the mask that came with the input."""
    x, mask = Input((5, 2)), Input((5,), dtype="bool")
    layer = layers.LSTM(3)
    model = Model([x, mask], layer(x, mask=mask))
    values = torch.randn(2, 5, 2)
    counts = torch.tensor([[True, True, True, False, False], [True] * 5])
    expected = layer.module(values[:1, :3])[0][0, -1], layer.module(values[1:])[0][0, -1]
    torch.testing.assert_close(model(values, counts), torch.stack(expected))


def test_masks_survive_copies() -> None:
    """A copy's outputs have their masks, too."""
    import copy

    tokens = Input((6,), dtype="int64")
    model = Model(tokens, layers.Embedding(3, 4, mask_zero=True)(tokens))
    both = Model(tokens, [model.output, layers.LSTM(2)(model.output)])
    assert copy.deepcopy(both).outputs[0].mask is not None


class Recorded(TorchDispatchMode):
    """Notes the operations that are run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no bias"])
def test_states_of_a_masked_lstm_are_those_of_packed_sequences(use_bias):
    """Values and gradients; no length is read back from the device."""
    lstm = layers.LSTM(5, return_state=True, return_sequences=True, use_bias=use_bias)
    x, mask = Input((7, 3)), Input((7,), dtype="bool")
    model = Model([x, mask], list(lstm(x, mask=mask)))
    values = torch.randn(4, 7, 3, requires_grad=True)
    lengths = torch.tensor([7, 1, 4, 2])
    right = torch.arange(7) < lengths[:, None]
    with Recorded() as recorded:
        _, hidden, cell = model(values, right)
    assert not {n for n in recorded.names if "pack" in n or "scalar" in n or "nonzero" in n}
    module = lstm.module
    plain = nn.LSTM(3, 5, batch_first=True)
    state = {k: v for k, v in module.state_dict().items() if k in plain.state_dict()}
    plain.load_state_dict(state, strict=use_bias)
    if not use_bias:
        plain.bias_ih_l0.data.zero_(), plain.bias_hh_l0.data.zero_()
    packed = nn.utils.rnn.pack_padded_sequence(
        values, lengths, batch_first=True, enforce_sorted=False
    )
    _, (h, c) = plain(packed)
    torch.testing.assert_close(hidden, h[0])
    torch.testing.assert_close(cell, c[0])
    found = torch.autograd.grad((hidden * cell).sum(), [values, module.weight_hh_l0])
    expected = torch.autograd.grad((h * c).sum(), [values, plain.weight_hh_l0])
    torch.testing.assert_close(found, expected)


def test_a_pipeline_passes_masks_through():
    x = Input((5,), dtype="int64")
    embedded = layers.Embedding(6, 3, mask_zero=True)
    y = layers.Pipeline([embedded, layers.Dropout(0.1), layers.LSTM(2, return_sequences=True)])(x)
    reference = layers.Embedding(6, 3, mask_zero=True)(x).mask
    model = Model(x, [y.mask, reference])
    tokens = torch.tensor([[1, 2, 0, 0, 0], [1, 1, 1, 0, 2]])
    found, expected = model(tokens)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_masked_attention_computes_in_any_dtype(dtype):
    tokens = Input((6,), dtype="int64")
    x = layers.Embedding(3, 4, mask_zero=True)(tokens)
    model = Model(tokens, layers.MultiHeadAttention(2, 3)(x, x)).eval()
    values = torch.as_tensor(TOKENS)
    expected = model(values)
    made = model.to(dtype)(values)
    assert made.dtype == dtype
    tolerance = 1e-6 if dtype == torch.float64 else 0.05
    torch.testing.assert_close(made.float(), expected, rtol=tolerance, atol=tolerance)
