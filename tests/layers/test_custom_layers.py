"""Layers that a user writes, as for Keras: weights, losses and layers of their own, and modes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model, Sequential, layers, losses
from fgraph.errors import SymbolicError
from keras_oracle import keras

pytestmark = pytest.mark.filterwarnings("ignore")


class Linear(layers.Layer):
    """Keras's own example of a layer, but for the product."""

    def __init__(self, units=32, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.w = self.add_weight(
            shape=(input_shape[-1], self.units), initializer="random_normal", trainable=True
        )
        self.b = self.add_weight(shape=(self.units,), initializer="zeros", name="b")

    def call(self, inputs):
        return torch.matmul(inputs, self.w) + self.b


def test_added_weights_are_the_layers_and_registered_under_its_name():
    x = Input((3,))
    layer = Linear(4, name="linear")
    model = Model(x, layers.Dense(2)(layer(x)))
    assert list(model.state_dict())[:2] == ["linear.weight_1", "linear.b"]
    assert layer.w is model.linear.weight_1
    assert [w.shape for w in layer.get_weights()] == [(3, 4), (4,)]
    assert layer.count_params() == 16
    assert layer.weights == [layer.w, layer.b]
    values = torch.randn(5, 3)
    torch.testing.assert_close(
        model(values), model.dense_1(values @ layer.w.detach() + layer.b.detach())
    )


def test_added_weights_train_move_copy_and_come_back_from_a_file(tmp_path):
    x = Input((3,))
    model = Model(x, Linear(1)(x))
    values = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    targets = values @ np.array([[1.0], [2.0], [3.0]], "float32") + 0.5
    model.compile(torch.optim.Adam(model.parameters(), 0.1), "mse")
    model.fit(values, targets, epochs=60, verbose=0)
    assert model.evaluate(values, targets, verbose=0) < 0.01
    given = torch.tensor(values)
    twin = copy.deepcopy(model)
    model.save(tmp_path / "model.fgraph")
    loaded = fgraph.load_model(tmp_path / "model.fgraph", {"Linear": Linear})
    for other in (twin, loaded, model.double()):
        torch.testing.assert_close(
            other(given.to(next(other.parameters()).dtype)).float(), twin(given)
        )
    assert {p.dtype for p in model.parameters()} == {torch.float64}


def test_a_shared_layer_has_one_set_of_weights():
    a, b = Input((3,)), Input((3,))
    layer = Linear(2)
    model = Model([a, b], [layer(a), layer(b)])
    assert len(list(model.parameters())) == 2


def test_statistics_and_trained_weights_are_told_apart():
    class Shift(layers.Layer):
        def build(self, input_shape):
            self.mean = self.add_weight((3,), "ones", trainable=False, name="mean")
            self.scale = self.add_weight((3,), "ones", name="scale", regularizer="l2")

        def call(self, inputs):
            return (inputs - self.mean) * self.scale

    x = Input((3,))
    layer = Shift()
    model = Model(x, layer(x))
    assert [name for name, _ in model.named_parameters()] == ["shift_1.scale"]
    assert [name for name, _ in model.named_buffers()] == ["shift_1.mean"]
    assert layer.trainable_weights == [layer.scale]
    assert layer.non_trainable_weights == [layer.mean]
    assert [w.tolist() for w in layer.get_weights()] == [[1.0] * 3] * 2
    assert float(model.losses[0]) == pytest.approx(0.03)


def test_weights_beside_a_module_belong_to_it():
    class Gated(layers.Layer):
        def build(self, input_shape):
            self.bias = self.add_weight((input_shape[-1],), name="gate")
            return nn.Linear(input_shape[-1], input_shape[-1])

        def call(self, inputs):
            return self.module(inputs) * torch.sigmoid(self.bias)

    x = Input((3,))
    layer = Gated()
    model = Model(x, layer(x))
    assert sorted(model.state_dict()) == [
        "gated_1.added_weights.gate", "gated_1.bias", "gated_1.weight",
    ]  # fmt: skip
    assert len(layer.get_weights()) == 3


def test_weights_of_a_layer_that_makes_them_at_once():
    class Offset(layers.Layer):
        def __init__(self):
            super().__init__()
            self.offset = self.add_weight(3, "ones", name="offset", constraint="non_neg")

        def call(self, inputs):
            return inputs + self.offset

    x = Input((3,))
    layer = Offset()
    model = Model(x, layer(x))
    layer.set_weights([np.array([1.0, -2.0, 3.0])])
    model._after_step()
    assert layer.offset.tolist() == [1.0, 0.0, 3.0]
    assert isinstance(layer.from_config(layer.get_config()), Offset)


def test_layers_of_a_layer_are_part_of_it():
    class Block(layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.first = layers.Dense(units, activation="relu")
            self.rest = [layers.Dense(units), layers.BatchNormalization()]

        def call(self, inputs, training=None):
            x = self.first(inputs)
            for layer in self.rest:
                x = layer(x, training=training)
            return x

    x = Input((3,))
    block = Block(4)
    model = Model(x, block(x))
    assert len(block.get_weights()) == 2 + 2 + 4
    assert len(list(model.parameters())) == 6
    block.trainable = False
    assert not any(p.requires_grad for p in model.parameters())
    assert Sequential([Input((3,)), Block(4)]).count_params() == model.count_params()


def test_what_is_computed_from_weights_alone_is_computed_at_each_call():
    class Softplus(layers.Layer):
        def __init__(self):
            super().__init__()
            self.parts = {"raw": [self.add_weight((3,), "zeros")]}

        def call(self, inputs):
            return inputs * torch.nn.functional.softplus(self.parts["raw"][0])

    x = Input((3,))
    layer = Softplus()
    model = Model(x, layer(x))
    model(torch.ones(1, 3)).sum().backward()
    torch.testing.assert_close(layer.parts["raw"][0].grad, torch.full((3,), 0.5))
    layer.set_weights([np.full(3, 2.0)])
    torch.testing.assert_close(
        model(torch.ones(1, 3)), torch.nn.functional.softplus(torch.full((1, 3), 2.0))
    )


def test_a_derived_layer_may_use_the_weights_in_keras_layout():
    class Tied(layers.Dense):
        def call(self, inputs):
            return torch.tanh(inputs @ self.kernel + self.bias) @ self.kernel.mT

    x = Input((3,))
    layer = Tied(4)
    model = Model(x, layer(x))
    assert list(model.state_dict()) == ["tied_1.weight", "tied_1.bias"]
    values = torch.randn(5, 3)
    expected = torch.tanh(layer.module(values)) @ layer.module.weight
    torch.testing.assert_close(model(values), expected)
    model(values).sum().backward()
    assert layer.module.weight.grad is not None


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: layers.Dense(4), "kernel"),
        (lambda: layers.Conv2D(4, 3), "kernel"),
        (lambda: layers.Embedding(5, 4), "embeddings"),
        (lambda: layers.BatchNormalization(), "moving_variance"),
        (lambda: layers.SeparableConv1D(4, 3), "pointwise_kernel"),
    ],
)
def test_weights_have_keras_names_and_layout(make, name):
    layer = make()
    with pytest.raises(AttributeError, match=f"has no {name} yet: weights are made at the first"):
        getattr(layer, name)
    shape = {"Embedding": (7,), "Conv2D": (9, 9, 2)}.get(type(layer).__name__, (7, 3))
    layer(Input(shape, dtype="int64" if isinstance(layer, layers.Embedding) else None))
    names = [weight.name for _, _, weight in layer._held_weights()]
    np.testing.assert_array_equal(
        getattr(layer, name).detach().numpy(), layer.get_weights()[names.index(name)]
    )


