"""The weights of a layer: initializers, regularizers, constraints, and their values."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import constraints, initializers, regularizers
from ..graph.node import current_call
from ..graph.recording.record import record
from ..initializers import VarianceScaling
from .modules.added_weights import AddedWeights
from .weight_layout import Weight

ADDED = "added_weights"  # the name of their module beside one that the layer made
_ROLES = {
    "initializer": initializers.get,
    "regularizer": regularizers.get,
    "constraint": constraints.get,
}


class LayerWeights:
    """Initializers, regularizers and constraints of weights, `get_weights` and similar methods.

    Attributes:
        module: The torch module that holds the weights.
        built: Whether the module was made.
        keras_weights: The weights as Keras has them, in its order; declared by the class.
    """

    keras_weights: tuple[Weight, ...] = ()
    module: nn.Module | None
    built: bool
    _options: dict[str, Any]
    _added: dict[str, bool] = {}  # noqa: RUF012 - by `add_weight`: name, whether it is trained

    @property
    def name(self) -> str:
        """The layer's name in messages."""
        raise NotImplementedError

    def inner_layers(self) -> Sequence[LayerWeights]:
        """Return the layers that are attributes of this one; their weights are its weights."""
        return ()

    def inner_parts(self) -> Sequence[Any]:
        """Return the layers, models and modules that are attributes of this one."""
        return self.inner_layers()

    def _added_weights(self) -> list[Weight]:
        """Return the weights made by `add_weight`, trainable ones first, as in Keras."""
        prefix = "" if isinstance(self.module, (AddedWeights, type(None))) else f"{ADDED}."
        found = [
            Weight(name, (f"{prefix}{name}",), trainable=trained)
            for name, trained in self._added.items()
        ]
        return sorted(found, key=lambda weight: not weight.trainable)

    def _weight_arguments(self) -> Iterator[tuple[str, str, Weight]]:
        """Yield role, argument name and weight of each option that the weights have."""
        for weight in (*self.keras_weights, *self._added_weights()):
            for role in _ROLES:
                yield role, weight.argument(role), weight

    def _set_weight_options(self, arguments: Mapping[str, Any]) -> None:
        """Read initializers, regularizers and constraints from arguments of the constructor.

        Args:
            arguments: Arguments by name, such as `locals()` of `__init__`. Others are ignored, and
                missing ones have their defaults.
        """
        for role, key, weight in self._weight_arguments():
            given = arguments.get(key)
            if given is None and role == "initializer":
                given = weight.initializer
            if given is not None or key not in self._options:
                self._options[key] = _ROLES[role](given)

    def _initialize(self) -> None:
        """Fill the declared weights by their initializers."""
        if self.module is None:
            return
        for weight in self.keras_weights:
            tensors = weight.tensors(self.module)
            initializer = self._options[weight.argument("initializer")]
            if getattr(initializer, "__module__", "") == "torch.nn.init":
                for tensor in tensors:  # a torch name means what torch means: torch's layout
                    initializer(tensor)
            elif tensors:
                weight.write(self.module, self._initial_value(weight, tensors[0], initializer))

    def _initial_value(self, weight: Weight, tensor: Tensor, initializer: Any) -> Tensor:
        module = self._module
        shape = tuple(weight.read(module).shape)
        scaling = isinstance(initializer, VarianceScaling) and not initializer.input_axes
        if weight.fans is not None and scaling:
            made: Tensor = initializer.draw(shape, weight.fans(tensor, module), tensor.dtype)
            return made
        return torch.as_tensor(initializer(shape, dtype=tensor.dtype))

    @property
    def _module(self) -> Any:
        """The module of a built layer, typed as `Any`."""
        return self.module

    # ------------------------------------------------------------------ values

    def _held_weights(self) -> list[tuple[LayerWeights, nn.Module, Weight]]:
        """Return the weights with the layer and the module that hold them, in Keras's order."""
        if not self.built:
            raise ValueError(
                f"Layer {self.name} has no weights yet: call it on a symbolic tensor first"
            )
        inner = self.inner_parts()
        held = [found for part in inner for found in held_by(part)]
        if self.module is None:
            return held
        declared = [*self.keras_weights, *self._added_weights()]
        if not self.keras_weights and not inner:  # a user's layer: torch's names, order and layout
            known = {path for weight in declared for path in weight.paths}
            others = [name for name, _ in self.module.named_parameters() if name not in known]
            declared = [*(Weight(name, (name,)) for name in others), *declared]
        own = [(self, self.module, w) for w in declared if w.tensors(self.module)]
        return [*own, *held]

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        """Return copies of the weights in Keras's order and layout.

        Numpy has no `bfloat16`: such weights are returned as `float32`, which represents their
        values exactly.

        Raises:
            ValueError: The layer was not called yet, so its sizes are not known.
        """
        return [as_array(weight.read(module)) for _, module, weight in self._held_weights()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Copy values in Keras's order and layout into the weights.

        Args:
            weights: One array or tensor for each weight, as `get_weights` returns them.

        Raises:
            ValueError: Their number or a shape is wrong, or the layer was not called yet.
        """
        held = self._held_weights()
        if len(weights) != len(held):
            names = [weight.name for _, _, weight in held]
            raise ValueError(
                f"Layer {self.name} has {len(held)} weights {names}, got {len(weights)}"
            )
        values = [torch.as_tensor(value) for value in weights]
        for (_, module, weight), value in zip(held, values, strict=True):
            expected = tuple(weight.read(module).shape)
            if tuple(value.shape) != expected:
                raise ValueError(
                    f"Layer {self.name}: weight {weight.name!r} has shape {expected} in Keras's "
                    f"layout, got {tuple(value.shape)}"
                )
        for (_, module, weight), value in zip(held, values, strict=True):
            weight.write(module, value)

    def count_params(self) -> int:
        """Return the number of values in the weights, statistics included, as Keras counts.

        Raises:
            ValueError: The layer was not called yet, so its sizes are not known.
        """
        return sum(weight.read(module).numel() for _, module, weight in self._held_weights())

    def __getattr__(self, name: str) -> Any:
        """Return a weight under Keras's name and in its layout: `layer.kernel`."""
        own = getattr(type(self), name, None)
        if isinstance(own, property):
            return own.fget(self)  # type: ignore[misc] # raise its AttributeError again
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if "_options" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name!r} yet: call super().__init__() "
                "first in its __init__"
            )
        for weight in self.keras_weights:
            if weight.name == name:
                if self.module is None:
                    raise AttributeError(
                        f"layer {self.name!r} has no {name} yet: weights are made at the first call"
                    )
                return self._in_keras_layout(weight)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _in_keras_layout(self, weight: Weight) -> Any:
        """Return a weight in Keras's layout, or `None`; symbolic during recording."""
        tensors, call = weight.tensors(self._module), current_call()
        if call is not None and call.owner is self:
            tensors = [symbolic(tensor) for tensor in tensors]
        return weight.layout.to_keras(tensors, self._module) if tensors else None

    @property
    def weights(self) -> list[Tensor]:
        """The parameters and statistics in torch's layout; see `get_weights` for Keras's.

        These are the tensors that an optimizer takes; `layer.kernel` is one in Keras's layout.
        """
        held = self._held_weights() if self.built else []
        others = () if self.module is None else self.module.parameters()
        tensors = [tensor for _, module, weight in held for tensor in weight.tensors(module)]
        return list({id(tensor): tensor for tensor in (*tensors, *others)}.values())

    @property
    def trainable_weights(self) -> list[Tensor]:
        """The parameters that training changes."""
        return [weight for weight in self.weights if weight.requires_grad]

    @property
    def non_trainable_weights(self) -> list[Tensor]:
        """The parameters that training does not change, and the statistics."""
        return [weight for weight in self.weights if not weight.requires_grad]

    variables = weights
    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    # ------------------------------------------------------------------ penalties

    @property
    def losses(self) -> list[Tensor]:
        """The penalties of this layer's weights, each a scalar tensor with gradients."""
        return [
            regularizer(weight.read(module))
            for module, weight, regularizer in self._with_option("regularizer")
        ]

    def apply_constraints(self) -> None:
        """Replace each weight that has a constraint by its constrained value."""
        for module, weight, constraint in self._with_option("constraint"):
            with torch.no_grad():
                weight.write(module, constraint(weight.read(module)))

    @property
    def has_penalties(self) -> bool:
        """Return whether any weight has a regularizer or a constraint."""
        return bool(self._with_option("regularizer") or self._with_option("constraint"))

    def _with_option(self, role: str) -> list[tuple[nn.Module, Weight, Callable[..., Any]]]:
        if not self.built:
            return []
        found = [
            (module, weight, layer._options.get(weight.argument(role)))
            for layer, module, weight in self._held_weights()
        ]
        return [(module, weight, option) for module, weight, option in found if option is not None]


