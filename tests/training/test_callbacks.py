"""Callbacks: Keras's hooks in Keras's order, and what each of them does."""

from __future__ import annotations

import csv
import io
import math
import re
import sys

import pytest
import torch
from torch import nn

from fgraph import Input, Model, callbacks, layers, optimizers
from fgraph.common.atomic_files import replacing, save_atomically
from fgraph.errors import SaveError
from fgraph.training import Trainer


class Net(Trainer, nn.Sequential):
    """A stack of modules with the trainer."""


X = torch.linspace(-1, 1, 24).view(-1, 1)


def _net(**settings) -> Net:
    net = Net(nn.Linear(1, 1))
    net.compile("sgd", "mse", **settings)
    return net


class Figures(callbacks.Callback):
    """Replaces a figure of each epoch by the next one of a list."""

    def __init__(self, name: str, values: list[float]) -> None:
        super().__init__()
        self.name, self.values = name, values

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_hooks_are_called_in_keras_order(keras):
    """The same sequence of hooks with the same arguments."""
    sequences = []
    for module, net in ((keras, None), (None, _net())):
        calls = []
        names = [name for name in vars(callbacks.Callback) if name.startswith("on_")]
        names = [n for n in names if n not in ("on_batch_begin", "on_batch_end")]
        base = (module or callbacks).__dict__.get("callbacks", callbacks).Callback

        def record(name, calls=calls):
            def hook(self, *args, **_):
                calls.append((name, args[0] if args and isinstance(args[0], int) else None))

            return hook

        recorder = type("Recorder", (base,), {n: record(n) for n in names})()
        if net is None:
            net = keras.Sequential([keras.layers.Dense(1)])
            net.compile("sgd", "mse")
        data = X.numpy()
        settings = {"batch_size": 12, "verbose": 0, "callbacks": [recorder]}
        net.fit(data, data, epochs=2, validation_data=(data, data), **settings)
        net.evaluate(data, data, **settings)
        net.predict(data, **settings)
        sequences.append(calls)
    assert sequences[1] == sequences[0]


def test_unused_hooks_cost_nothing():
    """Only callbacks that fill a hook are called at it."""

    class Filled(callbacks.Callback):
        def on_batch_end(self, batch, logs=None):
            """Keras's older name."""

    listed = callbacks.CallbackList([callbacks.Callback(), Filled()], None, {})
    assert len(listed.hooks("on_train_batch_end")) == 1
    assert listed.hooks("on_train_batch_begin") == []


def test_batch_logs_are_running_means():
    """Read when they are looked at."""
    seen = []
    net = _net()
    hook = callbacks.LambdaCallback(on_train_batch_end=lambda b, logs: seen.append(logs["loss"]))
    run = net.fit(X, X, batch_size=10, verbose=0, callbacks=[hook])
    assert len(seen) == 3
    assert seen[-1] == run.history["loss"][0]


@pytest.mark.parametrize(
    ("values", "settings", "epochs", "best"),
    [
        ([3, 2, 1, 1.5, 1.6, 1.7, 0], {"patience": 2}, 5, 2),
        ([3, 2, 1, 1.5, 1.6, 1.7, 0], {"patience": 0}, 4, 2),
        ([3, 2.95, 2.9, 2, 1, 1, 1], {"patience": 2, "min_delta": 0.2}, 3, 0),
        ([1, 5, 6, 7, 1, 1, 1], {"patience": 1, "start_from_epoch": 3}, 6, 4),
        ([1, 2, 3, 2, 2, 9, 9], {"patience": 2, "mode": "max"}, 5, 2),
        ([5, 4, 3, 2, 1, 1, 1], {"patience": 2, "baseline": 0.5}, 6, 4),
    ],
)
def test_early_stopping_equals_keras(keras, values, settings, epochs, best):
    """Stopped after the same epoch, with the same best one."""
    stopping = callbacks.EarlyStopping("val_loss", restore_best_weights=True, **settings)
    weights = []
    keep = callbacks.LambdaCallback(
        on_epoch_end=lambda e, logs: weights.append(net[0].weight.clone())
    )
    net = _net()
    run = net.fit(
        X, X, epochs=7, verbose=0, validation_data=(X, X),
        callbacks=[keep, Figures("val_loss", values), stopping],
    )  # fmt: skip
    assert (len(run.epoch), stopping.best_epoch) == (epochs, best)
    assert torch.equal(net[0].weight, weights[best])
    theirs = keras.callbacks.EarlyStopping("val_loss", **settings)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    feed = type("Feed", (keras.callbacks.Callback,), {"on_epoch_end": Figures.on_epoch_end})()
    feed.name, feed.values = "val_loss", values
    data = X.numpy()
    their_run = model.fit(
        data, data, epochs=7, verbose=0, validation_data=(data, data), callbacks=[feed, theirs]
    )
    assert len(their_run.epoch) == epochs


