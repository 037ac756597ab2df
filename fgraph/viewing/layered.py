"""Pictures drawn by matplotlib, for machines without graphviz: boxes in rows, arrows downwards.

The layout is Sugiyama's: a row for each step of the longest path, dummies where an arrow passes a
row, an order by the mean place of neighbours, then places that draw neighbours together.
"""

from __future__ import annotations

import io
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ..model import Model
from .diagram import Box, Diagram, diagram
from .dot import check_rankdir, colours

_SWEEPS = 12
_GAP, _ROW_GAP = 0.25, 0.32  # inches between boxes and between rows
_LETTER, _LINE, _PADDING = 0.078, 0.17, 0.12  # inches


@dataclass(eq=False)
class _Place:
    """A box, or a dummy where an arrow passes a row; `x` is its middle."""

    box: Box | None
    width: float
    height: float
    row: int = 0
    x: float = 0.0
    above: list[_Place] = field(default_factory=list)
    below: list[_Place] = field(default_factory=list)


def draw(model: Model, kind: str, rankdir: str = "TB", dpi: int = 200, **show: bool) -> bytes:
    """Return a picture of a model, drawn by matplotlib.

    Args:
        model: a model that has a graph.
        kind: a format that matplotlib writes: `"png"`, `"svg"`, `"pdf"`, `"jpg"`.
        rankdir: where the graph runs; only `"TB"` and `"BT"` are drawn, others as `"TB"`.
        dpi: dots per inch.
        **show: the fields of `Show`.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: `rankdir` is not known.
    """
    from matplotlib.figure import Figure

    check_rankdir(rankdir)
    drawn = diagram(model, "plot_model", **show)
    rows, chains = _rows(drawn)
    _order(rows)
    _spread(rows)
    height = _heights(rows)
    left = min(place.x - place.width / 2 for row in rows for place in row) - _GAP
    right = max(place.x + place.width / 2 for row in rows for place in row) + _GAP
    figure = Figure(figsize=(right - left, height), dpi=dpi)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(left, right)
    axes.set_ylim((height, 0) if rankdir != "BT" else (0, height))
    axes.axis("off")
    centres = _centres(rows)
    for chain in chains:
        _arrow(axes, chain, centres)
    for first, second in drawn.ties:
        _tie(axes, [place for row in rows for place in row], first, second, centres)
    for row in rows:
        for place in row:
            if place.box is not None:
                _paint(axes, place, place.box, centres[place.row])
    written = io.BytesIO()
    figure.savefig(written, format=kind)
    return written.getvalue()


def _rows(drawn: Diagram) -> tuple[list[list[_Place]], list[list[_Place]]]:
    """Return the boxes row by row, and for each arrow the places that it passes."""
    places = {}
    for box in drawn.content.boxes():
        letters = max(map(len, [box.title, *box.lines]))
        width = letters * _LETTER + 2 * _PADDING
        places[box.id] = _Place(box, width, (1 + len(box.lines)) * _LINE + _PADDING)
    incoming = defaultdict(list)
    for tail, head in drawn.arrows:
        incoming[head].append(tail)
    for name, place in places.items():  # the boxes come in the order in which they run
        place.row = max((places[tail].row + 1 for tail in incoming[name]), default=0)
    for name, place in places.items():  # inputs stand right above what uses them first
        if not incoming[name]:
            users = [places[head].row for tail, head in drawn.arrows if tail == name]
            place.row = max(min(users, default=1) - 1, 0)
    rows: list[list[_Place]] = [[] for _ in range(max(p.row for p in places.values()) + 1)]
    for place in places.values():
        rows[place.row].append(place)
    chains = []
    for tail, head in drawn.arrows:
        chain = [places[tail]]
        for row in range(places[tail].row + 1, places[head].row):
            dummy = _Place(None, 0.1, 0.0, row)
            rows[row].append(dummy)
            chain.append(dummy)
        chain.append(places[head])
        for above, below in pairwise(chain):
            above.below.append(below)
            below.above.append(above)
        chains.append(chain)
    return rows, chains


def _order(rows: list[list[_Place]]) -> None:
    """Order each row by the mean position of the neighbours, downwards and upwards in turn."""
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        at = {id(place): i for row in rows for i, place in enumerate(row)}
        for row in rows if down else reversed(rows):

            def mean(place: _Place, down: bool = down, at: dict[int, int] = at) -> float:
                near = place.above if down else place.below
                return sum(at[id(one)] for one in near) / len(near) if near else at[id(place)]

            row.sort(key=mean)
            at.update((id(place), i) for i, place in enumerate(row))


