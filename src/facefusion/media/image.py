"""Photos: orientation applied, alpha, colour profile and EXIF kept, 8 bits per channel."""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from facefusion.errors import MediaUnreadable, MediaUnsupported, OutputRefused
from facefusion.media.files import check_file, partial_path, translate_os_error
from facefusion.types.frame import Pixels

MAX_PIXELS = 120_000_000
FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
_ORIENTATION = 0x0112
_SOFTWARE = 0x0131


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
        EXIF block with the orientation reset, or None.
    icc_profile
        Embedded colour profile, kept as it is.
    """

    pixels: Pixels
    alpha: npt.NDArray[np.uint8] | None = None
    exif: bytes | None = None
    icc_profile: bytes | None = None


def is_photo(path: Path) -> bool:
    """Whether a file's content (not its name) is a photo format."""
    check_file(path)
    try:
        with _quiet(), Image.open(path):
            return True
    except Image.DecompressionBombError:
        return True
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, struct.error):
        return False


def read_photo(path: Path, allow_8bit: bool = False) -> Photo:
    """Read a photo.

    Parameters
    ----------
    path
        JPEG, PNG, WebP, TIFF, BMP or another format that Pillow reads.
    allow_8bit
        Accept more than 8 bits per channel and reduce them.

    Returns
    -------
    The photo, turned upright by its EXIF orientation.

    Raises
    ------
    MediaMissing, MediaUnreadable, MediaUnsupported
    """
    check_file(path)
    try:
        with _quiet(), Image.open(path) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise MediaUnsupported(
                    f"{path} has {width} x {height} pixels, more than {MAX_PIXELS // 1_000_000} million.",
                    "Scale it down first.",
                )
            if getattr(opened, "n_frames", 1) > 1 and opened.format != "TIFF":
                raise MediaUnsupported(f"{path} is animated.", "Convert it to a clip (.mp4) first.")
            if opened.mode in ("CMYK", "YCCK"):
                raise MediaUnsupported(f"{path} is CMYK, made for print.", "Convert it to RGB first.")
            depth = _bit_depth(path, opened)
            if depth > 8 and not allow_8bit:
                raise MediaUnsupported(
                    f"{path} has {depth} bits per channel and only 8 are carried.", "Add --allow-8bit to reduce it."
                )
            icc_profile = opened.info.get("icc_profile")
            exif = opened.getexif()
            upright = ImageOps.exif_transpose(opened)
            has_alpha = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
            if upright.mode.startswith("I") or upright.mode == "F":
                values = np.asarray(upright, dtype=np.float64)
                grey = np.clip(values / (65535 if values.max() > 255 else 255) * 255, 0, 255).astype(np.uint8)
                upright = Image.fromarray(grey)
            channels = np.asarray(upright.convert("RGBA" if has_alpha else "RGB"))
            block = _plain_exif(exif)
    except Image.DecompressionBombError as error:
        raise MediaUnsupported(f"{path} is far too large: {error}.", "Scale it down first.") from error
    except MediaUnsupported:
        raise
    except UnidentifiedImageError as error:
        raise MediaUnreadable(
            f"{path} is not a photo in a known format.", "Use JPEG, PNG, WebP, TIFF or BMP."
        ) from error
    except (OSError, ValueError, SyntaxError, struct.error, EOFError, KeyError, TypeError, IndexError) as error:
        raise MediaUnreadable(f"{path} is damaged: {error}.", "Get an intact copy.") from error
    pixels = np.ascontiguousarray(channels[..., :3])
    alpha = np.ascontiguousarray(channels[..., 3]) if has_alpha else None
    return Photo(pixels, alpha, block, icc_profile)


def check_photo_output(path: Path) -> None:
    """Refuse an output name whose ending is no photo format we write."""
    if path.suffix.lower() not in FORMATS:
        raise OutputRefused(f"A photo cannot be written as '{path.name}'.", f"End it in {', '.join(sorted(FORMATS))}.")


def write_photo(path: Path, photo: Photo, quality: int = 92, software: str = "") -> None:
    """Write a photo; the file appears only when complete.

    Parameters
    ----------
    path
        Its ending chooses the format: JPEG, PNG, WebP, TIFF or BMP.
    photo
        What to write. Alpha is kept where the format has it and otherwise laid on white.
    quality
        0 to 100, for JPEG and WebP.
    software
        Written to the EXIF tag Software where the format has EXIF.

    Raises
    ------
    OutputRefused
    """
    check_photo_output(path)
    kind = FORMATS[path.suffix.lower()]
    if photo.alpha is not None and kind in ("PNG", "WEBP", "TIFF"):
        image = Image.fromarray(np.dstack([photo.pixels, photo.alpha]))
    elif photo.alpha is not None:
        image = Image.fromarray(photo.pixels)
        image = Image.composite(image, Image.new("RGB", image.size, "white"), Image.fromarray(photo.alpha))
    else:
        image = Image.fromarray(photo.pixels)
    options: dict[str, object] = {}
    if kind in ("JPEG", "WEBP"):
        options["quality"] = quality
    if kind == "JPEG":
        options["subsampling"] = 0 if quality >= 90 else 2
    if kind == "TIFF":
        options["compression"] = "tiff_lzw"
    if kind != "BMP":
        exif = Image.Exif()
        if photo.exif:
            exif.load(photo.exif)
        if software:
            exif[_SOFTWARE] = software
        options["exif"] = exif.tobytes()
        if photo.icc_profile:
            options["icc_profile"] = photo.icc_profile
    partial = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(partial, kind, **options)
        os.replace(partial, path)
    except OSError as error:
        raise translate_os_error(error, path) from error
    finally:
        partial.unlink(missing_ok=True)


def _plain_exif(exif: Image.Exif) -> bytes | None:
    if not exif:
        return None
    exif.pop(_ORIENTATION, None)
    try:
        return exif.tobytes()
    except (ValueError, TypeError, struct.error, OverflowError):
        return None  # damaged EXIF is dropped, the picture is kept


def _bit_depth(path: Path, opened: Image.Image) -> int:
    """Bits per channel in the file; Pillow itself reduces some formats without saying so."""
    if opened.format == "PNG":
        with path.open("rb") as file:
            header = file.read(26)
        return header[24] if len(header) > 24 else 8
    if opened.format == "TIFF":
        tags = getattr(opened, "tag_v2", {})
        bits = tags.get(258, (8,))
        return int(max(bits)) if isinstance(bits, tuple) else int(bits)
    return 16 if opened.mode.startswith("I;16") else 8


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns about odd metadata and large pictures; both are decided here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
