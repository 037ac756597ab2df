"""The graph: symbolic tensors, nodes, recording and shape inference.

This package knows nothing of layers, models or training.
"""

from . import flat as _flat  # graphs are copied and pickled by it
from .apply import apply as apply
from .calls import inbound_nodes as inbound_nodes
from .input import Input as Input
from .node import Call as Call
from .node import Node as Node
from .node import Ref as Ref
from .record import Symbol as Symbol
from .record import symbol as symbol
from .record import to_refs as to_refs
from .record import to_symbols as to_symbols
from .symbolic import SymbolicTensor as SymbolicTensor
from .symbolic import to_shapes as to_shapes
from .symbolic_sizes import SymbolicSize as SymbolicSize
