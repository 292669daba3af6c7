"""The proportions of people, apart from what their faces do (model made by ``training/build_shape.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.models.spec import EMBEDDED
from facefusion.types.topology import (
    CHIN,
    FOREHEAD,
    LEFT_BROW,
    LEFT_EYE,
    LIPS_INNER,
    LIPS_OUTER,
    NOSE_TIP,
    POINT_COUNT,
    RIGHT_BROW,
    RIGHT_EYE,
    SKIN_COUNT,
)

FloatArray = npt.NDArray[np.float32]

_MOVING = {*LEFT_BROW, *RIGHT_BROW, *LEFT_EYE, *RIGHT_EYE, *LIPS_INNER, *LIPS_OUTER}
TURN_DEG = 25.0
"""Yaw at which a look at a face counts for little more than a third: what lies on the far side is guessed."""
LEAST, MANY = 0.2, 4.0
"""Looks that count: frames of a clip show one expression many times over, and a profile says something too."""


@cache
def _still() -> npt.NDArray[np.int64]:
    """Points that neither expression nor the jaw moves much: above the tip of the nose, without brows and lids."""
    mean = load_mesh_topology().mean
    return np.array([k for k in range(SKIN_COUNT) if k not in _MOVING and mean[k, 1] < mean[NOSE_TIP, 1]])


def to_front(
    meshes: FloatArray,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Meshes turned to the front, at the size and place of the mean face.

    Parameters
    ----------
    meshes
        (N, 478, 3) in pixels.

    Returns
    -------
    (N, 478, 3) in eye distances of the mean face; (N,) pixels for one such distance; and (N, 3, 3) rotations R, so that
    an offset from the front lies in the picture as ``offset @ R.T`` times those pixels.

    References
    ----------
    Umeyama, Least-squares estimation of transformation parameters between two point patterns, 1991.
    """
    still = _still()
    mean = load_mesh_topology().mean.astype(np.float64)
    goal = mean[still] - mean[still].mean(axis=0)
    points = meshes.astype(np.float64)
    middle = points[:, still].mean(axis=1, keepdims=True)
    own = points[:, still] - middle
    u, _, vt = np.linalg.svd(np.einsum("nki,kj->nij", own, goal))
    sign = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= sign[:, None]
    turn = u @ vt  # goal = own @ turn / scale
    turned = own @ turn
    scale = (turned * turned).sum(axis=(1, 2)) / np.maximum((turned * goal).sum(axis=(1, 2)), 1e-9)
    front = (points - middle) @ turn / scale[:, None, None] + mean[still].mean(axis=0)
    return front, scale, turn


def shape_of(meshes: FloatArray, yaws: FloatArray) -> tuple[FloatArray, float]:
    """One face from several looks at it: the mean of its meshes turned to the front.

    Parameters
    ----------
    meshes
        (N, 478, 3) in pixels.
    yaws
        (N,) degrees; looks from the side count less.

    Returns
    -------
    (478, 3) float32 in eye distances of the mean face, and how many looks from the front it is worth.
    """
    weight = _frontal(yaws)
    front, _, _ = to_front(meshes)
    mean = np.einsum("n,nkd->kd", weight / weight.sum(), front)
    return np.asarray(mean, dtype=np.float32), float(weight.sum())


def _frontal(yaws: FloatArray) -> npt.NDArray[np.float64]:
    """(N,) how much looks count: those from the side less."""
    return np.asarray(np.exp(-((yaws.astype(np.float64) / TURN_DEG) ** 2)) + 1e-3)


