"""Every layer against Keras 3 itself: the same weights give the same numbers.

Compared are the shapes for an unknown batch, the number of parameters, the shapes and order of the
weights, the outputs in evaluation mode, and the gradients by inputs and weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keras_oracle import compare
from layers.rows import ELSEWHERE, ROWS

# Keras's own code warns of torch functions that are on their way out.
pytestmark = pytest.mark.filterwarnings("ignore")


KNOWN = [row for row in ROWS if row[0] not in ELSEWHERE]


@pytest.mark.parametrize("row", [row[1:] for row in KNOWN], ids=[row[0] for row in KNOWN])
def test_layer_gives_what_keras_gives(row: tuple[Any, ...]) -> None:
    """Shapes, counts, weights, outputs and gradients are Keras's, from random weights."""
    compare(*row, rng=np.random.default_rng(0))
