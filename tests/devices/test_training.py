"""Training on another device: the figures of the host, and no wait inside a step."""

from __future__ import annotations

import copy
import weakref
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fgraph
from fgraph import Input, Model, Sequential, layers
from fgraph.callbacks import BackupAndRestore, Callback, EarlyStopping, ModelCheckpoint
from fgraph.losses import loss_names
from fgraph.metrics import metric_names
from fgraph.optimizers import optimizer_names

ROWS = torch.rand(20, 4, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(20) % 3
HOT = nn.functional.one_hot(LABELS, 3).float()


class Watched(Model):
    """A model whose steps after the first may not make the host wait."""

    def train_step(self, batch):
        with CONTEXT["of steps"]() if self in STEPPED else nullcontext():
            STEPPED.add(self)
            return super().train_step(batch)


STEPPED = weakref.WeakSet()
CONTEXT = {"of steps": nullcontext}


@pytest.fixture(autouse=True)
def _watching(no_waiting, monkeypatch):
    monkeypatch.setitem(CONTEXT, "of steps", no_waiting)


def _classifier(device, activation="softmax", units=3):
    torch.manual_seed(0)
    x = Input((4,))
    h = layers.Dense(8, activation="relu", kernel_regularizer="l2")(x)
    h = layers.BatchNormalization()(layers.Dropout(0.0)(h))
    model = Watched(x, layers.Dense(units, activation=activation)(h)).to(device)
    return model


def _history(device, targets, compiled, activation="softmax", units=3, **fit):
    model = _classifier(device, activation, units)
    model.compile(**compiled)
    found = model.fit(
        ROWS, targets, epochs=2, batch_size=5, shuffle=False, verbose=0,
        validation_data=(ROWS, targets), **fit,
    ).history  # fmt: skip
    found["predictions"] = model.predict(ROWS, verbose=0)
    assert {p.device.type for p in model.parameters()} == {device.type}
    return found


def _same(device, *arguments, tolerance=1e-3, **settings):
    """Compare a training on the device with that on the host."""
    host = _history(torch.device("cpu"), *arguments, **settings)
    found = _history(device, *arguments, **settings)
    assert found.keys() == host.keys()
    for name, values in host.items():
        np.testing.assert_allclose(
            np.asarray(found[name], dtype="float64"), np.asarray(values, dtype="float64"),
            rtol=tolerance, atol=1e-4, err_msg=name,
        )  # fmt: skip


TARGETS = {
    "sparse_categorical_crossentropy": LABELS,
    "categorical_generalized_cross_entropy": LABELS,
    "circle": LABELS,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(loss_names._CLASSES) - {"ctc"}))
def test_losses(name, device):
    """Of all names; in the first step the values of targets are checked on the host."""
    compiled = {"optimizer": "sgd", "loss": name, "metrics": ["mae"] if name not in TARGETS else []}
    _same(device, TARGETS.get(name, HOT), compiled)


def test_ctc(device):
    x = Input((6, 4))
    model = Model(x, layers.Dense(5)(x)).to(device)
    twin = copy.deepcopy(model).cpu()
    rows, labels = torch.rand(4, 6, 4), torch.randint(1, 5, (4, 3))
    for net in (model, twin):
        net.compile("sgd", "ctc")
    expected = twin.fit(rows, labels, epochs=2, shuffle=False, verbose=0).history["loss"]
    found = model.fit(rows, labels, epochs=2, shuffle=False, verbose=0).history["loss"]
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sorted({*metric_names._made_without_arguments(), *metric_names._FACTORIES})
)
def test_metrics(name, device):
    """Of all names, with and without weights."""
    sparse = "parse" in name
    loss = "sparse_categorical_crossentropy" if sparse else "categorical_crossentropy"
    compiled = {
        "optimizer": "sgd", "loss": loss, "metrics": [name], "weighted_metrics": [name],
    }  # fmt: skip
    weights = torch.linspace(0.5, 1.5, 20)
    _same(device, LABELS if sparse else HOT, compiled, sample_weight=weights)