@dataclass(frozen=True, slots=True, eq=False)
class FaceShapeModel:
    """How people differ, and how one face differs from itself.

    Attributes
    ----------
    mean
        (468, 3) mean face in eye distances.
    axes
        (C, 468, 3) orthonormal components, symmetric.
    between, within
        (C, C) covariance of people, and of looks at one person, along them.
    """

    mean: FloatArray
    axes: FloatArray
    between: FloatArray
    within: FloatArray

    def proportions(self, shape: FloatArray, looks: float) -> FloatArray:
        """The best guess of somebody's proportions, freed of expression.

        Parameters
        ----------
        shape
            (478, 3) as `shape_of` makes it.
        looks
            Of how many independent looks from the front it is the mean; `LEAST` to `MANY` count.

        Returns
        -------
        (C,) along the axes, 0 for the mean face.
        """
        flip = load_mesh_topology().flip
        mirrored = shape[flip] * np.array([-1.0, 1.0, 1.0])
        off = ((shape + mirrored) / 2)[:SKIN_COUNT] - self.mean
        scores = self.axes.reshape(len(self.axes), -1) @ off.reshape(-1).astype(np.float64)
        noise = self.within / min(max(looks, LEAST), MANY)
        return np.asarray(self.between @ np.linalg.solve(self.between + noise, scores), dtype=np.float32)

    def offsets(self, change: FloatArray) -> FloatArray:
        """(478, 3) movement of the points for a change of (C,) proportions, eye distances; irises go with the eyes."""
        moved = np.zeros((POINT_COUNT, 3), dtype=np.float64)
        moved[:SKIN_COUNT] = np.tensordot(change.astype(np.float64), self.axes.astype(np.float64), 1)
        for ring, first in ((LEFT_EYE, SKIN_COUNT), (RIGHT_EYE, SKIN_COUNT + 5)):
            moved[first : first + 5] = moved[list(ring)].mean(axis=0)
        return moved.astype(np.float32)


@cache
def load_face_shape() -> FaceShapeModel:
    """The model that ships with the package."""
    held = load((EMBEDDED / "face_shape.safetensors").read_bytes())
    return FaceShapeModel(**{name: values.astype(np.float32) for name, values in held.items()})


@dataclass(frozen=True, slots=True, eq=False)
class _Gap:
    """What opens and shuts: two rows of points that lie opposite one another, and what moves with either."""

    upper: list[int]
    lower: list[int]
    share: npt.NDArray[np.float64]
    """(478, P) of what the rows' pairs move apart, how much belongs to each point; negative above."""
    size: float
    """How far they are apart in the middle in the mean face, eye distances."""

    def opening(self, front: npt.NDArray[np.float64]) -> float:
        """How far they are apart, over the same of the mean face; of a (478, 3) mesh turned to the front."""
        third = len(self.upper) // 3
        middle = slice(third, len(self.upper) - third)
        apart = front[self.lower, 1] - front[self.upper, 1]
        return float(apart[middle].mean() / self.size)


LOOSE = 0.35
"""Eye distances beyond the outline of lips over which skin goes along with them; a third of that at lids."""


@cache
def _gaps() -> tuple[_Gap, ...]:
    """Lips, and the lids of either eye."""
    mean = load_mesh_topology().mean.astype(np.float64)
    rings = ((LIPS_INNER, LIPS_OUTER, LOOSE), (LEFT_EYE, LEFT_EYE, LOOSE / 3), (RIGHT_EYE, RIGHT_EYE, LOOSE / 3))
    return tuple(_gap(mean, inner, outer, loose) for inner, outer, loose in rings)


