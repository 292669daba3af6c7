"""A face processor with options."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.plugins.protocols import EngineContext
from facefusion.types.crop import Crop, CropShape
from facefusion.types.sources import Sources
from facefusion_sample.drawing import inside


class FaceTint:
    """Tints an ellipse over a face.

    Parameters
    ----------
    colour
        Red, green and blue, 0 to 255.
    strength
        How much of it is seen, 0 to 1.
    keeps_light
        Whether light and dark stay.
    """

    crop_shape: CropShape | None = None  # upright crops at the frame's own scale
    needs: frozenset[str] = frozenset()
    covers_fully = False

    def __init__(self, colour: tuple[int, int, int], strength: float, keeps_light: bool) -> None:
        self._colour, self._strength, self._keeps_light = np.array(colour, np.float32), strength, keeps_light

    def prepare(self, sources: Sources) -> None:
        """Nothing is taken in."""

    def process(self, crops: Sequence[Crop]) -> list[Crop]:
        """See `facefusion.plugins.protocols.FaceProcessor`."""
        return [self._tint(crop) for crop in crops]

    def _tint(self, crop: Crop) -> Crop:
        seen = crop.visible().astype(np.float32)
        colour = np.broadcast_to(self._colour, seen.shape)
        if self._keeps_light:
            light = seen.mean(axis=2, keepdims=True)
            colour = self._colour / max(float(self._colour.mean()), 1.0) * light
        mixed = seen + (colour - seen) * self._strength
        box = crop.face.box
        middle, half = ((v / 2).astype(np.float32) for v in (box[:2] + box[2:], box[2:] - box[:2]))
        alpha = inside(crop.alpha.shape, middle, half)
        return crop.with_layer(np.clip(mixed + 0.5, 0, 255).astype(np.uint8), alpha)


def build(context: EngineContext) -> FaceTint:
    """The processor of a step."""
    options = context.options
    digits = options.colour.removeprefix("#")
    red, green, blue = (int(digits[k : k + 2], 16) for k in (0, 2, 4))
    return FaceTint((red, green, blue), options.strength, options.keep_light)
