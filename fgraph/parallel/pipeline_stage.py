"""`parallel.stage`: this process's part of a model, for the pipeline schedules of torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import distributed

from ..graph.nested import map_leaves
from ..model import Model
from .stage_cuts import parts_of


def stage(
    model: Model,
    example: Any,
    group: Any = None,
    per_rank: int = 1,
    by: str = "flops",
    device: torch.device | str | None = None,
) -> Any:
    """Return this process's `torch.distributed.pipelining.PipelineStage` of a model.

    The model is cut as `stages` does it, into a stage for each process, and the stage is moved to
    the device. Give it to a schedule of torch: `Schedule1F1B(stage, 8, loss_fn=loss)`; its `step`
    takes the model's inputs in the first process and the targets in the last. Train the
    parameters of `stage.submod`.

    All processes cut the same model for the same example. Sizes are known before the first step,
    so the layers never run on made-up data, which would change running statistics.

    Outputs in a dict or another structure are a tuple here, in the order of `model.output_names`.

    Args:
        model: a model that has a graph.
        example: the inputs of a micro-batch, as in a call: a tensor, or a list or dict of them.
        group: the processes; all by default.
        per_rank: how many stages a process has, for schedules such as `ScheduleInterleaved1F1B`.
        by: what to balance, see `stages`.
        device: where the stage runs; where the model is by default.

    Returns:
        The stage; a list of `per_rank` stages if there are several.

    Raises:
        RuntimeError: there is no process group: call `parallel.start()`, or `init_process_group`.
        ValueError: the model cannot be cut so often, or an argument is out of range.
        TypeError: an argument is of another type.
    """
    from torch.distributed.pipelining import PipelineStage

    if not distributed.is_available() or not distributed.is_initialized():
        raise RuntimeError(
            "parallel.stage: there is no process group: call fgraph.parallel.start() first, in a "
            "script that torchrun runs"
        )
    if isinstance(per_rank, bool) or not isinstance(per_rank, int) or per_rank < 1:
        raise ValueError(f"parallel.stage: per_rank= expects a number from 1, got {per_rank!r}")
    rank, size = distributed.get_rank(group), distributed.get_world_size(group)
    parts = parts_of(model, size * per_rank, example, by, flat=True)
    where = torch.device(device or next((p.device for p in model.parameters()), "cpu"))
    made = []
    for number in range(rank, len(parts), size):
        part, taken, given = parts[number]
        if number < len(parts) - 1:
            part.register_forward_hook(_contiguous_outputs)
        sizes: Any = {"input_args": _contiguous(taken), "output_args": _contiguous(given)}
        made.append(PipelineStage(part.to(where), number, len(parts), where, group=group, **sizes))
    return made[0] if per_rank == 1 else made


def _contiguous(examples: Iterable[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Return empty tensors like these, as they arrive in the next stage."""
    return tuple(
        torch.empty(like.shape, dtype=like.dtype, device="meta").requires_grad_(like.requires_grad)
        for like in examples
    )


def _contiguous_outputs(part: Any, args: Any, outputs: Any) -> Any:
    """Lay out what a stage returns as processes send it: they take no transposed tensors."""
    return map_leaves(torch.Tensor.contiguous, outputs)
