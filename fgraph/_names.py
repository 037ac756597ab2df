"""The text of the errors for unknown names, the same everywhere."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown_name(kind: str, given: str, known: Iterable[str]) -> str:
    """Returns an error text that names the closest known names.

    Args:
        kind: What the name is for, for example `"loss"`.
        given: The name that was given.
        known: The names that exist.

    Returns:
        One sentence, with at most three suggestions, or with all names where none is close.
    """
    known = sorted(set(known))
    close = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    if close:
        return f"unknown {kind} {given!r}; did you mean {' or '.join(map(repr, close))}?"
    return f"unknown {kind} {given!r}; known: {', '.join(known) or 'none'}"
