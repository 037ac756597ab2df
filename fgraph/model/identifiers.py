"""Texts that can be names: Python identifiers, checked names, and names that are unique."""

from __future__ import annotations

import keyword
import unicodedata
from collections.abc import Iterable

_KEYWORDS = frozenset({*keyword.kwlist, "__debug__"})


def distinct(names: Iterable[str]) -> list[str]:
    """Return names of which each stands once: a repeated one becomes `name_2`, `name_3`, ..."""
    found: list[str] = []
    for base in names:
        name, number = base, 1
        while name in found:
            number += 1
            name = f"{base}_{number}"
        found.append(name)
    return found


def identifier(name: str) -> str:
    """Return `name` with all that a Python variable cannot hold replaced by underscores."""
    if name.isascii() and name.isidentifier() and name not in _KEYWORDS:
        return name
    plain = unicodedata.normalize("NFKC", name)  # as Python reads identifiers
    made = "".join(char if f"_{char}".isidentifier() else "_" for char in plain)
    if made in _KEYWORDS:
        return f"{made}_"
    return made if made.isidentifier() or not made else f"_{made}"


def check_name(name: str, what: str, in_quotes: bool = True) -> str:
    """Return `name` if it is safe wherever names are written into Python source.

    Args:
        name: the name of an input, node or child module.
        what: what is to be named, for the message.
        in_quotes: whether other programs, such as `torch.fx`, write it between quotes as it is.

    Raises:
        ValueError: the name is empty, or has unprintable characters, characters that Python reads
            as others (NFKC: `"\\ufb01"` as `"fi"`) or, with `in_quotes`, quotes or backslashes.
    """
    if isinstance(name, str) and name.isascii() and name.isidentifier():
        return name
    if not isinstance(name, str) or not name.isprintable() or not name:
        raise ValueError(f"{what} cannot be named {name!r}: expected printable text")
    if in_quotes and set(name) & set("\"'\\"):
        raise ValueError(f"{what} cannot be named {name!r}: leave out quotes and backslashes")
    if (plain := unicodedata.normalize("NFKC", name)) != name:
        raise ValueError(
            f"{what} cannot be named {name!r}, which Python reads as {plain!r}: use that name"
        )
    return name
