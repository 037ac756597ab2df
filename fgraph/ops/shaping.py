"""Functions that move values around: shapes, axes, joining and splitting."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..graph import SymbolicTensor
from .conversion import Axis, axes, axis_list, beside, known_shape, promoted, tensor
from .shape_tensors import numbers

__all__ = [
    "append", "array_split", "broadcast_to", "concatenate", "diag", "diagflat", "diagonal", "diff",
    "dsplit", "dstack", "expand_dims", "flip", "fliplr", "flipud", "hsplit", "hstack", "meshgrid",
    "moveaxis", "pad", "ravel", "rearrange", "repeat", "reshape", "roll", "rot90", "split",
    "squeeze", "stack", "swapaxes", "tile", "transpose", "tril", "triu", "unstack", "vsplit",
    "vstack",
]  # fmt: skip


def reshape(x: Any, newshape: Any) -> Tensor:
    """Return the same values in another shape, of which one size may be -1, worked out."""
    given = numbers(newshape, "ops.reshape: newshape")
    sizes = given if isinstance(given, list) else [given]
    return torch.reshape(tensor(x), tuple(-1 if size is None else size for size in sizes))


def ravel(x: Any) -> Tensor:
    """Return the values in one axis."""
    return torch.ravel(tensor(x))


def transpose(x: Any, axes: Sequence[int] | None = None) -> Tensor:
    """Return the axes in another order, reversed for `None`."""
    x = tensor(x)
    return x.permute(tuple(reversed(range(x.ndim)) if axes is None else axes))


def moveaxis(x: Any, source: Any, destination: Any) -> Tensor:
    """Return axes moved to other places."""
    return torch.moveaxis(tensor(x), axes(source), axes(destination))


def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """Return two axes exchanged."""
    return torch.swapaxes(tensor(x), axis1, axis2)


def expand_dims(x: Any, axis: Any) -> Tensor:
    """Return axes of size 1 put in, at these places of the result."""
    x = tensor(x)
    given = [axis] if isinstance(axis, int) else list(axis)
    for a in axis_list(given, x.ndim + len(given)):
        x = x.unsqueeze(a)
    return x


def squeeze(x: Any, axis: Axis = None) -> Tensor:
    """Return axes of size 1 left out, all whose size is known to be 1 for `None`.

    Raises:
        ValueError: An axis has another size.
    """
    x = tensor(x)
    sizes = known_shape(x)
    if axis is None:
        dims = [i for i, size in enumerate(sizes) if size == 1]
    else:
        dims = axis_list(axis, x.ndim)
        for dim in dims:
            if sizes[dim] not in (1, None):
                raise ValueError(f"squeeze expects size 1 along axis {dim}, got shape {sizes}")
    return torch.squeeze(x, tuple(dims))


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """Return `x` repeated along new axes and those of size 1, without a copy."""
    return torch.broadcast_to(tensor(x), tuple(numbers(shape, "ops.broadcast_to: shape")))


def concatenate(xs: Sequence[Any], axis: int | None = 0) -> Tensor:
    """Return tensors joined along an axis, all flattened for `None`."""
    made = promoted(*xs)
    return torch.cat([x.flatten() for x in made]) if axis is None else torch.cat(made, dim=axis)


def append(x1: Any, x2: Any, axis: int | None = None) -> Tensor:
    """Return two tensors joined along an axis, both flattened for `None`."""
    return concatenate([x1, x2], axis)


def stack(x: Sequence[Any], axis: int = 0) -> Tensor:
    """Return tensors of equal shapes joined along a new axis."""
    return torch.stack(promoted(*x), dim=axis)


def hstack(xs: Sequence[Any]) -> Tensor:
    """Return tensors joined along the second axis, the first for tensors of one axis."""
    return torch.hstack(promoted(*xs))


def vstack(xs: Sequence[Any]) -> Tensor:
    """Return tensors joined along the first of at least two axes."""
    return torch.vstack(promoted(*xs))


def dstack(xs: Sequence[Any]) -> Tensor:
    """Return tensors joined along the third of at least three axes."""
    return torch.dstack(promoted(*xs))


def unstack(x: Any, num: int | None = None, axis: int = 0) -> list[Tensor]:
    """Return the slices along an axis, whose size is known or `num`."""
    x = tensor(x)
    size = known_shape(x)[axis]
    if size is None and num is not None:
        return [x.select(axis, i) for i in range(num)]
    if num is not None and num != size:
        raise ValueError(f"unstack: axis {axis} has size {size}, not num={num}")
    return list(torch.unbind(x, axis))


def split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """Return parts of `x` along an axis.

    Args:
        x: A tensor.
        indices_or_sections: The number of equal parts, or the indices at which to cut.
        axis: The axis.

    Raises:
        ValueError: The size of the axis is not divisible by the number of parts.
    """
    x = tensor(x)
    sections = _sections(indices_or_sections)
    size = known_shape(x)[axis]
    if isinstance(sections, int) and size is not None and size % sections:
        raise ValueError(
            f"split: the size {size} of axis {axis} is not divisible by {sections}; array_split "
            "makes parts of different sizes"
        )
    return array_split(x, sections, axis)


def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    """Return parts of `x` along an axis, of which the first are larger if not all can be equal."""
    return list(torch.tensor_split(tensor(x), _sections(indices_or_sections), dim=axis))


def hsplit(x: Any, indices_or_sections: Any) -> list[Tensor]:
    """Return parts along the second axis, the first for a tensor of one axis."""
    return split(x, indices_or_sections, 0 if tensor(x).ndim == 1 else 1)


def vsplit(x: Any, indices_or_sections: Any) -> list[Tensor]:
    """Return parts along the first axis."""
    return split(x, indices_or_sections, 0)


def dsplit(x: Any, indices_or_sections: Any) -> list[Tensor]:
    """Return parts along the third axis."""
    return split(x, indices_or_sections, 2)


def _sections(given: Any) -> Any:
    found = given if isinstance(given, int) else tensor(given).tolist()
    return found if isinstance(found, int) else tuple(found)


def tile(x: Any, repeats: Any) -> Tensor:
    """Return `x` repeated along each axis by the given numbers, along the last axes if fewer."""
    given = numbers(repeats, "ops.tile: repeats")
    return torch.tile(tensor(x), tuple(given) if isinstance(given, list) else (given,))


def repeat(x: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """Return each element repeated in its place, along an axis or of the flattened tensor.

    Args:
        x: A tensor.
        repeats: How often: a number, or one for each element of the axis.
        axis: The axis.
    """
    x = tensor(x)
    if isinstance(repeats, int):
        return torch.repeat_interleave(x, repeats, dim=axis)
    times = tensor(repeats).long()
    if not isinstance(times, SymbolicTensor) and times.numel() == 1:
        return torch.repeat_interleave(x, int(times), dim=axis)
    total = None if isinstance(times, SymbolicTensor) else int(times.sum())
    times = beside(x, repeats).long()
    return torch.repeat_interleave(x, times, dim=axis, output_size=total)


def flip(x: Any, axis: Axis = None) -> Tensor:
    """Return the elements along axes in reversed order, along all for `None`."""
    x = tensor(x)
    return torch.flip(x, axis_list(axis, x.ndim))


def fliplr(x: Any) -> Tensor:
    """Return the elements along the second axis in reversed order."""
    return torch.fliplr(tensor(x))


def flipud(x: Any) -> Tensor:
    """Return the elements along the first axis in reversed order."""
    return torch.flipud(tensor(x))


def roll(x: Any, shift: Any, axis: Axis = None) -> Tensor:
    """Return the elements moved along axes, those beyond the end put in front."""
    return torch.roll(tensor(x), axes(shift), dims=axes(axis))


def rot90(array: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Tensor:
    """Return `array` turned `k` times by 90 degrees, from the first axis towards the second.

    Raises:
        ValueError: There are not two different axes.
    """
    array = tensor(array)
    if array.ndim < 2 or len(axes) != 2 or axes[0] % array.ndim == axes[1] % array.ndim:
        raise ValueError(f"rot90 expects two different axes of {array.ndim}, got {axes}")
    return torch.rot90(array, k, tuple(axes))


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Tensor:
    """Return `x` with values before and after each axis.

    Args:
        x: A tensor.
        pad_width: How many values: a pair for each axis, one pair or number for all.
        mode: `"constant"`; `"reflect"`, mirrored at the last value; `"symmetric"`, mirrored behind
            it; `"edge"`, the last value again.
        constant_values: The value for `"constant"`. Defaults to 0.

    Raises:
        ValueError: The widths do not fit the axes, the mode is not known, or a value is given for
            a mode that takes none.
    """
    x = tensor(x)
    if mode not in ("constant", "reflect", "symmetric", "edge"):
        raise ValueError(f"pad: unknown mode {mode!r}; known: constant, reflect, symmetric, edge")
    if mode != "constant" and constant_values is not None:
        raise ValueError(f"pad: constant_values= goes with mode='constant', not {mode!r}")
    widths = _widths(pad_width, x.ndim)
    if mode == "constant":
        flat = [width for pair in reversed(widths) for width in pair]
        while len(flat) > 2 and flat[-2:] == [0, 0]:
            del flat[-2:]
        return F.pad(x, flat, value=0 if constant_values is None else constant_values)
    for axis, pair in enumerate(widths):
        if any(pair):
            x = _mirrored(x, axis, pair, mode)
    return x


def _widths(pad_width: Any, rank: int) -> list[tuple[int, int]]:
    if isinstance(pad_width, int):
        return [(pad_width, pad_width)] * rank
    given = [tuple(w) if isinstance(w, Sequence) else w for w in tensor_free(pad_width)]
    if builtins.all(isinstance(w, int) for w in given):
        given = [(given[0], given[-1])]
    if len(given) == 1:
        given = given * rank
    if len(given) != rank or builtins.any(len(w) != 2 for w in given):
        raise ValueError(f"pad expects a pair for each of {rank} axes, got {pad_width!r}")
    return given


def tensor_free(value: Any) -> Any:
    """Return nested numbers of a tensor or array as lists."""
    return value.tolist() if hasattr(value, "tolist") else value


def _mirrored(x: Tensor, axis: int, pair: tuple[int, int], mode: str) -> Tensor:
    """Return `x` with values of its own before and after one axis."""
    before, after = pair
    size = known_shape(x)[axis]
    reach = {"reflect": 1, "symmetric": 0}.get(mode)
    if reach is None:
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
        return torch.cat([first] * before + [x] + [last] * after, dim=axis)
    if size is not None and builtins.max(pair) > size - reach:
        raise ValueError(f"pad: {pair} values do not fit a size of {size} with mode={mode!r}")
    parts = [x]
    if before:
        parts.insert(0, x.narrow(axis, reach, before).flip(axis))
    if after:
        parts.append(x.narrow(axis, x.shape[axis] - reach - after, after).flip(axis))
    return torch.cat(parts, dim=axis)


def meshgrid(*x: Any, indexing: str = "xy") -> list[Tensor]:
    """Return the coordinates of a grid, `"xy"` with the second vector along the first axis."""
    return list(torch.meshgrid(*map(tensor, x), indexing=indexing))


def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Tensor:
    """Return the axes in another order, split and merged, as the pattern says.

    Args:
        tensor: A tensor.
        pattern: Names of the axes before and after, those in parentheses merged: `"b (h w) c ->
            b c h w"`.
        **axes_lengths: Sizes of split axes; one of each pair of parentheses may be left out.

    Raises:
        ValueError: Both sides do not name the same axes.
    """
    left, right = (_groups(side) for side in _sides(pattern))
    names = [name for group in left for name in group]
    wanted = [name for group in right for name in group]
    if sorted(set(names)) != sorted(names) or sorted(names) != sorted(wanted):
        raise ValueError(f"rearrange: both sides of {pattern!r} have to name the same axes, once")
    x = as_tensor(tensor)
    if len(left) != x.ndim:
        raise ValueError(f"rearrange: {pattern!r} is for {len(left)} axes, got shape {x.shape}")
    sizes: list[Any] = []
    for group, size in zip(left, x.shape, strict=True):
        sizes += _split_sizes(group, size, axes_lengths, pattern)
    by_name = dict(zip(names, sizes, strict=True))
    x = torch.reshape(x, tuple(sizes)).permute(*(names.index(name) for name in wanted))
    merged = [_product([by_name[name] for name in group]) for group in right]
    return torch.reshape(x, tuple(merged))


as_tensor = tensor


def _sides(pattern: str) -> list[str]:
    sides = pattern.split("->")
    if len(sides) != 2:
        raise ValueError(f"rearrange expects a pattern like 'b h w -> b (h w)', got {pattern!r}")
    return sides


def _groups(side: str) -> list[list[str]]:
    """Return the axes of one side, each a list of the names merged in it."""
    groups: list[list[str]] = []
    inside = False
    for token in side.replace("(", " ( ").replace(")", " ) ").split():
        if token in "()":
            inside = token == "("
            if inside:
                groups.append([])
        elif inside:
            groups[-1].append(token)
        else:
            groups.append([token])
    return groups


def _split_sizes(group: list[str], size: Any, given: dict[str, int], pattern: str) -> list[Any]:
    if len(group) == 1:
        return [size]
    missing = [name for name in group if name not in given]
    if len(missing) > 1:
        raise ValueError(f"rearrange: {pattern!r} needs the sizes of {missing[1:]}, as keywords")
    known = _product([given[name] for name in group if name in given])
    return [given.get(name, size // known) for name in group]


def _product(sizes: list[Any]) -> Any:
    made: Any = 1
    for size in sizes:
        made = made * size
    return made


def diag(x: Any, k: int = 0) -> Tensor:
    """Return the diagonal of a matrix, or the matrix with this diagonal."""
    return torch.diag(tensor(x), k)


def diagflat(x: Any, k: int = 0) -> Tensor:
    """Return the matrix whose diagonal has all values of `x`."""
    return torch.diagflat(tensor(x), k)


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Return a diagonal of matrices, as the last axis."""
    return torch.diagonal(tensor(x), offset, axis1, axis2)


def diff(a: Any, n: int = 1, axis: int = -1) -> Tensor:
    """Return the differences of neighbors along an axis, `n` times over."""
    return torch.diff(tensor(a), n, dim=axis)


def tril(x: Any, k: int = 0) -> Tensor:
    """Return matrices with 0 above the diagonal `k`."""
    return torch.tril(tensor(x), k)


def triu(x: Any, k: int = 0) -> Tensor:
    """Return matrices with 0 below the diagonal `k`."""
    return torch.triu(tensor(x), k)
