"""Training pictures for the mesh network: real crops, turned and re-textured ones, and no-faces.

The pool is a folder of plain arrays, made once and memory-mapped by `train_mesh.py`:

    python training/face_pool.py FACEPACK MEDIA POOL --licences permissive
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
from facefusion.imaging import mesh
from facefusion.types.topology import FACE_OVAL

SIDE = 192
HELD_OUT = (7, 3)  # people with ident % 7 == 3 are never trained on

COVERED = {
    5, 149, 162, 169, 181, 238, 265, 285, 287, 298, 336, 350, 410, 429, 433, 453, 471, 473, 618, 619, 621, 682, 691,
    705, 714,
}  # fmt: skip
"""People of our own facepack, by number, with glasses, a mask or hair over the face: found by looking at one picture
of each. Labels made from a mesh call all of that skin."""


def is_held_out(ident: np.ndarray) -> np.ndarray:
    """People kept for validation, chosen by their number alone."""
    return (ident % HELD_OUT[0]) == HELD_OUT[1]


def load_faces(facepack: Path, media: Path) -> dict[str, np.ndarray]:
    """All labelled crops (256 px BGR), meshes and their people, licences and yaw."""
    licence_of = {row["file"]: row["licence_class"] for row in csv.DictReader((media / "manifest.csv").open())}
    columns: dict[str, list] = {
        k: [] for k in ("image", "mesh", "ident", "yaw", "flip_error", "licence", "box", "five")
    }
    for path in sorted(facepack.glob("faces_*.npz")):
        shard = {key: value for key, value in np.load(path).items()}
        jpg, off = shard["jpg"], shard["off"]
        for k in range(len(shard["lm"])):
            columns["image"].append(cv2.imdecode(jpg[off[k] : off[k + 1]], cv2.IMREAD_COLOR))
            columns["licence"].append(licence_of[str(shard["files"][shard["src"][k]])])
        for key, name in (
            ("mesh", "lm"),
            ("ident", "ident"),
            ("flip_error", "flip_nme"),
            ("box", "box"),
            ("five", "kps"),
        ):
            columns[key].extend(shard[name])
        columns["yaw"].extend(shard["pose"][:, 0])
    faces = {key: np.array(values) for key, values in columns.items()}
    # Labels count from the corner of the first pixel (a mirrored x is 256 - x); we count from its centre.
    faces["mesh"][..., :2] -= 0.5
    return faces


class HeadWarp:
    """Moves a whole picture with a mesh: the face by its triangles, the rest by a ring around it."""

    def __init__(self, topology: dict[str, np.ndarray]) -> None:
        oval = np.array(FACE_OVAL)
        self.face = np.concatenate([topology["skin"], topology["eyes"], topology["mouth"]])
        count = len(oval)
        first = np.arange(count)
        following = (first + 1) % count
        ring = 468 + first
        self.oval = oval
        self.flip = topology["flip"]
        ring_triangles = np.concatenate(
            [
                np.stack([oval[first], ring[first], oval[following]], axis=1),
                np.stack([oval[following], ring[first], ring[following]], axis=1),
            ]
        )
        self.surround = ring_triangles.astype(np.int32)

    def extend(self, points: np.ndarray) -> np.ndarray:
        """468 mesh points plus a ring 1.45 times as wide as the oval, set back to the ears' depth."""
        skin = points[:468]
        oval = skin[self.oval]
        centre = oval.mean(axis=0)
        depth = oval[:, 2].max()
        ring = centre + (oval - centre) * 1.45
        ring[:, 2] = depth
        return np.concatenate([skin, ring]).astype(np.float32)

    def render(
        self, image: np.ndarray, points: np.ndarray, extended: np.ndarray, goal: np.ndarray, side: int
    ) -> np.ndarray:
        """Draw ``image`` with mesh ``points`` (extended: with ring) at the extended mesh ``goal``."""
        base = base_warp(image, points, goal, side)
        out = base
        for triangles in (self._facing(self.surround, extended), self.face):
            index = mesh.rasterise(goal, triangles, side, side)
            affines = mesh.triangle_affines(goal, extended, triangles)
            where = mesh.warp_map(index, affines)
            drawn = cv2.remap(image, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            out = np.where((index >= 0)[..., None], drawn, out)
        return out

    @staticmethod
    def _facing(triangles: np.ndarray, extended: np.ndarray) -> np.ndarray:
        areas = mesh.signed_areas(extended, triangles)
        return np.where((areas > 0)[:, None], triangles, triangles[:, ::-1]).astype(np.int32)


def base_warp(image: np.ndarray, points: np.ndarray, goal: np.ndarray, side: int) -> np.ndarray:
    """The picture moved by the similarity of the two meshes' boxes: a background for the warp."""
    low, high = points[:468, :2].min(axis=0), points[:468, :2].max(axis=0)
    goal_low, goal_high = goal[:468, :2].min(axis=0), goal[:468, :2].max(axis=0)
    scale = float(np.max(goal_high - goal_low) / np.max(high - low))
    shift = (goal_low + goal_high) / 2 - scale * (low + high) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], dtype=np.float32)
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)


def turn_matrix(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3) rotation by angles in degrees."""
    cy, sy = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    cp, sp = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))
    cr, sr = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def turn(points: np.ndarray, yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rotate a mesh about its own middle; angles in degrees."""
    middle = points[:468].mean(axis=0)
    return (points - middle) @ turn_matrix(yaw, pitch, roll).T + middle


