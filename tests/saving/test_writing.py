"""Where files are written, and what stays behind when that fails; under any default device."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import fgraph
from fgraph import Input, Model, layers
from fgraph.saving import tensorfile


def small_model():
    x = Input((4,))
    return Model(x, layers.Dense(3)(x))


WRITERS = {
    "save": lambda model, path: model.save(path),
    "save_weights": lambda model, path: model.save_weights(path),
    "torch": lambda model, path: model.save_weights(path.with_suffix(".pt")),
}


@pytest.mark.parametrize("how", WRITERS)
def test_other_kinds_of_files_are_refused_and_left_alone(how, tmp_path):
    pipe = tmp_path / "pipe.pt"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="device or pipe, and no regular file"):
        WRITERS[how](small_model(), pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    link = tmp_path / "null.pt"
    link.symlink_to("/dev/null")
    with pytest.raises(OSError, match="no regular file"):
        WRITERS[how](small_model(), link)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("how", WRITERS)
def test_a_link_to_a_file_stays_a_link(how, tmp_path):
    (tmp_path / "real.pt").write_bytes(b"old")
    (tmp_path / "link.pt").symlink_to("real.pt")
    WRITERS[how](small_model(), tmp_path / "link.pt")
    assert (tmp_path / "link.pt").is_symlink()
    assert (tmp_path / "real.pt").stat().st_size > 100


@pytest.mark.parametrize("how", WRITERS)
def test_long_names_are_written(how, tmp_path):
    path = tmp_path / ("n" * 248 + ".pt")
    WRITERS[how](small_model(), path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


KILLED = """
import os, signal, sys
import fgraph
from fgraph.common import atomic_files

with atomic_files.replacing(sys.argv[1]) as made:
    made.write_bytes(bytes(1000))
    print("ready", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_by_the_next_save(tmp_path):
    path = tmp_path / "model.fgraph"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 1
    small_model().save(path)
    assert os.listdir(tmp_path) == ["model.fgraph"]


def test_a_save_at_the_same_time_is_left_alone(tmp_path):
    from fgraph.common.atomic_files import replacing

    path = tmp_path / "model.fgraph"
    with replacing(path) as other:
        other.write_bytes(b"other")
        small_model().save(path)
        assert other.read_bytes() == b"other"
    assert path.read_bytes() == b"other"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full device")
@pytest.mark.parametrize("how", WRITERS)
def test_a_full_disk_is_an_os_error(how, tmp_path, monkeypatch):
    class Full:
        """A file on a full disk."""

        def __init__(self, path, mode):
            self.file = open(path, mode)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name):
            return getattr(self.file, name)

    monkeypatch.setattr("pathlib.Path.open", lambda path, mode="r": Full(path, mode))
    with pytest.raises(OSError, match="No space left"):
        WRITERS[how](small_model(), tmp_path / "model.pt")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_tensors_are_aligned_and_results_bit_equal(tmp_path):
    x = Input((37,))
    h = nn.Linear(37, 19)(x)
    model = Model(x, nn.Linear(19, 7)(h) * nn.Parameter(torch.rand(1)))
    model.save(tmp_path / "model.fgraph")
    assert all(
        tensor.data_ptr() % 64 == 0
        for tensor in tensorfile.read(tmp_path / "model.fgraph").tensors.values()
    )
    values = torch.rand(50, 37)
    assert torch.equal(fgraph.load_model(tmp_path / "model.fgraph")(values), model(values))


def test_saving_and_loading_work_under_any_default_device(tmp_path):
    model = small_model()
    model.compile("adam", "mse")
    model.fit(torch.rand(4, 4), torch.rand(4, 3), verbose=0)
    before = torch.get_default_device()
    for device in ("meta", "cpu"):
        with torch.device(device):
            model.save(tmp_path / "model.fgraph")
            model.save_weights(tmp_path / "w.safetensors")
            model.save_weights(tmp_path / "w.pt")
            loaded = fgraph.load_model(tmp_path / "model.fgraph")
            loaded.load_weights(tmp_path / "w.safetensors")
            loaded.load_weights(tmp_path / "w.pt")
            again = Model.from_config(model.get_config())
        values = torch.rand(2, 4)
        assert torch.equal(loaded(values), model(values))
        assert {p.device.type for p in again.parameters()} == {device}
        loaded.fit(torch.rand(4, 4), torch.rand(4, 3), verbose=0)
    assert torch.get_default_device() == before