def test_the_mode_follows_the_figure():
    """Losses fall, accuracies rise; what does not tell must be told."""

    def strange(y_true, y_pred):
        return y_pred.mean()

    net = _net(metrics=["mae", "accuracy", strange])
    net.fit(X, X, verbose=0)
    for name, direction in (("val_loss", "min"), ("mae", "min"), ("val_accuracy", "max")):
        stopping = callbacks.EarlyStopping(name)
        stopping.set_model(net)
        assert stopping.direction() == direction
    with pytest.raises(ValueError, match="cannot tell whether 'strange' should rise or fall"):
        net.fit(X, X, verbose=0, callbacks=[callbacks.EarlyStopping("strange")])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_reduce_lr_on_plateau_equals_keras(keras):
    """Rates of all epochs, with cooldown and a least rate."""
    values = [5, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 3]
    settings = {"factor": 0.5, "patience": 2, "cooldown": 1, "min_lr": 0.002}
    net = _net()
    run = net.fit(
        X, X, epochs=14, verbose=0, validation_data=(X, X),
        callbacks=[Figures("val_loss", values), callbacks.ReduceLROnPlateau(**settings)],
    )  # fmt: skip
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    feed = type("Feed", (keras.callbacks.Callback,), {"on_epoch_end": Figures.on_epoch_end})()
    feed.name, feed.values = "val_loss", values
    data = X.numpy()
    theirs = model.fit(
        data, data, epochs=14, verbose=0, validation_data=(data, data),
        callbacks=[feed, keras.callbacks.ReduceLROnPlateau(**settings)],
    )  # fmt: skip
    assert run.history["learning_rate"] == pytest.approx(theirs.history["learning_rate"])


@pytest.mark.parametrize("schedule", [lambda e: 0.1 / (e + 1), lambda e, lr: lr / 2])
def test_learning_rate_scheduler_sets_the_rate(schedule):
    """`schedule(epoch)` or `schedule(epoch, rate)`; the history shows it."""
    net = _net()
    run = net.fit(X, X, epochs=3, verbose=0, callbacks=[callbacks.LearningRateScheduler(schedule)])
    one = schedule.__code__.co_argcount == 1
    expected = [0.1, 0.05, 0.1 / 3] if one else [0.005, 0.0025, 0.00125]
    assert run.history["learning_rate"] == pytest.approx(expected)
    with pytest.raises(TypeError, match="must return a number, got None"):
        net.fit(X, X, verbose=0, callbacks=[callbacks.LearningRateScheduler(lambda e: None)])


def test_terminate_on_nan_ends_the_run():
    """At the batch where it happened."""
    net = _net()
    x = X.clone()
    x[13] = math.nan
    batches = []
    run = net.fit(
        x, X, batch_size=4, epochs=3, verbose=0, shuffle=False,
        callbacks=[callbacks.TerminateOnNaN(),
                   callbacks.LambdaCallback(on_train_batch_end=lambda b, _: batches.append(b))],
    )  # fmt: skip
    assert batches == [0, 1, 2, 3]
    assert math.isnan(run.history["loss"][0])


