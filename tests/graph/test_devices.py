"""Devices are read when the model runs; a meta tensor stands for one on another device."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from fgraph import Input, Model

PROGRAMS = {
    "arange": lambda x: x + torch.arange(x.size(1), device=x.device)[:, None],
    "arange without a device": lambda x: x + torch.arange(x.size(1))[:, None],
    "zeros without a device": lambda x: x + torch.zeros((x.size(0), 1, 1)),
    "known sizes": lambda x: x + torch.ones(4, device=x.device),
    "of another": lambda x: x + torch.ones_like(x, device=x.device),
    "numbers": lambda x: x * torch.tensor([1.0, 2, 3, 4], device=x.device),
    "to": lambda x: x.to(x.device) + 1,
    "a constant to": lambda x: torch.ones(4).to(x.device) + x,
    "new_zeros": lambda x: x + x.new_zeros(4, device=x.device),
    "a product": lambda x: x @ torch.eye(4, device=x.device, dtype=x.dtype),
    "of a result": lambda x: x + torch.full((x.size(1), 1), 2.0, device=x.sum().device),
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))
def test_a_device_is_an_argument_wherever_torch_takes_one(program):
    x = Input((None, 4))
    model, value = Model(x, program(x)), torch.randn(2, 3, 4)
    for twin in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.to_fx()):
        assert torch.equal(twin(value), program(value))
    assert model.to("meta")(value.to("meta")).device.type == "meta"
    namespace, model = {}, Model(x, program(x))
    exec(model.to_source("Net"), namespace)
    net = namespace["Net"]()
    net.load_state_dict(model.state_dict())
    assert torch.equal(net(value), program(value))


def test_random_numbers_are_drawn_at_each_call():
    x = Input((None, 4))
    model, value = Model(x, x + torch.rand((x.size(1), 1), device=x.device)), torch.zeros(1, 2, 4)
    torch.manual_seed(3)
    found = [model(value) for _ in range(2)]
    torch.manual_seed(3)
    expected = [value + torch.rand(2, 1) for _ in range(2)]
    assert all(map(torch.equal, found, expected))


def test_factories_keep_to_a_default_device_that_was_chosen():
    with torch.device("meta"):
        x = Input((None, 4))
        model = Model(x, x + torch.arange(x.size(1))[:, None])
    assert "input_1.device" not in model.code