def test_a_weight_that_a_layer_goes_without_is_none():
    layer = layers.Dense(3, use_bias=False)
    layer(Input((2,)))
    assert layer.bias is None
    assert layer.variables == layer.weights == [layer.module.weight]


@pytest.mark.parametrize("several", [False, True])
def test_added_losses_are_those_of_keras(several):
    values = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    found = []
    for package, make, kind in ((layers, Input, Model), (keras.layers, keras.Input, keras.Model)):

        class Penalized(package.Layer):
            def call(self, inputs):
                self.add_loss(0.5 * (inputs**2).mean())
                if several:
                    self.add_loss(inputs.sum())
                return inputs * 2

        x = make((3,))
        model = kind(x, Penalized()(x))
        result = model(torch.tensor(values))
        found.append((float(sum(model.losses)), result.detach().numpy()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1])


def test_added_losses_are_part_of_what_fit_minimizes():
    class Penalized(layers.Layer):
        def call(self, inputs):
            self.add_loss(inputs.mean())
            return inputs

    x = Input((3,))
    model = Model(x, Penalized()(layers.Dense(3, use_bias=False)(x)))
    model.compile("sgd", "mse")
    values = np.ones((8, 3), "float32")
    with torch.no_grad():
        given = model(torch.tensor(values))
        expected = losses.MeanSquaredError()(torch.tensor(values), given) + given.mean()
    assert model.evaluate(values, values, verbose=0) == pytest.approx(float(expected), rel=1e-5)


