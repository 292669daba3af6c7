"""Clips out: exact times, the target's colour tags, its other tracks untouched; complete or not at all."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from facefusion.documents import reason_of
from facefusion.errors import OutputRefused
from facefusion.media.border import FOREIGN, writing
from facefusion.media.matroska import write_aspect
from facefusion.media.mp4 import switch_off
from facefusion.media.passengers import (
    FILM_CODECS,
    FORMATS,
    SOUND_CODECS,
    PassengerList,
    Passengers,
    TrackOptions,
    close_quietly,
    find_timecode,
    holds_film,
    kept_tags,
    list_passengers,
    track_tags,
)
from facefusion.media.priority import usual_priority
from facefusion.media.privacy import clean_chapters, clean_tags
from facefusion.media.probe import film_of
from facefusion.media.reader import ALIGN_PX, ClipReader, is_patchable, plane_of
from facefusion.media.sound import AddedSound
from facefusion.media.timecode import move_timecode
from facefusion.media.yuv import convert_rgb
from facefusion.types.frame import RenderedFrame, scaled_size
from facefusion.wording import counted
from facefusion.writing import Replacement

CONTAINERS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
_FILM_TAGS = ("rotate", "encoder", "alpha_mode", "timecode")
"""Tags of the target's film that the output's film has in its own way, or not at all."""
_SVT_PRESETS = {
    "ultrafast": "12", "superfast": "11", "veryfast": "10", "faster": "9", "fast": "8",
    "medium": "7", "slow": "6", "slower": "4", "veryslow": "2",
}  # fmt: skip
_VP9_SPEEDS = {
    "ultrafast": "5", "superfast": "5", "veryfast": "4", "faster": "4", "fast": "3",
    "medium": "2", "slow": "1", "slower": "1", "veryslow": "0",
}  # fmt: skip
_NVENC_PRESETS = {
    "ultrafast": "p1", "superfast": "p1", "veryfast": "p2", "faster": "p3", "fast": "p4",
    "medium": "p4", "slow": "p5", "slower": "p6", "veryslow": "p7",
}  # fmt: skip
_PRORES = ((85, "hq", "apch"), (60, "standard", "apcn"), (40, "lt", "apcs"), (0, "proxy", "apco"))
"""Lowest quality, profile and tag."""
_PASSED_FORMATS = {
    "libx264": ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"),
    "libx265": ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"),
    "libsvtav1": ("yuv420p",),
    "libvpx-vp9": ("yuv420p", "yuv422p", "yuv440p", "yuv444p"),
    "ffv1": ("yuv420p", "yuv422p", "yuv444p"),
}
_SAMPLINGS = {(0, 0): "4:4:4", (1, 0): "4:2:2", (1, 1): "4:2:0", (0, 1): "4:4:0", (2, 0): "4:1:1", (2, 2): "4:1:0"}
"""Names by the logarithm of how much narrower and lower pictures of colours are."""
_FALLBACK_FORMATS = {"prores_ks": "yuv422p10le", "ffv1": "bgr0", "h264_qsv": "nv12", "hevc_qsv": "nv12"}
"""What encoders are given where they cannot be given the target's own, if it is not yuv420p."""
_MP4_TAGS = {"h264": "avc1", "hevc": "hvc1", "av1": "av01", "vp9": "vp09"}
os.environ.setdefault("SVT_LOG", "1")  # the encoder of AV1 else tells its settings on standard error, in every process
ENCODER_THREADS = 3
"""Threads of every encoder. What an encoder writes depends on their number, so no machine may choose another one."""


def quality_to_crf(quality: int, encoder: str) -> int:
    """Constant rate factor for a quality of 0 to 100; 80 gives 18 with libx264.

    The scale is x264's 0 to 51 bent so that each step of quality changes the file about equally;
    SVT-AV1 and VP9 have 0 to 63.
    """
    crf = 51 * (1 - quality / 100) ** 0.65
    return int(round(crf * 63 / 51) if encoder in ("libsvtav1", "libvpx-vp9") else round(crf))


def codec_tag(encoder: str, quality: int) -> str:
    """What MP4 and MOV files call an encoder's video."""
    if encoder == "prores_ks":
        return next(tag for least, _, tag in _PRORES if quality >= least)
    return _MP4_TAGS[FILM_CODECS[encoder]]


