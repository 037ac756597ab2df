"""Turns the arguments of `fit`, `evaluate` and `predict` into sources of batches and callbacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..callbacks import Callback, CallbackList, History, ProgressBar
from ..common.process_group import processes_of, rank, world_size
from ..losses import Loss
from . import argument_checks as arguments
from . import preflight
from .fit_loop import FitLoop
from .processes import distributed
from .processes.own_device import move_to_own_device
from .settings import leaves
from .sources.array_source import common_length
from .sources.batch import Source
from .sources.feed import Feed
from .sources.make_source import is_loader, make_source
from .sources.placement import Placement


class DataPreparation(FitLoop):
    """Makes feeds and callback lists from arguments, for the loops."""

    def _placement(self, sharded: bool = False, joins: bool = True) -> Placement:
        """Return where batches go, with the model on this process's device.

        Args:
            sharded: the caller's `sharded_data`.
            joins: whether to join the processes of `torchrun`; `predict` does not need it.
        """
        move_to_own_device(self)
        if joins:
            distributed.start(self._device())
        tensors = (p for module in self.modules() for p in module._parameters.values())
        dtypes = dict.fromkeys(p.dtype for p in tensors if p is not None)
        floating = (dtype for dtype in dtypes if dtype.is_floating_point)
        return Placement(
            self._device(),
            next(floating, torch.get_default_dtype()),
            frozenset(dtypes),
            self._input_dtypes(),
            self._input_names(),
            processes_of(self),
            sharded=sharded and world_size() > 1,
        )

    def _source(
        self,
        x: Any,
        y: Any,
        sample_weight: Any,
        batch_size: int | None,
        placement: Placement,
        shuffle: bool = False,
        class_weight: Mapping[int, float] | None = None,
    ) -> Source:
        return make_source(
            x,
            y,
            sample_weight,
            batch_size=batch_size,
            placement=placement,
            shuffle=shuffle,
            class_weight=class_weight,
            takes_labels=self._takes_labels,
        )

    def _takes_labels(self, y: Tensor) -> bool:
        """Return whether the loss treats targets as class indices."""
        given = [] if self._trainer is None else leaves(self._trainer.settings.loss)
        return any(isinstance(loss, Loss) and loss.takes_labels(y) for loss in given)

    def _validation_feed(
        self,
        data: Any,
        size: int | None,
        steps: int | None,
        batch_size: int | None,
        placement: Placement,
    ) -> Feed | None:
        """Return the validation data of `fit`."""
        counts = {"validation_batch_size": size, "validation_steps": steps}
        for name, value in counts.items():
            if arguments.optional_count(value, name) is not None and data is None:
                raise ValueError(
                    f"{name} was given, but there is no validation data: pass validation_data, or "
                    "validation_split with arrays"
                )
        if data is None:
            return None
        triple = arguments.unpack_validation(data)
        if size is None and not is_loader(triple[0]):
            size = batch_size
        return Feed(self._source(*triple, size, placement), steps, fresh=True)

    def _one_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> Feed:
        size = common_length({"x": x, "y": y, "sample_weight": sample_weight})
        placement = self._placement()
        source = self._source(x, y, sample_weight, size, placement, class_weight=class_weight)
        feed = Feed(source, 1)
        preflight.check_division(feed)
        return feed

    def _callback_list(
        self,
        given: Any,
        params: dict[str, Any],
        history: History | None = None,
    ) -> CallbackList:
        if isinstance(given, CallbackList):
            return given
        if given is None:
            given = []
        single = isinstance(given, Callback | str | Mapping) or not isinstance(given, Iterable)
        callbacks: list[Any] = [given] if single else list(given)
        verbose = 1 if params["verbose"] == "auto" else params["verbose"]
        if verbose not in (0, 1, 2):
            raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}")
        params["verbose"] = int(verbose)
        shown = any(isinstance(callback, ProgressBar) for callback in callbacks)
        if verbose and not shown and rank() == 0:
            callbacks.append(ProgressBar(int(verbose)))
        if history is not None:
            callbacks.append(history)
        return CallbackList(callbacks, self, params)
