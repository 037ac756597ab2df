"""The pages say what the code does: their examples run, and print what stands below them.

`python tests/test_pages.py` writes what they print now into the pages.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path
from unittest import mock

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "examples").glob("*.md"))]
# a python block and, if one follows before the next, the block that shows what it prints
BLOCKS = re.compile(
    r"```python\n(?P<code>.*?)```(?P<between>(?:(?!```).)*)"
    r"(?:```(?:text|mermaid)\n(?P<output>.*?)```)?",
    re.S,
)


def outputs(page: Path) -> list[tuple[str, str | None]]:
    """Run the python blocks in one namespace; return what each prints, and what the page shows."""
    namespace: dict[str, object] = {}
    found = []
    torch.manual_seed(0)
    for block in BLOCKS.finditer(page.read_text(encoding="utf-8")):
        printed = io.StringIO()
        size = os.terminal_size((88, 24))
        with contextlib.redirect_stdout(printed), mock.patch("shutil.get_terminal_size") as get:
            get.return_value = size
            exec(compile(block["code"], str(page), "exec"), namespace)
        found.append((printed.getvalue(), block["output"]))
    namespace.clear()  # a class that the page registers would keep its symbolic values alive
    return found


def kept(text: str | None) -> list[str]:
    """Lines of an output, without trailing spaces."""
    return [line.rstrip() for line in (text or "").rstrip().splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_examples_print_what_the_page_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some of them write files
    found = outputs(page)
    assert found
    for printed, shown in found:
        assert kept(printed) == kept(shown)


def test_the_guide_is_the_same_in_both_languages():
    """Block by block: the code, but for its comments, and what it prints."""

    def blocks(name: str) -> list[tuple[str, str | None]]:
        text = (ROOT / "examples" / name).read_text(encoding="utf-8")
        return [(re.sub(r" *#.*", "", b["code"]), b["output"]) for b in BLOCKS.finditer(text)]

    assert blocks("guide.md") == blocks("guide.zh.md")


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.S)
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", prose):
        assert re.match(r"https?://", link) or (page.parent / link).exists(), link


def test_the_two_commands_stand_where_the_checks_find_them():
    text = PAGES[0].read_text(encoding="utf-8")
    for title in ("main", "test"):
        commands = re.findall(rf"<!-- {title} command -->\n```sh\n(python -m pip .*)\n```", text)
        assert len(commands) == 1
        assert "-c .ci/constraints.txt" in commands[0]


def update(page: Path) -> None:
    """Write what the examples of a page print now into it."""
    content = page.read_text(encoding="utf-8")
    blocks = list(BLOCKS.finditer(content))
    for block, (printed, shown) in reversed(list(zip(blocks, outputs(page), strict=True))):
        if shown is not None:
            start, end = block.span("output")
            text = "\n".join(kept(printed)) + "\n"
            content = content[:start] + text + content[end:]
    page.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp())
    for one in PAGES:
        update(one)
