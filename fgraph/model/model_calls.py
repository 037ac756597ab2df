"""Calls of a model: matching and checking the inputs, masks, and the mode of one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, overload

import torch
from torch import Tensor

from ..graph import SymbolicTensor
from ..layers.training_mode import MODEL_MODE
from ..training.prediction import keeping_modes
from .child_calls import has_own_calls
from .masked_calls import mask_list, record_model, run_with_masks
from .model_conversion import ModelConversion
from .run_time_notes import add_run_time_note
from .signature import Signature


class ModelCalls(ModelConversion):
    """The call of a model, on real or symbolic tensors."""

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
        if kwargs or not signature.fits(args):
            options = {
                key: kwargs.pop(key)
                for key in ("training", "mask", "masks")
                if key in kwargs and key not in signature.names
            }
            if options.get("training") is MODEL_MODE:  # as it would without
                del options["training"]
            args = tuple(self._bind_inputs(args, kwargs))
            if options or any(isinstance(value, SymbolicTensor) for value in args):
                return self._call_with(args, **options)
        if signature.reads:
            signature.check_reads(args, self._converted)
        try:
            return super().__call__(*args)
        except Exception as error:
            add_run_time_note(error, self)
            raise

    def _call_with(
        self, values: tuple[Any, ...], training: bool | None = None, **masks: Any
    ) -> Any:
        """Record a call, or run one in another mode than the model's own, or on masked inputs.

        Args:
            values: the inputs.
            training: whether it runs in training mode, whatever the model's own; `None` for that.
            masks: `mask` or `masks`; by default the inputs have masks of their own. With the
                latter the masks of outputs are returned as well.
        """
        if any(isinstance(value, SymbolicTensor) for value in values):
            mode = {} if training is None else {"training": bool(training)}
            return record_model(self, values, mask_list(values, masks), mode)
        if training is not None:
            with keeping_modes(self):
                self.train(bool(training))
                return self(*values, **masks)
        if not masks:
            return self(*values)
        if self._has_own_forward:
            raise TypeError(f"{type(self).__name__}: mask= does not reach a forward by hand")
        cast(Signature, self._signature).check_reads(values, self._converted)
        pair = run_with_masks(self, values, mask_list(values, masks))
        return pair if "masks" in masks else self._output_structure(pair[0])

    def _only_forwards(self, args: Sequence[Any]) -> bool:
        """Return whether a call with these inputs would do nothing but run the forward."""
        signature = cast(Signature, self._signature)
        return (
            type(self).__call__ is ModelCalls.__call__
            and signature.fits(args)
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
