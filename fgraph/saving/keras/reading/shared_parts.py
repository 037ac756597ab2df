"""Layers that are parts of several models of one `.keras` file.

Keras writes such a layer into each of these models, and its weights into the one that it meets
first; its own `load_model` fails on the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..hdf5 import Hdf5
from ..operations import is_operation
from .parsed_parts import groups_of, has_models, is_model


def shared_groups(written: Mapping[str, Any], file: Hdf5) -> dict[str, str]:
    """Return the groups of shared parts, each with the group that has the weights.

    Args:
        written: the model.
        file: the file of its weights.
    """
    if not has_models(written):
        return {}
    equal: dict[str, list[str]] = {}
    for part, group in _parts(written, ""):
        equal.setdefault(_key(part), []).append(group)
    found: dict[str, str] = {}
    for groups in equal.values():
        kept = [group for group in groups if file.has(group)]
        if len(kept) == 1 and len(groups) > 1:
            found.update(dict.fromkeys(groups, kept[0]))
    return found


def _parts(written: Mapping[str, Any], group: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield the layers and models in a model or wrapper, recursively, with their groups."""
    config = written.get("config")
    parts: list[tuple[Any, str]] = []
    if is_model(written):
        entries: Any = config if isinstance(config, list) else config["layers"]  # type: ignore[index]
        entries = [entry for entry in entries if isinstance(entry, dict)]
        groups = groups_of(written.get("class_name"), entries)
        parts = [(e, f"{group}/{g}") for e, g in zip(entries, groups, strict=True)]
    elif isinstance(config, dict) and isinstance(config.get("layer"), dict):
        parts = [(config["layer"], f"{group}/layer")]
    for part, place in parts:
        if not is_operation(part):
            yield part, place
            yield from _parts(part, place)


def _key(part: Mapping[str, Any]) -> str:
    """Return a key that is equal only for parts that may be the same."""
    return json.dumps([part.get("class_name"), _without_ids(part.get("config"))], sort_keys=True)


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_ids(v) for k, v in value.items() if k != "shared_object_id"}
    return [_without_ids(item) for item in value] if isinstance(value, list) else value