# torch's Adafactor reads norms in each step
READING = {"adafactor"}


@pytest.mark.parametrize("name", sorted(optimizer_names._NAMES))
def test_optimizers(name, device, monkeypatch):
    compiled = {"optimizer": name, "loss": "categorical_crossentropy", "clip_grad_norm": 1.0}
    if name.lower() in READING:
        monkeypatch.setitem(CONTEXT, "of steps", nullcontext)
    _same(device, HOT, compiled)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd"])
@pytest.mark.parametrize(
    ("loss", "activation"),
    [
        ("categorical_crossentropy", "softmax"), ("binary_crossentropy", "sigmoid"),
        ("binary_crossentropy", None), ("kl_divergence", "softmax"), ("mse", "tanh"),
    ],
)  # fmt: skip
def test_mixed_precision(precision, optimizer, loss, activation, device):
    """Losses in float32, weights too; a scaler of gradients for float16."""
    model = _classifier(device, activation)
    compiled = {"metrics": ["accuracy"], "precision": precision, "clip_grad_norm": 1.0}
    model.compile(optimizer, loss, **compiled)
    run = model.fit(ROWS, HOT, epochs=8, batch_size=5, verbose=0)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert run.history["loss"][-1] < run.history["loss"][0]
    assert (model._trainer.scaler is not None) == (precision == "float16")


def test_predictions_of_bfloat16_have_arrived(device):
    """numpy has no bfloat16: the outputs become float32, in rows of the right order."""
    x = Input((4,))
    model = Model(x, layers.Dense(3)(x)).to(device, torch.bfloat16)
    rows = torch.rand(45, 4)
    found = model.predict(rows.numpy(), batch_size=8, verbose=0)
    expected = model(rows.to(device, torch.bfloat16)).float().tolist()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=2e-2, atol=1e-2)


class Letters(torch.utils.data.Dataset):
    """Samples of several parts, as a user writes them."""

    def __len__(self):
        return 20

    def __getitem__(self, i):
        return {"a": ROWS[i], "b": ROWS[i].flip(0)}, LABELS[i]


def _collated(rows):
    """A collate function of the user's."""
    return (
        {"a": torch.stack([x["a"] for x, _ in rows]), "b": torch.stack([x["b"] for x, _ in rows])},
        torch.stack([y for _, y in rows]),
    )


def _on_device(device):
    """A generator that makes its batches on the device."""
    for start in range(0, 20, 5):
        part = ROWS[start : start + 5].to(device)
        yield {"a": part * 1, "b": part.flip(1)}, LABELS[start : start + 5].to(device)


SOURCES = {
    "arrays": lambda d: (({"a": ROWS.numpy(), "b": ROWS.flip(1).numpy()}, LABELS.numpy()), 5),
    "float64": lambda d: (
        ({"a": ROWS.double().numpy(), "b": ROWS.flip(1).double().numpy()}, LABELS.numpy()), 5,
    ),
    "on the device": lambda d: (
        ({"a": ROWS.to(d), "b": ROWS.flip(1).to(d)}, LABELS.to(d)), 5,
    ),
    "labels on the device": lambda d: (({"a": ROWS, "b": ROWS.flip(1)}, LABELS.to(d)), 5),
    "loader": lambda d: ((DataLoader(Letters(), 5), None), None),
    "collated": lambda d: ((DataLoader(Letters(), 5, collate_fn=_collated), None), None),
    "generator": lambda d: ((_on_device(d), None), None),
}  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("class_weight", [None, {0: 1.0, 1: 2.0, 2: 0.5}])
def test_sources(kind, class_weight, device):
    """The same steps from whatever the batches come."""
    found = []
    for where in (torch.device("cpu"), device):
        torch.manual_seed(0)
        a, b = Input((4,), name="a"), Input((4,), name="b")
        made = layers.Dense(3, activation="softmax")(layers.concatenate([a, b]))
        model = Watched({"a": a, "b": b}, made).to(where)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        data, size = SOURCES[kind](where)
        options = {"shuffle": False, "batch_size": size} if size else {}
        run = model.fit(*data, epochs=1, verbose=0, class_weight=class_weight, **options)
        found.append(run.history)
    for name, values in found[0].items():
        assert found[1][name] == pytest.approx(values, rel=1e-3), name


