"""What training steps see beside the outputs: logits and masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fgraph import Input, Model, Sequential, layers


@pytest.mark.parametrize(
    ("activate", "loss", "target"),
    [
        (lambda x: torch.softmax(x, -1), "categorical_crossentropy", [[0.0, 1.0, 0.0]]),
        (nn.Softmax(-1), "sparse_categorical_crossentropy", [1]),
        (torch.sigmoid, "binary_crossentropy", [[0.0, 1.0, 0.0]]),
        (nn.Sigmoid(), "binary_crossentropy", [[0.0, 1.0, 0.0]]),
    ],
)
def test_a_saturated_activation_has_a_finite_loss_and_a_full_gradient(activate, loss, target):
    weight = nn.Parameter(torch.tensor([[300.0, -300.0, 0.0]]))
    x = Input((1,))
    model = Model(x, activate(x @ weight))
    model.compile(lambda p: torch.optim.SGD(p, lr=1.0), loss)
    before = weight.detach().clone()
    value = model.train_on_batch(torch.ones(1, 1), torch.tensor(target))
    logits = before.clone().requires_grad_()
    wanted = (
        F.binary_cross_entropy_with_logits(logits, torch.tensor(target))
        if loss == "binary_crossentropy"
        else F.cross_entropy(logits, torch.tensor([1]))
    )
    (gradient,) = torch.autograd.grad(wanted, logits)
    assert value == pytest.approx(wanted.item())
    torch.testing.assert_close(before - weight.detach(), gradient)
    assert gradient.abs().sum() > 0.5


def test_a_forward_written_by_hand_is_what_is_trained():
    class Doubling(Model):
        def __init__(self) -> None:
            x = Input((2,))
            super().__init__(x, torch.sigmoid(nn.Linear(2, 1)(x)))

        def forward(self, x):
            return super().forward(x) * 0.5

    model = Doubling()
    model.compile("sgd", "binary_crossentropy")
    x, y = torch.randn(4, 2), torch.ones(4, 1)
    with torch.no_grad():
        wanted = F.binary_cross_entropy(torch.sigmoid(model.linear_1(x)) * 0.5, y).item()
    assert model.test_on_batch(x, y) == pytest.approx(wanted)


def test_masked_steps_count_nothing_in_the_loss_as_in_keras():
    tokens = Input((5,), dtype="int64")
    table = layers.Embedding(7, 4, mask_zero=True)
    steps = layers.LSTM(3, return_sequences=True)(table(tokens))
    model = Model(tokens, layers.TimeDistributed(layers.Dense(1))(steps))
    model.compile("sgd", "mse")
    x = torch.tensor([[1, 2, 3, 0, 0], [4, 5, 6, 1, 0]])
    y = torch.randn(2, 5, 1)
    with torch.no_grad():
        errors = (model(x) - y).pow(2).mean(-1)
        wanted = errors[x != 0].mean().item()
    assert model.test_on_batch(x, y) == pytest.approx(wanted, rel=1e-5)
    history = model.fit(np.asarray(x), np.asarray(y), epochs=3, verbose=0)
    assert history.history["loss"][0] == pytest.approx(wanted, rel=1e-5)
    assert history.history["loss"][-1] < wanted


def test_a_layer_added_after_training_is_trained():
    model = Sequential([Input((2,)), nn.Linear(2, 3), nn.Sigmoid()])
    model.compile("sgd", "binary_crossentropy")
    model.fit(torch.randn(4, 2), torch.ones(4, 3), verbose=0)
    model.add(nn.Linear(3, 1))
    model.compile("sgd", "mse")
    x, y = torch.randn(4, 2), torch.randn(4, 1)
    with torch.no_grad():
        wanted = F.mse_loss(model(x), y).item()
    assert model.test_on_batch(x, y) == pytest.approx(wanted)


def test_a_replaced_activation_no_longer_stands_for_logits():
    x = Input((2,))
    model = Model(x, x(nn.Linear(2, 3), name="score")(nn.Softmax(-1), name="activate"))
    model.compile("sgd", "categorical_crossentropy")
    value, target = torch.randn(4, 2), torch.eye(3)[torch.tensor([0, 1, 2, 0])]
    model.test_on_batch(value, target)
    model.activate = nn.Softmax(0)
    with torch.no_grad():
        shares = model(value)
        shares = shares / shares.sum(-1, keepdim=True)  # as Keras does with probabilities
        wanted = -(target * shares.log()).sum(-1).mean().item()
    assert model.test_on_batch(value, target) == pytest.approx(wanted, rel=1e-5)
