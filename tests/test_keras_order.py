"""The order of layers and weights is Keras's, for the same code in both packages."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fgraph
from keras_oracle import keras

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras's own
# a step of a program: what is called on which of the values so far, all of shape (batch, 3, 4)
KINDS = ("dense", "relu dense", "shared", "add", "concatenate", "multiply", "model", "lstm", "dict",
         "masking", "op", "two outputs")  # fmt: skip
STEPS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 99), st.integers(0, 99)),
    min_size=1,
    max_size=14,
)


class Program:
    """Builds the same model of the layers of either package.

    Args:
        package: `fgraph` or `keras`.
        steps: what to call, and on which values.
        outputs: which values to return.
        inputs: how many inputs there are.
    """

    def __init__(self, package: Any, steps: Any, outputs: list[int], inputs: int) -> None:
        self.package, self.layers = package, package.layers
        self.count = 0
        self.shared = [self.dense(), self.dense("relu")]
        self.model = self.inner()
        given = [package.Input((3, 4), name=f"given_{i}") for i in range(inputs)]
        self.values = list(given)
        for kind, first, second in steps:
            a, b = (self.values[n % len(self.values)] for n in (first, second))
            self.values += self.step(kind, a, b, first)
        wanted = [self.values[n % len(self.values)] for n in outputs]
        taken = {f"given_{i}": value for i, value in enumerate(given)}
        if outputs[0] % 3 == 0:  # Keras walks back from them in the order of their names
            wanted = {f"wanted_{(3 * i + 2) % 5}": value for i, value in enumerate(wanted)}
        self.whole = package.Model(given if outputs[0] % 2 else taken, wanted)

    def name(self) -> str:
        self.count += 1
        return f"layer_{self.count}"

    def dense(self, activation: str | None = None) -> Any:
        return self.layers.Dense(4, activation=activation, name=self.name())

    def inner(self) -> Any:
        """Return a model of two inputs and outputs, of which one is on a longer way."""
        a = self.package.Input((3, 4), name=self.name())
        b = self.package.Input((3, 4), name=self.name())
        after = self.dense()(self.dense()(b))
        outputs = [self.layers.Add(name=self.name())([self.dense()(a), after]), after]
        return self.package.Model([a, b], outputs, name=self.name())

    def step(self, kind: str, a: Any, b: Any, number: int) -> list[Any]:
        if kind in ("dense", "relu dense"):
            return [self.dense(None if kind == "dense" else "relu")(a)]
        if kind == "shared":
            return [self.shared[number % 2](a)]
        if kind == "add":
            return [self.layers.Add(name=self.name())([a, b])]
        if kind == "multiply":
            return [a * b + 1.0]
        if kind == "concatenate":
            return [self.dense()(self.layers.concatenate([b, a], name=self.name()))]
        if kind == "dict":
            return [self.layers.Dot(-1, name=self.name())([a, b]) @ b]
        if kind == "op":
            return [self.package.ops.tanh(self.package.ops.subtract(b, a))]
        if kind == "masking":
            return [self.layers.Masking(0.0, name=self.name())(a)]
        if kind == "lstm":
            lstm = self.layers.LSTM(4, return_sequences=True, name=self.name())
            return [lstm(a) if number % 3 else lstm(a, training=False)]
        if kind == "two outputs":
            return list(self.layers.LSTM(4, return_sequences=True, return_state=True,
                                         name=self.name())(a)[:1])  # fmt: skip
        return list(self.model([a, b]))


def pair(steps: Any, outputs: list[int], inputs: int) -> tuple[Any, Any]:
    return tuple(Program(p, steps, outputs, inputs).whole for p in (fgraph, keras))  # type: ignore[return-value]


# masks are calls of their own, also those that nothing in the graph needs
@example([("dense", 0, 0), ("masking", 1, 0), ("model", 3, 4), ("model", 0, 4)], [5], 3)
@example([("masking", 32, 29), ("two outputs", 51, 4), ("model", 45, 54), ("dict", 74, 8)], [70], 1)
@example([("masking", 11, 8), *[("lstm", 11, 49)] * 3, ("masking", 36, 42)], [84, 79, 3], 3)
@settings(max_examples=25, deadline=None)
@given(STEPS, st.lists(st.integers(0, 99), min_size=1, max_size=3), st.integers(1, 3))
def test_layers_and_weights_are_in_keras_order(steps: Any, outputs: list[int], inputs: int) -> None:
    check(steps, outputs, inputs)


def check(steps: Any, outputs: list[int], inputs: int) -> None:
    """Compare the models of a program in both packages."""
    ours, theirs = pair(steps, outputs, inputs)
    own, expected = [layer.name for layer in ours.layers], [x.name for x in theirs.layers]
    assert own == expected
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=w.shape).astype("float32") for w in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(theirs.get_weights())
    for mine, reference in zip(ours.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(mine, reference)
    assert [w.size for w in weights if w.size] == [w.numel() for w in ours.weights]
    values = {f"given_{i}": torch.randn(2, 3, 4) for i in range(inputs)}
    results = ours.eval()(values if outputs[0] % 2 == 0 else list(values.values()))
    wanted = theirs(values if outputs[0] % 2 == 0 else list(values.values()), training=False)
    for mine, reference in zip(listed(results), listed(wanted), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-4)


def listed(results: Any) -> list[Any]:
    """Return the results of a model in Keras's order."""
    if isinstance(results, dict):
        return [results[key] for key in sorted(results)]
    return results if isinstance(results, list) else [results]


