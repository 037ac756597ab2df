"""Metrics by Keras's names. Wherever a metric is expected, torchmetrics objects work too.

All of them ignore masked entries. Keras 3 does so only in metrics that are the mean of a function,
such as `accuracy`; its `RootMeanSquaredError`, `MeanIoU`, `AUC` and the like count padding.
"""

from typing import TYPE_CHECKING

from ..absent.missing_names import missing_names as _missing_names
from ..losses import binary_crossentropy as binary_crossentropy
from ..losses import binary_focal_crossentropy as binary_focal_crossentropy
from ..losses import categorical_crossentropy as categorical_crossentropy
from ..losses import categorical_focal_crossentropy as categorical_focal_crossentropy
from ..losses import categorical_hinge as categorical_hinge
from ..losses import hinge as hinge
from ..losses import huber as huber
from ..losses import kl_divergence as kl_divergence
from ..losses import log_cosh as log_cosh
from ..losses import mean_absolute_error as mean_absolute_error
from ..losses import mean_absolute_percentage_error as mean_absolute_percentage_error
from ..losses import mean_squared_error as mean_squared_error
from ..losses import mean_squared_logarithmic_error as mean_squared_logarithmic_error
from ..losses import poisson as poisson
from ..losses import sparse_categorical_crossentropy as sparse_categorical_crossentropy
from ..losses import squared_hinge as squared_hinge
from .accuracy import Accuracy as Accuracy
from .accuracy import BinaryAccuracy as BinaryAccuracy
from .accuracy import CategoricalAccuracy as CategoricalAccuracy
from .accuracy import SparseCategoricalAccuracy as SparseCategoricalAccuracy
from .accuracy import SparseTopKCategoricalAccuracy as SparseTopKCategoricalAccuracy
from .accuracy import TopKCategoricalAccuracy as TopKCategoricalAccuracy
from .accuracy import binary_accuracy as binary_accuracy
from .accuracy import categorical_accuracy as categorical_accuracy
from .accuracy import sparse_categorical_accuracy as sparse_categorical_accuracy
from .accuracy import sparse_top_k_categorical_accuracy as sparse_top_k_categorical_accuracy
from .accuracy import top_k_categorical_accuracy as top_k_categorical_accuracy
from .base import MeanMetric as MeanMetric
from .base import Metric as Metric
from .confusion import FalseNegatives as FalseNegatives
from .confusion import FalsePositives as FalsePositives
from .confusion import Precision as Precision
from .confusion import Recall as Recall
from .confusion import TrueNegatives as TrueNegatives
from .confusion import TruePositives as TruePositives
from .decision_curves import AUC as AUC
from .decision_curves import PrecisionAtRecall as PrecisionAtRecall
from .decision_curves import RecallAtPrecision as RecallAtPrecision
from .decision_curves import SensitivityAtSpecificity as SensitivityAtSpecificity
from .decision_curves import SpecificityAtSensitivity as SpecificityAtSensitivity
from .f_scores import F1Score as F1Score
from .f_scores import FBetaScore as FBetaScore
from .iou import BinaryIoU as BinaryIoU
from .iou import IoU as IoU
from .iou import MeanIoU as MeanIoU
from .iou import OneHotIoU as OneHotIoU
from .iou import OneHotMeanIoU as OneHotMeanIoU
from .loss_metrics import BinaryCrossentropy as BinaryCrossentropy
from .loss_metrics import CategoricalCrossentropy as CategoricalCrossentropy
from .loss_metrics import CategoricalHinge as CategoricalHinge
from .loss_metrics import Hinge as Hinge
from .loss_metrics import KLDivergence as KLDivergence
from .loss_metrics import LogCoshError as LogCoshError
from .loss_metrics import MeanAbsoluteError as MeanAbsoluteError
from .loss_metrics import MeanAbsolutePercentageError as MeanAbsolutePercentageError
from .loss_metrics import MeanSquaredError as MeanSquaredError
from .loss_metrics import MeanSquaredLogarithmicError as MeanSquaredLogarithmicError
from .loss_metrics import Poisson as Poisson
from .loss_metrics import SparseCategoricalCrossentropy as SparseCategoricalCrossentropy
from .loss_metrics import SquaredHinge as SquaredHinge
from .metric_names import get as get
from .reduction_metrics import Mean as Mean
from .reduction_metrics import MeanMetricWrapper as MeanMetricWrapper
from .reduction_metrics import Sum as Sum
from .regression_metrics import ConcordanceCorrelation as ConcordanceCorrelation
from .regression_metrics import CosineSimilarity as CosineSimilarity
from .regression_metrics import PearsonCorrelation as PearsonCorrelation
from .regression_metrics import R2Score as R2Score
from .regression_metrics import RootMeanSquaredError as RootMeanSquaredError
from .regression_metrics import concordance_correlation as concordance_correlation
from .regression_metrics import pearson_correlation as pearson_correlation

_CONFIG = "call `metric.get_config()` and `type(metric).from_config(config)`"

if not TYPE_CHECKING:
    __getattr__ = _missing_names(__name__, {"deserialize": _CONFIG, "serialize": _CONFIG})
