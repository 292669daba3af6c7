"""Folds of a smile, which come and go with the target's.

A texture keeps what the face of its photo did. Lips follow the target's mesh, but the folds beside a smiling mouth and
the dimples at its corners stayed, so that somebody who looks serious grinned. How much a face smiles is told by its
mesh; the folds are shown as far as the target smiles, too.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from facefusion.imaging.texture import TexturePlane, blur, inner_distance, resize, smoothstep
from facefusion.models.face_shape import to_front
from facefusion.types.topology import CHIN, LIPS_OUTER, MOUTH_LEFT, MOUTH_RIGHT, NOSE_TIP

FloatArray = npt.NDArray[np.float32]

SIZE = 192
"""Side of the texture in which folds are found, pixels."""
_UPPER_LIP, _LOWER_LIP, _UNDER_NOSE = 0, 17, 2
_USUAL_LIFT, _USUAL_WIDTH = 0.033, 0.84
"""How high the corners of the mean face's mouth are above the middle of its lips, and how far apart, eye distances."""
_OF_LIFT, _OF_WIDTH = 0.05, 0.12
"""Standard deviations of both in 422 photos."""
_SMILES = (0.2, 1.4)
"""Mean of both in standard deviations from which a face smiles, and from which it does as much as folds can tell."""
_FOLD_PX, _PORE_PX = 12.0, 0.4
"""Widths, texture pixels, of what is no fold any more and of what is not yet one."""
_TAKEN = 0.75
"""Share of the folds of a full smile that is taken off."""
_REACH, _RISE = (0.7, 0.75), 0.15
"""How far from a corner of the mouth there are folds, across and down, and how far above it, widths of a mouth."""
_CORNER = 0.16
"""The same, how far from it there are dimples, which are as fine as pores."""
_NOSE = 0.36
"""Half of what a nose takes, widths of a mouth."""


def smile_of(mesh: FloatArray) -> float:
    """How much a face smiles, 0 to 1.

    Parameters
    ----------
    mesh
        (478, 3) in pixels.
    """
    (front,), _, _ = to_front(mesh[None])
    corners, lips = front[[MOUTH_LEFT, MOUTH_RIGHT]], front[[_UPPER_LIP, _LOWER_LIP]]
    lift = float(lips[:, 1].mean() - corners[:, 1].mean()) - _USUAL_LIFT
    width = float(np.linalg.norm(corners[0] - corners[1])) - _USUAL_WIDTH
    found = (lift / _OF_LIFT + width / _OF_WIDTH) / 2
    return float(smoothstep(np.array((found - _SMILES[0]) / (_SMILES[1] - _SMILES[0]))))


def without_folds(detail: FloatArray, plane: TexturePlane, hair: FloatArray | None) -> FloatArray:
    """A texture whose mouth does not smile.

    Parameters
    ----------
    detail
        (S, S, 3) logarithm of linear light without light of its own.
    plane
        The texture's.
    hair
        (S, S) how far a beard is there, which has no folds; None for nowhere.

    Returns
    -------
    (S, S, 3) float32.
    """
    lips, folds, corners = _places(plane)
    if hair is not None:
        bare = 1 - resize(hair, SIZE)
        folds, corners = folds * bare, corners * bare
    small = resize(np.ascontiguousarray(detail, dtype=np.float32), SIZE)
    coarse = _beside_lips(small, lips, _FOLD_PX)
    taken = (_beside_lips(small, lips, _PORE_PX) - coarse) * folds[..., None] + (small - coarse) * corners[..., None]
    return np.asarray(detail - resize(taken * np.float32(_TAKEN), len(detail)), dtype=np.float32)


def _beside_lips(values: FloatArray, lips: FloatArray, width: float) -> FloatArray:
    """(T, T, 3) values smoothed over skin alone."""
    skin = 1 - lips
    total = blur(np.asarray(values * skin[..., None], dtype=np.float32), width)
    return np.asarray(total / (blur(skin, width) + np.float32(1e-3))[..., None], dtype=np.float32)


@cache
def _places(plane: TexturePlane) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(T, T) where lips are, where a smile makes folds, and where dimples; nothing may be written into them."""
    points = plane.points * np.float32(SIZE / plane.size)
    lips = np.asarray(inner_distance(points[list(LIPS_OUTER)], SIZE) > 0, dtype=np.float32)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    width = float(np.linalg.norm(points[MOUTH_LEFT] - points[MOUTH_RIGHT]))
    folds, corners = np.zeros_like(lips), np.zeros_like(lips)
    for corner, side in ((points[MOUTH_LEFT], -1), (points[MOUTH_RIGHT], 1)):
        out, down = ((columns - corner[0]) * side) / width, (rows - corner[1]) / width
        around = np.exp(-(((out - _CORNER) / _REACH[0]) ** 2) - ((down + _RISE) / _REACH[1]) ** 2)
        folds = np.maximum(folds, np.clip(1.6 * around, 0, 1))
        corners = np.maximum(corners, np.exp(-((out - _CORNER / 3) ** 2 + down**2) / (_CORNER / 1.5) ** 2))
    beside = 1 - blur(lips, 1.0)
    from_nose = np.abs(columns - points[NOSE_TIP, 0]) / (_NOSE * width)
    nose = np.exp(-(from_nose**2)) * smoothstep((points[_UNDER_NOSE, 1] + 6 - rows) / 4)
    folds = folds * beside * (1 - np.clip(1.5 * nose, 0, 1)) * smoothstep((points[CHIN, 1] - rows) / (0.3 * width))
    return lips, np.asarray(folds * (1 - corners), dtype=np.float32), np.asarray(corners * beside, dtype=np.float32)
