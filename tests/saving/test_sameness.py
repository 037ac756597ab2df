"""What is saved comes back as itself: parameters, buffers, ties, modes, outputs and gradients."""

from __future__ import annotations

import copy
import sys
import types

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.utils import _pytree as pytree

import fgraph
from fgraph import Input, Model
from fgraph.saving.registered import is_allowed
from layers.rows import ROWS, called, double
from saving.torch_modules import all_modules, uncallable_modules
from strategies import programs


def data_of(tensor):
    """Return all that there is to compare of a tensor."""
    plain = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return tensor.dtype, tuple(tensor.shape), plain.numpy().tobytes()


def state_of(module):
    """Return names, kinds, flags, ties, modes and bytes of all that a module holds."""
    first, shared, slots = {}, {}, []
    for path, part in module.named_modules():
        unsaved = part._non_persistent_buffers_set
        for kind, group in (("parameter", part._parameters), ("buffer", part._buffers)):
            for key, tensor in group.items():
                name = f"{path}.{key}"
                if tensor is None:
                    slots.append((kind, name, None))
                    continue
                tied = first.setdefault(id(tensor), name)
                storage = tensor.untyped_storage()
                begin = shared.setdefault(storage.data_ptr(), name) if storage.nbytes() else name
                slots.append(
                    (kind, type(tensor) is nn.Parameter, name, key in unsaved, tied, begin,
                     tensor.requires_grad, data_of(tensor))
                )  # fmt: skip
    modes = {path: part.training for path, part in module.named_modules(remove_duplicate=False)}
    return slots, modes, [(n, data_of(t)) for n, t in module.state_dict().items()]


def results_of(module, inputs, training):
    """Run a module forwards and backwards; return outputs and gradients, or what it raises."""
    module = copy.deepcopy(module).train(training)  # calls may change buffers
    leaves = [x.clone() for x in inputs]
    if leaves[0].is_floating_point():
        leaves[0].requires_grad_()
    torch.manual_seed(0)
    outputs = pytree.tree_leaves(module(leaves[0] * 1, *leaves[1:]))
    total = sum(out.float().nan_to_num().sum() for out in outputs if out.requires_grad)
    if isinstance(total, torch.Tensor):
        try:
            total.backward()
        except RuntimeError as error:  # of a value that was changed in place
            return str(error)[:80]
    tensors = [*leaves, *module.parameters()]
    return [data_of(out) for out in outputs], [
        None if t.grad is None else data_of(t.grad.to_dense()) for t in tensors
    ]


def slots(module):
    """Return all parameters and buffers."""
    return [*module.parameters(), *module.buffers()]


def from_source(model, monkeypatch, **options):
    module = types.ModuleType("generated")
    monkeypatch.setitem(sys.modules, "generated", module)
    exec(compile(model.to_source(**options), "generated.py", "exec"), vars(module))
    net = module.Net()
    net.load_state_dict(model.state_dict())
    return net


def assert_same_from_file_and_source(model, inputs, folder, monkeypatch, training=(True, False)):
    model.save(folder / "model.fgraph")
    loaded = fgraph.load_model(folder / "model.fgraph", {"double": double})
    assert [type(m) for m in loaded.modules()] == [type(m) for m in model.modules()]
    assert [t.stride() for t in slots(loaded)] == [t.stride() for t in slots(model)]
    for found in (loaded, from_source(model, monkeypatch)):
        assert state_of(found) == state_of(model)
        for mode in training:
            assert results_of(found, inputs, mode) == results_of(model, inputs, mode)


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


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_layers(row, tmp_path, monkeypatch):
    _, inputs, outputs = called(*row[1:])
    model = Model(inputs, outputs)
    parts = [part for part in model.modules() if part is not model]
    for part in parts[::2]:
        part.eval()
    arguments = [
        torch.rand(3, *(size or 5 for size in symbol.spec.shape[1:]))
        if symbol.dtype.is_floating_point
        else torch.randint(0, 5, (3, *(size or 5 for size in symbol.spec.shape[1:])))
        for symbol in model.inputs
    ]
    assert_same_from_file_and_source(model, arguments, tmp_path, monkeypatch)


@settings(max_examples=15, deadline=None)
@given(programs())
def test_random_graphs(tmp_path_factory, program):
    model = program.model()
    folder = tmp_path_factory.mktemp("random")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert_same_from_file_and_source(model, program.inputs(), folder, monkeypatch)
