"""The short way of calling children is taken only where torch would run their forward alone."""

from __future__ import annotations

import contextlib
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module

from fgraph import Input, Model
from fgraph.model.child_calls import child_calls


def chain() -> Model:
    x = Input((4,))
    h = x(nn.Linear(4, 4), name="first")(nn.ReLU(), name="relu")
    return Model(x, h(nn.Linear(4, 4), name="second"))


def is_short(model: Model) -> bool:
    """Whether the model's children would be called through their forward methods."""
    return not any(isinstance(call, nn.Module) for call in child_calls(model).values())


def test_children_without_attachments_are_called_through_their_forward():
    model = chain()
    assert is_short(model)
    assert dict(child_calls(model)) == {n: child.forward for n, child in model.named_children()}
    assert "m = child_calls(self, input_1)" in model.code


def test_a_model_of_one_or_two_calls_looks_its_children_up():
    """There the question would cost more than it saves."""
    x = Input((4,))
    assert "m = self._modules" in Model(x, nn.Linear(4, 4)(nn.ReLU()(x))).code


def ignore(*_):
    """A hook that does nothing."""


ATTACH = {
    "forward hook": lambda m: m.register_forward_hook(ignore),
    "forward pre-hook": lambda m: m.register_forward_pre_hook(ignore),
    "backward hook": lambda m: m.register_full_backward_hook(ignore),
    "backward pre-hook": lambda m: m.register_full_backward_pre_hook(ignore),
}


@pytest.mark.parametrize("attach", ATTACH.values(), ids=ATTACH)
def test_a_hook_on_one_child_counts_until_it_is_removed(attach):
    model = chain()
    handle = attach(model.second)
    assert not is_short(model)
    handle.remove()
    assert is_short(model)


WATCH = {
    "global forward hook": lambda: torch_module.register_module_forward_hook(ignore),
    "global forward pre-hook": lambda: torch_module.register_module_forward_pre_hook(ignore),
    "global backward hook": lambda: torch_module.register_module_full_backward_hook(ignore),
    "global backward pre-hook": lambda: torch_module.register_module_full_backward_pre_hook(ignore),
}


@pytest.mark.parametrize("watch", WATCH.values(), ids=WATCH)
def test_a_hook_on_all_modules_counts_until_it_is_removed(watch):
    model = chain()
    handle = watch()
    assert not is_short(model)
    handle.remove()
    assert is_short(model)


def test_a_child_compiled_in_place_is_called_through_its_compiled_form():
    class Shift(nn.Module):
        def forward(self, x):
            return x + 1

    model, calls = chain(), []
    model.first = Shift()
    model.first.compile(backend=lambda graph, _: calls.append(graph) or graph.forward)
    assert not is_short(model)
    model(torch.ones(2, 4))
    assert len(calls) == 1


def test_a_child_with_a_call_of_its_own_is_called_as_it_is():
    class Doubled(nn.Linear):
        def __call__(self, x):
            return 2 * super().__call__(x)

    model = chain()
    model.first = Doubled(4, 4)
    model.second = nn.Identity()
    x = torch.randn(3, 4)
    assert torch.equal(model(x), (2 * nn.functional.linear(x, *model.first.parameters())).relu())


def test_a_forward_set_on_a_child_counts():
    model = chain()
    model.second.forward = lambda x: x + 1
    x = torch.randn(3, 4)
    assert torch.equal(model(x), model.first(x).relu() + 1)


def test_a_replaced_module_call_sees_every_child(monkeypatch):
    """Tracers and other libraries replace `nn.Module.__call__`."""
    model, seen = chain(), []
    plain = nn.Module.__call__

    def watching(self, *args, **kwargs):
        seen.append(type(self).__name__)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "__call__", watching)
    model(torch.ones(2, 4))
    assert seen == ["Model", "Linear", "ReLU", "Linear"]


def test_the_profiler_sees_every_child():
    model = chain()
    with torch.autograd.profiler.profile():
        assert not is_short(model)
    assert is_short(model)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.* is deprecated")  # since torch 2.10
def test_tracing_sees_every_child():
    model, seen = chain(), []

    class Probe(nn.Module):
        def forward(self, x):
            seen.append(is_short(model))
            return x

    torch.jit.trace(Probe(), torch.ones(1))
    assert seen[0] is False  # the last run is torch's own check, without tracing


def test_live_symbolic_tensors_do_not_slow_a_model_down_but_are_recorded():
    """While a symbolic tensor lives, real inputs take the short way, symbolic ones are recorded."""
    model = chain()
    x = Input((4,))
    assert is_short(model)
    recorded = Model(x, model.forward(x))
    assert recorded.get_layer("linear_2") is model.second


def test_classes_of_children_are_not_kept_for_ever():
    """However many classes of modules there are, few are remembered."""
    model, classes = chain(), []
    for _ in range(600):
        model.first = type("Own", (nn.Linear,), {})(4, 4)
        classes.append(weakref.ref(type(model.first)))
        assert is_short(model)
    gc.collect()
    assert sum(kind() is not None for kind in classes) < 300


def test_a_hook_sees_the_call_that_follows_its_registration():
    model, seen = chain(), []
    with contextlib.ExitStack() as stack:
        for child in model.children():
            handle = child.register_forward_hook(lambda m, args, out: seen.append(out.shape))
            stack.callback(handle.remove)
        model(torch.ones(2, 4))
    model(torch.ones(2, 4))
    assert seen == [(2, 4)] * 3
