"""The examples in docstrings run and print what they say; every public name has a docstring."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fgraph
from fgraph import layers

MODULES = [
    info.name
    for info in pkgutil.walk_packages(fgraph.__path__, "fgraph.")
    if not info.name.endswith("__main__")
]
# what an example may use without importing it
NAMES = {
    "fgraph": fgraph, "layers": layers, "np": np, "torch": torch, "nn": nn,
    "Input": fgraph.Input, "Model": fgraph.Model, "Sequential": fgraph.Sequential,
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    for test in doctest.DocTestFinder().find(module, name, extraglobs=NAMES):
        if test.examples:
            runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_every_public_name_has_a_docstring():
    bare = []
    for path in Path(fgraph.__path__[0]).rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            named = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and "overload" not in [
                getattr(decorator, "id", "") for decorator in node.decorator_list
            ]
            if named and not node.name.startswith("_") and not ast.get_docstring(node):
                bare.append(f"{path.name}: {node.name}")
    assert bare == []
