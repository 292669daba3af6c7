"""Beards: whether somebody has one, and what the light takes away of those of sources.

The broad darkness of a beard goes with the light, as a shadow does, and what is left of it is pale hairs on a bright
chin. What tells a beard from a shadow is that it is rough, on both sides and over the lips as well: folds, hair that
hangs in and hands are rough in one place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from facefusion.imaging.light import estimate_shading, to_log
from facefusion.imaging.texture import TexturePlane, blur, resize, smoothly, smoothstep, unwrap
from facefusion.types.frame import Pixels
from facefusion.types.topology import LIPS_OUTER

FloatArray = npt.NDArray[np.float32]

ROUGH, ROUGH_OVER_LIPS = (1.1, 1.5), (1.8, 2.4)
"""How many times as rough as cheeks and nose either half of a chin, and what is over the lips, are from which there is
a beard more and more, and surely."""
LEAST_ROUGH = (0.04, 0.08)
"""The same for the chin by itself, natural logarithm: very smooth skin is rougher here than there, too."""
ROUGH_PX = 4.0
"""Width of that roughness, pixels of a texture of 512."""
DARKEST, LIGHTEST, MOST_COLOUR = 1.6, 0.4, 0.25
"""The most that a beard is darker and lighter by than shaved skin, and that its colour differs by."""
BEARDED = 1.3
"""How soon where beards grow is all beard."""
BESIDE = (0.3, 0.55)
"""Distance from the middle of the texture, over half of its side, from which beards reach higher, and all the way."""
CHEEKS_FROM = 0.42
"""Row of the texture, over its side, below which there are cheeks and the nose."""
LEAST_SEEN = 0.7
"""Share of each place that is to be seen, or nothing is said."""
_UNDER_NOSE = (2, 98, 327)
LEAST_PX = 90
"""Height of a face in a picture below which it shows no hairs."""
ROUGH_IN_FILM, ROUGH_OVER_LIPS_IN_FILM, LEAST_ROUGH_IN_FILM = (1.0, 1.3), (1.5, 2.0), (0.04, 0.06)
"""The same three for targets: films show hairs less well than photos do, and darkness is asked for as well."""
DARK_ALL_OVER, BLACK = (0.35, 0.5), (0.7, 1.2)
"""How much darker than shaved skin both halves of a chin and what is over the lips are, natural logarithm, from which
less roughness is enough, and none is needed: a short beard has few hairs, and a hard print swallows them."""
ROUGH_IF_DARK, ROUGH_OVER_LIPS_IF_DARK = (0.8, 1.05), (1.2, 1.5)
"""Roughness that is enough."""
IS_ROUGH, IS_DARK = (0.45, 0.58), (0.28, 0.38)
"""What is found of the roughness of a beard, and its darkness (natural logarithm of light), means of all looks at a
person, from which a target has one that cannot be shaved, and surely: half a beard is a veil, so little lies between.
Of 92 clips, seven frames each, eight of bearded men have 0.86 and 0.44 at least, three of men with stubble 0.15 to 0.49
and 0.28 to 0.5, and nobody else more than 0.02; old skin is rough without being dark."""
GOES_WITH_OTHERS = (0.3, 0.5)
"""Darkness of a source's beard, natural logarithm, from which it may end where the dark one of a target goes on."""
NOT_LOOKED = np.full(2, -1, np.float16)
"""Nothing was measured."""


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

    Attributes
    ----------
    grows
        (G, G) where beards grow, 0 to 1.
    stays
        (G, G) where that of a target is shown: the same, and all of its moustache.
    """

    def __init__(self, plane: TexturePlane, skin: FloatArray, sigma: float) -> None:
        self._skin, self._sigma = skin, sigma
        cells = len(skin)
        lips = plane.points[list(LIPS_OUTER)] / plane.size * cells
        nose = float(plane.points[list(_UNDER_NOSE), 1].max()) / plane.size * cells
        rows, columns = np.mgrid[0:cells, 0:cells].astype(np.float32)
        (left, over), (right, under) = lips.min(axis=0), lips.max(axis=0)
        is_chin, is_left = rows > under + 1, columns < (left + right) / 2
        is_over = (rows > nose + 0.3) & (rows < over + 0.5) & (columns > left) & (columns < right)
        cheeks = skin * ((rows > CHEEKS_FROM * cells) & (rows < nose))
        self._places = cheeks, skin * (is_chin & is_left), skin * (is_chin & ~is_left), is_over.astype(np.float32)
        self._nose = int(nose)
        self._below = np.asarray(smoothstep((rows - nose - 0.5) / 2.5), dtype=np.float32)
        # Before the ears hair grows higher, and fades.
        aside = smoothstep((np.abs(columns - (cells - 1) / 2) / (cells / 2) - BESIDE[0]) / (BESIDE[1] - BESIDE[0]))
        self.grows = np.asarray(smoothstep((rows - nose - 0.5 + 6 * aside) / (2.5 + 4 * aside)), dtype=np.float32)
        width = (right - left) / 2
        under_nose = smoothstep((rows - nose) / 1.2) * smoothstep(
            (1.2 * width - np.abs(columns - (left + right) / 2)) / (0.4 * width)
        )
        self.stays = np.asarray(np.maximum(np.minimum(self.grows * BEARDED, 1), under_nose), dtype=np.float32)

    def find(self, log_texture: FloatArray, known: FloatArray) -> float:
        """How far there is a beard, 0 to 1; photos that do not show hairs show none.

        Parameters
        ----------
        log_texture
            (S, S, 3) logarithm of linear light.
        known
            (S, S) where it shows skin, 0 to 1.
        """
        looked = self._roughness(log_texture, known)
        return 0.0 if looked is None else _rough_share(looked, ROUGH, ROUGH_OVER_LIPS, LEAST_ROUGH)

    def _roughness(self, log_texture: FloatArray, known: FloatArray) -> tuple[float, ...] | None:
        """How rough cheeks, both halves of the chin and what is over the lips are; None where one is out of sight."""
        light = log_texture.mean(axis=-1)
        rough = np.asarray(np.abs(light - blur(light, ROUGH_PX)) * known, dtype=np.float32)
        in_sight, of_cells = resize(known, len(self._skin)), resize(rough, len(self._skin))
        seen = [float((in_sight * place).sum()) for place in self._places]
        if any(some < LEAST_SEEN * float(place.sum()) for some, place in zip(seen, self._places, strict=True)):
            return None
        return tuple(float((of_cells * place).sum()) / some for some, place in zip(seen, self._places, strict=True))

    def shaved(self, coarse: FloatArray, in_sight: FloatArray) -> FloatArray:
        """(G, G, 3) how bright a shaved face would be: the light of its upper half, going on as it is over the lips.

        Parameters
        ----------
        coarse
            (G, G, 3) logarithm of linear light by cells.
        in_sight
            (G, G) how far each is seen.
        """
        weight = np.asarray(self._skin * in_sight * (1 - self._below), dtype=np.float32)
        above, _ = estimate_shading(coarse, weight, self._sigma)
        return above[np.minimum(np.arange(len(above)), self._nose)]

    def lost(self, coarse: FloatArray, in_sight: FloatArray, shading: FloatArray) -> FloatArray:
        """(G, G, 3) what to add to a beard that was drawn without its light, natural logarithm: it becomes as much
        darker, or lighter, and as much less red than shaved skin would be as the photo shows it.

        Parameters
        ----------
        coarse
            (G, G, 3) logarithm of linear light of the photo by cells.
        in_sight
            (G, G) how far each is seen.
        shading
            (G, G, 3) what was taken off the photo as light.
        """
        less = shading - self.shaved(coarse, in_sight)
        grey = less.mean(axis=-1, keepdims=True)
        # Hair is less red than skin; what is redder has it from a lamp.
        other = less - grey
        colour = np.zeros_like(other)
        colour[..., 0] = np.clip(other[..., 0], -MOST_COLOUR, 0)
        colour[..., 2] = np.clip(other[..., 2], 0, MOST_COLOUR)
        colour -= colour.mean(axis=-1, keepdims=True)
        own = (np.clip(grey, -DARKEST, LIGHTEST) + colour) * self.grows[..., None]
        # What one half of the photo does not show, the other says.
        seen = np.asarray(np.clip(blur(np.ascontiguousarray(in_sight), 1.0), 0, 1), dtype=np.float32)[..., None]
        return np.asarray(own * seen + (own * seen)[:, ::-1] * (1 - seen), dtype=np.float32)

    def darkness(self, detail: FloatArray) -> float:
        """How far a beard is dark enough to go with what is left of another, 0 to 1, and not grey.

        Parameters
        ----------
        detail
            (G, G, 3) logarithm of what is drawn, over that of its skin.
        """
        weight = self.grows * self._skin
        return smoothly(float(-(detail.mean(axis=-1) * weight).sum() / weight.sum()), GOES_WITH_OTHERS)

    def measure(self, pixels: Pixels, mesh: FloatArray, plane: TexturePlane) -> npt.NDArray[np.float16]:
        """(2,) how rough, or black, the beard of somebody in a picture is, and how much darker than shaved skin.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8 RGB.
        mesh
            (478, 3) in its pixels; of a small face, or one that is turned too far, nothing is said.
        plane
            Where the points lie in textures.
        """
        if float(np.ptp(mesh[:, 1])) < LEAST_PX:
            return NOT_LOOKED
        texture, quality = unwrap(pixels, mesh, plane)
        log, known = to_log(texture), np.asarray(np.clip(quality * 12, 0, 1), dtype=np.float32)
        looked = self._roughness(log, known)
        if looked is None:
            return NOT_LOOKED
        cells = len(self._skin)
        coarse = np.stack([resize(np.ascontiguousarray(log[..., k]), cells) for k in range(3)], axis=-1)
        in_sight = resize(known, cells)
        dark = (self.shaved(coarse, in_sight) - coarse).mean(axis=-1)

        def mean(place: FloatArray) -> float:
            weight = place * in_sight
            return float((dark * weight).sum()) / float(weight.sum() + 1e-6)

        least = min(mean(place) for place in self._places[1:])
        found = max(
            _rough_share(looked, ROUGH_IN_FILM, ROUGH_OVER_LIPS_IN_FILM, LEAST_ROUGH_IN_FILM),
            _rough_share(looked, ROUGH_IF_DARK, ROUGH_OVER_LIPS_IF_DARK, LEAST_ROUGH_IN_FILM)
            * smoothly(least, DARK_ALL_OVER),
            smoothly((looked[1] + looked[2]) / 2, LEAST_ROUGH_IN_FILM) * smoothly(least, BLACK),
        )
        return np.array([found, mean(self.grows * self._skin)], np.float16)


def _rough_share(looked: Sequence[float], *limits: tuple[float, float]) -> float:
    """How far there is a beard, 0 to 1, from `Beards._roughness` and limits for a chin, over lips and at least."""
    cheeks, left, right, over = looked
    cheeks = max(cheeks, 1e-3)
    values = min(left, right) / cheeks, over / cheeks, (left + right) / 2
    return float(np.prod([smoothly(value, limit) for value, limit in zip(values, limits, strict=True)]))


def beard_of(measured: npt.NDArray[np.float16]) -> float:
    """How far somebody has a beard that cannot be shaved, 0 to 1, from (N, 2) rows as of `Beards.measure`.

    It is 0 where nothing is known.
    """
    known = measured[measured[:, 0] >= 0].astype(np.float32)
    if not len(known):
        return 0.0
    rough, dark = (float(value) for value in known.mean(axis=0))
    return smoothly(rough, IS_ROUGH) * smoothly(dark, IS_DARK)
