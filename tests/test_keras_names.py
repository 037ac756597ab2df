"""Every public name of Keras is here under the same name, or says what to write instead."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from types import ModuleType

import pytest

import fgraph
from fgraph.absent.missing_names import missing_names
from keras_oracle import keras

# not public, and named nowhere in Keras's documentation
NOT_OURS = {"src"}


def public_names(module, path):
    """Yield the path of each public name of a module of Keras, those of its modules included."""
    for name in dir(module):
        if name.startswith("_") or name in NOT_OURS:
            continue
        yield path, name
        if isinstance(inner := getattr(module, name), ModuleType):
            yield from public_names(inner, f"{path}.{name}")


NAMES = sorted(set(public_names(keras, "fgraph")))


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMES}))
def test_names_of_keras_are_present_or_explained(path):
    silent = []
    for name in (name for where, name in NAMES if where == path):
        try:
            exec(f"from {path} import {name}", {})
        except ImportError as error:
            if not re.match(rf"{re.escape(path)} has no '{name}': \w+.{{9}}", str(error)):
                silent.append(f"{name}: {error}")
    assert not silent


def operations():
    """Yield the path of each function of `keras.ops` and the function."""
    for path, name in NAMES:
        if path.split(".")[:2] == ["fgraph", "ops"]:
            theirs = keras
            for part in (*path.split(".")[1:], name):
                theirs = getattr(theirs, part)
            if not isinstance(theirs, ModuleType):
                yield f"{path}.{name}", theirs


def test_operations_have_the_signatures_of_keras():
    different = []
    for path, theirs in operations():
        *parents, name = path.split(".")
        room = fgraph
        for part in parents[1:]:
            room = getattr(room, part)
        if ours := getattr(room, name, None):
            pair = [str(without_types(inspect.signature(f))) for f in (ours, theirs)]
            if pair[0] != pair[1]:
                different.append(f"{path}: {pair[0]} is {pair[1]} in Keras")
    assert not different


def without_types(signature):
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return signature.replace(parameters=plain, return_annotation=signature.empty)


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
