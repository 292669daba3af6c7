"""Train the face detector: boxes, five points and scores at stride 8, for any input size.

    python training/train_detector.py BOXES_JSON MEDIA RUN --minutes 40 [--licences permissive]

Method: one heat map of face centres with a size and five points per centre (after Zhou et al.,
Objects as Points, 2019) on a small feature pyramid; penalty-reduced focal loss, generalised IoU loss.
People held out are chosen by number alone, as in `face_pool.py`.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from augment import multiplies_bfloat16, update_average
from face_pool import HELD_OUT
from train_mesh import Residual, block

STRIDE = 8
CROP = 320


class DetectorNet(nn.Module):
    """RGB in [-1, 1], sides multiples of 64 -> heat logits, ltrb sizes and five points in pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(block(3, 16, 2), block(16, 24, 2))
        self.c3 = nn.Sequential(block(24, 48, 2), Residual(48))
        self.c4 = nn.Sequential(block(48, 64, 2), Residual(64), Residual(64))
        self.c5 = nn.Sequential(block(64, 96, 2), Residual(96), Residual(96))
        self.c6 = nn.Sequential(block(96, 96, 2), Residual(96), Residual(96))
        self.lateral = nn.ModuleList(nn.Conv2d(c, 48, 1) for c in (48, 64, 96, 96))
        self.merge = nn.ModuleList(block(48, 48) for _ in range(3))
        self.head = nn.Conv2d(48, 15, 1)
        with torch.no_grad():
            self.head.bias.zero_()
            self.head.bias[0] = -4.0
            self.head.bias[1:5] = 1.0

    def forward(self, x: torch.Tensor, fast: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            levels = [self.c3(self.stem(x))]
            for stage in (self.c4, self.c5, self.c6):
                levels.append(stage(levels[-1]))
            merged = self.lateral[3](levels[3])
            for k in (2, 1, 0):
                merged = F.interpolate(merged, scale_factor=2.0, mode="nearest")
                merged = self.merge[k](merged + self.lateral[k](levels[k]))
        out = self.head(merged.float())
        sizes = torch.exp(out[:, 1:5].clamp(-4.0, 5.5)) * STRIDE
        reach = sizes.mean(dim=1, keepdim=True).detach()
        return out[:, :1], sizes, out[:, 5:] * reach


@dataclass
class Picture:
    levels: list[np.ndarray]
    boxes: np.ndarray  # (N, 4) xywh
    points: np.ndarray  # (N, 5, 2)
    ignored: np.ndarray  # (M, 4) xywh
    name: str = ""
    is_held_out: bool = False
    people: list[int] = field(default_factory=list)


def load_pictures(boxes_json: Path, media: Path, licences: str, held_out: bool) -> list[Picture]:
    """Pictures and sampled frames with their labels; negatives are held out by a hash of their name."""
    licence_of = {row["file"]: row["licence_class"] for row in csv.DictReader((media / "manifest.csv").open())}
    by_file: dict[str, list[dict]] = defaultdict(list)
    for row in json.loads(boxes_json.read_text()):
        by_file[row["file"]].append(row)
    pictures = []
    for name, rows in sorted(by_file.items()):
        people = {int(f["id"][2:]) for row in rows for f in row["faces"] if f.get("id")}
        is_held = any(p % HELD_OUT[0] == HELD_OUT[1] for p in people)
        if not people:
            is_held = sum(name.encode()) % HELD_OUT[0] == HELD_OUT[1]
        if is_held != held_out or (not held_out and licences == "permissive" and licence_of[name] != "permissive"):
            continue
        for frame, row in read_frames(media / name, rows):
            scale = 1.0
            levels = [frame]
            while min(levels[-1].shape[:2]) > 40:
                h, w = levels[-1].shape[:2]
                levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
            faces = row["faces"]
            ignored = [np.ravel(i["box"] if isinstance(i, dict) else i)[:4] for i in row["ignore"]]
            pictures.append(
                Picture(
                    levels,
                    np.array([f["box"] for f in faces], dtype=np.float32).reshape(-1, 4) * scale,
                    np.array([f["kps"] for f in faces], dtype=np.float32).reshape(-1, 5, 2) * scale,
                    np.array(ignored, dtype=np.float32).reshape(-1, 4),
                    f"{name}#{row['frame']}",
                    is_held,
                    [int(f["id"][2:]) if f.get("id") else 0 for f in faces],
                )
            )
    return pictures


def read_frames(path: Path, rows: list[dict]):
    """The labelled frames of a clip, or the picture itself, BGR."""
    if path.suffix not in (".mp4", ".mov", ".mkv"):
        image = cv2.imread(str(path))
        if image is not None:
            yield image, rows[0]
        return
    wanted = {row["frame"]: row for row in rows}
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                yield frame.to_ndarray(format="bgr24"), wanted[number]


def profileness(points: np.ndarray) -> float:
    """How far a face is turned aside, 0 to 1, by where its nose lies between its eyes."""
    eyes = points[1] - points[0]
    span = float(np.linalg.norm(eyes))
    aside = abs(float((points[2] - (points[0] + points[1]) / 2) @ eyes)) / max(span, 1.0) ** 2
    return min(aside / 0.6, 1.0)


class Crops:
    """Random training crops: faces from 10 to 230 px, turned up to 54 degrees, tiled, recoloured."""

    def __init__(self, pictures: list[Picture], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.faces, self.plain = [p for p in pictures if len(p.boxes)], [p for p in pictures if not len(p.boxes)]
        counts: dict[int, int] = defaultdict(int)
        for p in self.faces:
            for person in p.people:
                counts[person] += 1
        weight = [
            (max(1.0 / (counts[k] ** 0.7 if k else 1.0) for k in p.people) + 0.2 * (len(p.boxes) > 2))
            * (1 + 2 * max(profileness(q) for q in p.points))
            for p in self.faces
        ]
        self.chance = np.array(weight) / np.sum(weight)

    def tile(self, side: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        rng = self.rng
        is_plain = bool(self.plain) and rng.random() < 0.2
        if is_plain:
            p = self.plain[int(rng.integers(len(self.plain)))]
            h, w = p.levels[0].shape[:2]
            scale = math.exp(rng.uniform(math.log(0.35), math.log(1.6))) * side / min(h, w)
            anchor = np.array([rng.uniform(0, w), rng.uniform(0, h)])
        else:
            p = self.faces[int(rng.choice(len(self.faces), p=self.chance))]
            h, w = p.levels[0].shape[:2]
            box = p.boxes[int(rng.integers(len(p.boxes)))]
            scale = math.exp(rng.uniform(math.log(low), math.log(high))) / float(max(box[2], box[3]))
            scale = min(scale, 2.5)
            anchor = box[:2] + box[2:] / 2
            if rng.random() < 0.3:  # anywhere in the scene: what is not a face there counts too
                scale = math.exp(rng.uniform(math.log(220), math.log(1000))) / max(h, w)
                anchor = np.array([rng.uniform(0.1, 0.9) * w, rng.uniform(0.1, 0.9) * h])
        angle = math.radians(rng.uniform(-54, 54)) if rng.random() < 0.5 else math.radians(rng.normal(0, 5))
        mirror = -1.0 if rng.random() < 0.5 else 1.0
        c, s = math.cos(angle) * scale, math.sin(angle) * scale
        linear = np.array([[c, -s], [s, c]]) @ np.diag([mirror, 1.0])
        where = rng.uniform(0.05, 0.95, 2) * side
        matrix = np.concatenate([linear, (where - linear @ anchor)[:, None]], axis=1)
        level = int(np.clip(math.floor(math.log2(max(1 / scale, 1.0)) + 0.4), 0, len(p.levels) - 1))
        source = p.levels[level]
        shrunk = source.shape[1] / w
        moved = np.concatenate([matrix[:, :2] / shrunk, matrix[:, 2:]], axis=1)
        image = self._backdrop(side)
        cv2.warpAffine(source, moved, (side, side), dst=image, borderMode=cv2.BORDER_TRANSPARENT)
        boxes = [self._turned(b, matrix) for b in p.boxes]
        points = [q @ matrix[:, :2].T + matrix[:, 2] for q in p.points]
        if mirror < 0:
            points = [q[[1, 0, 2, 4, 3]] for q in points]
        ignored = [self._turned(b, matrix) for b in p.ignored]
        kept_boxes, kept_points = [], []
        for b, q in zip(boxes, points, strict=True):
            centre = b[:2] + b[2:] / 2
            if (centre < 1).any() or (centre > side - 2).any() or max(b[2:]) < 9.5:
                ignored.append(b)
            else:
                kept_boxes.append(b)
                kept_points.append(q)
        shape = (
            np.float32(kept_boxes).reshape(-1, 4),
            np.float32(kept_points).reshape(-1, 5, 2),
            np.float32(ignored).reshape(-1, 4),
        )
        return image, *shape

    def _backdrop(self, side: int) -> np.ndarray:
        """What lies outside the picture: a flat colour, or part of a picture without faces."""
        rng = self.rng
        if not self.plain or rng.random() < 0.3:
            return np.full((side, side, 3), rng.integers(0, 256, 3), np.uint8)
        levels = self.plain[int(rng.integers(len(self.plain)))].levels
        fitting = [level for level in levels if min(level.shape[:2]) >= side] or levels[:1]
        source = fitting[int(rng.integers(len(fitting)))]
        h, w = source.shape[:2]
        if min(h, w) < side:
            return cv2.resize(source, (side, side))
        y, x = int(rng.integers(0, h - side + 1)), int(rng.integers(0, w - side + 1))
        return source[y : y + side, x : x + side].copy()

    @staticmethod
    def _turned(box: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        """Bounding box of the turned ellipse inside a box, xywh."""
        centre = matrix[:, :2] @ (box[:2] + box[2:] / 2) + matrix[:, 2]
        size = np.sqrt((matrix[:, :2] ** 2) @ (box[2:] ** 2))
        return np.concatenate([centre - size / 2, size])

    def sample(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        rng = self.rng
        if rng.random() < 0.65:
            image, boxes, points, ignored = self.tile(CROP, 14, 230)
        else:
            image = np.empty((CROP, CROP, 3), np.uint8)
            half = CROP // 2
            parts = []
            for x, y in ((0, 0), (half, 0), (0, half), (half, half)):
                tile, b, q, i = self.tile(half, 10, 110)
                image[y : y + half, x : x + half] = tile
                shift = np.float32([x, y])
                parts.append((b + np.float32([x, y, 0, 0]), q + shift, i + np.float32([x, y, 0, 0])))
            boxes, points, ignored = (np.concatenate([p[k] for p in parts]) for k in range(3))
        return self._recolour(image), boxes, points, ignored

    def _recolour(self, image: np.ndarray) -> np.ndarray:
        rng = self.rng
        if rng.random() < 0.25:
            image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 2.2)))
        if rng.random() < 0.1:
            image = self._smear(image)
        table = np.linspace(0, 1, 256)[:, None] ** math.exp(rng.normal(0, 0.3))
        table = table * math.exp(rng.uniform(math.log(0.18), math.log(1.35))) * rng.uniform(
            0.85, 1.15, 3
        ) + rng.uniform(-0.1, 0.1)
        image = cv2.LUT(image, np.clip(table[None] * 255, 0, 255).astype(np.uint8))
        if rng.random() < 0.15:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        if rng.random() < 0.15:
            noise = rng.normal(0, rng.uniform(3, 14), image.shape)
            image = np.clip(image + noise, 0, 255).astype(np.uint8)
        if rng.random() < 0.2:
            _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 75))])
            image = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        return image

    def _smear(self, image: np.ndarray) -> np.ndarray:
        """Motion blur in any direction."""
        length = int(self.rng.integers(4, 12))
        kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
        angle = float(self.rng.uniform(0, math.pi))
        reach = np.array([math.cos(angle), math.sin(angle)]) * length / 2
        ends = [tuple(int(round(length + sign * v)) for v in reach) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        return cv2.filter2D(image, -1, kernel / kernel.sum())

    def batch(self, count: int) -> dict[str, torch.Tensor]:
        cells = CROP // STRIDE
        images = np.empty((count, CROP, CROP, 3), np.uint8)
        heat = np.zeros((count, cells, cells), np.float32)
        keep = np.ones((count, cells, cells), np.float32)
        weight = np.zeros((count, cells, cells), np.float32)
        size = np.ones((count, 4, cells, cells), np.float32)
        five = np.zeros((count, 10, cells, cells), np.float32)
        axis = np.arange(cells, dtype=np.float32) * STRIDE + (STRIDE - 1) / 2
        gx, gy = np.meshgrid(axis, axis)
        for n in range(count):
            images[n], boxes, points, ignored = self.sample()
            for b in ignored:
                keep[n][(gx > b[0]) & (gx < b[0] + b[2]) & (gy > b[1]) & (gy < b[1] + b[3])] = 0
            for b, q in sorted(zip(boxes, points, strict=True), key=lambda face: -face[0][2]):
                cx, cy = b[0] + b[2] / 2, b[1] + b[3] / 2
                sx, sy = max(b[2] * 0.11, 3.6), max(b[3] * 0.11, 3.6)
                blob = np.exp(-(((gx - cx) / sx) ** 2 + ((gy - cy) / sy) ** 2) / 2)
                iy, ix = int(np.clip(cy // STRIDE, 0, cells - 1)), int(np.clip(cx // STRIDE, 0, cells - 1))
                blob[iy, ix] = 1.0
                is_core = blob > 0.45
                heat[n] = np.maximum(heat[n], blob)
                keep[n][is_core] = 1
                weight[n][is_core] = blob[is_core] / blob[is_core].sum()
                size[n][:, is_core] = np.maximum(
                    np.stack([gx - b[0], gy - b[1], b[0] + b[2] - gx, b[1] + b[3] - gy])[:, is_core], 0.5
                )
                offsets = np.stack([q[k // 2, k % 2] - (gx, gy)[k % 2] for k in range(10)])
                five[n][:, is_core] = offsets[:, is_core]
        x = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        tensors = {"heat": heat, "keep": keep, "weight": weight, "size": size, "five": five}
        return {"x": x, **{k: torch.from_numpy(v) for k, v in tensors.items()}}


def detector_loss(
    logits: torch.Tensor, sizes: torch.Tensor, five: torch.Tensor, goal: dict[str, torch.Tensor]
) -> torch.Tensor:
    heat, logit = goal["heat"], logits[:, 0]
    probability = torch.sigmoid(logit).clamp(1e-5, 1 - 1e-5)
    is_peak = heat > 0.999
    count = is_peak.sum().clamp(min=1)
    positive = -torch.log(probability) * (1 - probability) ** 2 * is_peak
    negative = -torch.log(1 - probability) * probability**2 * (1 - heat) ** 4 * ~is_peak * goal["keep"]
    focal = (positive.sum() + negative.sum()) / count

    weight = goal["weight"]
    at = weight > 0
    w = weight[at] / weight[at].sum().clamp(min=1e-6) if at.any() else weight[at]
    found, truth = sizes.permute(0, 2, 3, 1)[at], goal["size"].permute(0, 2, 3, 1)[at]
    inner = torch.minimum(found, truth)
    outer = torch.maximum(found, truth)
    area = lambda s: (s[:, 0] + s[:, 2]) * (s[:, 1] + s[:, 3])  # noqa: E731
    overlap = area(inner)
    union = area(found) + area(truth) - overlap
    hull = area(outer)
    giou = 1 - overlap / union + (hull - union) / hull
    reach = truth.mean(dim=1, keepdim=True)
    points = F.smooth_l1_loss(
        five.permute(0, 2, 3, 1)[at] / reach, goal["five"].permute(0, 2, 3, 1)[at] / reach, beta=0.1, reduction="none"
    )
    return focal + 2.0 * (giou * w).sum() + 4.0 * (points.mean(dim=1) * w).sum()


def decode(
    heat: np.ndarray, sizes: np.ndarray, five: np.ndarray, min_score: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, xyxy boxes and five points of one picture from the three maps, after suppression."""
    dilated = cv2.dilate(heat, np.ones((3, 3), np.uint8))
    ys, xs = np.nonzero((heat >= dilated) & (heat >= min_score))
    score = heat[ys, xs]
    px, py = (v * STRIDE + (STRIDE - 1) / 2 for v in (xs, ys))
    s = sizes[:, ys, xs].T
    boxes = np.stack([px - s[:, 0], py - s[:, 1], px + s[:, 2], py + s[:, 3]], axis=1)
    points = five[:, ys, xs].T.reshape(-1, 5, 2) + np.stack([px, py], axis=1)[:, None]
    order = np.argsort(-score)
    kept: list[int] = []
    for k in order:
        if all(iou(boxes[k], boxes[j]) < 0.35 for j in kept):
            kept.append(int(k))
    return score[kept], boxes[kept], points[kept]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    both = w * h
    return float(both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both))


SHIPPED_SCORE = 0.5
"""The lowest score that the product reports."""
SMALL, LARGE = 24.0, 200.0
"""Sizes in pixels of the faces that one level of the pyramid answers for."""
ENLARGE = 1.5


def pyramid(image: np.ndarray, longest: int) -> list[tuple[np.ndarray, float]]:
    """The picture at halving sizes, from ``longest`` down to 320 px and less, with their scales.

    Small pictures are enlarged, by half at most: small faces are the hard ones.
    """
    scale = min(ENLARGE, longest / max(image.shape[:2]))
    levels = []
    while True:
        size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        levels.append((image if scale == 1 else cv2.resize(image, size, interpolation=how), scale))
        if max(size) <= 320:
            return levels
        scale /= 2


def detect(
    net: nn.Module, image: np.ndarray, longest: int, min_score: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, xyxy boxes and five points over all levels of the pyramid."""
    parts = []
    levels = pyramid(image, longest)
    for number, (level, scale) in enumerate(levels):
        h, w = (int(math.ceil(n / 64) * 64) for n in level.shape[:2])
        padded = np.zeros((h, w, 3), np.uint8)
        padded[: level.shape[0], : level.shape[1]] = level
        x = torch.from_numpy(padded[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            logits, sizes, five = net(x)
        score, boxes, points = decode(torch.sigmoid(logits)[0, 0].numpy(), sizes[0].numpy(), five[0].numpy(), min_score)
        size = np.max(boxes[:, 2:] - boxes[:, :2], axis=1, initial=0) if len(boxes) else np.zeros(0)
        kept = np.ones(len(boxes), bool)
        if number > 0:
            kept &= size >= SMALL
        if number < len(levels) - 1:
            kept &= size <= LARGE
        parts.append((score[kept], boxes[kept] / scale, points[kept] / scale))
    score, boxes, points = (np.concatenate([p[k] for p in parts]) for k in range(3))
    kept_rows: list[int] = []
    for k in np.argsort(-score):
        if all(iou(boxes[k], boxes[j]) < 0.35 for j in kept_rows):
            kept_rows.append(int(k))
    return score[kept_rows], boxes[kept_rows], points[kept_rows]


def evaluate(net: nn.Module, pictures: list[Picture], longest: int = 1280, min_size: float = 32) -> dict[str, float]:
    """Best balance of precision and recall over scores, for faces of ``min_size`` px and more.

    ``precision`` and ``recall`` count every face of every frame. ``file_precision`` and ``file_recall`` count
    every picture and every clip once, however many of its frames are in the set. ``people_recall`` counts the faces
    of people who are held out by their number, at `SHIPPED_SCORE`, and ``shipped_precision`` all detections there:
    the other faces in these pictures are passers-by whom nobody has numbered, and people of other numbers.
    """
    frames: dict[str, int] = defaultdict(int)
    for p in pictures:
        frames[p.name.split("#")[0]] += 1
    found: list[tuple[float, bool, float]] = []
    faces, file_faces = 0, 0.0
    best_of_person: dict[int, list[float]] = defaultdict(list)
    for p in pictures:
        share = 1 / frames[p.name.split("#")[0]]
        score, boxes, _ = detect(net, p.levels[0], longest, 0.05)
        truth = np.concatenate([p.boxes[:, :2], p.boxes[:, :2] + p.boxes[:, 2:]], axis=1)
        is_wanted = p.boxes[:, 2:].max(axis=1, initial=0) >= min_size if len(p.boxes) else np.zeros(0, bool)
        faces += int(is_wanted.sum())
        file_faces += share * int(is_wanted.sum())
        free = set(range(len(truth)))
        taken: dict[int, float] = {}
        skipped = np.concatenate([p.ignored[:, :2], p.ignored[:, :2] + p.ignored[:, 2:]], axis=1)
        for s, b in zip(score, boxes, strict=True):
            best = max(((iou(b, truth[k]), k) for k in free), default=(0.0, -1))
            if best[0] >= 0.5:
                free.discard(best[1])
                taken[best[1]] = float(s)
                if is_wanted[best[1]]:
                    found.append((float(s), True, share))
            elif max(b[2:] - b[:2]) >= min_size and not any(iou(b, i) > 0.3 for i in skipped):
                found.append((float(s), False, share))
        for k, person in enumerate(p.people):
            if is_wanted[k] and person and person % HELD_OUT[0] == HELD_OUT[1]:
                best_of_person[person].append(taken.get(k, 0.0))
    found.sort(reverse=True)
    hit = np.array([is_hit for _, is_hit, _ in found])
    shares = np.array([share for *_, share in found])
    result: dict[str, float] = {"faces": faces, "files": len(frames)}
    theirs = np.array([s for scores in best_of_person.values() for s in scores])
    kept = np.array([s for s, *_ in found]) >= SHIPPED_SCORE
    result |= {"people": len(best_of_person), "people_faces": len(theirs)}
    result |= {"people_recall": float((theirs >= SHIPPED_SCORE).mean()), "shipped_precision": float(hit[kept].mean())}
    for name, weight, total in (("", np.ones(len(found)), faces), ("file_", shares, file_faces)):
        precision = np.cumsum(hit * weight) / np.cumsum(weight)
        recall = np.cumsum(hit * weight) / max(total, 1e-9)
        k = int(np.argmax(np.minimum(precision, recall)))
        result |= {
            f"{name}precision": float(precision[k]),
            f"{name}recall": float(recall[k]),
            f"{name}score": found[k][0],
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("boxes", "media", "run"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--licences", default="all", choices=("all", "permissive"))
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="continue from the weights of another run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    cv2.setNumThreads(1)
    training = load_pictures(arguments.boxes, arguments.media, arguments.licences, held_out=False)
    held = load_pictures(arguments.boxes, arguments.media, arguments.licences, held_out=True)
    crops = Crops(training, arguments.seed)
    net = DetectorNet().to(memory_format=torch.channels_last)
    print(
        f"{len(training)} pictures, {len(held)} held out, {sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters",
        flush=True,
    )
    if arguments.start:
        net.load_state_dict(torch.load(arguments.start)["average"])
    average = {key: value.clone() for key, value in net.state_dict().items()}
    averaged = DetectorNet().eval()
    optimiser = torch.optim.AdamW(net.parameters(), arguments.rate, weight_decay=1e-2, fused=True)
    fast = multiplies_bfloat16()
    arguments.run.mkdir(parents=True, exist_ok=True)
    began = printed = time.monotonic()
    step, smooth = 0, 0.0
    while True:
        progress = (time.monotonic() - began) / (arguments.minutes * 60)
        if progress >= 1 or time.monotonic() - printed > 420:
            averaged.load_state_dict(average)
            torch.save({"average": average, "step": step}, arguments.run / "detector.pt")
            chosen = held if progress >= 1 else held[::3]
            result = {k: round(v, 4) for k, v in evaluate(averaged, chosen).items()}
            print(f"{progress:5.1%} step {step} loss {smooth:.3f} held out: {result}", flush=True)
            printed = time.monotonic()
            if progress >= 1:
                break
        for group in optimiser.param_groups:
            group["lr"] = (
                arguments.rate * min(1.0, (step + 1) / 100) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.003)
            )
        goal = crops.batch(arguments.batch)
        loss = detector_loss(*net(goal["x"].to(memory_format=torch.channels_last), fast), goal)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        step += 1
        smooth = smooth * 0.98 + loss.item() * 0.02 if step > 1 else loss.item()
        update_average(average, net, min(0.999, (1 + step) / (20 + step)))


if __name__ == "__main__":
    main()
