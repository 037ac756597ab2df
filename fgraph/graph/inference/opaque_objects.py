"""Objects in results that hold tensors but are no pytrees, such as caches of language models."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import Tensor

from ...errors import SymbolicError
from ..nested import iter_leaves

_DEEPEST = 5  # a cache holds a list of layers, each of which holds tensors


def holds_tensors(value: Any, depth: int = 0) -> bool:
    """Return whether an object, or an object in one of its attributes, holds a tensor."""
    if isinstance(value, type) or depth > _DEEPEST:
        return False
    names = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    parts = [*getattr(value, "__dict__", {}).values()]
    parts += [getattr(value, name, None) for name in names if name != "__weakref__"]
    return any(
        isinstance(leaf, Tensor) or holds_tensors(leaf, depth + 1) for leaf in iter_leaves(parts)
    )


class OpaqueObject:
    """Stands for an object that holds tensors, while shapes are inferred.

    It does not keep the object, whose meta tensors the graph would keep alive. At run time calls
    get the real object; a call that reads its attributes cannot be recorded.

    Args:
        kind: the name of the object's class.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise SymbolicError(
            f"the .{name} of a {self.kind}, a result of a call that torch does not look into, is "
            "asked for; it is known only at run time: make both calls in one nn.Module, or return "
            "the tensors in it beside it"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpaqueObject) and other.kind == self.kind

    def __hash__(self) -> int:
        return hash(self.kind)

    def __repr__(self) -> str:
        return f"a {self.kind}"
