"""Training pictures for the identity encoder: real faces, and faces of nobody blended from two people.

    python training/identity_pool.py FACEPACK MEDIA POOL --licences permissive --count 24000

Every picture is an aligned crop with 8 pixels of room on each side, and the 128 numbers that the teacher gives it:
dlib's face recognition ResNet (King, 2017; CC0; packages dlib-bin and face-recognition-models), which is
needed here and nowhere else. A few hundred people are too few to learn faces from, so most pictures are new
faces: two meshes mixed, two textures mixed by a smooth random map, turned a little, seen by the teacher as they are.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file

from face_pool import ROOT, HeadWarp, fit_box, is_held_out, load_faces, turn

sys.path.insert(0, str(ROOT / "src"))
from facefusion.imaging.templates import TEMPLATES, similarity
from facefusion.types.topology import FIVE_POINTS, MESH_TO_68, five_from_68

TEMPLATE, SIZE, ROOM = "arcface_112_v2", 112, 8
SIDE = 168
BLENDS = 3


class Teacher:
    """dlib's recogniser on a picture with a known mesh."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import dlib
            import face_recognition_models as weights
        self._dlib = dlib
        self._shape = dlib.shape_predictor(weights.pose_predictor_five_point_model_location())
        self._net = dlib.face_recognition_model_v1(weights.face_recognition_model_location())

    def chip(self, rgb: np.ndarray, mesh: np.ndarray) -> np.ndarray:
        """(150, 150, 3) crop as dlib aligns it."""
        points = mesh[list(FIVE_POINTS), :2]
        eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
        half = 1.15 * float(np.linalg.norm(mouth - eyes))
        x, y = (eyes + mouth) / 2
        box = self._dlib.rectangle(int(x - half), int(y - half), int(x + half), int(y + half))
        rgb = np.ascontiguousarray(rgb)
        return self._dlib.get_face_chip(rgb, self._shape(rgb, box), 150, 0.25)

    def describe(self, chips: list[np.ndarray]) -> np.ndarray:
        """(N, 128) raw embeddings."""
        return np.array(self._net.compute_face_descriptor(chips), dtype=np.float32)


