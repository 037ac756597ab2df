"""One batch: helpers for overridden steps, losses added by hand, precision, accumulation."""

from __future__ import annotations

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fgraph import Input, Model, layers, losses, optimizers
from fgraph.callbacks import Callback, LambdaCallback
from fgraph.training import Trainer


class Net(Trainer, nn.Sequential):
    """A stack of modules with the trainer."""


X = torch.randn(40, 4)
Y = X[:, :3].argmax(-1)


def _net(cls=Net, **settings):
    torch.manual_seed(0)
    net = cls(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    defaults = {"optimizer": "sgd", "loss": nn.CrossEntropyLoss(), "metrics": ["accuracy"]}
    net.compile(**(defaults | settings))
    return net


def _weights(net):
    return [p.detach().clone() for p in net.parameters()]


class ByHelpers(Net):
    """A step of one's own that does what the trainer's does."""

    def train_step(self, batch):
        result = self.forward_batch(batch)
        self.backward(result.loss)
        self.optimizer_step()
        return result.loss


SETTINGS = {
    "plain": {},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
    "accumulation": {"gradient_accumulation_steps": 3},
    "clipping": {"clip_grad_norm": 0.1},
    "schedule": {"optimizer": optimizers.SGD(optimizers.schedules.CosineDecay(0.5, 10))},
    "scheduler": {"scheduler": (lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.5), "batch")},
}


@pytest.mark.parametrize("case", SETTINGS)
def test_helpers_do_what_compile_was_told(case):
    """Bit for bit."""
    runs = []
    for cls in (Net, ByHelpers):
        net = _net(cls, **SETTINGS[case])
        torch.manual_seed(1)
        runs.append((net.fit(X, Y, batch_size=8, epochs=2, verbose=0).history, _weights(net)))
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(p, q) for p, q in zip(runs[0][1], runs[1][1], strict=True))


def test_a_step_that_returns_a_dict_logs_its_means():
    """And the metrics of `forward_batch`; without that call metrics are left out, not zero."""

    class Own(Net):
        def train_step(self, batch):
            result = self.forward_batch(batch)
            self.backward(result.loss)
            self.optimizer_step()
            return {"loss": result.loss, "double": 2 * result.loss.item()}

    class Bare(Net):
        def train_step(self, batch):
            return {"loss": torch.ones(())}

    run = _net(Own).fit(X, Y, batch_size=7, verbose=0).history
    assert run["double"] == pytest.approx([2 * value for value in run["loss"]], rel=1e-6)
    assert set(run) == {"loss", "double", "accuracy"}
    assert _net(Bare).fit(X, Y, verbose=0).history == {"loss": [1.0]}


def test_a_step_that_returns_nothing_says_what_is_missing():
    """Not at the end of the epoch."""

    class Own(Net):
        def train_step(self, batch):
            self.forward_batch(batch)

    with pytest.raises(TypeError, match="train_step and test_step of Own must return the loss"):
        _net(Own).fit(X, Y, verbose=0)


# ---- compute_loss


class KerasLoss(Net):
    """As Keras documents it."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)
        return loss + (0.5 if training else 0.25)


class OldKerasLoss(Net):
    """Without the newer argument."""

    def compute_loss(self, x, y, y_pred, sample_weight):
        return super().compute_loss(x, y, y_pred, sample_weight) + 0.5


class OwnLoss(Net):
    """Without any loss in compile."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return (y_pred - x[:, :3]).square().mean()


def test_compute_loss_may_be_overridden_as_in_keras():
    """Its extra is in the log, `training` says which step it is."""
    base = _net().evaluate(X, Y, verbose=0)[0]
    assert _net(KerasLoss).evaluate(X, Y, verbose=0)[0] == pytest.approx(base + 0.25)
    assert _net(KerasLoss).train_on_batch(X, Y)[0] == pytest.approx(base + 0.5)
    assert _net(OldKerasLoss).evaluate(X, Y, verbose=0)[0] == pytest.approx(base + 0.5)
    net = _net(OwnLoss, loss=None, metrics=None)
    expected = F.mse_loss(net(X), X[:, :3]).item()
    assert net.fit(X, batch_size=40, verbose=0).history["loss"] == pytest.approx([expected])


