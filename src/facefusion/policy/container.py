"""Where a manifest lies in a file, read by its bytes alone.

C2PA's hashes leave out the manifest itself and a little around it: the boxes it is wrapped in, what pads it, the type
of a film's container. Of manifests that we wrote it is known what has to be there; whatever else is there was changed.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

MEDIA_TYPES = {
    "mp4": "video/mp4", "mov": "video/quicktime", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp",
    "tiff": "image/tiff", "heic": "image/heic", "avif": "image/avif",
}  # fmt: skip
"""Kinds of files that hold a manifest."""
_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_AFTER_TYPE = bytes.fromhex("00110010800000aa00389b71")
_TRACES = (b"jumbc2pa", b"c2pa.signature", b"c2pa.assertions", b"c2pa.claim", b"urn:c2pa:", _UUID)
_BOXES = {b"c2pa.assertions": b"c2as", b"c2pa.claim": b"c2cl", b"c2pa.claim.v2": b"c2cl", b"c2pa.signature": b"c2cs"}
_UNSIGNED = {"pad", "pad2"}
"""What may stand beside a signature without being signed. We ask nobody for the time, so there is no stamp of it."""


class Damaged(Exception):
    """Something is not as it was written."""


def kind_of(head: bytes) -> str:
    """What a file is by its first bytes, as in `MEDIA_TYPES`; empty where that holds no manifest."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "tiff"
    if head[4:8] == b"ftyp":
        brands = {head[at : at + 4] for at in range(8, min(struct.unpack(">I", head[:4])[0], len(head)), 4)}
        if head[8:12] == b"qt  ":
            return "mov"
        if brands & {b"avif", b"avis"}:
            return "avif"
        return "heic" if brands & {b"heic", b"heix", b"mif1", b"msf1", b"hevc"} else "mp4"
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        return "mov"
    return ""


def has_traces(content: Any) -> bool:
    """Whether there is a manifest in a file: two words of many, so that no one change hides it. One word alone is what
    programs leave in the description of a photo whose manifest they took away.

    Parameters
    ----------
    content
        The file, as bytes or mapped.
    """
    return len([word for word in _TRACES if content.find(word) >= 0]) >= 2


def outer_hash(content: Any, kind: str) -> str:
    """SHA-256 of what C2PA leaves out of its hashes in a file before it is signed; empty where that is nothing."""
    if kind not in ("mp4", "mov", "heic", "avif"):
        return ""
    return _hash_boxes(content, b"ftyp", b"mfra")


def spare_hash(content: Any, kind: str) -> str:
    """SHA-256 of the boxes for what is not used, which C2PA leaves out too; empty where there are no such boxes.

    Apart from `outer_hash`: outputs that were signed before have that one only.
    """
    return _hash_boxes(content, b"free", b"skip") if outer_hash(content, kind) else ""


def check_spare(content: Any, kind: str, told: str | None) -> None:
    """Refuse a file of ours with something in boxes that are not used.

    Parameters
    ----------
    content
        The file, as bytes or mapped.
    kind
        As in `MEDIA_TYPES`.
    told
        `spare_hash` as it was signed; None where that was not done yet. What we wrote into them then were zeros.

    Raises
    ------
    Damaged
    """
    if told is not None:
        _need(spare_hash(content, kind) == told, "a box that is not used")
    elif outer_hash(content, kind):
        for name, start, stop in _boxes(content):
            if name in (b"free", b"skip"):
                _need(not bytes(content[start + 8 : stop]).strip(b"\0"), "a box that is not used")


def _hash_boxes(content: Any, *names: bytes) -> str:
    boxes = (content[start:stop] for name, start, stop in _boxes(content) if name in names)
    return hashlib.sha256(b"".join(boxes)).hexdigest()


