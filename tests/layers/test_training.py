"""What layers do in training: statistics, noise, frozen weights, penalties, constraints, steps."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model, constraints, layers, regularizers
from keras_oracle import filled, gradient, in_fgraph, in_keras, keras, random_weight

pytestmark = pytest.mark.filterwarnings("ignore")

STEPPED: dict[str, tuple[Any, Any]] = {
    "dense": (lambda L: L.Dense(4), (3,)),
    "conv": (lambda L: L.Conv2D(4, 3, padding="same"), (5, 5, 2)),
    "transpose": (lambda L: L.Conv2DTranspose(4, 3), (5, 5, 2)),
    "depthwise": (lambda L: L.DepthwiseConv2D(3, depth_multiplier=2), (5, 5, 2)),
    "separable": (lambda L: L.SeparableConv2D(4, 3), (5, 5, 2)),
    "rnn": (lambda L: L.SimpleRNN(4), (5, 3)),
    "lstm": (lambda L: L.LSTM(4), (5, 3)),
    "gru": (lambda L: L.GRU(4), (5, 3)),
    "gru before": (lambda L: L.GRU(4, reset_after=False), (5, 3)),
    "bidirectional": (lambda L: L.Bidirectional(L.LSTM(4)), (5, 3)),
    "conv lstm": (lambda L: L.ConvLSTM1D(2, 3), (3, 6, 2)),
    "batch": (lambda L: L.BatchNormalization(), (5, 3)),
    "batch image": (lambda L: L.BatchNormalization(axis=1, momentum=0.9), (3, 4, 5)),
    "layer norm": (lambda L: L.LayerNormalization(), (5, 3)),
    "spectral": (lambda L: L.SpectralNormalization(L.Dense(4), 2), (3,)),
}


@pytest.mark.parametrize(("make", "shape"), STEPPED.values(), ids=STEPPED.keys())
def test_one_training_step_gives_keras_weights(make: Any, shape: Any) -> None:
    """From the same weights one SGD step, statistics included, leads to the same weights."""
    rng = np.random.default_rng(1)
    theirs, theirs_model = in_keras(make, [shape])
    ours, model = in_fgraph(make, [shape])
    weights = [random_weight(weight, rng) for weight in theirs.weights]
    theirs.set_weights(filled(theirs, weights))
    ours.set_weights(weights)
    values = torch.tensor(rng.normal(size=(6, *shape)), dtype=torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.train()
    model(values).square().mean().backward()
    optimizer.step()
    theirs_model([values], training=True).square().mean().backward()
    with torch.no_grad():
        for weight in theirs.trainable_weights:
            weight.value.sub_(0.1 * gradient(weight.value))
    for mine, reference in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-5, atol=1e-6)


def test_masked_batch_normalization_counts_what_keras_counts() -> None:
    """Masked steps take no part in the statistics."""
    values = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
    values[:, 3:] = 0.0
    found = []
    for L, make, kind in ((layers, Input, Model), (keras.layers, keras.Input, keras.Model)):
        x = make((5, 3))
        layer = L.BatchNormalization(momentum=0.5)
        model = kind(x, layer(L.Masking()(x)))
        if L is layers:
            result = model.train()(torch.tensor(values))
        else:
            result = model(values, training=True)
        found.append((result.detach().numpy(), *layer.get_weights()))
    for mine, reference in zip(*found, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- modes

NOISY: dict[str, Any] = {
    "dropout": lambda: layers.Dropout(0.5),
    "dropout shape": lambda: layers.Dropout(0.5, noise_shape=(None, 1, None)),
    "spatial": lambda: layers.SpatialDropout1D(0.5),
    "gaussian noise": lambda: layers.GaussianNoise(0.5),
    "gaussian dropout": lambda: layers.GaussianDropout(0.5),
    "alpha dropout": lambda: layers.AlphaDropout(0.5),
    "lstm dropout": lambda: layers.LSTM(4, dropout=0.5),
    "gru recurrent dropout": lambda: layers.GRU(4, recurrent_dropout=0.5),
    "time distributed": lambda: layers.TimeDistributed(layers.Dropout(0.5)),
    "batch": lambda: layers.BatchNormalization(),
}


@pytest.mark.parametrize("make", NOISY.values(), ids=NOISY.keys())
def test_mode_follows_the_model_or_is_fixed_at_the_call(make: Any) -> None:
    """`train()` and `eval()` switch a layer, and `training=` at a call does not let them."""
    x = Input((6, 3))
    values = torch.randn(8, 6, 3)
    layer = make()
    free, always, never = (
        Model(x, layer(x, **options)) for options in ({}, {"training": True}, {"training": False})
    )
    free.eval()
    quiet = free(values)
    assert torch.equal(free(values), quiet)
    assert torch.equal(never.train()(values), quiet)
    assert not torch.equal(always.eval()(values), quiet)
    never.eval()
    assert not torch.equal(free.train()(values), quiet)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_spatial_dropout_drops_whole_channels(rank: int) -> None:
    """A channel is kept everywhere or nowhere, and scaled up."""
    shape = (4,) * rank
    x = Input((*shape, 50))
    model = Model(x, getattr(layers, f"SpatialDropout{rank}D")(0.5)(x)).train()
    found = model(torch.ones(2, *shape, 50)).flatten(1, -2)
    assert set(found.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(found.amin(1), found.amax(1))


@pytest.mark.parametrize(
    ("layer", "mean", "deviation"),
    [
        (layers.Dropout(0.3), 1.0, (0.3 / 0.7) ** 0.5),
        (layers.GaussianDropout(0.3), 1.0, (0.3 / 0.7) ** 0.5),
        (layers.GaussianNoise(0.3), 1.0, 0.3),
    ],
    ids=["dropout", "gaussian dropout", "gaussian noise"],
)
def test_noise_has_keras_moments(layer: Any, mean: float, deviation: float) -> None:
    """Mean and standard deviation of noisy ones."""
    x = Input((100_000,))
    found = Model(x, layer(x)).train()(torch.ones(1, 100_000))
    assert found.mean().item() == pytest.approx(mean, abs=0.01)
    assert found.std().item() == pytest.approx(deviation, abs=0.01)


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    """Standard normal values stay so in mean and variance."""
    x = Input((100_000,))
    found = Model(x, layers.AlphaDropout(0.3)(x)).train()(torch.randn(1, 100_000))
    assert found.mean().item() == pytest.approx(0.0, abs=0.02)
    assert found.std().item() == pytest.approx(1.0, abs=0.02)


def test_seed_makes_dropout_repeatable() -> None:
    """Two layers with one seed drop the same values, whatever torch's own generator did."""
    x = Input((50,))
    models = [Model(x, layers.Dropout(0.5, seed=3)(x)).train() for _ in range(2)]
    first = models[0](torch.ones(2, 50))
    torch.rand(7)
    assert torch.equal(models[1](torch.ones(2, 50)), first)
    assert not torch.equal(models[0](torch.ones(2, 50)), first)


