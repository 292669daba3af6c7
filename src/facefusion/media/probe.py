"""What a clip is, read from its headers and its first frame."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import av.error
from av.stream import Disposition

from facefusion.documents import reason_of
from facefusion.errors import MediaError, MediaUnreadable, MediaUnsupported, check_memory
from facefusion.media.files import check_file
from facefusion.media.mp4 import lengths_of
from facefusion.media.timing import TICKS_PER_S, Join, Timing, find_joins, length_of

MAX_SIDE = 16384
MAX_PIXELS = 12288 * 6480
"""Decoders keep dozens of pictures; this is twelve thousand pixels of film, and 8192 x 8192 of a dome."""
_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,mjpeg,dv,asf,flv,"
    "ogg,mxf,gxf,nut,wtv,rm,gif,yuv4mpegpipe,wav,mp3,aac,flac"
)
"""Containers that hold their own media. Lists that name other files or places (concat, HLS, DASH, SDP) are not here."""
DECODER_OPTIONS = {"max_pixels": str(MAX_PIXELS)}
_OPTIONS = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file", **DECODER_OPTIONS}
_LISTS = {
    "ffconcat": (b"ffconcat version",), "hls": (b"#EXTM3U",), "dash": (b"<MPD",), "sdp": (b"v=0\r\n", b"v=0\n"),
    "imf": (b"<AssetMap", b"<CompositionPlaylist"), "smoothstreaming": (b"<SmoothStreamingMedia",),
    "asx": (b"<asx", b"<ASX"), "pls": (b"[playlist]",),
}  # fmt: skip
_MAY_BE_JOINED = ("mpegts", "mpeg")
_STREAMED = ("mpegts", "mpeg", "mpegvideo", "m4v")
"""Containers whose times do not begin at 0."""
MAX_DELAY_S = 10
"""A clip of any other container that begins later than this was cut from a stream."""
_UNORDERED = ("avi", "asf")
"""Containers that keep frames in the order of decoding, at times that only count them."""
_LOOKED_AT = 64
"""Packets that are looked at to see whether times are those of showing."""


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """Facts about a clip.

    Attributes
    ----------
    width, height
        Upright size in pixels (rotation applied).
    rotation_deg
        Counter-clockwise turn that makes the stored picture upright, after mirroring: 0, 90, 180 or 270. Turns in
        between are taken to the nearest of these.
    is_mirrored
        Whether left and right of the stored picture are swapped first.
    time_base
        Seconds per unit of pts of the video stream.
    frame_rate
        Average frames per second, or None where the container does not say.
    frame_count
        Frames as the container says, an estimate from the duration, or 0 where neither is known.
    start_s, duration_s
        When the first frame is due and when the film ends, in seconds from the beginning of the clip; 0 where unknown.
    pixel_format, bit_depth
        Stored pixel format and its bits per channel.
    colour
        Primaries, transfer, matrix and range as in FFmpeg.
    sample_aspect
        Width of a stored pixel by its height, None where it is not said.
    is_interlaced
        Whether the first picture is of two fields.
    zero
        The container's time that is the beginning of the clip, in units of ``time_base``.
    timing, joins
        How frames get their times.
    cut_off
        Times of frames that the header lists behind the end of the file.
    promised_s
        When the film ends as its header says, seconds from the beginning; 0 where it does not.
    end
        When the last frame ends as the tables of an MP4 or MOV file say, in units of ``time_base``; 0 elsewhere, where
        frames themselves say how long they last.
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
    is_mirrored: bool = False
    colour: tuple[int, int, int, int] = (2, 2, 2, 0)
    sample_aspect: Fraction | None = None
    is_interlaced: bool = False
    zero: int = 0
    timing: Timing = "stamped"
    joins: tuple[Join, ...] = ()
    cut_off: tuple[int, ...] = ()
    promised_s: float = 0.0
    end: int = 0

    @property
    def is_upright(self) -> bool:
        """Whether pictures are stored as they are shown."""
        return not self.rotation_deg and not self.is_mirrored

    @property
    def shown_aspect(self) -> Fraction | None:
        """Width by height of a pixel of the upright picture, None where it is not said."""
        return 1 / self.sample_aspect if self.sample_aspect and self.rotation_deg in (90, 270) else self.sample_aspect

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height in pixels before turning."""
        return (self.height, self.width) if self.rotation_deg in (90, 270) else (self.width, self.height)

    @property
    def has_seekable_times(self) -> bool:
        """Whether a frame's time can be told without reading all that is before it."""
        return self.timing == "stamped" and not self.joins


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
    container = open_any(path)
    try:
        return _checked(container, path)
    except (av.error.FFmpegError, ValueError, UnicodeError) as error:
        container.close()
        raise MediaUnreadable(f"{path} is not a photo or clip that can be read: {reason_of(error)}.", _HINT) from error


