"""Films with tracks of many kinds, written by libav, and the whole way of a film through spans and merging."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.subtitles.subtitle import SubtitleSet
from PIL import Image

from facefusion.media.passengers import TrackOptions
from facefusion.media.reader import ClipReader
from facefusion.media.segments import ClipMerger, Part, SegmentWriter, plan_spans
from facefusion.testing.clips import moving_square
from facefusion.types.frame import RenderedFrame

ASS_HEADER = (
    b"[Script Info]\nScriptType: v4.00+\nPlayResX: 384\nPlayResY: 288\n\n[V4+ Styles]\n"
    b"Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, "
    b"Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, "
    b"MarginV, Encoding\n"
    b"Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1\n\n"
    b"[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
)


@dataclass
class Sound:
    """A tone with a click.

    Attributes
    ----------
    codec, rate, layout, options
        Of the encoder.
    start_s, length_s, click_s
        On the film's clock.
    tags, disposition
        Of the track.
    """

    codec: str = "aac"
    rate: int = 48000
    layout: str = "stereo"
    start_s: float = 0.0
    length_s: float = 1.0
    click_s: float = 0.5
    tags: Mapping[str, str] = field(default_factory=dict)
    disposition: int = 0
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Words:
    """Subtitles."""

    codec: str = "subrip"
    cues: Sequence[tuple[int, int, str]] = ((100, 300, "Hello"), (400, 700, "World"))
    tags: Mapping[str, str] = field(default_factory=dict)
    disposition: int = 0


def click(count: int, rate: int, at_s: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Silence with 2 ms of noise that begins at a time, in [-1, 1]."""
    wave = np.zeros(count, dtype=np.float32)
    begin, length = round(at_s * rate), max(rate // 500, 1)
    if 0 <= begin < count:
        noise = np.random.default_rng(1).uniform(-0.9, 0.9, length).astype(np.float32)
        wave[begin : begin + length] = noise[: count - begin]
    return wave


def add_sound(output: Any, sound: Sound) -> Any:
    stream = output.add_stream(sound.codec, rate=sound.rate)
    stream.codec_context.layout = sound.layout
    stream.codec_context.time_base = stream.time_base = Fraction(1, sound.rate)
    stream.codec_context.options = {"strict": "-2", **sound.options}
    stream.metadata.update(sound.tags)
    stream.disposition = sound.disposition
    return stream


def sound_packets(stream: Any, sound: Sound) -> list[Any]:
    count = round(sound.length_s * sound.rate)
    wave = click(count, sound.rate, sound.click_s - sound.start_s)
    channels = stream.codec_context.layout.nb_channels
    found = []
    for begin in range(0, count, 1024):
        part = np.repeat(wave[None, begin : begin + 1024], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout=sound.layout)
        frame.sample_rate, frame.time_base = sound.rate, Fraction(1, sound.rate)
        frame.pts = begin + round(sound.start_s * sound.rate)
        found += stream.encode(frame)
    return found + stream.encode(None)


def add_words(output: Any, words: Words) -> Any:
    stream = output.add_stream(words.codec)
    stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
    stream.codec_context.subtitle_header = ASS_HEADER
    stream.metadata.update(words.tags)
    stream.disposition = words.disposition
    return stream


def word_packets(stream: Any, words: Words) -> list[Any]:
    found = []
    for number, (begin, end, text) in enumerate(words.cues):
        cue = SubtitleSet.create(f"{number},0,Default,,0,0,0,,{text}".encode(), 0, end - begin, begin)
        packet = stream.codec_context.encode_subtitle(cue)
        packet.time_base, packet.pts, packet.dts = Fraction(1, 1000), begin, begin
        packet.duration, packet.stream = end - begin, stream
        found.append(packet)
    return found


def make_film(
    path: Path,
    *,
    sounds: Sequence[Sound] = (),
    words: Sequence[Words] = (),
    rate: Fraction = Fraction(25),
    count: int = 25,
    fonts: Sequence[tuple[str, bytes]] = (),
    has_cover: bool = False,
    timecode: str = "",
    tags: Mapping[str, str] | None = None,
    film_tags: Mapping[str, str] | None = None,
    chapters: Sequence[dict[str, Any]] = (),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    pictures: Sequence[Any] = (),
    data: Sequence[bytes] = (),
    disposition: int = 1,
    aspect: Fraction | None = None,
    colour: tuple[int, int, int, int] | None = None,
    rotation_deg: int = 0,
) -> Path:
    """Write a film of `moving_square` frames; what the container cannot hold raises libav's error."""
    with av.open(str(path), "w") as output:
        film = output.add_stream(codec, rate=rate)
        film.width, film.height, film.pix_fmt = 160, 120, pixel_format
        film.codec_context.time_base = film.time_base = 1 / rate
        film.codec_context.thread_count = 1
        film.disposition = disposition
        if aspect:
            film.codec_context.sample_aspect_ratio = aspect
        if colour:
            told = film.codec_context
            told.color_primaries, told.color_trc, told.colorspace, told.color_range = colour
        if rotation_deg:
            film.set_display_rotation(rotation_deg)
        film.metadata.update(film_tags or {})
        if timecode:
            film.metadata["timecode"] = timecode
        output.metadata.update(tags or {})
        if chapters:
            output.set_chapters(list(chapters))  # type: ignore[arg-type]
        sound_streams = [add_sound(output, sound) for sound in sounds]
        word_streams = [add_words(output, one) for one in words]
        telemetry = output.add_data_stream("klv") if data else None
        cover = None
        if has_cover and path.suffix == ".mkv":
            with io.BytesIO() as file:
                Image.fromarray(moving_square(64, 48, 0)).save(file, "JPEG")
                output.add_attachment("cover.jpg", "image/jpeg", file.getvalue())
        elif has_cover:
            cover = output.add_stream("mjpeg", rate=1)
            cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
            cover.disposition = int(av.stream.Disposition.attached_pic)
        for name, content in fonts:
            output.add_attachment(name, "application/x-truetype-font", content)
        packets = []
        if cover is not None:
            picture = av.VideoFrame.from_ndarray(moving_square(64, 48, 0), format="rgb24").reformat(format="yuvj420p")
            packets += [*cover.encode(picture), *cover.encode(None)]
        for number in range(count):
            pixels = pictures[number] if pictures else moving_square(160, 120, number)
            kind = "rgba" if pixels.shape[2] == 4 else "rgb24"
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=kind).reformat(
                format=pixel_format
            )
            picture.pts, picture.time_base = number, 1 / rate
            packets += film.encode(picture)
        packets += film.encode(None)
        for stream, sound in zip(sound_streams, sounds, strict=True):
            packets += sound_packets(stream, sound)
        for stream, one in zip(word_streams, words, strict=True):
            packets += word_packets(stream, one)
        for number, content in enumerate(data):
            packet = av.Packet(content)
            packet.stream, packet.time_base = telemetry, Fraction(1, 90000)
            packet.pts = packet.dts = number * 9000
            packets.append(packet)
        for packet in sorted(packets, key=lambda one: (one.dts or 0) * (one.time_base or 1)):
            output.mux(packet)
    return path


