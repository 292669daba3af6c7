"""Columns that need not be in memory: rows of arrays and of files, and files that are written piece by piece.

Files are safetensors (https://github.com/huggingface/safetensors#format): eight bytes of length, a JSON header, the
data. Its library writes them whole; an hour of film does not fit into memory that way.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facefusion.errors import TracksError
from facefusion.writing import replacing

Array = npt.NDArray[Any]

_NAMES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I8": np.int8, "BOOL": np.bool_}
_CODES = {np.dtype(kind): code for code, kind in _NAMES.items()}
ALIGNMENT = 8
MAX_HEADER_BYTES = 64 << 20
ROWS_AT_ONCE = 1024
SEAL = "crc32"
_UNSEALED = "00000000"
_SEAL_BEFORE = b'{"__metadata__": {"crc32": "'
MAX_NUMBER = 1e6
"""Coordinates, degrees and levels are far smaller."""


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """An array in a file.

    Attributes
    ----------
    path
        The file.
    dtype, shape
        Of the array.
    offset
        Of its first byte in the file.
    """

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    def read(self, low: int = 0, high: int | None = None) -> Array:
        """Some consecutive rows; all of them where nothing is said."""
        high = self.shape[0] if high is None else high
        if low == high:
            return np.zeros((0, *self.shape[1:]), self.dtype)
        width = math.prod(self.shape[1:])
        at = self.offset + low * width * self.dtype.itemsize
        values = np.fromfile(self.path, self.dtype, (high - low) * width, offset=at)
        if len(values) != (high - low) * width:
            raise TracksError(f"{self.path.name} has become shorter.", "Run the job again.")
        check_numbers(values, self.path.name)
        return values.reshape(high - low, *self.shape[1:])

    def map(self) -> Array:
        """The array as memory that is read from the file when it is touched."""
        if not math.prod(self.shape):
            return np.zeros(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)


def find_columns(path: Path) -> tuple[dict[str, StoredColumn], dict[str, str]]:
    """Columns of a file and its metadata.

    Raises
    ------
    OSError
    ValueError
        When it is not such a file, or is cut off.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
            raise ValueError("its header is not one")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not one")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its header is not one")
    columns, end = {}, 8 + length
    for name, told in header.items():
        shape, (start, stop) = told["shape"], told["data_offsets"]
        if not shape or not all(type(n) is int and 0 <= n < 1 << 48 for n in (*shape, start, stop)):
            raise ValueError(f"the shape of {name} is not one")
        column = StoredColumn(path, np.dtype(_NAMES[told["dtype"]]), tuple(shape), 8 + length + start)
        if 8 + length + stop > size or stop - start != math.prod(column.shape) * column.dtype.itemsize:
            raise ValueError("it is cut off")
        columns[name] = column
        end = max(end, 8 + length + stop)
    if end != size:
        raise ValueError("something lies behind its end")
    return columns, metadata


def check_seal(path: Path, metadata: Mapping[str, str]) -> None:
    """Refuse a file that is not as it was written; of earlier versions, which have no seal, nothing is known.

    Raises
    ------
    OSError
    ValueError
    """
    told = metadata.get(SEAL)
    if told is not None and _sum_of(path) not in (told, None):
        raise ValueError("its bytes are not those that were written")


