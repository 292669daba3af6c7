"""Pictures as programs have them: arrays, Pillow's images, the content of files, and paths."""

from __future__ import annotations

import os
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from facefusion.errors import MediaUnreadable, MediaUnsupported
from facefusion.media.colour import convert_to_srgb, space_of
from facefusion.media.image import MAX_PIXELS, Photo, check_sides, is_photo, read_photo, read_picture
from facefusion.media.metadata import dpi_of_exif, exif_of_dpi, orientation_of
from facefusion.media.probe import probe
from facefusion.types.frame import Pixels

PilImage: TypeAlias = Image.Image
Picture: TypeAlias = Pixels | Image.Image | bytes | str | os.PathLike[str]
"""(H, W, 3) uint8 RGB, an image of Pillow, the content of a photo's file, or its path."""

_WANTED = "Give an array (H, W, 3) of uint8 in RGB, an image of Pillow, the bytes of a photo, or a path."
_PLAIN = ("RGB", "L", "1", "P", "RGBA", "LA", "PA", "RGBX")
"""Pillow's modes that become RGB without any loss or choice; alpha is kept beside."""


def take_picture(picture: Any, name: str = "The picture", allow_8bit: bool = False) -> Photo:
    """A picture, checked.

    Parameters
    ----------
    picture
        See `Picture`. Files are turned upright by their orientation, and so are images of Pillow.
    name
        What to call it in errors.
    allow_8bit
        Accept files with more than 8 bits per channel and reduce them.

    Returns
    -------
    The photo. The pixels of an array are its own, not copied.

    Raises
    ------
    MediaMissing, MediaUnreadable, MediaUnsupported
    """
    if isinstance(picture, np.ndarray):
        return Photo(check_pixels(picture, name))
    if isinstance(picture, Image.Image):
        return _from_pil(picture, name)
    if isinstance(picture, bytes | bytearray | memoryview):
        return _from_bytes(bytes(picture), name, allow_8bit)
    if isinstance(picture, str | os.PathLike):
        path = Path(os.fsdecode(os.fspath(picture)))
        if not is_photo(path):
            probe(path)  # says so where it is no media at all
            raise MediaUnsupported(f"{path} is a clip.", "Give one picture at a time, or name it as a target of run().")
        return read_photo(path, allow_8bit)
    kind = type(picture)
    spelled = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    raise MediaUnsupported(f"{name} is no picture but {spelled}.", _WANTED)


def check_pixels(pixels: Any, name: str = "The picture") -> Pixels:
    """An array that is a picture, or an error that says what it is.

    Raises
    ------
    MediaUnsupported
    """
    shape = " x ".join(map(str, pixels.shape)) or "()"
    if pixels.ndim == 2:
        raise MediaUnsupported(f"{name} is grey ({shape}).", "Give three channels: np.stack([grey] * 3, axis=-1).")
    if pixels.ndim != 3:
        raise MediaUnsupported(f"{name} has the shape {shape}, not (H, W, 3).", "Give one picture at a time.")
    channels = pixels.shape[2]
    if channels == 4:
        raise MediaUnsupported(f"{name} has four channels.", "Leave alpha out: picture[..., :3]. The order is RGB.")
    if channels == 1:
        raise MediaUnsupported(f"{name} is grey ({shape}).", "Give three channels: np.repeat(picture, 3, axis=2).")
    if channels != 3:
        is_first = pixels.shape[0] in (1, 3, 4)
        hint = "Channels come last: picture.transpose(1, 2, 0)." if is_first else "Give (H, W, 3), in RGB."
        raise MediaUnsupported(f"{name} has the shape {shape}, not (H, W, 3).", hint)
    if pixels.dtype != np.uint8:
        raise MediaUnsupported(f"{name} is of {pixels.dtype}, not uint8.", f"Convert it: {_way_to_uint8(pixels)}.")
    height, width = pixels.shape[:2]
    if not height or not width:
        raise MediaUnsupported(f"{name} is empty ({shape}).", "Give at least one pixel.")
    if height * width > MAX_PIXELS:
        most = f"more than {MAX_PIXELS // 1_000_000} million pixels"
        raise MediaUnsupported(f"{name} is far too large: it has {most}.", "Scale it down first.")
    check_sides(width, height, name)
    return np.ascontiguousarray(pixels)


def is_one_picture(given: object) -> bool:
    """Whether something is a picture, though it can be iterated over."""
    if isinstance(given, np.ndarray):
        return given.ndim < 4 and given.dtype != object
    return isinstance(given, Image.Image | bytes | bytearray | memoryview | str | os.PathLike)


