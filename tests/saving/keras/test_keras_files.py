"""Files that Keras writes, opened without it: outputs and weights are those of Keras."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("h5py")
import fgraph
from fgraph.errors import LoadError
from keras_oracle import flat, keras, random_weight

# Keras's own, on numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
L, K = keras.layers, keras.ops


def inputs(*shapes: Any, dtype: str = "float32") -> Any:
    made = [keras.Input(shape, dtype=dtype) for shape in shapes]
    return made[0] if len(made) == 1 else made


def shared() -> Any:
    a, b = inputs((4,), (4,))
    dense = L.Dense(3, activation="tanh", kernel_regularizer="l2")
    return keras.Model([a, b], L.Concatenate()([dense(a), dense(dense_in(b))]))


def dense_in(x: Any) -> Any:
    return L.Dense(4, use_bias=False, kernel_constraint="non_neg")(x)


def nested() -> Any:
    x = inputs((5,))
    inner = keras.Sequential([keras.Input((5,)), L.Dense(5), L.BatchNormalization(momentum=0.9)])
    a = inputs((5,))
    block = keras.Model(a, [inner(a), L.Dense(2)(a)])
    first, second = block(x)
    third, fourth = block(first)
    return keras.Model(x, {"a": third, "b": [second, fourth]})


def recurrent() -> Any:
    ids = inputs((6,), dtype="int32")
    x = L.Embedding(9, 5, mask_zero=True)(ids)
    x = L.Bidirectional(L.LSTM(3, return_sequences=True))(x)
    x = L.GRU(4, return_sequences=True, reset_after=False)(x)
    out, state = L.GRU(3, return_state=True, go_backwards=True)(x)
    x = L.SimpleRNN(3, return_sequences=True)(x, initial_state=state)
    x = L.RNN([L.LSTMCell(3), L.GRUCell(2)], return_sequences=True)(x)
    x = L.TimeDistributed(keras.Sequential([keras.Input((2,)), L.Dense(2)]))(x)
    return keras.Model(ids, [L.GlobalAveragePooling1D()(x), out])


def attention() -> Any:
    a, b = inputs((4, 6), (5, 8))
    x = L.MultiHeadAttention(2, 3, value_dim=4)(a, b)
    x = L.GroupQueryAttention(4, 4, 2)(x, a, a)
    x = L.Attention(use_scale=True)([x, a])
    return keras.Model([a, b], L.LayerNormalization()(x))


def convolutions() -> Any:
    x = inputs((8, 8, 3))
    y = L.Conv2D(4, 3, strides=2, padding="same", groups=1, dilation_rate=1)(x)
    y = L.SeparableConv2D(6, 3, depth_multiplier=2)(y)
    y = L.Conv2DTranspose(3, 3, strides=2)(y)
    y = L.DepthwiseConv2D(2, depth_multiplier=2, activation="swish")(y)
    y = L.GroupNormalization(2)(y)
    y = L.PReLU(shared_axes=[1, 2])(y)
    y = L.SpectralNormalization(L.Conv2D(2, 1))(y)
    return keras.Model(x, L.GlobalMaxPooling2D()(L.Rescaling(0.5, offset=1)(y)))


def operations() -> Any:
    a, b = inputs((4, 6), (4, 6))
    x = K.einsum("bij,bkj->bik", a, b) + 1.5
    x = K.softmax(x, axis=-1) * K.mean(a, axis=-1, keepdims=True)
    x = K.pad(x, [[0, 0], [1, 1], [0, 0]], constant_values=2.0)
    x = K.concatenate([x[:, 1:3], K.abs(x[:, :2, ...])], axis=1)
    x = K.where(x > 0.3, x, -2 * x) ** 2
    return keras.Model([a, b], K.matmul(K.transpose(x, (0, 2, 1)), K.relu(x)))


def preprocessing() -> Any:
    x = inputs((4,))
    scaled = L.Normalization()
    scaled.adapt(np.random.default_rng(0).normal(size=(20, 4)))
    y = scaled(x) + L.Normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 4, 9, 16])(x)
    return keras.Model(x, y)


def dtypes() -> Any:
    ids = inputs((4,))
    x = L.Flatten()(L.Embedding(5, 3)(ids))
    return keras.Model(ids, L.Dense(2)(L.Dropout(0.5)(x)))


MODELS = [shared, nested, recurrent, attention, convolutions, operations, preprocessing, dtypes]


def values_for(model: Any, rng: np.random.Generator) -> list[torch.Tensor]:
    return [
        torch.as_tensor(rng.integers(0, 4, (3, *t.shape[1:])).astype("int32"))
        if "int" in t.dtype
        else torch.as_tensor(rng.random((3, *t.shape[1:])).astype("float32") * 3)
        for t in model.inputs
    ]


def randomized(model: Any) -> Any:
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if "seed" not in weight.path and "normalization" not in weight.path:
            weight.assign(random_weight(weight, rng))
    return model


def outputs_of(result: Any) -> list[torch.Tensor]:
    return flat(list(result.values()) if isinstance(result, dict) else result)


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_outputs_and_weights_are_those_of_keras(make: Any, tmp_path: Path) -> None:
    theirs = randomized(make())
    theirs.save(tmp_path / "model.keras")
    state = torch.get_rng_state()
    model = fgraph.load_model(tmp_path / "model.keras")
    assert torch.equal(torch.get_rng_state(), state)
    values = values_for(theirs, np.random.default_rng(0))
    given = values if len(values) > 1 else values[0]
    own, expected = model(*values), theirs(given, training=False)
    own, expected = ([t for v in outputs_of(r) for t in flat(v)] for r in (own, expected))
    assert len(own) == len(expected)
    for mine, reference in zip(own, expected, strict=True):
        torch.testing.assert_close(mine.float(), reference.float(), rtol=1e-5, atol=1e-5)
    known = [w.numpy() for w in theirs.weights if "seed" not in w.path]
    mine = model.get_weights()
    assert sorted(w.shape for w in mine) == sorted(w.shape for w in known)
    assert np.isclose(sum(np.sum(w) for w in mine), sum(np.sum(w) for w in known), atol=1e-4)


def rewritten(path: Path, change: Any) -> Path:
    """Write a file anew with a changed configuration."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    parts["config.json"] = json.dumps(change(config) or config).encode()
    target = path.with_name("changed.keras")
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return target


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keras") / "small.keras"
    x = inputs((3,))
    keras.Model(x, L.Dense(2, activation="relu", name="last")(x)).save(path)
    return path


