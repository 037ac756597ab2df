"""Sizes and other numbers and data that are known only at run time."""

from __future__ import annotations

import math
import operator
import sys
import warnings
from typing import Any, NoReturn

import torch

from ..inference.lanes import numbers_agree
from ..node import Ref
from .isinstance_checks import called
from .record import Symbol, no_value, record

_AS_INDEX = (
    "it is known only at run time: write `fgraph.apply(lambda x, p: x + p[:, :x.size(1)], x, p)` "
    "to take a part of a real tensor p; code that counts up to it goes into `fgraph.apply(fn, x)`"
)


# what cannot be called with a symbolic size as the first of several
_TAKE_SIZES = frozenset("empty expand new_empty new_ones new_zeros ones rand randn zeros".split())


class SymbolicSize(Symbol):
    """A number computed from a size that is not known until run time: an int, float or bool."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SymbolicSize) and sizes_agree(self, other):
            return True
        if other is None or (isinstance(other, int) and other < 0 and _is_count(self.ref)):
            return False
        no_value(self, "compared", "sizes are known only at run time")

    def __hash__(self) -> int:
        no_value(
            self,
            "looked up in a dict or set",
            "sizes are known only at run time; put code that decides on them into "
            "`fgraph.apply(fn, x)`",
        )

    def __bool__(self) -> bool:
        no_value(
            self,
            "used as a truth value",
            "it is known only at run time; write `torch.sym_min(a, b)` and `torch.sym_max(a, b)` "
            "for min and max; put code that decides on it into `fgraph.apply(fn, x)`",
        )

    def __int__(self) -> NoReturn:
        no_value(self, "converted to an int", "write `//` for whole numbers, or `math.floor`")

    def __float__(self) -> NoReturn:
        no_value(
            self,
            "converted to a float",
            "write `1.0 * n`, `n ** 0.5` for the root, `fgraph.apply(math.log, n)` for others",
        )

    def __index__(self) -> NoReturn:
        name, count = called(sys._getframe(1)) or ("", 0)
        if name in _TAKE_SIZES and count > 1:
            # torch's argument parser hides the error behind one of its own, which says nothing
            warnings.warn(
                f"{name} takes a symbolic size as the first of several only in a tuple: write "
                f"`{name}((n, ...))`",
                stacklevel=2,
            )
        if name == "Size":
            warnings.warn(
                "torch.Size takes no symbolic sizes: write a tuple, and record code of a library "
                "that makes one, such as torch.distributions, whole: `fgraph.apply(function, x)`",
                stacklevel=2,
            )
        no_value(self, "used as a plain number", _AS_INDEX)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __round__(self, digits: int | None = None) -> Any:
        return record("function", round, (self,) if digits is None else (self, digits), {})

    def __ceil__(self) -> Any:
        return record("function", math.ceil, (self,), {})

    def __floor__(self) -> Any:
        return record("function", math.floor, (self,), {})

    def __trunc__(self) -> Any:
        return record("function", math.trunc, (self,), {})

    def __repr__(self) -> str:
        return f"<SymbolicSize of {self.node.kind}>"


def _is_count(ref: Ref) -> bool:
    """Whether a number cannot be negative: it is a size, or a sum or product of sizes."""
    parts: list[Any] = [ref]
    while parts:
        part = parts.pop()
        if type(part) is not Ref:
            if type(part) is not int or part < 0:
                return False
        elif part.node.target in (operator.add, operator.mul):
            parts += part.node.args
        elif part.node.target not in (torch.Tensor.size, torch.Tensor.numel):
            return False
    return True


class SymbolicData(Symbol):
    """Python data that is given at run time: an argument for calls, which see it as it is."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        return record("function", operator.getitem, (self, key), {})

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SymbolicData) and other.ref == self.ref:
            return True
        no_value(self, "compared", _IN_CALLS)

    __hash__ = Symbol.__hash__

    def __bool__(self) -> bool:
        no_value(self, "used as a truth value", _IN_CALLS)

    def __iter__(self) -> NoReturn:
        no_value(self, "iterated over", _IN_CALLS)

    def __len__(self) -> int:
        no_value(self, "counted", _IN_CALLS)

    def __repr__(self) -> str:
        return f"<SymbolicData like {self.ref.spec.example!r:.60}>"


_IN_CALLS = "it is known only at run time: wrap the code in `fgraph.apply(fn, x)`"


class Shape(tuple[Any, ...]):
    """The sizes of a symbolic tensor, with a symbolic number for each unknown one.

    It prints as, and equals, the tuple with `None` for these. A comparison that only the sizes of
    run time could decide is refused.
    """

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Shape(found) if isinstance(index, slice) else found

    @property
    def _known(self) -> tuple[int | None, ...]:
        return tuple(None if isinstance(size, SymbolicSize) else size for size in self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, tuple):
            return NotImplemented
        known, others = self._known, other._known if isinstance(other, Shape) else other
        if len(known) != len(others):
            return False
        pairs = [*zip(known, others, self, other, strict=True)]
        if any(None not in (a, b) and a != b for a, b, _, _ in pairs):
            return False
        for a, b, size, another in pairs:
            decided = a == b and (another is None or sizes_agree(size, another))
            if not decided:
                unknown = size if a is None else another
                no_value(unknown, f"compared, in {self} == {others}", _COMPARE)
        return True

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(tuple(self))  # refused for a size that is not known

    def __repr__(self) -> str:
        return repr(self._known)

    def __reduce__(self) -> Any:
        return tuple, (self._known,)

    def numel(self) -> Any:
        """Return the product of the sizes."""
        return math.prod(self)


def sizes_agree(first: Any, second: Any) -> bool:
    """Whether two sizes are equal, as far as trying out sizes tells where they are not known."""
    if not (isinstance(first, SymbolicSize) and isinstance(second, SymbolicSize)):
        return bool(first == second)
    return first.ref == second.ref or numbers_agree(first.ref, second.ref)


_COMPARE = (
    "sizes are known only at run time; compare those that are known, `x.shape[1:]`, or put code "
    "that decides on them into `fgraph.apply(fn, x)`"
)
