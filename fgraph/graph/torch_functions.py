"""The full names of torch's functions, such as `torch.cat` and `torch.Tensor.mean`, and back."""

from __future__ import annotations

import math
import operator
from functools import lru_cache
from typing import Any

import torch

_NAMESPACES = {
    "math": math,
    "operator": operator,
    "torch": torch,
    "torch.Tensor": torch.Tensor,
    "torch.nn.functional": torch.nn.functional,
    "torch.linalg": torch.linalg,
    "torch.fft": torch.fft,
    "torch.special": torch.special,
}


# names of functions and methods that draw random numbers
DRAWS = frozenset(
    "alpha_dropout bernoulli bernoulli_ cauchy_ dropout dropout1d dropout2d dropout3d dropout_ "
    "exponential_ feature_alpha_dropout geometric_ gumbel_softmax log_normal_ multinomial normal "
    "normal_ poisson rand rand_like randint randint_like randn randn_like random_ randperm rrelu "
    "rrelu_ scaled_dot_product_attention uniform_".split()
)


@lru_cache(maxsize=1)
def _known() -> dict[Any, str]:
    """Map each callable of the public namespaces to its full name, the first one found."""
    found: dict[Any, str] = {getattr: "getattr"}
    for prefix, namespace in _NAMESPACES.items():
        for name in dir(namespace):
            value = getattr(namespace, name, None)
            if not callable(value) or isinstance(value, type):
                continue
            if name.startswith("_") and prefix != "torch.Tensor":
                continue
            found.setdefault(value, f"{prefix}.{name}")
    return found


def torch_name(target: Any) -> str | None:
    """Return the full name of a torch or `operator` function, `None` for any other callable."""
    try:
        return _known().get(target)
    except TypeError:  # not hashable
        return None


def resolve(name: str) -> Any:
    """Return the function of that full name, the inverse of `torch_name`.

    Raises:
        LookupError: there is no such function.
    """
    if name == "getattr":
        return getattr
    prefix, _, last = name.rpartition(".")
    function = getattr(_NAMESPACES.get(prefix), last, None)
    if function is None:
        raise LookupError(f"{name!r} is not a function of this torch ({torch.__version__})")
    return function