def check_store(content: Any, kind: str, count: int) -> None:
    """Refuse a file of ours in which the manifest, or what it is wrapped in, is not as we wrote it.

    Parameters
    ----------
    content
        The file, as bytes or mapped.
    kind
        As in `MEDIA_TYPES`.
    count
        Manifests in it that are hashed: ours, those of what it was made of, and theirs.

    Raises
    ------
    Damaged
    """
    try:
        stores = list(_stores(content, kind))
        if len(stores) != 1:
            raise Damaged(f"{len(stores)} manifests")
        check_manifest(stores[0], count)
    except (struct.error, IndexError, ValueError, KeyError) as error:
        raise Damaged(str(error)) from error


def check_manifest(store: bytes, count: int) -> None:
    """The same for the bytes of a manifest alone, as a sidecar has them.

    Raises
    ------
    Damaged
    """
    try:
        _check_jumbf(store, count)
    except (struct.error, IndexError, ValueError, KeyError, UnicodeDecodeError) as error:
        raise Damaged(str(error)) from error


def _need(is_so: bool, what: str) -> None:
    if not is_so:
        raise Damaged(what)


def _stores(content: Any, kind: str) -> Iterator[bytes]:
    if kind == "jpeg":
        yield from _in_jpeg(content)
    elif kind == "png":
        at = 8
        while at + 12 <= len(content):
            (size,) = struct.unpack(">I", content[at : at + 4])
            if content[at + 4 : at + 8] == b"caBX":
                (crc,) = struct.unpack(">I", content[at + 8 + size : at + 12 + size])
                _need(zlib.crc32(content[at + 4 : at + 8 + size]) == crc, "a chunk's sum")
                yield content[at + 8 : at + 8 + size]
            at += 12 + size
    elif kind == "webp":
        at = 12
        while at + 8 <= len(content):
            (size,) = struct.unpack("<I", content[at + 4 : at + 8])
            if content[at : at + 4] == b"C2PA":
                _need(not size % 2 or content[at + 8 + size : at + 9 + size] == b"\0", "what pads a chunk")
                yield content[at + 8 : at + 8 + size]
            at += 8 + size + size % 2
    elif kind == "tiff":
        yield _in_tiff(content)
    else:
        for name, start, stop in _boxes(content):
            if name == b"uuid" and content[start + 8 : start + 24] == _UUID:
                _need(content[start + 24 : start + 28] == b"\0\0\0\0", "the version of a box")
                _need(content[start + 28 : start + 37] == b"manifest\0", "the purpose of a box")
                _need(content[start + 37 : start + 45] == bytes(8), "an offset")
                yield content[start + 45 : stop]


def _in_jpeg(content: Any) -> Iterator[bytes]:
    at, parts = 2, []
    while content[at] == 0xFF and content[at + 1] != 0xDA:
        (size,) = struct.unpack(">H", content[at + 2 : at + 4])
        part = content[at + 4 : at + 2 + size]
        if content[at + 1] == 0xEB:
            parts.append(part)
        at += 2 + size
    if not parts:
        return
    for number, part in enumerate(parts, 1):
        _need(part[:8] == b"JP\x02\x11" + struct.pack(">I", number), "the order of segments")
        _need(part[8:16] == parts[0][8:16], "the head of a segment")
    yield parts[0][8:] + b"".join(part[16:] for part in parts[1:])


def _in_tiff(content: Any) -> bytes:
    order = "<" if content[:2] == b"II" else ">"
    (at,) = struct.unpack(f"{order}I", content[4:8])
    (count,) = struct.unpack(f"{order}H", content[at : at + 2])
    for number in range(count):
        entry = at + 2 + 12 * number
        tag, kind, size, where = struct.unpack(f"{order}HHII", content[entry : entry + 12])
        if tag == 0xCD41:
            _need(kind == 7, "the type of a tag")
            return bytes(content[where : where + size])
    raise Damaged("no manifest")


def _boxes(content: Any) -> Iterator[tuple[bytes, int, int]]:
    """Names and places of the outermost boxes of a film."""
    at = 0
    while at + 8 <= len(content):
        size, name = struct.unpack(">I4s", content[at : at + 8])
        if size == 1:
            (size,) = struct.unpack(">Q", content[at + 8 : at + 16])
        stop = len(content) if size == 0 else at + size
        if stop <= at:
            return
        yield name, at, stop
        at = stop


