"""Other proportions for a face: where eyes, nose, mouth and jaw lie, not what they do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facefusion.models.face_shape import without_expression
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.types.face import Pose
from facefusion.types.topology import CHIN, FOREHEAD, LEFT_IRIS, NOSE_TIP, RIGHT_IRIS

FloatArray = npt.NDArray[np.float32]

AMPLITUDES = {
    "eye_spacing": 0.09,
    "eye_height": 0.07,
    "eye_size": 0.2,
    "brow_height": 0.075,
    "nose_width": 0.28,
    "nose_length": 0.12,
    "mouth_width": 0.24,
    "mouth_height": 0.105,
    "jaw_width": 0.19,
    "chin_length": 0.15,
    "face_width": 0.1,
}
"""Largest change of each proportion: shifts in eye distances, widths and sizes as shares."""
LEAST = 0.55
"""Least share of those amplitudes that is used: small changes hide nobody."""


def draw_proportions(rng: np.random.Generator) -> dict[str, float]:
    """Random proportions, none of them near the face's own."""
    return {
        name: float(rng.choice((-1, 1)) * rng.uniform(LEAST, 1) * amplitude) for name, amplitude in AMPLITUDES.items()
    }


def offsets_of(proportions: dict[str, float]) -> FloatArray:
    """(478, 3) movement of every point of the mean face in eye distances; x right, y down, z away."""
    mean = load_mesh_topology().mean.astype(np.float64)
    x, y = mean[:, 0] - (mean[LEFT_IRIS, 0] + mean[RIGHT_IRIS, 0]) / 2, mean[:, 1]
    eyes, nose, chin, top = mean[LEFT_IRIS, 1], mean[NOSE_TIP, 1], mean[CHIN, 1], mean[FOREHEAD, 1]
    mouth = (mean[13, 1] + mean[14, 1]) / 2

    def near(cx: float, cy: float, wide: float, high: float) -> npt.NDArray[np.float64]:
        return np.asarray(np.exp(-(((np.abs(x) - cx) / wide) ** 2) - ((y - cy) / high) ** 2))

    p = proportions
    side = np.sign(x)
    at_eyes = near(0.5, eyes, 0.36, 0.30)
    at_brows = near(0.5, eyes - 0.3, 0.5, 0.16)
    at_nose = near(0.0, nose - 0.05, 0.34, 0.32)
    at_mouth = near(0.0, mouth, 0.62, 0.24)
    low = np.clip((y - nose) / (chin - nose), 0, 1)
    low = low * low * (3 - 2 * low)
    dx = p["eye_spacing"] * side * at_eyes
    dx += p["eye_size"] * (np.abs(x) - 0.5) * side * at_eyes
    dx += p["nose_width"] * x * at_nose
    dx += p["mouth_width"] * x * at_mouth
    dx += p["jaw_width"] * x * low * (1 - at_mouth)
    dx += p["face_width"] * x * (1 - np.exp(-((x / 0.7) ** 4)))
    dy = p["eye_height"] * at_eyes + p["eye_size"] * (y - eyes) * at_eyes
    dy += (p["brow_height"] + 0.7 * p["eye_height"]) * at_brows
    dy += p["nose_length"] * at_nose * np.clip((y - eyes) / (nose - eyes), 0, 1)
    dy += p["mouth_height"] * at_mouth
    dy += p["chin_length"] * np.clip((y - mouth) / (chin - mouth), 0, 1) ** 1.5
    # The hairline stays where it is.
    still = np.clip((y - top) / (eyes - 0.35 - top), 0, 1)
    moved = np.stack([dx * still, dy * still, np.zeros_like(dx)], axis=1)
    return moved.astype(np.float32)


def reshaped(mesh: FloatArray, pose: Pose, offsets: FloatArray) -> FloatArray:
    """A (478, 3) mesh with other proportions, whatever its pose; its expression stays."""
    yaw, pitch, roll = np.radians([-pose.yaw, -pose.pitch, pose.roll])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    scale = float(np.linalg.norm(mesh[LEFT_IRIS] - mesh[RIGHT_IRIS]))
    turned = without_expression(mesh, offsets).astype(np.float64) @ (about_z @ about_x @ about_y).T
    return np.asarray(mesh + scale * turned, dtype=np.float32)
