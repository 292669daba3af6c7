"""Clips in: frames with exact times, upright, in RGB."""

from __future__ import annotations

import heapq
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from facefusion.errors import MediaUnreadable, MediaUnsupported, check_memory
from facefusion.media.colour import HDR, STANDARD, to_standard
from facefusion.media.defects import Defects, describe_defects
from facefusion.media.probe import DECODER_OPTIONS, ClipInfo, file_state, film_of, open_clip, probe, with_picture
from facefusion.media.timing import Clock, decimal_between, length_of, shift_at
from facefusion.media.yuv import convert_rgb
from facefusion.types.frame import Frame, Pixels
from facefusion.types.numbers import rate_of
from facefusion.wording import agreed, counted

Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Region = Callable[[int], tuple[int, int, int, int] | None]
_HALVED = ("yuv420p", "yuvj420p")
"""Formats whose colour planes have half the size."""
_ACCURATE = Interpolation.BILINEAR | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
_BICUBIC = Interpolation.BICUBIC | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
"""Else pictures become darker by one to two levels, but those of `_HALVED` in their own size, by less than one."""
_MATRICES = (0, 1, 2, 4, 5, 6, 7, 9)
"""What libav's scaler converts, as numbers of ITU-T H.273."""
_STRANGE_MATRICES = {8: "YCgCo", 10: "BT.2020 with constant luminance", 14: "ICtCp"}
_MAX_DEMUX_ERRORS = 100
_ALONE_PX = 1920 * 1088
"""Up to here one thread decodes: several do not agree on damaged pictures, and often say nothing of the damage."""
_LARGE_PX = 16_000_000
_STANDS_S = Fraction(1, 10)
"""A picture that is shown for longer than this may be cut short by the end of the part."""
_ROUNDED_S = Fraction(1, 1000)
"""What lengths in the header of a file may be rounded by."""


class _TooLate(Exception):
    """What stands before the wanted frames was not read."""


class _Damaged(Exception):
    """Something cannot be decoded, and several threads together do not always agree on what is lost by it."""


@dataclass(frozen=True, slots=True)
class _Event:
    """Something that is not as it should be.

    Attributes
    ----------
    kind
        A ``late`` frame was taken to be lost.
    pts
        Of the frame with which it shows.
    due
        When the frame was due.
    text
        What pictures are from there on.
    """

    kind: Literal["lost", "late", "spoilt", "leading", "change"]
    pts: int
    due: int
    text: str = ""


def check_start(path: Path, start_s: float | None, duration_s: float) -> None:
    """Refuse to begin behind the end of a clip; one whose length is not known (0) may be as long as it likes.

    Raises
    ------
    MediaUnsupported
    """
    if start_s is not None and duration_s and start_s >= duration_s:
        raise MediaUnsupported(
            f"--start {start_s} s is beyond the end of {path} ({duration_s:.2f} s).", "Start earlier."
        )


