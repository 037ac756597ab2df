"""Layers around other layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import torch
from torch import nn

from ..errors import BuildError
from .arguments import LayerOptions, one_of
from .base import Layer
from .input_checks import Expects
from .layer_weights import held_by
from .recurrent import Recurrent


class TimeDistributed(Layer):
    """Apply a layer to every step.

    Equivalent to Keras's `TimeDistributed`. Steps are folded into the batch, so that the inner
    layer is called once; its module is the module of this layer.

    Args:
        layer: A layer, a model or a torch module.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, steps, ...)`.

    Output shape: `(batch, steps, ...)`, the last axes being those of the inner layer's output.

    Differs from Keras: steps are folded into the batch: one call.

    Raises:
        TypeError: `layer` is none of these.
        BuildError: The layer has several outputs.

    Example:
        >>> x = Input((10, 16))
        >>> layers.TimeDistributed(layers.Dense(4))(x).shape
        (None, 10, 4)
    """

    expects = Expects(("batch", "steps", "..."))
    supports_masking = True

    def __init__(self, layer: Any, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        if not isinstance(layer, (Layer, nn.Module)):
            raise TypeError(
                f"TimeDistributed expects a layer, a model or a torch module, got {layer!r}"
            )
        self.layer = layer

    def _held_weights(self) -> list[Any]:
        """Return the weights of the inner layer; those of a model as its layers hold them."""
        if not self.built or not hasattr(self.layer, "_weight_holders"):
            return super()._held_weights()
        return held_by(self.layer)

    def build(self, input_shape: Any) -> nn.Module | None:
        """Build the inner layer for the shape of one step."""
        if isinstance(self.layer, Layer):
            return self.layer.make_module((None, *input_shape[2:]))
        module: nn.Module = self.layer
        return module

    def call(self, inputs: Any, mask: Any = None, training: bool | None = None) -> Any:
        """Record the folding, the inner layer and the unfolding."""
        options: dict[str, Any] = {}
        if isinstance(self.layer, Layer):
            if training is not None:
                options["training"] = training
            if mask is not None and mask.ndim > 2:
                options["mask"] = mask.flatten(0, 1)
        known = inputs.spec.shape[1] is not None
        steps = inputs.spec.shape[1] if known else inputs.size(1)
        batch = -1 if known else inputs.size(0)
        made = self.layer(inputs.flatten(0, 1), **options)
        if isinstance(made, (list, tuple, dict)):
            raise BuildError(f"TimeDistributed expects a layer of one output, got {made!r}")
        return made.unflatten(0, (batch, steps))


_MERGES: dict[str, Callable[[Any, Any], Any]] = {
    "concat": lambda a, b: torch.cat([a, b], dim=-1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
}


class Bidirectional(Layer):
    """Run a recurrent layer in both directions.

    Equivalent to Keras's `Bidirectional`; the module holds those of both layers, `forward_layer`
    and `backward_layer`.

    Args:
        layer: A recurrent layer.
        merge_mode: How to merge both outputs: `"concat"`, `"sum"`, `"mul"`, `"ave"`, or `None`
            for a list of both.
        weights: Initial weights of both layers, as `get_weights` returns them. Defaults to the
            layers' own initializers.
        backward_layer: The layer for the other direction, with `go_backwards=True`. Defaults to one
            like `layer`.
        **options: Arguments of every layer: `name`, `trainable`, `dtype`, `input_shape`,
            `activity_regularizer`.

    Input shape: `(batch, steps, features)`, floating-point; `initial_state=`, `mask=` and
    `training=` at the call. With `initial_state=`, only a mask passed at the call is used, as in
    Keras.

    Output shape: that of `layer`, with twice the features for `"concat"`; if `layer` has
    `return_state`, a list of the output and the states of both.

    Raises:
        TypeError: `layer` is not a recurrent layer.
        ValueError: The merge mode is not known, or both layers run in one direction.

    Example:
        >>> x = Input((10, 8))
        >>> layers.Bidirectional(layers.LSTM(16))(x).shape
        (None, 32)
    """

    supports_masking = True

    def __init__(
        self,
        layer: Any,
        merge_mode: str | None = "concat",
        weights: Any = None,
        backward_layer: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        for part in (layer, backward_layer):
            if not isinstance(part, Recurrent) and part is not None:
                raise TypeError(f"Bidirectional expects a recurrent layer, got {part!r}")
        if merge_mode is not None:
            one_of("Bidirectional", "merge_mode", merge_mode, tuple(_MERGES))
        self.merge_mode = merge_mode
        self.forward_layer: Recurrent = layer
        if backward_layer is None:
            config = {**layer.get_config(), "go_backwards": not layer.go_backwards, "name": None}
            backward_layer = type(layer).from_config(config)
        self.backward_layer: Recurrent = backward_layer
        self._check_directions()
        for part in (layer, backward_layer):
            part.zero_output_for_mask = part.return_sequences  # as Keras sets it here
        self.expects = layer.expects
        self._initial = weights

    def _check_directions(self) -> None:
        first, second = self.forward_layer, self.backward_layer
        if first.go_backwards == second.go_backwards:
            raise ValueError("Bidirectional: one of both layers expects go_backwards=True")
        for argument in ("return_sequences", "return_state", "stateful"):
            if getattr(first, argument) != getattr(second, argument):
                raise ValueError(f"Bidirectional: both layers expect the same {argument}=")

    def build(self, *input_shapes: Any) -> nn.Module:
        """Build both layers."""
        parts = {
            "forward_layer": self.forward_layer.make_module(*input_shapes),
            "backward_layer": self.backward_layer.make_module(*input_shapes),
        }
        return nn.ModuleDict(parts)  # type: ignore[arg-type]

    def make_module(self, *input_shapes: Any, **named_shapes: Any) -> nn.Module | None:
        """Build both layers, and set the initial weights."""
        first = not self.built
        module = super().make_module(*input_shapes, **named_shapes)
        if first and self._initial is not None:
            self.set_weights(self._initial)
        return module

    def call(
        self, inputs: Any, initial_state: Any = None, mask: Any = None, training: bool | None = None
    ) -> Any:
        """Record both directions, and merge their outputs."""
        halves: tuple[Any, Any] = (None, None)
        if initial_state is not None:
            half = len(initial_state) // 2
            halves = initial_state[:half], initial_state[half:]
        results = []
        for layer, states in zip(self.inner_layers(), halves, strict=True):
            made: Any = layer(inputs, initial_state=states, mask=mask, training=training)
            results.append(made if isinstance(made, list) else [made])
        (ahead, *states_ahead), (back, *states_back) = results
        if self.forward_layer.return_sequences:
            back = torch.flip(back, (1,))
        if self.merge_mode is None:
            return [ahead, back, *states_ahead, *states_back]
        merged = _MERGES[self.merge_mode](ahead, back)
        states = [*states_ahead, *states_back]
        return [merged, *states] if states else merged

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return the mask of the steps, if the output has them."""
        if not self.forward_layer.return_sequences:
            return None
        return [mask, mask] if self.merge_mode is None else mask

    def reset_state(self) -> None:
        """Set the states of a stateful layer to zero."""
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    reset_states = reset_state
