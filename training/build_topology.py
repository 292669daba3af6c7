"""Build the triangulation of the 478-point face mesh, and its mean shape, from labelled meshes.

    python training/build_topology.py FACEPACK src/facefusion/models/embedded/face_mesh.safetensors

The triangles are ours: a Delaunay triangulation of the mean open-mouthed face, unwrapped on a
cylinder, with the eyes and the mouth cut out as patches of their own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy.spatial import Delaunay

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
from facefusion.types.topology import FACE_OVAL, LEFT_EYE, LIPS_INNER, RIGHT_EYE


def procrustes_rotation(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Rotation R that brings ``points @ R`` nearest to ``reference`` (Kabsch 1976)."""
    u, _, vt = np.linalg.svd(points.T @ reference)
    sign = np.sign(np.linalg.det(u @ vt))
    return u @ np.diag([1.0, 1.0, sign]) @ vt


def aligned_meshes(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Near-frontal meshes and their mirror images, centred, scaled and turned onto their mean."""
    flip = np.load(folder / "flip478.npy").astype(int)
    shards = [np.load(path) for path in sorted(folder.glob("faces_*.npz"))]
    meshes = np.concatenate([shard["lm"] for shard in shards])
    yaw = np.concatenate([shard["pose"][:, 0] for shard in shards])
    flip_error = np.concatenate([shard["flip_nme"] for shard in shards])
    meshes = meshes[(np.abs(yaw) < 12) & (flip_error < 0.02)].astype(np.float64)
    mirrored = meshes[:, flip] * [-1.0, 1.0, 1.0]
    meshes = np.concatenate([meshes, mirrored])
    meshes -= meshes[:, :468].mean(axis=1, keepdims=True)
    meshes /= np.sqrt((meshes[:, :468] ** 2).sum(axis=2).mean(axis=1))[:, None, None]
    mean = meshes[0]
    for _ in range(8):
        meshes = np.stack([m @ procrustes_rotation(m[:468], mean[:468]) for m in meshes])
        mean = meshes.mean(axis=0)
        mean = (mean + mean[flip] * [-1.0, 1.0, 1.0]) / 2
        mean /= np.sqrt((mean[:468] ** 2).sum(axis=1).mean())
    return meshes, mean


def upright(mean: np.ndarray) -> np.ndarray:
    """Turn the mean about x until the line from forehead (10) to chin (152) is vertical in depth."""
    line = mean[152] - mean[10]
    angle = np.arctan2(line[2], line[1])
    c, s = np.cos(-angle), np.sin(-angle)
    return mean @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]).T


def triangulate(points: np.ndarray) -> dict[str, np.ndarray]:
    """Skin, eye and mouth triangles (clockwise in the image) of an open-mouthed frontal mesh."""
    axis_z = points[:, 2].max() + 0.35
    u = np.arctan2(points[:, 0], axis_z - points[:, 2])
    unwrapped = np.stack([u * 1.5, points[:, 1]], axis=1)[:468]
    triangles = Delaunay(unwrapped).simplices
    a, b, c = (unwrapped[triangles[:, k]] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    triangles = np.where((area > 0)[:, None], triangles, triangles[:, ::-1])
    triangles = triangles[np.abs(area) > 1e-5]
    centres = unwrapped[triangles].mean(axis=1)

    def inside(ring: tuple[int, ...]) -> np.ndarray:
        polygon = unwrapped[list(ring)]
        x, y = centres.T
        hit = np.zeros(len(centres), dtype=bool)
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            crosses = (y0 <= y) != (y1 <= y)
            if y0 != y1:
                hit ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
        return hit

    in_face = inside(FACE_OVAL)
    in_mouth, in_left, in_right = inside(LIPS_INNER), inside(LEFT_EYE), inside(RIGHT_EYE)
    return {
        "skin": triangles[in_face & ~in_mouth & ~in_left & ~in_right],
        "eyes": triangles[in_left | in_right],
        "mouth": triangles[in_mouth],
    }


def main(facepack: str, output: str) -> None:
    meshes, mean = aligned_meshes(Path(facepack))
    opening = np.linalg.norm(meshes[:, 13] - meshes[:, 14], axis=1)
    opened = meshes[opening > np.quantile(opening, 0.93)].mean(axis=0)
    parts = triangulate(opened)
    eye_distance = np.linalg.norm(mean[468] - mean[473])
    tensors = {name: triangles.astype(np.int32) for name, triangles in parts.items()}
    tensors["mean"] = (upright(mean) / eye_distance).astype(np.float32)
    tensors["flip"] = np.load(Path(facepack) / "flip478.npy").astype(np.int32)
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, output)
    print({name: array.shape for name, array in tensors.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