def _inner(store: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of boxes that lie on end, without a gap."""
    at = 0
    while at < len(store):
        size, name = struct.unpack(">I4s", store[at : at + 8])
        _need(8 <= size <= len(store) - at, "the size of a box")
        yield name, store[at + 8 : at + size]
        at += size


def _described(content: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]]:
    """What a box of boxes says that it is (type and label), and what is in it."""
    inner = list(_inner(content))
    _need(bool(inner) and inner[0][0] == b"jumd", "a description")
    about = inner[0][1]
    label, _, rest = about[17:].partition(b"\0")
    _need(about[4:16] == _AFTER_TYPE, "the type of a box")
    _need(about[16] == (0x13 if rest else 0x03), "the marks of a box")
    return about[:4], label, inner[1:]


def _check_jumbf(store: bytes, count: int) -> None:
    (outer,) = list(_inner(store))
    _need(outer[0] == b"jumb", "the outermost box")
    kind, label, manifests = _described(outer[1])
    _need((kind, label) == (b"c2pa", b"c2pa"), "the outermost box")
    _need(bool(manifests) and all(name == b"jumb" for name, _ in manifests), "a manifest")
    _need(len(manifests) == count, "a manifest that nothing refers to")
    kind, label, parts = _described(manifests[-1][1])  # the others are hashed by it
    _need(kind == b"c2ma" and re.fullmatch(rb"urn:c2pa:[0-9a-f-]{36}(:.*)?", label) is not None, "a manifest")
    seen = set()
    for name, content in parts:
        _need(name == b"jumb", "a part of a manifest")
        kind, label, inner = _described(content)
        _need(_BOXES.get(label) == kind, "a part of a manifest")
        seen.add(kind)
        if kind in (b"c2cl", b"c2cs"):
            _need([name for name, _ in inner] == [b"cbor"], "a part of a manifest")
        if kind == b"c2cs":
            _check_signature(inner[0][1])
        if kind == b"c2as":
            for name, assertion in inner:
                _need(name == b"jumb", "an assertion")
                shape, _, values = _described(assertion)
                _need([name for name, _ in values] == [shape], "an assertion")
    _need(seen == {b"c2as", b"c2cl", b"c2cs"} and len(parts) == 3, "the parts of a manifest")


def _check_signature(content: bytes) -> None:
    """What stands beside a signature without being signed is nothing but zeros that fill up."""
    value, stop = _cbor(content, 0)
    _need(stop == len(content), "what follows a signature")
    _need(isinstance(value, list) and len(value) == 4 and isinstance(value[1], dict), "a signature")
    for name, filling in value[1].items():
        _need(name in _UNSIGNED, "what stands beside a signature")
        _need(not str(name).startswith("pad") or filling == bytes(len(filling)), "what fills up a signature")


def _cbor(content: bytes, at: int) -> tuple[Any, int]:
    """A value as C2PA's signatures have them, and where it stops."""
    kind, size = content[at] >> 5, content[at] & 31
    at += 1
    if size >= 24:
        _need(size <= 27, "a value")
        width = 1 << (size - 24)
        size, at = int.from_bytes(content[at : at + width], "big"), at + width
    if kind in (0, 1):
        return (size if kind == 0 else -1 - size), at
    if kind in (2, 3):
        _need(at + size <= len(content), "a value")
        found = bytes(content[at : at + size])
        return (found if kind == 2 else found.decode()), at + size
    if kind == 4:
        items = []
        for _ in range(size):
            item, at = _cbor(content, at)
            items.append(item)
        return items, at
    if kind == 5:
        table = {}
        for _ in range(size):
            key, at = _cbor(content, at)
            table[key], at = _cbor(content, at)
        return table, at
    if kind == 6:
        return _cbor(content, at)
    return None, at
