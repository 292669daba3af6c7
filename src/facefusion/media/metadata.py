"""What a photo says beside its picture: EXIF and XMP brought along without what is no longer true.

A preview inside of them shows the old face, an orientation would turn the picture twice, a gain map or a second picture
is not there any more.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

ORIENTATION, SOFTWARE, XMP = 0x0112, 0x0131, 0x02BC
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
EXIF_IFD, GPS_IFD, INTEROP_IFD, MAKER_NOTE = 0x8769, 0x8825, 0xA005, 0x927C
_USER_COMMENT, _WIDTH, _HEIGHT = 0x9286, 0xA002, 0xA003
_STRUCTURE = {
    254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 290,
    291, 292, 293, 297, 300, 301, 317, 320, 321, 322, 323, 324, 325, 326, 327, 328, 330, 332, 333, 334, 336,
    338, 339, 340, 341, 342, 343, 344, 345, 346, 347, 351, 400, 401, 402, 403, 404, 405, 512, 513, 514, 515,
    517, 518, 519, 520, 521, 529, 530, 532, 559, 700, 33421, 33422, 33723, 34377, 34675, 37724,
}  # fmt: skip
"""Tags of a TIFF's first directory that describe how its picture is stored, or hold blocks of other kinds."""
_PRIVATE_FROM = 50706
"""DNG and other tags about raw data."""
MAX_EXIF_BYTES = 65533
MAX_XMP_BYTES = 65502
"""What fits into one segment of a JPEG."""
_MAX_PARSED_BYTES = 2_000_000
_JPEG = b"\xff\xd8\xff"
BROKEN = (
    ValueError,
    TypeError,
    struct.error,
    ArithmeticError,
    AttributeError,
    LookupError,
    SyntaxError,
    OSError,
)
"""What Pillow raises on EXIF that is damaged."""
_XMP_NS, _TIFF_NS = "http://ns.adobe.com/xap/1.0/", "http://ns.adobe.com/tiff/1.0/"
_STALE_NAMESPACES = (
    "http://ns.adobe.com/xap/1.0/g/img/",
    "http://ns.adobe.com/xmp/note/",
    "http://ns.adobe.com/hdr-gain-map/1.0/",
    "http://ns.apple.com/HDRGainMap/",
    "http://ns.apple.com/pixeldatainfo/",
    "http://ns.google.com/photos/",
)
"""Thumbnails, depth and gain maps, films and extended parts that follow the picture in the original file."""
_MAX_DEPTH = 100


def orientation_of(exif: Image.Exif) -> int:
    """1 to 8; 1 where it is missing or makes no sense."""
    try:
        value = exif.get(ORIENTATION, 1)
    except BROKEN:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def plain_exif(exif: Image.Exif, size: tuple[int, int]) -> tuple[bytes | None, bool]:
    """EXIF for the upright picture, without previews.

    Parameters
    ----------
    exif
        As Pillow reads it.
    size
        Width and height of the upright picture.

    Returns
    -------
    A block, or None where nothing is left, and whether it holds all that could be read; what is damaged is left out.
    """
    try:
        parts = {0: {tag: exif[tag] for tag in list(exif) if tag not in _STRUCTURE and tag < _PRIVATE_FROM}}
        parts[0].pop(ORIENTATION, None)
        for tag in (EXIF_IFD, GPS_IFD):
            if parts[0].pop(tag, None) is not None:
                parts[tag] = dict(exif.get_ifd(tag))
        if EXIF_IFD in parts:
            about = parts[EXIF_IFD]
            for tag, value in ((_WIDTH, size[0]), (_HEIGHT, size[1])):
                if tag in about:
                    about[tag] = value
            if about.pop(INTEROP_IFD, None) is not None:
                parts[INTEROP_IFD] = dict(exif.get_ifd(INTEROP_IFD))
    except BROKEN:
        return None, False
    for part in parts.values():
        for tag in [tag for tag, value in part.items() if _is_preview(value)]:
            del part[tag]
    is_whole = True
    try:
        return _built(parts), True
    except BROKEN:
        for part in parts.values():
            for tag, value in list(part.items()):
                try:
                    _built({0: {tag: value}})
                except BROKEN:
                    del part[tag]
                    is_whole = False
    try:
        return _built(parts), is_whole
    except BROKEN:
        return None, False


def _is_preview(value: Any) -> bool:
    return isinstance(value, bytes) and _JPEG in value


def _built(parts: Mapping[int, Mapping[int, Any]]) -> bytes | None:
    if not any(parts.values()):
        return None
    exif = Image.Exif()
    for tag, value in parts.get(0, {}).items():
        exif[tag] = value
    about = dict(parts.get(EXIF_IFD, {}))
    if parts.get(INTEROP_IFD):
        about[INTEROP_IFD] = dict(parts[INTEROP_IFD])
    if about:
        exif[EXIF_IFD] = about
    if parts.get(GPS_IFD):
        exif[GPS_IFD] = dict(parts[GPS_IFD])
    return exif.tobytes()


