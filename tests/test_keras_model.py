"""What `Model` has under Keras's names besides training: weights, shapes, copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model, Sequential, layers, load_model
from keras_oracle import keras


def stack(lib):
    """A small model, made by either package."""
    x = lib.Input((3,))
    h = lib.layers.BatchNormalization()(lib.layers.Dense(4)(x))
    return lib.Model(x, lib.layers.Dense(2)(h))


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize(
    "name",
    ["weights", "variables", "trainable_weights", "trainable_variables",
     "non_trainable_weights", "non_trainable_variables"],
)  # fmt: skip
def test_lists_of_weights_are_those_of_keras(name, trainable):
    ours, theirs = stack(fgraph), stack(keras)
    ours.trainable = theirs.trainable = trainable
    shapes = [tuple(weight.shape) for weight in getattr(theirs, name)]
    found = [tuple(weight.shape) for weight in getattr(ours, name)]
    assert sorted(found) == sorted(shape[::-1] if len(shape) == 2 else shape for shape in shapes)


def test_built_tells_whether_there_are_weights():
    model = Sequential([layers.Dense(2)])
    assert not model.built
    assert model.weights == []
    model.build((None, 3))
    assert model.built
    assert len(model.variables) == 2


def test_compute_output_shape_follows_the_structure():
    a, b = Input((None, 3), name="a"), Input((4,), name="b")
    model = Model({"a": a, "b": b}, [layers.LSTM(5)(a), layers.Dense(2)(b)])
    shapes = model.compute_output_shape({"a": (None, 7, 3), "b": (8, 4)})
    assert shapes == [(None, 5), (8, 2)]
    assert model.compute_output_shape({"a": (2, 7, 3), "b": (8, 4)}) == [(2, 5), (8, 2)]


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: Model((x := Input((3,))), layers.Dense(2)(x), **o),
        lambda **o: Sequential([Input((3,)), layers.Dense(2)], **o),
    ],
    ids=["Model", "Sequential"],
)
def test_trainable_is_an_argument_of_models(make):
    model = make(trainable=False, name="frozen")
    assert not model.trainable
    assert model.trainable_variables == []
    assert make().trainable


def test_a_sequential_that_is_built_later_stays_frozen():
    model = Sequential([layers.Dense(2)], trainable=False)
    model.build((None, 3))
    assert model.trainable_variables == []


def test_a_frozen_model_comes_back_frozen(tmp_path):
    model = stack(fgraph)
    model.trainable = False
    model.save(tmp_path / "model.fgraph")
    assert not load_model(tmp_path / "model.fgraph").trainable


# ------------------------------------------------------------------ files


@fgraph.register("tests>halved")
def halved(y_true, y_pred):
    return 0.5 * (y_true - y_pred).abs().mean(-1)


def test_load_model_can_leave_the_training_out(tmp_path, monkeypatch):
    model = stack(fgraph)
    model.compile("adam", halved)
    model.fit(torch.ones(4, 3), torch.ones(4, 2), verbose=0)
    model.save(tmp_path / "model.fgraph")
    loaded = load_model(tmp_path / "model.fgraph", compile=False)
    assert loaded.optimizer is None
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert load_model(tmp_path / "model.fgraph").optimizer is not None
    from fgraph.saving import registered_names as registered

    monkeypatch.setattr(registered, "_by_name", {})  # the loss is not known where it is loaded
    assert load_model(tmp_path / "model.fgraph", compile=False).count_params() == 34
    with pytest.raises(fgraph.LoadError, match="tests>halved"):
        load_model(tmp_path / "model.fgraph")


# ------------------------------------------------------------------ copies


def test_a_clone_on_other_inputs_is_built_on_them():
    model = stack(fgraph)
    image = Input((3,), name="image")
    clone = fgraph.models.clone_model(model, image * 2)
    x = torch.randn(4, 3)
    whole = Model(image, clone.output).eval()
    clone.set_weights(model.get_weights())
    torch.testing.assert_close(whole(x), model.eval()(2 * x))


def test_a_clone_on_inputs_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"expects shape \(None, 3\), got \(None, 5\)"):
        fgraph.models.clone_model(stack(fgraph), Input((5,)))
    with pytest.raises(TypeError, match="input_tensors= expects symbolic tensors"):
        fgraph.models.clone_model(stack(fgraph), torch.ones(2, 3))


def test_call_function_takes_the_place_of_each_call():
    x = Input((3,))
    model = Model(x, nn.Linear(4, 2)(layers.Dense(4)(x)).relu())
    seen = []

    def call(layer, *args, **kwargs):
        seen.append(type(layer).__name__)
        return layer(*args, **kwargs) * 0.0

    clone = fgraph.models.clone_model(model, call_function=call)
    assert seen == ["Dense", "Linear"]
    assert clone(torch.randn(5, 3)).abs().sum() == 0


def test_a_recursive_clone_visits_nested_models():
    x = Input((3,))
    inner = stack(fgraph)
    model = Model(x, inner(x))
    for recursive, expected in ((False, ["Model"]), (True, ["Dense", "BatchNormalization"])):
        seen = []

        def clone(layer, seen=seen):
            seen.append(type(layer).__name__)
            return layer.from_config(layer.get_config())

        fgraph.models.clone_model(model, clone_function=clone, recursive=recursive)
        assert seen[: len(expected)] == expected


# ------------------------------------------------------------------ steps


class Tracked(Model):
    """The custom `train_step` of Keras's guides, whose loss counts each batch once."""

    def train_step(self, data):
        x, y = data
        y_pred = self(x, training=True)
        loss = self.compute_loss(y=y, y_pred=y_pred)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred)
        return {metric.name: metric.result() for metric in self.metrics}


