"""`Layer`: a thin wrapper that makes and holds a torch module, and records calls of it."""

from __future__ import annotations

import copy
import inspect
import re
import threading
import weakref
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from .. import regularizers
from ..errors import BuildError, Remembered
from ..graph import Call, SymbolicTensor, apply
from ..graph.input import as_dtype
from ..graph.nested import iter_leaves, map_leaves
from ..graph.node import recording
from .arguments import Expects
from .masks import attach_masks, mask_of
from .modules.activity import ActivityLoss
from .modules.normalization import BatchNorm
from .nodes import Nodes
from .weighted_layer import Weighted

_build_lock = threading.RLock()


@lru_cache(maxsize=1024)
def snake_case(name: str) -> str:
    """Return a class name as Keras writes it in layer names: `MaxPooling2D` is `max_pooling2d`."""
    name = re.sub(r"([a-z])LU\b", r"\1lu", name).replace("PRelu", "Prelu").replace("LSTM", "Lstm")
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


class Layer(Weighted, Nodes, Remembered):
    """A layer in the sense of Keras: called on symbolic tensors, it makes a torch module once.

    It is not an `nn.Module`: a model registers the torch module under the layer's name, so that
    what a model holds is plain torch. To write a layer, give `build`, which returns the module,
    and `call`, which writes the expression in torch on symbolic tensors. A module or function of
    your own needs no layer at all: call it on symbolic tensors, or use `fgraph.apply`.

    Args:
        name: a name, unique within a model; counted by kind (`dense_1`, ...) by default.
        trainable: whether the parameters require gradients.
        dtype: dtype of the parameters, as torch dtype or its name; torch's default by default.
        input_shape: shape of one sample, for the first layer of a `Sequential`.
        input_dim: the same for samples of one axis: `input_dim=784` is `input_shape=(784,)`.
        activity_regularizer: a penalty on the output, by name, object or function.
        **options: for each weight that the class declares, `<weight>_initializer`,
            `<weight>_regularizer` and `<weight>_constraint`, by name, object or function; an
            initializer may also be one of `torch.nn.init`'s in-place functions.

    Attributes:
        module: the torch module; `None` before the first call and for layers without state.
        keras_weights: the weights as Keras has them, in its order; declared by the class.
        expects: the axes and dtype of the input; checked before the layer is built.
        supports_masking: whether a mask of the input is one of the output, too.

    Raises:
        TypeError: an option is not known.
        ValueError: the name of an initializer, regularizer or constraint is not known.

    Example:
        >>> class Scale(Layer):
        ...     def build(self, input_shape):
        ...         return nn.Linear(input_shape[-1], input_shape[-1], bias=False)
        ...     def call(self, x):
        ...         return x * torch.sigmoid(self.module(x))
    """

    expects: Expects = Expects()
    supports_masking: bool = False
    _call_takes: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._call_takes = tuple(inspect.signature(cls.call).parameters)

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: torch.dtype | str | None = None,
        input_shape: Sequence[int | None] | None = None,
        input_dim: int | None = None,
        activity_regularizer: Any = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if name is not None and not isinstance(name, str):
            raise TypeError(f"{type(self).__name__}: name= expects a string, got {name!r}")
        self.explicit_name = name
        self.module: nn.Module | None = None
        self.built = False
        self.dtype = None if dtype is None else as_dtype(dtype)
        if input_shape is None and input_dim is not None:
            input_shape = (input_dim,)
        self.first_input_shape = None if input_shape is None else tuple(input_shape)
        self.input_dtype: torch.dtype | str | None = None  # that Sequential gives the first input
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._options = self._read_options(options)
        self._trainable = trainable
        self._model_name: str | None = None
        self._features: int | None = None

    # ------------------------------------------------------------------ to be written by a layer

    def build(self, *input_shapes: Any) -> nn.Module | None:
        """Make the torch module for inputs of these shapes; called once, at the first call.

        Args:
            *input_shapes: for each argument of the call its shape, batch included, `None` for
                unknown sizes; a list of shapes for a list of tensors.
        """
        return None

    def call(self, *inputs: Any, **kwargs: Any) -> Any:
        """Write the layer's expression in torch, on symbolic tensors.

        A parameter `mask` is given the mask of the first input, `<input>_mask` that of the input
        of this name, and `training` the mode where the caller fixes one.
        """
        if self.module is None:
            raise NotImplementedError(f"{type(self).__name__} has neither a module nor a call()")
        return self.module(*inputs, **kwargs)

    def compute_mask(self, inputs: Any, mask: Any) -> Any:
        """Return the mask of the output: that of the input where `supports_masking`.

        Args:
            inputs: the first argument of the call.
            mask: its mask; a list of masks, some of them `None`, for a list of tensors.
        """
        return mask if self.supports_masking else None

    def inner_layers(self) -> list[Layer]:
        """Return the layers that this one is wrapped around; their weights are its weights."""
        return []

    # ------------------------------------------------------------------ calling

    def __call__(self, *inputs: Any, **kwargs: Any) -> Any:
        """Record a call of the layer on symbolic tensors.

        Raises:
            TypeError: an input is not symbolic.
            BuildError: the inputs do not fit the layer.
        """
        self._refuse_values(inputs, kwargs)
        self._check_inputs(inputs)
        with _build_lock:
            if not self.built:
                self._build_for(map_leaves(_shape_of, inputs))
        call = Call(self, map_leaves(_ref_of, (inputs, kwargs)))
        with recording(call):
            kwargs, mask = self._with_masks(inputs, kwargs)
            outputs = self.call(*inputs, **kwargs)
            if not any(_made_by(call, leaf) for leaf in iter_leaves(outputs)):
                outputs = map_leaves(lambda leaf: _passed_on(leaf), outputs)
            if self.activity_regularizer is not None:
                outputs = map_leaves(self._regularized, outputs)
            attach_masks(outputs, self.compute_mask(inputs[0] if inputs else None, mask))
        call.set_outputs(map_leaves(_ref_of, outputs))
        self.add_call(call)
        return outputs

    def _build_for(self, shapes: tuple[Any, ...]) -> None:
        """Build the layer; what torch says of shapes it cannot take is told of the layer."""
        try:
            self.make_module(*shapes)
        except (TypeError, IndexError) as error:
            given = ", ".join(map(str, shapes))
            raise BuildError(
                f"layer {self.name!r} ({self!r}) cannot be built for inputs of shape {given}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _refuse_values(self, inputs: Any, kwargs: Any) -> None:
        """Refuse a call that has no symbolic tensor."""
        leaves = list(iter_leaves((inputs, kwargs)))
        if any(isinstance(leaf, SymbolicTensor) for leaf in leaves):
            return
        kind = type(self).__name__
        given = [type(leaf).__name__ for leaf in leaves]
        if any(isinstance(leaf, Tensor) for leaf in leaves):
            raise TypeError(
                f"layers.{kind} was called on a real tensor; layers work on symbolic tensors, from "
                "Input(shape), and the Model made of them runs on real ones. Inside a hand-written "
                "nn.Module use torch's own modules (torch.nn.LazyLinear and its kin infer sizes), "
                "or, once the layer is built, `layer.module`"
            )
        raise TypeError(
            f"layers.{kind} expects symbolic tensors, from Input(shape), got {given or 'nothing'}"
        )

    def _check_inputs(self, inputs: tuple[Any, ...]) -> None:
        """Refuse inputs of another rank, dtype or number of features."""
        first = inputs[0] if inputs else None
        if not isinstance(first, SymbolicTensor):
            return
        kind, axis = type(self).__name__, self.expects.features
        self.expects.check(kind, first.shape, first.dtype)
        if axis is None:
            return
        if self._features not in (None, first.shape[axis]):
            raise BuildError(
                f"{kind} {self.name!r} was built for {self._features} features (axis {axis}), got "
                f"{first.shape}: a layer has one set of weights, make another one for other sizes"
            )

    def make_module(self, *input_shapes: Any) -> nn.Module | None:
        """Build the layer, if it is not built yet, and give it its first weights.

        Args:
            *input_shapes: as for `build`.
        """
        if self.built:
            return self.module
        module = self.build(*input_shapes)
        if module is not None and self.dtype is not None and not self.inner_layers():
            module = module.to(self.dtype)
        self.module = module
        self._initialize()
        if self.expects.features is not None:
            self._features = input_shapes[0][self.expects.features]
        self.built = True
        if not self._trainable:
            self.trainable = False
        return module

    @property
    def _module(self) -> Any:
        """The module, where there surely is one."""
        return self.module

    def _with_masks(
        self, inputs: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[dict[str, Any], Any]:
        """Return the keyword arguments that `call` takes, masks filled in, and the input's mask."""
        kwargs = dict(kwargs)
        if "training" in kwargs and "training" not in self._call_takes:
            del kwargs["training"]  # as in Keras every layer takes it, and most do not mind
        mask = mask_of(inputs[0]) if inputs else None
        if kwargs.get("mask") is not None:
            mask = kwargs["mask"]
        if "mask" in self._call_takes:
            kwargs["mask"] = mask
        elif self.supports_masking:
            kwargs.pop("mask", None)
        given = dict(zip(self._call_takes[1:], inputs, strict=False)) | kwargs
        for name, value in given.items():
            if f"{name}_mask" in self._call_takes and kwargs.get(f"{name}_mask") is None:
                kwargs[f"{name}_mask"] = mask_of(value)
        return kwargs, mask

    def _regularized(self, output: Any) -> Any:
        """Pass an output through a module that keeps its penalty for the training loss."""
        if not isinstance(output, SymbolicTensor) or self.activity_regularizer is None:
            return output
        return ActivityLoss(self.activity_regularizer)(output)

    # ------------------------------------------------------------------ names and configuration

    @property
    def trainable(self) -> bool:
        """Whether the parameters require gradients; setting it holds for all models that share."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        for layer in self.inner_layers():
            layer.trainable = value
        if self.module is not None:
            self.module.requires_grad_(self._trainable)
            for part in self.module.modules():
                if isinstance(part, BatchNorm):  # its statistics are weights, too
                    part.frozen = not self._trainable

    @property
    def weights(self) -> list[nn.Parameter]:
        """The parameters, as torch has them; see `get_weights` for Keras's layout."""
        return [] if self.module is None else list(self.module.parameters())

    @property
    def trainable_weights(self) -> list[nn.Parameter]:
        """The parameters that training changes."""
        return [parameter for parameter in self.weights if parameter.requires_grad]

    @property
    def non_trainable_weights(self) -> list[nn.Parameter]:
        """The parameters that training leaves."""
        return [parameter for parameter in self.weights if not parameter.requires_grad]

    @property
    def name(self) -> str:
        """The given name, else that in the first model made with it, else the first of its kind."""
        return self.explicit_name or self._model_name or f"{snake_case(type(self).__name__)}_1"

    def named(self, name: str) -> None:
        """Take over the name that the first model gives."""
        if self._model_name is None:
            self._model_name = name

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, defaults included, by name."""
        return {**super().get_config(), "name": self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make a layer, with fresh weights, from what `get_config` returned."""
        return cls(**map_leaves(_fresh, dict(config)))

    def with_module(self, module: nn.Module | None) -> Layer:
        """Return a layer like this one around another module, without its calls."""
        made = copy.copy(self)
        if module is not None:
            made.module = module
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_calls"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._calls = weakref.WeakSet()

    def __repr__(self) -> str:
        args, kwargs = self._arguments
        written = [*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
        return f"{type(self).__name__}({', '.join(written)})"


def _fresh(value: Any) -> Any:
    """Make a layer in a configuration anew, so that no weights are shared by accident."""
    if not isinstance(value, Layer):
        return value
    return value.from_config({**value.get_config(), "name": value.explicit_name})


def _ref_of(leaf: Any) -> Any:
    return leaf.ref if isinstance(leaf, SymbolicTensor) else leaf


def _shape_of(leaf: Any) -> Any:
    return leaf.shape if isinstance(leaf, SymbolicTensor) else leaf


def _made_by(call: Call, leaf: Any) -> bool:
    """Whether a symbolic value was recorded during `call`."""
    if not isinstance(leaf, SymbolicTensor):
        return False
    made = leaf.node.call
    while made is not None and made is not call:
        made = made.outer
    return made is call


def _passed_on(leaf: Any) -> Any:
    """Give a value that a layer returned unchanged a node of its own, for the layer's output."""
    return apply(_same, leaf, output_shape=leaf.shape) if isinstance(leaf, SymbolicTensor) else leaf


def _same(x: Tensor) -> Tensor:
    return x
