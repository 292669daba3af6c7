"""Where to look: square crops of faces as affine maps, from a mesh or from a detection.

A crop is described by ``crop_from_frame``, a (2, 3) affine that takes frame pixels to crop pixels.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from facefusion.types.topology import (
    CHIN,
    FOREHEAD,
    LEFT_IRIS,
    MOUTH_LEFT,
    MOUTH_RIGHT,
    RIGHT_IRIS,
    SKIN_COUNT,
)

FloatArray = npt.NDArray[np.float32]

MESH_CROP_MARGIN = 1.3
"""Side of a mesh crop over the longer side of the mesh's own (roll-free) bounding box."""

# Mean relation of a detector's box to the mesh inside it, measured on the training faces.
_BOX_SCALE = 1.03
_BOX_SHIFT = 0.067


def square_crop(centre: npt.ArrayLike, side: float, roll_rad: float, size: int) -> FloatArray:
    """Affine ``crop_from_frame`` of a turned square.

    Parameters
    ----------
    centre
        (2,) centre of the square in frame pixels.
    side
        Side of the square in frame pixels, > 0.
    roll_rad
        Angle by which the face is turned clockwise in the frame, radians; the crop is upright.
    size
        Side of the crop in pixels.

    Returns
    -------
    (2, 3) float32.
    """
    scale = size / max(float(side), 1e-3)
    c, s = np.cos(roll_rad) * scale, np.sin(roll_rad) * scale
    linear = np.array([[c, s], [-s, c]])
    middle = np.full(2, (size - 1) / 2)
    shift = middle - linear @ np.asarray(centre, dtype=np.float64)
    return np.concatenate([linear, shift[:, None]], axis=1).astype(np.float32)


def mesh_roll(points: FloatArray) -> float:
    """Roll of a mesh in the image plane, radians, positive clockwise.

    The eye line is steady for frontal faces and the line from forehead to chin for turned ones;
    their sum weighs them by length.
    """
    left = points[[33, 133], :2].mean(axis=0)
    right = points[[362, 263], :2].mean(axis=0)
    eyes = right - left
    down = points[CHIN, :2] - points[FOREHEAD, :2] + np.array([-eyes[1], eyes[0]])
    return float(np.arctan2(-down[0], down[1]))


def five_point_roll(points: FloatArray) -> float:
    """Roll of a five-point layout in the image plane, radians, positive clockwise."""
    eyes = points[1] - points[0]
    down = (points[3] + points[4]) / 2 - (points[0] + points[1]) / 2
    down = down + np.array([-eyes[1], eyes[0]])
    return float(np.arctan2(-down[0], down[1]))


def mesh_crop(points: FloatArray, size: int, margin: float = MESH_CROP_MARGIN) -> FloatArray:
    """Upright square crop around a mesh.

    Parameters
    ----------
    points
        (478, 2 or 3) mesh in frame pixels.
    size
        Side of the crop in pixels.
    margin
        Side of the square over the longer side of the mesh's bounding box.

    Returns
    -------
    (2, 3) ``crop_from_frame``.
    """
    roll, (left, right), (top, bottom) = _upright(points)
    c, s = math.cos(roll), math.sin(roll)
    across, down = (left + right) / 2, (top + bottom) / 2
    centre = np.array([c * across - s * down, s * across + c * down])
    return square_crop(centre, max(right - left, bottom - top) * margin, roll, size)


def mesh_extent(points: FloatArray) -> float:
    """The longer side of the box around the skin of an (upright) mesh, pixels."""
    return _extent(*_upright(points)[1:])


def _extent(across: tuple[float, float], down: tuple[float, float]) -> float:
    return max(across[1] - across[0], down[1] - down[0])


def _upright(points: FloatArray) -> tuple[float, tuple[float, float], tuple[float, float]]:
    """The roll of a mesh, and what its skin reaches over, across and down, once that is taken off."""
    roll = mesh_roll(points)
    c, s = math.cos(roll), math.sin(roll)
    x, y = (np.ascontiguousarray(points[:SKIN_COUNT, axis], dtype=np.float64) for axis in (0, 1))
    across, down = ((float(v.min()), float(v.max())) for v in (c * x + s * y, c * y - s * x))
    return roll, across, down


