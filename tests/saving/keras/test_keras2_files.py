"""Files that Keras 2 itself wrote: see `keras2/make_files.py`."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

pytest.importorskip("h5py")
import h5py

import fgraph
from fgraph.errors import LoadError

FILES = sorted(
    path for path in Path(__file__).with_name("keras2").iterdir()
    if path.suffix in (".h5", ".keras")
)  # fmt: skip


def numbered(found: Any, name: str) -> list[np.ndarray]:
    keys = [key for key in found.files if key.rstrip("0123456789") == name]
    return [found[f"{name}{k}"] for k in range(len(keys))]


def read(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "layer 'random_flip'")
        return fgraph.load_model(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_outputs_weights_and_steps_are_those_of_keras_2(path: Path) -> None:
    found = np.load(path.with_suffix(".npz"))
    model = read(path)
    given = [torch.as_tensor(value) for value in numbered(found, "input")]
    own, expected = tree_leaves(model(*given)), numbered(found, "output")
    assert len(own) == len(expected)
    for mine, reference in zip(own, expected, strict=True):
        np.testing.assert_allclose(mine.detach(), reference, rtol=1e-5, atol=1e-5)
    own, expected = model.get_weights(), numbered(found, "weight")
    assert sorted(w.shape for w in own) == sorted(w.shape for w in expected)
    assert sorted(w.ravel()[0] for w in own) == sorted(w.ravel()[0] for w in expected)
    if "targets" in found.files:
        model.train_on_batch(given[0], torch.as_tensor(found["targets"]))
        for mine, reference in zip(model.get_weights(), numbered(found, "after"), strict=True):
            np.testing.assert_allclose(mine, reference, rtol=1e-4, atol=1e-5)


def test_files_of_keras_2_become_plain_torch(tmp_path: Path) -> None:
    path = next(path for path in FILES if path.name == "recurrent.h5")
    model, ids = read(path), torch.tensor([[1, 2, 3, 0, 0, 0]])
    space: dict[str, Any] = {}
    source = model.to_source("Net")
    assert "fgraph" not in source.replace("fgraph's", "")
    exec(source, space)
    plain = space["Net"]()
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain.eval()(ids.int()), model(ids.int()))


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"keras_version": "1.2.2"}, "Keras 1 wrote it"),
        ({"backend": "theano"}, "theano"),
    ],
)
def test_files_of_other_layouts_are_refused(
    attributes: dict[str, str], text: str, tmp_path: Path
) -> None:
    path = tmp_path / "old.h5"
    path.write_bytes(next(p for p in FILES if p.name == "states.h5").read_bytes())
    with h5py.File(path, "a") as file:
        file.attrs.update(attributes)
    with pytest.raises(LoadError, match=text):
        fgraph.load_model(path)


def changed(tmp_path: Path, change: Any, name: str = "states.h5") -> Path:
    path = tmp_path / "changed.h5"
    path.write_bytes(next(p for p in FILES if p.name == name).read_bytes())
    with h5py.File(path, "a") as file:
        change(file)
    return path


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="weights but no model"):
        fgraph.load_model(changed(tmp_path, lambda file: file.attrs.pop("model_config")))


def test_unknown_functions_of_tensorflow_are_named(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        text = file.attrs["model_config"]
        file.attrs["model_config"] = text.replace('"function": "nn.relu"', '"function": "io.gfile"')

    with pytest.raises(LoadError, match=r"TensorFlow's function 'io\.gfile' is not known"):
        fgraph.load_model(changed(tmp_path, change, "functions.h5"))


def test_lists_of_weights_are_compared(tmp_path: Path) -> None:
    def one_less(file: Any) -> None:
        group = file["model_weights"]["dense"]
        group.attrs["weight_names"] = group.attrs["weight_names"][:1]

    def link(file: Any) -> None:
        group = file["model_weights"]["dense"]["dense"]
        del group["kernel:0"]
        group["kernel:0"] = h5py.ExternalLink("/etc/passwd", "/x")

    def outside(file: Any) -> None:
        file["model_weights"]["dense"].attrs["weight_names"] = ["../../x", "dense/bias:0"]

    for change, text in ((one_less, "has 2 weights"), (link, "a link"), (outside, "no dataset")):
        with pytest.raises(LoadError, match=text):
            fgraph.load_model(changed(tmp_path, change))


def written_by_hand(path: Path, layers: list[Any], weights: dict[str, Any], **ends: Any) -> Path:
    """Write a file as Keras 2 does: the model, and a list of weights for each layer."""
    config = {"name": "model", "layers": layers, **ends}
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = "2.4.3", "tensorflow"
        kind = "Functional" if ends else "Sequential"
        file.attrs["model_config"] = json.dumps({"class_name": kind, "config": config})
        root = file.create_group("model_weights")
        for layer in layers:
            name = layer["config"]["name"]
            group, arrays = root.create_group(name), weights.get(name, [])
            group.attrs["weight_names"] = [f"{name}/w{k}:0" for k in range(len(arrays))]
            for k, array in enumerate(arrays):
                group[f"{name}/w{k}:0"] = array
    return path


def cudnn_steps(kind: str, x: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """Run cuDNN's recurrence by its own formulas, and return the last output."""
    kernel, recurrent, bias = weights
    units, gates = recurrent.shape[0], recurrent.shape[1] // recurrent.shape[0]
    # a gate's matrix is what its numbers are, in their order, as (units, inputs)
    w, r = ([np.ravel(part).reshape(units, -1) for part in np.split(array, gates, axis=1)]
            for array in (kernel, recurrent))  # fmt: skip
    b, c = (np.split(half, gates) for half in np.split(bias, 2))
    h = memory = np.zeros((len(x), units))
    for step in np.moveaxis(x, 1, 0):
        given = [step @ m.T + v for m, v in zip(w, b, strict=True)]
        kept = [h @ m.T + v for m, v in zip(r, c, strict=True)]
        if kind == "LSTM":
            i, f, g, o = (p + q for p, q in zip(given, kept, strict=True))
            memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(memory)
        else:
            z, s = (sigmoid(p + q) for p, q in zip(given[:2], kept[:2], strict=True))
            h = z * h + (1 - z) * np.tanh(given[2] + s * kept[2])
    return h


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3)])
@pytest.mark.parametrize("both_ways", [False, True])
def test_weights_of_cudnn_are_read(kind: str, gates: int, both_ways: bool, tmp_path: Path) -> None:
    rng, units = np.random.default_rng(0), 3
    shapes = [(5, gates * units), (units, gates * units), (2 * gates * units,)]
    runs = [[rng.normal(size=s).astype("float32") for s in shapes] for _ in range(1 + both_ways)]
    layer = {"class_name": f"CuDNN{kind}", "config": {
        "name": "rnn", "trainable": True, "units": units, "return_sequences": False,
        "return_state": False, "go_backwards": False, "stateful": False,
        **({"unit_forget_bias": True} if kind == "LSTM" else {}),
    }}  # fmt: skip
    if both_ways:
        layer = {"class_name": "Bidirectional", "config": {
            "name": "rnn", "merge_mode": "concat", "layer": layer}}  # fmt: skip
    layer["config"]["batch_input_shape"] = [None, 4, 5]
    path = written_by_hand(
        tmp_path / "cudnn.h5", [layer], {"rnn": [*runs[0], *runs[-1][: 3 * both_ways]]}
    )
    x = rng.normal(size=(2, 4, 5)).astype("float32")
    expected = [
        cudnn_steps(kind, given, run) for given, run in zip((x, x[:, ::-1]), runs, strict=False)
    ]
    found = read(path)(torch.as_tensor(x))
    np.testing.assert_allclose(found.detach(), np.concatenate(expected, 1), rtol=1e-4, atol=1e-5)


