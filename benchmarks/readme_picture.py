"""Make docs/images/before_after.jpg from the packaged samples and packaged people, one of whom gets glasses drawn on.

python benchmarks/readme_picture.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np

from facefusion.imaging.resample import decode
from facefusion.jobs.once import run
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.models.synthetic_faces import load_synthetic_faces
from facefusion.recipe import build_recipe
from facefusion.testing.fakes import sample_path
from facefusion.types.topology import LEFT_IRIS, RIGHT_IRIS

TILE = 300
FRAMES = (4, 20, 62)
WEARER, SIDE = 15, 768
"""The packaged person who wears glasses, and the side of his picture."""
TEMPLES = (127, 356)
"""Points of the mesh where the bows end."""


def cut(pixels: np.ndarray) -> np.ndarray:
    return cv2.resize(pixels[60:460, 56:456], (TILE, TILE), interpolation=cv2.INTER_AREA)


def person_with_glasses() -> np.ndarray:
    """A packaged person with dark frames, drawn on at twice the size."""
    face = load_synthetic_faces()[WEARER]
    pixels = decode(face.jpeg)
    scale = 2 * SIDE / pixels.shape[0]
    mesh = (face.mesh[:, :2] + 0.5) * scale - 0.5
    pixels = cv2.resize(pixels, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC)
    eyes = [mesh[LEFT_IRIS], mesh[RIGHT_IRIS]]
    if eyes[0][0] > eyes[1][0]:
        eyes.reverse()
    unit = float(np.linalg.norm(eyes[1] - eyes[0]))
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    lens = np.stack([np.sign(c) * np.abs(c) ** 0.6 for c in (np.cos(angle), np.sin(angle))], axis=1)
    lens = lens * (0.42 * unit, 0.31 * unit) + (0, 0.06 * unit)
    frame = np.zeros(pixels.shape[:2], np.uint8)

    def line(points: np.ndarray, thick: float, is_closed: bool = False) -> None:
        fixed = np.round(points * 16).astype(np.int32)
        cv2.polylines(frame, [fixed], is_closed, 255, max(round(thick * unit), 1), cv2.LINE_AA, 4)

    for eye in eyes:
        line(eye + lens, 0.045, True)
    line(
        np.array([eyes[0] + (0.42 * unit, 0), (eyes[0] + eyes[1]) / 2 - (0, 0.04 * unit), eyes[1] - (0.42 * unit, 0)]),
        0.06,
    )
    for eye, side, temple in ((eyes[0], -1, mesh[TEMPLES[0]]), (eyes[1], 1, mesh[TEMPLES[1]])):
        line(np.array([eye + np.array([side * 0.42, -0.06]) * unit, temple]), 0.04)
    alpha = cv2.GaussianBlur(frame, (0, 0), 1.5)[..., None] / 255
    shade = cv2.GaussianBlur(np.roll(frame, round(0.03 * unit), axis=0), (0, 0), 0.03 * unit)[..., None] / 255
    drawn = pixels * (1 - 0.35 * shade) * (1 - alpha) + np.array([34, 26, 22]) * alpha
    return cv2.resize(drawn.astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "o.mp4"
        options = {"source_paths": [sample_path("source.jpg")], "target_path": sample_path("target.mp4")}
        run(build_recipe({**options, "output_path": output}))
        wearer, changed = Path(folder) / "glasses.png", Path(folder) / "changed.png"
        worn = person_with_glasses()
        cv2.imwrite(str(wearer), np.ascontiguousarray(worn[..., ::-1]))
        run(build_recipe({**options, "target_path": wearer, "output_path": changed}))
        kept = read_photo(changed).pixels
        before, after = (list(ClipReader(path)) for path in (sample_path("target.mp4"), output))
    source = cut(read_photo(sample_path("source.jpg")).pixels)
    whole = (slice(SIDE // 20, SIDE - SIDE // 20), slice(SIDE // 20, SIDE - SIDE // 20))
    worn, kept = (cv2.resize(p[whole], (TILE, TILE), interpolation=cv2.INTER_AREA) for p in (worn, kept))
    blank = np.full_like(source, 255)
    top = np.hstack([source, *(cut(before[k].pixels) for k in FRAMES), worn])
    bottom = np.hstack([blank, *(cut(after[k].pixels) for k in FRAMES), kept])
    picture = np.ascontiguousarray(np.vstack([top, bottom])[..., ::-1])
    words = (("source", (10, 20)), ("target", (TILE + 10, 20)), ("output", (TILE + 10, TILE + 20)))
    for word, place in words:
        cv2.putText(picture, word, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    path = Path(__file__).resolve().parents[1] / "docs/images/before_after.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    print(path.name)


if __name__ == "__main__":
    main()
