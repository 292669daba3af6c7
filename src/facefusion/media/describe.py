"""What a file is that somebody brought, told from its content, and a small picture of it."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from facefusion.errors import MediaUnreadable, MediaUnsupported
from facefusion.media.image import format_of, is_photo, read_photo
from facefusion.media.probe import open_any, probe
from facefusion.media.reader import ClipReader
from facefusion.media.sound import has_sound
from facefusion.types.frame import Pixels
from facefusion.wording import lengths_of

THUMBNAIL_PX = 1024
"""Longest side of the picture that is kept of a file; smaller ones are made of it."""
_PHOTOS = {
    "JPEG": ("image/jpeg", ".jpg"), "MPO": ("image/jpeg", ".jpg"), "PNG": ("image/png", ".png"),
    "WEBP": ("image/webp", ".webp"), "TIFF": ("image/tiff", ".tif"), "AVIF": ("image/avif", ".avif"),
    "HEIF": ("image/heic", ".heic"), "GIF": ("image/gif", ".gif"), "BMP": ("image/bmp", ".bmp"),
}  # fmt: skip
_CLIPS = {
    "matroska": ("video/x-matroska", ".mkv"), "webm": ("video/webm", ".webm"), "mov": ("video/quicktime", ".mov"),
    "mp4": ("video/mp4", ".mp4"), "avi": ("video/x-msvideo", ".avi"), "mpegts": ("video/mp2t", ".ts"),
    "ogg": ("video/ogg", ".ogv"), "flv": ("video/x-flv", ".flv"), "gif": ("image/gif", ".gif"),
}  # fmt: skip
_SOUNDS = {
    "wav": ("audio/wav", ".wav"), "mp3": ("audio/mpeg", ".mp3"), "flac": ("audio/flac", ".flac"),
    "ogg": ("audio/ogg", ".ogg"), "aac": ("audio/aac", ".aac"), "mov": ("audio/mp4", ".m4a"),
    "mp4": ("audio/mp4", ".m4a"), "matroska": ("audio/x-matroska", ".mka"), "webm": ("audio/webm", ".weba"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Description:
    """What a file is.

    Attributes
    ----------
    kind
        What can be done with it.
    media_type, suffix
        As the content says.
    width, height
        Upright size in pixels, or None for sound.
    duration_s, frame_rate
        Of a clip; None for a photo and where it is not known.
    has_sound
        Whether there is a sound track.
    """

    kind: Literal["photo", "clip", "sound"]
    media_type: str
    suffix: str
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    frame_rate: float | None = None
    has_sound: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def describe(path: Path, thumbnail: Path, max_duration_s: float = 0.0) -> Description:
    """Find out what a file is, and write a small picture of it; sound has none.

    Parameters
    ----------
    path
        The file; its name does not matter.
    thumbnail
        WebP to write.
    max_duration_s
        Longer clips and sounds are refused before a frame is decoded for the picture; 0 for any length.

    Raises
    ------
    MediaUnreadable
        When it is no photo, clip or sound, or damaged.
    MediaUnsupported
        When it is too large, too long or of a kind that is not handled.
    """
    if is_photo(path):
        photo = read_photo(path, allow_8bit=True)  # checks its size before it decodes
        height, width = photo.pixels.shape[:2]
        with path.open("rb") as file:
            media_type, suffix = _PHOTOS.get(format_of(file.read(64)) or "", ("application/octet-stream", ".img"))
        save_thumbnail(photo.pixels, thumbnail)
        return Description("photo", media_type, suffix, width, height)
    with open_any(path) as container:
        names = container.format.name.split(",")
        brand = str(container.metadata.get("major_brand", "")).strip()
        has_film = bool(container.streams.video)
        length_s = (container.duration or 0) / 1_000_000
    if has_film:
        info = probe(path)
        _check_length(max(info.duration_s, length_s), max_duration_s)
        first = next(iter(ClipReader(path, allow_8bit=True)), None)
        if first is None:
            raise MediaUnreadable(f"{path} has no frame that can be read.", "Get an intact copy.")
        save_thumbnail(first.pixels, thumbnail)
        media_type, suffix = _of_container(names, brand, _CLIPS, ("application/octet-stream", ".clip"))
        rate = None if info.frame_rate is None else round(float(info.frame_rate), 4)
        return Description(
            "clip", media_type, suffix, info.width, info.height, round(info.duration_s, 3) or None, rate,
            has_sound(path),
        )  # fmt: skip
    if not has_sound(path):
        raise MediaUnreadable(f"{path} is no photo, clip or sound.", "Bring a photo, a clip or a sound.")
    _check_length(length_s, max_duration_s)
    media_type, suffix = _of_container(names, brand, _SOUNDS, ("application/octet-stream", ".sound"))
    return Description("sound", media_type, suffix, duration_s=round(length_s, 3) or None, has_sound=True)


def _of_container(
    names: list[str], brand: str, known: dict[str, tuple[str, str]], other: tuple[str, str]
) -> tuple[str, str]:
    if "mov" in names:  # one demuxer for all of them
        return known["mov" if brand == "qt" else "mp4"]
    if "webm" in names and "matroska" in names:
        return known["matroska"]
    return next((known[name] for name in names if name in known), other)


def _check_length(length_s: float, most_s: float) -> None:
    if most_s and length_s > most_s:
        length, most = lengths_of((length_s, most_s), lambda told: told[0] > told[1] > 0)
        raise MediaUnsupported(f"This is {length} long; up to {most} are taken.", "Cut it into shorter parts.")


def fit(pixels: Pixels, side_px: int) -> Pixels:
    """A picture whose longer side is no longer than that."""
    height, width = pixels.shape[:2]
    if max(width, height) <= side_px:
        return pixels
    picture = Image.fromarray(pixels)
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def save_thumbnail(pixels: Pixels, path: Path, side_px: int = THUMBNAIL_PX) -> None:
    """Write a small picture as WebP, without any metadata."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    picture.save(path, "WEBP", quality=82, method=2)


def shrink(path: Path, side_px: int) -> bytes:
    """A smaller picture of one that `save_thumbnail` wrote."""
    with Image.open(path, formats=["WEBP"]) as picture:
        picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
        made = io.BytesIO()
        picture.save(made, "WEBP", quality=82, method=2)
        return made.getvalue()
