"""fgraph: Keras-style functional graphs of plain PyTorch modules."""

import gc as _gc
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

# A full garbage collection during the imports would traverse all of torch's objects, which takes
# longer than the imports. So existing objects are frozen meanwhile; new ones are still collected.
_sets_aside = not _gc.get_freeze_count()
if _sets_aside:
    _gc.freeze()
try:
    from . import absent as _absent
    from . import activations as activations
    from . import callbacks as callbacks
    from . import constraints as constraints
    from . import initializers as initializers
    from . import layers as layers
    from . import losses as losses
    from . import metrics as metrics
    from . import models as models
    from . import optimizers as optimizers
    from . import regularizers as regularizers
    from .absent.missing_names import missing_names as _missing_names
    from .errors import AmbiguousNodeError as AmbiguousNodeError
    from .errors import BuildError as BuildError
    from .errors import LoadError as LoadError
    from .errors import SaveError as SaveError
    from .errors import SymbolicError as SymbolicError
    from .errors import UncalledLayerError as UncalledLayerError
    from .graph import Input as Input
    from .graph import SymbolicTensor as SymbolicTensor
    from .graph import apply as apply
    from .graph import inbound_nodes as inbound_nodes
    from .initializers import Initializer as Initializer
    from .layers import Layer as Layer
    from .losses.base import Loss as Loss
    from .metrics.base import Metric as Metric
    from .model import Model as Model
    from .model import Sequential as Sequential
    from .model import clone_model as clone_model
    from .models import load_model as load_model
    from .regularizers import Regularizer as Regularizer
    from .saving.registered_names import register as register
    from .unfolding import unfold as unfold
finally:
    if _sets_aside:
        _gc.unfreeze()

__version__ = "0.1.0"

if _TYPE_CHECKING:
    from . import ops as ops
    from . import parallel as parallel
    from . import utils as utils
else:

    def _load_ops() -> _Any:
        """Load `fgraph.ops` on first use."""
        import fgraph.ops

        return fgraph.ops

    def _load_parallel() -> _Any:
        """Load `fgraph.parallel` on first use."""
        import fgraph.parallel

        return fgraph.parallel

    def _load_utils() -> _Any:
        """Load `fgraph.utils` on first use."""
        import fgraph.utils

        return fgraph.utils

    _LOADED_ON_USE = {"ops": _load_ops, "parallel": _load_parallel, "utils": _load_utils}

    __getattr__ = _missing_names(__name__, {**_absent.INSTEAD, **_LOADED_ON_USE})

    def __dir__() -> list[str]:
        return [*globals(), *_LOADED_ON_USE]
