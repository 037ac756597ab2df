"""Calls that torch makes in its own way: own `__call__`, autograd functions, other interceptors."""

from __future__ import annotations

import copy
import gc
import importlib.util
import inspect
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import fgraph
from fgraph import Input, Model
from fgraph.errors import BuildError
from strategies import assert_same, compiled, run

pytestmark = pytest.mark.usefixtures("torch_untouched")


# ------------------------------------------------------------------ classes with their own __call__


class Tenfold(nn.Module):
    """Does more in `__call__` than `nn.Module` does."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.calls = 0

    def forward(self, x):
        return self.linear(x)

    def __call__(self, x):
        self.calls += 1
        return super().__call__(x) * 10


@pytest.mark.parametrize(
    "record",
    [fgraph.apply, lambda module, x: x(module)],
    ids=["apply", "chained"],
)
def test_a_module_with_its_own_call_is_one_leaf(record):
    module, x = Tenfold(), Input((4,))
    model = Model(x, record(module, x))
    assert module.calls == 0
    value = torch.randn(3, 4)
    assert_same(run(model, [value]), run(copy.deepcopy(module), [value]))
    assert module.calls == 1
    nested = nn.Sequential(module, nn.ReLU())
    x = Input((4,))
    assert_same(run(Model(x, nested(x)), [value]), run(copy.deepcopy(nested), [value]))


def test_a_direct_call_of_a_module_with_its_own_call_is_refused():
    x = Input((4,))
    with pytest.raises(TypeError, match=r"Tenfold has a __call__ of its own.*fgraph.apply\(module"):
        Tenfold()(x)


def test_the_calls_of_torchs_own_wrappers_are_recorded():
    x = Input((4,))
    linear, value = nn.Linear(4, 4), torch.randn(3, 4)
    wrapped = [torch.fx.symbolic_trace(linear), torch.compile(linear, backend="eager")]
    linear.compile(backend="eager")
    for module in (*wrapped, linear):
        model = Model(x, module(x))
        assert len(model.nodes) == 1
        assert model.nodes[0].target is module
        assert torch.equal(model(value), module(value))


# ------------------------------------------------------------------ autograd functions


class Reverse(torch.autograd.Function):
    """The identity, whose gradient is turned round."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -ctx.scale * grad, None


class Halves(torch.autograd.Function):
    """Two outputs, and a context set up apart."""

    @staticmethod
    def forward(x, start=0):
        return x[:, start:2].clone(), x[:, 2:].exp()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx, left, right):
        (exp,) = ctx.saved_tensors
        return torch.cat([left * 3, right * exp], 1), None


reverse, halves = Reverse.apply, Halves.apply  # looked up before anything symbolic lives
SEEN_AFTERWARDS = inspect.ismethod(Reverse.apply)  # not since torch 2.15, where it is C++


AUTOGRAD = {
    "looked up before": pytest.param(
        lambda linear, x: reverse(linear(x), 0.5),
        marks=pytest.mark.skipif(not SEEN_AFTERWARDS, reason="refused since torch 2.15"),
    ),
    "two": lambda linear, x: Reverse.apply(linear(x), 2).relu() + Reverse.apply(x, 1.0),
    "several outputs": lambda linear, x: torch.add(*Halves.apply(linear(x))),
}


class Program(nn.Module):
    """A linear layer, and a function of it and the input."""

    def __init__(self, function) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.function = function

    def forward(self, x):
        return self.function(self.linear, x)


COPIES = {
    "itself": lambda model: model,
    "deepcopy": copy.deepcopy,
    "compiled": lambda model: compiled(model),
    "fx": lambda model: model.to_fx(),
}


@pytest.mark.parametrize("function", AUTOGRAD.values(), ids=AUTOGRAD)
@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.filterwarnings("ignore:.*should not be instantiated")  # torch.compile does so
def test_an_autograd_function_is_one_leaf_with_its_own_backward(function, copied):
    net, value = Program(function), torch.randn(3, 4)
    twin, x = copy.deepcopy(net), Input((4,))
    model = copied(Model(x, net.function(net.linear, x)))
    assert_same(run(model, [value]), run(twin, [value]))
    assert_same([p.grad for p in model.parameters()], [p.grad for p in twin.parameters()])


@pytest.mark.skipif(SEEN_AFTERWARDS, reason="recorded before torch 2.15")
@pytest.mark.parametrize("call", [lambda x: reverse(x, 0.5), halves], ids=["ctx", "setup_context"])
def test_an_autograd_function_that_cannot_be_recorded_is_refused(call):
    x = Input((4,))
    with pytest.raises(BuildError, match=r"apply was looked up before.*fgraph.apply\(function"):
        call(nn.Linear(4, 4)(x))


