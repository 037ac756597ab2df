"""Everything that other trainers pass over in silence: a clear error before the first step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fgraph import Input, Model, layers
from fgraph.callbacks import EarlyStopping, LambdaCallback, ModelCheckpoint, ReduceLROnPlateau
from fgraph.training import Trainer


class Net(Trainer, nn.Sequential):
    """A stack of modules with the trainer."""


class Heads(Trainer, nn.Module):
    """Two outputs whose names are known before the first call."""

    output_names = ("kind", "odd")

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(4, 3)
        self.right = nn.Linear(4, 1)

    def forward(self, x):
        """Returns logits and a probability."""
        return self.left(x), self.right(x).sigmoid()


X = torch.randn(20, 4)
LABELS = torch.arange(20) % 3


def _net(units: int = 3, loss: object = "sparse_categorical_crossentropy", **settings: object):
    net = Net(nn.Linear(4, units), nn.Softmax(-1) if units > 1 else nn.Sigmoid())
    net.compile("sgd", loss, **settings)
    return net


def _fit(net, x=X, y=LABELS, **settings):
    return net.fit(x, y, verbose=0, **settings)


FIT = {
    "before compile": (
        lambda: Net(nn.Linear(4, 3)).fit(X, LABELS),
        RuntimeError,
        "fit before comp",
    ),
    "evaluate before compile": (
        lambda: Net(nn.Linear(4, 3)).evaluate(X, LABELS),
        RuntimeError,
        "evaluate before compile",
    ),
    "train_on_batch before compile": (
        lambda: Net(nn.Linear(4, 3)).train_on_batch(X, LABELS),
        RuntimeError,
        "train_on_batch bef",
    ),
    "no targets": (lambda: _net().fit(X, verbose=0), ValueError, "no targets"),
    "labels for one-hot rows": (
        lambda: _fit(_net(loss="categorical_crossentropy")),
        ValueError,
        "use sparse_categorical_crossentropy",
    ),
    "labels outside the classes": (
        lambda: _fit(_net(2)),
        ValueError,
        "labels from 0 to 2, but the output has 2 classes",
    ),
    "broadcasting": (
        lambda: _fit(_net(1, "mse"), y=torch.rand(20, 3)),
        ValueError,
        "would otherwise broadcast",
    ),
    "lengths": (lambda: _fit(_net(), y=LABELS[:19]), ValueError, "x has 20, y has 19"),
    "lengths of nested inputs": (
        lambda: _net().fit({"a": X, "b": X[:5]}, LABELS),
        ValueError,
        r"x\['b'\] has 5",
    ),
    "length of weights": (
        lambda: _fit(_net(), sample_weight=np.ones(3)),
        ValueError,
        "sample_weight has 3",
    ),
    "lengths before a split": (
        lambda: _fit(_net(), y=LABELS[:19], validation_split=0.5),
        ValueError,
        "y has 19",
    ),
    "empty": (lambda: _fit(_net(), X[:0], LABELS[:0]), ValueError, "no data: x, y is empty"),
    "empty loader": (
        lambda: _net().fit(DataLoader(TensorDataset(X, LABELS), 64, drop_last=True)),
        ValueError,
        "DataLoader has no batches",
    ),
    "empty generator in evaluate": (
        lambda: _net().evaluate(iter(()), verbose=0),
        ValueError,
        "evaluate was given no batch",
    ),
    "a single number": (
        lambda: _fit(_net(), torch.tensor(1.0), torch.tensor(1)),
        ValueError,
        "x is a single numb",
    ),
    "a list of numbers": (
        lambda: _fit(_net(), X, [1, 2, 3]),
        TypeError,
        r"y\[0\] must be a tensor or a numpy array",
    ),
    "strings": (
        lambda: _fit(_net(), np.array(["a", "b"]), LABELS[:2]),
        TypeError,
        "x holds values of dty",
    ),
    "batch_size 0": (lambda: _fit(_net(), batch_size=0), ValueError, "must be at least 1, got 0"),
    "batch_size 2.5": (
        lambda: _fit(_net(), batch_size=2.5),
        TypeError,
        "must be an integer, got 2",
    ),
    "negative epochs": (lambda: _fit(_net(), epochs=-1), ValueError, "epochs must be at least 0"),
    "steps_per_epoch 0": (
        lambda: _fit(_net(), steps_per_epoch=0),
        ValueError,
        "steps_per_epoch mu",
    ),
    "verbose 3": (
        lambda: _net().fit(X, LABELS, verbose=3),
        ValueError,
        "verbose must be 'auto', 0",
    ),
    "batch_size beside a loader": (
        lambda: _net().fit(DataLoader(TensorDataset(X, LABELS)), batch_size=4),
        ValueError,
        "batch_size was given beside a DataLoader",
    ),
    "targets beside a loader": (
        lambda: _net().fit(DataLoader(TensorDataset(X, LABELS)), LABELS),
        ValueError,
        "y was given beside a DataLoader",
    ),
    "split of a loader": (
        lambda: _net().fit(DataLoader(TensorDataset(X, LABELS)), validation_split=0.2),
        ValueError,
        "validation_split needs arrays, but x is a DataLoader",
    ),
    "split of 1": (lambda: _fit(_net(), validation_split=1.0), ValueError, r"must be in \[0, 1\)"),
    "split below 0": (lambda: _fit(_net(), validation_split=-0.1), ValueError, r"in \[0, 1\)"),
    "split that leaves nothing": (
        lambda: _fit(_net(), X[:2], LABELS[:2], validation_split=0.9),
        ValueError,
        "one part empty",
    ),
    "validation_data of one part": (
        lambda: _fit(_net(), validation_data=(X,)),
        ValueError,
        r"must be \(x, y\), .* tuple of 1",
    ),
    "class_weight of two outputs": (
        lambda: _heads(["mse", "mse"]).fit(X, [X[:, :3], X[:, :1]], class_weight={0: 1.0}),
        ValueError,
        "class_weight needs a model with one output",
    ),
    "class_weight as a list": (
        lambda: _fit(_net(), class_weight=[1, 2]),
        TypeError,
        "must be a dic",
    ),
    "nothing trainable": (
        lambda: _fit(_frozen()),
        ValueError,
        "nothing trainable in Net: all of its 2 parameters are frozen",
    ),
    "three targets for two outputs": (
        lambda: _heads(["mse", "mse"]).fit(X, [X, X, X]),
        ValueError,
        "y has 3 entries, but the mo",
    ),
    "unknown target name": (
        lambda: _heads(["mse", "mse"]).fit(X, {"kin": X[:, :3], "odd": X[:, :1]}),
        ValueError,
        "y: unknown output 'kin'; did you mean 'kind'",
    ),
    "missing target": (
        lambda: _heads(["mse", "mse"]).fit(X, {"kind": X[:, :3]}),
        ValueError,
        "no target for output 'odd'",
    ),
    "unknown argument": (
        lambda: _fit(_net(), epoch=3),
        TypeError,
        "unexpected keyword argument 'e",
    ),
    "monitored figure": (
        lambda: _fit(_net(), callbacks=[EarlyStopping("val_loss")]),
        ValueError,
        "EarlyStopping: unknown metric 'val_loss'.*there is no validation data",
    ),
    "monitored metric": (
        lambda: _fit(_net(metrics=["accuracy"]), callbacks=[ReduceLROnPlateau("acuracy")]),
        ValueError,
        "unknown metric 'acuracy'; did you mean 'accuracy'",
    ),
    "monitored best": (
        lambda: _fit(_net(), callbacks=[ModelCheckpoint("x.pt", "acc", save_best_only=True)]),
        ValueError,
        "ModelCheckpoint: unknown metric 'acc'",
    ),
    "no callback": (lambda: _fit(_net(), callbacks=[print]), TypeError, "callbacks must be fgraph"),
    "unknown hook": (lambda: LambdaCallback(on_epoch=print), TypeError, "unknown hook 'on_epoch'"),
    "loader of four": (
        lambda: _net().fit(iter([(X, LABELS, LABELS, X)]), verbose=0),
        ValueError,
        "a batch of 4 parts",
    ),
    "shuffle by batch": (
        lambda: _fit(_net(), shuffle="batch"),
        TypeError,
        "shuffle must be True or False, got 'batch'",
    ),
    "scipy's sparse inputs": (
        lambda: _fit(_net(), pytest.importorskip("scipy.sparse").csr_matrix(X.numpy())),
        TypeError,
        r"x is a sparse csr_matrix, .*pass x.toarray\(\)",
    ),
    "scipy's sparse batches": (
        lambda: _net().fit(
            iter([(pytest.importorskip("scipy.sparse").csr_matrix(X.numpy()), LABELS)]), verbose=0
        ),
        TypeError,
        r"x is a sparse csr_matrix, .*pass x.toarray\(\)",
    ),
    "torch's sparse inputs": (
        lambda: _fit(_net(), X.to_sparse()),
        TypeError,
        r"x is a sparse Tensor, .*pass x.to_dense\(\)",
    ),
    "tables of texts in a generator": (
        lambda: _net().fit(
            iter([(pytest.importorskip("pandas").DataFrame({"a": ["x"]}), LABELS[:1])]), verbose=0
        ),
        TypeError,
        "x holds values of dtype .*turn them into numbers",
    ),
    "weights that are not finite": (
        lambda: _fit(_net(), sample_weight=np.full(20, np.inf)),
        ValueError,
        "sample_weight holds values from inf to inf; weights must be finite",
    ),
    "negative weights": (
        lambda: _fit(_net(), sample_weight=-np.ones(20)),
        ValueError,
        "sample_weight holds values from -1 to -1; weights must be finite and not negative",
    ),
    "targets that are not finite": (
        lambda: _fit(_net(1, "mse"), y=np.full((20, 1), np.inf)),
        ValueError,
        "holds values that are not finite",
    ),
    "softmax over one unit": (
        lambda: _fit(_one_unit(), y=X[:, :1]),
        ValueError,
        "is a softmax over one unit, which is always 1: use a sigmoid",
    ),
    "a loss that returns nothing": (
        lambda: _fit(_net(1, lambda prediction, target: None), y=X[:, :1]),
        TypeError,
        "returned None; it must return a tensor",
    ),
    "an optimizer that is none": (
        lambda: _fit(_net_of(lambda parameters: None)),
        TypeError,
        "returned None for the model's parameters; it must return a torch optimizer",
    ),
    "a scheduler that is none": (
        lambda: _fit(_net(scheduler=lambda optimizer: None)),
        TypeError,
        "returned None for the optimizer; it must return a torch scheduler",
    ),
    "rows lost by the model": (lambda: _fit(_lossy()), ValueError, "has 1 rows for 20 targets"),
}


def _heads(loss, **settings):
    net = Heads()
    net.compile("sgd", loss, **settings)
    return net


def _one_unit():
    x = Input((4,))
    model = Model(x, layers.Dense(1, activation="softmax")(x))
    model.compile("sgd", "mse")
    return model


def _net_of(optimizer):
    net = Net(nn.Linear(4, 3))
    net.compile(optimizer, nn.CrossEntropyLoss())
    return net


def _frozen():
    net = _net()
    net.requires_grad_(False)
    return net


def _lossy():
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean(0, keepdim=True)

    net = Net(nn.Linear(4, 3), Mean())
    net.compile("sgd", "mse")
    return net


@pytest.mark.parametrize("case", FIT)
def test_fit_refuses(case):
    """Each mistake is named before the first step."""
    call, error, text = FIT[case]
    with pytest.raises(error, match=text):
        call()


COMPILE = {
    "optimizer": (lambda: _net_with("adm", "mse"), ValueError, "unknown optimizer 'adm'"),
    "loss": (lambda: _net_with("sgd", "msee"), ValueError, "unknown loss 'msee'; did you mean"),
    "loss in a dict": (lambda: _heads({"kind": "msee"}), ValueError, "unknown loss 'msee'"),
    "metric": (lambda: _net(metrics=["acuracy"]), ValueError, "unknown metric 'acuracy'"),
    "weighted metric": (lambda: _net(weighted_metrics=["auk"]), ValueError, "unknown metric 'auk'"),
    "number of losses": (
        lambda: _heads(["mse"]),
        ValueError,
        r"loss has 1 entries, .* 2 outputs \(kind, odd\)",
    ),
    "number of weights": (
        lambda: _heads("mse", loss_weights=[1, 2, 3]),
        ValueError,
        "loss_weights has 3 entries",
    ),
    "one weight for two": (
        lambda: _heads("mse", loss_weights=0.5),
        ValueError,
        "loss_weights is a single float",
    ),
    "number of metrics": (
        lambda: _heads("mse", metrics=["mae", "mse", "mape"]),
        ValueError,
        "metrics has 3 entries",
    ),
    "one metric for two": (
        lambda: _heads("mse", metrics="mae"),
        ValueError,
        "metrics is a single str",
    ),
    "output of a loss": (
        lambda: _heads({"kinds": "mse"}),
        ValueError,
        "loss: unknown output 'kinds'; did you mean",
    ),
    "output of a weight": (
        lambda: _heads("mse", loss_weights={"od": 1}),
        ValueError,
        "loss_weights: unknown output",
    ),
    "output of a metric": (
        lambda: _heads("mse", metrics={"x": "mae"}),
        ValueError,
        "metrics: unknown output 'x'",
    ),
    "argument": (
        lambda: _net(metric=["accuracy"]),
        TypeError,
        "unknown argument 'metric'; did you mean",
    ),
    "torch option": (
        lambda: _net(bakend="eager"),
        TypeError,
        "unknown argument 'bakend'; did you mean 'backend'",
    ),
    "precision": (lambda: _net(precision="half"), ValueError, "unknown precision 'half'"),
    "clipping": (
        lambda: _net(clip_grad_norm=0),
        ValueError,
        r"clip_grad_norm must be in \(0, inf\], got 0",
    ),
    "clipping by a text": (
        lambda: _net(clip_grad_norm="1"),
        TypeError,
        "clip_grad_norm must be a number, got str: '1'",
    ),
    "eager and compiled": (
        lambda: _net(run_eagerly=True, jit_compile=True),
        ValueError,
        "run_eagerly=True and jit_compile=True exclude each other",
    ),
    "no steps an execution": (
        lambda: _net(steps_per_execution=0),
        ValueError,
        "steps_per_execution must be at least 1, got 0",
    ),
    "accumulation": (
        lambda: _net(gradient_accumulation_steps=0),
        ValueError,
        "gradient_accumulation_steps must be at least 1",
    ),
    "scheduler": (lambda: _net(scheduler="step"), TypeError, "scheduler must be a torch scheduler"),
    "scheduler pair": (lambda: _net(scheduler=(print, 3)), TypeError, "scheduler as a tuple"),
    "loss kind": (lambda: _net(loss=3), TypeError, "a loss must be a name"),
}


def _net_with(optimizer, loss):
    net = Net(nn.Linear(4, 3))
    net.compile(optimizer, loss)


@pytest.mark.parametrize("case", COMPILE)
def test_compile_refuses(case):
    """Names and numbers are checked when they are given."""
    call, error, text = COMPILE[case]
    with pytest.raises(error, match=text):
        call()


def test_nothing_was_trained_when_a_check_fails():
    """The first forward shows the mistake; no step follows."""
    net = _net(2)
    before = net[0].weight.detach().clone()
    with pytest.raises(ValueError, match="labels from 0 to 2"):
        _fit(net, batch_size=2)
    assert torch.equal(net[0].weight, before)


def test_numbers_of_losses_of_a_written_forward_show_at_the_first_batch():
    """Its outputs are not known before."""

    class Pair(Net):
        def forward(self, x):
            return super().forward(x), x

    net = Pair(nn.Linear(4, 3))
    net.compile("sgd", ["mse", "mse", "mse"])
    with pytest.raises(ValueError, match=r"loss has 3 entries.*\(output_1, output_2\)"):
        net.fit(X, [X[:, :3], X], verbose=0)


@pytest.mark.parametrize(
    ("settings", "epochs", "steps", "text"),
    [
        ({}, 3, 4, "in epoch 2 after 0 steps"),
        ({"steps_per_epoch": 3}, 2, 4, "in epoch 2 after 1 of 3 steps"),
        ({"steps_per_epoch": 2}, 4, 4, "in epoch 3 after 0 of 2 steps"),
    ],
)
def test_a_generator_that_runs_dry_says_so_once(settings, epochs, steps, text):
    """No batch is used twice, and the run ends."""
    used = []

    def batches():
        for i in range(4):
            used.append(i)
            yield X[5 * i : 5 * i + 5], LABELS[5 * i : 5 * i + 5]

    net = _net()
    with pytest.warns(UserWarning, match=text) as caught:
        run = net.fit(batches(), epochs=epochs, verbose=0, **settings)
    assert len(caught) == 1
    assert used == list(range(steps))
    assert len(run.history["loss"]) == -(-4 // settings.get("steps_per_epoch", 4))


def test_validation_that_runs_dry_says_so():
    """With the steps that it was short of."""
    with pytest.warns(UserWarning, match="after 1 of 5 steps of evaluate"):
        _net().evaluate(iter([(X, LABELS)]), steps=5, verbose=0)


def test_a_good_run_warns_of_nothing():
    """Warnings are errors in these tests."""
    x = (pair for pair in [(X, LABELS)] * 4)
    run = _net().fit(x, steps_per_epoch=2, epochs=2, verbose=0)
    assert len(run.history["loss"]) == 2


def test_labels_of_each_batch_of_a_loader_are_checked():
    """A later batch may hold what the first one did not."""
    bad = LABELS.clone()
    bad[13] = 7
    with pytest.raises(ValueError, match="labels from 0 to 7"):
        _net().fit(DataLoader(TensorDataset(X, bad), batch_size=5), verbose=0)


def test_keras_settings_without_effect_here_are_taken():
    """torch runs eagerly, batch by batch."""
    net = _net(run_eagerly=True, steps_per_execution=np.int64(4))
    assert len(_fit(net).history["loss"]) == 1


def test_tables_in_a_generator_are_arrays():
    """pandas's, of numbers."""
    torch.manual_seed(0)
    net = _net()
    pandas = pytest.importorskip("pandas")
    tables = pandas.DataFrame(X.numpy()), pandas.Series(LABELS.numpy())
    expected = net.evaluate(X, LABELS, verbose=0)
    assert net.evaluate(iter([tables]), verbose=0) == pytest.approx(expected, rel=1e-6)
