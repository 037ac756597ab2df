"""What the tests of training share: Keras as an oracle, where it is installed."""

from __future__ import annotations

import os
import warnings
from types import ModuleType

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")


@pytest.fixture(scope="session")
def keras() -> ModuleType:
    """Keras on torch, or a skipped test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras")
