"""Boxes: which of them mean the same face, and turning them with the picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facefusion.types.frame import Pixels

FloatArray = npt.NDArray[np.float32]

MAX_OVERLAP = 0.35


def suppress(boxes: FloatArray, scores: FloatArray, max_overlap: float = MAX_OVERLAP) -> list[int]:
    """Greedy non-maximum suppression.

    Parameters
    ----------
    boxes
        (N, 4) xyxy.
    scores
        (N,).
    max_overlap
        Highest intersection over union that two kept boxes may have.

    Returns
    -------
    Kept rows, best score first.
    """
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while order.size:
        best, rest = int(order[0]), order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        both = np.prod(np.clip(high - low, 0, None), axis=1)
        order = rest[both / np.maximum(areas[best] + areas[rest] - both, 1e-6) <= max_overlap]
    return kept


def box_of(mesh: FloatArray) -> FloatArray:
    """(4,) xyxy around the points of an (N, 2) or (N, 3) mesh."""
    points = mesh[:, :2]
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def overlap(a: FloatArray, b: FloatArray) -> float:
    """Intersection over union of two xyxy boxes."""
    both = _shared_area(a, b)
    total = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - both
    return both / total if total > 0 else 0.0


def share_inside(inner: FloatArray, outer: FloatArray) -> float:
    """Share of one box that lies in another, both xyxy; 0 to 1."""
    own = float(np.prod(inner[2:] - inner[:2]))
    return _shared_area(inner, outer) / own if own > 0 else 0.0


def _shared_area(a: FloatArray, b: FloatArray) -> float:
    return float(np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)))


BAR = 28
"""Largest value of a bar beside a film, of 255: coding leaves a little noise of it."""


def within_bars(pixels: Pixels) -> tuple[int, int, int, int]:
    """Half-open xyxy box of a picture without the black bars that a film has above and below, or at its sides.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8. One that is black all over is taken as it is.
    """
    height, width = pixels.shape[:2]
    down, across = (_lit(pixels, axis) for axis in (0, 1))
    return (0, 0, width, height) if down[0] >= down[1] else (across[0], down[0], across[1], down[1])


def _lit(pixels: Pixels, axis: int) -> tuple[int, int]:
    """First row, or column, of a picture that is no bar, and the one after the last."""
    count = pixels.shape[axis]
    ends = (pixels[0], pixels[-1]) if axis == 0 else (pixels[:, 0], pixels[:, -1])
    is_bar = [int(end.max()) <= BAR for end in ends]  # nearly always none is, and nothing more is read
    if not any(is_bar):
        return 0, count
    lit = np.flatnonzero(pixels.max(axis=(1 - axis, 2)) > BAR)
    if not len(lit):
        return count, 0
    return (int(lit[0]) if is_bar[0] else 0), (int(lit[-1]) + 1 if is_bar[1] else count)
