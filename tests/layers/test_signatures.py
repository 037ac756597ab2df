"""Constructors take Keras's arguments, in its order, and `help()` tells of each of them."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

import fgraph
from fgraph import activations, constraints, initializers, layers, regularizers
from fgraph.layers import Layer
from keras_oracle import keras
from layers.rows import EXAMPLES, README, called, public_layers, table

LAYERS = public_layers()
# what every layer takes by `**options`, and Keras in part by name
OPTIONS = {"name", "dtype", "trainable", "activity_regularizer"}
# the other public names, without those that are torch's own functions
OTHERS = {
    f"{room}.{name}": value
    for room in ("initializers", "regularizers", "constraints", "activations")
    for name, value in vars(getattr(fgraph, room)).items()
    if hasattr(getattr(keras, room), name)
    and str(getattr(value, "__module__", None)) == f"fgraph.{room}"
}
CLASSES = [name for name, value in OTHERS.items() if isinstance(value, type)]
MERGES = ("add", "average", "concatenate", "dot", "maximum", "minimum", "multiply", "subtract")
PAIRS = {
    **{f"layers.{kind.__name__}": kind for kind in LAYERS},
    **{f"layers.{name}": getattr(layers, name) for name in MERGES},
    **OTHERS,
}


def named(function: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters that have a name, in order."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name: parameter for parameter in parameters if parameter.kind in kinds}


def plain(default: Any) -> Any:
    """Return a default without what means the same: `(1, 1)` is `1`, `"Zeros"` is `"zeros"`."""
    while isinstance(default, tuple) and len(set(default)) == 1:
        default = default[0]
    return default.lower() if isinstance(default, str) else default


@pytest.mark.parametrize("name", PAIRS)
def test_the_signature_is_that_of_keras(name):
    room, last = name.split(".")
    theirs = named(getattr(getattr(keras, room), last))
    ours = named(PAIRS[name])
    bases = getattr(PAIRS[name], "__mro__", ())
    unsupported = {key for base in bases for key in vars(base).get("unsupported", {})}
    expected = [key for key in theirs if key not in unsupported and key not in OPTIONS - set(ours)]
    if name == "layers.Conv3DTranspose":  # Keras has two in another order in this class alone
        expected.sort(key=list(named(keras.layers.Conv2DTranspose)).index)
    assert [key for key in ours if key in expected] == expected
    for key in expected:
        if theirs[key].default is not inspect.Parameter.empty:
            assert plain(ours[key].default) == plain(theirs[key].default), key
    extra = [key for key in ours if key not in theirs]
    assert all(ours[key].kind is inspect.Parameter.KEYWORD_ONLY for key in extra), extra


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_help_tells_of_every_argument_shape_and_use(kind):
    text = inspect.cleandoc(vars(kind)["__doc__"])
    for part in ("Args:", "Input shape:", "Output shape:", "Example:", "Equivalent to Keras's"):
        assert part in text, part
    assert set(documented(text)) == {*own_parameters(kind), "**options"}
    assert f"layers.{kind.__name__}(" in text.partition("Example:")[2]


@pytest.mark.parametrize(
    "name", [name for name in OTHERS if name[-1] != "s" and isinstance(OTHERS[name], type)]
)
def test_help_tells_of_every_argument_of_a_class(name):
    text = inspect.cleandoc(inspect.getdoc(OTHERS[name]))
    assert set(documented(text)) == set(named(OTHERS[name]))


def own_parameters(kind):
    """Return the arguments in the signature of a class, without those of every layer."""
    return [] if kind.__init__ is Layer.__init__ else list(named(kind))


def documented(text):
    """Return the names of the arguments that a docstring tells of."""
    section = re.search(r"Args:\n((?:    .*\n?|\n(?=    ))*)", text)
    entries = re.findall(r"^    (\S.*?):(?: |$)", section[1] if section else "", re.MULTILINE)
    return [name for entry in entries for name in entry.split(", ")]


def test_help_of_the_base_class_tells_of_its_arguments():
    assert set(documented(inspect.getdoc(Layer))) == set(named(Layer))


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_layer_shows_itself_and_its_configuration(kind):
    layer, *_ = called(*EXAMPLES[kind.__name__][1:])
    assert repr(layer).startswith(f"{kind.__name__}(")
    config = layer.get_config()
    assert config["name"] == layer.name
    assert set(own_parameters(kind)) <= set(config)
    assert isinstance(kind.from_config(config), kind)


def test_every_layer_has_a_row_and_every_row_a_layer():
    assert set(EXAMPLES) == {kind.__name__ for kind in LAYERS}


def test_the_table_of_layers_is_up_to_date():
    assert README.read_text(encoding="utf-8") == table(), "run `python tests/layers/rows.py`"


def test_types_of_arguments_can_be_read():
    """`Unpack[...]` and the aliases resolve, for tools that ask `typing.get_type_hints`."""
    import typing

    for kind in LAYERS:
        typing.get_type_hints(kind.__init__)
    for module in (activations, constraints, initializers, regularizers):
        typing.get_type_hints(module.get)