def test_compute_loss_gets_outputs_and_targets_in_their_structure():
    """As Keras passes them; each output's loss is logged all the same."""
    seen = []

    class Own(Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            seen.append((type(y), type(y_pred), list(y_pred)))
            return super().compute_loss(x, y, y_pred, sample_weight) * 2

    x = Input((4,))
    model = Own(x, {"a": layers.Dense(1)(x), "b": layers.Dense(1)(x)})
    model.compile("sgd", "mse")
    found = model.evaluate(X, {"b": X[:, :1], "a": X[:, 1:2]}, verbose=0, return_dict=True)
    assert set(seen[0][2]) == {"a", "b"}
    assert found["loss"] == pytest.approx(2 * (found["a_loss"] + found["b_loss"]))


def test_overridden_losses_still_use_the_logits():
    """They stay with the outputs."""

    class Own(Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return super().compute_loss(x, y, y_pred, sample_weight)

    x = Input((1,))
    model = Own(x, layers.Dense(2, activation="softmax", kernel_initializer="ones")(x))
    with torch.no_grad():
        model.layers[1].module.bias.copy_(torch.tensor([500.0, 0.0]))
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert model.evaluate(torch.zeros(1, 1), torch.tensor([1]), verbose=0) == pytest.approx(500.0)


@pytest.mark.parametrize("value", [None, 3.0])
def test_losses_must_return_tensors(value):
    """Named, before the first step."""

    def nothing(y_true, y_pred):
        return value

    with pytest.raises(TypeError, match=r"loss nothing returned .*; it must return a tensor"):
        _net(loss=nothing).fit(X, Y, verbose=0)


# ---- add_loss


class Inner(Trainer, nn.Module):
    """Adds a loss wherever it is used."""

    def forward(self, x):
        """Return the input."""
        self.add_loss(x.square().mean())
        return x


class Adding(Trainer, nn.Module):
    """Adds a loss of its own, and uses another module that does, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.inner = nn.Linear(4, 3), Inner()

    def forward(self, x):
        """Return logits."""
        out = self.inner(self.inner(self.linear(x)))
        self.add_loss(0.1 * out.abs().sum())
        return out


def test_added_losses_are_minimised():
    """Those of modules inside too, each time they are called; in `evaluate` as well."""
    net = Adding()
    net.compile("sgd", nn.CrossEntropyLoss())
    out = net.linear(X)
    expected = F.cross_entropy(out, Y) + 2 * out.square().mean() + 0.1 * out.abs().sum()
    assert net.evaluate(X, Y, batch_size=40, verbose=0) == pytest.approx(expected.item(), rel=1e-5)
    twin = copy.deepcopy(net.linear)
    net.compile(torch.optim.SGD(net.parameters(), 0.1), nn.CrossEntropyLoss())
    net.train_on_batch(X, Y)
    expected.backward()
    torch.testing.assert_close(net.linear.weight.detach(), twin.weight - 0.1 * _grad_of(twin, X, Y))


def _grad_of(linear, x, y):
    out = linear(x)
    total = F.cross_entropy(out, y) + 2 * out.square().mean() + 0.1 * out.abs().sum()
    return torch.autograd.grad(total, linear.weight)[0]


def test_added_losses_are_enough():
    """No other loss, no targets."""
    net = Adding()
    net.compile("sgd")
    run = net.fit(X, epochs=2, verbose=0)
    assert run.history["loss"][1] < run.history["loss"][0]


def test_added_losses_of_a_loop_by_hand_are_not_forgotten_in_silence():
    """There is no step that they would belong to."""
    net = Adding()
    assert net.losses == []
    net(X)
    with pytest.raises(RuntimeError, match="collected in fit and evaluate only"):
        _ = net.losses


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (torch.ones(3), ValueError, r"expects a scalar, got shape \(3,\)"),
        (1.0, TypeError, "add_loss expects a scalar tensor, got float"),
    ],
)
def test_what_cannot_be_added_is_refused(value, error, text):
    """With what to write instead."""
    with pytest.raises(error, match=text):
        Inner().add_loss(value)


# ---- precision


class Constant(Trainer, nn.Module):
    """Returns 1000 for every row, computed in the precision of autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.linear.weight, 1000.0)

    def forward(self, x):
        """Return 1000 times ones."""
        return self.linear(x)


HALF_LOSSES = {
    "mse": "mse",
    "class": losses.MeanSquaredError(),
    "torch module": nn.MSELoss(),
    "torch function": F.mse_loss,
    "function": lambda y_true, y_pred: (y_true - y_pred).square(),
    "torch order": lambda prediction, target: (prediction - target).square().mean(),
}


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", HALF_LOSSES)
def test_targets_are_not_rounded(kind, precision):
    """1001 is 1000 in bfloat16."""
    net = Constant()
    net.compile("sgd", HALF_LOSSES[kind], metrics=["mae"], precision=precision)
    y = torch.full((4, 1), 1001.0)
    assert net.evaluate(torch.ones(4, 1), y, verbose=0) == [1.0, 1.0]
    assert net.test_on_batch(torch.ones(4, 1), y) == [1.0, 1.0]


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss(), nn.HuberLoss()])
def test_torch_losses_get_what_autocast_gives_them(loss):
    """Equal to torch's own recipe."""
    y = Y if isinstance(loss, nn.CrossEntropyLoss) else F.one_hot(Y, 3).float()
    net = _net(loss=loss, metrics=None, precision="bfloat16")
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        out = net(X)
        assert out.dtype == torch.bfloat16
        expected = loss(out, y).item()
    assert net.evaluate(X, y, batch_size=40, verbose=0) == pytest.approx(expected, rel=1e-6)