def exif_of_dpi(dpi: Any) -> bytes | None:
    """An EXIF block with a resolution and nothing else; None for what is none.

    Parameters
    ----------
    dpi
        Pixels an inch, across and down, as Pillow tells them.
    """
    try:
        across, down = (float(one) for one in dpi)
    except BROKEN:
        return None
    if not (0 < across < 1e6 and 0 < down < 1e6):
        return None
    exif = Image.Exif()
    exif[X_RESOLUTION], exif[Y_RESOLUTION], exif[RESOLUTION_UNIT] = across, down, 2
    return exif.tobytes()


def with_dpi(block: bytes | None, kind: str, info: Mapping[Any, Any], is_lying: bool) -> bytes | None:
    """An EXIF block with the resolution that a JPEG or PNG file states outside of it, or the block as it is.

    Parameters
    ----------
    block
        Of the upright picture.
    kind, info
        Format of the file, and its `Image.info`.
    is_lying
        Whether the picture was turned by a quarter.
    """
    # Where a JPEG states none itself, Pillow tells that of its EXIF, or 72 for nothing.
    is_stated = kind == "PNG" or info.get("jfif_unit") in (1, 2)
    try:
        across, down = (round(float(one), 3) for one in info["dpi"])
    except BROKEN:
        return block
    if not is_stated or not (0 < across < 65535 and 0 < down < 65535):
        return block
    exif = Image.Exif()
    try:
        if block:
            exif.load(block)
        exif[X_RESOLUTION], exif[Y_RESOLUTION] = (down, across) if is_lying else (across, down)
        exif[RESOLUTION_UNIT] = 2
        return exif.tobytes()
    except BROKEN:
        return block


def dpi_of_exif(block: bytes | None) -> tuple[float, float] | None:
    """Pixels an inch that an EXIF block tells, across and down."""
    if not block:
        return None
    exif = Image.Exif()
    try:
        exif.load(block)
        cm = {2: 1.0, 3: 2.54}[exif.get(RESOLUTION_UNIT, 2)]
        across, down = float(exif[X_RESOLUTION]) * cm, float(exif[Y_RESOLUTION]) * cm
    except BROKEN:
        return None
    return (across, down) if across > 0 and down > 0 else None


def with_software(block: bytes | None, software: str) -> bytes:
    """An EXIF block with the tag Software set; empty where there would be nothing in it."""
    exif = Image.Exif()
    if block:
        exif.load(block)
    if software:
        exif[SOFTWARE] = software
    return exif.tobytes() if len(exif) else b""


def fit_exif(block: bytes, limit: int = MAX_EXIF_BYTES) -> tuple[bytes, tuple[str, ...]]:
    """An EXIF block that is not longer than a JPEG allows, and what had to be left out for that."""
    left_out = []
    for name, tag in (("the maker's notes", MAKER_NOTE), ("the user's comment", _USER_COMMENT)):
        if len(block) <= limit:
            break
        exif = Image.Exif()
        exif.load(block)
        about = dict(exif.get_ifd(EXIF_IFD))
        if about.pop(tag, None) is not None:
            left_out.append(name)
        exif[EXIF_IFD] = about
        block = exif.tobytes()
    if len(block) > limit:
        exif = Image.Exif()
        exif.load(block)
        software = exif.get(SOFTWARE)
        return with_software(None, software if isinstance(software, str) else ""), ("EXIF",)
    return block, tuple(left_out)


def add_to_tiff(written: bytes, exif: bytes, xmp: bytes | None) -> tuple[bytes, int] | None:
    """Directory of a TIFF with EXIF and XMP in it; libtiff's writer takes neither an EXIF directory nor odd tags.

    Parameters
    ----------
    written
        A little- or big-endian TIFF of one page.
    exif, xmp
        Blocks; ``exif`` may be empty.

    Returns
    -------
    Bytes to append at an even place behind the file, and the place of the new directory, to be written at byte 4; None
    where there is nothing to add.
    """
    order = "<" if written[:2] == b"II" else ">"
    start = len(written) + len(written) % 2
    head = written[:4] + bytes(4)
    values = ImageFileDirectory_v2(ifh=head)
    if exif:
        loaded = Image.Exif()
        loaded.load(exif)
        for tag in list(loaded):
            if tag in (EXIF_IFD, GPS_IFD):
                about = dict(loaded.get_ifd(tag))
                if INTEROP_IFD in about:
                    about[INTEROP_IFD] = dict(loaded.get_ifd(INTEROP_IFD))
                values[tag] = about
            else:
                values[tag] = loaded[tag]
    if xmp:
        values.tagtype[XMP] = 1
        values[XMP] = xmp
    if not len(values):
        return None
    added = values.tobytes(start)
    entries = {}
    (place,) = struct.unpack_from(order + "I", written, 4)
    for block, at in ((added, 0), (written, place)):  # what describes the picture wins
        (count,) = struct.unpack_from(order + "H", block, at)
        for number in range(count):
            entry = block[at + 2 + 12 * number : at + 14 + 12 * number]
            entries[struct.unpack_from(order + "H", entry)[0]] = entry
    added += bytes(len(added) % 2)
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(4)
    return added + directory, start + len(added)


