"""What errors, warnings and docstrings tell a reader to write exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch

import fgraph

PACKAGE = Path(fgraph.__file__).parent
ROOTS = {"torch": torch, "fgraph": fgraph, "nn": torch.nn, "F": torch.nn.functional}
OWNERS = {"x": torch.Tensor, "model": fgraph.Model}
PATHS = re.compile(r"(?<![\w.])(torch|fgraph|nn|F)((?:\.[A-Za-z_]\w*)+)\(")
METHODS = re.compile(r"(?<![\w.])(x|model)\.([A-Za-z_]\w*)\(")


def _texts(path: Path):
    """Yield the texts of a file that people read, but for those in tables of other packages."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
            yield node.lineno, "".join(map(str, parts))


def _missing(text: str):
    for root, names in PATHS.findall(text):
        value = ROOTS[root]
        for name in names.strip(".").split("."):
            if not hasattr(value, name):
                yield f"{root}{names}"
                break
            value = getattr(value, name)
    for owner, name in METHODS.findall(text):
        if not hasattr(OWNERS[owner], name):
            yield f"{owner}.{name}"


@pytest.mark.parametrize("room", sorted(p.name for p in PACKAGE.iterdir() if p.suffix != ".pyc"))
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_what_texts_call_exists(room):
    place = PACKAGE / room
    files = [place] if place.suffix == ".py" else sorted(place.rglob("*.py"))
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in files
        for line, text in _texts(path)
        for name in _missing(text)
    ]
    assert found == []


def test_what_does_not_exist_is_noticed():
    text = "write `x.setitem(0, y)`, `torch.nn.functional.linears(x)`, `model.summary()`"
    assert list(_missing(text)) == ["torch.nn.functional.linears", "x.setitem"]
