"""Runs of several processes that are killed go on, with any number of processes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parallel.launching import HERE, figures, start

PROGRAM = Path(HERE, "resuming.py")


@cache
def uninterrupted(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    return figures(PROGRAM, 1, str(folder), "replicated", "0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("killed", "resumed"),
    [
        ((2, "replicated"), (2, "replicated")),
        ((2, "replicated"), (1, "replicated")),
        ((1, "replicated"), (3, "replicated")),
        ((3, "replicated"), (2, "replicated")),
        ((2, "fsdp"), (1, "fsdp")),
        ((2, "tensor"), (2, "fsdp")),
        ((1, "replicated"), (2, "fsdp")),
        ((4, "both"), (2, "fsdp")),
    ],
    ids=str,
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    tmp_path, tmp_path_factory, killed, resumed
):
    """`kill -9` amid the second epoch; the figures are those of one process, never killed."""
    processes, kind = killed
    running = start(PROGRAM, processes, str(tmp_path), kind, "13")
    for process in running:
        process.communicate(timeout=240)
    assert all(process.returncode for process in running)
    assert list(Path(tmp_path, "backup").iterdir())
    found = figures(PROGRAM, resumed[0], str(tmp_path), resumed[1], "0")
    expected = uninterrupted(tmp_path_factory.getbasetemp() / "uninterrupted")
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
