"""Operations that numpy has: `fgraph.ops.numpy`."""

from .arithmetic import *  # noqa: F403
from .control_flow import vectorize as vectorize
from .conversion import copy as copy
from .conversion import ndim as ndim
from .conversion import size as size
from .conversion import view as view
from .creation import *  # noqa: F403
from .elementwise import *  # noqa: F403
from .indexing import *  # noqa: F403
from .linalg import slogdet as slogdet
from .products import *  # noqa: F403
from .reduction import *  # noqa: F403
from .shaping import *  # noqa: F403
