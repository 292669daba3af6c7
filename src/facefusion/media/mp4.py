"""What libav does not say of MP4 and MOV files, or decides by itself: when a track ends, which subtitles are on.

References
----------
ISO/IEC 14496-12, 8.2.2 (movie header), 8.3.2 (track header, flag track_enabled), 8.4.2 (media header), 8.6.6 (edit
list).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from fractions import Fraction
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


def lengths_of(file: BinaryIO, track_id: int) -> tuple[Fraction, Fraction]:
    """How long a track of an MP4 or MOV file is shown, and how long its media are, in seconds; 0 where not said.

    Parameters
    ----------
    file
        Open for reading.
    track_id
        Number of the track, as libav tells it.

    Returns
    -------
    Length of all its edits, the empty ones before its beginning among them, and length of its media.
    """
    file.seek(0, 2)
    shown = media = 0
    ticks = media_ticks = 1
    for kind, begin, stop in _boxes(file, 0, file.tell()):
        if kind != b"moov":
            continue
        for inner, at, end in _boxes(file, begin, stop):
            if inner == b"mvhd":
                ticks = _scale_and_length(file, at)[0] or 1
            elif inner == b"trak":
                found = {name: (place, close) for name, place, close in _boxes(file, at, end)}
                if b"tkhd" not in found or _track_id(file, found[b"tkhd"][0]) != track_id:
                    continue
                if b"edts" in found:
                    shown = sum(
                        _edits(file, place) for name, place, _ in _boxes(file, *found[b"edts"]) if name == b"elst"
                    )
                if b"mdia" in found:
                    for name, place, _ in _boxes(file, *found[b"mdia"]):
                        if name == b"mdhd":
                            media_ticks, media = _scale_and_length(file, place)
    return Fraction(shown, ticks), Fraction(media, media_ticks or 1)


def _scale_and_length(file: BinaryIO, at: int) -> tuple[int, int]:
    """Units of a second, and length in these, of a movie's or a track's header."""
    file.seek(at)
    head = file.read(32)
    form, place = (">IQ", 20) if head[:1] == b"\1" else (">II", 12)
    if len(head) < place + struct.calcsize(form):
        return 1, 0
    scale, length = struct.unpack_from(form, head, place)
    # All bits set is "not known".
    return int(scale), 0 if length in (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF) else int(length)


def _edits(file: BinaryIO, at: int) -> int:
    """Length of all entries of an edit list, in the movie's units."""
    file.seek(at)
    head = file.read(8)
    if len(head) < 8:
        return 0
    form = ">Qqhh" if head[0] == 1 else ">Iihh"
    size = struct.calcsize(form)
    # A list of more than some thousands is not read: no film has one.
    rows = file.read(min(struct.unpack_from(">I", head, 4)[0], 4096) * size)
    return sum(int(row[0]) for row in struct.iter_unpack(form, rows[: len(rows) // size * size]))


def _track_id(file: BinaryIO, at: int) -> int:
    file.seek(at)
    head = file.read(24)
    # Version, flags, then two times of 4 or 8 bytes each, then the track's number.
    return int(struct.unpack_from(">I", head, 4 + (16 if head[0] == 1 else 8))[0]) if len(head) == 24 else 0


def _switch_off(file: BinaryIO, at: int, track_ids: Collection[int]) -> None:
    file.seek(at)
    head = file.read(4)
    if _track_id(file, at) in track_ids and head[3] & _ENABLED:
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
