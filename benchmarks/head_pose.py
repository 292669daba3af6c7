"""Head pose against known rotations, and against the teacher's mesh on real pictures.

    python benchmarks/head_pose.py FACEPACK MEDIA [--clips 40] [--frames 50]

Frontal faces of people held out from training are turned in 3-D with their teacher's mesh by exact angles and drawn,
frame by frame along a smooth path that begins unturned; the whole of pass 1 then follows the drawn clip. A frame counts
as right where yaw, pitch and roll are all within 5 degrees, and as wrong where nobody is found. Only the turns are known
exactly; where a person's zero lies is a matter of anatomy, so there are three truths:

- the turn, from the zero that fits all frames of the clip best (as sequences of trackers and markers are aligned);
- the turn, from the zero that is found in the first frame, whose error then counts in every frame;
- the pose of the teacher's mesh after the same turn, zero included.

Real pictures are compared with the teacher's own pose.
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "training"))
from face_pool import HeadWarp, fit_box, is_held_out, load_faces, turn, turn_matrix
from facefusion.models.pose import angles_of, estimate_poses
from facefusion.pipeline.runner import build_analyser
from facefusion.recipe import Recipe
from facefusion.types.frame import Frame

SIDE = 320


def differences(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return np.abs((found - truth + 180) % 360 - 180)


def report(name: str, errors: np.ndarray) -> None:
    print(
        f"{name}: {len(errors)} pictures, within 5 degrees {np.mean(errors.max(axis=1) <= 5):.2%}, "
        f"mean error yaw {errors[:, 0].mean():.2f}, pitch {errors[:, 1].mean():.2f}, roll {errors[:, 2].mean():.2f}"
    )


def common_zero(turns: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The rotation that, turned, is nearest to what was found: the chordal mean of all frames' zeros."""
    u, _, vt = np.linalg.svd(np.einsum("tji,tjk->ik", turns, found))
    return u @ vt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("facepack", type=Path)
    parser.add_argument("media", type=Path)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--frames", type=int, default=50)
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
    truths = ("the turn, zero of all frames", "the turn, zero of the first frame", "the teacher's mesh, turned")
    errors: dict[str, list[np.ndarray]] = {truth: [] for truth in truths}
    angles, lost = [], 0
    limits = np.array([arguments.yaw, arguments.pitch, arguments.roll])
    for k in rng.permutation(frontal)[: arguments.clips]:
        points = faces["mesh"][k].astype(np.float64)
        # A sum of two slow waves for each angle, from nothing to the limit and back.
        time = np.linspace(0, 1, arguments.frames)[:, None]
        speed, phase = rng.uniform(0.6, 1.6, (2, 3)), rng.uniform(0, 2 * np.pi, (2, 3))
        waves = [np.sin(2 * np.pi * speed[j] * time + phase[j]) - np.sin(phase[j]) for j in (0, 1)]
        path = waves[0] + 0.5 * waves[1]
        path *= limits / np.abs(path).max(axis=0)
        frames, goals = [], []
        for number, turned in enumerate(path):
            goal = fit_box(turn(points, *turned), SIDE, 0.5)
            goals.append(goal)
            picture = warp.render(faces["image"][k], points, warp.extend(points), warp.extend(goal), SIDE)
            frames.append(Frame(np.ascontiguousarray(picture[..., ::-1]), number, number, Fraction(1, 25)))
        tracks = analyser.analyse(frames).tracks
        rows = {} if not tracks else {int(frame): row for row, frame in enumerate(tracks[0].frames)}
        if 0 not in rows:
            lost += len(frames)
            continue
        lost += len(path) - len(rows)
        numbers = sorted(rows)
        poses = tracks[0].poses[[rows[number] for number in numbers]].astype(np.float64)
        turns = np.stack([turn_matrix(*path[n]) for n in numbers])
        # The same order of axes; yaw and pitch have the other sign (`facefusion.models.pose`).
        found = np.stack([turn_matrix(-yaw, -pitch, roll) for yaw, pitch, roll in poses])
        zeros = {
            truths[0]: angles_of(turns @ common_zero(turns, found)),
            truths[1]: angles_of(turns @ found[0]),
            truths[2]: estimate_poses(np.stack([goals[n] for n in numbers]).astype(np.float32)),
        }
        for truth, wanted in zeros.items():
            errors[truth] += list(differences(poses, wanted)[1:])
        angles += [abs(path[n][0]) for n in numbers[1:]]
    angles_array = np.array(angles)
    for truth, found_errors in errors.items():
        array = np.array(found_errors)
        share = np.sum(array.max(axis=1) <= 5) / (len(array) + lost)
        print(f"{truth}: within 5 degrees {share:.2%} ({lost} frames without a face counted as wrong; goal 98.7 %)")
        report("  all", array)
        for low, high in ((0, 15), (15, 30), (30, 45), (45, 60)):
            here = (angles_array >= low) & (angles_array < high)
            if here.any():
                report(f"  yaw {low} to {high}", array[here])
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
