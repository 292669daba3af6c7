"""Glasses in the band around the eyes: what two networks see of them becomes a frame and, if they are dark, its lenses.

One network sees a whole face at a low resolution, and finds rims that are faint; the other one sees the band finely,
and knows a rim from what is next to it. Each loses rims that the other one has, and either takes the lens of one side
that shines a little for one that nothing is seen through.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.imaging.masks import EYES_OF_FACE, hull, rims_around
from facefusion.imaging.texture import smoothstep
from facefusion.types.topology import LEFT_BROW, LEFT_EYE, LEFT_IRIS, RIGHT_BROW, RIGHT_EYE, RIGHT_IRIS

FloatArray = npt.NDArray[np.float32]

_FAINT = 0.15
"""Chance from which there may be a rim: thin ones in the colour of skin are hardly surer."""
_WORN, _SEEN = (0.45, 0.62), 0.4
"""What `evidence_of` finds from which somebody wears glasses, and surely; and the chance of the coarse network that is
all that it has to say. Of 91 clips the eight of people with glasses have 0.96 at least, those without 0.4 at most."""
_WORN_AT_ONCE, _FEW = (0.75, 0.95), 3
"""The same of fewer looks than so many: a scowl has rims in one photo."""
_OFTEN = 67
"""Percentile of looks that counts: thin rims are not seen in each, and what is taken for rims in hardly any."""
NEVER_WORN = 0.1
"""Highest chance of the coarse network from which the other one is asked."""
_DARK = (0.4, 0.65)
"""Share of what is between the lids of both eyes that either network takes for hidden, from which lenses are dark."""
_ASIDE = 0.45
"""Width of an eye over that of the other below which it is seen from aside."""
_EYES = (LEFT_EYE, LEFT_BROW), (RIGHT_EYE, RIGHT_BROW)
_HIDDEN, _HIDDEN_EYES = (0.12, 0.42), (0.2, 0.55)
"""Chances of being hidden that count as nothing and as all of it, on skin and on eyes and brows. Rims in the colour of
skin are never sure, and skin that stays is not seen; a target's eyes and brows are."""
_COARSE, _BESIDE = 0.8, 0.07
"""How much chances of the coarse network count, and how far from what the fine one finds, over the distance of the
eyes."""
_USUAL, _MOST, _STRONGEST, _PASSAGE = 0.7, 3.5, 200, 0.3
"""How sure the so many surest pixels of half a face usually are; rims that are fainter are believed as well, within a
limit, and the halves pass into each other over this much of the distance of the eyes."""
_MIRRORED, _SHIFT = 1.5, 0.09
"""How much more is believed what is also found on the other half of the face, and how far from there, over the distance
of the eyes."""
_CAREFUL = 0.6
"""Share of either that does not count on eyes and brows."""
_BRIDGE, _OUTER = 168, (33, 263)
_FILLED, _NEAR = (0.12, 0.3), (0.24, 0.16)
"""Share of what is this near an eye that is hidden, from which its lens is one more and more."""
_VEIL = 0.2
"""Share of such a lens that stays over the new eye."""
_RIM = 0.06
"""Width of a rim at most, over the distance of the eyes."""
_LENS = (0.42, 0.42)
"""How far lenses reach from the middle of an eye at most, over the distance of the eyes; the bridge is beyond."""


def evidence_of(fine: FloatArray, coarse: FloatArray, points: FloatArray) -> tuple[float, float]:
    """What speaks for glasses in one look, and for dark ones; what arguments are is said at `whole_frame`."""
    shares, crossed = rims_around(fine, points, _FAINT)
    widths = [float(np.ptp(points[list(eye), 0])) for eye, _ in _EYES]
    near = [k for k in (0, 1) if widths[k] > _ASIDE * max(widths)]  # of a profile the other one tells nothing
    dark = min(_between_lids(chances, points)[k] for chances in (fine, coarse) for k in near)
    return min(min(shares) + crossed[1], 1.0) * min(float(coarse.max()) / _SEEN, 1.0), dark


