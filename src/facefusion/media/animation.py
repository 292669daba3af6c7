"""Clips as animations, GIF and WebP: pictures with times and nothing else, made of finished segments."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error
from av.filter import Graph
from av.video.reformatter import Interpolation, VideoReformatter

from facefusion.documents import reason_of
from facefusion.errors import MediaUnsupported, OutputRefused, SegmentDamaged
from facefusion.media.border import writing
from facefusion.media.passengers import close_quietly, read_tracks
from facefusion.media.reader import ClipReader
from facefusion.media.segments import Part, open_segment
from facefusion.media.sequence import is_index
from facefusion.media.yuv import convert_rgb
from facefusion.wording import counted
from facefusion.writing import Replacement

ANIMATIONS = {".gif": "gif", ".webp": "libwebp_anim"}
"""Endings, and the encoder of each."""
_TICKS = {".gif": 100, ".webp": 1000}
"""Units of time in a second."""
_SHORTEST = {".gif": 2, ".webp": 1}
"""Ticks between two pictures: what is shorter in a GIF, browsers show slowly."""
_SCALED = Interpolation.LANCZOS | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT


def is_animation(path: Path) -> bool:
    """Whether an output for a clip is an animation, by its ending."""
    return path.suffix.lower() in ANIMATIONS


def check_animation(path: Path) -> None:
    """Refuse an animation that this PyAV cannot write.

    Raises
    ------
    OutputRefused
    """
    encoder = ANIMATIONS[path.suffix.lower()]
    if encoder not in av.codecs_available:
        raise OutputRefused(f"This PyAV has no encoder {encoder}.", "End the output in .mp4.")


def notes_on_animation(path: Path, target: ClipReader, is_strict: bool) -> tuple[str, ...]:
    """What an animation, or a sequence of pictures, does not hold of its target.

    Raises
    ------
    MediaUnsupported
        Where that is to be refused.
    """
    with target.open() as container:
        lost = [track for track in read_tracks(container) if not track.is_timecode]
    if not lost:
        return ()
    name = _name_of(path)
    if is_strict:
        raise MediaUnsupported(
            f"{target.info.path} has {', '.join(map(str, lost))}, and {name} is for pictures alone.",
            "Leave out --strict, or end the output in .mkv.",
        )
    return tuple(f"{str(track)[:1].upper()}{str(track)[1:]} is left out: {name} holds none." for track in lost)


def notes_on_shape(path: Path, target: ClipReader) -> tuple[str, ...]:
    """What becomes of pixels that are not square: animations get square ones, numbered pictures keep theirs."""
    info = target.info
    aspect = info.shown_aspect or Fraction(1)
    if aspect == 1:
        return ()
    width, height = _square_size(info.width, info.height, aspect)
    shape = f"{aspect.numerator}:{aspect.denominator}"
    if is_index(path):
        return (
            f"The pixels of the target are {shape} and not square, and numbered pictures do not say so: "
            f"{info.width} x {info.height} px are to be shown as {width} x {height}.",
        )
    return (f"The pixels of the target are {shape} and not square; those of {_name_of(path)} are made so.",)


def _name_of(path: Path) -> str:
    return "a sequence" if is_index(path) else f"a {path.suffix.lower()}"


def _square_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Size of a picture in square pixels; no side becomes shorter."""
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


@dataclass(frozen=True, slots=True)
class _Moment:
    """A picture and its time in ticks."""

    picture: Any
    at: int


