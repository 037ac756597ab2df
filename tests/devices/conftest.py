"""The tests of this folder run on a device that `FGRAPH_TEST_DEVICE` names, else on CUDA.

`"other"` is the stand-in of `other_device.py`, which needs a process of its own:

    FGRAPH_TEST_DEVICE=other python -m pytest tests/devices

`test_on_the_stand_in.py` starts such a process in the ordinary run. Without a variable and without
a card, nothing else is collected here. `"cpu"` runs the bodies of the tests on the host.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest
import torch

import other_device

NAME = os.environ.get("FGRAPH_TEST_DEVICE", "cuda" if torch.cuda.is_available() else "")
STARTER, ABOUT = "test_on_the_stand_in.py", "test_stand_in.py"
ALL = [path.name for path in Path(__file__).parent.glob("test_*.py")]
IGNORED = {other_device.NAME: [STARTER], "": sorted({*ALL} - {STARTER})}
collect_ignore = IGNORED.get(NAME, [ABOUT])

if NAME == other_device.NAME and not other_device.MISSING:
    from fgraph.optimizers import optimizer_factory as factories

    other_device.install()
    # torch says that fused optimizers run on such backends, as they do on CUDA
    factories._FUSED_DEVICES = factories._FUSED_DEVICES | {other_device.NAME}


@pytest.fixture
def device() -> torch.device:
    """The device under test."""
    if NAME == other_device.NAME and other_device.MISSING:
        pytest.skip(other_device.MISSING)
    if not NAME:  # a file that is named on the command line is collected all the same
        pytest.skip("there is no CUDA device; FGRAPH_TEST_DEVICE names another one")
    return torch.device(NAME, 0) if NAME != "cpu" else torch.device("cpu")


@pytest.fixture
def same_numbers() -> bool:
    """Whether the device draws the random numbers of the host."""
    return NAME != "cuda"


@contextmanager
def _cuda_without_waiting() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def no_waiting(device) -> Callable[[], AbstractContextManager[None]]:
    """A context in which whatever makes the host wait for the device raises."""
    if device.type == "cuda":
        return _cuda_without_waiting
    if device.type == other_device.NAME:
        return lambda: other_device.refusing(waits=True)
    return nullcontext
