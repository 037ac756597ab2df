"""Start the tests of this folder on the stand-in, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import other_device

FOLDER = Path(__file__).parent


@pytest.mark.skipif("FGRAPH_TEST_DEVICE" in os.environ, reason="this is such a process")
@pytest.mark.skipif(bool(other_device.MISSING), reason=other_device.MISSING)
@pytest.mark.slow
@pytest.mark.parametrize("which", ["not slow", "slow"])
def test_on_the_stand_in(which):
    found = subprocess.run(
        [sys.executable, "-m", "pytest", str(FOLDER), "-m", which],
        cwd=FOLDER.parents[1],
        env={**os.environ, "FGRAPH_TEST_DEVICE": other_device.NAME},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
    assert "[100%]" in found.stdout
