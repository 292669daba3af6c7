"""Harder clips made from given ones: what cameras, editors and uploads do to a face, the same in every run.

    python benchmarks/stress.py CLIPS PHOTOS GROUNDS OUTPUT [--each 2] [--seconds 1.2]

Writes ``KIND__CLIP.mp4`` for every kind from ``--each`` clips of either part (`part_of`); a clip keeps the part
of the one that it is made from. GROUNDS holds pictures without a face, for what lies beside the clip where the
camera comes from.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from facefusion.errors import FaceFusionError
from facefusion.media.generate import write_test_clip
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.pipeline.runner import build_analyser
from facefusion.recipe import build_recipe

KINDS = (
    "enter", "swish", "shake", "fast", "slow12", "crf38", "flash", "small", "beyond", "zoom", "still60", "passes",
)  # fmt: skip
MAX_SIDE = 640
"""Longest side of the clips; larger ones are reduced."""
Picture = np.ndarray


def part_of(name: str) -> str:
    """``held-out`` or ``tune``: by the name of the clip that it was made from, so adding clips moves nobody."""
    return "held-out" if number_of(name.split("__")[-1]) % 3 == 0 else "tune"


def number_of(name: str, salt: str = "") -> int:
    """A number that only depends on a name."""
    return int.from_bytes(hashlib.sha256((salt + name).encode()).digest()[:6], "big")


def make(kind: str, frames: list[Picture], rate: int, face: np.ndarray, ground: Picture) -> tuple[list[Picture], int]:
    """A harder clip.

    Parameters
    ----------
    kind
        One of `KINDS`.
    frames, rate
        Of the clip; enough for what is left out.
    face
        (4,) xyxy of the face in the first frame.
    ground
        Picture of what lies beside the clip.

    Returns
    -------
    Frames and their rate.
    """
    height, width = frames[0].shape[:2]
    size = float((face[2:] - face[:2]).max())
    middle = (face[:2] + face[2:]) / 2
    rng = np.random.default_rng(number_of(kind))
    if kind == "fast":
        return frames[::3], rate
    if kind == "slow12":
        return frames[:: max(round(rate / 12), 1)], 12
    if kind in ("crf38",):
        return frames, rate
    if kind == "flash":
        light = np.ones(len(frames))
        light[6:8], light[14], light[20:30] = 1.9, 0.35, np.linspace(1, 0.3, 10)[: len(light[20:30])]
        return [
            np.clip(f * g + 12 * (g - 1), 0, 255).astype(np.uint8) for f, g in zip(frames, light, strict=True)
        ], rate
    if kind == "small":
        scale = 44 / size
        return [_shot(f, middle, size * 4.5, (200, 200), scale) for f in frames], rate
    count = len(frames)
    time = np.arange(count) / rate
    if kind == "beyond":  # the head is larger than the picture, and sways
        out = []
        for f, t in zip(frames, time, strict=True):
            centre = middle + size * np.array([0.25 * np.sin(3.0 * t), 0.1 - 0.1 * t])
            out.append(_shot(f, centre, size * 0.85, (360, 360)))
        return out, rate
    if kind == "zoom":
        scales = np.geomspace(0.3, 1.1, count)
        return [_shot(f, middle, min(height, width) / s, (360, 360)) for f, s in zip(frames, scales, strict=True)], rate
    if kind == "still60":
        out = []
        for k in range(count):
            t = k / 60
            centre = middle + size * np.array([0.08 * np.sin(2 * t), 0.05 * t])
            out.append(_shot(frames[0], centre, size * 2.2 * (1 - 0.05 * t), (400, 400)))
        return [_grainy(p, rng) for p in out], 60
    if kind == "shake":
        shift = sum(
            np.sin(2 * np.pi * f * (np.arange(count * 5) / 5 / rate)[:, None] + rng.uniform(0, 6.3, 2)) / 3
            for f in (2.3, 4.1, 6.7)
        )
        out = []
        for k, f in enumerate(frames):
            steps = shift[k * 5 : k * 5 + 3] * size * 0.12  # the shutter is open for half of the time
            out.append(_blurred([_moved(f, *step) for step in steps]))
        return out, rate
    # The camera comes from what lies beside.
    beside = cv2.resize(ground, (width, height), interpolation=cv2.INTER_AREA)
    wide = [np.hstack([beside, f, beside]) for f in frames]
    if kind == "enter":
        where = width + np.minimum((1.4 * time * size) - (width - face[0]) + 0.1 * size, 0.2 * size)
        return [_cut(f, x, width) for f, x in zip(wide, where, strict=True)], rate
    if kind == "passes":  # comes in on one side and goes out on the other
        start, stop = float(face[0]), float(face[2]) + width
        where = np.linspace(start - 0.1 * size, stop + 0.1 * size, count)
        return [_cut(f, x, width) for f, x in zip(wide, where, strict=True)], rate
    assert kind == "swish"
    eased = 0.5 - 0.5 * np.cos(np.clip(np.arange(count * 4) / 4 / max(count * 0.5, 1), 0, 1) * np.pi)
    path = (face[0] + 0.5 * size) * (1 - eased) + width * eased
    return [
        _blurred([_cut(f, x, width) for x in path[k * 4 : k * 4 + 3]]) if k else _cut(f, path[0], width)
        for k, f in enumerate(wide)
    ], rate


def _cut(wide: Picture, x: float, width: int) -> Picture:
    x = float(np.clip(x, 0, wide.shape[1] - width))
    matrix = np.array([[1, 0, -x], [0, 1, 0]])
    return cv2.warpAffine(wide, matrix, (width, wide.shape[0]), flags=cv2.INTER_CUBIC)


def _moved(pixels: Picture, dx: float, dy: float) -> Picture:
    height, width = pixels.shape[:2]
    matrix = np.array([[1.12, 0, dx - 0.06 * width], [0, 1.12, dy - 0.06 * height]])
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def _shot(pixels: Picture, centre: np.ndarray, side: float, size: tuple[int, int], scale: float = 0.0) -> Picture:
    """A square part at another size; averaged where it is reduced."""
    scale = scale or size[0] / side
    if scale < 0.7:
        pixels = cv2.GaussianBlur(pixels, (0, 0), 0.4 / scale)
    matrix = np.array([[scale, 0, size[0] / 2 - centre[0] * scale], [0, scale, size[1] / 2 - centre[1] * scale]])
    return cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def _blurred(pictures: list[Picture]) -> Picture:
    return np.mean(np.stack(pictures).astype(np.float32), axis=0).round().astype(np.uint8)


def _grainy(pixels: Picture, rng: np.random.Generator) -> Picture:
    return np.clip(pixels + rng.normal(0, 2.0, pixels.shape), 0, 255).astype(np.uint8)


def read_frames(clip: Path, count: int) -> tuple[list[Picture], int]:
    """The first frames of a clip, even sides of at most `MAX_SIDE`, and its rate."""
    frames, times = [], []
    for frame in islice(ClipReader(clip, allow_8bit=True), count):
        pixels = frame.pixels
        scale = min(MAX_SIDE / max(pixels.shape[:2]), 1.0)
        height, width = (int(n * scale) // 2 * 2 for n in pixels.shape[:2])
        frames.append(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))
        times.append(float(frame.pts * frame.time_base))
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.04
    return frames, round(1 / max(step, 1e-3))


def stress(clips: list[Path], grounds: list[Path], folder: Path, each: int, seconds: float) -> list[Path]:
    """Write what is missing; paths of all, by kind and clip."""
    folder.mkdir(parents=True, exist_ok=True)
    analyser = None
    paths = []
    for kind in KINDS:
        for part in ("tune", "held-out"):
            own = sorted((c for c in clips if part_of(c.stem) == part), key=lambda c: number_of(c.stem, kind))
            done = 0
            for clip in own:
                if done == each:
                    break
                path = folder / f"{kind}__{clip.stem}.mp4"
                missing = folder / f"{kind}__{clip.stem}.none"
                if not path.exists() and not missing.exists():
                    if analyser is None:
                        analyser = build_analyser(
                            build_recipe({"source_paths": [], "target_path": clip, "output_path": "unused.mp4"})
                        )
                    factor = {"fast": 3}.get(kind, 1)
                    frames, rate = read_frames(clip, round(seconds * 30) * factor)
                    faces = analyser.find_faces(frames[0])
                    if not faces or len(frames) < 12 * factor or np.ptp(faces[0].box[::2]) < 40:
                        missing.touch()
                    else:
                        photo = read_photo(grounds[number_of(clip.stem) % len(grounds)], True).pixels
                        made, rate = make(kind, frames, rate, faces[0].box, photo)
                        pts = [round(k * 12800 / rate) for k in range(len(made))]
                        options = {"crf": "38" if kind == "crf38" else "17", "preset": "veryfast"}
                        write_test_clip(path, made, pts, Fraction(1, 12800), options=options)
                if path.exists():
                    paths.append(path)
                    done += 1
    return paths


def iter_media(folder: Path, endings: tuple[str, ...]) -> Iterator[Path]:
    """Files of a folder by name."""
    yield from sorted(p for p in folder.iterdir() if p.suffix in endings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("grounds", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--each", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.2)
    arguments = parser.parse_args()
    clips, grounds = list(iter_media(arguments.clips, (".mp4",))), list(iter_media(arguments.grounds, (".jpg",)))
    try:
        for path in stress(clips, grounds, arguments.output, arguments.each, arguments.seconds):
            print(part_of(path.stem), path.name)
    except FaceFusionError as error:
        print(error)


if __name__ == "__main__":
    main()
