"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch


@contextmanager
def replacing(path: str | os.PathLike[str], make_folder: bool = False) -> Iterator[Path]:
    """Give the name of a new file beside `path` that takes its place once it is written.

    Until then the old file stays as it was; where writing fails the new one is removed.

    Args:
        path: the file to write or overwrite.
        make_folder: whether to make its folder where that is missing.

    Yields:
        The path to write to, with the ending of `path`.

    Raises:
        OSError: the folder does not exist, `path` is a directory, or the disk is full.
    """
    path = Path(path)
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {str(path)!r}: it is a directory")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {str(path)!r}: its folder does not exist")
    target = path.resolve()  # a link stays a link, to the new contents
    made = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
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


def save_atomically(value: Any, path: str | os.PathLike[str]) -> None:
    """Write plain containers and tensors by `torch.save`; the folder is made where missing."""
    with replacing(path, make_folder=True) as temporary:
        torch.save(value, temporary)


def _flush(path: Path) -> None:
    """Wait until the disk has what was written."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
