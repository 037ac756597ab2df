"""Which runs of nodes to compute again for gradients, so that memory stays within a budget.

Between two cuts a run of nodes either keeps what its gradients need, or keeps nothing: then what
leaves it stays, for the runs behind it, and all else is computed again. The backward pass takes
the runs from the last to the first. While it is in one of them, there is in memory what the runs
before it keep, what is saved inside it, and the gradients on their way. A plan fits if no run goes
over the budget; of those that fit, the one with the least work done again is taken, by dynamic
programming over the cuts. (A rule of the square root would hold if all nodes were alike.)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..graph import Ref
from .footprint import Footprint

_MOST_CUTS = 128  # the time grows with their square
_MOST_STATES = 128  # partial plans remembered at a cut


class NodeRange(NamedTuple):
    """The nodes from `first` up to, but not with, `end`."""

    first: int
    end: int
    again: bool


class _Partial(NamedTuple):
    """A plan for the nodes before a cut: what it keeps, what it computes again, its last run."""

    kept: int
    work: int
    run: NodeRange | None
    before: _Partial | None

    def runs(self) -> list[NodeRange]:
        found: list[NodeRange] = []
        at: _Partial | None = self
        while at is not None and at.run is not None:
            found.append(at.run)
            at = at.before
        return found[::-1]


class MemoryEstimate:
    """What the runs of a graph keep, and what they need while their gradients are computed.

    Args:
        found: what the nodes cost.
    """

    def __init__(self, found: Footprint) -> None:
        self.found = found
        self.count = count = len(found.graph.nodes)
        self._size = np.array(found.size, dtype=np.int64)
        self._made = np.array(found.made, dtype=np.int64)
        self._work = np.concatenate([[0], np.cumsum(found.work, dtype=np.int64)])
        last = np.full(len(found.size), -1, dtype=np.int64)
        uses = {
            ref: position for position, node in enumerate(found.graph.nodes) for ref in node.refs()
        }
        uses |= dict.fromkeys(found.graph.outputs, count)
        for ref, position in uses.items():
            if ref in found.home:
                last[found.home[ref]] = max(last[found.home[ref]], position)
        self._last = last
        saver = np.full(len(found.size), count, dtype=np.int64)
        for position in range(count - 1, -1, -1):
            saver[list(found.saved[position])] = position
        self._saver = saver  # the first node that saves each piece
        self._final = last == count
        packs = np.where(found.packs, np.arange(count), -1)
        self._last_pack = np.concatenate([[-1], np.maximum.accumulate(packs)])
        self._set_gradients(uses)

    def _set_gradients(self, uses: dict[Ref, int]) -> None:
        """Work out the bytes of gradients that are under way at each cut, and inside each node."""
        count, found = self.count, self.found
        place = {id(node): position for position, node in enumerate(found.graph.nodes)}
        steps = np.zeros(count + 2, dtype=np.int64)
        for ref, size in found.gradients.items():
            if ref in uses:
                steps[place[id(ref.node)] + 1] += size
                steps[uses[ref] + 1] -= size
        self._pending = np.cumsum(steps)[: count + 1]  # at the cut before each node
        made = [
            sum(found.gradients.get(Ref(node, index), 0) for index in range(len(node.specs)))
            for node in found.graph.nodes
        ]
        taken = [
            sum(found.gradients.get(ref, 0) for ref in dict.fromkeys(node.refs()))
            for node in found.graph.nodes
        ]
        inner = np.array(found.widest, dtype=np.int64) - made
        self._flow = self._pending[1:] + np.maximum(inner, taken)

    def live(self) -> Any:
        """Return the bytes of values that are alive at each cut."""
        steps = np.zeros(self.count + 2, dtype=np.int64)
        np.add.at(steps, self._made + 1, self._size)
        np.add.at(steps, np.maximum(self._last, self._made) + 1, -self._size)
        return np.cumsum(steps)[: self.count + 1]

    def keeps(self, first: int, ends: Sequence[int]) -> tuple[Any, Any]:
        """Return what runs that begin at `first` keep: with what is saved inside, and without."""
        inside = self._made >= first
        made, size = self._made[inside], self._size[inside]
        last, saver = self._last[inside], self._saver[inside]
        steps = np.zeros(self.count + 2, dtype=np.int64)
        np.add.at(steps, made + 1, size)
        np.add.at(steps, np.maximum(last, made) + 1, -size)
        leaving = np.cumsum(steps)
        is_saved = saver < self.count
        np.add.at(steps, (np.maximum(last, made) + 1)[is_saved], size[is_saved])
        return np.cumsum(steps)[list(ends)], leaving[list(ends)]

    def needs(self, first: int, ends: Sequence[int]) -> tuple[Any, Any]:
        """Return the most that runs that begin at `first` need, beside what is kept before them.

        First without computing anything again, then with it.
        """
        inside = self._made >= first
        made, size = self._made[inside], self._size[inside]
        last, saver = self._last[inside], self._saver[inside]
        saved = np.zeros(self.count + 2, dtype=np.int64)
        np.add.at(saved, saver, size)
        saved[self.count] = 0
        saved = np.cumsum(saved)[: self.count]
        steps = np.zeros(self.count + 2, dtype=np.int64)
        np.add.at(steps, made, size)
        np.add.at(steps, np.maximum(np.minimum(last + 1, saver), made), -size)
        running = saved + np.cumsum(steps)[: self.count]
        outputs = self._size[inside & self._final].sum()
        backward = np.maximum.accumulate((saved + self._flow)[first:])
        forward = np.maximum.accumulate(running[first:])
        at = np.array(ends) - first - 1
        pending = self._pending[list(ends)]
        once = np.maximum(backward[at], forward[at]) + outputs
        return once, np.maximum(backward[at], forward[at] + pending) + outputs

    def work(self, first: int, end: int) -> int:
        """Return the work of running nodes again; it stops at the last that saves something."""
        last = self._last_pack[end]
        return int(self._work[last + 1] - self._work[first]) if last >= first else 0

    def peak(self, runs: Sequence[NodeRange]) -> int:
        """Return the most bytes that a plan has in memory at once."""
        return max(kept + int(need) for kept, need in self._stages(runs))

    def _stages(self, runs: Sequence[NodeRange]) -> list[tuple[int, int]]:
        """Return what of the runs before is kept during each run, and what it needs beside."""
        nodes = self.found.graph.nodes
        found, held = [], set[int]()
        for first, end, again in runs:
            for position in range(first, end):
                if not again:
                    held |= self.found.saved[position]
                    continue
                refs = nodes[position].refs()
                taken = {self.found.home[ref] for ref in refs if ref in self.found.home}
                held |= {piece for piece in taken if self._made[piece] < first}
            once, twice = self.needs(first, [end])
            before = [piece for piece in held if self._made[piece] < first]
            found.append((int(self._size[before].sum()), int(twice[0] if again else once[0])))
            held |= set(np.flatnonzero(self._final & (self._made < end)).tolist())
        return found


class Planner:
    """Finds plans for a graph.

    Args:
        memory: what runs of nodes need.
        cuts: the positions where the graph may be cut, without its ends.
        may_run: whether the nodes from one cut to another may be computed again.
    """

    def __init__(self, memory: MemoryEstimate, cuts: Sequence[int], may_run: Any) -> None:
        self.memory = memory
        self.cuts = [0, *_thinned(list(cuts), memory.live()), memory.count]
        self._runs: list[list[tuple[int, NodeRange, int, int, int]]] = [[] for _ in self.cuts]
        for at, first in enumerate(self.cuts[:-1]):
            ends = self.cuts[at + 1 :]
            kept, left = memory.keeps(first, ends)
            once, twice = memory.needs(first, ends)
            for step, end in enumerate(ends):
                to = at + 1 + step
                run = NodeRange(first, end, False)
                self._runs[to].append((at, run, int(kept[step]), int(once[step]), 0))
                if left[step] < kept[step] and may_run(first, end):
                    run, work = NodeRange(first, end, True), memory.work(first, end)
                    self._runs[to].append((at, run, int(left[step]), int(twice[step]), work))

    def plan(self, budget: int) -> list[NodeRange] | None:
        """Return the plan with the least work among those within a budget, `None` for none."""
        states: list[list[_Partial]] = [[_Partial(0, 0, None, None)]]
        for runs in self._runs[1:]:
            found = [
                _Partial(state.kept + kept, state.work + work, run, state)
                for at, run, kept, need, work in runs
                for state in states[at]
                if state.kept + need <= budget
            ]
            states.append(_best(found))
        return min(states[-1], key=lambda state: state.work).runs() if states[-1] else None

    def least(self) -> int:
        """Return the smallest budget that a plan can keep to."""
        low, high = 0, self.memory.peak([NodeRange(0, self.memory.count, False)])
        while high - low > max(high >> 10, 1):
            middle = (low + high) // 2
            low, high = (low, middle) if self._reaches(middle) else (middle, high)
        return high

    def _reaches(self, budget: int) -> bool:
        least = [0]
        for runs in self._runs[1:]:
            fits = [least[at] + kept for at, _, kept, need, _ in runs if least[at] + need <= budget]
            least.append(min(fits, default=budget + 1))
        return least[-1] <= budget


def _best(states: list[_Partial]) -> list[_Partial]:
    """Return the states that no other one beats in both; of very many, some spread over all."""
    kept: list[_Partial] = []
    for state in sorted(states, key=lambda state: (state.kept, state.work)):
        if not kept or state.work < kept[-1].work:
            kept.append(state)
    if len(kept) > _MOST_STATES:
        chosen = np.linspace(0, len(kept) - 1, _MOST_STATES).round().astype(int)
        kept = [kept[place] for place in chosen]
    return kept


def _thinned(cuts: list[int], live: Any) -> list[int]:
    """Return the cuts where few bytes are alive: none that a neighbour beats, and not too many."""
    levels = [list(level) for _, level in itertools.groupby(cuts, lambda cut: live[cut])]
    alive = [np.inf, *(live[level[0]] for level in levels), np.inf]
    chosen = [
        cut
        for level, before, here, after in zip(levels, alive, alive[1:], alive[2:], strict=False)
        if before > here < after
        for cut in level
    ]
    while len(chosen) > _MOST_CUTS:
        pairs = [chosen[place : place + 2] for place in range(0, len(chosen), 2)]
        chosen = [min(pair, key=lambda cut: live[cut]) for pair in pairs]
    return chosen
