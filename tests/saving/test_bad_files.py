"""Every damaged or hostile file gives one clear error, and nothing in it runs."""

from __future__ import annotations

import io
import os
import pickle
import random
import zipfile

import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model, layers


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
    with pytest.raises(FileNotFoundError, match=r"No such file.*nothing\.fgraph"):
        fgraph.load_model(tmp_path / "nothing.fgraph")


def test_a_directory_says_so(tmp_path):
    with pytest.raises(IsADirectoryError, match="directory"):
        fgraph.load_model(tmp_path)
    with pytest.raises(IsADirectoryError, match="directory"):
        small_model().save(tmp_path)


def test_code_in_files_cannot_be_asked_for(tmp_path):
    """Keras's `safe_mode=False`, pasted in."""
    with pytest.raises(ValueError, match=r"safe_mode=False is not supported.*custom_objects"):
        fgraph.load_model(tmp_path / "model.keras", safe_mode=False)


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
