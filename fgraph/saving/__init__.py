"""Models as files, in a format without code or pickles.

Its modules are imported when first needed.
"""

from typing import TYPE_CHECKING

from ..absent.missing_names import missing_names as _missing_names
from ..absent.tools import SAVING as _INSTEAD
from ..errors import LoadError as LoadError
from ..errors import SaveError as SaveError
from .registered_names import register as register

if not TYPE_CHECKING:
    __getattr__ = _missing_names(__name__, _INSTEAD)
