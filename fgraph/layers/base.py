"""`Layer`: makes and holds a torch module, and records calls of it."""

from __future__ import annotations

import copy
import inspect
import re
import threading
import weakref
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from .. import regularizers
from ..common.configured import is_of_fgraph
from ..errors import BuildError, refuse_keras
from ..graph import Call, Input, Symbol, SymbolicTensor, apply, symbol, to_refs, to_shapes
from ..graph.nested import iter_leaves, map_leaves
from ..graph.node import current_call, recording
from ..graph.recording.build_errors import place_in_graph
from ..graph.recording.input import as_dtype
from ..regularizers import RegularizerLike
from .add_methods import AddMethods
from .arguments import NoOptions
from .configuration import LayerConfig
from .deferred_values import filler
from .inbound_nodes import InboundNodes
from .input_checks import Expects
from .layer_weights import symbolic
from .masks import attach_masks, mask_of
from .modules.kept_losses import ActivityLoss
from .modules.normalization import BatchNorm
from .training_mode import MODEL_MODE

_build_lock = threading.RLock()
_NO_PARTS = frozenset({"_arguments", "_container"})  # attributes that hold no part of a layer


@lru_cache(maxsize=1024)
def snake_case(name: str) -> str:
    """Return a class name as Keras writes it in layer names: `MaxPooling2D` is `max_pooling2d`."""
    name = re.sub(r"([a-z])LU\b", r"\1lu", name).replace("PRelu", "Prelu").replace("LSTM", "Lstm")
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