def test_what_is_added_in_the_wrong_place_is_refused():
    class Wrong(layers.Layer):
        def call(self, inputs):
            self.add_loss(torch.ones(()))
            return inputs

    x = Input((3,))
    with pytest.raises(TypeError, match=r"expects a symbolic tensor computed from the inputs, got"):
        Wrong()(x)
    with pytest.raises(RuntimeError, match=r"layer 'dense_1': add_loss expects to be called in"):
        layers.Dense(3).add_loss(x.sum())
    with pytest.raises(
        NotImplementedError, match=r"Keras 3 removed add_metric; .*compile\(metrics"
    ):
        layers.Dense(3).add_metric(x.sum(), name="total")
    with pytest.raises(TypeError, match="add_weight expects shape= first, got 'w'; write name="):
        layers.Dense(3).add_weight("w", (3,))
    with pytest.raises(ValueError, match=r"shape= expects known sizes, got \(None, 2\)"):
        layers.Dense(3).add_weight((None, 2))


def test_a_mode_that_is_not_known_yet_has_no_truth_value():
    class Noisy(layers.Layer):
        def call(self, inputs, training=None):
            return inputs + 1 if training else inputs

    x = Input((3,))
    with pytest.raises(SymbolicError, match=r"into an nn\.Module, which reads self\.training"):
        Noisy()(x)
    values = torch.ones(2, 3)
    assert Model(x, Noisy()(x, training=True))(values).sum() == 12
    assert Model(x, Noisy()(x, training=False))(values).sum() == 6


def test_a_mode_that_is_compared_has_no_truth_value_either():
    class Noisy(layers.Layer):
        def call(self, inputs, training=False):
            return inputs + 1 if training == True else inputs  # noqa: E712

    with pytest.raises(SymbolicError, match="no value while a layer is recorded"):
        Noisy()(Input((3,)))


def test_a_mode_that_is_passed_on_follows_the_model():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.drop = layers.Dropout(0.5)

        def call(self, inputs, training=None):
            return self.drop(inputs, training=training)

    x = Input((100,))
    model = Model(x, Block()(x))
    values = torch.ones(2, 100)
    assert torch.equal(model.eval()(values), values)
    assert not torch.equal(model.train()(values), values)


def test_a_constructor_that_forgets_super_is_told():
    class Forgetful(layers.Layer):
        def __init__(self):
            self.units = 3
            self.label = self.nothing

    with pytest.raises(AttributeError, match=r"has no attribute 'nothing' yet: call super"):
        Forgetful()


def test_a_constructor_without_options_can_be_cloned_under_its_name():
    class Double(layers.Layer):
        def __init__(self, factor=2):
            super().__init__()
            self.factor = factor

        def call(self, inputs):
            return inputs * self.factor

    x = Input((3,))
    model = Model(x, Double(3)(x))
    clone = fgraph.models.clone_model(model)
    assert clone(torch.ones(1, 3)).tolist() == [[3.0] * 3]
    assert [layer.name for layer in clone.layers] == [layer.name for layer in model.layers]