def test_model_checkpoint_fills_names_and_keeps_the_best(tmp_path):
    """`{epoch}` counts from 1; figures are filled in by their formats."""
    net = _net()
    values = [3.0, 1.0, 2.0]
    every = callbacks.ModelCheckpoint(tmp_path / "e{epoch}-{val_loss:.1f}.pt")
    best = callbacks.ModelCheckpoint(tmp_path / "best.pt", save_best_only=True)
    weights = []
    keep = callbacks.LambdaCallback(
        on_epoch_end=lambda e, _: weights.append(net[0].weight.detach().clone())
    )
    net.fit(
        X, X, epochs=3, verbose=0, validation_data=(X, X),
        callbacks=[keep, Figures("val_loss", values), every, best],
    )  # fmt: skip
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["best.pt", "e1-3.0.pt", "e2-1.0.pt", "e3-2.0.pt"]
    saved = torch.load(tmp_path / "best.pt", weights_only=True)
    assert torch.equal(saved["0.weight"], weights[1])


def test_model_checkpoint_after_batches(tmp_path):
    """Every so many of them."""
    net = _net()
    path = tmp_path / "at{epoch}.pt"
    net.fit(X, X, batch_size=4, epochs=2, verbose=0,
            callbacks=[callbacks.ModelCheckpoint(path, save_freq=5)])  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["at1.pt", "at2.pt"]


def test_model_checkpoint_names_unknown_figures(tmp_path):
    """Before the first step, with those that there are."""
    with pytest.raises(ValueError, match="unknown metric 'val_los'; did you mean"):
        _net().fit(
            X, X, verbose=0, callbacks=[callbacks.ModelCheckpoint(tmp_path / "{val_los}.pt")]
        )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("{}.pt", r"write names in braces, such as \{epoch\}, got ''"),
        ("{0}.pt", "got '0'"),
        ("{loss:d}.pt", "Unknown format code 'd'"),
        ("file/{epoch}.pt", "is a file, not a folder"),
    ],
)
def test_paths_of_model_checkpoint_are_tried_before_the_first_step(tmp_path, name, text):
    """Not after the first epoch."""
    (tmp_path / "file").touch()
    net = _net()
    before = net[0].weight.item()
    with pytest.raises((ValueError, NotADirectoryError), match=text):
        net.fit(X, X, verbose=0, callbacks=[callbacks.ModelCheckpoint(tmp_path / name)])
    assert net[0].weight.item() == before


def _unsavable() -> Model:
    x = Input((1,))
    model = Model(x, layers.Lambda(lambda v: v * 2)(layers.Dense(1)(x)))
    model.compile("sgd", "mse")
    return model


def test_a_model_that_cannot_be_saved_is_refused_before_the_first_step(tmp_path):
    """ModelCheckpoint writes nothing to find it out; weights alone can be saved."""
    model = _unsavable()
    before = model.get_weights()[0].copy()
    path = tmp_path / "new" / "a.fgraph"
    with pytest.raises(SaveError, match=r"layer 'lambda_1' .* cannot be written"):
        model.fit(X, X, verbose=0, callbacks=callbacks.ModelCheckpoint(path))
    assert (model.get_weights()[0] == before).all()
    assert not path.parent.exists()
    weights = callbacks.ModelCheckpoint(tmp_path / "a.pt", save_weights_only=True)
    model.fit(X, X, verbose=0, callbacks=weights)
    assert (tmp_path / "a.pt").exists()


