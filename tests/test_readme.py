"""README says what the code does: its examples run, and print what stands below them.

`python tests/test_readme.py` writes what they print now into README.md.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path
from unittest import mock

README = Path(__file__).resolve().parent.parent / "README.md"
# a python block, and the text block that shows its output, if one follows before the next
BLOCKS = re.compile(
    r"```python\n(?P<code>.*?)```(?P<between>(?:(?!```).)*)(?:```text\n(?P<output>.*?)```)?", re.S
)


def outputs(text: str) -> list[tuple[str, str | None]]:
    """Run the python blocks in one namespace; return what each prints, and what README shows."""
    namespace: dict[str, object] = {}
    found = []
    for block in BLOCKS.finditer(text):
        printed = io.StringIO()
        size = os.terminal_size((88, 24))
        with contextlib.redirect_stdout(printed), mock.patch("shutil.get_terminal_size") as get:
            get.return_value = size
            exec(compile(block["code"], str(README), "exec"), namespace)
        found.append((printed.getvalue(), block["output"]))
    return found


def test_examples_print_what_the_readme_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # one of them writes files
    found = outputs(README.read_text(encoding="utf-8"))
    assert len(found) == 4
    for printed, shown in found:
        assert shown is not None
        assert printed.rstrip().splitlines() == shown.rstrip().splitlines()


def test_the_two_commands_stand_where_the_checks_find_them():
    text = README.read_text(encoding="utf-8")
    for title in ("main", "test"):
        commands = re.findall(rf"<!-- {title} command -->\n```sh\n(python -m pip .*)\n```", text)
        assert len(commands) == 1
        assert "-c .ci/constraints.txt" in commands[0]


if __name__ == "__main__":
    content = README.read_text(encoding="utf-8")
    os.chdir(tempfile.mkdtemp())
    blocks = list(BLOCKS.finditer(content))
    for block, (printed, shown) in reversed(list(zip(blocks, outputs(content), strict=True))):
        if shown is not None:
            start, end = block.span("output")
            content = content[:start] + printed.rstrip() + "\n" + content[end:]
    README.write_text(content, encoding="utf-8")
