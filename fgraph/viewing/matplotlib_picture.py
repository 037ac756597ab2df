"""Pictures drawn by matplotlib, for machines without graphviz."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

from ..model import Model
from .diagram import Box, Group, diagram
from .dot import check_rankdir, colours, paler
from .layered_layout import LABEL, LETTER, LINE, MARGIN, BoxPlace, Frame, PictureLayout, arrange

_FRONT = 10  # frames are painted that many levels behind boxes and arrows


def draw(model: Model, kind: str, rankdir: str = "TB", dpi: int = 200, **show: bool) -> bytes:
    """Return a picture of a model, drawn by matplotlib.

    Args:
        model: a model that has a graph.
        kind: a format that matplotlib writes: `"png"`, `"svg"`, `"pdf"`, `"jpg"`.
        rankdir: the direction of the graph; only `"TB"` and `"BT"` are drawn, others as `"TB"`.
        dpi: dots per inch.
        **show: the fields of `Show`.

    Raises:
        ImportError: matplotlib is missing.
        ValueError: `rankdir` is not known.
    """
    from matplotlib.figure import Figure

    check_rankdir(rankdir)
    drawn = diagram(model, "plot_model", **show)
    layout = arrange(drawn)
    left, right = layout.sides
    figure = Figure(figsize=(right - left, layout.height), dpi=dpi)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(left, right)
    axes.set_ylim((layout.height, 0) if rankdir != "BT" else (0, layout.height))
    axes.axis("off")
    for frame in layout.frames:
        _paint_frame(axes, frame)
    for chain in layout.chains:
        _arrow(axes, chain, layout)
    for first, second in drawn.ties:
        _tie(axes, first, second, layout)
    for row in layout.rows:
        for place in row:
            if place.box is not None:
                _paint(axes, place, place.box, layout.middle(place))
    written = io.BytesIO()
    figure.savefig(written, format=kind)
    return written.getvalue()


def _paint_frame(axes: Any, frame: Frame) -> None:
    from matplotlib.patches import FancyBboxPatch

    fill, border = colours(frame.group)
    axes.add_patch(
        FancyBboxPatch(
            (frame.left, frame.top),
            frame.right - frame.left,
            frame.bottom - frame.top,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=paler(fill),
            edgecolor=border,
            linewidth=1.2,
            zorder=frame.depth - _FRONT,
        )
    )
    name, kind, *call = frame.group.lines
    labels = [", ".join(parts) for parts in ([name, kind, *call], [name, *call], [name])]
    room = (frame.right - frame.left) / (LETTER * 7.5 / 9)
    label = next((text for text in labels if len(text) < room), name)
    axes.text(
        frame.left + MARGIN / 2,
        frame.top + LABEL / 2,
        label.replace("$", r"\$"),
        ha="left",
        va="center",
        fontsize=7.5,
        color=border,
    )


def _paint(axes: Any, place: BoxPlace, box: Box, y: float) -> None:
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
    top = y - len(box.lines) * LINE / 2 * _downwards(axes)
    for number, line in enumerate([box.title, *box.lines]):
        axes.text(
            place.x,
            top + number * LINE * _downwards(axes),
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


def _arrow(axes: Any, chain: list[BoxPlace], layout: PictureLayout) -> None:
    """Draw an arrow: straight where it passes a row, a smooth curve in between."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    first, last = chain[0], chain[-1]
    vertices = [(first.x, layout.middle(first) + first.height / 2)]
    codes = [Path.MOVETO]
    for above, below in pairwise(chain):
        y0, y1 = layout.bands[above.row][1], layout.bands[below.row][0]
        middle = (y0 + y1) / 2
        vertices += [(above.x, y0), (above.x, middle), (below.x, middle), (below.x, y1)]
        codes += [Path.LINETO, *[Path.CURVE4] * 3]
    end = layout.middle(last) - last.height / 2
    if end - vertices[-1][1] > 1e-6:  # the head of an arrow without length would have no direction
        vertices.append((last.x, end))
        codes.append(Path.LINETO)
    axes.add_patch(
        FancyArrowPatch(
            path=Path(vertices, codes), arrowstyle="-|>", mutation_scale=9, color="#546E7A", lw=0.9
        )
    )


def _tie(axes: Any, first: Box | Group, second: Box | Group, layout: PictureLayout) -> None:
    """Join two calls that share weights by a dashed line, behind everything else."""
    places = [place for row in layout.rows for place in row]
    ends = [part if isinstance(part, Box) else next(part.boxes()) for part in (first, second)]
    a, b = (next(place for place in places if place.box is end) for end in ends)
    framed = isinstance(second, Group) and second in b.groups
    axes.plot(
        [a.x, b.x],
        [layout.middle(a), layout.middle(b)],
        linestyle="--",
        linewidth=1.4,
        color=colours(second)[1],
        zorder=b.groups.index(second) - _FRONT - 0.5 if framed else 0,
    )
