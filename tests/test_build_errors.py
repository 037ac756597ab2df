"""A call that does not fit says what was called, on what, where in the graph, and what to do."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest
import torch
from torch import nn

import fgraph
from fgraph import BuildError, Input, Model, layers
from keras_oracle import keras


def thirty_layers():
    x = Input((8,))
    for _ in range(30):
        x = layers.Dense(8)(x)
    return x


def test_a_mismatch_deep_in_a_graph_says_which_call_and_what_made_its_input():
    with pytest.raises(
        BuildError,
        match=r"^Linear\(in_features=9, .*\(None, 8\) float32.*24 stands for an unknown batch size"
        r".*It is call 31 of the graph; its input is made by call 30, Dense 30 of 30$",
    ):
        nn.Linear(9, 3)(thirty_layers())


def test_a_layer_that_refuses_its_input_says_which_call_that_would_be():
    with pytest.raises(BuildError, match="expects tensors of equal rank") as caught:
        layers.concatenate([thirty_layers(), Input((8, 2))])
    (note,) = caught.value.__notes__
    assert note == "It is call 31 of the graph; its input is made by call 30, Dense 30 of 30"


def test_values_of_two_calls_are_both_named():
    x = Input((4,))
    with pytest.raises(BuildError, match=r"call 3 .*made by call 1, relu, and call 2, Linear$"):
        torch.relu(x) @ nn.Linear(4, 4)(x)


def test_a_part_of_a_sequential_is_named_and_the_others_are_not():
    parts = [part for _ in range(40) for part in (nn.Linear(8, 8), nn.ReLU())]
    with pytest.raises(BuildError) as caught:
        nn.Sequential(*parts, nn.Sequential(nn.ReLU(), nn.Linear(9, 2)))(Input((8,)))
    text = str(caught.value)
    assert text.startswith("Sequential of 83 modules cannot be called on (None, 8) float32: ")
    assert "in its part '80.1', Linear(in_features=9, out_features=2, bias=True), given" in text
    assert "\n" not in text


def test_the_traceback_keeps_to_code_that_a_user_may_know():
    with pytest.raises(BuildError) as caught:
        nn.Linear(9, 3)(Input((8,)))
    files = [frame.filename for frame in traceback.extract_tb(caught.value.__cause__.__traceback__)]
    assert any(name.endswith("linear.py") for name in files)
    hidden = (
        "run_on_meta.py",
        "shapes.py",
        "make_node.py",
        "_meta_registrations.py",
        "wrappers.py",
        "decompositions.py",
    )
    assert not [name for name in files if name.endswith(hidden)]


@pytest.mark.parametrize(
    ("shapes", "call", "numbers"),
    [
        ([(192,)], nn.Linear(5, 3), [24]),
        ([(7, 192)], nn.Linear(5, 3), [24]),
        ([(None, 192)], nn.Linear(5, 3), [24, 192]),
        ([(None, 5), (192, 5)], lambda a, b: torch.cat([a, b], dim=2), [36, 288]),
        ([(3,), (4,)], lambda a, b: torch.cat([a, b], dim=0), []),
    ],
)
def test_only_numbers_that_stand_for_unknown_sizes_are_explained(shapes, call, numbers):
    with pytest.raises(BuildError) as caught:
        call(*(Input(shape) for shape in shapes))
    text = str(caught.value)
    assert [n for n in (24, 36, 192, 288) if f"{n} stands for" in text] == numbers


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("layers.Dense(2)([x, x])", r"Dense expects one tensor .*got a list of 2: join them"),
        ("layers.Dense([3, 4])", r"Dense: units= expects a positive integer, got \[3, 4\]"),
        ("layers.Conv2D(3)", r"Conv2D needs kernel_size=: Conv2D\(filters, kernel_size\)"),
        ("layers.Conv2D()", r"Conv2D needs filters= and kernel_size=: Conv2D\(filters, kern"),
        ("layers.Embedding()", r"Embedding needs input_dim= and output_dim="),
        ("layers.Dense(3)(keras.Input((3,)))", r"layers.Dense got a KerasTensor of Keras itself"),
        ("keras.layers.Dense(3)(x)", r"got a Dense of Keras itself.*import Input, Model and all"),
        ("x + keras.Input((3,))", r"a graph got a KerasTensor of Keras itself"),
        ("fgraph.Sequential([keras.layers.Dense(3)])", r"Sequential got a Dense of Keras itself"),
        ("Model(keras.Input((3,)), x)", r"Model expects symbolic tensors.*got KerasTensor"),
    ],
)
def test_arguments_that_do_not_fit_say_what_is_expected(code, message):
    known = {"layers": layers, "keras": keras, "fgraph": fgraph, "Model": Model, "x": Input((3,))}
    with pytest.raises((TypeError, ValueError), match=message):
        eval(code, known)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_layers_with_required_arguments_are_copied(copied):
    made = copied(layers.Conv2D(3, (2, 2), name="conv"))
    assert made.get_config() == layers.Conv2D(3, (2, 2), name="conv").get_config()
