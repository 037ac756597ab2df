"""The training engine: `Trainer` gives an `nn.Module` Keras's `compile`, `fit` and the others."""

from ..callbacks.history import History as History
from .trainer import Trainer as Trainer