# ---------------------------------------------------------------- frozen weights


@pytest.mark.parametrize("when", ["before", "after"])
def test_frozen_layers_have_frozen_weights_and_statistics(when: str) -> None:
    """`trainable = False` freezes parameters, and batch statistics in training mode too."""
    x = Input((3,))
    batch = layers.BatchNormalization(trainable=when == "after")
    model = Model(x, batch(layers.Dense(3)(x)))
    batch.trainable = False
    before = batch.get_weights()
    values = torch.randn(8, 3)
    result = model.train()(values)
    assert [p.requires_grad for p in model.parameters()] == [True, True, False, False]
    np.testing.assert_array_equal(batch.get_weights()[2], before[2])
    torch.testing.assert_close(result, model.eval()(values))
    batch.trainable = True
    model.train()(values)
    assert not np.array_equal(batch.get_weights()[2], before[2])


def test_lstm_has_one_bias_to_train() -> None:
    """The second bias of `nn.LSTM` is a buffer of zeros, and keeps its key."""
    x = Input((5, 3))
    layer = layers.LSTM(4)
    model = Model(x, layer(x))
    assert type(layer.module) is nn.LSTM
    assert [name for name, _ in layer.module.named_parameters()] == [
        "weight_ih_l0",
        "weight_hh_l0",
        "bias_ih_l0",
    ]
    assert set(layer.module.state_dict()) == set(nn.LSTM(3, 4).state_dict())
    assert layer.count_params() == sum(p.numel() for p in model.parameters()) == 4 * 4 * (3 + 4 + 1)
    layer.trainable = False
    layer.trainable = True
    assert not layer.module.bias_hh_l0.requires_grad


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_stateful_layers_carry_on(kind: str) -> None:
    """Two halves of a sequence, one after the other, give what the whole gives."""
    whole, half = Input((6, 3)), Input((3, 3), batch_size=2)
    plain, kept = getattr(layers, kind)(4), getattr(layers, kind)(4, stateful=True)
    expected, model = Model(whole, plain(whole)), Model(half, kept(half))
    kept.set_weights(plain.get_weights())
    values = torch.randn(2, 6, 3)
    first = model(values[:, :3])
    torch.testing.assert_close(model(values[:, 3:]), expected(values))
    kept.reset_state()
    torch.testing.assert_close(model(values[:, :3]), first)


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU", "RNN"])
def test_initial_state_begins_the_run(kind: str) -> None:
    """The states after one half, given to the other, give what the whole gives."""
    x, rest = Input((3, 3)), Input((3, 3))
    layer = getattr(layers, kind)(layers.LSTMCell(4) if kind == "RNN" else 4, return_state=True)
    _, *states = layer(x)
    model = Model([x, rest], layer(rest, initial_state=states)[0])
    whole = Input((6, 3))
    expected = Model(whole, layer(whole)[0])
    values = torch.randn(2, 6, 3)
    torch.testing.assert_close(model(values[:, :3], values[:, 3:]), expected(values))


