"""`fit`, `evaluate`, `predict`: bit-equal to a loop by hand, and equal to Keras."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from fgraph import metrics
from fgraph.callbacks import Callback, LambdaCallback
from fgraph.training import History, Trainer


class Net(Trainer, nn.Sequential):
    """A stack of modules with the trainer."""


class Heads(Trainer, nn.Module):
    """Two inputs and two outputs, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(4, 3)
        self.right = nn.Linear(2, 1)

    def forward(self, a, b):
        """Returns class probabilities and one probability."""
        return {"kind": self.left(a).softmax(-1), "odd": self.right(b).sigmoid()}


def make_net(classes: int = 3) -> Net:
    """A small classifier that gives logits."""
    return Net(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, classes))


def make_data(n: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs `(n, 4)` and labels `(n,)`."""
    x = torch.randn(n, 4)
    return x, x[:, :3].argmax(-1)


def test_fit_is_bit_equal_to_the_loop_by_hand():
    """Same order, same steps, and figures that are means weighted by batch size."""
    x, y = make_data()
    net = make_net()
    twin = copy.deepcopy(net)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    torch.manual_seed(7)
    expected = {"loss": [], "accuracy": []}
    for _ in range(3):
        total, right = 0.0, 0
        for rows in torch.randperm(50).split(16):
            out = twin(x[rows])
            loss = F.cross_entropy(out, y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
            right += (out.argmax(-1) == y[rows]).sum().item()
        expected["loss"].append(total / 50)
        expected["accuracy"].append(right / 50)
    torch.manual_seed(7)
    net.compile(torch.optim.SGD(net.parameters(), lr=0.1), nn.CrossEntropyLoss(), ["accuracy"])
    history = net.fit(x, y, batch_size=16, epochs=3, verbose=0)
    for name, values in expected.items():
        assert history.history[name] == pytest.approx(values, rel=1e-12)
        assert all(type(value) is float for value in history.history[name])
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


def test_same_seed_gives_the_same_run():
    """Bit for bit, with dropout and shuffling."""
    x, y = make_data()
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        net = Net(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        net.compile("rmsprop", nn.CrossEntropyLoss())
        history = net.fit(x, y, epochs=3, batch_size=8, verbose=0).history
        runs.append((history, [p.detach().clone() for p in net.parameters()]))
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(p, q) for p, q in zip(runs[0][1], runs[1][1], strict=True))


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
@pytest.mark.parametrize("weights", [None, "sample", "class"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_run_equals_keras(keras, optimizer, weights):
    """Three epochs with validation: every figure under the same name, in the same order."""
    x, y = (t.numpy() for t in make_data(70))
    theirs = keras.Sequential(
        [keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(3, activation="softmax")]
    )
    theirs.build((None, 4))
    net = Net(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3), nn.Softmax(-1))
    for linear, (kernel, bias) in zip(
        (net[0], net[2]), (layer.get_weights() for layer in theirs.layers), strict=True
    ):
        linear.weight.data, linear.bias.data = torch.tensor(kernel.T), torch.tensor(bias)
    extra = {
        None: {},
        "sample": {"sample_weight": np.linspace(0, 2, 70, dtype="float32")},
        "class": {"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}},
    }[weights]
    histories = []
    for model in (theirs, net):
        model.compile(
            optimizer,
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            weighted_metrics=["accuracy", "sparse_categorical_crossentropy"],
        )
        run = model.fit(
            x, y, batch_size=16, epochs=3, shuffle=False, validation_split=0.2, verbose=0, **extra
        )
        histories.append(run.history)
    assert list(histories[1]) == list(histories[0])
    for name, values in histories[0].items():
        assert histories[1][name] == pytest.approx(values, rel=2e-4, abs=1e-5), name
    ours, expected = (m.evaluate(x, y, verbose=0, return_dict=True) for m in (net, theirs))
    assert ours == pytest.approx(expected, rel=2e-4, abs=1e-5)
    np.testing.assert_allclose(
        net.predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=1e-3, atol=1e-4
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_figures_of_several_outputs_equal_keras(keras):
    """Names, order and numbers of losses, metrics and weighted metrics."""
    x, kinds = make_data(40)
    odd = (x[:, :1] > 0).float()
    a, b = keras.Input((4,)), keras.Input((2,))
    left = keras.layers.Dense(3, activation="softmax", name="kind")
    right = keras.layers.Dense(1, activation="sigmoid", name="odd")
    theirs = keras.Model([a, b], [left(a), right(b)])
    net = Heads()
    for layer, linear in ((left, net.left), (right, net.right)):
        layer.set_weights([linear.weight.detach().T.numpy(), linear.bias.detach().numpy()])
    settings = {
        "loss": {"kind": "sparse_categorical_crossentropy", "odd": "binary_crossentropy"},
        "loss_weights": {"kind": 1.0, "odd": 0.2},
        "metrics": {"odd": ["mse", "accuracy"], "kind": ["accuracy"]},
        "weighted_metrics": {"odd": ["mae"], "kind": ["accuracy"]},
    }
    inputs, targets = [x.numpy(), x[:, :2].numpy()], [kinds.numpy(), odd.numpy()]
    for model in (theirs, net):
        model.compile("sgd", **settings)
    keras_run = theirs.fit(inputs, targets, shuffle=False, verbose=0, epochs=2).history
    # Keras sorts the keys only; the list of `evaluate` has an order of its own
    run = net.fit(inputs, targets, shuffle=False, verbose=0, epochs=2).history
    assert list(run) == list(keras_run)
    for name, values in keras_run.items():
        assert run[name] == pytest.approx(values, rel=1e-4), name
    ours = net.evaluate(inputs, targets, verbose=0)
    assert ours == pytest.approx(theirs.evaluate(inputs, targets, verbose=0), rel=1e-4)


def _both(n: int = 24) -> tuple[dict, dict]:
    x, kinds = make_data(n)
    return {"a": x, "b": x[:, :2]}, {"kind": kinds, "odd": (x[:, :1] > 0).float()}


def _compiled_heads() -> Heads:
    torch.manual_seed(1)
    net = Heads()
    net.compile(
        "sgd",
        {"kind": "sparse_categorical_crossentropy", "odd": "bce"},
        metrics={"odd": ["accuracy"]},
    )
    return net


class Rows(Dataset):
    """A map-style data set of one input."""

    def __len__(self):
        return 20

    def __getitem__(self, i):
        return torch.full((4,), i / 20), torch.tensor(i % 3)


class Stream(IterableDataset):
    """The same rows, one after another."""

    def __iter__(self):
        rows = Rows()
        return (rows[i] for i in range(20))


def _generator(batches: int = 4):
    rows = Rows()
    for b in range(batches):
        samples = [rows[i] for i in range(5 * b, 5 * b + 5)]
        yield tuple(torch.stack(column) for column in zip(*samples, strict=True))


ONE_INPUT = {
    "tensors": lambda: (torch.stack([Rows()[i][0] for i in range(20)]), torch.arange(20) % 3),
    "arrays": lambda: (
        np.stack([Rows()[i][0].numpy() for i in range(20)]).astype("float64"),
        np.arange(20, dtype="int32") % 3,
    ),
    "data set": lambda: (Rows(), None),
    "iterable data set": lambda: (Stream(), None),
    "loader": lambda: (DataLoader(Rows(), batch_size=5), None),
    "tensor data set": lambda: (
        TensorDataset(torch.stack([Rows()[i][0] for i in range(20)]), torch.arange(20) % 3),
        None,
    ),
    "generator": lambda: (_generator(), None),
    "list of numpy batches": lambda: (
        (tuple(t.numpy() for t in batch) for batch in _generator()),
        None,
    ),
}


@pytest.mark.parametrize("kind", ONE_INPUT)
def test_every_kind_of_data_gives_the_same_run(kind):
    """Unshuffled, batches of five."""
    results = []
    for name in ("tensors", kind):
        torch.manual_seed(2)
        net = make_net()
        net.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        net.append(nn.Softmax(-1))
        x, y = ONE_INPUT[name]()
        own = name in ("loader", "generator", "list of numpy batches")
        run = net.fit(x, y, batch_size=None if own else 5, shuffle=False, verbose=0)
        results.append(run.history)
    assert results[0]["loss"] == pytest.approx(results[1]["loss"], rel=1e-6)
    assert results[0]["accuracy"] == results[1]["accuracy"]


@pytest.mark.parametrize(
    "arrange",
    [
        lambda x, y: (x, y),
        lambda x, y: (list(x.values()), list(y.values())),
        lambda x, y: (tuple(x.values()), tuple(y.values())),
        lambda x, y: (dict(reversed(x.items())), dict(reversed(y.items()))),
        lambda x, y: (list(x.values()), y),
        lambda x, y: (DataLoader([({k: v[i] for k, v in x.items()}, {k: v[i] for k, v in y.items()})
                                  for i in range(24)], batch_size=8), None),
        lambda x, y: (DataLoader([{k: v[i] for k, v in (x | y).items()} for i in range(24)],
                                 batch_size=8), None),
    ],
    ids=["dicts", "lists", "tuples", "reordered", "mixed", "loader of pairs", "loader of dicts"],
)  # fmt: skip
def test_structures_of_inputs_and_targets_are_one_thing(arrange):
    """By name or by place."""
    x, y = _both()
    expected = _compiled_heads().fit(x, y, batch_size=8, shuffle=False, verbose=0).history
    x, y = arrange(x, y)
    size = None if isinstance(x, DataLoader) else 8
    assert (
        _compiled_heads().fit(x, y, batch_size=size, shuffle=False, verbose=0).history == expected
    )


def test_loss_weights_weigh_the_sum_and_not_the_parts():
    """`loss` is the weighted sum, `<output>_loss` the output's own."""
    x, y = _both()
    net = Heads()
    net.compile(
        "sgd",
        ["sparse_categorical_crossentropy", "bce"],
        loss_weights=[1.0, 0.25],
    )
    figures = net.evaluate(x, y, verbose=0, return_dict=True)
    with torch.no_grad():
        out = net(**x)
    kind = F.nll_loss(out["kind"].log(), y["kind"]).item()
    odd = F.binary_cross_entropy(out["odd"], y["odd"]).item()
    assert figures == pytest.approx(
        {"kind_loss": kind, "odd_loss": odd, "loss": kind + 0.25 * odd}, rel=1e-5
    )


def test_an_output_may_have_no_loss():
    """Only the others' targets are needed."""
    x, y = _both()
    net = Heads()
    net.compile("sgd", {"kind": "sparse_categorical_crossentropy", "odd": None})
    before = net.right.weight.detach().clone()
    run = net.fit(x, {"kind": y["kind"]}, verbose=0)
    assert list(run.history) == ["loss"]
    assert torch.equal(net.right.weight, before)


def test_regularisers_are_part_of_the_loss():
    """A model's `losses` are added in training."""

    class Regularised(Net):
        @property
        def losses(self):
            return [0.1 * p.square().sum() for p in self.parameters()]

    x, y = make_data()
    net = Regularised(nn.Linear(4, 3))
    net.compile("sgd", nn.CrossEntropyLoss())
    expected = F.cross_entropy(net(x), y) + sum(net.losses)
    assert net.test_on_batch(x, y) == pytest.approx(expected.item(), rel=1e-6)


def test_steps_can_be_overridden():
    """A step of one's own gives its figures as a dict."""

    class Own(Net):
        def train_step(self, batch):
            loss = (self(batch.x) - 1).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            return {"loss": loss, "double": 2 * loss}

    net = Own(nn.Linear(4, 1))
    net.compile("sgd")
    run = net.fit(make_data()[0], verbose=0, epochs=2).history
    assert run["double"] == pytest.approx([2 * value for value in run["loss"]])
    assert run["loss"][1] < run["loss"][0]


def test_compute_loss_can_be_overridden():
    """It gets a tensor for a single output."""

    class Own(Net):
        def compute_loss(self, x, y, y_pred, sample_weight=None, logits=None):
            return (y_pred - y).abs().sum()

    net = Own(nn.Linear(4, 1))
    net.compile("sgd")
    x, y = torch.randn(5, 4), torch.randn(5, 1)
    assert net.test_on_batch(x, y) == pytest.approx((net(x) - y).abs().sum().item())


def test_train_on_batch_is_one_step():
    """And returns the figures of this batch alone."""
    x, y = make_data()
    net = make_net()
    twin = copy.deepcopy(net)
    net.compile(torch.optim.SGD(net.parameters(), lr=0.1), nn.CrossEntropyLoss(), ["accuracy"])
    for rows in (slice(0, 20), slice(20, 50)):
        out = twin(x[rows])
        loss = F.cross_entropy(out, y[rows])
        right = (out.argmax(-1) == y[rows]).float().mean().item()
        assert net.train_on_batch(x[rows], y[rows]) == pytest.approx([loss.item(), right])
        twin.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in twin.parameters():
                p -= 0.1 * p.grad
        torch.testing.assert_close(net[0].weight, twin[0].weight)
    figures = net.test_on_batch(x, y, return_dict=True)
    assert figures["loss"] == pytest.approx(F.cross_entropy(twin(x), y).item(), rel=1e-5)


def test_predict_keeps_order_structure_and_modes():
    """numpy arrays; dropout off; the modes of all modules as before."""
    net = Net(nn.Linear(4, 3), nn.Dropout(0.9))
    net[1].eval()
    x, _ = make_data(33)
    np.testing.assert_allclose(
        net.predict(x, batch_size=8, verbose=0), net[0](x).detach().numpy(), rtol=1e-6
    )
    assert net.training
    assert not net[1].training
    outputs = Heads().predict({"a": x, "b": x[:, :2]}, verbose=0)
    assert {name: value.shape for name, value in outputs.items()} == {
        "kind": (33, 3),
        "odd": (33, 1),
    }
    np.testing.assert_allclose(net.predict_on_batch(x), net.predict(x, verbose=0), rtol=1e-5)


def test_predict_of_a_view_of_the_input_is_not_overwritten():
    """A model that returns its input."""
    net = Net(nn.Identity())
    x = torch.arange(40.0).view(20, 2)
    np.testing.assert_array_equal(net.predict(x, batch_size=3, verbose=0), x.numpy())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_modes_are_restored_after_an_error(error):
    """Also after Ctrl-C."""

    def fail(batch, logs):
        raise error

    net = make_net().eval()
    net[0].train()
    net.compile("sgd", nn.CrossEntropyLoss())
    with pytest.raises(error):
        net.fit(*make_data(), verbose=0, callbacks=[LambdaCallback(on_train_batch_end=fail)])
    assert [m.training for m in net] == [True, False, False]


def test_validation_uses_the_end_of_the_arrays():
    """As Keras: the last share, before shuffling."""
    x, y = make_data(40)
    net = make_net()
    net.compile("sgd", nn.CrossEntropyLoss())
    run = net.fit(x, y, validation_split=0.25, epochs=1, verbose=0)
    assert run.history["val_loss"][0] == pytest.approx(
        net.evaluate(x[30:], y[30:], verbose=0), rel=1e-6
    )


def test_validation_frequency():
    """Every so many epochs, or after those listed."""
    x, y = make_data()
    for frequency, count in ((2, 2), ([1, 4, 5], 3)):
        net = make_net()
        net.compile("sgd", nn.CrossEntropyLoss())
        run = net.fit(x, y, validation_data=(x, y), validation_freq=frequency, epochs=5, verbose=0)
        assert len(run.history["val_loss"]) == count


def test_steps_per_epoch_goes_through_all_data_before_it_repeats():
    """The next epoch takes the batches that the last one left."""
    seen = []

    class Watching(Net):
        def train_step(self, batch):
            seen.extend(batch.x[:, 0].tolist())
            return super().train_step(batch)

    net = Watching(nn.Linear(1, 1))
    net.compile("sgd", "mse")
    x = torch.arange(12.0).view(-1, 1)
    net.fit(x, x, batch_size=2, steps_per_epoch=3, epochs=4, verbose=0)
    first, second = seen[:12], seen[12:]
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


def test_initial_epoch_numbers_the_epochs():
    """`epochs` is the number to stop before."""
    net = make_net()
    net.compile("sgd", nn.CrossEntropyLoss())
    run = net.fit(*make_data(), epochs=5, initial_epoch=3, verbose=0)
    assert isinstance(run, History)
    assert run.epoch == [3, 4]
    assert run.params == {"verbose": 0, "epochs": 5, "steps": 2}


def test_losses_and_metrics_are_no_submodules():
    """They would add keys to `state_dict`."""
    torchmetrics = pytest.importorskip("torchmetrics")
    net = make_net()
    keys, children = list(net.state_dict()), len(list(net.modules()))
    weights = torch.tensor([1.0, 2.0, 3.0])
    net.compile(
        "adam",
        nn.CrossEntropyLoss(weight=weights),
        metrics=[torchmetrics.Accuracy(task="multiclass", num_classes=3)],
    )
    net.fit(*make_data(), verbose=0)
    assert list(net.state_dict()) == keys
    assert len(list(net.modules())) == children


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_go_on_where_the_model_was(copied):
    """Optimizer state included, and separate from the original."""
    x, y = make_data()
    net = make_net()
    net.compile("adam", nn.CrossEntropyLoss(), metrics=["accuracy"])
    net.fit(x, y, shuffle=False, verbose=0)
    twin = copied(net)
    for model in (net, twin):
        model.fit(x, y, shuffle=False, epochs=2, verbose=0)
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)
        assert p is not q


