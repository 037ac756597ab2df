"""What is installed from a wheel: the license, the list of layers, and pages whose links work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

pytest.importorskip("setuptools", minversion="64")
ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(?<!`)\[[^\]\n]+\]\(([\w./-]+)\)")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("fgraph", "examples"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, source)
    build = ["pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(made), "."]
    subprocess.run([sys.executable, "-m", *build], cwd=source, check=True)
    (path,) = made.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(made)
    return made


@pytest.mark.slow
def test_a_wheel_says_what_it_is_and_whose(wheel):
    (info,) = wheel.glob("*.dist-info")
    found = message_from_string((info / "METADATA").read_text(encoding="utf-8"))
    assert found["License"] == "MIT"
    assert found["Author"] == "The fgraph developers"
    assert found["Keywords"]
    assert "Typing :: Typed" in found.get_all("Classifier")
    assert (info / "licenses" / "LICENSE").read_text().startswith("MIT License")


@pytest.mark.slow
def test_links_between_pages_work_where_a_wheel_installs_them(wheel):
    (pages,) = wheel.glob("*.data/data/share/doc/fgraph")
    links = [
        (page, target)
        for page in pages.rglob("*.md")
        for target in LINK.findall(without_code(page.read_text(encoding="utf-8")))
    ]
    assert len(links) > 10
    assert [(page.name, to) for page, to in links if not (page.parent / to).exists()] == []
    assert (wheel / "fgraph" / "layers" / "README.md").exists()
