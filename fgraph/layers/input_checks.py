"""The input specification of a layer: which inputs it refuses, and which it casts."""

from __future__ import annotations

import torch

from ..common.configured import Configured
from ..errors import BuildError

Shape = tuple[int | None, ...]


class Expects(Configured):
    """The rank, dtype and known sizes that a layer requires of its input.

    Args:
        axes: Names of the axes; `...` stands for any number of them. Defaults to any rank.
        dtype: `"floating"` or `"integer"`: what inputs are cast to. Defaults to any.
        features: The axis whose size must be known, and equal in every call. Defaults to none.
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

    def cast(self, given: torch.dtype, weights: torch.dtype | None) -> torch.dtype:
        """Return the dtype in which Keras computes: integers for indices, else the weights'.

        Args:
            given: The dtype of the input.
            weights: The layer's `dtype`, if one was given.
        """
        if given.is_complex:
            return given
        if self.dtype == "integer":
            return given if given in (torch.int32, torch.int64) else torch.int64
        if not given.is_floating_point:
            floating = weights or torch.get_default_dtype()
            return floating if self.dtype == "floating" else given
        return weights if weights is not None and weights.is_floating_point else given

    def check(self, owner: str, shape: Shape) -> None:
        """Refuse an input that does not fit.

        Raises:
            BuildError: The rank is wrong, or the number of features is not known.
        """
        self._check_rank(owner, shape)
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
