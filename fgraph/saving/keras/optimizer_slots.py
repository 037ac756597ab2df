"""The state of Keras's optimizers, converted to that of the torch optimizers here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...errors import LoadError
from ...optimizers import adam_family, gradient_descent
from ...optimizers.step_hooks import _AVERAGES, ITERATIONS
from .stored_weights import Held

Array = np.ndarray[Any, Any]


class _Slots(NamedTuple):
    """The slots of an optimizer, in the order of Keras.

    Attributes:
        together: names in torch of those that lie together, variable by variable.
        after: names of those that follow, each for all variables.
    """

    together: tuple[str, ...]
    after: tuple[str, ...] = ()


def slots_of(factory: Any) -> tuple[_Slots, bool]:
    """Return the slots of an optimizer, and whether torch counts its steps for each parameter.

    Raises:
        LoadError: it keeps another state here than in Keras.
    """
    if isinstance(factory, adam_family.Nadam):
        return _Slots(("exp_avg", "exp_avg_sq")), True
    if isinstance(factory, adam_family.Adam):
        return _Slots(
            ("exp_avg", "exp_avg_sq"), ("max_exp_avg_sq",) if factory.amsgrad else ()
        ), True
    if isinstance(factory, adam_family.Adamax):
        return _Slots(("momentum", "largest")), False
    if isinstance(factory, adam_family.Lamb):
        return _Slots(("momentum", "velocity")), False
    if isinstance(factory, adam_family.Lion):
        return _Slots(("momentum",)), False
    if isinstance(factory, gradient_descent.SGD):
        return _Slots(("momentum",) if factory.momentum else ()), False
    if isinstance(factory, gradient_descent.RMSprop):
        after = (*(["momentum"] if factory.momentum else []),
                 *(["average"] if factory.centered else []))  # fmt: skip
        return _Slots(("velocity",), after), False
    if isinstance(factory, gradient_descent.Adagrad):
        return _Slots(("sum",)), True
    if isinstance(factory, gradient_descent.Adadelta):
        return _Slots(("square_avg", "acc_delta")), True
    if isinstance(factory, gradient_descent.Ftrl):
        return _Slots(("accumulator", "linear")), False
    raise LoadError(f"{type(factory).__name__} keeps another state here than in Keras")


def slots_together(factory: Any) -> int:
    """Return how many slots of an optimizer lie together in Keras, variable by variable."""
    return len(slots_of(factory)[0].together)


def optimizer_state(
    factory: Any, optimizer: Any, trained: Held, stored: Sequence[Callable[[Sequence[int]], Array]],
    shapes: Sequence[tuple[int, ...]], batches: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """Return the state dict of a torch optimizer that continues from Keras's.

    Args:
        factory: the optimizer with Keras's name.
        optimizer: what it made of the model's parameters; it takes over the state.
        trained: the weights that it updates, in the order of Keras.
        stored: for each of Keras's variables, a function that reads it, given the expected shape.
        shapes: their shapes.
        batches: the number of batches for a step.

    Raises:
        LoadError: they are not the variables of this optimizer.
    """
    if not shapes or shapes[0] != ():
        raise LoadError("the optimizer's state does not begin with the number of steps")
    steps, rest = divmod(int(stored[0]([])), batches)
    if rest:
        raise LoadError(f"it has gradients of {rest} of {batches} batches that make a step")
    # Keras 3 stores the learning rate, too, if it is no schedule
    first = 2 if len(shapes) > 1 and shapes[1] == () and factory.schedule is None else 1
    if first == 2:
        rate = float(stored[1]([]))
        for group in optimizer.param_groups:
            group["lr"] = rate
    reader = _Reader(trained, stored, shapes, first)
    slots, counts = slots_of(factory)
    averages = reader.next(("average",)) if factory.ema_momentum is not None else []
    if batches > 1:
        reader.next(("gradient",))
    found = reader.next(slots.together)
    for name in slots.after:
        for mine, more in zip(found, reader.next((name,)), strict=True):
            mine.update(more)
    product = reader.scalar() if isinstance(factory, adam_family.Nadam) else None
    reader.finish()
    for parameter, kept in _by_parameter(trained, found):
        if isinstance(factory, gradient_descent.Adagrad):
            kept["sum"] = kept["sum"] + factory.epsilon  # which torch includes in its sums
        if counts:
            kept["step"] = torch.tensor(float(steps))
        if product is not None:
            kept["mu_product"] = torch.tensor(product)
        if kept:
            optimizer.state[parameter] = kept
    for group in optimizer.param_groups:
        group[ITERATIONS] = steps
        if not counts:
            group["steps"] = steps
    if averages:
        found_averages = {id(p): kept["average"] for p, kept in _by_parameter(trained, averages)}
        params = [p for group in optimizer.param_groups for p in group["params"]]
        optimizer.state[_AVERAGES] = [found_averages[id(p)] for p in params]
    kept_state: dict[str, Any] = optimizer.state_dict()
    return kept_state


def _by_parameter(
    trained: Held, found: Sequence[dict[str, list[Tensor]]]
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Yield each of torch's parameters with its slots by name."""
    for (_, part, weight), slots in zip(trained, found, strict=True):
        for k, parameter in enumerate(weight.tensors(part)):
            yield parameter, {name: tensors[k] for name, tensors in slots.items()}


class _Reader:
    """Reads variables of an optimizer one after the other, in torch's layout."""

    def __init__(
        self, trained: Held, stored: Sequence[Callable[[Sequence[int]], Array]],
        shapes: Sequence[tuple[int, ...]], first: int,
    ) -> None:  # fmt: skip
        self.trained = trained
        self.stored = stored
        self.shapes = shapes
        self.position = first

    def _one(self, shape: tuple[int, ...]) -> Array:
        k = self.position
        if k >= len(self.stored) or self.shapes[k] != shape:
            given = self.shapes[k] if k < len(self.stored) else "nothing"
            raise LoadError(f"variable {k} of the optimizer: expected the shape {shape}, the file "
                            f"has {given}")  # fmt: skip
        self.position += 1
        return self.stored[k](shape)

    def next(self, names: tuple[str, ...]) -> list[dict[str, list[Tensor]]]:
        """Return these slots of each weight, by name: a tensor for each of torch's parameters."""
        found = []
        for _, part, weight in self.trained:
            shape = tuple(weight.read(part).shape)
            slots = {}
            for name in names:
                value = torch.as_tensor(self._one(shape))
                slots[name] = [
                    made.to(tensor.dtype).clone(memory_format=torch.contiguous_format)
                    for made, tensor in zip(
                        weight.layout.to_torch(value, part), weight.tensors(part), strict=True
                    )
                ]
            found.append(slots)
        return found

    def scalar(self) -> float | None:
        """Return a single number if there is one more."""
        if self.position >= len(self.shapes) or self.shapes[self.position] != ():
            raise LoadError("the optimizer's state has no product of momenta")
        return float(self._one(()))

    def finish(self) -> None:
        """Refuse variables that were not read."""
        if self.position != len(self.stored):
            raise LoadError(f"the optimizer has {self.position} variables here, the file has "
                            f"{len(self.stored)}")  # fmt: skip
