"""Boxes: which of them mean the same face, and turning them with the picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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
