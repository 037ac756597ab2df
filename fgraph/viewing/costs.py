"""What the calls of a model cost, as records and as a table of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .table import size_text, table, terminal_width


@dataclass(frozen=True)
class Record:
    """What one call of a layer or function costs.

    Attributes:
        name: the name of the call, as `model.summary()` writes it.
        kind: the class of the layer or module, or the name of the function.
        shape: the shape of the result.
        cpu_ms: time on the host, in milliseconds; if a GPU does the work, the time to launch it.
        cuda_ms: time on the GPU, in milliseconds; `None` without one.
        backward_cpu_ms, backward_cuda_ms: the same for the gradients; `None` if not asked for.
        share: the fraction of the total time, from 0 to 1; GPU time if there is a GPU.
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
        """Total time, forward and backward, on the device that does the work."""
        if self.cuda_ms is not None:
            return self.cuda_ms + (self.backward_cuda_ms or 0.0)
        return self.cpu_ms + (self.backward_cpu_ms or 0.0)


class Profile:
    """What the calls of a model cost; printing it shows a table.

    Attributes:
        records: a `Record` for each call.
        total: their sum.
        repeat: the number of runs whose median each time is.
    """

    def __init__(self, records: list[Record], repeat: int) -> None:
        self.records = records
        self.repeat = repeat
        self.total = _sum(records)

    def table(self, line_length: int | None = None) -> str:
        """Return the records and their sum as a table of text.

        Args:
            line_length: the maximum width of a line; by default the width of the terminal, from 80
                to 120.

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
