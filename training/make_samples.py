"""Make the packaged sample: a photo and a clip of people who do not exist.

    python training/make_samples.py FACEPACK MEDIA src/facefusion/samples

Each person is the average of many aligned faces (pictures under permissive licences only), so no single
face is in it. The clip's person is animated by the mesh: turning, blinking, speaking.
"""

from __future__ import annotations

import argparse
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from safetensors.numpy import load_file

from face_pool import ROOT, HeadWarp, fit_box, load_faces, turn

sys.path.insert(0, str(ROOT / "src"))
from facefusion.imaging import align, mesh
from facefusion.types import topology as names

SIDE = 512
SHARE = 0.5  # height of the face over the side of the picture


def gather(faces: dict[str, np.ndarray]) -> np.ndarray:
    """One frontal, sharp, neutral picture for each person, permissive licences only."""
    good = (faces["licence"] == "permissive") & (faces["flip_error"] < 0.016) & (np.abs(faces["yaw"]) < 9)
    chosen: dict[int, tuple[float, int]] = {}
    for k in np.flatnonzero(good):
        points = faces["mesh"][k]
        if faces["ident"][k] == 0:
            continue
        eye = np.linalg.norm(points[468] - points[473])
        opening = np.linalg.norm(points[13] - points[14]) / eye
        lids = min(np.linalg.norm(points[159] - points[145]), np.linalg.norm(points[386] - points[374])) / eye
        sharp = cv2.Laplacian(cv2.cvtColor(faces["image"][k], cv2.COLOR_BGR2GRAY), cv2.CV_64F).var()
        merit = np.log(sharp + 1) - 6 * opening + 8 * lids - abs(faces["yaw"][k]) / 6
        person = int(faces["ident"][k])
        if lids > 0.1 and opening < 0.12 and (person not in chosen or merit > chosen[person][0]):
            chosen[person] = (float(merit), int(k))
    return np.array(sorted(k for _, k in chosen.values()))


