"""Beards of sources.

The broad darkness of a beard goes with the light, as a shadow does, and what is left of it is pale hairs on a bright
chin. What tells a beard from a shadow is that it is rough.
"""

from __future__ import annotations

import numpy as np

from facefusion.imaging.light import estimate_shading
from facefusion.imaging.texture import TexturePlane, blur, resize, smoothstep
from facefusion.plugins.protocols import FloatArray
from facefusion.types.topology import LIPS_OUTER

ROUGH = (1.2, 1.6)
"""How many times as rough as cheeks and nose a chin is from which it has a beard more and more, and surely."""
ROUGH_PX = 4.0
"""Width of that roughness, pixels of a texture of 512."""
DARKEST = 0.6
"""The most that a beard is darkened by, natural logarithm."""
CHEEKS_FROM = 0.42
"""Row of the texture, over its side, below which there are cheeks and the nose."""
LEAST_SKIN = 12.0
"""Cells of skin, above and below, without which nothing is said."""
_UNDER_NOSE = (2, 98, 327)


class Beards:
    """Finds beards in textures and makes up for what is lost of them.

    Parameters
    ----------
    plane
        Where the points lie in textures.
    skin
        (G, G) how far a cell is plain skin in every face.
    sigma
        Smoothing of light in cells.
    """

    def __init__(self, plane: TexturePlane, skin: FloatArray, sigma: float) -> None:
        self._skin, self._sigma = skin, sigma
        cells = len(skin)
        nose, lips = (
            float(plane.points[list(points), 1].max()) / plane.size * cells for points in (_UNDER_NOSE, LIPS_OUTER)
        )
        rows = np.mgrid[0:cells, 0:cells].astype(np.float32)[0]
        self._above = ((rows > CHEEKS_FROM * cells) & (rows < nose)).astype(np.float32)
        self._chin = (rows > lips + 1).astype(np.float32)
        self._grows = np.asarray(smoothstep((rows - nose - 0.5) / 2.5), dtype=np.float32)

    def find(self, log_texture: FloatArray, known: FloatArray) -> float:
        """How far there is a beard, 0 to 1; photos that do not show hairs show none.

        Parameters
        ----------
        log_texture
            (S, S, 3) logarithm of linear light.
        known
            (S, S) where it shows skin, 0 to 1.
        """
        light = log_texture.mean(axis=-1)
        rough = np.asarray(np.abs(light - blur(light, ROUGH_PX)) * known, dtype=np.float32)
        in_sight = resize(known, len(self._skin))
        of_cells = resize(rough, len(self._skin)) / np.maximum(in_sight, 0.05)
        chin, above = (self._skin * in_sight * part for part in (self._chin, self._above))
        if min(chin.sum(), above.sum()) < LEAST_SKIN:
            return 0.0
        means = [float((of_cells * part).sum() / part.sum()) for part in (chin, above)]
        ratio = means[0] / max(means[1], 1e-3)
        return float(smoothstep(np.array((ratio - ROUGH[0]) / (ROUGH[1] - ROUGH[0]))))

    def darkness(self, coarse: FloatArray, in_sight: FloatArray, shown: FloatArray) -> FloatArray:
        """(G, G) how much darker a beard is than what is shown of it, natural logarithm, 0 or more.

        Parameters
        ----------
        coarse
            (G, G, 3) logarithm of linear light of the photo by cells.
        in_sight
            (G, G) how far each is seen.
        shown
            (G, G, 3) what is drawn, without light.
        """
        # The light of the face above says how bright a shaved chin would be.
        weight = np.asarray(self._skin * in_sight * (1 - self._grows), dtype=np.float32)
        above, _ = estimate_shading(coarse, weight, self._sigma)
        photo, now = (blur(np.ascontiguousarray(one.mean(axis=-1)), 1.5) for one in (coarse - above, shown))
        return np.asarray(np.clip(now - np.minimum(photo, 0), 0, DARKEST) * self._grows, dtype=np.float32)
