"""Head pose from a mesh."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.types.face import Pose
from facefusion.types.topology import LEFT_BROW, LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_BROW, RIGHT_EYE, SKIN_COUNT

_MOVING = {*LEFT_BROW, *RIGHT_BROW, *LEFT_EYE, *RIGHT_EYE, *LIPS_INNER, *LIPS_OUTER}
_STILL = np.array([k for k in range(SKIN_COUNT) if k not in _MOVING])


def estimate_poses(meshes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Head poses of many meshes.

    Parameters
    ----------
    meshes
        (N, 478, 3) in pixels.

    Returns
    -------
    (N, 3) float32 yaw, pitch, roll in degrees; see `facefusion.types.face.Pose` for the signs.

    Convention
    ----------
    The rotation R takes the mean face to the mesh (x right, y down, z away); it is read as
    R = Rz(roll) Rx(-pitch) Ry(-yaw).

    References
    ----------
    Kabsch, A solution for the best rotation to relate two sets of vectors, 1976.
    """
    mean = load_mesh_topology().mean[_STILL].astype(np.float64)
    mean -= mean.mean(axis=0)
    points = meshes[:, _STILL].astype(np.float64)
    points -= points.mean(axis=1, keepdims=True)
    covariance = np.einsum("ki,nkj->nij", mean, points)
    u, _, vt = np.linalg.svd(covariance)
    sign = np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= sign[:, None]
    rotation = np.transpose(u @ vt, (0, 2, 1))  # mesh = rotation @ mean
    return angles_of(rotation).astype(np.float32)


def angles_of(rotations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N, 3) yaw, pitch and roll in degrees of (N, 3, 3) rotations, by the convention of `estimate_poses`."""
    # R = Rz(roll) Rx(-pitch) Ry(-yaw), written out and solved for its angles.
    pitch = np.degrees(np.arcsin(np.clip(-rotations[:, 2, 1], -1, 1)))
    yaw = np.degrees(np.arctan2(rotations[:, 2, 0], rotations[:, 2, 2]))
    roll = np.degrees(np.arctan2(-rotations[:, 0, 1], rotations[:, 1, 1]))
    return np.stack([yaw, pitch, roll], axis=1)


def estimate_pose(mesh: npt.NDArray[np.float32]) -> Pose:
    """Head pose of one (478, 3) mesh."""
    yaw, pitch, roll = (float(v) for v in estimate_poses(mesh[None])[0])
    return Pose(yaw, pitch, roll)