def write_animation(
    path: Path,
    target: ClipReader,
    parts: Sequence[Part],
    quality: int = 80,
    before_naming: Callable[[], None] | None = None,
) -> tuple[str, ...]:
    """Write segments as an animation that plays for ever.

    Parameters
    ----------
    path
        The output; its ending chooses the format.
    target
        Reader of the target: the units of times are taken from it.
    parts
        All segments in order.
    quality
        Of WebP, 0 to 100; a GIF has 256 colours in any case.
    before_naming
        Called when the file is complete; what it raises leaves the old file there.

    Returns
    -------
    Sentences on what is not as in the segments.

    Raises
    ------
    OutputRefused, SegmentDamaged
    """
    ending = path.suffix.lower()
    moments, dropped, end = _moments(parts, target.info.time_base, _TICKS[ending], _SHORTEST[ending])
    aspect, colour = target.info.shown_aspect or Fraction(1), target.colour
    replacement = Replacement(path)
    output: Any = None
    try:
        with writing(path):
            output = av.open("file:" + str(replacement.path), "w", format=ending[1:], options={"loop": "0"})
            if ending == ".gif":
                _encode(output, "gif", _TICKS[ending], {}, _dithered(parts, moments, aspect, colour), moments, end)
            else:
                options = {"quality": str(quality), "compression_level": "4"}
                pictures = _of_webp(_plain(parts, moments, aspect, colour))
                _encode(output, ANIMATIONS[ending], _TICKS[ending], options, pictures, moments, end)
            output.close()
            if ending == ".webp" and end:
                _end_webp(replacement.path, end - next(iter(moments.values())))
        if before_naming is not None:
            before_naming()
        replacement.put_in_place()
    except BaseException:
        if output is not None:
            close_quietly(output)
        replacement.drop()
        raise
    if not dropped:
        return ()
    return (f"{counted(dropped, 'frame')} left out: a {ending} shows {_TICKS[ending] // _SHORTEST[ending]} a second.",)


def _moments(parts: Sequence[Part], base: Fraction, ticks: int, shortest: int) -> tuple[dict[int, int], int, int]:
    """Ticks of the frames that are shown, by their number, how many are not, and when the last one ends."""
    found: dict[int, int] = {}
    last = -shortest
    times = [time for part in parts for time in part.pts]
    for number, time in enumerate(times):
        at = round(time * base * ticks)
        if at - last >= shortest:
            found[number] = last = at
    length = parts[-1].durations[-1] if parts and parts[-1].durations else 0
    if not length and len(times) > 1:
        length = times[-1] - times[-2]
    end = max(round((times[-1] + length) * base * ticks), last + shortest) if times and length else 0
    return found, len(times) - len(found), end


def _pictures(parts: Sequence[Part], moments: dict[int, int]) -> Iterator[_Moment]:
    """Pictures that are shown, decoded."""
    number = 0
    for part in parts:
        first = number
        try:
            with open_segment(part.path) as container:
                for picture in container.decode(video=0):
                    if number in moments:
                        yield _Moment(picture, moments[number])
                    number += 1
        except av.error.FFmpegError as error:
            raise SegmentDamaged(
                f"{part.path.name} cannot be read: {reason_of(error)}.",
                "Resume the job; the segment is rendered again.",
            ) from error
        if number - first != len(part.pts):
            raise SegmentDamaged(
                f"{part.path.name} holds {counted(number - first, 'frame')} instead of {len(part.pts)}.",
                "Resume the job; the segment is rendered again.",
            )


def _plain(
    parts: Sequence[Part], moments: dict[int, int], aspect: Fraction, colour: tuple[int, int, int, int]
) -> Iterator[_Moment]:
    """Pictures that are shown, in red, green and blue and in square pixels."""
    reformatter = VideoReformatter()
    for moment in _pictures(parts, moments):
        picture = moment.picture
        if picture.format.name.startswith("yuv"):  # neither FFV1 nor the file says it
            picture.colorspace, picture.color_range = colour[2:]
        width, height = _square_size(picture.width, picture.height, aspect)
        way: Any = {} if aspect == 1 else {"width": width, "height": height, "interpolation": _SCALED}
        yield _Moment(reformatter.reformat(picture, format="rgb24", threads=1, **way), moment.at)


def _of_webp(moments: Iterator[_Moment]) -> Iterator[_Moment]:
    """Pictures as WebP has them: 4:2:0 in the colours of BT.601, with limited range."""
    reformatter = VideoReformatter()
    for moment in moments:
        yield _Moment(convert_rgb(moment.picture, reformatter, "yuv420p", 5, is_full=False), moment.at)


