"""Operations of neural networks: `fgraph.ops.nn`."""

from .activation_functions import *  # noqa: F403
from .convolution_and_pooling import *  # noqa: F403
from .fourier import polar as polar
from .indexing import multi_hot as multi_hot
from .indexing import one_hot as one_hot
from .loss_functions import *  # noqa: F403
from .normalization_and_attention import *  # noqa: F403
from .reduction import moments as moments
