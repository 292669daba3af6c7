"""A face processor that is driven by a sound."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from facefusion.plugins.protocols import EngineContext
from facefusion.types.crop import Crop, CropShape
from facefusion.types.sound import Sound
from facefusion.types.sources import Sources
from facefusion_sample.drawing import inside


class MouthMeter:
    """Draws a dark mouth that is as open as the sound is loud at that moment.

    Parameters
    ----------
    gain
        Opening over loudness.
    length_s
        Length of the sound that is listened to, s.
    """

    crop_shape: CropShape | None = None
    needs: frozenset[str] = frozenset()
    covers_fully = False

    def __init__(self, gain: float, length_s: float) -> None:
        self._gain, self._length_s = gain, Fraction(length_s)
        self._sound: Sound | None = None

    def prepare(self, sources: Sources) -> None:
        """Take in the sound. The requirements ask for one, so there is one."""
        self._sound = sources.sound

    def process(self, crops: Sequence[Crop]) -> list[Crop]:
        """See `facefusion.plugins.protocols.FaceProcessor`."""
        return [self._draw(crop) for crop in crops]

    def _draw(self, crop: Crop) -> Crop:
        # By the crop's own moment: whoever renders this frame, and whatever was rendered before, hears the same.
        heard = np.zeros((0, 1), np.float32) if self._sound is None else self._sound.around(crop.moment, self._length_s)
        loudness = float(np.sqrt(np.square(heard, dtype=np.float64).mean())) if heard.size else 0.0
        left, right = crop.face.five_points[3:5]
        width = float(np.hypot(*(right - left)))
        radii = np.array([width * 0.4, width * 0.4 * min(loudness * self._gain, 1.0)], np.float32)
        if radii[1] < 1:
            return crop  # quiet: nothing is changed
        alpha = inside(crop.alpha.shape, (left + right) / 2, radii)
        return crop.with_layer(np.full_like(crop.pixels, (40, 8, 12)), alpha)


def build(context: EngineContext) -> MouthMeter:
    """The processor of a step."""
    return MouthMeter(context.options.gain, context.options.length_s)
