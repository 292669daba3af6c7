"""Photos: upright, alpha, colour profile, EXIF and XMP kept, 8 bits per channel."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Literal

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from facefusion.documents import reason_of
from facefusion.errors import FaceFusionError, MediaUnreadable, MediaUnsupported, OutputRefused, check_memory
from facefusion.media import colour, metadata
from facefusion.media.files import check_file, replacing, translate_os_error
from facefusion.types.frame import Pixels
from facefusion.types.shown import shown
from facefusion.types.track import MAX_SIDE
from facefusion.wording import counted

MAX_PIXELS = 120_000_000
MAX_BYTES = 1 << 30
BAND_PX = 4_000_000
"""Pixels that are converted at once: a large photo is not held several times over."""
FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".avif": "AVIF",
}
_MAX_SIDES = {"JPEG": 65500, "WEBP": 16383, "HEIF": 16384, "AVIF": 16384}
_WEAK_FORMATS = ("BMP", "DIB", "GIF", "ICO", "ICNS", "PSD", "PPM", "PCX", "SGI", "QOI", "JPEG2000")
"""Formats of which the first bytes alone prove little."""
_ANIMATED = {"GIF", "PNG", "WEBP", "AVIF"}
"""Formats in which several pictures are a film. In others they are pages, sizes, or a second view of the same thing."""
_RAW_HEADS = (
    (0, b"IIU\0"),
    (0, b"IIRO"),
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"FUJIFILMCCD-RAW"),
    (4, b"ftypcrx "),
    (8, b"CR\x02"),
)
_JXL_HEADS = ((0, b"\xff\x0a"), (0, b"\0\0\0\x0cJXL "))
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"}
_SEQUENCE_BRANDS = {b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"}
_AVIF_THREADS = 4
"""Fixed, so that a file does not depend on the machine."""
_UNTOLD_TEXT = ("xml:com.adobe.xmp", "raw profile type", "exif", "icc", "software", "thumb")
"""Beginnings of PNG text names that hold metadata of other kinds, or a small copy of the old picture."""
_HINT = "Use JPEG, PNG, WebP, TIFF, HEIC, AVIF or BMP."
_INTACT = "Get an intact copy, or save what a viewer can show of it as a new file."


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A photo in memory.

    Attributes
    ----------
    pixels
        (H, W, 3) uint8 RGB, upright.
    alpha
        (H, W) uint8, or None where the photo has none.
    exif
        EXIF block without orientation and thumbnail, or None.
    icc_profile
        Colour profile of the pixels, kept as it is; None stands for sRGB.
    xmp
        XMP packet without orientation and thumbnails, or None.
    text
        Names and values of a PNG's texts.
    comment
        A JPEG's comment.
    notes
        Sentences about what the file had and is not carried.
    small_parts
        What the file had besides, and no output ever has: a thumbnail. `parts_behind` finds more.
    """

    pixels: Pixels
    alpha: npt.NDArray[np.uint8] | None = None
    exif: bytes | None = None
    icc_profile: bytes | None = None
    xmp: bytes | None = None
    text: tuple[tuple[str, str], ...] = ()
    comment: bytes | None = None
    notes: tuple[str, ...] = ()
    small_parts: tuple[str, ...] = ()

    __repr__ = shown


def with_pixels(photo: Photo, pixels: Pixels) -> Photo:
    """A photo with other pixels; its alpha follows where their size is another."""
    height, width = pixels.shape[:2]
    alpha = photo.alpha
    if alpha is not None and alpha.shape != (height, width):
        alpha = np.asarray(Image.fromarray(alpha).resize((width, height), Image.Resampling.BICUBIC))
    return replace(photo, pixels=pixels, alpha=alpha)