def plain_xmp(data: bytes | str | None) -> tuple[bytes | None, bool]:
    """XMP for the upright picture, without thumbnails and words about parts that are not carried.

    Returns
    -------
    A packet, or None, and whether it could be read.
    """
    if not data:
        return None, True
    raw = data.encode("utf-8", "replace") if isinstance(data, str) else bytes(data).rstrip(b"\0")
    if len(raw) > _MAX_PARSED_BYTES or b"<!DOCTYPE" in raw or b"<!ENTITY" in raw or _depth(raw) > _MAX_DEPTH:
        return None, False
    try:
        document = minidom.parseString(raw)
        _prune(document.documentElement)
        words = "".join(node.toxml() for node in document.childNodes)
        document.unlink()
    except (ExpatError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
        return None, False
    return words.encode("utf-8", "replace"), True


def _depth(raw: bytes) -> int:
    """How deep elements may be nested, at most: walking a document is recursive."""
    depth = deepest = 0
    for match in re.finditer(rb"<(/?)[^!?>][^>]*?(/?)>", raw):
        depth += -1 if match[1] else 0 if match[2] else 1
        deepest = max(deepest, depth)
    return deepest


def _prune(element: Any) -> None:
    for attribute in list(element.attributes.values()):
        is_declaration = attribute.name.startswith("xmlns:") and attribute.value.startswith(_STALE_NAMESPACES)
        if is_declaration or _is_stale(attribute.namespaceURI, attribute.localName):
            element.removeAttributeNode(attribute)
    for child in list(element.childNodes):
        if child.nodeType != child.ELEMENT_NODE:
            continue
        if _is_stale(child.namespaceURI, child.localName):
            element.removeChild(child)
        else:
            _prune(child)


def _is_stale(namespace: str | None, name: str) -> bool:
    if (namespace, name) in ((_TIFF_NS, "Orientation"), (_XMP_NS, "Thumbnails"), (_XMP_NS, "PageInfo")):
        return True
    return (namespace or "").startswith(_STALE_NAMESPACES)


def find_chunk(read: Callable[[int], bytes], wanted: bytes) -> bytes | None:
    """Content of a short chunk that stands before a PNG's picture, from a file's reader at its beginning."""
    if read(8) != b"\x89PNG\r\n\x1a\n":
        return None
    while len(head := read(8)) == 8:
        size, name = struct.unpack(">I4s", head)
        if name in (b"IDAT", b"IEND") or size > 64_000_000:
            return None
        body = read(size + 4)
        if name == wanted:
            return body[:-4]
    return None


def has_thumbnail(exif: Image.Exif) -> bool:
    """Whether an EXIF block has a small picture of the photo, which may show what the photo no longer does."""
    try:
        return bool(exif.get_ifd(ExifTags.IFD.IFD1))
    except BROKEN:
        return False


def bytes_behind(content: bytes) -> int:
    """How many bytes a JPEG, PNG or WebP file has behind the end of its picture; 0 where that end is not found.

    Other pictures and films are put there (motion photos, previews). Zeros alone fill up and tell nothing.
    """
    try:
        end = _end_of(content)
    except (struct.error, IndexError, ValueError):  # cut off
        return 0
    return len(content) - end if end and _TELLING.search(content, end) else 0


_TELLING = re.compile(rb"[^\0\r\n]")
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""Of a JPEG, but for what stands among what is coded: restarts, and the byte 255 itself."""
_MOST_SEGMENTS = 100_000
"""What no picture has; a file made of short ones takes seconds."""


def _end_of(content: bytes) -> int:
    """Where a picture ends; 0 where it is in no form that is known here, or in too many pieces."""
    if content[:4] == b"RIFF":
        return 8 + int(struct.unpack_from("<I", content, 4)[0])
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        at = 8
        for _ in range(_MOST_SEGMENTS):
            if content[at + 4 : at + 8] == b"IEND":
                return at + 12
            at += 12 + int(struct.unpack_from(">I", content, at)[0])
        return 0
    if content[:2] != b"\xff\xd8":
        return 0
    at = 2
    for _ in range(_MOST_SEGMENTS):  # segments of a JPEG, each with its length, and behind that of a scan what is coded
        found = _MARKER.search(content, at)
        if found is None:
            return 0
        at = found.start()
        if content[at + 1] == 0xD9:
            return at + 2
        at += 2 + int(struct.unpack_from(">H", content, at + 2)[0])
    return 0