# ---------------------------------------------------------------- penalties and constraints


def test_weight_penalties_are_keras_losses() -> None:
    """`model.losses` lists the penalties of kernels, recurrent kernels and biases."""
    found = []
    for L, make, kind in ((layers, Input, Model), (keras.layers, keras.Input, keras.Model)):
        x = make((5, 3))
        made = [
            L.LSTM(4, kernel_regularizer="l2", recurrent_regularizer="l1", bias_regularizer="L1L2"),
            L.Dense(2, kernel_regularizer="orthogonal_regularizer"),
        ]
        model = kind(x, made[1](made[0](x)))
        rng = np.random.default_rng(0)
        for layer in made:
            shapes = [weight.shape for weight in layer.get_weights()]
            layer.set_weights([rng.normal(size=shape).astype("float32") for shape in shapes])
        found.append([float(loss) for loss in model.losses])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_activity_penalties_are_keras_losses() -> None:
    """Penalties of outputs are those of the last call, divided by the size of the batch."""
    values = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    x, y = Input((3,)), keras.Input((3,))
    own, theirs = (
        L.Dense(2, activation="relu", activity_regularizer=L2(0.5))
        for L, L2 in ((layers, regularizers.L2), (keras.layers, keras.regularizers.L2))
    )
    model = Model(x, layers.ActivityRegularization(l1=0.1)(own(x)))
    reference = keras.Model(y, keras.layers.ActivityRegularization(l1=0.1)(theirs(y)))
    own.set_weights(theirs.get_weights())
    assert model.losses == []
    model(torch.tensor(values))
    reference(values)
    assert sorted(map(float, model.losses)) == pytest.approx(sorted(map(float, reference.losses)))
    sum(model.losses).backward()
    assert own.module.weight.grad is not None
    assert pickle.loads(pickle.dumps(model)).losses == copy.deepcopy(model).losses == []


def test_penalties_of_inner_layers_and_models_are_found_once() -> None:
    """Wrapped layers, nested models and shared layers each count once."""
    x = Input((5, 3))
    shared = layers.Dense(3, kernel_regularizer="l2")
    inner = Model(x, shared(layers.TimeDistributed(layers.Dense(3, bias_regularizer="l1"))(x)))
    y = Input((5, 3))
    assert len(Model(y, shared(inner(y))).losses) == 2


