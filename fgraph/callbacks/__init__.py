"""Callbacks by Keras's names."""

from typing import TYPE_CHECKING

from ..absent.missing_names import missing_names as _missing_names
from .backup import BackupAndRestore as BackupAndRestore
from .base import Callback as Callback
from .base import CallbackList as CallbackList
from .checkpoint import ModelCheckpoint as ModelCheckpoint
from .early_stopping import EarlyStopping as EarlyStopping
from .history import History as History
from .lambda_callback import LambdaCallback as LambdaCallback
from .learning_rates import LearningRateScheduler as LearningRateScheduler
from .learning_rates import ReduceLROnPlateau as ReduceLROnPlateau
from .loggers import CSVLogger as CSVLogger
from .loggers import TensorBoard as TensorBoard
from .progress import ProgressBar as ProgressBar
from .terminate_on_nan import TerminateOnNaN as TerminateOnNaN
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
