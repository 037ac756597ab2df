"""Where a file stores the weights of a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from ..stored_weights import counted
from .graph_entries import GraphEntry


class WeightGroup:
    """Where a file stores the weights of a layer or model.

    Attributes:
        name: the layer's name.
        weights: paths, values in Keras's layout, and where they are in torch: `(weight, module)`.
        links: other paths that some versions of Keras use for a weight, and its own path.
        trained: the parts in torch of those that training changes: `(weight, module)`.
        inner: groups within, by path.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.weights: list[tuple[str, Tensor, Any]] = []
        self.links: list[tuple[str, str]] = []
        self.trained: list[tuple[Any, nn.Module]] = []
        self.inner: list[tuple[str, WeightGroup]] = []

    def all_trained(self) -> Iterator[tuple[Any, nn.Module]]:
        """Yield the weights that training changes, in Keras's order."""
        yield from self.trained
        for _, group in self.inner:
            yield from group.all_trained()


def number(operations: Iterable[GraphEntry], group: WeightGroup) -> None:
    """Put the groups of the layers of a model under the names that Keras gives them."""
    held = [made for made in operations if isinstance(made.part, WeightGroup)]
    names = counted([made.entry["class_name"] for made in held])
    group.inner += [(f"layers/{n}", made.part) for n, made in zip(names, held, strict=True)]
