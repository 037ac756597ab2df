"""Files that Keras 2 itself wrote: see `keras2/make_files.py`."""

from __future__ import annotations

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
