"""What there is to compare of a model and of what came back: state, ties, modes and results."""

from __future__ import annotations

import copy
import sys
import types

import torch
from torch import nn
from torch.utils import _pytree as pytree

import fgraph
from layers.rows import double


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


def assert_same_from_file_and_source(
    model, inputs, folder, monkeypatch, training=(True, False), kind=type
):
    model.save(folder / "model.fgraph")
    loaded = fgraph.load_model(folder / "model.fgraph", {"double": double})
    assert [kind(m) for m in loaded.modules()] == [kind(m) for m in model.modules()]
    assert [t.stride() for t in slots(loaded)] == [t.stride() for t in slots(model)]
    for found in (loaded, from_source(model, monkeypatch)):
        assert state_of(found) == state_of(model)
        for mode in training:
            assert results_of(found, inputs, mode) == results_of(model, inputs, mode)
    return loaded
