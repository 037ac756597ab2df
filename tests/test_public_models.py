"""Opened public models against the models themselves, bit for bit."""

from __future__ import annotations

import copy

import pytest
import torch

from public_models import LEAVES, MODELS, leaves, make, opened, tensors

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", MODELS)
def test_an_opened_public_model_computes_the_same(name, training):
    try:
        net, inputs, options = make(name)
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")
    net.train(training)
    twin = copy.deepcopy(net)
    model = opened(net, inputs, options)
    assert leaves(model) <= LEAVES
    assert list(model.state_dict()) == list(twin.state_dict())
    values = list(inputs.values())
    torch.manual_seed(1)
    found = model(*values)
    torch.manual_seed(1)
    expected = tensors(twin(*values, **options) if "x" in inputs else twin(**inputs, **options))
    assert len(found) == len(expected)
    assert all(map(torch.equal, found, expected))
    if not training:
        return
    for outputs, module in ((found, model), (expected, twin)):
        sum(part.sum() for part in outputs if part.requires_grad).backward()
        torch.optim.SGD(module.parameters(), 0.01).step()
    ours, theirs = dict(model.named_parameters()), dict(twin.named_parameters())
    assert list(ours) == list(theirs)
    for key, parameter in theirs.items():
        assert torch.equal(ours[key], parameter), key
        assert (ours[key].grad is None) == (parameter.grad is None), key
        assert parameter.grad is None or torch.equal(ours[key].grad, parameter.grad), key
    buffers = dict(model.named_buffers())
    for key, buffer in twin.named_buffers():
        assert torch.equal(buffers[key], buffer), key
