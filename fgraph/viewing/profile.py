"""`model.profile()`: time, operations and memory of each call of a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import unknown_name
from ..graph import Node, Ref
from ..graph.nested import iter_leaves, map_leaves
from ..model import Model
from .costs import Profile, Record
from .flops import counting_flops
from .node_values import leaves_of, replay
from .outline import Outline, OutlineStep, ParameterCount
from .stopwatch import Stopwatch

_SORT = ("time", "flops", "memory", "parameters")


def profile(
    model: Model,
    inputs: Sequence[Any],
    repeat: int = 10,
    backward: bool = False,
    sort: str | None = None,
    expand_nested: bool = False,
) -> Profile:
    """Measure what each call of a model costs: see `Model.profile`."""
    if isinstance(repeat, bool) or not isinstance(repeat, int):
        raise TypeError(f"profile: repeat= expects a whole number, got {repeat!r}")
    if repeat < 1:
        raise ValueError(f"profile: repeat= must be at least 1, got {repeat}")
    if sort is not None and sort not in _SORT:
        raise ValueError(f"profile: {unknown_name('sort', sort, _SORT)}")
    outline = Outline(model, "profile", expanded=expand_nested)
    values = model._bind_inputs(tuple(inputs), {})
    tensors = (*values, *model.parameters(), *model.buffers())
    device = next((tensor.device for tensor in tensors if tensor.is_cuda), None)
    run = _Run(Stopwatch(device is not None), backward)
    grad = backward or torch.is_grad_enabled()
    with _undisturbed(model, device), torch.set_grad_enabled(grad):
        run.counting = True
        replay(outline.graph, values, (), run)
        run.counting = False
        for _ in range(repeat):
            replay(outline.graph, values, (), run)
            run.stopwatch.end_of_run()
    records = run.records(outline)
    if sort is not None:
        key = "time_ms" if sort == "time" else sort
        records.sort(key=lambda record: -getattr(record, key))
    return Profile(records, repeat)


class _Run:
    """Called for each node: counts its operations, then measures its time."""

    def __init__(self, stopwatch: Stopwatch, backward: bool) -> None:
        self.counting = False
        self.stopwatch = stopwatch
        self._backward = backward
        self._flops: dict[Any, int] = defaultdict(int)
        self._memory: dict[Any, int] = defaultdict(int)
        self._shapes: dict[Ref, Any] = {}

    def __call__(self, node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._backward:
            args, kwargs = map_leaves(_cut, (args, kwargs))
        sources = _wanting_gradients(node, args, kwargs) if self._backward else []
        given = map_leaves(_own, (args, kwargs)) if sources else (args, kwargs)
        result = self._measure((node, "forward"), lambda: node.run(*given))
        leaves = leaves_of(node, result)
        if self.counting:
            self._memory[node] = _new_memory([leaf for _, leaf in leaves], given)
            self._shapes.update((ref, getattr(leaf, "shape", ())) for ref, leaf in leaves)
        if sources:
            self._differentiate(node, [leaf for _, leaf in leaves], sources)
        return map_leaves(_cut, result) if self._backward else result

    def _differentiate(self, node: Node, results: list[Any], sources: list[Tensor]) -> None:
        made = [leaf for leaf in results if isinstance(leaf, Tensor) and leaf.requires_grad]
        ones = [torch.ones_like(leaf) for leaf in made]
        if made:
            self._measure(
                (node, "backward"),
                lambda: torch.autograd.grad(made, sources, ones, allow_unused=True),
            )

    def _measure(self, key: tuple[Node, str], work: Any) -> Any:
        if not self.counting:
            return self.stopwatch.time(key, work)
        with counting_flops() as count:
            result = work()
        self._flops[key] = count()
        return result

    def records(self, outline: Outline) -> list[Record]:
        """Return a record for each call, in order."""
        count = ParameterCount()
        found = [self._record(step, count) for step in outline.steps if step.nodes]
        whole = sum(record.time_ms for record in found) or 1.0
        return [replace(record, share=record.time_ms / whole) for record in found]

    def _record(self, step: OutlineStep, count: ParameterCount) -> Record:
        forward = [(node, "forward") for node in step.nodes]
        backward = [(node, "backward") for node in step.nodes]
        cpu, cuda = self.stopwatch.medians(forward)
        back_cpu, back_cuda = self.stopwatch.medians(backward)
        return Record(
            name=step.name,
            kind=step.kind,
            shape=map_leaves(self._shape, step.outputs),
            cpu_ms=cpu,
            cuda_ms=cuda,
            backward_cpu_ms=back_cpu if self._backward else None,
            backward_cuda_ms=back_cuda if self._backward else None,
            share=0.0,
            flops=sum(self._flops[key] for key in forward),
            backward_flops=sum(self._flops[key] for key in backward) if self._backward else None,
            memory=sum(self._memory[node] for node in step.nodes),
            parameters=sum(parameter.numel() for parameter in count.new(step)),
        )

    def _shape(self, leaf: Any) -> Any:
        return tuple(self._shapes.get(leaf, ())) if type(leaf) is Ref else leaf


def _cut(leaf: Any) -> Any:
    """Return a detached tensor that requires gradients if the original did."""
    return leaf.detach().requires_grad_(leaf.requires_grad) if isinstance(leaf, Tensor) else leaf


def _own(leaf: Any) -> Any:
    """Return a copy of tensors that require gradients: a call may not change leaves in place."""
    if isinstance(leaf, Tensor) and leaf.requires_grad and not isinstance(leaf, nn.Parameter):
        return leaf.clone()
    return leaf


def _wanting_gradients(node: Node, args: Any, kwargs: Any) -> list[Tensor]:
    """Return the parameters and arguments of a call that require gradients."""
    module = node.target if isinstance(node.target, nn.Module) else None
    leaves = [*iter_leaves((args, kwargs)), *(module.parameters() if module is not None else ())]
    return list({id(t): t for t in leaves if isinstance(t, Tensor) and t.requires_grad}.values())


def _new_memory(results: list[Any], arguments: Any) -> int:
    """Return the bytes of the results that do not lie in the memory of the arguments."""
    old = {_storage(leaf) for leaf in iter_leaves(arguments)}
    new = {_storage(leaf) for leaf in results} - old
    return sum(storage[1] for storage in new if storage is not None)


def _storage(leaf: Any) -> tuple[int, int] | None:
    """Return the address and size of a tensor's memory."""
    if not isinstance(leaf, Tensor) or leaf.layout is not torch.strided:
        return None
    storage = leaf.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


@contextmanager
def _undisturbed(model: nn.Module, device: torch.device | None) -> Iterator[None]:
    """Restore buffers and random states afterwards; `device` is a GPU, if any."""
    before = [
        (module._buffers, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    current = nullcontext() if device is None else torch.cuda.device(device)
    try:
        with current, torch.random.fork_rng(() if device is None else (device,)):
            yield
    finally:
        for buffers, name, buffer, values in before:
            buffers[name] = buffer
            if not torch.equal(buffer, values):  # batch norm leaves the version as it was
                with torch.no_grad():
                    buffer.copy_(values)
