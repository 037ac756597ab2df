"""What all tests share."""

from __future__ import annotations

import gc
from contextlib import suppress

import pytest
import torch
from torch import nn

from public_models import import_torchvision

with suppress(ImportError):  # before another package does, which would fail
    import_torchvision()


def pytest_collection_finish() -> None:
    """Take what is imported by now out of garbage collections, which then take no time."""
    gc.collect()
    gc.freeze()
    if nn.Module.__call__ is not nn.Module._wrapped_call_impl:
        raise pytest.UsageError("a test file holds a symbolic tensor: make it in the test")


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Start every test from the same random state."""
    torch.manual_seed(0)


@pytest.fixture
def torch_untouched():
    """Fail where a test leaves `nn.Module.__call__` replaced after its graphs are gone."""
    if nn.Module.__call__ is not nn.Module._wrapped_call_impl:
        gc.collect()  # what another test's traceback kept
    yield
    gc.collect()
    gc.freeze()  # what a test imported is not looked through again
    assert nn.Module.__call__ is nn.Module._wrapped_call_impl
