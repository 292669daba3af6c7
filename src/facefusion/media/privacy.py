"""What media tell beside their pictures: who took them, where, when and with what. Taken away where people are hidden.

Only what is needed to show a photo or clip stays, by lists of what is allowed: tags that nobody has thought of go too.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from facefusion.media.colour import bare_profile
from facefusion.media.image import Photo
from facefusion.media.metadata import BROKEN, EXIF_IFD, GPS_IFD

_SHOWN = (0x011A, 0x011B, 0x0128)
"""Resolution and its unit."""
_SHOWN_EXIF = (0x9000, 0xA001, 0xA500)
"""Version, colour space, gamma."""
_NAMES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("owner and author", (0x013B, 0x8298, 0xA430, 0x9C9D, 0xA437, 0xA438, 0xA439)),
    ("serial numbers", (0xA431, 0xA435, 0xA420, 0xC62F)),
    ("camera", (0x010F, 0x0110, 0xA432, 0xA433, 0xA434, 0xA436, 0x927C)),
    ("dates", (0x0132, 0x9003, 0x9004, 0x9010, 0x9011, 0x9012, 0x9290, 0x9291, 0x9292)),
    ("comments", (0x010E, 0x9286, 0x9C9B, 0x9C9C, 0x9C9E, 0x9C9F)),
    ("software and computer", (0x0131, 0x013C, 0xA43A, 0xA43B, 0xA43C)),
)
_KEPT_TAGS = frozenset({"language", "alpha_mode", "stereo_mode"})
"""Tags of clips and their tracks that change how they are shown."""
_TAG_NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("GPS position", ("location", "gps", "©xyz", "xyz", "geo", "latitude", "longitude", "place", "country", "city")),
    ("owner and author", ("artist", "author", "owner", "copyright", "composer", "director", "producer", "performer",
                          "writer", "actor", "person", "publisher", "user")),
    ("serial numbers", ("serial", "uuid", "umid", "identifier", "guid", "unique")),
    ("camera", ("make", "model", "camera", "lens", "manufacturer", "device", "firmware", "handler", "vendor")),
    ("dates", ("date", "time", "year", "creation", "timecode")),
    ("titles and comments", ("title", "comment", "description", "synopsis", "keyword", "album", "show", "lyrics",
                             "subject", "episode", "reel")),
    ("software and computer", ("software", "encoder", "tool", "host", "writing")),
)  # fmt: skip
_ORDER = (
    "GPS position", "owner and author", "serial numbers", "camera", "dates", "comments", "titles and comments",
    "titles of chapters", "software and computer", "XMP", "pictures", "other tags",
)  # fmt: skip
_UNSAID = {"encoder", "major_brand", "minor_version", "compatible_brands", "handler_name", "vendor_id", "duration"}
"""Tags that software writes by itself; nobody need be told that they are gone."""


def clean_photo(photo: Photo) -> tuple[Photo, tuple[str, ...]]:
    """A photo without anything that tells who, where or when.

    Returns
    -------
    The photo, with pixels, alpha, resolution and what its profile says about colours only, and kinds of what was
    removed, for `say_removed`.
    """
    block, removed = clean_exif(photo.exif)
    kinds = set(removed)
    if photo.xmp:
        kinds.add("XMP")
    if photo.text or photo.comment:
        kinds.add("comments")
    profile = bare_profile(photo.icc_profile) if photo.icc_profile else None
    return replace(photo, exif=block, xmp=None, text=(), comment=None, icc_profile=profile), tuple(sorted(kinds))


def clean_exif(block: bytes | None) -> tuple[bytes | None, tuple[str, ...]]:
    """EXIF with resolution and colour space only.

    Returns
    -------
    A block, or None where nothing is left, and kinds of what was removed.
    """
    if not block:
        return None, ()
    exif = Image.Exif()
    kept = Image.Exif()
    try:
        with warnings.catch_warnings():  # Pillow warns about damage
            warnings.simplefilter("ignore")
            exif.load(block)
            tags = set(exif) - {EXIF_IFD, GPS_IFD}
            about = dict(exif.get_ifd(EXIF_IFD)) if EXIF_IFD in exif else {}
            kinds = {kind for kind, names in _NAMES if (tags | set(about)) & set(names)}
            if GPS_IFD in exif:
                kinds.add("GPS position")
            named = {tag for _, names in _NAMES for tag in names}
            if (tags - set(_SHOWN) - named) or (set(about) - set(_SHOWN_EXIF) - named):
                kinds.add("other tags")
            for tag in _SHOWN:
                if _is_number(exif.get(tag)):
                    kept[tag] = exif[tag]
            shown = {tag: about[tag] for tag in _SHOWN_EXIF if _is_harmless(tag, about.get(tag))}
            if shown:
                kept[EXIF_IFD] = shown
            return (kept.tobytes() if len(kept) else None), tuple(sorted(kinds))
    except BROKEN:
        return None, ("other tags",)


def _is_number(value: Any) -> bool:
    return value is not None and not isinstance(value, (bytes, str, tuple, list, dict)) and 0 < float(value) < 1e6


def _is_harmless(tag: int, value: Any) -> bool:
    if tag == 0x9000:
        return isinstance(value, bytes) and len(value) == 4 and value.isdigit()
    return _is_number(value)


def clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags of a clip, a track or a chapter that only say how it is shown."""
    return {name: value for name, value in tags.items() if name.lower() in _KEPT_TAGS and len(value) <= 16}


