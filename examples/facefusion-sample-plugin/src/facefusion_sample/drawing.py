"""Ellipses with soft edges, and how loud it is."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from facefusion.types.sound import Sound

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
    return np.asarray(np.clip((1 - np.hypot(x, y)) / edge, 0, 1), dtype=np.float32)


def loudness_at(sound: Sound, moment: Fraction, length_s: Fraction) -> float:
    """Root of the mean square of what is heard around a moment, 0 to 1; 0 before the beginning and after the end."""
    heard = sound.around(moment, length_s)
    return float(np.sqrt(np.square(heard, dtype=np.float64).mean())) if heard.size else 0.0
