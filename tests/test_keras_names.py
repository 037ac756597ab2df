"""Every public name of Keras is here under the same name, or says what to write instead."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import fgraph
from fgraph.errors import missing_names
from keras_oracle import keras

ROOMS = ["activations", "constraints", "initializers", "layers", "optimizers", "regularizers"]
NAMES = [
    (room, name) for room in ROOMS for name in dir(getattr(keras, room)) if not name.startswith("_")
]


@pytest.mark.parametrize(("room", "name"), NAMES, ids=[".".join(row) for row in NAMES])
def test_a_name_of_keras_is_present_or_explained(room, name):
    module = importlib.import_module(f"fgraph.{room}")
    if not hasattr(module, name):
        with pytest.raises(AttributeError, match=rf"^fgraph\.{room} has no '{name}': \w+"):
            getattr(module, name)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("fgraph.layers.Conv2d", r"fgraph.layers has no 'Conv2d'; did you mean 'Conv2D'\?"),
        ("fgraph.layers.lstm", r"fgraph.layers has no 'lstm'; did you mean 'LSTM'\?"),
        ("fgraph.layers.Embeding", "did you mean 'Embedding'"),
        ("fgraph.regularizers.l3", "did you mean .*'l1'"),
        ("fgraph.layers.xyzzy", "^fgraph.layers has no 'xyzzy'$"),
        ("from fgraph.layers import Conv2d", r"has no 'Conv2d'; did you mean 'Conv2D'\?"),
        ("from fgraph.layers import Dense, StringLookup", "has no 'StringLookup': torch has no"),
    ],
)
def test_a_name_that_is_missing_says_so_however_it_is_asked_for(statement, message):
    with pytest.raises((AttributeError, ImportError), match=message):
        exec(statement, {"fgraph": fgraph})


def test_an_attribute_is_an_attribute_error_and_an_import_an_import_error():
    assert not hasattr(fgraph.layers, "StringLookup")
    with pytest.raises(ImportError, match="StringLookup"):
        from fgraph.layers import StringLookup  # noqa: F401


def test_a_module_that_is_being_asked_for_hidden_names_has_none():
    look = missing_names("fgraph.layers", {})
    with pytest.raises(AttributeError, match="__all__"):
        look("__all__")


def test_a_star_import_takes_every_layer():
    code = "from fgraph.layers import *; print(Dense.__name__, Conv2D.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Dense", "Conv2D"]
