"""Matching the arguments of a call to the inputs of a model, and checking them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..graph import Ref, Symbol, SymbolicTensor
from ..graph.ancestry import reads_from
from ..graph.graph import describe
from ..graph.inference.lanes import sizes_at
from ..graph.nested import Path, label
from .expressions import parameter_names

_MOST_SHAPES = 4096  # combinations of input sizes that are remembered
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
        parameters: the same as Python identifiers: the parameters of the generated forward.
        checks: for each input, its number of dimensions and its known sizes by axis.
        shapes: the shape of each input, `None` for one that is no tensor.
        examples: what each of the latter is like, by name.
    """

    def __init__(self, owner: str, structure: Any, names: list[str], refs: list[Ref]) -> None:
        self.owner = owner
        self.structure = structure
        self.names = names
        self.parameters = parameter_names(names)
        self.shapes = [ref.spec.shape for ref in refs]
        self.checks = tuple(
            (len(shape), tuple((i, size) for i, size in enumerate(shape) if size is not None))
            if shape is not None
            else (_NO_TENSOR, ())
            for shape in self.shapes
        )
        self.examples = {
            name: ref.spec.in_lane(0)
            for name, ref in zip(names, refs, strict=True)
            if ref.spec.shape is None
        }
        self.refs = refs
        self.reads = reads_from(refs)
        self._compared: set[tuple[Any, ...]] = set()
        self._single = not isinstance(structure, (list, tuple, dict))

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
            if isinstance(self.structure, dict):
                raise ValueError(
                    f"{self.owner} takes a dict with the keys {list(self.structure)}, got a "
                    f"{type(given).__name__}: its order says nothing of the keys"
                )
        nested = any(isinstance(value, (list, tuple, dict)) for value in given)
        if len(given) == len(self.names) and (self._single or not nested):
            return list(given)
        if not isinstance(self.structure, (list, tuple)):
            self._wrong_number(len(given))
        return self._matched(given)

    def _matched(self, given: Any) -> list[Any]:
        """Match a nested argument with the structure of the inputs."""
        found: list[Any] = []
        self._match(self.structure, given, (), found)
        return found

    def _match(self, expected: Any, given: Any, path: Path, found: list[Any]) -> None:
        where = f" at {label(path)}" if path else ""
        if isinstance(expected, dict):
            if not isinstance(given, dict):
                raise ValueError(
                    f"{self.owner} takes a dict with the keys {list(expected)}{where}, got "
                    f"{_kind(given)}"
                )
            if set(given) != set(expected):
                self._wrong_keys(list(expected), list(given), where)
            for key in expected:
                self._match(expected[key], given[key], (*path, key), found)
        elif isinstance(expected, (list, tuple)):
            if not isinstance(given, (list, tuple)):
                raise ValueError(
                    f"{self.owner} takes a list of {len(expected)} inputs{where}, "
                    f"got {_kind(given)}"
                )
            if len(given) != len(expected):
                self._wrong_number(len(given), where, len(expected))
            for index, (part, value) in enumerate(zip(expected, given, strict=True)):
                self._match(part, value, (*path, index), found)
        else:
            found.append(given)

    def _bind_names(self, args: tuple[Any, ...], given: dict[str, Any]) -> list[Any]:
        slots: dict[str, int] = {}
        for names in (self.parameters, self.names):
            slots.update({name: position for position, name in enumerate(names)})
        if isinstance(self.structure, dict) and not args:
            if set(given) == set(self.structure) or not set(given) <= slots.keys():
                return self._matched(given)
        values: dict[int, Any] = dict(enumerate(args))
        for name, value in given.items():
            position = slots.get(name)
            if position is None:
                self._wrong_keys(self.names, list(given), "")
            if position in values:
                raise ValueError(f"{self.owner}: input {self.names[position]!r} is given twice")
            values[position] = value
        if len(values) != len(self.names):
            self._wrong_keys(self.names, [*self.names[: len(args)], *given], "")
        return [values[position] for position in range(len(self.names))]

    def check(self, values: list[Any]) -> None:
        """Compare each input with what the model was built for.

        Symbolic tensors and other tensor-like objects (tracers' proxies) are let through where
        they do not tell a size.

        Raises:
            ValueError: the number of dimensions or a known size differs.
            TypeError: an input is not a tensor.
        """
        for name, expected, value in zip(self.names, self.shapes, values, strict=True):
            if expected is None:
                self._check_data(name, value)
                continue
            if not isinstance(value, (Tensor, SymbolicTensor)):
                if hasattr(type(value), "__torch_function__"):
                    continue
                hint = ": wrap it with torch.from_numpy" if hasattr(value, "__array__") else ""
                raise TypeError(
                    f"{self.owner}: input {name!r} expects a torch tensor of shape {expected}, "
                    f"got {_kind(value)}{hint}"
                )
            known = value.spec if isinstance(value, SymbolicTensor) else value
            found = tuple(known.shape)
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

    def _check_data(self, name: str, value: Any) -> None:
        """Refuse a tensor where the input is Python data, and other things where it is a number."""
        example = self.examples[name]
        is_number = isinstance(example, (int, float))
        wrong = isinstance(value, (Tensor, SymbolicTensor)) or (
            is_number and not isinstance(value, (int, float, Symbol))
        )
        if wrong:
            raise TypeError(
                f"{self.owner}: input {name!r} expects "
                f"{'a number' if is_number else 'Python data'} such as {example!r:.60}, "
                f"got {_kind(value)}"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out references into the graph: copying them would recurse along its edges."""
        return {**self.__dict__, "refs": [], "reads": (), "_compared": set()}

    def refer_to(self, refs: list[Ref]) -> None:
        """Take over the inputs of a graph that was copied or loaded."""
        self.refs, self.reads = refs, reads_from(refs)

    def check_reads(self, values: Sequence[Any]) -> None:
        """Compare sizes that were read while the graph was built with those of these inputs.

        Such a size was found to be the same for all sizes that were tried. What was compared once
        is remembered for each combination of input sizes.

        Raises:
            ValueError: a size is another one, so that the graph holds a wrong number.
        """
        if torch._C._get_tracing_state() or any(isinstance(v, Symbol) for v in values):
            return
        shapes = tuple(tuple(v.shape) if isinstance(v, Tensor) else v for v in values)
        try:
            if shapes in self._compared:
                return
        except TypeError:  # data that cannot be a key is compared at each call
            key = None
        else:
            key = shapes
        for ref, axis in self.reads:
            found = sizes_at(ref, dict(zip(self.refs, shapes, strict=True)))
            expected = ref.spec.shape[axis]
            if found is not None and found[axis] != expected:
                raise ValueError(
                    f"{self.owner}: the size of axis {axis} of {describe(ref.node)} was read while "
                    f"the graph was built, as {expected}, which it was for all sizes that were "
                    f"tried; for inputs of shapes {list(shapes)} it is {found[axis]}. Compute what "
                    "depends on it in `fgraph.apply(fn, x)`"
                )
        if len(self._compared) >= _MOST_SHAPES:
            self._compared.clear()
        if key is not None:
            self._compared.add(key)

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
