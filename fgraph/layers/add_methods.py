"""Methods that a custom layer calls on itself: `add_weight`, `add_loss`, `add_metric`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from torch import nn

from ..constraints import ConstraintLike
from ..errors import SymbolicError
from ..graph import Call, SymbolicTensor
from ..graph.nested import iter_leaves, map_leaves
from ..graph.node import current_call
from ..graph.recording.input import as_dtype
from ..initializers import InitializerLike
from ..initializers import get as get_initializer
from ..regularizers import RegularizerLike
from .layer_weights import ADDED, LayerWeights, symbolic
from .modules.added_weights import AddedWeights
from .modules.kept_losses import AddedLoss


class AddMethods(LayerWeights):
    """`add_weight`, `add_loss` and `add_metric` for custom layers."""

    dtype: torch.dtype | None
    _container: AddedWeights | None = None  # until the layer is built
    _losses: list[tuple[Call, SymbolicTensor]]

    def add_weight(
        self,
        shape: int | Sequence[int] | None = None,
        initializer: InitializerLike = None,
        dtype: torch.dtype | str | None = None,
        trainable: bool = True,
        *,
        regularizer: RegularizerLike = None,
        constraint: ConstraintLike = None,
        name: str | None = None,
    ) -> Any:
        """Make a weight, in `__init__` or `build`; the model registers it under the layer's name.

        Args:
            shape: Shape of the weight. Defaults to `()`, a scalar.
            initializer: Initial values by name, object or function. Defaults to Glorot uniform,
                or zeros for integers.
            dtype: Data type. Defaults to that of the layer.
            trainable: Whether training changes the weight: a parameter if true, else a buffer.
            regularizer: Penalty to add to the loss.
            constraint: Function applied to the weight after each step.
            name: Name of the weight within the layer. Defaults to `weight_1` and so on.

        Returns:
            An `nn.Parameter`, or a tensor if not trainable. Use it in `call` in torch functions.

        Example:
            >>> class Scale(layers.Layer):
            ...     def build(self, input_shape):
            ...         self.factor = self.add_weight((input_shape[-1],), "ones", name="factor")
            ...     def call(self, inputs):
            ...         return inputs * self.factor
            >>> x = Input((3,))
            >>> list(Model(x, Scale()(x)).state_dict())
            ['scale_1.factor']
        """
        if isinstance(shape, str):
            raise TypeError(f"add_weight expects shape= first, got {shape!r}; write name={shape!r}")
        sizes = (shape,) if isinstance(shape, int) else tuple(shape or ())
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise ValueError(f"add_weight: shape= expects known sizes, got {sizes}")
        kind = self.dtype if dtype is None else as_dtype(dtype)
        kind = kind or torch.get_default_dtype()
        if initializer is None:
            initializer = "glorot_uniform" if kind.is_floating_point else "zeros"
        key = self._free_name(name)
        if self._container is None:
            self._container = AddedWeights()
        value = torch.as_tensor(get_initializer(initializer)(sizes, dtype=kind))
        made = self._container.add(key, value, trainable and kind.is_floating_point)
        self._added = {**self._added, key: trainable}
        given = {"regularizer": regularizer, "constraint": constraint}
        self._set_weight_options({f"{key}_{role}": value for role, value in given.items()})
        return made

    def _free_name(self, name: str | None) -> str:
        """Return the name of a new weight, numbered if none is given or it is taken."""
        plain = re.sub(r"\W", "_", name or "") or "weight"
        numbered = (f"{plain}_{number}" for number in itertools.count(1))
        wanted = (plain, *itertools.islice(numbered, len(self._added) + 1))
        return next(key for key in wanted[not name :] if key not in self._added)

    def _with_added_weights(self, module: nn.Module | None) -> nn.Module | None:
        """Return the layer's module, with the added weights in it."""
        container, self._container = self._container, None
        if container is None:
            return module
        if module is None:
            return container
        module.add_module(ADDED, container)
        return module

    @contextmanager
    def _symbolic_weights(self) -> Iterator[None]:
        """Make the attributes that hold added weights symbolic, so that their use is recorded."""
        if not self._added or self.module is None:
            yield
            return
        tensors = (*self.module.parameters(), *self.module.buffers())
        symbols = {id(tensor): symbolic(tensor) for tensor in tensors}
        kept = {
            key: value
            for key, value in vars(self).items()
            if key[0] != "_" and any(id(leaf) in symbols for leaf in iter_leaves(value))
        }
        for key, value in kept.items():
            vars(self)[key] = map_leaves(lambda leaf: symbols.get(id(leaf), leaf), value)
        try:
            yield
        finally:
            vars(self).update(kept)

    def add_loss(self, loss: Any) -> None:
        """Add a scalar, computed in `call` from the inputs, to the loss of training.

        Args:
            loss: A symbolic tensor, or a list of them; those that are not scalars are averaged.

        Raises:
            RuntimeError: It is not called in `call`.
            TypeError: The loss is not symbolic, so it does not depend on the inputs.
        """
        call = current_call()
        if call is None or call.owner is not self:
            raise RuntimeError(f"layer {self.name!r}: add_loss expects to be called in call()")
        for value in iter_leaves(loss):
            if not isinstance(value, SymbolicTensor):
                raise TypeError(
                    f"layer {self.name!r}: add_loss expects a symbolic tensor computed from the "
                    f"inputs, got {type(value).__name__}; for a penalty on a weight write "
                    "add_weight(..., regularizer=...)"
                )
            self._losses.append((call, value))

    def _with_added_losses(self, call: Call, outputs: Any) -> Any:
        """Pass the first output through a module that keeps the losses of this call."""
        losses = [value for made, value in self._losses if made is call]
        if not losses:
            return outputs
        self._losses = [(made, value) for made, value in self._losses if made is not call]
        first = next((v for v in iter_leaves(outputs) if isinstance(v, SymbolicTensor)), None)
        if first is None:
            raise SymbolicError(f"layer {self.name!r}: add_loss needs an output that is symbolic")
        kept = AddedLoss()(first, *losses)
        if outputs is first:
            return kept
        swapped = [kept if value is first else value for value in outputs]
        return swapped if isinstance(outputs, list) else tuple(swapped)

    def add_metric(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse, as Keras 3 does: metrics belong to `compile`.

        Raises:
            NotImplementedError: Always; the text says what to write instead.
        """
        raise NotImplementedError(
            f"layer {self.name!r}: Keras 3 removed add_metric; make the tensor an output of the "
            "model and give `compile(metrics={output: ...})`, or compute it in a callback"
        )
