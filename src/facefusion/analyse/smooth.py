"""Smoothing of whole tracks without lag: jitter goes, blinks and lip closures stay."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from facefusion.imaging.smear import NO_SMEAR, find_smear, is_measured, smear_in_picture, usual_spectrum
from facefusion.types.topology import LEFT_IRIS, RIGHT_IRIS

FloatPoints = npt.NDArray[np.float64]

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
OUTSIDE = 6.0
"""Times that noise grows with the share of the points that lie outside of the picture: there the mesh is a guess."""
MIN_SEEN = 0.1
"""Share of the points that must be in the picture, and trusted, to say how the others move."""
UNITS = 25
"""Frames whose eye distances say how large a face is where the whole run is not known."""
SURPRISE, ASTRAY = 3.0, 5.0
"""Standard deviations between the motion's word and the mesh's: from the first on the motion is believed less and less,
from the second on hardly."""


def smooth_meshes(
    meshes: npt.NDArray[np.float32],
    motions: npt.NDArray[np.float32],
    trusts: npt.NDArray[np.float32],
    strength: float = 1.0,
    size: tuple[int, int] | None = None,
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
    size
        Width and height of the frame; None where all of it is in sight.

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
    noises = np.full(count, (MESH_NOISE * unit) ** 2)
    if size is not None:
        is_inside = np.asarray(((points >= 0) & (points <= np.array(size) - 1)).all(axis=-1))
        noises *= (1 + OUTSIDE * (1 - is_inside.mean(axis=1))) ** 2
        motions, trusts = _carried_along(points, motions, trusts, is_inside)
    spread = np.exp(trusts * np.log(MOTION_NOISE) + (1 - trusts) * np.log(FREE_MOTION)) * unit
    drift = (spread.astype(np.float64) ** 2)[..., None]

    found, expected = points.copy(), points.copy()
    variance = np.repeat(noises[:, None, None], points.shape[1], axis=1)
    guessed = variance.copy()
    for k in range(1, count):
        expected[k], guessed[k], found[k], variance[k] = _forward(
            found[k - 1], variance[k - 1], motions[k], drift[k], points[k], noises[k]
        )
    smooth = found
    for k in range(count - 2, -1, -1):
        smooth[k] += variance[k] / guessed[k + 1] * (smooth[k + 1] - expected[k + 1])

    result = meshes.astype(np.float64)
    result[..., :2] += strength * (smooth - points)
    depth = result[..., 2]
    result[..., 2] += strength * (savitzky_golay(depth) - depth)
    return result.astype(np.float32)


def _forward(
    found: FloatPoints,
    variance: FloatPoints,
    motion: npt.NDArray[np.float32],
    drift: FloatPoints,
    points: FloatPoints,
    noise: float,
) -> tuple[FloatPoints, FloatPoints, FloatPoints, FloatPoints]:
    """One step of the filter: where points are expected, how surely, where they are found, and how surely that."""
    expected = found + motion
    # What lies under a point at the outline may be background that moves its own way, and a face that leaves the
    # picture is read worse and worse. A point that was let go all at once would jump.
    surprise = ((points - expected) ** 2).sum(axis=-1, keepdims=True)
    guessed = variance + drift
    over = np.sqrt(surprise / (guessed + noise))
    guessed = np.maximum(guessed * np.maximum(over / SURPRISE, 1), surprise / ASTRAY**2 - noise)
    gain = guessed / (guessed + noise)
    return expected, guessed, expected + gain * (points - expected), (1 - gain) * guessed


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What is known of the points of a face after a frame."""

    found: FloatPoints
    variance: FloatPoints
    points: FloatPoints
    is_inside: npt.NDArray[np.bool_]


class CausalSmoother:
    """The forward half of `smooth_meshes`, for frames whose next ones are not known: jitter goes, a little less of it.

    Parameters
    ----------
    strength
        0 leaves the meshes as they are, 1 is the full effect.
    size
        Width and height of the frame.
    """

    def __init__(self, strength: float, size: tuple[int, int]) -> None:
        self._strength, self._size = strength, size
        self._units: deque[float] = deque(maxlen=UNITS)
        self._depths: deque[npt.NDArray[np.float64]] = deque(maxlen=WINDOW)
        self._known: _Known | None = None

    def forget(self) -> None:
        """Begin afresh: somebody was not seen for a while."""
        self._known = None
        self._depths.clear()

    def step(
        self, mesh: npt.NDArray[np.float32], motion: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None
    ) -> npt.NDArray[np.float32]:
        """The next mesh, smoothed.

        Parameters
        ----------
        mesh
            (478, 3) in frame pixels.
        motion
            (478, 2) motion since the frame before and (478,) trust; None where nothing was measured.
        """
        points = mesh[:, :2].astype(np.float64)
        self._units.append(float(np.linalg.norm(mesh[LEFT_IRIS] - mesh[RIGHT_IRIS])))
        self._depths.append(mesh[:, 2].astype(np.float64))
        unit = float(np.median(self._units))
        is_inside = np.asarray(((points >= 0) & (points <= np.array(self._size) - 1)).all(axis=-1))
        noise = float((MESH_NOISE * unit) ** 2 * (1 + OUTSIDE * (1 - is_inside.mean())) ** 2)
        found, variance = points, np.full((len(points), 1), noise)
        if (known := self._known) is not None:
            moved = np.zeros((2, len(points), 2), np.float32)
            trusts = np.zeros((2, len(points)), np.float32)
            if motion is not None:
                moved[1], trusts[1] = motion
            inside = np.stack([known.is_inside, is_inside])
            moved, trusts = _carried_along(np.stack([known.points, points]), moved, trusts, inside)
            trust = trusts[1].astype(np.float64)
            spread = np.exp(trust * np.log(MOTION_NOISE) + (1 - trust) * np.log(FREE_MOTION)) * unit
            drift = (spread**2)[:, None]
            _, _, found, variance = _forward(known.found, known.variance, moved[1], drift, points, noise)
        self._known = _Known(found, variance, points, is_inside)
        result = mesh.astype(np.float64)
        result[:, :2] += self._strength * (found - points)
        steady = savitzky_golay(np.stack(self._depths))[-1]
        result[:, 2] += self._strength * (steady - result[:, 2])
        return result.astype(np.float32)