@pytest.mark.parametrize(
    ("layer", "given", "expected"),
    [
        (lambda: layers.Dense(4), (None, 3), (None, 4)),
        (lambda: layers.Conv2D(4, 3), (8, 9, 9, 2), (8, 7, 7, 4)),
        (lambda: layers.Concatenate(), [(None, 3), (None, 4)], (None, 7)),
        (lambda: layers.Embedding(5, 4), (None, 7), (None, 7, 4)),
        (lambda: Linear(6), (None, 3), (None, 6)),
    ],
    ids=["dense", "conv", "concatenate", "embedding", "custom"],
)
def test_the_output_shape_is_known_without_building(layer, given, expected):
    made = layer()
    assert made.compute_output_shape(given) == expected
    assert not made.built


def recurrent(lib):
    """The recurrent layer of Keras's functional guide, which begins with a constant."""

    class CustomRNN(lib.layers.Layer):
        def __init__(self):
            super().__init__()
            self.units = 4
            self.projection_1 = lib.layers.Dense(4, activation="tanh")
            self.projection_2 = lib.layers.Dense(4, activation="tanh")
            self.classifier = lib.layers.Dense(1)

        def call(self, inputs):
            outputs = []
            state = lib.ops.zeros(shape=(inputs.shape[0], self.units))
            for t in range(inputs.shape[1]):
                y = self.projection_1(inputs[:, t, :]) + self.projection_2(state)
                state = y
                outputs.append(y)
            return self.classifier(lib.ops.stack(outputs, axis=1))

    x = lib.Input(batch_shape=(2, 5, 3))
    return lib.Model(x, CustomRNN()(x))


def test_layers_inside_of_a_call_take_constants():
    ours, theirs = recurrent(fgraph), recurrent(keras)
    values = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    ours.set_weights(theirs.get_weights())
    expected = theirs.predict(values, verbose=0)
    np.testing.assert_allclose(ours.predict(values, verbose=0), expected, rtol=1e-5, atol=1e-6)


def block_of_models(lib):
    """A layer that holds layers, models and a list of both, as Keras's examples write it."""

    class Block(lib.layers.Layer):
        def __init__(self):
            super().__init__()
            self.attention = lib.layers.MultiHeadAttention(num_heads=2, key_dim=4)
            self.ffn = lib.Sequential([lib.layers.Dense(6, activation="relu"), lib.layers.Dense(5)])
            self.norm = lib.layers.LayerNormalization()
            self.several = [lib.layers.Dense(5), lib.Sequential([lib.layers.Dense(5)])]

        def call(self, x):
            y = self.norm(x + self.attention(x, x))
            for part in self.several:
                y = part(y)
            return y + self.ffn(y)

    x = lib.Input((3, 5))
    return lib.Model(x, lib.layers.Dense(2)(Block()(x)))


def test_weights_of_models_in_a_layer_are_the_layers():
    ours, theirs = block_of_models(fgraph), block_of_models(keras)
    values = np.random.default_rng(0).normal(size=(2, 3, 5)).astype("float32")
    ours.set_weights(theirs.get_weights())
    expected = theirs.predict(values, verbose=0)
    np.testing.assert_allclose(ours.predict(values, verbose=0), expected, rtol=1e-4, atol=1e-6)
    counts = [layer.count_params() for layer in theirs.layers]
    assert [layer.count_params() for layer in ours.layers] == counts
    for model in (ours, theirs):
        model.layers[1].trainable = False
    assert len(ours.trainable_weights) == len(theirs.trainable_weights) == 2


def test_a_model_built_within_a_call_has_its_own_layers():
    model = block_of_models(fgraph)
    inner = model.layers[1].ffn
    assert [type(layer) for layer in inner.layers] == [layers.Dense, layers.Dense]
    assert inner.get_layer("dense_1") is inner.layers[0]
    assert len(inner.get_weights()) == 4


def test_a_torch_module_in_a_layer_is_frozen_with_it():
    class Mixed(layers.Layer):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def call(self, x):
            return self.linear(x)

    x = Input((3,))
    layer = Mixed()
    model = Model(x, layer(x))
    assert [weight.shape for weight in layer.get_weights()] == [(2, 3), (2,)]
    layer.trainable = False
    assert model.trainable_weights == []
