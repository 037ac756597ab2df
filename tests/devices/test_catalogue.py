"""Every layer of the catalogue on another device: its numbers, its gradients, and no wait."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
import torch

from fgraph import Model, constraints, initializers, layers, regularizers
from fgraph.graph.nested import iter_leaves
from layers.rows import EXAMPLES, ROWS, called

QUICK = {row[0] for row in EXAMPLES.values()} - {"hashing"}
CASES = [
    pytest.param(row, id=row[0], marks=[] if row[0] in QUICK else pytest.mark.slow) for row in ROWS
]


def _values(shapes):
    """Return inputs of shapes, as the rows of the catalogue give them."""
    found = []
    for shape in shapes if isinstance(shapes, list) else [shapes]:
        if shape[:1] == ("integers",):
            found.append(torch.randint(shape[1], (3, *shape[2])))
        else:
            found.append(torch.rand(3, *[size or 6 for size in shape]))
    return found


def _outputs(model, values):
    torch.manual_seed(1)
    return list(iter_leaves(model(values)))


def _loss(outputs):
    return sum((output.abs() ** 2).float().mean() for output in outputs)


@pytest.mark.parametrize("row", CASES)
def test_layers_equal_the_host(row, device, no_waiting, same_numbers):
    """In evaluation and in training, with gradients."""
    _, make, shapes, *call = row
    _, inputs, output = called(make, shapes, *call)
    model = Model(inputs, output)
    twin = copy.deepcopy(model).to(device)
    values = _values(shapes)
    placed = [value.to(device) for value in values]
    for value in (*values, *placed):
        value.requires_grad_(value.is_floating_point())
    for training in (False, True):
        expected = _outputs(model.train(training), values)
        with no_waiting():
            found = _outputs(twin.train(training), placed)
        assert {tensor.device for tensor in found} == {device}
        if same_numbers or not training:
            for mine, reference in zip(found, expected, strict=True):
                torch.testing.assert_close(mine.cpu(), reference, rtol=1e-4, atol=1e-5)
    loss, reference = _loss(found), _loss(expected)
    assert loss.requires_grad == reference.requires_grad
    if not loss.requires_grad:
        return
    reference.backward()
    with no_waiting():
        loss.backward()
    if same_numbers:
        pairs = zip((*twin.parameters(), *placed), (*model.parameters(), *values), strict=True)
        for mine, theirs in pairs:
            if theirs.grad is not None:
                torch.testing.assert_close(mine.grad.cpu(), theirs.grad, rtol=1e-3, atol=1e-5)


SEEDED = [row for row in EXAMPLES.values() if "seed" in inspect.signature(
    type(row[1](layers)).__init__).parameters]  # fmt: skip


@pytest.mark.parametrize("row", SEEDED, ids=[row[0] for row in SEEDED])
def test_seeded_layers_draw_on_the_device(row, device, no_waiting):
    """From a generator of their own, which begins anew in each copy of the model."""
    _, make, shapes, *call = row

    class Seeded:
        def __getattr__(self, name):
            kind = getattr(layers, name)
            return lambda *a, **k: kind(*a, **{**k, "seed": 3})

    _, inputs, output = called(lambda _: make(Seeded()), shapes, *call)
    model = Model(inputs, output).to(device).train()
    values = [value.to(device) for value in _values(shapes)]
    twin = copy.deepcopy(model)
    with no_waiting():
        found, again = _outputs(model, values), _outputs(twin, values)
    for first, second in zip(found, again, strict=True):
        assert torch.equal(first, second)


PENALTIES = {
    "l1": regularizers.L1(0.1),
    "l2": regularizers.L2(0.1),
    "l1_l2": regularizers.L1L2(0.1, 0.2),
    "orthogonal": regularizers.OrthogonalRegularizer(),
}
LIMITS = {
    "max_norm": constraints.MaxNorm(0.5),
    "non_neg": constraints.NonNeg(),
    "unit_norm": constraints.UnitNorm(),
    "min_max": constraints.MinMaxNorm(0.1, 0.5, 0.9),
}


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES.keys())
@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS.keys())
def test_penalties_and_constraints(penalty, limit, device):
    """A step of training with both, against the same step on the host."""
    x = layers.Input((4,))
    made = layers.Dense(3, kernel_regularizer=penalty, kernel_constraint=limit)(x)
    model = Model(x, made)
    twin = copy.deepcopy(model).to(device)
    rows, targets = np.random.rand(8, 4).astype("float32"), np.random.rand(8, 3).astype("float32")
    for net in (model, twin):
        net.compile("sgd", "mse")
        net.fit(rows, targets, epochs=2, batch_size=4, shuffle=False, verbose=0)
    for mine, theirs in zip(twin.parameters(), model.parameters(), strict=True):
        assert mine.device == device
        torch.testing.assert_close(mine.cpu(), theirs, rtol=1e-4, atol=1e-5)


NAMES = [
    "glorot_uniform", "he_normal", "lecun_uniform", "orthogonal", "truncated_normal", "zeros",
    "ones", "random_normal", "random_uniform", "variance_scaling",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_layers_made_on_the_device(name, device):
    """Where torch's default device is set, weights are made there."""
    with device:
        x = layers.Input((5, 4))
        model = Model(x, layers.Dense(3)(layers.LSTM(4, kernel_initializer=name)(x)))
    assert {tensor.device for tensor in (*model.parameters(), *model.buffers())} == {device}
    assert model(torch.rand(2, 5, 4, device=device)).shape == (2, 3)


def test_initializers_name_their_device(device):
    """An initializer makes its values on the host, or where torch's default device is."""
    found = initializers.get("glorot_uniform")((3, 4))
    assert found.shape == (3, 4)
