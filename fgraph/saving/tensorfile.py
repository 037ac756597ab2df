"""A file of named tensors and texts in the safetensors format, memory-mapped and checked.

The layout is that of the `safetensors` package: eight bytes with the length of a JSON header, the
header, the bytes of the tensors. Any reader of that format can read the weights of a saved model.
The file has no code, and reading it unpickles nothing.

Two checksums detect damaged files: a CRC of the header and, for the tensors, a CRC of block sums:
the sums of 64-bit words modulo 2**64 over blocks of 64 KiB. Such a sum detects every change of a
single word and is as fast as memory; a CRC of all bytes would take four times as long.
"""

from __future__ import annotations

import gc
import json
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..common.atomic_files import replacing
from ..constructions.shared_memory import views_among, with_views
from ..errors import LoadError, SaveError

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2, "U16": torch.uint16, "U32": torch.uint32, "U64": torch.uint64,
    "C64": torch.complex64,
}  # fmt: skip
_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_BLOCK = 8192  # words of eight bytes
_ALIGNMENT = 64
_MAX_HEADER = 100_000_000  # the limit of the safetensors package
_MOST_VALUES = 2_000_000
_MOST_TENSORS = 65_536
_HEAD = b'{"__metadata__":{"check":"'  # followed by two checksums of eight digits
_NO_CHECK = "0" * 16