class Layer(LayerConfig, AddMethods, InboundNodes):
    """Base class of Keras-style layers: calling one on symbolic tensors makes its torch module.

    A layer is not an `nn.Module`: a model registers the layer's torch module under the layer's
    name, so that a model holds plain torch modules. Your own module or function needs no layer:
    call it on symbolic tensors, or use `fgraph.apply`.

    To write a layer, define `build(self, input_shape)`, which returns the torch module or makes
    weights with `add_weight`, and `call(self, inputs)`, which computes the output with torch
    functions on symbolic tensors. Layers stored as attributes are part of the layer.

    Args:
        name: Name, unique within a model. Defaults to the class name and a number: `dense_1`.
        trainable: Whether the parameters require gradients.
        dtype: Data type of the parameters, a torch dtype or its name. Defaults to torch's default.
        input_shape: Shape of one sample, for the first layer of a `Sequential`.
        input_dim: The same for samples of one axis: `input_dim=784` is `input_shape=(784,)`.
        activity_regularizer: Penalty on the output, by name, object or function.

    Attributes:
        module: The torch module; `None` before the first call and for layers without state.
        keras_weights: The weights as Keras has them, in its order; declared by the class.
        expects: Axes and dtype of the input; checked before the layer is built.
        supports_masking: Whether a mask of the input is also a mask of the output.

    Raises:
        TypeError: An argument is not known.
        ValueError: The name of an initializer, regularizer or constraint is not known.

    Example:
        >>> class Gate(layers.Layer):
        ...     def build(self, input_shape):
        ...         return nn.Linear(input_shape[-1], input_shape[-1], bias=False)
        ...     def call(self, inputs):
        ...         return inputs * torch.sigmoid(self.module(inputs))
        >>> Gate()(Input((3,))).shape
        (None, 3)
    """

    unsupported: ClassVar = {
        "autocast": "use `model.compile(..., precision='bfloat16')`, or torch.autocast",
        "batch_input_shape": "begin the model with `Input(batch_shape=...)`",
        "batch_size": "begin the model with `Input(shape, batch_size=...)`",
        "weights": "call `layer.set_weights(...)` once the layer is built",
    }
    expects: Expects = Expects()
    supports_masking: bool = False

    def __init__(
        self,
        *,
        activity_regularizer: RegularizerLike = None,
        trainable: bool = True,
        dtype: torch.dtype | str | None = None,
        name: str | None = None,
        input_shape: Sequence[int | None] | None = None,
        input_dim: int | None = None,
        **options: Unpack[NoOptions],
    ) -> None:
        self._calls = weakref.WeakSet()
        kind = type(self).__name__
        if name is not None and not isinstance(name, str):
            raise TypeError(f"{kind}: name= expects a string, got {name!r}")
        if isinstance(dtype, str) and dtype.startswith("mixed_"):
            raise ValueError(
                f"{kind}: dtype={dtype!r} is a policy of Keras; weights stay float32 here: write "
                f"model.compile(..., precision={dtype.removeprefix('mixed_')!r})"
            )
        self.explicit_name = name
        self.module: nn.Module | None = None
        self.built = False
        self.dtype = None if dtype is None else as_dtype(dtype)
        if input_shape is None and input_dim is not None:
            input_shape = (input_dim,)
        self.first_input_shape = None if input_shape is None else tuple(input_shape)
        self.input_dtype: torch.dtype | str | None = None  # that Sequential gives the first input
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._options: dict[str, Any] = {}
        self._losses = []
        self._trainable = trainable
        self._model_name: str | None = None
        self._features: int | None = None
        self._built_for: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
        own = {key for _, key, _ in self._weight_arguments()}
        self._refuse_options({key: value for key, value in options.items() if key not in own})
        self._set_weight_options(options)

    # ------------------------------------------------------------------ to be written by a layer

    def build(self, *input_shapes: Any) -> nn.Module | None:
        """Make the torch module for inputs of these shapes; called once, at the first call.

        Args:
            *input_shapes: The shape of each argument of the call, batch included, `None` for
                unknown sizes; a list of shapes for a list of tensors. A parameter `key` or
                `key_shape` is given the shape of the argument `key`.
        """
        return None

    def call(self, *inputs: Any, **kwargs: Any) -> Any:
        """Compute the output with torch functions, on symbolic tensors.

        A parameter `mask` is given the mask of the first input, `<input>_mask` that of the input
        of this name, and `training` the mode if the caller fixes one. Otherwise a user's layer is
        given an object whose truth value raises an error.
        """
        if self.module is None:
            raise NotImplementedError(f"{type(self).__name__} has neither a module nor a call()")
        return self.module(*inputs, **kwargs)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return the mask of the output: that of the input if `supports_masking`.

        Args:
            inputs: The first argument of the call.
            mask: Its mask; a list of masks, some of them `None`, for a list of tensors.
        """
        return mask if self.supports_masking else None

    def inner_layers(self) -> list[Layer]:
        """Return the layers that are attributes of this one; their weights are its weights."""
        return [part for part in self.inner_parts() if isinstance(part, Layer)]

    def inner_parts(self) -> list[Any]:
        """Return the layers, models and torch modules that are attributes of this one.

        They are in the order of assignment. As in Keras, a user's layer also counts those in
        private attributes.
        """
        ours = is_of_fgraph(type(self))
        kept = [value for key, value in vars(self).items()
                if not (key.startswith("_") if ours else key in _NO_PARTS)]  # fmt: skip
        parts = {id(v): v for v in iter_leaves(kept) if isinstance(v, (Layer, nn.Module))}
        return [part for part in parts.values() if part is not self.module]

    # ------------------------------------------------------------------ calling

    def __call__(self, *inputs: Any, **kwargs: Any) -> SymbolicTensor:
        """Record a call of the layer on symbolic tensors.

        Returns:
            A symbolic tensor, or a list, tuple or dict of them if the layer has several outputs.

        Raises:
            TypeError: An input is not symbolic.
            BuildError: The inputs do not fit the layer.
        """
        inputs, kwargs = self._ordered(inputs, kwargs)
        if kwargs.get("training") is MODEL_MODE:  # as it would without
            del kwargs["training"]
        if current_call() is not None:  # `call` of a layer gives constants to another
            inputs, kwargs = map_leaves(_constant, (inputs, kwargs))
        self._refuse_values(inputs, kwargs)
        try:
            self._check_inputs(inputs)
            with _build_lock:
                if not self.built:
                    self._build_for(inputs, kwargs)
        except BuildError as error:
            refs = [leaf.ref for leaf in iter_leaves((inputs, kwargs)) if isinstance(leaf, Symbol)]
            if where := place_in_graph(refs).removeprefix(". "):
                error.add_note(where)
            raise
        call = Call(self, to_refs((inputs, kwargs)), current_call())
        inputs, kwargs = map_leaves(_unshared, (inputs, kwargs))
        with recording(call):
            inputs = (*map_leaves(self._cast, inputs[:1]), *inputs[1:])
            kwargs, mask = self._with_masks(inputs, kwargs)
            with self._symbolic_weights():
                outputs = self.call(*inputs, **kwargs)
            if not any(_made_by(call, leaf) for leaf in iter_leaves(outputs)):
                outputs = map_leaves(_passed_on, outputs)
            if self.activity_regularizer is not None:
                outputs = map_leaves(self._regularized, outputs)
            outputs = self._with_added_losses(call, outputs)
            attach_masks(outputs, self.compute_mask(inputs[0] if inputs else None, mask))
        call.set_outputs(to_refs(outputs))
        self.add_call(call)
        return outputs  # type: ignore[no-any-return]

    @classmethod
    def _parameters(cls, method: str) -> dict[str, inspect.Parameter]:
        """Return the parameters of a method of this class, without `self`."""
        key = f"_{method}_parameters"
        found: dict[str, inspect.Parameter] | None = vars(cls).get(key)
        if found is None:
            found = dict(list(inspect.signature(getattr(cls, method)).parameters.items())[1:])
            setattr(cls, key, found)
        return found

    def _ordered(
        self, inputs: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call by position, including inputs that were given by name."""
        if not kwargs:
            return inputs, kwargs
        rest, ordered = dict(kwargs), list(inputs)
        for name, parameter in list(self._parameters("call").items())[len(inputs) :]:
            if parameter.default is not parameter.empty or name not in rest:
                break
            ordered.append(rest.pop(name))
        return tuple(ordered), rest

    def _build_for(self, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Build the layer; name it in the error if torch refuses the shapes."""
        shapes = [to_shapes(value) for value in inputs]
        parameters = self._parameters("build")
        kinds = [parameter.kind for parameter in parameters.values()]
        if inspect.Parameter.VAR_POSITIONAL not in kinds:
            shapes = shapes[: len(parameters)]
        named = {
            key: to_shapes(value)
            for name, value in kwargs.items()
            for key in (name, f"{name}_shape")
            if key in parameters and value is not None
        }
        try:
            self.make_module(*shapes, **named)
        except (TypeError, IndexError) as error:
            given = ", ".join(map(str, [*shapes, *named.values()]))
            raise BuildError(
                f"layer {self.name!r} ({self!r}) cannot be built for inputs of shape {given}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _refuse_values(self, inputs: Any, kwargs: Any) -> None:
        """Refuse a call that has no symbolic tensor."""
        leaves = list(iter_leaves((inputs, kwargs)))
        kind = type(self).__name__
        for leaf in leaves:
            refuse_keras(f"layers.{kind}", leaf)
        if any(isinstance(leaf, SymbolicTensor) for leaf in leaves):
            return
        given = [type(leaf).__name__ for leaf in leaves]
        if any(isinstance(leaf, Tensor) for leaf in leaves):
            raise TypeError(
                f"layers.{kind} was called on a real tensor; layers work on symbolic tensors, from "
                "Input(shape), and the Model made of them runs on real ones. Inside a hand-written "
                "nn.Module use torch's own modules (torch.nn.LazyLinear and similar infer sizes), "
                "or, once the layer is built, `layer.module`; in an fgraph.Model write `call` in "
                "place of `forward`, which is recorded as a graph"
            )
        raise TypeError(
            f"layers.{kind} expects symbolic tensors, from Input(shape), got {given or 'nothing'}"
        )

    def _check_inputs(self, inputs: tuple[Any, ...]) -> None:
        """Refuse inputs of another rank, dtype or number of features."""
        first = inputs[0] if inputs else None
        kind, axis = type(self).__name__, self.expects.features
        if isinstance(first, (list, tuple)) and self.expects.axes is not None:
            raise BuildError(
                f"{kind} expects one tensor ({', '.join(self.expects.axes)}), got a list of "
                f"{len(first)}: join them first, for example layers.concatenate([a, b])"
            )
        if not isinstance(first, SymbolicTensor):
            return
        self.expects.check(kind, first.spec.shape)
        if axis is None:
            return
        if self._features not in (None, first.spec.shape[axis]):
            raise BuildError(
                f"{kind} {self.name!r} was built for {self._features} features (axis {axis}), got "
                f"{first.shape}: a layer has one set of weights, make another one for other sizes"
            )

    def _cast(self, value: Any) -> Any:
        """Record the cast that Keras makes implicitly; the result keeps the mask of the input."""
        if not isinstance(value, SymbolicTensor):
            return value
        wanted = self.expects.cast(value.dtype, self.dtype)
        if wanted == value.dtype:
            return value
        cast = value.to(wanted)
        attach_masks(cast, mask_of(value))
        return cast

    def make_module(self, *input_shapes: Any, **named_shapes: Any) -> nn.Module | None:
        """Build the layer, if it is not built yet, and initialize its weights.

        Args:
            *input_shapes: As for `build`.
            **named_shapes: Likewise, by the names of its parameters.
        """
        if self.built:
            return self.module
        self._built_for = (input_shapes, named_shapes)
        filled = filler()

        def build() -> nn.Module | None:
            module = self._with_added_weights(self.build(*input_shapes, **named_shapes))
            dtype = self.dtype
            if module is not None and dtype is not None and not self.inner_layers():
                module = module.to(dtype) if dtype.is_floating_point else module
            return module

        self.module = module = build() if filled is None else filled(self, build)
        if filled is None:
            self._initialize()
        if self.expects.features is not None:
            self._features = input_shapes[0][self.expects.features]
        self.built = True
        if not self._trainable:
            self.trainable = False
        return module

    def _with_masks(
        self, inputs: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[dict[str, Any], Any]:
        """Return the keyword arguments that `call` takes, masks filled in, and the input's mask."""
        takes = self._parameters("call")
        placed = dict(zip(takes, inputs, strict=False))
        others = {name: value for name, value in takes.items() if name not in placed}
        kwargs = self._with_mode(dict(kwargs), others)
        mask = mask_of(inputs[0]) if inputs else None
        given = placed | kwargs
        tensors = [name for name, value in given.items() if _has_tensors(value)]
        if given.get("mask") is not None:
            mask = given["mask"]
        elif "mask" in others:  # as Keras, which looks at each tensor's own mask if there are more
            kwargs["mask"] = mask if len(tensors) <= 1 else None
        elif self.supports_masking:
            kwargs.pop("mask", None)
        for name in tensors:
            if f"{name}_mask" in others and kwargs.get(f"{name}_mask") is None:
                kwargs[f"{name}_mask"] = mask_of(given[name])
        return kwargs, mask

    def _with_mode(
        self, kwargs: dict[str, Any], takes: dict[str, inspect.Parameter]
    ) -> dict[str, Any]:
        """Return the keyword arguments with `training` as `call` expects it."""
        if kwargs.get("training") is MODEL_MODE or "training" not in takes:
            kwargs.pop("training", None)  # as in Keras every layer takes it, and most ignore it
        own = is_of_fgraph(type(self).call)
        if "training" in takes and kwargs.get("training") is None and not own:
            kwargs["training"] = MODEL_MODE
        return kwargs

    def _regularized(self, output: Any) -> Any:
        """Pass an output through a module that keeps its penalty for the training loss."""
        if not isinstance(output, SymbolicTensor) or self.activity_regularizer is None:
            return output
        return ActivityLoss(self.activity_regularizer)(output)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the output for inputs of a shape; the layer itself is not built.

        Args:
            input_shape: A shape, batch included, `None` for unknown sizes; or a list of shapes.
        """
        copied = self.from_config({**self.get_config(), "name": None})
        if input_shape and isinstance(input_shape[0], (list, tuple)):
            outputs = copied([self._input_like(shape) for shape in input_shape])
        else:
            outputs = copied(self._input_like(input_shape))
        return to_shapes(outputs)

    def _input_like(self, shape: Sequence[int | None]) -> SymbolicTensor:
        dtype = "int64" if self.expects.dtype == "integer" else None
        return Input(batch_shape=shape, dtype=dtype)

    # ------------------------------------------------------------------ names and training

    @property
    def trainable(self) -> bool:
        """Whether the parameters require gradients; applies to all models that share the layer."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for inner in (*self.inner_parts(), self.module):
            if isinstance(inner, nn.Module) and not hasattr(inner, "_weight_holders"):
                inner.requires_grad_(self._trainable)
                for part in inner.modules():
                    if isinstance(part, BatchNorm):  # its statistics are weights, too
                        part.frozen = not self._trainable
            elif inner is not None:
                inner.trainable = value

    @property
    def name(self) -> str:
        """The given name, else that in the first model made with it, else the first of its kind."""
        return self.explicit_name or self._model_name or f"{snake_case(type(self).__name__)}_1"

    def take_name(self, name: str) -> None:
        """Take the name that the first model gives."""
        if self._model_name is None:
            self._model_name = name

    def with_module(self, module: nn.Module | None) -> Layer:
        """Return a copy of this layer around another module, without its calls."""
        made = copy.copy(self)
        if module is not None:
            made.module = module
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_calls"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._calls = weakref.WeakSet()


def _has_tensors(value: Any) -> bool:
    """Return whether an argument of a call is or contains a tensor."""
    return any(isinstance(leaf, (SymbolicTensor, Tensor)) for leaf in iter_leaves(value))


def _constant(leaf: Any) -> Any:
    """Return a handle on a real tensor, which the graph then holds."""
    is_real = isinstance(leaf, Tensor) and not isinstance(leaf, SymbolicTensor)
    return symbolic(leaf) if is_real else leaf


def _unshared(leaf: Any) -> Any:
    """Return a handle that `call` may change in place: a layer must not change its inputs."""
    return symbol(leaf.ref) if isinstance(leaf, SymbolicTensor) else leaf


def _made_by(call: Call, leaf: Any) -> bool:
    """Return whether a symbolic value was recorded during `call`."""
    if not isinstance(leaf, SymbolicTensor):
        return False
    made = leaf.node.call
    while made is not None and made is not call:
        made = made.outer
    return made is call


def _passed_on(leaf: Any) -> Any:
    """Make a node for a value that a layer returned unchanged: the layer's output."""
    return (
        apply(_same, leaf, output_shape=leaf.spec.shape)
        if isinstance(leaf, SymbolicTensor)
        else leaf
    )


def _same(x: Tensor) -> Tensor:
    return x
