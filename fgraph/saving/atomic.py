"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a new file beside `path` that takes its place once it is written.

    Until then the old file stays as it was; where writing fails the new one is removed.

    Args:
        path: the file to write or overwrite.

    Raises:
        OSError: the folder does not exist, `path` is a directory, or the disk is full.
    """
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {str(path)!r}: it is a directory")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {str(path)!r}: its folder does not exist")
    target = path.resolve()  # a link stays a link, to the new contents
    made = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        yield made
        _flush(made)
        if target.exists():
            made.chmod(target.stat().st_mode)
        os.replace(made, target)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # not every file system lets a folder be opened
        _flush(target.parent)


def _flush(path: Path) -> None:
    """Wait until the disk has what was written."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
