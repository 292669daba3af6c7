"""Triangle meshes over images: rasterisation, piecewise-affine warps, visibility.

Everything here is a pure function of arrays. Pixel centres lie at integer coordinates;
x grows to the right, y downwards and z away from the camera.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]


def signed_areas(points: FloatArray, triangles: IntArray) -> FloatArray:
    """Twice the signed area of every projected triangle.

    Parameters
    ----------
    points
        (N, 2 or 3) vertices in pixels; z is ignored.
    triangles
        (T, 3) vertex indices.

    Returns
    -------
    (T,) areas in square pixels. Positive where the vertices run clockwise as seen in the
    image (y points down), which is the winding of a front-facing triangle of our topologies.
    """
    a, b, c = (points[triangles[:, k], :2] for k in range(3))
    u, v = b - a, c - a
    return np.asarray(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0], dtype=np.float32)


def rasterise(points: FloatArray, triangles: IntArray, height: int, width: int) -> IntArray:
    """Draw a mesh into an index map: which triangle is seen at which pixel.

    Back-facing triangles are not drawn; of several front-facing ones the nearest (by mean z)
    is kept. A pixel belongs to a triangle by the half-open rule, so triangles that share an
    edge leave neither gaps nor double pixels.

    Parameters
    ----------
    points
        (N, 3) vertices in pixels; smaller z is nearer.
    triangles
        (T, 3) vertex indices, clockwise where they face the camera.
    height, width
        Size of the map in pixels.

    Returns
    -------
    (height, width) int32, index into ``triangles`` or -1 where nothing is seen.

    References
    ----------
    Scan conversion with the painter's order: Foley et al., Computer Graphics, 2nd ed., ch. 3 and 15.
    """
    index_map = np.full(height * width, -1, dtype=np.int32)
    visible = np.flatnonzero(signed_areas(points, triangles) > 1e-6)
    if visible.size == 0:
        return index_map.reshape(height, width)
    # Vertex by vertex instead of reductions over an axis of three, which are several times slower.
    depth = sum(points[triangles[visible, k], 2] for k in range(3))
    order = visible[np.argsort(-depth, kind="stable")]
    x, y = _along_axes(points, [np.ascontiguousarray(triangles[order, k]) for k in range(3)])

    # One entry per triangle and row, then one per triangle, row and pixel: no loop over triangles.
    a, b, c = y
    first = np.clip(np.ceil(np.minimum(np.minimum(a, b), c)), 0, height).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(np.maximum(a, b), c)), 0, height).astype(np.int64)
    rows, owner = _expand(first, last)
    at = rows.astype(np.float64)
    left, right = np.full(len(rows), np.inf), np.full(len(rows), -np.inf)
    xs, ys = ([places[owner] for places in axis] for axis in (x, y))
    for k, following in ((0, 1), (1, 2), (2, 0)):
        crosses = (ys[k] <= at) != (ys[following] <= at)
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = xs[k] + (at - ys[k]) * (xs[following] - xs[k]) / (ys[following] - ys[k])
        np.minimum(left, np.where(crosses, crossing, np.inf), out=left)
        np.maximum(right, np.where(crosses, crossing, -np.inf), out=right)
    is_spanned = right > left
    rows, owner, left, right = (part[is_spanned] for part in (rows, owner, left, right))
    start = np.clip(np.ceil(left), 0, width).astype(np.int64)
    stop = np.clip(np.ceil(right), 0, width).astype(np.int64)
    columns, span = _expand(start, stop)
    # Far triangles come first, so the last write at a pixel is the nearest triangle.
    index_map[(rows * width)[span] + columns] = order[owner][span]
    return index_map.reshape(height, width)


def _expand(
    start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All integers of many half-open ranges, and the number of the range each came from."""
    counts = np.maximum(stop - start, 0)
    owner = np.repeat(np.arange(len(start)), counts)
    offsets = np.cumsum(counts) - counts
    values = np.arange(len(owner)) + (start - offsets)[owner]
    return values, owner


def triangle_affines(points_from: FloatArray, points_to: FloatArray, triangles: IntArray) -> FloatArray:
    """Affine maps that take each triangle of one mesh to the same triangle of another.

    Parameters
    ----------
    points_from, points_to
        (N, 2 or 3) vertices of both meshes in pixels; z is ignored.
    triangles
        (T, 3) vertex indices.

    Returns
    -------
    (T, 2, 3) float32 ``to_from_from`` affines; degenerate triangles map to their first vertex.
    """
    # Number by number: of many arrays of two by two every step takes several times as long.
    corners = [np.ascontiguousarray(triangles[:, k]) for k in range(3)]
    (ax, px, qx), (ay, py, qy) = _along_axes(points_from, corners)
    px, qx, py, qy = px - ax, qx - ax, py - ay, qy - ay
    det = px * qy - qx * py
    safe = np.where(np.abs(det) < 1e-9, np.inf, det)
    affines = np.empty((len(triangles), 2, 3), dtype=np.float32)
    for axis, (b, r, s) in enumerate(_along_axes(points_to, corners)):
        r, s = r - b, s - b
        per_x, per_y = (r * qy - s * py) / safe, (s * px - r * qx) / safe
        affines[:, axis, 0], affines[:, axis, 1] = per_x, per_y
        affines[:, axis, 2] = b - per_x * ax - per_y * ay
    return affines


def _along_axes(points: FloatArray, corners: Sequence[IntArray]) -> list[list[npt.NDArray[np.float64]]]:
    """For x and y, of each corner of all triangles where it lies, (T,)."""
    axes = (np.ascontiguousarray(points[:, axis], dtype=np.float64) for axis in (0, 1))
    return [[places[corner] for corner in corners] for places in axes]


def warp_map(index_map: IntArray, affines: FloatArray, fill: float = -1.0) -> FloatArray:
    """Sampling coordinates of a piecewise-affine warp, for ``cv2.remap``.

    Parameters
    ----------
    index_map
        (H, W) triangle index per output pixel, -1 for none (see `rasterise`).
    affines
        (T, 2, 3) maps from output pixels to input pixels (see `triangle_affines`).
    fill
        Coordinate given to pixels without a triangle.

    Returns
    -------
    (H, W, 2) float32 input coordinates (x, y) in pixels.
    """
    height, width = index_map.shape
    coordinates = np.full((height * width, 2), fill, dtype=np.float32)
    flat = np.flatnonzero(index_map.ravel() >= 0)
    triangle = index_map.ravel()[flat]
    x = (flat % width).astype(np.float32)
    y = (flat // width).astype(np.float32)
    # Number by number: arrays of two by three are several times slower.
    for axis in (0, 1):
        per_x, per_y, shift = (np.ascontiguousarray(affines[:, axis, k])[triangle] for k in range(3))
        coordinates[flat, axis] = per_x * x + per_y * y + shift
    return coordinates.reshape(height, width, 2)
