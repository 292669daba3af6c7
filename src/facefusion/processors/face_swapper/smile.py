"""Folds of a smile and of a frown, which come and go with the target's.

A texture keeps what the face of its photo did. Lips follow the target's mesh, but the folds beside a smiling mouth and
the dimples at its corners stayed, so that somebody who looks serious grinned. How much a face smiles is told by its
mesh; the folds are shown as far as the target smiles, too.

So it is with the folds between brows that are drawn together. Of those a mesh knows nothing, and they are looked for
in the picture.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from facefusion.imaging.light import mean_of_three, to_log
from facefusion.imaging.texture import TexturePlane, blur, grown, inner_distance, resize, sample_soft, smoothstep
from facefusion.models.face_shape import to_front
from facefusion.types.frame import Pixels
from facefusion.types.topology import (
    CHIN,
    LEFT_BROW,
    LEFT_EYE,
    LIPS_OUTER,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    NOSE_TIP,
    RIGHT_BROW,
    RIGHT_EYE,
)

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
_BETWEEN = (107, 336, 193, 417)
"""Points beside what is between the brows: above it on the left and the right, and at the root of the nose."""
_PLACES, _MARGIN, _LINE = 24, 7, 7
"""Places between them at which a picture is read, each way; how many are brow on either side, and how many in a column
a fold takes at least."""
_ACROSS, _DOWN = (-0.15, 1.15), (-0.35, 0.75)
"""From where to where they lie, shares of the way between those points."""
_FOLD_PLACES, _DEEPEST = 3.0, 1.2
"""Standard deviation, places, of what is no fold any more; how much darker than the rest anything counts."""
_FROWNS = (0.028, 0.075)
"""Standard deviation, natural logarithm of light, of columns that are darker, from which brows are drawn together, and
as far as can be told: 43 of 56 photos are below the first or hardly above it, one in which somebody is angry has the
second."""
_FROWN_TAKEN = 0.85
"""Share of the folds of a full frown that is taken off."""
_FROWN_PX, _BROW_PX = 8.0, 3
"""As `_FOLD_PX` between brows; width of what is left alone around brows and eyes, texture pixels."""
_FROWN_REACH = (0.62, 1.3, 0.55)
"""How far folds reach from the middle of the brows, distances of their inner ends: aside, up and down."""


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
    coarse = _beside(small, lips, _FOLD_PX)
    taken = (_beside(small, lips, _PORE_PX) - coarse) * folds[..., None] + (small - coarse) * corners[..., None]
    return np.asarray(detail - resize(taken * np.float32(_TAKEN), len(detail)), dtype=np.float32)


def frown_of(pixels: Pixels, mesh: FloatArray) -> float:
    """How far brows are drawn together, 0 to 1, told by the upright folds between them.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 RGB.
    mesh
        (478, 3) in it.
    """
    left, right, lower_left, lower_right = (mesh[k, :2].astype(np.float32) for k in _BETWEEN)
    across, down = (np.linspace(*ends, _PLACES, dtype=np.float32)[..., None] for ends in (_ACROSS, _DOWN))
    at = left + (right - left) * across
    at = at + (lower_left + (lower_right - lower_left) * across - at) * down[:, None]
    height, width = pixels.shape[:2]
    limits = np.array([width, height])
    low = np.clip(np.floor(at.min(axis=(0, 1))).astype(int) - 4, 0, limits - 1)
    high = np.clip(np.ceil(at.max(axis=(0, 1))).astype(int) + 5, low + 1, limits)
    part = np.ascontiguousarray(pixels[low[1] : high[1], low[0] : high[0]])
    step = max(float(np.linalg.norm(right - left)) / _PLACES, 0.5)
    light = mean_of_three(to_log(sample_soft(part, at - low.astype(np.float32), step)))
    light = np.maximum(light, np.median(light) - _DEEPEST)
    # Means of columns: a fold is upright, pores and noise are not, and neither is the bridge of glasses.
    columns = np.lib.stride_tricks.sliding_window_view(light, _LINE, axis=0).mean(axis=-1)
    reach = int(3 * _FOLD_PLACES)
    weight = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / _FOLD_PLACES))
    padded = np.pad(columns, ((0, 0), (reach, reach)), mode="reflect")
    broad = np.lib.stride_tricks.sliding_window_view(padded, len(weight), axis=1) @ (weight / weight.sum())
    fold = (columns - broad)[:, _MARGIN:-_MARGIN]
    found = float(np.sqrt(np.square(np.minimum(fold - fold.mean(), 0)).mean()))
    return float(smoothstep(np.array((found - _FROWNS[0]) / (_FROWNS[1] - _FROWNS[0]))))


def without_frown(detail: FloatArray, plane: TexturePlane) -> FloatArray:
    """(S, S, 3) a texture, as of `without_folds`, whose brows are not drawn together."""
    features, folds = _places_of_frown(plane)
    small = resize(np.ascontiguousarray(detail, dtype=np.float32), SIZE)
    taken = (_beside(small, features, _PORE_PX) - _beside(small, features, _FROWN_PX)) * folds[..., None]
    return np.asarray(detail - resize(taken * np.float32(_FROWN_TAKEN), len(detail)), dtype=np.float32)


@cache
def _places_of_frown(plane: TexturePlane) -> tuple[FloatArray, FloatArray]:
    """(T, T) where brows and eyes are, and where a frown makes folds; nothing may be written into them."""
    points = plane.points * np.float32(SIZE / plane.size)
    features = np.zeros((SIZE, SIZE), dtype=np.float32)
    for ring in (LEFT_BROW, RIGHT_BROW, LEFT_EYE, RIGHT_EYE):
        features = np.maximum(features, inner_distance(points[list(ring)], SIZE) > 0)
    features = grown(np.asarray(features, dtype=np.float32), _BROW_PX)
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    left, right = points[_BETWEEN[0]], points[_BETWEEN[1]]
    unit, middle = float(right[0] - left[0]), (left + right) / 2
    aside, down = np.abs(columns - middle[0]) / unit, (rows - middle[1]) / unit
    reach = np.where(down < 0, -down / _FROWN_REACH[1], down / _FROWN_REACH[2])
    folds = 1 - smoothstep(np.hypot(aside / (2 * _FROWN_REACH[0]), reach) / 0.5 - 1)
    return features, np.asarray(folds * (1 - blur(features, 1.0)), dtype=np.float32)


def _beside(values: FloatArray, features: FloatArray, width: float) -> FloatArray:
    """(T, T, 3) values smoothed over skin alone."""
    skin = 1 - features
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
