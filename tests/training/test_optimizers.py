"""Optimizers: equal to Keras step for step, also where the learning rate changes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from fgraph import optimizers

TABLE = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("SGD", {"weight_decay": 0.01}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.5}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"epsilon": 1e-2, "rho": 0.8}),
    ("Adam", {}),
    ("Adam", {"epsilon": 1e-2}),
    ("Adam", {"amsgrad": True}),
    ("Adam", {"weight_decay": 0.02}),
    ("Adam", {"clipvalue": 0.1}),
    ("Adam", {"clipnorm": 0.1}),
    ("Adam", {"global_clipnorm": 0.1}),
    ("AdamW", {}),
    ("Adagrad", {}),
    ("Adagrad", {"weight_decay": 0.1}),
    ("Adadelta", {}),
    ("Adadelta", {"learning_rate": 1.0}),
    ("Adamax", {}),
    ("Adamax", {"epsilon": 1e-2}),
    ("Nadam", {}),
    ("Nadam", {"weight_decay": 0.01}),
]


def _gradients(step: int) -> list[torch.Tensor]:
    """Gradients of very different sizes, some zero, so that each epsilon matters."""
    generator = torch.Generator().manual_seed(step)
    scales = (1e-7, 1e-3, 1.0)
    return [s * torch.randn(3, 2, generator=generator) * (step % 3 > 0) for s in scales]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(("name", "settings"), TABLE)
def test_steps_equal_keras(keras, name, settings):
    """Twenty steps, with the learning rate halved in the middle."""
    start = [torch.randn(3, 2) for _ in range(3)]
    variables = [keras.Variable(p.numpy().copy()) for p in start]
    theirs = getattr(keras.optimizers, name)(**settings)
    theirs.build(variables)
    params = [nn.Parameter(p.clone()) for p in start]
    ours = getattr(optimizers, name)(**settings)(params)
    for step in range(20):
        if step == 10:
            theirs.learning_rate = float(theirs.learning_rate) / 2
            for group in ours.param_groups:
                group["lr"] /= 2
        gradients = _gradients(step)
        theirs.apply([g.clone() for g in gradients], variables)
        for p, g in zip(params, gradients, strict=True):
            p.grad = g.clone()
        ours.step()
    for p, v in zip(params, variables, strict=True):
        torch.testing.assert_close(p.detach(), v.value.detach(), rtol=2e-5, atol=2e-7)


@pytest.mark.parametrize(
    "name", ["sgd", "rmsprop", "adam", "adamw", "adagrad", "adadelta", "adamax", "nadam"]
)
def test_names_have_keras_default_rates(keras, name):
    """In any case."""
    expected = float(keras.optimizers.get(name).learning_rate)
    for spelling in (name, name.upper()):
        optimizer = optimizers.get(spelling)([nn.Parameter(torch.zeros(1))])
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def _trained(optimizer: torch.optim.Optimizer, params: list[nn.Parameter], steps: range) -> None:
    for step in steps:
        for p, g in zip(params, _gradients(step), strict=True):
            p.grad = g.clone()
        optimizer.step()


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamax", "nadam", "adagrad"])
def test_state_dict_continues_bit_for_bit(name):
    """The counters are in it too."""
    start = [torch.randn(3, 2) for _ in range(3)]
    whole = [nn.Parameter(p.clone()) for p in start]
    make = optimizers.get(name)
    optimizer = make(whole)
    _trained(optimizer, whole, range(4))
    state, halfway = copy.deepcopy(optimizer.state_dict()), [p.detach().clone() for p in whole]
    _trained(optimizer, whole, range(4, 9))
    resumed = [nn.Parameter(p) for p in halfway]
    second = make(resumed)
    second.load_state_dict(state)
    _trained(second, resumed, range(4, 9))
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copied_adam_keeps_its_epsilon(copied):
    """torch drops hooks when it copies an optimizer."""
    params = [nn.Parameter(torch.ones(3, 2)) for _ in range(3)]
    optimizer = optimizers.Adam(epsilon=0.1)(params)
    second = copied(optimizer)
    others = second.param_groups[0]["params"]
    _trained(optimizer, params, range(3))
    _trained(second, others, range(3))
    assert all(torch.equal(a, b) for a, b in zip(params, others, strict=True))


def test_adam_runs_fused():
    """torch's fastest implementation."""
    optimizer = optimizers.Adam()([nn.Parameter(torch.zeros(1))])
    assert optimizer.defaults["fused"]


def test_parameters_without_gradient_stay():
    """As in torch."""
    p, q = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = optimizers.RMSprop(weight_decay=0.1)([p, q])
    p.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(q, torch.ones(2))
    assert not torch.equal(p, torch.ones(2))


REFUSED = [
    (lambda: optimizers.get("adm"), ValueError, "unknown optimizer 'adm'; did you mean 'adam'"),
    (lambda: optimizers.get(3), TypeError, "an optimizer must be a name"),
    (lambda: optimizers.Adam(learning_rate=-1), ValueError, "must not be negative, got -1"),
    (lambda: optimizers.Adam(learning_rate="1"), TypeError, "learning_rate of Adam must be a num"),
    (lambda: optimizers.Adam(beta_1=1.0), ValueError, r"beta_1 of Adam must be in \[0, 1\)"),
    (lambda: optimizers.SGD(momentum=2), ValueError, r"momentum of SGD must be in \[0, 1\]"),
    (lambda: optimizers.Adam(clipnorm=1, clipvalue=1), ValueError, "give only one of clipnorm"),
]


@pytest.mark.parametrize(("make", "error", "text"), REFUSED)
def test_bad_settings_are_refused(make, error, text):
    """By name."""
    with pytest.raises(error, match=text):
        make()
