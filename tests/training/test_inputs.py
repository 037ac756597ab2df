"""What `fit` does with inputs: dtypes as Keras has them, and models built by their first batch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import fgraph
from fgraph import Input, Model, Sequential, layers, losses
from fgraph.training import Trainer

X = np.random.default_rng(0).integers(0, 2, (24, 4))
Y = np.random.default_rng(1).normal(size=(24, 1)).astype("float32")


def _model() -> Model:
    torch.manual_seed(0)
    x = Input((4,))
    model = Model(x, layers.Dense(1)(x))
    model.compile("sgd", "mse")
    return model


WAYS = {
    "arrays": lambda x: ((x, Y), {"batch_size": 8}),
    "shuffled": lambda x: ((x, Y), {"batch_size": 24, "shuffle": True}),
    "generator": lambda x: ((((x[i : i + 8], Y[i : i + 8]) for i in (0, 8, 16)),), {}),
    "loader": lambda x: ((DataLoader(list(zip(x, Y, strict=True)), 8),), {}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int32", "uint32", "int64", "bool", "float16", "float64"]
)
def test_arrays_become_what_the_input_is(dtype, way):
    """As in Keras; the run is that of float32."""
    histories = []
    for x in (X.astype("float32"), X.astype(dtype)):
        data, settings = WAYS[way](x)
        torch.manual_seed(1)
        settings = {"shuffle": False, **settings}
        histories.append(_model().fit(*data, epochs=1, verbose=0, **settings).history)
    assert histories[0] == histories[1]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.float64])
def test_tensors_become_what_the_input_is(dtype):
    """Keras's `fit` casts, whatever the data are."""
    model = _model()
    found = model.predict(torch.tensor(X).to(dtype), verbose=0)
    np.testing.assert_array_equal(found, model.predict(X.astype("float32"), verbose=0))
    assert model.evaluate(torch.tensor(X).to(dtype), Y, verbose=0) == pytest.approx(
        model.evaluate(X.astype("float32"), Y, verbose=0)
    )
    model.train_on_batch(torch.tensor(X).to(dtype), Y)


def _tokens() -> Model:
    x = Input((3,), dtype="int64")
    model = Model(x, layers.Dense(1)(layers.Flatten()(layers.Embedding(5, 2)(x))))
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32", "float64"])
def test_integers_stay_where_the_input_is_an_integer(dtype):
    """And whole floats become integers, as in Keras."""
    model, ids = _tokens(), np.array([[0, 1, 2], [4, 4, 3]])
    expected = model.predict(ids, verbose=0)
    np.testing.assert_array_equal(model.predict(ids.astype(dtype), verbose=0), expected)


@pytest.mark.parametrize("way", ["arrays", "generator"])
def test_conversions_that_would_change_values_are_refused(way):
    """Keras rounds down."""

    def data(x):
        return x if way == "arrays" else iter([x])

    with pytest.raises(ValueError, match=r"x holds fractions, but the model's input is of torch"):
        _tokens().predict(data(np.array([[0.5, 1.0, 2.0]])), verbose=0)
    x = Input((2,), dtype="uint8")
    narrow = Model(x, x.float())
    with pytest.raises(ValueError, match="x holds values from 0 to 300, but the model's input"):
        narrow.predict(data(np.array([[0, 300]])), verbose=0)


