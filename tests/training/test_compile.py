"""`compile`: schedulers, precision, clipping, accumulation, closures, torch's own compiler."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR

from fgraph import Input, Model, layers, losses, metrics, optimizers
from fgraph.training import Trainer


class Net(Trainer, nn.Sequential):
    """A stack of modules with the trainer."""


def _net() -> Net:
    return Net(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def _data(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 4)
    return x, x[:, :3].argmax(-1)


def _weights(net: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def _by_hand(net, x, y, optimizer, epochs=1, size=8, after_batch=None, before_step=None):
    for _ in range(epochs):
        for xb, yb in zip(x.split(size), y.split(size), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(net(xb), yb).backward()
            if before_step:
                before_step()
            optimizer.step()
            if after_batch:
                after_batch()


def test_accumulated_steps_equal_steps_on_larger_batches():
    """The last step of an epoch is the mean over the batches that are left."""
    x, y = _data(40)
    net = _net()
    twin = copy.deepcopy(net)
    net.compile(torch.optim.SGD(net.parameters(), 0.1), nn.CrossEntropyLoss(),
                gradient_accumulation_steps=2)  # fmt: skip
    net.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    optimizer = torch.optim.SGD(twin.parameters(), 0.1)
    for _ in range(2):
        for rows in (slice(0, 16), slice(16, 32), slice(32, 40)):
            optimizer.zero_grad()
            F.cross_entropy(twin(x[rows]), y[rows]).backward()
            optimizer.step()
    for p, q in zip(_weights(net), _weights(twin), strict=True):
        torch.testing.assert_close(p, q)


def test_gradients_are_clipped_to_their_norm():
    """All together, before each step."""
    x, y = _data()
    net = _net()
    twin = copy.deepcopy(net)
    net.compile(torch.optim.SGD(net.parameters(), 1.0), nn.CrossEntropyLoss(), clip_grad_norm=0.1)
    net.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    clip = partial(nn.utils.clip_grad_norm_, list(twin.parameters()), 0.1)
    _by_hand(twin, x, y, torch.optim.SGD(twin.parameters(), 1.0), before_step=clip)
    assert all(torch.equal(p, q) for p, q in zip(_weights(net), _weights(twin), strict=True))


@pytest.mark.parametrize("as_instance", [True, False], ids=["instance", "factory"])
def test_epoch_schedulers_step_after_each_epoch(as_instance):
    """A scheduler that exists, or one that is made of the optimizer."""
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), 1.0)
    scheduler = partial(StepLR, step_size=2, gamma=0.1)
    scheduler = scheduler(optimizer) if as_instance else scheduler
    net.compile(optimizer, nn.CrossEntropyLoss(), scheduler=scheduler)
    net.fit(*_data(), epochs=3, verbose=0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        (partial(OneCycleLR, max_lr=1.0, total_steps=10), None),
        ((partial(StepLR, step_size=1, gamma=0.5), "batch"), 0.5**5),
    ],
    ids=["OneCycleLR", "pair"],
)
def test_batch_schedulers_step_after_each_batch(scheduler, expected):
    """OneCycleLR by itself, any other where it is asked for."""
    net = _net()
    twin = copy.deepcopy(net)
    x, y = _data()
    net.compile(partial(torch.optim.SGD, lr=1.0), nn.CrossEntropyLoss(), scheduler=scheduler)
    net.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    optimizer = torch.optim.SGD(twin.parameters(), 1.0)
    make = scheduler[0] if isinstance(scheduler, tuple) else scheduler
    reference = make(optimizer)
    _by_hand(twin, x, y, optimizer, after_batch=reference.step)
    assert net.optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    assert expected is None or optimizer.param_groups[0]["lr"] == pytest.approx(expected)
    assert torch.equal(net[0].weight, twin[0].weight)


@pytest.mark.parametrize("monitor", [None, "accuracy"])
def test_plateau_schedulers_take_a_figure(monitor):
    """`val_loss` by itself, or the one that is named."""
    taken = []

    class Recording(ReduceLROnPlateau):
        def step(self, metrics, epoch=None):
            taken.append(metrics)
            super().step(metrics, epoch)

    x, y = _data()
    net = _net()
    scheduler = Recording if monitor is None else (Recording, monitor)
    net.compile("sgd", nn.CrossEntropyLoss(), ["accuracy"], scheduler=scheduler)
    run = net.fit(x, y, validation_data=(x, y), epochs=2, verbose=0)
    assert taken == run.history[monitor or "val_loss"]


def test_a_scheduler_that_monitors_nothing_known_says_so():
    """With the figures that there are."""
    net = _net()
    net.compile("sgd", nn.CrossEntropyLoss(), scheduler=(ReduceLROnPlateau, "acc"))
    with pytest.raises(ValueError, match="the scheduler monitors 'acc', which is not among"):
        net.fit(*_data(), verbose=0)


def test_a_scheduler_of_another_optimizer_is_refused():
    """It would change rates that nothing uses."""
    net = _net()
    other = StepLR(torch.optim.SGD(net.parameters(), 1.0), 1)
    net.compile("sgd", nn.CrossEntropyLoss(), scheduler=other)
    with pytest.raises(ValueError, match="the scheduler belongs to another optimizer"):
        net.fit(*_data(), verbose=0)


def test_lbfgs_gets_its_closure():
    """And the figures are those of its first evaluation."""
    x, y = _data()
    net = _net()
    twin = copy.deepcopy(net)
    net.compile(torch.optim.LBFGS(net.parameters(), lr=0.5, max_iter=5), nn.CrossEntropyLoss(),
                metrics=["accuracy"])  # fmt: skip
    run = net.fit(x, y, batch_size=40, shuffle=False, epochs=2, verbose=0)
    optimizer = torch.optim.LBFGS(twin.parameters(), lr=0.5, max_iter=5)

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(twin(x), y)
        loss.backward()
        return loss

    expected = [optimizer.step(closure).item() for _ in range(2)]
    assert run.history["loss"] == pytest.approx(expected)
    for p, q in zip(_weights(net), _weights(twin), strict=True):
        torch.testing.assert_close(p, q)


def test_lbfgs_with_accumulation_is_refused():
    """It evaluates the loss several times a step."""
    net = _net()
    net.compile(torch.optim.LBFGS(net.parameters()), "mse", gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="LBFGS evaluates the loss several times a step"):
        net.fit(*_data(), verbose=0)


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "mixed_bfloat16"])
def test_mixed_precision_trains_close_to_full_precision(precision):
    """Autocast around forward and loss; float16 through a scaler."""
    x, y = _data(64)
    figures = []
    for value in (None, precision):
        torch.manual_seed(1)
        net = _net()
        net.compile("adam", nn.CrossEntropyLoss(), ["accuracy"], precision=value)
        run = net.fit(x, y, epochs=3, verbose=0)
        figures.append(run.history["loss"])
        assert net[0].weight.dtype == torch.float32
    assert (net._trainer.scaler is not None) == (precision == "float16")
    assert figures[0] == pytest.approx(figures[1], rel=0.02)
    assert figures[0] != figures[1]


@pytest.mark.parametrize("halved", [False, True], ids=["autocast", "weights"])
@pytest.mark.parametrize(
    ("dtype", "expected"), [(torch.float16, np.float16), (torch.bfloat16, np.float32)], ids=str
)
def test_predictions_have_the_dtype_of_the_outputs(dtype, expected, halved):
    """As Keras's under `mixed_float16`; bfloat16, which numpy lacks, in one that holds it."""
    x = _data()[0]
    net = _net()
    if halved:
        net.to(dtype)
        outputs = net(x.to(dtype))
    else:
        net.compile("adam", nn.CrossEntropyLoss(), precision=str(dtype).removeprefix("torch."))
        with torch.autocast("cpu", dtype):
            outputs = net(x)
    for found in (net.predict(x.numpy(), verbose=0), net.predict_on_batch(x.numpy())):
        assert found.dtype == expected
        assert found.tolist() == outputs.tolist()


