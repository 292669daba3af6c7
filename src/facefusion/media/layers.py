"""What was changed, for compositors: layers with alpha and mattes, as clips or sequences of pictures.

While spans are rendered layers lie in their segments as a second stream, FFV1 in red, green, blue and alpha.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from facefusion.errors import OutputRefused
from facefusion.media.border import writing
from facefusion.media.image import Photo, write_photo
from facefusion.media.matroska import write_aspect
from facefusion.media.yuv import convert_rgb

Pixels = npt.NDArray[np.uint8]

LAYER_CLIPS = {".mov": "ProRes 4444", ".mkv": "FFV1"}
"""Endings of clips with alpha, and what is in them; FFV1 is without loss."""
MATTE_CLIPS = {".mov": "ProRes 422 HQ", ".mkv": "FFV1", ".mp4": "H.264"}
LAYER_PHOTOS = (".png", ".webp", ".tif", ".tiff")
"""Endings of pictures with alpha. Of WebP they are of good quality, the others are without loss."""
MATTE_PHOTOS = (*LAYER_PHOTOS, ".bmp", ".jpg", ".jpeg")
_FORMATS = {".mov": "mov", ".mkv": "matroska", ".mp4": "mp4"}
_SLICES = {"level": "3", "slices": "4", "slicecrc": "1", "g": "1"}


def is_sequence(path: Path) -> bool:
    """Whether a name is that of a folder of pictures: it has no ending."""
    return not path.suffix


def check_layer_output(path: Path, is_matte: bool, is_photo: bool) -> None:
    """Refuse a name that says of no kind of file that can hold a layer or a matte.

    Raises
    ------
    OutputRefused
    """
    what = "matte" if is_matte else "layer"
    suffix = path.suffix.lower()
    if is_photo:
        known = MATTE_PHOTOS if is_matte else LAYER_PHOTOS
        if suffix not in known:
            raise OutputRefused(
                f"The {what} of a photo cannot be written as '{path.name}'.", f"End it in {', '.join(known)}."
            )
        return
    clips = MATTE_CLIPS if is_matte else LAYER_CLIPS
    if suffix and suffix not in clips:
        ways = ", ".join(f"{ending} ({codec})" for ending, codec in clips.items())
        raise OutputRefused(
            f"The {what} of a clip cannot be written as '{path.name}'.",
            f"End it in {ways}, or name a folder, which has no ending, for PNG pictures.",
        )


def sequence_name(number: int) -> str:
    """Name of a picture of a sequence."""
    return f"{number:08d}.png"


def add_layers(output: Any, time_base: Fraction, width: int, height: int) -> Any:
    """A stream for layers in a container of ours, without loss, the same to the byte on every machine."""
    stream: Any
    if output.format.name == "mov":  # holds no FFV1
        stream = output.add_stream("qtrle", rate=Fraction(25))
    else:
        stream = output.add_stream("ffv1", rate=Fraction(25), options=_SLICES)
    stream.width, stream.height, stream.pix_fmt = width, height, "argb" if stream.name == "qtrle" else "bgra"
    stream.time_base = stream.codec_context.time_base = time_base
    stream.codec_context.thread_count = 1
    return stream


def layer_picture(layer: Pixels, pts: int, time_base: Fraction) -> Any:
    """A layer, (H, W, 4) uint8 RGBA, as a frame for `add_layers`' stream."""
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(layer[..., [2, 1, 0, 3]]), format="bgra")
    picture.pts, picture.time_base = pts, time_base
    return picture


def write_layers(
    layers: Iterator[Pixels],
    times: Sequence[int],
    durations: Sequence[int],
    time_base: Fraction,
    matte: Path | None,
    layer: Path | None,
    comment: str,
    aspect: Fraction | None = None,
    first: int = 0,
) -> None:
    """Write a matte, a layer, or both; each a clip, or a folder of pictures.

    Parameters
    ----------
    layers
        (H, W, 4) uint8 RGBA, in order.
    times, durations, time_base
        When each is shown, in the output's time.
    matte, layer
        Where they go. Clips must lie where half of them may be: the caller gives them their names.
    comment
        Written into them.
    aspect
        Width of a pixel by its height; None where it is not known.
    first
        Number of the first picture of a folder: frames are counted from 0, or as the target's pictures are.

    Raises
    ------
    OutputRefused
    """
    writers: list[_Pictures | _Clip] = []
    try:
        for pixels, pts, duration in zip(layers, times, durations, strict=True):
            if not writers:
                height, width = pixels.shape[:2]
                for path, is_matte in ((matte, True), (layer, False)):
                    if path is not None and is_sequence(path):
                        writers.append(_Pictures(path, is_matte, comment, first))
                    elif path is not None:
                        rate = _rate(times, time_base)
                        writers.append(_Clip(path, is_matte, comment, width, height, time_base, rate, aspect))
            for writer in writers:
                writer.write(pixels, pts, duration)
        for writer in writers:
            writer.close()
    except BaseException:
        for writer in writers:
            writer.drop()
        raise