def open_any(path: Path) -> Any:
    """Open a media file for reading, whatever tracks it has.

    Raises
    ------
    MediaMissing, MediaUnreadable
    """
    opener = _mounts.get(path)
    if opener is None:
        check_file(path)
    try:
        # "file:" keeps odd names such as "a:b.mp4" from being read as a protocol.
        place = "file:" + str(path) if opener is None else opener[1]()
        container = av.open(place, "r", metadata_errors="replace", options=_OPTIONS)
        # A JPEG anywhere in a document makes a film of it.
        if container.format.name == "mjpeg" and not _read_head(path).startswith(b"\xff\xd8"):
            container.close()
            raise MediaUnsupported(f"{path} is a document or data with a picture in it, not a photo or clip.", _SAVE)
        return container
    except MemoryError as error:
        check_memory(error, f"{path} could not be opened")
        raise
    except (av.error.FFmpegError, OSError, ValueError, UnicodeError) as error:
        if isinstance(error, MediaError):
            raise
        _refuse_list(path, error)
        raise MediaUnreadable(f"{path} is not a photo or clip that can be read: {reason_of(error)}.", _HINT) from error


def _checked(container: Any, path: Path) -> Any:
    try:
        film_of(container)
    except MediaUnreadable as error:
        container.close()
        raise MediaUnreadable(f"{path} has no picture that moves.", _HINT) from error
    return container


_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_STILL_CODECS = ("mjpeg", "png", "bmp", "tiff", "webp", "gif", "jpeg2000", "targa")


def film_of(container: Any) -> Any:
    """The video stream that a player shows.

    Covers and thumbnails are no film, nor is a still beside one. Of several films the one that is marked as the
    default is taken, then the longest, then the largest, then the first.

    Parameters
    ----------
    container
        An open PyAV input.

    Returns
    -------
    The stream.

    Raises
    ------
    MediaUnreadable
        When there is none.
    """
    films = [s for s in container.streams.video if s.codec_context is not None and not s.disposition & _NO_FILM]
    if not films:
        raise MediaUnreadable("There is no picture that moves.", _HINT)
    longest_s = max(_length_s(stream) for stream in films)

    def rank(stream: Any) -> tuple[Any, ...]:
        length_s, context = _length_s(stream), stream.codec_context
        is_still = context.name in _STILL_CODECS and (length_s < longest_s / 2 or not length_s)
        is_default = bool(stream.disposition & Disposition.default)
        return not is_still, is_default, length_s, context.width * context.height, -stream.index

    return max(films, key=rank)


def _length_s(stream: Any) -> float:
    """Length as the container says it, 0 where it does not."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)
    # The tag tells when it ends, on a clock that need not begin at 0.
    begins_s = float((stream.start_time or 0) * (stream.time_base or 0))
    return since(begins_s, _tagged_s(stream) or 0.0)


def since(begins_s: float, ends_s: float) -> float:
    """How long something is that ends at a time; some writers state a length there, whatever the clock says."""
    return ends_s - begins_s if begins_s < ends_s else ends_s


def _tagged_s(stream: Any) -> float | None:
    """Length in the tag that Matroska writers leave, such as 00:00:01.543000000."""
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None


_SAVE = "Save the picture as a file of its own (JPEG, PNG, ...) and use that."
_HINT = "Check that the file is complete and is a photo (JPEG, PNG, ...) or a clip (MP4, MOV, MKV, WebM, ...)."


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
    return _probe(path, *file_state(path))


def file_state(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds, which tell whether a clip is still the same."""
    if path in _mounts:
        return _mounts[path][0], 0
    check_file(path)
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def _opened(path: Path) -> Any:
    return _mounts[path][1]() if path in _mounts else path.open("rb")


