"""What libav's Matroska writer is not told by PyAV: the shape of pixels that are not square.

References
----------
RFC 9559, 5.1.4.1.28 (video settings); RFC 8794, 4 to 6 (element IDs and sizes).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

_SEGMENT, _SEEK_HEAD, _TRACKS, _CLUSTER, _VOID = 0x18538067, 0x114D9B74, 0x1654AE6B, 0x1F43B675, 0xEC
_SEEK, _SEEK_POSITION, _CRC = 0x4DBB, 0x53AC, 0xBF
_TRACK, _VIDEO, _WIDTH, _HEIGHT = 0xAE, 0xE0, 0xB0, 0xBA
_SHOWN_WIDTH, _SHOWN_HEIGHT, _SHOWN_UNIT = 0x54B0, 0x54BA, 0x54B2
_BY_SHAPE = 3
"""Unit of the shown size: its sides have this proportion, of whatever size."""
_IN_WEBM = b"webm"

_Element = tuple[int, bytes]


def write_aspect(path: Path, aspect: Fraction | None) -> None:
    """Write the shape of its pixels into a finished file of ours; nothing is done where they are square.

    What the tracks grow by comes off the empty room that libav leaves behind the table of contents, so all that follows
    the tracks stays where it is.

    Parameters
    ----------
    path
        A Matroska or WebM file, changed in place.
    aspect
        Width of a pixel by its height; None where it is not known.

    Raises
    ------
    OSError
    ValueError
        When the file is not laid out as libav does.
    """
    if aspect is None or aspect == 1:
        return
    with path.open("r+b") as file:
        is_webm = _IN_WEBM in file.read(64)
        found: dict[int, tuple[int, int, int]] = {}
        for kind, at, begin, stop in _top(file):
            found.setdefault(kind, (at, begin, stop))
        if not {_SEGMENT, _SEEK_HEAD, _VOID, _TRACKS} <= found.keys():
            raise ValueError("the file has no table of contents with room behind it")
        origin = found[_SEGMENT][1]
        _, head_begin, head_stop = found[_SEEK_HEAD]
        void_at, _, void_stop = found[_VOID]
        tracks_at, tracks_begin, tracks_stop = found[_TRACKS]
        between = _read(file, void_stop, tracks_at)
        tracks = _packed([(_TRACKS, _with_aspect(_read(file, tracks_begin, tracks_stop), aspect, is_webm))])
        moved = len(tracks) - (tracks_stop - tracks_at)
        room = void_stop - void_at - moved
        shifted = range(void_stop - origin, tracks_at - origin + 1)
        head = _packed(
            [
                (kind, _moved(content, shifted, moved) if kind == _SEEK else content)
                for kind, content in _elements(_read(file, head_begin, head_stop))
            ]
        )
        if len(head) != head_stop - head_begin or void_at != head_stop or tracks_at < void_stop or room < 2:
            raise ValueError("the file has no room behind its table of contents")
        file.seek(head_begin)
        file.write(_checked(head) + _void(room) + between + tracks)


def _with_aspect(tracks: bytes, aspect: Fraction, is_webm: bool) -> bytes:
    """The content of the tracks, where the first one with a picture says how it is shown."""
    entries = list(_elements(tracks))
    number = next(
        k for k, (kind, content) in enumerate(entries) if kind == _TRACK and _VIDEO in dict(_elements(content))
    )
    fields = [
        (kind, _shown(content, aspect, is_webm) if kind == _VIDEO else content)
        for kind, content in _elements(entries[number][1])
    ]
    entries[number] = (_TRACK, _packed(fields))
    return _checked(_packed(entries))


def _shown(video: bytes, aspect: Fraction, is_webm: bool) -> bytes:
    fields = [field for field in _elements(video) if field[0] not in (_SHOWN_WIDTH, _SHOWN_HEIGHT, _SHOWN_UNIT)]
    sizes = dict(fields)
    width, height = (int.from_bytes(sizes[kind], "big") for kind in (_WIDTH, _HEIGHT))
    if is_webm:  # it knows pixels alone
        shown: list[tuple[int, int]] = [(_SHOWN_WIDTH, round(width * aspect)), (_SHOWN_HEIGHT, height)]
    else:
        shape = width * aspect / height
        shown = [(_SHOWN_WIDTH, shape.numerator), (_SHOWN_HEIGHT, shape.denominator), (_SHOWN_UNIT, _BY_SHAPE)]
    at = [kind for kind, _ in fields].index(_HEIGHT) + 1
    return _packed([*fields[:at], *((kind, _number(value)) for kind, value in shown), *fields[at:]])


def _moved(seek: bytes, shifted: range, by: int) -> bytes:
    """An entry of the table of contents, its position earlier where that part moved."""
    fields = []
    for kind, content in _elements(seek):
        position = int.from_bytes(content, "big")
        if kind == _SEEK_POSITION and position in shifted:
            content = (position - by).to_bytes(len(content), "big")
        fields.append((kind, content))
    return _packed(fields)


def _top(file: BinaryIO) -> Iterator[tuple[int, int, int, int]]:
    """Kind, place, start and end of content of what stands before the first pictures."""
    at, end = 0, file.seek(0, 2)
    while at < end:
        file.seek(at)
        kind, size, length = _opened(file.read(12), 0)
        if kind == _CLUSTER:
            return
        yield kind, at, at + length, at + length + size
        at += length + (0 if kind == _SEGMENT else size)


def _elements(content: bytes) -> Iterator[_Element]:
    at = 0
    while at < len(content):
        kind, size, length = _opened(content, at)
        yield kind, content[at + length : at + length + size]
        at += length + size


def _opened(content: bytes, at: int) -> tuple[int, int, int]:
    """ID and size of an element, and the length of both."""
    id_length = 9 - content[at].bit_length()
    size_at = at + id_length
    size_length = 9 - content[size_at].bit_length()
    size = int.from_bytes(content[size_at : size_at + size_length], "big") & ((1 << 7 * size_length) - 1)
    return int.from_bytes(content[at:size_at], "big"), size, id_length + size_length


def _packed(fields: list[_Element]) -> bytes:
    return b"".join(_header(kind, len(content)) + content for kind, content in fields)


def _checked(content: bytes) -> bytes:
    """The content of an element, with the right checksum where it begins with one."""
    kind, size, length = _opened(content, 0)
    if kind != _CRC:
        return content
    rest = content[length + size :]
    return _packed([(_CRC, zlib.crc32(rest).to_bytes(4, "little"))]) + rest


def _header(kind: int, size: int, length: int = 0) -> bytes:
    """ID and size, this in as many bytes as are asked for, or as few as can be."""
    length = length or next(k for k in range(1, 9) if size < (1 << 7 * k) - 1)
    return kind.to_bytes(-(-kind.bit_length() // 8), "big") + (size | 1 << 7 * length).to_bytes(length, "big")


def _void(room: int) -> bytes:
    length = 1 if room < 128 else 8
    return _header(_VOID, room - 1 - length, length).ljust(room, b"\0")


def _number(value: int) -> bytes:
    return value.to_bytes(max(-(-value.bit_length() // 8), 1), "big")


def _read(file: BinaryIO, begin: int, stop: int) -> bytes:
    file.seek(begin)
    return file.read(stop - begin)
