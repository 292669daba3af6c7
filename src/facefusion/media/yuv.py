"""Red, green and blue as brightness and two colours, with grey that stays grey."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

_PLAIN = Interpolation.BILINEAR | Interpolation.BITEXACT
"""Without the last flag colours are rounded down by a tenth to a whole level, by the size of the picture."""
_SCALED = Interpolation.LANCZOS | Interpolation.BITEXACT
_DEEP = {(1, 1): "yuv420p", (1, 0): "yuv422p", (0, 0): "yuv444p", (0, 1): "yuv440p"}
"""Formats by the logarithm of how much narrower and lower their colour planes are; 440 has none of 16 bits."""
_ROWS = 64
"""Rows that are stretched at once, so that what is between stays in the cache."""


def convert_rgb(
    picture: Any,
    reformatter: VideoReformatter,
    pixel_format: str,
    space: int,
    is_full: bool,
    size: tuple[int, int] | None = None,
) -> Any:
    """A picture of red, green and blue in another format.

    libav's scaler rounds colours of full range down, so that grey becomes green (127 instead of 128), or all colours
    half a level greener. So pictures of full range are made of what it makes with limited range and more bits.

    Parameters
    ----------
    picture
        A `av.VideoFrame` of red, green and blue (``rgb24``, ``rgba``).
    reformatter
        Kept by the caller for one thread and one kind of picture: setting up costs as much as converting.
    pixel_format
        Any that the scaler writes.
    space
        Matrix, as a number of the scaler.
    is_full
        Whether the range is full.
    size
        Width and height; None keeps them.

    Returns
    -------
    The picture, with the scaler's own words for matrix and range.
    """
    scaled = {} if size is None else {"width": size[0], "height": size[1]}
    way: Any = {"dst_colorspace": space, "threads": 1, "interpolation": _PLAIN if size is None else _SCALED, **scaled}
    layout = _layout(pixel_format) if is_full else None
    if layout is None:
        return reformatter.reformat(picture, format=pixel_format, dst_color_range=2 if is_full else 1, **way)
    middle, depth, planar = layout
    limited = reformatter.reformat(picture, format=middle, dst_color_range=1, **way)
    full = av.VideoFrame(limited.width, limited.height, planar)
    for number in range(3):
        _stretch(limited, full, number, depth)
    full.colorspace, full.color_range = limited.colorspace, 2
    if planar == pixel_format:
        return full
    # The range is the same: samples are only put where the format wants them.
    return VideoReformatter().reformat(full, format=pixel_format, dst_color_range=2, interpolation=_PLAIN, threads=1)


@lru_cache(maxsize=64)
def _layout(pixel_format: str) -> tuple[str, int, str] | None:
    """Format with limited range and more bits, bits, and planar format of a format; None of one without colours."""
    form = av.VideoFormat(pixel_format, 8, 8)
    components = form.components
    if form.is_rgb or form.has_palette or len(components) < 3:
        return None
    depth = min(components[0].bits, 12)
    chroma = components[1]
    shape = (8 // chroma.width - 1, 8 // chroma.height - 1)
    base = _DEEP.get(shape, "yuv444p")
    planar = base if depth == 8 else f"{base}{depth}le"
    if pixel_format in (planar, base.replace("yuv", "yuvj")):
        planar = pixel_format
    if depth not in (8, 10, 12):
        planar, depth = f"{base}12le", 12
    return f"{base}12le" if depth == 8 or base == "yuv440p" else f"{base}16le", depth, planar


def _stretch(limited: Any, full: Any, number: int, depth: int) -> None:
    """Fill a plane of full range from one of limited range."""
    held = limited.format.components[0].bits
    unit, top = 1 << (held - 8), (1 << depth) - 1
    # White and black lie 219 steps of 8 bits apart, colours 224; neutral is half of all codes, rounded up.
    gain = top / ((224 if number else 219) * unit)
    shift = (1 << (depth - 1)) - 128 * unit * gain if number else -16 * unit * gain
    source = _samples(limited, number)
    into = _samples(full, number)
    for row in range(0, len(into), _ROWS):
        values = np.multiply(source[row : row + _ROWS], np.float32(gain), dtype=np.float32)
        values += np.float32(shift + 0.5)
        np.clip(values, 0, top, out=values)
        into[row : row + _ROWS] = values


def _samples(picture: Any, number: int) -> Any:
    """A plane of a picture of this module as an array over its own memory."""
    plane = picture.planes[number]
    kind = np.dtype("u1" if picture.format.components[number].bits == 8 else "<u2")
    rows = np.frombuffer(plane, dtype=kind).reshape(-1, plane.line_size // kind.itemsize)
    return rows[: plane.height, : plane.width]
