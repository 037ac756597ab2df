"""Forwards in which numbers depend on the mode: `p if self.training else 0.0`.

Such a forward needs the truth value of a mode that is known only at run time. It is run for both
answers. If the recorded calls differ only in numbers, it is run once more, and each of these
numbers becomes a value that is read at run time: `(0.0, p)[training]`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..graph.nested import iter_leaves, map_leaves
from ..graph.node import Node, Ref, current_trial, recording
from ..graph.specs import NumberSpec, TensorSpec

Choices = dict[int, dict[int, tuple[Any, Any]]]
_NUMBERS = (bool, int, float)
_COMPARABLE = (*_NUMBERS, str, tuple, Ref, torch.device, torch.Size)


class Trial:
    """One run of a forward, with an answer if it needs the truth value of a mode.

    Args:
        answer: the answer; `None` to give none.
        choices: by the index of a recorded call, and of a leaf among its arguments, the value in
            evaluation and in training mode.

    Attributes:
        asked: the mode whose truth value was needed; the first one, if there are several.
        nodes: the calls recorded in the run.
        outputs: the result, with a `Ref` for each symbolic leaf.
        scope: the call of the opened module that the run is.
    """

    scope: Any = None

    def __init__(
        self, answer: bool | None, asked: Ref | None = None, choices: Choices | None = None
    ) -> None:
        self.answer = answer
        self.asked = asked
        self.nodes: list[Node] = []
        self.outputs: Any = None
        self._choices = choices or {}
        self._outer: Trial | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Context manager: answer for the mode, and collect the calls recorded in this thread."""
        self._outer = current_trial()
        with recording(self, "trial"):
            yield

    def accept(self) -> None:
        """Add the calls of this run to the run that contains it."""
        if self._outer is not None:
            self._outer.nodes += self.nodes

    def ask(self, mode: Ref) -> bool | None:
        """Return the truth value to continue with, `None` if there is none."""
        if self.asked is None:
            self.asked = mode
        return self.answer if self.asked == mode else None

    def with_choices(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], make: Callable[..., Node]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of the next call, with symbolic values for numbers that depend on
        the mode.

        Args:
            args, kwargs: the arguments.
            make: records a call.
        """
        found: dict[int, Ref] = {}
        place, trial = 0, self
        while True:
            place += len(trial.nodes)
            for leaf, numbers in trial._choices.get(place, {}).items():
                with recording(None, "trial"):
                    node = make("function", operator.getitem, (numbers, trial.asked), {})
                found[leaf] = Ref(node)
            if trial._outer is None:
                break
            trial = trial._outer
        if not found:
            return args, kwargs
        leaves = [found.get(n, leaf) for n, leaf in enumerate(iter_leaves((args, kwargs)))]
        left = iter(leaves)
        args, kwargs = map_leaves(lambda _: next(left), (args, kwargs))
        return args, kwargs

    def choices_beside(self, other: Trial) -> Choices | None:
        """Return the numbers in which a run in training mode differs from this one.

        `None` where the runs differ in more.

        Args:
            other: the run in training mode; this one is that in evaluation mode.
        """
        if len(self.nodes) != len(other.nodes) or self.asked != other.asked:
            return None
        same: dict[Any, Any] = {}  # calls of the other run by the ids of this run's calls

        def twin(leaf: Any, trial: Trial) -> Any:
            if type(leaf) is not Ref:
                return leaf
            if leaf == trial.asked:
                return trial.answer
            if leaf.node.target is operator.getitem and type(leaf.node.args[0]) is tuple:
                return leaf.node.args  # a number that depends on another mode, inside
            return Ref(same.get(id(leaf.node), leaf.node), leaf.index)

        found: Choices = {}
        for number, (ours, theirs) in enumerate(zip(self.nodes, other.nodes, strict=True)):
            if not _alike(ours, theirs):
                return None
            pairs = zip(
                (twin(leaf, self) for leaf in iter_leaves((ours.args, ours.kwargs))),
                (twin(leaf, other) for leaf in iter_leaves((theirs.args, theirs.kwargs))),
                strict=True,
            )
            for place, (no, yes) in enumerate(pairs):
                if _equal(no, yes):
                    continue
                if type(no) not in _NUMBERS or type(yes) not in _NUMBERS:
                    return None
                found.setdefault(number, {})[place] = (no, yes)
            same[id(ours)] = theirs
        if _outline(self.outputs) != _outline(other.outputs):
            return None
        results = zip(iter_leaves(self.outputs), iter_leaves(other.outputs), strict=True)
        return found if all(_equal(twin(a, self), twin(b, other)) for a, b in results) else None


def _alike(ours: Node, theirs: Node) -> bool:
    """Return whether two calls differ at most in their arguments."""
    return (
        (ours.op, ours.structure, ours.modes) == (theirs.op, theirs.structure, theirs.modes)
        and (ours.target is theirs.target or ours.target == theirs.target)
        and [*map(_known, ours.specs)] == [*map(_known, theirs.specs)]
        and _outline((ours.args, ours.kwargs)) == _outline((theirs.args, theirs.kwargs))
    )


def _known(spec: Any) -> Any:
    """Return the properties of a call's result that must be equal in both modes."""
    if type(spec) is TensorSpec:
        return spec.first, spec.second, spec.dtype
    return type(spec) if type(spec) is NumberSpec else spec


def _outline(value: Any) -> Any:
    return map_leaves(lambda _: None, value)


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) is torch.Tensor:  # a constant, which each run computes again
        known = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
        return known and torch.equal(one, other)
    return type(one) in _COMPARABLE and bool(one == other)
