"""Steps without torch's profiling: the same bits, and whoever watches still sees them."""

from __future__ import annotations

import copy
import functools
import types

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from fgraph import Input, Model, layers, optimizers
from fgraph.optimizers import fast_step as lean
from fgraph.optimizers.fast_step import fast_step


def _params(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 2), (4,), (2, 3, 2))
    return [nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for s in shapes]


def _set_gradients(params: list[nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for i, p in enumerate(params):
        gradient = torch.randn(p.shape, generator=generator).to(p.dtype)
        p.grad = None if i == step % 4 else gradient


def _grouped(params, **settings):
    groups = [{"params": params[:1], "lr": 0.5}, {"params": params[1:], "weight_decay": 0.1}]
    return torch.optim.Adam(groups, fused=True, **settings)


MAKERS = {
    "adam": lambda params: torch.optim.Adam(params, fused=True),
    "amsgrad": lambda params: torch.optim.Adam(params, fused=True, amsgrad=True),
    "maximize": lambda params: torch.optim.AdamW(params, fused=True, maximize=True),
    "adamw": lambda params: torch.optim.AdamW(params, fused=True, weight_decay=0.1),
    "groups": _grouped,
    "int rate": lambda params: torch.optim.Adam(params, lr=1, fused=True),
    "tensor rate": lambda params: torch.optim.Adam(params, lr=torch.tensor(0.1), fused=True),
    "foreach": lambda params: torch.optim.Adam(params, foreach=True),
    "sgd": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    "keras adam": optimizers.Adam(weight_decay=0.1, clipnorm=0.5),
    "keras adamw": optimizers.AdamW(use_ema=True, ema_overwrite_frequency=3),
    "keras rmsprop": optimizers.RMSprop(),
    "keras ftrl": optimizers.Ftrl(),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_steps_have_the_bits_of_torchs(make):
    """With parameters that have no gradient in some steps, and a state that is loaded halfway."""
    results = []
    for step in (fast_step, lambda optimizer: optimizer.step()):
        params = _params()
        optimizer = make(params)
        for number in range(10):
            if number == 5:
                optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            _set_gradients(params, number)
            step(optimizer)
        results.append([*params, *(value["step"] for value in optimizer.state.values()
                                   if isinstance(value, dict) and "step" in value)])  # fmt: skip
    assert all(
        torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(*results, strict=True)
    )


def test_parameters_of_several_dtypes_are_grouped_as_torch_does():
    """The kernel takes one dtype."""
    results = []
    for step in (fast_step, lambda optimizer: optimizer.step()):
        params = [*_params(), *_params(torch.float64)]
        optimizer = torch.optim.Adam(params, fused=True)
        for number in range(4):
            _set_gradients(params, number)
            step(optimizer)
        results.append(params)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_whoever_watches_steps_sees_them():
    """Hooks of one optimizer and of all, a replaced `step`, a scheduler, the profiler."""
    params, seen = _params(), []
    optimizer = torch.optim.Adam(params, fused=True)
    _set_gradients(params, 0)
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    handle = register_optimizer_step_pre_hook(lambda *_: seen.append("all"))
    fast_step(optimizer)
    handle.remove()
    assert seen == ["all", "before", "after"]
    with torch.autograd.profiler.profile() as profile:
        fast_step(optimizer)
    assert "Optimizer.step#Adam.step" in [event.key for event in profile.key_averages()]
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    fast_step(optimizer)
    scheduler.step()  # would warn of a step that it had not seen
    assert len(seen) == 7


def test_a_class_whose_step_is_wrapped_keeps_its_wrapper(monkeypatch):
    """As programs that count steps do."""
    params, seen = _params(), []
    optimizer = torch.optim.Adam(params, fused=True)
    step = torch.optim.Adam.step

    @functools.wraps(step)
    def counted(self, *args, **kwargs):
        seen.append(1)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", counted)
    _set_gradients(params, 0)
    fast_step(optimizer)
    assert seen == [1]


def test_a_hook_may_change_the_arguments_of_a_step():
    """As torch lets it."""
    params, losses = _params(), []
    optimizer = torch.optim.Adam(params, fused=True)
    closure = lambda: losses.append(1.0)  # noqa: E731
    optimizer.register_step_pre_hook(lambda self, args, kwargs: ((*args, closure), kwargs))
    for number in range(3):
        _set_gradients(params, number)
        fast_step(optimizer)
    assert losses == [1.0, 1.0, 1.0]


def test_hooks_on_a_model_with_logits_are_called_in_training():
    """Also those that come after steps without any."""
    x = Input((3,))
    model = Model(x, layers.Dense(2, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    data, seen = (torch.randn(4, 3), torch.tensor([0, 1, 0, 1])), []
    model.train_on_batch(*data)
    model.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    model.train_on_batch(*data)
    assert seen == [(4, 2)]


_NOTHING = types.SimpleNamespace()
OTHER_TORCHES = {
    "no kernel": (torch, "_fused_adam_", None),
    "another signature": (torch, "_fused_adamw_", lambda params, grads: None),
    "no list of hooks": (lean, "torch_optimizer", _NOTHING),
    "no flag of the profiler": (lean, "profiler", _NOTHING),
    "no wrapper": (lean, "_wrapper", lambda: _NOTHING.code),
}


@pytest.mark.parametrize(("owner", "name", "other"), OTHER_TORCHES.values(), ids=OTHER_TORCHES)
def test_another_torch_makes_its_own_steps(owner, name, other, monkeypatch):
    """Where a private part is missing, or does something else, `step` is called as it is."""
    lean._torch_is_known.cache_clear()
    try:
        with monkeypatch.context() as changed:
            if other is None:
                changed.delattr(owner, name)
            else:
                changed.setattr(owner, name, other)
            assert not lean._torch_is_known()
        steps = []
        for step in (fast_step, lambda optimizer: optimizer.step()):
            params = _params()
            optimizer = torch.optim.AdamW(params, fused=True)
            _set_gradients(params, 0)
            optimizer.register_step_post_hook(lambda *_: steps.append(1))
            step(optimizer)
            steps.append([p.detach() for p in params])
        assert all(map(torch.equal, steps[1], steps[3]))
    finally:
        lean._torch_is_known.cache_clear()
    assert lean._torch_is_known()
