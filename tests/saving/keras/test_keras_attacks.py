"""What a file of Keras may do while it is opened: be read, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("h5py")
import fgraph
from fgraph.errors import LoadError

FILES = Path(__file__).with_name("keras2")
WATCH = """
import os, sys, warnings
warnings.simplefilter("ignore")
import fgraph, torch, h5py, fgraph.saving.model_file, fgraph.ops
for warm in sys.argv[2:]:
    fgraph.load_model(warm)  # what loads on first use
seen, on = [], [True]
def hook(event, args):
    if not on[0]:
        return
    if event == "open" and (args[1] or "r")[0] != "r" and isinstance(args[1], str):
        seen.append(f"{event} {args[0]} {args[1]}")
    if event == "import" and args[0].partition(".")[0] in ("keras", "tensorflow", "subprocess"):
        seen.append(f"import {args[0]}")
    if event.startswith(("subprocess", "os.system", "socket", "os.remove", "os.rename", "os.mkdir",
                         "shutil", "tempfile", "pickle", "marshal", "ctypes.dlopen")):
        seen.append(event)
sys.addaudithook(hook)
state = torch.get_rng_state()
try:
    fgraph.load_model(sys.argv[1])
except fgraph.errors.LoadError:
    pass
on[0] = False
assert torch.equal(torch.get_rng_state(), state), "a random number was drawn"
print(seen)
"""


def rewritten(path: Path, change: Any) -> Path:
    with zipfile.ZipFile(FILES / "nested.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "nested.keras",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("recurrent.h5", "functions.h5")),
    ],
)
def test_nothing_is_written_imported_or_drawn(name: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", WATCH, str(FILES / name), str(FILES / name)],
        capture_output=True, text=True, check=False, cwd=Path(fgraph.__file__).parents[1],
    )  # fmt: skip
    assert (found.returncode, found.stdout.strip()) == (0, "[]"), found.stderr


NAMES = ["__import__('os').system('x')", "a\nimport os\nb", "x'); import os; ('", 'q"""; import os',
         "def", "self", "__class__", "forward", "ünïcode", ""]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_never_become_code(name: str, tmp_path: Path) -> None:
    def change(config: Any) -> None:
        entry = config["config"]["layers"][1]
        text = json.dumps(config["config"]).replace(json.dumps(entry["name"]), json.dumps(name))
        config["config"] = json.loads(text)

    path = rewritten(tmp_path / "named.keras", change)
    try:
        model = fgraph.load_model(path)
    except LoadError:
        return
    for source in (model.code, model.to_source("Net")):
        compile(source, "model", "exec")
        assert "import os\n" not in source
        assert "__import__" not in source


def test_calls_in_a_circle_are_refused(tmp_path: Path) -> None:
    def change(config: Any) -> None:
        inner = config["config"]["layers"][1]["config"]["layers"]
        inner[1]["inbound_nodes"] = [[[inner[-1]["name"], 0, 0, {}]]]
        inner[-1]["inbound_nodes"] = [[[inner[1]["name"], 0, 0, {}]]]

    with pytest.raises(LoadError, match="depend on their own outputs"):
        fgraph.load_model(rewritten(tmp_path / "circle.keras", change))


@pytest.mark.parametrize("count", [10**9, 2**63, -1, 1.5, True, "3"])
def test_claimed_sizes_take_no_memory(count: Any, tmp_path: Path) -> None:
    def change(config: Any) -> None:
        for entry in config["config"]["layers"][1]["config"]["layers"]:
            if entry["class_name"] == "Dense":
                entry["config"]["units"] = count

    with pytest.raises(LoadError):
        fgraph.load_model(rewritten(tmp_path / "large.keras", change))


def test_files_cut_short_are_refused(tmp_path: Path) -> None:
    for name in ("states.h5", "nested.keras"):
        content = (FILES / name).read_bytes()
        for part in (0.2, 0.6, 0.95):
            path = tmp_path / name
            path.write_bytes(content[: int(len(content) * part)])
            with pytest.raises(LoadError):
                fgraph.load_model(path)
