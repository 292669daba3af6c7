"""The eyes of a source, drawn where the target looks.

An eye is taken off the texture once, as a ball: pixels in radii of the iris around its middle, what the lids hide
completed from what is seen at the same distance from the middle. In every frame it is turned to where the target's iris
is, and laid between the lids. How far the target's eye is open its mesh says, as far as it sees it, and its picture: an
iris is darker than the skin around it, a closed lid is not. Where that is not sure, and where the photo shows no eyes
worth drawing, the target's own stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from facefusion.imaging.align import compose, invert, transform
from facefusion.imaging.light import mean_of_three, to_log
from facefusion.imaging.resample import warp
from facefusion.imaging.texture import (
    TexturePlane,
    blur,
    grown,
    halved,
    inner_distance,
    sample_soft,
    smoothly,
    smoothstep,
)
from facefusion.imaging.tones import to_tones
from facefusion.models.face_shape import OPENED, lid_gap
from facefusion.plugins.protocols import FloatArray
from facefusion.types.frame import Pixels
from facefusion.types.topology import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS

RADIUS = 0.094
"""Radius of an iris over the distance of the eyes: it is almost the same in everybody (11.7 of 62 mm)."""
BALL_PX, RADIUS_PX = 96, 12
"""Side of the picture of an eye, and of its iris."""
IRIS = 1.1
"""Radii up to which it is iris, and beyond which it is white."""
LID_PX = 1.0
"""Pixels of a texture of 512, from the lids inwards, that stay lid."""
OPEN_ENOUGH = (0.3, 0.5)
"""How high an eye of the source is, over how high the mean face's is, from which it is more and more worth drawing."""
SEEN_ENOUGH = (0.3, 0.6)
"""Share of an eye that is the photo's own from which it is worth drawing."""
CLEAR = (0.25, 0.6)
"""Natural logarithm by which the iris of a source is darker than the white of its eye, at least, and surely."""
WHITE = (-0.7, -0.5)
"""Brightness of the white of an eye, natural logarithm over that of skin, from which it is one, and surely."""
LARGE_ENOUGH = (1.8, 3.0)
"""Radius of its iris, pixels of a photo of usual sharpness that would show as much, from which it is worth drawing."""
WORTH = (0.35, 0.55)
"""What an eye is worth, all in all, from which it is drawn more and more, and in full: half an eye over another shows
both."""
OPEN = (0.35, 0.75)
"""Natural logarithm by which an iris is darker than the skin around it, at least, and surely (see `_iris_shown`): of 60
clips, closed eyes have 0.3 at most, half open ones 0.4 to 0.6, others more."""
UPPER, MOST_UPPER = -0.15, 1.3
"""Radii of the iris from its middle up to which it is its upper half; the most that this counts by being darker."""
LITTLE = 8.0
"""Places, of some 100 of an open eye, below which that upper half counts as being as dark as the whole."""
BRIGHTNESS = 2.5
"""How much more, per unit of natural logarithm, what is bright counts as white of an eye than what is dark."""
LID_DARK = 0.45
"""Share of the darkness of an iris and its lashes, over that of skin, up to which a row is lid."""
LID_CONTRAST = 0.5
"""Natural logarithm by which a lid is brighter than what is below it, at least."""
APERTURE = (0.62, 0.78)
"""Share of its height that an eye is open from which what is dark in it may be more than lashes, and surely is."""
SLIT = (0.3, 0.45)
"""The same from which an eyeball is drawn into it, where an iris is seen in this eye or in the other, and in full."""
SAME_LID = (0.06, 0.18)
"""How much farther a mesh has an eye open than its picture shows it, up to which both mean the same lid, and from which
they do not."""
SHUT = (0.3, 0.48)
"""The same up to which the target's own lid is shown, and from which the source's is drawn: a lid that comes down is
more than photos of open eyes show, and what they show, drawn out, is lashes as broad as the lid."""
TOGETHER = (0.35, 0.5)
"""How far open the lower of two lids is, over what is usual, up to which the other eye is as open, and from which each
is as open as was measured: who looks at a film sees at once if a blink closes one eye only."""
WINKS, OPEN_IN_WINK, APART = (0.22, 0.34), (0.8, 0.95), (0.85, 1.1)
"""The same of the eye that winks, surely and at most; of the other, at least and surely; and by how much they differ at
least, and surely, where that alone tells. Of 92 clips the two eyes of closed ones were measured up to 0.17 and 0.82,
those of somebody who winks from 0.22 and 0.95 on."""
SQUINTS, OPEN_IN_SQUINT = (0.15, 0.3), (0.4, 0.7)
"""The same of both from which eyes that differ are not shut but narrow, and surely: half of what they differ by is an
error then; of shut ones all of it is, since what is taken for an open eye is lashes."""
WINK_IN_SIGHT = (0.75, 0.87)
"""Width of the farther eye in the picture over its width in depth from which it may wink, and surely."""
USUAL, DRAWN = (0.17, 0.4), (0.22, 0.36)
"""The least and the most of it that counts as open for a target, and that a source is drawn with."""
OF_USUAL, SQUINTER = (0.8, 1.2), (0.15, 0.23)
"""The least and the most of a target's usual opening that the eyes of a source are drawn with; and what is usual for
who squints all the time, surely and at most: of them the least is the most, since narrow eyes are measured too wide."""
IN_SIGHT = (0.15, 0.4)
"""Width of an eye in the picture over its width in depth, from which its lids are moved at all, and as far as meant."""
WIDEST = 1.25
"""How much wider than usual eyes are drawn at most."""
LOWERED = 1.6
"""Power of how far an eye is open over what is usual, with which a lid is drawn: as far down as it was measured, eyes
of sources are measured a sixth wider in the output, by their lashes and the shade of their lids."""
AS_USUAL = (0.6, 1.0)
"""How far open an eye is, over what is usual, up to which a source has no wider eyes than the target, and from which as
wide as they are: who lowers their lids must not look awake."""
_ARCH = np.array([0.45, 0.75, 0.95, 1.0, 0.95, 0.8, 0.5], dtype=np.float32)
"""How far a lid moves along its line, from the outer corner to the inner one, over how far its middle does."""
LID_EDGE_PX = 3.0
"""How soft the edge between the two is, pixels of the finest texture."""
FLATTEST = 1e-4
"""Squared radii of an iris for a pixel of a texture of 512, below which an eye has no area; of a front it is 0.007."""
_ASIDE = np.linspace(-1.5, 1.5, 16, dtype=np.float32)
"""Places beside that of the mesh, radii of the iris, in which an iris is looked for."""
ASIDE_COST, ASIDE_COST_OF_SOURCE, ASIDE_SURE = 0.15, 0.35, 8.0
"""What it costs to be a radius away from where a mesh has an iris, in a target and in a photo, and how much more the
best place counts: natural logarithms of light."""
BESIDE, SIDE = 2.0, 0.1
"""Radii of an iris up to which the white of the eye is beside it, and share of an eye on one side that tells."""
_LEVELS = 4
"""Levels of the texture, one after the other coarser."""
_COARSEST = 2 ** (_LEVELS - 1)
UNLIKE = 0.5
"""Natural logarithm of light by which an eye is brightened or darkened to be like the other, at most."""
RINGS = 8
"""Rings for a radius of an iris, of which each is alike all around but for what is rough."""
PUPIL = (0.26, 0.42)
"""Radii of the iris up to which it is pupil, and from which it is not: 3 to 5 mm of 11.7."""
DARKER_PUPIL, BLACK = 0.6, -3.0
"""Natural logarithm by which a pupil is darker than its iris, at least; below this it is as dark as it gets."""
ROUGH_IRIS = 0.4
"""Natural logarithm by which an iris differs from its ring, at most: what differs by more are lashes and lids."""
ROUGH_PUPIL = 0.3
"""Share of that by which a pupil does."""
ROUGH_WHITE = 0.8
"""The same of the white of an eye, of which corners are darker."""
WHITE_COLOUR = np.array([-0.36, 0.05, 0.31], dtype=np.float32)
"""Colour of a grey eye white over that of a mean skin, natural logarithm of light."""
WHITE_TINT, WHITE_LIGHT = 0.12, (-0.5, 0.45)
"""Natural logarithm by which an eye white differs from that at most, and how much brighter than skin it is."""
GLINT, GLINT_BELOW, GLINT_SHARE = (0.5, 0.8), 0.4, 0.03
"""Natural logarithm by which what mirrors a lamp is brighter than its ring, at least, and surely; radii below the
middle up to which it is one; share of an iris that it has at most, since a window that hides a pupil leaves an eye
blind where it is drawn small."""
_GLINT_PX = round(GLINT_SHARE * np.pi * RADIUS_PX**2)
MIRRORED = 0.6
"""An eye that is worth less than this share of the other is the other's mirror image."""
Eye = tuple[Sequence[int], int]
"""The points of the mesh around an eye, and the middle of its iris."""
_FOLDS = ((113, 225, 224, 223, 222, 221, 189), (413, 441, 442, 443, 444, 445, 342))
"""The points of the mesh over the crease of either upper lid, in the order of its ring."""
_EYES: tuple[Eye, ...] = ((LEFT_EYE, LEFT_IRIS), (RIGHT_EYE, RIGHT_IRIS))


