"""Smoothing of whole tracks without lag: jitter goes, blinks and lip closures stay."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facefusion.types.topology import LEFT_IRIS, RIGHT_IRIS

WINDOW = 9
ORDER = 2


def savitzky_golay(
    values: npt.NDArray[np.float64], window: int = WINDOW, order: int = ORDER
) -> npt.NDArray[np.float64]:
    """Least-squares polynomial smoothing along the first axis; zero phase.

    Parameters
    ----------
    values
        (N, ...) samples at equal steps.
    window
        Odd number of samples; shortened near the ends, where the polynomial is read off-centre.
    order
        Degree of the polynomial.

    Returns
    -------
    (N, ...) smoothed samples; unchanged where there are too few.

    References
    ----------
    Savitzky and Golay, Smoothing and Differentiation of Data by Simplified Least Squares Procedures, 1964.
    """
    count = len(values)
    window = min(window, count if count % 2 else count - 1)
    if window <= order + 1:
        return values.copy()
    half = window // 2
    powers = np.vander(np.arange(-half, half + 1), order + 1, increasing=True)
    hat = powers @ np.linalg.pinv(powers)  # row r: weights that give the polynomial at offset r
    out = np.empty_like(values)
    centre = hat[half]
    out[half : count - half] = sum(centre[k] * values[k : count - window + 1 + k] for k in range(window))
    out[:half] = np.tensordot(hat[:half], values[:window], axes=1)
    out[count - half :] = np.tensordot(hat[half + 1 :], values[count - window :], axes=1)
    return out


def smooth_meshes(meshes: npt.NDArray[np.float32], strength: float = 1.0) -> npt.NDArray[np.float32]:
    """Smooth one unbroken run of meshes.

    Head motion (position, scale) and face shape are smoothed apart: the shape in a frame that moves
    with the head, so that a fast turn costs no detail. Where the smooth curve and the measured one part by
    more than noise does, the measurement is kept: that is a blink or a lip closing.

    Parameters
    ----------
    meshes
        (N, 478, 3) float32 in frame pixels, one per consecutive frame.
    strength
        0 leaves the meshes as they are, 1 is the full effect.

    Returns
    -------
    (N, 478, 3) float32.
    """
    if strength <= 0 or len(meshes) < 4:
        return meshes.copy()
    points = meshes.astype(np.float64)
    eye_distance = np.linalg.norm(points[:, LEFT_IRIS] - points[:, RIGHT_IRIS], axis=1)
    unit = float(np.median(eye_distance))
    centre = points.mean(axis=1)
    smooth_centre = _keep_events(centre, savitzky_golay(centre), 0.05 * unit)
    shape = points - centre[:, None]
    smooth_shape = _keep_events(shape, savitzky_golay(shape), 0.028 * unit)
    result = smooth_centre[:, None] + smooth_shape
    return (points + strength * (result - points)).astype(np.float32)


def _keep_events(
    measured: npt.NDArray[np.float64], smooth: npt.NDArray[np.float64], noise: float
) -> npt.NDArray[np.float64]:
    """The smooth curve where it differs by no more than noise, the measured one where it differs by much more."""
    distance = np.linalg.norm(measured - smooth, axis=-1, keepdims=True)
    # One frame's doubt covers its neighbours, so that the join of the two curves is no jump.
    spread = distance.copy()
    spread[1:] = np.maximum(spread[1:], distance[:-1])
    spread[:-1] = np.maximum(spread[:-1], distance[1:])
    trust = np.exp(-((spread / noise) ** 2))
    return np.asarray(measured + (smooth - measured) * trust, dtype=np.float64)