@dataclass
class TensorFile:
    """The contents of a file.

    Attributes:
        owners: tensors on the CPU by name; they share the file's pages until they are written to.
        views: the other tensors, as views of the owners' memory, and the order of elements of
            owners that are not contiguous; see `with_views`.
        texts: texts by name.
        data: the bytes of all tensors.
        check: their checksum in the file; files of other programs have none.
    """

    owners: dict[str, Tensor]
    views: dict[str, Any]
    texts: dict[str, str]
    data: Tensor
    check: str

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, those that share memory included."""
        return with_views(self.owners, self.views)

    def verify(self) -> None:
        """Verify the checksum of the tensors, which reads all of them.

        Raises:
            LoadError: they are damaged.
        """
        if self.check and f"{checksum(self.data):08x}" != self.check:
            raise LoadError("its weights are damaged (the checksum differs)")


@contextmanager
def reading(what: Path | str) -> Iterator[None]:
    """Context manager: errors name the source, and any other error becomes a `LoadError`.

    Args:
        what: a file, or a description.
    """
    name = what if isinstance(what, str) else repr(str(what))
    try:
        yield
    except LoadError as error:
        raise LoadError(f"cannot load {name}: {error}") from error
    except OSError:
        raise
    except Exception as error:
        raise LoadError(
            f"cannot load {name}: what it describes does not fit this version of fgraph and "
            f"torch, or is damaged ({type(error).__name__}: {error})"
        ) from error


def on_host() -> AbstractContextManager[object]:
    """Return a context in which new tensors are on the CPU, regardless of the default device."""
    # the context of the default device takes longer than reading a small tensor
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")


# ---------------------------------------------------------------------- writing


def write(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> None:
    """Write named tensors and texts to one file, whole or not at all.

    At most one tensor is copied at a time, and only if it is not contiguous on the CPU. Of tensors
    that share memory, the largest is written, with the positions of the others in it.

    Args:
        path: the file.
        tensors: dense tensors on any device.
        texts: texts to keep with them.

    Raises:
        SaveError: a tensor has a layout or dtype that the format cannot hold, or overlaps another.
        OSError: the file cannot be written.
    """
    for name, tensor in tensors.items():
        dtype_name(name, tensor)
    views = views_among(tensors)
    # multiples of a cache line come first, so that all of them are aligned
    names = sorted(tensors.keys() - views, key=lambda name: (tensors[name].nbytes % _ALIGNMENT > 0,
                   -tensors[name].element_size(), -tensors[name].nbytes, name))  # fmt: skip
    entries: dict[str, Any] = {}
    offset = 0
    for name in names:
        tensor = tensors[name]
        end = offset + tensor.nbytes
        entries[name] = {
            "dtype": dtype_name(name, tensor),
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    permuted = {
        name: [name, 0, list(tensors[name].shape), list(tensors[name].stride())]
        for name in names
        if _is_permuted(tensors[name])
    }
    if permuted or views:
        texts = {**texts, "views": json.dumps(permuted | views)}
    header = _header(entries, texts)
    try:  # it could not be read again
        check_count(len(tensors))
        for text in texts.values():
            check_length(text)
        check_length(header)
    except LoadError as error:
        raise SaveError(f"the file cannot be written: {error}") from error
    if len(header) > _MAX_HEADER:
        raise SaveError(f"its description has {len(header)} bytes, over {_MAX_HEADER}")
    with replacing(path) as made, made.open("wb") as file:
        file.write(header)
        for name in names:
            file.write(_buffer(bytes_of(tensors[name])))
        file.flush()
        _, data = _mapped(made, len(header) + offset)
        check = f"{_header_check(header[8:])}{checksum(data[len(header) :]):08x}"
        file.seek(8 + len(_HEAD))
        file.write(check.encode())


def _header(entries: Mapping[str, Any], texts: Mapping[str, str]) -> bytes:
    """Return the length and the header, with zeros for the checksums."""
    metadata = {"check": _NO_CHECK, "format": "pt", **texts}
    text = json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _header_check(raw: bytes) -> str:
    """Return the checksum of the part of a header that follows both checksums."""
    return f"{zlib.crc32(memoryview(raw)[len(_HEAD) + len(_NO_CHECK) :]):08x}"


def dtype_name(name: str, tensor: Tensor) -> str:
    """Return the name that the format has for the dtype of a tensor.

    Raises:
        SaveError: the format cannot hold such a tensor.
    """
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise SaveError(
            f"the tensor {name!r} ({tensor.layout}, {tensor.dtype}, on {tensor.device}) is not a "
            "dense tensor with values, which a file could hold"
        )
    if tensor.dtype not in _DTYPE_NAMES:
        raise SaveError(f"the tensor {name!r} has dtype {tensor.dtype}, which files cannot hold")
    return _DTYPE_NAMES[tensor.dtype]


def _is_permuted(tensor: Tensor) -> bool:
    """Return whether the tensor is dense in another order of its dimensions, like channels_last."""
    like = torch.empty_like(tensor, device="meta").stride()
    usual = torch.empty(tensor.shape, device="meta").stride()
    return tensor.numel() > 0 and tensor.stride() == like != usual


def bytes_of(tensor: Tensor) -> Tensor:
    """Return the bytes of a dense tensor on any device, in the usual order: uint8, `(N,)`."""
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    return plain.reshape(-1).view(torch.uint8)


def checksum(data: Tensor) -> int:
    """Return the checksum of bytes: uint8, `(N,)`."""
    whole = len(data) // 8 * 8
    words = data[:whole].view(torch.int64)
    blocks = len(words) // _BLOCK * _BLOCK
    sums = torch.cat([words[:blocks].view(-1, _BLOCK).sum(1), words[blocks:].sum().view(1)])
    return zlib.crc32(_buffer(data[whole:]), zlib.crc32(_buffer(sums)))


def _mapped(path: Path, size: int) -> tuple[torch.UntypedStorage, Tensor]:
    """Return the contents of a file, memory-mapped."""
    storage: Any = torch.UntypedStorage.from_file(str(path), False, size)
    return storage, torch.empty(0, dtype=torch.uint8).set_(storage)


def _buffer(tensor: Tensor) -> memoryview:
    array: Any = tensor.numpy()
    return memoryview(array)


# ---------------------------------------------------------------------- reading


def read(path: Path, verify: bool = True) -> TensorFile:
    """Read a file of named tensors and texts.

    Args:
        path: the file.
        verify: whether to verify the checksum of the tensors at once; that of the header is always
            verified.

    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file.
        LoadError: the file is of another kind, cut off or damaged.
    """
    path.open("rb").close()  # otherwise Python reports what is wrong with the path
    if path.stat().st_size < 10:
        raise LoadError("the file is empty, or cut off")
    with uncollected():
        file = _parse(*_mapped(path, path.stat().st_size))
    if verify:
        file.verify()
    file.tensors  # noqa: B018 - the views have to fit
    return file


def _parse(storage: torch.UntypedStorage, data: Tensor) -> TensorFile:
    length = struct.unpack("<Q", bytes(data[:8].tolist()))[0]
    head = bytes(data[8:16].tolist())
    if head[:1] != b"{":
        raise LoadError(_other_kind(bytes(data[:4].tolist())))
    start = 8 + length
    if length > _MAX_HEADER or start > len(data):
        raise LoadError(
            f"the file is cut off, or its header is damaged: {length} bytes, of {len(data)} in the "
            f"file and at most {_MAX_HEADER}"
        )
    raw = data[8:start].numpy().tobytes()
    header = parse_json(raw)
    check_count(len(header))
    texts = header.pop("__metadata__", {})
    if not all(isinstance(text, str) for text in texts.values()):
        raise LoadError("its header is damaged")
    _check_entries(header, len(data) - start)
    check = texts.pop("check", "") if raw.startswith(_HEAD) else ""
    if check and _header_check(raw) != check[:8]:
        raise LoadError("its header is damaged (the checksum differs)")
    tensors = {name: _tensor(storage, start, entry) for name, entry in header.items()}
    views = parse_json(texts.pop("views", "{}"))
    check_count(len(tensors) + len(views))
    return TensorFile(tensors, views, texts, data[start:], check[8:])


def parse_json(text: str | bytes, numbers: bool = False) -> Any:
    """Return the value of JSON text of limited size.

    Args:
        text: the JSON.
        numbers: whether to allow `NaN` and `Infinity`, which Python writes.

    Raises:
        LoadError: it has more values than the limit.
        ValueError: it is no JSON, or has a key twice.
    """
    check_length(text)
    constant = float if numbers else _refuse
    with uncollected():
        return json.loads(text, parse_constant=constant, object_pairs_hook=_unique)


@contextmanager
def uncollected() -> Iterator[None]:
    """Context manager: suspend garbage collection, which would take most of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def check_length(text: str | bytes) -> None:
    """Refuse JSON with more values than the limit."""
    comma, colon = (",", ":") if isinstance(text, str) else (b",", b":")
    count = text.count(comma) + text.count(colon)  # type: ignore[arg-type]
    if count > _MOST_VALUES:
        raise LoadError(f"its description has {count} values, over the limit of {_MOST_VALUES}")


