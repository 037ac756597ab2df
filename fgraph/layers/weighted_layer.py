"""What a layer does with the weights that it declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from .. import constraints, initializers, regularizers
from ..errors import unknown_name
from ..initializers import VarianceScaling
from .weight_spec import Weight

_ROLES = {
    "initializer": initializers.get,
    "regularizer": regularizers.get,
    "constraint": constraints.get,
}


class Weighted:
    """Initializers, regularizers and constraints of weights, and `get_weights` and its kin.

    Attributes:
        module: the torch module that holds the weights.
        built: whether it was made.
        keras_weights: the weights as Keras has them, in its order; declared by the class.
    """

    keras_weights: ClassVar[tuple[Weight, ...]] = ()
    module: nn.Module | None
    built: bool
    _options: dict[str, Any]

    @property
    def name(self) -> str:
        """What the layer is called in messages."""
        raise NotImplementedError

    def inner_layers(self) -> Sequence[Weighted]:
        """Return the layers that this one is wrapped around; their weights are its weights."""
        return ()

    def _read_options(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return initializers, regularizers and constraints by the names of their arguments."""
        known = {weight.argument(role) for weight in self.keras_weights for role in _ROLES}
        for key in given:
            if key not in known:
                arguments = {*_argument_names(type(self)), *known}
                raise TypeError(
                    f"{type(self).__name__}: {unknown_name('argument', key, arguments)}"
                )
        options = {}
        for weight in self.keras_weights:
            for role, get in _ROLES.items():
                default = weight.initializer if role == "initializer" else None
                key = weight.argument(role)
                options[key] = get(given.get(key) or default)
        return options

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
                shape, dtype = tuple(weight.read(self.module).shape), tensors[0].dtype
                scaling = isinstance(initializer, VarianceScaling) and not initializer.input_axes
                if weight.fans is not None and scaling:
                    fans = weight.fans(tensors[0], self.module)
                    value = initializer.draw(shape, fans, dtype)
                else:
                    value = torch.as_tensor(initializer(shape, dtype=dtype))
                weight.write(self.module, value)

    def _held_weights(self) -> list[tuple[Weighted, nn.Module, Weight]]:
        """Return the weights with the layer and the module that hold them, in Keras's order."""
        if not self.built:
            raise ValueError(
                f"Layer {self.name} has no weights yet: call it on a symbolic tensor first"
            )
        module, inner = self.module, self.inner_layers()
        held = [found for layer in inner for found in layer._held_weights()]
        if module is None:
            return held
        declared = self.keras_weights
        if not declared and not inner:  # a person's own layer: torch's names, order and layout
            declared = tuple(Weight(name, (name,)) for name, _ in module.named_parameters())
        return held + [(self, module, w) for w in declared if w.tensors(module)]

    def get_weights(self) -> list[np.ndarray[Any, Any]]:
        """Return copies of the weights in Keras's order and layout.

        Raises:
            ValueError: the layer was not called yet, so its sizes are not known.
        """
        return [
            weight.read(module).detach().cpu().numpy().copy()
            for _, module, weight in self._held_weights()
        ]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take over weights in Keras's order and layout.

        Args:
            weights: one array or tensor for each weight, as `get_weights` returns them.

        Raises:
            ValueError: their number or a shape is wrong, or the layer was not called yet.
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
        """Return the number of weights that Keras counts, statistics included.

        Raises:
            ValueError: the layer was not called yet, so its sizes are not known.
        """
        return sum(weight.read(module).numel() for _, module, weight in self._held_weights())

    @property
    def losses(self) -> list[Tensor]:
        """The penalties of this layer's weights, each a scalar tensor that has gradients."""
        return [
            regularizer(weight.read(module))
            for module, weight, regularizer in self._with_option("regularizer")
        ]

    def apply_constraints(self) -> None:
        """Replace every weight that has a constraint by its constrained value."""
        for module, weight, constraint in self._with_option("constraint"):
            with torch.no_grad():
                weight.write(module, constraint(weight.read(module)))

    @property
    def has_penalties(self) -> bool:
        """Whether any weight has a regularizer or a constraint."""
        return bool(self._with_option("regularizer") or self._with_option("constraint"))

    def _with_option(self, role: str) -> list[tuple[nn.Module, Weight, Callable[..., Any]]]:
        if not self.built:
            return []
        found = [
            (module, weight, layer._options.get(weight.argument(role)))
            for layer, module, weight in self._held_weights()
        ]
        return [(module, weight, option) for module, weight, option in found if option is not None]


def _argument_names(kind: type) -> set[str]:
    """Return the names of the arguments that the constructors of a class and its bases take."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name
        for base in kind.__mro__
        if issubclass(base, Weighted)
        for name, parameter in inspect.signature(base.__init__).parameters.items()
        if parameter.kind in named and name != "self"
    }
