"""In-place operations and views: which values share memory, and which calls change it.

A call that changes a tensor is recorded as written and runs in place, in the order of recording, as
in eager torch. Three things remain to be done. Changes must be detected: the run on meta tensors
shows them by storages and version counters. Other values in the same memory must depend on the
change. And whatever the change would overwrite must be copied first: inputs of the model, and
values that a later call or an output needs unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary
from torch.utils import _pytree as pytree

from .node import Node, Ref
from .specs import REAL, Effects


class MemoryWatch:
    """Collects the effects of a call over its runs on meta tensors.

    Args:
        evaluating: whether modules run in evaluation mode, whatever their own mode is.
    """

    def __init__(self, evaluating: bool = False) -> None:
        self.evaluating = evaluating
        self._changes: set[int] = set()
        self._shares: set[tuple[int, int]] = set()

    def see(self, given: Sequence[tuple[Any, Any]], result: Any, real: Iterable[Tensor]) -> None:
        """Add the effects of one run.

        Args:
            given: for each value that the call takes, its stand-in and the shape that it had
                before; `None` for numbers.
            result: what the call returned.
            real: the meta tensors that stood for real ones.

        Raises:
            TypeError: the call changed the shape of a tensor in place.
        """
        homes = dict.fromkeys(map(_storage, real), REAL)
        for position, (value, shape) in enumerate(given):
            if isinstance(value, Tensor):
                homes[_storage(value)] = position
                if value._version:
                    self._changes.add(position)
                    if value.shape != shape or not value.is_contiguous():
                        raise TypeError(f"it changes the shape of an input, {shape}, in place")
        leaves = [result] if isinstance(result, Tensor) else pytree.tree_leaves(result)
        for index, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor) and (storage := _storage(leaf)) is not None:
                own = len(given) + index
                source = homes.setdefault(storage, own)
                if source != own:
                    self._shares.add((index, source))

    def effects(self) -> Effects | None:
        """Return what was seen, `None` for nothing."""
        if not self._changes and not self._shares:
            return None
        return Effects(tuple(sorted(self._changes)), tuple(sorted(self._shares)))


def _storage(tensor: Tensor) -> int | None:
    """Return an identifier of the memory of a tensor; `None` if it has no single storage."""
    is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor(tensor)  # by torch.func
    plain = tensor.layout is torch.strided and not is_wrapped
    return tensor.untyped_storage()._cdata if plain else None


# ------------------------------------------------------------------ what is recorded


def changed(value: Any, *by: Any) -> Any:
    """Return `value`, which shares memory with something that the calls `by` change in place."""
    return value


def setitem(x: Tensor, index: Any, value: Any) -> Tensor:
    """Return `x` after `x[index] = value`."""
    if has_torch_function_unary(x):  # symbolic tensors, and the proxies of torch.fx
        return handle_torch_function(setitem, (x,), x, index, value)
    x[index] = value
    return x


class Memory:
    """Memory that several values share, and the calls that change it.

    Attributes:
        changes: an output of each call that changes the memory, in the order of recording; a change
            that a later one is known to follow is left out.
        real: whether the memory belongs to a real tensor.
    """

    __slots__ = ("_joined", "_of_several", "changes", "real")

    def __init__(self) -> None:
        self.changes: list[Ref] = []
        self.real = False
        self._joined: Memory | None = None
        self._of_several = False

    def whole(self) -> Memory:
        """Return the memory that this one was joined to, or itself."""
        memory = self
        while memory._joined is not None:
            memory = memory._joined
        return memory

    def join(self, other: Memory) -> None:
        """Treat two memories as one."""
        ours, theirs = self.whole(), other.whole()
        if ours is not theirs:
            theirs._joined, ours._of_several = ours, True
            ours.real |= theirs.real
            ours.changes = sorted(ours.changes + theirs.changes, key=lambda ref: ref.node.seq)

    def add_change(self, change: Ref) -> None:
        """Add a change made through a value that follows all earlier changes."""
        if not self._of_several:
            self.changes.clear()
        self.changes.append(change)

    def changes_since(self, seq: int) -> list[Ref]:
        """Return the changes recorded after the node that has this place in the order."""
        return [ref for ref in self.changes if ref.node.seq > seq]


# ------------------------------------------------------------------ what has to be copied


class Copies(NamedTuple):
    """The values to copy before in-place operations, because they are needed unchanged later.

    Attributes:
        inputs: the inputs of the graph that a call changes; the forward copies them first.
        before: for the `id` of each node that changes values, the values to copy before it.
    """

    inputs: set[Ref]
    before: dict[int, list[Ref]]


def needed_copies(inputs: list[Ref], nodes: list[Node], outputs: list[Ref]) -> Copies:
    """Find what has to be copied when a graph runs.

    Raises:
        ValueError: the graph begins between a value and a change of its memory, or would change a
            real tensor.
    """
    found = Copies(set(), {})
    if any(node.effects and (node.effects.changes or node.target is changed) for node in nodes):
        _Copier(inputs, nodes, outputs, found).run()
    return found


class _Copier:
    """Follows, node by node, which values share memory."""

    def __init__(
        self, inputs: list[Ref], nodes: list[Node], outputs: list[Ref], found: Copies
    ) -> None:
        self._nodes = nodes
        self._found = found
        self._inputs = set(inputs)
        uses = [(ref, at, node) for at, node in enumerate(nodes) for ref in node.refs()]
        last = dict.fromkeys(outputs, len(nodes))
        self._last_use = {ref: at for ref, at, _ in uses} | last
        self._last_read = {ref: at for ref, at, node in uses if node.target is not changed} | last
        self._together: dict[Ref, set[Ref]] = {}  # the values in the memory of each value
        self._copied: dict[Ref, set[Ref]] = {}  # the same, for the copy of a value
        self._reached: dict[int, set[Ref]] = {}  # by the id of a node, what its changes reach
        self._real: set[Ref] = set()  # values in the memory of real tensors

    def run(self) -> None:
        """Fill in what has to be copied."""
        for position, node in enumerate(self._nodes):
            if node.effects is not None:
                if node.target is changed:
                    self._check(node)
                for index, source in node.effects.shares:
                    self._share(node, index, source)
                for taken in node.effects.changes:
                    self._change(node, node.refs()[taken], position)

    def _memory(self, ref: Ref) -> set[Ref]:
        return self._together.setdefault(ref, {ref})

    def _change(self, node: Node, ref: Ref, position: int) -> None:
        if ref in self._real:
            raise ValueError(f"{node!r} changes a parameter, buffer or constant of the model")
        memory = self._copied.get(ref) or self._memory(ref)
        self._found.inputs.update(memory & self._inputs)
        if ref not in self._copied:
            self._reached.setdefault(id(node), set()).update(memory)
        for value in list(memory):
            if self._last_use.get(value, -1) <= position:
                memory.discard(value)  # so that a thousand changes take no more than linear time
            elif self._last_read.get(value, -1) > position and value.node is not node:
                if self._copied.get(value, memory) is memory:
                    self._found.before.setdefault(id(node), []).append(value)
                    self._copied[value] = {value}

    def _share(self, node: Node, index: int, source: int) -> None:
        refs, made = node.refs(), Ref(node, index)
        if made in self._inputs:
            return
        other = None
        if source != REAL:
            other = refs[source] if source < len(refs) else Ref(node, source - len(refs))
        if other is None or other in self._real:
            self._real.add(made)
            return
        memory = self._memory(other)
        if node.target is not changed:
            memory = self._copied.get(other) or memory
        for value in self._memory(made) - memory:
            memory.add(value)
            self._together[value] = memory

    def _check(self, node: Node) -> None:
        """Check that all changes that a value should include do reach it."""
        value, *by = node.refs()
        for change in by:
            if value not in self._reached.get(id(change.node), ()):
                raise ValueError(
                    f"Graph disconnected: {change.node!r} changes a tensor in place of which "
                    f"{value.node!r} is a view, but in this model the change does not reach the "
                    "view: begin inputs= before both calls or after both, or `.clone()` the view"
                )