class ClipReader:
    """Reads the frames of a clip, or of a part of it.

    Times are counted from the beginning of the clip, where a player shows 0.
    Frames that cannot be decoded are left out, those that a decoder gives as damaged are kept, as players do. Pictures
    of another size or kind than the first of the part are fitted to it.

    Parameters
    ----------
    path
        A clip.
    start_s, end_s
        Half-open part to read, seconds from the beginning of the clip; None for the whole.
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
    strict
        Refuse what is damaged, incomplete or changes its size.
    rate
        Frames a second at most: those in between are left out. None keeps all.

    Raises
    ------
    MediaMissing, MediaUnreadable, MediaUnsupported
        When the clip cannot be opened. From iteration `MediaUnreadable` where it cannot be read on, and with
        ``strict`` at the first defect.
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
        strict: bool = False,
        rate: float | None = None,
    ) -> None:
        self._location = path
        self._strict = strict
        self._events: list[_Event] = []
        self._known: set[_Event] = set()
        self._aspect: Fraction | None = None
        self._usual_step = 0
        self._sent = self._reached = -1
        self.start_s, self.end_s, self._region = start_s or None, end_s, region
        self._span, self._halo = span, halo
        self.info: ClipInfo = probe(path)
        duration_s = self.info.duration_s
        check_start(path, start_s, duration_s)
        if self.start_s is not None:
            self.info = _probe_part(self.info, self.start_s, file_state(path))
        if self.info.bit_depth > 8 and not allow_8bit:
            raise MediaUnsupported(
                f"{path} has {self.info.bit_depth} bits per channel and only 8 are carried.",
                "Add --allow-8bit to reduce it.",
            )
        self._check_matrix(self.info.colour[2])
        self.left_out: frozenset[int] = frozenset()
        self._lengths: dict[int, int] = {}
        self._wanted_rate = rate
        if rate is not None:
            self._thin_out(rate)
        if strict and self.missing_count:
            raise MediaUnreadable(
                f"{path} is cut off: {self.missing_count} of {counted(self.info.frame_count, 'promised frame')} "
                f"{agreed(self.missing_count, 'is', 'are')} missing.",
                self._ways_out(min(self.info.cut_off) - self._step, min(self.info.cut_off)),
            )
        if strict and self.info.promised_s:
            self._check_whole()

    def _check_whole(self) -> None:
        """Refuse a file that ends before the time that it states; where no index says so, its packets do.

        Raises
        ------
        MediaUnreadable
        """
        info, end = self.info, self._end_of_film()
        ends_s = float(end * info.time_base)
        if self._is_early(ends_s):
            raise MediaUnreadable(
                f"{info.path} is cut off: it ends at {ends_s:.2f} s, though it states {info.promised_s:.2f} s.",
                self._ways_out(end - 2 * self._step, end - self._step),  # the last packet may be cut off itself
            )

    def _end_of_film(self) -> int:
        """When the last packet of the film ends, in pts."""
        end = 0
        with open_clip(self.info.path) as container, suppress(av.error.FFmpegError):
            for packet in container.demux(film_of(container)):
                at = packet.dts if packet.pts is None else packet.pts
                if at is not None:
                    end = max(end, at - self.info.zero + length_of(packet))
        return end

    def _is_early(self, ends_s: float) -> bool:
        """Whether the part ends before the time that the file states."""
        wanted_s = min(self.info.promised_s, self.end_s or self.info.promised_s)
        return wanted_s - ends_s > max(0.1, 2.5 * float(self._step * self.info.time_base))

    def _check_matrix(self, space: int) -> None:
        """Refuse colours that libav's scaler cannot make red, green and blue of; it would say so amid the work.

        Raises
        ------
        MediaUnsupported
        """
        if space not in _MATRICES:
            name = _STRANGE_MATRICES.get(space, f"matrix {space}")
            raise MediaUnsupported(
                f"{self.info.path} keeps its colours as {name}, which cannot be converted.",
                "Convert it to BT.709 first, or mend the tag where it is wrong.",
            )

    @property
    def _hdr(self) -> int:
        """The transfer of HDR that is brought to standard range; 0 where there is none to be."""
        return self.info.colour[1] if self.info.bit_depth > 8 and self.info.colour[1] in HDR else 0

    @property
    def colour(self) -> tuple[int, int, int, int]:
        """Primaries, transfer, matrix and range of what is given, as in `ClipInfo`.

        RGB, grey and palettes have no matrix. Players guess one by the size where none is said, so one is chosen here.
        """
        if self._hdr:
            return STANDARD
        primaries, transfer, matrix, range_ = self.info.colour
        return primaries, transfer, matrix if _has_matrix(self.info.pixel_format) else STANDARD[2], range_

    def _thin_out(self, rate: float) -> None:
        """Leave out the frames between those that a lower rate shows."""
        first, last = self.span_pts()
        if not self.info.has_seekable_times:
            raise MediaUnsupported(
                f"The frames of {self.info.path} have no times of their own, so their rate cannot be changed.",
                "Leave out --output-video-fps.",
            )
        wanted = rate_of(rate)
        kept, self.left_out, self._lengths = _chosen_times(self.info, wanted, (first, last), file_state(self.info.path))
        if self.left_out:
            self._usual_step = self._step
            self.info = replace(self.info, frame_rate=wanted, frame_count=kept)

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

    @property
    def _step(self) -> int:
        """Usual duration of a frame in pts, those that are left out included."""
        if self._usual_step:
            return self._usual_step
        return max(int(1 / ((self.info.frame_rate or Fraction(25)) * self.info.time_base)), 1)

    @property
    def _least(self) -> int:
        """How long the last frame before ``end_s`` is shown at least, in pts: wholly, unless it stands for long."""
        return min(self._step, int(_STANDS_S / self.info.time_base))

    @property
    def missing_count(self) -> int:
        """Frames of the part that the header promises behind the end of the file."""
        first, last = self.span_pts()
        return sum((first is None or at >= first) and (last is None or at < last) for at in self.info.cut_off)

    @property
    def offset(self) -> int:
        """The pts that becomes 0 in an output."""
        return self.span_pts()[0] or 0

    @property
    def offset_s(self) -> Fraction:
        """The container's time that becomes 0 in an output, in seconds; for copying other tracks."""
        return (self.info.zero + self.offset) * self.info.time_base

    @property
    def stop_s(self) -> Fraction | None:
        """The container's time at which the part ends, in seconds; None where it is open."""
        last = self.span_pts()[1]
        return None if last is None else (self.info.zero + last) * self.info.time_base

    def span_pts(self) -> tuple[int | None, int | None]:
        """The half-open part to read in units of the film's time base, None where open."""
        base = self.info.time_base

        def to_pts(seconds: float | None) -> int | None:
            if seconds is None:
                return None
            exact = Fraction(seconds).limit_denominator(1_000_000)
            return -int(-(exact / base) // 1)  # round up: a frame that starts earlier is not in the part

        return to_pts(self.start_s), to_pts(self.end_s)

    def packets(self, container: Any, streams: Sequence[Any]) -> Iterator[Any]:
        """Packets of some tracks as they are to be used, from where the container stands.

        What an edit list cuts away is not among them, and times go on where recordings were joined. Joined recordings
        (``info.joins``) must be read from the beginning: do not seek in them.

        Parameters
        ----------
        container
            From `open`.
        streams
            Of the container.

        Raises
        ------
        MediaUnreadable
            When the file cannot be read on.
        """
        joins, film = self.info.joins, film_of(container)
        wanted = {stream.index for stream in streams}
        counted = {film.index, *(stream.index for stream in container.streams.audio)} if joins else set()
        read = [stream for stream in container.streams if stream.index in wanted | counted]
        found, number, error_count = container.demux(read), 0, 0
        while True:
            try:
                packet = next(found, None)
            except av.error.InvalidDataError:
                error_count += 1
                if error_count > _MAX_DEMUX_ERRORS:
                    return
                found = container.demux(read)  # players look for the next packet
                continue
            except (av.error.FFmpegError, OSError) as error:
                check_memory(error, f"{self.info.path} could not be read")
                raise MediaUnreadable(
                    f"{self.info.path} cannot be read to its end: {error.strerror or error}.", "Get an intact copy."
                ) from error
            if packet is None:
                return
            if packet.duration and packet.duration != length_of(packet):
                packet.duration = 0
            if joins and packet.size:
                shift_s = shift_at(joins, number)
                number += packet.stream.index in counted
                if shift_s and packet.stream.index in wanted:
                    shift = round(shift_s / packet.time_base)
                    packet.pts = None if packet.pts is None else packet.pts + shift
                    packet.dts = None if packet.dts is None else packet.dts + shift
            if packet.stream.index not in wanted or (packet.is_discard and not self._is_needed(packet, film)):
                continue
            yield packet

    def _is_needed(self, packet: Any, film: Any) -> bool:
        """Whether a packet that is not shown leads to one that is."""
        if packet.stream.index == film.index:
            return True
        # Sound is begun one packet early, so that the first one that is heard is whole.
        start = self.info.zero * self.info.time_base
        if packet.pts is None or packet.time_base is None:
            return False
        return bool(packet.pts * packet.time_base < start <= (packet.pts + packet.duration) * packet.time_base)

    def defects(self, span: tuple[int | None, int | None] = (None, None)) -> Defects:
        """What was found wrong so far with the frames of a part.

        Parameters
        ----------
        span
            Half-open pts. All of it must have been read.
        """
        first, last = self.span_pts()
        bounds = [(first, last), span]
        found = [e for e in list(self._events) if all(_is_inside(e.pts, bound) for bound in bounds)]
        bad = [event.due for event in found if event.kind in ("lost", "spoilt")]

        def count(kind: str) -> int:
            return sum(event.kind == kind for event in found)

        return Defects(
            count("lost") - count("late"),
            count("spoilt"),
            count("leading"),
            float(min(bad) * self.info.time_base) if bad else -1.0,
            tuple((float(e.pts * self.info.time_base), e.text) for e in found if e.kind == "change"),
        )

    def describe(self, found: Defects, times: Sequence[int]) -> tuple[str, ...]:
        """Sentences on what is wrong with the part, for the summary.

        Parameters
        ----------
        found
            Defects of all of the part.
        times
            Of all frames that were written, as in the output.
        """
        info, early = self.info, ""
        rate = self._wanted_rate
        slower: tuple[str, ...] = ()
        if rate is not None and not self.left_out and info.frame_rate and rate > 1.01 * info.frame_rate:
            slower = (
                f"The target's rate is {float(info.frame_rate):.5g} a second; no frame is made up to have {rate:g}.",
            )
        step = float(1 / info.frame_rate) if info.frame_rate else 0.04
        ends_s = float((times[-1] + self.offset) * info.time_base) + step if times else 0.0
        # The last picture may be shown for longer than a step: the file is asked where its frames leave a doubt.
        if self._is_early(ends_s) and self._is_early(float(self._end_of_film() * info.time_base)):
            promised_s = min(info.promised_s, self.end_s or info.promised_s)
            early = f"The target ends at {ends_s:.2f} s, though it states {promised_s:.2f} s: the file is cut off."
        elif times and self.end_s and self.end_s > max(info.duration_s, ends_s) + max(0.1, 2.5 * step):
            slower += (f"The target ends at {ends_s:.2f} s, before --end {self.end_s:g} s.",)
        told = describe_defects(
            found, _kind_of(info.stored_size, info.pixel_format), len(times), self.missing_count, early
        )
        pressed = (f"The target is HDR ({HDR[self._hdr]}); it is brought to standard range.",) if self._hdr else ()
        fields = ("The target is interlaced; the output has both fields in every frame, as progressive video.",)
        return (*told, *slower, *pressed, *(fields if info.is_interlaced else ()))

    def __iter__(self) -> Iterator[Frame]:
        # One for all frames: setting a conversion up costs as much as doing it. One thread: others have work.
        reformatter = VideoReformatter()
        held: tuple[Any, int] | None = None
        index, is_trusted = 0, True
        for picture, pts in self._wanted(reformatter):
            if held is not None:
                # Decoders say how long it is to the next packet, which is another one where frames are reordered.
                told = int(held[0].duration or 0)
                is_trusted = is_trusted and (not told or abs(told - (pts - held[1])) <= self._step)
                yield self._frame(held, index, pts - held[1], reformatter)
                index += 1
            held = None if picture is None else (picture, pts)
        if held is not None:
            yield self._frame(held, index, self._last_length(held, is_trusted), reformatter)

    def _frame(self, held: tuple[Any, int], index: int, length: int, reformatter: VideoReformatter) -> Frame:
        picture, pts = held
        pixels = self._convert(picture, pts, reformatter)
        return Frame(pixels, index, pts, self.info.time_base, picture, self._lengths.get(pts, length))

    def _last_length(self, held: tuple[Any, int], is_trusted: bool) -> int:
        """How long the last frame of the clip is shown, in pts; 0 where that is not known."""
        picture, pts = held
        told = int(picture.duration or 0)
        # Packets of MP4 and MOV files tell how long it is to the next one, which is another frame's length where frames
        # are reordered. Of what is cut off or damaged at its end the last frame is not the last one of the file.
        is_whole = self.info.timing == "stamped" and not self.info.cut_off and self._reached >= self._sent
        if self.info.end and is_whole:
            left = self.info.end - pts
            if not told or abs(left - told) * self.info.time_base > _ROUNDED_S:
                told = left if left > 0 else min(told, self._step)
        elif not is_trusted and told > 2 * self._step:
            left = round(Fraction(self.info.duration_s) / self.info.time_base) - pts
            told = min(told, left if left > 0 else self._step)
        last = self.span_pts()[1]
        return told if last is None or not told else min(told, max(last - pts, self._least))

    def _wanted(self, reformatter: VideoReformatter) -> Iterator[tuple[Any, int]]:
        """Pictures of the span and their times, and None with the time of the next one where there is one."""
        first, last = self.span_pts()
        start, stop = (first, last) if self._span is None else self._span
        before: deque[tuple[Any, int]] = deque(maxlen=self._halo[0])
        after, shown = 0, 0
        kind, earlier = "", None
        for picture, pts in self._from(start):
            self._reached = max(self._reached, pts)
            if pts in self.left_out:
                continue
            if first is None or pts >= first:
                now = _kind_of((picture.width, picture.height), picture.format.name)
                if kind and now != kind:
                    self._note(_Event("change", pts, pts, now), earlier)
                kind, earlier = now, pts
            if (first is not None and pts < first) or (start is not None and pts < start):
                if first is None or pts >= first:
                    before.append((self._fitted(picture, reformatter), pts))
                continue
            if last is not None and pts >= last:
                yield None, min(pts, max(last, shown + self._least))
                break
            if stop is not None and pts >= stop:
                after += 1
                if after > self._halo[1]:
                    yield None, pts
                    break
            yield from before
            yield self._fitted(picture, reformatter), pts
            before.clear()
            shown = pts

    def _from(self, start: int | None) -> Iterator[tuple[Any, int]]:
        """Decoded pictures with rising times, from before a time on."""
        # One second earlier than asked for, since what stands right behind a key frame may lean on what is before it.
        # Where no key frame is so near, or it is damaged, from further back.
        margins: list[int | None] = [1, 12] if start is not None and self.info.has_seekable_times else []
        margins.append(None)
        is_threaded, reached = self.info.width * self.info.height > _ALONE_PX, None
        while True:
            try:
                for picture, pts in self._attempt(start, margins[0], is_threaded):
                    if reached is None or pts > reached:
                        reached = pts
                        yield picture, pts
                return
            except _TooLate:
                margins.pop(0)
            except _Damaged:
                is_threaded = False

    def _attempt(self, start: int | None, margin_s: int | None, is_threaded: bool) -> Iterator[tuple[Any, int]]:
        info = self.info
        step = self._step
        clock = Clock(info.timing, info.zero, step, -int(-Fraction(1, 1000) // info.time_base))
        watch = _Watch(info.timing == "stamped")
        with self.open() as container:
            stream = film_of(container)
            context = stream.codec_context
            context.options = DECODER_OPTIONS
            stream.thread_type = "AUTO" if is_threaded else "NONE"
            if context.width * context.height > _LARGE_PX:
                context.thread_count = 4  # each thread keeps pictures
            if start is not None and margin_s is not None:
                try:
                    container.seek(start + info.zero - int(margin_s / info.time_base), stream=stream, backward=True)
                except av.error.FFmpegError as error:
                    raise _TooLate from error
            has_begun = False
            for packet in self.packets(container, [stream]):
                if packet.is_corrupt and info.cut_off:
                    continue  # half a packet at the end of the file
                due = clock.send(packet) if packet.size else None
                if due is not None and not packet.is_discard:
                    self._sent = max(self._sent, due)
                pictures = self._decode(packet)
                if pictures is None:
                    if has_begun and is_threaded:
                        raise _Damaged
                    clock.drop(due)
                    watch.fail(due)
                    if not has_begun and margin_s is None:
                        self._note(_Event("leading", watch.last, watch.last), None)
                    elif has_begun and (due is None or info.timing == "counted"):
                        self._note(_Event("lost", watch.last, watch.last), watch.last - step)
                    continue
                if packet.size and not packet.is_discard:
                    watch.send(due)
                for picture in pictures:
                    pts = clock.time(picture)
                    is_late = start is not None and pts >= start
                    if not has_begun and margin_s is not None and (is_late or picture.is_corrupt or watch.failed):
                        raise _TooLate
                    if picture.is_corrupt and is_threaded:
                        raise _Damaged
                    has_begun = True
                    earlier = watch.last_or_none
                    if picture.pts is not None and watch.find(picture.pts - info.zero):
                        self._note(_Event("late", pts, pts), None)
                    for lost in watch.show(pts, bool(picture.key_frame), bool(picture.is_corrupt)):
                        self._note(_Event("lost", pts, lost), earlier)
                    if picture.is_corrupt:
                        self._note(_Event("spoilt", pts, pts), earlier)
                    self._aspect = context.sample_aspect_ratio
                    yield picture, pts
            if not has_begun and margin_s is not None and watch.failed:
                raise _TooLate
            if is_threaded and watch.waiting and has_begun and not watch.has_fields:
                raise _Damaged  # an error while the last pictures come out of the threads hides them
            for lost in watch.finish():
                self._note(_Event("lost", lost, lost), watch.last_or_none)

    def _decode(self, packet: Any) -> list[Any] | None:
        """Pictures that come out, None where the packet cannot be decoded."""
        try:
            return [one for one in packet.decode() if one.width and one.height]
        except av.error.EOFError:
            return []
        except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
            check_memory(error, f"{self.info.path} could not be decoded")
            return None

    def _note(self, event: _Event, earlier: int | None) -> None:
        """Keep what is wrong in mind, or refuse it."""
        if event not in self._known:  # what is read again has the same defects
            self._known.add(event)
            self._events.append(event)
        if not self._strict or event.kind in ("leading", "late") or not _is_inside(event.due, self.span_pts()):
            return
        at_s = float(event.due * self.info.time_base)
        if event.kind == "change":
            place = self._place(earlier, event.pts)
            raise MediaUnsupported(
                f"{self.info.path} changes to {event.text} at {place} s.",
                f"Use --end {place} for the part before, --start {place} for that behind it, or leave out --strict.",
            )
        raise MediaUnreadable(
            f"{self.info.path} is damaged at {at_s:.2f} s.",
            self._ways_out(earlier, event.due),
        )

    def _place(self, earlier: int | None, pts: int) -> str:
        base = self.info.time_base
        return decimal_between(None if earlier is None or earlier >= pts else earlier * base, pts * base)

    def _ways_out(self, earlier: int | None, pts: int) -> str:
        if pts <= 0:
            return "Get an intact copy, or leave out --strict."
        place = self._place(earlier, pts)
        return f"Get an intact copy, leave out --strict, or use --end {place} for the part before."

    def _fitted(self, picture: Any, reformatter: VideoReformatter) -> Any:
        """The picture in the size, format and colours of the first one of the part."""
        info = self.info
        space, range_ = int(picture.colorspace or 2), int(picture.color_range or 0)
        self._check_matrix(space)
        has_colours = (space in (2, info.colour[2]) or info.colour[2] == 2) and (
            range_ in (0, info.colour[3]) or not info.colour[3]
        )
        is_same_size = (picture.width, picture.height) == info.stored_size
        if is_same_size and picture.format.name == info.pixel_format and has_colours:
            return picture
        is_full = info.colour[3] == 2 or info.pixel_format.startswith("yuvj")
        matrix = _matrix(info.colour[2])
        # The scaler loses grey between two matrices or ranges, but where many bits are to be kept that is the less.
        if is_same_size and (has_colours or info.bit_depth > 8):
            fitted = VideoReformatter().reformat(
                picture, format=info.pixel_format, threads=1, dst_colorspace=matrix,
                dst_color_range=2 if is_full else 1, interpolation=_ACCURATE,
            )  # fmt: skip
        else:
            pixels = to_rgb(picture, reformatter) if is_same_size else self._boxed(picture, reformatter)
            source = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            fitted = convert_rgb(source, VideoReformatter(), info.pixel_format, matrix, is_full)
        fitted.colorspace, fitted.color_range = info.colour[2:]
        fitted.pts, fitted.time_base = picture.pts, picture.time_base
        if picture.duration:
            fitted.duration = picture.duration
        return fitted

    def _boxed(self, picture: Any, reformatter: VideoReformatter) -> Pixels:
        """RGB of a picture of another size, as large as fits with its shape kept, on black."""
        width, height = self.info.stored_size
        aspect = (self._aspect or Fraction(1)) / (self.info.sample_aspect or Fraction(1))
        shape = picture.width * aspect / picture.height
        inner = (width, round(width / shape)) if shape * height >= width else (round(height * shape), height)
        inner_width, inner_height = min(max(inner[0], 1), width), min(max(inner[1], 1), height)
        scaled = VideoReformatter().reformat(
            picture, width=inner_width, height=inner_height, format="rgb24", interpolation=_BICUBIC, threads=1
        )
        pixels = np.zeros((height, width, 3), dtype=np.uint8)
        x, y = (width - inner_width) // 2, (height - inner_height) // 2
        pixels[y : y + inner_height, x : x + inner_width] = scaled.to_ndarray()
        return pixels

    def _convert(self, picture: Any, pts: int, reformatter: VideoReformatter) -> Pixels:
        is_plain = picture.format.name in _HALVED and self.info.is_upright
        if self._region is None or not is_plain:
            return self._upright(picture, reformatter)
        # Pages that are never touched cost nothing.
        pixels = np.empty((picture.height, picture.width, 3), dtype=np.uint8)
        box = self._region(pts)
        if box is not None:
            _convert_part(picture, box, pixels, reformatter)
        return pixels

    def _upright(self, picture: Any, reformatter: VideoReformatter) -> Pixels:
        if self._hdr:
            wide = reformatter.reformat(picture, format="rgb48le", threads=1).to_ndarray()
            pixels = to_standard(np.asarray(wide, dtype=np.uint16), self._hdr)
        else:
            pixels = to_rgb(picture, reformatter)
        if self.info.is_mirrored:
            pixels = pixels[:, ::-1]
        if self.info.rotation_deg:
            pixels = np.rot90(pixels, self.info.rotation_deg // 90)
        return np.ascontiguousarray(pixels)


class _Watch:
    """Which packets are still to give a frame, and whether those that do not are lost to damage."""

    def __init__(self, is_stamped: bool) -> None:
        self.waiting: list[int] = []
        self.failed = False
        self.last = 0
        self.has_fields = False
        self._is_stamped, self._has_shown = is_stamped, False
        self._suspect: int | None = None
        self._lost: set[int] = set()

    @property
    def last_or_none(self) -> int | None:
        """Time of the frame that was shown last."""
        return self.last if self._has_shown else None

    def send(self, due: int | None) -> None:
        """A packet went in."""
        if due is not None and self._is_stamped:
            heapq.heappush(self.waiting, due)

    def fail(self, due: int | None) -> None:
        """A packet could not be decoded. From here on others may be missing, until a key frame is shown."""
        self.failed = True
        at = self.last if due is None else due
        self._suspect = at if self._suspect is None else max(self._suspect, at)
        if self._has_shown:
            self.send(due)

    def show(self, at: int, is_key: bool, is_spoilt: bool) -> list[int]:
        """A frame came out; times of those before it that never will."""
        lost = []
        while self.waiting and self.waiting[0] <= at:
            due = heapq.heappop(self.waiting)
            if due < at and self._suspect is not None:
                lost.append(due)
        if is_spoilt:
            self._suspect = at if self._suspect is None else max(self._suspect, at)
        elif self._suspect is not None and is_key and at > self._suspect:
            self._suspect = None
        self.last, self._has_shown = at, True
        self._lost.update(lost)
        return lost

    def find(self, due: int) -> bool:
        """Whether a frame that was taken to be lost comes after all."""
        is_late = due in self._lost
        self._lost.discard(due)
        return is_late

    def finish(self) -> list[int]:
        """Times of what is lost at the end."""
        return sorted(self.waiting) if self._suspect is not None else []


def _is_inside(pts: int, span: tuple[int | None, int | None]) -> bool:
    start, stop = span
    return (start is None or pts >= start) and (stop is None or pts < stop)


def _kind_of(size: tuple[int, int], pixel_format: str) -> str:
    return f"{size[0]} x {size[1]} px ({pixel_format})"


@lru_cache(maxsize=64)
def _has_matrix(pixel_format: str) -> bool:
    """Whether pictures are stored as brightness and two differences of colours."""
    form = av.VideoFormat(pixel_format)
    return not form.is_rgb and not form.has_palette and len(form.components) > 2  # grey has one, two with alpha


def _matrix(space: int) -> int:
    """Matrix for the scaler, which has no number 6 and takes what is not said as 5."""
    return space if space in (1, 4, 5, 7, 9) else 5


@lru_cache(maxsize=16)
def _chosen_times(
    info: ClipInfo, rate: Fraction, span: tuple[int | None, int | None], state: tuple[int, int]
) -> tuple[int, frozenset[int], dict[int, int]]:
    """How many frames a lower rate shows, times of the others, and how long each of the first is shown, in pts.

    Of the frames between two ticks of the rate the first is shown, so each keeps its own time.
    """
    first, last = span
    reader = ClipReader(info.path, allow_8bit=True)
    times: list[int] = []
    with reader.open() as container:
        for packet in reader.packets(container, [film_of(container)]):
            if packet.size and not packet.is_discard and packet.pts is not None:
                pts = packet.pts - info.zero
                if (first is None or pts >= first) and (last is None or pts < last):
                    times.append(pts)
    times.sort()
    kept: list[int] = []
    shown = -1
    for pts in times:
        # What is rounded down by half a frame's rounding must not count for the tick before.
        tick = int(((pts - times[0]) * info.time_base + Fraction(1, 2000)) * rate)
        if tick > shown:
            kept.append(pts)
            shown = tick
    left_out = frozenset(times) - frozenset(kept)
    lengths = {pts: after - pts for pts, after in pairwise(kept)} if left_out else {}
    return len(kept), left_out, lengths


@lru_cache(maxsize=64)
def _probe_part(info: ClipInfo, start_s: float, state: tuple[int, int]) -> ClipInfo:
    """What a clip is where a part of it begins, remembered as long as the file does not change."""
    reader = ClipReader(info.path, allow_8bit=True)
    first = -int(-(Fraction(start_s).limit_denominator(1_000_000) / info.time_base) // 1)
    for picture, pts in reader._from(first):
        if pts >= first:
            is_same_size = (picture.width, picture.height) == info.stored_size
            return with_picture(info, picture, info.sample_aspect if is_same_size else reader._aspect)
    return info


ALIGN_PX = 64
"""Parts of a picture are converted in steps of this size, so that the conversion is seldom set up anew."""


def aligned(box: tuple[int, int, int, int], width: int, height: int) -> tuple[int, int, int, int]:
    """The box widened to whole steps of `ALIGN_PX` and clipped to the picture."""
    x0, y0 = (max(v, 0) // ALIGN_PX * ALIGN_PX for v in box[:2])
    x1, y1 = (min(-(-v // ALIGN_PX) * ALIGN_PX, limit) for v, limit in zip(box[2:], (width, height), strict=True))
    return x0, y0, x1, y1


def to_rgb(picture: Any, reformatter: VideoReformatter) -> Pixels:
    """A picture of any format as (H, W, 3) RGB."""
    way: Any = {} if picture.format.name in _HALVED else {"interpolation": _ACCURATE}
    return np.asarray(reformatter.reformat(picture, format="rgb24", threads=1, **way).to_ndarray(), dtype=np.uint8)


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


def plane_of(picture: Any, number: int) -> Samples:
    """A plane of a planar picture as an array over its own memory: uint8, or uint16 where samples have more bits.

    Raises
    ------
    ValueError
        When the plane holds anything but one sample of one component at every place.
    """
    plane = picture.planes[number]
    held = [component for component in picture.format.components if component.plane == number]
    if len(held) != 1 or not picture.format.is_planar:
        raise ValueError(f"plane {number} of {picture.format.name} is no plane of one component")
    wide = ">u2" if picture.format.name.endswith("be") else "<u2"
    kind: Any = np.dtype(wide if held[0].bits > 8 else "u1")
    rows: Samples = np.frombuffer(plane, dtype=kind).reshape(-1, plane.line_size // kind.itemsize)
    return rows[: plane.height, : plane.width]


@lru_cache(maxsize=64)
def is_patchable(pixel_format: str) -> bool:
    """Whether a part of a picture can be exchanged in place: brightness and two colours, each in a plane of its own.

    Colours may have half the width and half the height, and samples may have up to 16 bits in this machine's order.
    """
    form = av.VideoFormat(pixel_format, 8, 8)
    components = form.components
    return (
        bool(form.is_planar)
        and _has_matrix(pixel_format)
        and not pixel_format.endswith("be" if sys.byteorder == "little" else "le")
        and [component.plane for component in components] == [0, 1, 2]
        and all(8 <= component.bits <= 16 for component in components)
        and all(side in (4, 8) for component in components for side in (component.width, component.height))
    )
