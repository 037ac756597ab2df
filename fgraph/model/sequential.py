"""`Sequential`: a model that is a plain stack of layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import refuse_keras
from ..graph import Input, SymbolicTensor
from ..graph.modes import callers_modes
from ..graph.node import recording_apart
from ..graph.recording.input import input_like
from ..layers.base import Layer
from ..layers.input_layer import InputLayer
from .model import Model


class Sequential(Model):
    """A stack of layers, torch modules and models, each called on the output of the one before.

    The graph is built at once where the shape of the input is known: from `Input(shape)` as the
    first item, or `input_shape=` on the first layer. Otherwise it is built at the first call,
    from the shape and dtype of what is given, and has no parameters before.

    Args:
        layers: the layers, in order; more may be added with `add`.
        trainable: whether training changes the weights; `False` freezes all layers.
        name: the name of the model where it is used as a layer.

    Raises:
        TypeError: an item is neither a layer nor a torch module.

    Example:
        >>> model = Sequential([Input((784,)), nn.Linear(784, 10), nn.Softmax(-1)])
        >>> model(torch.zeros(1, 784)).shape
        torch.Size([1, 10])
    """

    def __init__(
        self,
        layers: Iterable[Any] | None = None,
        trainable: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, trainable=trainable is not False)
        self._stack: list[Any] = []
        if isinstance(layers, (nn.Module, Layer)) or not isinstance(trainable, bool):
            raise TypeError("Sequential expects one list of layers: Sequential([first, second])")
        for layer in layers or ():
            self._push(layer)
        self._build_if_possible()

    def add(self, layer: Any) -> None:
        """Put a layer, torch module or model on top of the stack.

        Raises:
            TypeError: `layer` is none of these.
            ValueError: `layer` is an input, and the stack is not empty.
        """
        self._push(layer)
        self._build_if_possible()

    def pop(self) -> Any:
        """Take the last layer off the stack and return it.

        Raises:
            IndexError: the stack is empty.
        """
        if not self._stack:
            raise IndexError(f"model {self.name!r} has no layer to pop")
        last = self._stack.pop()
        start = self.inputs[0] if self._graph is not None else None
        self._drop_graph()
        if start is not None and self.layers:
            self._build_from(start)
        return last

    def build(self, input_shape: Any, dtype: torch.dtype | None = None) -> None:
        """Build the graph for inputs of this shape.

        Args:
            input_shape: the shape, batch dimension included: `(None, 784)`.
            dtype: the dtype of the input; torch's default by default.
        """
        self._build_from(Input(batch_shape=input_shape, dtype=dtype))

    @property
    def layers(self) -> list[Any]:
        """The layers and torch modules of the stack, in order, inputs left out."""
        return [layer for layer in self._stack if not isinstance(layer, InputLayer)]

    def _build_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Build the stack for the first input, where no input shape was given."""
        values = [*args, *kwargs.values()]
        if len(values) != 1 or not isinstance(values[0], (Tensor, SymbolicTensor)):
            raise ValueError(
                f"model {self.name!r} is not built yet and expects one tensor, got "
                f"{[type(value).__name__ for value in values]}"
            )
        value = values[0]
        known = value.spec if isinstance(value, SymbolicTensor) else value
        with callers_modes():  # not those of the first call, perhaps torch.no_grad()
            self.build((None, *known.shape[1:]), value.dtype)

    @property
    def _is_unbuilt(self) -> bool:
        """Whether the graph waits for the first call."""
        return self._graph is None and bool(self._stack)

    def _push(self, layer: Any) -> None:
        if isinstance(layer, SymbolicTensor):
            if layer.source.node.op != "input":
                raise TypeError(f"Sequential takes Input(shape) as a first item, got {layer!r}")
            layer = InputLayer.of(layer.source, layer.source.node.name)
        refuse_keras("Sequential", layer)
        if not isinstance(layer, (Layer, nn.Module)):
            is_class = isinstance(layer, type)
            given = f"the class {layer.__name__}: call it" if is_class else repr(layer)
            raise TypeError(
                f"Sequential takes layers and torch modules, got {given}. Wrap a function in "
                "layers.Lambda(fn)"
            )
        if isinstance(layer, InputLayer) and self._stack:
            raise ValueError("Sequential takes an Input only as its first item")
        self._stack.append(layer)

    def _build_if_possible(self) -> None:
        """Build, or build on, the graph where the input's shape is known."""
        if not self.layers:
            return
        if self._graph is not None:
            self._extend(self.inputs[0], self.outputs[0], self._stack[-1:])
            return
        first = self._stack[0]
        if isinstance(first, InputLayer):
            self._build_from(first.output)
        elif isinstance(first, Model) and first._graph is not None:
            self._build_from(input_like(first.inputs[0].spec))
        elif isinstance(first, Layer) and first.first_input_shape is not None:
            self._build_from(Input(first.first_input_shape, dtype=first.input_dtype))

    def _build_from(self, x: SymbolicTensor) -> None:
        self._extend(x, x, self.layers)

    def _extend(self, x: SymbolicTensor, value: Any, layers: list[Any]) -> None:
        """Build the graph from `x` to what `layers` make of `value`."""
        with recording_apart():
            for layer in layers:
                value = layer(value)
                if not isinstance(value, SymbolicTensor):
                    raise TypeError(
                        f"Sequential needs layers with one output each; {layer!r} returns "
                        f"{type(value).__name__}. Write a Model with Input(...) instead"
                    )
        self._drop_graph()
        self._build(x, value)

    def _missing_graph(self, attribute: str) -> str:
        return (
            f"Sequential.{attribute}: model {self.name!r} is not built yet. Call it on a tensor, "
            "or begin with Input(shape) or a layer that has input_shape="
        )

    def _drop_graph(self) -> None:
        """Forget the graph and its children; the layers keep their modules."""
        self._modules.clear()
        self._graph = self._signature = None
