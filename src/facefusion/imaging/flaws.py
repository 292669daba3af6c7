"""What of a photo is seen in the new face although nothing is before it: folds of a frown, hard and burnt light."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.imaging.texture import TexturePlane, blur
from facefusion.types.topology import LEFT_BROW

FloatArray = npt.NDArray[np.float32]

_BETWEEN, _AROUND_BROWS = (0.435, 0.565), 0.045
"""Columns of the texture between the brows, and rows above and below their middle, over its side."""
_FOLD = 27 / 512
"""Breadth of the widest fold over the side of the texture."""
_SEEN = 0.9
"""Share of what lies there that must be in sight."""
_SIDE_PX = 4.0 / 192
"""Width over the side of the texture over which halves of a face are compared."""
_MIDDLE = ((0.18, 0.83), (0.28, 0.72))
"""Rows and columns in which they are."""
_LIT = 0.3
"""Share of the most skin that a cell holds from which its light counts."""
_BURNT = float(np.log(0.9))
"""Logarithm of linear light from which a place is burnt out."""


def folds_between_brows(log_texture: FloatArray, known: FloatArray, plane: TexturePlane) -> float:
    """How dark upright folds between the brows are, natural logarithm; 0 where they are not in sight.

    What is told to somebody must be right, so this is stricter than `frown_of` of the swapper, which hair and wrinkles
    may raise where it does no harm.

    Parameters
    ----------
    log_texture
        (S, S, 3) logarithm of linear light.
    known
        (S, S) how far each place is in sight, 0 to 1.
    plane
        The texture plane.
    """
    size = plane.size
    brows = float(plane.points[list(LEFT_BROW), 1].mean())
    rows = slice(int(brows - size * _AROUND_BROWS), int(brows + size * _AROUND_BROWS))
    columns = slice(int(size * _BETWEEN[0]), int(size * _BETWEEN[1]))
    if float((known[rows, columns] > 0.5).mean()) < _SEEN:
        return 0.0
    grey = blur(np.ascontiguousarray(log_texture.mean(axis=-1), dtype=np.float32), 1.5 * size / 512)
    across = np.ones((1, round(_FOLD * size)), np.uint8)
    return float((cv2.morphologyEx(grey, cv2.MORPH_CLOSE, across) - grey)[rows, columns].mean())


def one_sidedness(even: FloatArray, skin: FloatArray) -> float:
    """How far the halves of a face differ once broad light is off, natural logarithm.

    Parameters
    ----------
    even
        (S, S, 3) logarithm of linear light without broad light.
    skin
        (S, S) how far each place is plain skin in sight, 0 to 1.
    """
    size = len(even)
    grey = even.mean(axis=-1)
    apart = np.abs(blur(np.ascontiguousarray(grey - grey[:, ::-1], dtype=np.float32), _SIDE_PX * size))
    middle = tuple(slice(round(size * low), round(size * high)) for low, high in _MIDDLE)
    weight = np.minimum(skin, skin[:, ::-1])[middle]
    return float((apart[middle] * weight).sum()) / (float(weight.sum()) + 1e-6)


def spread_of_light(coarse: FloatArray, shading: FloatArray, skin: FloatArray) -> tuple[float, float]:
    """How far the light on a face goes from dark to bright, natural logarithm, and the share of it that is burnt out.

    Parameters
    ----------
    coarse, shading
        (G, G, 3) logarithm of linear light, and of what of it is light.
    skin
        (G, G) how far each cell is plain skin in sight.
    """
    lit = skin > _LIT * max(float(skin.max()), 1e-6)
    if not lit.any():
        return 0.0, 0.0
    low, high = np.percentile(shading.mean(axis=-1)[lit], (5, 95))
    return float(high - low), float((coarse.mean(axis=-1)[lit] > _BURNT).mean())
