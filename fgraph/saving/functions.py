"""The torch functions that a file may name: those that compute on tensors, and nothing else."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch.overrides import get_testing_overrides

from ..graph.torch_functions import resolve, torch_name

_OPERATORS = frozenset(
    "abs add and_ concat contains eq floordiv ge getitem gt index inv invert is_ is_not le lshift "
    "lt matmul mod mul ne neg not_ or_ pos pow rshift sub truediv truth xor".split()
)
# they make tensors of numbers alone, so torch does not list them as functions of tensors
_FACTORIES = frozenset(
    "arange as_tensor asarray bartlett_window blackman_window broadcast_shapes empty "
    "empty_permuted empty_strided eye full hamming_window hann_window kaiser_window linspace "
    "logspace normal ones rand rand_like randint randint_like randn randn_like randperm range "
    "scalar_tensor tensor tril_indices triu_indices vander zeros".split()
)
_METHODS = frozenset(
    "new_empty new_empty_strided new_full new_ones new_tensor new_zeros stride to_sparse_bsc "
    "to_sparse_bsr to_sparse_coo to_sparse_csc to_sparse_csr to_padded_tensor unflatten".split()
)
_FUNCTIONAL = frozenset(
    "hardsigmoid hardswish sigmoid tanh upsample upsample_bilinear upsample_nearest".split()
)
_ALSO = {
    "operator": _OPERATORS, "torch": _FACTORIES, "torch.fft": frozenset({"fftfreq", "rfftfreq"}),
    "torch.Tensor": _METHODS, "torch.nn.functional": _FUNCTIONAL,
}  # fmt: skip


@lru_cache(maxsize=4096)
def may_be_named(name: str) -> bool:
    """Whether a file may name this function: one that computes on tensors and does nothing else.

    torch's namespaces also hold `torch.load`, `torch.compile` or `torch.set_default_device`;
    these are not in what torch lists as open to tensor-like arguments.

    Args:
        name: a full name, as `torch_name` gives it.
    """
    if name == "getattr":
        return True
    prefix, _, last = name.rpartition(".")
    if last in _ALSO.get(prefix, ()):
        return True
    if last.startswith("_") and not _is_operator_method(last):
        return False
    try:
        return prefix != "operator" and resolve(name) in get_testing_overrides()
    except (LookupError, TypeError):
        return False


def _is_operator_method(name: str) -> bool:
    """Whether a name such as `__add__` or `__radd__` is that of an operator."""
    plain = name.strip("_")
    known = {operator_name.strip("_") for operator_name in _OPERATORS}
    return name == f"__{plain}__" and (plain in known or plain.removeprefix("r") in known)


def known_function(target: Any) -> str | None:
    """Return the name under which a file may hold `target`, `None` where it has none."""
    name = torch_name(target)
    return name if name is not None and may_be_named(name) else None


def find_function(name: str) -> Any:
    """Return the function that a file names.

    Raises:
        LookupError: it is not one of those that a file may name.
    """
    if not may_be_named(name):
        raise LookupError(f"{name!r} is not a tensor function of this torch ({torch.__version__})")
    return resolve(name)


def is_tensor_attribute(name: object) -> bool:
    """Whether `name` is that of a public property of tensors, such as `T` or `real`."""
    return (
        isinstance(name, str)
        and name.isidentifier()
        and not name.startswith("_")
        and hasattr(torch.Tensor, name)
        and not callable(getattr(torch.Tensor, name))
    )