@pytest.mark.parametrize("settings", [{"clip_grad_norm": 0.1}, {"optimizer": "clipped"}])
def test_clipping_sees_unscaled_gradients(settings):
    """A gradient scaled by 65,536 is not what the norm is of."""
    x, y = _data()
    weights = []
    for precision in (None, "float16"):
        torch.manual_seed(1)
        net = _net()
        optimizer = optimizers.SGD(1.0, global_clipnorm=0.1)
        optimizer = optimizer if settings.get("optimizer") else optimizers.SGD(1.0)
        clip = settings.get("clip_grad_norm")
        net.compile(optimizer, nn.CrossEntropyLoss(), precision=precision, clip_grad_norm=clip)
        net.fit(x, y, shuffle=False, verbose=0)
        weights.append(net[0].weight.detach())
    torch.testing.assert_close(weights[0], weights[1], rtol=0.05, atol=2e-3)


def test_only_torch_options_compile_in_place():
    """What accelerate calls: `module.compile(backend=...)`."""
    net = _net()
    net.compile(backend="eager")
    assert net._compiled_call_impl is not None
    with pytest.raises(RuntimeError, match="fit before compile"):
        net.fit(*_data(), verbose=0)


@pytest.mark.parametrize("options", [{"jit_compile": True}, {}])
def test_both_sets_of_options_do_both(options):
    """Training set up, and the compiled call used inside `fit`."""
    calls = []

    def backend(graph, inputs):
        calls.append(1)
        return graph.forward

    class Written(Net):
        # torch compiles nothing of a call whose forward is torch's own
        def forward(self, x):
            return super().forward(x) * 1

    net = Written(*_net())
    x, y = _data()
    net.compile("sgd", nn.CrossEntropyLoss(), **(options | {"backend": backend}))
    run = net.fit(x, y, batch_size=40, verbose=0)
    assert calls
    assert len(run.history["loss"]) == 1


def test_without_torch_options_nothing_is_compiled():
    """`jit_compile="auto"` included."""
    net = _net()
    net.compile("sgd", nn.CrossEntropyLoss(), jit_compile="auto")
    assert net._compiled_call_impl is None