def test_heads_of_a_dict_go_through_keras_weights(tmp_path: Path) -> None:
    """They are of equal shapes, and written under their places in the order of layers."""

    def build(package: Any) -> Any:
        x = package.Input((4,))
        heads = {name: package.layers.Dense(2)(x) for name in ("b", "c", "a")}
        return package.Model(x, heads)

    ours, theirs = build(fgraph), build(keras)
    x = torch.randn(3, 4)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours.load_weights(tmp_path / "theirs.weights.h5")
    for name, expected in theirs(x).items():
        torch.testing.assert_close(ours(x)[name], expected)
    other = build(keras)
    ours.save_weights(tmp_path / "ours.weights.h5")
    other.load_weights(tmp_path / "ours.weights.h5")
    for name, expected in other(x).items():
        torch.testing.assert_close(ours(x)[name], expected)
    ours.save(tmp_path / "ours.keras")
    for opened in (keras.models.load_model, fgraph.load_model):
        for name, expected in opened(tmp_path / "ours.keras")(x).items():
            torch.testing.assert_close(ours(x)[name], expected)


def written_with_call(package: Any) -> Any:
    """Return a model whose layers become attributes in another order than they are called in."""
    make = package.layers

    class Net(package.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.head = make.Dense(4, name="head")
            x = package.Input((4,))
            self.inner = package.Model(x, make.Dense(4, name="within")(x), name="inner")
            self.blocks = [make.Dense(4, name="first"), {"b": make.Dense(4, name="second")}]
            self.stem = make.Dense(4, name="stem")

        def call(self, inputs: Any) -> Any:
            x = self.blocks[1]["b"](self.stem(inputs))
            return self.head(self.inner(self.blocks[0](x)))

    return Net()


def test_a_model_written_with_call_has_the_order_of_its_attributes() -> None:
    ours, theirs = written_with_call(fgraph), written_with_call(keras)
    x = torch.randn(2, 4)
    ours(x), theirs(x)
    names = [layer.name for layer in theirs.layers]
    assert [layer.name for layer in ours.layers[1:]] == names
    ours.set_weights(theirs.get_weights())
    torch.testing.assert_close(ours(x), theirs(x))
    copied = copy.deepcopy(ours)
    assert [layer.name for layer in copied.layers[1:]] == names


def test_trainable_weights_are_in_keras_order() -> None:
    def build(package: Any) -> Any:
        a, b = package.Input((4,)), package.Input((4,))
        first = package.layers.Dense(4, name="first")(a)
        norm = package.layers.BatchNormalization(name="norm")
        second = norm(package.layers.Dense(4, name="second")(b))
        return package.Model([a, b], package.layers.Add()([first, second]))

    ours, theirs = build(fgraph), build(keras)
    rng = np.random.default_rng(0)
    theirs.set_weights([rng.random(w.shape) for w in theirs.get_weights()])
    ours.set_weights(theirs.get_weights())
    assert [layer.name for layer in ours.layers] != [*dict.fromkeys(ours._node_names)]
    for own, expected in zip(ours.trainable_weights, theirs.trainable_weights, strict=True):
        np.testing.assert_array_equal(own.detach().T, expected.numpy())


def two_branches(package: Any, name: str) -> Any:
    """Return a model of two branches that are equally long where the operation counts as one."""
    layers, ops = package.layers, package.ops
    first, second = package.Input((6,), name="first"), package.Input((6,), name="second")
    short = layers.Dense(6, name="before")(first)
    operations = {
        "normalize": lambda: ops.normalize(short),
        "layer_normalization": lambda: ops.layer_normalization(short),
        "hard_silu": lambda: ops.hard_silu(short),
        "logaddexp": lambda: ops.logaddexp(short, short),
        "cast": lambda: ops.cast(short, "float32"),
        "sparse_sigmoid": lambda: package.activations.sparse_sigmoid(short),
        "squareplus": lambda: package.activations.squareplus(short),
        "divide_no_nan": lambda: ops.divide_no_nan(short, layers.Dense(6, name="by")(second)),
    }
    long = layers.Dense(6, name="last")(layers.Dense(6, name="middle")(second))
    return package.Model([first, second], [ops.multiply(long, operations[name]())])


@pytest.mark.parametrize(
    "name",
    ["normalize", "layer_normalization", "hard_silu", "logaddexp", "cast", "sparse_sigmoid",
     "squareplus", "divide_no_nan"],
)  # fmt: skip
def test_an_operation_of_several_torch_calls_counts_as_one(name: str, tmp_path: Path) -> None:
    expected = [layer.name for layer in two_branches(keras, name).layers if "_" not in layer.name]
    model = two_branches(fgraph, name)
    model.save(tmp_path / "model.fgraph")
    extended = fgraph.Model(model.inputs, fgraph.layers.Dense(2, name="added_1")(model.outputs[0]))
    for made in (
        model,
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        fgraph.models.clone_model(model),
        fgraph.models.load_model(tmp_path / "model.fgraph"),
        extended,
    ):
        named = [layer.name for layer in made.layers if "_" not in layer.name]
        assert [name for name in named if name not in ("first", "second")] == [
            name for name in expected if name not in ("first", "second")
        ]
