"""The outputs of a model by name and in their structure, and one value for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import unknown_name
from ..graph.nested import is_container, iter_leaves, label, leaves_with_paths, numbered


class OutputStructure:
    """The outputs of a model.

    Args:
        names: their names, in flat order.
        template: their structure with 0, 1, ... instead of the outputs; by default a list, or a
            single output.
    """

    def __init__(self, names: Sequence[str], template: Any = None) -> None:
        self.names = list(names)
        if template is None:
            template = 0 if len(self.names) == 1 else list(range(len(self.names)))
        self.template = template

    @classmethod
    def of(cls, result: Any, names: Sequence[str] | None = None) -> OutputStructure:
        """Return the structure of the result of a call.

        Args:
            result: the outputs.
            names: their names; dict keys, else `output_1`, `output_2`, ... by default.
        """
        paths = [path for path, _ in leaves_with_paths(result)]
        if names is None or len(names) != len(paths):
            keyed = isinstance(result, Mapping)
            names = [label(p) if keyed else f"output_{i + 1}" for i, p in enumerate(paths)]
        return cls(names, numbered(result))

    def state(self) -> list[Any]:
        """Return the arguments that make an equal structure, as lists and dicts."""
        return [self.names, _plain(self.template)]

    def per_output(
        self, given: Any, argument: str, *, spread: bool, nested: bool = False
    ) -> list[Any]:
        """Return one entry for each output.

        Args:
            given: `None`; a dict by output name, where missing outputs get `None`; a list in the
                order of the outputs; entries in the structure of the outputs; or a single value.
            argument: the argument's name, for error messages.
            spread: whether a single value applies to every output; otherwise it fits only a model
                with one output.
            nested: whether an entry may itself be a list.

        Raises:
            ValueError: an output name is unknown, or the number of entries is not the number of
                outputs.
        """
        count = len(self.names)
        if given is None:
            return [None] * count
        if isinstance(given, Mapping):
            if all(key in self.names for key in given):
                return [given.get(name) for name in self.names]
            unknown = [str(key) for key in given if key not in self.names]
            if not isinstance(self.template, Mapping) or any(
                key not in self.template for key in given
            ):
                raise ValueError(f"{argument}: {unknown_name('output', unknown[0], self.names)}")
        if isinstance(given, Mapping | list | tuple):
            entries: list[Any] = [None] * count
            if self._fill(self.template, given, entries, nested):
                return entries
            if not isinstance(given, Mapping) and len(given) == count:
                return list(given)
            raise ValueError(
                f"{argument} has {len(given)} entries, but the model has {count} "
                f"output{'s' * (count > 1)} ({', '.join(self.names)}): give one for each, in the "
                "structure of the outputs, or a dict by output name"
            )
        if spread or count == 1:
            return [given] * count
        raise ValueError(
            f"{argument} is a single {type(given).__name__}, but the model has {count} outputs "
            f"({', '.join(self.names)}): give a list with one for each, or a dict by output name"
        )

    def _fill(self, template: Any, given: Any, entries: list[Any], nested: bool) -> bool:
        """Match `given` with the structure of the outputs; return whether it fits."""
        if not is_container(template):
            if is_container(given) and not nested:
                return False
            entries[template] = given
            return True
        if given is None:
            return True
        if isinstance(template, Mapping):
            return isinstance(given, Mapping) and all(
                key in template and self._fill(template[key], value, entries, nested)
                for key, value in given.items()
            )
        return (
            isinstance(given, list | tuple)
            and len(given) == len(template)
            and all(
                self._fill(part, value, entries, nested)
                for part, value in zip(template, given, strict=True)
            )
        )


def flat(outputs: Any) -> list[Any]:
    """Return the outputs of a call in flat order."""
    return list(iter_leaves(outputs))


def _plain(template: Any) -> Any:
    if isinstance(template, Mapping):
        return {key: _plain(item) for key, item in template.items()}
    return [_plain(item) for item in template] if isinstance(template, list | tuple) else template
