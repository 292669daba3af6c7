"""Smoothing of whole tracks without lag: jitter goes, blinks and lip closures stay."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

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


MESH_NOISE = 0.012
"""Standard deviation of a measured point, in eye distances."""
MOTION_NOISE = 0.0012
"""Standard deviation of the measured motion of a point from frame to frame, where it is trusted."""
FREE_MOTION = 0.03
"""The same where it is not: the point may go anywhere a face can."""
SURPRISE = 4.0
"""Standard deviations between the motion's word and the mesh's from which the motion is not believed."""


def smooth_meshes(
    meshes: npt.NDArray[np.float32],
    motions: npt.NDArray[np.float32],
    trusts: npt.NDArray[np.float32],
    strength: float = 1.0,
) -> npt.NDArray[np.float32]:
    """Smooth one unbroken run of meshes along the motion of the pixels under them.

    Each point is a Kalman filter that is driven by the measured motion of the picture and corrected by the
    measured mesh, run forwards and backwards, so there is no lag. Where the motion is not to be trusted (a blink,
    lips that close) the measured mesh is kept.

    Parameters
    ----------
    meshes
        (N, 478, 3) float32 in frame pixels, one per consecutive frame.
    motions
        (N, 478, 2) motion from the frame before, frame pixels; the first row is not used.
    trusts
        (N, 478) 0 to 1: how far that motion is to be trusted.
    strength
        0 leaves the meshes as they are, 1 is the full effect.

    Returns
    -------
    (N, 478, 3) float32; depth is smoothed by `savitzky_golay`.

    References
    ----------
    Rauch, Tung and Striebel, Maximum likelihood estimates of linear dynamic systems, 1965.
    """
    count = len(meshes)
    if strength <= 0 or count < 2:
        return meshes.copy()
    points = meshes[..., :2].astype(np.float64)
    unit = float(np.median(np.linalg.norm(meshes[:, LEFT_IRIS] - meshes[:, RIGHT_IRIS], axis=1)))
    noise = (MESH_NOISE * unit) ** 2
    spread = np.exp(trusts * np.log(MOTION_NOISE) + (1 - trusts) * np.log(FREE_MOTION)) * unit
    drift = (spread.astype(np.float64) ** 2)[..., None]

    free = (FREE_MOTION * unit) ** 2

    found, expected = points.copy(), points.copy()
    variance = np.full((count, points.shape[1], 1), noise)
    guessed = variance.copy()
    for k in range(1, count):
        expected[k] = found[k - 1] + motions[k]
        # What lies under a point at the outline may be background that moves its own way.
        surprise = np.linalg.norm(points[k] - expected[k], axis=-1, keepdims=True)
        is_astray = surprise > SURPRISE * np.sqrt(variance[k - 1] + drift[k] + noise)
        expected[k] = np.where(is_astray, points[k], expected[k])
        guessed[k] = variance[k - 1] + np.where(is_astray, free, drift[k])
        gain = guessed[k] / (guessed[k] + noise)
        found[k] = expected[k] + gain * (points[k] - expected[k])
        variance[k] = (1 - gain) * guessed[k]
    smooth = found
    for k in range(count - 2, -1, -1):
        smooth[k] += variance[k] / guessed[k + 1] * (smooth[k + 1] - expected[k + 1])

    result = meshes.astype(np.float64)
    result[..., :2] += strength * (smooth - points)
    depth = result[..., 2]
    result[..., 2] += strength * (savitzky_golay(depth) - depth)
    return result.astype(np.float32)


FINISH_MEDIAN = 5
"""Measurements of sharpness and grain of which the middle one is taken: one blurred moment is no shot."""


def smooth_finishes(
    frames: npt.NDArray[np.int64], found: Mapping[int, tuple[float, float]]
) -> npt.NDArray[np.float32] | None:
    """Sharpness and grain of every frame from those of a few; what was seen before a break says nothing beyond it.

    Parameters
    ----------
    frames
        (N,) rising.
    found
        Blur and grain by frame.

    Returns
    -------
    (N, 2) float32, or None where nothing was measured.
    """
    if not found:
        return None
    bounds = [0, *(np.flatnonzero(np.diff(frames) > 1) + 1).tolist(), len(frames)]
    if len(bounds) > 2:
        parts = []
        for start, stop in pairwise(bounds):
            own = frames[start:stop]
            inside = {k: value for k, value in found.items() if own[0] <= k <= own[-1]}
            parts.append(_between(own, inside or found))
        return np.concatenate(parts)
    return _between(frames, found)


def _between(frames: npt.NDArray[np.int64], found: Mapping[int, tuple[float, float]]) -> npt.NDArray[np.float32]:
    known = np.array(sorted(found))
    values = np.array([found[k] for k in known.tolist()])
    half = FINISH_MEDIAN // 2
    padded = np.pad(values, ((half, half), (0, 0)), mode="edge")
    steady = np.median(np.lib.stride_tricks.sliding_window_view(padded, FINISH_MEDIAN, axis=0), axis=-1)
    return np.stack([np.interp(frames, known, steady[:, k]) for k in (0, 1)], axis=1).astype(np.float32)
