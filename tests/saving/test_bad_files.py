"""Every damaged or hostile file gives one clear error, and nothing in it runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model, layers
from fgraph.saving import tensorfile


class Command:
    """Pickles as a call of `os.mkdir`."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def small_model():
    x = Input((4,))
    hidden = layers.Dense(3, activation="relu")(x)
    model = Model(x, nn.Linear(3, 2)(hidden.T.T[:, ::1]))
    model.compile("adam", "mse")
    model.fit(torch.rand(4, 4), torch.rand(4, 2), verbose=0)
    return model


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "model.fgraph"
    small_model().save(path)
    return path.read_bytes()


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.fgraph.*no such file"):
        fgraph.load_model(tmp_path / "nothing.fgraph")


def test_a_directory_says_so(tmp_path):
    with pytest.raises(IsADirectoryError, match="directory"):
        fgraph.load_model(tmp_path)
    with pytest.raises(IsADirectoryError, match="directory"):
        small_model().save(tmp_path)


def test_a_folder_that_does_not_exist_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="its folder does not exist"):
        small_model().save(tmp_path / "nowhere" / "model.fgraph")


def zip_bomb():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(100_000_000))
    return buffer.getvalue()


def climbing_archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../climbed", b"x")
    return buffer.getvalue()


OTHER_FILES = {
    "empty": b"",
    "text": b"this is not a model, but it is long enough to be one\n" * 9,
    "json": b'{"version": 1}',
    "zeros": bytes(1000),
    "huge_header": b"\xff" * 7 + b"\x00{" + b" " * 100,
    "deep_header": (200_000).to_bytes(8, "little") + b'{"a":' * 40_000,
    "zip_bomb": zip_bomb(),
    "climbing": climbing_archive(),
    "pickle": pickle.dumps({"weights": 1}),
}


@pytest.mark.parametrize("name", OTHER_FILES)
@pytest.mark.parametrize("load", ["model", "weights"])
def test_files_of_another_kind_are_refused(name, load, tmp_path):
    path = tmp_path / "file.fgraph"
    path.write_bytes(OTHER_FILES[name])
    model = small_model()
    with pytest.raises(fgraph.LoadError, match=r"cannot load '.*file\.fgraph'"):
        fgraph.load_model(path) if load == "model" else model.load_weights(path)


@pytest.mark.parametrize("torch_file", [False, True])
def test_a_pickle_that_runs_a_command_runs_nothing(torch_file, tmp_path):
    path, made = tmp_path / "evil.pt", tmp_path / "made"
    if torch_file:
        torch.save({"a": Command(made)}, path)
    else:
        path.write_bytes(pickle.dumps(Command(made)))
    for load in (fgraph.load_model, small_model().load_weights):
        with pytest.raises(fgraph.LoadError, match="evil"):
            load(path)
    assert not made.exists()


