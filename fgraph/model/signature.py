"""Matching the arguments of a call to the inputs of a model, and checking them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..graph import Ref, Symbol, SymbolicTensor
from ..graph.ancestry import reads_from
from ..graph.nested import Path, label
from .expressions import parameter_names
from .read_checks import ReadChecks

_NO_TENSOR = -1  # the number of dimensions of an input that is no tensor: no tensor has as many


class Signature:
    """The inputs that a model takes.

    Args:
        owner: how the model is called in messages.
        structure: the `inputs` that the model was made of, with anything at the leaves.
        names: the name of each input, in order.
        refs: each input in the graph.

    Attributes:
        names: the names of the inputs, in order.
        checks: for each input, its number of dimensions and its known sizes by axis.
        reads: what code read while the graph was built: values and axes, see `ReadChecks`.
        check_reads: compares that with what it is for other inputs.
    """

    def __init__(self, owner: str, structure: Any, names: list[str], refs: list[Ref]) -> None:
        self.owner = owner
        self.names = names
        self.checks = tuple(
            (len(shape), tuple((i, size) for i, size in enumerate(shape) if size is not None))
            if shape is not None
            else (_NO_TENSOR, ())
            for shape in [ref.spec.shape for ref in refs]
        )
        self.reads = reads_from(refs)
        self.check_reads = ReadChecks(owner, refs, self.reads).check
        self._refs = refs
        self._structure = structure
        both = (parameter_names(names), names)
        self._places = {name: place for known in both for place, name in enumerate(known)}

    def fits(self, args: Sequence[Any]) -> bool:
        """Return whether these are tensors of the right rank and sizes, each in its place."""
        if len(args) != len(self.checks) or torch._C._get_tracing_state():
            return False  # sizes are traced tensors then, and comparing them would warn
        for value, (ndim, sizes) in zip(args, self.checks):  # noqa: B905 - their numbers are equal
            if not isinstance(value, Tensor):
                return False
            shape = value.shape
            if len(shape) != ndim:
                return False
            for axis, size in sizes:
                if shape[axis] != size:
                    return False
        return True

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Return the inputs in order, whatever form they were given in.

        `model(a, b)`, `model([a, b])`, `model({"a": a, "b": b})` and `model(a=a, b=b)` are one
        thing. Dictionaries are matched by key, never by order.

        Raises:
            ValueError: inputs are missing, given twice, unknown, or of another structure.
        """
        if kwargs:
            return self._bind_names(args, kwargs)
        given: Any = args
        if len(args) == 1 and isinstance(args[0], (list, tuple, dict)):
            given = args[0]
            if isinstance(given, dict):
                return self._bind_names((), given)
            if isinstance(self._structure, dict):
                raise ValueError(
                    f"{self.owner} takes a dict with the keys {list(self._structure)}, got a "
                    f"{type(given).__name__}: its order says nothing of the keys"
                )
        nested = any(isinstance(value, (list, tuple, dict)) for value in given)
        single = not isinstance(self._structure, (list, tuple, dict))
        if len(given) == len(self.names) and (single or not nested):
            return list(given)
        if not isinstance(self._structure, (list, tuple)):
            self._wrong_number(len(given))
        return self._matched(self._structure, given)

    def _matched(self, expected: Any, given: Any, path: Path = ()) -> list[Any]:
        """Return the leaves of an argument that has to have the structure of the inputs."""
        if not isinstance(expected, (list, tuple, dict)):
            return [given]
        by_key, where = isinstance(expected, dict), f" at {label(path)}" if path else ""
        if not isinstance(given, dict if by_key else (list, tuple)):
            kind = f"dict with the keys {list(expected)}" if by_key else (
                f"list of {len(expected)} inputs"
            )  # fmt: skip
            raise ValueError(f"{self.owner} takes a {kind}{where}, got {_kind(given)}")
        if by_key and set(given) != set(expected):
            self._wrong_keys(list(expected), list(given), where)
        if len(given) != len(expected):
            self._wrong_number(len(given), where, len(expected))
        keys = expected if by_key else range(len(expected))
        return [leaf for k in keys for leaf in self._matched(expected[k], given[k], (*path, k))]

    def _bind_names(self, args: tuple[Any, ...], given: dict[str, Any]) -> list[Any]:
        """Return the inputs, some of which are given by name or by name of their parameter."""
        places = self._places
        if isinstance(self._structure, dict) and not args:
            if set(given) == set(self._structure) or not set(given) <= places.keys():
                return self._matched(self._structure, given)
        if given.keys() - places.keys():
            self._wrong_keys(self.names, list(given), "")
        values: dict[int, Any] = dict(enumerate(args))
        for name, value in given.items():
            if (place := places[name]) in values:
                raise ValueError(f"{self.owner}: input {self.names[place]!r} is given twice")
            values[place] = value
        if len(values) != len(self.names):
            self._wrong_keys(self.names, [*self.names[: len(args)], *given], "")
        return [values[place] for place in range(len(self.names))]

    def check(self, values: list[Any]) -> None:
        """Compare each input with what the model was built for.

        Symbolic tensors and other tensor-like objects (tracers' proxies) are let through where
        they do not tell a size.

        Raises:
            ValueError: the number of dimensions or a known size differs.
            TypeError: an input is not a tensor.
        """
        for name, ref, value in zip(self.names, self._refs, values, strict=True):
            if (expected := ref.spec.shape) is None:
                self._check_data(name, ref.spec.in_lane(0), value)
                continue
            if not isinstance(value, (Tensor, SymbolicTensor)):
                if hasattr(type(value), "__torch_function__"):
                    continue
                hint = ": wrap it with torch.from_numpy" if hasattr(value, "__array__") else ""
                raise TypeError(
                    f"{self.owner}: input {name!r} expects a torch tensor of shape {expected}, "
                    f"got {_kind(value)}{hint}"
                )
            found = tuple((value.spec if isinstance(value, SymbolicTensor) else value).shape)
            if len(found) == len(expected) and all(
                None in (size, wanted) or size == wanted
                for size, wanted in zip(found, expected, strict=True)
            ):
                continue
            hint = ""
            if len(found) == len(expected) - 1:
                hint = "; if the batch dimension is missing, add it with x.unsqueeze(0)"
            raise ValueError(
                f"{self.owner}: input {name!r} expects shape {expected}, got {found}{hint}"
            )

    def _check_data(self, name: str, example: Any, value: Any) -> None:
        """Refuse a tensor where the input is Python data, and other things where it is a number."""
        is_number = isinstance(example, (int, float))
        taken = (int, float, Symbol) if is_number else object
        if isinstance(value, (Tensor, SymbolicTensor)) or not isinstance(value, taken):
            raise TypeError(
                f"{self.owner}: input {name!r} expects "
                f"{'a number' if is_number else 'Python data'} such as {example!r:.60}, "
                f"got {_kind(value)}"
            )

    def _wrong_number(self, given: int, where: str = "", expected: int | None = None) -> NoReturn:
        raise ValueError(
            f"{self.owner} takes {expected or len(self.names)} inputs{where} {self.names}, "
            f"got {given}"
        )

    def _wrong_keys(self, expected: list[Any], given: list[Any], where: str) -> NoReturn:
        missing = [key for key in expected if key not in given]
        unknown = [key for key in given if key not in expected]
        raise ValueError(
            f"{self.owner} takes inputs named {expected}{where}, got {given}: "
            f"missing {missing}, unknown {unknown}"
        )


def _kind(value: Any) -> str:
    shape = getattr(value, "shape", None)
    name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return f"a {name}" + (f" of shape {tuple(shape)}" if shape is not None else "")
