"""Calls of a model: matching and checking the inputs, masks, and the mode of one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast, overload

import torch
from torch import Tensor, nn

from ..graph import SymbolicTensor
from ..layers.training_mode import MODEL_MODE
from ..training.prediction import keeping_modes
from .child_calls import has_own_calls
from .masked_calls import call_with_masks, masks_given
from .run_time_notes import add_run_time_note
from .signature import Signature

if TYPE_CHECKING:
    _Part = nn.Module
else:  # as a base it would come before what other parts of `Model` override of it
    _Part = object


class ModelCalls(_Part):
    """The call of a model, on real or symbolic tensors."""

    _signature: Signature | None

    if TYPE_CHECKING:

        @property
        def _is_unbuilt(self) -> bool: ...

        def _build_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None: ...

    @overload
    def __call__(self, inputs: SymbolicTensor, /, *args: Any, **kwargs: Any) -> SymbolicTensor: ...

    @overload
    def __call__(self, inputs: Tensor, /, *args: Any, **kwargs: Any) -> Tensor: ...

    @overload
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any: ...

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the model, or record it as one layer of another graph.

        `model(a, b)`, `model([a, b])`, `model({"left": a, "right": b})` and
        `model(left=a, right=b)` are one thing.

        As in Keras, `training=True` or `training=False` fixes the mode of this one call, also
        where it is recorded, and `mask=` is the mask of the input, or a list of masks.

        Returns:
            A tensor, list, tuple or dict, as the model's `outputs`.

        Raises:
            ValueError: the number, names, rank or known sizes of the inputs are wrong.
            TypeError: an input is not a tensor.
        """
        signature = self._signature
        if signature is None:
            if not self._is_unbuilt:
                return super().__call__(*args, **kwargs)
            self._build_for(args, kwargs)
            return self(*args, **kwargs)
        if kwargs.get("training") is MODEL_MODE:  # as it would without
            del kwargs["training"]
        if "training" in kwargs and "training" not in signature.names:
            return self._call_in_mode(kwargs.pop("training"), args, kwargs)
        if kwargs or len(args) != len(signature.checks) or not self._fits(args, signature.checks):
            masks = masks_given(self, kwargs)
            args = tuple(self._bind_inputs(args, kwargs))
            if masks is not None or any(isinstance(value, SymbolicTensor) for value in args):
                return call_with_masks(self, args, masks)
        if signature.reads:
            signature.check_reads(args)
        try:
            return super().__call__(*args)
        except Exception as error:
            add_run_time_note(error, self)
            raise

    def _call_in_mode(
        self, training: bool | None, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run in training or evaluation mode, whatever the model's own; record the mode as well."""
        masks = masks_given(self, kwargs)
        values = self._bind_inputs(args, kwargs)
        if any(isinstance(value, SymbolicTensor) for value in values):
            options = {} if training is None else {"training": bool(training)}
            return call_with_masks(self, values, masks, **options)
        given = {} if masks is None else masks
        if training is None:
            return self(*values, **given)
        with keeping_modes(self):
            self.train(bool(training))
            return self(*values, **given)

    @staticmethod
    def _fits(args: tuple[Any, ...], checks: Any) -> bool:
        """Whether the arguments are tensors of the right rank and sizes, each in its place."""
        if torch._C._get_tracing_state():
            return False  # sizes are traced tensors now, and comparing them would warn
        for value, (ndim, sizes) in zip(args, checks):  # noqa: B905 - their numbers are equal
            if not isinstance(value, Tensor):
                return False
            shape = value.shape
            if len(shape) != ndim:
                return False
            for axis, size in sizes:
                if shape[axis] != size:
                    return False
        return True

    def _only_forwards(self, args: Sequence[Any]) -> bool:
        """Return whether a call with these inputs would do nothing but run the forward."""
        signature = cast(Signature, self._signature)
        return (
            type(self).__call__ is ModelCalls.__call__
            and len(args) == len(signature.checks)
            and self._fits(tuple(args), signature.checks)
            and not signature.reads
            and not has_own_calls(self, tuple(args))
        )

    def _bind_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Match call arguments to the model's inputs; raise if they do not fit."""
        signature = cast(Signature, self._signature)
        values = signature.bind(args, kwargs)
        if not torch._C._get_tracing_state():
            signature.check(values)
        return values
