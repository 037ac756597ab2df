"""Print the lines of code of the package, without comments, docstrings and blank lines.

python tests/code_size.py
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "fgraph"


def lines_of_code(source: str) -> int:
    """Return the lines of `source` that hold code; a docstring is any statement of text alone."""
    documentation: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                documentation.update(range(node.lineno, (node.end_lineno or 0) + 1))
    return sum(
        1
        for number, line in enumerate(source.splitlines(), 1)
        if line.strip() and not line.strip().startswith("#") and number not in documentation
    )


def by_room() -> Counter[str]:
    """Return the lines of code of each sub-package and of the files beside them."""
    rooms: Counter[str] = Counter()
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).parts
        name = parts[0] if len(parts) > 1 else "top-level files"
        rooms[name] += lines_of_code(path.read_text(encoding="utf-8"))
    return rooms


def core(rooms: Counter[str]) -> int:
    """Return the lines of the rooms that record graphs and make models of them."""
    return sum(rooms[name] for name in ("graph", "model", "interface"))


if __name__ == "__main__":
    rooms = by_room()
    for name, count in rooms.most_common():
        print(f"{count:7,}  {name}")
    print(f"{rooms['graph'] + rooms['model']:7,}  graph and model together")
    print(f"{core(rooms):7,}  with interface")
    print(f"{rooms.total():7,}  all")
