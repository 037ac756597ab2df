"""Diagrams as DOT, the language of graphviz."""

from __future__ import annotations

import html
import re
from collections import Counter

from ..model import Model
from ..model.identifiers import identifier
from .diagram import Box, Diagram, Group, diagram

RANKDIRS = ("TB", "BT", "LR", "RL")

FILLS = {
    "input": ("#455A64", "#455A64"),
    "output": ("#455A64", "#455A64"),
    "weights": ("#E3F2FD", "#42A5F5"),
    "plain": ("#FFFFFF", "#90A4AE"),
    "function": ("#FAFAFA", "#BDBDBD"),
    "model": ("#EDE7F6", "#7E57C2"),
}
# one fill and border for each set of shared weights, in turn
SHARED = (
    ("#FFE0B2", "#E65100"),
    ("#C8E6C9", "#2E7D32"),
    ("#F8BBD0", "#AD1457"),
    ("#B2EBF2", "#00838F"),
    ("#FFF59D", "#9E7700"),
    ("#D7CCC8", "#5D4037"),
)
_FONT = "Helvetica,Arial,sans-serif"
_GREY = "#546E7A"


def colours(box: Box | Group) -> tuple[str, str]:
    """Return the fill and the border of a box or group."""
    if box.shared is not None:
        return SHARED[box.shared % len(SHARED)]
    return FILLS["model" if isinstance(box, Group) else box.family]


def to_dot(
    model: Model,
    rankdir: str = "TB",
    dpi: int | None = None,
    purpose: str = "to_dot",
    **show: bool,
) -> str:
    """Return a picture of a model in DOT.

    Args:
        model: a model that has a graph.
        rankdir: the direction of the graph: `"TB"` (top to bottom), `"BT"`, `"LR"`, `"RL"`.
        dpi: dots per inch, for bitmap formats.
        purpose: the calling method, for messages.
        **show: the fields of `Show`.

    Returns:
        The text, without a final newline.

    Raises:
        ValueError: `rankdir` is not known.
    """
    check_rankdir(rankdir)
    drawn = diagram(model, purpose, **show)
    resolution = f", dpi={dpi}" if dpi else ""
    lines = [
        f"digraph {identifier(drawn.content.lines[0])} {{",
        f"  graph [rankdir={rankdir}, compound=true, nodesep=0.4, ranksep=0.35, pad=0.1, "
        f'bgcolor="white", fontname="{_FONT}", fontsize=12{resolution}]',
        f'  node [shape=box, fontname="{_FONT}", fontsize=12, margin="0.12,0.06", height=0.3, '
        "penwidth=1.2]",
        f'  edge [color="{_GREY}", arrowsize=0.7, penwidth=1.1, fontname="{_FONT}", fontsize=9]',
        *_items(drawn.content, "  "),
        *_arrows(drawn),
        *_ties(drawn),
        "}",
    ]
    return "\n".join(lines)


def check_rankdir(rankdir: str) -> None:
    """Raise a `ValueError` if `rankdir` is not a direction."""
    if rankdir not in RANKDIRS:
        raise ValueError(
            f"rankdir= expects a direction, {', '.join(map(repr, RANKDIRS))}; got {rankdir!r}"
        )


def _items(group: Group, indent: str) -> list[str]:
    lines: list[str] = []
    for item in group.items:
        if isinstance(item, Box):
            lines.append(f"{indent}{item.id} [{_box(item)}]")
            continue
        fill, border = colours(item)
        lines += [
            f"{indent}subgraph cluster_{item.id} {{",
            f'{indent}  graph [margin=10, style="rounded,filled", fillcolor="{paler(fill)}", '
            f'color="{border}", penwidth=1.6]',
            # a node, since arrows would run through the label of a cluster
            f'{indent}  {item.id} [label=<{_title(item)}>, shape=plain, fontcolor="{border}"]',
            *_items(item, indent + "  "),
            f"{indent}}}",
        ]
    return lines


def _box(box: Box) -> str:
    fill, border = colours(box)
    ends = box.family in ("input", "output")
    style = '"rounded,filled"' if ends or box.family == "function" else '"filled"'
    grey = "#CFD8DC" if ends else _GREY
    extra = ', fontcolor="white"' if ends else ""
    extra += ", peripheries=2" if box.family == "model" else ""
    extra += ", penwidth=2" if box.shared is not None else ""
    rows = [f"<b>{escaped(box.title)}</b>"] if box.family != "function" else [escaped(box.title)]
    rows += [f'<font point-size="10" color="{grey}">{escaped(line)}</font>' for line in box.lines]
    label = "<br/>".join(rows)
    return f'label=<{label}>, style={style}, fillcolor="{fill}", color="{border}"{extra}'


def _arrows(diagram: Diagram) -> list[str]:
    """Write the arrows, straight ones where nothing branches."""
    leaving = Counter(tail for tail, _ in diagram.arrows)
    coming = Counter(head for _, head in diagram.arrows)
    return [
        f"  {tail} -> {head}" + (" [weight=8]" if leaving[tail] == coming[head] == 1 else "")
        for tail, head in diagram.arrows
    ]


def _title(group: Group) -> str:
    first, *rest = (escaped(line) for line in group.lines)
    small = (f'<br/><font point-size="10">{line}</font>' for line in rest)
    return f"<b>{first}</b>{''.join(small)}"


def paler(colour: str) -> str:
    """Return a colour mixed half and half with white."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{(part + 255) // 2:02X}" for part in parts)


def _ties(diagram: Diagram) -> list[str]:
    """Join calls that share weights by a dashed line that does not affect the layout."""
    lines = []
    for first, second in diagram.ties:
        ends = [next(part.boxes()) if isinstance(part, Group) else part for part in (first, second)]
        clipped = "".join(
            f", {side}=cluster_{part.id}"
            for side, part in (("ltail", first), ("lhead", second))
            if isinstance(part, Group)
        )
        border = colours(second)[1]
        lines.append(
            f"  {ends[0].id} -> {ends[1].id} [dir=none, style=dashed, constraint=false, "
            f'color="{border}", penwidth=1.6{clipped}]'
        )
    return lines


def escaped(text: str) -> str:
    """Escape text so that graphviz shows it literally."""
    visible = re.sub(r"[\x00-\x1f\x7f]", " ", text)
    # graphviz puts the name of the box for `\N`, unless the two stand in different elements
    return re.sub(r"\\(?=[NGETHL])", r"<font>\\</font>", html.escape(visible))