def _sum_of(path: Path) -> str | None:
    """CRC-32 of a file whose seal is not set yet; None of one that another program has written anew."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        head = file.read(length)
        if not head.startswith(_SEAL_BEFORE):
            return None
        at = len(_SEAL_BEFORE)
        head = head[:at] + _UNSEALED.encode() + head[at + len(_UNSEALED) :]
        found = zlib.crc32(head, length)
        while piece := file.read(1 << 20):
            found = zlib.crc32(piece, found)
    return f"{found:08x}"


def _seal(path: Path) -> None:
    """Write the sum of a file into its header."""
    told = _sum_of(path)
    assert told is not None
    with path.open("r+b") as file:
        file.seek(8 + len(_SEAL_BEFORE))
        file.write(told.encode())


def check_numbers(values: Array, where: str) -> None:
    """Refuse numbers that no picture gives: a flipped bit makes them, and everything after it would be wrong.

    Raises
    ------
    TracksError
    """
    if values.dtype.kind == "f" and values.size:
        low, high = float(values.min()), float(values.max())
        if not (low >= -MAX_NUMBER and high <= MAX_NUMBER):  # not so either where one is not a number
            raise TracksError(f"{where} is damaged: it holds numbers that cannot be.", "Make it again.")


def check_column(values: Array | Rows | StoredColumn, name: str, dtype: npt.DTypeLike, *shape: int | None) -> None:
    """Refuse a column of another type or shape; None stands for any length.

    Raises
    ------
    ValueError
    """
    found = values.shape
    if len(found) != len(shape) or any(n is not None and n != m for n, m in zip(shape, found, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must be ({wanted}), not {found}")
    if values.dtype != np.dtype(dtype):
        raise ValueError(f"{name} must be {np.dtype(dtype)}, not {values.dtype}")


def check_shares(values: Array | Rows, name: str) -> None:
    """Refuse numbers that do not lie between 0 and 1.

    Raises
    ------
    ValueError
    """
    for low in range(0, len(values), ROWS_AT_ONCE):
        rows = Rows.of(values).read(low, min(low + ROWS_AT_ONCE, len(values)))
        if rows.size and not (rows.min() >= 0 and rows.max() <= 1):
            raise ValueError(f"{name} must lie between 0 and 1")


def check_rising(values: Array, name: str, limit: int | None = None) -> None:
    """Refuse whole numbers that do not rise, or that lie outside of 0 to a limit.

    Raises
    ------
    ValueError
    """
    if len(values) > 1 and (values[1:] <= values[:-1]).any():
        raise ValueError(f"{name} must rise")
    if limit is not None and len(values) and (values[0] < 0 or values[-1] >= limit):
        raise ValueError(f"{name} must lie between 0 and {limit}")


def write_columns(
    file: Any, columns: Mapping[str, Array], metadata: Mapping[str, str], pieces: Iterable[tuple[str, int, Array]] = ()
) -> None:
    """Write a file in pieces.

    Parameters
    ----------
    file
        Open for writing bytes.
    columns
        Arrays by name. Of those that come in pieces only type and shape count: `absent` makes them without memory.
    metadata
        Texts.
    pieces
        Name, first row and rows, in any order; what is not in them is taken from ``columns``.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offsets, at = {}, 0
    for name in sorted(columns, key=lambda name: (-columns[name].dtype.itemsize, name)):
        values = columns[name]
        offsets[name] = at
        header[name] = {
            "dtype": _CODES[values.dtype], "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]
        }  # fmt: skip
        at += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    file.write(struct.pack("<Q", len(text)) + text)
    base = 8 + len(text)
    file.truncate(base + at)
    for name, values in columns.items():
        if not is_absent(values):
            file.seek(base + offsets[name])
            file.write(np.ascontiguousarray(values).tobytes())
    for name, row, values in pieces:
        file.seek(base + offsets[name] + row * (columns[name].nbytes // max(len(columns[name]), 1)))
        file.write(np.ascontiguousarray(values, columns[name].dtype).tobytes())


def save_columns(
    path: Path,
    columns: Mapping[str, Array],
    metadata: Mapping[str, str],
    pieces: Iterable[tuple[str, int, Array]] = (),
    is_sealed: bool = False,
) -> None:
    """`write_columns` under a temporary name, which is then renamed: the file is there whole or not at all.

    Sealed files carry a sum of all their bytes (`check_seal`).
    """
    with replacing(path) as partial:
        with partial.open("wb") as file:
            # First, so that no text of a caller can look like it.
            write_columns(file, columns, {SEAL: _UNSEALED, **metadata} if is_sealed else metadata, pieces)
        if is_sealed:
            _seal(partial)


def absent(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
    """An array of zeros that takes no memory: it has a type and a shape, and its values come later."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def is_absent(values: Array) -> bool:
    """Whether an array is one of `absent`."""
    return values.size > 1 and not any(values.strides)


class Rows:
    """Consecutive rows out of arrays and files.

    Parameters
    ----------
    parts
        At least one: an array or a column of a file, first row and end of the rows taken.
    """

    __slots__ = ("_count", "_parts")

    def __init__(self, parts: Sequence[tuple[Array | StoredColumn, int, int]]) -> None:
        self._parts = tuple(part for part in parts if part[2] > part[1]) or (*parts[:1],)
        self._count = sum(high - low for _, low, high in self._parts)

    @classmethod
    def of(cls, values: Array | StoredColumn | Rows) -> Rows:
        """All rows of something."""
        return values if isinstance(values, Rows) else cls([(values, 0, values.shape[0])])

    def __len__(self) -> int:
        return self._count

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all rows together."""
        return self._count, *self._parts[0][0].shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self._parts[0][0].dtype)

    @classmethod
    def sum(cls, all_rows: Iterable[Rows]) -> Rows:
        """One after the other."""
        return cls([part for rows in all_rows for part in rows._parts])

    def __add__(self, other: Rows) -> Rows:
        return Rows.sum((self, other))

    def cut(self, low: int, high: int) -> Rows:
        """Some of the rows; nothing is read."""
        parts, at = [], 0
        for values, first, end in self._parts:
            start, stop = max(low - at, 0), min(high - at, end - first)
            if stop > start:
                parts.append((values, first + start, first + stop))
            at += end - first
        values, first, _ = self._parts[0]
        return Rows(parts or [(values, first, first)])

    def read(self, low: int = 0, high: int | None = None) -> Array:
        """Some of the rows as an array."""
        wanted = self.cut(low, len(self) if high is None else high)
        found = [
            values.read(first, end) if isinstance(values, StoredColumn) else values[first:end]
            for values, first, end in wanted._parts
        ]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def row(self, number: int) -> Array:
        """One row; negative numbers count from the end."""
        at = number % len(self)
        found: Array = self.read(at, at + 1)[0]
        return found
