"""Replay the calls of a graph on other inputs, layer by layer or call by call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..graph import Node, Ref, symbol
from ..graph.ancestry import add_reads, ancestors, reads_from
from ..graph.closures import LiftedFunction
from ..graph.graph import Graph
from ..graph.modes import Modes, callers_modes, under
from ..graph.nested import iter_leaves, map_leaves
from ..graph.node import Operation, recording
from ..graph.recording.record import record
from ..interface.keras_weights import KerasWeights


class Replay:
    """Replays the calls of one graph.

    Args:
        values: The symbolic tensor that takes the place of each input.
        copy: From a layer or module to the one to call. Defaults to the same one.
        by_layers: Whether to call layers as a whole, and not each function in them.
        call: Called as `call(layer, *args, **kwargs)` in place of each call of a layer or module.

    Attributes:
        values: The symbolic tensor that takes the place of each value so far.
    """

    def __init__(
        self,
        values: Mapping[Ref, Any],
        copy: Callable[[Any], Any] = lambda layer: layer,
        by_layers: bool = True,
        call: Callable[..., Any] | None = None,
    ) -> None:
        self.values = dict(values)
        self._copy = copy
        self._by_layers = by_layers
        self._call_function = call
        self._done: set[int] = set()
        self._operations: dict[Operation | None, Operation | None] = {None: None}

    def run(self, graph: Graph) -> None:
        """Replay all calls, each in the modes in which it was recorded.

        Sizes that were read while the graph was built count as read of the new values, too.
        """
        reads = reads_from(graph.inputs)
        needed = {*graph.nodes, *ancestors([ref for ref, _ in reads], graph.inputs)}
        nodes = sorted(needed, key=lambda node: node.seq)
        modes: dict[int, set[Modes | None]] = {}
        for node in nodes:
            modes.setdefault(id(node.call and node.call.outermost), set()).add(node.modes)
        with callers_modes():
            for node in nodes:
                of_call = modes[id(node.call and node.call.outermost)]
                # a layer that switches modes inside does so again
                mode = node.modes if node.call is None or len(of_call) == 1 else None
                with under(mode), recording(self._operation(node.operation), "operation"):
                    self._replay(node)
        for ref, axis in reads:
            if ref in self.values:  # else within a layer, whose code has read it again
                for given in graph.inputs:
                    add_reads(self.values[given].ref, [(self.values[ref].ref, axis)])

    def _operation(self, made: Operation | None) -> Operation | None:
        """Return the operation that takes the place of another one."""
        if made is not None and made not in self._operations:
            values = [self.values[ref].ref for ref in made.inputs if ref in self.values]
            self._operations[made] = Operation(values)
        return self._operations[made]

    def now(self, structure: Any) -> Any:
        """Return a structure with the values of this replay in place of references."""

        def now(leaf: Any) -> Any:  # a new handle each time: one that is changed in place moves on
            if type(leaf) is Ref:
                return symbol(self.values[leaf].ref)
            return self._copy(leaf) if isinstance(leaf, nn.Module) else leaf

        return map_leaves(now, structure)

    def _replay(self, node: Node) -> None:
        call = node.call.outermost if node.call is not None and self._by_layers else None
        if call is None:
            result = self._call(node)
            before: Any = node.build(lambda ref: ref)
            before = before[0] if "masks" in node.kwargs else before
        elif id(call) not in self._done:
            self._done.add(id(call))
            args, kwargs = self.now(call.inputs)
            layer = self._copy(call.owner)
            call_function = self._call_function or type(layer).__call__
            result = call_function(layer, *args, **kwargs)
            before = call.outputs
        else:
            return
        for old, new in zip(iter_leaves(before), iter_leaves(result), strict=True):
            if type(old) is Ref:
                self.values[old] = symbol(new.ref)
        for index, mask in (node.masks or {}).items():
            if call is None and mask.node is node:  # a model's own, which comes with the outputs
                self.values[mask] = self.values[Ref(node, index)].mask

    def _call(self, node: Node) -> Any:
        target = self._copy(node.target) if node.op == "module" else node.target
        is_model = isinstance(target, KerasWeights)  # which sees to masks itself
        given = {k: v for k, v in node.kwargs.items() if k != "masks" or not is_model}
        args, kwargs = self.now((node.args, given))
        if is_model or (node.op == "module" and self._call_function is not None):
            call: Any = self._call_function or type(target).__call__
            return call(target, *args, **kwargs)
        target = target.with_captured(args[0]) if isinstance(target, LiftedFunction) else target
        known = node.known if node.declared else None
        return record(node.op, target, args, kwargs, name=node.name, inferred=known)
