"""What the nodes of a graph make, keep for gradients and compute, measured in one run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from ..graph import Node, Ref
from ..graph.graph import Graph
from ..graph.nested import iter_leaves
from ..model import Model
from ..training.prediction import keeping_modes
from ..viewing.flops import flops_of
from ..viewing.node_values import leaves_of, replay
from .activation_checkpointing import undone


@dataclass
class Footprint:
    """What each node of a graph costs; lists are by position. Memory counts as pieces.

    A piece is what one tensor, and all views of it, lie in. Those of inputs, parameters and
    buffers are left out.

    Attributes:
        graph: the graph.
        work: floating-point operations; elementwise work counts one for an element of the result.
        seconds: the time of each node, if it was asked for.
        size: the bytes of each piece.
        made: which node makes each piece.
        home: the piece that each value lies in.
        saved: the pieces that each node saves for gradients.
        packs: whether a node saves anything, weights included.
        widest: the most bytes that one operation inside a node takes and makes.
        gradients: the bytes of the gradient of each value that has one.
        examples: an empty tensor like each value, on the meta device.
    """

    graph: Graph
    work: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    made: list[int] = field(default_factory=list)
    home: dict[Ref, int] = field(default_factory=dict)
    saved: list[set[int]] = field(default_factory=list)
    packs: list[bool] = field(default_factory=list)
    widest: list[int] = field(default_factory=list)
    gradients: dict[Ref, int] = field(default_factory=dict)
    examples: dict[Ref, Tensor] = field(default_factory=dict)


def measure(model: Model, example: Any, clock: bool = False) -> Footprint:
    """Run a model once, node by node, in training mode; nothing is kept for gradients.

    Buffers and random numbers are left as they were.

    Args:
        model: a model that has a graph.
        example: its inputs, as in a call: a tensor, or a list, tuple or dict of them.
        clock: whether to take the time, in a second run.

    Raises:
        ValueError: the example does not fit the inputs.
        TypeError: there is no example.
    """
    if example is None:
        raise TypeError(
            "expected example=, the inputs of a batch as in training: their sizes tell the costs"
        )
    given = (*example,) if isinstance(example, (list, tuple)) else (example,)
    values = model._bind_inputs(given, {})
    graph = model._live_graph("recompute")
    leaves = [leaf for node in graph.nodes for leaf in iter_leaves((node.args, node.kwargs))]
    own = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    with keeping_modes(model), undone(model), _unchanged(own), torch.enable_grad():
        model.train()
        watch = _Watch(Footprint(graph), [*values, *own, *model.parameters(), *model.buffers()])
        with watch.hooks(), watch:
            outputs = replay(graph, values, graph.outputs, watch.run)
            watch.finish(outputs)
        for ref, like in [*zip(graph.inputs, map(_likeness, values), strict=True), *watch.like]:
            if like is not None:
                size, stride, dtype, grad = like
                made = torch.empty_strided(size, stride, dtype=dtype, device="meta")
                watch.found.examples[ref] = made.requires_grad_(grad)
        if clock:
            with saved_tensors_hooks(lambda x: None, _unpack):
                replay(graph, values, (), watch.time)
    return watch.found


@contextmanager
def _unchanged(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Give buffers that a block changes their values back."""
    before = [(t, t._version, t.clone()) for t in tensors if not isinstance(t, nn.Parameter)]
    try:
        yield
    finally:
        for tensor, version, values in before:
            if tensor._version != version:
                with torch.no_grad():
                    tensor.copy_(values)


class _Watch(TorchDispatchMode):
    """Sees the operations of a run, and what these save.

    Args:
        found: what to fill in.
        free: tensors whose memory does not count.
    """

    def __init__(self, found: Footprint, free: Sequence[Any]) -> None:
        super().__init__()
        self.found = found
        self.like: list[tuple[Ref, Any]] = []
        self._pieces: Any = WeakIdKeyDictionary()
        self._free: Any = WeakIdKeyDictionary()
        for tensor in free:
            if isinstance(tensor, Tensor) and (storage := _storage(tensor)) is not None:
                self._free[storage] = True

    def run(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a node, and note what it does."""
        found = self.found
        found.saved.append(set())
        found.packs.append(False)
        found.widest.append(0)
        found.work.append(0)
        result = node.run(args, kwargs)
        for ref, leaf in leaves_of(node, result):
            self.like.append((ref, _likeness(leaf)))
            if isinstance(leaf, Tensor) and (piece := self._piece(leaf)) is not None:
                found.home[ref] = piece
                found.work[-1] += leaf.numel() if found.made[piece] == len(found.work) - 1 else 0
                if leaf.requires_grad:
                    found.gradients[ref] = leaf.numel() * leaf.element_size()
        return result

    def time(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a node, and note the time."""
        start = time.perf_counter()
        result = node.run(args, kwargs)
        for leaf in iter_leaves(result):
            if isinstance(leaf, Tensor) and leaf.is_cuda:
                torch.cuda.synchronize(leaf.device)
                break
        self.found.seconds.append(time.perf_counter() - start)
        return result

    def finish(self, outputs: dict[Ref, Any]) -> None:
        """Count what is still alive as saved: functions may keep tensors in ways of their own."""
        given = {self._pieces.get(_storage(v)) for v in outputs.values() if isinstance(v, Tensor)}
        for piece in set(self._pieces.values()) - given:
            self.found.saved[self.found.made[piece]].add(piece)

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Note what is saved for gradients, and drop it."""
        with saved_tensors_hooks(self._pack, _unpack):
            yield

    def _pack(self, tensor: Tensor) -> None:
        self.found.packs[-1] = True
        if (piece := self._piece(tensor)) is not None:
            self.found.saved[-1].add(piece)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        leaves = iter_leaves((args, kwargs, result))
        pieces = {self._piece(leaf) for leaf in leaves if isinstance(leaf, Tensor)}
        if self.found.widest:
            self.found.work[-1] += flops_of(func, args, kwargs, result)
            width = sum(self.found.size[piece] for piece in pieces if piece is not None)
            self.found.widest[-1] = max(self.found.widest[-1], width)
        return result

    def _piece(self, tensor: Tensor) -> int | None:
        """Return the piece of memory that a tensor lies in, `None` for one that does not count."""
        storage = _storage(tensor)
        if storage is None or storage in self._free:
            return None
        found: int | None = self._pieces.get(storage)
        if found is None:
            found = self._pieces[storage] = len(self.found.size)
            self.found.size.append(storage.nbytes())
            self.found.made.append(max(len(self.found.saved) - 1, 0))
        return found


def _likeness(value: Any) -> Any:
    """Return what an empty tensor like this one, or without elements for a size, is made of."""
    if type(value) is int and value >= 0:
        return (value, 0), (1, 1), torch.float32, False
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        return None
    return value.shape, value.stride(), value.dtype, value.requires_grad


def _storage(tensor: Any) -> Any:
    """Return the memory of a tensor, `None` where there is no single one."""
    try:
        return tensor.untyped_storage() if tensor.layout is torch.strided else None
    except (NotImplementedError, RuntimeError):
        return None


def _unpack(nothing: None) -> Tensor:
    raise RuntimeError(
        "a layer of this model computes gradients in its forward pass, so its memory cannot be "
        "measured: give the names of layers, model.recompute(['block_*'])"
    )
