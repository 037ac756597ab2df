"""Extrapolation to the main lanes, for calls that take sizes only up to a limit below these.

A module with a table of 64 positions fails in both main lanes, in which an unknown length is 192
and 288. If it accepts all small sizes, without a gap, its result in the main lanes is extrapolated
from them: each size must be a constant, or linear in one unknown size or in the product of two.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

Values = Sequence[Any]  # a size or number in each of several lanes

FEWEST = 4  # lanes of different sizes that have to agree before more are believed


def takes_only_small(lengths: Sequence[int], taken: Sequence[bool]) -> bool:
    """Return whether the lanes that a call takes are the small ones, up to a limit.

    Args:
        lengths: the stand-in of each lane.
        taken: whether the call takes it.
    """
    order = [took for _, took in sorted(zip(lengths, taken, strict=True))]
    runs = [took for took, _ in itertools.groupby(order)]
    few = len({n for n, took in zip(lengths, taken, strict=True) if took}) < FEWEST
    return not few and runs in ([True], [True, False], [False, True, False], [False, True])


def extrapolated(values: Values, unknown: Sequence[tuple[Values, Values]]) -> Values | None:
    """Return a number of the probe lanes, extrapolated to the main ones; `None` if no rule fits.

    Args:
        values: the number in each of the probe lanes.
        unknown: for each unknown size, what it is in the probe lanes, and in the main ones.
    """
    if any(type(value) is not type(values[0]) for value in values):
        return None
    if all(value == values[0] for value in values):
        return values[0], values[0]
    if type(values[0]) is bool:
        return None
    products = (
        tuple([a * b for a, b in zip(x, y, strict=True)] for x, y in zip(one, other, strict=True))
        for one, other in itertools.combinations_with_replacement(unknown, 2)
    )
    for probes, main in itertools.chain(unknown, products):
        found = _line(values, probes, main)
        if found is not None:
            return found
    return None


def _line(values: Values, probes: Values, main: Values) -> Values | None:
    """Return `a * main + b` where `values` are `a * probes + b` with the same `a` and `b`."""
    from fractions import Fraction  # seldom needed: not at import

    at = next((i for i, probe in enumerate(probes) if probe != probes[0]), None)
    if at is None:
        return None
    slope = (Fraction(values[at]) - Fraction(values[0])) / (Fraction(probes[at]) - probes[0])
    offset = Fraction(values[0]) - slope * probes[0]
    if any(slope * probe + offset != value for probe, value in zip(probes, values, strict=True)):
        return None
    kind = type(values[0])
    found = [slope * size + offset for size in main]
    return None if kind is int and any(n.denominator != 1 for n in found) else [*map(kind, found)]