def _gap(mean: npt.NDArray[np.float64], inner: Sequence[int], outer: Sequence[int], loose: float) -> _Gap:
    half = len(inner) // 2
    upper, lower = list(inner[1:half]), list(inner[:half:-1])
    places = (mean[upper, 0] + mean[lower, 0]) / 2
    corners = mean[[inner[0], inner[half]], 0]
    order = np.argsort(places)
    knots = np.concatenate([[corners.min()], places[order], [corners.max()]])
    along = np.zeros((POINT_COUNT, len(upper)))
    for row, pair in enumerate(order):
        peak = np.zeros(len(knots))
        peak[row + 1] = 1.0
        along[:, pair] = np.interp(mean[:, 0], knots, peak, left=0.0, right=0.0)
    middle = np.concatenate([mean[[inner[0], inner[half]]], (mean[upper] + mean[lower]) / 2])
    middle = middle[np.argsort(middle[:, 0])]
    line = np.interp(mean[:, 0], middle[:, 0], middle[:, 1])
    side = np.where(mean[:, 1] < line, -1.0, 1.0)
    side[upper], side[lower], side[[inner[0], inner[half]]] = -1.0, 1.0, 0.0
    ring = mean[list(outer), :2]
    away = np.linalg.norm(mean[:, None, :2] - ring[None], axis=2).min(axis=1)
    inside = (mean[:, 1] > np.interp(mean[:, 0], *_line_of(ring[: len(outer) // 2 + 1]))) & (
        mean[:, 1] < np.interp(mean[:, 0], *_line_of(np.concatenate([ring[len(outer) // 2 :], ring[:1]])))
    )
    fall = np.where(inside, 1.0, np.clip(1 - away / loose, 0, 1))
    fall = fall * fall * (3 - 2 * fall)
    fall[SKIN_COUNT:] = 0.0
    third = len(upper) // 3
    sizes = mean[lower, 1] - mean[upper, 1]
    return _Gap(upper, lower, along * (side * fall / 2)[:, None], float(sizes[third : len(upper) - third].mean()))


def _line_of(points: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    ordered = points[np.argsort(points[:, 0])]
    return ordered[:, 0], ordered[:, 1]


_LEFT = (*LEFT_BROW, LEFT_EYE[0], LEFT_EYE[8])
"""Brow and corners of the eye on the left of the picture, of which there are as many on the right."""
HABITS = 1 + 2 * len(_LEFT)
"""What a face usually looks like around the eyes, told beside its proportions: see `habits_of`."""
OPENED, PRIOR = 0.27, 1.5
"""Distance of the lids of an open eye over its width, in most people, and how many looks that is worth."""
USUAL = 0.7
"""Share of its looks in which eyes are open no wider than usual; blinks are the rest."""
AROUND, NEAR = 0.22, 0.07
"""Eye distances from brows over which what surrounds them goes along; from how far off a point of them counts."""


def habits_of(meshes: FloatArray, yaws: FloatArray) -> FloatArray:
    """(H,) how far the lids of a face are usually apart, over the width of an eye, and where brows and corners of the
    eyes are: x and y of those on the left, away from the mean face, eye distances, both sides taken together.

    Parameters
    ----------
    meshes
        (N, 478, 3) in pixels.
    yaws
        (N,) degrees.
    """
    weight = _frontal(yaws)
    openings = np.array([np.mean([lid_gap(mesh, ring)[0] for ring in (LEFT_EYE, RIGHT_EYE)]) for mesh in meshes])
    order = np.argsort(openings)
    reached = np.cumsum(weight[order]) - weight[order] / 2
    opening = float(np.interp(USUAL * weight.sum(), reached, openings[order]))
    # A few looks may all be in one blink.
    opening = (weight.sum() * opening + PRIOR * OPENED) / (weight.sum() + PRIOR)
    topology = load_mesh_topology()
    away = np.einsum("n,nkd->kd", weight / weight.sum(), to_front(meshes)[0]) - topology.mean
    away = (away + away[topology.flip] * [-1, 1, 1]) / 2
    return np.concatenate([[opening], away[list(_LEFT), :2].ravel()]).astype(np.float32)


def lid_gap(mesh: FloatArray, ring: Sequence[int]) -> tuple[float, float, FloatArray]:
    """How far the lids of an eye are apart over its width, that width in pixels, and the (2,) direction upwards.

    The width is that in depth, too: of a head that is turned an eye looks narrower, and is as open as it was.

    Parameters
    ----------
    mesh
        (478, 3) in pixels.
    ring
        `LEFT_EYE` or `RIGHT_EYE`.
    """
    upper, lower = list(ring[3:6]), list(ring[13:10:-1])
    length = max(float(np.linalg.norm(mesh[ring[8]] - mesh[ring[0]])), 1e-6)
    # As the whole head stands: in profile the corners of one eye may change sides.
    eyes = mesh[RIGHT_EYE[8], :2] - mesh[LEFT_EYE[0], :2]
    up = mesh[FOREHEAD, :2] - mesh[CHIN, :2] + np.array([eyes[1], -eyes[0]], dtype=np.float32)
    up = up / max(float(np.linalg.norm(up)), 1e-6)
    return float(((mesh[upper, :2] - mesh[lower, :2]) @ up).mean()) / length, length, up


def mouth_gap(mesh: FloatArray) -> float:
    """How far the lips of a (478, 3) mesh are apart in the middle, over the length of what is between them."""
    left, above, right, below = (mesh[LIPS_INNER[k]] for k in (0, 5, 10, 15))
    return float(np.linalg.norm(above - below)) / max(float(np.linalg.norm(left - right)), 1e-6)


def proportions_of(meshes: FloatArray, yaws: FloatArray) -> FloatArray:
    """(C + H,) proportions of the person in some meshes, freed of expression, and what their face usually does.

    Parameters
    ----------
    meshes
        (N, 478, 3) in pixels.
    yaws
        (N,) degrees.
    """
    shape = load_face_shape().proportions(*shape_of(meshes, yaws))
    return np.concatenate([shape, habits_of(meshes, yaws)])


def known_habits(proportions: FloatArray | None) -> FloatArray | None:
    """(H,) what `proportions_of` told of habits; None where nothing is known, as in tracks of earlier versions."""
    count = len(load_face_shape().axes)
    return None if proportions is None or len(proportions) != count + HABITS else proportions[count:]


@cache
def _around_eyes() -> npt.NDArray[np.float64]:
    """(478, 2 L) how far each point goes along with brows and corners of the eyes, `_LEFT` and then those on the right.

    What is between the lids goes with the corners, skin with what is near.
    """
    topology = load_mesh_topology()
    mean = topology.mean.astype(np.float64)
    controls = np.array([*_LEFT, *topology.flip[list(_LEFT)]])
    away = np.linalg.norm(mean[:, None, :2] - mean[None, controls, :2], axis=2)
    share = np.exp(-np.square(away / NEAR)) + 1e-12
    fall = np.clip(1 - away.min(axis=1) / AROUND, 0, 1)
    share *= (fall * fall * (3 - 2 * fall) / share.sum(axis=1))[:, None]
    share[controls] = np.eye(len(controls))
    for ring, first in ((LEFT_EYE, SKIN_COUNT), (RIGHT_EYE, SKIN_COUNT + 5)):
        ends = [int(np.flatnonzero(controls == corner)[0]) for corner in (ring[0], ring[8])]
        points = [*ring, *range(first, first + 5)]
        along = (mean[points, 0] - mean[ring[0], 0]) / (mean[ring[8], 0] - mean[ring[0], 0])
        share[points] = 0.0
        share[points, ends[0]], share[points, ends[1]] = 1 - np.clip(along, 0, 1), np.clip(along, 0, 1)
    return np.asarray(share)


def with_habits(offsets: FloatArray, change: FloatArray, share: float, most: float) -> FloatArray:
    """Offsets whose brows and eyes are where somebody else's usually are.

    Parameters
    ----------
    offsets
        (478, 3) of the front, eye distances, as of `FaceShapeModel.offsets`: few components hold what all faces have.
    change
        (H,) habits of one less those of the other.
    share
        How far brows and eyes go there, 0 to 1.
    most
        Furthest that anything is moved besides, eye distances.
    """
    flip = load_mesh_topology().flip
    left = change[1:].reshape(-1, 2).astype(np.float64)
    goal = np.concatenate([left, left * [-1, 1]])
    controls = [*_LEFT, *flip[list(_LEFT)].tolist()]
    rest = np.clip((goal - offsets[controls, :2]) * share, -most, most)
    moved = offsets.astype(np.float64)
    moved[:, :2] += _around_eyes() @ rest
    return moved.astype(np.float32)


def without_expression(mesh: FloatArray, offsets: FloatArray) -> FloatArray:
    """Offsets that neither open nor shut what somebody else's proportions have open or shut.

    How far lips are apart is not who somebody is. How large eyes are is, as far as they are open: lids that are down
    stay down.

    Parameters
    ----------
    mesh
        (478, 3) of the face that is to move.
    offsets
        (478, 3) of the front, eye distances.
    """
    return _without_expression(to_front(mesh[None])[0][0], offsets, True).astype(np.float32)


def _without_expression(front: npt.NDArray[np.float64], offsets: FloatArray, has_lids: bool) -> npt.NDArray[np.float64]:
    moved = offsets.astype(np.float64)
    result = moved.copy()
    for number, gap in enumerate(_gaps()):
        kept = 0.0 if number == 0 or not has_lids else min(max(gap.opening(front), 0.0), 1.0)
        if kept < 1:
            result -= (1 - kept) * (gap.share @ (moved[gap.lower] - moved[gap.upper]))
    return result


def reshaped(mesh: FloatArray, offsets: FloatArray) -> FloatArray:
    """A (478, 3) mesh with (478, 3) offsets of the front added to it, whatever its pose; its expression stays.

    How far lids are apart stays, too: what they usually are is told by `habits_of`.
    """
    front, scale, turn = to_front(mesh[None])
    moved = _without_expression(front[0], offsets, False) @ turn[0].T * scale[0]
    return np.asarray(mesh + moved, dtype=np.float32)
