"""Every public name of Keras is here under the same name, or says what to write instead."""

from __future__ import annotations

import ast
import contextlib
import re
import subprocess
import sys
from types import ModuleType

import pytest
import torch
from torch.utils import _pytree as pytree

import fgraph
from fgraph.absent import ops
from fgraph.errors import missing_names
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


# their results have another form than Keras's, or are right where Keras's are not (sparsemax)
OTHER_FORM = {"correlate", "dtype", "empty_like", "full_like", "linspace", "logspace", "lu_factor"}
OTHER_FORM |= {"nonzero", "rfft", "sparsemax", "where"}
X = torch.tensor([[0.9, 0.3, 0.4], [0.2, 0.6, 0.1], [0.5, 0.8, 0.7]])
Y = torch.tensor([[0.5, 0.2, 0.4], [0.6, 0.1, 0.3], [0.9, 0.7, 0.8]])
KNOWN = {"torch": torch, "F": torch.nn.functional, "fgraph": fgraph, "x": X, "y": Y}


def code_to_run():
    """Yield the functions of `keras.ops` whose explanation is torch code that runs as it stands."""
    for name, text in sorted(ops.INSTEAD.items()):
        for arguments in ("x", "x, y"):
            code = text.removeprefix("write ").replace("...", arguments)
            with contextlib.suppress(SyntaxError):
                parts = ast.walk(ast.parse(code))
                free = {part.id for part in parts if isinstance(part, ast.Name)}
                if free <= KNOWN.keys() and free & {"x", "y"} == set(arguments.split(", ")):
                    yield name, code, [KNOWN[key] for key in arguments.split(", ")]


def test_torch_code_that_stands_for_a_function_of_keras_computes_the_same():
    compared = set()
    for name, code, values in code_to_run():
        try:
            expected = getattr(keras.ops, name)(*([values] if "[x, y]" in code else values))
        except Exception:  # it takes other arguments
            continue
        if name not in OTHER_FORM:
            found = eval(code, KNOWN)
            torch.testing.assert_close(
                tuple(torch.as_tensor(part) for part in pytree.tree_leaves(found)),
                tuple(torch.as_tensor(part) for part in pytree.tree_leaves(expected)),
                check_dtype=False,
                equal_nan=True,
                msg=lambda text, code=code: f"{code}: {text}",
            )
            compared.add(name)
    assert len(compared) > 150


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
