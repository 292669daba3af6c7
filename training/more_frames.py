"""Label frames of clips between those that a facepack has, with MediaPipe's face mesh.

    python training/more_frames.py FACEPACK MEDIA MORE --every 2

MORE is a facepack of its own, in the same layout, of the same people: their mouths open and their eyes close and turn in
the frames between. Needs the package `mediapipe` (0.10.21), whose labels the facepack has, too; nothing of the product
is imported, so an environment of its own will do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import mediapipe
import numpy as np

SIDE = 256
SPREAD = 1.6  # crop side over the longer side of the mesh's box
DISAGREEMENT = 0.04
"""Distance of a mesh from that of the mirror image, over the root of its box's area, from which a label is left out."""


class Teacher:
    """The face mesh of a crop and of its mirror image: their mean, and how far they disagree."""

    def __init__(self, flip: np.ndarray) -> None:
        self.engine = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True)
        self.flip = flip

    def _once(self, crop: np.ndarray) -> np.ndarray | None:
        found = self.engine.process(np.ascontiguousarray(crop[..., ::-1])).multi_face_landmarks
        if not found:
            return None
        return np.array([[p.x, p.y, p.z] for p in found[0].landmark], np.float32)

    def __call__(self, picture: np.ndarray, mesh: np.ndarray) -> tuple[np.ndarray, float] | None:
        """(478, 3) points in pixels of a BGR picture, near where a mesh was seen, and the disagreement."""
        low, high = mesh[:468, :2].min(axis=0), mesh[:468, :2].max(axis=0)
        side = float((high - low).max()) * 2.2
        corner = (low + high) / 2 - side / 2
        crop = cut(picture, corner, side, 384)
        one, other = self._once(crop), self._once(crop[:, ::-1])
        if one is None or other is None:
            return None
        other = other[self.flip]
        other[:, 0] = 1 - other[:, 0]
        box = np.ptp(one[:468, :2], axis=0)
        apart = float(np.linalg.norm(one[:, :2] - other[:, :2], axis=1).mean() / np.sqrt(box.prod()))
        points = (one + other) / 2 * side
        points[:, :2] += corner
        return points, apart


def cut(picture: np.ndarray, corner: np.ndarray, side: float, size: int) -> np.ndarray:
    """A square of a picture, resized; coordinates count from the corner of the first pixel."""
    scale = size / side
    shift = 0.5 * scale - 0.5
    matrix = np.array([[scale, 0, -corner[0] * scale + shift], [0, scale, -corner[1] * scale + shift]])
    return cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("facepack", "media", "more"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--every", type=int, default=2)
    arguments = parser.parse_args()
    teach = Teacher(np.load(arguments.facepack / "flip478.npy"))

    known: dict[str, dict[int, list[tuple[int, int]]]] = {}  # clip -> person -> its labelled (frame, row)
    rows = []
    for path in sorted(arguments.facepack.glob("faces_*.npz")):
        shard = dict(np.load(path).items())
        names = [str(shard["files"][k]) for k in shard["src"]]
        to_picture = shard["crop"][:, 2:] / SIDE
        meshes = shard["lm"] * to_picture[:, None]
        meshes[..., :2] += shard["crop"][:, None, :2]
        for name, person, frame, mesh in zip(names, shard["ident"], shard["frame"], meshes, strict=True):
            if name.startswith("clips/") and person:
                known.setdefault(name, {}).setdefault(int(person), []).append((int(frame), len(rows)))
                rows.append(mesh)

    columns: dict[str, list] = {
        k: [] for k in ("lm", "box", "kps", "flip_nme", "pose", "src", "frame", "ident", "crop")
    }
    files, coded = [], []
    for name, people in sorted(known.items()):
        files.append(name)
        capture = cv2.VideoCapture(str(arguments.media / name))
        number = -1
        while True:
            is_read, picture = capture.read()
            number += 1
            if not is_read:
                break
            if number % arguments.every:
                continue
            for person, seen in people.items():
                frame, row = min(seen, key=lambda entry: abs(entry[0] - number))
                if abs(frame - number) > 8 or frame == number:
                    continue
                found = teach(picture, rows[row])
                if found is None or found[1] > DISAGREEMENT:
                    continue
                mesh = found[0]
                low, high = mesh[:468, :2].min(axis=0), mesh[:468, :2].max(axis=0)
                before = rows[row][:468, :2]
                size = float((high - low).max())
                if np.linalg.norm((low + high) / 2 - (before.min(axis=0) + before.max(axis=0)) / 2) > 0.5 * size:
                    continue  # somebody else, or another shot
                side = size * SPREAD
                corner = (low + high) / 2 - side / 2
                scale = SIDE / side
                points = mesh * scale
                points[:, :2] -= corner * scale
                coded.append(cv2.imencode(".jpg", cut(picture, corner, side, SIDE), [cv2.IMWRITE_JPEG_QUALITY, 92])[1])
                low, high = points[:468, :2].min(axis=0), points[:468, :2].max(axis=0)
                across = points[454] - points[234]
                yaw = np.degrees(np.arctan2(across[2], across[0]))
                row_of = (points, [*low, *(high - low)], points[[468, 473, 4, 61, 291], :2], found[1])
                row_of += ([yaw, 0, 0], len(files) - 1, number, person, [*corner, side])
                for key, value in zip(columns, row_of, strict=True):
                    columns[key].append(value)
        print(f"{name}: {len(coded)} faces so far", flush=True)
    arguments.more.mkdir(parents=True, exist_ok=True)
    integers = ("src", "frame", "ident")
    arrays = {key: np.array(v, np.int32 if key in integers else np.float32) for key, v in columns.items()}
    offsets = np.cumsum([0, *(len(c) for c in coded)])
    np.savez(arguments.more / "faces_00.npz", jpg=np.concatenate(coded), off=offsets, files=np.array(files), **arrays)


if __name__ == "__main__":
    main()
