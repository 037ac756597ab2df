"""Runs of several processes that are killed go on, with any number of processes."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parallel.launching import HERE, figures, finished, start

PROGRAM = Path(HERE, "resuming.py")


@cache
def uninterrupted(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    return figures(PROGRAM, 1, str(folder), "replicated", "0")


@cache
def killed(processes: int, kind: str, folder: Path) -> Path:
    """Return the folder of a run that was killed amid its second epoch."""
    folder.mkdir()
    running = start(PROGRAM, processes, str(folder), kind, "13")
    finished(running, 240)
    assert all(process.returncode for process in running)
    assert list(Path(folder, "backup").iterdir())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((2, "replicated"), (2, "replicated")),
        ((2, "replicated"), (1, "replicated")),
        ((1, "replicated"), (3, "replicated")),
        ((1, "replicated"), (2, "fsdp")),
        ((3, "replicated"), (2, "replicated")),
        ((2, "fsdp"), (1, "fsdp")),
        ((2, "tensor"), (2, "fsdp")),
        ((4, "both"), (2, "fsdp")),
    ],
    ids=str,
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, tmp_path_factory, before, after):
    """`kill -9` amid the second epoch; the figures are those of one process, never killed."""
    shared = tmp_path_factory.getbasetemp()
    left = killed(*before, shared / f"killed {before}")
    shutil.copytree(left, tmp_path, dirs_exist_ok=True)
    found = figures(PROGRAM, after[0], str(tmp_path), after[1], "0")
    expected = uninterrupted(shared / "uninterrupted")
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