def _way_to_uint8(pixels: Any) -> str:
    """How an array of another type becomes one of uint8 that shows the same; what is white its values tell."""
    kind, size = pixels.dtype.kind, pixels.dtype.itemsize
    if kind == "b":
        return "picture.astype(np.uint8) * 255"
    if kind not in "iuf":  # objects, complex numbers, words
        return "np.array(picture.tolist(), dtype=np.uint8) where 255 is white"
    if kind == "f":
        if (pixels > 2).any():  # sharpened ones of 0 to 1 go a little beyond
            return "picture.round().clip(0, 255).astype(np.uint8) where 255 is white"
        return "(picture * 255).round().clip(0, 255).astype(np.uint8) where 1 is white"
    # So many bits are seldom meant: they are what sums and lists become.
    if size == 1 or ((kind == "i" or size > 2) and (not pixels.size or pixels.max() <= 255)):
        return "picture.clip(0, 255).astype(np.uint8) where 255 is white"
    white = np.iinfo(pixels.dtype).max if size <= 2 or pixels.max() > 65535 else 65535
    return f"(picture / {white} * 255).round().clip(0, 255).astype(np.uint8) where {white} is white"


def as_pil(photo: Photo) -> PilImage:
    """A photo as an image of Pillow, with its alpha, its colour profile and its resolution (`Image.info`).

    The rest of its EXIF is left out: whoever saves an image of Pillow does not look what is in it.
    """
    alpha = photo.alpha
    image = Image.fromarray(photo.pixels if alpha is None else np.dstack([photo.pixels, alpha]))
    if photo.icc_profile:
        image.info["icc_profile"] = photo.icc_profile
    dpi = dpi_of_exif(photo.exif)
    if dpi is not None:
        image.info["dpi"] = dpi
    return image


def data_uri(pixels: Pixels, side: int) -> str:
    """A small copy for a page: a JPEG in a data URI, whose longer side has at most so many pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    held = BytesIO()
    image.save(held, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{b64encode(held.getvalue()).decode('ascii')}"


def _way_to_rgb(image: PilImage) -> str:
    """How an image of another mode becomes RGB; Pillow's own way cuts values above 255 off."""
    if image.mode == "LAB":
        return "Convert it to RGB with PIL.ImageCms."
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return 'Convert it as you want it: image.convert("RGB").'
    try:
        way, _, white = _way_to_uint8(np.asarray(image)).replace("picture", "np.asarray(image)").partition(" where")
    except Exception:  # it is decoded when it is first touched, and may be damaged
        return "Convert it to RGB."
    return f'Convert it: Image.fromarray({way}).convert("RGB"){white and " where"}{white}.'


def _from_pil(image: PilImage, name: str) -> Photo:
    if image.mode not in _PLAIN:
        raise MediaUnsupported(f"{name} is an image of the mode '{image.mode}'.", _way_to_rgb(image))
    if not image.width or not image.height or image.width * image.height > MAX_PIXELS:
        raise MediaUnsupported(f"{name} has {image.width} x {image.height} px.", "Scale it first.")
    check_sides(image.width, image.height, name)
    try:
        dpi = tuple(image.info.get("dpi") or ())
        is_lying = orientation_of(image.getexif()) >= 5
        upright = ImageOps.exif_transpose(image)
        is_clear = "A" in upright.mode or "transparency" in upright.info
        pixels = np.array(upright.convert("RGBA" if is_clear else "RGB"))
    except Exception as error:  # images are decoded when they are first touched
        raise MediaUnreadable(f"{name} is damaged: {str(error).rstrip('.')}.", "Get an intact copy.") from error
    alpha = np.ascontiguousarray(pixels[..., 3]) if is_clear else None
    colours, profile = np.ascontiguousarray(pixels[..., :3]), upright.info.get("icc_profile")
    if profile and (space := space_of(profile)) not in ("RGB", ""):  # a profile of grey is none of RGB
        convert = convert_to_srgb(profile, "L") if space == "GRAY" and upright.mode in ("1", "L", "LA") else None
        if convert is not None:
            colours = np.array(convert(upright.convert("L")))
        profile = None
    if is_lying:
        dpi = dpi[::-1]
    return Photo(colours, alpha, exif_of_dpi(dpi), profile or None)


def _from_bytes(content: bytes, name: str, allow_8bit: bool) -> Photo:
    if not content:
        raise MediaUnreadable(f"{name} has no bytes.", "Give the content of a photo's file.")
    try:
        return read_picture(content, name, allow_8bit)
    except MediaUnreadable as error:
        if len(content) < 4096 and b"\0" not in content and content.isascii():
            raise MediaUnreadable(f"{name}: these bytes are no photo.", "Give a path as str or Path.") from error
        raise


__all__ = ["Picture", "PilImage", "as_pil", "check_pixels", "data_uri", "take_picture"]
