"""Layers whose oracle is a formula: Keras's torch backend has none, or is wrong there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fgraph import Input, Model, activations, layers


def run(layer: Any, *values: torch.Tensor) -> torch.Tensor:
    """Return what a model of one layer gives."""
    inputs = [Input(value.shape[1:], dtype=value.dtype) for value in values]
    given = inputs if len(inputs) > 1 else inputs[0]
    return Model(inputs, layer(given)).eval()(*values)


def test_sparsemax_is_the_projection_onto_the_simplex() -> None:
    """Sums are one, and the result is as close as any other point of the simplex."""
    x = torch.randn(4, 5, 6)
    found = activations.sparsemax(x)
    torch.testing.assert_close(found.sum(-1), torch.ones(4, 5))
    assert found.min() == 0.0
    others = torch.softmax(torch.randn(1000, 1, 1, 6) * 3, -1)
    assert ((x - found).norm(dim=-1) <= (x - others).norm(dim=-1)).all()


def test_glu_halves_the_last_axis() -> None:
    """The first half times the sigmoid of the second."""
    x = torch.randn(3, 8)
    torch.testing.assert_close(run(layers.Activation("glu"), x), x[:, :4] * x[:, 4:].sigmoid())


def test_threshold_keeps_what_is_above() -> None:
    """Other values are replaced."""
    x = torch.tensor([-1.0, 0.5, 2.0])
    assert activations.threshold(x, 0.5, 9.0).tolist() == [9.0, 9.0, 2.0]


@pytest.mark.parametrize("axis", [1, (1, 3), (2, 1)], ids=str)
def test_layer_normalization_over_other_axes(axis: Any) -> None:
    """Mean and variance along the axes are zero and one, then scaled along them, in their order."""
    x = torch.randn(2, 3, 4, 5)
    axes = (axis,) if isinstance(axis, int) else axis
    layer = layers.LayerNormalization(axis=axis, gamma_initializer="random_normal")
    found = run(layer, x)
    mean, variance = x.mean(axes, keepdim=True), x.var(axes, correction=0, keepdim=True)
    gamma = layer.module.weight
    shape = [x.shape[a] if a in axes else 1 for a in range(4)]
    expected = (x - mean) / (variance + 1e-3).sqrt() * gamma.reshape(shape)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_transposed_convolution_is_the_adjoint(kernel: int, strides: int) -> None:
    """`<conv(y), x> = <y, transpose(x)>` with `padding="same"`, however uneven the padding is."""
    x, y = torch.randn(2, 5, 3), torch.randn(2, 5 * strides, 4)
    conv = layers.Conv1D(3, kernel, strides, "same", use_bias=False)
    transpose = layers.Conv1DTranspose(4, kernel, strides, "same", use_bias=False)
    Model(y_in := Input(y.shape[1:]), conv(y_in))
    transpose(Input(x.shape[1:]))
    transpose.set_weights(conv.get_weights())
    left, right = (run(conv, y) * x).sum(), (y * run(transpose, x)).sum()
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


def test_normalization_adapts_to_data() -> None:
    """After `adapt` features have mean zero and variance one, before and after the first call."""
    data = np.random.default_rng(0).normal(3.0, 2.0, (100, 4)).astype("float32")
    layer = layers.Normalization()
    layer.adapt(data)
    found = run(layer, torch.tensor(data))
    torch.testing.assert_close(found.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.var(0, correction=0), torch.ones(4))
    layer.adapt(data * 2)
    torch.testing.assert_close(run(layer, torch.tensor(data * 2)), found)


def test_discretization_adapts_to_data() -> None:
    """Every range gets the same share of the data."""
    data = torch.randn(1000)
    layer = layers.Discretization(num_bins=4)
    layer.adapt(data)
    assert run(layer, data[:, None]).flatten().bincount().tolist() == [250] * 4


def test_category_weights_are_counted() -> None:
    """`count_weights` says how much each number counts."""
    codes, weights = Input((3,), dtype="int64"), Input((3,))
    model = Model(
        [codes, weights], layers.CategoryEncoding(4, "count")(codes, count_weights=weights)
    )
    found = model(torch.tensor([[0, 2, 2]]), torch.tensor([[1.0, 0.5, 3.0]]))
    assert found.tolist() == [[1.0, 0.0, 3.5, 0.0]]


def test_time_distributed_takes_models_and_torch_modules() -> None:
    """The inner module is called once, on steps folded into the batch; unknown steps work."""
    calls = []
    linear = torch.nn.Linear(3, 2)
    linear.register_forward_hook(lambda module, args, output: calls.append(args[0].shape))
    steps = Input((None, 3))
    model = Model(steps, layers.TimeDistributed(linear)(steps))
    x = torch.randn(4, 5, 3)
    torch.testing.assert_close(model(x), F.linear(x, linear.weight, linear.bias))
    assert calls == [(20, 3)]
    one = Input((3,))
    inner = Model(one, layers.Dense(2)(one))
    outer = Model(steps, layers.TimeDistributed(inner)(steps))
    torch.testing.assert_close(outer(x), inner(x.reshape(20, 3)).reshape(4, 5, 2))


def test_rnn_runs_torch_cells_and_own_cells() -> None:
    """`nn.GRUCell`, and a module with `state_size`, are run step by step, masks included."""

    class Sum(torch.nn.Module):
        state_size = 3

        def forward(self, x: torch.Tensor, states: Any) -> Any:
            total = states[0] + x
            return total, [total]

    x, mask = Input((4, 3)), Input((4,), dtype="bool")
    model = Model([x, mask], layers.RNN(Sum(), return_sequences=True)(x, mask=mask))
    values = torch.randn(2, 4, 3)
    counts = torch.tensor([[True, False, True, False], [False, True, True, True]])
    torch.testing.assert_close(model(values, counts), (values * counts[..., None]).cumsum(1))
    cell, whole = torch.nn.GRUCell(3, 5), torch.nn.GRU(3, 5, batch_first=True)
    whole.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    torch.testing.assert_close(run(layers.RNN(cell), values), whole(values)[0][:, -1])


def test_conv_chain_makes_no_copies() -> None:
    """Between channels-last convolutions the data stays in torch's channels_last format."""
    x = Input((8, 8, 3))
    first, second = (layers.Conv2D(4, 3, padding="same", activation="relu") for _ in range(2))
    model = Model(x, second(first(x)))
    seen = []
    second.module.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    result = model(torch.randn(2, 8, 8, 3))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert first.module.weight.is_contiguous(memory_format=torch.channels_last)
    assert result.is_contiguous()


def test_attention_over_several_axes_returns_a_weight_for_each_pair_of_steps():
    query, value = Input((3, 2, 5, 4)), Input((4, 2, 6, 4))
    layer = layers.MultiHeadAttention(2, 3, attention_axes=(1, 3), use_bias=False)
    model = Model([query, value], layer(query, value, return_attention_scores=True)[1])
    x, y = torch.randn(7, 3, 2, 5, 4), torch.randn(7, 4, 2, 6, 4)
    q, k = (torch.as_tensor(weight) for weight in layer.get_weights()[:2])
    q, k = (torch.einsum("btsuf,fhd->bshtud", x, w) for x, w in ((x, q), (y, k)))
    expected = torch.einsum("bshtud,bshvwd->bshtuvw", q, k) / 3**0.5
    expected = torch.softmax(expected.flatten(5), -1).view(expected.shape)
    torch.testing.assert_close(model(x, y), expected)