def _guide_models():
    """The models of the guide, small."""
    x = Input((20,))
    h = layers.Dense(8, activation="relu")(x)
    first = Model(x, layers.Dense(5, activation="softmax")(layers.Dense(8, activation="relu")(h)))
    yield "first", first, [torch.rand(6, 20)], 5
    video = Input((3, 20))
    yield (
        "on sequences",
        Model(video, layers.TimeDistributed(first)(video)),
        [torch.rand(6, 3, 20)],
        None,
    )
    a, b = Input((7, 9)), Input((7, 9))
    shared = layers.LSTM(4)
    merged = layers.concatenate([shared(a), shared(b)])
    yield "tweets", Model([a, b], layers.Dense(1, activation="sigmoid")(merged)), [
        torch.rand(6, 7, 9), torch.rand(6, 7, 9)
    ], 1  # fmt: skip
    main, extra = Input((7,), dtype="int32", name="main"), Input((5,), name="extra")
    seen = layers.LSTM(4)(layers.Embedding(30, 6, mask_zero=True)(main))
    aux = layers.Dense(1, activation="sigmoid", name="aux")(seen)
    joined = layers.Dense(8, activation="relu")(layers.concatenate([seen, extra]))
    last = layers.Dense(1, activation="sigmoid", name="last")(joined)
    tokens = torch.randint(1, 30, (6, 7))
    tokens[:, 4:] = 0
    yield "headlines", Model([main, extra], [last, aux]), [tokens, torch.rand(6, 5)], None
    image = Input((12, 12, 3))
    net = Sequential([
        layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten(),
    ])  # fmt: skip
    question = Input((6,), dtype="int32")
    asked = layers.LSTM(4)(layers.Embedding(30, 6)(question))
    answer = layers.Dense(5, activation="softmax")(layers.concatenate([net(image), asked]))
    values = [torch.rand(6, 12, 12, 3), torch.randint(0, 30, (6, 6))]
    yield "question", Model([image, question], answer), values, 5
    p = Input((10, 10, 4))
    towers = [
        layers.Conv2D(3, 1, padding="same")(p),
        layers.Conv2D(3, 3, padding="same")(layers.Conv2D(3, 1, padding="same")(p)),
        layers.Conv2D(3, 1, padding="same")(layers.MaxPooling2D(3, 1, padding="same")(p)),
    ]
    inception = layers.concatenate(towers, axis=-1)
    yield (
        "inception",
        Model(p, layers.GlobalAveragePooling2D()(inception)),
        [torch.rand(6, 10, 10, 4)],
        None,
    )
    residual = Model(p, layers.add([p, layers.Conv2D(4, 3, padding="same")(p)]))
    yield "residual", residual, [torch.rand(6, 10, 10, 4)], None


GUIDE = ["first", "on sequences", "tweets", "headlines", "question", "inception", "residual"]


