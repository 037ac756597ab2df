"""Files that are whole or absent, whatever kills the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside the file, and puts what was written there in its place.

    Args:
        path: The file to write; its folder is made where it is missing.

    Yields:
        The temporary path, with the file's own suffix.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # the process number keeps two runs that write the same file apart
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def save_atomically(value: Any, path: str | os.PathLike[str]) -> None:
    """Writes plain containers and tensors by `torch.save`, atomically."""
    with replacing(path) as temporary:
        torch.save(value, temporary)
