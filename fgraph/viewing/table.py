"""Tables as text: columns that fit a width, long cells wrapped, wide characters counted as wide."""

from __future__ import annotations

import re
import shutil
import sys
import unicodedata
from collections.abc import Sequence

GAP = 2
_LEAST = 4  # narrower columns cannot be read
_BREAKS = re.compile(r"[_.(\[,/-]|[a-z](?=[A-Z])")  # a name is preferably broken after these
_ASCII = str.maketrans({"─": "-", "└": "`"})


def table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[int] = (),
    width: int = 88,
    widths: Sequence[int] | None = None,
) -> list[str]:
    """Lay out rows in columns.

    Args:
        headers: the title of each column.
        rows: for each row, the text of its cells; text indented by spaces stays so when wrapped.
        right: the indices of right-aligned columns.
        width: the maximum width of a line; the widest columns are shortened.
        widths: the width of each column, where it is fixed.

    Returns:
        The lines: a rule, the headers, a rule, the rows, a rule.

    Raises:
        ValueError: a column would be narrower than 4 characters.

    Example:
        >>> print("\\n".join(table(["name", "n"], [["a", "10"]], right=[1])))
        ────────
        name   n
        ────────
        a     10
        ────────
    """
    found = list(widths) if widths is not None else _fitted([headers, *rows], width)
    if min(found) < min(_LEAST, *map(text_width, headers)):
        raise ValueError(
            f"a table with the columns {', '.join(headers)} does not fit into {width} characters: "
            f"they would be {found} wide"
        )
    rule = "─" * (sum(found) + GAP * (len(found) - 1))
    lines = [rule, *_lines(headers, found, right), rule]
    for row in rows:
        lines += _lines(row, found, right)
    return [*lines, rule]


def printable(text: str) -> str:
    """Return `text` with characters that the standard output cannot encode replaced."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    return text


def text_width(text: str) -> int:
    """Return the number of terminal columns of `text`; a Chinese character takes two."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) != 0 for letter in text)


def terminal_width(otherwise: int, least: int) -> int:
    """Return the width of the terminal, from `least` to 120; `otherwise` without a terminal."""
    return max(min(shutil.get_terminal_size((otherwise, 24)).columns, 120), least)


def size_text(size: float) -> str:
    """Write a number of bytes: `416.00 KB`.

    Example:
        >>> size_text(1536)
        '1.50 KB'
    """
    if size < 1024:
        return f"{size:.0f} B"
    for unit in ("KB", "MB", "GB"):
        size /= 1024
        if size < 1024:
            return f"{size:.2f} {unit}"
    return f"{size / 1024:.2f} TB"


def _fitted(rows: list[Sequence[str]], width: int) -> list[int]:
    """Return the widths of the columns: as needed, or shortened to fit, at words if possible."""
    columns = list(zip(*rows, strict=True))
    needed = [max(map(text_width, column)) for column in columns]
    words = [max(text_width(w) for text in column for w in text.split(" ")) for column in columns]
    over = sum(needed) + GAP * (len(needed) - 1) - width
    while over > 0:
        spare = [size if size > word else 0 for size, word in zip(needed, words, strict=True)]
        widest = spare.index(max(spare)) if any(spare) else needed.index(max(needed))
        needed[widest] -= 1
        over -= 1
    return needed


def _lines(row: Sequence[str], widths: Sequence[int], right: Sequence[int]) -> list[str]:
    cells = [_wrapped(text, width) for text, width in zip(row, widths, strict=True)]
    lines = []
    for number in range(max(map(len, cells))):
        parts = []
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
            text = cell[number] if number < len(cell) else ""
            room = " " * (width - text_width(text))
            parts.append(room + text if column in right else text + room)
        lines.append((" " * GAP).join(parts).rstrip())
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """Break `text` into lines, at spaces where possible."""
    indent = " " * min(len(text) - len(text.lstrip(" ")), width // 2)
    lines: list[str] = []
    line = indent
    for word in text.split():
        gap = "" if line == indent else " "
        if gap and text_width(line + gap + word) > width:
            lines.append(line)
            line, gap = indent, ""
        line += gap + word
        while text_width(line) > width:
            cut = _cut(line, width)
            lines.append(line[:cut])
            line = indent + line[cut:]
    return [*lines, line]


def _cut(text: str, width: int) -> int:
    """Return where to break `text` to fit `width`: between words of a name if possible."""
    used = fits = 0
    for letter in text:
        used += text_width(letter)
        if used > width:
            break
        fits += 1
    if fits == len(text):
        return fits
    breaks = [found.end() for found in _BREAKS.finditer(text[: fits + 1]) if found.end() <= fits]
    return breaks[-1] if breaks and breaks[-1] > fits // 2 else max(fits, 1)
