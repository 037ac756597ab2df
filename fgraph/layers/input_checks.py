"""What a layer expects of its input; a refusal names the layer, what it expects and what it got."""

from __future__ import annotations

import torch

from ..errors import BuildError, Configured

Shape = tuple[int | None, ...]


class Expects(Configured):
    """The rank, dtype and known sizes that a layer expects of its input.

    Args:
        axes: Names of the axes; `...` stands for any number of them. Defaults to any rank.
        dtype: `"floating"` or `"integer"`. Defaults to any.
        features: The axis whose size has to be known, and equal at every call. Defaults to none.
    """

    def __init__(
        self,
        axes: tuple[str, ...] | None = None,
        dtype: str | None = None,
        features: int | None = None,
    ) -> None:
        self.axes = axes
        self.dtype = dtype
        self.features = features

    def check(self, owner: str, shape: Shape, dtype: torch.dtype) -> None:
        """Refuse an input that does not fit.

        Raises:
            BuildError: The rank or dtype is wrong, or the number of features is not known.
        """
        self._check_rank(owner, shape)
        floating = dtype.is_floating_point or dtype.is_complex
        if self.dtype == "floating" and not floating:
            raise BuildError(
                f"{owner} expects floating-point values, got {_name(dtype)} of shape {shape}: "
                "convert it, `x.float()`, or look values up by an Embedding"
            )
        if self.dtype == "integer" and (floating or dtype == torch.bool):
            raise BuildError(
                f"{owner} expects integers, got {_name(dtype)} of shape {shape}: "
                'write Input(..., dtype="int64"), or convert it, `x.long()`'
            )
        if self.features is None:
            return
        if not -len(shape) <= self.features < len(shape):
            raise BuildError(f"{owner}: axis={self.features} does not exist in {shape}")
        if shape[self.features] is None:
            raise BuildError(
                f"{owner} needs to know the size of axis {self.features} to make its weights, "
                f"got {shape}"
            )

    def _check_rank(self, owner: str, shape: Shape) -> None:
        if self.axes is None:
            return
        least = sum(axis != "..." for axis in self.axes)
        if len(shape) == least or (len(shape) > least and "..." in self.axes):
            return
        raise BuildError(f"{owner} expects ({', '.join(self.axes)}), got {shape}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
