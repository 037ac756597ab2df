"""The calls of a layer: `input`, `output`, `get_output_at` and the like."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from ..errors import AmbiguousNodeError, UncalledLayerError
from ..graph import Call, to_shapes, to_symbols


class InboundNodes:
    """The calls of a layer. The graph keeps them alive, not the layer."""

    _calls: weakref.WeakSet[Call]

    @property
    def name(self) -> str:
        """The layer's name in messages."""
        raise NotImplementedError

    def add_call(self, call: Call) -> None:
        """Add a call to the layer's nodes."""
        self._calls.add(call)

    def forget_call(self, call: Call) -> None:
        """Remove a call from the layer's nodes."""
        self._calls.discard(call)

    @property
    def inbound_nodes(self) -> list[Call]:
        """The calls of this layer in graphs that still exist, in call order."""
        return sorted((call for call in self._calls if call.alive), key=lambda call: call.seq)

    @property
    def input(self) -> Any:
        """The symbolic input, if the layer was called once."""
        return self._only("input", lambda call: _first(call))

    @property
    def output(self) -> Any:
        """The symbolic output, if the layer was called once."""
        return self._only("output", lambda call: call.outputs)

    @property
    def input_shape(self) -> Any:
        """The shape of the input, if all calls agree on it."""
        return self._only_shape("input shape", "input_shape", lambda call: _first(call))

    @property
    def output_shape(self) -> Any:
        """The shape of the output, if all calls agree on it."""
        return self._only_shape("output shape", "output_shape", lambda call: call.outputs)

    def get_input_at(self, node_index: int) -> Any:
        """Return the symbolic input of the `node_index`-th call."""
        return to_symbols(_first(self._at(node_index, "input")))

    def get_output_at(self, node_index: int) -> Any:
        """Return the symbolic output of the `node_index`-th call."""
        return to_symbols(self._at(node_index, "output").outputs)

    def get_input_shape_at(self, node_index: int) -> Any:
        """Return the input shape of the `node_index`-th call."""
        return to_shapes(_first(self._at(node_index, "input shape")))

    def get_output_shape_at(self, node_index: int) -> Any:
        """Return the output shape of the `node_index`-th call."""
        return to_shapes(self._at(node_index, "output shape").outputs)

    def _at(self, index: int, what: str) -> Call:
        calls = self.inbound_nodes
        if not calls:
            raise RuntimeError(
                f"The layer {self.name} has never been called and thus has no defined {what}."
            )
        if not -len(calls) <= index < len(calls):
            raise ValueError(
                f"Asked to get {what} at node {index}, but the layer {self.name} has only "
                f"{len(calls)} inbound nodes."
            )
        return calls[index]

    def _only(self, what: str, read: Callable[[Call], Any]) -> Any:
        calls = self.inbound_nodes
        if len(calls) > 1:
            raise AmbiguousNodeError(self._ambiguous(what, f"get_{what}_at"))
        return to_symbols(read(self._first_call(calls, what)))

    def _only_shape(self, what: str, attribute: str, read: Callable[[Call], Any]) -> Any:
        calls = self.inbound_nodes
        first = to_shapes(read(self._first_call(calls, what)))
        if any(to_shapes(read(call)) != first for call in calls[1:]):
            raise AmbiguousNodeError(self._ambiguous(what, f"get_{attribute}_at"))
        return first

    def _first_call(self, calls: list[Call], what: str) -> Call:
        if not calls:
            raise UncalledLayerError(
                f"The layer {self.name} has never been called and thus has no defined {what}."
            )
        return calls[0]

    def _ambiguous(self, what: str, method: str) -> str:
        return (
            f"Layer {self.name} has multiple inbound nodes, hence the notion of "
            f'"layer {what}" is ill-defined. Use `{method}(node_index)` instead.'
        )


def _first(call: Call) -> Any:
    """Return the value of `layer.input` for a call: its only argument, or a list of all."""
    args, _ = call.inputs
    return args[0] if len(args) == 1 else list(args)
