"""Make docs/images/before_after.jpg from the packaged samples.

python benchmarks/readme_picture.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import numpy as np

from facefusion.jobs.once import run
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.recipe import build_recipe
from facefusion.testing.fakes import sample_path

TILE = 300
FRAMES = (4, 20, 62)


def cut(pixels: np.ndarray) -> np.ndarray:
    return cv2.resize(pixels[60:460, 56:456], (TILE, TILE), interpolation=cv2.INTER_AREA)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "o.mp4"
        options = {"source_paths": [sample_path("source.jpg")], "target_path": sample_path("target.mp4")}
        run(build_recipe({**options, "output_path": output}))
        before, after = (list(ClipReader(path)) for path in (sample_path("target.mp4"), output))
    source = cut(read_photo(sample_path("source.jpg")).pixels)
    blank = np.full_like(source, 255)
    top = np.hstack([source, *(cut(before[k].pixels) for k in FRAMES)])
    bottom = np.hstack([blank, *(cut(after[k].pixels) for k in FRAMES)])
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
