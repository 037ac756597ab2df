"""`Input`: where a graph begins."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, overload

import torch

from ..inference.shapes import spec_of
from ..nested import iter_leaves
from ..node import Node, Ref
from ..specs import DataSpec, NumberSpec, TensorSpec
from .record import Symbol, symbol
from .symbolic import SymbolicTensor


@overload
def Input(
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: torch.dtype | str | None = None,
    name: str | None = None,
    *,
    batch_shape: Sequence[int | None] | None = None,
    example: None = None,
    optional: bool = False,
    sparse: bool | None = None,
    ragged: bool | None = None,
    tensor: None = None,
) -> SymbolicTensor: ...


@overload
def Input(*, name: str | None = None, example: object) -> Any: ...


def Input(
    shape: Sequence[int | None] | None = None,
    batch_size: int | None = None,
    dtype: torch.dtype | str | None = None,
    name: str | None = None,
    *,
    batch_shape: Sequence[int | None] | None = None,
    example: Any = None,
    optional: bool = False,
    sparse: bool | None = None,
    ragged: bool | None = None,
    tensor: Any = None,
) -> Any:
    """Make a symbolic tensor that stands for an input of a model, as `keras.Input`.

    Args:
        shape: the sizes without the batch dimension, `None` where unknown: `(140, 256)`.
        batch_size: the batch size; unknown by default.
        dtype: a torch dtype or its name, `"int64"`; torch's default dtype by default.
        name: the name of the input; models count `input_1`, `input_2`, ... by default.
        batch_shape: all sizes, the batch dimension included, in place of `shape`; `()` for an
            input that is one number in a tensor.
        example: in place of a shape, a value like those that will be given, for an input that is
            no tensor: a flag, a number, a list of whole numbers, a dict of settings. Calls take
            what is given at run time as it is; shapes are inferred with the example. Where other
            values lead to other sizes than those that the code has read, the call is refused.
        optional: only `False`: a graph has the same calls whatever it is given.
        sparse, ragged, tensor: accepted for Keras's sake: only false and `None`.

    Returns:
        A symbolic tensor of shape `(batch_size, *shape)`; for `example`, a symbolic number, or
        a symbolic value that can be an argument of calls.

    Raises:
        TypeError: `shape` is not a sequence of whole numbers and `None`.
        ValueError: a size is negative, both or neither of the shapes are given, or the dtype
            is not known, or `optional`, `sparse`, `ragged` or `tensor` is given.

    Example:
        >>> Input((784,)).shape
        (None, 784)
    """
    if name is not None and (not isinstance(name, str) or not name):
        raise TypeError(f"Input: name= expects a non-empty string, got {name!r}")
    _refuse_unsupported(optional=optional, sparse=sparse, ragged=ragged, tensor=tensor)
    if example is not None:
        return _data_input(example, name, (shape, batch_size, dtype, batch_shape))
    if (shape is None) == (batch_shape is None):
        raise ValueError(
            "Input expects either shape=, without the batch dimension, or batch_shape=, with it; "
            f"got shape={shape!r}, batch_shape={batch_shape!r}"
        )
    if batch_shape is not None:
        sizes = _checked("batch_shape", batch_shape)
    else:
        sizes = _checked("shape", (batch_size, *_checked("shape", shape)))
    node = Node("input", None, (), {}, [spec_of(sizes, as_dtype(dtype))], name=name)
    return SymbolicTensor(Ref(node))


_INSTEAD = {
    "optional": "as the calls of a graph do not depend on what is given: make a second Model "
    "without this input, of the same layers, or give zeros and a mask",
    "sparse": "graphs are made of dense tensors: call `.to_dense()` on what is given",
    "ragged": "pad the rows with `fgraph.utils.pad_sequences` and begin with `layers.Masking` or "
    "`layers.Embedding(..., mask_zero=True)`",
    "tensor": "use the symbolic tensor itself as the input: Model(tensor, ...)",
}


def _refuse_unsupported(**given: Any) -> None:
    for argument, value in given.items():
        if value is not None and value is not False:
            raise ValueError(f"Input: {argument}={value!r} is not supported: {_INSTEAD[argument]}")


def input_like(spec: Any, name: str | None = None) -> Any:
    """Make an input for what a spec tells of."""
    if isinstance(spec, TensorSpec):
        return Input(batch_shape=spec.shape, dtype=spec.dtype, name=name)
    return symbol(Ref(Node("input", None, (), {}, [spec], name=name)))


def inputs_like(shape: Any) -> Any:
    """Return symbolic tensors of these shapes, batch included, in their structure."""
    if isinstance(shape, dict):
        return {key: inputs_like(part) for key, part in shape.items()}
    if shape and isinstance(shape[0], (list, tuple, dict)):
        return [inputs_like(part) for part in shape]
    return Input(batch_shape=shape)


def _data_input(example: Any, name: str | None, others: tuple[Any, ...]) -> Any:
    """Make a handle for an input that is no tensor."""
    if any(value is not None for value in others):
        raise ValueError("Input: example= stands for shape, batch_size, dtype and batch_shape")
    if any(isinstance(leaf, torch.Tensor | Symbol) for leaf in iter_leaves(example)):
        raise TypeError(
            f"Input: example={example!r:.80} holds a tensor: make an Input of its own for each, "
            "with its shape"
        )
    is_number = isinstance(example, int | float)
    return input_like(
        NumberSpec(example, example, proven=False) if is_number else DataSpec(example), name
    )


def _checked(argument: str, shape: Any) -> tuple[int | None, ...]:
    """Return `shape` as a tuple of non-negative ints and `None`."""
    if isinstance(shape, int):
        raise TypeError(
            f"Input: {argument}={shape!r} is a number, a tuple of sizes is expected: ({shape},)"
        )
    try:
        sizes = tuple(None if size is None else operator.index(size) for size in shape)
    except TypeError:
        raise TypeError(
            f"Input: {argument}={shape!r} is not a tuple of whole numbers and None"
        ) from None
    if any(size is not None and size < 0 for size in sizes):
        raise ValueError(f"Input: {argument}={shape!r} has a negative size; unknown sizes are None")
    return sizes


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    """Return the torch dtype of that name, or torch's default dtype for `None`.

    Raises:
        ValueError: there is no such dtype.
    """
    if dtype is None:
        return torch.get_default_dtype()
    if isinstance(dtype, torch.dtype):
        return dtype
    found = getattr(torch, "bool" if dtype == "bool" else str(dtype), None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"dtype {dtype!r} is not known to torch; write torch.float32 or 'float32'")
    return found
