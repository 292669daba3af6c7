"""Hair that hangs before the sides of a face, to its end.

A network that looks at every frame sees a face in a hundred pixels, and finds of a strand before a cheek what is broad
and dark. A photo that gives a face away is looked at once, so there is time: what the network found says what colour
and grain this person's hair has here, and what is like it and goes on from there is hair too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.imaging.align import invert, mesh_crop, transform
from facefusion.imaging.light import to_linear
from facefusion.imaging.masks import hull, polygon
from facefusion.imaging.resample import cut, warp
from facefusion.types.frame import Pixels
from facefusion.types.topology import (
    FACE_OVAL,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_IRIS,
    LIPS_OUTER,
    NOSE_TIP,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_IRIS,
)

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

SIDE = 256
"""Side of the picture that is looked at, pixels."""
FOUND = 0.5
"""Chance of something before the face from which it shows what hair looks like."""
_CORE, _RIM, _DARK_RIM, _OUT = 0.32, 0.55, 0.25, 0.3
"""Distances between the eyes: how deep inside the outline there is skin for sure, how deep strands are followed, and
dark ones below the brows, and how far outside of it."""
_EDGE = 0.04
"""The same: how deep something must reach to be more than the edge of the face."""
_LEAST_PX = 40
"""Pixels of hair, and of skin, without which nothing is said."""
_APART = 1.3
"""Standard deviations by which hair and skin must differ in what is measured, so that it tells them apart."""
_LIKE, _DARK_LIKE = 0.45, 0.65
"""Share of the way from skin to hair from which something is hair; where hair is darker, so are shadows."""
_FRINGE_GRAIN, _FRINGE_DEPTH = 1.0, 0.12
"""Spreads of skin by which hair is more grained; distances between the eyes that a fringe reaches down at least."""
_EDGE_PX = 7
"""Side of what is added around something that may be out of focus, pixels."""
_LOCKS = 0.35
"""Distances between the eyes up to which locks of a fringe are apart."""
_FROWN = 0.1
"""Distances between the eyes that frowns reach up over the brows."""
_BROW = 0.06
"""Distances between the eyes around brows in which they may still be."""
_UNLIKE = 3.0
"""Spreads of skin from which what lies above a face is none of its forehead."""
_REACH, _STEP = 0.35, 1.0
"""Distances between the eyes up to which something is followed by its light alone; spreads of skin by which it must be
darker, at its edge, than what is beside it."""
_NATURAL = (0.05, 0.05, 0.15, 0.4)
"""Least spread of skin in what is measured: colour twice, light, and grain, all natural logarithms."""
_SLACK = (0.3, 0.3, 0.3, 1.0)
"""Variance that is added to that of both, in spreads of skin: few pixels tell little."""
_ABOVE, _FRINGE = 0.14, 0.7
"""How far above a brow there is forehead, distances between the eyes; share of it from which hair there hides the brow,
too."""
_HAIR_PX, _OF_PORES, _LEAST_DARK = 9, 3.5, 0.1
"""Breadth, pixels, below which something dark is a line; how much darker it is than pores and wrinkles, and at least
than what is around it, natural logarithm."""
_HAIR, _AT_OUTLINE, _HAIR_GAP, _OF_NOSE = (0.22, 0.12), 0.12, 0.35, 0.22
"""Distances between the eyes: how long a hair is at least and how broad at most, how near to the outline it begins, how
far it is hidden by a brow, and how near to the middle there are frowns."""
_LOCK, _AT_HAIR_PX = 0.12, 7
"""The same, of one that begins at hair that is known; and how near to it that is, pixels."""
_SOFT_RIM_PX = 7
"""Side of what is added around hair that was found."""
_BEARDED = 0.3
"""Share of the chin that looks like hair from which it is."""
_BELOW_LIP = 17
_OF_BROW = -1.0
"""Light, in spreads of skin, below which there is a brow where one should be."""
_LIGHT, _GRAIN = 2, 3
"""Columns of what is measured."""


def follow_strands(pixels: Pixels, mesh: FloatArray, covered: FloatArray) -> FloatArray:
    """What a network found before the sides of a face, and what goes on from there and looks the same.

    Each side of the face is looked at by itself, since one may be lit otherwise. How light it is counts only of hair
    that is not darker than the skin: what is as dark as dark hair may be a shadow.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 RGB.
    mesh
        (478, 3) in its pixels.
    covered
        (H, W) float32 chance that something lies before the face.

    Returns
    -------
    (H, W) float32, nowhere less than ``covered``.

    References
    ----------
    Fisher, The use of multiple measurements in taxonomic problems, 1936 (what tells two kinds apart); Canny, A
    computational approach to edge detection, 1986 (what is weak counts where it goes on from what is strong).
    """
    crop_from_photo = mesh_crop(mesh, SIDE)
    near = cut(pixels, crop_from_photo, SIDE)
    points = transform(crop_from_photo, mesh)[:, :2]
    seeds = warp(covered, crop_from_photo, SIDE, SIDE, is_border_black=True) > FOUND
    found = _follow(near, points, seeds)
    if found is None:
        return covered
    height, width = covered.shape
    there = warp(found.astype(np.float32), invert(crop_from_photo), width, height, is_border_black=True)
    return np.asarray(np.maximum(covered, there), dtype=np.float32)


def _follow(near: Pixels, points: FloatArray, seeds: BoolArray) -> BoolArray | None:
    """(S, S) the same in the picture that is looked at; None where nothing is found."""
    inside = polygon(points[list(FACE_OVAL)], SIDE, SIDE) > 0.5
    brows, others = _features((LEFT_BROW, RIGHT_BROW), points), _features((LEFT_EYE, RIGHT_EYE, LIPS_OUTER), points)
    unit = max(float(np.linalg.norm(points[RIGHT_IRIS] - points[LEFT_IRIS])), SIDE * 0.12)
    depth, away = (
        np.asarray(cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, 5) / unit, dtype=np.float32)
        for part in (inside, ~inside)
    )
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    below_brows = rows > points[[*LEFT_BROW, *RIGHT_BROW], 1].max() + 0.1 * unit
    skin = (depth > _CORE) & below_brows & ~brows & ~others & ~seeds
    if skin.sum() < _LEAST_PX:
        return None
    seen = _measure(near)
    middle = np.median(seen[skin], axis=0)
    spread = 1.5 * np.median(np.abs(seen[skin] - middle), axis=0) + _NATURAL
    seen = np.clip((seen - middle) / spread, -8, 8)
    # What is as light as skin where a brow should be lies before it.
    free = ~others & ~(brows & (seen[..., _LIGHT] < _OF_BROW))
    place = ((depth < _RIM) & inside | (away < _OUT) & ~inside) & free
    if (seeds & (depth > _RIM)).any():  # glasses, a hand or a microphone: no hair comes so far in by itself
        count, parts = cv2.connectedComponents((seeds & inside & (depth > _EDGE)).astype(np.uint8))
        seeds = seeds & ~_touching(count, parts, seeds & (depth > _RIM))[parts]
    unlike = np.sqrt(np.square(seen).sum(axis=-1)) > _UNLIKE
    above = seeds & ~inside & unlike & ~below_brows & place  # a network finds none of a fringe that is all in the light
    solid = seeds & inside & (depth > _EDGE) & place
    seeds = solid & (rows < points[NOSE_TIP, 1])  # hair hangs from above
    chin = (
        inside & (rows > points[_BELOW_LIP, 1]) & (depth > 0.12) & (abs(columns - points[_BELOW_LIP, 0]) < 0.4 * unit)
    )
    near_brows = _grown(brows, 2 * round(_BROW * unit) + 1)
    found = np.zeros_like(inside)
    for half in (columns < points[NOSE_TIP, 0], columns >= points[NOSE_TIP, 0]):
        found |= _fringe(seen, skin, above & half, ~below_brows & half & place & ~near_brows, inside, depth)
        own = seeds & half
        if own.sum() < _LEAST_PX:
            continue
        is_dark = bool(seen[own][:, _LIGHT].mean() < seen[skin][:, _LIGHT].mean() - 1)
        share = _towards(seen, skin, own, is_dark)
        if share is None:
            if is_dark:
                found |= _up_to_edge(seen, skin & half, solid & half, place & half & inside, unit)
            continue
        is_like = share > (_DARK_LIKE if is_dark else _LIKE)
        like = (is_like | own) & half & place
        if is_dark:  # a network finds most of dark hair by itself, and what is beyond is more likely a shaded cheek
            like &= own | ~below_brows | (depth < _DARK_RIM)
        if _mean(is_like[chin]) > _BEARDED:  # a beard goes on from there, too
            like &= rows < points[NOSE_TIP, 1]
        count, parts = _parts_of(like)
        sure = np.bincount(parts[own], minlength=count) > _LEAST_PX // 2
        sure[0] = False
        found |= sure[parts] & inside
    hair = found | seeds
    found |= _under_fringe(hair, points, unit)
    # What is seen of a forehead between locks is a line or a spot of it.
    forehead = inside & (rows < points[[*LEFT_BROW, *RIGHT_BROW], 1].min()) & ~near_brows
    between = cv2.morphologyEx(hair.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((1, round(_LOCKS * unit)), np.uint8))
    found |= forehead & (between > 0)
    beside_nose = abs(columns - (points[LEFT_IRIS, 0] + points[RIGHT_IRIS, 0]) / 2) > _OF_NOSE * unit
    no_frown = beside_nose | (rows < points[[*LEFT_BROW, *RIGHT_BROW], 1].min() - _FROWN * unit)
    hairs = (depth < _RIM) & inside & (rows < points[NOSE_TIP, 1]) & no_frown & ~brows & ~others
    known = (found | seeds) & ~below_brows
    found |= _single_hairs(near, known, hairs, brows & inside, skin, depth, unit)
    # Between strands that cross there is no skin worth keeping.
    closed = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    # Its soft rim is as thin as a hair, and seen as one.
    return (_grown(closed, _SOFT_RIM_PX) & inside & ~others) if found.any() else None


def _fringe(
    seen: FloatArray, skin: BoolArray, own: BoolArray, place: BoolArray, inside: BoolArray, depth: FloatArray
) -> BoolArray:
    """(S, S) what hangs down over a forehead from above it, told from skin by its colour and its grain."""
    nothing = np.zeros_like(own)
    if own.sum() < _LEAST_PX:
        return nothing
    share = _towards(seen, skin, own, True)
    if share is None:
        return nothing
    grained = seen[..., _GRAIN] > _FRINGE_GRAIN
    count, parts = _parts_of((((share > _DARK_LIKE) & grained & inside) | own) & place)
    kept = _touching(count, parts, own) & _touching(count, parts, inside & (depth > _FRINGE_DEPTH))
    kept[0] = False
    return np.asarray(kept[parts] & inside)


def _up_to_edge(seen: FloatArray, skin: BoolArray, own: BoolArray, place: BoolArray, unit: float) -> BoolArray:
    """(S, S) what is as dark as something beside the face and ends in an edge near where a network had it end.

    In grey, or of an arm, only its light tells it from skin, and that of a shadow is the same; but shadows of cheeks
    have no edge.
    """
    nothing = np.zeros_like(own)
    if own.sum() < _LEAST_PX or skin.sum() < _LEAST_PX:
        return nothing
    share = _towards(seen, skin, own, False)
    if share is None:
        return nothing
    reach = 2 * round(_REACH * unit) + 1
    near = cv2.dilate(own.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))) > 0
    count, parts = _parts_of(((share > _LIKE) | own) & near & place)
    kept = _touching(count, parts, own)
    kept[0] = False
    found = kept[parts]
    within, beyond = found & _grown(~found, 7), _grown(found, 9) & ~found & place
    if beyond.sum() < _LEAST_PX:
        return nothing
    step = float(np.median(seen[beyond][:, _LIGHT]) - np.median(seen[within][:, _LIGHT]))
    if step <= _STEP:
        return nothing
    return _grown(found, _EDGE_PX)


def _single_hairs(
    near: Pixels, hair: BoolArray, place: BoolArray, brows: BoolArray, skin: BoolArray, depth: FloatArray, unit: float
) -> BoolArray:
    """(S, S) lines that hang down from the outline of a face, or from its hair: too thin for what tells more of them.

    Wrinkles of foreheads lie across, the edge of a nose does not begin at the outline. Dark hairs begin anywhere on it;
    pale ones, of which shine on skin looks much, at hair that is known, and are seen before brows, too.
    """
    grey = np.log(cv2.cvtColor(near, cv2.COLOR_RGB2GRAY).astype(np.float32) + 12)
    across = np.ones((1, _HAIR_PX), np.uint8)
    at_hair = _grown(hair, _AT_HAIR_PX)
    dark = cv2.morphologyEx(grey, cv2.MORPH_CLOSE, across) - grey
    pale = grey - cv2.morphologyEx(grey, cv2.MORPH_OPEN, across)
    found = np.zeros_like(hair)
    for lines, free, starts in ((dark, place, depth < _AT_OUTLINE), (pale, place | brows & at_hair, found)):
        is_one = (lines > max(_OF_PORES * float(np.median(lines[skin])), _LEAST_DARK)) & free
        joined = cv2.morphologyEx(is_one.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 1), np.uint8))
        count, parts, sizes, _ = cv2.connectedComponentsWithStats(joined)
        wide, high, area = (sizes[:, k] for k in (cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA))
        is_line = (high > _HAIR[0] * unit) & (area < _HAIR[1] * unit * high) & (high > 1.2 * wide)
        longest = np.maximum(wide, high)
        # What begins at hair may be short, or a curl.
        is_lock = (high > _LOCK * unit) & (area < _HAIR[1] * unit * longest) & (high > 0.5 * wide)
        is_line[0] = is_lock[0] = False
        kept = (is_line & _touching(count, parts, starts) | is_lock & _touching(count, parts, at_hair))[parts]
        # Behind a brow it goes on.
        reach = round(_HAIR_GAP * unit)
        from_above = np.zeros((2 * reach + 1, 5), np.uint8)
        from_above[: reach + 1] = 1
        below = cv2.dilate(kept.astype(np.uint8), from_above) > 0
        found = found | kept | (is_line & _touching(count, parts, below))[parts]
    return np.asarray(found)


def _grown(place: BoolArray, side: int) -> BoolArray:
    """(S, S) a place and what is near it, in squares of so many pixels."""
    return np.asarray(cv2.dilate(place.astype(np.uint8), np.ones((side, side), np.uint8)) > 0)


def _parts_of(place: BoolArray) -> tuple[int, npt.NDArray[Any]]:
    """How many connected parts a place has but for threads, and by number, (S, S), where."""
    opened = cv2.morphologyEx(place.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return cv2.connectedComponents(opened)


def _touching(count: int, parts: npt.NDArray[Any], place: BoolArray) -> BoolArray:
    """(count,) which connected parts, (S, S) by number, lie in a place with any of their pixels."""
    found = np.zeros(count, dtype=np.bool_)
    found[parts[place]] = True
    return found


def _under_fringe(hair: BoolArray, points: FloatArray, unit: float) -> BoolArray:
    """(S, S) brows over which hair hangs: where it ends nobody can tell, since both are hair."""
    covered = np.zeros_like(hair)
    for brow in (LEFT_BROW, RIGHT_BROW):
        own = _features((brow,), points)
        above = np.roll(own, -round(_ABOVE * unit), axis=0) & ~own
        if _mean(hair[above]) > _FRINGE:
            covered |= own | above
    return covered


def _mean(values: BoolArray) -> float:
    return float(values.mean()) if values.size else 0.0


def _features(outlines: Sequence[tuple[int, ...]], points: FloatArray) -> BoolArray:
    """(S, S) where there are brows, eyes or lips, with a little around them: they are no skin, and no hair."""
    shown = np.max([hull(points[list(rows)], SIDE, SIDE) for rows in outlines], axis=0)
    return np.asarray(cv2.dilate((shown > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)


def _measure(pixels: Pixels) -> FloatArray:
    """(S, S, 4) colour twice, light, and how strong a grain with a direction is there."""
    light = np.log(cv2.GaussianBlur(to_linear(pixels), (0, 0), 0.8) + np.float32(0.004))
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    x = np.asarray(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1), dtype=np.float32) / 2
    y = np.asarray(cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1), dtype=np.float32) / 2
    xx, xy, yy = (cv2.GaussianBlur(product, (0, 0), 3.0) for product in (x * x, x * y, y * y))
    directed = np.sqrt((xx - yy) ** 2 + 4 * xy * xy)
    grain = np.log((directed + np.float32(0.3)) / (cv2.GaussianBlur(grey, (0, 0), 3.0) + 20) ** 2)
    red, green, blue = (light[..., k] for k in range(3))
    return np.stack([red - green, green - blue, light.mean(axis=-1), grain], axis=-1).astype(np.float32)


def _towards(seen: FloatArray, skin: BoolArray, hair: BoolArray, is_dark: bool) -> FloatArray | None:
    """(S, S) how far everything is on the way from skin, 0, to hair, 1; None where they do not differ enough."""
    columns = [0, 1, _LIGHT, _GRAIN]
    if is_dark:
        columns.remove(_LIGHT)
    chosen = seen[..., columns]
    one, other = chosen[skin].astype(np.float64), chosen[hair].astype(np.float64)
    difference = other.mean(axis=0) - one.mean(axis=0)
    together = np.cov(one.T) + 0.5 * np.cov(other.T) + np.diag(np.array(_SLACK)[columns])
    direction = np.linalg.solve(together, difference)
    if difference @ direction < _APART**2:
        return None
    along = chosen @ direction
    low, high = float(np.median(along[skin])), float(np.median(along[hair]))
    return np.asarray((along - low) / max(high - low, 1e-6), dtype=np.float32)