@pytest.mark.parametrize("name", GUIDE)
def test_models_of_the_guide(name, device, no_waiting, tmp_path):
    """Steps of rmsprop as on the host; a copy, a clone and a saved model compute the same."""
    model, values = next(entry[1:3] for entry in _guide_models() if entry[0] == name)
    twin = copy.deepcopy(model).to(device)
    placed = [value.to(device) for value in values]
    for net, given in ((model, values), (twin, placed)):
        optimizer = torch.optim.RMSprop(net.parameters(), lr=0.01)
        for step in range(2):
            with no_waiting() if step else torch.enable_grad():
                optimizer.zero_grad()
                outputs = net(*given)
                outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
                sum(output.square().mean() for output in outputs).backward()
                optimizer.step()
    for mine, theirs in zip(twin.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine.cpu(), theirs, rtol=1e-3, atol=1e-4)
    twin.eval()
    with torch.no_grad():
        expected = twin(*placed)
        twin.save(tmp_path / "model.fgraph")
        for where in ("cpu", device):
            loaded = fgraph.models.load_model(tmp_path / "model.fgraph", map_location=where)
            assert {p.device.type for p in loaded.parameters()} == {torch.device(where).type}
            found = loaded.eval()(*[value.to(where) for value in values])
            torch.testing.assert_close(_host(found), _host(expected), rtol=1e-3, atol=1e-4)
        loaded = fgraph.models.load_model(tmp_path / "model.fgraph").to(device)
        clone = fgraph.models.clone_model(twin).to(device)
        clone.load_state_dict(twin.state_dict())
        for net in (loaded, clone, copy.deepcopy(twin)):
            torch.testing.assert_close(_host(net.eval()(*placed)), _host(expected))


def _host(outputs):
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    return [output.cpu() for output in outputs]


def test_a_model_on_the_host_takes_what_is_on_the_device(device):
    """It waits until that has arrived."""
    model = _classifier(torch.device("cpu"))
    model.compile("sgd", "categorical_crossentropy")
    twin = copy.deepcopy(model)
    options = {"epochs": 2, "shuffle": False, "verbose": 0}
    expected = model.fit(ROWS, HOT, **options).history["loss"]
    assert twin.fit(ROWS.to(device), HOT.to(device), **options).history["loss"] == expected
    found = twin.predict(ROWS.to(device), verbose=0)
    np.testing.assert_array_equal(found, twin.predict(ROWS, verbose=0))


class Stop(Callback):
    """Fails after some batches, as a machine that is switched off."""

    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("precision", [None, "float16"])
def test_a_resumed_run_is_the_same_run(precision, device, tmp_path):
    """From a generator of the user's that draws random numbers on the device."""

    def batches():
        while True:
            rows = torch.rand(5, 4, device=device)
            yield rows, (rows[:, :1] > 0.5).float() * torch.ones(1, 3, device=device)

    def made():
        torch.manual_seed(4)
        model = _classifier(device, "sigmoid")
        model.compile("adam", "binary_crossentropy", precision=precision)
        return model

    def run(model, *callbacks):
        torch.manual_seed(5)
        options = {"epochs": 3, "steps_per_epoch": 4, "verbose": 0}
        return model.fit(batches(), callbacks=list(callbacks), **options).history["loss"]

    expected = run(made())
    with pytest.raises(KeyboardInterrupt):
        run(made(), BackupAndRestore(tmp_path / "backup", save_freq=1), Stop(6))
    found = run(made(), BackupAndRestore(tmp_path / "backup", save_freq=1), Stop(0))
    assert found == pytest.approx(expected, rel=1e-5)


def test_callbacks(device, tmp_path):
    """What looks at weights and figures brings them to the host by itself."""
    model = _classifier(device)
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    file = tmp_path / "best.fgraph"
    callbacks = [
        EarlyStopping("val_loss", patience=1, restore_best_weights=True),
        ModelCheckpoint(file, monitor="val_loss", save_best_only=True),
        fgraph.callbacks.ReduceLROnPlateau("val_loss", patience=1),
        fgraph.callbacks.TerminateOnNaN(),
        fgraph.callbacks.CSVLogger(tmp_path / "log.csv"),
        fgraph.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: float(logs["loss"])),
    ]
    model.fit(ROWS, HOT, epochs=3, validation_split=0.2, verbose=0, callbacks=callbacks)
    known = {"Watched": Watched}
    loaded = fgraph.models.load_model(file, known, map_location="cpu")
    assert {p.device.type for p in loaded.parameters()} == {"cpu"}
    assert loaded.predict(ROWS, verbose=0).shape == (20, 3)
    weights = model.get_weights()
    assert all(isinstance(weight, np.ndarray) for weight in weights)
    model.set_weights([weight * 2 for weight in weights])
    np.testing.assert_allclose(model.get_weights()[0], weights[0] * 2)