def is_photo(path: Path) -> bool:
    """Whether a file's content (not its name) is a photo format.

    A file that begins as a photo is one, though it may be damaged; `read_photo` says so.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            kind = format_of(file.read(64))
            if kind is not None:
                return True
            with _quiet(), Image.open(file, formats=_weak_formats(path)):
                return True
    except Image.DecompressionBombError:
        return True
    except UnidentifiedImageError:
        return False
    except Exception:  # decoders raise anything on files that are none of theirs
        return False


def read_photo(path: Path, allow_8bit: bool = False, content: bytes | None = None) -> Photo:
    """Read a photo.

    Parameters
    ----------
    path
        JPEG, PNG, WebP, TIFF, HEIC, AVIF, BMP or another format that Pillow reads.
    allow_8bit
        Accept more than 8 bits per channel and reduce them.
    content
        What is in the file, where it was read already.

    Returns
    -------
    The photo, turned upright by its orientation. Its first page, or its primary picture.

    Raises
    ------
    MediaMissing, MediaUnreadable, MediaUnsupported
    """
    check_file(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise MediaUnsupported(f"{path} has {size / 1e9:.1f} GB, too much for a photo.", "Save it smaller first.")
    with _our_errors(path), path.open("rb") if content is None else BytesIO(content) as file:
        return _decode(path, file, allow_8bit)


def parts_behind(file: Path | bytes) -> tuple[str, ...]:
    """What a photo's file, or its content, has behind the picture, in the words of `Photo.small_parts`; it is read."""
    try:
        content = file if isinstance(file, bytes) else file.read_bytes()
    except OSError:  # it was there when its picture was read
        return ()
    behind = metadata.bytes_behind(content)
    return (f"{counted(behind, 'byte')} behind the picture",) if behind else ()


def read_picture(content: bytes, name: str, allow_8bit: bool = False) -> Photo:
    """`read_photo` for the content of a file.

    Parameters
    ----------
    content
        What would be in the file.
    name
        What to call it in errors.
    allow_8bit
        Accept more than 8 bits per channel and reduce them.

    Raises
    ------
    MediaUnreadable, MediaUnsupported
    """
    if len(content) > MAX_BYTES:
        raise MediaUnsupported(f"{name} has {len(content) / 1e9:.1f} GB, too much for a photo.", "Save it smaller.")
    path = Path(name)
    with _our_errors(path):
        return _decode(path, BytesIO(content), allow_8bit)


def _decode(path: Path, file: IO[bytes], allow_8bit: bool) -> Photo:
    kind = format_of(file.read(64))
    file.seek(0)
    if kind == "raw":
        raise _raw_refused(path)
    if kind == "JPEG XL":
        raise MediaUnsupported(f"{path} is JPEG XL, which is not read.", "Convert it to JPEG, PNG or AVIF first.")
    if kind == "HEIF":
        _register_heif()
    with _quiet(), Image.open(file, formats=[kind] if kind else _weak_formats(path)) as opened:
        return _Reading(path, file, opened, allow_8bit).photo()


