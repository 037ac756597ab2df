"""`fgraph.utils`: helpers by Keras's names."""

from typing import TYPE_CHECKING

from ..absent.missing_names import missing_names as _missing_names
from ..absent.tools import UTILS as _INSTEAD
from ..training.sources.py_dataset import PyDataset as PyDataset
from ..viewing.plot import plot_model as plot_model
from .encodings import normalize as normalize
from .encodings import pad_sequences as pad_sequences
from .encodings import to_categorical as to_categorical
from .image_folders import image_dataset_from_directory as image_dataset_from_directory
from .seeding import set_random_seed as set_random_seed
from .splitting import split_dataset as split_dataset

if not TYPE_CHECKING:
    __getattr__ = _missing_names(__name__, _INSTEAD)