def test_models_that_users_write_by_hand(device):
    """A `train_step` of one's own, `add_loss`, and a loss function with tensors of its own."""
    positive = torch.tensor([1.0, 2.0, 3.0], device=device)

    class Own(Watched):
        def train_step(self, batch):
            result = self.forward_batch(batch)
            penalty = 0.01 * result.y_pred.abs().mean()
            self.backward(result.loss + penalty)
            self.optimizer_step()
            return {"loss": result.loss, "penalty": penalty}

    x = Input((4,))
    model = Own(x, layers.Dense(3)(layers.ActivityRegularization(0.1)(x))).to(device)
    model.compile("sgd", nn.BCEWithLogitsLoss(pos_weight=positive))
    found = model.fit(ROWS, HOT, epochs=2, verbose=0).history
    assert found["loss"][1] < found["loss"][0]
    for result in (model.train_on_batch(ROWS, HOT), model.test_on_batch(ROWS, HOT)):
        assert np.isfinite(result).all()


def test_nested_and_unfolded_models(device):
    """Constants of the graph, captured tensors and inner models move with the model."""
    inner = Sequential([Input((4,)), layers.Dense(4), nn.LayerNorm(4)])
    x = Input((4,))
    table = torch.arange(4.0)
    h = inner(x) + table + torch.ones(4) * torch.arange(x.shape[1])
    block = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
    model = Model(x, layers.Dense(2)(fgraph.unfold(block)(h)))
    twin = copy.deepcopy(model).to(device)
    for training in (False, True):
        expected = model.train(training)(ROWS)
        found = twin.train(training)(ROWS.to(device))
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)


def test_models_built_where_a_device_is_the_default(device):
    """Factories without a device follow torch's default, as in torch."""
    torch.set_default_device(device)
    try:
        x = Input((4,))
        h = layers.Dense(4)(x) + torch.arange(4)
        model = Model(x, layers.BatchNormalization()(h))
        model.compile("adam", "mse", metrics=["mae"])
        model.fit(np.ones((8, 4), "float32"), np.ones((8, 4), "float32"), epochs=2, verbose=0)
        assert model.predict(np.ones((8, 4), "float32"), verbose=0).shape == (8, 4)
    finally:
        torch.set_default_device("cpu")
    assert {t.device for t in (*model.parameters(), *model.buffers())} == {device}


def test_a_model_made_on_meta_gets_its_memory_on_the_device(device):
    with torch.device("meta"):
        x = Input((4,))
        model = Model(x, layers.Dense(3)(layers.BatchNormalization()(x)))
    reference = Model(x, layers.Dense(3)(layers.BatchNormalization()(x)))
    assert {p.device.type for p in model.parameters()} == {"meta"}
    model.to_empty(device=device)
    model.load_state_dict(reference.state_dict())
    found, expected = model.eval()(ROWS.to(device)), reference.eval()(ROWS)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-5)


def test_profile_and_summary(device):
    x = Input((4,))
    model = Model(x, layers.Dense(3)(layers.Dense(8, activation="relu")(x))).to(device)
    assert model.profile(ROWS.to(device), backward=True).records
    lines = []
    model.summary(print_fn=lambda line, *a, **k: lines.append(line))
    assert "dense_1" in "".join(lines)


def test_loader_pinned(device):
    """Pinned memory and workers, where there is memory to pin."""
    loader = DataLoader(TensorDataset(ROWS, LABELS), 5, pin_memory=device.type == "cuda")
    x = Input((4,))
    model = Model(x, layers.Dense(3)(x)).to(device)
    model.compile("sgd", nn.CrossEntropyLoss())
    found = model.fit(loader, epochs=3, verbose=0).history["loss"]
    assert found[-1] < found[0]