def _read_head(path: Path) -> bytes:
    with _opened(path) as file:
        return bytes(file.read(8192))


_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def _avi_length_s(path: Path) -> float | None:
    """Length of the first film as an AVI file's header states it; FFmpeg tells what the file's size allows.

    References
    ----------
    AVI RIFF File Reference, AVISTREAMHEADER.
    """
    head = _read_head(path)
    at = head.find(b"vids", 0, len(head) - 40)
    if at < 8 or head[at - 8 : at - 4] != b"strh":
        return None
    scale, rate, _, length = struct.unpack("<4I", head[at + 20 : at + 36])
    return length * scale / rate if rate else None


def _stated(path: Path, names: Sequence[str]) -> tuple[int, float]:
    """Size and length in seconds of the whole file as the headers of FLV, WMV and ASF files state them; else 0.

    References
    ----------
    Adobe Flash Video File Format Specification, onMetaData; Advanced Systems Format Specification, 3.2.
    """
    if "flv" in names:
        head = _read_head(path)

        def number(name: bytes) -> float:
            _, _, rest = head.partition(b"\0\x08" + name + b"\0")
            value = float(struct.unpack(">d", rest[:8])[0]) if len(rest) >= 8 else 0.0
            return value if math.isfinite(value) else 0.0

        return int(number(b"filesize")), number(b"duration")
    if "asf" in names:
        _, _, rest = _read_head(path).partition(_ASF_PROPERTIES)
        if len(rest) >= 72:
            size, _, _, length, _, preroll_ms = struct.unpack("<6Q", rest[24:72])
            return size, max(length / 10_000_000 - preroll_ms / 1000, 0.0)
    return 0, 0.0


def _refuse_list(path: Path, error: BaseException) -> None:
    """Name what only points to other media."""
    head = _read_head(path).lstrip(b"\xef\xbb\xbf \t\r\n")
    for name, marks in _LISTS.items():
        if any(head.startswith(mark) or (mark[:1] == b"<" and mark in head) for mark in marks):
            raise MediaUnsupported(
                f"{path} is no clip but a list of other files ({name}).", "Join them into one file first."
            ) from error
    if isinstance(error, av.error.ArgumentError):
        raise MediaUnsupported(f"{path} is of a kind that is not read.", _HINT) from error


@lru_cache(maxsize=64)
def _probe(path: Path, size_bytes: int, changed_ns: int) -> ClipInfo:
    """`probe`, remembered as long as the file does not change; errors are not remembered."""
    timing, joins, earliest = _look_at_times(path)
    with open_clip(path) as container:
        stream = film_of(container)
        check_pixels(path, stream.codec_context.width, stream.codec_context.height)
        first = _first_picture(path, container, stream)
        rate = stream.average_rate or stream.guessed_rate
        is_of_fields = timing == "counted" and rate and stream.guessed_rate and rate == 2 * stream.guessed_rate
        if is_of_fields:  # AVI states the fields of H.264
            rate = stream.guessed_rate
        time_base = Fraction(stream.time_base or Fraction(1, 90000))
        zero = _zero(container, stream, time_base, earliest)
        start = 0 if stream.start_time is None else stream.start_time - zero
        if stream.duration:
            duration_s = float((start + stream.duration) * time_base)
        else:
            duration_s = since(float(zero * time_base), (container.duration or 0) / 1_000_000)
        length_s = duration_s - float(start * time_base)
        stated = stream.frames // 2 if is_of_fields else stream.frames
        count = stated or (int(round(length_s * float(rate))) if rate else 0)
        names = container.format.name.split(",")
        cut_off: tuple[int, ...] = ()
        end = 0
        if "mov" in names:
            entries = [entry for entry in stream.index_entries if not entry.is_discard]
            delay = (stream.start_time or 0) - min((entry.timestamp for entry in entries), default=0)
            cut_off = tuple(e.timestamp + delay - zero for e in entries if e.pos + e.size > size_bytes)
            count = len(entries) or count
            end = _end_of_tables(path, stream, start)
        promised_s = _avi_length_s(path) if "avi" in names else None
        if "matroska" in names:
            promised_s = since(float(zero * time_base), _tagged_s(stream) or 0.0)
        stated_bytes, stated_s = _stated(path, names)
        if stated_bytes > size_bytes:  # the length is that of the longest track: whole, a film may well be shorter
            promised_s = stated_s
        info = ClipInfo(
            path=path,
            width=first.width,
            height=first.height,
            rotation_deg=0,
            time_base=time_base,
            frame_rate=Fraction(rate) if rate else None,
            frame_count=count,
            start_s=float(start * time_base),
            duration_s=duration_s,
            pixel_format=first.format.name,
            bit_depth=8,
            codec=stream.codec_context.name,
            zero=zero,
            timing=timing,
            joins=joins,
            cut_off=cut_off,
            promised_s=promised_s or 0.0,
            end=0 if zero else end,
        )
        return with_picture(info, first, stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio)