class _NoLayer(LayerWeights):
    """Holds the weights of models and modules, which handle their own penalties."""

    def __init__(self) -> None:
        self._options = {}


_NO_LAYER = _NoLayer()


def held_by(part: Any) -> list[tuple[LayerWeights, nn.Module, Weight]]:
    """Return the weights of a part of a layer with their holders, in Keras's order.

    Args:
        part: a layer, a model, or a torch module, whose parameters come before its buffers.
    """
    if isinstance(part, LayerWeights):
        return part._held_weights() if part.built else []  # it may have a layer that it never calls
    if not hasattr(part, "_weight_holders"):
        named = (*part.named_parameters(), *part.named_buffers())
        return [(_NO_LAYER, part, Weight(name, (name,), trainable=isinstance(t, nn.Parameter)))
                for name, t in named]  # fmt: skip
    names = {id(t): name for name, t in (*part.named_parameters(), *part.named_buffers())}
    found: list[tuple[LayerWeights, nn.Module, Weight]] = []
    for holder in part._weight_holders() if part.built else ():
        if isinstance(holder, Tensor):
            trained = isinstance(holder, nn.Parameter)
            weight = Weight(names[id(holder)], (names[id(holder)],), trainable=trained)
            found.append((_NO_LAYER, part, weight))
        else:
            # penalties of a model's layers are the model's own
            found += [(_NO_LAYER, module, weight) for _, module, weight in held_by(holder)]
    return found


def symbolic(tensor: Tensor) -> Any:
    """Return a symbolic tensor for a weight, so that everything computed from it is recorded.

    `+tensor` is the tensor itself in torch.
    """
    return record("function", operator.pos, (tensor,), {})


def as_array(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Return a copy of a weight as an array; numpy lacks `bfloat16`: it becomes `float32`."""
    kept = tensor.detach().cpu()
    return (kept.float() if kept.dtype == torch.bfloat16 else kept).numpy().copy()
