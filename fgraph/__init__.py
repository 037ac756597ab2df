"""fgraph: Keras-style functional graphs of plain PyTorch modules."""

from . import layers as layers
from .graph import Input as Input
from .graph import SymbolicTensor as SymbolicTensor
from .graph import apply as apply
from .graph import inbound_nodes as inbound_nodes
from .model import Model as Model

__version__ = "0.1.0"