def layer(config: Any) -> Any:
    return config["config"]["layers"][1]


def changed(key: str, value: Any) -> Any:
    def change(config: Any) -> None:
        layer(config)["config"][key] = value

    return change


def of_class(kind: str, module: str = "keras.layers", **config: Any) -> Any:
    def change(written: Any) -> None:
        layer(written).update(class_name=kind, module=module, registered_name=None)
        layer(written)["config"] = {"name": "last", **config}

    return change


MARSHALLED = {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}
ATTACKS = {
    "lambda layer": (of_class("Lambda", function=MARSHALLED), "Python code"),
    "lambda activation": (changed("activation", MARSHALLED), "Python code"),
    "get_file": (
        changed("activation", {"module": "keras.utils", "class_name": "function",
                               "config": "get_file", "registered_name": "get_file"}), "get_file"),
    "eval": (changed("activation", {"module": "builtins", "class_name": "function",
                                    "config": "eval", "registered_name": "eval"}), "eval"),
    "module": (of_class("Popen", "subprocess", args="ls"), "not known here"),
    "module of a known class": (of_class("Dense", "os", units=2), "not known here"),
    "torch module": (of_class("TorchModuleWrapper", module=MARSHALLED), "pickled"),
    "saved model": (of_class("TFSMLayer", filepath="x"), "TensorFlow"),
    "texts": (of_class("StringLookup", vocabulary=["a"]), "texts"),
    "large": (changed("units", 10**9), "has the shape"),
    "larger": (changed("units", 10**15), "has the shape"),
    "regularizer": (changed("kernel_regularizer", {"class_name": "Popen", "config": {}}), "Popen"),
    "argument": (changed("odd", 3), "odd"),
    "private": (of_class("_Conv", filters=2), "not known here"),
    "deep": (lambda config: json.loads("[" * 900 + "]" * 900), "nested"),
    "a list": (lambda config: [1], "expected an object"),
    "subclassed": (lambda config: {"class_name": "Mine", "config": {}}, "Functional"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "text"), ATTACKS.values(), ids=ATTACKS.keys())
