"""Training pairs for the fusion network: a person swapped with another picture of the same person.

    python training/fusion_pool.py FACEPACK MEDIA POOL --licences permissive [--held]

The true frame is then known: a perfect swap would give it back. Source and target are relit, tinted, blurred and
coded independently first, meshes are moved a little, so that there is something to put right.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import cv2
import numpy as np

from face_pool import ROOT, is_held_out, load_faces

sys.path.insert(0, str(ROOT / "src"))
from facefusion.imaging.align import mesh_crop, transform
from facefusion.models.pose import estimate_pose
from facefusion.processors.face_swapper.mesh import MeshSwapper
from facefusion.types.crop import Crop, SourceFace
from facefusion.types.face import Face

SIDE = 128
MARGIN = 1.25
WORK = 256
"""Side at which the swap itself is made, so that the fusion sees the detail of a real one."""
Rng = np.random.Generator


def relight(rgb: np.ndarray, rng: Rng, strength: float) -> np.ndarray:
    """Other light: exposure, gamma, white balance and a ramp across the picture, in linear light."""
    x = (rgb.astype(np.float32) / 255) ** 2.2
    x = x * np.exp(rng.normal(0, 0.3 * strength)) * np.exp(rng.normal(0, 0.14 * strength, 3)).astype(np.float32)
    if rng.random() < 0.6:
        side = x.shape[0]
        y, across = np.mgrid[0:side, 0:side].astype(np.float32) / side - 0.5
        angle = rng.uniform(0, 2 * math.pi)
        ramp = (across * math.cos(angle) + y * math.sin(angle)) * rng.uniform(0, 2.2) * strength
        tint = np.exp(rng.normal(0, 0.1 * strength, 3)).astype(np.float32)
        x = x * np.exp(ramp[..., None] * tint)
    x = np.clip(x, 0, 1) ** (np.exp(rng.normal(0, 0.12 * strength)) / 2.2)
    return (x * 255 + 0.5).astype(np.uint8)


def degrade(rgb: np.ndarray, rng: Rng) -> np.ndarray:
    if rng.random() < 0.3:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.4:
        _, coded = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 85))])
        rgb = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return rgb


def shaken(mesh: np.ndarray, rng: Rng) -> np.ndarray:
    """A mesh with a smooth error of about what the mesh network has."""
    unit = float(np.linalg.norm(mesh[468] - mesh[473]))
    low, high = mesh[:, :2].min(axis=0), mesh[:, :2].max(axis=0)
    field = rng.normal(0, 0.02 * unit, (4, 4, 2)).astype(np.float32)
    at = ((mesh[:, :2] - low) / (high - low) * 3).astype(np.float32)
    moved = mesh.copy()
    moved[:, :2] += cv2.remap(field, at[:, :1], at[:, 1:], cv2.INTER_LINEAR).reshape(-1, 2)
    return moved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("facepack", "media", "pool"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--licences", default="permissive", choices=("all", "permissive"))
    parser.add_argument("--held", action="store_true")
    parser.add_argument("--per-source", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(5 + arguments.held)
    faces = load_faces(arguments.facepack, arguments.media)
    use = (is_held_out(faces["ident"]) == arguments.held) & (faces["ident"] > 0) & (faces["flip_error"] < 0.04)
    if arguments.licences == "permissive" and not arguments.held:
        use &= faces["licence"] == "permissive"
    index = np.flatnonzero(use)
    of_person: dict[int, list[int]] = {}
    for k in index:
        of_person.setdefault(int(faces["ident"][k]), []).append(int(k))
    swapper = MeshSwapper()
    kept: dict[str, list[np.ndarray]] = {"over": [], "alpha": [], "target": [], "ident": []}
    for round_ in range(arguments.rounds):
        for number, k in enumerate(index):
            person = of_person[int(faces["ident"][k])]
            others = [other for other in person if other != k] or [int(k)]
            if len(person) > 24 and rng.random() > 24 / len(person):
                continue
            source_pixels = degrade(relight(faces["image"][k][..., ::-1], rng, 1.0), rng)
            mesh = shaken(faces["mesh"][k], rng)
            swapper.prepare([SourceFace(source_pixels, Face(mesh, 1.0, estimate_pose(mesh)))])
            for other in rng.choice(others, min(arguments.per_source, max(len(others), 2))):
                target_mesh = faces["mesh"][other]
                affine = mesh_crop(target_mesh, WORK, MARGIN)
                frame = degrade(relight(faces["image"][other][..., ::-1], rng, 0.7), rng)
                pixels = cv2.warpAffine(
                    frame, affine, (WORK, WORK), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
                )
                moved = shaken(transform(affine, target_mesh), rng)
                crop = Crop(pixels, affine, Face(moved, 1.0, estimate_pose(moved)), np.zeros((WORK, WORK), np.float32))
                done = swapper.process([crop])[0]
                small = lambda x: cv2.resize(x, (SIDE, SIDE), interpolation=cv2.INTER_AREA)  # noqa: E731
                kept["over"].append(small(done.pixels))
                kept["alpha"].append((small(done.alpha) * 255 + 0.5).astype(np.uint8))
                kept["target"].append(small(pixels))
                kept["ident"].append(faces["ident"][other])
            if number % 200 == 0:
                print(f"{round_}: {number}/{len(index)}, {len(kept['over'])} pairs", flush=True)
    arguments.pool.mkdir(parents=True, exist_ok=True)
    for name, values in kept.items():
        np.save(arguments.pool / f"{name}.npy", np.stack(values))


if __name__ == "__main__":
    main()
