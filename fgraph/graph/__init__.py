"""The graph as data; `recording` makes it of calls, `inference` tells what a call returns.

This package knows nothing of layers, models or training.
"""

from . import flat_graph as _flat_graph  # graphs are copied and pickled by it
from .node import Call as Call
from .node import Node as Node
from .node import Ref as Ref
from .recording.apply import apply as apply
from .recording.input import Input as Input
from .recording.make_node import inbound_nodes as inbound_nodes
from .recording.record import Symbol as Symbol
from .recording.record import symbol as symbol
from .recording.record import to_refs as to_refs
from .recording.record import to_symbols as to_symbols
from .recording.symbolic import SymbolicTensor as SymbolicTensor
from .recording.symbolic import to_shapes as to_shapes
from .recording.symbolic_sizes import SymbolicSize as SymbolicSize
