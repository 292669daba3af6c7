"""The proportions of people, apart from what their faces do (model made by ``training/build_shape.py``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.models.spec import EMBEDDED
from facefusion.types.topology import (
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
    weight = np.exp(-((yaws.astype(np.float64) / TURN_DEG) ** 2)) + 1e-3
    front, _, _ = to_front(meshes)
    mean = np.einsum("n,nkd->kd", weight / weight.sum(), front)
    return np.asarray(mean, dtype=np.float32), float(weight.sum())


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


def reshaped(mesh: FloatArray, offsets: FloatArray) -> FloatArray:
    """A (478, 3) mesh with (478, 3) offsets of the front added to it, whatever its pose and expression."""
    _, scale, turn = to_front(mesh[None])
    moved = offsets.astype(np.float64) @ turn[0].T * scale[0]
    return np.asarray(mesh + moved, dtype=np.float32)
