"""Seeds for all random generators that a training script draws from."""

from __future__ import annotations

import operator
import random

import numpy as np
import torch


def set_random_seed(seed: int) -> None:
    """Seed Python, numpy and torch (all devices), like `keras.utils.set_random_seed`.

    The same seed gives the same run on one machine; for bit-equal runs on a GPU also call
    `torch.use_deterministic_algorithms(True)`.

    Args:
        seed: a whole number from 0 to 2**32 - 1.

    Raises:
        ValueError: the seed is no such number.

    Example:
        >>> set_random_seed(1)
        >>> first = torch.rand(2)
        >>> set_random_seed(1)
        >>> torch.equal(first, torch.rand(2))
        True
    """
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if isinstance(seed, bool) or not 0 <= number < 2**32:
        raise ValueError(
            f"set_random_seed: seed= expects a whole number from 0 to 2**32 - 1, got {seed!r}"
        )
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