def test_after_step_runs_after_each_step_of_the_optimizer():
    """Where weight constraints belong."""

    class Positive(Net):
        def _after_step(self):
            with torch.no_grad():
                self[0].weight.clamp_(min=0)

    net = Positive(nn.Linear(4, 3))
    net.compile("sgd", nn.CrossEntropyLoss())
    net.fit(*_data(), verbose=0)
    assert (net[0].weight >= 0).all()


SATURATED = [
    ("softmax", "categorical_crossentropy", 3, lambda z, y: F.cross_entropy(z, y.argmax(-1))),
    ("softmax", "sparse_categorical_crossentropy", 3, F.cross_entropy),
    ("sigmoid", "binary_crossentropy", 1, F.binary_cross_entropy_with_logits),
]


@pytest.mark.parametrize(("activation", "loss", "units", "oracle"), SATURATED)
def test_losses_on_activated_outputs_never_saturate(activation, loss, units, oracle):
    """The graph shows the logits, so loss and gradient are those of the logits."""
    a = Input((2,))
    net = Model(a, layers.Dense(units, activation=activation)(a))
    linear = next(m for m in net.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        linear.weight.fill_(1.0)
        linear.weight[0] = -500.0
    x = torch.ones(4, 2)
    y = {
        "categorical_crossentropy": F.one_hot(torch.zeros(4, dtype=torch.long), 3).float(),
        "sparse_categorical_crossentropy": torch.zeros(4, dtype=torch.long),
        "binary_crossentropy": torch.ones(4, 1),
    }[loss]
    expected = oracle(linear(x), y)
    expected.backward()
    gradient = linear.weight.grad.clone()
    linear.weight.grad = None
    net.compile(torch.optim.SGD(net.parameters(), 1.0), loss, metrics=["accuracy"])
    before = linear.weight.detach().clone()
    assert net.train_on_batch(x, y)[0] == pytest.approx(expected.item())
    torch.testing.assert_close(before - linear.weight.detach(), gradient, atol=1e-4, rtol=1e-5)
    assert gradient.abs().max() > 0.3


def test_probabilities_without_known_logits_are_clipped_as_in_keras():
    """A written forward shows no logits: loss stays finite at minus log 1e-7."""
    net = Net(nn.Linear(1, 2), nn.Softmax(-1))
    nn.init.constant_(net[0].bias, 0.0)
    with torch.no_grad():
        net[0].bias[0] = 1000.0
    net.compile("sgd", losses.SparseCategoricalCrossentropy())
    value = net.test_on_batch(torch.zeros(1, 1), torch.tensor([1]))
    assert value == pytest.approx(16.118, abs=1e-3)


def test_named_loss_objects_share_nothing_between_outputs():
    """One loss for all outputs, by Keras's rule for a single value."""
    a = Input((3,))
    net = Model(a, [layers.Dense(1, name="p")(a), layers.Dense(1, name="q")(a)])
    net.compile("sgd", "mse", loss_weights={"p": 1.0, "q": 0.5})
    x = torch.randn(6, 3)
    figures = net.evaluate(x, [x[:, :1], x[:, 1:2]], verbose=0, return_dict=True)
    p, q = net(x)
    expected = {
        "p_loss": F.mse_loss(p, x[:, :1]).item(),
        "q_loss": F.mse_loss(q, x[:, 1:2]).item(),
    }
    expected["loss"] = expected["p_loss"] + 0.5 * expected["q_loss"]
    assert figures == pytest.approx(expected, rel=1e-5)


class Pair(Model):
    """Two models with an optimizer each, as in Keras's examples: `compile` takes both."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second
        self.gap = metrics.Mean(name="gap")
        self.built = True

    def compile(self, first_optimizer, second_optimizer, loss_fn):
        super().compile()
        self.optimizers = first_optimizer, second_optimizer
        self.loss_fn = loss_fn

    def train_step(self, data):
        (x,) = data if isinstance(data, tuple) else (data,)
        self.zero_grad()
        loss = self.loss_fn(self.first(x), self.second(x))
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        self.gap.update_state(loss)
        return {"gap": self.gap.result()}


def test_a_class_with_a_step_of_its_own_needs_nothing_from_compile():
    x = Input((3,))
    first, second = (Model(x, layers.Dense(2)(x)) for _ in range(2))
    pair = Pair(first, second)
    pair.compile(*(torch.optim.SGD(m.parameters(), 0.1) for m in (first, second)), nn.MSELoss())
    by_hand = [copy.deepcopy(m) for m in (first, second)]
    steps = [torch.optim.SGD(m.parameters(), 0.1) for m in by_hand]
    data, expected = torch.randn(8, 3), []
    for _ in range(5):
        loss = F.mse_loss(*(m(data) for m in by_hand))
        expected.append(loss.item())
        for optimizer in steps:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in steps:
            optimizer.step()
    history = pair.fit(data, epochs=5, shuffle=False, verbose=0).history
    assert history["gap"] == pytest.approx(expected, rel=1e-6)