def test_callbacks_may_copy_the_model_in_a_run():
    """Nothing of a run that is going on belongs to a copy."""
    copies = []

    class Copying(Callback):
        def on_train_batch_end(self, batch, logs=None):
            copies.append(copy.deepcopy(self.model))

    net = make_net()
    net.compile("adam", nn.CrossEntropyLoss())
    net.fit(*make_data(), verbose=0, callbacks=[Copying()])
    assert torch.equal(copies[-1][0].weight, net[0].weight)


def test_frozen_parameters_stay():
    """Freezing works after `compile` too: the optimizer is made by the first `fit`."""
    net = make_net()
    net.compile("adam", nn.CrossEntropyLoss())
    net[0].requires_grad_(False)
    before = net[0].weight.clone()
    net.fit(*make_data(), verbose=0)
    assert torch.equal(net[0].weight, before)
    assert len(net.optimizer.param_groups[0]["params"]) == 2


def test_keras_style_metric_of_ones_own():
    """`update_state`, `result` and `reset_state` are enough."""

    class Count(metrics.Metric):
        def __init__(self):
            super().__init__("count")
            self.n = 0

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.n += len(y_true)

        def result(self):
            return self.n

        def reset_state(self):
            self.n = 0

    net = make_net()
    net.compile("sgd", nn.CrossEntropyLoss(), metrics=[Count()])
    run = net.fit(*make_data(50), epochs=2, verbose=0)
    assert run.history["count"] == [50.0, 50.0]


