"""One file of named tensors and texts: the safetensors format, mapped into memory, and checked.

The layout is the one that the `safetensors` package documents: eight bytes with the length of a
JSON header, the header, the bytes of the tensors. Whatever reads that format reads the weights of
a saved model. It holds no code, and reading it unpickles nothing.

Two checksums tell a damaged file from a whole one: a CRC of the header and, for the tensors, the
CRC of the sums of each block of 64 KiB as words modulo 2**64. Such a sum finds every change of a
single word and is as fast as memory: a CRC of all bytes would take four times as long.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..callbacks.atomic import replacing
from ..errors import LoadError, SaveError

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2, "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64,
    "C64": torch.complex64,
}  # fmt: skip
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_BLOCK = 8192  # words of eight bytes
_BUFFER = 64 * _BLOCK * 8
_ALIGNMENT = 64
_MAX_HEADER = 100_000_000  # what the safetensors package allows
_HEAD = b'{"__metadata__":{"check":"'  # what comes next are two checksums of eight digits
_NO_CHECK = "0" * 16


@dataclass
class TensorFile:
    """What a file holds.

    Attributes:
        tensors: tensors on the CPU by name; they share the file's pages until they are written to.
        texts: texts by name.
        checked: whether the file has checksums; files of other programs have none.
        data: the bytes of all tensors.
        check: their checksum, as the file has it.
    """

    tensors: dict[str, Tensor]
    texts: dict[str, str]
    checked: bool
    data: Tensor
    check: str

    def verify(self) -> None:
        """Compare the checksum of the tensors, for which all are read once.

        Raises:
            LoadError: they are damaged.
        """
        if self.checked and f"{checksum(self.data):08x}" != self.check:
            raise LoadError("its weights are damaged (the checksum differs)")


# ---------------------------------------------------------------------- writing


def write(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Write named tensors and texts to one file, whole or not at all.

    No more than one tensor is copied at a time, and only one that is not on the CPU in one piece.

    Args:
        path: the file.
        tensors: dense tensors on any device.
        texts: texts to keep with them.

    Raises:
        SaveError: a tensor has a layout or dtype that the format cannot hold.
        OSError: the file cannot be written.
    """
    # by falling size of their elements, each tensor begins where its dtype may begin
    names = sorted(tensors, key=lambda name: -tensors[name].element_size())
    entries: dict[str, Any] = {}
    offset = 0
    for name in names:
        tensor = tensors[name]
        end = offset + tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": _dtype_name(name, tensor),
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    strides = {name: list(t.stride()) for name, t in tensors.items() if _is_permuted(t)}
    texts = {**texts, "strides": json.dumps(strides)} if strides else texts
    with replacing(path) as made, made.open("wb") as file:
        header = _header(entries, texts)
        file.write(header)
        data = _Data(file)
        for name in names:
            data.add(_bytes_of(tensors[name]))
        check = f"{zlib.crc32(header[8:]):08x}{data.finish():08x}"
        file.seek(8 + len(_HEAD))
        file.write(check.encode())


def _header(entries: Mapping[str, Any], texts: Mapping[str, str]) -> bytes:
    """Return the length and the header, with zeros in place of the checksums."""
    metadata = {"check": _NO_CHECK, "format": "pt", **texts}
    text = json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _dtype_name(name: str, tensor: Tensor) -> str:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise SaveError(
            f"the tensor {name!r} ({tensor.layout}, {tensor.dtype}, on {tensor.device}) is not a "
            "dense tensor with values, which a file could hold"
        )
    if tensor.dtype not in _DTYPE_NAMES:
        raise SaveError(f"the tensor {name!r} has dtype {tensor.dtype}, which files cannot hold")
    return _DTYPE_NAMES[tensor.dtype]


def _is_permuted(tensor: Tensor) -> bool:
    """Whether the tensor is dense in another order of its dimensions, as channels_last is."""
    return (
        not tensor.is_contiguous()
        and torch.empty_like(tensor, device="meta").stride() == tensor.stride()
    )


def _bytes_of(tensor: Tensor) -> Tensor:
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    return plain.reshape(-1).view(torch.uint8)


