"""One value for each output, from the forms in which Keras lets people give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import unknown_name


def per_output(given: Any, names: list[str], argument: str, *, spread: bool) -> list[Any]:
    """Returns one entry for each output.

    Args:
        given: None, a dict by output name (those it leaves out get None), a list in the order of
            the outputs, or a single value.
        names: The outputs' names.
        argument: The argument's name, for error texts.
        spread: Whether a single value is meant for every output; otherwise it fits only a model
            with one.

    Returns:
        A list as long as `names`.

    Raises:
        ValueError: An unknown output name, or another number of entries than of outputs.
    """
    if given is None:
        return [None] * len(names)
    if isinstance(given, Mapping):
        for key in given:
            if key not in names:
                raise ValueError(f"{argument}: {unknown_name('output', str(key), names)}")
        return [given.get(name) for name in names]
    if isinstance(given, list | tuple):
        if len(given) != len(names):
            raise ValueError(
                f"{argument} has {len(given)} entries, but the model has {len(names)} "
                f"output{'s' * (len(names) > 1)} ({', '.join(names)}): give one for each, or a "
                "dict by output name"
            )
        return list(given)
    if spread or len(names) == 1:
        return [given] * len(names)
    raise ValueError(
        f"{argument} is a single {type(given).__name__}, but the model has {len(names)} outputs "
        f"({', '.join(names)}): give a list with one for each, or a dict by output name"
    )
