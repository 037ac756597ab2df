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


class Names:
    """Hands out names that are unique within one model."""

    def __init__(self) -> None:
        self._taken: dict[str, object] = {}
        self._counts: dict[str, int] = {}

    def claim(self, name: str, owner: object, what: str) -> str:
        """Give `owner` the name that was chosen by hand.

        Raises:
            ValueError: the name is taken by another owner, or empty.
        """
        if not name:
            raise ValueError(f"{what} cannot be named {name!r}: expected printable text")
        holder = self._taken.setdefault(name, owner)
        if holder is not owner:
            raise ValueError(
                f"the name {name!r} is given to two things in one model, {holder!r} and {owner!r}: "
                "names are unique within a model; modules that are opened have names of their own "
                "with `unfold(module, name=...)`"
            )
        return name

    def holder(self, name: str, owner: object) -> object:
        """Return what has the name: `owner`, if nothing else has."""
        return self._taken.setdefault(name, owner)

    def count(self, kind: str, owner: object) -> str:
        """Give `owner` the next free name of its kind: `dense_1`, `dense_2`, ..."""
        while True:
            self._counts[kind] = number = self._counts.get(kind, 0) + 1
            name = f"{kind}_{number}"
            if name not in self._taken:
                self._taken[name] = owner
                return name
