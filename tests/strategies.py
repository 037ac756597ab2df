"""A Hypothesis strategy for random programs: modules and functions, shared, with several ends.

A `Program` is an ordinary `nn.Module`. Its `forward` run on real tensors is the direct execution;
the same `forward` run on symbolic tensors is what builds the graph.

    twin, model = program.twin(), program.model()  # with program drawn from programs()
    assert_same(run(model, program.inputs()), run(twin, program.inputs()))
    assert_same(state(program), state(twin))
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import fgraph
from fgraph import Input, Model

BATCH = 3
WIDEST = 16


@fgraph.register("tests>Halves")
class Halves(NamedTuple):
    """What `Split` returns."""

    left: Tensor
    right: Tensor


@fgraph.register("tests>Split")
class Split(nn.Module):
    """A module with a structured result and a keyword argument."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width))

    def get_config(self):
        return {"width": len(self.weight)}

    def forward(self, x, *, scale=1.0):
        scaled = x * self.weight * scale
        return {"halves": Halves(scaled + x, scaled - x), "none": None}


@fgraph.register("tests>Mix")
class Mix(nn.Module):
    """A module that takes a nested list, and reads a width from its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def get_config(self):
        return {"width": self.linear.in_features}

    def forward(self, pair):
        first, (second,) = pair
        return self.linear(first) + second.reshape(second.size(0), -1)


@fgraph.register("tests>States")
class States(nn.Module):
    """A recurrent layer run over the features; gives its last output and both states."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, width, batch_first=True)

    def get_config(self):
        return {"width": self.lstm.hidden_size}

    def forward(self, x):
        out, (h, c) = self.lstm(x.unsqueeze(-1))
        return out[:, -1], (h[0], c[0])


@fgraph.register("tests>Views")
class Views(nn.Module):
    """Changes its input, and returns it and a view of it."""

    def forward(self, x):
        x[:, 0] += 1
        return x, x[:, 1:]


@dataclass(frozen=True)
class Op:
    """One kind of step.

    Attributes:
        run: the expression; takes the module first where there is one.
        arity: the number of values that it takes, all of one width.
        module: makes the module for an input width, if the step has one.
        width: the width of the result.
    """

    run: Callable[..., Any]
    arity: int = 1
    module: Callable[[int], nn.Module] | None = None
    width: Callable[[int], int] = lambda width: width