def eye_band(points: FloatArray, width: int, height: int) -> FloatArray:
    """Upright band around the eyes, as wide as a face is tall.

    Parameters
    ----------
    points
        (478, 2 or 3) mesh in frame pixels.
    width, height
        Of the band in pixels.

    Returns
    -------
    (2, 3) ``band_from_frame``.
    """
    roll, (left, right), (top, bottom) = _upright(points)
    middle = points[[LEFT_IRIS, RIGHT_IRIS], :2].mean(axis=0)
    square = square_crop(middle, max(right - left, bottom - top), roll, width)
    return compose(shifted(0, (width - height) // 2), square)


def eye_crop(points: FloatArray, size: int, margin: float = 1.0) -> FloatArray:
    """Upright square around the eye on the left of the picture and its brow; see `mesh_crop`.

    Parameters
    ----------
    points
        (478, 2 or 3) mesh in frame pixels.
    size
        Side of the crop in pixels.
    margin
        Side of the square over what the embedded model of eyes and mouths sees.

    Returns
    -------
    (2, 3) ``crop_from_frame``.
    """
    return _part_crop(points, [33, 133], -0.05, 0.38 * margin, size)


def mouth_crop(points: FloatArray, size: int, margin: float = 1.0) -> FloatArray:
    """Upright square around mouth and chin; see `eye_crop`."""
    return _part_crop(points, [MOUTH_LEFT, MOUTH_RIGHT], 0.06, 0.56 * margin, size)


def _part_crop(points: FloatArray, ends: list[int], lower: float, side: float, size: int) -> FloatArray:
    """A square ``side`` as wide as the face is large, around the middle of two points and that much lower."""
    roll, across, down = _upright(points)
    extent = _extent(across, down)
    middle = points[ends, :2].mean(axis=0) + lower * extent * np.array([-math.sin(roll), math.cos(roll)])
    return square_crop(middle, side * extent, roll, size)


def detection_crop(box: FloatArray, five: FloatArray, size: int, margin: float = MESH_CROP_MARGIN) -> FloatArray:
    """Upright square crop where the mesh of a detected face is expected.

    Parameters
    ----------
    box
        (4,) xyxy in frame pixels.
    five
        (5, 2) five-point layout in frame pixels.
    size, margin
        As in `mesh_crop`.

    Returns
    -------
    (2, 3) ``crop_from_frame``.
    """
    roll = five_point_roll(five)
    scale = float(np.sqrt(max(box[2] - box[0], 1.0) * max(box[3] - box[1], 1.0)))
    down = np.array([-np.sin(roll), np.cos(roll)])
    centre = (box[:2] + box[2:]) / 2 + down * scale * _BOX_SHIFT
    return square_crop(centre, scale * _BOX_SCALE * margin, roll, size)


def invert(affine: FloatArray) -> FloatArray:
    """Inverse of a (2, 3) affine: ``b_from_a`` becomes ``a_from_b``."""
    # Of so few numbers the formula takes a tenth of the time of a solver.
    (a, b, x), (c, d, y) = affine.astype(np.float64).tolist()
    det = a * d - b * c
    if det == 0:
        raise np.linalg.LinAlgError("Singular matrix")
    return np.array(
        [[d / det, -b / det, (b * y - d * x) / det], [-c / det, a / det, (c * x - a * y) / det]], dtype=np.float32
    )


def compose(outer: FloatArray, inner: FloatArray) -> FloatArray:
    """``c_from_a`` of ``c_from_b`` (outer) and ``b_from_a`` (inner)."""
    # Of so few numbers plain ones are several times faster than products of matrices.
    (a, b, x), (c, d, y) = outer.tolist()
    (p, q, u), (r, s, v) = inner.tolist()
    rows = [
        [a * p + b * r, a * q + b * s, a * u + b * v + x],
        [c * p + d * r, c * q + d * s, c * u + d * v + y],
    ]
    return np.array(rows, dtype=np.float32)


def shifted(x0: int, y0: int) -> FloatArray:
    """(2, 3) affine from a picture to a part of it whose corner lies there."""
    return np.array([[1, 0, -x0], [0, 1, -y0]], dtype=np.float32)


def transform(affine: FloatArray, points: FloatArray) -> FloatArray:
    """Apply a similarity ``b_from_a`` to (N, 2) or (N, 3) points; z is scaled alike."""
    moved = points[:, :2] @ affine[:, :2].T + affine[:, 2]
    if points.shape[1] == 2:
        return np.asarray(moved, dtype=np.float32)
    scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2].astype(np.float64)))))
    return np.concatenate([moved, points[:, 2:] * scale], axis=1).astype(np.float32)