def encoder_options(encoder: str, preset: str, quality: int) -> dict[str, str]:
    """What an encoder is told, with our names for presets and our scale of quality."""
    crf = str(quality_to_crf(quality, encoder))
    if encoder == "libsvtav1":
        return {"preset": _SVT_PRESETS[preset], "crf": crf, "svtav1-params": "lp=2"}
    if encoder == "libvpx-vp9":
        return {"crf": crf, "b": "0", "deadline": "good", "cpu-used": _VP9_SPEEDS[preset], "row-mt": "0"}
    if encoder == "prores_ks":
        return {"profile": next(name for least, name, _ in _PRORES if quality >= least), "vendor": "apl0"}
    if encoder == "ffv1":
        return {"level": "3", "slices": "4", "slicecrc": "1", "g": "1"}
    if encoder.endswith("_nvenc"):
        return {"preset": _NVENC_PRESETS[preset], "rc": "vbr", "cq": crf, "b": "0", "forced-idr": "1"}
    if encoder.endswith("_qsv"):
        return {"preset": preset if preset not in ("ultrafast", "superfast") else "veryfast", "global_quality": crf}
    if encoder.endswith("_amf"):
        return {"rc": "cqp", "qp_i": crf, "qp_p": crf}
    if encoder.endswith("_videotoolbox"):
        return {"q:v": str(quality)}
    options = {"preset": preset, "crf": crf}
    if encoder == "libx265":
        # Every segment must stand alone, and be the same on any machine.
        options["x265-params"] = "log-level=none:open-gop=0:frame-threads=2"
    if encoder == "libx264" and _has_avx512():
        # With its code for AVX-512 and more than one thread it writes other bytes from one run to the next, in many
        # sizes (160, 176, 320, 400 px; not 256, 512), by how it weighs blocks (mbtree). That for AVX2 does not, and is
        # as fast.
        options["x264-params"] = "asm=avx2"
    return options


