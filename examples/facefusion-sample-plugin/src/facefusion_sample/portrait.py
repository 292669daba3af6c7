"""A source: it makes the frames itself, and FaceFusion goes on with them as with any clip."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil, pi, sin

import numpy as np

from facefusion.imaging.resample import resize_pixels
from facefusion.plugins.protocols import EngineContext
from facefusion.types.frame import Pixels, SourceInfo
from facefusion.types.sources import Sources
from facefusion_sample.drawing import inside, loudness_at

LENGTH_S = Fraction(2, 25)
"""Length of the sound that opens the mouth."""


class DrawnPortrait:
    """A photo that sways, with a mouth that opens as loudly as a sound is.

    Parameters
    ----------
    size
        Side of the frames, px.
    frame_rate
        Frames per second.
    sway
        How much the head moves, 0 to 1.
    """

    def __init__(self, size: int, frame_rate: int, sway: float) -> None:
        self._size, self._rate, self._sway = size, Fraction(frame_rate), sway

    def prepare(self, sources: Sources) -> None:
        """Take in the photo and the sound. The requirements ask for both, so both are there."""
        assert sources.sound is not None
        self._source, self._sound = sources[0], sources.sound

    @property
    def info(self) -> SourceInfo:
        """As long as the sound."""
        count = max(ceil(len(self._sound.samples) * self._rate / self._sound.rate), 1)
        return SourceInfo(self._size, self._size, self._rate, count)

    def read(self, start: int, stop: int) -> Iterator[Pixels]:
        """See `facefusion.plugins.protocols.FrameSource`: a frame depends on its number alone."""
        for number in range(start, stop):
            yield self._draw(number / self._rate)

    def _draw(self, moment: Fraction) -> Pixels:
        photo, face = self._source.pixels, self._source.face
        low, high = face.box[:2], face.box[2:]
        side = max(int((high - low).max() * 1.6), 2)
        x, y = (low + high) / 2 - side / 2
        x += self._sway * 0.2 * side * sin(float(moment) * 2 * pi / 3)
        left, top = round(float(x)), round(float(y))
        rows = np.clip(np.arange(top, top + side), 0, photo.shape[0] - 1)
        columns = np.clip(np.arange(left, left + side), 0, photo.shape[1] - 1)
        picture = resize_pixels(photo[np.ix_(rows, columns)], self._size, self._size).astype(np.float32)
        corners = (face.five_points[3:5] - (left, top)) * (self._size / side)
        width = float(np.hypot(*(corners[1] - corners[0])))
        opening = width * 0.4 * min(loudness_at(self._sound, moment, LENGTH_S) * 4, 1)
        if opening >= 1:
            share = inside(picture.shape[:2], corners.mean(axis=0), np.array([width * 0.4, opening], np.float32))
            picture += (np.array((40, 8, 12), np.float32) - picture) * share[..., None]
        return np.asarray(np.clip(picture + 0.5, 0, 255), dtype=np.uint8)


def build(context: EngineContext) -> DrawnPortrait:
    """The processor of a step."""
    options = context.options
    return DrawnPortrait(options.size, options.frame_rate, options.sway)