@dataclass(frozen=True, slots=True, eq=False)
class EyePlace:
    """Where one eye is in textures.

    Attributes
    ----------
    rows, columns
        The part of the finest texture that holds it; whole pixels of every level.
    between
        For every level, (h, w) where it is between the lids, 0 to 1.
    ball
        For every level, (h, w) where the ball is drawn: a little less.
    """

    rows: slice
    columns: slice
    between: tuple[FloatArray, ...]
    ball: tuple[FloatArray, ...]

    def at(self, number: int) -> tuple[slice, slice]:
        """Rows and columns of a level that hold it."""
        factor = 2**number
        rows, columns = (slice(s.start // factor, s.stop // factor) for s in (self.rows, self.columns))
        return rows, columns


def find_places(holes: Sequence[FloatArray], inner: Sequence[FloatArray]) -> tuple[EyePlace, ...]:
    """Both eyes in textures.

    Parameters
    ----------
    holes
        For either eye, (S, S) where it is between the lids.
    inner
        For either eye, (S, S) where the ball is drawn.
    """
    places = []
    for hole, ball in zip(holes, inner, strict=True):
        rows, columns = (np.flatnonzero((hole > 0).any(axis=axis)) for axis in (1, 0))
        down, across = (
            slice(int(k[0]) // _COARSEST * _COARSEST, -(-(int(k[-1]) + 1) // _COARSEST) * _COARSEST)
            for k in (rows, columns)
        )
        levels = [[np.ascontiguousarray(part[down, across])] for part in (hole, ball)]
        for part in levels:
            while len(part) < _LEVELS:
                part.append(halved(part[-1]))
        places.append(EyePlace(down, across, tuple(levels[0]), tuple(levels[1])))
    return tuple(places)


def find_lids(plane: TexturePlane) -> tuple[EyePlace, ...]:
    """Where the lids of both eyes are in textures, what is between them, and the crease over the upper one.

    Of lids that are shut there is next to no crease; that of an open eye would lie over them as a second one.
    """
    masks = []
    for ring, fold in zip((LEFT_EYE, RIGHT_EYE), _FOLDS, strict=True):
        depth = inner_distance(plane.points[[ring[0], *fold, *ring[8:]]], plane.size)
        near = grown(np.asarray(depth > 0, dtype=np.float32), 2 * round(LID_EDGE_PX) + 1)
        soft = blur(near, LID_EDGE_PX)
        masks.append(soft * (soft > 1 / 255))
    return find_places(masks, masks)


@dataclass(frozen=True, slots=True)
class Opening:
    """How one eye of a target is open.

    Attributes
    ----------
    share
        How far it shows an iris, 0 to 1.
    aperture
        How far it is open, over what its mesh says, 0 to 1.
    aside
        How much farther along the line between the eyes its iris is than its mesh says, radii of the iris.
    """

    share: float
    aperture: float
    aside: float


@dataclass(frozen=True, slots=True, eq=False)
class Eyes:
    """The eyes of somebody.

    Attributes
    ----------
    balls
        For either eye, every level of (P, P, 3) uint8 tones, `RADIUS_PX` pixels of the finest for a radius of its iris.
    trust
        0 to 1: how far they are drawn at all.
    """

    balls: tuple[tuple[Pixels, ...], ...]
    trust: float

    def draw(
        self,
        levels: Sequence[Pixels],
        number: int,
        mesh: FloatArray,
        openings: Sequence[Opening],
        plane: TexturePlane,
        places: Sequence[EyePlace],
    ) -> tuple[Pixels, ...]:
        """Levels of a texture of tones with eyes that look where a target looks.

        Parameters
        ----------
        levels
            (S, S, 4) uint8 tones and alpha; they are not written into.
        number
            Which level the first of them is.
        mesh
            (478, 3) of the target.
        openings
            As of `find_openings`.
        plane, places
            Textures, and the eyes in them.
        """
        drawn = list(levels)
        for place, eye, opening, balls in zip(places, _EYES, openings, self.balls, strict=True):
            share = self.trust * opening.share
            image_from_ball = compose(image_from_iris(mesh, eye[1]), _moved(opening.aside))
            ball_from_plane = compose(invert(image_from_ball), image_from_plane(mesh, plane, eye[0]))
            # Of an eye in profile there is nothing.
            if share <= 0 or abs(np.linalg.det(ball_from_plane[:, :2])) < FLATTEST:
                continue
            for k, balls_level in enumerate(balls[number : number + len(drawn)]):
                if drawn[k] is levels[k]:
                    drawn[k] = levels[k].copy()
                self._lay(drawn[k], balls_level, ball_from_plane, number + k, place, share)
        return tuple(drawn)

    @staticmethod
    def _lay(
        tones: Pixels, ball: Pixels, ball_from_plane: FloatArray, number: int, place: EyePlace, share: float
    ) -> None:
        """Lay one eye into one level of a texture."""
        factor = 2**number
        rows, columns = place.at(number)
        plane_from_part = _plane_of((place.columns.start, place.rows.start), factor)
        part_from_ball = invert(compose(_pixels_of_ball(factor), compose(ball_from_plane, plane_from_part)))
        height, width = place.ball[number].shape
        turned = warp(ball, part_from_ball, width, height, is_border_black=False)
        part = tones[rows, columns]
        laid = place.ball[number][..., None]
        part[..., :3] = np.rint(part[..., :3] + (turned - part[..., :3].astype(np.float32)) * laid)
        part[..., 3] = np.rint(np.minimum(part[..., 3] + place.between[number] * np.float32(255 * share), 255))


def find_openings(
    pixels: Pixels,
    light: FloatArray,
    mesh: FloatArray,
    plane: TexturePlane,
    places: Sequence[EyePlace],
    apertures: Sequence[float] = (1.0, 1.0),
) -> tuple[Opening, ...]:
    """How either eye of a target is open.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 RGB of the target.
    light
        (G, G, 3) logarithm of the light that its skin would have everywhere.
    mesh
        (478, 3) in these pixels, with open eyes.
    plane, places
        Textures, and the eyes in them.
    apertures
        How far open the eyes are at most, 0 to 1: as far as the mesh sees their lids come down.
    """
    both = [
        _open(pixels, light, mesh, plane, place, eye, aperture)
        for place, eye, aperture in zip(places, _EYES, apertures, strict=True)
    ]
    # Eyes look in one direction, and what one of them shows is true of the other, too. The picture may show of one
    # alone that it is shut.
    down = _together(mesh, (both[0].aperture, both[1].aperture))
    shares = np.array([one.share for one in both])
    aside = float(np.average([one.aside for one in both], weights=shares + 1e-3))
    seen = float(shares.max())
    return tuple(Opening(seen * smoothly(aperture, SLIT), aperture, aside) for aperture in down)


def _plane_of(corner: tuple[int, int], factor: int) -> FloatArray:
    """(2, 3) affine from pixels of a part of a level to those of the finest."""
    shift = (factor - 1) / 2
    return np.array([[factor, 0, corner[0] + shift], [0, factor, corner[1] + shift]], dtype=np.float32)


def _moved(aside: float) -> FloatArray:
    """(2, 3) affine that moves by so much to the right."""
    return np.array([[1, 0, aside], [0, 1, 0]], dtype=np.float32)


def _pixels_of_ball(factor: int) -> FloatArray:
    """(2, 3) affine from radii of the iris around its middle to pixels of the picture of an eye."""
    scale, middle = RADIUS_PX / factor, BALL_PX / factor / 2 - 0.5
    return np.array([[scale, 0, middle], [0, scale, middle]], dtype=np.float32)


def image_from_iris(mesh: FloatArray, iris: int) -> FloatArray:
    """(2, 3) affine from radii of an iris, along the line between the eyes and across it, to pixels of a picture."""
    apart = mesh[RIGHT_IRIS] - mesh[LEFT_IRIS]
    flat, whole = float(np.linalg.norm(apart[:2])), float(np.linalg.norm(apart))
    along = apart[:2] / flat if flat > 1e-6 else np.array([1.0, 0.0])
    across = np.array([-along[1], along[0]])
    columns = (along * RADIUS * max(flat, 1.0), across * RADIUS * max(whole, 1.0), mesh[iris, :2])
    return np.stack(columns, axis=1).astype(np.float32)


def image_from_plane(mesh: FloatArray, plane: TexturePlane, ring: Sequence[int]) -> FloatArray:
    """(2, 3) affine from pixels of the texture plane to those of a picture, for one eye."""
    points = plane.points[list(ring)]
    fit = _least_squares(points.tobytes(), points.dtype.str)
    return np.asarray((fit @ mesh[list(ring), :2].astype(np.float64)).T, dtype=np.float32)


@cache
def _least_squares(points: bytes, kind: str) -> npt.NDArray[np.float64]:
    """(3, N) what makes an affine, transposed, of where (N, 2) points of a texture, given as their bytes, are to go."""
    known = np.frombuffer(points, dtype=kind).reshape(-1, 2).astype(np.float64)
    return np.linalg.pinv(np.concatenate([known, np.ones((len(known), 1))], axis=1))


def _open(
    pixels: Pixels, light: FloatArray, mesh: FloatArray, plane: TexturePlane, place: EyePlace, eye: Eye, most: float
) -> Opening:
    """What a picture shows of an iris where a mesh whose eyes are wide open says that it is.

    Parameters
    ----------
    most
        How far open the eye is at most, 0 to 1: what is seen as a lid may be the shadow of one, but a lid that the mesh
        has down is.
    """
    at_plane = _cells(place.rows.start, place.rows.stop, place.columns.start, place.columns.stop)
    shape = at_plane.shape
    at = transform(image_from_plane(mesh, plane, eye[0]), at_plane.reshape(-1, 2))
    of_iris = transform(invert(image_from_iris(mesh, eye[1])), at).reshape(shape)
    soft = RADIUS * float(np.linalg.norm(mesh[RIGHT_IRIS] - mesh[LEFT_IRIS])) * 0.3
    # Only what is near is read.
    height, width = pixels.shape[:2]
    low, high = at.min(axis=0) - 2 * soft - 2, at.max(axis=0) + 2 * soft + 3
    x0, y0 = (int(np.clip(v, 0, n - 1)) for v, n in zip(low, (width, height), strict=True))
    x1, y1 = (int(np.clip(v, v0 + 1, n)) for v, v0, n in zip(high, (x0, y0), (width, height), strict=True))
    near = np.ascontiguousarray(pixels[y0:y1, x0:x1])
    places = (at - np.array([x0, y0], dtype=np.float32)).reshape(shape)
    seen = mean_of_three(to_log(sample_soft(near, places, soft)))
    cells = np.clip(
        (plane.points[list(eye[0])].mean(axis=0) * (len(light) / plane.size)).astype(int), 0, len(light) - 1
    )
    darker, weight = np.float32(light[cells[1], cells[0]].mean()) - seen, place.ball[0][:, ::2]
    aperture, down = _aperture(darker, weight, of_iris)
    if most < aperture:
        rows = np.flatnonzero((weight > 0.5).any(axis=1))
        aperture, down = most, float(rows[0] + (1 - most) * (len(rows) - 1)) if len(rows) else 0.0
    below = weight * smoothstep(np.arange(len(weight), dtype=np.float32) - down + 1)[:, None]
    aside = _aside(darker, below, of_iris)
    of_iris = of_iris - np.array([aside, 0], dtype=np.float32)
    # A lid that the mesh has is one, if the picture has none much lower; what only the picture shows may be lashes.
    is_lid = 1 - smoothly(most - aperture, SAME_LID)
    sure = max(smoothly(aperture, APERTURE), smoothly(aperture, SLIT) * is_lid)
    return Opening(smoothly(_iris_shown(darker, below, of_iris), OPEN) * sure, aperture, aside)


@cache
def _cells(top: int, bottom: int, left: int, right: int) -> FloatArray:
    """(h, w, 2) places of a texture where an eye is looked at: every row, and every other column."""
    rows, columns = np.mgrid[top:bottom, left:right:2]
    return np.stack([columns, rows], axis=-1).astype(np.float32)


def _aside(darker: FloatArray, weight: FloatArray, of_iris: FloatArray) -> float:
    """How far along the line between the eyes the darkest disc is from where a mesh has the iris, in its radii.

    Parameters are those of `_iris_shown`.
    """
    return _likely_place(_worths_aside(darker, weight, of_iris) - ASIDE_COST * _ASIDE**2)


def _likely_place(worths: FloatArray) -> float:
    """The mean of `_ASIDE`, of which each counts more the more it is worth."""
    chances = np.exp((worths - worths.max()) * ASIDE_SURE)
    return float((chances * _ASIDE).sum() / chances.sum())


def _worths_aside(darker: FloatArray, weight: FloatArray, of_iris: FloatArray) -> FloatArray:
    """(16,) by how much a disc in each of `_ASIDE` is darker than what is beside it, natural logarithm of light.

    Parameters are those of `_iris_shown`.
    """
    limited = np.clip(darker, -0.5, 3)
    across = of_iris[..., :1] - _ASIDE
    # `numpy.hypot` takes several times as long, and guards against what is far from here.
    far = np.sqrt(np.square(across) + np.square(of_iris[..., 1:]))
    seen = weight[..., None]
    discs = seen * smoothstep((1 - far) / 0.3)
    beside = seen * (smoothstep((far - 1) / 0.3) - smoothstep((far - BESIDE) / 0.3))
    whole, within = float(weight.sum()), discs.sum(axis=(0, 1))
    inside = (limited[..., None] * discs).sum(axis=(0, 1)) / np.maximum(within, 1e-3)
    # There is white on both sides of an iris. In a corner, where lids and lashes are as dark, there is on one.
    difference = np.zeros(len(_ASIDE), dtype=np.float32)
    for side in (beside * (across < 0), beside * (across > 0)):
        there = side.sum(axis=(0, 1))
        outside = (limited[..., None] * side).sum(axis=(0, 1)) / np.maximum(there, 1e-3)
        difference += (inside - outside) * np.minimum(there / (SIDE * whole + 1e-3), 1) / 2
    # A disc that is hardly between the lids says little.
    return np.asarray(difference * np.minimum(within / (0.25 * whole + 1e-3), 1), dtype=np.float32)


def _aperture(darker: FloatArray, weight: FloatArray, of_iris: FloatArray) -> tuple[float, float]:
    """How far open an eye is, 0 to 1, and the row at which its upper lid ends: a lid is as bright as skin, lashes not.

    Parameters are those of `_iris_shown`.
    """
    counted = (weight > 0.5) & (np.abs(of_iris[..., 0]) < 0.9)
    rows = np.flatnonzero(counted.sum(axis=1) > 3)
    if len(rows) < 4:
        return 1.0, 0.0
    # The middle of each row, so that a highlight in the eye is no skin.
    ordered = np.sort(np.where(counted, darker, np.inf)[rows], axis=1)
    dark = ordered[np.arange(len(rows)), counted[rows].sum(axis=1) // 2]
    over = dark - LID_DARK * _nearly_most(dark)
    first = int(np.argmax(over > 0))
    if first == 0 or float(dark.max() - dark[:first].min()) < LID_CONTRAST:
        return 1.0, 0.0
    # Between two rows, so that a lid comes down without steps.
    line = first - float(over[first] / (over[first] - over[first - 1]))
    return 1 - line / (len(rows) - 1), float(rows[0]) + line


def _nearly_most(values: FloatArray) -> float:
    """What a tenth of some values exceeds, interpolated; for so few `numpy.quantile` is mostly its own overhead."""
    ordered = np.sort(values)
    at = 0.9 * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (ordered[high] - ordered[low]) * (at - low))


def lid_shares(mesh: FloatArray, usual: float) -> tuple[float, float]:
    """How far open either eye of a (478, 3) mesh is, over the distance of its lids that is usual; above 1 when wide."""
    left, right = (max(lid_gap(mesh, ring)[0], 0.0) / usual for ring, _ in _EYES)
    return left, right


def lids_together(mesh: FloatArray, usual: float) -> tuple[float, float]:
    """As `lid_shares`, of two eyes that blink together unless one of them surely winks."""
    return _together(mesh, lid_shares(mesh, usual))


def _together(mesh: FloatArray, both: tuple[float, float]) -> tuple[float, float]:
    """How far open two eyes are, of which each was measured by itself."""
    low, high = min(both), max(both)
    together = 1 - smoothly(low, TOGETHER)
    if not together > 0:
        return both
    sight = min(_in_sight(mesh, ring) for ring, _ in _EYES)
    wink = max((1 - smoothly(low, WINKS)) * smoothly(high, OPEN_IN_WINK), smoothly(high - low, APART))
    together *= 1 - wink * smoothly(sight, WINK_IN_SIGHT)
    joint = low + (high - low) / 2 * smoothly(low, SQUINTS) * smoothly(high, OPEN_IN_SQUINT)
    left, right = (share + (joint - share) * together for share in both)
    return left, right


def _in_sight(mesh: FloatArray, ring: Sequence[int]) -> float:
    """Width of an eye in the picture over its width in depth."""
    across = mesh[ring[8]] - mesh[ring[0]]
    return float(np.linalg.norm(across[:2])) / max(float(np.linalg.norm(across)), 1e-6)


def opened(mesh: FloatArray, shares: Sequence[float], goal: float = OPENED) -> FloatArray:
    """(478, 3) a mesh whose eyes are as open as those of a source.

    What is between the lids is read, and drawn, as of an open eye; a lid that is down is laid over it.

    Parameters
    ----------
    mesh
        (478, 3) of the target.
    shares
        How far open its eyes are, as of `lid_shares`; a mesh that has been moved has other eyes.
    goal
        Distance of the lids, over the width of an eye, of who is drawn.
    """
    wide = mesh.copy()
    for (ring, _), share in zip(_EYES, shares, strict=True):
        gap, length, up = lid_gap(mesh, ring)
        # What the mesh says of an eye in profile is a guess.
        more = (goal * min(max(share, 1.0), WIDEST) - gap) * smoothly(_in_sight(mesh, ring), IN_SIGHT)
        arch = _ARCH if ring is LEFT_EYE else _ARCH[::-1]
        wide[list(ring[1:8]), :2] += np.outer(arch, up) * np.float32(more * length)
    return wide


def usual_opening(habit: float | None) -> float:
    """Distance of the lids, over the width of an eye, that is open for somebody; None where nothing is known."""
    return OPENED if habit is None else float(np.clip(habit, *USUAL))


def drawn_opening(habit: float, usual: float) -> float:
    """Distance of the lids, over the width of an eye, with which a source is drawn.

    Parameters
    ----------
    habit
        What its photos show, and a photo shows them once.
    usual
        As of `usual_opening` for the target: who looks down all the time must not stare.
    """
    least, most = OF_USUAL
    low, high = usual * least, usual * (least + (most - least) * smoothly(usual, SQUINTER))
    return float(np.clip(np.clip((habit + OPENED) / 2, *DRAWN), low, high))


def lowered(aperture: float, wider: float = 1.0) -> float:
    """How far open an eye is drawn, 0 to 1, that is open so far; see `with_lids`."""
    more = max(wider, 1.0)
    return float(aperture**LOWERED) * (1 + (more - 1) * smoothly(aperture, AS_USUAL)) / more


def with_lids(mesh: FloatArray, openings: Sequence[Opening], wider: float = 1.0) -> FloatArray:
    """(478, 3) a mesh whose upper lids are where the picture shows them.

    Parameters
    ----------
    mesh
        (478, 3) of the target.
    openings
        Of either eye, as of `find_openings`.
    wider
        Distance of its lids with open eyes, over what is usual for the target.
    """
    if all(opening.aperture >= 1 for opening in openings):
        return mesh
    moved = mesh.copy()
    for (ring, _), opening in zip(_EYES, openings, strict=True):
        upper, lower = list(ring[1:8]), list(ring[:8:-1])
        moved[upper] = mesh[lower] + (mesh[upper] - mesh[lower]) * np.float32(lowered(opening.aperture, wider))
    return moved


def shown_lids(mesh: FloatArray, openings: Sequence[Opening]) -> list[tuple[FloatArray, float]]:
    """(N, 2) outlines of the lids of which the target's own are shown, and how far, 0 to 1.

    Parameters
    ----------
    mesh
        (478, 3) as it is drawn.
    openings
        As of `find_openings`.
    """
    found = []
    for (ring, _), fold, opening in zip(_EYES, _FOLDS, openings, strict=True):
        shut = 1 - smoothly(opening.aperture, SHUT)
        if shut > 0:
            found.append((np.ascontiguousarray(mesh[[ring[0], *fold, *ring[8:]], :2]), shut))
    return found


def with_own_lids(
    levels: Sequence[Pixels],
    number: int,
    openings: Sequence[Opening],
    lids: Sequence[EyePlace],
    places: Sequence[EyePlace],
    trust: float,
) -> tuple[Pixels, ...]:
    """Levels of a texture that let the target's own lids through where its eyes are shut.

    Between lids that are still open the eye stays the source's: one whose colour changes in a blink is nobody's.

    Parameters
    ----------
    levels
        (S, S, 4) uint8 tones and alpha; they are not written into.
    number
        Which level the first of them is.
    openings
        As of `find_openings`.
    lids
        As of `find_lids`.
    places
        As of `find_places`.
    trust
        How far eyes are drawn at all, 0 to 1.
    """
    drawn = list(levels)
    for opening, place, eye in zip(openings, lids, places, strict=True):
        shut = 1 - smoothly(opening.aperture, SHUT)
        if shut <= 0:
            continue
        for k, level in enumerate(levels):
            if drawn[k] is level:
                drawn[k] = level.copy()
            rows, columns = place.at(number + k)
            own = place.between[number + k] * np.float32(shut)
            inner = _within(eye, place, number + k)
            own[inner] *= 1 - eye.between[number + k] * np.float32(opening.share * trust)
            drawn[k][rows, columns, 3] = np.rint(drawn[k][rows, columns, 3] * (1 - own))
    return tuple(drawn)


def _within(part: EyePlace, whole: EyePlace, number: int) -> tuple[slice, slice]:
    """Rows and columns of a part of a level counted from a larger one that holds it."""
    rows, columns = (
        slice(own.start - other.start, own.stop - other.start)
        for own, other in zip(part.at(number), whole.at(number), strict=True)
    )
    return rows, columns


def _iris_shown(darker: FloatArray, weight: FloatArray, of_iris: FloatArray) -> float:
    """Natural logarithm by which there is an iris darker than skin.

    A lid is as bright as skin and ends in a dark line, and of an eye that is nearly closed the upper half is lid: the
    upper half of the iris counts, and less where it is less dark than the whole.

    Parameters
    ----------
    darker
        (h, w) natural logarithm by which everything is darker than skin would be.
    weight
        (h, w) where it is between the lids.
    of_iris
        (h, w, 2) places, in radii of the iris from its middle.
    """
    within = weight * smoothstep((1 - np.linalg.norm(of_iris, axis=-1)) / 0.3)
    upper = within * (of_iris[..., 1] < UPPER)
    if float(within.sum()) < 1:
        return 0.0
    of_all = float((darker * within).sum()) / float(within.sum())
    # Between narrow lids there is no upper half to speak of.
    lacking = max(LITTLE - float(upper.sum()), 0.0)
    of_upper = (float((darker * upper).sum()) + of_all * lacking) / (float(upper.sum()) + lacking)
    return of_upper * min(max(of_upper / max(of_all, 1e-3), 0.0), MOST_UPPER)


def find_eyes(
    detail: FloatArray,
    own: FloatArray,
    mesh: FloatArray,
    sharpness: float,
    top: float,
    plane: TexturePlane,
    places: Sequence[EyePlace],
) -> Eyes | None:
    """The eyes of a source, or None where its photo shows none that are worth drawing.

    Parameters
    ----------
    detail
        (S, S, 3) logarithm of linear light without the light that fell on the face.
    own
        (S, S) how far it is what the photo showed.
    mesh
        (478, 3) of the photo that most of it is from.
    sharpness
        How much smaller a photo of usual sharpness would be that shows as much, 0 to 1.
    top
        As of `facefusion.imaging.tones.brightest`.
    plane, places
        Textures, and the eyes in them.
    """
    aside = _aside_of_both(detail, own, mesh, plane, places)
    found = [
        _take(detail, own, mesh, sharpness, aside, plane, place, eye) for place, eye in zip(places, _EYES, strict=True)
    ]
    worths = [worth for _, worth in found]
    trust = smoothly(max(worths), WORTH)
    if not trust > 0:
        return None
    pictures = [picture for picture, _ in found]
    for k in (0, 1):
        if worths[k] < MIRRORED * worths[1 - k]:
            pictures[k] = np.ascontiguousarray(pictures[1 - k][:, ::-1])
    if min(worths) >= MIRRORED * max(worths):
        pictures = _alike(pictures)
    balls = []
    for picture in pictures:
        levels = [picture]
        while len(levels) < _LEVELS:
            levels.append(halved(levels[-1]))
        balls.append(tuple(to_tones(level, level[..., 0], top)[..., :3] for level in levels))
    return Eyes(tuple(balls), trust)


def _take(
    detail: FloatArray,
    own: FloatArray,
    mesh: FloatArray,
    sharpness: float,
    aside: float,
    plane: TexturePlane,
    place: EyePlace,
    eye: Eye,
) -> tuple[FloatArray, float]:
    """(P, P, 3) one eye, completed, and what it is worth, 0 to 1."""
    ring, iris = eye
    from_plane, from_iris = image_from_plane(mesh, plane, ring), image_from_iris(mesh, iris)
    stretched = compose(invert(from_iris), from_plane)[:, :2]
    # One pixel of the plane in radii, down and across: how high an eye is over how wide.
    height = float(np.linalg.norm(stretched[:, 1])) / max(float(np.linalg.norm(stretched[:, 0])), 1e-6)
    nothing = np.zeros((BALL_PX, BALL_PX, 3), dtype=np.float32)
    worth = smoothly(height, OPEN_ENOUGH)
    worth *= smoothly(float(np.linalg.norm(from_iris[:, 1])) * sharpness, LARGE_ENOUGH)
    if worth <= 0:
        return nothing, 0.0
    between = _between(detail, place)
    worth *= smoothly(_share_own(own, between), SEEN_ENOUGH)
    picture, seen = _around_iris(detail, between, compose(from_iris, _moved(aside)), from_plane)
    of_iris = _from_iris()
    radii = np.linalg.norm(of_iris, axis=-1)
    # Lids and lashes lie there, too; the white is what is brightest.
    white = seen * smoothstep((radii - IRIS) / 0.2) * smoothstep((2.2 - radii) / 0.4)
    white = white * np.exp(BRIGHTNESS * np.clip(picture.mean(axis=-1), -2, 1.5))
    dark = seen * (radii < 0.85)
    if min(float(white.sum()), float(dark.sum())) < 1:
        return nothing, 0.0
    of_white, of_iris_itself = ((picture * part[..., None]).sum(axis=(0, 1)) / part.sum() for part in (white, dark))
    worth *= smoothly(_iris_shown(-picture.mean(axis=-1), seen, of_iris), OPEN)
    worth *= smoothly(float((of_white - of_iris_itself).mean()), CLEAR) * smoothly(float(of_white.mean()), WHITE)
    weight = np.asarray(white * (RADIUS_PX**2 / white.sum()), dtype=np.float32)
    return _completed(picture, seen, weight, np.asarray(of_white, dtype=np.float32)), worth


def _alike(pictures: Sequence[FloatArray]) -> list[FloatArray]:
    """Both (P, P, 3) eyes as bright as each other, and of one colour: what they differ by is a shade."""
    radii = np.linalg.norm(_from_iris(), axis=-1)
    of_iris = (radii > 0.2) & (radii < 0.85)
    # Beyond the lids a picture is what the white of its eye is on average.
    whites = [picture[0].mean(axis=0) for picture in pictures]
    irises = [picture[of_iris].mean(axis=0) for picture in pictures]
    is_iris = smoothstep((IRIS + 0.15 - radii) / 0.3)[..., None]
    made = []
    for picture, white, iris in zip(pictures, whites, irises, strict=True):
        white_more = np.clip((whites[0] + whites[1]) / 2 - white, -UNLIKE, UNLIKE)
        iris_more = (irises[0] + irises[1]) / 2 - iris
        iris_more += np.clip(iris_more.mean(), -UNLIKE, UNLIKE) - iris_more.mean()
        made.append(np.asarray(picture + white_more + (iris_more - white_more) * is_iris, dtype=np.float32))
    return made


def _aside_of_both(
    detail: FloatArray, own: FloatArray, mesh: FloatArray, plane: TexturePlane, places: Sequence[EyePlace]
) -> float:
    """How far aside the picture, which may be of several photos, has the irises: as far in either eye.

    A light iris is less dark than the corner of an eye that lies in the shade, but that lies on either side of it.
    """
    worths, shares = np.zeros(len(_ASIDE), dtype=np.float32), 1e-3
    for place, (ring, iris) in zip(places, _EYES, strict=True):
        between = _between(detail, place)
        share = smoothly(_share_own(own, between), SEEN_ENOUGH)
        picture, seen = _around_iris(detail, between, image_from_iris(mesh, iris), image_from_plane(mesh, plane, ring))
        worths += np.float32(share) * _worths_aside(-mean_of_three(picture), seen, _from_iris())
        shares += share
    return _likely_place(worths / np.float32(shares) - ASIDE_COST_OF_SOURCE * _ASIDE**2)


def _between(detail: FloatArray, place: EyePlace) -> FloatArray:
    """(S, S) where an eye is drawn in a texture."""
    between = np.zeros(detail.shape[:2], dtype=np.float32)
    between[place.rows, place.columns] = place.ball[0]
    return between


def _share_own(own: FloatArray, between: FloatArray) -> float:
    """Share of an eye that is what the photo showed."""
    return float((own * between).sum()) / (float(between.sum()) + 1e-6)


def _around_iris(
    detail: FloatArray, between: FloatArray, from_iris: FloatArray, from_plane: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(P, P, 3) and (P, P) a texture, and where it is between the lids, as the picture of an eye."""
    ball_from_plane = compose(_pixels_of_ball(1), compose(invert(from_iris), from_plane))
    whole = np.asarray(detail, dtype=np.float32)
    picture, seen = (warp(one, ball_from_plane, BALL_PX, BALL_PX, is_border_black=True) for one in (whole, between))
    return picture, seen


def _completed(picture: FloatArray, seen: FloatArray, white: FloatArray, of_white: FloatArray) -> FloatArray:
    """(P, P, 3) what lids hide of an iris is as what is seen as far from its middle; of the white, as what is near.

    Parameters
    ----------
    picture, seen
        (P, P, 3) what there is, and (P, P) where it is seen.
    white, of_white
        (P, P) where it is the white of the eye, and its mean.
    """
    radii = np.linalg.norm(_from_iris(), axis=-1)
    as_far, sure = _by_distance(picture, seen)
    little = np.float32(1e-2)
    near = blur(np.ascontiguousarray(picture * white[..., None]), 6.0) + of_white * little
    near /= (blur(white, 6.0) + little)[..., None]
    is_iris = smoothstep((IRIS + 0.15 - radii) / 0.3) * sure
    hidden = near + (as_far - near) * is_iris[..., None]
    whole = hidden + _of_eye(picture - hidden, is_iris) * seen[..., None]
    return np.asarray(whole + (_likely_white(of_white) - of_white) * (1 - is_iris)[..., None], dtype=np.float32)


def _likely_white(of_white: FloatArray) -> FloatArray:
    """(3,) what the white of an eye is, of what was seen as it: a photo's tint and shade are not its own."""
    mean = of_white.mean()
    colour = of_white - mean - WHITE_COLOUR
    pressed = WHITE_TINT * np.tanh(colour / WHITE_TINT)
    return np.asarray(np.clip(mean, *WHITE_LIGHT) + WHITE_COLOUR + pressed - pressed.mean(), dtype=np.float32)


def _of_eye(residual: FloatArray, is_iris: FloatArray) -> FloatArray:
    """(P, P, 3) what a picture has beyond the rings of an iris, without lashes and lids that lie over it.

    Parameters
    ----------
    residual
        (P, P, 3) a picture less the same with irises that are alike all around.
    is_iris
        (P, P) where it is iris, 0 to 1.
    """
    lighter = residual.mean(axis=-1)
    # What is much brighter and in the upper half mirrors a lamp, and is what makes an eye look at us.
    mirrors = lighter * is_iris * smoothstep((GLINT_BELOW - _from_iris()[..., 1]) / 0.2)
    most = np.partition(mirrors, -_GLINT_PX, axis=None)[-_GLINT_PX]
    glint = smoothstep((mirrors - max(float(most), GLINT[0])) / (GLINT[1] - GLINT[0]))
    rough = ROUGH_WHITE + (ROUGH_IRIS - ROUGH_WHITE) * is_iris
    rough *= 1 - (1 - ROUGH_PUPIL) * smoothstep((PUPIL[1] - np.linalg.norm(_from_iris(), axis=-1)) / 0.2)
    far = np.maximum(np.abs(lighter), 1e-6)
    kept = rough * np.tanh(far / rough) / far
    return np.asarray(residual * (kept + (1 - kept) * glint)[..., None], dtype=np.float32)


def _by_distance(picture: FloatArray, seen: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(P, P, 3) what is seen as far from the middle of an iris, with a pupil, and (P, P) how sure that is, 0 to 1."""
    radii = np.linalg.norm(_from_iris(), axis=-1)
    middles = (np.arange(round((IRIS + 0.3) * RINGS)) + 0.5) / RINGS
    medians = np.zeros((len(middles), 3), dtype=np.float32)
    counts = np.zeros(len(middles), dtype=np.float32)
    for k, middle in enumerate(middles):
        ring = np.abs(radii - middle) < 1 / RINGS
        counts[k] = seen[ring].sum()
        medians[k] = _weighted_medians(picture[ring], seen[ring])
    iris = (middles > PUPIL[1]) & (middles < 0.9)
    if float(counts[iris].sum()) > 1:
        mean = float((medians[iris].mean(axis=-1) * counts[iris]).sum() / counts[iris].sum())
        within = (radii < PUPIL[0]) & (seen > 0.5)
        darkest = float(np.quantile(picture[within].mean(axis=-1), 0.2)) if within.any() else mean
        pupil = max(min(darkest, mean - DARKER_PUPIL), min(BLACK, mean))
        share = smoothstep((PUPIL[1] - middles) / (PUPIL[1] - PUPIL[0]))
        # No ring so far in is brighter than the iris, but for a lamp.
        rings = np.minimum(medians.mean(axis=-1), np.where(share > 0, mean, np.inf))
        lacking = rings + np.minimum(pupil - rings, 0) * share - medians.mean(axis=-1)
        medians += lacking[:, None].astype(np.float32)
    at = np.clip(radii * RINGS - 0.5, 0, len(middles) - 1)
    low = np.minimum(at.astype(int), len(middles) - 2)
    part = (at - low)[..., None].astype(np.float32)
    around = medians[low] + (medians[low + 1] - medians[low]) * part
    sure = smoothstep(counts[low] / 2)
    return np.asarray(around, dtype=np.float32), sure


def _weighted_medians(values: FloatArray, weights: FloatArray) -> FloatArray:
    """(3,) the weighted median of every column of (N, 3) values."""
    order = np.argsort(values, axis=0)
    reached = np.cumsum(weights[order], axis=0)
    at = np.argmax(reached >= reached[-1] / 2, axis=0)
    return np.asarray(np.take_along_axis(np.take_along_axis(values, order, 0), at[None], 0)[0], dtype=np.float32)


@cache
def _from_iris() -> FloatArray:
    """(P, P, 2) places of the picture of an eye, in radii of the iris from its middle."""
    line = (np.arange(BALL_PX, dtype=np.float32) - (BALL_PX - 1) / 2) / RADIUS_PX
    return np.stack(np.meshgrid(line, line), axis=-1)
