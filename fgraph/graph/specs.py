"""What is known of a value before the graph runs, and the effects of a call on memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch


class ValueSpec:
    """What is known of a value before the graph runs. By default: nothing, and it is no tensor."""

    __slots__ = ()

    @property
    def shape(self) -> Any:
        """The sizes of a tensor, `None` where one is not known until run time; else `None`."""
        return None

    @property
    def is_open(self) -> bool:
        """Whether a size, or the value itself, is unknown."""
        return True

    @property
    def is_certain(self) -> bool:
        """Whether the main lanes tell the unknown sizes from the known ones."""
        return False


class _TensorFields(NamedTuple):
    first: tuple[int, ...]
    second: tuple[int, ...]
    dtype: torch.dtype
    folded: tuple[int, ...] = ()
    proven: bool = True


class TensorSpec(_TensorFields, ValueSpec):
    """A tensor.

    Each unknown size of an input is stood in for by two different numbers, and both shapes are
    carried through the graph: a size on which they disagree is unknown, and so is one in `folded`.

    Attributes:
        first, second: the shape in each of the two main lanes.
        dtype: the element type.
        folded: the axes on which both agree although the size is unknown: `x[:, :10]`.
        proven: whether the known sizes follow from rules, not only from trying out sizes.
    """

    __slots__ = ()

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The sizes, `None` where one is not known until run time."""
        if not self.is_open:
            return self.first
        return tuple(
            a if a == b and axis not in self.folded else None
            for axis, (a, b) in enumerate(zip(self.first, self.second, strict=True))
        )

    @property
    def is_open(self) -> bool:
        """Whether a size is unknown."""
        return self.first != self.second or bool(self.folded)

    @property
    def has_equal_sizes(self) -> bool:
        """Whether both main lanes agree on a size."""
        return any(a == b for a, b in zip(self.first, self.second, strict=True))

    @property
    def is_certain(self) -> bool:
        """Whether the main lanes tell the unknown sizes from the known ones."""
        return not self.folded

    @property
    def key(self) -> Any:
        """What the result of a call in the main lanes depends on."""
        return (self.first, self.second, self.dtype, bool(self.folded))

    def in_lane(self, which: int) -> tuple[int, ...]:
        """Return the shape in a main lane."""
        return self.second if which else self.first


class _NumberFields(NamedTuple):
    first: Any
    second: Any
    proven: bool = True


class NumberSpec(_NumberFields, ValueSpec):
    """A number that is known only at run time.

    Attributes:
        first, second: the number in each of the main lanes: equal ones where it is an input.
        proven: whether it is computed from unknown sizes alone, which the lanes stand for.
    """

    __slots__ = ()

    @property
    def is_certain(self) -> bool:
        """Whether the main lanes show that the number is unknown."""
        return bool(self.first != self.second)

    @property
    def key(self) -> Any:
        """What the result of a call in the main lanes depends on."""
        return (type(self.first), self.first, self.second)

    def in_lane(self, which: int) -> Any:
        """Return the number in a main lane."""
        return self.second if which else self.first


class _DataFields(NamedTuple):
    example: Any


class DataSpec(_DataFields, ValueSpec):
    """Python data that is no tensor and no number, known only at run time.

    Attributes:
        example: what stands for it while shapes are inferred.
    """

    __slots__ = ()
    proven = False

    def in_lane(self, which: int) -> Any:
        """Return what stands for it in a main lane."""
        return self.example


class _DeviceFields(NamedTuple):
    in_all_lanes: str = "meta"


class DeviceSpec(_DeviceFields, ValueSpec):
    """A device, known only at run time; no size depends on it."""

    __slots__ = ()
    proven, is_certain, is_open, key = True, True, False, "device"

    def in_lane(self, which: int) -> str:
        """Return the device of all lanes."""
        return self.in_all_lanes


class ConstantSpec(NamedTuple):
    """A part of a call's result that is the same at every run, such as `None`."""

    value: Any


Spec = TensorSpec | NumberSpec | DataSpec | DeviceSpec | ConstantSpec  # of a leaf of a result


REAL = -1  # in `Effects.shares`: the memory of a parameter, buffer or other real tensor


class Effects(NamedTuple):
    """What a call does to memory.

    Attributes:
        changes: which of the values that it takes it changes in place, by their position in
            `Node.refs()`.
        shares: pairs of an output's index and what it may share memory with: a position in
            `Node.refs()`; beyond these, counted on, an earlier output; or `REAL`.
    """

    changes: tuple[int, ...]
    shares: tuple[tuple[int, int], ...]

    def with_more_taken(self, count: int, more: int) -> Effects:
        """Return the same effects for a call that takes `more` values after its first `count`."""
        moved = ((index, at + more if at >= count else at) for index, at in self.shares)
        return Effects(self.changes, tuple(moved))