def test_a_compiled_model_with_an_lstm_goes_on_training(tmp_path):
    tokens = Input((7,), dtype="int64")
    h = layers.LSTM(4)(layers.Embedding(9, 5)(tokens))
    model = Model(tokens, layers.Dense(1, activation="sigmoid")(h))
    model.compile("rmsprop", "binary_crossentropy", metrics=["accuracy"])
    data, labels = torch.randint(0, 9, (8, 7)), torch.randint(0, 2, (8, 1)).float()
    model.fit(data, labels, verbose=0, shuffle=False)
    model.save(tmp_path / "model.fgraph")
    loaded = fgraph.load_model(tmp_path / "model.fgraph")
    ours = loaded.fit(data, labels, epochs=2, verbose=0, shuffle=False).history
    assert ours == model.fit(data, labels, epochs=2, verbose=0, shuffle=False).history


def two_over_one_storage():
    x, whole = Input((4,)), torch.rand(8)
    first, second = nn.Linear(4, 1, bias=False), nn.Linear(4, 1, bias=False)
    first.weight = nn.Parameter(whole[:4].view(1, 4))
    second.weight = nn.Parameter(whole[2:6].view(1, 4))
    return Model(x, first(x) + second(x))


def test_parameters_over_one_storage_stay_together_or_are_refused(tmp_path):
    x, whole = Input((4,)), nn.Linear(4, 4)
    part = nn.Linear(4, 2, bias=False)
    part.weight = nn.Parameter(whole.weight.data[1:3])
    Model(x, whole(x)[:, :2] + part(x)).save(tmp_path / "model.fgraph")
    loaded = fgraph.load_model(tmp_path / "model.fgraph")
    with torch.no_grad():
        loaded.linear_1.weight.fill_(3.0)
    assert loaded.linear_2.weight.eq(3.0).all()
    with pytest.raises(fgraph.SaveError, match=r"overlap in memory: clone one of them"):
        two_over_one_storage().save(tmp_path / "model.fgraph")


@dataclass
class Hidden:
    """A result that torch does not look into."""

    value: torch.Tensor


class GivesHidden(nn.Module):
    """A module with such a result."""

    def forward(self, x):
        return Hidden(x + 1)


def test_a_result_that_is_no_pytree_is_refused_when_the_graph_is_built():
    with pytest.raises(ValueError, match=r"GivesHidden.*Hidden that holds tensors"):
        GivesHidden()(Input((4,)))


class Hooks(nn.Module):
    """Registers a hook when it is made, and so again when it is loaded."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.linear.register_forward_hook(lambda module, given, result: result * 2)

    def forward(self, x):
        return self.linear(x)


def test_hooks_that_are_left_out_are_told(tmp_path):
    x = Input((3,))
    linear = nn.Linear(3, 3)
    linear.register_forward_hook(lambda module, given, result: result * 2)
    model = Model(x, linear(x))
    with pytest.warns(UserWarning, match="the file has no forward hooks: those of 'linear_1'"):
        model.save(tmp_path / "model.fgraph")
    with pytest.warns(UserWarning, match="the source has no forward hooks: those of 'linear_1'"):
        model.to_source()
    model = Model(x, Hooks()(x))
    model.save(tmp_path / "model.fgraph")
    loaded = fgraph.load_model(tmp_path / "model.fgraph", custom_objects={"Hooks": Hooks})
    value = torch.randn(2, 3)
    assert torch.equal(loaded(value), model(value))