def test_torchmetrics_collections_give_all_their_figures():
    """One key for each."""
    torchmetrics = pytest.importorskip("torchmetrics")
    members = {
        "right": torchmetrics.Accuracy(task="multiclass", num_classes=3, average="micro"),
        "f1": torchmetrics.F1Score(task="multiclass", num_classes=3),
    }
    net = make_net()
    net.compile("sgd", nn.CrossEntropyLoss(), metrics=[torchmetrics.MetricCollection(members)])
    x, y = make_data()
    figures = net.evaluate(x, y, verbose=0, return_dict=True)
    assert set(figures) == {"loss", "right", "f1"}
    assert figures["right"] == pytest.approx((net(x).argmax(-1) == y).float().mean().item())


def test_memory_mapped_arrays_stay_on_disk(tmp_path):
    """Rows are read batch by batch, from an array that cannot be written to."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(40, 4)))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    net = make_net(1)
    net.compile("sgd", "mse")
    run = net.fit(x, np.ones((40, 1)), verbose=0, validation_split=0.5)
    assert run.history["loss"][0] > 0
    np.testing.assert_allclose(
        net.predict(x, verbose=0), net(torch.tensor(x).float()).detach().numpy(), rtol=1e-5
    )


def test_tensors_keep_their_dtype_and_arrays_follow_the_model():
    """A float64 model takes float64 arrays as they are."""
    net = make_net(1).double()
    net.compile("sgd", "mse")
    assert net.predict(np.ones((3, 4)), verbose=0).dtype == np.float64
    assert net.predict(torch.ones(3, 4, dtype=torch.float64), verbose=0).dtype == np.float64


def test_left_over_gradients_are_not_used():
    """Those of a loop by hand, or of a run that failed."""
    x, y = make_data()
    weights = []
    for leave in (False, True):
        torch.manual_seed(1)
        net = make_net()
        net.compile("sgd", nn.CrossEntropyLoss())
        if leave:
            net(x).sum().backward()
        net.train_on_batch(x, y)
        if leave:
            net(x).sum().backward()
        net.fit(x, y, shuffle=False, verbose=0)
        weights.append(net[0].weight.detach())
    assert torch.equal(*weights)


def test_parameters_that_become_trainable_later_are_named():
    """The optimizer does not hold them: as Keras, it asks for another `compile`."""
    net = make_net()
    net[0].requires_grad_(False)
    net.compile("sgd", nn.CrossEntropyLoss())
    net.fit(*make_data(), verbose=0)
    net[0].requires_grad_(True)
    with pytest.warns(
        UserWarning, match=r"0\.weight, 0\.bias require gradients but are not in the optimizer"
    ):
        net.fit(*make_data(), verbose=0)


class KeepsPositions(Trainer, nn.Module):
    """Makes a tensor at its first call and keeps it, as rotary embeddings do."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.kept = None

    def forward(self, x):
        if self.kept is None:
            self.kept = torch.linspace(0, 1, 2)
        return self.linear(x) * self.kept


class Forces(Trainer, nn.Module):
    """Returns the gradient of an energy, as models of physics do."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Linear(4, 1)

    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energy = torch.tanh(self.energy(x)).sum()
            return torch.autograd.grad(energy, x, create_graph=self.training)[0]


@pytest.mark.parametrize(("kind", "width"), [(KeepsPositions, 2), (Forces, 4)])
def test_predictions_come_before_and_after_training(kind, width):
    """Tensors that a module keeps can be trained with; gradients within a forward are computed."""
    x, y = torch.randn(6, 4), torch.randn(6, width)
    net = kind()
    net.compile("sgd", "mse")
    before = net.predict(x, verbose=0)
    torch.testing.assert_close(torch.from_numpy(before), net.eval()(x).detach())
    net.train()
    net.fit(x, y, epochs=2, verbose=0, validation_data=(x, y))
    after = net.predict(x, verbose=0)
    assert not np.allclose(before, after)
    torch.testing.assert_close(torch.from_numpy(after), net.eval()(x).detach())