def of_tensorflow(name: str, function: str, first: Any, **arguments: Any) -> dict[str, Any]:
    """Return a call of a function as Keras 2.4 and later write it."""
    kind = "SlicingOpLambda" if function.endswith("getitem") else "TFOpLambda"
    config = {"name": name, "trainable": True, "dtype": "float32", "function": function}
    calls = [[*first, arguments]]
    return {"class_name": kind, "name": name, "inbound_nodes": calls, "config": config}


def test_shapes_of_tensorflow_are_sizes_of_run_time(tmp_path: Path) -> None:
    first = {"start": None, "stop": 2, "step": None}
    layers = [
        {"class_name": "InputLayer", "name": "x", "inbound_nodes": [], "config": {
            "name": "x", "batch_input_shape": [None, None, 6], "dtype": "float32"}},
        of_tensorflow("shape", "compat.v1.shape", ["x", 0, 0], out_type="int32"),
        of_tensorflow("batch", "__operators__.getitem", ["shape", 0, 0], slice_spec=0),
        of_tensorflow("steps", "__operators__.getitem", ["shape", 0, 0], slice_spec=1),
        of_tensorflow("twice", "math.multiply", ["steps", 0, 0], y=2),
        of_tensorflow("folded", "reshape", ["x", 0, 0],
                      shape=[["batch", 0, 0], ["twice", 0, 0], 3]),
        of_tensorflow("outer", "__operators__.getitem", ["shape", 0, 0], slice_spec=first),
        of_tensorflow("ones", "ones", ["outer", 0, 0], dtype="float32"),
    ]  # fmt: skip
    path = written_by_hand(
        tmp_path / "shapes.h5", layers, {}, input_layers=[["x", 0, 0]],
        output_layers=[["folded", 0, 0], ["ones", 0, 0]],
    )  # fmt: skip
    model = read(path)
    for batch, steps in ((2, 5), (3, 1)):
        x = torch.randn(batch, steps, 6)
        folded, ones = model(x)
        torch.testing.assert_close(folded, x.reshape(batch, 2 * steps, 3))
        torch.testing.assert_close(ones, torch.ones(batch, steps))