def aligned(bgr: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """The student's crop with room around it."""
    goal = np.array(TEMPLATES[TEMPLATE], np.float32) * SIZE + ROOM
    affine = similarity(five_from_68(mesh[list(MESH_TO_68), :2]), goal)
    side = SIZE + 2 * ROOM
    return cv2.warpAffine(bgr, affine, (side, side), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


@cache
def _people(facepack: Path, media: Path, licences: str) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    faces = load_faces(facepack, media)
    use = ~is_held_out(faces["ident"]) & (faces["flip_error"] < 0.04)
    if licences == "permissive":
        use &= faces["licence"] == "permissive"
    index = np.flatnonzero(use)
    ident = faces["ident"][index]
    weight = np.array([1.0 / ((ident == k).sum() if k else 1) for k in ident])
    return faces, index, weight / weight.sum()


def _colours_of(image: np.ndarray, goal: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean and spread of the colours under a mask carried over from another picture."""
    a, b = (cv2.cvtColor(x, cv2.COLOR_BGR2LAB).astype(np.float32) for x in (image, goal))
    inside = mask > 0
    mean_a, mean_b = a[inside].mean(axis=0), b[inside].mean(axis=0)
    gain = np.clip(b[inside].std(axis=0) / np.maximum(a[inside].std(axis=0), 1), 0.6, 1.6)
    moved = np.clip((a - mean_a) * gain + mean_b, 0, 255).astype(np.uint8)
    return cv2.cvtColor(moved, cv2.COLOR_LAB2BGR)


def render_blends(task: tuple[Path, Path, str, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A share of the pool: crops and the teacher's numbers."""
    facepack, media, licences, count, seed = task
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    faces, index, chance = _people(facepack, media, licences)
    warp = HeadWarp(load_file(ROOT / "src/facefusion/models/embedded/face_mesh.safetensors"))
    teacher = Teacher()
    crops, chips = [], []
    while len(crops) < count:
        k, other = rng.choice(index, 2, p=chance)
        points, points_b = (faces["mesh"][i].astype(np.float64) for i in (k, other))
        image, image_b = faces["image"][k], faces["image"][other]
        is_mix = rng.random() < 0.85
        share = rng.uniform(-0.25, 1.25) if is_mix else 0.0
        mixed = fit_box(points, SIDE, 0.66) * (1 - share) + fit_box(points_b, SIDE, 0.66) * share
        goal = fit_box(turn(mixed, rng.normal(0, 12), rng.normal(0, 7), rng.normal(0, 3)), SIDE, 0.66)
        extended = warp.extend(goal)
        first = warp.render(image, points, warp.extend(points), extended, SIDE)
        pictures = [first]
        if is_mix:
            second = warp.render(image_b, points_b, warp.extend(points_b), extended, SIDE)
            pictures = [_blend(first, second, goal, rng) for _ in range(BLENDS)]
        for picture in pictures:
            mesh = goal
            if rng.random() < 0.5:
                picture, mesh = _mirrored(picture, goal, warp.flip)
            crops.append(aligned(picture, mesh))
            chips.append(teacher.chip(picture[..., ::-1], mesh))
            if len(crops) % 500 == 0:
                print(f"{seed}: {len(crops)}/{count}", flush=True)
    codes = np.concatenate([teacher.describe(chips[s : s + 64]) for s in range(0, len(chips), 64)])
    return np.stack(crops), codes


def _blend(first: np.ndarray, second: np.ndarray, goal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two faces on one mesh, each shown where a smooth random map says."""
    hull = cv2.convexHull(np.round(goal[:468, :2]).astype(np.int32))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillConvexPoly(mask, hull, 255)
    if rng.random() < 0.7:
        second = _colours_of(second, first, mask)
    field = cv2.resize(rng.normal(0, 1, (4, 4)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    alpha = 1 / (1 + np.exp(-(field * rng.uniform(1, 6) + rng.normal(0, 1.5))))
    if rng.random() < 0.6:
        alpha *= cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 6)
    return (first + (second.astype(np.float32) - first) * alpha[..., None]).astype(np.uint8)


def _mirrored(picture: np.ndarray, mesh: np.ndarray, flip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    moved = mesh[flip].copy()
    moved[:, 0] = picture.shape[1] - 1 - moved[:, 0]
    return np.ascontiguousarray(picture[:, ::-1]), moved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("facepack", "media", "pool"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--licences", default="permissive", choices=("all", "permissive"))
    parser.add_argument("--count", type=int, default=24000)
    arguments = parser.parse_args()
    faces, index, _ = _people(arguments.facepack, arguments.media, arguments.licences)
    teacher = Teacher()
    held = np.flatnonzero(is_held_out(faces["ident"]) & (faces["ident"] > 0))
    arguments.pool.mkdir(parents=True, exist_ok=True)
    kept: dict[str, tuple[list, list]] = {"train": ([], []), "held": ([], [])}
    for name, rows in (("train", index), ("held", held)):
        for k in rows:
            image, mesh = faces["image"][k], faces["mesh"][k]
            kept[name][0].append(aligned(image, mesh))
            kept[name][1].append(teacher.chip(image[..., ::-1], mesh))
    np.save(arguments.pool / "held_crops.npy", np.stack(kept["held"][0]))
    np.save(arguments.pool / "held_codes.npy", teacher.describe(kept["held"][1]))
    np.save(arguments.pool / "held_ident.npy", faces["ident"][held])
    real = np.stack(kept["train"][0]), teacher.describe(kept["train"][1])
    print(f"{len(index)} real faces, {len(held)} held out", flush=True)
    parts = 8
    tasks = [
        (arguments.facepack, arguments.media, arguments.licences, arguments.count // parts, seed)
        for seed in range(parts)
    ]
    # Not forked: the teacher's threads would not come along.
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as workers:
        blends = list(workers.map(render_blends, tasks))
    np.save(arguments.pool / "crops.npy", np.concatenate([real[0], *(crops for crops, _ in blends)]))
    np.save(arguments.pool / "codes.npy", np.concatenate([real[1], *(codes for _, codes in blends)]))


if __name__ == "__main__":
    main()
