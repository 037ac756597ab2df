"""Control flow: functions that call functions, on real tensors and in graphs of known structure."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..graph import SymbolicSize, SymbolicTensor
from ..graph.nested import iter_leaves, map_leaves
from .conversion import tensor

__all__ = [
    "associative_scan", "cond", "fori_loop", "map", "scan", "switch", "vectorize", "vectorized_map",
    "while_loop",
]  # fmt: skip

_BY_ELEMENT = "to choose by element, write `ops.where(condition, x, y)`; to choose a path, write "
_IN_A_MODULE = "Python's own `{}` in the forward of an nn.Module, or a function for `fgraph.apply`"


def _decided(name: str, value: Any, keyword: str, hint: str = "") -> Any:
    """Return a value that decides on the path, which a graph does not know.

    Raises:
        TypeError: It is symbolic.
    """
    if isinstance(value, (SymbolicTensor, SymbolicSize)):
        raise TypeError(
            f"{name} depends on a value that is known only at run time, and a graph has one path: "
            f"{hint}{_IN_A_MODULE.format(keyword)}"
        )
    return value


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """Return what one of two functions returns.

    Raises:
        TypeError: `pred` is symbolic.
    """
    return true_fn() if _decided("cond", pred, "if", _BY_ELEMENT) else false_fn()


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """Return what the function of that index returns; an index out of range takes the nearest.

    Raises:
        TypeError: `index` is symbolic.
    """
    number = int(_decided("switch", index, "if", _BY_ELEMENT))
    return branches[max(0, min(number, len(branches) - 1))](*operands)


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """Return `init_val` after `body_fun(i, value)` for each `i` from `lower` up to `upper`.

    Raises:
        TypeError: A bound is symbolic.
    """
    value = init_val
    for i in builtins.range(*(int(_decided("fori_loop", n, "for")) for n in (lower, upper))):
        value = body_fun(i, value)
    return value


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    maximum_iterations: int | None = None,
) -> Any:
    """Return the variables after `body(*variables)` for as long as `cond(*variables)` is true.

    Raises:
        TypeError: The condition is symbolic.
    """
    several = isinstance(loop_vars, (list, tuple))
    values = tuple(loop_vars) if several else (loop_vars,)
    done = 0
    while maximum_iterations is None or done < maximum_iterations:
        if not _decided("while_loop", cond(*values), "while"):
            break
        made = body(*values)
        values = tuple(made) if isinstance(made, (list, tuple)) else (made,)
        done += 1
    return values if several else values[0]


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """Return the results of a function for each slice along the first axis, stacked.

    Raises:
        TypeError: The size of the axis is known only at run time.
    """
    return scan(lambda _, x: ((), f(x)), (), xs)[1]


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """Return the last state and the stacked outputs of a step along the first axis.

    Args:
        f: The step: `f(state, x)` returns the next state and an output.
        init: The first state.
        xs: A tensor, or a structure of them, of equal first sizes.
        length: The number of steps, needed without `xs`.
        reverse: Whether to begin at the end.
        unroll: Accepted for compatibility with Keras; all steps are recorded.

    Raises:
        ValueError: Neither `xs` nor `length` is given.
        TypeError: The number of steps is known only at run time.
    """
    leaves = [tensor(x) for x in iter_leaves(xs) if x is not None]
    if not leaves and length is None:
        raise ValueError("scan expects xs=, or length= for the number of steps")
    count = length if length is not None else leaves[0].shape[0]
    steps = list(builtins.range(_decided("scan", count, "for")))
    state, outputs = init, []
    for i in reversed(steps) if reverse else steps:
        state, output = f(state, map_leaves(partial(_slice, i), xs))
        outputs.append(output)
    if reverse:
        outputs.reverse()
    return state, _stacked(outputs)


def _slice(i: int, x: Any) -> Any:
    return x if x is None else tensor(x)[i]


def _stacked(outputs: list[Any]) -> Any:
    """Stack the leaves of equal structures."""
    kept = [list(iter_leaves(output)) for output in outputs]
    columns = iter(
        [None if parts[0] is None else torch.stack([tensor(x) for x in parts])
         for parts in zip(*kept, strict=True)]
    )  # fmt: skip
    return map_leaves(lambda _: next(columns), outputs[0]) if outputs else None


def associative_scan(
    f: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0
) -> Any:
    """Return all partial results of an associative function along an axis.

    Args:
        f: The function of two structures of slices, which works on many slices at once.
        elems: A tensor, or a structure of them, of equal sizes along the axis.
        reverse: Whether to begin at the end.
        axis: The axis.

    Raises:
        TypeError: The size of the axis is known only at run time.
    """
    made = map_leaves(lambda x: torch.flip(tensor(x), (axis,)) if reverse else tensor(x), elems)
    first = next(iter_leaves(made))
    size = _decided("associative_scan", first.shape[axis], "for")
    # Hillis and Steele, 1986: combine each with the one 1, 2, 4, ... places before it
    step = 1
    while step < size:
        before = map_leaves(partial(torch.narrow, dim=axis, start=0, length=size - step), made)
        after = map_leaves(partial(torch.narrow, dim=axis, start=step, length=size - step), made)
        made = map_leaves(partial(_behind, iter_leaves(f(before, after)), axis, step), made)
        step *= 2
    return map_leaves(lambda x: torch.flip(x, (axis,)), made) if reverse else made


def _behind(rest: Iterator[Any], axis: int, step: int, x: Any) -> Tensor:
    """Return the next tensor of `rest` behind the first slices of `x`."""
    return torch.cat([x.narrow(axis, 0, step), next(rest)], dim=axis)


def vectorized_map(function: Callable[[Any], Any], elements: Any) -> Any:
    """Return the results of a function for each slice along the first axis, by `torch.vmap`.

    Raises:
        TypeError: An element is symbolic.
    """
    for leaf in iter_leaves(elements):
        if isinstance(leaf, SymbolicTensor):
            raise TypeError(
                "vectorized_map works on real tensors; on symbolic ones write `fgraph.apply("
                "torch.vmap(function), x)`"
            )
    return torch.vmap(function)(elements)


def vectorize(
    pyfunc: Callable[..., Any], *, excluded: Any = None, signature: str | None = None
) -> Callable[..., Any]:
    """Return a function that broadcasts its arguments and calls `pyfunc` on single elements.

    Args:
        pyfunc: A function of tensors without axes.
        excluded: Only `None`: bind other arguments by `functools.partial`.
        signature: Only `None`: for functions of vectors use `torch.vmap`.

    Raises:
        ValueError: `excluded` or `signature` is given.
    """
    if excluded or signature:
        raise ValueError(
            "vectorize takes no excluded= or signature=; bind other arguments by "
            "functools.partial, and use torch.vmap for functions of vectors"
        )

    def vectorized(*args: Any) -> Any:
        made = torch.broadcast_tensors(*builtins.map(tensor, args))
        flat = torch.vmap(pyfunc)(*(x.flatten() for x in made))
        return pytree.tree_map(lambda x: x.reshape(made[0].shape), flat)

    return vectorized
