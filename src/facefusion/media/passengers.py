"""Everything of a target that travels beside its film: sound, subtitles, data, attachments, pictures.

What a container holds is asked of libav itself: a trial output in memory takes every track, its header and its first
packets, before the first frame of the film is looked at.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import av
import av.error
from av.stream import Disposition

from facefusion.documents import reason_of
from facefusion.errors import MediaError, MediaUnreadable, MediaUnsupported, RecipeError, check_memory
from facefusion.media.border import FOREIGN, is_of_disk, writing
from facefusion.media.privacy import clean_extradata, clean_tags
from facefusion.media.probe import film_of
from facefusion.media.reader import ClipReader
from facefusion.media.sound import SoundConverter, choose_format, is_lossless, set_up
from facefusion.media.timecode import move_timecode
from facefusion.wording import counted

TrackKind = Literal["audio", "subtitle", "data", "attachment", "picture"]
KINDS: tuple[TrackKind, ...] = ("audio", "subtitle", "data", "attachment", "picture")
FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Endings and libav's name for their container."""
_MP4 = ("mp4", "mov")
_UNTIL_NEXT = ("hdmv_pgs_subtitle", "dvb_subtitle")
"""Pictures of words that stand until others, or none, are sent."""
_RUN_UP_S = 1
"""What is decoded of sound before the part begins, s: the first samples lean on what was before."""
FILM_CODECS = {
    "libx264": "h264", "libx265": "hevc", "libsvtav1": "av1", "libvpx-vp9": "vp9", "prores_ks": "prores",
    "ffv1": "ffv1",
    "h264_nvenc": "h264", "hevc_nvenc": "hevc", "h264_qsv": "h264", "hevc_qsv": "hevc", "h264_amf": "h264",
    "hevc_amf": "hevc", "h264_videotoolbox": "h264", "hevc_videotoolbox": "hevc",
}  # fmt: skip
"""What encoders of films make."""
SOUND_CODECS = {"mp4": ("aac",), "mov": ("aac",), "webm": ("libopus",), "matroska": ("flac",)}
_TEXT_CODECS = {"mp4": "mov_text", "mov": "mov_text", "webm": "webvtt", "matroska": "subrip"}
_SPOKEN = {"libopus": "opus"}
_STALE_TAGS = (
    "major_brand", "minor_version", "compatible_brands", "encoder", "duration", "vendor_id",
    "bps", "number_of_frames", "number_of_bytes",
)  # fmt: skip
"""Tags that tell of the target's own file, not of what is in it."""
_STALE_BEGINNINGS = ("_statistics_", "bps-", "number_of_frames-", "number_of_bytes-", "duration-")
TRIAL_PACKETS = 3
"""Packets of each track that a trial takes: some containers refuse at the first one only."""
TRIAL_READ = 2000
TRIAL_BYTES = 32 << 20
"""How far a trial looks for them."""
LATE_S = 10
"""How far behind the end packets are looked for that belong before it."""


@dataclass(frozen=True, slots=True)
class TrackOptions:
    """What is asked for about the tracks beside the film.

    Attributes
    ----------
    audio
        Keep sound as it is, convert what the container cannot hold, or no sound.
    drop
        Kinds, and numbers of tracks, that are left out.
    hides_people, hides_places
        Whether pictures, and tags, data such as positions and attachments, are left out because they tell who it is, or
        where.
    is_strict
        Refuse what else would be left out with a note.
    sound
        File whose sound takes the place of the target's; None keeps the target's.
    codec
        Encoder that all sound is converted with; empty copies what the container holds.
    quality, volume
        Of converted sound, as in `facefusion.media.sound.SoundFormat`.
    """

    audio: Literal["keep", "convert", "none"] = "keep"
    drop: tuple[str, ...] = ()
    hides_people: bool = False
    hides_places: bool = False
    is_strict: bool = False
    sound: Path | None = None
    codec: str = ""
    quality: int = 80
    volume: int = 100

    @property
    def converts_all(self) -> bool:
        """Whether no sound is copied as it is."""
        return bool(self.codec) or self.volume != 100


@dataclass(frozen=True, slots=True)
class Track:
    """A track of a target.

    Attributes
    ----------
    number
        As FFmpeg and ffprobe count.
    kind, codec, language, title
        What it says about itself; empty where it says nothing.
    is_timecode
        Whether it is a timecode, which containers keep in their own ways.
    is_attached_picture
        Whether it is a single picture such as a cover.
    """

    number: int
    kind: TrackKind
    codec: str
    language: str
    title: str
    is_timecode: bool = False
    is_attached_picture: bool = False

    def __str__(self) -> str:
        title = f"'{self.title}'" if self.title else ""
        facts = ", ".join(fact for fact in (self.codec, self.language, title) if fact)
        return f"{self.kind} track {self.number}" + (f" ({facts})" if facts else "")