@pytest.mark.parametrize("tenth", range(10))
def test_a_file_that_is_cut_off_is_refused(tenth, whole, tmp_path):
    path = tmp_path / "cut.fgraph"
    path.write_bytes(whole[: len(whole) * tenth // 10])
    with pytest.raises(fgraph.LoadError, match=r"cannot load '.*cut\.fgraph'"):
        fgraph.load_model(path)


def test_a_file_that_is_too_long_is_refused(whole, tmp_path):
    path = tmp_path / "long.fgraph"
    path.write_bytes(whole + b"\0")
    with pytest.raises(fgraph.LoadError, match="too long"):
        fgraph.load_model(path)


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_every_flipped_byte_is_found(count, whole, tmp_path):
    numbers, path = random.Random(count), tmp_path / "flipped.fgraph"
    for _ in range(count):
        damaged = bytearray(whole)
        damaged[numbers.randrange(len(whole))] ^= numbers.randrange(1, 256)
        path.write_bytes(damaged)
        with pytest.raises(fgraph.LoadError, match=r"cannot load '.*flipped\.fgraph'"):
            fgraph.load_model(path)


def test_without_verifying_only_the_weights_are_taken_on_trust(whole, tmp_path):
    path = tmp_path / "flipped.fgraph"
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert fgraph.load_model(path, verify=False).count_params() == 23
    path.write_bytes(whole.replace(b"dense_1", b"dense_9"))
    with pytest.raises(fgraph.LoadError, match="header is damaged"):
        fgraph.load_model(path, verify=False)


def document_of(path):
    file = tensorfile.read(path)
    return json.loads(file.texts["fgraph"]), file.tensors


def rewritten(whole, path, change):
    """Write the file again, valid but for what `change` does to the description."""
    path.write_bytes(whole)
    document, tensors = document_of(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    change(document, tensors)
    tensorfile.write(path, tensors, {"fgraph": json.dumps(document)})
    return path


def leaves(value, path=()):
    """Yield the way to each leaf of JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items:
        if isinstance(part, (dict, list)) and part:
            yield from leaves(part, (*path, key))
        else:
            yield (*path, key)


ODD = [
    None, -1, 10**6, 1.5, "", "x", "os.system", True, [], {}, {"$object": 999}, {"$at": [99, 0]},
    {"$name": "torch.load"}, {"$tensor": "none"}, {"$unknown": 1},
]  # fmt: skip


@pytest.mark.parametrize("count", [150, pytest.param(2000, marks=pytest.mark.slow)])
def test_descriptions_with_odd_values_load_or_say_why(count, whole, tmp_path):
    numbers = random.Random(count)

    def change(document, tensors):
        way = numbers.choice(list(leaves(document)))
        for key in way[:-1]:
            document = document[key]
        document[way[-1]] = numbers.choice(ODD)

    for number in range(count):
        path = rewritten(whole, tmp_path / f"odd{number}.fgraph", change)
        try:
            fgraph.load_model(path)
        except fgraph.LoadError as error:
            assert f"odd{number}.fgraph" in str(error)  # noqa: PT017


def test_a_newer_version_says_so(whole, tmp_path):
    path = rewritten(whole, tmp_path / "new.fgraph", lambda d, _: d.update(version=99))
    with pytest.raises(fgraph.LoadError, match=r"version 99.*upgrade"):
        fgraph.load_model(path)


@pytest.mark.parametrize(
    "name",
    ["torch.load", "torch.compile", "torch.set_default_device", "torch.from_file", "os.system",
     "torch.hub.load", "operator.call", "torch.Tensor.__reduce_ex__", "builtins.eval",
     "fgraph.model.codegen:compile_forward", "fgraph.models:load_model", "torch.nn.functional.F"],
)  # fmt: skip
def test_functions_that_do_more_than_compute_are_refused(name, whole, tmp_path):
    def change(document, tensors):
        graph = next(entry for entry in document["objects"] if "graph" in entry)["graph"]
        next(n for n in graph["nodes"] if n["op"] == "function")["target"] = {"$name": name}

    with pytest.raises(fgraph.LoadError, match=name.replace(".", r"\.")):
        fgraph.load_model(rewritten(whole, tmp_path / "evil.fgraph", change))


CODE = '__import__("os").mkdir("made")'


@pytest.mark.parametrize("attribute", ["__class__", f"T, {CODE}", "data; import os"])
def test_attributes_that_tensors_lack_are_refused(attribute, whole, tmp_path):
    def change(document, tensors):
        graph = next(entry for entry in document["objects"] if "graph" in entry)["graph"]
        node = next(n for n in graph["nodes"] if n.get("target") == {"$name": "getattr"})
        node["args"][1] = attribute

    with pytest.raises(fgraph.LoadError, match="attribute that tensors do not have"):
        fgraph.load_model(rewritten(whole, tmp_path / "evil.fgraph", change))


@pytest.mark.parametrize("key", ["node_names", "input_names", "output_names"])
def test_names_never_become_code(key, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def change(document, tensors):
        entry = next(entry for entry in document["objects"] if "graph" in entry)
        entry[key] = [f"{name}={CODE}\n{CODE}" for name in entry[key]]

    loaded = fgraph.load_model(rewritten(whole, tmp_path / "evil.fgraph", change))
    loaded(torch.rand(1, 4))
    assert not Path("made").exists()


def test_tensor_names_never_become_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = Input((4,))
    Model(x, x + torch.ones(4)).save("model.fgraph")

    def change(document, tensors):
        entry = next(entry for entry in document["objects"] if "graph" in entry)
        entry["tensors"] = {CODE: "buffer"}
        tensors[CODE] = tensors.pop("buffer_1")
        text = json.dumps(document).replace(
            '"$tensor": "buffer_1"', f'"$tensor": {json.dumps(CODE)}'
        )
        document.update(json.loads(text))

    path = rewritten(Path("model.fgraph").read_bytes(), tmp_path / "evil.fgraph", change)
    with pytest.raises(fgraph.LoadError, match="which is no name"):
        fgraph.load_model(path)
    assert not Path("made").exists()


def test_weights_of_another_shape_are_refused(whole, tmp_path):
    def change(document, tensors):
        tensors["linear_1.weight"] = torch.zeros(5, 5)

    path = rewritten(whole, tmp_path / "shape.fgraph", change)
    with pytest.raises(fgraph.LoadError, match=r"linear_1\.weight.*\(5, 5\).*\(2, 3\)"):
        fgraph.load_model(path)


def test_a_missing_tensor_is_named(whole, tmp_path):
    path = rewritten(whole, tmp_path / "gone.fgraph", lambda _, t: t.pop("linear_1.weight"))
    with pytest.raises(fgraph.LoadError, match=r"no tensor 'linear_1\.weight'"):
        fgraph.load_model(path)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    model, path = small_model(), tmp_path / "model.fgraph"
    model.save(path)
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        model.save(path)
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]


def test_a_loaded_model_survives_saving_over_its_own_file(tmp_path):
    path = tmp_path / "model.fgraph"
    small_model().save(path)
    loaded = fgraph.load_model(path)
    expected = [t.clone() for t in loaded.state_dict().values()]
    loaded.save(path)
    again = fgraph.load_model(path)
    for model in (loaded, again):
        found = [*model.state_dict().values()]
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
