"""The loop of `predict`, and the preparation and clean-up that all loops share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..callbacks import CallbackList
from ..common.process_group import agreed_any, exchanged, processes_of, world_size
from ..graph.nested import filled, iter_leaves
from .processes.gathered_rows import gathered_rows, own_rows, row_order
from .sources.batch import Batch, samples_in
from .sources.feed import Feed
from .steps import Steps


@contextmanager
def keeping_modes(model: Any) -> Iterator[None]:
    """Context manager: restore the training mode of every module, also after an error."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            if module.training is not mode:
                _set_mode(module, mode)


def _set_mode(module: nn.Module, mode: bool) -> None:
    """Set a module's mode by a plain assignment, without the checks of `nn.Module.__setattr__`."""
    setter: Any = type(module).__setattr__
    if setter is nn.Module.__setattr__:
        setter = object.__setattr__
    setter(module, "training", mode)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Context manager: put all modules into evaluation mode; restore their modes."""
    with keeping_modes(model):
        modules = list(model.modules())
        if all(map(_has_torchs_eval, modules)):
            for module in modules:
                if module.training:
                    _set_mode(module, False)
        else:
            model.eval()
        yield


def _has_torchs_eval(module: nn.Module) -> bool:
    """Return whether `eval` and `train` are torch's own; users override them to freeze modules."""
    kind, own = type(module), vars(module)
    is_torchs = kind.train is nn.Module.train and kind.eval is nn.Module.eval
    return is_torchs and "train" not in own and "eval" not in own


class Prediction(Steps):
    """The loop around `predict_step`."""

    stop_predicting: bool = False
    """Set by callbacks to end `predict` after the current batch."""

    # torch.nn.Module provides this
    eval: Any

    def _predict(self, feed: Feed, callbacks: CallbackList, gather: bool = True) -> Any:
        """Run one pass of prediction and return the outputs as numpy arrays."""
        processes = processes_of(self)
        rows = None if feed.steps is not None else feed.source.num_samples
        if rows is not None and processes.size > 1:
            rows = -(-rows // processes.size)
        sizes: list[int] = []  # of the batches over all processes
        arrays: list[_Rows] = []
        outputs: Any = None
        # not inference mode: tensors that a module keeps could not be used in training afterwards
        with evaluating(self), torch.no_grad():
            callbacks.call("on_predict_begin")
            for batch, outputs in self._predict_batches(feed, callbacks):
                leaves = [outputs] if isinstance(outputs, Tensor) else list(iter_leaves(outputs))
                if not arrays:
                    arrays = [_Rows(rows) for _ in leaves]
                own = own_rows(batch, processes)
                given = 0 if own is None else samples_in(batch.x)
                for array, leaf in zip(arrays, leaves, strict=True):
                    array.append(leaf, own, given)
                sizes.append(batch.size)
            callbacks.call("on_predict_end")
        require_steps(feed, len(sizes), "predict")
        found = [array.result() for array in arrays]
        if gather and processes.size > 1:
            _refuse_other_rows(arrays)
            order = row_order(feed.source, processes, sizes)
            found = [gathered_rows(part, processes, order) for part in found]
        return self._predicted(filled(outputs, found))

    def _predict_batches(self, feed: Feed, callbacks: CallbackList) -> Iterator[tuple[Batch, Any]]:
        """Yield each batch with its outputs; call the batch hooks before and after."""
        begins = callbacks.hooks("on_predict_batch_begin")
        ends = callbacks.hooks("on_predict_batch_end")
        asks = agreed_any(bool(begins or ends)) if world_size() > 1 else False
        self.stop_predicting = False
        for number, batch in enumerate(feed.epoch()):
            for hook in begins:
                hook(number, {})
            outputs = self.predict_step(self._given("predict_step", batch))
            yield batch, outputs
            for hook in ends:
                hook(number, {"outputs": outputs})
            if self._agreed_stop("stop_predicting", asks):
                break

    def _agreed_stop(self, flag: str, asks: bool) -> bool:
        """Return whether a loop ends now; several processes end together.

        Args:
            flag: the attribute that callbacks set.
            asks: whether any process has callbacks that may set it after a batch.
        """
        if asks:
            setattr(self, flag, agreed_any(getattr(self, flag)))
        return bool(getattr(self, flag)) and (asks or world_size() == 1)


class _Rows:
    """One output of all batches as a numpy array, filled batch by batch.

    If the number of rows is known, memory is allocated once. Otherwise the array grows in place:
    the operating system moves large blocks without a copy.

    Args:
        rows: the number of rows of all batches together, `None` if unknown.
    """

    def __init__(self, rows: int | None) -> None:
        self._rows = rows
        self._array: np.ndarray[Any, Any] | None = None
        self._used = 0
        self._other: Any = None
        self.other_rows: tuple[int, int] | None = None  # rows and samples, if they differ

    def append(self, value: Any, own: int | None = None, given: int = 0) -> None:
        """Add the rows of a batch; for anything but tensors, the last value is kept.

        Args:
            value: an output.
            own: the number of its samples that count, `None` for all.
            given: the number of its samples.

        Raises:
            ValueError: the output has no rows, or rows of another shape than before.
        """
        if not isinstance(value, Tensor):
            self._other = value
            return
        expected = value.shape[1:] if self._array is None else self._array.shape[1:]
        if not value.ndim or tuple(value.shape[1:]) != tuple(expected):
            raise ValueError(
                f"predict joins the outputs of all batches along their first axis, but one has "
                f"shape {tuple(value.shape)}, those before have rows of shape {tuple(expected)}: "
                "predict the batches one by one with predict_on_batch"
            )
        value = value.float() if value.dtype is torch.bfloat16 else value  # numpy has none
        if own is not None:
            if len(value) != given:
                self.other_rows = self.other_rows or (len(value), given)
            value = value if own == given else value[:own]
        count = len(value)
        if self._array is None:
            like = torch.empty(0, dtype=value.dtype, device="cpu").numpy()
            self._array = np.empty((self._rows or count, *value.shape[1:]), like.dtype)
        if self._used + count > len(self._array):
            self._array.resize((self._used + count, *self._array.shape[1:]), refcheck=False)
        torch.from_numpy(self._array[self._used : self._used + count]).copy_(value)
        self._used += count

    def result(self) -> Any:
        """Return all rows."""
        return self._other if self._array is None else self._array[: self._used]


def _refuse_other_rows(arrays: list[_Rows]) -> None:
    """Refuse outputs without one row per sample; all processes must call this.

    Raises:
        ValueError: there is one, in any process.
    """
    found = next((array.other_rows for array in arrays if array.other_rows is not None), None)
    everywhere = [other for other in exchanged(found) if other is not None]
    if everywhere:
        rows, samples = everywhere[0]
        raise ValueError(
            f"predict: an output has {rows} rows for {samples} samples, so it is not known where "
            "the rows of each process belong: pass gather=False for this process's rows"
        )


def require_steps(feed: Feed, steps: int, caller: str) -> None:
    """Refuse a pass without batches; warn if it was shorter than requested."""
    if not steps:
        raise ValueError(f"no data: {caller} was given no batch")
    if feed.dry and feed.steps is not None and steps < feed.steps:
        warnings.warn(
            f"the data ran dry after {steps} of {feed.steps} steps of {caller}; no batch is used "
            "twice",
            stacklevel=4,
        )
