"""Operations on images: `fgraph.ops.image`."""

from typing import TYPE_CHECKING

from ..absent.ops import IMAGE as _INSTEAD
from ..errors import missing_names as _missing_names

if not TYPE_CHECKING:
    __getattr__ = _missing_names(__name__, _INSTEAD)
