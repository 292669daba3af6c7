"""Covers faces with something that shows less: blur, pixels, one colour, black.

What a patch hides depends on its strength, and restoration networks invent faces from weak ones; ``docs/anonymise.md``
has what recognisers still read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from facefusion.imaging.masks import disc_around, rectangle_around
from facefusion.imaging.resample import blur_pixels, pixelate
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.types.crop import Crop, CropShape, SourceFace
from facefusion.types.frame import Pixels
from facefusion.types.topology import FACE_OVAL

GROWTH = 1.22
"""Size of the patch over that of the face: chin, ears and the first of the hair are under it."""

Patch = Callable[[Pixels, float, float], Pixels]
"""Takes a crop, the height of its face in pixels and a strength from 0 to 1."""


class PatchAnonymiser:
    """Lays one patch over every face.

    Parameters
    ----------
    patch
        What is laid over.
    strength
        0 to 1.
    is_box
        A rectangle instead of a disc.
    """

    crop_shape: CropShape | None = CropShape("", 0, margin=0.2)
    needs: frozenset[str] = frozenset()
    covers_fully = True

    def __init__(self, patch: Patch, strength: float, is_box: bool = False) -> None:
        self._patch, self._strength, self._is_box = patch, strength, is_box
        self._oval = list(FACE_OVAL)

    def prepare(self, sources: Sequence[SourceFace]) -> None:
        """Sources are of no use here."""

    def process(self, crops: Sequence[Crop]) -> list[Crop]:
        """See `facefusion.plugins.protocols.FaceProcessor`."""
        return [crop.with_layer(*self._cover(crop.visible(), crop.face.mesh)) for crop in crops]

    def _cover(self, pixels: Pixels, mesh: FloatArray) -> tuple[Pixels, FloatArray]:
        height, width = pixels.shape[:2]
        outline = mesh[self._oval, :2]
        if self._is_box:
            alpha = rectangle_around(outline, height, width, GROWTH)
        else:
            alpha = disc_around(outline, height, width, GROWTH, 0.08)
        return self._patch(pixels, float(np.ptp(outline, axis=0).max()), self._strength), alpha


def _blur(pixels: Pixels, face_px: float, strength: float) -> Pixels:
    return blur_pixels(pixels, face_px * (0.03 + 0.2 * strength))


def _pixelate(pixels: Pixels, face_px: float, strength: float) -> Pixels:
    """Down to 12 cells over the height of the face at strength 0, 5 at one half, 2 at 1."""
    return pixelate(pixels, max(round(face_px / (12 * 0.17**strength)), 2))


def _one_colour(pixels: Pixels, face_px: float, strength: float) -> Pixels:
    """The mean colour of the crop: what a flat mask shows of a face."""
    return np.broadcast_to(pixels.reshape(-1, 3).mean(axis=0).astype(np.uint8), pixels.shape).copy()


def _black(pixels: Pixels, face_px: float, strength: float) -> Pixels:
    return np.zeros_like(pixels)


def build_blur(context: EngineContext) -> PatchAnonymiser:
    """Builder named in the entry point."""
    return PatchAnonymiser(_blur, context.options.strength)


def build_pixelate(context: EngineContext) -> PatchAnonymiser:
    """Builder named in the entry point."""
    return PatchAnonymiser(_pixelate, context.options.strength)


def build_mask(context: EngineContext) -> PatchAnonymiser:
    """Builder named in the entry point."""
    return PatchAnonymiser(_one_colour, context.options.strength)


def build_blackout(context: EngineContext) -> PatchAnonymiser:
    """Builder named in the entry point."""
    return PatchAnonymiser(_black, context.options.strength, is_box=True)
