"""The parts of a `.keras` file: an untrusted zip archive, which is never unpacked to disk."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

from ...errors import LoadError
from ..tensorfile import parse_json

CONFIG = "config.json"
METADATA = "metadata.json"
WEIGHTS = "model.weights.h5"
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST_TEXT = 256 * 1024**2  # bytes of a configuration
MOST_MEMBERS = 10_000
MOST_DEPTH = 200  # of a configuration
FREE_SIZE = 1024**2  # bytes that a member may have whatever its packed size
MOST_RATIO = 100  # of a member's size to its packed size


def kind_of(path: Path) -> str | None:
    """Return `"keras"` or `"h5"` for a file of Keras, `None` for any other."""
    with path.open("rb") as file:
        first = file.read(8)
    if first == HDF5_SIGNATURE:
        return "h5"
    if first[:4] != b"PK\x03\x04":
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return "keras" if CONFIG in archive.namelist() else None
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, UnicodeError):
        return None


def read_archive(path: Path) -> tuple[dict[str, Any], str, bytes]:
    """Return the configuration in a `.keras` file, the version of Keras, and its HDF5 file.

    Raises:
        LoadError: the archive is damaged, or is none that Keras writes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _checked(archive)
            if WEIGHTS not in members:
                raise LoadError(f"it holds no {WEIGHTS}; only files with HDF5 weights are read")
            config = parse_config(_read(archive, members[CONFIG], MOST_TEXT))
            about: dict[str, Any] = {}
            if METADATA in members:
                about = parse_config(_read(archive, members[METADATA], FREE_SIZE))
            version = str(about.get("keras_version", "3"))
            weights = _read(archive, members[WEIGHTS], path.stat().st_size * MOST_RATIO)
            return config, version, weights
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise LoadError(f"the archive is damaged: {error}") from error


def _checked(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > MOST_MEMBERS:
        raise LoadError(f"it has {len(entries)} members, over the limit of {MOST_MEMBERS}")
    members: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = entry.filename
        if name in members:
            raise LoadError(f"the archive has two members {name!r:.80}")
        if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/"):
            raise LoadError(f"the archive has a member {name!r:.80}, a path to somewhere else")
        if entry.flag_bits & 1:
            raise LoadError(f"the member {name!r:.80} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise LoadError(f"the member {name!r:.80} is packed by a method that Keras never uses")
        if entry.file_size > max(FREE_SIZE, MOST_RATIO * entry.compress_size):
            raise LoadError(
                f"the member {name!r:.80} says that it has {entry.file_size} bytes, more than "
                f"{MOST_RATIO} times the {entry.compress_size} that are stored"
            )
        members[name] = entry
    if CONFIG not in members:
        raise LoadError(f"it holds no {CONFIG}")
    return members


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """Return a member; zipfile compares its checksum."""
    if entry.file_size > most:
        raise LoadError(f"the member {entry.filename!r:.80} has {entry.file_size} bytes, over the "
                        f"limit of {most}")  # fmt: skip
    with archive.open(entry) as file:
        found = file.read(entry.file_size + 1)
    if len(found) != entry.file_size:
        raise LoadError(f"the member {entry.filename!r:.80} has another size than it says")
    return found


def parse_config(text: str | bytes) -> dict[str, Any]:
    """Return a configuration.

    Raises:
        LoadError: it is none, or too large or too deep.
    """
    try:
        if _depth(text) > MOST_DEPTH:
            raise LoadError(f"its configuration is nested more than {MOST_DEPTH} deep")
        found = parse_json(text, numbers=True)
    except (json.JSONDecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise LoadError(f"its configuration cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise LoadError(f"its configuration is a {type(found).__name__}, expected an object")
    return found


def _depth(text: str | bytes) -> int:
    """Return how deep brackets are nested, those within texts left out."""
    written = text.decode("utf-8") if isinstance(text, bytes) else text
    depth = most = 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', written, re.DOTALL):
        mark = match.group()[0]
        if mark in "[{":
            depth += 1
            most = max(most, depth)
        elif mark in "]}":
            depth -= 1
    return most