def clean_chapters(chapters: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Chapters with their times and without their titles, which may name people and places."""
    return [{**chapter, "metadata": {}} for chapter in chapters]


def kinds_of_tags(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Kinds of what `clean_tags` removes, for `say_removed`."""
    kinds = set()
    for name in set(tags) - set(clean_tags(tags)):
        low = name.lower()
        if low not in _UNSAID:
            kinds.add(next((kind for kind, words in _TAG_NAMES if any(word in low for word in words)), "other tags"))
    return tuple(sorted(kinds))


def kinds_in_clip(container: Any) -> tuple[str, ...]:
    """Kinds of what a clip, open in PyAV, tells beside its picture, for `say_removed`."""
    kinds = set(kinds_of_tags(container.metadata))
    for stream in container.streams:
        kinds |= set(kinds_of_tags(stream.metadata))
        disposition = getattr(stream, "disposition", 0)
        if stream.type == "attachment" or "attached_pic" in str(disposition):
            kinds.add("pictures")
        elif stream.type == "data":
            kinds.add("other tags")
    if any(chapter.get("metadata") for chapter in container.chapters()):
        kinds.add("titles of chapters")
    return tuple(sorted(kinds))


def say_removed(kinds: Sequence[str]) -> tuple[str, ...]:
    """The sentence about what was removed, or nothing where nothing was."""
    if not kinds:
        return ()
    listed = ", ".join(sorted(set(kinds), key=lambda kind: _ORDER.index(kind) if kind in _ORDER else len(_ORDER)))
    return (f"Metadata that tells who, where or when was removed ({listed}); --keep-metadata keeps it.",)


def say_left_out(parts: Sequence[str]) -> tuple[str, ...]:
    """The sentence about small pictures and more that a photo's file had (`Photo.small_parts`), or nothing."""
    return (f"The file also had {' and '.join(parts)}; the output does not.",) if parts else ()


def clean_extradata(codec: str, extradata: bytes | None) -> bytes | None:
    """A track's header for its decoder without the names that some codecs keep in it.

    Parameters
    ----------
    codec
        Name of the codec.
    extradata
        Its header, of which Vorbis and Theora have three, the second with comments; FLAC may have blocks of tags and
        pictures.

    Returns
    -------
    The header; as it was where the codec keeps no names in it, or where it cannot be read.
    """
    if not extradata:
        return extradata
    try:
        if codec in ("vorbis", "theora"):
            return _clean_xiph(extradata)
        if codec == "flac" and extradata[:4] == b"fLaC" and len(extradata) >= 42:
            return b"fLaC\x80" + extradata[5:42]
    except (struct.error, IndexError):
        pass
    return extradata


def _clean_xiph(extradata: bytes) -> bytes:
    """Three headers behind their lengths, in Xiph's lacing (as in Matroska) or 16-bit lengths (as libav packs them)."""
    if extradata[:1] == b"\x02":
        sizes, at = [], 1
        for _ in range(2):
            size = 0
            while extradata[at] == 255:
                size, at = size + 255, at + 1
            sizes.append(size + extradata[at])
            at += 1
        first, comments = extradata[at : at + sizes[0]], extradata[at + sizes[0] : at + sum(sizes)]
        last = extradata[at + sum(sizes) :]
    else:
        parts, at = [], 0
        for _ in range(3):
            (size,) = struct.unpack_from(">H", extradata, at)
            parts.append(extradata[at + 2 : at + 2 + size])
            at += 2 + size
        first, comments, last = parts
    if not last:
        return extradata
    # Kind and name of the codec, an empty vendor, no comments, and a bit that ends the header.
    bare = comments[:7] + struct.pack("<II", 0, 0) + (b"\x01" if comments[1:7] == b"vorbis" else b"")
    lacing = b"".join(b"\xff" * (len(part) // 255) + bytes([len(part) % 255]) for part in (first, bare))
    return b"\x02" + lacing + first + bare + last
