"""What the appearance network is trained on, in one file that can be carried to another machine.

    python training/appearance_pool.py FACEPACK MEDIA POOL.npz --licences permissive

Photos as they are coded in the facepack, their meshes and people, and patches of pictures without faces to draw things
with. `train_appearance.py` unwraps and cleans them.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np

from face_pool import COVERED, is_held_out

PATCH = 96
MAX_YAW = 24
"""Degrees; what a face shows that is turned further is not a clean texture."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("facepack", "media", "pool"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--licences", default="permissive", choices=("all", "permissive"))
    arguments = parser.parse_args()
    licence_of = {
        row["file"]: row["licence_class"] for row in csv.DictReader((arguments.media / "manifest.csv").open())
    }
    coded, meshes, people = [], [], []
    for path in sorted(arguments.facepack.glob("faces_*.npz")):
        shard = dict(np.load(path))
        licences = np.array([licence_of.get(str(name), "none") for name in shard["files"]])[shard["src"]]
        use = (shard["flip_nme"] < 0.03) & (np.abs(shard["pose"][:, 0]) < MAX_YAW)
        if arguments.licences == "permissive":
            use &= licences == "permissive"
        for k in np.flatnonzero(use):
            coded.append(shard["jpg"][shard["off"][k] : shard["off"][k + 1]])
            # Labels count from the corner of the first pixel; we count from its centre.
            meshes.append(shard["lm"][k] - np.array([0.5, 0.5, 0]))
            people.append(shard["ident"][k])
    patches = []
    rng = np.random.default_rng(3)
    for path in sorted((arguments.media / "negatives").iterdir()):
        if licence_of.get(f"negatives/{path.name}") != "permissive":
            continue
        image = cv2.imread(str(path))
        for _ in range(3):
            side = int(rng.uniform(0.3, 0.9) * min(image.shape[:2]))
            x, y = (int(rng.integers(0, n - side + 1)) for n in (image.shape[1], image.shape[0]))
            patches.append(cv2.resize(image[y : y + side, x : x + side], (PATCH, PATCH), interpolation=cv2.INTER_AREA))
    ident = np.array(people)
    np.savez(
        arguments.pool, jpg=np.concatenate(coded), off=np.cumsum([0, *(len(c) for c in coded)]), ident=ident,
        held=is_held_out(ident), covered=np.isin(ident, list(COVERED)), mesh=np.stack(meshes).astype(np.float32),
        patches=np.stack(patches),
    )  # fmt: skip
    print(f"{len(coded)} photos of {len(set(ident.tolist()))} people, {len(patches)} patches")


if __name__ == "__main__":
    main()