def test_an_autograd_function_is_named_after_its_class():
    x = Input((4,))
    model = Model(x, Reverse.apply(x, 1.0))
    assert "reverse_1 = " in model.code
    assert "Reverse.apply(input_1, 1.0)" in model.to_source()


# ------------------------------------------------------------------ checkpoints and hooks


def test_a_checkpoint_while_building_is_refused():
    x, block = Input((4,)), nn.Linear(4, 4)
    with pytest.raises(ValueError, match=r"fgraph.apply\(checkpoint, block, x, use_reentrant=Fa"):
        checkpoint(block, x, use_reentrant=False)
    with torch.no_grad():  # where torch's own does nothing
        assert checkpoint(block, x, use_reentrant=False).shape == (None, 4)


def test_hooks_on_saved_tensors_are_refused():
    x = Input((4,))
    with (
        torch.autograd.graph.save_on_cpu(),
        pytest.raises(RuntimeError, match=r"save_on_cpu.*fgraph.apply\(function, x\)"),
    ):
        nn.Linear(4, 4)(x)


def test_a_model_built_at_its_first_call_leaves_the_callers_hooks_alone():
    model = fgraph.Sequential([fgraph.layers.Dense(2)])
    with torch.autograd.graph.save_on_cpu():
        model(torch.ones(2, 3)).sum().backward()
    assert model.dense_1.weight.grad is not None


# ------------------------------------------------------------------ errors that are kept


def fail_in_a_module():
    x = Input((4,))
    with torch.no_grad():
        parts = [x]
    return nn.Linear(5, 2)(parts[0])


def fail_in_a_function():
    a, b = Input((4,)), Input((3,))
    return torch.add(a, b)


def fail_for_a_value():
    x = Input((4,))
    if x.sum() > 0:
        return x


FAILURES = [fail_in_a_module, fail_in_a_function, fail_for_a_value]


@pytest.mark.parametrize("fail", FAILURES, ids=lambda fail: fail.__name__)
def test_an_error_that_is_kept_does_not_keep_torch_intercepted(fail):
    before = dict(nn.Module.__dict__)
    kept = []
    for _ in range(2):
        try:
            fail()
        except (ValueError, TypeError) as error:
            kept.append(error)
    assert nn.Module.__call__ is before["__call__"]
    assert dict(nn.Module.__dict__) == before
    assert len(kept) == 2


@pytest.mark.parametrize("fail", FAILURES, ids=lambda fail: fail.__name__)
def test_building_goes_on_after_an_error_that_is_kept(fail):
    x, kept = Input((4,)), []
    for _ in range(2):
        try:
            fail()
        except (ValueError, TypeError) as error:
            kept.append(error)
        module = nn.Dropout(0.5)
        assert module(x).node.target is module
    assert nn.Module.__call__ is not nn.Module._wrapped_call_impl


# ------------------------------------------------------------------ other packages


def test_another_replacement_of_module_calls_is_noticed():
    """As that of a package which sets `nn.Module.__call__` whenever a module is made."""
    plain, seen = nn.Module.__call__, []

    def theirs(self, *args, **kwargs):
        seen.append(type(self))
        return plain(self, *args, **kwargs)

    x = Input((4,))
    try:
        nn.Module.__call__ = theirs
        module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
        y = module(x)
        nn.Module.__call__ = theirs
        model = Model(x, module(y))
        assert [node.target for node in model.nodes] == [module, module]
        del x, y
        gc.collect()
        assert nn.Module._call_impl is model_call_impl
        seen.clear()
        model.eval()(torch.ones(2, 4))
        assert nn.Linear in seen
    finally:
        nn.Module.__call__ = plain


model_call_impl = nn.Module._call_impl


SYMBOLIC = """
    import torch
    from torch import nn
    from fgraph import Input, Model
    import pytorch_symbolic
    x = Input((4,))
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    model = Model(x, nn.Linear(4, 2)(net(x)))
    assert [type(child) for child in model.children()] == [nn.Sequential, nn.Linear], model.code
    model.eval()
    value = torch.randn(3, 4)
    assert torch.equal(model(value), model.linear_1(net(value)))
"""


def test_beside_pytorch_symbolic():
    """Importing it replaces `nn.Module.__new__` for good, so it has a process of its own."""
    if importlib.util.find_spec("pytorch_symbolic") is None:
        pytest.skip("pytorch-symbolic is not installed")
    subprocess.run([sys.executable, "-c", textwrap.dedent(SYMBOLIC)], check=True)
