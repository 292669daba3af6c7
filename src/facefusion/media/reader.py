"""Clips in: frames with exact times, upright, in RGB."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter

from facefusion.errors import MediaUnreadable, MediaUnsupported, check_memory
from facefusion.media.probe import ClipInfo, open_clip, probe
from facefusion.types.frame import Frame, Pixels

Region = Callable[[int], tuple[int, int, int, int] | None]
_HALVED = ("yuv420p", "yuvj420p")
"""Formats whose colour planes have half the size."""


class ClipReader:
    """Reads the frames of a clip, or of a part of it.

    Parameters
    ----------
    path
        A clip.
    start_s, end_s
        Half-open part to read, seconds from the start of the clip; None for the whole.
    allow_8bit
        Accept more than 8 bits per channel and reduce them.
    region
        Which part of a frame is wanted, by its pts: a half-open xyxy box in pixels, or None where nothing is. The
        rest of ``Frame.pixels`` is then undefined, which saves the time of converting it; ``Frame.native`` is whole.
        Clips that are not stored upright in 8-bit 4:2:0 are converted whole all the same.
    span
        Half-open pts of the frames to read, instead of the whole part; None at either end where it is open.
    halo
        Frames to read before and after the span, as far as the part has them.

    Raises
    ------
    MediaMissing, MediaUnreadable, MediaUnsupported
        When the clip cannot be opened, and `MediaUnreadable` from iteration where it is damaged.
    """

    def __init__(
        self,
        path: Path,
        start_s: float | None = None,
        end_s: float | None = None,
        allow_8bit: bool = False,
        region: Region | None = None,
        span: tuple[int | None, int | None] | None = None,
        halo: tuple[int, int] = (0, 0),
    ) -> None:
        self._location = path
        self.info: ClipInfo = probe(path)
        if self.info.bit_depth > 8 and not allow_8bit:
            raise MediaUnsupported(
                f"{path} has {self.info.bit_depth} bits per channel and only 8 are carried.",
                "Add --allow-8bit to reduce it.",
            )
        duration_s = self.info.duration_s
        if start_s is not None and duration_s and start_s >= duration_s:
            raise MediaUnsupported(
                f"--start {start_s} s is beyond the end of {path} ({duration_s:.2f} s).", "Start earlier."
            )
        self.start_s, self.end_s, self._region = start_s, end_s, region
        self._span, self._halo = span, halo

    def open(self) -> Any:
        """The clip as a PyAV container, to be closed by the caller."""
        return open_clip(self._location)

    @property
    def frame_count(self) -> int:
        """Expected number of frames, 0 where unknown; for progress only."""
        rate, duration_s = self.info.frame_rate, self.info.duration_s
        if (self.start_s is None and self.end_s is None) or rate is None:
            return self.info.frame_count
        stop = min(self.end_s or duration_s, duration_s)
        return max(int(round((stop - (self.start_s or 0.0)) * float(rate))), 1)

    def span_pts(self) -> tuple[int | None, int | None]:
        """The half-open part to read in units of the stream's time base, None where open."""
        base, first = self.info.time_base, Fraction(self.info.start_s).limit_denominator(1_000_000)

        def to_pts(seconds: float | None) -> int | None:
            if seconds is None:
                return None
            exact = Fraction(seconds).limit_denominator(1_000_000) + first
            return -int(-(exact / base) // 1)  # round up: a frame that starts earlier is not in the part

        return to_pts(self.start_s), to_pts(self.end_s)

    def __iter__(self) -> Iterator[Frame]:
        first, last = self.span_pts()
        start, stop = (first, last) if self._span is None else self._span
        # One for all frames: setting a conversion up costs as much as doing it. One thread: others have work.
        reformatter = VideoReformatter()
        before: deque[Any] = deque(maxlen=self._halo[0])
        index, after = 0, 0
        for picture, pts in self._from(start):
            if (first is not None and pts < first) or (start is not None and pts < start):
                if first is None or pts >= first:
                    before.append((picture, pts))
                continue
            if last is not None and pts >= last:
                break
            if stop is not None and pts >= stop:
                after += 1
                if after > self._halo[1]:
                    break
            for one, time in (*before, (picture, pts)):
                yield Frame(self._convert(one, time, reformatter), index, time, self.info.time_base, one)
                index += 1
            before.clear()

    def _from(self, start: int | None) -> Iterator[tuple[Any, int]]:
        """Decoded pictures with rising times, from before a time on."""
        # One second earlier than asked for, since what stands right behind a key frame may lean on what is before it.
        # Where no key frame is so near, from further back.
        for margin_s in (1, 12, None) if start else (None,):
            with self.open() as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                if start and margin_s is not None:
                    earlier = max(start - int(margin_s / self.info.time_base), 0)
                    container.seek(earlier, stream=stream, backward=True)
                last_pts = None
                for picture in self._decode(container, stream):
                    pts = picture.pts
                    if pts is None:  # containers without times: count on at the frame rate
                        step = 1 / ((self.info.frame_rate or Fraction(25)) * self.info.time_base)
                        pts = 0 if last_pts is None else last_pts + max(int(step), 1)
                    if last_pts is None and margin_s is not None and start is not None and pts >= start:
                        break  # too late: nothing is known of what is before
                    if last_pts is not None and pts <= last_pts:
                        continue  # a damaged stream repeats a time; two frames cannot share one
                    last_pts = pts
                    yield picture, pts
                else:
                    return

    def _decode(self, container: Any, stream: Any) -> Iterator[Any]:
        last_s = 0.0
        try:
            for picture in container.decode(stream):
                if (picture.width, picture.height) != self._stored_size():
                    raise MediaUnsupported(
                        f"{self.info.path} changes its size to {picture.width} x {picture.height} at {last_s:.2f} s.",
                        f"Use --end {last_s:.2f} for the part before.",
                    )
                last_s = picture.time or last_s
                yield picture
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, OSError) as error:
            if isinstance(error, MediaUnsupported):
                raise
            check_memory(error, f"{self.info.path} could not be decoded")
            raise MediaUnreadable(
                f"{self.info.path} is damaged after {last_s:.2f} s: {error.strerror or error}.",
                f"Get an intact copy, or use --end {max(last_s - 0.1, 0.1):.2f} for the part before.",
            ) from error

    def _stored_size(self) -> tuple[int, int]:
        if self.info.rotation_deg in (90, 270):
            return self.info.height, self.info.width
        return self.info.width, self.info.height

    def _convert(self, picture: Any, pts: int, reformatter: VideoReformatter) -> Pixels:
        is_plain = picture.format.name in _HALVED and not self.info.rotation_deg
        if self._region is None or not is_plain:
            return self._upright(picture, reformatter)
        # Pages that are never touched cost nothing.
        pixels = np.empty((picture.height, picture.width, 3), dtype=np.uint8)
        box = self._region(pts)
        if box is not None:
            _convert_part(picture, box, pixels, reformatter)
        return pixels

    def _upright(self, picture: Any, reformatter: VideoReformatter) -> Pixels:
        pixels = to_rgb(picture, reformatter)
        if self.info.rotation_deg:
            pixels = np.rot90(pixels, self.info.rotation_deg // 90)
        return np.ascontiguousarray(pixels)


ALIGN_PX = 64
"""Parts of a picture are converted in steps of this size, so that the conversion is seldom set up anew."""


def aligned(box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
    """The box widened to whole steps of `ALIGN_PX` and clipped to the picture."""
    x0, y0 = (max(v, 0) // ALIGN_PX * ALIGN_PX for v in box[:2])
    x1, y1 = (min(-(-v // ALIGN_PX) * ALIGN_PX, limit) for v, limit in zip(box[2:], (width, height), strict=True))
    return x0, y0, x1, y1


def to_rgb(picture: Any, reformatter: VideoReformatter) -> Pixels:
    """A picture of any format as (H, W, 3) RGB."""
    return np.asarray(reformatter.reformat(picture, format="rgb24", threads=1).to_ndarray(), dtype=np.uint8)


def _convert_part(picture: Any, box: tuple[int, int, int, int], pixels: Pixels, reformatter: VideoReformatter) -> None:
    """Convert a part of a 4:2:0 picture to RGB, into the same place of ``pixels``."""
    x0, y0, x1, y1 = aligned(box, picture.width, picture.height)
    if x1 <= x0 or y1 <= y0:
        return
    part = av.VideoFrame(x1 - x0, y1 - y0, picture.format.name)
    part.colorspace, part.color_range = picture.colorspace, picture.color_range
    for number, step in enumerate((1, 2, 2)):
        rows, columns = slice(y0 // step, -(-y1 // step)), slice(x0 // step, -(-x1 // step))
        plane_of(part, number)[:] = plane_of(picture, number)[rows, columns]
    pixels[y0:y1, x0:x1] = to_rgb(part, reformatter)


def plane_of(picture: Any, number: int) -> Pixels:
    """A plane of a picture as an array over its own memory."""
    plane = picture.planes[number]
    return np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
