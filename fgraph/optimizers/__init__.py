"""Optimizers by Keras's names, with Keras's defaults and torch's fastest implementations."""

from typing import TYPE_CHECKING

from ..absent.missing_names import missing_names as _missing_names
from . import schedules as schedules
from .adam_family import Adam as Adam
from .adam_family import Adamax as Adamax
from .adam_family import AdamW as AdamW
from .adam_family import Lamb as Lamb
from .adam_family import Lion as Lion
from .adam_family import Muon as Muon
from .adam_family import Nadam as Nadam
from .gradient_descent import SGD as SGD
from .gradient_descent import Adadelta as Adadelta
from .gradient_descent import Adafactor as Adafactor
from .gradient_descent import Adagrad as Adagrad
from .gradient_descent import Ftrl as Ftrl
from .gradient_descent import RMSprop as RMSprop
from .optimizer_factory import OptimizerFactory as OptimizerFactory
from .optimizer_names import get as get

_GROUPS = "give a torch optimizer several groups of parameters"
_CONFIG = "call `optimizer.get_config()` and `Adam.from_config(config)`"

if not TYPE_CHECKING:
    __getattr__ = _missing_names(
        __name__,
        {
            "LossScaleOptimizer": "compile(precision='float16') scales the loss",
            "MultiOptimizer": _GROUPS,
            "OptimizerMap": _GROUPS,
            "Optimizer": "derive from torch.optim.Optimizer and pass the class to compile",
            "ScheduleFreeAdamW": "pass the one of the package `schedulefree` to compile",
            "deserialize": _CONFIG,
            "serialize": _CONFIG,
            "legacy": dict.fromkeys(
                "Adagrad Adam Ftrl Optimizer RMSprop SGD".split(),
                "write the optimizer of `fgraph.optimizers` itself",
            ),
        },
    )
