"""Callbacks by Keras's names."""

from .base import Callback as Callback
from .base import CallbackList as CallbackList
from .checkpoint import BackupAndRestore as BackupAndRestore
from .checkpoint import ModelCheckpoint as ModelCheckpoint
from .guards import LambdaCallback as LambdaCallback
from .guards import TerminateOnNaN as TerminateOnNaN
from .history import History as History
from .loggers import CSVLogger as CSVLogger
from .loggers import TensorBoard as TensorBoard
from .monitor import EarlyStopping as EarlyStopping
from .monitor import ReduceLROnPlateau as ReduceLROnPlateau
from .progress import ProgressBar as ProgressBar
from .rates import LearningRateScheduler as LearningRateScheduler