def check_count(tensors: int) -> None:
    """Refuse a file of more tensors than the limit."""
    if tensors > _MOST_TENSORS:
        raise LoadError(f"it has {tensors} tensors, over the limit of {_MOST_TENSORS}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a repeated key: readers differ in which value they use."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("an object in its description has the same key twice")
    return made


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number in JSON")


def _other_kind(first: bytes) -> str:
    kind = "a zip archive, as torch.save writes" if first[:2] == b"PK" else (
        "a pickle" if first[:1] == b"\x80" else "an HDF5 file" if first == b"\x89HDF" else None
    )  # fmt: skip
    return "it is not a file of fgraph or safetensors" + (f" but {kind}" if kind else "")


def _check_entries(header: dict[str, Any], size: int) -> None:
    """Check that the tensors are adjacent and fill the file."""
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        (first, last), shape = entry["data_offsets"], entry["shape"]
        dtype, numbers = DTYPES.get(entry["dtype"]), (first, last, *shape)
        if dtype is None:
            raise LoadError(f"the tensor {name!r} has dtype {entry['dtype']!r}, unknown here")
        if {*map(type, numbers)} != {int} or min(numbers) < 0:
            raise LoadError(f"the tensor {name!r} has no valid shape and place in the file")
        if first != end or last - first != math.prod(shape) * dtype.itemsize:
            raise LoadError(f"the tensor {name!r} is not where the header says")
        if first == last and math.prod(filter(None, shape)) * dtype.itemsize >= 2**63:
            raise LoadError(f"the tensor {name!r} has the shape {shape}, which torch cannot hold")
        end = last
    if end != size:
        raise LoadError(f"the file is cut off or too long: {size} bytes of tensors, not {end}")


def _tensor(storage: torch.UntypedStorage, start: int, entry: dict[str, Any]) -> Tensor:
    """Return one tensor as a view of the mapped file, in its own storage."""
    made: Any = torch.empty(0, dtype=DTYPES[entry["dtype"]])
    first, last = entry["data_offsets"]
    made.set_(storage[start + first : start + last], 0, entry["shape"])
    # kernels round differently for unaligned vectors
    whole: Tensor = made.clone() if (start + first) % _ALIGNMENT else made
    return whole