def worn_of(measured: npt.NDArray[np.float16]) -> FloatArray | None:
    """(2,) how far somebody wears glasses and how far they are dark, 0 to 1; None where nobody looked.

    Parameters
    ----------
    measured
        (N, 2) what `evidence_of` found, below 0 where nobody looked.
    """
    looks = measured[measured[:, 0] >= 0].astype(np.float32)
    if not len(looks):
        return None
    limits = np.array([_WORN if len(looks) >= _FEW else _WORN_AT_ONCE, _DARK], dtype=np.float32)
    usual = np.array([np.percentile(looks[:, 0], _OFTEN), np.median(looks[:, 1])], dtype=np.float32)
    return smoothstep((usual - limits[:, 0]) / (limits[:, 1] - limits[:, 0]))


def _between_lids(chances: FloatArray, points: FloatArray) -> list[float]:
    """How far what is between the lids of either eye is hidden, 0 to 1."""
    found = []
    for eye, _ in _EYES:
        inside = hull(points[list(eye), :2], *chances.shape)
        found.append(float((chances * inside).sum()) / (float(inside.sum()) + 1e-6))
    return found


def hidden_by(fine: FloatArray, points: FloatArray, on_eyes: FloatArray | None = None) -> FloatArray:
    """(H, W) share of each pixel that is hidden, from the chances that a network gives.

    Parameters
    ----------
    fine
        (H, W) chances in a band around the eyes.
    points
        (478, 2 or 3) mesh in its pixels.
    on_eyes
        (H, W) 1 on eyes and brows, where that is known already.
    """
    if on_eyes is None:
        on_eyes = _on_eyes(points, *fine.shape)
    low, high = (skin + (eye - skin) * on_eyes for skin, eye in zip(_HIDDEN, _HIDDEN_EYES, strict=True))
    return np.asarray(np.clip((fine - low) / (high - low), 0, 1), dtype=np.float32)


def _on_eyes(points: FloatArray, height: int, width: int) -> FloatArray:
    """(H, W) 1 on eyes and brows."""
    hulls = [hull(points[[*eye, *brow], :2], height, width) for eye, brow in _EYES]
    return np.asarray(np.maximum.reduce(hulls), dtype=np.float32)


def whole_frame(fine: FloatArray, coarse: FloatArray, points: FloatArray, dark: float) -> FloatArray:
    """(H, W) share of each pixel that glasses hide, with rims that one network alone finds and lenses that are clear.

    Parameters
    ----------
    fine, coarse
        (H, W) chances in a band around the eyes: of being hidden by glasses, and of being seen through or hidden by
        them, by a network of a lower resolution.
    points
        (478, 2 or 3) mesh in its pixels.
    dark
        How far both lenses are dark, 0 to 1: then they stay.
    """
    height, width = fine.shape
    # Of a head that is turned, rims are as wide as ever.
    unit = max(float(np.linalg.norm(points[LEFT_IRIS, :2] - points[RIGHT_IRIS, :2])), EYES_OF_FACE * width)
    # The coarse network's rims are broad, so they count only where the fine one has none.
    sure = _widened(np.clip(fine * 2.5, 0, 1), unit * _BESIDE)
    chances = fine + coarse * _COARSE * (1 - sure)
    # Brows and lashes are taken for rims soonest, and are the target's.
    on_eyes = _on_eyes(points, height, width)
    chances = chances * (1 + (_gains(chances, points, unit) - 1) * (1 - on_eyes * _CAREFUL))
    clear = _lenses(hidden_by(chances, points, on_eyes), points, unit) * np.float32((1 - dark) * (1 - _VEIL))
    chances = chances * (1 - clear)
    other = _widened(_mirrored(chances, points), unit * _SHIFT)
    more = np.clip(other, 0, 1) * (1 - on_eyes * _CAREFUL) * _MIRRORED
    found = hidden_by(chances * (1 + more), points, on_eyes)
    return np.asarray(np.minimum(found, 1 - clear), dtype=np.float32)


