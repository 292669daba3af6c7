"""Masks over crops, 0 to 1. Masks of several kinds are combined by minimum."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.types.topology import CHIN, FACE_OVAL, FOREHEAD, LEFT_IRIS, RIGHT_IRIS

FloatArray = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

AREAS: dict[str, tuple[int, ...]] = {
    "upper-face": (0, 1, 2, 31, 32, 33, 34, 35, 14, 15, 16, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17),
    "lower-face": (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 35, 34, 33, 32, 31),
    "mouth": tuple(range(48, 68)),
}
"""Points of the 68-point layout whose hull is an area."""


def box_mask(height: int, width: int, blur: float, padding: tuple[int, int, int, int]) -> FloatArray:
    """A rectangle with soft edges.

    Parameters
    ----------
    height, width
        Of the crop in pixels.
    blur
        0 to 1; at 1 the softness reaches a quarter of the width.
    padding
        Percent cut off at top, right, bottom, left.
    """
    amount = int(width * 0.5 * blur)
    edge = max(amount // 2, 1)
    mask = np.ones((height, width), dtype=np.float32)
    top, right, bottom, left = padding
    mask[: max(edge, int(height * top / 100))] = 0
    mask[height - max(edge, int(height * bottom / 100)) :] = 0
    mask[:, : max(edge, int(width * left / 100))] = 0
    mask[:, width - max(edge, int(width * right / 100)) :] = 0
    if amount > 0:
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), amount * 0.25), dtype=np.float32)
    return mask


_ENOUGH_PX = 2.5
"""Standard deviation of a smoothing that is wide enough to be done on a reduced copy."""
_LEAST_INSIDE = 0.02
"""Share of what is smoothed over that must lie inside, so that it says anything."""


def soften(mask: FloatArray, sigma_share: float = 5 / 256, inside: FloatArray | None = None) -> FloatArray:
    """Smooth a mask and draw its edge inwards, so that nothing outside of it is let through.

    Parameters
    ----------
    mask
        (H, W).
    sigma_share
        Width of the smoothing over the side of the crop; the same softness at every size.
    inside
        (H, W) where the mask says anything; elsewhere it goes on as it is beside. None for everywhere.
    """
    height, width = mask.shape
    sigma = max(sigma_share * width, 0.3)
    # What is smoothed broadly holds no detail, so it is smoothed on a reduced copy.
    factor = max(int(sigma / _ENOUGH_PX), 1)
    parts = [mask] if inside is None else [mask * inside, inside]
    if factor > 1:
        size = (max(width // factor, 1), max(height // factor, 1))
        parts = [np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), dtype=np.float32) for part in parts]
    smooth, *within = (cv2.GaussianBlur(part, (0, 0), sigma / factor) for part in parts)
    if within:
        smooth = smooth / np.maximum(within[0], _LEAST_INSIDE)
    if factor > 1:
        smooth = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray((np.clip(smooth, 0.5, 1) - 0.5) * 2, dtype=np.float32)


def area_mask(height: int, width: int, points: FloatArray, areas: Sequence[str]) -> FloatArray:
    """Convex hull of parts of the face.

    Parameters
    ----------
    height, width
        Of the crop.
    points
        (68, 2) 68-point layout in crop pixels.
    areas
        Keys of `AREAS`.
    """
    mask = np.zeros((height, width), dtype=np.float32)
    rows = [row for area in areas for row in AREAS[area]]
    if rows:
        hull = cv2.convexHull(np.round(points[rows]).astype(np.int32))
        cv2.fillConvexPoly(mask, hull, 1.0)
    return soften(mask)


_RAYS, _RIM_REACH = 48, (0.16, 0.6)
"""Directions from an eye in which a rim is looked for, and how near and far, distances between the eyes."""
_ALL_OF_ONE, _OF_BOTH = 0.7, 0.4
"""Share of them in which there is one, of one eye and of either, from which somebody wears glasses. Wrinkles and brows
that are taken for rims are above one eye or the nose."""
_CROSSINGS = ((133, 362, 0.3, 0.15), (127, 33, 0.22, 0.22), (356, 263, 0.22, 0.22))
"""Over the nose, and from the sides of the head to the eyes: points, and how far above and below a rim crosses."""
_MOST_OF_TWO = 0.65
"""Share of two of these ways over which there is one: thin rims and lenses without any are found there and hardly
anywhere else."""
EYES_OF_FACE = 0.36
"""Distance between the eyes over the height of a face."""


def are_glasses(rims: FloatArray, mesh: FloatArray) -> bool:
    """Whether what was found of glasses goes around the eyes as rims do, halves of rims included.

    Parameters
    ----------
    rims
        (H, W) how far frames of glasses hide each pixel.
    mesh
        (478, 3) in its pixels.
    """
    shares, crossed = rims_around(rims, mesh, 0.5)
    return max(shares) > _ALL_OF_ONE or min(shares) > _OF_BOTH or crossed[1] > _MOST_OF_TWO


def rims_around(rims: FloatArray, mesh: FloatArray, least: float) -> tuple[list[float], list[float]]:
    """How far rims go around the eyes, and over the nose and to the ears.

    Parameters
    ----------
    rims
        (H, W) how far frames of glasses hide each pixel.
    mesh
        (478, 2 or 3) in its pixels.
    least
        Value from which there is a rim.

    Returns
    -------
    Shares of the directions around either eye in which there is one, and of the three ways on which there is one, least
    first.
    """
    across, tall = (mesh[b, :2] - mesh[a, :2] for a, b in ((RIGHT_IRIS, LEFT_IRIS), (FOREHEAD, CHIN)))
    unit = max(float(np.linalg.norm(across)), EYES_OF_FACE * float(np.linalg.norm(tall)))
    angles = np.arange(_RAYS, dtype=np.float32) * np.float32(2 * np.pi / _RAYS)
    steps = np.arange(_RIM_REACH[0] * unit, _RIM_REACH[1] * unit, 0.5, dtype=np.float32)
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=-1)[:, None] * steps[:, None]
    height, width = rims.shape
    shares = []
    for iris in (RIGHT_IRIS, LEFT_IRIS):
        x, y = (np.clip(np.rint(mesh[iris, k] + rays[..., k]), 0, (width, height)[k] - 1).astype(int) for k in (0, 1))
        shares.append(float((rims[y, x] > least).any(axis=1).mean()))
    return shares, sorted(_crossed(rims, mesh, *line, unit, least) for line in _CROSSINGS)


def _crossed(
    rims: FloatArray, mesh: FloatArray, start: int, end: int, up: float, down: float, unit: float, least: float
) -> float:
    """Share of the way from one point to another over, on or under which a rim lies."""
    share = np.linspace(0.08, 0.92, 12, dtype=np.float32)[:, None]
    at = mesh[start, :2] + (mesh[end, :2] - mesh[start, :2]) * share
    rows = at[:, 1:] + np.arange(-up * unit, down * unit, 0.5, dtype=np.float32)
    height, width = rims.shape
    y, x = (np.rint(one).astype(int) for one in (rows, np.broadcast_to(at[:, :1], rows.shape)))
    is_in = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    hit = np.where(is_in, rims[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)], 0) > least
    return float(hit.any(axis=1).mean())


def polygon(points: FloatArray, height: int, width: int) -> FloatArray:
    """(H, W) 1 inside an outline, (N, 2) points in crop pixels, 0 outside."""
    mask = np.zeros((height, width), dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) * np.float32(1 / 255)


def hull(points: FloatArray, height: int, width: int) -> FloatArray:
    """(H, W) 1 inside the convex hull of (N, 2) points in crop pixels, 0 outside."""
    outline = np.asarray(cv2.convexHull(points.astype(np.float32))[:, 0], dtype=np.float32)
    return polygon(outline, height, width)


def face_oval(mesh: FloatArray, growth: float = 1.0) -> FloatArray:
    """(N, 2) outline of a face as it is seen from the front, grown about its middle; see `silhouette`."""
    oval, middle = mesh[list(FACE_OVAL), :2], _middle(mesh)
    return np.asarray(middle + (oval - middle) * np.float32(growth), dtype=np.float32)


def silhouette(mesh: FloatArray, growth: float = 1.0) -> FloatArray:
    """(N, 2) convex outline of a face in a picture, grown about its middle.

    Of a head that is turned, the nose and the lips stand out over the oval of its front.

    Parameters
    ----------
    mesh
        (478, 2 or 3) in its pixels.
    growth
        Factor.
    """
    middle = _middle(mesh)
    hull = cv2.convexHull(mesh[:, :2].astype(np.float32))[:, 0]
    return np.asarray(middle + (hull - middle) * np.float32(growth), dtype=np.float32)


def joined(mask: FloatArray, other: FloatArray, gap: float) -> FloatArray:
    """(H, W) two masks as one, without the gap between them.

    Parameters
    ----------
    mask, other
        (H, W), 0 to 1. Where nothing of the other is near, the mask is as it was.
    gap
        Widest gap that is closed, pixels.
    """
    both = np.maximum(mask, other)
    side = 2 * max(round(gap / 2), 1) + 1
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = np.asarray(cv2.morphologyEx(both, cv2.MORPH_CLOSE, element), dtype=np.float32)
    near = np.asarray(cv2.dilate(other, element), dtype=np.float32)
    return np.asarray(np.maximum(both, np.minimum(closed, near)), dtype=np.float32)


def disc_around(
    outline: FloatArray, height: int, width: int, growth: float, softness: float, middle: FloatArray | None = None
) -> FloatArray:
    """1 inside an outline that is grown about its middle, falling to 0 outside of it.

    Parameters
    ----------
    outline
        (N, 2) points in crop pixels.
    middle
        (2,); the mean of the points where none is given.
    growth
        Factor.
    softness
        Width of the fall over the outline's longer side.
    """
    centre = outline.mean(axis=0) if middle is None else middle
    grown = centre + (outline - centre) * growth
    mask = np.zeros((height, width), dtype=np.uint8)
    cv2.fillPoly(mask, [np.round(cv2.convexHull(grown.astype(np.float32)) * 16).astype(np.int32)], 255, shift=4)
    reach = max(float(np.ptp(outline, axis=0).max()) * softness, 1.0)
    outside = cv2.distanceTransform(255 - mask, cv2.DIST_L2, 3)
    return np.asarray(np.clip(1 - outside / reach, 0, 1), dtype=np.float32)


def disc_over(mesh: FloatArray, height: int, width: int, growth: float, softness: float) -> FloatArray:
    """`disc_around` a whole face, (478, 2 or 3) in crop pixels, about the middle of its oval."""
    return disc_around(silhouette(mesh), height, width, growth, softness, _middle(mesh))


def _middle(mesh: FloatArray) -> FloatArray:
    return np.asarray(mesh[list(FACE_OVAL), :2].mean(axis=0))


HEAD = 1.25
"""A head over the outline of its face."""


def beside_heads(meshes: Sequence[FloatArray], height: int, width: int) -> FloatArray:
    """(H, W) 0 on the heads of some people, 1 a little beside them.

    Parameters
    ----------
    meshes
        (478, 2 or 3) of each in crop pixels.
    """
    mask = np.ones((height, width), dtype=np.float32)
    for mesh in meshes:
        mask = np.minimum(mask, 1 - disc_over(mesh, height, width, HEAD, 0.05))
    return mask


def rectangle_around(outline: FloatArray, height: int, width: int, growth: float) -> FloatArray:
    """1 inside the upright rectangle around an outline that is grown about its middle, 0 outside."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    middle, half = (low + high) / 2, (high - low) / 2 * growth
    (x0, y0), (x1, y1) = np.floor(middle - half).astype(int), np.ceil(middle + half).astype(int) + 1
    mask = np.zeros((height, width), dtype=np.float32)
    mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = 1
    return mask


def erode_soft(mask: FloatArray, times: int, sigma: float) -> FloatArray:
    """Shrink a mask by a 3 x 3 ellipse several times and smooth it."""
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    shrunk = cv2.erode(mask, ellipse, iterations=times, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(cv2.GaussianBlur(shrunk, (0, 0), sigma), dtype=np.float32)


def resize_mask(mask: FloatArray, height: int, width: int) -> FloatArray:
    """A mask at another size."""
    return np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
