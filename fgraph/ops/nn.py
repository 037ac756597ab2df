"""Operations of neural networks: `fgraph.ops.nn`."""

from .activation_functions import *  # noqa: F403
from .convolution_and_pooling import *  # noqa: F403
from .indexing import multi_hot as multi_hot
from .indexing import one_hot as one_hot
from .reduction import moments as moments
from .scaling import *  # noqa: F403