def _widened(values: FloatArray, reach: float) -> FloatArray:
    """A map with the largest value of a square around every pixel, which is told sooner than that of a disc."""
    side = 2 * round(reach) + 1
    return np.asarray(cv2.dilate(values, np.ones((side, side), np.uint8)), dtype=np.float32)


def _gains(chances: FloatArray, points: FloatArray, unit: float) -> FloatArray:
    """(W,) by how much more what is found in either half of a face is believed than it would be in any face."""
    columns = np.arange(chances.shape[1], dtype=np.float32) - points[_BRIDGE, 0]
    half = []
    for is_there in (columns < 0, columns >= 0):
        found = chances[:, is_there].ravel()
        strength = float(np.partition(found, -_STRONGEST)[-_STRONGEST]) if len(found) > _STRONGEST else _USUAL
        half.append(min(max(_USUAL / max(strength, 1e-3), 1.0), _MOST))
    share = np.clip(columns / np.float32(unit * _PASSAGE) + np.float32(0.5), 0, 1)
    return np.asarray(half[0] + (half[1] - half[0]) * share, dtype=np.float32)


def _mirrored(chances: FloatArray, points: FloatArray) -> FloatArray:
    """(H, W) what is at the same place of the other half of the face, as near as a mesh says it of glasses."""
    height, width = chances.shape
    middle, left, right = points[_BRIDGE, :2], points[_OUTER[0], :2], points[_OUTER[1], :2]
    halves = max(float(middle[0] - left[0]), 1.0), max(float(right[0] - middle[0]), 1.0)
    columns = np.arange(width, dtype=np.float32) - middle[0]
    is_left = columns < 0
    at = np.rint(middle[0] - columns * np.where(is_left, halves[1] / halves[0], halves[0] / halves[1])).astype(int)
    # Eyes are hardly ever quite level, so rows are those of the other corner.
    drop = round(float(right[1] - left[1]))
    moved = np.zeros_like(chances)
    for is_half, shift in ((is_left, drop), (~is_left, -drop)):
        rows = np.arange(height) + shift
        is_in, into = (rows >= 0) & (rows < height), is_half & (at >= 0) & (at < width)
        moved[np.ix_(is_in, into)] = chances[np.ix_(rows[is_in], at[into])]
    return moved


def _lenses(found: FloatArray, points: FloatArray, unit: float) -> FloatArray:
    """(H, W) inside of lenses that count as hidden, without their rims; what one of them is the other is, too."""
    height, width = found.shape
    places, filled = [], 0.0
    for eye, _ in _EYES:
        middle = tuple(np.round(points[list(eye), :2].mean(axis=0)).astype(int).tolist())
        near, reach = (np.zeros((height, width), dtype=np.uint8) for _ in range(2))
        for place, shares in ((near, _NEAR), (reach, _LENS)):
            cv2.ellipse(place, middle, tuple(round(unit * one) for one in shares), 0, 0, 360, 1, -1)
        share = float(found[near > 0].mean()) if near.any() else 0.0
        filled = max(filled, float(smoothstep(np.array((share - _FILLED[0]) / (_FILLED[1] - _FILLED[0])))))
        places.append((near, reach))
    if filled <= 0:
        return np.zeros((height, width), dtype=np.float32)
    side = 2 * max(round(unit * _RIM), 1) + 1
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    inner = np.zeros((height, width), dtype=np.uint8)
    for near, reach in places:
        solid = np.maximum((found > 0.3).astype(np.uint8), near)
        closed = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, element)
        inner = np.maximum(inner, np.minimum(cv2.erode(closed, element), reach))
    return np.asarray(cv2.GaussianBlur(inner.astype(np.float32), (0, 0), 1.2) * np.float32(filled), dtype=np.float32)