@dataclass(frozen=True, slots=True)
class Passenger:
    """A track that goes along.

    Attributes
    ----------
    track
        Which.
    codec
        Encoder it is converted with; empty where its packets are copied.
    """

    track: Track
    codec: str = ""


@dataclass(frozen=True, slots=True)
class PassengerList:
    """Which tracks go along, and how.

    Attributes
    ----------
    passengers
        In the target's order.
    keeps_timecode
        Whether the output gets the target's timecode.
    notes
        Sentences about what is converted and what is left out.
    """

    passengers: tuple[Passenger, ...]
    keeps_timecode: bool
    notes: tuple[str, ...]


@lru_cache
def holds_film(suffix: str, encoder: str) -> bool:
    """Whether a container holds what an encoder of films makes; it is asked of libav where it can be."""
    name, codec = FORMATS[suffix], FILM_CODECS[encoder]
    if name == "webm":
        return codec in ("av1", "vp8", "vp9")
    if codec == "ffv1":
        return name == "matroska"  # MP4 could, but no player expects it there
    if name not in _MP4:
        return True  # Matroska wants to see the codec's header first
    output = av.open(io.BytesIO(), "w", format=name)
    try:
        film = output.add_mux_stream(codec, rate=25, width=64, height=64)
        film.time_base = Fraction(1, 25)
        output.start_encoding()
        output.close()
    except FOREIGN:
        return False
    finally:
        close_quietly(output)
    return True


def has_alpha(film: Any, pixel_format: str) -> bool:
    """Whether a film is transparent somewhere: in its pixels, or in a layer beside them as in WebM."""
    layer = {name.lower(): value for name, value in film.metadata.items()}.get("alpha_mode", "0")
    return layer == "1" or any(part.is_alpha for part in av.VideoFormat(pixel_format).components)


def kept_tags(metadata: Mapping[str, str], *own: str) -> dict[str, str]:
    """Tags that still hold for a copy.

    Parameters
    ----------
    metadata
        Of a container or a stream.
    own
        Further names that do not hold, in small letters.
    """
    drop = (*_STALE_TAGS, *own)
    return {
        name: value
        for name, value in metadata.items()
        if name.lower() not in drop and not name.lower().startswith(_STALE_BEGINNINGS)
    }


def track_tags(stream: Any) -> dict[str, str]:
    """Tags of a track for its copy."""
    tags = kept_tags(stream.metadata, *(("encoder", "timecode") if stream.type == "video" else ()))
    names = {name.lower(): name for name in tags}
    if "name" in names and "title" not in names:  # what MOV files call it
        tags["title"] = tags.pop(names["name"])
    return tags


def find_timecode(container: Any) -> str:
    """The timecode of a target's first frame, or nothing."""
    film = film_of(container)
    places = [film.metadata, *(s.metadata for s in container.streams if s.type == "data"), container.metadata]
    for tags in places:
        for name, value in tags.items():
            if name.lower() == "timecode" and value:
                return str(value)
    return ""


def read_tracks(container: Any) -> tuple[Track, ...]:
    """All tracks of a target but its film."""
    film = film_of(container)
    found = []
    for stream in container.streams:
        if stream.index == film.index:
            continue
        tags = {name.lower(): value for name, value in stream.metadata.items()}
        kind: Any = {"video": "picture"}.get(stream.type, stream.type)
        kind = kind if kind in KINDS else "data"
        if kind == "data" and getattr(stream, "discard", 0) == av.stream.Discard.all:
            continue  # names of chapters, which are kept as chapters
        context = stream.codec_context
        codec = context.codec.canonical_name if context is not None else getattr(stream, "name", None) or ""
        is_timecode = kind == "data" and "timecode" in tags
        title = tags.get("title") or tags.get("name") or tags.get("filename") or ""
        if kind == "data":
            title = title or tags.get("handler_name", "").strip()
            codec = "timecode" if is_timecode else codec
        language = tags.get("language", "")
        attached = bool(int(stream.disposition) & int(Disposition.attached_pic))
        found.append(
            Track(stream.index, kind, codec, "" if language == "und" else language, title, is_timecode, attached)
        )
    return tuple(found)


_known: dict[tuple[object, ...], PassengerList | MediaError] = {}
_lock = threading.Lock()


