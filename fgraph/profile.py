"""`model.profile()`: time, operations and memory of each call of a model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ._names import unknown_name
from .flops import counting_flops
from .graph import Node, Ref
from .graph.structure import iter_leaves, map_leaves
from .outline import Outline, ParameterCount, Step
from .replay import leaves_of, replay
from .stopwatch import Stopwatch
from .table import size_text, table, terminal_width

if TYPE_CHECKING:
    from .model import Model

_SORT = ("time", "flops", "memory", "parameters")


@dataclass(frozen=True)
class Record:
    """What one call of a layer or function costs.

    Attributes:
        name: the name of the call, as `model.summary()` writes it.
        kind: the class of the layer or module, or the name of the function.
        shape: the shape of the result.
        cpu_ms: time on the host, in milliseconds; where the work is done by a GPU, the time to
            start it.
        cuda_ms: time on the GPU, in milliseconds; `None` without one.
        backward_cpu_ms, backward_cuda_ms: the same for the gradients; `None` if not asked for.
        share: the part of the whole time, from 0 to 1: GPU time where there is a GPU.
        flops: floating-point operations of matrix products, convolutions, attention and recurrent
            layers; a multiplication and an addition are two.
        backward_flops: the same for the gradients; `None` if not asked for.
        memory: bytes of new memory that the results take; a view takes none.
        parameters: the number of parameters; for a further call of a layer, 0.
    """

    name: str
    kind: str
    shape: Any
    cpu_ms: float
    cuda_ms: float | None
    backward_cpu_ms: float | None
    backward_cuda_ms: float | None
    share: float
    flops: int
    backward_flops: int | None
    memory: int
    parameters: int

    @property
    def time_ms(self) -> float:
        """Time of the device that does the work, forward and backward."""
        if self.cuda_ms is not None:
            return self.cuda_ms + (self.backward_cuda_ms or 0.0)
        return self.cpu_ms + (self.backward_cpu_ms or 0.0)


class Profile:
    """What the calls of a model cost; printing it shows a table.

    Attributes:
        records: a `Record` for each call.
        total: their sum.
        repeat: over how many runs each time is the median.
    """

    def __init__(self, records: list[Record], repeat: int) -> None:
        self.records = records
        self.repeat = repeat
        self.total = _sum(records)

    def table(self, line_length: int | None = None) -> str:
        """Return the records and their sum as a table of text.

        Args:
            line_length: the most characters that a line may have; the width of the terminal, from
                80 to 120, by default.

        Raises:
            ValueError: the columns do not fit.
        """
        columns = _columns(self.total)
        headers = [header for header, _ in columns]
        rows = [
            [str(read(record)) for _, read in columns] for record in (*self.records, self.total)
        ]
        lines = table(headers, rows, range(2, len(headers)), line_length or terminal_width(120, 80))
        lines.insert(-2, lines[0])
        return "\n".join([*lines, f"Times are medians of {self.repeat} runs."])

    def __repr__(self) -> str:
        return self.table()


def profile(
    model: Model,
    inputs: Sequence[Any],
    repeat: int = 10,
    backward: bool = False,
    sort: str | None = None,
) -> Profile:
    """Measure what each call of a model costs.

    The calls are run one by one, in the mode (training or not) that the model is in; buffers, such
    as running statistics, gradients and the state of random numbers are left as they were.

    Args:
        model: a model that has a graph.
        inputs: what the model takes, as in a call.
        repeat: how often to run it, after one run to warm up; each time is the median.
        backward: whether to measure the gradients too: of the parameters that require them, and of
            the results in between that these need.
        sort: `"time"`, `"flops"`, `"memory"` or `"parameters"`, the largest first; by default
            the calls stay in order.

    Returns:
        The records; printing them shows a table.

    Raises:
        ValueError: an option is out of range, or an input does not fit.
        TypeError: `repeat` is not a whole number.
        AttributeError: the model has no graph.

    Example:
        >>> from fgraph import Input, Model
        >>> x = Input((8,))
        >>> found = profile(Model(x, nn.Linear(8, 4)(x)), [torch.zeros(2, 8)])
        >>> found.records[0].name, found.records[0].flops, found.records[0].memory
        ('linear_1', 128, 32)
    """
    if isinstance(repeat, bool) or not isinstance(repeat, int):
        raise TypeError(f"profile: repeat= expects a whole number, got {repeat!r}")
    if repeat < 1:
        raise ValueError(f"profile: repeat= must be at least 1, got {repeat}")
    if sort is not None and sort not in _SORT:
        raise ValueError(f"profile: {unknown_name('sort', sort, _SORT)}")
    outline = Outline(model, "profile")
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
    """Called in place of each node: first it counts, then it takes the time."""

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
        result = self._measure((node, "forward"), lambda: node.target(*given[0], **given[1]))
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

    def _record(self, step: Step, count: ParameterCount) -> Record:
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
    """Return a tensor without its history, that requires gradients if it did."""
    return leaf.detach().requires_grad_(leaf.requires_grad) if isinstance(leaf, Tensor) else leaf


def _own(leaf: Any) -> Any:
    """Return a copy of what requires gradients: a call may change that in place, but no leaf."""
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
    """Put buffers and the state of random numbers back as they were; `device` is a GPU, if any."""
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


def _sum(records: list[Record]) -> Record:
    def total(name: str) -> Any:
        values = [getattr(record, name) for record in records]
        return None if None in values else sum(values)

    numbers = {name: total(name) for name in Record.__dataclass_fields__ if name not in _TEXT}
    return Record(name="total", kind="", shape="", **numbers)


_TEXT = ("name", "kind", "shape")


def _columns(total: Record) -> list[tuple[str, Any]]:
    """Return the headers, each with what it shows of a record."""
    columns: list[tuple[str, Any]] = [
        ("Layer (type)", lambda r: f"{r.name} ({r.kind})" if r.kind else r.name),
        ("Output shape", lambda r: r.shape),
        ("CPU ms", lambda r: f"{r.cpu_ms:.3f}"),
    ]
    if total.cuda_ms is not None:
        columns.append(("CUDA ms", lambda r: f"{r.cuda_ms:.3f}"))
    if total.backward_cpu_ms is not None:
        columns.append(("backward CPU ms", lambda r: f"{r.backward_cpu_ms:.3f}"))
    if total.backward_cuda_ms is not None:
        columns.append(("backward CUDA ms", lambda r: f"{r.backward_cuda_ms:.3f}"))
    columns += [("Share", lambda r: f"{r.share:.1%}"), ("FLOPs", lambda r: _si(r.flops))]
    if total.backward_flops is not None:
        columns.append(("backward FLOPs", lambda r: _si(r.backward_flops)))
    return [
        *columns,
        ("Memory", lambda r: size_text(r.memory)),
        ("Param #", lambda r: f"{r.parameters:,}"),
    ]


def _si(number: float) -> str:
    """Write a count in thousands, millions, ...: `1.23 M`."""
    for unit in ("", "k", "M", "G", "T"):
        if number < 1000:
            return f"{number:.2f} {unit}" if unit else str(number)
        number /= 1000
    return f"{number:.2f} P"
