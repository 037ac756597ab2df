"""What a graph cannot record is refused where it is written, with what to write instead."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fgraph import Input, Model, apply

pytestmark = pytest.mark.usefixtures("torch_untouched")


# what needs a value: a TypeError that says what to write
VALUES = {
    "truth value": (lambda x: bool(x.sum() > 0), "truth value.*torch.where"),
    "if": (lambda x: 1 if x[0, 0] > 0 else 2, "truth value"),
    "equal to a number": (lambda x: 1 if x.sum() == 0 else 2, "truth value.*torch.where"),
    "equal to another": (lambda x: x.sum() != x.mean() or 2, "truth value.*the same one"),
    "item": (lambda x: x.sum().item(), r"\.item.*fgraph.apply"),
    "float": (lambda x: float(x.sum()), "number.*fgraph.apply"),
    "int": (lambda x: range(x[0, 0]), "number"),
    "numpy": (lambda x: x.numpy(), "numpy"),
    "np.asarray": (lambda x: np.asarray(x), "numpy array"),
    "tolist": (lambda x: x.tolist(), "tolist"),
    "iteration": (lambda x: list(x), r"x\.size\(0\)"),
    "len": (lambda x: len(x), r"x\.size\(0\)"),
    "kind of device": (lambda x: x.device.type == "cuda", "fgraph.apply"),
    "device": (lambda x: x.device == torch.device("cpu"), "fgraph.apply"),
    "backward": (lambda x: x.sum().backward(), "backward"),
    "out=": (lambda x: torch.add(x, 1, out=torch.empty(3)), "out=.*returned tensor"),
    "membership": (lambda x: 1 in x, "any"),
    "size compared": (lambda x: bool(x.size(0) > 3), "known only at run time"),
    "parameter": (lambda x: nn.Parameter(x), "made a parameter"),
    "torch.tensor of values": (lambda x: torch.tensor([x[0, 0], x[0, 1]]), "torch.stack"),
    "functional_call": (
        lambda x: torch.func.functional_call(nn.Linear(4, 4), {"bias": x[0]}, (x,)),
        "fgraph.apply.torch.func.functional_call",
    ),
    "distribution": (
        lambda x: torch.distributions.Normal(x, x.exp(), validate_args=True),  # dynamo turns it off
        "validate_args=False.*fgraph.apply",
    ),
    "an output that is a size": (lambda x: Model(x, [x, x.size(0)]), r"torch.full\(\(\), number"),
    "an output that is a constant": (lambda x: Model(x, [x, torch.ones(2)]), "fgraph.apply"),
    "an output that is None": (lambda x: Model(x, [x, None]), "leave it out"),
    "size as a truth value": (lambda x: 1 if x.size(0) else 2, "known only at run time"),
}


@pytest.mark.parametrize(("use", "says"), VALUES.values(), ids=VALUES)
def test_a_use_of_a_value_is_a_type_error_that_says_what_to_write(use, says):
    x = Input((4,))
    with pytest.raises(TypeError, match=rf"(?s){says}"):
        use(x)


def test_torch_size_of_symbolic_sizes_names_the_tuple():
    x = Input((4,))
    with (
        pytest.warns(UserWarning, match="torch.Size takes no symbolic sizes: write a tuple"),
        pytest.raises(TypeError, match=r"torch\.Size"),
    ):
        torch.Size([x.size(0), 4])


class Picks(nn.Module):
    """The shape of its result depends on a value."""

    def forward(self, x):
        return x if x.sum() > 0 else x[:, :1]


class Waits(nn.Module):
    """Loops until a value is reached."""

    def forward(self, x):
        while x.abs().max() > 1:
            x = x / 2
        return x


def embeds_floats_on_meta() -> bool:
    """Whether this torch, as 2.9, lets float indices pass until the model runs."""
    try:
        nn.Embedding(5, 2, device="meta")(torch.empty(1, device="meta"))
    except RuntimeError:
        return False
    return True


# what torch itself would refuse, or cannot tell
BUILDS = {
    "wrong width": (lambda x: nn.Linear(5, 2)(x), r"Linear\(in_features=5.*\(None, 4\) float32"),
    "wrong dtype": (lambda x: torch.gather(x, 1, x), r"gather.*\(None, 4\) float32"),
    "wrong dtype of indices": pytest.param(
        lambda x: nn.Embedding(5, 2)(x),
        r"Embedding\(5, 2\).*float32",
        marks=pytest.mark.skipif(embeds_floats_on_meta(), reason="torch does not refuse it"),
    ),
    "wrong rank": (lambda x: nn.Conv2d(4, 4, 1)(x), r"Conv2d.*\(None, 4\)"),
    "wrong function": (
        lambda x: torch.cat([x, x[:, :2]], 0),
        r"torch.cat.*\(None, 4\).*\(None, 2\)",
    ),
    "wrong number of arguments": (lambda x: nn.ReLU()(x, x), "ReLU.*positional argument"),
    "shape by value": (lambda x: x.tensor_split(x[0].long()), r"tensor_split.*output_shape="),
    "module whose shape depends on a value": (lambda x: Picks()(x), r"Picks.*output_shape="),
    "sparse": (lambda x: x.to_sparse(), r"to_sparse.*output_shape="),
}


@pytest.mark.parametrize(("call", "says"), BUILDS.values(), ids=BUILDS)
def test_a_call_that_does_not_fit_names_the_call_and_the_shapes(call, says):
    x = Input((4,))
    with pytest.raises((ValueError, RuntimeError), match=rf"(?s){says}") as info:
        call(x)
    assert info.value.__cause__ is not None
    assert str(info.value.__cause__) in str(info.value)


def test_a_loop_over_values_does_not_hang():
    """Its condition is answered with no at once, and never waited for."""
    assert Waits()(Input((4,))).shape == (None, 4)


def test_the_way_out_works():
    """What is refused for its shape can be said by hand."""
    picked = apply(lambda x: x[x > 0], Input((4,)), output_shape=(None,))
    assert picked.shape == (None,)


def test_a_tensor_computed_from_parameters_is_refused():
    """It would be frozen, and its parameter would never learn."""
    layer, x = nn.Linear(4, 4), Input((4,))
    with pytest.raises(ValueError, match=r"computed from parameters.*F?linear\(x, weight\)"):
        x @ layer.weight.T
    assert (x @ layer.weight).shape == (None, 4)
    assert (x @ layer.weight.T.detach()).shape == (None, 4)


def test_apply_needs_something_to_call_and_something_symbolic():
    with pytest.raises(TypeError, match="expects a callable first, got 3"):
        apply(3, Input((4,)))
    with pytest.raises(TypeError, match="at least one symbolic tensor"):
        apply(torch.relu, torch.ones(3))
