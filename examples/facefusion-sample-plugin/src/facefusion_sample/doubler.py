"""A frame processor: it looks at neighbours in time and makes frames of another size."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from facefusion.plugins.protocols import EngineContext
from facefusion.types.frame import FrameWindow, Pixels
from facefusion.types.sources import Sources


class FrameDoubler:
    """Averages a frame with those around it and doubles the size.

    Parameters
    ----------
    reach
        Frames before and after one, at most as many as the requirements' halo says.
    is_smooth
        Whether pixels in between are interpolated.
    """

    scale = Fraction(2)

    def __init__(self, reach: int, is_smooth: bool) -> None:
        self._reach, self._is_smooth = reach, is_smooth

    def prepare(self, sources: Sources) -> None:
        """Nothing is taken in."""

    def process(self, windows: Sequence[FrameWindow]) -> list[Pixels]:
        """See `facefusion.plugins.protocols.FrameProcessor`."""
        return [self._double(window) for window in windows]

    def _double(self, window: FrameWindow) -> Pixels:
        # Whole numbers: the same on every machine. A window holds fewer neighbours at the ends of a clip.
        near = window.frames[max(window.at - self._reach, 0) : window.at + self._reach + 1]
        total = np.asarray(np.sum([frame.pixels for frame in near], axis=0, dtype=np.int32))
        mean: npt.NDArray[np.int32] = (total + len(near) // 2) // len(near)
        for axis in (0, 1):
            mean = _double_axis(mean, axis) if self._is_smooth else mean.repeat(2, axis=axis)
        return np.ascontiguousarray(mean, dtype=np.uint8)


def _double_axis(pixels: npt.NDArray[np.int32], axis: int) -> npt.NDArray[np.int32]:
    """Two pixels for one, each a quarter of the neighbour on its side."""
    one = np.moveaxis(pixels, axis, 0)
    padded = np.concatenate([one[:1], one, one[-1:]])
    before = (3 * one + padded[:-2] + 2) // 4
    after = (3 * one + padded[2:] + 2) // 4
    return np.moveaxis(np.stack([before, after], axis=1).reshape(2 * len(one), *one.shape[1:]), 0, axis)


def build(context: EngineContext) -> FrameDoubler:
    """The processor of a step."""
    return FrameDoubler(context.options.reach, context.options.filter == "smooth")
