"""The modules that Keras has and fgraph does not: their names say what to write instead.

Each is a module without contents, so that `from fgraph.datasets import mnist`, pasted in, ends in
an error that helps. None is among `dir(fgraph)`.
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