def list_passengers(target: ClipReader, suffix: str, encoder: str, options: TrackOptions) -> PassengerList:
    """Decide what goes along into a container.

    Parameters
    ----------
    target
        Whose tracks.
    suffix
        Ending of the output.
    encoder
        Of the film, which decides what other endings can be proposed.
    options
        What is asked for.

    Raises
    ------
    MediaUnsupported
        When the container cannot hold what is to be kept: the tracks, and ways out that were tried.
    RecipeError
        When there is no track that is to be dropped.
    """
    path = target.info.path
    key: tuple[object, ...] | None = None
    if path.is_file():  # what is read from far away has no identity of its own
        state = path.stat()
        key = (path, state.st_size, state.st_mtime_ns, suffix.lower(), encoder, options)
        with _lock:
            known = _known.get(key)
        if isinstance(known, PassengerList):
            return known
        if known is not None:
            raise type(known)(known.message, known.hint)
    chooser = _Chooser(target, encoder, options)
    found: PassengerList | MediaError
    try:
        found = chooser.choose(suffix.lower())
    except MediaUnsupported as error:
        found = error
    if key is not None:
        with _lock:
            if len(_known) > 256:
                _known.clear()
            _known[key] = found
    if isinstance(found, MediaError):
        raise found
    return found


@dataclass(frozen=True, slots=True)
class _Choice:
    """What a container does with some tracks."""

    taken: tuple[Passenger, ...]
    lost: tuple[Track, ...]
    refused: tuple[Track, ...]


