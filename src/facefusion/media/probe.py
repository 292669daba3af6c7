"""What a clip is, read from its headers and its first frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import av.error

from facefusion.errors import MediaUnreadable, MediaUnsupported, check_memory
from facefusion.media.files import check_file

MAX_SIDE = 16384


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """Facts about a clip.

    Attributes
    ----------
    width, height
        Upright size in pixels (rotation applied).
    rotation_deg
        Counter-clockwise turn that makes the stored picture upright: 0, 90, 180 or 270.
    time_base
        Seconds per unit of pts of the video stream.
    frame_rate
        Average frames per second, or None where the container does not say.
    frame_count
        Frames as the container says, an estimate from the duration, or 0 where neither is known.
    start_s, duration_s
        Start and length in seconds; length 0 where unknown.
    pixel_format, bit_depth
        Stored pixel format and its bits per channel.
    """

    path: Path
    width: int
    height: int
    rotation_deg: int
    time_base: Fraction
    frame_rate: Fraction | None
    frame_count: int
    start_s: float
    duration_s: float
    pixel_format: str
    bit_depth: int
    codec: str


_mounts: dict[Path, tuple[int, Callable[[], Any]]] = {}


@contextmanager
def mount(path: Path, size_bytes: int, opener: Callable[[], Any]) -> Iterator[None]:
    """Have clips at a path read through a function, such as one that reads ranges of an object far away.

    Parameters
    ----------
    path
        A name for it; nothing has to be there.
    size_bytes
        Of the clip.
    opener
        Gives a seekable binary file each time it is called.
    """
    _mounts[path] = (size_bytes, opener)
    try:
        yield
    finally:
        _mounts.pop(path, None)


def open_clip(path: Path) -> Any:
    """Open a clip for reading and check that it has a video stream.

    Raises
    ------
    MediaMissing, MediaUnreadable
    """
    opener = _mounts.get(path)
    if opener is None:
        check_file(path)
    try:
        if opener is not None:
            return _checked(av.open(opener[1](), "r", metadata_errors="replace"), path)
        # "file:" keeps odd names such as "a:b.mp4" from being read as a protocol.
        return _checked(av.open("file:" + str(path), "r", metadata_errors="replace"), path)
    except (av.error.FFmpegError, OSError, ValueError, UnicodeError) as error:
        if isinstance(error, MediaUnreadable):
            raise
        check_memory(error, f"{path} could not be opened")
        raise MediaUnreadable(f"{path} is not a photo or clip that can be read: {_reason(error)}.", _HINT) from error


def _checked(container: Any, path: Path) -> Any:
    if not container.streams.video:
        container.close()
        raise MediaUnreadable(f"{path} has no picture.", _HINT)
    return container


_HINT = "Check that the file is complete and is a photo (JPEG, PNG, ...) or a clip (MP4, MOV, MKV, WebM, ...)."


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")


def probe(path: Path) -> ClipInfo:
    """Read a clip's headers and first frame.

    Parameters
    ----------
    path
        A clip.

    Returns
    -------
    What it is.

    Raises
    ------
    MediaMissing, MediaUnreadable, MediaUnsupported
    """
    if path in _mounts:
        return _probe(path, _mounts[path][0], 0)
    check_file(path)
    state = path.stat()
    return _probe(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _probe(path: Path, size_bytes: int, changed_ns: int) -> ClipInfo:
    """`probe`, remembered as long as the file does not change; errors are not remembered."""
    with open_clip(path) as container:
        stream = container.streams.video[0]
        try:
            first = next(container.decode(stream), None)
        except (av.error.FFmpegError, ValueError, OSError) as error:
            check_memory(error, f"{path} could not be decoded")
            raise MediaUnreadable(f"{path} cannot be decoded: {_reason(error)}.", _HINT) from error
        if first is None or not first.width or not first.height:
            raise MediaUnreadable(f"{path} has no decodable frame.", _HINT)
        if max(first.width, first.height) > MAX_SIDE:
            raise MediaUnsupported(f"{path} is {first.width} x {first.height} px.", f"Sides up to {MAX_SIDE} px work.")
        rotation = int(round(first.rotation / 90)) * 90 % 360
        width, height = (first.height, first.width) if rotation in (90, 270) else (first.width, first.height)
        rate = stream.average_rate or stream.guessed_rate
        time_base = Fraction(stream.time_base or Fraction(1, 90000))
        if stream.duration:
            duration_s = float(stream.duration * time_base)
        else:
            duration_s = (container.duration or 0) / 1_000_000
        count = stream.frames or (int(round(duration_s * float(rate))) if rate else 0)
        depth = max((component.bits for component in first.format.components), default=8)
        return ClipInfo(
            path=path,
            width=width,
            height=height,
            rotation_deg=rotation,
            time_base=time_base,
            frame_rate=Fraction(rate) if rate else None,
            frame_count=count,
            start_s=float((stream.start_time or 0) * time_base),
            duration_s=duration_s,
            pixel_format=first.format.name,
            bit_depth=depth,
            codec=stream.codec_context.name,
        )
