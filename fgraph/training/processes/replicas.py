"""Keeping the replicas of a model equal where torch's DDP cannot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ...common.process_group import Processes, exchange_device
from ...common.sharded_tensors import fsdp_parameters

_BUCKET = 1 << 24  # the number of values sent at once


class Replicas:
    """Averages gradients over the processes that share batches, before the optimizer's step.

    DDP averages while gradients are computed, but requires one call of the model that gives every
    parameter a gradient. This has no such requirement: it serves custom `train_step`s, parameters
    that the loss does not reach, and models that are replicated along one axis of a mesh.

    Args:
        model: the model.
        processes: those that share its batches.
        averages: whether gradients are averaged here instead of by DDP.
        guards: whether to refuse optimizers that step with gradients of one process.

    Attributes:
        owes: whether gradients of the last batches still have to be averaged here.
    """

    def __init__(
        self, model: Any, processes: Processes, averages: bool, guards: bool = False
    ) -> None:
        self._model = model
        self._processes = processes
        managed = fsdp_parameters(model)
        self._parameters = [p for p in model.parameters() if id(p) not in managed]
        self._averages = averages and bool(self._parameters)
        self._pending = self.owes = False
        self._hook = register_optimizer_step_pre_hook(self._before_step) if guards else None

    # ---- equal weights

    def align(self) -> None:
        """Give all processes the first one's parameters and buffers."""
        self._send(self._parameters)
        self.share_buffers()

    def share_buffers(self) -> None:
        """Give all processes the first one's buffers, such as running statistics, as DDP does."""
        self._send(self._model.buffers())

    @torch.no_grad()
    def _send(self, tensors: Iterable[Tensor]) -> None:
        group = self._processes.group
        for bucket in _buckets([_local(tensor) for tensor in tensors]):
            flat = _flat(bucket)
            dist.broadcast(flat, group=group, group_src=0)
            _unflatten(flat, bucket)

    # ---- equal gradients

    def backward_ran(self) -> None:
        """Note that this process has gradients that are not averaged yet."""
        self._pending = self._averages

    @torch.no_grad()
    def average_gradients(self) -> None:
        """Average the gradients over the processes.

        A parameter without a gradient in all processes stays without one.
        """
        owes, self._pending, self.owes = self.owes, False, False
        if not (self._averages or owes):
            return
        trained = [p for p in self._parameters if p.requires_grad]
        has_one = torch.tensor([p.grad is not None for p in trained], dtype=torch.int32)
        anywhere = self._processes.total(has_one).tolist()
        gradients = []
        for parameter, count in zip(trained, anywhere, strict=True):
            if count:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(_local(parameter.grad))
        for bucket in _buckets(gradients):
            flat = _flat(bucket)
            dist.all_reduce(flat, group=self._processes.group)
            _unflatten(flat.div_(self._processes.size), bucket)
        if any(True for _ in self._model.buffers()):
            self.share_buffers()

    # ---- steps that go around the trainer

    def check(self, did_backward: bool) -> None:
        """Raise unless a step called `backward`."""
        if not did_backward:
            self._refuse("self.backward(loss) in place of loss.backward()")

    def _before_step(self, optimizer: Any, *_: Any) -> None:
        if not self._pending:
            return
        own = {id(p) for p in self._parameters}
        if any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
            if optimizer is self._model._trainer.optimizer:
                self._refuse("self.optimizer_step() in place of optimizer.step()")
            self._refuse(f"self.average_gradients() before {type(optimizer).__name__}.step()")

    def _refuse(self, instead: str) -> None:
        raise RuntimeError(
            f"train_step of {type(self._model).__name__} goes around the trainer, so the "
            f"{self._processes.size} processes would train different models: call {instead}"
        )

    def close(self) -> None:
        """Remove the checks from optimizers."""
        if self._hook is not None:
            self._hook.remove()


def _local(tensor: Any) -> Any:
    """Return the local part of a DTensor, sharing its memory; other tensors unchanged."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Divide tensors into lists of one dtype and device that are sent at once."""
    kinds: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for of_kind in kinds.values():
        bucket: list[Tensor] = []
        for tensor in of_kind:
            if bucket and sum(t.numel() for t in bucket) + tensor.numel() > _BUCKET:
                yield bucket
                bucket = []
            bucket.append(tensor)
        yield bucket


def _flat(bucket: list[Tensor]) -> Tensor:
    flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
    return flat.to(exchange_device(flat.device))


def _unflatten(flat: Tensor, bucket: list[Tensor]) -> None:
    parts = flat.split([tensor.numel() for tensor in bucket])
    for tensor, part in zip(bucket, parts, strict=True):
        tensor.copy_(part.view_as(tensor))
