"""Layers and operations of a graph in Keras's sense, on the way into a configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ....interface.keras_order import flat, in_keras_order


class GraphEntry:
    """A layer, model or operation of a graph.

    Attributes:
        name: its name, unique in the graph.
        entry: class and configuration.
        calls: the arguments of each of its calls.
        part: the holder of its weights.
    """

    __slots__ = ("calls", "entry", "name", "part")

    def __init__(self, name: str, entry: dict[str, Any], part: Any = None) -> None:
        self.name = name
        self.entry = entry
        self.calls: list[tuple[list[Any], dict[str, Any]]] = []
        self.part = part


class Output:
    """An output of a call.

    Attributes:
        operation, call, index: the entry, the index of its call, and of the output.
        shape, dtype: in Keras's form.
    """

    __slots__ = ("call", "dtype", "index", "operation", "shape")

    def __init__(
        self, operation: GraphEntry, call: int, index: int, shape: list[int | None], dtype: str
    ) -> None:
        self.operation, self.call, self.index = operation, call, index
        self.shape, self.dtype = shape, dtype


_Called = tuple[GraphEntry, int]  # what is called, and which call of it


def sorted_entries(inputs: Iterable[Output], outputs: Any) -> list[GraphEntry]:
    """Return the operations of a graph in Keras's order.

    Keras names the weights of a layer by its class and number in this order, which it determines
    again when it loads a file.

    Args:
        inputs: its inputs.
        outputs: its outputs, in their structure.
    """

    def taken_by(called: _Called) -> list[_Called]:
        operation, number = called
        arguments = operation.calls[number] if operation.calls else ()
        return [_called(leaf) for leaf in flat(arguments) if isinstance(leaf, Output)]

    return in_keras_order(
        map(_called, inputs), map(_called, flat(outputs)), lambda called: called[0], taken_by
    )


def _called(output: Output) -> _Called:
    return output.operation, output.call