def _dithered(
    parts: Sequence[Part], moments: dict[int, int], aspect: Fraction, colour: tuple[int, int, int, int]
) -> Iterator[_Moment]:
    """Pictures in 256 colours that were chosen for all of them: they are looked at once for that, and once more."""
    graph: Any = None
    for moment in _plain(parts, moments, aspect, colour):
        if graph is None:
            graph = Graph()
            buffer = graph.add_buffer(
                width=moment.picture.width, height=moment.picture.height, format="rgb24", time_base=Fraction(1, 100)
            )
            graph.link_nodes(buffer, graph.add("palettegen", "stats_mode=full"), graph.add("buffersink")).configure()
        _push(graph, moment)
    if graph is None:
        return
    graph.vpush(None)
    palette = graph.vpull()
    palette.pts, palette.time_base = 0, Fraction(1, 100)
    graph = None
    for moment in _plain(parts, moments, aspect, colour):
        if graph is None:
            graph = Graph()
            size = {"width": moment.picture.width, "height": moment.picture.height}
            buffer = graph.add_buffer(**size, format="rgb24", time_base=Fraction(1, 100))
            colours = graph.add_buffer(
                width=palette.width, height=palette.height, format=palette.format.name, time_base=Fraction(1, 100)
            )
            use = graph.add("paletteuse", "dither=sierra2_4a:diff_mode=rectangle")
            sink = graph.add("buffersink")
            buffer.link_to(use, 0, 0)
            colours.link_to(use, 0, 1)
            use.link_to(sink, 0, 0)
            graph.configure()
            colours.push(palette)
            colours.push(None)
        picture = moment.picture
        picture.pts, picture.time_base = moment.at, Fraction(1, 100)
        buffer.push(picture)
        yield from _pulled(graph)
    buffer.push(None)
    yield from _pulled(graph)


def _end_webp(path: Path, length_ms: int) -> None:
    """Have an animation last so long: libwebp is not told when the last picture ends, and takes the usual length.

    References
    ----------
    https://developers.google.com/speed/webp/docs/riff_container (ANMF: duration in 24 bits behind 12 bytes).
    """
    with path.open("r+b") as file:
        file.seek(0, 2)
        size, at, total, last = file.tell(), 12, 0, 0
        while at + 8 <= size:
            file.seek(at)
            kind, length = struct.unpack("<4sI", file.read(8))
            if kind == b"ANMF":
                last = at + 8 + 12
                file.seek(last)
                told = int.from_bytes(file.read(3), "little")
                total += told
            at += 8 + length + length % 2
        if last:
            file.seek(last)
            file.write(min(max(told + length_ms - total, 1), 0xFFFFFF).to_bytes(3, "little"))


def _push(graph: Any, moment: _Moment) -> None:
    moment.picture.pts, moment.picture.time_base = moment.at, Fraction(1, 100)
    graph.vpush(moment.picture)


def _pulled(graph: Any) -> Iterator[_Moment]:
    while True:
        try:
            picture = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield _Moment(picture, int(picture.pts))


def _encode(
    output: Any,
    encoder: str,
    ticks: int,
    options: dict[str, str],
    pictures: Iterator[_Moment],
    moments: dict[int, int],
    end: int,
) -> None:
    times = list(moments.values())
    lengths = {at: after - at for at, after in pairwise(times)}
    if times and end:
        lengths[times[-1]] = end - times[-1]
    stream: Any = None

    def mux(packets: list[Any]) -> None:
        for packet in packets:
            packet.duration = lengths.get(packet.pts, packet.duration)
            output.mux(packet)

    for moment in pictures:
        picture = moment.picture
        if stream is None:
            stream = output.add_stream(encoder, rate=ticks)
            stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, picture.format.name
            stream.time_base = stream.codec_context.time_base = Fraction(1, ticks)
            stream.codec_context.options = options
        picture.pts, picture.time_base, picture.pict_type = moment.at, Fraction(1, ticks), 0
        mux(stream.encode(picture))
    if stream is not None:
        mux(stream.encode(None))