def test_fit_lowers_the_loss_with_penalties_and_applies_constraints() -> None:
    """`fit` adds the penalties to the loss, and constraints hold after each step."""
    x = Input((3,))
    layer = layers.Dense(2, kernel_constraint="non_neg", kernel_regularizer=regularizers.L2(0.1))
    model = Model(x, layer(x))
    model.compile("sgd", "mse")
    values, targets = np.ones((8, 3), "float32"), -np.ones((8, 2), "float32")
    first = model.evaluate(values, targets, verbose=0)
    first = first[0] if isinstance(first, list) else first
    with torch.no_grad():
        plain = nn.functional.mse_loss(model(torch.tensor(values)), torch.tensor(targets))
    assert first == pytest.approx(float(plain + model.losses[0]), rel=1e-5)
    model.fit(values, targets, epochs=5, verbose=0)
    assert layer.get_weights()[0].min() >= 0


@pytest.mark.parametrize(
    "constraint",
    [
        ("MaxNorm", {"max_value": 0.5}),
        ("MaxNorm", {"max_value": 0.5, "axis": 1}),
        ("NonNeg", {}),
        ("UnitNorm", {}),
        ("MinMaxNorm", {"min_value": 0.7, "max_value": 0.8, "rate": 0.5}),
    ],
    ids=str,
)
def test_constraint_is_that_of_keras(constraint: Any) -> None:
    """Constrained weights are Keras's, in its layout."""
    name, options = constraint
    value = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    x = Input((3,))
    layer = layers.Dense(4, kernel_constraint=getattr(constraints, name)(**options))
    model = Model(x, layer(x))
    layer.set_weights([value, np.zeros(4)])
    model._after_step()
    expected = getattr(keras.constraints, name)(**options)(torch.tensor(value))
    np.testing.assert_allclose(layer.get_weights()[0], expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    "regularizer", [("L1", {}), ("L2", {"l2": 0.3}), ("L1L2", {"l1": 0.1, "l2": 0.2}),
                    ("OrthogonalRegularizer", {"mode": "columns"})], ids=str,
)  # fmt: skip
def test_regularizer_is_that_of_keras(regularizer: Any) -> None:
    """Penalties are Keras's."""
    name, options = regularizer
    value = torch.randn(3, 4)
    found = getattr(regularizers, name)(**options)(value)
    assert float(found) == pytest.approx(
        float(getattr(keras.regularizers, name)(**options)(value)), rel=1e-5
    )


# ---------------------------------------------------------------- tools

TOOLED: dict[str, Any] = {
    "dense": (lambda: layers.Dense(4, activation="gelu"), (3,)),
    "conv": (lambda: layers.Conv2D(4, 3, 2, "same", activation="relu"), (9, 9, 3)),
    "average same": (lambda: layers.AveragePooling2D(2, padding="same"), (9, 9, 3)),
    "batch": (lambda: layers.BatchNormalization(), (9, 3)),
    "lstm": (lambda: layers.LSTM(4), (5, 3)),
    "gru states": (lambda: layers.GRU(4, return_state=True), (5, 3)),
    "lstm loop": (lambda: layers.LSTM(4, activation="relu"), (5, 3)),
    "bidirectional": (lambda: layers.Bidirectional(layers.GRU(4)), (5, 3)),
    "conv lstm": (lambda: layers.ConvLSTM1D(4, 3), (3, 6, 2)),
    "cells": (lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)]), (5, 3)),
    "time distributed": (lambda: layers.TimeDistributed(layers.Dense(4)), (5, 3)),
    "lambda": (lambda: layers.Lambda(lambda x: x * 2), (5, 3)),
    "einsum": (lambda: layers.EinsumDense("abc,cd->abd", (None, 6), bias_axes="d"), (5, 3)),
    "spectral": (lambda: layers.SpectralNormalization(layers.Dense(4)), (3,)),
    "prelu": (lambda: layers.PReLU(), (3,)),
    "noise": (lambda: layers.Dropout(0.5, seed=1), (3,)),
    "normalization": (lambda: layers.Normalization(mean=1.0, variance=2.0), (3,)),
}