def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(10, 3, generator=generator), torch.randn(10, 2, generator=generator)


def test_a_step_is_given_data_as_in_keras_and_updates_metrics_itself():
    x = Input((3,))
    model = Tracked(x, layers.Dense(2)(x))
    twin = Model(model.input, model.output)
    before = model.get_weights()
    fits = {}
    for one in (model, twin):
        one.set_weights(before)
        one.compile("sgd", "mse", metrics=["mae"])
        fits[one] = one.fit(*data(), batch_size=5, epochs=2, shuffle=False, verbose=0).history
    for name, values in fits[twin].items():
        np.testing.assert_allclose(fits[model][name], values, rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "kinds"),
    [((True, True, True), 3), ((True, True, False), 2), ((True, False, False), 0)],
    ids=["x, y, weights", "x, y", "x"],
)
def test_data_is_a_tuple_of_what_was_given(given, kinds):
    seen = []

    class Sees(Model):
        def train_step(self, data):
            seen.append(len(data) if isinstance(data, tuple) else 0)
            if kinds >= 2:
                return super().train_step(data)
            return {"loss": data.sum()}

    x = Input((3,))
    model = Sees(x, layers.Dense(2)(x))
    model.compile("sgd", "mse")
    x, y = data()
    weights = torch.ones(10)
    chosen = [value if wanted else None for value, wanted in zip((x, y, weights), given)]  # noqa: B905
    model.fit(chosen[0], chosen[1], sample_weight=chosen[2], batch_size=10, verbose=0)
    assert seen == [kinds]


def test_test_step_and_predict_step_are_given_data_too():
    class Sees(Model):
        def test_step(self, data):
            x, y = data
            return {"loss": (self(x) - y).abs().mean()}

        def predict_step(self, data):
            return self(data) + 1

    x = Input((3,))
    model = Sees(x, layers.Dense(2)(x))
    model.compile("sgd", "mse")
    x, y = data()
    with torch.no_grad():
        np.testing.assert_allclose(
            model.evaluate(x, y, batch_size=10, verbose=0), (model(x) - y).abs().mean(), rtol=1e-5
        )
        np.testing.assert_allclose(model.predict(x, verbose=0), model(x) + 1, rtol=1e-5)


def test_a_callback_ends_an_evaluation():
    class Stops(fgraph.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            self.model.stop_evaluating = batch == 1

    x = Input((1,))
    model = Model(x, x * 1.0)
    model.compile("sgd", "mse")
    x = torch.tensor([[1.0], [2.0], [30.0]])
    evaluate = {"batch_size": 1, "verbose": 0}
    assert model.evaluate(x, 0 * x, callbacks=[Stops()], **evaluate) == 2.5
    assert model.evaluate(x, 0 * x, **evaluate) == pytest.approx((1 + 4 + 900) / 3)


@pytest.mark.filterwarnings("ignore")  # Keras's own, of the structure of inputs
@pytest.mark.parametrize(
    "structure",
    [lambda y: y, lambda y: [y], lambda y: (y,), lambda y: {"only": y}, lambda y: [y, y]],
    ids=["tensor", "list", "tuple", "dict", "two"],
)
def test_the_only_output_in_a_list_is_predicted_by_itself(structure):
    values, found = np.ones((4, 3), "float32"), []
    for lib in (keras, fgraph):
        x = lib.Input((3,))
        model = lib.Model([x], structure(lib.layers.Dense(2)(x)))
        made = [model.predict(values, verbose=0), model.predict_on_batch(values)]
        found.append([(type(part), np.shape(list(part))) for part in made])
        assert model.input_shape == (None, 3)
    assert found[0] == found[1]


def test_a_list_that_code_returns_stays_a_list():
    class Written(Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, x):
            return [self.dense(x)]

    class First(Model):
        def predict_step(self, data):
            return self(data)[0]

    values, x = np.ones((4, 3), "float32"), Input((3,))
    (alone,) = Written().predict(values, verbose=0)
    assert alone.shape == (4, 2)
    assert First(x, [layers.Dense(2)(x)]).predict(values, verbose=0).shape == (4, 2)