OPS = {
    "relu": Op(torch.relu),
    "tanh": Op(lambda x: x.tanh()),
    "softmax": Op(lambda x: F.softmax(x, dim=-1)),
    "layer_norm": Op(lambda x: F.layer_norm(x, x.shape[1:])),
    "clamp": Op(lambda x: torch.clamp(x, min=-0.5, max=0.5)),
    "affine": Op(lambda x: 1 - x / 2),
    "power": Op(lambda x: (-x) ** 2),
    "normalise": Op(lambda x: x - x.mean(-1, keepdim=True)),
    "view": Op(lambda x: x.view(x.size(0), 1, -1).squeeze(1)),
    "zeros": Op(lambda x: x + x.new_zeros(x.size(0), 1)),
    "flip": Op(lambda x: x[..., [*range(x.shape[-1])][::-1]]),
    "first": Op(lambda x: x[:, :1], width=lambda width: 1),
    "max": Op(lambda x: x.max(dim=1, keepdim=True).values, width=lambda width: 1),
    "sort": Op(lambda x: torch.sort(x, dim=1)[0]),
    "double": Op(lambda x: torch.cat([x, x.abs()], dim=1), width=lambda width: 2 * width),
    "compare": Op(lambda x: torch.where(x > 0, x, x * 0.1)),
    "constant": Op(lambda x: x + torch.full((1,), 0.25)),
    "noise": Op(lambda x: F.dropout(x, 0.25, training=True)),
    "add": Op(lambda x, y: x + y, arity=2),
    "sub": Op(lambda x, y: x - y, arity=2),
    "mul": Op(lambda x, y: x * y, arity=2),
    "maximum": Op(torch.maximum, arity=2),
    "stack": Op(lambda x, y: torch.stack((x, y)).sum(0), arity=2),
    "einsum": Op(lambda x, y: torch.einsum("bi,bj->bi", x, y), arity=2),
    "cat3": Op(lambda x, y, z: torch.cat([x, y, z], 1)[:, ::3], arity=3),
    "linear": Op(lambda m, x: m(x), module=lambda width: nn.Linear(width, width)),
    "widen": Op(lambda m, x: m(x), module=lambda width: nn.Linear(width, 4), width=lambda width: 4),
    "batch_norm": Op(lambda m, x: m(x), module=nn.BatchNorm1d),
    "sequential": Op(
        lambda m, x: m(x),
        module=lambda width: nn.Sequential(nn.Linear(width, 3), nn.GELU(), nn.Linear(3, width)),
    ),
    "dropout": Op(lambda m, x: m(x), module=lambda width: nn.Dropout(0.3)),
    "split": Op(lambda m, x: m(x, scale=0.5)["halves"].right, module=Split),
    "halves": Op(lambda m, x: torch.mul(*m(x)["halves"]), module=Split),
    "mix": Op(lambda m, x, y: m([x, (y,)]), arity=2, module=Mix),
    "states": Op(lambda m, x: (lambda out, s: out + s[1])(*m(x)), module=States),
    "bilinear": Op(
        lambda m, x, y: m(x, y), arity=2, module=lambda width: nn.Bilinear(width, width, width)
    ),
    "parameter": Op(lambda m, x: x @ m.weight, module=lambda w: nn.Linear(w, w, bias=False)),
}


def _adds(x, y):
    x += y
    return x


def _scales_a_view(x):
    x[:, :1] *= 2
    return x


def _assigns(x, y):
    x[1:, 0] = y[:-1, -1]
    return x


def _assigns_where(x):
    x[x > 0.5] = 0.5
    return x


def _assigns_by_mask(x, y):
    mask = y > 0
    x[mask] = y[mask]
    return x


def _reshapes_in_place(x):
    view = x[:]
    return view.unsqueeze_(0).squeeze_(0)


