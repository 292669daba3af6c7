"""Whether the output moves as the target does: pose and expression, measured by our own mesh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facefusion.types.topology import LEFT_IRIS, RIGHT_IRIS, SKIN_COUNT
from facefusion.types.track import Track


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Differences between two tracks of the same head.

    Attributes
    ----------
    pose_deg
        Mean absolute difference of yaw, pitch and roll in degrees.
    expression
        Mean distance of corresponding points after position, size and roll are matched, over the 3-D
        eye distance.
    frame_count
        Frames that both tracks have.
    """

    pose_deg: float
    expression: float
    frame_count: int


def compare_tracks(target: Track, output: Track) -> Fidelity:
    """Compare a track of the target with one of the output, frame by frame."""
    frames, rows_a, rows_b = np.intersect1d(target.frames, output.frames, return_indices=True)
    if not len(frames):
        return Fidelity(float("nan"), float("nan"), 0)
    pose = float(np.abs(target.poses[rows_a] - output.poses[rows_b]).mean())
    a, b = target.meshes[rows_a].astype(np.float64), output.meshes[rows_b].astype(np.float64)
    eye = np.linalg.norm(a[:, LEFT_IRIS] - a[:, RIGHT_IRIS], axis=1)
    expression = [_matched_distance(x[:SKIN_COUNT, :2], y[:SKIN_COUNT, :2]) for x, y in zip(a, b, strict=True)]
    return Fidelity(pose, float((np.array(expression) / eye).mean()), len(frames))


def expression_distance(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Mean distance of two (478, 3) meshes after position, size and roll are matched, over the 3-D eye distance."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    eye = float(np.linalg.norm(a[LEFT_IRIS] - a[RIGHT_IRIS]))
    return _matched_distance(a[:SKIN_COUNT, :2], b[:SKIN_COUNT, :2]) / max(eye, 1e-6)


def _matched_distance(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Mean distance after the best similarity (Umeyama 1991), in pixels of ``a``."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    z_a, z_b = a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]
    factor = (np.conj(z_b) @ z_a) / max(float((np.abs(z_b) ** 2).sum()), 1e-9)
    return float(np.abs(z_a - factor * z_b).mean())