def test_what_could_act_or_is_not_known_is_refused(change: Any, text: str, small: Path) -> None:
    with pytest.raises(LoadError, match=text):
        fgraph.load_model(rewritten(small, change))


def test_archives_that_keras_does_not_write_are_refused(small: Path, tmp_path: Path) -> None:
    for name, text in {
        "../evil": "somewhere else", "/evil": "somewhere else", "config.json": "two members",
    }.items():  # fmt: skip
        path = tmp_path / "odd.keras"
        path.write_bytes(small.read_bytes())
        with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile warns of two members of one name
            archive.writestr(name, b"{}")
        with pytest.raises(LoadError, match=text):
            fgraph.load_model(path)
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * 20_000_000)
    with pytest.raises(LoadError, match="more than 100 times"):
        fgraph.load_model(path)
    data = bytearray(small.read_bytes())
    data[data.find(b'"units": 2') + 9] = ord("3")
    path.write_bytes(data)
    with pytest.raises(LoadError, match="damaged"):
        fgraph.load_model(path)


def with_weights(small: Path, change: Any) -> Path:
    """Write a file anew with changed weights."""
    import h5py

    folder = small.parent
    with zipfile.ZipFile(small) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (folder / "w.h5").write_bytes(parts["model.weights.h5"])
    with h5py.File(folder / "w.h5", "a") as file:
        change(h5py, file, file["layers/dense/vars"])
    parts["model.weights.h5"] = (folder / "w.h5").read_bytes()
    target = small.with_name("weights.keras")
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return target


def soft(h5py: Any, file: Any, group: Any) -> None:
    del group["0"]
    group["0"] = h5py.SoftLink("/layers/dense/vars/1")


def external_link(h5py: Any, file: Any, group: Any) -> None:
    del group["0"]
    group["0"] = h5py.ExternalLink("/etc/passwd", "/x")


def external_storage(h5py: Any, file: Any, group: Any) -> None:
    del group["0"]
    group.create_dataset("0", (3, 2), "f4", external=[("/etc/passwd", 0, 24)])


def virtual(h5py: Any, file: Any, group: Any) -> None:
    del group["0"]
    layout = h5py.VirtualLayout((3, 2), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3, 2))
    group.create_virtual_dataset("0", layout)


def objects(h5py: Any, file: Any, group: Any) -> None:
    del group["0"]
    group.create_dataset("0", (3, 2), h5py.string_dtype())


def unwritten(h5py: Any, file: Any, group: Any) -> None:
    del group["0"]
    group.create_dataset("0", (3, 2), "f4", chunks=(1, 1))


def other_shape(h5py: Any, file: Any, group: Any) -> None:
    del group["0"]
    group["0"] = np.zeros((3, 3), "f4")


def one_more(h5py: Any, file: Any, group: Any) -> None:
    group["2"] = np.zeros(2, "f4")


def one_less(h5py: Any, file: Any, group: Any) -> None:
    del group["1"]


WEIGHTS = {
    soft: "a link", external_link: "a link", external_storage: "another file",
    virtual: "another file", objects: "expected numbers", unwritten: "are stored",
    other_shape: "has the shape", one_more: "does not have", one_less: "no dataset",
}  # fmt: skip


@pytest.mark.parametrize("change", WEIGHTS, ids=lambda change: change.__name__)
def test_weights_that_are_not_plain_arrays_are_refused(change: Any, small: Path) -> None:
    with pytest.raises(LoadError, match=WEIGHTS[change]):
        fgraph.load_model(with_weights(small, change))
