"""Optimizers by Keras's names and default settings, made of torch's fastest implementations."""

from .factories import SGD as SGD
from .factories import Adadelta as Adadelta
from .factories import Adagrad as Adagrad
from .factories import Adam as Adam
from .factories import Adamax as Adamax
from .factories import AdamW as AdamW
from .factories import Nadam as Nadam
from .factories import OptimizerFactory as OptimizerFactory
from .factories import RMSprop as RMSprop
from .optimizer_names import get as get
