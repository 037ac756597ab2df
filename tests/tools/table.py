"""Print what works with what: `python tests/tools/table.py [README.md]`.

Each usage is run on a graph and on the class written by hand, and must give the same. With a file,
the table takes the place of what stands there between the two marker lines.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from tools.subject import as_graph, by_hand
from tools.usages import USAGES, Usage

BEGIN = "<!-- tools: printed by `python tests/tools/table.py` -->"
END = "<!-- /tools -->"


def markdown(usages: Iterable[Usage]) -> str:
    """Run the usages and return the table."""
    rows = ["| tool | version | works | lines |", "|---|---|---|---|"]
    for usage in usages:
        title = usage.title if usage.package == "torch" else f"{usage.package}: {usage.title}"
        version, works = _try(usage)
        rows.append(f"| {title} | {version} | {works} | {usage.lines} |")
    return "\n".join(rows)


def _try(usage: Usage) -> tuple[str, str]:
    """Return the version of a tool, and whether it works."""
    try:
        version = f"{usage.package} {usage.version}"
    except PackageNotFoundError:
        return usage.package, "not installed"
    with tempfile.TemporaryDirectory() as folder:
        try:
            usage.same_on(as_graph(), by_hand(), Path(folder))
        except Exception as error:  # the table is about what fails, too
            return version, f"no: {type(error).__name__}"
    return version, "yes"


def insert(path: Path, table: str) -> None:
    """Write the table between the markers of a file.

    Raises:
        ValueError: the file has no markers.
    """
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no lines {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


if __name__ == "__main__":
    made = markdown(USAGES)
    if len(sys.argv) > 1:
        insert(Path(sys.argv[1]), made)
    else:
        print(made)
