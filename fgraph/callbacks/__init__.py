"""Callbacks by Keras's names."""

from typing import TYPE_CHECKING

from ..absent.missing_names import missing_names as _missing_names
from .base import Callback as Callback
from .base import CallbackList as CallbackList
from .checkpoint import BackupAndRestore as BackupAndRestore
from .checkpoint import ModelCheckpoint as ModelCheckpoint
from .guards import LambdaCallback as LambdaCallback
from .guards import TerminateOnNaN as TerminateOnNaN
from .history import History as History
from .learning_rates import LearningRateScheduler as LearningRateScheduler
from .loggers import CSVLogger as CSVLogger
from .loggers import TensorBoard as TensorBoard
from .monitor import EarlyStopping as EarlyStopping
from .monitor import ReduceLROnPlateau as ReduceLROnPlateau
from .progress import ProgressBar as ProgressBar
from .weight_averages import SwapEMAWeights as SwapEMAWeights

if not TYPE_CHECKING:
    __getattr__ = _missing_names(
        __name__,
        {
            "OrbaxCheckpoint": "Orbax saves JAX's arrays: use ModelCheckpoint or BackupAndRestore",
            "ProgbarLogger": "fit shows progress by itself; ProgressBar is its callback",
            "RemoteMonitor": "LambdaCallback(on_epoch_end=lambda epoch, logs: requests.post(...))",
        },
    )
