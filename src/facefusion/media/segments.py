"""A clip in parts: where to cut it, one part written by itself, and the parts joined without encoding again.

Where it is cut depends on the clip and the wanted length alone, and every part is encoded by a fresh encoder with the
same settings. So the joined file is the same to the byte, whoever wrote the parts, in whatever order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.codec.context import Flags

from facefusion.documents import reason_of
from facefusion.errors import SegmentDamaged, check_memory
from facefusion.media.border import writing
from facefusion.media.layers import add_layers, layer_picture
from facefusion.media.passengers import TrackOptions, list_passengers
from facefusion.media.probe import film_of
from facefusion.media.reader import ClipReader
from facefusion.media.writer import ClipWriter, codec_tag
from facefusion.types.frame import Frame, Pixels, RenderedFrame, scaled_size
from facefusion.wording import counted

_MAX_REORDERED = 64
"""Packets stand at most so far from where their frames are shown; else some time is wrong."""
SUFFIX = ".nut"
"""Parts are NUT files, which keep any time base, but for codecs that NUT does not hold (`_OTHER_FORMATS`)."""
_OTHER_FORMATS = {"prores_ks": "mov"}


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open part of a clip in pts; None where it is open.

    Attributes
    ----------
    start, stop
        In units of the stream's time base. Frame times, except that a clip without times is one open span.
    frame_count
        Frames in it as the container lists them, for progress; 0 where unknown.
    """

    start: int | None
    stop: int | None
    frame_count: int = 0

    def as_pair(self) -> tuple[int | None, int | None]:
        """Start and stop."""
        return self.start, self.stop


