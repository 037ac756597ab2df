"""Layers of the user's, with layers and models in them: written once for both packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("h5py")
import fgraph
from fgraph.errors import BuildError, LoadError
from keras_oracle import keras
from saving.keras.keras_files import (
    assert_same_outputs,
    assert_same_step,
    opened,
    randomize,
    values_for,
)

pytestmark = pytest.mark.filterwarnings("ignore")
FORMATS = ("keras", "h5", "weights.h5")


def classes(K: Any) -> dict[str, Any]:
    """Return layers, made from `keras` or from `fgraph`."""
    L, ops = K.layers, K.ops

    class Positions(L.Layer):
        def __init__(self, steps: int, features: int, **options: Any) -> None:
            super().__init__(**options)
            self.steps, self.features = steps, features
            self.tokens, self.positions = L.Embedding(20, features), L.Embedding(steps, features)

        def call(self, x: Any) -> Any:
            return self.tokens(x) + self.positions(ops.arange(0, self.steps, 1))

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "steps": self.steps, "features": self.features}

    class Block(L.Layer):
        def __init__(self, features: int, **options: Any) -> None:
            super().__init__(**options)
            self.features = features
            self.attention = L.MultiHeadAttention(num_heads=2, key_dim=3)
            self.stack = K.Sequential([L.Dense(5, activation="relu"), L.Dense(features)])
            self._first, self._second = L.LayerNormalization(), L.LayerNormalization()

        def call(self, x: Any, training: Any = None) -> Any:
            x = self._first(x + self.attention(x, x, training=training))
            return self._second(x + self.stack(x))

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "features": self.features}

    class Mixed(L.Layer):
        """Weights of its own, and parts in public and private attributes and containers."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.zeta, self._alpha = L.Dense(2), L.Dense(4, kernel_regularizer="l2")
            self.parts = {"b": L.Dense(3), "a": [L.Dense(5), L.Dense(5)]}
            self.again = [self.zeta, L.Dense(3)]
            self.unused = L.Dense(9)

        def build(self, input_shape: Any) -> None:
            self.w = self.add_weight(shape=(input_shape[-1], 1), name="w", initializer="ones")
            self.c = self.add_weight(shape=(7,), name="c", trainable=False, initializer="ones")
            self.e = self.add_weight(shape=(8,), name="e", initializer="ones")

        def call(self, x: Any) -> Any:
            y = self.again[1](self.parts["b"](self._alpha(self.zeta(x))))
            for part in self.parts["a"]:
                y = part(y)
            return y + ops.matmul(x, self.w) + ops.sum(self.c) + ops.sum(self.e)

    class Pairs(L.Layer):
        def call(self, inputs: Any) -> Any:
            mean, spread = inputs
            return mean + ops.exp(0.5 * spread)

    class Cell(L.Layer):
        def __init__(self, units: int, **options: Any) -> None:
            super().__init__(**options)
            self.units = self.state_size = units

        def build(self, input_shape: Any) -> None:
            self.kernel = self.add_weight(
                shape=(input_shape[-1], self.units), initializer="uniform", name="kernel"
            )
            self.inner = self.add_weight(
                shape=(self.units, self.units), initializer="uniform", name="inner"
            )

        def call(self, inputs: Any, states: Any) -> Any:
            state = ops.tanh(ops.matmul(inputs, self.kernel) + ops.matmul(states[0], self.inner))
            return state * 2, [state]

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    class Around(L.Layer):
        """A model that is built before the layer is, assigned after one that is built later."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.head = L.Dense(3)
            x = K.Input((3,))
            self.base = K.Model(x, [L.Dense(3)(x), L.BatchNormalization()(L.Dense(3)(x))])
            self.last = L.Dense(3)

        def call(self, x: Any) -> Any:
            first, second = self.base(x)
            return self.last(self.head(first) + second)

        def get_config(self) -> dict[str, Any]:
            return super().get_config()

    found = (Positions, Block, Mixed, Pairs, Cell, Around)
    return {kind.__name__: kind for kind in found}


OURS, THEIRS = classes(fgraph), classes(keras)


def text(K: Any, kinds: dict[str, Any]) -> Any:
    x = K.Input((6,), dtype="int32")
    y = kinds["Block"](4)(kinds["Block"](4)(kinds["Positions"](6, 4)(x)))
    return K.Model(x, K.layers.Dense(2)(K.layers.GlobalAveragePooling1D()(y)))


def mixed(K: Any, kinds: dict[str, Any]) -> Any:
    x = K.Input((3,))
    return K.Model(x, kinds["Mixed"]()(kinds["Mixed"](name="first")(x)))


def pairs(K: Any, kinds: dict[str, Any]) -> Any:
    x = K.Input((3,))
    mean, spread = K.layers.Dense(2)(x), K.layers.Dense(2)(x)
    return K.Model(x, [mean, kinds["Pairs"]()([mean, spread])])


def around(K: Any, kinds: dict[str, Any]) -> Any:
    x = K.Input((3,))
    return K.Model(x, kinds["Around"]()(kinds["Around"]()(x)))


def cells(K: Any, kinds: dict[str, Any]) -> Any:
    L = K.layers
    x = K.Input((None, 3))
    y = L.RNN(kinds["Cell"](4), return_sequences=True)(L.Masking()(x))
    y = L.RNN([L.GRUCell(2), kinds["Cell"](3)], return_state=True, go_backwards=True)(y)
    return K.Model(x, [y[0], y[1], y[2]] if K is keras else list(y))


MODELS = [text, mixed, pairs, cells, around]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_weights_of_every_part_are_read(make: Any, kind: str, tmp_path: Path) -> None:
    theirs = randomize(make(keras, THEIRS))
    if kind == "weights.h5":
        theirs.save_weights(tmp_path / f"model.{kind}")
        model = make(fgraph, OURS).eval()
        model.load_weights(tmp_path / f"model.{kind}")
    else:
        model = opened(theirs, tmp_path / f"model.{kind}", custom_objects=OURS)
    assert_same_outputs(model, theirs, values_for(theirs, np.random.default_rng(0)))
    for own, expected in zip(model.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(own, expected)
    assert_same_step(model, theirs, values_for(theirs, np.random.default_rng(1)))


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_plain_source_computes_the_same(make: Any) -> None:
    model = make(fgraph, OURS).eval()
    sizes = [7 if size is None else size for size in model.input_shape[1:]]
    x = torch.randn(2, *sizes) if make is not text else torch.randint(0, 20, (2, *sizes))
    space: dict[str, Any] = {}
    exec(model.to_source("Net"), space)
    plain = space["Net"]()
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain.eval()(x), model(x), rtol=0, atol=0)


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_what_was_read_is_written_for_keras(make: Any, tmp_path: Path) -> None:
    theirs = randomize(make(keras, THEIRS))
    model = opened(theirs, tmp_path / "model.keras", custom_objects=OURS)
    model.save(tmp_path / "back.keras")
    if make is not pairs:
        with pytest.raises(
            TypeError, match=r"Could not locate class '(Positions|Mixed|Cell|Around)'"
        ):
            keras.models.load_model(tmp_path / "back.keras")
    again = keras.models.load_model(tmp_path / "back.keras", custom_objects=THEIRS)
    for own, expected in zip(again.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(own, expected)


def test_layers_in_private_attributes_are_parts() -> None:
    model = mixed(fgraph, OURS)
    layer = model.layers[1]
    assert layer.count_params() == sum(array.size for array in layer.get_weights())
    assert len(model.losses) == 2  # the private layer's, in both
    layer.trainable = False
    assert not any(parameter.requires_grad for parameter in layer.module.parameters())
    assert not layer._alpha.trainable


def subclassed(K: Any, kinds: dict[str, Any]) -> Any:
    class Written(K.Model):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.zeta, self._alpha = K.layers.Dense(3), K.layers.Dense(2)
            self.pair = [K.layers.Dense(4), K.layers.Dense(4)]
            self.layer = kinds["Mixed"]()
            self.norm = K.layers.BatchNormalization()

        def call(self, x: Any) -> Any:
            x = self._alpha(self.zeta(x))
            for part in self.pair:
                x = part(x)
            return self.norm(self.layer(x))

    model = Written()
    model(torch.ones(2, 3))
    return model


def test_weights_of_models_written_with_call_go_there_and_back(tmp_path: Path) -> None:
    path, x = tmp_path / "model.weights.h5", torch.randn(4, 3)
    theirs, model = randomize(subclassed(keras, THEIRS)), subclassed(fgraph, OURS).eval()
    theirs.save_weights(path)
    model.load_weights(path)
    expected = theirs(x, training=False)
    torch.testing.assert_close(model(x), expected)
    model.save_weights(path)
    again = subclassed(keras, THEIRS)
    again.load_weights(path)
    torch.testing.assert_close(again(x, training=False), expected)


def test_a_weight_without_a_place_is_refused(tmp_path: Path) -> None:
    class Raw(fgraph.layers.Layer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.inner = fgraph.Sequential([torch.nn.Linear(3, 2)])

        def call(self, x: Any) -> Any:
            return self.inner(x)

    class Pair(keras.layers.Layer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.inner = keras.Sequential([keras.layers.Dense(2)])

        def call(self, x: Any) -> Any:
            return self.inner(x)

    x = keras.Input((3,))
    keras.Model(x, Pair()(x)).save(tmp_path / "model.keras")
    with pytest.raises(LoadError, match="that no layer here has taken"):
        fgraph.load_model(tmp_path / "model.keras", custom_objects={"Pair": Raw})


def test_a_cell_that_begins_with_other_states_is_refused() -> None:
    class Begins(OURS["Cell"]):  # type: ignore[misc]
        def get_initial_state(self, batch_size: int) -> Any:
            return [torch.ones(batch_size, self.units)]

    with pytest.raises(BuildError, match=r"states that are not zero are given at the call"):
        fgraph.layers.RNN(Begins(2))(fgraph.Input((4, 3)))


def test_a_cell_without_new_states_is_refused() -> None:
    class Lost(OURS["Cell"]):  # type: ignore[misc]
        def call(self, inputs: Any, states: Any) -> Any:
            return super().call(inputs, states)[0]

    with pytest.raises(BuildError, match="returns its output and its new states"):
        fgraph.layers.RNN(Lost(2))(fgraph.Input((4, 3)))


def bent(x):
    """An activation that is registered in both packages under one name."""
    return x * x + 0.5 * x


def test_a_registered_activation_is_found_by_its_name(tmp_path):
    """Neither package needs `custom_objects`; the file has the name as Keras writes it."""
    fgraph.register("files>bent")(bent)
    keras.saving.register_keras_serializable("files", "bent")(bent)
    values = torch.randn(3, 4)
    for package in (keras, fgraph):
        x = package.Input((4,))
        model = package.Model(x, package.layers.Dense(2, activation=bent)(x))
        model.save(tmp_path / "model.keras")
        for load in (keras.models.load_model, fgraph.load_model):
            torch.testing.assert_close(load(tmp_path / "model.keras")(values), model(values))