def write_layer_photo(pixels: Pixels, path: Path, is_matte: bool, software: str) -> None:
    """Write the layer or the matte of a photo, (H, W, 4) uint8 RGBA.

    Raises
    ------
    OutputRefused
    """
    grey = np.repeat(pixels[..., 3:], 3, axis=2)
    photo = (
        Photo(grey, None, None, None) if is_matte else Photo(pixels[..., :3].copy(), pixels[..., 3].copy(), None, None)
    )
    write_photo(path, photo, 95, software)


def _rate(times: Sequence[int], time_base: Fraction) -> Fraction:
    steps = sorted(after - before for before, after in pairwise(times))
    step = steps[len(steps) // 2] * time_base if steps else Fraction(1, 25)
    return (1 / step).limit_denominator(1001) if step else Fraction(25)


class _Pictures:
    """A folder of PNG files."""

    def __init__(self, path: Path, is_matte: bool, comment: str, first: int) -> None:
        self._path, self._is_matte, self._comment, self._number = path, is_matte, comment, first
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)

    def write(self, pixels: Pixels, pts: int, duration: int) -> None:
        write_layer_photo(pixels, self._path / sequence_name(self._number), self._is_matte, self._comment)
        self._number += 1

    def close(self) -> None:
        """Nothing is left to be done."""

    def drop(self) -> None:
        """The caller takes the folder away."""


class _Clip:
    """A clip of layers or mattes."""

    def __init__(
        self,
        path: Path,
        is_matte: bool,
        comment: str,
        width: int,
        height: int,
        time_base: Fraction,
        rate: Fraction,
        aspect: Fraction | None,
    ) -> None:
        self._path, self._is_matte, self._aspect = path, is_matte, aspect
        suffix = path.suffix.lower()
        options: dict[str, str] = {}
        if suffix == ".mkv":
            codec, self._format, options = "ffv1", "gray" if is_matte else "bgra", _SLICES
        elif suffix == ".mov":
            codec, self._format = "prores_ks", "yuv422p10le" if is_matte else "yuva444p10le"
            options = {"profile": "hq" if is_matte else "4444", "vendor": "apl0"}
        else:
            codec, self._format, options = "libx264", "yuv420p", {"crf": "8", "preset": "medium"}
        # Half a sample of colour is nothing; the last row and column are repeated, and told below.
        even = 2 if self._format in ("yuv420p", "yuv422p10le") else 1
        self._size = -(-width // even) * even, -(-height // even) * even
        container_options = {"fflags": "+bitexact"}
        if suffix in (".mov", ".mp4"):
            container_options |= {"video_track_timescale": str(time_base.denominator), "movflags": "+faststart"}
        with writing(path):
            self._output: Any = av.open("file:" + str(path), "w", format=_FORMATS[suffix], options=container_options)
            self._output.metadata["comment"] = comment
            stream: Any = self._output.add_stream(codec, rate=rate, options=options)
            self._stream = stream
            self._stream.width, self._stream.height = self._size
            self._stream.pix_fmt = self._format
            context = self._stream.codec_context
            self._stream.time_base = context.time_base = time_base
            context.thread_count = 1
            if self._format.startswith("yuv"):
                context.color_primaries, context.color_trc, context.colorspace, context.color_range = 1, 1, 1, 1
            if aspect:
                context.sample_aspect_ratio = aspect
        self._reformatter = VideoReformatter()

    def write(self, pixels: Pixels, pts: int, duration: int) -> None:
        pad = (self._size[1] - pixels.shape[0], self._size[0] - pixels.shape[1])
        if any(pad):
            pixels = np.pad(pixels, ((0, pad[0]), (0, pad[1]), (0, 0)), mode="edge")
        if self._format == "gray":
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[..., 3]), format="gray")
        else:
            if self._is_matte:
                # The scaler makes grey darker by half a level, but not what is grey in red, green and blue.
                picture = av.VideoFrame.from_ndarray(np.repeat(pixels[..., 3:], 3, axis=2), format="rgb24")
            else:
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgba")
            picture = convert_rgb(picture, self._reformatter, self._format, 1, is_full=False)
        if self._format.startswith("yuv"):
            picture.color_primaries, picture.color_trc = 1, 1  # ProRes looks at pictures for them
        picture.pts, picture.time_base = pts, self._stream.codec_context.time_base
        picture.pict_type = 0
        if duration:
            picture.duration = duration
        with writing(self._path):
            self._output.mux(self._stream.encode(picture))

    def close(self) -> None:
        with writing(self._path):
            self._output.mux(self._stream.encode(None))
            self._output.close()
            if self._path.suffix.lower() == ".mkv":
                write_aspect(self._path, self._aspect)

    def drop(self) -> None:
        """The caller takes the file away."""
        with suppress(Exception):
            self._output.close()