def plan_spans(reader: ClipReader, length_s: float) -> tuple[Span, ...]:
    """Cut a clip into spans of about equal length, at key frames where there are any near.

    Parameters
    ----------
    reader
        Of the whole part that is wanted.
    length_s
        Wanted length in seconds. Spans are between half and one and a half of it, but for the last, and for clips
        that are shorter. A clip whose packets have no times, or the same ones twice, is one span, and so are joined
        recordings.

    Returns
    -------
    Spans in order, without gaps; the first begins and the last ends open.

    Raises
    ------
    MediaUnreadable
    """
    info = reader.info
    times, keys, untimed = _listed(reader)
    is_disordered = any(abs(k - at) > _MAX_REORDERED for k, at in enumerate(np.argsort(times, kind="stable")))
    times.sort()
    if untimed or not info.has_seekable_times or is_disordered or len(set(times)) != len(times) or len(times) < 2:
        return (Span(None, None, len(times) + untimed),)
    length = max(int(length_s / info.time_base), 1)
    starts = [times[0]]
    while True:
        wanted = starts[-1] + length
        if wanted > times[-1] - length // 2:
            break
        near = [key for key in keys if abs(key - wanted) <= length // 2 and key > starts[-1]]
        starts.append(min(near, key=lambda key: abs(key - wanted)) if near else next(t for t in times if t >= wanted))
    bounds = [None, *starts[1:], None]
    spans = []
    at = 0
    for start, stop in pairwise(bounds):
        stop_at = len(times) if stop is None else next(k for k in range(at, len(times)) if times[k] >= stop)
        spans.append(Span(start, stop, stop_at - at))
        at = stop_at
    return tuple(spans)


def listed_times(reader: ClipReader) -> list[int]:
    """Times of frames as the container lists them, rising, in pts; none where they cannot be relied on.

    Raises
    ------
    MediaUnreadable
    """
    times, _, untimed = _listed(reader)
    return [] if untimed or not reader.info.has_seekable_times else sorted(times)


def _listed(reader: ClipReader) -> tuple[list[int], list[int], int]:
    """Times of frames in the order of the file, those of key frames, and how many have none."""
    first, last = reader.span_pts()
    info = reader.info
    times: list[int] = []
    keys: list[int] = []
    untimed = 0
    with reader.open() as container:
        stream = film_of(container)
        if first and info.has_seekable_times:
            container.seek(first + info.zero, stream=stream, backward=True)
        for packet in reader.packets(container, [stream]):
            if not packet.size or packet.is_discard or (packet.is_corrupt and info.cut_off):
                continue
            if packet.pts is None:
                untimed += 1
                continue
            if last is not None and packet.dts is not None and packet.dts - info.zero >= last:
                break
            pts = packet.pts - info.zero
            if _is_inside(pts, (first, last)) and pts not in reader.left_out:
                times.append(pts)
                if packet.is_keyframe:
                    keys.append(pts)
    return times, keys, untimed


def _is_inside(pts: int, span: tuple[int | None, int | None]) -> bool:
    start, stop = span
    return (start is None or pts >= start) and (stop is None or pts < stop)


class SegmentWriter(ClipWriter):
    """Writes the frames of one span: its own closed group of pictures, no sound, in a NUT file.

    Parameters as of `ClipWriter`, and ``has_layer``: whether a second stream holds what was changed, without loss.

    Attributes
    ----------
    pts, durations
        Of every frame that was written, in the output's time: what `ClipMerger` needs to know.
    """

    def __init__(
        self,
        path: Path,
        target: ClipReader,
        encoder: str,
        preset: str,
        quality: int,
        scale: Fraction = Fraction(1),
        has_layer: bool = False,
        resize: Fraction = Fraction(1),
    ) -> None:
        super().__init__(path, target, encoder, preset, quality, scale=scale, resize=resize)
        self._layers: Any = None
        self._has_layer = has_layer
        self.pts: list[int] = []
        self.durations: list[int] = []

    @staticmethod
    def _check(path: Path, encoder: str) -> None:
        """Segments have names of our own."""

    def _open(self) -> None:
        self._open_container(_OTHER_FORMATS.get(self._encoder, "nut"))
        self._add_video()
        self._stream.codec_context.flags |= Flags.global_header
        if self._has_layer:
            info = self._target.info
            width, height = scaled_size(info.width, info.height, self._scale)
            self._layers = add_layers(self._output, info.time_base, width, height)

    def write_layer(self, frame: Frame, layer: Pixels) -> None:
        """Write what was changed in the frame that is written next.

        Parameters
        ----------
        frame
            Of the target.
        layer
            (H, W, 4) uint8: red, green, blue and alpha.
        """
        picture = layer_picture(layer, frame.pts - self._offset, frame.time_base)
        with writing(self._path):
            self._output.mux(self._layers.encode(picture))

    def _finish(self) -> None:
        super()._finish()
        if self._layers is not None:
            self._output.mux(self._layers.encode(None))

    def write(self, rendered: RenderedFrame, prepared: object | None = None) -> None:
        """Write one frame."""
        self.pts.append(rendered.frame.pts - self._offset)
        self.durations.append(rendered.frame.duration)
        super().write(rendered, prepared)


@dataclass(frozen=True, slots=True)
class Part:
    """A finished segment.

    Attributes
    ----------
    path
        Its file.
    pts, durations
        Of its frames in the output's time.
    """

    path: Path
    pts: Sequence[int]
    durations: Sequence[int]


class ClipMerger(ClipWriter):
    """Joins segments into a clip with the target's other tracks; used as `ClipWriter` is.

    Parameters
    ----------
    path, target, encoder, comment, is_private, tracks, quality
        As of `ClipWriter`.
    parts
        All segments in order. Files are read one after the other.

    Raises
    ------
    SegmentDamaged
        When a segment does not hold the frames it should.
    """

    def __init__(
        self,
        path: Path,
        target: ClipReader,
        encoder: str,
        parts: Sequence[Part],
        comment: str = "",
        is_private: bool = False,
        tracks: TrackOptions | None = None,
        quality: int = 80,
    ) -> None:
        super().__init__(path, target, encoder, "", quality, comment, is_private, tracks)
        self._parts = parts

    def _open(self) -> None:
        listed = list_passengers(self._target, self._path.suffix, self._encoder, self._tracks)
        self._open_container()
        frame_rate = self._frame_rate()
        with open_segment(self._parts[0].path) as first:
            template = first.streams.video[0]
            self._stream = self._output.add_stream_from_template(template, opaque=True)
            context = self._stream.codec_context
            if self._is_mp4:
                context.codec_tag = codec_tag(self._encoder, self._quality)
            self._stream.time_base = self._target.info.time_base
            context.framerate = frame_rate  # a template has none, and containers and timecodes need one
            self._tell_colours(context.pix_fmt)
            self._describe_film(context, context.pix_fmt)  # parts do not hold all of it, whatever the encoder
        self._add_passengers(listed, frame_rate)
        self._output.start_encoding()

    def _frame_rate(self) -> Fraction:
        """Frames per second to be written: the target's own where its frames stand so, else the average."""
        times = [time for part in self._parts for time in part.pts]
        nominal, base = self._target.info.frame_rate, self._target.info.time_base
        if len(times) < 2:
            return nominal or Fraction(25)
        steps = sorted(after - before for before, after in pairwise(times))
        average = Fraction(len(times) - 1) / ((times[-1] - times[0]) * base)
        if nominal:
            is_usual = abs(steps[len(steps) // 2] - 1 / (nominal * base)) < 1
            if is_usual or abs(average / nominal - 1) < Fraction(1, 200):
                return Fraction(nominal)
        return average.limit_denominator(1001)

    def _length_s(self) -> Fraction:
        times = [time for part in self._parts for time in part.pts]
        lengths = [length for part in self._parts for length in part.durations]
        step = times[-1] - times[-2] if len(times) > 1 else 1
        return Fraction(times[-1] + (lengths[-1] or step)) * self._target.info.time_base

    @property
    def _is_mp4(self) -> bool:
        return self._path.suffix.lower() in (".mp4", ".m4v", ".mov")

    def merge(self) -> None:
        """Copy all packets, with the times that the frames were to have."""
        times = [time for part in self._parts for time in part.pts]
        delay = max(self._delay(part) for part in self._parts)
        lengths = {pts: after - pts for pts, after in pairwise(times)}
        usual = sorted(lengths.values())[len(lengths) // 2] if lengths else 1
        lengths[times[-1]] = self._parts[-1].durations[-1] or usual
        # A packet may be decoded when the frame that is ``delay`` before it is shown. Matroska keeps no such times,
        # and would move everything for the sake of those before the start.
        early = self._early(times, delay, lengths) if self._is_mp4 else [times[0]] * delay
        decode = early + times
        number = 0
        for part in self._parts:
            for packet, pts in self._packets(part):
                packet.stream = self._stream
                packet.time_base = self._target.info.time_base
                packet.pts, packet.dts = pts, decode[number]
                packet.duration = lengths[pts]
                with writing(self._path):
                    self._mux([packet])
                number += 1

    def _early(self, times: list[int], delay: int, lengths: dict[int, int]) -> list[int]:
        """When what is decoded before the first frame is shown is decoded.

        Players add up the lengths in a file's tables, from decoding to decoding, and take the sum for its length: it is
        made as long as the film is shown.
        """
        if not delay:
            return []
        *_, (_, latest) = self._packets(self._parts[-1])
        end = times[-1] + lengths[times[-1]]
        ahead = max(end - times[max(len(times) - 1 - delay, 0)] - lengths[latest], delay)
        return [times[0] - ahead * (delay - k) // delay for k in range(delay)]

    def _packets(self, part: Part) -> Any:
        """Packets in decoding order, each with the time its frame was to have.

        The container may have moved all times; their order is what it was.
        """
        with open_segment(part.path) as container:
            packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
            ranks = {pts: rank for rank, pts in enumerate(sorted({packet.pts for packet in packets}))}
            if not len(packets) == len(ranks) == len(part.pts):
                raise SegmentDamaged(
                    f"{part.path.name} holds {counted(len(packets), 'frame')} instead of {len(part.pts)}.",
                    "Resume the job; the segment is rendered again.",
                )
            for packet in packets:
                yield packet, part.pts[ranks[packet.pts]]

    def _delay(self, part: Part) -> int:
        """By how many frames decoding has to run ahead."""
        rank = {pts: k for k, pts in enumerate(part.pts)}
        return max((number - rank[pts] for number, (_, pts) in enumerate(self._packets(part))), default=0)

    def _finish(self) -> None:
        """Nothing is encoded here."""


def read_layers(path: Path, count: int) -> Iterator[Pixels]:
    """Layers of a segment, (H, W, 4) uint8 RGBA, in order.

    Raises
    ------
    SegmentDamaged
        When there are not as many as there should be.
    """
    done = 0
    try:
        with open_segment(path) as container:
            if len(container.streams.video) > 1:
                stream: Any = container.streams.video[1]
                stream.thread_type = "NONE"
                for picture in container.decode(stream):
                    done += 1
                    yield np.ascontiguousarray(picture.to_ndarray(format="bgra")[..., [2, 1, 0, 3]])
    except (av.error.FFmpegError, OSError) as error:
        raise SegmentDamaged(f"{path.name} cannot be read: {reason_of(error)}.", "It is rendered again.") from error
    if done != count:
        raise SegmentDamaged(f"{path.name} holds {done} layers instead of {count}.", "It is rendered again.")


def open_segment(path: Path) -> Any:
    """A segment as a PyAV container, to be closed by the caller.

    Raises
    ------
    SegmentDamaged
    """
    try:
        try:
            return av.open("file:" + os.fspath(path), "r", format="nut")
        except av.error.InvalidDataError:
            return av.open("file:" + os.fspath(path), "r", format="mov")
    except (av.error.FFmpegError, OSError) as error:
        check_memory(error, f"{path.name} could not be read")
        raise SegmentDamaged(
            f"{path.name} cannot be read: {reason_of(error)}.", "Resume the job; the segment is rendered again."
        ) from error
