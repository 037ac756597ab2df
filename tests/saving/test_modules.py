"""Every module of torch, and random graphs, come back as they were from a file and from source."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import nn

import fgraph
from fgraph import Input, Model
from fgraph.saving.registered_names import is_allowed
from saving.sameness import assert_same_from_file_and_source
from saving.torch_modules import all_modules, uncallable_modules
from strategies import programs


def handle(given):
    """Make the symbolic input of a row of the tables, and a tensor for it."""
    kind, *shape = given if given and isinstance(given[0], str) else ("float32", *given)
    if kind == "float32":
        return Input(shape), torch.rand(3, *shape)
    high, *shape = shape
    return Input(shape, dtype=kind), torch.randint(0, high, (3, *shape))


MODULES, UNCALLABLE = all_modules(), uncallable_modules()


def test_the_tables_have_every_module_of_torch():
    kinds = {n: value for n, value in vars(nn).items() if isinstance(value, type)}
    modules = {n for n, kind in kinds.items() if issubclass(kind, nn.Module) and is_allowed(kind)}
    newer = {"LinearCrossEntropyLoss"}  # of torch 2.13
    assert modules - newer == {name.split()[0] for name in (*MODULES, *UNCALLABLE)} - newer


@pytest.mark.filterwarnings("ignore:reduction:UserWarning", "ignore:LSTM with proj:UserWarning")
@pytest.mark.parametrize("name", MODULES)
def test_modules_of_torch(name, tmp_path, monkeypatch):
    module, *shapes = MODULES[name]
    symbols, inputs = zip(*map(handle, shapes), strict=True)
    model = Model(list(symbols), module(*symbols))
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number != 1)
    modes = (False,) if name == "SyncBatchNorm" else (True, False)  # trains on a GPU only
    assert_same_from_file_and_source(model, inputs, tmp_path, monkeypatch, modes)


@fgraph.register("tests>Holder")
class Holder(nn.Module):
    """A module with one that it does not call."""

    def __init__(self, held: nn.Module) -> None:
        super().__init__()
        self.held = held

    def get_config(self):
        return {"held": self.held}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + sum(parameter.sum() for parameter in self.held.parameters())


@pytest.mark.parametrize("name", UNCALLABLE)
def test_modules_that_others_hold(name, tmp_path, monkeypatch):
    x = Input((4,))
    model = Model(x, Holder(UNCALLABLE[name])(x))
    assert_same_from_file_and_source(model, [torch.rand(3, 4)], tmp_path, monkeypatch)


@settings(max_examples=15, deadline=None)
@given(programs())
def test_random_graphs(tmp_path_factory, program):
    model = program.model()
    folder = tmp_path_factory.mktemp("random")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert_same_from_file_and_source(model, program.inputs(), folder, monkeypatch)
