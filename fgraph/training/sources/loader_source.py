"""Batches from loaders, iterables and generators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain, islice
from typing import Any, cast

from torch import Generator, Tensor
from torch.utils.data import DataLoader

from ...common.process_group import world_size
from ...graph.nested import map_leaves
from .batch import Batch, Source, samples_in
from .class_weight import ClassWeight
from .device_copies import begin_copies
from .placement import Placement, as_tensor
from .random_state import SharedRandom, get_random_state, set_random_state
from .sharded_data import is_divided, keeping_step, original_rows, samplers_of


class LoaderSource(Source):
    """Anything that yields batches: a `DataLoader`, an iterable, a generator.

    Args:
        loader: yields `x`, `(x, y)`, `(x, y, sample_weight)` or dicts.
        placement: where batches go, and in which dtypes.
        class_weight: the weight of each class, or `None`.

    Raises:
        ValueError: there are no batches.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        placement: Placement,
        class_weight: ClassWeight | None = None,
    ) -> None:
        self.repeats = not isinstance(loader, Iterator)
        try:
            self.num_batches = len(loader)  # type: ignore[arg-type]
        except TypeError:  # no __len__, or an IterableDataset without one
            self.num_batches = None
        if self.num_batches == 0:
            raise ValueError(f"no data: {type(loader).__name__} has no batches")
        self._loader = loader
        # a DataLoader pins tensors that are complete; others may pin what the device still writes
        written = isinstance(loader, DataLoader)
        self._placement = replace(placement, pinned_is_written=written)
        self._class_weight = class_weight
        self._processes = placement.processes
        self.divided_by_sampler = is_divided(loader, self._processes)
        self.divided = self.divided_by_sampler or placement.sharded
        self.original_rows = original_rows(loader) if self.divided_by_sampler else None
        self._passes = 0
        self._ahead: list[Any] = []  # the batch that `first` read from an iterator

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        """Begin a pass; see `Source.batches`."""
        for sampler in samplers_of(self._loader):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(self._passes)
        self._passes += 1
        ahead, self._ahead = self._ahead, []
        if self.divided:
            iterator = chain(ahead, iter(self._loader))
        else:
            iterator = chain(ahead, self._drawn_alike())
        next(islice(iterator, skip, skip), None)
        begin_copies(self._placement.device)
        batches: Iterator[Batch] = map(self._batch, iterator)
        if self.divided:
            batches = keeping_step(batches, self._processes)
        return batches

    def _drawn_alike(self) -> Iterator[Any]:
        """Begin a pass of the loader, with the same random numbers in all processes."""
        random = self._placement.random
        with random:
            iterator = iter(self._loader)
        return iterator if world_size() == 1 else _inside(random, iterator)

    def first(self) -> Batch | None:
        """Return the first batch; see `Source.first`."""
        if not self.repeats:
            if not self._ahead:
                with nullcontext() if self.divided else self._placement.random:
                    self._ahead = list(islice(cast(Iterator[Any], self._loader), 1))
            return self._batch(self._ahead[0]) if self._ahead else None
        item = self._look()
        return None if item is None else self._batch(item)

    def _look(self) -> Any:
        """Return the loader's first item, and restore all random states."""
        global_state, own_state = get_random_state(), self.random_state()
        try:
            look = getattr(self._loader, "first", None)
            if look is not None:
                return look()
            iterator = iter(self._loader) if self.divided else self._drawn_alike()
            return next(islice(iterator, 1), None)
        finally:
            set_random_state(global_state)
            self.set_random_state(own_state)

    def first_whole(self) -> Batch | None:
        """Return the first batch before it is divided; see `Source.first_whole`."""
        if self.divided:
            return None
        self.first()  # an iterator's first batch is kept
        item = self._look() if self.repeats else next(iter(self._ahead), None)
        if item is None:
            return None
        return Batch(*split_batch(item, self._placement.input_names), 0)

    def _generators(self) -> list[Generator]:
        """Return the loader's and its samplers' own generators, each once."""
        owners = [self._loader, *samplers_of(self._loader)]
        found = [getattr(owner, "generator", None) for owner in owners]
        return list({id(g): g for g in found if isinstance(g, Generator)}.values())

    def random_state(self) -> Any:
        """Return the states of the loader's and its samplers' own generators, and the shared one.

        The latter is `None` in one process. The state includes the number of passes, from which
        samplers derive their order.
        """
        own = [generator.get_state() for generator in self._generators()]
        return {"own": own, "shared": self._placement.random.state, "passes": self._passes}

    def set_random_state(self, state: Any) -> None:
        """Restore the states returned by `random_state`."""
        for generator, saved in zip(self._generators(), state["own"], strict=True):
            generator.set_state(saved)
        self._placement.random.restore(state["shared"])
        self._passes = state.get("passes", self._passes)

    def _batch(self, item: Any) -> Batch:
        x, y, sample_weight = split_batch(item, self._placement.input_names)
        if self._class_weight is not None:
            sample_weight = self._class_weight.times(y, sample_weight)
        if self.check is not None:
            self.check(_on_host(y, "y"), _on_host(sample_weight, "sample_weight"))
        size = samples_in(x)
        if self._processes.size > 1 and not self.divided:
            first, stop = self._processes.share(size)
            x, y, sample_weight = (
                map_leaves(lambda leaf: leaf if leaf is None else leaf[first:stop], part)
                for part in (x, y, sample_weight)
            )
        place = self._placement.batch_part
        return Batch(place(x, "x"), place(y, "y"), place(sample_weight, "sample_weight"), size)


def _inside(random: SharedRandom, iterator: Iterator[Any]) -> Iterator[Any]:
    """Draw from an iterator with the random states of `random`."""
    while True:
        with random:
            item = next(iterator, _END)
        if item is _END:
            return
        yield item


_END = object()


def _on_host(part: Any, name: str) -> Any:
    """Return the arrays of a batch as tensors; `None` in place of those on a device.

    Reading values on a device would synchronise with it.
    """

    def tensor(leaf: Any) -> Tensor | None:
        if not isinstance(leaf, Tensor) and not hasattr(leaf, "__array__"):
            return None
        found = as_tensor(leaf, name)
        return found if found.device.type == "cpu" else None

    return map_leaves(tensor, part)


def split_batch(item: Any, input_names: list[str]) -> tuple[Any, Any, Any]:
    """Split an item of a loader into inputs, targets and weights, as Keras does.

    Args:
        item: `x`, `(x, y)`, `(x, y, sample_weight)`, or a dict. Of a dict, the keys in
            `input_names` are inputs and the others targets; without any other key, or without
            known names, all of it is input.
        input_names: the names of the model's inputs.

    Returns:
        The triple, `None` for what is missing.

    Raises:
        ValueError: a tuple has more than three parts.
    """
    if isinstance(item, Mapping):
        x = {key: value for key, value in item.items() if key in input_names}
        y = {key: value for key, value in item.items() if key not in input_names}
        if not x or not y:
            return item, None, None
        return x, next(iter(y.values())) if len(y) == 1 else y, None
    if isinstance(item, list | tuple) and not hasattr(item, "_fields"):
        if not 1 <= len(item) <= 3:
            raise ValueError(
                f"a batch of {len(item)} parts; expected x, (x, y) or (x, y, sample_weight): "
                "several inputs belong into one tuple, ((a, b), y)"
            )
        return (*item, None, None)[:3]
    return item, None, None
