"""Make the faces that the anonymiser puts on: each is the mean of many, so it is nobody's.

    python training/make_synthetic.py FACEPACK MEDIA src/facefusion/models/embedded/synthetic_faces.safetensors

Every face is the average of twelve people who look alike to the embedded recogniser (pictures under permissive licences
only, no two sets with more than half of their people in common), drawn on their mean shape. Means of people taken at
random all look the same, and a recogniser then goes by what is left of the person underneath. For the same reason what
sets the features of a face apart from the mean of all of them is drawn more strongly.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file, save_file

from face_pool import COVERED, ROOT, HeadWarp, load_faces
from make_samples import SHARE, average, gather

sys.path.insert(0, str(ROOT / "src"))
from facefusion.imaging.light import from_log, to_log
from facefusion.imaging.texture import TexturePlane, build_plane, inner_distance, look_up, unwrap, view_surface
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine
from facefusion.recipe import Recipe
from facefusion.types.topology import (
    FACE_OVAL,
    LEFT_BROW,
    LEFT_EYE,
    LIPS_OUTER,
    MESH_TO_68,
    NOSE_TIP,
    RIGHT_BROW,
    RIGHT_EYE,
    five_from_68,
)

SIDE = 256
PLANE = 512
PEOPLE = 12
COUNT = 24
EMPHASIS = 3.0
"""How much further the features of a face are from the mean of all faces than they were found."""
MOST_LIGHT, MOST_DARK = 0.3, 1.2
"""Limits of that, natural logarithm: the skin where others have brows must not shine."""
BROAD = 36
"""What is smoother than that on the texture plane is light, not features."""


def encode(faces: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """(N, D) unit embeddings of one picture each."""
    identifier = build_engine("face_identifier", "embedded", EngineContext(Recipe()))
    codes = []
    for row in rows:
        pixels = np.ascontiguousarray(faces["image"][row][..., ::-1])
        points = five_from_68(faces["mesh"][row][list(MESH_TO_68), :2].astype(np.float32))
        codes.append(identifier.identify([pixels], [points])[0])
    return np.stack(codes) / np.linalg.norm(codes, axis=1, keepdims=True)


def choose_sets(rows: np.ndarray, codes: np.ndarray) -> list[np.ndarray]:
    """Sets of people who look alike, as unlike one another as can be, that overlap by half at most."""
    alike = codes @ codes.T
    near = np.argsort(-alike, axis=1)[:, :PEOPLE]
    middles = [codes[members].mean(axis=0) for members in near]
    middles = np.stack(middles) / np.linalg.norm(middles, axis=1, keepdims=True)
    likeness = middles @ middles.T
    chosen = [int(np.argmin(likeness.mean(axis=1)))]
    while len(chosen) < COUNT:
        nearest = likeness[:, chosen].max(axis=1)
        for k in np.argsort(nearest).tolist():
            if all(len(np.intersect1d(near[k], near[other])) <= PEOPLE // 2 for other in chosen):
                chosen.append(k)
                break
        else:
            raise SystemExit(f"only {len(chosen)} sets can be made of {len(rows)} people")
    return [rows[near[k]] for k in chosen]


def feature_weight(plane: TexturePlane) -> np.ndarray:
    """(S, S) 0 to 1: brows, eyes, nose and mouth with some room around them."""
    weight = np.zeros((PLANE, PLANE), np.float32)
    for ring, room in ((LEFT_EYE, 15), (RIGHT_EYE, 15), (LEFT_BROW, 10), (RIGHT_BROW, 10), (LIPS_OUTER, 15)):
        inside = (inner_distance(plane.points[list(ring)], PLANE) > 0).astype(np.float32)
        weight = np.maximum(weight, np.clip(cv2.GaussianBlur(inside, (0, 0), room) * 2.5, 0, 1))
    x, y = plane.points[NOSE_TIP]
    rows, columns = np.mgrid[0:PLANE, 0:PLANE].astype(np.float32)
    nose = np.exp(-(((columns - x) / 46) ** 4) - ((rows - y + 15) / 61) ** 4)
    return cv2.GaussianBlur(np.maximum(weight, nose), (0, 0), 6)


def emphasise(pictures: list[np.ndarray], meshes: list[np.ndarray]) -> list[np.ndarray]:
    """Draw what sets each face's features apart from the mean of all of them more strongly.

    Parameters
    ----------
    pictures, meshes
        (H, W, 3) uint8 RGB and (478, 3) in their pixels.
    """
    topology = load_mesh_topology()
    triangles = np.concatenate([topology.skin, topology.eyes, topology.mouth])
    plane = build_plane(topology.mean, triangles, np.array(FACE_OVAL, dtype=np.int32), PLANE)
    logs = [to_log(unwrap(p, m, plane)[0]) for p, m in zip(pictures, meshes, strict=True)]
    features = [log - cv2.GaussianBlur(log, (0, 0), BROAD) for log in logs]
    middle, weight = np.mean(features, axis=0), feature_weight(plane)[..., None]
    drawn = []
    for picture, mesh, own in zip(pictures, meshes, features, strict=True):
        more = (EMPHASIS - 1) * weight * cv2.GaussianBlur(own - middle, (0, 0), 1.5)
        more = np.where(more > 0, MOST_LIGHT * np.tanh(more / MOST_LIGHT), MOST_DARK * np.tanh(more / MOST_DARK))
        view = view_surface(mesh, plane, *picture.shape[:2])
        drawn.append(from_log(to_log(picture) + look_up(more.astype(np.float32), view, PLANE)))
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("facepack", "media", "output"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    faces = load_faces(arguments.facepack, arguments.media)
    rows = gather(faces)
    rows = rows[~np.isin(faces["ident"][rows], list(COVERED))]
    warp = HeadWarp(load_file(ROOT / "src/facefusion/models/embedded/face_mesh.safetensors"))
    pictures, meshes = [], []
    for number, chosen in enumerate(choose_sets(rows, encode(faces, rows))):
        picture, shape = average(faces, chosen, warp)
        sharp = picture.astype(np.float32)
        # A mean of many is soft: the relief of its features is given back, skin needs none.
        sharp += 0.9 * (sharp - cv2.GaussianBlur(sharp, (0, 0), 2.5)) + 0.25 * (
            sharp - cv2.GaussianBlur(sharp, (0, 0), 12)
        )
        side, middle = len(picture), len(picture) // 2
        half = int(side * SHARE * 0.72)
        part = np.clip(sharp, 0, 255).astype(np.uint8)[middle - half : middle + half, middle - half : middle + half]
        scale = SIDE / (2 * half)
        small = cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        pictures.append(np.ascontiguousarray(small[..., ::-1]))
        moved = shape.copy()
        moved[:, :2] = (shape[:, :2] - (middle - half) + 0.5) * scale - 0.5
        moved[:, 2] *= scale
        meshes.append(moved.astype(np.float32))
        print(f"{number + 1}/{COUNT}", flush=True)
    coded = [
        cv2.imencode(".jpg", p[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].ravel()
        for p in emphasise(pictures, meshes)
    ]
    offsets = np.cumsum([0, *(len(c) for c in coded)]).astype(np.int64)
    save_file(
        {"jpeg": np.concatenate(coded), "offsets": offsets, "meshes": np.stack(meshes)},
        arguments.output,
        metadata={"people_per_face": str(PEOPLE), "people": str(len(rows)), "emphasis": str(EMPHASIS)},
    )
    print(f"{len(rows)} people, {PEOPLE} in each of {COUNT} faces")


if __name__ == "__main__":
    main()
