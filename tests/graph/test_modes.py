"""Grad mode and autocast: a graph runs each call under what it was recorded under."""

from __future__ import annotations

import contextlib
import copy
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fgraph import BuildError, Input, Model, Sequential, layers, load_model
from fgraph.graph.modes import current_modes
from fgraph.models import clone_model
from strategies import compiled


class Net(nn.Module):
    """A program whose parts run in several modes; `steps` is what it does."""

    def __init__(self, steps) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh())
        self.head = nn.Linear(4, 3)
        self.steps = steps

    def forward(self, x):
        return self.steps(self, x)


def frozen_backbone(net, x):
    with torch.no_grad():
        h = net.backbone(x)
        h = h * 2
    return net.head(h)


def set_grad_enabled(net, x):
    with torch.set_grad_enabled(False):
        h = net.backbone(x)
    return net.head(h) + F.relu(x).sum()


def decorated(net, x):
    @torch.no_grad()
    def features(x):
        return net.backbone(x)

    return net.head(features(x))


def gradients_inside(net, x):
    with torch.no_grad():
        h = net.backbone(x)
        with torch.enable_grad():
            h = net.head(h)
        h = h + h.mean()
    return net.head(F.pad(h, (0, 1))) + x.sum()


def inference(net, x):
    with torch.inference_mode():
        h = net.backbone(x)
    return net.head(h.clone()), h


def in_bfloat16(net, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h = net.backbone(x)
        y = net.head(h).softmax(-1)
    return net.head(h.float()), y


def in_half(net, x):
    with torch.autocast("cpu", dtype=torch.float16, cache_enabled=False), torch.no_grad():
        h = net.backbone(x)
    return net.head(h.float() + x)


def switched_off_inside(net, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h = net.backbone(x)
        with torch.autocast("cpu", enabled=False):
            h = net.head(h.float())
        return h @ h.mT


PROGRAMS = [
    frozen_backbone, set_grad_enabled, decorated, gradients_inside, inference, in_bfloat16,
    in_half, switched_off_inside,
]  # fmt: skip
every_program = pytest.mark.parametrize("steps", PROGRAMS, ids=lambda steps: steps.__name__)


@pytest.fixture(autouse=True)
def _modes_untouched():
    """Every test ends in the modes in which it began."""
    yield
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")
    assert torch.autocast_increment_nesting() - torch.autocast_decrement_nesting() == 1
    assert current_modes() is None


def built(steps) -> tuple[Model, Net]:
    """Return a model of the program, and the program itself with equal weights."""
    torch.manual_seed(0)
    net = Net(steps)
    twin = copy.deepcopy(net)
    x = Input((4,))
    return Model(x, steps(net, x)), twin


def outcome(module: nn.Module) -> list[torch.Tensor | None]:
    """Return outputs, gradients and buffers of one call."""
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    found = module(x)
    found = list(found) if isinstance(found, (tuple, list)) else [found]
    with contextlib.suppress(RuntimeError):  # backward through an inference tensor
        sum(out.float().pow(2).sum() for out in found).backward()
    # the program knows its parts by other names, in the same order
    return [*found, x.grad, *(p.grad for p in module.parameters()), *module.buffers()]


def assert_equal(found, expected) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.requires_grad == theirs.requires_grad
            assert ours.is_inference() == theirs.is_inference()
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


@every_program
def test_a_graph_equals_the_same_code_run_eagerly(steps):
    model, twin = built(steps)
    assert_equal(outcome(model), outcome(twin))


@every_program
@pytest.mark.parametrize(
    "caller",
    [
        torch.no_grad,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        torch.inference_mode,
    ],
    ids=["no_grad", "autocast", "inference_mode"],
)
def test_the_modes_of_the_caller_hold_where_the_graph_sets_none(steps, caller):
    model, twin = built(steps)
    x = torch.randn(5, 4)
    with caller():
        found, expected = model(x), twin(x)
    found, expected = ([y] if isinstance(y, torch.Tensor) else y for y in (found, expected))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)
        assert ours.dtype == theirs.dtype
        assert ours.requires_grad == theirs.requires_grad


def test_gradients_are_taken_where_the_code_enables_them_whatever_the_caller_does():
    x = Input((4,))
    head = nn.Linear(4, 1)
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        (forces,) = torch.autograd.grad(head(leaf).square().sum(), leaf)
    model = Model(x, forces)
    value = torch.randn(3, 4)
    expected = 2 * head(value) * head.weight
    with torch.no_grad():
        for one in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.allclose(one(value), expected)
    assert torch.allclose(model(value), expected)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "fx": lambda model: model.to_fx(),
    "symbolic_trace": torch.fx.symbolic_trace,
    "nested": lambda model: (lambda x: Model(x, model(x)))(Input((4,))),
}


