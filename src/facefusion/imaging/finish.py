"""How sharp and how grainy a picture is at a face, and making a new face alike."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from facefusion.imaging.flow import gradient
from facefusion.types.frame import Pixels

FloatArray = npt.NDArray[np.float32]

MAX_PX = 256
"""Longest side of the part that is measured, pixels; it is cut out, not reduced: reduction would sharpen."""
_MIN_PX = 24
_BEFORE_PX = 0.6
"""Blur before gradients are taken, so that grain does not pass for an edge."""
_MORE_PX = 1.0
_EDGES = 0.07
"""Share of the strongest edges that is measured."""
_FLAT = 0.4
"""Share of the flattest pixels in which grain is measured."""
_OWN_PX2 = 0.66
"""Variance that an ideal edge shows by itself: the blur before, and that of the gradient."""
_LAPLACIAN = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_SOFT = 0.9
"""The measure says a little too much of soft pictures."""
LEAST_BLUR_PX = 0.5
"""Least standard deviation that a blur of bytes has; below, it is mixed in."""
_SHARP = ((40, 60, 90, 140, 220, 300, 400, 500), (0.75, 0.81, 0.97, 1.23, 1.44, 1.45, 1.52, 1.62))
"""Heights of faces, pixels, and what `measure_finish` says of half of them when they are as sharp as their pixels."""
_FINE_PX = 5
"""Side of the mean that parts grain from the picture."""
_AROUND, _AWAY = 0.7, 0.08
"""Room around a face, over its size, in which the grain of what surrounds it is measured; how far off that begins."""
_LEAST_AROUND = 400
"""Pixels without which nothing is said of it."""
_TOLERATED = 1.7
"""Local deviation over that of the grain from which a pixel shows drawing, not grain."""


def measure_finish(pixels: Pixels, mesh: FloatArray) -> tuple[float, float] | None:
    """Sharpness and grain of a picture at a face.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 RGB.
    mesh
        (478, 3) in its pixels.

    Returns
    -------
    Standard deviation of the blur in pixels, that of the grain in levels of 255; None where the face is too small or
    not in sight. A face that is as sharp as its pixels has more than nothing, since skin and brows have few hard
    edges, and the more the larger it is (`sharp_blur`); what counts is the difference of two faces.

    References
    ----------
    Zhuo and Sim, Defocus map estimation from a single image, 2011 (ratio of gradients before and after more blur);
    Immerkaer, Fast Noise Variance Estimation, 1996.
    """
    height, width = pixels.shape[:2]
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    size = high - low
    middle = (low + high) / 2 + size * (0.0, 0.02)
    half = np.minimum(size * (0.38, 0.36), MAX_PX / 2)
    x0, y0 = np.maximum((middle - half).astype(int), 0)
    x1, y1 = np.minimum((middle + half).astype(int), (width, height))
    if min(x1 - x0, y1 - y0) < _MIN_PX:
        return None
    grey = cv2.cvtColor(pixels[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY).astype(np.float32)
    slopes = [_slope(grey, float(np.hypot(_BEFORE_PX, more))) for more in (0.0, _MORE_PX)]
    is_edge = slopes[1] >= np.quantile(slopes[1], 1 - _EDGES)
    ratio = float(np.median(slopes[0][is_edge] / np.maximum(slopes[1][is_edge], 1e-3)))
    blur = float(np.sqrt(max(_MORE_PX**2 / max(ratio**2 - 1, 1e-3) - _OWN_PX2, 0.01)))
    return min(blur, 0.1 * float(size.max())), _grain(grey, slopes[1], np.ones(grey.shape, dtype=np.bool_))


def _grain(grey: FloatArray, slope: FloatArray, there: npt.NDArray[np.bool_]) -> float:
    """Standard deviation of what is finest where a part of a picture is flattest."""
    is_flat = there & (slope <= np.quantile(slope[there], _FLAT))
    rough = np.abs(cv2.filter2D(grey, cv2.CV_32F, _LAPLACIAN))[is_flat]
    return float(np.median(rough)) / 0.6745 / 6


def grain_around(pixels: Pixels, mesh: FloatArray) -> float:
    """Standard deviation of the grain of what surrounds a face, levels of 255: skin has a relief that passes for some.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8 RGB.
    mesh
        (478, 3) in its pixels.

    Returns
    -------
    0 where there are no surroundings.
    """
    points = mesh[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    size = high - low
    x0, y0 = np.maximum((low - _AROUND * size).astype(int), 0)
    x1, y1 = (high + _AROUND * size).astype(int)
    part = pixels[y0:y1, x0:x1]
    if not part.size:
        return 0.0
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
    face = np.zeros(grey.shape, dtype=np.uint8)
    cv2.fillConvexPoly(face, cv2.convexHull((points - (x0, y0)).astype(np.int32)), 1)
    beside = cv2.dilate(face, np.ones((2 * int(size[0] * _AWAY) + 1,) * 2, np.uint8)) == 0
    if beside.sum() < _LEAST_AROUND:
        return 0.0
    return _grain(grey, _slope(grey, float(np.hypot(_BEFORE_PX, _MORE_PX))), np.asarray(beside))


def sharp_blur(height: float) -> float:
    """What `measure_finish` says of a face that is as sharp as its pixels: standard deviation of a blur, pixels.

    Medians of up to 123 photos of people, reduced to eight heights; 247 people give the same within 0.04 px
    (`benchmarks/sharpness.py`).

    Parameters
    ----------
    height
        Of the face (its mesh) in pixels.
    """
    return float(np.interp(height, *_SHARP))


def missing_blur(seen: float, own: float) -> float:
    """Standard deviation of the blur, pixels, that makes a face as soft as another; 0 where it is softer already.

    Parameters
    ----------
    seen
        What `measure_finish` says of the other.
    own
        What it says of the face, or would say.
    """
    return float(np.sqrt(max((_SOFT * seen) ** 2 - own**2, 0.0)))


def _slope(grey: FloatArray, sigma: float) -> FloatArray:
    return gradient(np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), dtype=np.float32))


def soften(pixels: Pixels, sigma: float) -> Pixels:
    """A (H, W, 3) uint8 picture blurred by a standard deviation in pixels, which may be as small as one likes."""
    if sigma < LEAST_BLUR_PX / 8:
        return pixels
    soft = cv2.GaussianBlur(pixels, (0, 0), max(sigma, LEAST_BLUR_PX))
    if sigma < LEAST_BLUR_PX:  # such kernels have but one pixel; what a blur does grows with its variance
        share = (sigma / LEAST_BLUR_PX) ** 2
        soft = cv2.addWeighted(soft, share, pixels, 1 - share, 0)
    return np.asarray(soft, dtype=np.uint8)


def grain_of(pixels: Pixels, sigma: float) -> FloatArray:
    """(H, W, 3) float32 the grain of a picture, levels of 255: what is fine and nowhere stronger than grain is.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8.
    sigma
        Standard deviation of the grain, as measured.
    """
    fine = pixels.astype(np.float32)
    fine -= cv2.blur(fine, (_FINE_PX, _FINE_PX))
    light = fine.mean(axis=-1)
    # Means of boxes are running sums, which leave a little less than nothing where nothing is.
    around = np.sqrt(np.maximum(cv2.blur(light * light, (_FINE_PX, _FINE_PX)), 0))
    drawn = np.clip((around / max(sigma, 1e-3) - _TOLERATED) / _TOLERATED, 0, 1)
    limit = np.float32(2.5 * sigma)
    return np.asarray(np.clip(fine, -limit, limit) * (1 - drawn)[..., None], dtype=np.float32)
