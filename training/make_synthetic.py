"""Make the faces that the anonymiser puts on: each is the mean of many, so it is nobody's.

    python training/make_synthetic.py FACEPACK MEDIA src/facefusion/models/embedded/synthetic_faces.safetensors

Every face is the average of at least twelve people (pictures under permissive licences only, no two sets with more
than half of their people in common), drawn on their mean shape. The anonymiser mixes them further.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import load_file, save_file

from face_pool import COVERED, ROOT, HeadWarp, load_faces
from make_samples import SHARE, average, gather

SIDE = 256
PEOPLE = 12
COUNT = 24


def choose_sets(rows: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Sets of people that overlap by half at most."""
    sets: list[np.ndarray] = []
    while len(sets) < COUNT:
        chosen = rng.choice(rows, PEOPLE, replace=False)
        if all(len(np.intersect1d(chosen, other)) <= PEOPLE // 2 for other in sets):
            sets.append(chosen)
    return sets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("facepack", "media", "output"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(17)
    faces = load_faces(arguments.facepack, arguments.media)
    rows = gather(faces)
    rows = rows[~np.isin(faces["ident"][rows], list(COVERED))]
    warp = HeadWarp(load_file(ROOT / "src/facefusion/models/embedded/face_mesh.safetensors"))
    coded: list[np.ndarray] = []
    meshes = []
    for number, chosen in enumerate(choose_sets(rows, rng)):
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
        coded.append(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].ravel())
        moved = shape.copy()
        moved[:, :2] = (shape[:, :2] - (middle - half) + 0.5) * scale - 0.5
        moved[:, 2] *= scale
        meshes.append(moved.astype(np.float32))
        print(f"{number + 1}/{COUNT}", flush=True)
    offsets = np.cumsum([0, *(len(c) for c in coded)]).astype(np.int64)
    save_file(
        {"jpeg": np.concatenate(coded), "offsets": offsets, "meshes": np.stack(meshes)},
        arguments.output,
        metadata={"people_per_face": str(PEOPLE), "people": str(len(rows))},
    )
    print(f"{len(rows)} people, {PEOPLE} in each of {COUNT} faces")


if __name__ == "__main__":
    main()