@every_program
@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copies_and_torch_fx_keep_the_modes(steps, copied):
    model, twin = built(steps)
    assert_equal(outcome(copied(model)), outcome(twin))
    assert torch.is_grad_enabled()


@every_program
def test_files_and_plain_source_keep_the_modes(steps, tmp_path):
    model, twin = built(steps)
    model.save(tmp_path / "model.fgraph")
    assert_equal(outcome(load_model(tmp_path / "model.fgraph")), outcome(twin))
    namespace: dict[str, type] = {}
    exec(model.to_source(), namespace)
    net = namespace["Net"]()
    net.load_state_dict(model.state_dict())
    twin.zero_grad()
    twin.load_state_dict(dict(zip(twin.state_dict(), model.state_dict().values(), strict=True)))
    assert_equal(outcome(net), outcome(twin))


@every_program
def test_a_clone_keeps_the_modes(steps):
    model, _ = built(steps)
    with torch.no_grad():
        clone = clone_model(model)
    assert clone.code == model.code


def test_consecutive_calls_share_a_block():
    model, _ = built(frozen_backbone)
    assert model.code.count("with torch.no_grad():") == 1
    model, _ = built(switched_off_inside)
    assert model.code.count("with torch.autocast(") == 3
    assert 'with torch.autocast("cpu", dtype=torch.bfloat16):' in model.code


@pytest.mark.slow
@every_program
def test_compiled_models_keep_the_modes(steps):
    model, twin = built(steps)
    assert_equal(outcome(compiled(model)), outcome(twin))


def test_dtypes_under_autocast_are_known_when_the_graph_is_built():
    x = Input((6, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for module in (
            nn.Linear(4, 3), nn.LSTM(4, 3), nn.GRU(4, 3), nn.LayerNorm(4), nn.Conv1d(6, 2, 1),
            nn.MultiheadAttention(4, 2),
        ):  # fmt: skip
            inputs = (x, x, x) if isinstance(module, nn.MultiheadAttention) else (x,)
            real = module(*[torch.randn(2, 6, 4) for _ in inputs])
            symbolic = module(*inputs)
            if isinstance(real, tuple):
                real, symbolic = real[0], symbolic[0]
            assert symbolic.dtype == real.dtype
            assert symbolic.shape[1:] == real.shape[1:]
        assert torch.exp(x).dtype == torch.float32
        assert (x @ x.mT).dtype == torch.bfloat16
    assert (x @ x.mT).dtype == torch.float32


def test_a_model_recorded_without_gradients_warns_once():
    x = Input((4,))
    with torch.no_grad():
        h = nn.Linear(4, 4)(x)
    with pytest.warns(UserWarning, match=r"all of model 'features' was recorded under torch.no_g"):
        model = Model(x, h, name="features")
    for _ in range(2):  # no more: warnings are errors
        copy.deepcopy(model)(torch.ones(1, 4))
    Model(x, nn.Linear(4, 4)(h))


def test_a_model_built_at_its_first_call_is_trained_whatever_the_mode_of_that_call():
    for caller in (torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu")):
        model = Sequential([layers.Dense(3), nn.Dropout(0.1)])
        with caller():
            model(torch.ones(2, 4))
        assert "with" not in model.code
        model(torch.ones(2, 4)).sum().backward()
        assert all(p.grad is not None for p in model.parameters())


def test_the_mode_of_one_thread_is_not_that_of_another():
    x, made = Input((4,)), []
    with torch.no_grad():
        thread = threading.Thread(target=lambda: made.append(nn.Linear(4, 2)(x)))
        thread.start()
        thread.join()
    assert made[0].node.modes is None


def test_an_error_in_a_block_names_its_layer():
    a, b = Input((None, 4)), Input((None, 4))
    with torch.no_grad():
        h = nn.Linear(4, 4)(a)
        h = torch.add(h, b)
    model = Model([a, b], nn.Linear(4, 2)(h))
    with pytest.raises(RuntimeError) as caught:
        model(torch.ones(2, 5, 4), torch.ones(2, 6, 4))
    assert "layer 'add_1'" in caught.value.__notes__[0]
    found = model.activations(torch.ones(2, 5, 4), torch.ones(2, 5, 4))
    assert not found["linear_1"].requires_grad
    assert found["linear_2"].requires_grad


def test_refusals_under_autocast_are_raised_and_not_logged(caplog):
    x = Input((None, 4))
    with torch.autocast("cpu", torch.bfloat16):
        shifted = x * 1.0
        with pytest.raises(BuildError, match="add_ cannot be called"):
            shifted.add_(torch.ones(3, 4))
    assert not caplog.records