def _movie_ticks(film_ticks: int) -> int:
    """Units of a second for the length of an MP4 or MOV file: whole ones for the film, and fine enough for sound."""
    return min(film_ticks * -(-1000 // film_ticks), 600_000)


@lru_cache(maxsize=64)
def sampling_of(pixel_format: str) -> tuple[int, int] | None:
    """Logarithm of how much narrower and lower than the picture its colours are; None of one that is grey."""
    components = av.VideoFormat(pixel_format, 16, 16).components
    if len(components) < 3:
        return None
    return 4 - (components[1].width.bit_length() - 1), 4 - (components[1].height.bit_length() - 1)


@lru_cache
def _has_avx512() -> bool:
    """Whether the processor has AVX-512, as far as NumPy says; it has AVX2 then."""
    known = np.show_config(mode="dicts") or {}
    found = known.get("SIMD Extensions", {}).get("found", [])
    return any(name.startswith("AVX512") or name == "X86_V4" for name in found)


def check_clip_output(path: Path, encoder: str) -> None:
    """Refuse an output name whose container is unknown or cannot hold the encoder's video."""
    suffix = path.suffix.lower()
    if suffix not in CONTAINERS:
        known = ", ".join((*CONTAINERS, ".gif", ".webp"))
        way = " Numbered pictures (out/%04d.png) are written by 'run' alone."
        raise OutputRefused(f"A clip cannot be written as '{path.name}'.", f"End it in {known}.{way}")
    if encoder not in av.codecs_available:
        raise OutputRefused(f"This PyAV has no encoder {encoder}.", "Use --output-video-encoder libx264.")
    if reason := refusal_of(encoder):
        raise OutputRefused(
            f"The encoder {encoder} does not work on this machine: {reason}.", "Use --output-video-encoder libx264."
        )
    if not holds_film(suffix, encoder):
        other = next(one for one in FILM_CODECS if holds_film(suffix, one))
        name = {".webm": "WebM"}.get(suffix, suffix)
        raise OutputRefused(f"{name} cannot hold {encoder} video.", f"Add --output-video-encoder {other} or use .mkv.")


@lru_cache
def refusal_of(encoder: str) -> str:
    """Why an encoder of hardware does not start here; empty where it does, and for those of software."""
    if encoder.startswith("lib") or encoder in ("prores_ks", "ffv1"):
        return ""
    try:
        trial: Any = av.CodecContext.create(encoder, "w")
        trial.width, trial.height, trial.time_base = 256, 256, Fraction(1, 25)
        trial.pix_fmt = _FALLBACK_FORMATS.get(encoder, "yuv420p")
        trial.options = encoder_options(encoder, "veryfast", 80)
        trial.open()
    except FOREIGN as error:
        return reason_of(error)
    return ""


class ClipWriter:
    """Writes a clip beside its final name and renames it when complete.

    Parameters
    ----------
    path
        The output; its ending chooses the container.
    target
        Reader of the target: size, times, colour tags and all other tracks are taken from it.
    encoder, preset, quality
        As in the recipe.
    comment
        Written to the container's comment tag where the target has none.
    is_private
        Leave out what tells who, where and when: tags, titles of chapters, covers, telemetry. See
        `facefusion.media.privacy`.
    tracks
        What is asked for about the target's other tracks.
    scale
        Sides of the frames that are written over those of the target.
    resize
        Sides of the output over those of the frames.

    Attributes
    ----------
    notes
        Sentences on what the output lacks or has in another form; complete when the writer is closed.

    Raises
    ------
    OutputRefused
        When the output cannot be written. An older file of that name is then still there.
    MediaUnsupported
        When the container cannot hold what is to be kept.
    """

    def __init__(
        self,
        path: Path,
        target: ClipReader,
        encoder: str = "libx264",
        preset: str = "veryfast",
        quality: int = 80,
        comment: str = "",
        is_private: bool = False,
        tracks: TrackOptions | None = None,
        scale: Fraction = Fraction(1),
        resize: Fraction = Fraction(1),
    ) -> None:
        self._check(path, encoder)
        self._scale, self._resize = scale, resize
        self._tracks = tracks or TrackOptions()
        if is_private:
            self._tracks = replace(self._tracks, hides_people=True, hides_places=True)
        self._is_private = self._tracks.hides_places
        self.notes: list[str] = []
        self._path, self._target = path, target
        self._replacement: Replacement | None = None
        self._encoder, self._comment = encoder, comment
        self._preset, self._quality = preset, quality
        self._output: Any = None
        self._stream: Any = None
        self._passengers: Passengers | None = None
        self._sound: AddedSound | None = None
        self._local = threading.local()
        self._is_exact = False
        self._pixel_format, self._space, self._is_full, self._width, self._height = "", (2, 5), False, 0, 0
        self._range = 0
        self._sent_count = 0
        self._offset = 0
        self._offset_s = Fraction(0)

    def before_naming(self) -> None:
        """Called when the file is complete and before it gets its name; what it raises leaves the old file there."""

    @staticmethod
    def _check(path: Path, encoder: str) -> None:
        check_clip_output(path, encoder)

    def __enter__(self) -> Self:
        try:
            with writing(self._path), usual_priority():
                self._open()
        except BaseException:
            self._abandon()
            raise
        return self

    def _open(self) -> None:
        listed = list_passengers(self._target, self._path.suffix, self._encoder, self._tracks)
        self._open_container()
        self._add_video()
        self._add_passengers(listed, self._target.info.frame_rate)
        self._output.start_encoding()  # what the header is refused for is known now, not at the first packet

    def _open_container(self, name: str = "") -> None:
        self._replacement = Replacement(self._path)
        info = self._target.info
        suffix = self._path.suffix.lower()
        options = {"fflags": "+bitexact"}  # no random ids, no versions, no dates
        if suffix in (".mp4", ".m4v", ".mov") or name == "mov":
            options |= {
                "movflags": "+faststart",
                "video_track_timescale": str(info.time_base.denominator),
                "movie_timescale": str(_movie_ticks(info.time_base.denominator)),
            }
        self._offset, self._offset_s = self._target.offset, self._target.offset_s
        name = name or FORMATS[suffix]
        if name == "matroska" and self._has_defaults():
            options["default_mode"] = "passthrough"  # else the first track of a kind is made the default
        self._output = av.open("file:" + str(self._made), "w", format=name, options=options)

    def _add_video(self) -> None:
        info = self._target.info
        is_passed = info.pixel_format in _PASSED_FORMATS.get(self._encoder, ())
        has_odd_side = bool(info.width % 2 or info.height % 2)
        if self._encoder == "ffv1" and (has_odd_side or not info.is_upright or self._scale != 1 or self._resize != 1):
            is_passed = False  # what is made anew loses nothing as red, green and blue, and needs no even sides
        pixel_format = info.pixel_format if is_passed else _FALLBACK_FORMATS.get(self._encoder, "yuv420p")
        plain = info.pixel_format.replace("yuvj", "yuv")  # the same samples, for encoders that are told the range
        if not is_passed and plain in _PASSED_FORMATS.get(self._encoder, ()) and self._encoder != "ffv1":
            pixel_format = plain
        even = 1 if pixel_format == "bgr0" else 2
        # A touched area is written back into the decoder's own picture, so the rest stays exact.
        is_whole = info.is_upright and not has_odd_side and self._scale == self._resize == 1
        is_same = pixel_format == info.pixel_format and is_patchable(pixel_format)
        stream = self._output.add_stream(self._encoder, rate=info.frame_rate or Fraction(25))
        width, height = scaled_size(*scaled_size(info.width, info.height, self._scale), self._resize)
        width, height = max(width, 2), max(height, 2)
        stream.width, stream.height = width + width % even, height + height % even
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        context.time_base = info.time_base
        stream.time_base = info.time_base
        context.thread_count = ENCODER_THREADS
        context.options = self._encoder_options()
        self._stream = stream
        self._describe_film(context, pixel_format)
        self._tell_colours(pixel_format)
        # HDR is brought to standard range, and ProRes has no full one: such pictures are made anew as a whole.
        has_colours = self._target.colour == info.colour and (context.color_range == 2) == (
            info.colour[3] == 2 or info.pixel_format.startswith("yuvj")
        )
        self._is_exact = is_whole and is_same and has_colours
        # Kept aside: pictures may be prepared while the stream is gone already.
        self._pixel_format, self._width, self._height = pixel_format, stream.width, stream.height
        space = context.colorspace if context.colorspace in (1, 4, 5, 6, 7, 9) else 5
        self._space = (context.colorspace, 5 if space == 6 else space)
        self._range = context.color_range
        self._is_full = context.color_range == 2 or pixel_format.startswith("yuvj") or pixel_format == "bgr0"

    def _describe_film(self, context: Any, pixel_format: str) -> None:
        """Colours and shape of the pixels, which encoders and containers write down."""
        primaries, transfer, matrix, range_ = self._target.colour
        if pixel_format == "bgr0":
            matrix, range_ = 0, 2
        elif self._encoder == "prores_ks":
            range_ = 1  # it has no other, and would be read so
        elif pixel_format.startswith("yuvj"):
            range_ = 2
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = (
            primaries, transfer, matrix, range_,
        )  # fmt: skip
        if self._target.info.shown_aspect:
            context.sample_aspect_ratio = self._target.info.shown_aspect

    def _tell_colours(self, pixel_format: str) -> None:
        """Say so where the output has fewer samples of colour than the target."""
        before, after = sampling_of(self._target.info.pixel_format), sampling_of(pixel_format)
        if before and after and (before[0] < after[0] or before[1] < after[1]):
            self.notes.append(
                f"The target's colours are {_SAMPLINGS.get(before, 'finer')} and those of the output "
                f"{_SAMPLINGS.get(after, 'coarser')}, as {self._encoder} has them: fine coloured lines are softer."
            )

    def _has_defaults(self) -> bool:
        with self._target.open() as container:
            return any(int(stream.disposition) & int(Disposition.default) for stream in container.streams)

    def _add_passengers(self, listed: PassengerList, frame_rate: Fraction | None) -> None:
        """Everything of the target but its picture: names, chapters, sound, subtitles."""
        stop_s = self._target.stop_s
        with self._target.open() as container:
            source = film_of(container)
            self._stream.disposition = int(source.disposition) & ~int(Disposition.attached_pic)
            allowed: Any = clean_tags if self._is_private else dict
            tags = allowed(track_tags(source))
            self._stream.metadata.update({k: v for k, v in tags.items() if k.lower() not in _FILM_TAGS})
            tags = allowed(kept_tags(container.metadata, "timecode"))
            if self._comment and "comment" not in {name.lower() for name in tags}:
                tags["comment"] = self._comment
            self._output.metadata.update(tags)
            if listed.keeps_timecode:
                rate = frame_rate or self._target.info.frame_rate or Fraction(25)
                timecode = find_timecode(container)
                moved = move_timecode(timecode, round(self._offset * self._target.info.time_base * rate), rate)
                self._stream.metadata["timecode"] = moved or timecode
            chapters = _moved_chapters(container.chapters(), self._offset_s, stop_s)
            if chapters:
                self._output.set_chapters(clean_chapters(chapters) if self._is_private else chapters)
        self.notes += listed.notes
        self._passengers = Passengers(
            self._target, self._output, self._path, listed, self._offset_s, stop_s, self._tracks
        )
        if self._tracks.sound is not None:
            codec = SOUND_CODECS[FORMATS[self._path.suffix.lower()]][0]
            self._sound = AddedSound(self._tracks.sound, self._output, codec, self._length_s())

    def _length_s(self) -> Fraction | None:
        """Length of the output in seconds, where it is known beforehand."""
        return None

    def _encoder_options(self) -> dict[str, str]:
        return encoder_options(self._encoder, self._preset, self._quality)

    @property
    def keeps_native(self) -> bool:
        """Whether only the changed part of a frame is written, and the rest is the target's own picture."""
        return self._is_exact

    def prepare(self, rendered: RenderedFrame) -> object:
        """The picture that `write` hands to the encoder; may be made beforehand, in any thread, once per frame."""
        return self._picture(rendered)

    def write(self, rendered: RenderedFrame, prepared: object | None = None) -> None:
        """Write one frame; frames must come in the order of their times.

        Parameters
        ----------
        rendered
            The frame.
        prepared
            What `prepare` made of it; None makes it now.

        Raises
        ------
        OutputRefused
            When the disk is full or the file can no longer be written.
        """
        picture: Any = self._picture(rendered) if prepared is None else prepared
        frame = rendered.frame
        picture.pts = frame.pts - self._offset
        picture.time_base = frame.time_base
        picture.pict_type = 0  # the source's own key frames must not force ours
        if frame.duration:
            picture.duration = frame.duration
        with writing(self._path):
            self._mux(self._stream.encode(picture))

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            if packet.dts is not None:
                for companion in (self._passengers, self._sound):
                    if companion is not None:
                        companion.mux_until(packet.dts * packet.time_base)
            self._output.mux(packet)
            self._sent_count += 1

    def _picture(self, rendered: RenderedFrame) -> Any:
        native: Any = rendered.frame.native
        if self._is_exact and native is not None and native.format.name == self._pixel_format:
            if rendered.patch is not None:
                native.make_writable()
                self._patch(native, rendered)
                if rendered.overlay is not None:
                    # Brightness alone: colours outside of what was changed stay exact.
                    luma, bits = plane_of(native, 0), native.format.components[0].bits
                    rendered.overlay.add(luma, 1.0 if self._is_full else 219 / 255, bits)
            return native
        pixels = rendered.pixels
        if self._resize != 1:
            return self._to_yuv(pixels, (self._width, self._height))
        pad = (self._height - pixels.shape[0], self._width - pixels.shape[1])
        if any(pad):
            pixels = np.pad(pixels, ((0, pad[0]), (0, pad[1]), (0, 0)), mode="edge")
        return self._to_yuv(pixels)

    def _to_yuv(self, pixels: np.ndarray[Any, np.dtype[np.uint8]], size: tuple[int, int] | None = None) -> Any:
        """RGB to the stream's format with the matrix and range of the source picture, and to another size."""
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        if not hasattr(self._local, "reformatter"):  # it is not to be shared between threads
            self._local.reformatter = VideoReformatter()
        converted = convert_rgb(
            picture, self._local.reformatter, self._pixel_format, self._space[1], self._is_full, size
        )
        converted.colorspace = self._space[0]
        converted.color_range = self._range
        converted.color_primaries, converted.color_trc = self._target.colour[:2]  # ProRes looks at pictures for them
        return converted

    def _patch(self, native: Any, rendered: RenderedFrame) -> None:
        """Write what is new into the decoder's picture, in whole colour samples; the rest stays as it is."""
        assert rendered.patch is not None
        height, width = rendered.frame.pixels.shape[:2]
        left, top, right, bottom = rendered.box
        x0, y0 = left // 2 * 2, top // 2 * 2
        x1, y1 = min(-(-right // 2) * 2, width), min(-(-bottom // 2) * 2, height)
        # More is converted than is written, in steps, so that the conversion is seldom set up anew.
        rows, columns = (-(-(stop - start) // ALIGN_PX) * ALIGN_PX for start, stop in ((y0, y1), (x0, x1)))
        pixels = np.zeros((rows, columns, 3), dtype=np.uint8)
        if (x0, y0, x1, y1) != rendered.box:
            pixels[: y1 - y0, : x1 - x0] = rendered.frame.pixels[y0:y1, x0:x1]
        pixels[top - y0 : bottom - y0, left - x0 : right - x0] = rendered.patch
        part = self._to_yuv(pixels)
        # Several faces have one box: what lies between them must not be converted there and back.
        is_new = (pixels[: y1 - y0, : x1 - x0] != rendered.frame.pixels[y0:y1, x0:x1]).any(axis=2)
        for number in range(3):
            x_step = width // native.planes[number].width
            y_step = height // native.planes[number].height
            into, out_of = plane_of(native, number), plane_of(part, number)
            h, w = (y1 - y0) // y_step, (x1 - x0) // x_step
            where = is_new[: h * y_step, : w * x_step].reshape(h, y_step, w, x_step).any(axis=(1, 3))
            place = into[y0 // y_step : y0 // y_step + h, x0 // x_step : x0 // x_step + w]
            np.copyto(place, out_of[:h, :w], where=where)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._abandon()
            return
        try:
            with writing(self._path):
                self._finish()
                if self._passengers is not None:
                    self._passengers.mux_until(None)
                    self._passengers.close()
                if self._sound is not None:
                    self._sound.mux_until(None)
                    self._sound.close()
                self._output.close()
                if self._passengers is not None and FORMATS.get(self._path.suffix.lower()) in ("mp4", "mov"):
                    # libav plays the first subtitles where none are to be played unasked.
                    switch_off(self._made, self._passengers.quiet_subtitles)
                if FORMATS.get(self._path.suffix.lower()) in ("matroska", "webm"):
                    write_aspect(self._made, self._target.info.shown_aspect)
                if self._passengers is not None:
                    self.notes += self._passengers.notes
                    if self._passengers.has_failed_packets:
                        self._check_count()
                self.before_naming()
                if self._replacement is not None:
                    self._replacement.put_in_place()
            self._stream = self._output = None  # an encoder keeps dozens of pictures as long as it lives
        except BaseException:
            self._abandon()
            raise

    @property
    def _made(self) -> Path:
        """The file that is written."""
        assert self._replacement is not None
        return self._replacement.path

    def _finish(self) -> None:
        """Write what the encoder still holds."""
        self._mux(self._stream.encode(None))

    def _check_count(self) -> None:
        """A packet that libav refuses may take one of the film with it: count them."""
        with av.open("file:" + str(self._made), "r") as written:
            count = sum(1 for packet in written.demux(written.streams.video[0]) if packet.size)
        if count != self._sent_count:
            raise OutputRefused(
                f"{self._path} holds {counted(count, 'frame')} instead of {self._sent_count}, because a track of the "
                "target is damaged.",
                "Leave that track out with --drop-tracks.",
            )

    def _abandon(self) -> None:
        for companion in (self._passengers, self._sound):
            if companion is not None:
                companion.close()
        if self._output is not None:
            close_quietly(self._output)  # the file is thrown away in any case
        if self._replacement is not None:
            self._replacement.drop()


def _moved_chapters(chapters: list[Any], offset_s: Fraction, stop_s: Fraction | None) -> list[Any]:
    """Chapters on the output's time line: what is cut away shortens them."""
    moved = []
    for chapter in chapters:
        base = Fraction(chapter["time_base"])
        start, end = chapter["start"] * base, chapter["end"] * base
        if stop_s is not None:
            end = min(end, stop_s)
        start, end = max(start - offset_s, Fraction(0)), end - offset_s
        if end > start or (end == start and not offset_s and stop_s is None):
            moved.append({**chapter, "start": round(start / base), "end": round(end / base)})
    return moved