def describe(faces: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """A crude description of each face: brightness, jaw, brows, lips; enough to split a set in two looks."""
    out = []
    for k in rows:
        image, points = faces["image"][k], faces["mesh"][k]
        eye = np.linalg.norm(points[468] - points[473])
        cheek = cv2.cvtColor(image, cv2.COLOR_BGR2LAB)[tuple(points[[50, 280, 4]][:, 1::-1].astype(int).clip(0, 255).T)]
        jaw = np.linalg.norm(points[172] - points[397]) / eye
        face = np.linalg.norm(points[234] - points[454]) / eye
        brow = np.linalg.norm(points[105] - points[159]) / eye
        lips = np.linalg.norm(points[0] - points[17]) / eye
        chin = np.linalg.norm(points[17] - points[152]) / eye
        out.append([jaw / face * 3, brow * 3, lips, -chin, cheek[:, 0].mean() / 60])
    values = np.array(out)
    return (values - values.mean(axis=0)) / values.std(axis=0)


def average(faces: dict[str, np.ndarray], rows: np.ndarray, warp: HeadWarp) -> tuple[np.ndarray, np.ndarray]:
    """Mean shape of a set of faces, and their mean picture on it."""
    shapes = []
    for k in rows:
        points = faces["mesh"][k].astype(np.float64)
        roll = align.mesh_roll(points)
        shapes.append(fit_box(turn(points, 0, 0, -np.degrees(roll)), SIDE, SHARE))
    shape = np.mean(shapes, axis=0)
    total = np.zeros((SIDE, SIDE, 3))
    for k in rows:
        image = cv2.resize(faces["image"][k], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        points = faces["mesh"][k] * 2.0
        total += warp.render(image, points, warp.extend(points), warp.extend(shape), SIDE).astype(np.float64)
    return np.clip(total / len(rows), 0, 255).astype(np.uint8), shape


def portrait(
    picture: np.ndarray, shape: np.ndarray, background: tuple[int, int, int], rng: np.random.Generator
) -> np.ndarray:
    """Give the average a plain studio background, a little relief and grain, so that it is not all fog."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    centre = shape[:468, :2].mean(axis=0)
    height = np.ptp(shape[:468, 1])
    head = ((columns - centre[0]) / (0.56 * height)) ** 2 + ((rows - centre[1] + 0.13 * height) / (0.84 * height)) ** 2
    shoulders = ((columns - centre[0]) / (1.05 * height)) ** 2 + (
        (rows - centre[1] - 1.28 * height) / (0.62 * height)
    ) ** 2
    neck = (np.abs(columns - centre[0]) < 0.27 * height) & (rows > centre[1])
    soft = lambda d: 1 / (1 + np.exp((d - 1) * 9))  # noqa: E731
    alpha = np.maximum(soft(head), cv2.GaussianBlur(neck.astype(np.float32), (0, 0), 9))
    cloth = soft(shoulders)
    light = 1.12 - 0.3 * (rows / SIDE) + 0.1 * (columns / SIDE)
    back = np.array(background, np.float32) * light[..., None]
    dress = np.array(background[::-1], np.float32) * 0.45 * (1.1 - 0.2 * columns / SIDE)[..., None]
    canvas = back * (1 - cloth[..., None]) + dress * cloth[..., None]
    sharp = picture.astype(np.float32)
    sharp += 0.9 * (sharp - cv2.GaussianBlur(sharp, (0, 0), 2.5)) + 0.25 * (sharp - cv2.GaussianBlur(sharp, (0, 0), 12))
    canvas = canvas * (1 - alpha[..., None]) + sharp * alpha[..., None]
    canvas += cv2.GaussianBlur(rng.normal(0, 5, (SIDE, SIDE, 1)), (0, 0), 0.8)[..., None] * 1.0
    return np.clip(canvas, 0, 255).astype(np.uint8)


def expression(kind: str) -> np.ndarray:
    """(478, 3) displacement in eye distances for a full blink or a fully open mouth."""
    t = load_file(ROOT / "src/facefusion/models/embedded/face_mesh.safetensors")
    mean = t["mean"]
    move = np.zeros((478, 3))
    if kind == "blink":
        for ring in (names.LEFT_EYE, names.RIGHT_EYE):
            points = mean[list(ring)]
            low = points[:, 1].max() - 0.02
            for k in ring:
                if mean[k, 1] < points[:, 1].mean():
                    move[k, 1] = low - mean[k, 1] - 0.005
            # The lid's fold follows.
            centre = points.mean(axis=0)
            for k in range(468):
                d = np.linalg.norm((mean[k, :2] - centre[:2] - [0, -0.12]) / [0.3, 0.12])
                if d < 1 and move[k, 1] == 0:
                    move[k, 1] = 0.07 * (1 - d)
        return move
    jaw = np.clip((mean[:, 1] - mean[13, 1]) / (mean[152, 1] - mean[13, 1]), 0, 1)
    width = np.exp(-((mean[:, 0] / 0.75) ** 2))
    move[:468, 1] = 0.26 * jaw[:468] ** 0.5 * width[:468] * (mean[:468, 1] > mean[13, 1] + 0.004)
    upper = set(names.LIPS_INNER[:11]) | set(names.LIPS_OUTER[:11])
    for k in upper:
        move[k] = [0, -0.02 * width[k], 0]
    lower = (set(names.LIPS_INNER) | set(names.LIPS_OUTER)) - upper
    for k in lower:
        move[k, 1] = 0.22 * np.exp(-((mean[k, 0] / 0.3) ** 2))
    return move


def animate(picture: np.ndarray, shape: np.ndarray, warp: HeadWarp, frames: int) -> list[np.ndarray]:
    """Turn, blink and speak."""
    eye = np.linalg.norm(shape[468] - shape[473])
    blink, speak = expression("blink") * eye, expression("mouth") * eye
    extended = warp.extend(shape)
    # Behind the lips it is dark, with a hint of teeth.
    inner = np.array(names.LIPS_INNER)
    out = []
    for number in range(frames):
        t = number / 25
        yaw, pitch = 17 * np.sin(2 * np.pi * t / 3.2), 5 * np.sin(2 * np.pi * t / 2.3)
        roll = 3 * np.sin(2 * np.pi * t / 4.1)
        phase = (t + 0.4) % 1.7
        lid = np.clip(1 - abs(phase - 0.25) / 0.12, 0, 1)
        mouth = max(0.0, np.sin(2 * np.pi * t * 2.1)) * (0.55 + 0.45 * np.sin(2 * np.pi * t * 0.6))
        goal = shape + blink * lid + speak * max(mouth, 0)
        goal = turn(goal, yaw, pitch, roll)
        goal[:, 0] += 10 * np.sin(2 * np.pi * t / 3.2)
        frame = draw(picture, shape, extended, warp.extend(goal), warp)
        if mouth > 0.05:
            dark = np.zeros((SIDE, SIDE), np.uint8)
            cv2.fillPoly(dark, [np.round(goal[inner, :2] * 16).astype(np.int32)], 255, shift=4, lineType=cv2.LINE_AA)
            dark = cv2.GaussianBlur(dark, (0, 0), 1.2).astype(np.float32)[..., None] / 255
            cave = np.full((SIDE, SIDE, 3), (38, 26, 62), np.float32)
            top = goal[list(names.LIPS_INNER[:11]), 1].mean()
            rows = np.arange(SIDE, dtype=np.float32)[:, None, None]
            teeth = np.clip(1 - np.abs(rows - top - 2) / 5, 0, 1) * min(mouth, 0.8)
            cave = cave * (1 - teeth) + np.array([190, 205, 212], np.float32) * teeth
            frame = (frame * (1 - dark) + cave * dark).astype(np.uint8)
        out.append(frame)
    return out


def draw(picture: np.ndarray, shape: np.ndarray, extended: np.ndarray, goal: np.ndarray, warp: HeadWarp) -> np.ndarray:
    """Move the whole picture with the head: a smooth field from the outline, then the face itself."""
    outline = np.array(names.FACE_OVAL)
    step = 8
    rows, columns = np.mgrid[0:SIDE:step, 0:SIDE:step].astype(np.float32)
    d2 = (columns[..., None] - goal[outline, 0]) ** 2 + (rows[..., None] - goal[outline, 1]) ** 2
    weight = 1 / (d2 + 300)
    shift = extended[outline, :2] - goal[outline, :2]
    field = (weight[..., None] * shift).sum(axis=2) / weight.sum(axis=2)[..., None]
    centre = goal[:468, :2].mean(axis=0)
    reach = np.hypot(columns - centre[0], rows - centre[1]) / (0.5 * SIDE)
    field *= np.clip(1.35 - reach, 0, 1)[..., None]
    field = cv2.resize(field.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    around = cv2.remap(picture, x + field[..., 0], y + field[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    index = mesh.rasterise(goal, warp.face, SIDE, SIDE)
    where = mesh.warp_map(index, mesh.triangle_affines(goal, extended, warp.face))
    face = cv2.remap(picture, where[..., 0], where[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.erode((index >= 0).astype(np.float32), np.ones((5, 5)))
    alpha = cv2.GaussianBlur(alpha, (0, 0), 2.5)[..., None]
    return (around * (1 - alpha) + face * alpha).astype(np.uint8)


def write_clip(path: Path, frames: list[np.ndarray], rng: np.random.Generator) -> None:
    """H.264 with a soft hum as sound, so that the demonstration shows that sound is kept."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "25", "preset": "veryslow"}
        sound = output.add_stream("aac", rate=16000, layout="mono", bit_rate=16000)
        for frame in frames:
            noisy = np.clip(frame + rng.normal(0, 1.0, (SIDE, SIDE, 1)), 0, 255).astype(np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="bgr24")))
        output.mux(stream.encode(None))
        count = int(len(frames) / 25 * 16000)
        t = np.arange(count) / 16000
        wave = 0.05 * np.sin(2 * np.pi * 180 * t) * (0.5 + 0.5 * np.sin(2 * np.pi * 2.1 * t))
        for start in range(0, count, 1024):
            part = (wave[start : start + 1024] * 32767).astype(np.int16)[None]
            packet = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
            packet.sample_rate, packet.pts, packet.time_base = 16000, start, Fraction(1, 16000)
            output.mux(sound.encode(packet))
        output.mux(sound.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("facepack", "media", "output"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    rng = np.random.default_rng(11)
    cv2.setNumThreads(1)
    faces = load_faces(arguments.facepack, arguments.media)
    rows = gather(faces)
    looks = describe(faces, rows)
    axis = looks @ np.array([1.0, -1.0, -0.8, -1.0, 0.0])  # broad jaw and low brows against the opposite
    order = np.argsort(axis)
    count = min(len(rows) // 3, 36)
    warp = HeadWarp(load_file(ROOT / "src/facefusion/models/embedded/face_mesh.safetensors"))
    arguments.output.mkdir(parents=True, exist_ok=True)
    picture, shape = average(faces, rows[order[-count:]], warp)
    source = portrait(picture, shape, (196, 186, 172), rng)
    cv2.imwrite(str(arguments.output / "source.jpg"), source, [cv2.IMWRITE_JPEG_QUALITY, 92])
    picture, shape = average(faces, rows[order[:count]], warp)
    target = portrait(picture, shape, (120, 138, 150), rng)
    cv2.imwrite(str(arguments.output / "target.jpg"), target, [cv2.IMWRITE_JPEG_QUALITY, 92])
    frames = animate(target, shape, warp, 100)
    write_clip(arguments.output / "target.mp4", frames, rng)
    print(f"{len(rows)} people, {count} in each average")


if __name__ == "__main__":
    main()
