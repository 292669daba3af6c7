"""Label a folder of your own photos and clips, in the layout that the trainings read.

    python training/make_facepack.py PHOTOS FACEPACK --licence permissive

The teacher is the embedded analyser, or MediaPipe's face mesh where that package is installed and
``--teacher mediapipe`` is given. PHOTOS gets a ``manifest.csv`` with the licence you name; people are told
apart by folder: every sub-folder of PHOTOS is one person, files at its top are people of unknown id.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np

from face_pool import ROOT

sys.path.insert(0, str(ROOT / "src"))
from facefusion.errors import FaceFusionError
from facefusion.media.image import is_photo, read_photo
from facefusion.media.reader import ClipReader
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.pipeline.runner import build_analyser
from facefusion.recipe import Recipe
from facefusion.types.face import Face

SIDE = 256
SPREAD = 1.6  # crop side over the longer side of the mesh's box
EVERY = 8


def pictures(path: Path):
    """Frame numbers and RGB pixels of a photo or of every few frames of a clip."""
    if is_photo(path):
        yield 0, read_photo(path, allow_8bit=True).pixels
        return
    for frame in ClipReader(path, allow_8bit=True):
        if frame.index % EVERY == 0:
            yield frame.index, frame.pixels


def mediapipe_teacher():
    """A function that replaces the mesh of a face by MediaPipe's, or drops the face."""
    import mediapipe

    engine = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=True)

    def teach(pixels: np.ndarray, face: Face) -> np.ndarray | None:
        x0, y0, side = crop_of(face.mesh, 2.2)
        crop = cut(pixels, x0, y0, side, 384)
        found = engine.process(crop).multi_face_landmarks
        if not found:
            return None
        points = np.array([[p.x, p.y, p.z] for p in found[0].landmark], np.float32) * side
        points[:, :2] += (x0, y0)
        points[:, :2] -= 0.5
        return points

    return teach


def crop_of(mesh: np.ndarray, spread: float) -> tuple[float, float, float]:
    low, high = mesh[:468, :2].min(axis=0), mesh[:468, :2].max(axis=0)
    side = float((high - low).max()) * spread
    x0, y0 = (low + high) / 2 - side / 2
    return float(x0), float(y0), side


def cut(pixels: np.ndarray, x0: float, y0: float, side: float, size: int) -> np.ndarray:
    scale = size / side
    shift = 0.5 * scale - 0.5
    matrix = np.array([[scale, 0, -x0 * scale + shift], [0, scale, -y0 * scale + shift]])
    return cv2.warpAffine(pixels, matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("facepack", type=Path)
    parser.add_argument("--licence", default="permissive", help="licence class written to the manifest")
    parser.add_argument("--teacher", default="embedded", choices=("embedded", "mediapipe"))
    arguments = parser.parse_args()
    analyser = build_analyser(Recipe(face_detector_score=0.6))
    teach = mediapipe_teacher() if arguments.teacher == "mediapipe" else None
    arguments.facepack.mkdir(parents=True, exist_ok=True)
    columns: dict[str, list] = {
        k: [] for k in ("lm", "box", "kps", "flip_nme", "pose", "src", "frame", "ident", "crop")
    }
    coded: list[np.ndarray] = []
    files, boxes, people = [], [], {}
    for path in sorted(p for p in arguments.photos.rglob("*") if p.is_file() and p.name != "manifest.csv"):
        name = path.relative_to(arguments.photos).as_posix()
        ident = 0
        if path.parent != arguments.photos:
            ident = people.setdefault(path.parent, len(people) + 1)
        try:
            seen = list(pictures(path))
        except FaceFusionError as error:
            print(f"left out {name}: {error.message}")
            continue
        files.append(name)
        for number, pixels in seen:
            labels = []
            for face in analyser.find_faces(pixels):
                mesh = face.mesh if teach is None else teach(pixels, face)
                if mesh is None:
                    continue
                face = Face(mesh, face.score, face.pose)
                low, high = face.box[:2], face.box[2:]
                five = face.five_points
                labels.append(
                    {
                        "box": [*low.tolist(), *(high - low).tolist()],
                        "kps": five.tolist(),
                        "score": face.score,
                        "id": f"id{ident:04d}",
                    }
                )
                x0, y0, side = crop_of(mesh, SPREAD)
                scale = SIDE / side
                to_crop = lambda p, x0=x0, y0=y0, scale=scale: (p + 0.5 - (x0, y0)) * scale  # noqa: E731
                points = np.concatenate([to_crop(mesh[:, :2]), mesh[:, 2:] * scale], axis=1)
                crop = cut(pixels, x0, y0, side, SIDE)
                coded.append(cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1])
                row = (points, [*to_crop(low), *((high - low) * scale)], to_crop(five), 0.0)
                row += ([face.pose.yaw, face.pose.pitch, face.pose.roll], len(files) - 1, number, ident, [x0, y0, side])
                for key, value in zip(columns, row, strict=True):
                    columns[key].append(value)
            height, width = pixels.shape[:2]
            boxes.append({"file": name, "frame": number, "w": width, "h": height, "faces": labels, "ignore": []})
            if not labels:
                boxes[-1]["negative"] = True
    offsets = np.cumsum([0, *(len(c) for c in coded)])
    arrays = {
        key: np.array(values, np.int32 if key in ("src", "frame", "ident") else np.float32)
        for key, values in columns.items()
    }
    np.savez(
        arguments.facepack / "faces_00.npz", jpg=np.concatenate(coded), off=offsets, files=np.array(files), **arrays
    )
    (arguments.facepack / "boxes.json").write_text(json.dumps(boxes))
    np.save(arguments.facepack / "flip478.npy", load_mesh_topology().flip)
    with (arguments.photos / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "licence_class"])
        writer.writerows([name, arguments.licence] for name in files)
    print(f"{len(coded)} faces of {len(people)} people in {len(files)} files")


if __name__ == "__main__":
    main()