class _Chooser:
    """Finds out what containers do with the tracks of one target."""

    def __init__(self, target: ClipReader, encoder: str, options: TrackOptions) -> None:
        self._target, self._encoder, self._options = target, encoder, options
        with target.open() as container:
            self._film = film_of(container).index
            self._tracks = read_tracks(container)
            self._timecode = find_timecode(container)
            self._has_alpha = has_alpha(film_of(container), target.info.pixel_format)

    def choose(self, suffix: str) -> PassengerList:
        options = self._options
        self._check_words(options.drop)
        wanted, hidden = self._wanted(options)
        if self._has_alpha and options.is_strict:
            raise MediaUnsupported(
                f"{self._target.info.path} is transparent, which {self._encoder} video cannot be.",
                "Leave out --strict to have it without transparency.",
            )
        choice = self._choice(suffix, wanted, options.audio)
        if choice.refused or (options.is_strict and _unheld(choice)):
            raise self._refusal(suffix, choice)
        notes = [
            f"{_upper(one.track)} is converted to {_SPOKEN.get(one.codec, one.codec)}."
            for one in choice.taken
            if one.codec
        ]
        notes += [
            f"{_upper(track)} is left out: "
            + ("it may show people who are hidden." if track.kind == "picture" else "it may tell who and where.")
            for track in hidden
        ]
        notes += [f"{_upper(track)} is left out: {self._why_lost(suffix, track)}." for track in choice.lost]
        if self._has_alpha:
            notes.append(f"The film's transparency is lost: {self._encoder} video has none.")
        keeps_timecode = bool(self._timecode) and not options.hides_places
        if keeps_timecode and not any(track.is_timecode for track in wanted):
            # Where it is a track of its own it can be dropped like any other.
            keeps_timecode = not any(track.is_timecode for track in self._tracks)
        if keeps_timecode and not self._can_hold_timecode(suffix):
            notes.append(f"The timecode {self._timecode} is left out: {suffix} files cannot hold it.")
            keeps_timecode = False
        return PassengerList(choice.taken, keeps_timecode, tuple(notes))

    def _check_words(self, words: Sequence[str]) -> None:
        numbers = {str(track.number) for track in self._tracks}
        for word in words:
            if word in KINDS or word in numbers:
                continue
            there = "; ".join(map(str, self._tracks)) or "none"
            if word == str(self._film):
                raise RecipeError(f"Track {word} is the film itself.", f"Other tracks: {there}.")
            raise RecipeError(
                f"--drop-tracks: there is no track '{word}' in {self._target.info.path}.",
                f"Kinds are {', '.join(KINDS)}. Its tracks: {there}.",
            )

    def _wanted(self, options: TrackOptions) -> tuple[list[Track], list[Track]]:
        """Tracks that are to go along, and those that hide themselves."""
        dropped = {*options.drop, *(("audio",) if options.audio == "none" else ())}
        left = [track for track in self._tracks if track.kind not in dropped and str(track.number) not in dropped]
        hidden = [
            track
            for track in left
            if (options.hides_people and track.kind == "picture")
            or (options.hides_places and track.kind in ("data", "attachment"))
        ]
        return [track for track in left if track not in hidden], hidden

    def _why_lost(self, suffix: str, track: Track) -> str:
        if track.kind == "picture" and not track.is_attached_picture:
            return "it is not the film"
        return f"{suffix} files cannot hold it"

    def _choice(self, suffix: str, tracks: Sequence[Track], audio: str) -> _Choice:
        travelling = [track for track in tracks if not track.is_timecode]
        others = [track for track in travelling if track.kind == "picture" and not track.is_attached_picture]
        travelling = [track for track in travelling if track not in others]
        asked = ""
        if self._options.converts_all:
            asked = self._options.codec or SOUND_CODECS[FORMATS[suffix]][0]
        everyone = [Passenger(track, asked if track.kind == "audio" else "") for track in travelling]
        if self._fits(suffix, everyone):
            return _Choice(tuple(everyone), tuple(others), ())
        taken: list[Passenger] = []
        lost: list[Track] = []
        refused: list[Track] = []
        for track in travelling:
            ways = [Passenger(track), *(Passenger(track, codec) for codec in self._conversions(suffix, track, audio))]
            if asked and track.kind == "audio":
                ways = [Passenger(track, asked)]
            way = next((one for one in ways if self._fits(suffix, [*taken, one])), None)
            if way is not None:
                taken.append(way)
            elif track.kind in ("audio", "subtitle"):
                refused.append(track)
            else:
                lost.append(track)
        return _Choice(tuple(taken), tuple(sorted([*lost, *others], key=lambda track: track.number)), tuple(refused))

    def _conversions(self, suffix: str, track: Track, audio: str) -> list[str]:
        name = FORMATS[suffix]
        with self._target.open() as container:
            context = container.streams[track.number].codec_context
            if context is None:
                return []
            if track.kind == "subtitle":
                return [_TEXT_CODECS[name]] if context.codec.text_sub else []
            # Matroska holds all sound that libav lets it have; what is left becomes the same samples without loss.
            if track.kind == "audio" and (audio == "convert" or name == "matroska"):
                first = ("alac",) if name == "mov" and is_lossless(context) else ()
                return [*first, *SOUND_CODECS[name]]
        return []

    def _fits(self, suffix: str, passengers: Sequence[Passenger]) -> bool:
        return not passengers or not self._try(suffix, passengers)

    def _can_hold_timecode(self, suffix: str) -> bool:
        rate = self._target.info.frame_rate
        if FORMATS[suffix] not in _MP4:
            return FORMATS[suffix] == "matroska"
        moved = move_timecode(self._timecode, 0, rate) if rate else None
        return moved is not None and not self._try(suffix, (), moved)

    def _try(self, suffix: str, passengers: Sequence[Passenger], timecode: str = "") -> str:
        """Write the beginning of the tracks into memory; what libav says against it, or nothing."""
        name = FORMATS[suffix]
        output = None
        converters: dict[int, Any] = {}
        with self._target.open() as container:
            try:
                output = av.open(io.BytesIO(), "w", format=name, options={"fflags": "+bitexact"})
                if timecode:
                    film = output.add_mux_stream("mpeg4", rate=self._target.info.frame_rate, width=64, height=64)
                    film.time_base = Fraction(1, 90000)
                    film.metadata["timecode"] = timecode
                copies = {}
                for one in passengers:
                    stream = container.streams[one.track.number]
                    if one.track.kind == "picture" and name == "matroska":
                        attach_picture(output, one.track, read_picture(self._target, one.track.number))
                        continue
                    is_private = self._options.hides_places
                    copy, converter = add_track(output, stream, one.codec, Fraction(0), None, is_private, self._options)
                    copies[stream.index] = copy
                    if converter is not None:
                        converters[stream.index] = converter
                output.start_encoding()
                self._mux_beginnings(container, output, copies, converters)
                output.close()
            except FOREIGN as error:
                check_memory(error, f"the tracks of {self._target.info.path} could not be tried")
                return reason_of(error)
            finally:
                if output is not None:
                    close_quietly(output)
        return ""

    def _mux_beginnings(
        self, container: Any, output: Any, copies: Mapping[int, Any], converters: Mapping[int, Any]
    ) -> None:
        if not copies:
            return
        streams = [container.streams[number] for number in copies if container.streams[number].type != "attachment"]
        # Subtitles and data may be an hour apart.
        left = {
            stream.index: 1 if stream.type == "video" else TRIAL_PACKETS
            for stream in streams
            if stream.type in ("audio", "video") and stream.index not in converters
        }
        if not streams:
            return
        ends: dict[int, int] = {}
        taken: set[int] = set()
        failed: dict[int, BaseException] = {}
        seen_bytes = 0
        packets = _as_far_as_it_goes(self._target.packets(container, streams))
        for number, packet in enumerate(packets):
            seen_bytes += packet.size
            if not left or number > TRIAL_READ or seen_bytes > TRIAL_BYTES:
                break
            index = packet.stream_index
            if not packet.size or index in converters or (packet.dts is None and packet.pts is None):
                continue
            if index in left:
                left[index] -= 1
                if left[index] <= 0:
                    del left[index]
            copy = copies[index]
            packet.stream = copy
            try:
                settle(packet, copy, ends)
                output.mux(packet)
                taken.add(index)
            except FOREIGN as error:  # one that is damaged says nothing about the container
                failed[index] = error
        for index, refusal in failed.items():
            if index not in taken:
                raise refusal

    def _refusal(self, suffix: str, choice: _Choice) -> MediaUnsupported:
        """What cannot be held, and ways out that were tried."""
        options = self._options
        refused = [*choice.refused, *(_unheld(choice) if options.is_strict else ())]
        ways = []
        endings = [
            other
            for other in (".mkv", ".mov", ".mp4", ".webm")
            if other != suffix and FORMATS[other] != FORMATS[suffix] and holds_film(other, self._encoder)
            if self._is_held(other, options)
        ]
        if endings:
            every = "which holds every track" if len(endings) == 1 else "which hold every track"
            ways.append(f"end the output in {' or '.join(endings)}, {every}")
        sound = [track for track in refused if track.kind == "audio"]
        rest = [track for track in refused if track not in sound]
        words = self._words(rest)
        if sound and options.audio == "keep":
            converted = replace(options, audio="convert", drop=(*options.drop, *words))
            if self._is_held(suffix, converted):
                wanted, _ = self._wanted(converted)
                made = [one.codec for one in self._choice(suffix, wanted, "convert").taken if one.track in sound]
                names = " and ".join(dict.fromkeys(_SPOKEN.get(codec, codec) for codec in made))
                drop = f" --drop-tracks {' '.join(words)}" if words else ""
                ways.append(f"add --audio convert{drop}, which makes the sound {names}")
        words = self._words(refused)
        if self._is_held(suffix, replace(options, drop=(*options.drop, *words))):
            ways.append(f"leave out what does not fit with --drop-tracks {' '.join(words)}")
        hint = ("; or ".join(ways) + ".") if ways else "Leave the tracks out with --drop-tracks."
        return MediaUnsupported(
            f"{suffix} files cannot hold {_listed(refused)} of {self._target.info.path}.", hint[:1].upper() + hint[1:]
        )

    def _words(self, tracks: Sequence[Track]) -> tuple[str, ...]:
        """Values of --drop-tracks for some tracks: the kind where all of a kind are meant, else numbers."""
        words: list[str] = []
        for kind in KINDS:
            of_kind = [track for track in self._tracks if track.kind == kind]
            meant = [track for track in tracks if track.kind == kind]
            if meant:
                words += [kind] if meant == of_kind else [str(track.number) for track in meant]
        return tuple(words)

    def _is_held(self, suffix: str, options: TrackOptions) -> bool:
        wanted, _ = self._wanted(options)
        choice = self._choice(suffix, wanted, options.audio)
        return not choice.refused and not (options.is_strict and _unheld(choice))


