"""Breaking long statements into lines, like Python formatters."""

from __future__ import annotations

import io
import tokenize

WIDTH = 88
_OPEN, _CLOSE = "([{", ")]}"


def laid_out(statement: str, indent: int = 0, width: int = WIDTH) -> list[str]:
    """Return the lines of one statement.

    A statement that is too long is broken at its last brackets: what is in them goes on one line
    of its own, or, where that is too long as well, each part on one.

    Args:
        statement: one logical line of Python, without line breaks.
        indent: the number of spaces before it.
        width: the longest line.
    """
    indent += len(statement) - len(statement.lstrip(" "))  # of a statement inside a block
    statement = statement.lstrip(" ")
    space = " " * indent
    if len(space) + len(statement) <= width or "\n" in statement:
        return [space + line for line in statement.split("\n")]
    brackets = _last_brackets(statement)
    if brackets is None:
        return [space + statement]
    first, last = brackets
    head, body, tail = statement[: first + 1], statement[first + 1 : last], statement[last:]
    body = body.strip().removesuffix(",")
    parts = _parts(body)
    magic = len(parts) == 1 and statement[first + 1 : last].rstrip().endswith(",")
    if indent + 4 + len(body) <= width and not magic and _may_stay_together(head, parts):
        return [space + head, *laid_out(body, indent + 4, width), space + tail]
    comma = "" if len(parts) == 1 and (parts[0].startswith("*") or " for " in parts[0]) else ","
    lines = [space + head]
    for part in parts:
        made = laid_out(part, indent + 4, width - len(comma))
        lines += [*made[:-1], made[-1] + comma]
    return [*lines, space + tail]


def _may_stay_together(head: str, parts: list[str]) -> bool:
    return head[-1] in _OPEN and bool(parts)


def _tokens(text: str) -> list[tuple[str, int]]:
    """Return the operators of a statement with their places."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.OP:
            found.append((token.string, token.start[1]))
    return found


def _last_brackets(statement: str) -> tuple[int, int] | None:
    """Return the places of the last outermost pair of brackets that holds something."""
    stack: list[int] = []
    pairs = []
    for text, place in _tokens(statement):
        if text in _OPEN:
            stack.append(place)
        elif text in _CLOSE:
            first = stack.pop()
            if not stack and statement[first + 1 : place].strip():
                pairs.append((first, place))
    return pairs[-1] if pairs else None


def _parts(body: str) -> list[str]:
    """Split at the commas that stand in no brackets."""
    depth, start, found = 0, 0, []
    for text, place in _tokens(f"({body})"):
        place -= 1
        if text in _OPEN:
            depth += 1
        elif text in _CLOSE:
            depth -= 1
        elif text == "," and depth == 1:
            found.append(body[start:place].strip())
            start = place + 1
    found.append(body[start:].strip())
    return [part for part in found if part]