class _Reading:
    """One photo on its way in."""

    def __init__(self, path: Path, file: IO[bytes], opened: Image.Image, allow_8bit: bool) -> None:
        self._path, self._file, self._opened, self._allow_8bit = path, file, opened, allow_8bit
        self._kind = opened.format or ""
        self._notes: list[str] = []

    def photo(self) -> Photo:
        opened = self._opened
        self._check()
        opened.load()
        exif = self._exif()
        is_turned = self._kind in ("HEIF", "PSD")  # by its decoder, or never
        orientation = 1 if is_turned else metadata.orientation_of(exif)
        pixels, alpha, profile = self._pixels(orientation)
        block, is_whole = metadata.plain_exif(exif, (pixels.shape[1], pixels.shape[0]))
        if not is_whole:
            self._notes.append(f"Damaged EXIF of {self._path.name} was left out.")
        if self._kind in ("JPEG", "MPO", "PNG"):
            block = metadata.with_dpi(block, self._kind, opened.info, orientation >= 5)
        raw_xmp = opened.info.get("xmp") or opened.info.get("XML:com.adobe.xmp")
        self._tell_extras(raw_xmp)
        xmp, is_whole = metadata.plain_xmp(raw_xmp)
        if not is_whole:
            self._notes.append(f"XMP of {self._path.name} that cannot be read was left out.")
        comment = opened.info.get("comment") if self._kind in ("JPEG", "MPO") else None
        return Photo(
            pixels,
            alpha,
            block,
            profile,
            xmp,
            self._text(),
            comment if isinstance(comment, bytes) else None,
            tuple(self._notes),
            self._small_parts(exif),
        )

    def _small_parts(self, exif: Image.Exif) -> tuple[str, ...]:
        info, found = self._opened.info, []
        has_own = info.get("thumbnails") or {1033, 1036} & set(info.get("photoshop") or ())  # of HEIF, of Photoshop
        is_next_page = self._kind == "TIFF"
        if has_own or (not is_next_page and metadata.has_thumbnail(exif)):
            found.append("a thumbnail")
        return tuple(found)

    def _exif(self) -> Image.Exif:
        try:
            return self._opened.getexif()
        except metadata.BROKEN:
            self._notes.append(f"Damaged EXIF of {self._path.name} was left out.")
            return Image.Exif()

    def _check(self) -> None:
        """Everything that is found before a pixel is decoded."""
        opened, path = self._opened, self._path
        width, height = opened.size
        if width * height > MAX_PIXELS:
            raise MediaUnsupported(
                f"{path} has {width} x {height} pixels, more than {MAX_PIXELS // 1_000_000} million.",
                "Scale it down first.",
            )
        check_sides(width, height, str(path))
        self._file.seek(0)
        head = self._file.read(64)
        brands = _brands_of(head)
        is_film = self._kind in _ANIMATED and getattr(opened, "n_frames", 1) > 1
        if is_film or not _SEQUENCE_BRANDS.isdisjoint(brands[:1]):
            raise MediaUnsupported(f"{path} is animated.", "Convert it to a clip (.mp4) first.")
        tags: Any = getattr(opened, "tag_v2", {})
        if self._kind == "TIFF" and (50706 in tags or _number(tags.get(254)) & 1):
            raise _raw_refused(path)
        if opened.mode == "CMYK" and not opened.info.get("icc_profile"):
            raise MediaUnsupported(
                f"{path} is CMYK, made for print, and has no colour profile.", "Convert it to RGB first."
            )
        depth = self._depth(head)
        if depth > 16 and opened.mode != "F":
            raise MediaUnsupported(f"{path} has {depth} bits per channel.", "Save it with 8 or 16 bits first.")
        if depth > 8 and not self._allow_8bit:
            raise MediaUnsupported(
                f"{path} has {depth} bits per channel and only 8 are carried.", "Add --allow-8bit to reduce it."
            )
        self._bits = depth

    def _depth(self, head: bytes) -> int:
        """Bits per channel in the file; Pillow itself reduces some formats without saying so."""
        opened = self._opened
        if self._kind == "PNG":
            return head[24]
        if self._kind == "TIFF":
            bits = opened.tag_v2.get(258, 8)  # type: ignore[attr-defined]
            return max((_number(bit) for bit in bits), default=8) if isinstance(bits, tuple) else _number(bits) or 8
        if self._kind == "HEIF":
            return _number(opened.info.get("bit_depth")) or 8
        if self._kind == "PPM":
            return 16 if opened.mode == "I" else 32 if opened.mode == "F" else 8
        start = b""
        if self._kind in ("AVIF", "JPEG2000"):
            self._file.seek(0)
            start = self._file.read(1 << 20)
        if self._kind == "AVIF":
            flags = [start[at + 6] for at in _find_all(start, b"av1C") if at + 6 < len(start)]
            return max((12 if flag & 0x20 else 10 if flag & 0x40 else 8 for flag in flags), default=8)
        if self._kind == "JPEG2000":
            at = start.find(b"\xff\x4f\xff\x51")
            return (start[at + 42] & 0x7F) + 1 if 0 <= at < len(start) - 42 else 8
        return {"I": 32, "F": 32}.get(opened.mode, 16 if opened.mode.startswith("I;16") else 8)

    def _pixels(self, orientation: int) -> tuple[Pixels, npt.NDArray[np.uint8] | None, bytes | None]:
        """Upright RGB, alpha and the profile that belongs to them."""
        opened = self._opened
        profile = opened.info.get("icc_profile") or None
        has_alpha = opened.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in opened.info
        deep = self._read_deep() if self._bits == 16 and self._kind in ("PNG", "TIFF") else None
        if deep is not None:
            has_alpha = deep.shape[2] == 4
            width, height = deep.shape[1], deep.shape[0]
        else:
            width, height = opened.size
        convert, profile = self._conversion(profile)
        table = None
        if profile is None and convert is None:
            profile, table = self._tagged_colour()
        is_lying = orientation >= 5
        shape = (width, height) if is_lying else (height, width)
        pixels = np.empty((*shape, 3), dtype=np.uint8)
        alpha = np.empty(shape, dtype=np.uint8) if has_alpha else None
        views = [_stored(pixels, orientation), None if alpha is None else _stored(alpha, orientation)]
        step = max(BAND_PX // max(width, 1), 1)
        for top in range(0, height, step):
            bottom = min(top + step, height)
            if deep is not None:
                band: Pixels = ((deep[top:bottom].astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
            else:
                band = self._band(opened.crop((0, top, width, bottom)), has_alpha, convert)
            colours = band[..., :3]
            views[0][top:bottom] = colours if table is None else table[colours]  # type: ignore[index]
            if views[1] is not None:
                views[1][top:bottom] = band[..., 3]
        return pixels, alpha, profile

    def _band(self, part: Image.Image, has_alpha: bool, convert: colour.Convert | None) -> Pixels:
        """Some rows as RGB or RGBA."""
        if part.mode == "F" or part.mode.startswith("I"):
            see_through = part.info.get("transparency")
            values = np.asarray(part)
            grey = self._reduced(values)
            is_seen = np.not_equal(values, see_through) if isinstance(see_through, int) else np.ones(grey.shape, bool)
            return np.dstack([grey, grey, grey, is_seen * np.uint8(255)])
        if convert is None:
            return np.asarray(part.convert("RGBA" if has_alpha else "RGB"))
        kept = np.asarray(part.convert("RGBA"))[..., 3] if has_alpha else None
        if part.mode in ("1", "L", "LA", "La", "P", "PA"):
            part = part.convert("RGBA").convert("L") if has_alpha else part.convert("L")
        colours = np.asarray(convert(part))
        return colours if kept is None else np.dstack([colours, kept])

    def _reduced(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Grey of 9 to 16 bits, or of real numbers from 0 to 1, in 8 bits."""
        if values.dtype.kind == "f":
            if not np.isfinite(values).all() or values.min(initial=0) < 0 or values.max(initial=0) > 1:
                raise MediaUnsupported(
                    f"{self._path} holds real numbers that are not from 0 to 1, so nobody knows what is white.",
                    "Save it with 8 or 16 bits first.",
                )
            return np.asarray(np.round(values * 255), dtype=np.uint8)
        tags: Any = getattr(self._opened, "tag_v2", {})
        is_signed = self._kind == "TIFF" and 2 in np.atleast_1d(tags.get(339, 1))
        # Pillow brings 12 bits of a JPEG 2000 to 16, and leaves those of a TIFF.
        bits = self._bits if self._kind == "TIFF" else 16
        white = (1 << (bits - is_signed)) - 1
        reduced = (np.clip(values.astype(np.int64), 0, white) * 255 + white // 2) // white
        if self._kind == "TIFF" and tags.get(262) == 0:
            reduced = 255 - reduced
        return reduced.astype(np.uint8)

    def _read_deep(self) -> npt.NDArray[np.uint16] | None:
        """(H, W, 3 or 4) of 16 bits, which Pillow would cut to 8 without rounding; None where it must do."""
        if self._opened.mode not in ("RGB", "RGBA") or self._opened.info.get("compression") == "jpeg":
            return None
        self._file.seek(0)
        try:
            decoder: Any = av.CodecContext.create("png" if self._kind == "PNG" else "tiff", "r")
            decoder.thread_count = 1
            pictures = decoder.decode(av.Packet(self._file.read())) or decoder.decode(None)
        except (av.error.FFmpegError, ValueError, EOFError):
            return None
        name = pictures[0].format.name if pictures else ""
        channels = {"rgb48": 3, "rgba64": 4, "ya16": 2}.get(name[:-2])
        if channels is None or (pictures[0].width, pictures[0].height) != self._opened.size:
            return None
        plane = pictures[0].planes[0]
        words = np.frombuffer(plane, dtype=">u2" if name.endswith("be") else "<u2").reshape(-1, plane.line_size // 2)
        values = words[: plane.height, : plane.width * channels].reshape(plane.height, plane.width, channels)
        if channels == 2:
            return np.asarray(values[..., (0, 0, 0, 1)], dtype=np.uint16)
        if channels == 4 and self._opened.mode == "RGB" and "transparency" not in self._opened.info:
            values = values[..., :3]
        return values

    def _conversion(self, profile: bytes | None) -> tuple[colour.Convert | None, bytes | None]:
        """How to bring what is not RGB to sRGB, and the profile that is left."""
        mode = self._opened.mode
        space = "" if profile is None else colour.space_of(profile)
        if mode == "LAB":
            self._notes.append(f"{self._path.name} is L*a*b* and was converted to sRGB.")
            return self._required(colour.convert_to_srgb(None, "LAB")), None
        if mode == "CMYK":
            self._notes.append(f"{self._path.name} is CMYK and was converted to sRGB.")
            found = colour.convert_to_srgb(profile, "CMYK") if space == "CMYK" else None
            return self._required(found), None
        if profile is None or space in ("RGB", ""):
            return None, profile
        found = colour.convert_to_srgb(profile, "L") if space == "GRAY" and mode in ("1", "L", "LA", "La") else None
        if found is not None:
            self._notes.append(f"The grey colour profile of {self._path.name} was converted to sRGB.")
            return found, None
        if space == "GRAY" and (mode.startswith("I") or mode == "F"):
            self._notes.append(f"The grey colour profile of {self._path.name} was left out.")
            return None, None
        self._notes.append(f"The {space} profile of {self._path.name} does not fit its picture and was left out.")
        return None, None

    def _required(self, found: colour.Convert | None) -> colour.Convert:
        if found is None:
            raise MediaUnsupported(
                f"{self._path} is {self._opened.mode}, and its colour profile cannot be used.",
                "Convert it to RGB first.",
            )
        return found

    def _tagged_colour(self) -> tuple[bytes | None, npt.NDArray[np.uint8] | None]:
        """Profile, and table for HDR, of files that say by numbers what their colours mean."""
        info = self._opened.info
        codes: tuple[int, int] | None = None
        if self._kind == "HEIF" and isinstance(nclx := info.get("nclx_profile"), dict):
            codes = _number(nclx.get("color_primaries")), _number(nclx.get("transfer_characteristics"))
        elif self._kind == "AVIF":
            self._file.seek(0)
            start = self._file.read(1 << 20)
            at = start.find(b"colrnclx")
            codes = struct.unpack_from(">HH", start, at + 8) if 0 <= at < len(start) - 12 else None
        elif self._kind == "PNG":
            self._file.seek(0)
            chunk = metadata.find_chunk(self._file.read, b"cICP")
            if chunk is not None and len(chunk) == 4:
                codes = chunk[0], chunk[1]
            elif "srgb" not in info:
                return colour.profile_of_png(info.get("gamma"), info.get("chromaticity")), None
        if codes is None:
            return None, None
        primaries, transfer = codes
        table = None
        if transfer in colour.HDR_TRANSFERS:
            name = colour.HDR_TRANSFERS[transfer]
            if not self._allow_8bit:
                raise MediaUnsupported(
                    f"{self._path} is an HDR photo ({name}).", "Add --allow-8bit to bring it to standard range."
                )
            self._notes.append(f"{self._path.name} is an HDR photo ({name}) and was brought to standard range.")
            table = colour.standard_range(transfer)
        return colour.profile_of_cicp(primaries, transfer), table

    def _tell_extras(self, xmp: Any) -> None:
        """Name what else is in the file and is not carried."""
        opened, info, name = self._opened, self._opened.info, self._path.name
        words = xmp if isinstance(xmp, bytes) else str(xmp or "").encode("utf-8", "replace")
        found = []
        count = getattr(opened, "n_frames", 1) if self._kind in ("MPO", "HEIF") else 1
        if re.search(rb"(?<!xmlns:)(hdrgm|HDRGainMap):", words) or "gainmap" in str(info.get("aux", "")).lower():
            found.append("a gain map")
        elif self._kind == "MPO" and count > 1:
            found.append("a second picture (gain map, stereo or preview)")
        if self._kind == "HEIF":
            if count > 1:
                found.append(counted(count - 1, "more picture"))
            if info.get("depth_images"):
                found.append("a depth map")
        if b"MotionPhoto" in words or b"MicroVideo" in words:
            found.append("a short film")
        if self._kind == "TIFF" and getattr(opened, "is_animated", False):
            found.append("further pages")
        if found:
            self._notes.append(f"Only the picture of {name} is carried; the file also had {' and '.join(found)}.")

    def _text(self) -> tuple[tuple[str, str], ...]:
        if self._kind != "PNG":
            return ()
        texts: dict[str, Any] = getattr(self._opened, "text", {})
        return tuple(
            (str(name), str(value)) for name, value in texts.items() if not str(name).lower().startswith(_UNTOLD_TEXT)
        )


def _stored(upright: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """A view of an upright picture in which it lies as it is stored with an EXIF orientation."""
    if orientation >= 5:
        upright = upright.swapaxes(0, 1)
    if orientation in (2, 3, 7, 8):
        upright = upright[:, ::-1]
    if orientation in (3, 4, 6, 7):
        upright = upright[::-1]
    return upright


def check_sides(width: int, height: int, name: str) -> None:
    """Refuse a picture with a side that is longer than places in it can be told.

    Raises
    ------
    MediaUnsupported
    """
    if max(width, height) > MAX_SIDE:
        raise MediaUnsupported(
            f"{name} is {width} x {height} px; sides of up to {MAX_SIDE} px work.",
            "Scale it down first.",
        )


def check_photo_output(path: Path, width: int = 1, height: int = 1) -> None:
    """Refuse an output name whose ending is no photo format we write, or whose format cannot hold such a size."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise OutputRefused(f"A photo cannot be written as '{path.name}'.", f"End it in {', '.join(sorted(FORMATS))}.")
    limit = _MAX_SIDES.get(kind)
    if limit is not None and max(width, height) > limit:
        raise OutputRefused(
            f"{path.suffix} files hold sides of at most {limit} pixels, and the photo is {width} x {height}.",
            "End the output in .png or .tif.",
        )


def write_photo(path: Path, photo: Photo, quality: int = 92, software: str = "") -> tuple[str, ...]:
    """Write a photo; the file appears only when complete.

    Parameters
    ----------
    path
        Its ending chooses the format: JPEG, PNG, WebP, TIFF, HEIC, AVIF or BMP.
    photo
        What to write. Alpha is kept where the format has it and otherwise laid on white.
    quality
        0 to 100, for JPEG, WebP, HEIC and AVIF.
    software
        Written to the EXIF tag Software where the format has EXIF.

    Returns
    -------
    Sentences about what the format could not hold.

    Raises
    ------
    OutputRefused
    """
    height, width = photo.pixels.shape[:2]
    check_photo_output(path, width, height)
    kind = FORMATS[path.suffix.lower()]
    if kind == "HEIF":
        _register_heif()
    notes: list[str] = []
    if kind == "BMP" and photo.icc_profile:
        photo = _without_profile(photo)
        notes.append(f"{path.suffix} files hold no colour profile; the colours were converted to sRGB.")
    if photo.alpha is None:
        image = Image.fromarray(photo.pixels)
    elif kind in ("PNG", "WEBP", "TIFF", "HEIF", "AVIF"):
        image = Image.fromarray(np.dstack([photo.pixels, photo.alpha]))
    else:
        image = Image.fromarray(photo.pixels)
        image = Image.composite(image, Image.new("RGB", image.size, "white"), Image.fromarray(photo.alpha))
    try:
        with replacing(path) as partial, _quiet():
            exif = metadata.with_software(photo.exif, software)
            if kind == "JPEG":
                exif, left_out = metadata.fit_exif(exif)
                notes += [f"There is no room in {path.name} for {name}." for name in left_out]
            image.save(partial, kind, **_save_options(kind, photo, quality, exif, path, notes))
            if kind == "TIFF":
                _add_tiff_tags(partial, exif, photo.xmp)
    except FaceFusionError:
        raise
    except OSError as error:
        raise translate_os_error(error, path) from error
    except MemoryError as error:
        raise OutputRefused(f"There is not enough memory to write {path}.", "Close other programs.") from error
    except Exception as error:  # encoders raise anything
        raise OutputRefused(
            f"{path} cannot be written: {reason_of(error)}.", "Choose another ending, such as .png."
        ) from error
    return tuple(notes)


def encode_picture(
    pixels: Pixels, kind: Literal["jpeg", "webp", "png"] = "jpeg", quality: int = 90, software: str = ""
) -> bytes:
    """A picture as the content of a file, to be sent.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 RGB.
    kind
        Format.
    quality
        0 to 100, for JPEG and WebP.
    software
        Written to the EXIF tag Software.
    """
    options: dict[str, Any] = {} if kind == "png" else {"quality": quality}
    if exif := metadata.with_software(None, software):
        options["exif"] = exif
    if kind == "png":
        options["compress_level"] = 3
    if kind == "webp":
        options["method"] = 2
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, kind.upper(), **options)
    return held.getvalue()


def _save_options(kind: str, photo: Photo, quality: int, exif: bytes, path: Path, notes: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if kind == "BMP":
        return options
    if kind in ("JPEG", "WEBP", "HEIF", "AVIF"):
        options["quality"] = quality
    if kind == "JPEG":
        options["subsampling"] = 0 if quality >= 90 else 2
        if photo.comment and len(photo.comment) <= metadata.MAX_EXIF_BYTES:
            options["comment"] = photo.comment
    if kind == "AVIF":
        options |= {"subsampling": "4:4:4" if quality >= 90 else "4:2:0", "max_threads": _AVIF_THREADS, "speed": 8}
    if kind == "HEIF":
        # Phones decode no other chroma. The slower presets take three times as long for files that are 1 % smaller.
        options |= {"chroma": 420, "enc_params": {"preset": "fast"}}
    if photo.icc_profile:
        options["icc_profile"] = photo.icc_profile
    if kind == "TIFF":
        options["compression"] = "tiff_lzw"
        return options
    if exif or kind != "HEIF":
        options["exif"] = exif
    dpi = metadata.dpi_of_exif(exif) if kind in ("JPEG", "PNG") else None
    if dpi is not None and max(dpi) < 65535:
        options["dpi"] = dpi  # what programs read, and PNG keeps the EXIF of few
    xmp = photo.xmp
    if kind == "JPEG" and xmp and len(xmp) > metadata.MAX_XMP_BYTES:
        notes.append(f"There is no room in {path.name} for XMP.")
        xmp = None
    if kind == "PNG":
        texts = PngInfo()
        for name, value in photo.text:
            # Names outside Latin-1 or of odd length are no names of a PNG.
            if 0 < len(name.encode("latin1", "ignore")) == len(name) < 80:
                texts.add_itxt(name, value) if not value.isascii() else texts.add_text(name, value)
        if xmp:
            texts.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
        if texts.chunks:
            options["pnginfo"] = texts
    elif xmp:
        options["xmp"] = xmp
    return options


def _add_tiff_tags(path: Path, exif: bytes, xmp: bytes | None) -> None:
    written = path.read_bytes()
    added = metadata.add_to_tiff(written, exif, xmp)
    if added is None:
        return
    block, place = added
    with path.open("r+b") as file:
        file.seek(len(written))
        file.write(bytes(len(written) % 2) + block)
        file.seek(4)
        file.write(struct.pack("<I" if written[:2] == b"II" else ">I", place))


def _without_profile(photo: Photo) -> Photo:
    """The photo in sRGB."""
    convert = colour.convert_to_srgb(photo.icc_profile, "RGB")
    pixels = photo.pixels
    if convert is not None:
        pixels = np.empty_like(photo.pixels)
        step = max(BAND_PX // photo.pixels.shape[1], 1)
        for top in range(0, len(pixels), step):
            pixels[top : top + step] = np.asarray(convert(Image.fromarray(photo.pixels[top : top + step])))
    return replace(photo, pixels=pixels, icc_profile=None)


def format_of(head: bytes) -> str | None:
    """Format of a file whose first bytes leave no doubt, as Pillow names it, or ``raw`` or ``JPEG XL``."""
    for name, heads in (("raw", _RAW_HEADS), ("JPEG XL", _JXL_HEADS)):
        if any(head[at : at + len(magic)] == magic for at, magic in heads):
            return name
    if head[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    brands = _brands_of(head)
    if b"avif" in brands or b"avis" in brands:
        return "AVIF"
    if brands and brands[0] in _HEIF_BRANDS:
        return "HEIF"
    return None


def _brands_of(head: bytes) -> list[bytes]:
    """Major and compatible brands of a file of ISO's kind, as far as they stand in its first bytes."""
    if head[4:8] != b"ftyp":
        return []
    stop = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[8:12], *(head[at : at + 4] for at in range(16, stop - 3, 4))]


def _raw_refused(path: Path) -> MediaUnsupported:
    return MediaUnsupported(f"{path} is raw data of a camera.", "Develop it first, to JPEG, TIFF or PNG.")


def _weak_formats(path: Path) -> list[str]:
    return [*_WEAK_FORMATS, *(["TGA"] if path.suffix.lower() == ".tga" else [])]


@lru_cache(maxsize=1)
def _register_heif() -> None:
    """Teach Pillow HEIC; its library is loaded only where there is one to read or write."""
    from pillow_heif import register_heif_opener

    register_heif_opener(thumbnails=False)


def _find_all(text: bytes, wanted: bytes) -> Iterator[int]:
    at = text.find(wanted)
    while at >= 0:
        yield at
        at = text.find(wanted, at + 1)


def _number(value: Any) -> int:
    return int(value) if isinstance(value, (int, np.integer)) else 0


@contextmanager
def _our_errors(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises on a damaged file into an error that says so."""
    try:
        yield
    except FaceFusionError:
        raise
    except Image.DecompressionBombError as error:
        most = f"more than {MAX_PIXELS // 1_000_000} million pixels"
        raise MediaUnsupported(f"{path} is far too large: it has {most}.", "Scale it down first.") from error
    except UnidentifiedImageError as error:
        raise MediaUnreadable(f"{path} is damaged, or a photo of a kind that is not read.", _HINT) from error
    except Exception as error:
        check_memory(error, f"{path} could not be read; scale it down first")
        if isinstance(error, OSError) and error.errno is not None:
            raise MediaUnreadable(f"{path} cannot be read: {error.strerror}.", "Check the disk.") from error
        raise MediaUnreadable(f"{path} is damaged: {str(error).rstrip('.')}.", _INTACT) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns about odd metadata and large pictures; both are decided here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
