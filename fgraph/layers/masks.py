"""Masks: boolean tensors that travel with symbolic tensors and say which entries count."""

from __future__ import annotations

from typing import Any

from ..graph import SymbolicTensor


def mask_of(value: Any) -> Any:
    """Return the mask of a symbolic tensor, or the list of masks of a list of them."""
    if isinstance(value, (list, tuple)):
        return [mask_of(item) for item in value]
    return value.mask if isinstance(value, SymbolicTensor) else None


def attach_masks(outputs: Any, masks: Any) -> None:
    """Attach masks to a layer's outputs.

    Args:
        outputs: a symbolic tensor, or a list or tuple of them.
        masks: the mask of the first one, or a list with a mask, or `None`, for each.
    """
    values = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    found = list(masks) if isinstance(masks, (list, tuple)) else [masks]
    for value, mask in zip(values, found, strict=False):
        if isinstance(value, SymbolicTensor) and isinstance(mask, SymbolicTensor):
            node = value.node
            node.masks = {**(node.masks or {}), value.ref.index: mask.ref}
