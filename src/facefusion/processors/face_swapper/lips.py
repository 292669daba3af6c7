"""Lips and what is between them.

What is seen in an open mouth is the target's. A mesh knows lips to a few pixels only, and where it has them apart too
far the target's own lips would show inside those of the source; how far they reach in is read off the picture.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facefusion.imaging.light import mean_of_three, to_log
from facefusion.imaging.texture import sample_soft, smoothstep
from facefusion.types.frame import Pixels
from facefusion.types.topology import CHIN, FOREHEAD, LIPS_INNER, LIPS_OUTER

FloatArray = npt.NDArray[np.float32]

OPENED = (0.02, 0.05)
"""Gap between the lips over their length up to which nothing is seen between them, and from which everything is."""
LINE_PX = 1.3
"""Breadth of the line between lips that touch: a narrower one is drawn as dots."""
BETWEEN_LIPS = -0.8
"""Logarithm of light, at most, of what is drawn between lips that are closed."""
STATIONS, DEPTHS = 33, 24
"""Places along lips, and from one to the other, at which a picture is read."""
OF_LIP = np.linspace(0.1, 0.5, 5, dtype=np.float32)
"""Where lips are surely lip, from their inner edge to the outer one."""
LEAST_GAP_PX = 2.0
"""Gap in the picture without which nothing can be read in it."""
UNLIKE = (0.6, 1.4)
"""Difference from the lip beside it from which something is less and less lip, and none."""
LIGHT, DARK, COLOUR, REDDER = 0.4, 0.75, 0.12, 0.2
"""Natural logarithm of more light, of less, and of red over it, that count as a difference of one; how much more red
counts: lips are redder, and a little darker, towards their inner edge."""
REACH = (0.12, 0.22)
"""How far lips reach into the opening that a mesh has, over their length: what is farther in is a tongue."""
_UPPER, _LOWER = list(LIPS_INNER[1:10]), list(LIPS_INNER[:10:-1])
_OVER, _UNDER = list(LIPS_OUTER[1:10]), list(LIPS_OUTER[:10:-1])


def openness(mesh: FloatArray) -> float:
    """How much is seen between the lips, 0 to 1."""
    left, above, right, below = (mesh[LIPS_INNER[k]] for k in (0, 5, 10, 15))
    gap, length = float(np.linalg.norm(above - below)), float(np.linalg.norm(left - right))
    return float(smoothstep(np.array((gap / max(length, 1e-6) - OPENED[0]) / (OPENED[1] - OPENED[0]))))


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


def find_own_lips(pixels: Pixels, mesh: FloatArray) -> FloatArray:
    """How far the lips of a picture reach into the opening that a mesh has.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 RGB.
    mesh
        (478, 3) in it.

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
    lips = [edge + (outer - edge) * OF_LIP[:, None, None] for edge, outer in ((upper, over), (lower, under))]
    read = _read(pixels, np.concatenate([between, *lips]))
    inside, count = read[:DEPTHS], len(OF_LIP)
    found = []
    # What lies deeper than the mesh can be wrong is no lip.
    depth = share[..., 0] * gap / length
    near = 1 - smoothstep((depth - REACH[0]) / (REACH[1] - REACH[0]))
    for seen, lip in ((inside, read[DEPTHS : DEPTHS + count]), (inside[::-1], read[DEPTHS + count :])):
        like = _likeness(seen, _smoothed(lip.mean(axis=0)))
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


def _likeness(seen: FloatArray, lip: FloatArray) -> FloatArray:
    """(N, M) how far (N, M, 3) light is that of lips, (M, 3)."""
    away = seen - lip
    grey = mean_of_three(away)
    redder = away[..., 0] - grey
    colour = np.where(redder > 0, redder * np.float32(REDDER), redder)
    grey = np.where(grey > 0, grey / LIGHT, grey / DARK)
    return 1 - smoothstep((np.hypot(grey, colour / COLOUR) - UNLIKE[0]) / (UNLIKE[1] - UNLIKE[0]))


def _smoothed(values: FloatArray) -> FloatArray:
    """Values along lips, each mixed with those beside it."""
    for _ in range(3):
        padded = np.concatenate([values[:1], values, values[-1:]])
        values = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return np.asarray(values, dtype=np.float32)
