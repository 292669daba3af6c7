"""Clips that a processor makes: written without any loss, part by part, and joined into a target like any other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error

from facefusion.documents import reason_of
from facefusion.errors import ProcessorRefused, SegmentDamaged
from facefusion.media.border import writing
from facefusion.media.segments import Span
from facefusion.types.frame import Pixels, SourceInfo
from facefusion.wording import agreed, counted

LOSSLESS = "libx264rgb"
LOSSLESS_OPTIONS = {"qp": "0", "preset": "ultrafast", "bf": "0", "g": "48"}
"""Lossless RGB, in the order of time."""


def plan_generated(info: SourceInfo, length_s: float) -> tuple[Span, ...]:
    """Cut a clip that is yet to be made into spans of equal length; pts are numbers of frames.

    Parameters
    ----------
    info
        Of the clip.
    length_s
        Wanted length in seconds.
    """
    step = max(round(length_s * info.frame_rate), 1)
    bounds = [*range(0, max(info.frame_count - step // 2, 1), step), info.frame_count]
    spans = []
    for number, (start, stop) in enumerate(pairwise(bounds)):
        is_last = number == len(bounds) - 2
        spans.append(Span(start if number else None, None if is_last else stop, stop - start))
    return tuple(spans)


def write_generated(
    path: Path, frames: Iterable[Pixels], info: SourceInfo, count: int, name: str, on_frame: Callable[[int], None]
) -> None:
    """Write one span.

    Parameters
    ----------
    path
        A file that ends in ``.nut``.
    frames
        (H, W, 3) uint8 RGB as ``info`` says.
    info
        Of the whole clip.
    count
        How many there must be.
    name
        Of the processor, for errors.
    on_frame
        Called after each frame.

    Raises
    ------
    ProcessorRefused
        When frames have another size, or there are more or fewer.
    OutputRefused
    """
    wanted = (info.height, info.width, 3)
    done = 0
    with (
        writing(path),
        av.open("file:" + os.fspath(path), "w", format="nut", options={"fflags": "+bitexact"}) as output,
    ):
        stream: Any = output.add_stream(LOSSLESS, rate=info.frame_rate)
        stream.width, stream.height, stream.pix_fmt = info.width, info.height, "rgb24"
        context = stream.codec_context
        context.time_base = stream.time_base = 1 / info.frame_rate
        context.thread_count = 1
        context.options = dict(LOSSLESS_OPTIONS)
        for pixels in frames:
            if done == count or pixels.shape != wanted or str(pixels.dtype) != "uint8":
                raise ProcessorRefused(
                    f"Processor '{name}' made a frame of {pixels.shape} {pixels.dtype} where {count} of {wanted} uint8 "
                    "were due.",
                    "Mend it, or leave it out; 'facefusion plugins check' tells more.",
                )
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base = done, 1 / info.frame_rate
            output.mux(stream.encode(picture))
            done += 1
            on_frame(done)
        if done != count:
            raise ProcessorRefused(
                f"Processor '{name}' made {counted(done, 'frame')} where {count} {agreed(count, 'was', 'were')} due.",
                "Mend it, or leave it out; 'facefusion plugins check' tells more.",
            )
        output.mux(stream.encode(None))


def join_generated(path: Path, parts: Sequence[Path], info: SourceInfo) -> None:
    """Join spans into one clip, without encoding again.

    Parameters
    ----------
    path
        A file that ends in ``.mp4``.
    parts
        Files of `write_generated`, in order.
    info
        Of the clip.

    Raises
    ------
    SegmentDamaged, OutputRefused
    """
    base = 1 / info.frame_rate
    options = {"fflags": "+bitexact", "video_track_timescale": str(base.denominator), "movflags": "+faststart"}
    number = 0
    with writing(path), av.open("file:" + os.fspath(path), "w", format="mp4", options=options) as output:
        stream: Any = None
        for part in parts:
            try:
                with av.open("file:" + os.fspath(part), "r", format="nut") as container:
                    own = container.streams.video[0]
                    if stream is None:
                        stream = output.add_stream_from_template(own, opaque=True)
                        stream.codec_context.codec_tag = "avc1"
                        stream.time_base = base
                        stream.codec_context.framerate = info.frame_rate
                    for packet in container.demux(own):
                        if packet.size:
                            packet.stream = stream
                            packet.pts = packet.dts = number
                            packet.time_base, packet.duration = base, 1
                            output.mux(packet)
                            number += 1
            except (av.error.InvalidDataError, av.error.FileNotFoundError, IndexError) as error:
                raise SegmentDamaged(f"{part.name} cannot be read: {reason_of(error)}.", "It is made again.") from error
    if number != info.frame_count:
        raise SegmentDamaged(
            f"The parts hold {counted(number, 'frame')}, not {info.frame_count}.", "They are made again."
        )
