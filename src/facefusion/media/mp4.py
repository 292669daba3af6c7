"""What libav's MP4 writer decides by itself and should not: which subtitles are switched on.

References
----------
ISO/IEC 14496-12, 8.3.2 (track header, flag track_enabled).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

_ENABLED = 1


def switch_off(path: Path, track_ids: Collection[int]) -> None:
    """Take the flag of tracks that play unasked from some tracks of a finished MP4 or MOV file.

    Parameters
    ----------
    path
        The file, changed in place.
    track_ids
        Numbers of the tracks; libav counts from 1 in the order of its streams.

    Raises
    ------
    OSError
    """
    with path.open("r+b") as file:
        file.seek(0, 2)
        for kind, begin, stop in _boxes(file, 0, file.tell()):
            if kind != b"moov":
                continue
            for inner, track_begin, track_stop in _boxes(file, begin, stop):
                if inner != b"trak":
                    continue
                for name, at, _ in _boxes(file, track_begin, track_stop):
                    if name == b"tkhd":
                        _switch_off(file, at, track_ids)


def _switch_off(file: BinaryIO, at: int, track_ids: Collection[int]) -> None:
    file.seek(at)
    head = file.read(24)
    # Version, flags, then two times of 4 or 8 bytes each, then the track's number.
    (track_id,) = struct.unpack_from(">I", head, 4 + (16 if head[0] == 1 else 8))
    if track_id in track_ids and head[3] & _ENABLED:
        file.seek(at + 3)
        file.write(bytes([head[3] & ~_ENABLED]))


def _boxes(file: BinaryIO, begin: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of what is in every box of a range."""
    while begin + 8 <= stop:
        file.seek(begin)
        size, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            header = 16
        elif size == 0:
            size = stop - begin
        if size < header or begin + size > stop:
            return
        yield kind, begin + header, begin + size
        begin += size
