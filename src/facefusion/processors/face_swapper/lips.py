"""Lips and what is between them.

What is seen in an open mouth is the target's. A mesh knows lips to a few pixels only, and where it has them apart too
far the target's own lips would show inside those of the source; how far they reach in is read off the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facefusion.imaging.light import mean_of_three, to_log
from facefusion.imaging.texture import blur, sample_soft, smoothly, smoothstep
from facefusion.models.face_shape import mouth_gap
from facefusion.types.frame import Pixels
from facefusion.types.topology import CHIN, FOREHEAD, LIPS_INNER, LIPS_OUTER

FloatArray = npt.NDArray[np.float32]

OPENED = (0.02, 0.05)
"""Gap between the lips over their length up to which nothing is seen between them, and from which everything is."""
LINE_PX = 1.3
"""Breadth of the line between lips that touch: a narrower one is drawn as dots."""
BETWEEN_LIPS, DARKER = -0.8, -0.6
"""Logarithm of light, at most, of what is drawn between lips that are closed, and at most over that of their edge."""
STATIONS, DEPTHS = 33, 24
"""Places along lips, and from one to the other, at which a picture is read."""
OF_LIP = np.linspace(0.1, 0.5, 5, dtype=np.float32)
"""Where lips are surely lip, from their inner edge to the outer one."""
LEAST_GAP_PX = 1.3
"""Gap in the picture without which nothing can be read in it."""
UNLIKE = (0.6, 1.4)
"""Difference from the lip beside it from which something is less and less lip, and none."""
LIGHT, DARK = 0.3, 0.75
"""Natural logarithm of more light, and of less, that count as a difference of one: teeth, and the dark between lips."""
COLOUR, REDDER = 0.075, 0.75
"""The same of less red over all light, and of more: lips are redder, and a little darker, towards their inner edge."""
AMID, MOST_UNLIKE = 0.4, 6.0
"""Share of the difference of what lies behind a soft edge from which it is no lip, and the most that is made of it."""
BESIDE_LIP = (0.3, 0.6)
"""Where there is skin beside lips, from their outer edge on, over how broad they are."""
PLAIN_LIP, LEAST_PLAIN = 3.0, 0.6
"""Difference between lips and the skin beside them below which, in a pale or a dim picture, less tells teeth from lips,
too; the least share of it."""
REACH = (0.12, 0.22)
"""How far lips reach into the opening that a mesh has, over their length: what is farther in is a tongue."""
ROOM, UNIT = 0.3, 0.02
"""Room around a mouth in a texture, over its width; the unit of distances there, over the side of the texture."""
BROAD_PX, NEAR_PX, FAR_PX = 1.5, 3.0, 9.0
"""Standard deviations, pixels of the finest texture: of what is more than a wrinkle, of an edge, of a lip."""
LEVEL, PRESSED = ((-1.1, -0.05), (-0.75, 0.4)), 0.35
"""How bright the upper and the lower lip are, natural logarithm of light over that of skin: hardly a lip of 90 photos
is beyond in even light, and there is somebody's own in what is not. The share that is kept of what is beyond."""
EDGE_LEVEL, EDGE_PRESSED = (-0.3, 0.2), 0.2
"""The same of their inner edge over the lip itself."""
HALVES_PX, EVENED = 3.0, 0.8
"""Standard deviation, pixels of the finest texture, of what two halves of a lip have in common, and how far they are
brought together: a light from one side, or a half that no photo shows, makes lips of two colours."""
REDDEST = (0.4, 0.95)
"""Quantiles of redness on both lips between which their own colour is: what is paler is skin, a highlight or hair
inside of where the mesh has lips."""
OF_LOWER = 0.75
"""Share that the lower lip has in that colour: a moustache hangs over the upper one."""
OF_DEPTH = (0.0, 0.45, 0.8, 1.0)
"""Depths at which lips are described."""
RED_AT = ((1.2, 1.05, 0.9, 0.55), (1.1, 1.0, 0.95, 0.85))
"""How red the upper and the lower lip are there, over their own colour; medians of 56 photos, as the next."""
GREY_AT = ((-0.48, -0.05, 0.25, 0.5), (-0.4, 0.05, 0.0, -0.08))
"""The same, how bright they are, natural logarithm over the lip as a whole."""
OWN_COLOUR, OWN_RELIEF = 0.35, 0.5
"""Share that is kept of what one place of a lip differs in from the colour of both, and in light from the above."""
HAIRS, OF_HAIRS = 0.16, 0.3
"""Light finer than that from which it is a hair or a glint, and the share that is kept of what is beyond."""
RELIEF = 0.14
"""Such differences in light, standard deviation, up to which they are somebody's own."""
BLUE = (0.15, 1.1)
"""How much more blue than green lips have, over how much more red than green: seven of ten photos are between."""
LEAST_RED, LEAST_RED_GREY, COLOURED_SKIN = 0.15, 0.6, 0.5
"""How much more red than green lips have at least, natural logarithm more than skin has, which is what three photos of
four have: pale lips are somebody's own, lips like skin are in the shade or pressed together. The same in photos
without colour; redness of skin, natural logarithm, from which a photo has all of its colours."""
LIP_COLOUR = np.array([-0.25, -1.25, -0.85], dtype=np.float32)
"""What is added to redden a lip by one: blood takes away green and blue, and a little red."""
ONE_SIDED = 0.12
"""How much darker one corner of a mouth is than the other, natural logarithm, at most."""
UNDER_LIP, OVER_LIP = -0.75, 0.3
"""How dark the shade under a lower lip is, and how bright the ridge over an upper one, natural logarithm of light over
that of skin: of 90 photos, four of five. Beyond, `PRESSED` is kept."""
LINE = (-0.4, 0.15)
"""How much darker and brighter than the skin around it anything beside lips is, natural logarithm of light."""
_UPPER, _LOWER = list(LIPS_INNER[1:10]), list(LIPS_INNER[:10:-1])
_OVER, _UNDER = list(LIPS_OUTER[1:10]), list(LIPS_OUTER[:10:-1])


