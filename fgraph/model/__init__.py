"""`Model`, `Sequential` and `clone_model`: a recorded graph as a `torch.nn.Module`."""

from ..layers.cell_step import graph_modules as _graph_modules
from .cloning import clone_model as clone_model
from .model import Model as Model
from .sequential import Sequential as Sequential

_graph_modules[:] = [Model]
