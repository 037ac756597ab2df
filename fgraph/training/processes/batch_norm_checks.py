"""A check that a process's share of a batch is not too small for batch normalization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...common.process_group import Processes, agreed, agreed_any
from ..sources.batch import Batch, PartOfBatch


class BatchNormChecks:
    """The batch normalizations with only one value per channel and sample.

    These need two samples in every process, so a batch that is large enough for one process may be
    too small for several. All processes then raise an error, as early as possible.

    Args:
        model: the model, in training mode.
        processes: those that share its batches.
        call: calls the model on a batch.
    """

    def __init__(self, model: nn.Module, processes: Processes, call: Callable[[], Any]) -> None:
        self._processes = processes
        self.narrow: list[str] = []
        self.synchronized: list[str] = []
        handles = []
        for name, module in model.named_modules():
            if isinstance(module, nn.SyncBatchNorm):
                self.synchronized.append(name)
            elif isinstance(module, _BatchNorm) and module.training:
                handles.append(module.register_forward_pre_hook(self._note(name)))
        try:
            if handles:
                call()
        finally:
            for handle in handles:
                handle.remove()
        self.narrow, self.synchronized = agreed((self.narrow, self.synchronized))

    def _note(self, name: str) -> Callable[..., None]:
        def note(module: Any, inputs: tuple[Any, ...]) -> None:
            if inputs[0].ndim == 2 or inputs[0][0, 0].numel() == 1:
                self.narrow.append(name)

        return note

    def check_sizes(self, sizes: tuple[int, ...]) -> None:
        """Refuse sizes of batches that leave a process too few samples.

        Raises:
            ValueError: one does.
        """
        for size in sizes:
            if size and self.narrow and size // self._processes.size < 2:
                self._refuse(f"a batch of {size} samples", self.narrow[0], "two samples")
            if size and self.synchronized and size < self._processes.size:
                self._refuse(f"a batch of {size} samples", self.synchronized[0], "a sample")

    def check(self, batch: Batch) -> None:
        """Refuse a batch that leaves a process too few samples; all processes must call this.

        Raises:
            ValueError: it does.
        """
        if not isinstance(batch, PartOfBatch):
            self.check_sizes((batch.size,))
        elif self.narrow and agreed_any(batch.own_size < 2):
            self._refuse("the processes' own batches", self.narrow[0], "two samples")
        elif self.synchronized and agreed_any(batch.own_size < 1):
            self._refuse("the processes' own batches", self.synchronized[0], "a sample")

    def _refuse(self, what: str, name: str, needed: str) -> None:
        raise ValueError(
            f"{what} in {self._processes.size} processes: a process has fewer than {needed}, which "
            f"the batch normalization {name!r} needs in each: choose a batch_size that leaves no "
            "smaller rest, leave the rest out, or start fewer processes"
        )