def test_float16_without_a_scaler_on_request():
    """Keras's `auto_scale_loss=False`."""
    net = _net(precision="float16", auto_scale_loss=False)
    net.fit(X, Y, verbose=0)
    assert net._trainer.scaler is None


# ---- accumulation


def _by_hand(groups):
    """One step of SGD on the mean of the batches in each group."""
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for group in groups:
        optimizer.zero_grad()
        for rows in group:
            (F.cross_entropy(net(X[rows]), Y[rows]) / len(group)).backward()
        optimizer.step()
    return _weights(net)


ROWS = [slice(8 * i, 8 * i + 8) for i in range(5)]


@pytest.mark.parametrize("known_length", [True, False])
def test_the_last_window_is_the_mean_of_the_batches_that_are_left(known_length):
    """Also where nobody knew which batch would be the last."""
    batches = [(X[rows], Y[rows]) for rows in ROWS]
    data = torch.utils.data.DataLoader(batches, batch_size=None) if known_length else iter(batches)
    net = _net(optimizer=optimizers.SGD(0.1), gradient_accumulation_steps=3)
    net.fit(data, verbose=0)
    for p, q in zip(_weights(net), _by_hand([ROWS[:3], ROWS[3:]]), strict=True):
        torch.testing.assert_close(p, q)


def test_stopping_within_a_window_steps_with_its_mean():
    """Not with a fraction of it."""

    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 3

    net = _net(optimizer=optimizers.SGD(0.1), gradient_accumulation_steps=3)
    net.fit(X, Y, batch_size=8, shuffle=False, verbose=0, callbacks=[Stop()])
    for p, q in zip(_weights(net), _by_hand([ROWS[:3], ROWS[3:4]]), strict=True):
        torch.testing.assert_close(p, q)


# ---- optimizers


def test_the_learning_rate_of_a_model_is_read_and_set_as_in_keras():
    """With Keras's names and torch's optimizers."""
    for optimizer in ("rmsprop", lambda params: torch.optim.Adam(params, lr=0.01)):
        net = _net(optimizer=optimizer)
        assert float(net.optimizer.learning_rate) == net.optimizer.param_groups[0]["lr"]
        net.optimizer.learning_rate = 0.0
        before = _weights(net)
        net.fit(X, Y, verbose=0)
        assert all(torch.equal(p, q) for p, q in zip(before, _weights(net), strict=True))


def test_an_optimizer_object_stays_what_it_is():
    """Found by identity and by class."""
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    net.compile(optimizer, nn.CrossEntropyLoss())
    assert net.optimizer is optimizer
    assert isinstance(optimizer, torch.optim.SGD)


def test_an_optimizer_of_another_model_is_refused():
    """It would train nothing."""
    net = _net(optimizer=torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1))
    with pytest.raises(ValueError, match="SGD holds no parameter of this Net, so it would train n"):
        net.fit(X, Y, verbose=0)


def test_parameters_that_an_optimizer_lacks_are_named_once():
    """Frozen ones are not missed."""
    net = _net()
    net.compile(torch.optim.SGD(net[2].parameters(), 0.1), nn.CrossEntropyLoss())
    with pytest.warns(UserWarning, match=r"0\.weight, 0\.bias require gradients but are not in"):
        net.fit(X, Y, verbose=0)
    net.fit(X, Y, verbose=0)
    net[0].requires_grad_(False)
    net.compile(torch.optim.SGD(net[2].parameters(), 0.1), nn.CrossEntropyLoss())
    net.fit(X, Y, verbose=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_moving_averages_become_the_weights_when_fit_ends(keras):
    """As in Keras; validation before that sees the weights themselves."""
    settings = {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.8}
    x, y = X.numpy(), Y.numpy()
    theirs = keras.Sequential([keras.layers.Dense(3, activation="softmax")])
    theirs.build((None, 4))
    z = Input((4,))
    ours = Model(z, layers.Dense(3, activation="softmax")(z))
    ours.set_weights(theirs.get_weights())
    histories = []
    for model, room in ((theirs, keras.optimizers), (ours, optimizers)):
        model.compile(room.SGD(**settings), "sparse_categorical_crossentropy")
        run = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0,
                        validation_data=(x, y))  # fmt: skip
        histories.append(run.history)
    for name, values in histories[0].items():
        assert histories[1][name] == pytest.approx(values, rel=1e-4)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-4, atol=1e-6)