def _end_of_tables(path: Path, stream: Any, start: int) -> int:
    """When the film of an MP4 or MOV file ends, in its own units; 0 where the file does not say.

    The tables have lengths in the order of decoding, so that those of frames that are shown in another one tell nothing
    of the frame itself; how long the track is shown is in its edit list.

    Parameters
    ----------
    path, stream
        The file and its film.
    start
        When the first frame is due.
    """
    with _opened(path) as file:
        shown_s, media_s = lengths_of(file, stream.id)
    if not shown_s:
        return int(start + stream.duration) if stream.duration else 0
    edited = round(shown_s / stream.time_base)
    whole = start + round(media_s / stream.time_base)
    # Edits are rounded to milliseconds, the media are not; and what is not there is not shown.
    return int(whole if media_s and whole < edited + Fraction(1, 1000) / stream.time_base else edited)


def check_pixels(path: Path, width: int, height: int) -> None:
    """Refuse pictures so large that decoding them would take all memory.

    Raises
    ------
    MediaUnsupported
    """
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise MediaUnsupported(
            f"{path} is {width} x {height} px.", "Scale it down first: up to 12288 x 6480 px, or as many pixels, work."
        )


def _first_picture(path: Path, container: Any, stream: Any) -> Any:
    """The first picture that can be decoded; what cannot be is passed over, as players do."""
    reason = ""
    stream.codec_context.options = DECODER_OPTIONS
    try:
        for packet in container.demux(stream):
            try:
                first = next((one for one in packet.decode() if one.width and one.height), None)
            except av.error.InvalidDataError as error:
                first, reason = None, f": {reason_of(error)}"
            if first is not None:
                check_pixels(path, first.width, first.height)
                return first
    except MemoryError as error:
        check_memory(error, f"{path} could not be decoded")
        raise
    except (av.error.FFmpegError, ValueError, OSError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaUnreadable(f"{path} cannot be decoded: {reason_of(error)}.", _HINT) from error
    if not stream.codec_context.width:
        reason += "; how large it is is not known: its beginning is missing, or it has more than 12288 x 6480 px"
    raise MediaUnreadable(f"{path} has no decodable frame{reason}.", _HINT)


def with_picture(info: ClipInfo, picture: Any, sample_aspect: Fraction | None) -> ClipInfo:
    """The same clip, beginning with another picture.

    Parameters
    ----------
    info
        Of the clip.
    picture
        A decoded PyAV frame.
    sample_aspect
        Of it.
    """
    rotation, is_mirrored = orientation_of(picture)
    turned = rotation in (90, 270)
    return replace(
        info,
        width=picture.height if turned else picture.width,
        height=picture.width if turned else picture.height,
        rotation_deg=rotation,
        is_mirrored=is_mirrored,
        pixel_format=picture.format.name,
        bit_depth=max((component.bits for component in picture.format.components), default=8),
        colour=(
            int(picture.color_primaries or 2), int(picture.color_trc or 2),
            int(picture.colorspace or 2), int(picture.color_range or 0),
        ),
        sample_aspect=Fraction(sample_aspect) if sample_aspect else None,
        is_interlaced=bool(picture.interlaced_frame),
    )  # fmt: skip


def orientation_of(picture: Any) -> tuple[int, bool]:
    """How a picture is to be shown, by its display matrix.

    Returns
    -------
    Counter-clockwise turn in degrees (0, 90, 180, 270), and whether left and right are swapped before it.

    References
    ----------
    ISO/IEC 14496-12, 6.2.2; libavutil/display.h.
    """
    found = next((bytes(one) for one in picture.side_data if one.type.name == "DISPLAYMATRIX"), None)
    if found is None or len(found) < 36:
        return 0, False
    a, b, _, c, d = struct.unpack("=9i", found[:36])[:5]
    is_mirrored = a * d - b * c < 0
    if is_mirrored:
        a, b = -a, -b
    if not (a or b):
        return 0, is_mirrored
    return int(round(math.degrees(math.atan2(-b, a)) / 90)) * 90 % 360, is_mirrored


def _zero(container: Any, film: Any, time_base: Fraction, earliest: int | None) -> int:
    """When the clip begins, in the film's units, rounded down.

    Files begin at 0, and what is due later is so on purpose. Recordings of a stream begin at any time.
    """
    streams = [film, *container.streams.audio]
    starts = [s.start_time * Fraction(s.time_base) for s in streams if s.start_time is not None and s.time_base]
    if not starts and earliest is not None:
        starts = [earliest * time_base]
    if not starts or (container.format.name not in _STREAMED and abs(min(starts)) < MAX_DELAY_S):
        return 0
    return int(min(starts) // time_base)


def _look_at_times(path: Path) -> tuple[Timing, tuple[Join, ...], int | None]:
    """Whether frames are due when their packets say, where recordings were joined, and the first frame's time."""
    joins: tuple[Join, ...] = ()
    with open_clip(path) as container:
        stream = film_of(container)
        check_pixels(path, stream.codec_context.width, stream.codec_context.height)
        name = container.format.name
        times: list[int | None] = []
        try:
            if name in _MAY_BE_JOINED:
                rows = []
                for packet in container.demux(stream, *container.streams.audio):
                    if packet.dts is not None and packet.size:
                        ticks = TICKS_PER_S * packet.time_base
                        rows.append((packet.stream.index, int(packet.dts * ticks), int(length_of(packet) * ticks)))
                    else:
                        rows.append((-1, 0, 0))  # it counts, and tells nothing
                    if packet.stream.index == stream.index and packet.size and len(times) < _LOOKED_AT:
                        times.append(packet.pts)
                joins = find_joins(rows)
            else:
                shown = (p for p in container.demux(stream) if p.size and not p.is_discard)
                times = [packet.pts for packet, _ in zip(shown, range(_LOOKED_AT), strict=False)]
        except av.error.InvalidDataError:
            pass  # reading will say so
        except (av.error.FFmpegError, OSError) as error:
            check_memory(error, f"{path} could not be read")
            raise MediaUnreadable(f"{path} cannot be read: {reason_of(error)}.", _HINT) from error
        if not times or all(time is None for time in times):
            return "counted", joins, None
        known = [time for time in times if time is not None]
        if known != sorted(known) or not stream.codec_context.has_b_frames:
            return "stamped", joins, min(known)
        if name in _UNORDERED:
            return "counted", joins, None
    return _compare_times(path), joins, min(known)


def _compare_times(path: Path) -> Timing:
    """Whether the first frames come with rising times."""
    with open_clip(path) as container:
        stream = film_of(container)
        stream.codec_context.options = DECODER_OPTIONS
        shown: list[int] = []
        for packet, _ in zip(container.demux(stream), range(_LOOKED_AT), strict=False):
            try:
                shown += [picture.pts for picture in packet.decode() if picture.pts is not None]
            except (av.error.FFmpegError, OSError) as error:
                check_memory(error, f"{path} could not be decoded")
        return "stamped" if shown == sorted(set(shown)) else "counted"
