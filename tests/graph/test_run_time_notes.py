"""An error at run time keeps its type, shows the generated line, and says which layer it was."""

from __future__ import annotations

import copy
import traceback

import pytest
import torch
from torch import nn

from fgraph import Input, Model, apply, layers


class Refuses(nn.Module):
    """Fails at run time only."""

    def __init__(self, error: type[Exception]) -> None:
        super().__init__()
        self.error = error

    def forward(self, x):
        if x.device.type != "meta" and x.sum() > 0:
            raise self.error("too large")
        return x

    def extra_repr(self) -> str:
        return self.error.__name__


def failing(error: type[Exception] = KeyError) -> Model:
    x = Input((4,), name="x")
    h = layers.Dense(3, name="narrow")(x).exp()
    return Model(x, h(Refuses(error), name="picky") * 2, name="pipeline")


def caught(model: Model, *inputs: torch.Tensor) -> BaseException:
    with pytest.raises(Exception, match=r".") as info:
        model(*inputs)
    return info.value


def text(error: BaseException) -> str:
    """Everything that a person sees."""
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("kind", [KeyError, ValueError, ZeroDivisionError, StopIteration])
def test_the_type_is_kept_and_the_note_names_layer_settings_and_shapes(kind):
    error = caught(failing(kind), torch.ones(2, 4))
    assert type(error) is kind
    shown = text(error)
    assert "in model 'pipeline', layer 'picky'" in shown
    assert f"Refuses({kind.__name__})" in shown
    assert "(2, 3) float32 on cpu" in shown
    assert "built for: (None, 3)" in shown


def test_the_traceback_shows_the_generated_line():
    shown = text(caught(failing(), torch.ones(2, 4)))
    assert "<fgraph pipeline" in shown
    assert 'picky = m["picky"](exp_1)' in shown


def test_a_wrong_dtype_names_the_layer_that_met_it():
    error = caught(failing(), torch.ones(2, 4, dtype=torch.float64))
    assert type(error) is RuntimeError
    assert "layer 'narrow'" in text(error)
    assert "float64" in text(error)


def test_a_function_that_fails_is_named():
    x = Input((4,))
    model = Model(x, apply(lambda t: t.view(7), x, output_shape=(7,), name="fold"))
    assert "'fold'" in text(caught(model, torch.ones(2, 4))) or "fold" in model.code
    assert "(2, 4)" in text(caught(model, torch.ones(2, 4)))


def test_the_note_of_a_model_within_a_model_names_both():
    inner = failing()
    x = Input((4,))
    outer = Model(x, inner(x.exp()), name="outer")
    shown = text(caught(outer, torch.ones(2, 4)))
    assert "in model 'pipeline', layer 'picky'" in shown
    assert "in model 'outer'" in shown


def test_a_copy_gives_the_same_note():
    shown = text(caught(copy.deepcopy(failing()), torch.ones(2, 4)))
    assert "in model 'pipeline', layer 'picky'" in shown


def test_a_hooked_layer_gives_the_same_note():
    model = failing()
    model.picky.register_forward_hook(lambda *call: None)
    assert "layer 'picky'" in text(caught(model, torch.ones(2, 4)))


def test_an_error_that_is_not_of_the_graph_gets_no_note():
    model = failing()
    model.register_forward_pre_hook(lambda *call: 1 / 0)
    assert "in model" not in text(caught(model, torch.ones(2, 4)))
