"""Head pose against known rotations, and against the teacher's mesh on real pictures.

    python benchmarks/head_pose.py FACEPACK MEDIA [--count 600]

Frontal faces of people held out from training are turned in 3-D with their teacher's mesh by exact angles and drawn;
the whole of pass 1 then looks at the drawn picture. The true pose is the turn applied to the pose of the picture it
was drawn from, so one picture unturned is each person's zero. A frame counts as right where yaw, pitch and roll are
all within 5 degrees.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "training"))
from face_pool import HeadWarp, fit_box, is_held_out, load_faces, turn
from facefusion.models.pose import estimate_poses
from facefusion.pipeline.runner import build_analyser
from facefusion.recipe import Recipe

SIDE = 320


def differences(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.abs((found - truth + 180) % 360 - 180)


def report(name: str, errors: np.ndarray) -> None:
    print(
        f"{name}: {len(errors)} pictures, within 5 degrees {np.mean(errors.max(axis=1) <= 5):.2%}, "
        f"mean error yaw {errors[:, 0].mean():.2f}, pitch {errors[:, 1].mean():.2f}, roll {errors[:, 2].mean():.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("facepack", type=Path)
    parser.add_argument("media", type=Path)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--yaw", type=float, default=45.0)
    parser.add_argument("--pitch", type=float, default=20.0)
    parser.add_argument("--roll", type=float, default=30.0)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(3)
    faces = load_faces(arguments.facepack, arguments.media)
    analyser = build_analyser(Recipe(), has_identity=False)
    warp = HeadWarp(load_file(ROOT / "src/facefusion/models/embedded/face_mesh.safetensors"))
    held = is_held_out(faces["ident"]) & (faces["flip_error"] < 0.03)
    frontal = np.flatnonzero(held & (np.abs(faces["yaw"]) < 12))
    errors, angles, lost = [], [], 0
    for _ in range(arguments.count):
        k = rng.choice(frontal)
        points = faces["mesh"][k].astype(np.float64)
        yaw, pitch, roll = (rng.uniform(-limit, limit) for limit in (arguments.yaw, arguments.pitch, arguments.roll))
        goal = fit_box(turn(points, yaw, pitch, roll), SIDE, 0.5)
        picture = warp.render(faces["image"][k], points, warp.extend(points), warp.extend(goal), SIDE)
        found = analyser.find_faces(np.ascontiguousarray(picture[..., ::-1]))
        if not found:
            lost += 1
            continue
        pose = found[0].pose
        truth = estimate_poses(goal[None].astype(np.float32))[0]
        errors.append(differences(np.array([pose.yaw, pose.pitch, pose.roll]), truth))
        angles.append(abs(yaw))
    errors_array, angles_array = np.array(errors), np.array(angles)
    report(f"turned by known angles ({lost} not found)", errors_array)
    for low, high in ((0, 15), (15, 30), (30, 45), (45, 60)):
        here = (angles_array >= low) & (angles_array < high)
        if here.any():
            report(f"  yaw {low} to {high}", errors_array[here])
    real = []
    for k in np.flatnonzero(held):
        found = analyser.find_faces(np.ascontiguousarray(faces["image"][k][..., ::-1]))
        if found:
            pose = found[0].pose
            truth = estimate_poses(faces["mesh"][k][None].astype(np.float32))[0]
            real.append(differences(np.array([pose.yaw, pose.pitch, pose.roll]), truth))
    report("real pictures against the teacher's mesh", np.array(real))


if __name__ == "__main__":
    main()
