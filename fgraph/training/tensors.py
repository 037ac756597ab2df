"""Arrays as tensors, and batches of them on their way to a device."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..graph.nested import leaves_with_paths, map_leaves


def named_leaves(value: Any, name: str) -> list[tuple[str, Any]]:
    """Return each leaf with its path as text: `("x['age']", array)` or `("y[0]", array)`."""
    return [
        (name + "".join(f"[{key!r}]" for key in path), leaf)
        for path, leaf in leaves_with_paths(value)
    ]


def as_tensor(array: Any, name: str) -> Tensor:
    """Returns an array's values as a tensor that shares its memory.

    Args:
        array: A tensor, a numpy array (memory-mapped ones stay on disk), or anything with
            `__array__`, such as a pandas column.
        name: The argument's name, for error texts.

    Returns:
        A tensor of the same shape and dtype.

    Raises:
        TypeError: The values are not numbers.
    """
    if isinstance(array, Tensor):
        return array
    if not hasattr(array, "__array__"):
        raise TypeError(
            f"{name} must be a tensor or a numpy array, got {type(array).__name__}; "
            "turn it into one with numpy.asarray"
        )
    values = np.asarray(array)
    if values.dtype.kind not in "biufc":
        raise TypeError(
            f"{name} holds values of dtype {values.dtype}, which torch cannot take: "
            "turn them into numbers"
        )
    if any(stride < 0 for stride in values.strides) or not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))  # torch can share neither
    with warnings.catch_warnings():
        # arrays on disk are opened read-only; batches are copies, so nothing is written to them
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(values)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns a tensor on a device; the copy from the host to CUDA does not wait.

    It goes through pinned memory, without which `non_blocking` has no effect.
    """
    if tensor.device == device:
        return tensor
    if device.type == "cuda" and tensor.device.type == "cpu" and not tensor.is_pinned():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def to_device(value: Any, device: torch.device, dtype: torch.dtype, name: str = "batch") -> Any:
    """Moves a batch to a device, `non_blocking`.

    Args:
        value: Nested tensors or numpy arrays; other leaves stay as they are.
        device: Where to.
        dtype: Dtype for numpy's float64, which Keras would make float32; tensors keep theirs.
        name: The batch's name, for error texts.

    Returns:
        The same structure of tensors on the device.
    """

    def move(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            return moved(leaf, device)
        if isinstance(leaf, np.ndarray | np.generic):
            tensor = as_tensor(leaf, name)
            wanted = dtype if tensor.dtype == torch.float64 else tensor.dtype
            return moved(tensor, device).to(wanted)
        if isinstance(leaf, int | float) and not isinstance(leaf, bool):
            return torch.tensor(leaf, device=device)
        return leaf

    return map_leaves(move, value)