VIEWS_AND_CHANGES = {
    "iadd": Op(_adds, arity=2),
    "add_": Op(lambda x, y: x.add_(y, alpha=0.5), arity=2),
    "copy_": Op(lambda x, y: x.copy_(y), arity=2),
    "clamp_": Op(lambda x: x.clamp_(min=-0.5)),
    "dropout_": Op(lambda x: F.dropout(x, 0.0, inplace=True)),
    "scale_view": Op(_scales_a_view),
    "assign": Op(_assigns, arity=2),
    "assign_where": Op(_assigns_where),
    "assign_by_mask": Op(_assigns_by_mask, arity=2),
    "reshape_in_place": Op(_reshapes_in_place),
    "zero_rows": Op(lambda x: x[:2].zero_()[:1] + x),
    "detached": Op(lambda x: x.detach().mul_(0.5) + x),
    "whole_view": Op(lambda x: x.view(-1, x.shape[1])),
    "columns": Op(lambda x: x[:, ::2], width=lambda width: (width + 1) // 2),
    "flatten": Op(lambda x: x.t().flatten().unflatten(0, (x.shape[1], -1)).t()),
    "data": Op(lambda x: x.data),
    "relu_": Op(lambda m, x: m(x), module=lambda width: nn.ReLU(inplace=True)),
    "identity": Op(lambda m, x: m(x), module=lambda width: nn.Identity()),
    "two_views": Op(lambda m, x: m(x)[0], module=lambda width: Views()),
}
OPS |= VIEWS_AND_CHANGES
RANDOM_OPS = frozenset({"noise", "dropout"})  # these draw random numbers in training
STATEFUL_OPS = RANDOM_OPS | {"batch_norm"}  # running these where no output needs it shows
RECURRENT_OPS = frozenset({"states"})  # torch.compile does not take torch's recurrent modules


@dataclass(frozen=True)
class Step:
    """One step of a program.

    Attributes:
        op: which op.
        values: on which earlier values.
        module: with which module of the pool.
        mode: under which context manager of `MODES`.
    """

    op: str
    values: tuple[int, ...]
    module: int | None
    mode: str | None = None


MODES = {  # what a step may run under
    None: contextlib.nullcontext,
    "no_grad": torch.no_grad,
    "bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


class Program(nn.Module):
    """Steps on a few inputs; the modules hang in `pool`, and several steps may share one.

    Args:
        widths: the width of each input, all of shape `(batch, width)`.
        steps: the steps; values are counted from the first input on.
        pool: the modules.
        outputs: a structure of value numbers.

    Attributes:
        needed: the values to compute: those that the outputs need; all if some step is in place.
        backward: whether autograd can run; it cannot where what it saved is changed in place.
    """

    def __init__(
        self, widths: Sequence[int], steps: Sequence[Step], pool: list[nn.Module], outputs: Any
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.steps = tuple(steps)
        self.pool = nn.ModuleList(pool)
        self.outputs = outputs
        needed = set(pytree.tree_leaves(outputs))
        if any(step.op in VIEWS_AND_CHANGES for step in steps):  # they may change what is needed
            needed.update(range(len(widths) + len(steps)))
        for number in range(len(widths) + len(steps) - 1, len(widths) - 1, -1):
            if number in needed:
                needed.update(steps[number - len(widths)].values)
        self.needed = frozenset(needed)
        self.backward = True  # False: it changes in place what autograd has saved

    def values(self, *inputs: Any) -> dict[int, Any]:
        """Run the steps that the outputs need; return each value by its number."""
        found = dict(enumerate(inputs))
        for number, step in enumerate(self.steps, len(inputs)):
            if number in self.needed:
                module = [] if step.module is None else [self.pool[step.module]]
                arguments = [found[value] for value in step.values]
                with MODES[step.mode]():
                    found[number] = OPS[step.op].run(*module, *arguments).float()
        return found

    def forward(self, *inputs: Any) -> Any:
        """Run the program; return the outputs in their structure."""
        values = self.values(*inputs)
        return pytree.tree_map(values.get, self.outputs)

    def symbols(self) -> list[Any]:
        """Make a symbolic tensor for each input."""
        return [Input((width,)) for width in self.widths]

    def model(self) -> Model:
        """Record the program as a graph of its own modules."""
        inputs = self.symbols()
        with warnings.catch_warnings():  # of a program that is all under no_grad
            warnings.simplefilter("ignore", UserWarning)
            return Model(inputs, self.forward(*inputs))

    def inputs(self, seed: int = 0) -> list[Tensor]:
        """Make real inputs."""
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(BATCH, width, generator=generator) for width in self.widths]

    def twin(self) -> Program:
        """Return an equal program with modules of its own."""
        return copy.deepcopy(self)

    def extra_repr(self) -> str:
        return f"widths={self.widths}, steps={self.steps}, outputs={self.outputs}"


@st.composite
def programs(draw, max_steps: int = 12, leave_out: Iterable[str] = ()) -> Program:
    """Draw a program.

    Args:
        draw: given by Hypothesis.
        max_steps: the largest number of steps.
        leave_out: names of ops that no step may have, such as `RANDOM_OPS`.
    """
    widths = draw(st.lists(st.sampled_from((1, 2, 3, 4)), min_size=1, max_size=3))
    plain = draw(st.booleans())
    leave_out = {*leave_out, *(VIEWS_AND_CHANGES if plain else STATEFUL_OPS)}
    names = sorted(OPS.keys() - leave_out)
    known, steps, pool = list(widths), [], []
    made: dict[tuple[str, int], list[int]] = {}
    for _ in range(draw(st.integers(1, max_steps))):
        name = draw(st.sampled_from(names))
        op = OPS[name]
        first = draw(st.integers(0, len(known) - 1))
        width = known[first]
        if op.width(width) > WIDEST:
            continue
        alike = [number for number, other in enumerate(known) if other == width]
        others = [draw(st.sampled_from(alike)) for _ in range(op.arity - 1)]
        module = None
        if op.module is not None:
            shared = made.setdefault((name, width), [])
            module = draw(st.sampled_from([*shared, len(pool)]))
            if module == len(pool):
                shared.append(module)
                pool.append((op.module, width))
        # weights used in two autocast blocks are cast twice, and a graph joins such blocks
        modes = [None, None, "no_grad"] if module is not None else [None, None, *MODES]
        steps.append(Step(name, (first, *others), module, draw(st.sampled_from(modes))))
        known.append(op.width(width))
    outputs = draw(_outputs(len(known)))
    torch.manual_seed(draw(st.integers(0, 3)))
    program = Program(widths, steps, [make(width) for make, width in pool], outputs)
    if not plain:
        _try_eagerly(program)
    return program


def _try_eagerly(program: Program) -> None:
    """Find out whether autograd can run a program; drop one that eager torch refuses."""
    try:
        run(program.twin(), program.inputs(), backward=False)
        run(program.twin(), program.inputs())
    except RuntimeError as error:
        assume("modified by an inplace operation" in str(error))
        program.backward = False


@st.composite
def _outputs(draw, count: int) -> Any:
    """Draw a structure of value numbers, the last value always among them."""
    numbers = [*draw(st.lists(st.integers(0, count - 1), max_size=3)), count - 1]
    forms = {
        "one": lambda: numbers[-1],
        "list": lambda: numbers,
        "tuple": lambda: tuple(numbers),
        "dict": lambda: {f"out{place}": number for place, number in enumerate(numbers)},
        "nested": lambda: {"last": numbers[-1], "others": [tuple(numbers)]},
        "named tuple": lambda: Halves(
            numbers[-1], {"left": numbers[0], "n": Halves(*numbers[:1] * 2)}
        ),
    }
    return forms[draw(st.sampled_from(sorted(forms)))]()


def run(
    module: nn.Module, inputs: Sequence[Tensor], seed: int = 1, backward: bool = True
) -> list[Tensor | None]:
    """Run forward and backward; return the outputs, then the gradients of the inputs."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    torch.manual_seed(seed)
    # a program may change its inputs, which torch allows of no leaf; a model leaves them alone
    given = [x.clone() for x in inputs] if isinstance(module, Program) else inputs
    outputs = pytree.tree_leaves(module(*given))
    weights = [torch.linspace(0.5, 1.5, out.numel()).view(out.shape) for out in outputs]
    loss = sum((out * weight).sum() for out, weight in zip(outputs, weights, strict=True))
    if backward and loss.requires_grad:
        loss.backward()
    return [*(out.detach() for out in outputs), *(x.grad for x in inputs)]


def compiled(module: nn.Module) -> nn.Module:
    """Return a module compiled as one graph, as if nothing had been compiled before."""
    torch.compiler.reset()
    return torch.compile(module, backend="eager", fullgraph=True)


def state(module: nn.Module) -> list[Tensor | None]:
    """Return the gradients of the parameters, then the buffers."""
    return [*(p.grad for p in module.parameters()), *module.buffers()]


def assert_same(found: Sequence[Tensor | None], expected: Sequence[Tensor | None]) -> None:
    """Check that two lists of tensors are equal, bit for bit (NaN equals NaN)."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


CHECKED = settings(
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
MORE = 10  # how many times as many programs the slow profile draws


def in_both_sizes(count: int, **strategies: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """Run a property on `count` programs, and on many more, other ones, when slow tests run."""

    def decorate(check):
        @pytest.mark.parametrize(
            "count", [count, pytest.param(count * MORE, marks=pytest.mark.slow)]
        )
        def test(count: int) -> None:
            settings(CHECKED, max_examples=count)(given(**strategies)(check))()

        test.__doc__ = check.__doc__
        return test

    return decorate
