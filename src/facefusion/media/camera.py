"""Cameras in, recordings out: frames that come without an end, and a clip that is made of as many as there were."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter

from facefusion.documents import reason_of
from facefusion.errors import MediaUnreadable, RecipeError
from facefusion.media.border import FOREIGN, writing
from facefusion.media.passengers import FORMATS, close_quietly
from facefusion.media.priority import usual_priority
from facefusion.media.writer import ENCODER_THREADS, check_clip_output, encoder_options
from facefusion.media.yuv import convert_rgb
from facefusion.types.frame import Frame, Pixels
from facefusion.writing import Replacement

SYSTEMS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""Input formats of libavdevice, by platform."""
TRIES = 200
"""Answers of a camera on end that are no picture, after which it is taken to show nothing."""
WAIT_S = 0.02
_BASE = Fraction(1, 90_000)
_BT709 = 1


class Camera:
    """Frames of a device, as they come.

    Parameters
    ----------
    device
        Its number from 0, or what the system calls it: ``/dev/video0``, a name.
    size
        Wanted width and height in pixels; None takes what the camera gives.
    rate
        Wanted frames per second; None takes what the camera gives.
    form
        Input format of libavdevice; empty takes that of the system.

    Attributes
    ----------
    width, height
        Of the frames in pixels.
    frame_rate
        What the device promises, or None.

    Raises
    ------
    RecipeError
        When the device cannot be one.
    MediaUnreadable
        When it cannot be opened, and from iteration when it goes away.
    """

    def __init__(
        self, device: str = "0", size: tuple[int, int] | None = None, rate: float | None = None, form: str = ""
    ) -> None:
        self.device, self.form = device, form or SYSTEMS.get(sys.platform, "v4l2")
        try:
            av.format.ContainerFormat(self.form, "r")
        except ValueError as error:
            raise RecipeError(
                f"This PyAV cannot read from '{self.form}'.", "Name another input format with --camera-format."
            ) from error
        if self.form in SYSTEMS.values() and Path(device).is_file():
            raise RecipeError(f"{device} is a file, not a camera.", "Files are changed by: facefusion -s … -t … -o …")
        options = {}
        if self.form != "lavfi":  # a filter says so itself
            if size is not None:
                options["video_size"] = f"{size[0]}x{size[1]}"
            if rate is not None:
                options["framerate"] = f"{rate:g}"
        try:
            self._container: Any = av.open(_name_of(device, self.form), format=self.form, options=options)
        except FOREIGN as error:
            raise MediaUnreadable(
                f"The camera '{device}' cannot be opened: {reason_of(error)}.",
                "Check its number or name, that no other program has it, and --camera-size and --camera-rate.",
            ) from error
        if not self._container.streams.video:
            self._container.close()
            raise MediaUnreadable(f"The camera '{device}' gives sound and no picture.", "Name another with --camera.")
        self._stream: Any = self._container.streams.video[0]
        self.width, self.height = int(self._stream.width), int(self._stream.height)
        self.frame_rate: Fraction | None = self._stream.average_rate

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the device go."""
        close_quietly(self._container)

    def __iter__(self) -> Iterator[Frame]:
        index, last = 0, -1
        first: int | None = None
        for picture in self._pictures():
            if picture.pts is None or picture.time_base is None:
                at = int(time.monotonic() / _BASE)
                base = _BASE
            else:
                at, base = int(picture.pts), Fraction(picture.time_base)
            first = at if first is None else first
            if at - first <= last:
                continue  # some drivers repeat a time
            last = at - first
            pixels: Pixels = picture.to_ndarray(format="rgb24")
            yield Frame(pixels, index, last, base)
            index += 1

    def _pictures(self) -> Iterator[Any]:
        empty = 0
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    for picture in packet.decode():
                        empty = 0
                        yield picture
                return
            except (BlockingIOError, av.error.InvalidDataError) as error:
                # A camera that is just starting has no picture yet, or half of one.
                empty += 1
                if empty > TRIES:
                    raise MediaUnreadable(f"The camera '{self.device}' shows nothing.", "Check it.") from error
                time.sleep(WAIT_S)
            except (EOFError, av.error.EOFError):
                return
            except FOREIGN as error:
                raise MediaUnreadable(
                    f"The camera '{self.device}' cannot be read any more: {reason_of(error)}.", "Is it still there?"
                ) from error


def _name_of(device: str, form: str) -> str:
    """A device as libavdevice calls it.

    Raises
    ------
    RecipeError
    """
    is_number = re.fullmatch(r"[0-9]{1,3}", device) is not None
    if form in ("v4l2", "video4linux2"):
        return f"/dev/video{int(device)}" if is_number else device
    if form == "dshow":
        if is_number:
            raise RecipeError("Cameras have no numbers here.", "Name it: --camera 'Integrated Camera'.")
        return device if "=" in device else f"video={device}"
    if form == "avfoundation":
        return device if ":" in device else f"{device}:none"
    return device


class Recorder:
    """Writes frames as they come to a clip; it has its name when it is closed.

    Parameters
    ----------
    path
        The output; its ending chooses the container.
    encoder, preset, quality
        As in the recipe.
    comment
        Written to the container.
    frame_rate
        What to promise; the frames' own times count.
    finish
        Called with the whole file before it gets its name.

    Raises
    ------
    OutputRefused
    """

    def __init__(
        self,
        path: Path,
        encoder: str = "libx264",
        preset: str = "veryfast",
        quality: int = 80,
        comment: str = "",
        frame_rate: Fraction | None = None,
        finish: Callable[[Path], None] | None = None,
    ) -> None:
        self._finish = finish
        check_clip_output(path, encoder)
        self._path, self._encoder, self._comment = path, encoder, comment
        self._options, self._rate = encoder_options(encoder, preset, quality), frame_rate
        self._replacement: Replacement | None = None
        self._output: Any = None
        self._stream: Any = None
        self._reformatter = VideoReformatter()
        self._last = -1

    def __enter__(self) -> Self:
        self._replacement = Replacement(self._path)
        return self

    def write(self, pixels: Pixels, at_s: Fraction) -> None:
        """Write a frame.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8 RGB, all of one size.
        at_s
            When it is shown, seconds; later than the one before.
        """
        with writing(self._path), usual_priority():
            if self._stream is None:
                self._open(*pixels.shape[:2])
            height, width = pixels.shape[:2]
            pad = self._stream.height - height, self._stream.width - width
            if any(pad):
                pixels = np.pad(pixels, ((0, pad[0]), (0, pad[1]), (0, 0)), mode="edge")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            picture = convert_rgb(picture, self._reformatter, "yuv420p", _BT709, is_full=False)
            self._last = max(round(at_s / _BASE), self._last + 1)
            picture.pts, picture.time_base = self._last, _BASE
            self._output.mux(self._stream.encode(picture))

    def _open(self, height: int, width: int) -> None:
        assert self._replacement is not None
        suffix = self._path.suffix.lower()
        options = {"fflags": "+bitexact"}
        if suffix in (".mp4", ".m4v", ".mov"):
            options |= {"movflags": "+faststart", "video_track_timescale": str(_BASE.denominator)}
        name = "file:" + os.fspath(self._replacement.path)
        self._output = av.open(name, "w", format=FORMATS[suffix], options=options)
        self._output.metadata["comment"] = self._comment
        stream = self._output.add_stream(self._encoder, rate=self._rate or Fraction(30))
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        context = stream.codec_context
        context.time_base = stream.time_base = _BASE
        context.thread_count, context.options = ENCODER_THREADS, self._options
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = 1
        self._stream = stream

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._replacement is not None
        is_good = kind is None and self._stream is not None
        try:
            if is_good:
                with writing(self._path):
                    self._output.mux(self._stream.encode(None))
                    self._output.close()
                if self._finish is not None:
                    self._finish(self._replacement.path)
                self._replacement.put_in_place()
        except BaseException:
            is_good = False
            raise
        finally:
            if not is_good:
                if self._output is not None:
                    close_quietly(self._output)
                self._replacement.drop()
            self._stream = self._output = None
