"""Models for other programs: `.pt2` and `.onnx`, `torch.fx`, plain PyTorch source."""

from typing import TYPE_CHECKING

from ..absent.missing_names import missing_names as _missing_names
from ..absent.tools import EXPORT as _INSTEAD

if not TYPE_CHECKING:
    __getattr__ = _missing_names(__name__, _INSTEAD)