def openness(mesh: FloatArray) -> float:
    """How much is seen between the lips, 0 to 1."""
    return smoothly(mouth_gap(mesh), OPENED)


def with_line(mesh: FloatArray, openness: float) -> FloatArray:
    """A mesh whose lips leave a line as broad as it can be drawn where hardly anything is seen between them."""
    if openness >= 1:
        return mesh
    across = mesh[_LOWER] - mesh[_UPPER]
    gap = np.maximum(np.linalg.norm(across[:, :2], axis=1, keepdims=True), np.float32(1e-3))
    middle, down = (mesh[_UPPER] + mesh[_LOWER]) / 2, mesh[CHIN, :2] - mesh[FOREHEAD, :2]
    # Lips that lie on each other, or have crossed, still have an upper side.
    down = np.broadcast_to(down / max(float(np.linalg.norm(down)), 1e-6), (*gap.shape[:1], 2))
    line = np.zeros_like(across)
    line[:, :2] = down * LINE_PX
    drawn = across + (line - across) * np.float32(1 - openness) * np.minimum(LINE_PX / gap, 1)
    closed = mesh.copy()
    closed[_UPPER], closed[_LOWER] = middle - drawn / 2, middle + drawn / 2
    return closed


def find_own_lips(pixels: Pixels, mesh: FloatArray, least_plain: float = LEAST_PLAIN) -> FloatArray:
    """How far the lips of a picture reach into the opening that a mesh has.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 RGB.
    mesh
        (478, 3) in it.
    least_plain
        How plainly a picture shows lips at least, 0 to 1: at 1 what is pale is drawn over rather than left.

    Returns
    -------
    (2, 9) of the upper and the lower lip, at the points of the mesh between the corners: shares of the gap there. Both
    together are 1 at most.
    """
    rings = (mesh[ring, :2].astype(np.float32) for ring in (_UPPER, _LOWER, _OVER, _UNDER))
    upper, lower, over, under = (_along(points) for points in rings)
    gap = np.linalg.norm(lower - upper, axis=1)
    length = float(np.linalg.norm(mesh[LIPS_INNER[0], :2] - mesh[LIPS_INNER[10], :2]))
    none = np.zeros((2, len(_UPPER)), dtype=np.float32)
    if length < 1 or gap.max() < LEAST_GAP_PX:
        return none
    share = ((np.arange(DEPTHS, dtype=np.float32) + 0.5) / DEPTHS)[:, None, None]
    between = upper + (lower - upper) * share
    both = (upper, over), (lower, under)
    lips = [edge + (outer - edge) * OF_LIP[:, None, None] for edge, outer in both]
    skin = [outer + (outer - edge) * np.array(BESIDE_LIP, np.float32)[:, None, None] for edge, outer in both]
    read = _read(pixels, np.concatenate([between, *lips, *skin]))
    inside, count = read[:DEPTHS], len(OF_LIP)
    shown = max(_plainness(read[DEPTHS:], count), least_plain)
    found = []
    # What lies deeper than the mesh can be wrong is no lip.
    depth = share[..., 0] * gap / length
    near = 1 - smoothstep((depth - REACH[0]) / (REACH[1] - REACH[0]))
    at = DEPTHS + count
    for seen, lip in ((inside, read[DEPTHS:at]), (inside[::-1], read[at : at + count])):
        like = _likeness(seen, _smoothed(lip.mean(axis=0)), shown)
        # Nothing is lip behind what is none.
        reached = np.minimum.accumulate(like, axis=0) * near
        found.append(reached.mean(axis=0))
    shares = _smoothed(np.stack(found, axis=1)).T
    shares = shares / np.maximum(shares.sum(axis=0), 1)
    shares *= smoothstep((gap - LEAST_GAP_PX) / LEAST_GAP_PX)
    return np.asarray(shares[:, :: (STATIONS - 1) // (len(_UPPER) - 1)], dtype=np.float32)


def with_own_lips(mesh: FloatArray, shares: FloatArray) -> FloatArray:
    """(478, 3) a mesh whose lips cover those that a picture shows.

    Parameters
    ----------
    mesh
        (478, 3) of the target.
    shares
        As of `find_own_lips`.
    """
    across = mesh[_LOWER] - mesh[_UPPER]
    moved = mesh.copy()
    moved[_UPPER] += across * shares[0][:, None]
    moved[_LOWER] -= across * shares[1][:, None]
    return moved


def _along(points: FloatArray) -> FloatArray:
    """(STATIONS, 2) evenly between the points of a lip."""
    at = np.linspace(0, len(points) - 1, STATIONS)
    return np.stack([np.interp(at, np.arange(len(points)), points[:, k]) for k in (0, 1)], axis=1).astype(np.float32)


def _read(pixels: Pixels, at: FloatArray) -> FloatArray:
    """(N, M, 3) logarithm of light at (N, M, 2) places of a picture."""
    low = np.floor(at.reshape(-1, 2).min(axis=0)).astype(int) - 4
    high = np.ceil(at.reshape(-1, 2).max(axis=0)).astype(int) + 5
    height, width = pixels.shape[:2]
    x0, y0 = (int(np.clip(v, 0, limit - 1)) for v, limit in zip(low, (width, height), strict=True))
    x1, y1 = (int(np.clip(v, o + 1, limit)) for v, o, limit in zip(high, (x0, y0), (width, height), strict=True))
    part = np.ascontiguousarray(pixels[y0:y1, x0:x1])
    return to_log(sample_soft(part, at - np.array([x0, y0], np.float32), 1.5))


def _plainness(read: FloatArray, count: int) -> float:
    """How plainly a picture shows lips, at most 1, from so many rows of both, and the rows of skin beside them."""
    middle = slice(STATIONS // 4, -(STATIONS // 4))
    lips, skin = read[: 2 * count, middle], read[2 * count :, middle]
    most = 0.0
    for number in (0, 1):
        lip = lips[number * count : (number + 1) * count].mean(axis=(0, 1))
        away = lip - skin[number * len(BESIDE_LIP) : (number + 1) * len(BESIDE_LIP)].mean(axis=(0, 1))
        grey = float(away.mean())
        most = max(most, float(np.hypot(grey / LIGHT, (float(away[0]) - grey) / COLOUR)))
    return min(most / PLAIN_LIP, 1.0)


def _likeness(seen: FloatArray, lip: FloatArray, shown: float) -> FloatArray:
    """(N, M) how far (N, M, 3) light is that of lips, (M, 3), in a picture that shows lips so plainly."""
    away = seen - lip
    grey = mean_of_three(away)
    redder = away[..., 0] - grey
    # Teeth that are hardly lighter than lips are lighter than the lip's edge.
    edge_grey, edge_red = (_smoothed(np.mean(one[:2], axis=0)) for one in (grey, redder))
    more, less = grey - np.minimum(edge_grey, 0), redder - np.maximum(edge_red, 0)
    lighter = np.hypot(np.maximum(more, 0) / LIGHT, np.minimum(less, 0) / COLOUR)
    darker = np.hypot(np.minimum(grey, 0) / DARK, np.maximum(redder, 0) / REDDER)
    unlike = np.zeros_like(grey)
    for one in (lighter, darker):
        # Where the picture is soft, the edge lies on the way to what is behind it.
        half = np.clip(_smoothed(one.max(axis=0)) * AMID, 1, MOST_UNLIKE)
        unlike = np.maximum(unlike, one / half)
    return 1 - smoothstep((unlike / shown - UNLIKE[0]) / (UNLIKE[1] - UNLIKE[0]))


def _smoothed(values: FloatArray) -> FloatArray:
    """Values along lips, each mixed with those beside it."""
    for _ in range(3):
        padded = np.concatenate([values[:1], values, values[-1:]])
        values = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return np.asarray(values, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class LipPlace:
    """Where lips are in textures, and how they are seen there.

    Attributes
    ----------
    rows, columns
        The part of the finest texture that holds the mouth and what is around it.
    lips, mouth
        (h, w) where they are in it, 0 to 1.
    depth
        (h, w) how far it is from the inner edge of the lips to the outer one: 0 and 1 there, more outside.
    is_lower
        (h, w) whether it is nearer to the lower lip.
    corner
        (h, w) how near the corners of the mouth it is, outside of lips, 0 to 1.
    under, over
        (h, w) how far it is just under the lower lip, and just over the upper one, 0 to 1.
    """

    rows: slice
    columns: slice
    lips: FloatArray
    mouth: FloatArray
    depth: FloatArray
    is_lower: npt.NDArray[np.bool_]
    corner: FloatArray
    under: FloatArray
    over: FloatArray


def find_lips(points: FloatArray, size: int, lips: FloatArray, mouth: FloatArray) -> LipPlace:
    """Lips in a symmetric texture.

    Parameters
    ----------
    points
        (V, 2) vertices in it.
    size
        Its side, pixels.
    lips, mouth
        (S, S) where lips with what is between them, and what is between them, are, 0 to 1.
    """
    outer, inner = points[list(LIPS_OUTER)], points[list(LIPS_INNER)]
    low, high = outer.min(axis=0), outer.max(axis=0)
    room = ROOM * (high[0] - low[0])
    y0, y1 = max(int(low[1] - room), 0), min(int(high[1] + room) + 1, size)
    x0 = max(int(low[0] - room), 0)
    rows, columns = slice(y0, y1), slice(x0, size - x0)
    y, x = np.mgrid[rows, columns].astype(np.float32)
    to_outer, to_inner = _distance(outer, x, y), _distance(inner, x, y)
    is_in = lips[rows, columns] > 0.5
    depth = np.where(is_in, to_inner / np.maximum(to_inner + to_outer, 1e-3), 1 + to_outer / (UNIT * size))
    middle = (points[_UPPER] + points[_LOWER]) / 2
    is_lower = y > np.interp(x[0], middle[:, 0], middle[:, 1])[None]
    around = 1 - lips[rows, columns]
    at = [np.hypot(x - corner[0], y - corner[1]) for corner in (outer[0], outer[10])]
    corner = 1 - smoothstep((np.minimum(*at) / (UNIT * size) - 1.0) / 1.2)
    near = 1 - smoothstep((to_outer / (UNIT * size) - 0.6) / 1.2)
    below = near * is_lower * (1 - smoothstep((np.abs(x - (size - 1) / 2) / (high[0] - low[0]) - 0.2) / 0.2))
    above = near * ~is_lower
    only = np.clip(lips - mouth, 0, 1)[rows, columns]
    kept = (only, mouth[rows, columns], depth, corner * around, below * around, above * around)
    lip, hole, deep, beside, under, over = (np.ascontiguousarray(one, dtype=np.float32) for one in kept)
    return LipPlace(rows, columns, lip, hole, deep, is_lower, beside, under, over)


def with_whole_lips(
    detail: FloatArray,
    place: LipPlace,
    beard: float = 0.0,
    seen: FloatArray | None = None,
    redness: float = COLOURED_SKIN,
) -> FloatArray:
    """(S, S, 3) a texture with lips that a mouth can be opened with.

    Lips have one colour, on the left as on the right. Those that are pressed together are hardly seen, hard light makes
    one black and one white, teeth and the dark between lips lie on their edge, where a mesh has lips there is skin or a
    moustache, and one corner of a mouth lies in a shade.

    Parameters
    ----------
    detail
        (S, S, 3) logarithm of light without that of its own.
    place
        Where lips are in it.
    beard
        How far there is a beard around them, 0 to 1.
    seen
        (S, S) how far each place is seen, which tells more of lips than what is guessed; None for everywhere alike.
    redness
        How much more red than green the skin of the photo has, natural logarithm.
    """
    part = np.ascontiguousarray(detail[place.rows, place.columns])
    whole_part = _with_like_halves(part, place, None if seen is None else seen[place.rows, place.columns])
    grey = mean_of_three(whole_part)
    broad = blur(np.ascontiguousarray(grey), BROAD_PX)
    change = np.zeros_like(grey)
    inner = 1 - smoothstep((place.depth - 0.35) / 0.3)
    for is_it, usual, relief in ((~place.is_lower, LEVEL[0], GREY_AT[0]), (place.is_lower, LEVEL[1], GREY_AT[1])):
        is_own = smoothstep((place.depth - 0.2) / 0.15) * smoothstep((0.85 - place.depth) / 0.15)
        weight = np.asarray(place.lips * is_own * is_it, dtype=np.float32)
        level = _spread(broad, weight)
        fitted = _pressed(level, usual, PRESSED)
        change += np.where(is_it, (fitted - level) * smoothstep((1.05 - place.depth) / 0.4), 0)
        # The edge of a lip is neither teeth nor the dark behind it.
        away = broad - level
        edged = away + (_pressed(away, EDGE_LEVEL, EDGE_PRESSED) - away) * inner
        # Lines along a lip are the edge of a smaller one, or what lies on it.
        strange = edged - np.interp(place.depth, OF_DEPTH, relief).astype(np.float32)
        found = float(np.sqrt((strange**2 * weight).sum() / (weight.sum() + 1e-6)))
        less = (1 - OWN_RELIEF) * float(smoothstep(np.array(found / RELIEF - 1)))
        change += np.where(is_it, edged - away - strange * np.float32(less), 0)
    fine = grey - broad
    change += _pressed(fine, (-HAIRS, HAIRS), OF_HAIRS) - fine
    change *= place.lips
    mirrored = broad[:, ::-1]
    change += np.maximum(mirrored - broad - ONE_SIDED, 0) * place.corner
    change += (_pressed(broad, (UNDER_LIP, np.inf), PRESSED) - broad) * place.under * np.float32(1 - beard)
    change += (_pressed(broad, (-np.inf, OVER_LIP), PRESSED) - broad) * place.over
    # Nor is a line around lips, bright or dark, that frowning or a moustache leaves there.
    beside = 1 - np.clip(place.lips + place.mouth, 0, 1)
    line = broad - _spread(broad, np.asarray(beside, dtype=np.float32))
    change += (_pressed(line, LINE, PRESSED) - line) * np.maximum(place.over, place.under)
    change = blur(np.asarray(change, dtype=np.float32), 0.6)
    whole = detail.copy()
    whole[place.rows, place.columns] = _one_coloured(whole_part, place, redness) + change[..., None]
    return whole


def _with_like_halves(part: FloatArray, place: LipPlace, seen: FloatArray | None) -> FloatArray:
    """(h, w, 3) the place of a mouth with lips that are alike on the left and on the right."""
    weight = place.lips * (0.02 + (1 if seen is None else seen))
    both = np.asarray(weight, dtype=np.float32)
    low = _spread(part, both, HALVES_PX)
    share = both / (both + both[:, ::-1] + np.float32(1e-4))
    even = low * share[..., None] + low[:, ::-1] * (1 - share)[..., None]
    return np.asarray(part + (even - low) * (place.lips * np.float32(EVENED))[..., None], dtype=np.float32)


def _one_coloured(part: FloatArray, place: LipPlace, redness: float) -> FloatArray:
    """(h, w, 3) the place of a mouth with lips of one colour, which is red."""
    is_lip = (place.lips > 0.9) & (place.depth < 0.85)
    colour = part - mean_of_three(part)[..., None]
    broad = blur(np.ascontiguousarray(colour), 2 * BROAD_PX)
    red = broad[..., 0] - broad[..., 1]
    own = np.zeros(3, dtype=np.float32)
    for is_it, part_of_it in ((place.is_lower, OF_LOWER), (~place.is_lower, 1 - OF_LOWER)):
        low, high = np.quantile(red[is_lip & is_it], REDDEST)
        own = own + np.float32(part_of_it) * np.median(broad[is_lip & is_it & (red >= low) & (red <= high)], axis=0)
    # Blood is neither orange nor violet: what is, is the light of a lamp or the tint of a print.
    least_blue, most_blue = (limit * max(float(own[0] - own[1]), 0.0) for limit in BLUE)
    own[2] = own[1] + np.clip(own[2] - own[1], least_blue, most_blue)
    own = own - own.mean()
    plain = np.float32(1 - np.clip(redness / COLOURED_SKIN, 0, 1))
    least = LEAST_RED + (LEAST_RED_GREY - LEAST_RED) * plain
    lacking = max(float(least - (own[0] - own[1])), 0.0) / float(LIP_COLOUR[0] - LIP_COLOUR[1])
    at = np.where(place.is_lower, *(np.interp(place.depth, OF_DEPTH, one) for one in (RED_AT[1], RED_AT[0])))
    share = at[..., None].astype(np.float32)
    change = (own * share - broad) * np.float32(1 - OWN_COLOUR) + LIP_COLOUR * share * np.float32(lacking)
    change = np.ascontiguousarray(change * place.lips[..., None], dtype=np.float32)
    return np.asarray(part + blur(change, 1.0), dtype=np.float32)


def without_mouth(detail: FloatArray, place: LipPlace) -> FloatArray:
    """(S, S, 3) a texture whose lips go on where their edge would let through what is between them."""
    part = np.ascontiguousarray(detail[place.rows, place.columns])
    weight = np.asarray(place.lips * smoothstep((place.depth - 0.05) / 0.2), dtype=np.float32)
    inward = 1 - smoothstep((place.depth - 0.1) / 0.15)
    share = np.maximum(place.mouth, inward * (place.lips > 0.01))
    filled = _spread(part, weight, NEAR_PX)
    whole = detail.copy()
    whole[place.rows, place.columns] = part + (filled - part) * share[..., None]
    return whole


def with_dark(detail: FloatArray, mouth: FloatArray) -> FloatArray:
    """(S, S, 3) a texture with the dark line of lips that touch, whatever a source or a network shows there."""
    line = np.minimum(BETWEEN_LIPS, detail + DARKER)
    return np.asarray(detail + (line - detail) * mouth[..., None], dtype=np.float32)


def _distance(ring: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """(h, w) how far places are from the line of a ring, pixels."""
    at, nearest = np.stack([x, y], axis=-1), np.full(x.shape, np.inf, dtype=np.float32)
    for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        along = end - start
        share = np.clip((at - start) @ along / max(float(along @ along), 1e-6), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(at - start - share[..., None] * along, axis=-1))
    return np.asarray(nearest, dtype=np.float32)


def _spread(values: FloatArray, weight: FloatArray, sigma: float = FAR_PX) -> FloatArray:
    """Weighted means of values around every place."""
    added = weight + np.float32(1e-4)
    total = blur(added, sigma)
    if values.ndim == 3:
        return blur(np.ascontiguousarray(values * added[..., None]), sigma) / total[..., None]
    return blur(np.ascontiguousarray(values * added), sigma) / total


def _pressed(values: FloatArray, band: tuple[float, float], share: float) -> FloatArray:
    """Values of which so much is kept that lies outside a band."""
    inside = np.clip(values, *band)
    return np.asarray(inside + (values - inside) * np.float32(share), dtype=np.float32)