def _unheld(choice: _Choice) -> list[Track]:
    """Lost tracks that would have gone along in a container that holds them; a second film would not."""
    return [track for track in choice.lost if track.kind != "picture" or track.is_attached_picture]


def _as_far_as_it_goes(packets: Iterator[Any]) -> Iterator[Any]:
    """Packets up to where the target is damaged, which says nothing about the container."""
    try:
        yield from packets
    except FOREIGN:
        return


def _upper(track: Track) -> str:
    text = str(track)
    return text[:1].upper() + text[1:]


def _listed(tracks: Sequence[Track]) -> str:
    words = [str(track) for track in tracks]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + f" and {words[-1]}"


def read_picture(target: ClipReader, number: int) -> Any:
    """The packet of an attached picture; None where it cannot be read."""
    with target.open() as container:
        try:
            return next((one for one in container.demux(container.streams[number]) if one.size), None)
        except FOREIGN:
            return None


def attach_picture(output: Any, track: Track, packet: Any) -> None:
    """Attach a picture to a Matroska file, where pictures are files beside the tracks.

    Raises
    ------
    ValueError
        When there is none, or one of a kind that Matroska does not know.
    """
    kind = {"mjpeg": "jpeg", "png": "png", "gif": "gif", "tiff": "tiff"}.get(track.codec)
    if packet is None or kind is None:
        raise ValueError(f"no picture of {track.codec} can be attached")
    ending = {"jpeg": "jpg", "tiff": "tif"}.get(kind, kind)
    name = track.title if track.title.lower().endswith(f".{ending}") else f"cover.{ending}"
    output.add_attachment(name, f"image/{kind}", bytes(packet))


