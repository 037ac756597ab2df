"""Diagrams as Mermaid, which GitHub, GitLab and many notebooks draw from text."""

from __future__ import annotations

import re

from ..model import Model
from .diagram import Box, Group, diagram
from .dot import FILLS, SHARED, check_rankdir, colours, paler

_SHAPES = {
    "input": ("([", "])"),
    "output": ("([", "])"),
    "weights": ("[", "]"),
    "plain": ("[", "]"),
    "function": ("(", ")"),
    "model": ("[[", "]]"),
}


def to_mermaid(model: Model, rankdir: str = "TB", **show: bool) -> str:
    """Return a picture of a model as a Mermaid flowchart.

    Args:
        model: a model that has a graph.
        rankdir: the direction of the graph: `"TB"` (top to bottom), `"BT"`, `"LR"`, `"RL"`.
        **show: the fields of `Show`.

    Returns:
        The text, without a final newline.

    Raises:
        ValueError: `rankdir` is not known.
    """
    check_rankdir(rankdir)
    drawn = diagram(model, "to_mermaid", **show)
    boxes = list(drawn.content.boxes())
    lines = [f"flowchart {rankdir}", *_items(drawn.content, "    ")]
    lines += [f"    {tail} --> {head}" for tail, head in drawn.arrows]
    lines += [f"    {first.id} -. shared .- {second.id}" for first, second in drawn.ties]
    lines += _classes(boxes)
    for group in _groups(drawn.content):
        fill, border = colours(group)
        lines.append(f"    style {group.id} fill:{paler(fill)},stroke:{border},color:#000")
    return "\n".join(lines)


def _items(group: Group, indent: str) -> list[str]:
    lines: list[str] = []
    for item in group.items:
        if isinstance(item, Box):
            start, end = _SHAPES[item.family]
            text = "<br/>".join(escaped(line) for line in (item.title, *item.lines))
            lines.append(f'{indent}{item.id}{start}"{text}"{end}')
        else:
            title = " · ".join(escaped(line) for line in item.lines)
            lines.append(f'{indent}subgraph {item.id}["{title}"]')
            lines += [*_items(item, indent + "    "), f"{indent}end"]
    return lines


def _groups(group: Group) -> list[Group]:
    inner = [item for item in group.items if isinstance(item, Group)]
    return [found for item in inner for found in (item, *_groups(item))]


def _classes(boxes: list[Box]) -> list[str]:
    """Write the colours of the families that occur, and which boxes have them."""
    members: dict[str, list[str]] = {}
    for box in boxes:
        name = box.family if box.shared is None else f"shared{box.shared % len(SHARED)}"
        members.setdefault(name, []).append(box.id)
    lines = []
    for name, ids in members.items():
        fill, border = FILLS.get(name) or SHARED[int(name.removeprefix("shared"))]
        text = "#fff" if name in ("input", "output") else "#000"
        width = ",stroke-width:2px" if name.startswith("shared") else ""
        lines.append(f"    classDef {name} fill:{fill},stroke:{border},color:{text}{width}")
        lines.append(f"    class {','.join(ids)} {name}")
    return lines


def escaped(text: str) -> str:
    """Escape text so that Mermaid shows it literally, by its `#number;` codes."""
    return re.sub(r'[\x00-\x1f"#%&<>`\\]', _code, text)


def _code(found: re.Match[str]) -> str:
    letter = found.group()
    return " " if letter < " " else f"#{ord(letter)};"
