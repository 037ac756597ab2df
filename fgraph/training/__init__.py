"""The training engine: `Trainer` gives an `nn.Module` Keras's `compile`, `fit` and so on."""

from ..callbacks.history import History as History
from .trainer import Trainer as Trainer
