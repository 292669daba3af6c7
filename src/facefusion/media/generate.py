"""Writes small clips from arrays with chosen times, formats, tags and tracks; for tests and plug-in authors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from facefusion.media.yuv import convert_rgb


def write_test_clip(
    path: Path,
    frames: Sequence[np.ndarray[Any, np.dtype[np.uint8]]],
    pts: Sequence[int],
    time_base: Fraction,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    audio_tracks: int = 0,
    rotation_deg: int = 0,
    colour: Mapping[str, int] | None = None,
    metadata: Mapping[str, str] | None = None,
    chapters: Sequence[dict[str, Any]] = (),
    options: Mapping[str, str] | None = None,
) -> None:
    """Write a clip.

    Parameters
    ----------
    path
        Its ending chooses the container.
    frames
        (H, W, 3) uint8 RGB pictures of one size.
    pts, time_base
        Exact times.
    codec, pixel_format, options
        Of the video encoder.
    audio_tracks
        Number of AAC tracks, each a tone of its own.
    rotation_deg
        Display rotation written to the container, counter-clockwise.
    colour
        Codec attributes such as ``colorspace`` and ``color_range``.
    metadata, chapters
        Of the container.
    """
    container_options = {"video_track_timescale": str(time_base.denominator)} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=container_options) as output:
        stream: Any = output.add_stream(codec, rate=Fraction(25))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = time_base
        stream.time_base = time_base
        stream.codec_context.thread_count = 1
        stream.options = dict(options or {})
        for name, value in (colour or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation_deg:
            stream.set_display_rotation(rotation_deg)
        output.metadata.update(dict(metadata or {}))
        if chapters:
            output.set_chapters(list(chapters))  # type: ignore[arg-type]
        sounds: list[Any] = [output.add_stream("aac", rate=16000, layout="mono") for _ in range(audio_tracks)]
        space, is_full = (colour or {}).get("colorspace", 5), (colour or {}).get("color_range", 1) == 2
        reformatter = VideoReformatter()
        for pixels, at in zip(frames, pts, strict=True):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            picture = convert_rgb(picture, reformatter, pixel_format, space, is_full)
            picture.pts, picture.time_base = at, time_base
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
        duration_s = float((pts[-1] - pts[0]) * time_base) + 0.04
        for number, sound in enumerate(sounds):
            count = int(duration_s * 16000)
            wave = (np.sin(np.arange(count) * 2 * np.pi * (220 + 110 * number) / 16000) * 8000).astype(np.int16)
            for start in range(0, count, 1024):
                part = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="s16", layout="mono")
                part.sample_rate, part.pts, part.time_base = 16000, start, Fraction(1, 16000)
                output.mux(sound.encode(part))
            output.mux(sound.encode(None))