def close_quietly(output: Any) -> None:
    """Close an output that is thrown away."""
    try:
        output.close()
    except FOREIGN:
        pass


def add_track(
    output: Any,
    stream: Any,
    codec: str,
    offset_s: Fraction,
    stop_s: Fraction | None,
    is_private: bool = False,
    options: TrackOptions | None = None,
) -> tuple[Any, Any]:
    """Add a track like that of a target to an output.

    Parameters
    ----------
    output, stream
        Where to, and the target's.
    codec
        Encoder to convert it with; empty to copy its packets.
    offset_s, stop_s
        Part of the target, for sound that is converted.
    is_private
        Leave out what tells who, where and when.
    options
        What is asked for, of which quality and volume count here.

    Returns
    -------
    The new stream, and what converts packets for it or None.
    """
    converter: Any = None
    if not codec:
        copy = output.add_stream_from_template(stream, opaque=True)
        context = stream.codec_context
        if is_private and context is not None:
            bare = clean_extradata(context.name, context.extradata)
            if bare != context.extradata:
                copy.codec_context.extradata = bare
    elif stream.type == "audio":
        chosen = choose_format(codec, stream.codec_context)
        if options is not None:
            chosen = replace(chosen, quality=options.quality, volume=options.volume)
        copy = output.add_stream(codec, rate=chosen.rate)
        set_up(copy.codec_context, chosen)
        copy.time_base = Fraction(1, chosen.rate)
        converter = SoundConverter(stream, copy, chosen, offset_s, stop_s)
    else:
        copy = output.add_stream(codec)
        converter = _TextConverter(stream, copy)
    copy.disposition = int(stream.disposition)
    copy.metadata.clear()
    copy.metadata.update(clean_tags(track_tags(stream)) if is_private else track_tags(stream))
    if codec:
        for name in [name for name in copy.metadata if name.lower() == "encoder"]:
            del copy.metadata[name]
    return copy, converter


class _TextConverter:
    """Subtitles of words in another codec, one packet for one."""

    def __init__(self, source: Any, output: Any) -> None:
        self._source = source.codec_context
        self._context = output.codec_context
        self._source.open(strict=False)
        self._context.time_base = output.time_base = Fraction(1, 1000)
        self._context.subtitle_header = self._source.subtitle_header
        self.failed_count = 0

    def feed(self, packet: Any) -> list[Any]:
        try:
            found = self._source.decode2(packet)
            if found is None or not len(found):
                return []
            made = self._context.encode_subtitle(found)
        except FOREIGN:
            self.failed_count += 1
            return []
        if not made.size:
            return []
        made.time_base = packet.time_base
        made.pts = made.dts = packet.pts if packet.pts is not None else packet.dts
        shown = Fraction(found.end_display_time or 0, 1000)
        made.duration = packet.duration or (
            round(shown / Fraction(packet.time_base)) if 0 < found.end_display_time < 0xFFFFFFFF else 0
        )
        made.is_keyframe = True
        return [made]

    def finish(self) -> list[Any]:
        return []


def settle(packet: Any, stream: Any, last: dict[int, int]) -> None:
    """Give a packet times that a muxer takes: in the stream's units, rising, shown no earlier than decoded.

    Parameters
    ----------
    packet
        Of the target, its times moved to the output's zero; one of the two may be missing.
    stream
        Of the output.
    last
        Decoding time of the packet before, by number of the stream; it is brought up to date.
    """
    base = Fraction(stream.time_base or packet.time_base)
    ratio = Fraction(packet.time_base) / base

    def scaled(value: int | None) -> int | None:
        if value is None:
            return None
        exact = value * ratio
        nearest = (2 * abs(exact.numerator) + exact.denominator) // (2 * exact.denominator)
        return nearest if value >= 0 else -nearest

    pts, dts, duration = scaled(packet.pts), scaled(packet.dts), scaled(packet.duration or 0)
    dts = pts if dts is None else dts
    pts = dts if pts is None else pts
    assert pts is not None
    assert dts is not None
    before = last.get(stream.index)
    is_loose = stream.container.format.name in ("matroska", "webm")
    if before is not None and (dts < before or (dts == before and not is_loose)):
        dts = before if is_loose else before + 1
    last[stream.index] = dts
    if not duration and stream.type == "audio" and not is_loose:
        # Without one the last packet is not there: MP4 ends where it begins.
        rate = stream.codec_context.sample_rate
        size = stream.codec_context.frame_size
        duration = dts - before if before is not None else round(Fraction(size, rate) / base) if size and rate else 0
    packet.time_base = base
    packet.pts, packet.dts, packet.duration = max(pts, dts), dts, max(duration or 0, 0)


