"""Errors for Keras's names that fgraph does not have: they say what to write instead.

Each module of Keras that is missing is an empty module here, so that `from fgraph.datasets import
mnist` raises a helpful error. None of them is in `dir(fgraph)`.
"""

from collections.abc import Mapping
from typing import Any

from . import applications, datasets, tools

INSTEAD: Mapping[str, Any] = {
    **tools.TOP,
    **tools.MODULES,
    "applications": applications.INSTEAD,
    "datasets": datasets.INSTEAD,
}
