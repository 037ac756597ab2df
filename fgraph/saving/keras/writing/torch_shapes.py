"""torch functions that move and select values, as Keras's operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ....errors import SaveError
from ....graph import Node, Ref
from .keras_op import Found, KerasOp, cast_op, dtype_of_value, first_spec, numpy_op, shape_of


def _reshaped(node: Node, x: Any, *_: Any, **__: Any) -> KerasOp:
    """Return a reshape to the shape that is known, which may have one size of run time."""
    if any(isinstance(leaf, torch.dtype) for leaf in _):
        raise SaveError("it reads the memory as another dtype")
    shape = first_spec(node).shape
    if shape.count(None) > 1:
        raise SaveError(f"its shape {shape} has several sizes that are known at run time only, "
                        "Keras's reshape finds one")  # fmt: skip
    return numpy_op("Reshape", x, newshape=[-1 if size is None else size for size in shape])


def _transposed(node: Node, x: Any, *dims: Any, **kwargs: Any) -> KerasOp:
    order = kwargs.get("dims", dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims)
    return numpy_op("Transpose", x, axes=[dim % len(order) for dim in order])


def _matrix_transposed(node: Node, x: Any) -> KerasOp:
    return numpy_op("Swapaxes", x, axis1=-2, axis2=-1)


def _all_transposed(node: Node, x: Any) -> KerasOp:
    return numpy_op("Transpose", x, axes=None)


def _squeezed(node: Node, x: Any, *dims: Any, **kwargs: Any) -> KerasOp:
    given = dims[0] if len(dims) == 1 else kwargs.get("dim")
    if given is None:
        if None in shape_of(x):
            raise SaveError("without dim= it depends on sizes of run time")
        return _reshaped(node, x)
    shape = shape_of(x)
    axes = [given] if isinstance(given, int) else list(given)
    unknown = [axis for axis in axes if shape[axis] is None]
    if unknown:
        raise SaveError(f"the size of axis {unknown[0]} is known at run time only")
    kept = [axis % len(shape) for axis in axes if shape[axis] == 1]
    return numpy_op("Squeeze", x, axis=kept) if kept else numpy_op("Copy", x)


def _item(node: Node, x: Any, key: Any) -> Found:
    if type(x) is not Ref:
        return None
    for leaf in key if isinstance(key, tuple) else (key,):
        if isinstance(leaf, slice):
            if any(not isinstance(part, int | None) for part in (leaf.start, leaf.stop, leaf.step)):
                raise SaveError("it slices by sizes of run time")
        elif not (leaf is None or leaf is ... or (isinstance(leaf, int) and not
                                                 isinstance(leaf, bool))):  # fmt: skip
            raise SaveError("it takes elements by tensors or lists: use torch.gather or ops.take")
    return numpy_op("GetItem", x, list(key) if isinstance(key, tuple) else key)


def _padded(node: Node, x: Any, pad: Any, mode: str = "constant", value: Any = None) -> KerasOp:
    if any(not isinstance(size, int) or size < 0 for size in pad):
        raise SaveError("it cuts off, or pads by sizes of run time")
    rank, known = len(first_spec(node).shape), {"constant": "constant", "reflect": "reflect",
                                           "replicate": "edge"}  # fmt: skip
    if mode not in known:
        raise SaveError(f"Keras does not pad by mode={mode!r}")
    sizes = [[0, 0] for _ in range(rank)]
    for which in range(len(pad) // 2):
        sizes[rank - 1 - which] = [pad[2 * which], pad[2 * which + 1]]
    if mode != "constant":
        return numpy_op("Pad", x, pad_width=sizes, mode=known[mode])
    return KerasOp("numpy", "Pad", {"pad_width": sizes, "mode": "constant"}, x, value or 0.0)


def _split(node: Node, x: Any, sizes: Any, dim: int = 0, **kwargs: Any) -> KerasOp:
    given = kwargs.get("split_size_or_sections", sizes)
    parts = [spec.shape[dim] for spec in node.specs]  # type: ignore[union-attr]
    if None in parts:
        raise SaveError(f"the size of axis {dim} is known at run time only")
    ends, at = [], 0
    for size in parts[:-1]:
        at += size or 0
        ends.append(at)
    del given
    return numpy_op("Split", x, indices_or_sections=ends, axis=dim)


def _chunked(node: Node, x: Any, chunks: Any = None, dim: int = 0, **kwargs: Any) -> KerasOp:
    return _split(node, x, chunks, dim)


def _expanded(node: Node, x: Any, *sizes: Any, **kwargs: Any) -> KerasOp:
    shape = first_spec(node).shape
    own = (None,) * (len(shape) - len(shape_of(x))) + tuple(shape_of(x))
    if None not in shape:
        return numpy_op("BroadcastTo", x, shape=list(shape))
    if len(shape_of(x)) < len(shape):
        raise SaveError("it adds an axis beside sizes of run time")
    repeats = []
    for before, after in zip(own, shape, strict=True):
        if before == 1 and after is None:
            raise SaveError("it repeats by a size of run time")
        repeats.append(after if before == 1 and after is not None else 1)
    return numpy_op("Tile", x, repeats=repeats)


def _selected(node: Node, x: Any, dim: int, index: Any) -> KerasOp:
    rank = len(shape_of(x))
    if type(index) is Ref:
        return KerasOp("numpy", "Take", {"axis": dim}, x, index)
    return numpy_op("GetItem", x, [*[slice(None)] * (dim % rank), index])


def _narrowed(node: Node, x: Any, dim: int, start: Any, length: Any) -> KerasOp:
    if not (isinstance(start, int) and isinstance(length, int)):
        raise SaveError("it slices by sizes of run time")
    end = start + length if start >= 0 or start + length else None
    rank = len(shape_of(x))
    return numpy_op("GetItem", x, [*[slice(None)] * (dim % rank), slice(start, end)])


def _gathered(node: Node, x: Any, dim: int, index: Any, **kwargs: Any) -> KerasOp:
    shapes = zip(shape_of(x), shape_of(index), strict=True)
    if any(a is None or b is None or a != b for at, (a, b) in enumerate(shapes)
           if at not in (dim % len(shape_of(x)), 0)):  # fmt: skip
        raise SaveError("the sizes of values and indices differ")
    return KerasOp("numpy", "TakeAlongAxis", {"axis": dim}, x, index)


def _index_selected(node: Node, x: Any, dim: int, index: Any) -> KerasOp:
    return KerasOp("numpy", "Take", {"axis": dim}, x, index)


def _repeated_each(node: Node, x: Any, repeats: Any, dim: Any = None, **kwargs: Any) -> KerasOp:
    if not isinstance(repeats, int):
        raise SaveError("Keras on torch repeats each element as often as the others")
    return numpy_op("Repeat", x, repeats=repeats, axis=dim)


def _to(node: Node, x: Any, *args: Any, **kwargs: Any) -> KerasOp:
    wanted = first_spec(node).dtype
    return numpy_op("Copy", x) if wanted == dtype_of_value(x) else cast_op(x, wanted)


TABLE: dict[str, Callable[..., Found]] = {
    **dict.fromkeys(
        ("reshape", "view", "flatten", "unflatten", "view_as", "reshape_as"), _reshaped),
    **dict.fromkeys((".mT", "adjoint"), _matrix_transposed),
    **dict.fromkeys((".T", "t"), _all_transposed),
    **dict.fromkeys(
        ("to", "type", "float", "double", "half", "bfloat16", "int", "long", "short", "bool",
         "char", "byte", "type_as"), _to),
    **dict.fromkeys(("split", "unsafe_split"), _split),
    **dict.fromkeys(("chunk", "tensor_split"), _chunked),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), _expanded),
    "permute": _transposed, "squeeze": _squeezed, "getitem": _item, "pad": _padded,
    "select": _selected, "narrow": _narrowed, "gather": _gathered,
    "index_select": _index_selected, "repeat_interleave": _repeated_each,
}  # fmt: skip