def _spread(rows: list[list[_Place]]) -> None:
    """Choose the middle of each place: near its neighbours, and without overlap in its row."""
    for row in rows:
        x = 0.0
        for place in row:
            place.x, x = x + place.width / 2, x + place.width + _GAP
        for place in row:
            place.x -= x / 2
    for sweep in range(2 * _SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            near = [place.above + place.below for place in row]
            wanted = [
                sum(one.x for one in some) / len(some) if some else place.x
                for place, some in zip(row, near, strict=True)
            ]
            gaps = [(a.width + b.width) / 2 + _GAP for a, b in pairwise(row)]
            right, left = list(wanted), list(wanted)
            for i, gap in enumerate(gaps):
                right[i + 1] = max(right[i + 1], right[i] + gap)
            for i, gap in reversed(list(enumerate(gaps))):
                left[i] = min(left[i], left[i + 1] - gap)
            for place, a, b in zip(row, left, right, strict=True):
                place.x = (a + b) / 2


def _centres(rows: list[list[_Place]]) -> list[float]:
    """Return the height at which the middle of each row lies."""
    centres, y = [], _ROW_GAP
    for row in rows:
        tallest = max(place.height for place in row)
        centres.append(y + tallest / 2)
        y += tallest + _ROW_GAP
    return centres


def _heights(rows: list[list[_Place]]) -> float:
    return sum(max(place.height for place in row) + _ROW_GAP for row in rows) + _ROW_GAP


def _paint(axes: Any, place: _Place, box: Box, y: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    fill, border = colours(box)
    ends = box.family in ("input", "output")
    rounding = 0.08 if ends or box.family == "function" else 0.01
    corner = (place.x - place.width / 2, y - place.height / 2)
    style = f"round,pad=0,rounding_size={rounding}"
    for inset in (0.0, 0.035) if box.family == "model" else (0.0,):
        axes.add_patch(
            FancyBboxPatch(
                (corner[0] + inset, corner[1] + inset),
                place.width - 2 * inset,
                place.height - 2 * inset,
                boxstyle=style,
                facecolor=fill,
                edgecolor=border,
                linewidth=1.6 if box.shared is not None else 1.0,
            )
        )
    top = y - len(box.lines) * _LINE / 2 * _downwards(axes)
    for number, line in enumerate([box.title, *box.lines]):
        axes.text(
            place.x,
            top + number * _LINE * _downwards(axes),
            line.replace("$", r"\$"),
            ha="center",
            va="center",
            fontsize=9 if number == 0 else 7.5,
            fontweight="bold" if number == 0 and box.family != "function" else "normal",
            color="white" if ends else "black" if number == 0 else "#546E7A",
        )


def _downwards(axes: Any) -> int:
    bottom, top = axes.get_ylim()
    return 1 if bottom > top else -1


def _arrow(axes: Any, chain: list[_Place], centres: list[float]) -> None:
    """Draw an arrow through the places that it passes, as a smooth curve."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    ends = [(chain[0].x, centres[chain[0].row] + chain[0].height / 2)]
    ends += [(place.x, centres[place.row]) for place in chain[1:-1]]
    ends.append((chain[-1].x, centres[chain[-1].row] - chain[-1].height / 2))
    vertices, codes = [ends[0]], [Path.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(ends):
        middle = (y0 + y1) / 2
        vertices += [(x0, middle), (x1, middle), (x1, y1)]
        codes += [Path.CURVE4] * 3
    axes.add_patch(
        FancyArrowPatch(
            path=Path(vertices, codes), arrowstyle="-|>", mutation_scale=9, color="#546E7A", lw=0.9
        )
    )


def _tie(axes: Any, places: list[_Place], first: Any, second: Any, centres: list[float]) -> None:
    """Join two calls that share weights by a dashed line."""
    ends = [part if isinstance(part, Box) else next(part.boxes()) for part in (first, second)]
    a, b = (next(place for place in places if place.box is end) for end in ends)
    axes.plot(
        [a.x, b.x],
        [centres[a.row], centres[b.row]],
        linestyle="--",
        linewidth=1.4,
        color=colours(second)[1],
        zorder=0,
    )