def make_parts(source: Path, folder: Path, encoder: str = "libx264", length_s: float = 8.0, **span: Any) -> list[Part]:
    """Segments of an unchanged target."""
    folder.mkdir(parents=True, exist_ok=True)
    reader = ClipReader(source, allow_8bit=True, **span)
    parts = []
    for number, part in enumerate(plan_spans(reader, length_s)):
        path = folder / f"{number}.nut"
        with SegmentWriter(path, reader, encoder, "ultrafast", 80) as writer:
            for frame in ClipReader(source, allow_8bit=True, span=part.as_pair(), **span):
                writer.write(RenderedFrame(frame))
        parts.append(Part(path, writer.pts, writer.durations))
    return parts


def send_through(
    source: Path, output: Path, options: TrackOptions | None = None, *, encoder: str = "libx264", **span: Any
) -> list[str]:
    """Spans and merging without any change; the notes that come of it."""
    parts = make_parts(source, output.parent / f"segments-{output.name}", encoder, **span)
    reader = ClipReader(source, allow_8bit=True, **span)
    with ClipMerger(output, reader, encoder, parts, "changed", tracks=options) as merger:
        merger.merge()
    return merger.notes


def click_time_s(path: Path, number: int = 0) -> float:
    """When the click of a sound track is heard, on the clock of the file."""
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.audio[number]):
            values = frame.to_ndarray().astype(np.float64)
            if frame.format.is_packed:
                values = values.reshape(-1, frame.layout.nb_channels).T
            loud = np.flatnonzero(np.abs(values[0]) > 0.25 * _full(frame.format.name))
            if len(loud):
                return float(frame.time + loud[0] / frame.sample_rate)
    raise AssertionError(f"{path} has no click")


def _full(name: str) -> float:
    return {"s16": 2.0**15, "s16p": 2.0**15, "s32": 2.0**31, "s32p": 2.0**31}.get(name, 1.0)


def sound_length_s(path: Path, number: int = 0) -> float:
    """Length of what is decoded of a sound track."""
    length_s = 0.0
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.audio[number]):
            try:
                length_s += sum(frame.samples / frame.sample_rate for frame in packet.decode())
            except av.error.FFmpegError:
                pass  # damaged
    return length_s