@pytest.mark.parametrize(
    ("name", "begin"),
    [("a.pt", b"PK"), ("a.safetensors", b'{"'), ("best-{loss:.2f}.weights.h5", b"\x89HDF")],
    ids=["torch's", "safetensors", "Keras's"],
)
def test_weights_of_checkpoints_are_in_the_format_of_their_path(tmp_path, name, begin):
    if name.endswith("h5"):
        pytest.importorskip("h5py")
    x = Input((1,))
    model = Model(x, layers.Dense(1)(x))
    model.compile("sgd", "mse")
    save = callbacks.ModelCheckpoint(tmp_path / name, "loss", save_weights_only=True)
    model.fit(X, X, verbose=0, callbacks=save)
    (path,) = tmp_path.iterdir()
    head = path.read_bytes()[:10]
    assert head.startswith(begin) or head[8:].startswith(begin)
    kept = model.get_weights()
    model.set_weights([weight + 1 for weight in kept])
    model.load_weights(path)
    assert all((new == old).all() for new, old in zip(model.get_weights(), kept, strict=True))


def test_weights_that_keras_has_no_place_for_are_refused_before_the_first_step(tmp_path):
    class Own(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.net = torch.nn.Linear(1, 1)

        def call(self, inputs):
            return self.net(inputs)

    x = Input((1,))
    model = Model(x, Own()(layers.Dense(1)(x)))
    model.compile("sgd", "mse")
    before = model.get_weights()[0].copy()
    save = callbacks.ModelCheckpoint(tmp_path / "a.weights.h5", save_weights_only=True)
    with pytest.raises(
        SaveError, match=r"/a.weights.h5'.*'own_1'.*\.safetensors or \.pt takes the"
    ):
        model.fit(X, X, verbose=0, callbacks=save)
    assert (model.get_weights()[0] == before).all()


class Odd(callbacks.Callback):
    """Remembers what a backup cannot hold."""

    def state_dict(self):
        return {"net": _net()}


def test_a_backup_that_could_not_be_read_is_refused_before_the_first_step(tmp_path):
    """Its file is read without running code."""
    net = _net()
    before = net[0].weight.item()
    both = [Odd(), callbacks.BackupAndRestore(tmp_path)]
    with pytest.raises(SaveError, match="cannot save the state of Odd"):
        net.fit(X, X, verbose=0, callbacks=both)
    assert net[0].weight.item() == before


def test_a_callback_class_is_refused_alone_and_in_a_list():
    """With what to write."""
    for given in (callbacks.EarlyStopping, [callbacks.EarlyStopping]):
        with pytest.raises(TypeError, match=r"the class EarlyStopping: write EarlyStopping\(\)"):
            _net().fit(X, X, verbose=0, callbacks=given)


@pytest.mark.parametrize(
    "callback",
    [callbacks.LearningRateScheduler(lambda epoch: 0.1), callbacks.ReduceLROnPlateau("loss")],
    ids=lambda callback: type(callback).__name__,
)
def test_a_rate_that_follows_a_schedule_is_no_callbacks(callback):
    """It would be overwritten before each step."""
    net = _net()
    net.compile(optimizers.SGD(optimizers.schedules.CosineDecay(0.1, 10)), "mse")
    with pytest.raises(TypeError, match="follows the schedule CosineDecay"):
        net.fit(X, X, callbacks=[callback], verbose=0)


def test_moving_averages_are_asked_for_by_name():
    """Before the first step."""
    net = _net()
    net.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"SGD keeps none: compile with .* use_ema=True"):
        net.fit(X, X, callbacks=[callbacks.SwapEMAWeights()], verbose=0)


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_evaluation_and_prediction_can_be_stopped(method):
    """After the batch, as in Keras."""

    net = _net()
    name = {"evaluate": "stop_evaluating", "predict": "stop_predicting"}[method]
    seen = []

    def stop(batch, logs):
        seen.append(batch)
        setattr(net, name, batch == 1)

    kind = {"evaluate": "test", "predict": "predict"}[method]
    hooks = callbacks.LambdaCallback(**{f"on_{kind}_batch_end": stop})
    data = (X, X) if method == "evaluate" else (X,)
    getattr(net, method)(*data, batch_size=4, verbose=0, callbacks=[hooks])
    assert seen == [0, 1]