class _Data:
    """Writes the tensors' bytes through one buffer, and sums them up by the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._buffer = torch.empty(_BUFFER, dtype=torch.uint8)
        self._used = 0
        self._check = 0

    def add(self, data: Tensor) -> None:
        """Write the bytes of one tensor."""
        start = 0
        while start < len(data):
            size = min(len(data) - start, _BUFFER - self._used)
            self._buffer[self._used : self._used + size] = data[start : start + size]
            self._used += size
            start += size
            if self._used == _BUFFER:
                self._empty()

    def _empty(self) -> None:
        part = self._buffer[: self._used]
        self._check = checksum(part, self._check)
        self._file.write(_buffer(part))
        self._used = 0

    def finish(self) -> int:
        """Write what is left and return the checksum of all."""
        self._empty()
        return self._check


def checksum(data: Tensor, start: int = 0) -> int:
    """Return the checksum of bytes.

    Args:
        data: uint8, `(N,)`; where more follows, `N` is a multiple of the block of 64 KiB.
        start: the checksum of what comes before.
    """
    whole = len(data) // 8 * 8
    words = data[:whole].view(torch.int64)
    blocks = len(words) // _BLOCK * _BLOCK
    sums = torch.cat([words[:blocks].view(-1, _BLOCK).sum(1), words[blocks:].sum().view(1)])
    if blocks == len(words):
        sums = sums[:-1]
    return zlib.crc32(_buffer(data[whole:]), zlib.crc32(_buffer(sums), start))


def _buffer(tensor: Tensor) -> memoryview:
    array: Any = tensor.numpy()
    return memoryview(array)


# ---------------------------------------------------------------------- reading


def read(path: Path, verify: bool = True) -> TensorFile:
    """Read a file of named tensors and texts.

    Args:
        path: the file.
        verify: whether to compare the checksum of the tensors at once; that of the header is
            always compared.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        LoadError: the file is of another kind, cut off or damaged.
    """
    size = _file_size(path)
    storage: Any = torch.UntypedStorage.from_file(str(path), False, size)
    data = torch.empty(0, dtype=torch.uint8).set_(storage)
    try:
        file = _parse(storage, data)
        if verify:
            file.verify()
        return file
    except LoadError as error:
        raise LoadError(f"cannot load {str(path)!r}: {error}") from error.__cause__
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise LoadError(f"cannot load {str(path)!r}: its header is damaged") from error


def _file_size(path: Path) -> int:
    if path.is_dir():
        raise IsADirectoryError(f"cannot load {str(path)!r}: it is a directory, not a file")
    if not path.exists():
        raise FileNotFoundError(f"cannot load {str(path)!r}: there is no such file")
    size = path.stat().st_size
    if size < 10:
        raise LoadError(f"cannot load {str(path)!r}: the file is empty, or cut off")
    with path.open("rb"):  # may this process read it?
        return size


def _parse(storage: torch.UntypedStorage, data: Tensor) -> TensorFile:
    length = struct.unpack("<Q", bytes(data[:8].tolist()))[0]
    head = bytes(data[8:16].tolist())
    if head[:1] != b"{":
        raise LoadError(_other_kind(bytes(data[:4].tolist())))
    start = 8 + length
    if length > _MAX_HEADER or start > len(data):
        raise LoadError("the file is cut off, or its header is damaged")
    raw = data[8:start].numpy().tobytes()
    header = json.loads(raw)
    texts = header.pop("__metadata__", {})
    if not all(isinstance(text, str) for text in texts.values()):
        raise LoadError("its header is damaged")
    _check_entries(header, len(data) - start)
    checked = raw.startswith(_HEAD)
    check = texts.pop("check", "") if checked else ""
    if checked:
        _verify_header(raw, check[:8])
    tensors = {name: _tensor(storage, start, entry) for name, entry in header.items()}
    for name, stride in json.loads(texts.pop("strides", "{}")).items():
        permuted = torch.empty_strided(tensors[name].shape, stride, dtype=tensors[name].dtype)
        tensors[name] = permuted.copy_(tensors[name])
    return TensorFile(tensors, texts, checked, data[start:], check[8:])


def _other_kind(first: bytes) -> str:
    kind = "a zip archive, as torch.save writes" if first[:2] == b"PK" else (
        "a pickle" if first[:1] == b"\x80" else "an HDF5 file" if first == b"\x89HDF" else None
    )  # fmt: skip
    return "it is not a file of fgraph or safetensors" + (f" but {kind}" if kind else "")


def _check_entries(header: dict[str, Any], size: int) -> None:
    """Check that the tensors lie one behind the other and fill the file."""
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = entry["data_offsets"]
        shape, dtype = entry["shape"], _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise LoadError(f"the tensor {name!r} has dtype {entry['dtype']!r}, unknown here")
        if not all(type(number) is int and number >= 0 for number in (first, last, *shape)):
            raise LoadError(f"the tensor {name!r} has no valid shape and place in the file")
        if first != end or last - first != math.prod(shape) * dtype.itemsize:
            raise LoadError(f"the tensor {name!r} is not where the header says")
        end = last
    if end != size:
        raise LoadError(f"the file is cut off or too long: {size} bytes of tensors, not {end}")


def _verify_header(raw: bytes, check: str) -> None:
    zeros = _NO_CHECK.encode()
    begin, end = len(_HEAD), len(_HEAD) + len(zeros)
    blank = b"".join((raw[:begin], zeros, raw[end:]))
    if f"{zlib.crc32(blank):08x}" != check:
        raise LoadError("its header is damaged (the checksum differs)")


def _tensor(storage: torch.UntypedStorage, start: int, entry: dict[str, Any]) -> Tensor:
    """Return one tensor as a view of the mapped file, in a storage of its own."""
    dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
    first, last = entry["data_offsets"]
    if first == last:
        return torch.empty(shape, dtype=dtype)
    part = torch.empty(0, dtype=torch.uint8).set_(storage[start + first : start + last])
    if (start + first) % dtype.itemsize:
        part = part.clone()  # only other programs' files: no number may begin there
    whole: Tensor = part.view(dtype).view(shape)
    return whole