def test_inputs_are_converted_each_by_its_own_dtype():
    """By name or by place."""
    a, b = Input((2,), name="a"), Input((3,), dtype="int64", name="b")
    joined = torch.cat([a, layers.Flatten()(layers.Embedding(5, 2)(b))], 1)
    for structure in ({"a": a, "b": b}, [a, b]):
        model = Model(structure, layers.Dense(1)(joined))
        model.compile("sgd", "mse")
        x, ids = np.ones((6, 2), "uint8"), np.ones((6, 3), "int32")
        given = {"b": ids, "a": x} if isinstance(structure, dict) else [x, ids]
        model.fit(given, np.ones((6, 1)), verbose=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_converted_model_gets_what_it_computes_in(dtype):
    """`model.double()` after the graph was built for float32."""
    model = _model().to(dtype)
    model.fit(X.astype("float32"), Y, verbose=0)
    model.fit(X, Y.astype("float64"), verbose=0)
    model.predict(torch.tensor(X, dtype=torch.float32), verbose=0)


def test_targets_keep_their_digits_in_a_bfloat16_model():
    """Numbers near 1000 have steps of 4 there."""

    class Constant(Trainer, nn.Module):
        def __init__(self):
            super().__init__()
            self.value = nn.Parameter(torch.tensor([1000.0], dtype=torch.bfloat16))

        def forward(self, x):
            return self.value.expand(len(x), 1)

    y = np.full((4, 1), 1001.0)
    for loss in ("mse", losses.MeanSquaredError(), nn.MSELoss()):
        model = Constant()
        model.compile("sgd", loss)
        assert model.evaluate(np.ones((4, 1)), y, verbose=0) == 1.0


LAZY = {
    "torch layer without Input": lambda: Sequential([nn.Linear(4, 1)]),
    "layer without Input": lambda: Sequential([layers.Dense(3), layers.Dense(1)]),
    "lazy module": lambda: type("Net", (Trainer, nn.Sequential), {})(nn.LazyLinear(1)),
    "nested lazy module": lambda: type("Net", (Trainer, nn.Sequential), {})(
        nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d()), nn.ReLU(), nn.LazyLinear(1)
    ),
}


@pytest.mark.parametrize("data", ["arrays", "generator"])
@pytest.mark.parametrize("kind", LAZY)
def test_models_are_built_by_their_first_batch(kind, data):
    """Before the optimizer is made; no batch is lost."""
    model = LAZY[kind]()
    model.compile("sgd", "mse")
    x = X.astype("float32")
    batches = ((x[i : i + 8], Y[i : i + 8]) for i in (0, 8, 16))
    given = (x, Y) if data == "arrays" else (batches,)
    seen = []
    callback = fgraph.callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: seen.append(b))
    size = {"batch_size": 8} if data == "arrays" else {}
    model.fit(*given, verbose=0, callbacks=[callback], **size)
    assert seen == [0, 1, 2]
    held = {id(p) for group in model.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}


def test_building_does_not_train_and_trying_leaves_no_traces():
    """Buffers, modes and random numbers are as they were."""
    model = Sequential([Input((4,)), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1)])
    twin = copy.deepcopy(model)
    x, y = torch.randn(16, 4), torch.randn(16, 1)
    torch.manual_seed(5)
    model.compile(torch.optim.SGD(model.parameters(), 0.1), "mse")
    model.fit(x, y, batch_size=16, epochs=2, verbose=0, validation_data=(x, y))
    optimizer = torch.optim.SGD(twin.parameters(), 0.1)
    torch.manual_seed(5)
    for _ in range(2):
        rows = torch.randperm(16)
        optimizer.zero_grad()
        nn.functional.mse_loss(twin(x[rows]), y[rows]).backward()
        optimizer.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[name])


def test_a_state_that_outlives_a_batch_is_not_moved_by_the_check():
    """A stateful LSTM."""
    x = Input((3, 2), batch_size=4)
    model = Model(x, layers.LSTM(2, stateful=True)(x))
    model.compile(torch.optim.SGD(model.parameters(), 0.0), "mse")
    data = torch.randn(8, 3, 2)
    with torch.no_grad():
        twin = copy.deepcopy(model)
        expected = torch.cat([twin(data[:4]), twin(data[4:])])
    expected_loss = nn.functional.mse_loss(expected, torch.zeros(8, 2)).item()
    run = model.fit(data, torch.zeros(8, 2), batch_size=4, shuffle=False, verbose=0)
    assert run.history["loss"] == pytest.approx([expected_loss])


def test_modules_in_evaluation_mode_stay_in_it():
    """A frozen backbone's statistics; a model that is in it as a whole is trained all the same."""
    model = Sequential([Input((4,)), nn.BatchNorm1d(4), nn.Linear(4, 1)])
    norm = model.layers[0]
    x, y = torch.randn(16, 4) + 5, torch.randn(16, 1)
    model.compile("sgd", "mse")
    norm.eval()
    before = norm.running_mean.clone()
    model.fit(x, y, verbose=0, validation_data=(x, y), epochs=2)
    assert torch.equal(norm.running_mean, before)
    assert model.training
    assert not norm.training
    model.eval()
    model.fit(x, y, verbose=0)
    assert not torch.equal(norm.running_mean, before)
    assert not model.training
