"""Keras's operations, written in torch; they work on real and symbolic tensors alike.

Each records torch calls, so that a graph contains only torch's functions.
"""

from typing import TYPE_CHECKING

from ..absent.missing_names import missing_names as _missing_names
from ..absent.ops import INSTEAD as _INSTEAD
from ..graph.recording.one_operation import as_operations as _as_operations
from . import image as image
from . import linalg as linalg
from . import nn as nn
from . import numpy as numpy
from .control_flow import *  # noqa: F403
from .conversion import *  # noqa: F403
from .fourier import *  # noqa: F403
from .indexing import *  # noqa: F403
from .linalg import *  # noqa: F403
from .nn import *  # noqa: F403
from .numpy import *  # noqa: F403
from .shaping import *  # noqa: F403

if not TYPE_CHECKING:
    _as_operations(__name__, image, linalg, nn, numpy)
    __getattr__ = _missing_names(__name__, _INSTEAD)
