"""The weights of a model, and whether they are trained, under Keras's names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..common.whole_model import whole
from ..layers.base import Layer
from ..layers.layer_weights import as_array
from .layer_lookups import LayerLookups

Array = np.ndarray[Any, np.dtype[Any]]


class KerasWeights(LayerLookups):
    """Keras's weight interface, for a class that is also an `nn.Module`."""

    # torch.nn.Module provides these
    parameters: Any
    modules: Any

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights.

        Setting it applies to all layers, also to those that other models share. Setting it to
        `False` on a `BatchNormalization` also freezes its running statistics, as in Keras.
        """
        return bool(self.__dict__.get("_trainable", True))

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.__dict__["_trainable"] = bool(value)
        for parameter in self.parameters():
            parameter.requires_grad_(bool(value))
        for layer in self._own_layers():
            if isinstance(layer, (Layer, KerasWeights)):
                layer.trainable = bool(value)

    @property
    def _is_unbuilt(self) -> bool:
        """Whether the graph is made at the first call."""
        return False

    @property
    def built(self) -> bool:
        """Whether the weights exist; a model without input shapes makes them at its first call."""
        return not self._is_unbuilt

    @built.setter
    def built(self, value: bool) -> None:
        """Accept and ignore the assignment in Keras's examples: the weights decide."""

    @property
    def weights(self) -> list[Tensor]:
        """The parameters and statistics, each once, in torch's layout and the order of `layers`."""
        held: list[Tensor] = []
        for part in self._weight_holders() if self.built else ():
            held += [part] if isinstance(part, Tensor) else part.weights
        return list({id(tensor): tensor for tensor in (*held, *self.parameters())}.values())

    @property
    def trainable_weights(self) -> list[nn.Parameter]:
        """The parameters that training changes, in Keras's order of layers."""
        return [p for p in self.weights if isinstance(p, nn.Parameter) and p.requires_grad]

    @property
    def non_trainable_weights(self) -> list[Tensor]:
        """The parameters that training does not change, and the statistics."""
        return [weight for weight in self.weights if not weight.requires_grad]

    variables = weights
    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    def get_weights(self) -> list[Array]:
        """Return copies of all weights in the order of `layers`, which is Keras's.

        So `model.set_weights(keras_model.get_weights())` works for a model made by the same code.
        Weights of Keras-named layers have Keras's layout. Those of raw torch modules, parameters
        before buffers, and parameters used in the graph have torch's layout. Other tensors in the
        graph are constants, which are left out, as in Keras.
        """
        with whole(self, everywhere=True):
            return self._get_weights()

    def _get_weights(self) -> list[Array]:
        return [as_array(_value_of(slot)) for slot in self._slots()]

    def _slots(self) -> list[Any]:
        """Return each weight once: a tensor, or the module that holds it and its `Weight`."""
        found: dict[Any, Any] = {}
        for part in self._weight_holders():
            if isinstance(part, Tensor):
                found[id(part)] = part
            else:
                for _, module, weight in part._held_weights():
                    found.setdefault((id(module), weight.paths), (module, weight))
        return list(found.values())

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set all weights, given in the order and layout of `get_weights`.

        Raises:
            ValueError: their number or a shape is wrong; nothing is changed then.
        """
        with whole(self, everywhere=True, changes=True):
            self._set_weights(weights)

    def _set_weights(self, weights: Sequence[Any]) -> None:
        slots = self._slots()
        if len(weights) != len(slots):
            raise ValueError(f"the model has {len(slots)} weights, got {len(weights)}")
        for position, (slot, weight) in enumerate(zip(slots, weights, strict=True)):
            shape = tuple(_value_of(slot).shape)
            if tuple(np.shape(weight)) != shape:
                raise ValueError(
                    f"weight {position} has the shape {shape}, got {tuple(np.shape(weight))}"
                )
        for slot, given in zip(slots, weights, strict=True):
            value = torch.as_tensor(given)
            if isinstance(slot, Tensor):
                with torch.no_grad():
                    slot.copy_(value)
            else:
                slot[1].write(slot[0], value)

    def _weight_holders(self) -> Iterator[Any]:
        """Yield the holders of weights, layers or single tensors, each once even if shared."""
        yield from {id(part): part for part in self._held_parts()}.values()

    def _held_parts(self) -> Iterator[Any]:
        for layer in self._own_layers():
            if isinstance(layer, KerasWeights):
                yield from layer._weight_holders() if layer.built else ()
            elif isinstance(layer, Layer):
                yield layer
            elif layer is not None:
                yield from (*layer.parameters(), *layer.buffers())
        yield from self.parameters(recurse=False)  # without the constants of the graph


def _value_of(slot: Any) -> Tensor:
    """Return a weight in Keras's layout, or in torch's if Keras has no such weight."""
    value: Tensor = slot if isinstance(slot, Tensor) else slot[1].read(slot[0])
    return value
