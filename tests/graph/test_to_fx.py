"""`model.to_fx()`: the graph as `torch.fx` knows it."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fgraph
from fgraph import Input, Model, apply

Both = namedtuple("Both", "plain scaled")


def scaled(x, by):
    return Both(x, x * by if x.sum() > 0 else x - by)


class Gate(nn.Module):
    """Branches on a value, so that torch.fx cannot look inside."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, *, sharp=1):
        return {"gate": torch.sigmoid(self.linear(x) * sharp) if x.sum() > 0 else x}


def everything() -> Model:
    x, s = Input((4,), name="x"), Input((5, 4), name="a sequence")
    out, (h, _) = s(nn.LSTM(4, 4, batch_first=True), name="lstm")
    gate = x(Gate(), name="gate", sharp=3)["gate"]
    parts = apply(scaled, x, by=2)
    mixed = gate * h[-1] + parts.scaled.view(x.size(0), -1) + torch.ones(4)
    tied = F.linear(mixed * nn.Parameter(torch.ones(4)), Gate().linear.weight)
    return Model([x, s], {"mixed": tied[..., :2].relu(), "rest": [out, parts.plain]}, name="all")


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(3, 4), torch.randn(3, 5, 4)


def test_it_gives_the_same_and_shares_modules_and_weights():
    model, data = everything(), inputs()
    graph = model.to_fx()
    assert isinstance(graph, torch.fx.GraphModule)
    graph.graph.lint()
    expected, found = model(*data), graph(*data)
    assert torch.equal(found["mixed"], expected["mixed"])
    assert all(torch.equal(a, b) for a, b in zip(found["rest"], expected["rest"], strict=True))
    assert graph.lstm is model.lstm
    assert list(graph.state_dict()) == list(model.state_dict())
    assert {id(p) for p in graph.parameters()} == {id(p) for p in model.parameters()}


def test_inputs_are_placeholders_and_every_module_is_one_node():
    nodes = list(everything().to_fx().graph.nodes)
    assert [n.target for n in nodes if n.op == "placeholder"] == ["x", "a_sequence"]
    assert [n.target for n in nodes if n.op == "call_module"] == ["lstm", "gate"]
    assert [n.target for n in nodes if n.target is scaled] == [scaled]


def test_a_pass_over_it_leaves_the_model_alone():
    model, data = everything(), inputs()
    expected = model(*data)["mixed"]
    graph = model.to_fx()
    for node in graph.graph.nodes:
        if node.op == "call_method" and node.target == "relu":
            node.target = "neg"
    graph.recompile()
    assert torch.equal(graph(*data)["mixed"].neg().relu(), expected)
    assert torch.equal(model(*data)["mixed"], expected)


def test_a_replaced_child_and_the_mode_are_those_of_now():
    model = everything().eval()
    model.gate = Gate()
    graph = model.to_fx()
    assert graph.gate is model.gate
    assert not graph.training


def test_a_model_with_a_forward_of_its_own_is_refused():
    class ByHand(Model):
        def __init__(self):
            super().__init__()

        def forward(self, x):
            return x

    with pytest.raises(AttributeError, match="has no graph"):
        ByHand().to_fx()


class Pads(nn.Module):
    def forward(self, x):
        return torch.cat([torch.zeros(x.size(0), 2), x, torch.ones(x.size(0), 1)], 1)


@pytest.mark.parametrize("trace", [Model.to_fx, torch.fx.symbolic_trace], ids=["fx", "trace"])
def test_parameters_before_symbols_and_factories_of_unknown_sizes(trace):
    x = Input((4,))
    weight = nn.Parameter(torch.randn(7))
    y = weight * fgraph.unfold(Pads())(x)
    model = Model(x, y - weight @ y.mT.sum(1))
    value = torch.randn(3, 4)
    assert torch.equal(trace(model)(value), model(value))
