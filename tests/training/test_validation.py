"""Validation sees the same samples every time, is checked before the first step, and resumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fgraph.callbacks import BackupAndRestore, Callback
from fgraph.training import Trainer


class Net(Trainer, nn.Sequential):
    """A stack of modules with the trainer."""


X, Y = torch.randn(40, 4), torch.randn(40, 1)


def _net(rate: float = 0.1) -> Net:
    torch.manual_seed(0)
    net = Net(nn.Linear(4, 1))
    net.compile(torch.optim.SGD(net.parameters(), rate), "mse", metrics=["mae"])
    return net


def _generator(batches=1000):
    for i in range(batches):
        rows = torch.arange(4 * i, 4 * i + 4) % 40
        yield X[rows], Y[rows]


SOURCES = {
    "arrays": lambda: ((X, Y), {"validation_batch_size": 4}),
    "numpy": lambda: ((X.numpy(), Y.numpy()), {"validation_batch_size": 4}),
    "loader": lambda: (DataLoader(TensorDataset(X, Y), 4), {}),
    "iterable": lambda: (Again(), {}),
}


class Again:
    """Batches that can be iterated again."""

    def __iter__(self):
        return _generator(10)


@pytest.mark.parametrize("kind", SOURCES)
def test_validation_steps_see_the_same_samples_each_time(kind):
    """At learning rate 0 the loss stays; it is that of the first batches."""
    data, settings = SOURCES[kind]()
    net = _net(0.0)
    run = net.fit(X, Y, epochs=3, verbose=0, validation_data=data, validation_steps=3, **settings)
    expected = net.evaluate(X[:12], Y[:12], verbose=0)[0]
    assert run.history["val_loss"] == pytest.approx([expected] * 3, rel=1e-6)


def test_a_generator_goes_on_where_the_last_validation_stopped():
    """It cannot start anew."""
    net = _net(0.0)
    run = net.fit(X, Y, epochs=3, verbose=0, validation_data=_generator(), validation_steps=3)
    parts = [slice(0, 12), slice(12, 24), slice(24, 36)]
    expected = [net.evaluate(X[rows], Y[rows], verbose=0)[0] for rows in parts]
    assert run.history["val_loss"] == pytest.approx(expected, rel=1e-6)


ALL = {"batch_size": 10, "verbose": 0}
TOO_MANY = {
    "evaluate": lambda net: net.evaluate(X, Y, steps=9, **ALL)[0],
    "predict": lambda net: float(np.square(net.predict(X, steps=9, **ALL) - Y.numpy()).mean()),
    "validation": lambda net: net.fit(
        X, Y, validation_data=(X, Y), validation_steps=9, **ALL
    ).history["val_loss"][0],
}


@pytest.mark.parametrize("caller", TOO_MANY)
def test_more_steps_than_there_are_count_no_sample_twice(caller):
    """And a warning says how many there were."""
    net = _net(0.0)
    with pytest.warns(UserWarning, match="after 4 of 9 steps of (evaluate|predict)"):
        found = TOO_MANY[caller](net)
    assert found == pytest.approx(nn.functional.mse_loss(net(X), Y).item(), rel=1e-6)


class Interrupt(Callback):
    """Stops a run by an error after so many batches."""

    def __init__(self, after: int | None) -> None:
        super().__init__()
        self.after = after

    def on_train_batch_end(self, batch, logs=None):
        if self.after is not None:
            self.after -= 1
            if self.after < 0:
                raise KeyboardInterrupt


def _resumed(folder, make_data, make_validation, save_freq, interrupts):
    """Fit with interruptions; return the history and the weights at the end."""
    for after in [*interrupts, None]:
        net = _net()
        callbacks = [Interrupt(after), BackupAndRestore(folder, save_freq=save_freq)]
        data, settings = make_data()
        validation, more = make_validation()
        try:
            run = net.fit(*data, epochs=4, verbose=0, callbacks=callbacks, **settings,
                          validation_data=validation, **more)  # fmt: skip
        except KeyboardInterrupt:
            assert after is not None
    return run.history, net[0].weight.detach()


def _own_generator():
    loader = DataLoader(
        TensorDataset(X, Y), 8, shuffle=True, generator=torch.Generator().manual_seed(7)
    )
    return (loader,), {}


DATA = {
    "arrays": lambda: ((X, Y), {"batch_size": 8}),
    "a loader with a generator": _own_generator,
    "a sampler with a generator": lambda: (
        (DataLoader(TensorDataset(X, Y), 8, sampler=torch.utils.data.RandomSampler(
            X, generator=torch.Generator().manual_seed(3))),), {}),
    "a generator": lambda: ((_generator(),), {"steps_per_epoch": 5}),
}  # fmt: skip
VALIDATION = {
    "arrays": lambda: ((X, Y), {"validation_steps": 2, "validation_batch_size": 4}),
    "a generator": lambda: (_generator(), {"validation_steps": 3}),
    "a shuffling loader": lambda: (
        DataLoader(TensorDataset(X, Y), 4, shuffle=True), {"validation_steps": 3}),
}  # fmt: skip


@pytest.mark.parametrize("validation", VALIDATION)
@pytest.mark.parametrize("data", DATA)
def test_a_resumed_run_equals_one_that_was_left_alone(tmp_path, data, validation):
    """Whatever the training and validation data are drawn from."""
    arguments = DATA[data], VALIDATION[validation]
    expected, weights = _resumed(tmp_path / "alone", *arguments, "epoch", [])
    for save_freq, interrupts in ((1, [3, 9]), (4, [11]), ("epoch", [7])):
        folder = tmp_path / f"{save_freq}"
        found, other = _resumed(folder, *arguments, save_freq, interrupts)
        assert found == expected
        assert torch.equal(weights, other)


def test_a_resumed_run_must_validate_as_the_saved_one(tmp_path):
    """Its figures would mean something else."""
    callbacks = [Interrupt(1), BackupAndRestore(tmp_path, save_freq=1)]
    with pytest.raises(KeyboardInterrupt):
        _net().fit(X, Y, batch_size=8, verbose=0, callbacks=callbacks)
    with pytest.raises(ValueError, match="must both have validation data or both have none"):
        _net().fit(X, Y, batch_size=8, verbose=0, callbacks=callbacks, validation_data=(X, Y))


BAD = {
    "width": (lambda: (X[:, :3], Y), "cannot be multiplied"),
    "target width": (lambda: (X, Y.expand(-1, 3)), "would otherwise broadcast"),
    "lengths": (lambda: (X, Y[:39]), "x has 40, y has 39"),
    "dtype": (lambda: (X.numpy().astype(str), Y), "values of dtype"),
    "nan": (lambda: (X, Y * torch.nan), "values that are not finite"),
    "weights": (lambda: (X, Y, -torch.ones(40)), "sample_weight holds values from -1"),
    "late nan": (lambda: (X, torch.cat([Y[:39], Y[:1] * torch.nan])), "not finite"),
}


@pytest.mark.parametrize("case", BAD)
def test_validation_data_is_checked_before_the_first_step(case):
    """As training data is."""
    make, text = BAD[case]
    net = _net()
    before = net[0].weight.detach().clone()
    with pytest.raises((ValueError, TypeError, RuntimeError), match=text):
        net.fit(X, Y, verbose=0, validation_data=make(), batch_size=5)
    assert torch.equal(net[0].weight, before)


def test_an_error_of_validation_data_says_so():
    """A note beside the text, since the data of training look alike."""
    with pytest.raises(ValueError, match="broadcast") as caught:
        _net().fit(X, Y, verbose=0, validation_data=(X, Y.expand(-1, 3)))
    assert "validation data" in caught.value.__notes__[0]


REFUSED = {
    "validation_freq 0": ({"validation_freq": 0}, ValueError, "validation_freq must be at least 1"),
    "validation_freq -2": ({"validation_freq": -2}, ValueError, "must be at least 1, got -2"),
    "validation_freq 2.5": ({"validation_freq": 2.5}, TypeError, "validation_freq must be an int"),
    "validation_freq of 0": ({"validation_freq": [0, 2]}, ValueError, "each of validation_freq"),
    "batch size 0": ({"validation_batch_size": 0}, ValueError, "validation_batch_size must be at"),
    "steps 0": ({"validation_steps": 0}, ValueError, "validation_steps must be at least 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_settings_of_validation_are_refused(case):
    """By name."""
    settings, error, text = REFUSED[case]
    with pytest.raises(error, match=text):
        _net().fit(X, Y, verbose=0, validation_data=(X, Y), **settings)


@pytest.mark.parametrize("name", ["validation_steps", "validation_batch_size"])
def test_settings_of_validation_need_validation_data(name):
    """They would do nothing."""
    with pytest.raises(ValueError, match=f"{name} was given, but there is no validation data"):
        _net().fit(X, Y, verbose=0, **{name: 3})


def test_a_generator_is_not_enough_for_several_validations():
    """Unless it is told how many batches belong to each."""
    with pytest.raises(ValueError, match="iterated only once, but is needed for 3 validations"):
        _net().fit(X, Y, epochs=3, verbose=0, validation_data=_generator(5))
    run = _net().fit(X, Y, epochs=3, verbose=0, validation_data=_generator(5), validation_freq=[3])
    assert len(run.history["val_loss"]) == 1


def test_sizes_may_be_numpys():
    """As they come from arithmetic with shapes."""
    two = np.int64(2)
    run = _net().fit(
        X, Y, batch_size=np.int32(8), epochs=two, steps_per_epoch=two, verbose=0,
        validation_data=(X, Y), validation_steps=two, validation_freq=np.int64(1),
    )  # fmt: skip
    assert len(run.history["val_loss"]) == 2
