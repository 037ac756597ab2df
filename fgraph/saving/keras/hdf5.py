"""Reads numbers from an untrusted HDF5 file: no external links, no false sizes."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...errors import LoadError

_FILTERS = {1, 2, 3}  # deflate, shuffle, checksum: HDF5's own
_MOST_RATIO = 1000  # of a packed dataset's size to what is stored
_MOST_NUMBER_OF_ITEMS = 1_000_000


class Hdf5:
    """Datasets of an HDF5 file by path; every part of the path is checked.

    Args:
        source: the file's content, or its path.

    Raises:
        LoadError: h5py is not installed, or the file is damaged.
    """

    def __init__(self, source: bytes | Path) -> None:
        try:
            import h5py
        except ImportError as error:
            raise LoadError(
                "weights of Keras are HDF5 files, for which the package h5py is needed: install "
                "fgraph[keras-files] or h5py"
            ) from error
        self._h5py = h5py
        self._read: set[int] = set()  # where the datasets lie that were read
        try:
            given = io.BytesIO(source) if isinstance(source, bytes) else str(source)
            self._file = h5py.File(given, "r")
        except Exception as error:
            raise LoadError(f"its HDF5 file is damaged: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _find(self, path: str) -> Any:
        """Return a group or dataset in this file itself, or `None`."""
        found: Any = self._file
        for part in [part for part in path.split("/") if part]:
            if not isinstance(found, self._h5py.Group):
                return None
            link = found.get(part, getlink=True)
            if link is None:
                return None
            if not isinstance(link, self._h5py.HardLink):
                raise LoadError(f"{path!r:.120} is a link to somewhere else, which is not followed")
            found = found.get(part)
        return found

    def names(self, path: str) -> list[str]:
        """Return the names in a group, none if it is not there; numbers in order."""
        group = self._find(path)
        if not isinstance(group, self._h5py.Group):
            return []
        if len(group) > _MOST_NUMBER_OF_ITEMS:
            raise LoadError(f"{path!r:.120} has {len(group)} items")
        return sorted(map(str, group), key=lambda n: (not n.isdigit(), int(n) if n.isdigit() and
                                                      len(n) < 9 else 0, n))  # fmt: skip

    def has(self, path: str) -> bool:
        """Return whether there is a group or dataset."""
        return self._find(path) is not None

    def shape(self, path: str) -> tuple[int, ...] | None:
        """Return the declared shape of a dataset, `None` if it does not exist."""
        found = self._find(path)
        return tuple(found.shape) if isinstance(found, self._h5py.Dataset) else None

    def read(self, path: str, shape: Sequence[int] | None, where: str) -> np.ndarray[Any, Any]:
        """Return the numbers of a dataset.

        Args:
            path: its path.
            shape: the shape that is expected, compared before anything is allocated.
            where: whose weight it is, for errors.

        Raises:
            LoadError: it is not there, has another shape, or is no plain array of numbers.
        """
        data = self._find(path)
        if not isinstance(data, self._h5py.Dataset):
            raise LoadError(f"{where}: the file has no dataset {path!r:.120}")
        if shape is not None and tuple(data.shape or ()) != tuple(shape):
            raise LoadError(f"{where} has the shape {tuple(shape)}, {path!r:.120} in the file "
                            f"{data.shape}")  # fmt: skip
        halved = data.dtype.str == "|V2"  # bfloat16, which HDF5 does not have
        kind = "u" if halved else data.dtype.kind
        if kind not in "fiub" or data.dtype.hasobject or data.shape is None:
            raise LoadError(f"{where}: {path!r:.120} holds {data.dtype}, expected numbers")
        properties = data.id.get_create_plist()
        if data.external or data.is_virtual:
            raise LoadError(f"{where}: {path!r:.120} has its numbers in another file")
        filters = {properties.get_filter(k)[0] for k in range(properties.get_nfilters())}
        if not filters <= _FILTERS:
            raise LoadError(f"{where}: {path!r:.120} is packed by a filter that is not HDF5's own")
        size = math.prod(data.shape) * data.dtype.itemsize
        stored = data.id.get_storage_size()
        if size > max(stored, 1) * (_MOST_RATIO if filters else 1) and size:
            raise LoadError(f"{where}: {path!r:.120} says that it has {size} bytes, and {stored} "
                            "are stored")  # fmt: skip
        self._read.add(self._place(data))
        try:
            found: np.ndarray[Any, Any] = np.asarray(data[()])
        except Exception as error:
            raise LoadError(f"{where}: {path!r:.120} cannot be read: {error}") from error
        if halved:  # the upper half of a number of 32 bits
            return (found.view("<u2").astype("u4") << 16).view("f4")
        if not found.dtype.isnative:
            found = found.astype(found.dtype.newbyteorder("="))
        return found

    def unread(self, path: str) -> Iterator[str]:
        """Yield the groups below one that have datasets of which none was read."""
        folders, seen = [path], set()
        while folders:
            group = self._find(path := folders.pop())
            # links may lead back to a group around this one
            if isinstance(group, self._h5py.Group) and (place := self._place(group)) not in seen:
                seen.add(place)
                names = self.names(path)
                parts = [
                    part for name in names if (part := self._find(f"{path}/{name}")) is not None
                ]
                data = [part for part in parts if isinstance(part, self._h5py.Dataset)]
                if data and self._read.isdisjoint(map(self._place, data)):
                    yield path
                folders += [f"{path}/{name}" for name in names]

    def _place(self, part: Any) -> int:
        """Return the address of a dataset or group, which is the same for all links to it."""
        return int(self._h5py.h5o.get_info(part.id).addr)

    def text(self, path: str, name: str) -> str | None:
        """Return an attribute that is a text."""
        found = self._attribute(path, name)
        if isinstance(found, bytes):
            return found.decode("utf-8", "replace")
        return found if isinstance(found, str) else None

    def texts(self, path: str, name: str) -> list[str] | None:
        """Return an attribute that is a list of texts, perhaps in several parts."""
        found = self._attribute(path, name)
        if found is None and self._attribute(path, f"{name}0") is not None:
            parts, count = [], 0
            while (part := self._attribute(path, f"{name}{count}")) is not None:
                parts += list(part)
                count += 1
            found = parts
        if found is None:
            return None
        return [n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in found]

    def _attribute(self, path: str, name: str) -> Any:
        group = self._find(path)
        if group is None or not re.fullmatch(r"\w+", name) or name not in group.attrs:
            return None
        kept = group.attrs.get_id(name)
        if kept.shape is not None and 0 in kept.shape:  # HDF5 has no size for it
            return []
        if kept.get_storage_size() > 256 * 1024**2:
            raise LoadError(f"the attribute {name!r} of {path!r:.120} is too large")
        return group.attrs[name]
