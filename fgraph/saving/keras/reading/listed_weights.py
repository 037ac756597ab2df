"""The weights of `.h5` files: a list for each layer of the outermost model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....errors import LoadError
from ..cudnn_weights import stored_shape, usual
from ..hdf5 import Hdf5
from ..stored_weights import Held, Place

_ROOT = "model_weights"


class ListedWeights:
    """The weights of an `.h5` file: a list for each layer name, trained ones first.

    A nested model has one list. Which weights belong to which of its layers is known only when all
    layers are built, so such a file is read in two rounds; the first returns no values.

    Args:
        file: the file.
        nested: whether there are models in the model.
        cudnn: the layers with weights in cuDNN's layout; grows as layers are made.

    Attributes:
        measured: whether this round has returned all values.
    """

    def __init__(self, file: Hdf5, nested: bool, cudnn: Sequence[Any] = ()) -> None:
        self.file = file
        self.cudnn = cudnn
        self.measured = not nested
        self._is_second = False
        self._groups: dict[str, list[str]] = {}  # for each outermost layer, in Keras's order
        self._trained: dict[str, list[bool]] = {}  # for the weights of each group
        self._plans: dict[str, dict[str, list[str]]] = {}

    def put(self, place: Place, after: Place | None = None) -> None:
        """Store the place of the next layer, in the order of the configuration."""
        groups = self._groups.setdefault(place.top, [])
        if place.group not in groups:
            end = len(groups) if after is None else groups.index(after.group) + 1
            groups.insert(end, place.group)

    def arrays(
        self, layer: Any, place: Place, held: Held, where: str
    ) -> list[np.ndarray[Any, Any]] | None:
        """Return the weights of a layer in Keras's order, `None` in the first of two rounds.

        Raises:
            LoadError: the file has others.
        """
        trained = [
            place.trainable and bool(owner.trainable) and w.trainable for owner, _, w in held
        ]
        self._trained.setdefault(place.group, trained)
        if not self._is_second and len(self._groups[place.top]) > 1:
            self.measured = False
        if not self.measured:
            return None
        if place.top not in self._plans:
            self._plans[place.top] = self._plan(place.top)
        names = self._plans[place.top].get(place.group, [])
        return [
            self._read(f"{_ROOT}/{place.top}/{name}", owner, weight, tuple(weight.read(part).shape),
                       f"{where}, weight {weight.name!r}")
            for name, (owner, part, weight) in zip(names, held, strict=True)
        ]  # fmt: skip

    def _read(
        self, path: str, owner: Any, weight: Any, shape: tuple[int, ...], where: str
    ) -> np.ndarray[Any, Any]:
        """Return one weight in Keras's layout."""
        if not any(owner is layer for layer in self.cudnn):
            return self.file.read(path, shape, where)
        kind = type(owner).__name__
        stored = self.file.read(path, stored_shape(kind, weight.name, shape), where)
        return usual(kind, weight.name, stored)

    def begin_second_round(self) -> None:
        """Begin the second round, which returns values."""
        self.measured = self._is_second = True
        self._plans.clear()

    def _plan(self, top: str) -> dict[str, list[str]]:
        """Return the datasets of the weights of each group in an outermost layer."""
        slots = [(group, k, trained) for group in self._groups[top]
                 for k, trained in enumerate(self._trained.get(group, ()))]  # fmt: skip
        order = sorted(slots, key=lambda slot: not slot[2])
        names = _without_seeds(self.file.texts(f"{_ROOT}/{top}", "weight_names"))
        if len(names) != len(order):
            raise LoadError(f"layer {top!r:.60} has {len(order)} weights here, and the file has "
                            f"{len(names)}: {names[:8]}")  # fmt: skip
        found: dict[str, list[str]] = {group: [] for group, *_ in slots}
        named = dict(zip([slot[:2] for slot in order], names, strict=True))
        for group, k, _ in slots:
            found[group].append(named[group, k])
        return found


def _without_seeds(names: Sequence[str] | None) -> list[str]:
    """Leave out the states of random generators, which Keras 2 stores as weights."""
    return [name for name in names or () if not name.rpartition("/")[2].startswith("StateVar")]