def test_csv_logger_writes_a_row_an_epoch(tmp_path):
    """The history's numbers, to the last digit; appended where asked."""
    path = tmp_path / "log.csv"
    net = _net()
    run = net.fit(X, X, epochs=2, verbose=0, callbacks=[callbacks.CSVLogger(path)])
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == run.history["loss"]
    assert [row["epoch"] for row in rows] == ["0", "1"]
    net.fit(X, X, verbose=0, callbacks=[callbacks.CSVLogger(path, append=True)])
    assert len(list(csv.DictReader(path.read_text().splitlines()))) == 3


def test_tensorboard_writes_to_any_writer():
    """Tags `loss/train` and `loss/validation`."""
    written = []

    class Writer:
        def add_scalar(self, tag, value, step):
            written.append((tag, value, step))

    run = _net().fit(
        X, X, epochs=2, verbose=0, validation_data=(X, X),
        callbacks=[callbacks.TensorBoard(writer=Writer())],
    )  # fmt: skip
    for tag, name in (("loss/train", "loss"), ("loss/validation", "val_loss")):
        assert [v for t, v, _ in written if t == tag] == run.history[name]


def test_tensorboard_is_asked_for_by_name_when_missing(monkeypatch):
    """The message names the extra."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"install fgraph\[tensorboard\]"):
        _net().fit(X, X, verbose=0, callbacks=[callbacks.TensorBoard()])


def test_backup_of_other_callbacks_is_refused(tmp_path):
    """Their states could not be put back."""

    class Interrupt(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    backup = callbacks.BackupAndRestore(tmp_path / "b", save_freq=1)
    with pytest.raises(KeyboardInterrupt):
        _net().fit(X, X, verbose=0, callbacks=[Interrupt(), backup])
    with pytest.raises(ValueError, match="the saved run had the callbacks"):
        _net().fit(X, X, verbose=0, callbacks=[backup])


def test_backups_hold_plain_values_only(tmp_path):
    """`torch.load(weights_only=True)` takes them, whatever the optimizer."""
    for optimizer in ("adam", "rmsprop", "adagrad", "nadam"):
        net = Net(nn.Linear(1, 1))
        net.compile(optimizer, "mse", metrics=["mae", "auc"], precision="float16")
        run_states = []
        keep = callbacks.LambdaCallback(
            on_train_batch_end=lambda b, _, net=net, kept=run_states: kept.append(
                net._trainer.session.run.state_dict()
            )
        )
        net.fit(X, (X > 0).float(), verbose=0, callbacks=[keep])
        save_atomically(run_states[-1], tmp_path / "run.pt")
        assert torch.load(tmp_path / "run.pt", weights_only=True)["step"] == 1


def test_a_failed_write_leaves_the_old_file(tmp_path):
    """Whole or absent."""
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_without_a_terminal_there_is_a_line_an_epoch(capfd, verbose):
    """And no control characters."""
    _net().fit(X, X, epochs=2, verbose=verbose)
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Epoch 1/2 - ")
    assert "loss: " in lines[1]
    assert "\r" not in out + err


def test_verbose_0_is_silent(capfd):
    """Everywhere."""
    net = _net()
    net.fit(X, X, verbose=0)
    net.evaluate(X, X, verbose=0)
    net.predict(X, verbose=0)
    assert capfd.readouterr() == ("", "")


class Terminal(io.StringIO):
    """What a terminal is sent; `columns` is how wide it says it is."""

    def isatty(self):
        return True

    def frames(self) -> list[str]:
        """The texts that replaced each other on the line."""
        return [frame for frame in self.getvalue().split("\r") if frame.strip()]


def on_terminal(monkeypatch) -> Terminal:
    """Put one in place; not a fixture, since pytest captures anew when the test begins."""
    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    return made


def test_on_a_terminal_there_is_a_bar_and_then_a_line(monkeypatch, capsys):
    """With an interval of zero every batch is drawn, however fast the batches are."""
    terminal = on_terminal(monkeypatch)
    _net().fit(X, X, batch_size=4, callbacks=[callbacks.ProgressBar(interval=0)])
    batches = -(-len(X) // 4)
    drawn = terminal.frames()
    assert [f"{n}/{batches}" in frame for n, frame in enumerate(drawn)] == [True] * (batches + 1)
    assert all(frame.startswith("Epoch 1/1 |") for frame in drawn)
    assert all(", loss: " in frame for frame in drawn[1:])
    assert re.fullmatch(r"Epoch 1/1 - \d+\.\ds - loss: [\d.e-]+\n", capsys.readouterr().out)


def test_results_are_read_only_when_the_bar_is_drawn(monkeypatch):
    on_terminal(monkeypatch)

    class Unread(dict):
        def __getitem__(self, name):
            raise AssertionError(f"{name} was read")

        __iter__ = __getitem__

    bar = callbacks.ProgressBar(interval=1e9)
    bar.set_params({"epochs": 1, "steps": 2})
    bar.on_epoch_begin(0)
    for batch in range(2):
        bar.on_train_batch_end(batch, Unread(loss=1.0))
    bar._close("", None)


@pytest.mark.parametrize("columns", [30, 60, 80, 120, 200])
@pytest.mark.parametrize("outputs", [1, 5])
def test_a_bar_fits_the_terminal(monkeypatch, columns, outputs):
    """It keeps ten characters of its own, and shows only whole results."""
    terminal = on_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda fp: (columns, 24))
    logs = {"loss": 0.51234, "accuracy": 0.98765}
    logs |= {f"output_{i}_loss": 0.25 for i in range(outputs - 1)}
    bar = callbacks.ProgressBar(interval=0)
    bar.set_params({"epochs": 10, "steps": 265})
    bar.on_epoch_begin(0)
    bar.on_train_batch_end(119, logs)
    frame = terminal.frames()[-1]
    bar._close("", None)
    assert len(frame.rstrip()) <= columns
    if columns >= 60:
        assert len(frame.split("|")[1]) >= 10
        assert "loss: 0.5123" in frame
    assert ("accuracy: 0.9877" in frame) == (columns >= 80)
    assert re.search(r"left(, (\w+: \d\.\d{4}( - )?)+)?$", frame.rstrip()) or columns == 30


def test_a_wide_line_is_broken_between_results_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdout", made := Terminal())
    monkeypatch.setenv("COLUMNS", "40")
    bar = callbacks.ProgressBar(verbose=2)
    bar.on_epoch_end(0, {"loss": 0.5, "mae": 0.25, "val_mae": 0.25, "val_loss": 0.5})
    lines = made.getvalue().splitlines()
    assert max(map(len, lines)) <= 40
    joined = " - ".join(line.strip() for line in lines)
    assert joined.endswith("s - loss: 0.5000 - mae: 0.2500 - val_loss: 0.5000 - val_mae: 0.2500")


def test_without_a_number_of_batches_there_is_a_count(monkeypatch):
    terminal = on_terminal(monkeypatch)
    bar = callbacks.ProgressBar(interval=0)
    bar.set_params({"epochs": 1, "steps": None})
    bar.on_epoch_begin(0)
    bar.on_train_batch_end(6, {"loss": 1.0})
    bar._close("", None)
    assert re.search(r"^Epoch 1/1 7 batches 00:00, loss: 1.0000$", terminal.frames()[-1].rstrip())


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: callbacks.ReduceLROnPlateau(factor=1.0), "factor of ReduceLROnPlateau must be"),
        (lambda: callbacks.EarlyStopping(mode="up"), "mode of EarlyStopping must be 'auto', 'min'"),
        (lambda: callbacks.ModelCheckpoint("x", save_freq=0), "save_freq of ModelCheckpoint must"),
        (lambda: callbacks.BackupAndRestore("x", save_freq="b"), "save_freq of BackupAndRestore"),
        (lambda: callbacks.TensorBoard(update_freq="e"), "update_freq of TensorBoard must be"),
    ],
)
def test_bad_settings_are_refused(make, text):
    """By name."""
    with pytest.raises(ValueError, match=text):
        make()
