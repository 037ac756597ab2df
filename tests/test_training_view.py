"""What training steps see beside the outputs: logits and masks."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
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


# ------------------------------------------------------------------ what others see meanwhile


def softmax_model() -> Model:
    x = Input((4,))
    model = Model(x, layers.Dense(3, activation="softmax")(nn.Linear(4, 4)(x)))
    model.compile("sgd", "categorical_crossentropy")
    return model


DATA = torch.randn(64, 4), torch.eye(3)[torch.arange(64) % 3]


def test_plain_calls_from_other_threads_never_see_a_training_step():
    model, stop, wrong = softmax_model(), threading.Event(), []

    def call() -> None:
        while not stop.is_set():
            found = model(DATA[0])
            if not isinstance(found, torch.Tensor) or "forward" in vars(model):
                wrong.append(found)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    model.fit(*DATA, epochs=10, batch_size=4, verbose=0)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_hooks_on_the_model_see_the_model_and_its_outputs():
    model, plain = softmax_model(), softmax_model()
    plain.load_state_dict(model.state_dict())
    for each in (model, plain):  # the first batch is looked at beforehand
        each.train_on_batch(*DATA)
    seen = []
    handles = [
        model.register_forward_pre_hook(lambda m, args: seen.append((m, len(args)))),
        model.register_forward_hook(lambda m, args, out: seen.append((m, out.shape))),
        model.register_forward_hook(
            lambda m, args, kwargs, out: seen.append((m, out.shape)), with_kwargs=True
        ),
        model.register_full_backward_hook(lambda m, grad_in, grad_out: seen.append((m, None))),
        model.register_full_backward_pre_hook(lambda m, grad_out: seen.append((m, None))),
    ]
    x = DATA[0].clone().requires_grad_()
    assert model.train_on_batch(x, DATA[1]) == plain.train_on_batch(*DATA)
    assert [owner for owner, _ in seen] == [model] * 5
    assert [found for _, found in seen[:3]] == [1, (64, 3), (64, 3)]
    for parameter, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(parameter, other)
    for handle in handles:
        handle.remove()
    model.train_on_batch(*DATA)
    assert len(seen) == 5


def test_a_hook_that_replaces_the_output_decides_on_the_loss():
    model = softmax_model()
    model.register_forward_hook(lambda m, args, out: out * 0.5 + 0.1)
    with torch.no_grad():
        shares = model(DATA[0])
        wanted = -(DATA[1] * (shares / shares.sum(-1, keepdim=True)).log()).sum(-1).mean()
    assert model.test_on_batch(*DATA) == pytest.approx(wanted.item(), rel=1e-5)


def test_a_model_compiled_in_place_trains_compiled_and_can_be_pickled():
    torch.compiler.reset()
    counter = CompileCounter()
    model = softmax_model()
    plain = copy.deepcopy(model)
    model.compile("sgd", "categorical_crossentropy", backend=counter, fullgraph=True)
    for trained in (plain, model):
        trained.fit(*DATA, batch_size=16, epochs=2, verbose=0, shuffle=False)
    for parameter, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter, other)
    assert counter.frame_count >= 1
    frames = counter.frame_count
    model.train_on_batch(DATA[0][:16], DATA[1][:16])
    assert counter.frame_count == frames  # not compiled anew at each step
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(copied(DATA[0]), model(DATA[0]))


def test_an_error_in_a_training_step_names_the_layer():
    a, b = Input((None, 4)), Input((None, 4))
    model = Model([a, b], torch.add(nn.Linear(4, 4)(a), b).softmax(-1))
    model.compile("sgd", "mse")
    with pytest.raises(RuntimeError) as caught:
        model.train_on_batch([torch.ones(2, 3, 4), torch.ones(2, 5, 4)], torch.ones(2, 3, 4))
    assert "layer 'add_1'" in caught.value.__notes__[0]
    assert "(2, 5, 4) float32" in caught.value.__notes__[0]