# ---- logs


def test_batch_logs_are_a_real_dict():
    """Read when they are looked at, in whatever way."""
    seen = []

    class Looks(Callback):
        def on_train_batch_end(self, batch, logs=None):
            ways = [
                lambda: json.loads(json.dumps(logs)),
                lambda: logs.copy(),
                lambda: {**logs},
                lambda: dict(logs),
                lambda: logs | {},
                lambda: {name: logs[name] for name in logs},
                lambda: copy.deepcopy(logs),
                lambda: dict(logs.items()),
            ]
            assert isinstance(logs, dict)
            seen.append(ways[batch % len(ways)]())
            logs["mine"] = 1
            assert logs.pop("mine") == 1
            assert len(logs) == 2
            assert "{loss:.2f}".format(**logs)

    _net().fit(X, Y, batch_size=5, verbose=0, callbacks=[Looks()])
    assert len(seen) == 8
    for logs in seen:
        assert type(logs) is dict
        assert list(logs) == ["accuracy", "loss"]
        assert all(type(value) is float for value in logs.values())


def test_logs_that_are_kept_are_those_of_their_batch():
    """Though nobody looked at them then."""
    kept, read = [], []
    callbacks = [
        LambdaCallback(on_train_batch_end=lambda batch, logs: kept.append(logs)),
        LambdaCallback(on_train_batch_end=lambda batch, logs: read.append(dict(logs))),
    ]
    _net().fit(X, Y, batch_size=5, verbose=0, callbacks=callbacks[:1])
    _net().fit(X, Y, batch_size=5, verbose=0, callbacks=callbacks[1:])
    assert len({logs["loss"] for logs in kept}) == 8
    assert kept[-1].keys() == read[-1].keys()


def test_hooks_get_empty_logs_where_there_are_none():
    """A dict, so that `logs.get` works."""
    seen = {}

    class Looks(Callback):
        pass

    for name in [n for n in vars(Callback) if n.startswith("on_")]:
        setattr(Looks, name, lambda self, *args, _name=name, **_: seen.setdefault(_name, args[-1]))
    net = _net()
    net.fit(X, Y, verbose=0, callbacks=[Looks()])
    net.evaluate(X, Y, verbose=0, callbacks=[Looks()])
    net.predict(X, verbose=0, callbacks=[Looks()])
    assert all(isinstance(logs, dict) for logs in seen.values())
    assert seen["on_train_begin"] == seen["on_epoch_begin"] == seen["on_test_begin"] == {}


def _two_outputs(overridden):
    """A model with two outputs, a mask, a penalty and a loss for one of them in two parts."""

    class Stepping(Model):
        def train_step(self, batch):
            return super().train_step(batch)

        def test_step(self, batch):
            return super().test_step(batch)

    torch.manual_seed(1)
    x = Input((5, 3))
    masked = layers.Masking()(x)
    steps = layers.Dense(2, activation="sigmoid", kernel_regularizer="l2", name="steps")(masked)
    whole = layers.Dense(3, activation="softmax", name="whole")(layers.LSTM(4)(masked))
    model = (Stepping if overridden else Model)(x, {"steps": steps, "whole": whole})
    model.compile(
        "adam",
        {"steps": ["binary_crossentropy", "mse"], "whole": "sparse_categorical_crossentropy"},
        {"steps": ["accuracy", "mae"], "whole": ["accuracy"]},
        weighted_metrics={"whole": ["accuracy"], "steps": ["mae"]},
        loss_weights={"whole": 0.5},
        gradient_accumulation_steps=2,
    )
    return model


def test_steps_with_nothing_overridden_have_the_bits_of_those_called_one_by_one():
    """Losses, metrics, masks and weights in `fit`, `evaluate` and `train_on_batch`."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(22, 5, 3, generator=generator)
    x[::3, 2:] = 0
    y = {
        "steps": torch.rand(22, 5, 2, generator=generator).round(),
        "whole": torch.randint(3, (22,), generator=generator),
    }
    weight = {"whole": torch.rand(22, generator=generator)}
    found = []
    for overridden in (False, True):
        model = _two_outputs(overridden)
        torch.manual_seed(2)
        data = {"batch_size": 4, "sample_weight": weight, "verbose": 0}
        history = model.fit(x, y, epochs=2, validation_data=(x, y, weight), **data).history
        batch = model.train_on_batch(x[:3], {name: part[:3] for name, part in y.items()})
        found.append([history, model.evaluate(x, y, return_dict=True, **data), batch])
    assert found[0] == found[1]
    assert len(found[0][1]) == 3 + 2 + 1 + 2
