"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def replacing(path: str | os.PathLike[str], make_folder: bool = False) -> Iterator[Path]:
    """Yield the path of a new file that replaces `path` once it is written.

    Until then the old file stays unchanged; if writing fails, the new one is removed. A file that a
    killed process has left behind is removed by the next write of the same file.

    Args:
        path: the file to write or overwrite.
        make_folder: whether to create its folder if it does not exist.

    Yields:
        The path to write to, with the ending of `path`.

    Raises:
        OSError: the folder does not exist, `path` is not a regular file, or the disk is full.
    """
    path = Path(path)
    if make_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {str(path)!r}: it is a directory")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {str(path)!r}: its folder does not exist")
    target = path.resolve()  # a link stays a link, to the new contents
    mode = target.stat().st_mode if target.exists() else None
    if mode is not None and not stat.S_ISREG(mode):
        raise OSError(f"cannot write {str(path)!r}: it is a device or pipe, and no regular file")
    made, descriptor = _new_file(target)
    try:
        yield made
        _flush(made)
        if mode is not None:
            made.chmod(stat.S_IMODE(mode))
        os.replace(made, target)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    with suppress(OSError):  # not every file system lets a folder be opened
        _flush(target.parent)


def save_atomically(value: Any, path: str | os.PathLike[str], make_folder: bool = True) -> None:
    """Write plain containers and tensors with `torch.save`; create the folder if necessary.

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    with replacing(path, make_folder) as temporary, temporary.open("wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:  # torch hides the reason
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def _new_file(target: Path) -> tuple[Path, int]:
    """Create and lock an empty file beside `target`; remove files that killed processes left."""
    prefix = f".fgraph-{zlib.crc32(os.fsencode(target.name)):08x}-"
    if fcntl is not None:
        for left in target.parent.glob(f"{prefix}*"):
            with suppress(OSError):
                descriptor = os.open(left, os.O_RDWR)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    left.unlink()
                finally:
                    os.close(descriptor)
    suffix = "".join(target.suffixes[-2:])  # of `.weights.h5` both tell the format
    suffix = suffix if len(os.fsencode(suffix)) < 64 else ""
    while True:
        made = target.with_name(f"{prefix}{os.urandom(4).hex()}{suffix}")
        descriptor = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if fcntl is None:
            return made, descriptor
        with suppress(OSError):  # file systems without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if made.exists():  # no other process removed it before it was locked
            return made, descriptor
        os.close(descriptor)


def _flush(path: Path) -> None:
    """Flush a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