def _carried_along(
    points: npt.NDArray[np.float64],
    motions: npt.NDArray[np.float32],
    trusts: npt.NDArray[np.float32],
    is_inside: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Motion and trust with those of points outside of the picture taken from the points that are in it."""
    motions, trusts = motions.copy(), trusts.copy()
    for k in np.flatnonzero(~(is_inside[1:] & is_inside[:-1]).all(axis=1)) + 1:
        seen = is_inside[k] & is_inside[k - 1]
        weight = np.where(seen, trusts[k], 0.0)
        if weight.sum() < MIN_SEEN * len(seen):
            continue
        centre = (points[k - 1] * weight[:, None]).sum(axis=0) / weight.sum()
        # A shift, a turn and a growth: what rigid heads do, and no more than few points can tell.
        x, y = ((points[k - 1] - centre) * weight[:, None]).T
        shift = (motions[k] * weight[:, None]).sum(axis=0) / weight.sum()
        u, v = ((motions[k] - shift) * np.sqrt(weight)[:, None]).T
        x, y = x / np.sqrt(np.maximum(weight, 1e-9)), y / np.sqrt(np.maximum(weight, 1e-9))
        total = max(float((x * x + y * y).sum()), 1e-9)
        growth, turn = float((x * u + y * v).sum()) / total, float((x * v - y * u).sum()) / total
        far = points[k - 1][~seen] - centre
        motions[k, ~seen] = shift + far @ np.array([[growth, turn], [-turn, growth]])
        trusts[k, ~seen] = float((trusts[k] * seen).sum()) / float(seen.sum())
    return motions, trusts


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


USUAL_REACH = 12
"""Frames to each side that say what a face usually shows: long enough for a blurred moment, and too short for much to
turn. What is blurred for longer is how sharp the shot is."""
ABRUPT = 2.0
"""Spread of a smear over that of either neighbour's which it has at most: a single frame may be anything."""


def smooth_smears(frames: npt.NDArray[np.int64], spectra: npt.NDArray[np.float16]) -> npt.NDArray[np.float32] | None:
    """How far a face is smeared in every frame beyond what it is in the frames around it.

    Parameters
    ----------
    frames
        (N,) rising.
    spectra
        (N, 50) as of `facefusion.imaging.smear.measure_spectrum`, zeros where nothing was measured.

    Returns
    -------
    (N, 3) float32 line across and down and standard deviation, pixels of the frame (`facefusion.types.track.Track`);
    None where there is none in any frame.
    """
    smears = [NO_SMEAR] * len(frames)
    for row in np.flatnonzero(is_measured(spectra)).tolist():
        usual = usual_spectrum(spectra[max(row - USUAL_REACH, 0) : row + USUAL_REACH + 1])
        if usual is not None:
            smears[row] = find_smear(spectra[row], usual)
    if not any(smear.surety for smear in smears):
        return None
    found = np.zeros((len(frames), 3), np.float32)
    before = found[0]
    for row, smear in enumerate(smears):
        if smear is not NO_SMEAR:
            near = [k for k in (row - 1, row + 1) if 0 <= k < len(frames) and abs(int(frames[k] - frames[row])) == 1]
            # Believed as the mean of three frames is, so that sharpness does not flicker, but as wide as it is.
            surety = (2 * smear.surety + sum(smears[k].surety for k in near)) / (2 + len(near))
            widest = ABRUPT * max(smears[k].spread for k in near) if near else np.inf
            found[row] = with_sign_of(np.array(smear_in_picture(smear, surety, widest), np.float32), before)
            before = found[row] if found[row, :2].any() else before
    return found if found.any() else None


def with_sign_of(smear: npt.NDArray[np.float32], before: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(3,) with its line turned round in place where it would point against the one before."""
    if float(smear[:2] @ before[:2]) < 0:
        smear[:2] *= -1
    return smear
