"""Arrays as tensors, and the device and dtypes of batches."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...common.process_group import Processes
from ...graph.nested import Path, filled, label, leaves_with_paths
from .device_copies import copied
from .random_state import SharedRandom

_CPU = torch.device("cpu")
_INDICES = {torch.int32, torch.int64}  # either serves where the other is asked for

# dtypes with few operations in torch, and the dtypes to use instead
_WIDER = {"u2": np.int32, "u4": np.int64, "u8": np.int64}


def path_text(name: str, path: Path) -> str:
    """Return the path of a leaf for messages: `"x['age']"`, `"y[0]"`."""
    return name + "".join(f"[{key!r}]" for key in path)


def named_leaves(value: Any, name: str) -> list[tuple[str, Any]]:
    """Return each leaf but `None` with its path as text: `("x['age']", array)`."""
    leaves = leaves_with_paths(value)
    return [(path_text(name, path), leaf) for path, leaf in leaves if leaf is not None]


def is_sparse(value: Any) -> bool:
    """Return whether `value` is a sparse matrix of scipy or a sparse tensor of torch."""
    if isinstance(value, Tensor):
        return value.layout is not torch.strided
    return hasattr(value, "toarray") and hasattr(value, "nnz")


def as_tensor(array: Any, name: str) -> Tensor:
    """Return an array's values as a tensor that shares its memory.

    Args:
        array: a tensor, a numpy array (memory-mapped ones stay on disk), or anything with
            `__array__`, such as a pandas column or table.
        name: what it is, for messages.

    Returns:
        A tensor of the same shape and dtype.

    Raises:
        TypeError: the values are sparse, or not numbers.
    """
    if is_sparse(array):
        dense = "to_dense" if isinstance(array, Tensor) else "toarray"
        raise TypeError(
            f"{name} is a sparse {type(array).__name__}, from which batches cannot be taken: pass "
            f"{name}.{dense}(), or a generator of dense batches"
        )
    if isinstance(array, Tensor):
        return array
    if not hasattr(array, "__array__"):
        raise TypeError(
            f"{name} must be a tensor or a numpy array, got {type(array).__name__}; "
            "turn it into one with numpy.asarray (or let a data set derive from torch's Dataset)"
        )
    values = np.asarray(array)
    if values.dtype.kind not in "biufc":
        raise TypeError(
            f"{name} holds values of dtype {values.dtype}, which torch cannot take: "
            "turn them into numbers"
        )
    if any(stride < 0 for stride in values.strides) or not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))  # torch can share neither
    values = values.astype(_WIDER.get(values.dtype.str[1:], values.dtype), copy=False)
    with warnings.catch_warnings():
        # arrays on disk may be read-only; nothing is written to them, since batches are copies
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(values)


@dataclass(frozen=True)
class Placement:
    """Where batches go, and in which dtypes.

    Args:
        device: the model's device.
        float_dtype: the dtype of its first floating parameter.
        parameter_dtypes: the dtypes of all its parameters.
        inputs: the dtype of each input by name, in order; empty if they are not known.
        input_names: the names of the inputs, also if their dtypes are not known.
        processes: the processes among which batches are divided.
        random: the generators of random numbers for data.
        sharded: whether the data is already divided among them.
        pinned_is_written: whether batches in pinned memory are known to hold their values
            (`copied`).
    """

    device: torch.device = _CPU
    float_dtype: torch.dtype = torch.float32
    parameter_dtypes: frozenset[torch.dtype] = frozenset()
    inputs: Mapping[str, torch.dtype] = field(default_factory=dict)
    input_names: list[str] = field(default_factory=list)
    processes: Processes = field(default_factory=Processes)
    random: SharedRandom = field(default_factory=SharedRandom)
    sharded: bool = False
    pinned_is_written: bool = True

    def dtype(self, part: str, path: Path, index: int, leaf: Any, tensor: Tensor) -> torch.dtype:
        """Return the dtype that an array has in batches.

        As in Keras, an input gets the dtype of the model's `Input`. Otherwise numpy's floats get
        the model's dtype, and tensors keep theirs.

        Args:
            part: `"x"`, `"y"` or `"sample_weight"`.
            path: the path of the array in this part.
            index: its position among the leaves.
            leaf: the array, as it was given.
            tensor: the same, as a tensor.
        """
        found = tensor.dtype
        wanted = self._input_dtype(path, index) if part == "x" else None
        if wanted is not None:
            return found if {found, wanted} <= _INDICES else wanted
        if leaf is tensor or not found.is_floating_point:
            return found
        # targets keep at least float32, whatever the model's dtype
        floor = torch.float32 if part != "x" else self.float_dtype
        return torch.promote_types(self.float_dtype, floor)

    def _input_dtype(self, path: Path, index: int) -> torch.dtype | None:
        dtypes = list(self.inputs.values())
        by_name = self.inputs.get(label(path)) if path else None
        wanted = by_name or (dtypes[index] if index < len(dtypes) else None)
        if wanted is torch.float32 and wanted not in self.parameter_dtypes:
            return self.float_dtype  # the model was converted, for example by `model.double()`
        return wanted

    def place(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """Return a tensor on the device, converted there; only a copy to the host synchronises."""
        if tensor.device != self.device:
            if self.device.type == "cuda" and tensor.device.type == "cpu":
                tensor = copied(tensor, self.device, self.pinned_is_written)
            else:  # on the host, the copy has to be complete
                tensor = tensor.to(self.device, non_blocking=self.device.type != "cpu")
        return tensor if tensor.dtype is dtype else tensor.to(dtype)

    def batch_part(self, value: Any, part: str) -> Any:
        """Return a part of a batch on the device.

        Args:
            value: nested tensors, arrays or numbers; other leaves are unchanged.
            part: `"x"`, `"y"` or `"sample_weight"`.
        """
        if isinstance(value, Tensor) and not self.inputs and not is_sparse(value):
            return self.place(value, value.dtype)
        leaves = [
            self._leaf(leaf, part, path, index)
            for index, (path, leaf) in enumerate(leaves_with_paths(value))
        ]
        return filled(value, leaves)

    def _leaf(self, leaf: Any, part: str, path: Path, index: int) -> Any:
        if isinstance(leaf, int | float) and not isinstance(leaf, bool):
            return torch.tensor(leaf, device=self.device)
        if not isinstance(leaf, Tensor) and not hasattr(leaf, "__array__") and not is_sparse(leaf):
            return leaf
        name = path_text(part, path)
        tensor = as_tensor(leaf, name)
        dtype = self.dtype(part, path, index, leaf, tensor)
        check_fits(tensor, dtype, name)
        return self.place(tensor, dtype)


def check_fits(tensor: Tensor, dtype: torch.dtype, name: str) -> None:
    """Refuse values that conversion to an integer input would change.

    Raises:
        ValueError: values have fractions, or are out of range.
    """
    found = tensor.dtype
    if found is dtype or dtype.is_floating_point or dtype.is_complex or not tensor.numel():
        return
    if found.is_floating_point and not bool((tensor == tensor.round()).all()):
        raise ValueError(
            f"{name} holds fractions, but the model's input is of {dtype}: round them, or give the "
            "Input a floating dtype"
        )
    low, high = (int(x) for x in torch.aminmax(tensor))
    least, most = (
        (0, 1) if dtype is torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    )
    if low < least or high > most:
        raise ValueError(
            f"{name} holds values from {low} to {high}, but the model's input is of {dtype}: give "
            "the Input a wider dtype"
        )
