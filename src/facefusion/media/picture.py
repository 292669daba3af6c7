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
from facefusion.media.image import MAX_PIXELS, Photo, is_photo, read_photo, read_picture
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
        is_real = np.issubdtype(pixels.dtype, np.floating)
        way = "(picture * 255).round().astype(np.uint8) where 1 is white" if is_real else "picture.astype(np.uint8)"
        if pixels.dtype == np.bool_:
            way = "picture.astype(np.uint8) * 255"
        elif not is_real and pixels.dtype.itemsize > 1:
            white = np.iinfo(pixels.dtype).max
            way = f"(picture / {white} * 255).round().astype(np.uint8) where {white} is white"
        raise MediaUnsupported(f"{name} is of {pixels.dtype}, not uint8.", f"Convert it: {way}.")
    height, width = pixels.shape[:2]
    if not height or not width:
        raise MediaUnsupported(f"{name} is empty ({shape}).", "Give at least one pixel.")
    if height * width > MAX_PIXELS:
        most = f"more than {MAX_PIXELS // 1_000_000} million pixels"
        raise MediaUnsupported(f"{name} is far too large: it has {most}.", "Scale it down first.")
    return np.ascontiguousarray(pixels)


def as_pil(pixels: Pixels, alpha: Pixels | None = None) -> PilImage:
    """Pixels, and their alpha, as an image of Pillow."""
    return Image.fromarray(pixels if alpha is None else np.dstack([pixels, alpha]))


def data_uri(pixels: Pixels, side: int) -> str:
    """A small copy for a page: a JPEG in a data URI, whose longer side has at most so many pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    held = BytesIO()
    image.save(held, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{b64encode(held.getvalue()).decode('ascii')}"


def _from_pil(image: PilImage, name: str) -> Photo:
    if image.mode not in _PLAIN:
        raise MediaUnsupported(
            f"{name} is an image of the mode '{image.mode}'.", 'Convert it as you want it: image.convert("RGB").'
        )
    if not image.width or not image.height or image.width * image.height > MAX_PIXELS:
        raise MediaUnsupported(f"{name} has {image.width} x {image.height} px.", "Scale it first.")
    try:
        upright = ImageOps.exif_transpose(image)
        is_clear = "A" in upright.mode or "transparency" in upright.info
        pixels = np.array(upright.convert("RGBA" if is_clear else "RGB"))
    except Exception as error:  # images are decoded when they are first touched
        raise MediaUnreadable(f"{name} is damaged: {str(error).rstrip('.')}.", "Get an intact copy.") from error
    alpha = np.ascontiguousarray(pixels[..., 3]) if is_clear else None
    return Photo(np.ascontiguousarray(pixels[..., :3]), alpha, icc_profile=upright.info.get("icc_profile"))


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
