"""Numbers that depend on unknown sizes: never a constant, always what eager torch computes."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from fgraph import Input, Model, apply
from fgraph.errors import BuildError, SymbolicError
from fgraph.graph import SymbolicSize

LENGTHS = [*range(1, 41)]


def agree(program, x: Tensor, model: Model) -> None:
    """The model gives what the program gives, or both fail."""
    try:
        expected = program(x)
    except (RuntimeError, ValueError, IndexError, ZeroDivisionError):
        with pytest.raises((RuntimeError, ValueError, IndexError, ZeroDivisionError)):
            model(x)
        return
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0, equal_nan=True)


class Counts(nn.Module):
    """Returns a number beside a tensor."""

    def forward(self, x):
        return x * 2, min(x.size(1), 10), x.size(1) > 7


def from_module(x):
    y, count, longer = Counts()(x)
    return y * count + longer


PROGRAMS = {
    "s ** -0.5": lambda x: (x @ x.mT) * x.size(1) ** -0.5,
    "s / 2": lambda x: x * (x.size(1) / 2),
    "1 / s": lambda x: x * (1 / x.size(1)),
    "s * 0.5": lambda x: x * (x.size(1) * 0.5),
    "s % k": lambda x: x + x.size(1) % 8,
    "k % s": lambda x: x + 100 % x.size(1),
    "s // k": lambda x: x[:, : x.size(1) // 3],
    "batch % 2": lambda x: x * (x.size(0) % 2),
    "batch // k": lambda x: x[: x.size(0) // 2],
    "divmod": lambda x: x * divmod(x.size(1), 7)[1] + divmod(x.size(1), 7)[0],
    "round": lambda x: x + round(x.size(1) / 7),
    "round to digits": lambda x: x + round(x.size(1) / 7, 2),
    "ceil": lambda x: x + math.ceil(x.size(1) / 7),
    "floor": lambda x: x + math.floor(x.size(1) / 7),
    "trunc": lambda x: x + math.trunc(x.size(1) / 7),
    "negated": lambda x: x * -x.size(1),
    "absolute": lambda x: x * abs(10 - x.size(1)),
    "numel": lambda x: x / x.numel(),
    "shape numel": lambda x: x / x.shape.numel(),
    "unpacked shape": lambda x: x.view(x.shape[0] * x.shape[1], x.shape[2]),
    "heads": lambda x: x.view(*x.shape[:2], 2, x.shape[2] // 2).transpose(1, 2),
    "compared": lambda x: x * (x.size(1) > 10),
    "first ten": lambda x: x[:, :10].sum(1) / x[:, :10].size(1),
    "last ten": lambda x: x[:, -10:].sum(1) / x[:, -10:].size(1),
    "all but ten": lambda x: x[:, :-10].sum(1) * x[:, :-10].size(1),
    "first batch items": lambda x: x[:5].sum(0) / x[:5].size(0),
    "a slice of a slice": lambda x: x[:, 2:][:, :4].relu().sum(1) * x[:, 2:][:, :4].size(1),
    "every third": lambda x: x[:, ::3] * x[:, ::3].size(1),
    "narrow": lambda x: x.narrow(1, 0, x.size(1) // 2),
    "pad to eight": lambda x: F.pad(x, (0, 0, 0, (8 - x.size(1) % 8) % 8)),
    "pad and view": lambda x: F.pad(x, (0, 0, 0, -x.size(1) % 4)).view(x.size(0), -1, 16),
    "arange": lambda x: x + torch.arange(x.size(1)).unsqueeze(-1),
    "arange of a remainder": lambda x: x.sum(1) + torch.arange(x.size(1) % 8).sum(),
    "pooled": lambda x: F.avg_pool1d(x.mT, 200, 200, ceil_mode=True, padding=100).size(2) + x,
    "unfold": lambda x: x.unfold(1, 3, 2).sum(-1) * x.unfold(1, 3, 2).size(1),
    "chunks": lambda x: x.chunk(2, 1)[0] * x.chunk(2, 1)[0].size(1),
    "repeated": lambda x: x.repeat(1, 2, 1) / x.repeat(1, 2, 1).size(1),
    "from a module": from_module,
    "from apply": lambda x: apply(lambda v: (v, v.size(1) % 8), x)[1] * x,
    "max pool": lambda x: F.max_pool1d(x.mT, 2).mT,
    "split by half": lambda x: x.split([x.size(1) // 2, x.size(1) - x.size(1) // 2], 1)[1],
    "difference of sizes": lambda x: x[:, : x.size(1) - x.size(2) + 1],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_reads_sizes_is_what_eager_torch_runs(name):
    program = PROGRAMS[name]
    x = Input((None, 4))
    model = Model(x, program(x))
    for length in LENGTHS:
        for batch in (1, 2, 5, 9):
            value = torch.rand(batch, length, 4)
            if name == "from apply":
                torch.testing.assert_close(model(value), value * (length % 8))
            elif name == "from a module":
                y, count, longer = Counts()(value)
                torch.testing.assert_close(model(value), y * count + longer)
            else:
                agree(program, value, model)


UNDECIDED = {
    "shape": lambda x: x.shape == (2, 3, 4),
    "unequal shapes": lambda x: x.shape != (2, 3, 4),
    "beginning": lambda x: x.shape[:2] == (2, 3),
    "among shapes": lambda x: x.shape in [(2, 3, 4)],
    "halved and doubled": lambda x: x.shape == x[:, ::2].repeat(1, 2, 1).shape,
    "pooled and enlarged": lambda x: (
        x.mT.shape == F.interpolate(F.max_pool1d(x.mT, 2), scale_factor=2).shape
    ),
    "key": lambda x: {3: 5}.get(x.size(1), 7),
    "member": lambda x: x.size(1) in {3, 5},
    "set of sizes": lambda x: len({x.size(0), x.size(1)}),
}


@pytest.mark.parametrize("use", UNDECIDED.values(), ids=UNDECIDED)
def test_a_comparison_that_only_real_sizes_decide_is_refused(use):
    with pytest.raises(SymbolicError, match="sizes are known only at run time"):
        use(Input((None, 4)))


def test_comparisons_of_shapes_that_are_decided():
    x, other = Input((None, 4)), Input((None, 4))
    assert x.shape == x.relu().shape == (None, None, 4) == other.shape
    assert x.shape != (2, 3, 5)
    assert x.shape != (3, 4)
    assert x.shape[2:] == (4,)
    assert x.shape != x.unsqueeze(0).shape
    assert x[:, :2].shape != Input((None, 5)).shape


def test_images_are_padded_to_multiples():
    def program(x):
        return F.pad(x, (0, (8 - x.size(3) % 8) % 8, 0, -x.size(2) % 8))

    x = Input((3, None, None))
    model = Model(x, program(x))
    for height, width in ((5, 9), (8, 16), (1, 1), (192, 288)):
        agree(program, torch.rand(2, 3, height, width), model)


def test_a_shape_is_its_tuple():
    x = Input((None, 7))
    assert repr(x.shape) == "(None, None, 7)"
    assert x.shape == (None, None, 7)
    assert (None, None, 7) == x.shape
    assert x.shape != (None, 7)
    with pytest.raises(TypeError, match="looked up in a dict or set"):
        hash(x.shape)
    batch, length, width = x.shape
    assert isinstance(batch, SymbolicSize)
    assert isinstance(length, SymbolicSize)
    assert width == 7
    assert len(x.shape) == 3
    assert x.shape[-1] == 7
    assert x.size(-1) == 7


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (lambda n: int(n / 2), "write `//`"),
        (lambda n: math.sqrt(n), r"`n \*\* 0.5` for the root"),
        (lambda n: float(n), r"write `1.0 \* n`"),
        (lambda n: min(n, 10), r"used as a truth value.*torch\.sym_min"),
        (lambda n: math.log(n), r"fgraph\.apply\(math\.log, n\)"),
        (lambda n: 1 if n > 3 else 2, "put code that decides"),
        (lambda n: n == 3, "compared"),
    ],
)
def test_what_needs_the_number_itself_is_refused(use, text):
    with pytest.raises(SymbolicError, match=text):
        use(Input((None, 4)).size(1))


def test_counting_up_to_a_size_is_refused():
    n = Input((None, 4)).size(1)
    with pytest.raises(SymbolicError, match="counts up to it"):
        range(n)


def test_a_size_first_among_several_warns_of_the_tuple():
    x, parameter = Input((None, 4)), nn.Parameter(torch.zeros(1, 4))
    n = x.size(1)
    for make in (
        lambda: parameter.expand(n, -1),
        lambda: torch.ones(n, n, dtype=torch.bool, device=x.device),
        lambda: torch.tril(torch.zeros(n * 2, max(3, 4))),
        lambda: torch.randn(*x.shape[:2], 3),
    ):
        with pytest.warns(UserWarning, match=r"in a tuple: write `\w+\(\(n, \.\.\.\)\)`"):
            with pytest.raises(TypeError, match=r"takes 1 positional|invalid combination"):
                make()


def test_calls_that_take_sizes_do_not_warn():
    x, parameter = Input((None, 4)), nn.Parameter(torch.zeros(1, 4))
    n = x.size(1)
    assert parameter.expand((n, -1)).shape == (None, 4)
    assert parameter.repeat(n, 1).shape == (None, 4)
    assert torch.zeros(n).shape == torch.eye(n)[0].shape
    assert torch.full((n, 2), 1.0, device=x.device).shape == (None, 2)
    assert torch.zeros((n, 2), dtype=torch.bool, device=x.device).shape == (None, 2)
    assert torch.topk(x, n // 2, 1).values.shape == (None, None, 4)
    assert torch.randn((n, 2)).shape == torch.zeros(size=[n, 2]).shape


# ------------------------------------------------------------------ believed, then compared


class Saturating(nn.Module):
    """Below 5,000 steps a cut of 5,000 leaves all, which no code may take for granted."""

    def forward(self, x):
        return x.new_zeros(x.size(0), 1 + x.size(1) // 5000)


@pytest.mark.parametrize("begin", ["at the input", "in between", "nested", "a copy"])
def test_a_size_read_is_compared_wherever_a_model_begins(begin):
    x = Input((None,))
    h = x * 2
    y = Saturating()(h)
    model = Model(x if begin == "at the input" else h, y.sum(1) / y.size(1))
    if begin == "nested":
        z = Input((None,))
        model = Model(z, model(z) + 1)
    if begin == "a copy":
        model = copy.deepcopy(Model(x, Model(h, y.sum(1) / y.size(1))(x)))
    assert model(torch.ones(2, 40)).shape == (2,)
    with pytest.raises(ValueError, match=r"axis 1 of Saturating\(\) was read.*as 1.*it is 2"):
        model(torch.ones(2, 5000))


def test_a_size_that_only_trying_tells_is_compared_when_the_model_runs():
    x = Input((None,))
    y = Saturating()(x)
    width = y.size(1)
    assert width == 1
    model = Model(x, y.sum(1) / width)
    assert model(torch.ones(2, 40)).shape == (2,)
    with pytest.raises(ValueError, match=r"axis 1 of Saturating\(\) was read.*as 1.*it is 2"):
        model(torch.ones(2, 5000))


def test_whole_sizes_have_the_operators_of_ints():
    def program(x):
        n = x.size(1)
        return x * (n & 1) + (n << 1) - ~n + (7 ^ n) + (1 | n) + (-n >> 1)

    x = Input((None, 4))
    model = Model(x, program(x))
    for length in (1, 2, 3, 10):
        value = torch.randn(2, length, 4)
        assert torch.equal(model(value), program(value))


def test_sizes_that_rules_tell_are_not_compared():
    x = Input((None, 8))
    y = nn.Linear(8, 4)(x).relu()
    assert y.size(2) == 4
    assert Model(x, y)._signature.reads == ()


# ------------------------------------------------------------------ programs drawn at random

NUMBERS = st.deferred(lambda: SIZES | COMPUTED)
SIZES = st.builds(lambda axis: f"v.size({axis})", st.integers(0, 2))
SMALL = st.integers(1, 12)
COMPUTED = st.one_of(
    st.builds(lambda a, op, k: f"({a} {op} {k})", NUMBERS, st.sampled_from("+-*/%"), SMALL),
    st.builds(lambda a, k: f"({a} // {k})", NUMBERS, SMALL),
    st.builds(lambda k, op, a: f"({k} {op} {a})", SMALL, st.sampled_from(["+", "-", "*"]), NUMBERS),
    st.builds(lambda a: f"({a} ** 2)", NUMBERS),
    st.builds(lambda a: f"round({a} / 3)", NUMBERS),
    st.builds(lambda a: f"math.ceil({a} / 5)", NUMBERS),
    st.builds(lambda a: f"math.floor({a} / 2)", NUMBERS),
)
WHOLE = st.builds(lambda a: f"math.floor({a})", NUMBERS)
STEPS = st.one_of(
    st.builds(lambda n: f"v = v * {n}", NUMBERS),
    st.builds(lambda n: f"v = v + {n}", NUMBERS),
    st.builds(lambda k: f"v = v[:, :{k}]", st.integers(-6, 12)),
    st.builds(lambda k: f"v = v[:, {k}:]", st.integers(-6, 12)),
    st.builds(lambda k: f"v = v[:{k}]", st.integers(1, 6)),
    st.builds(lambda k: f"v = v[:, ::{k}]", st.integers(1, 4)),
    st.builds(lambda n: f"v = v[:, : {n} % 7 + 1]", WHOLE),
    st.builds(lambda n: f"v = F.pad(v, (0, 0, 0, {n} % 5))", WHOLE),
    st.builds(lambda k: f"v = F.pad(v, (0, 0, 0, -v.size(1) % {k}))", SMALL),
    st.just("v = v.view(v.size(0) * v.size(1), v.size(2)).unsqueeze(1)"),
    st.just("v = v.reshape(v.size(0), -1).unsqueeze(2)"),
    st.just("v = v + torch.arange(v.size(1)).unsqueeze(1)"),
    st.just("v = v + torch.arange(v.size(1) % 4).sum()"),
    st.just("v = v.mT"),
    st.just("v = v.relu()"),
    st.just("v = v.cumsum(1)"),
    st.just("v = torch.cat([v, v[:, :3]], 1)"),
    st.just("v = v.mean(1, keepdim=True) * v.shape[1]"),
)


def check(steps: list[str]) -> None:
    """Build a program, and compare it with itself run eagerly at all lengths and batches."""
    source = "def program(v):\n" + "".join(f"    {step}\n" for step in steps) + "    return v\n"
    namespace = {"torch": torch, "F": F, "math": math}
    exec(source, namespace)
    program = namespace["program"]
    x = Input((None, 3))
    try:
        model = Model(x, program(x))
    except (SymbolicError, BuildError):
        return  # refused
    for length in LENGTHS:
        for batch in (1, 2, 3, 6, 9):
            agree(program, torch.rand(batch, length, 3), model)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(STEPS, min_size=1, max_size=5))
def test_random_programs_that_read_sizes(steps):
    check(steps)


@pytest.mark.slow
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=1, max_size=7))
def test_many_random_programs_that_read_sizes(steps):
    check(steps)