@pytest.mark.parametrize(("make", "shape"), TOOLED.values(), ids=TOOLED.keys())
def test_layers_copy_pickle_and_export(make: Any, shape: Any) -> None:
    """Copies, pickles and exported programs give what the model gives."""
    x = Input(shape)
    layer = make()
    model = Model(x, layer(x)).eval()
    values = torch.randn(4, *shape)
    expected = model(values)
    made = [copy.deepcopy(model), torch.export.export(model, (values,)).module()]
    if not isinstance(layer, layers.Lambda):
        made.append(pickle.loads(pickle.dumps(model)))
    for tool in made:
        torch.testing.assert_close(tool(values), expected)


@pytest.mark.parametrize(("make", "shape"), TOOLED.values(), ids=TOOLED.keys())
def test_configuration_makes_the_same_layer(make: Any, shape: Any) -> None:
    """`from_config(get_config())` gives a layer of its own that takes the same weights."""
    x = Input(shape)
    layer = make()
    model = Model(x, layer(x)).eval()
    other = type(layer).from_config(layer.get_config())
    copied = Model(x, other(x)).eval()
    assert other.module is None or other.module is not layer.module
    other.set_weights(layer.get_weights())
    values = torch.randn(4, *shape)
    torch.testing.assert_close(copied(values), model(values))


@pytest.mark.parametrize("name", sorted(set(TOOLED) - {"lstm", "gru states", "lstm loop",
                                                       "bidirectional", "cells"}))  # fmt: skip
def test_layers_compile_into_one_graph(name: str) -> None:
    """All but recurrent layers, which torch itself does not compile, in either mode."""
    make, shape = TOOLED[name]
    x = Input(shape)
    model = Model(x, make()(x)).eval()
    values = torch.randn(4, *shape)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(values), model(values))


def test_clones_of_wrapped_layers_have_the_same_keys_and_weights_of_their_own() -> None:
    """`clone_model` makes the layers inside wrappers anew."""
    x = Input((5, 3))
    whole = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    hidden = layers.TimeDistributed(layers.Dense(3))(
        layers.Bidirectional(layers.GRU(4))(whole)[:, None]
    )
    model = Model(x, hidden)
    clone = fgraph.models.clone_model(model)
    assert list(clone.state_dict()) == list(model.state_dict())
    assert not {id(p) for p in clone.parameters()} & {id(p) for p in model.parameters()}
    clone.load_state_dict(model.state_dict())
    values = torch.randn(2, 5, 3)
    torch.testing.assert_close(clone(values), model(values))


def test_dtype_is_that_of_the_weights() -> None:
    """`dtype=` by name or as torch's, for weights and so for outputs."""
    x = Input((5, 3), dtype="float64")
    hidden = layers.LSTM(4, dtype="float64", return_sequences=True)(x)
    model = Model(x, layers.Dense(2, dtype=torch.float64)(hidden))
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model(torch.randn(2, 5, 3, dtype=torch.float64)).dtype is torch.float64


@pytest.mark.parametrize("shape", [(6, 6, 4), (3, 4, 5, 4)], ids=["picture", "volume"])
def test_group_normalization_trains_on_an_input_without_gradient(shape: tuple[int, ...]) -> None:
    """Torch's kernel stops the process there if the memory is channels-last, as of torch 2.13."""
    x = Input(shape)
    model = Model(x, layers.GroupNormalization(2)(x))
    seen: list[bool] = []
    norm = next(module for module in model.modules() if isinstance(module, nn.GroupNorm))
    norm.register_forward_pre_hook(lambda _, given: seen.append(given[0].is_contiguous()))
    values, wanted = torch.randn(2, 8, *shape).unbind()
    output = model(values)
    assert seen == [True]  # before the backward, which would take the other tests along
    assert norm.weight is not None
    ((output - wanted) ** 2).mean().backward()

    grouped = values.reshape(8, -1, 2, 2)
    centred = grouped - grouped.mean((1, 3), keepdim=True)
    normal = centred / (centred.square().mean((1, 3), keepdim=True) + 1e-3).sqrt()
    error = 2 * (normal.reshape(values.shape) - wanted) / values.numel()
    by_hand = (error * normal.reshape(values.shape)).flatten(0, -2).sum(0)
    torch.testing.assert_close(norm.weight.grad, by_hand)
