"""Ellipses with soft edges."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def inside(shape: tuple[int, int], centre: FloatArray, radii: FloatArray, edge: float = 0.2) -> FloatArray:
    """(H, W) float32, 1 inside an ellipse and 0 outside of it.

    Parameters
    ----------
    shape
        Height and width in pixels.
    centre, radii
        (2,) x and y in pixels; pixel centres are at integers.
    edge
        Width of the soft edge over the radius.
    """
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    x, y = (
        (axis - middle) / max(float(r), 0.5) for axis, middle, r in zip((columns, rows), centre, radii, strict=True)
    )
    return np.clip((1 - np.hypot(x, y)) / edge, 0, 1).astype(np.float32)