def fit_box(points: np.ndarray, side: int, share: float) -> np.ndarray:
    """Scale and centre a mesh so that its box takes ``share`` of a square picture."""
    low, high = points[:468, :2].min(axis=0), points[:468, :2].max(axis=0)
    scale = side * share / float((high - low).max())
    out = points * scale
    out[:, :2] += (side - 1) / 2 - scale * (low + high) / 2
    out[:, 2] -= out[:468, 2].mean() - points[:468, 2].mean() * scale
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("facepack", type=Path)
    parser.add_argument("media", type=Path)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--licences", default="all", choices=("all", "permissive"))
    parser.add_argument("--rendered", type=float, default=2.5, help="rendered pictures per real one")
    parser.add_argument("--uncovered", action="store_true", help="leave out people with glasses or hair over the face")
    parser.add_argument("--held", action="store_true", help="the people who are held out, to measure with")
    arguments = parser.parse_args()
    rng = np.random.default_rng(7)
    cv2.setNumThreads(1)

    faces = load_faces(arguments.facepack, arguments.media)
    train = (is_held_out(faces["ident"]) == arguments.held) & (faces["flip_error"] < 0.04)
    if arguments.uncovered:
        train &= ~np.isin(faces["ident"], list(COVERED))
    if arguments.licences == "permissive":
        train &= faces["licence"] == "permissive"
    topology = load_file(ROOT / "src/facefusion/models/embedded/face_mesh.safetensors")
    warp = HeadWarp(topology)
    index = np.flatnonzero(train)
    ident = faces["ident"][index]
    counts = {k: int((ident == k).sum()) for k in set(ident.tolist())}
    weight = np.array([1.0 / (counts[k] ** 0.7 if k else 1.0) for k in ident])

    images, meshes, weights, kinds = [], [], [], []
    scale = SIDE / 256
    for k, w in zip(index, weight, strict=True):
        images.append(cv2.resize(faces["image"][k], (SIDE, SIDE), interpolation=cv2.INTER_AREA))
        scaled = faces["mesh"][k] * scale
        scaled[:, :2] += (scale - 1) / 2  # pixel centres at integers on both sides
        meshes.append(scaled)
        weights.append(w * (1 + abs(float(faces["yaw"][k])) / 20))
        kinds.append(0)
    real_weight = sum(weights)

    frontal = np.flatnonzero(np.abs(faces["yaw"][index]) < 25)
    chance = weight[frontal] / weight[frontal].sum()
    count = int(len(index) * arguments.rendered)
    for number in range(count):
        texture = index[frontal[rng.choice(len(frontal), p=chance)]]
        image, points = faces["image"][texture], faces["mesh"][texture].astype(np.float64)
        kind = 1 if rng.random() < 0.65 else 2
        shape = points
        if kind == 2:  # one person's texture on another's mesh
            near = frontal[np.abs(faces["yaw"][index[frontal]] - faces["yaw"][texture]) < 12]
            other = weight[near] / weight[near].sum()
            shape = faces["mesh"][index[near[rng.choice(len(near), p=other)]]].astype(np.float64)
        if kind == 1 or rng.random() < 0.5:
            span = 60.0 if kind == 1 else 20.0
            yaw = float(rng.uniform(8, span) * rng.choice([-1, 1])) if kind == 1 else float(rng.normal(0, 10))
            shape = turn(shape, yaw, float(rng.normal(0, 10)), 0.0)
        goal = fit_box(shape, SIDE, 160 / 256)
        extended_goal = warp.extend(goal)
        rendered = warp.render(image, points, warp.extend(points), extended_goal, SIDE)
        images.append(rendered)
        meshes.append(goal.astype(np.float32))
        weights.append(1.0)
        kinds.append(kind)
        if number % 1000 == 0:
            print(f"rendered {number}/{count}", flush=True)

    weights_array = np.array(weights, dtype=np.float64)
    rendered_mask = np.array(kinds) > 0
    weights_array[rendered_mask] *= 0.55 * real_weight / max(rendered_mask.sum(), 1)

    negatives = []
    boxes = json.loads((arguments.facepack / "boxes.json").read_text())
    licence_of = {
        row["file"]: row["licence_class"] for row in csv.DictReader((arguments.media / "manifest.csv").open())
    }
    for row in boxes:
        if not row.get("negative") or not row["file"].startswith("negatives"):
            continue
        if arguments.licences == "permissive" and licence_of[row["file"]] != "permissive":
            continue
        image = cv2.imread(str(arguments.media / row["file"]))
        for _ in range(24):
            side = int(rng.uniform(48, min(image.shape[:2])))
            x, y = (int(rng.integers(0, n - side + 1)) for n in (image.shape[1], image.shape[0]))
            negatives.append(cv2.resize(image[y : y + side, x : x + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA))

    arguments.pool.mkdir(parents=True, exist_ok=True)
    np.save(arguments.pool / "images.npy", np.stack(images))
    np.save(arguments.pool / "meshes.npy", np.stack(meshes).astype(np.float32))
    np.save(arguments.pool / "weights.npy", weights_array / weights_array.sum())
    np.save(arguments.pool / "negatives.npy", np.stack(negatives))
    print(f"{len(index)} real, {count} rendered, {len(negatives)} negatives, {len(counts)} people")


if __name__ == "__main__":
    main()