class Passengers:
    """Carries the tracks beside the film into an output, packet by packet as they are due.

    Parameters
    ----------
    target
        Whose tracks.
    output
        PyAV container that is being written; its header is not written yet.
    path
        Name of the output, for messages.
    listed
        Which tracks, as `list_passengers` says.
    offset_s
        Time of the target that is 0 in the output, s.
    stop_s
        Where the output ends, s of the target; None at the end of every track.
    options
        What is asked for: whether a damaged target is refused, whether tags are left out.

    Attributes
    ----------
    notes
        Sentences on what was lost on the way.
    has_failed_packets
        Whether libav refused a packet, so that what is written should be counted.
    """

    def __init__(
        self,
        target: ClipReader,
        output: Any,
        path: Path,
        listed: PassengerList,
        offset_s: Fraction,
        stop_s: Fraction | None,
        options: TrackOptions | None = None,
    ) -> None:
        self._output, self._path, self._options = output, path, options or TrackOptions()
        self._offset_s, self._stop_s, self._is_cut = offset_s, stop_s, bool(target.offset)
        self._target, self._target_path = target, target.info.path
        self._chosen: list[Any] = []
        self._can_seek = False
        self._tracks = {one.track.number: one.track for one in listed.passengers}
        self._streams: dict[int, Any] = {}
        self._converters: dict[int, Any] = {}
        self._last: dict[int, int] = {}
        self._ends_s: dict[int, Fraction] = {}
        self._lost: dict[int, int] = {}
        self._quiet: list[int] = []
        self._damage = ""
        self._has_no_edits = output.format.name not in _MP4
        self._waiting: Any = None
        self._on_screen: dict[int, Any] = {}
        self._pictures: list[Any] = []
        self.has_failed_packets = False
        self._container = target.open()
        try:
            self._board(target, listed)
        except BaseException:
            self.close()  # only now: a stream of a closed container must not be touched
            raise

    def _board(self, target: ClipReader, listed: PassengerList) -> None:
        with writing(self._path):
            for one in listed.passengers:
                stream = self._container.streams[one.track.number]
                if one.track.kind == "picture" and self._output.format.name == "matroska":
                    attach_picture(self._output, one.track, read_picture(target, one.track.number))
                    continue
                span = self._offset_s, self._stop_s
                copy, converter = add_track(
                    self._output, stream, one.codec, *span, self._options.hides_places, self._options
                )
                self._streams[stream.index] = copy
                if stream.type == "subtitle" and not int(stream.disposition) & int(Disposition.default):
                    self._quiet.append(copy.index + 1)
                if converter is not None:
                    self._converters[stream.index] = converter
        chosen = [
            self._container.streams[number]
            for number, track in self._tracks.items()
            if track.kind not in ("attachment", "picture")
        ]
        self._pictures = self._read_pictures(target)
        self._packets: Iterator[Any] = iter(())
        if not chosen:
            return
        self._chosen = chosen
        self._can_seek = bool(target.offset and not target.info.joins)
        if not any(one.track.kind == "subtitle" for one in listed.passengers):
            self._seek()  # words on screen at the start may have been sent long before, so those are read from there
        self._packets = self._target.packets(self._container, self._chosen)

    def _seek(self) -> None:
        """Go to where the part begins, once."""
        try:
            if self._can_seek:
                self._container.seek(int(self._offset_s * 1_000_000))
        except FOREIGN:
            pass  # then what comes before is read and left out
        self._can_seek = False

    def _read_pictures(self, target: ClipReader) -> list[Any]:
        found = []
        for number, track in self._tracks.items():
            if track.kind != "picture" or number not in self._streams:
                continue
            packet = read_picture(target, number)
            if packet is None:
                self._lost[number] = 1
                continue
            packet.pts = packet.dts = 0
            packet.stream = self._streams[number]
            found.append(packet)
        return found

    def mux_until(self, time_s: Fraction | None) -> None:
        """Copy every packet that is due before a time of the output, or all that are left.

        Raises
        ------
        OutputRefused
        """
        for picture in self._pictures:
            self._send(picture, self._index_of(picture.stream))
        self._pictures = []
        while True:
            packet = self._waiting if self._waiting is not None else self._next()
            self._waiting = None
            if packet is None:
                if time_s is None:
                    self._finish()
                return
            number = packet.stream_index
            at_s = self._time_of(packet)
            if at_s is None:
                self._lost[number] = self._lost.get(number, 0) + 1
                continue
            if self._stop_s is not None and at_s >= self._stop_s:
                self._carry_on_screen()
                if at_s >= self._stop_s + LATE_S:
                    self._packets = iter(())  # the rest of the film is none of our business
                continue
            if at_s >= self._offset_s:
                self._can_seek = False
                self._carry_on_screen()
            if time_s is not None and at_s - self._offset_s > time_s:
                self._waiting = packet
                return
            self._carry(packet, number, at_s)

    def _index_of(self, stream: Any) -> int:
        return next(number for number, copy in self._streams.items() if copy.index == stream.index)

    def _next(self) -> Any:
        """The next packet with content, or None at the end; a target that breaks off ends here."""
        while True:
            try:
                packet = next(self._packets, None)
            except FOREIGN as error:
                if self._can_seek:  # what is damaged may lie before the part
                    self._seek()
                    self._packets = self._target.packets(self._container, self._chosen)
                    continue
                self._damage = reason_of(error)
                if self._options.is_strict:
                    raise MediaUnreadable(
                        f"{self._target_path} is damaged: {self._damage}.", "Get an intact copy, or leave out --strict."
                    ) from error
                packet = None
            if packet is None:
                self._packets = iter(())
                return None
            # What an edit list cuts away is marked. MP4 cuts it away again; elsewhere it would come back.
            if packet.size and not (packet.is_discard and self._has_no_edits):
                return packet

    def _time_of(self, packet: Any) -> Fraction | None:
        """When a packet is due, s of the target; damaged ones follow the one before."""
        base = Fraction(packet.time_base)
        number = packet.stream_index
        value = packet.pts if packet.pts is not None else packet.dts
        if value is None:
            known = self._ends_s.get(number)
            if known is None:
                return None
            packet.pts = packet.dts = value = round(known / base)
        at_s: Fraction = value * base
        self._ends_s[number] = at_s + (packet.duration or 0) * base
        return at_s

    def _carry(self, packet: Any, number: int, at_s: Fraction) -> None:
        converter = self._converters.get(number)
        is_sound = self._tracks[number].kind == "audio"
        if is_sound and at_s < self._offset_s - _RUN_UP_S:
            return
        if converter is not None and is_sound:
            with writing(self._path):
                made = converter.feed(packet)
            for one in made:
                self._send(one, number)
            return
        base = Fraction(packet.time_base)
        shift = round(self._offset_s / base)
        if self._is_cut and at_s < self._offset_s:
            if self._tracks[number].kind != "subtitle" or packet.pts is None:
                return
            if not packet.duration and self._tracks[number].codec in _UNTIL_NEXT:
                self._on_screen[number] = packet
                return
            if packet.pts + (packet.duration or 0) <= shift:
                return
            packet.duration -= shift - packet.pts
            packet.pts = packet.dts = shift
            at_s = self._offset_s
        if packet.dts is not None:
            packet.dts -= shift
        if packet.pts is not None:
            packet.pts -= shift
        if self._stop_s is not None and not is_sound and packet.duration:
            packet.duration = max(min(packet.duration, int((self._stop_s - at_s) / base)), 1)
        for one in [packet] if converter is None else converter.feed(packet):
            self._send(one, number)

    def _carry_on_screen(self) -> None:
        """Send what stands on the screen where the part begins, of words that stand until the next ones."""
        held, self._on_screen = self._on_screen, {}
        for number, packet in held.items():
            packet.pts = packet.dts = round(self._offset_s / Fraction(packet.time_base))
            self._carry(packet, number, self._offset_s)

    def _send(self, packet: Any, number: int) -> None:
        stream = self._streams[number]
        packet.stream = stream
        try:
            settle(packet, stream, self._last)
            self._output.mux(packet)
        except FOREIGN as error:
            check_memory(error, f"{self._path} could not be written")
            if is_of_disk(error):
                with writing(self._path):
                    raise
            # Damaged on its way here: a player would leave it out too.
            self._lost[number] = self._lost.get(number, 0) + 1
            self.has_failed_packets = True

    def _finish(self) -> None:
        self._carry_on_screen()
        for number, converter in self._converters.items():
            with writing(self._path):
                made = converter.finish()
            for one in made:
                self._send(one, number)
            if converter.failed_count:
                self._lost[number] = self._lost.get(number, 0) + converter.failed_count
        self._converters = {}

    @property
    def quiet_subtitles(self) -> list[int]:
        """Track numbers in an MP4 file of subtitles that are not shown by default."""
        return self._quiet

    @property
    def notes(self) -> list[str]:
        """Sentences on what was lost on the way."""
        found = []
        for number, count in sorted(self._lost.items()):
            what = counted(count, "damaged packet is", "damaged packets are")
            found.append(f"{_upper(self._tracks[number])}: {what} left out.")
        if self._damage:
            found.append(f"The tracks beside the film end where the target is damaged: {self._damage}.")
        return found

    def close(self) -> None:
        """Let go of the target."""
        self._container.close()
