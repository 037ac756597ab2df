"""Metrics by Keras's names; torchmetrics objects are taken as they are beside them."""

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
from .confusion import AUC as AUC
from .confusion import F1Score as F1Score
from .confusion import Precision as Precision
from .confusion import Recall as Recall
from .error_metrics import CosineSimilarity as CosineSimilarity
from .error_metrics import MeanAbsoluteError as MeanAbsoluteError
from .error_metrics import MeanSquaredError as MeanSquaredError
from .error_metrics import RootMeanSquaredError as RootMeanSquaredError
from .metric_names import get as get
