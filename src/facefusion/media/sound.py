"""Sound: a target's in another codec, or any file's as samples; at the same times, whatever delay the codec has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.audio.resampler import AudioResampler
from av.codec.context import Flags
from av.stream import Disposition

from facefusion.documents import reason_of
from facefusion.errors import MediaUnreadable, OutputRefused
from facefusion.media.probe import open_any
from facefusion.types.sound import Sound

GAP_S = Fraction(1, 50)
"""Times of packets are rounded; only what is off by more than this is silence, or sound that comes twice."""
SILENCE = 1 << 16
"""Samples of silence that are made at once."""
_NAMED_LAYOUTS = ("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1")
_BITS_PER_S = {
    "aac": (128_000, 96_000), "libopus": (96_000, 64_000), "libmp3lame": (128_000, 96_000),
    "libvorbis": (128_000, 80_000),
}  # fmt: skip
"""Of one channel alone, and of each where there are more; codecs without loss take what they need."""

Samples = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """What an encoder is given.

    Attributes
    ----------
    codec
        Name of the encoder.
    samples
        Sample format.
    layout
        Name of the channel layout.
    rate
        Samples per second.
    quality
        0 to 100; at 80 codecs with loss have their usual bit rate, and with every 20 more twice of it.
    volume
        Percent of the source's.
    """

    codec: str
    samples: str
    layout: str
    rate: int
    quality: int = 80
    volume: int = 100


def layout_of(context: Any) -> str:
    """Name of a channel layout; that of as many speakers where the source does not say which."""
    name = str(context.layout.name)
    count = int(context.layout.nb_channels)
    if name.endswith("channels") or "ambisonic" in name or not name:
        return _NAMED_LAYOUTS[count - 1] if 1 <= count <= len(_NAMED_LAYOUTS) else "stereo"
    return name


def is_lossless(context: Any) -> bool:
    """Whether a source loses nothing, so that its copy should not either."""
    codec = context.codec
    return codec.name.startswith("pcm_") or (bool(codec.lossless) and not codec.lossy)


def choose_format(codec: str, context: Any) -> SoundFormat:
    """The format nearest to the source that an encoder takes, found by opening it.

    Raises
    ------
    ValueError
        When it takes none.
    """
    encoder = av.Codec(codec, "w")
    known = [one.name for one in encoder.audio_formats or []]
    is_fine = context.format is not None and (
        context.format.bits > 16 or context.format.name.startswith(("flt", "dbl"))
    )
    wide = [name for name in known if name.startswith(("flt", "s32"))]
    samples = next(iter(wide if is_fine and wide else known), "s16")
    rates = list(encoder.audio_rates or [])
    rate = context.sample_rate
    if rates and rate not in rates:
        rate = min((one for one in rates if one >= rate), default=max(rates))
    count = int(context.layout.nb_channels)
    plain = _NAMED_LAYOUTS[count - 1] if 1 <= count <= len(_NAMED_LAYOUTS) else "stereo"
    for layout in dict.fromkeys((layout_of(context), plain, "5.1" if count > 6 else "stereo", "stereo")):
        chosen = SoundFormat(codec, samples, layout, rate)
        try:
            trial = av.CodecContext.create(codec, "w")
            set_up(trial, chosen)
            trial.open()
        except (av.error.FFmpegError, ValueError, TypeError):
            continue
        return chosen
    raise ValueError(f"{codec} takes no sound of {count} channels at {context.sample_rate} Hz")


def check_sound_encoder(codec: str) -> None:
    """Refuse an encoder of sound that this PyAV has not.

    Raises
    ------
    OutputRefused
    """
    if codec and codec not in av.codecs_available:
        raise OutputRefused(f"This PyAV has no encoder {codec}.", "Use --output-audio-encoder aac, or leave it out.")


def set_up(context: Any, chosen: SoundFormat) -> None:
    """Give an encoder its format and a bit rate that suits its channels."""
    context.sample_rate, context.layout, context.format = chosen.rate, chosen.layout, chosen.samples
    context.time_base = Fraction(1, chosen.rate)
    context.thread_count = 1
    context.flags |= Flags.bitexact  # no version of the library in the file
    if chosen.codec in _BITS_PER_S:
        alone, each = _BITS_PER_S[chosen.codec]
        count = int(context.layout.nb_channels)
        usual = alone if count == 1 else each * count
        context.bit_rate = round(usual * min(max(2 ** ((chosen.quality - 80) / 20), 0.25), 2))


class SoundConverter:
    """Decodes packets of one sound track and encodes them anew on the output's time line.

    Parameters
    ----------
    source
        Stream of the target.
    output
        Stream of the output, set up by `set_up`.
    chosen
        Its format.
    offset_s
        Time of the target that is 0 in the output, s.
    stop_s
        Where the sound ends, s of the target; None at its own end.
    """

    def __init__(
        self, source: Any, output: Any, chosen: SoundFormat, offset_s: Fraction, stop_s: Fraction | None
    ) -> None:
        self._source, self._output, self._chosen = source, output, chosen
        self._offset_s = offset_s
        self._stop = None if stop_s is None else round((stop_s - offset_s) * chosen.rate)
        self._is_planar = chosen.samples.endswith("p")
        self._resampler: Any = None
        self._shape: tuple[object, ...] = ()
        self._expected_s = Fraction(0)  # when the next decoded sample is due
        self._cursor = 0  # where the next resampled sample goes, in samples of the output
        self._base: int | None = None  # where the first one went
        self._waiting: list[Samples] = []
        self._waiting_count = self._sent = 0
        self.failed_count = 0

    def feed(self, packet: Any) -> list[Any]:
        """Packets of the output that are ready after one of the target; damaged ones leave silence."""
        try:
            frames = self._source.codec_context.decode(packet)
        except (av.error.FFmpegError, ValueError) as error:
            if not isinstance(error, av.error.EOFError):
                self.failed_count += 1
            return []
        return [made for frame in frames for made in self._take(frame)]

    def finish(self) -> list[Any]:
        """The packets that are left."""
        made = self._flush()
        if self._base is None:
            return made
        return [*made, *self._encode(is_last=True), *self._output.encode(None)]

    def _flush(self) -> list[Any]:
        """What comes of all that decoder and resampler still hold."""
        made: list[Any] = []
        try:
            made = [one for frame in self._source.codec_context.decode(None) for one in self._take(frame)]
        except (av.error.FFmpegError, ValueError):
            pass  # what is held back by a damaged end cannot be had
        return made + list(self._drain())

    def _take(self, frame: Any) -> Iterator[Any]:
        if not frame.samples:
            return
        base = Fraction(frame.time_base or self._source.time_base)
        begin_s = None if frame.pts is None else frame.pts * base - self._offset_s
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        is_off = begin_s is not None and abs(begin_s - self._expected_s) > GAP_S
        if self._resampler is None or is_off or shape != self._shape:
            yield from self._drain()
            if begin_s is not None and (is_off or self._resampler is None):
                self._expected_s = begin_s
            self._cursor = round(self._expected_s * self._chosen.rate)
            self._shape = shape
            chosen = self._chosen
            self._resampler = AudioResampler(format=chosen.samples, layout=chosen.layout, rate=chosen.rate)
        self._expected_s += Fraction(frame.samples, frame.sample_rate)
        named = layout_of(frame)
        if named != frame.layout.name:
            copy = av.AudioFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name, layout=named)
            copy.sample_rate, copy.pts, copy.time_base = frame.sample_rate, frame.pts, base
            frame = copy
        for made in self._resampler.resample(frame):
            yield from self._place(self._rows(made))

    def _drain(self) -> Iterator[Any]:
        if self._resampler is not None:
            for made in self._resampler.resample(None):
                if made is not None:
                    yield from self._place(self._rows(made))

    def _rows(self, frame: Any) -> Samples:
        """(samples, channels)"""
        values: Samples = frame.to_ndarray()
        rows = values.T if self._is_planar else values.reshape(frame.samples, -1)
        if self._chosen.volume == 100:
            return rows
        louder = rows.astype(np.float64) * (self._chosen.volume / 100)
        if rows.dtype.kind == "f":
            return louder.astype(rows.dtype)
        limits = np.iinfo(rows.dtype)
        return np.clip(np.round(louder), limits.min, limits.max).astype(rows.dtype)

    def _place(self, rows: Samples) -> Iterator[Any]:
        start = self._cursor
        self._cursor += len(rows)
        if start < 0:
            rows, start = rows[-start:], 0
        if self._stop is not None:
            rows = rows[: max(self._stop - start, 0)]
        if not len(rows):
            return
        if self._base is None:
            self._base = start
        filled = self._base + self._sent + self._waiting_count
        while filled < start:
            count = min(start - filled, SILENCE)
            yield from self._add(np.zeros((count, rows.shape[1]), dtype=rows.dtype))
            filled += count
        yield from self._add(rows[filled - start :])

    def _add(self, rows: Samples) -> Iterator[Any]:
        if len(rows):
            self._waiting.append(rows)
            self._waiting_count += len(rows)
            yield from self._encode()

    def _encode(self, is_last: bool = False) -> Iterator[Any]:
        size = self._output.codec_context.frame_size or 4096
        if not self._waiting or (self._waiting_count < size and not is_last):
            return
        rows = np.concatenate(self._waiting)
        whole = len(rows) if is_last else len(rows) // size * size
        assert self._base is not None
        for begin in range(0, whole, size):
            part = rows[begin : min(begin + size, whole)]
            shaped = np.ascontiguousarray(part.T if self._is_planar else part.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(shaped, format=self._chosen.samples, layout=self._chosen.layout)
            frame.sample_rate, frame.time_base = self._chosen.rate, Fraction(1, self._chosen.rate)
            frame.pts = self._base + self._sent
            self._sent += len(part)
            yield from self._output.encode(frame)
        self._waiting = [rows[whole:]] if whole < len(rows) else []
        self._waiting_count = len(rows) - whole


SOUND_RATE = 16_000
"""Samples per second that processors are given; what speech models work with."""
MAX_SOUND_S = 6 * 3600
"""Sound that is longer is not taken into memory."""


class _Collector(SoundConverter):
    """Keeps samples instead of encoding them."""

    def __init__(self, source: Any, chosen: SoundFormat, offset_s: Fraction) -> None:
        super().__init__(source, None, chosen, offset_s, offset_s + MAX_SOUND_S)
        self.rows: list[Samples] = []

    def collected(self) -> Samples:
        """(N, C) all samples from the beginning of the file, once it is read."""
        self._flush()
        if not self.rows:
            return np.zeros((0, 1), dtype=np.float32)
        early = np.zeros((self._base or 0, self.rows[0].shape[1]), dtype=np.float32)
        return np.concatenate([early, *self.rows])

    def _add(self, rows: Samples) -> Iterator[Any]:
        if len(rows):
            self.rows.append(np.asarray(rows, dtype=np.float32).copy())
            self._waiting_count += len(rows)
        return iter(())


def has_sound(path: Path) -> bool:
    """Whether a file has a sound track.

    Raises
    ------
    MediaError
        When it is no media file.
    """
    with open_any(path) as container:
        return bool(container.streams.audio)


def _sound_of(container: Any, path: Path) -> tuple[Any, Fraction]:
    """The default sound track of an open file, else its first, and when the file begins, s.

    Raises
    ------
    MediaUnreadable
        When there is none.
    """
    tracks = list(container.streams.audio)
    if not tracks:
        raise MediaUnreadable(f"{path} has no sound.", "Give a file with a sound track.")
    stream = next((one for one in tracks if one.disposition & Disposition.default), tracks[0])
    return stream, Fraction(container.start_time or 0, av.time_base)


def read_sound(path: Path, rate: int = SOUND_RATE) -> Sound:
    """The sound of an audio file or a clip: its default track, else its first, resampled once.

    Parameters
    ----------
    path
        Any file with sound.
    rate
        Samples per second.

    Returns
    -------
    Mono sound from the beginning of the file; what a container begins later begins later here. At most `MAX_SOUND_S`.

    Raises
    ------
    MediaError
        When it cannot be read or has none.
    """
    with open_any(path) as container:
        stream, begin_s = _sound_of(container, path)
        collector = _Collector(stream, SoundFormat("", "fltp", "mono", rate), begin_s)
        count = 0
        try:
            for packet in container.demux(stream):
                if packet.size:
                    count += 1
                    collector.feed(packet)
        except (av.error.FFmpegError, ValueError) as error:
            if not count:
                raise MediaUnreadable(
                    f"The sound of {path} cannot be read: {reason_of(error)}.", "Check the file."
                ) from error
        return Sound(np.ascontiguousarray(collector.collected()), rate)


class AddedSound:
    """Sound of another file on its way into an output, in the place of the target's.

    Parameters
    ----------
    path
        A file with sound; its beginning is the beginning of the output.
    output
        Container that is written.
    codec
        Encoder that the container holds.
    stop_s
        Where the film ends, s; the sound is cut there. None keeps all of it.
    """

    def __init__(self, path: Path, output: Any, codec: str, stop_s: Fraction | None) -> None:
        self._container = open_any(path)
        try:
            stream, begin_s = _sound_of(self._container, path)
        except MediaUnreadable:
            self.close()
            raise
        chosen = choose_format(codec, stream.codec_context)
        self._output, self._stream = output, output.add_stream(codec, rate=chosen.rate)
        set_up(self._stream.codec_context, chosen)
        self._stream.time_base = Fraction(1, chosen.rate)
        self._stream.disposition = int(Disposition.default)
        end_s = None if stop_s is None else begin_s + stop_s
        self._converter = SoundConverter(stream, self._stream, chosen, begin_s, end_s)
        self._made = self._packets(stream)
        self._waiting: Any = None

    def _packets(self, stream: Any) -> Iterator[Any]:
        try:
            for packet in self._container.demux(stream):
                if packet.size:
                    yield from self._converter.feed(packet)
        except (av.error.FFmpegError, ValueError):
            pass  # what is behind a damaged place cannot be had
        yield from self._converter.finish()

    def mux_until(self, time_s: Fraction | None) -> None:
        """Write what is due before a time of the output, or all that is left."""
        while True:
            packet = self._waiting if self._waiting is not None else next(self._made, None)
            self._waiting = None
            if packet is None:
                return
            if time_s is not None and packet.dts is not None and packet.dts * packet.time_base > time_s:
                self._waiting = packet
                return
            packet.stream = self._stream
            self._output.mux(packet)

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()
