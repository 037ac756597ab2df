"""Losses by Keras's names: functions of values for each sample, and configurable classes."""

from typing import TYPE_CHECKING

from ..absent.missing_names import missing_names as _missing_names
from .base import Loss as Loss
from .circle_loss import Circle as Circle
from .circle_loss import circle as circle
from .crossentropy import BinaryCrossentropy as BinaryCrossentropy
from .crossentropy import CategoricalCrossentropy as CategoricalCrossentropy
from .crossentropy import SparseCategoricalCrossentropy as SparseCategoricalCrossentropy
from .crossentropy import binary_crossentropy as binary_crossentropy
from .crossentropy import categorical_crossentropy as categorical_crossentropy
from .crossentropy import sparse_categorical_crossentropy as sparse_categorical_crossentropy
from .ctc_loss import CTC as CTC
from .ctc_loss import ctc as ctc
from .focal import BinaryFocalCrossentropy as BinaryFocalCrossentropy
from .focal import CategoricalFocalCrossentropy as CategoricalFocalCrossentropy
from .focal import binary_focal_crossentropy as binary_focal_crossentropy
from .focal import categorical_focal_crossentropy as categorical_focal_crossentropy
from .generalized import (
    CategoricalGeneralizedCrossEntropy as CategoricalGeneralizedCrossEntropy,
)
from .generalized import (
    categorical_generalized_cross_entropy as categorical_generalized_cross_entropy,
)
from .loss_names import get as get
from .regression import CategoricalHinge as CategoricalHinge
from .regression import CosineSimilarity as CosineSimilarity
from .regression import Hinge as Hinge
from .regression import Huber as Huber
from .regression import KLDivergence as KLDivergence
from .regression import LogCosh as LogCosh
from .regression import MeanAbsoluteError as MeanAbsoluteError
from .regression import MeanAbsolutePercentageError as MeanAbsolutePercentageError
from .regression import MeanSquaredError as MeanSquaredError
from .regression import MeanSquaredLogarithmicError as MeanSquaredLogarithmicError
from .regression import Poisson as Poisson
from .regression import SquaredHinge as SquaredHinge
from .regression import categorical_hinge as categorical_hinge
from .regression import cosine_similarity as cosine_similarity
from .regression import hinge as hinge
from .regression import huber as huber
from .regression import kl_divergence as kl_divergence
from .regression import log_cosh as log_cosh
from .regression import mean_absolute_error as mean_absolute_error
from .regression import mean_absolute_percentage_error as mean_absolute_percentage_error
from .regression import mean_squared_error as mean_squared_error
from .regression import mean_squared_logarithmic_error as mean_squared_logarithmic_error
from .regression import poisson as poisson
from .regression import squared_hinge as squared_hinge
from .segmentation import Dice as Dice
from .segmentation import Tversky as Tversky
from .segmentation import dice as dice
from .segmentation import tversky as tversky
from .torch_losses import CallableLoss as CallableLoss

_CONFIG = "call `loss.get_config()` and `type(loss).from_config(config)`"

if not TYPE_CHECKING:
    __getattr__ = _missing_names(__name__, {"deserialize": _CONFIG, "serialize": _CONFIG})
