"""Train the verifier: whether a find of the detector shows a face, from a crop with what is around it.

    python training/train_verifier.py FINDS.jsonl MEDIA RUN --minutes 20

FINDS is from `verifier_pool.py`. Half of the crops are faces, made as hard as crowds are: down to 8 px, blurred, smeared,
turned, half covered, in the dark, coded badly. The others are what the detector took for faces, what lies beside, below
and within faces, drawn lettering and coats of arms, and anything else. What lies near an unsure find of the teacher is
neither. The first layers begin as those of the shipped detector. Files with people who are held out by number, and those whose crowds are labelled for
`benchmarks/missed.py`, are never trained on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
SIDE = 64
"""Side of a crop in pixels."""
MARGIN = 1.8
"""Side of a crop over the longer side of the find; `facefusion.models.verifier` has it too."""
FINE = 3
"""Last layer of the trunk that sees squares of eight pixels."""
LEAST_CONTRAST = 16.0
"""Spread of levels of a crop below which it teaches little."""
DRAWN = 128
"""Side of what is drawn, in pixels, before it is made small."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789&%$#@!?:.-+*/"
SURE, ANY = 0.6, 0.3
"""Score of the teacher from which it is a face, and from which it may be one."""


class VerifierNet(nn.Module):
    """RGB crops in [-1, 1] -> logits; 0.39 M parameters. Trunk as in `train_detector.DetectorNet`, norms folded in."""

    def __init__(self) -> None:
        super().__init__()
        shapes = [(3, 16, 2), (16, 24, 2), (24, 48, 2), (48, 48, 1), (48, 64, 2), (64, 64, 1), (64, 64, 1)]
        self.trunk = nn.ModuleList(nn.Conv2d(a, b, 3, s, 1) for a, b, s in shapes)
        self.finer = nn.ModuleList(nn.Conv2d(48, 48, 3, 1, 1) for _ in range(2))
        self.deeper = nn.ModuleList(nn.Conv2d(64, 64, 3, 1, 1) for _ in range(3))
        self.narrow = nn.Conv2d(64, 64, 1)
        self.wide, self.last = nn.Linear(64 * (SIDE // 16) ** 2, 96), nn.Linear(96, 1)
        self.dropout = nn.Dropout(0.2)
        with torch.no_grad():  # what is added begins as nothing: the trunk is already good at faces
            for conv in (*self.finer, *self.deeper):
                conv.weight.mul_(0.3)
                conv.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for number, conv in enumerate(self.trunk):
            y = F.relu(conv(x))
            x = x + y if conv.stride[0] == 1 else y
            if number == FINE:
                for own in self.finer:
                    x = x + F.relu(own(x))
        for own in self.deeper:
            x = x + F.relu(own(x))
        x = F.relu(self.narrow(x)).flatten(1)
        return self.last(self.dropout(F.relu(self.wide(self.dropout(x))))).squeeze(1)

    def begin_as(self, detector: Path) -> None:
        """Take the first layers over from the shipped detector."""
        graph = onnx.load(detector).graph
        values = {tensor.name.removesuffix("_half"): numpy_helper.to_array(tensor) for tensor in graph.initializer}
        convs = [node for node in graph.node if node.op_type == "Conv"]
        with torch.no_grad():
            for own, theirs in zip(self.trunk, convs, strict=False):
                own.weight.copy_(torch.from_numpy(values[theirs.input[1]].astype(np.float32)))
                own.bias.copy_(torch.from_numpy(values[theirs.input[2]].astype(np.float32)))


@dataclass
class Picture:
    levels: list[np.ndarray]  # BGR, halving
    faces: np.ndarray  # (N, 4) xyxy, sure
    near: np.ndarray  # (M, 4) xyxy, whatever may be a face
    finds: np.ndarray  # (K, 4) xyxy, of the detector, where nothing may be one
    weights: np.ndarray  # (K,) their scores
    file: str


def share_inside(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, M) area that boxes share with others over that of the smaller."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(b[:, 2:] - b[:, :2], axis=1) for b in (boxes, others)]
    return both / np.maximum(np.minimum(areas[0][:, None], areas[1][None]), 1e-6)


def load_pictures(finds: Path, media: Path, is_held_out: bool) -> list[Picture]:
    """Pictures with sure faces and sure mistakes."""
    pictures = []
    for line in finds.read_text().splitlines():
        row = json.loads(line)
        if row["is_held_out"] != is_held_out:
            continue
        image = cv2.imread(str(finds.parent / row["png"] if row["png"] else media / row["file"]))
        if image is None:
            continue
        taught = np.array(row["teacher"], dtype=np.float32).reshape(-1, 5)
        ours = np.array(row["finds"], dtype=np.float32).reshape(-1, 5)
        if row["has_no_face"]:
            taught = taught[:0]
        sure = taught[taught[:, 4] >= SURE]
        near = np.concatenate([taught[:, :4], sure[:, :4]])
        own = np.concatenate([ours[ours[:, 4] >= ANY, :4] if not row["has_no_face"] else ours[:0, :4], near])
        is_wrong = share_inside(ours[:, :4], near).max(axis=1, initial=0) < 0.1
        is_wrong &= (ours[:, 4] < 0.5) | row["has_no_face"]
        levels = [image]
        while min(levels[-1].shape[:2]) > 40:
            h, w = levels[-1].shape[:2]
            levels.append(cv2.resize(levels[-1], (w // 2, h // 2), interpolation=cv2.INTER_AREA))
        wrong = ours[is_wrong]
        pictures.append(Picture(levels, sure[:, :4], own, wrong[:, :4], wrong[:, 4], row["file"]))
    return pictures


class Crops:
    """Random crops of faces and of everything else."""

    def __init__(self, pictures: list[Picture], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.pictures = pictures
        counts: dict[str, int] = defaultdict(int)
        for p in pictures:
            counts[p.file] += 1
        self.faces = [(p, k) for p in pictures for k in range(len(p.faces))]
        chance = np.array([1 / counts[p.file] / len(p.faces) ** 0.5 for p, _ in self.faces])
        self.face_chance = chance / chance.sum()
        self.finds = [(p, k) for p in pictures for k in range(len(p.finds))]
        chance = np.array([(0.1 + p.weights[k]) / counts[p.file] ** 0.5 for p, k in self.finds])
        self.find_chance = chance / chance.sum()

    def cut(self, picture: Picture, box: np.ndarray, is_hard: bool = True) -> np.ndarray:
        """A crop about a box, seen as small and as badly as in crowds."""
        rng = self.rng
        middle, size = (box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max())
        seen = size
        if is_hard:
            middle = middle + rng.normal(0, 0.08, 2) * size
            size *= math.exp(rng.normal(0, 0.16))
            seen = min(math.exp(rng.uniform(math.log(8), math.log(60))), size * 1.15)
        native = max(int(round(seen * MARGIN)), 10)
        scale = native / (size * MARGIN)
        angle = 0.0
        if is_hard:
            angle = math.radians(rng.normal(0, 14) if rng.random() < 0.85 else rng.uniform(-180, 180))
        mirror = -1.0 if is_hard and rng.random() < 0.5 else 1.0
        linear = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * scale
        linear = linear @ np.diag([mirror * (math.exp(rng.normal(0, 0.1)) if is_hard else 1.0), 1.0])
        level = int(np.clip(math.floor(math.log2(max(1 / scale, 1.0)) + 0.4), 0, len(picture.levels) - 1))
        source = picture.levels[level]
        shrunk = source.shape[1] / picture.levels[0].shape[1]
        matrix = np.concatenate([linear, (np.full(2, (native - 1) / 2) - linear @ middle)[:, None]], axis=1)
        matrix[:, :2] /= shrunk
        crop = cv2.warpAffine(source, matrix, (native, native), borderMode=cv2.BORDER_REPLICATE)
        if is_hard:
            crop = self._spoil(crop)
        return cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)

    def _spoil(self, crop: np.ndarray) -> np.ndarray:
        rng, side = self.rng, crop.shape[0]
        if rng.random() < 0.3:
            crop = cv2.GaussianBlur(crop, (0, 0), float(rng.uniform(0.3, 0.015 * side + 0.6)))
        if rng.random() < 0.15 and side > 18:
            length = int(rng.integers(2, max(side // 12, 3)))
            kernel = np.zeros((2 * length + 1,) * 2, np.float32)
            turn = rng.uniform(0, math.pi)
            reach = np.array([math.cos(turn), math.sin(turn)]) * length
            cv2.line(kernel, *[tuple(int(round(length + s * v)) for v in reach) for s in (-1, 1)], 1.0)
            crop = cv2.filter2D(crop, -1, kernel / kernel.sum())
        table = np.linspace(0, 1, 256)[:, None] ** math.exp(rng.normal(0, 0.3))
        strength = math.exp(rng.uniform(math.log(0.4), math.log(1.3)))
        table = table * strength * rng.uniform(0.85, 1.15, 3) + rng.uniform(-0.08, 0.15)
        crop = cv2.LUT(crop, np.clip(table[None] * 255, 0, 255).astype(np.uint8))
        if rng.random() < 0.12:
            crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        if rng.random() < 0.25:
            crop = np.clip(crop + rng.normal(0, rng.uniform(2, 8), crop.shape), 0, 255).astype(np.uint8)
        if rng.random() < 0.5:
            _, coded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 85))])
            crop = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        return crop

    def _cover(self, crop: np.ndarray) -> np.ndarray:
        """Something before a face: a part of another picture from one side, over up to half of it."""
        rng = self.rng
        other = self.pictures[int(rng.integers(len(self.pictures)))].levels[0]
        h, w = other.shape[:2]
        part = int(min(h, w) * rng.uniform(0.1, 0.5))
        y, x = int(rng.integers(0, h - part + 1)), int(rng.integers(0, w - part + 1))
        patch = cv2.resize(other[y : y + part, x : x + part], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        turn, reach = rng.uniform(0, 2 * math.pi), rng.uniform(-0.02, 0.3) * SIDE
        gy, gx = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
        wave = rng.uniform(0, 3) * np.sin(gy * rng.uniform(0.05, 0.3)) if rng.random() < 0.5 else 0
        alpha = np.clip(gx * math.cos(turn) + gy * math.sin(turn) + wave - reach, 0, 1.5)[..., None] / 1.5
        return (crop * (1 - alpha) + patch * alpha).astype(np.uint8)

    def face(self) -> np.ndarray:
        picture, k = self.faces[int(self.rng.choice(len(self.faces), p=self.face_chance))]
        crop = self.cut(picture, picture.faces[k])
        return self._cover(crop) if self.rng.random() < 0.3 else crop

    def other(self) -> np.ndarray:
        """What is no face; seldom what is hardly anything."""
        crop = self._other()
        for _ in range(3):
            if crop.std() >= LEAST_CONTRAST or self.rng.random() < 0.1:
                break
            crop = self._other()
        return crop

    def _other(self) -> np.ndarray:
        rng, kind = self.rng, self.rng.random()
        if kind < 0.08:
            return self.drawn()
        if kind < 0.55:
            picture, k = self.finds[int(rng.choice(len(self.finds), p=self.find_chance))]
            return self.cut(picture, picture.finds[k])
        for _ in range(20):
            if kind < 0.88:  # beside, below, within or far too large
                picture, k = self.faces[int(rng.choice(len(self.faces), p=self.face_chance))]
                face = picture.faces[k]
                size, middle = float((face[2:] - face[:2]).max()), (face[:2] + face[2:]) / 2
                turn, way = rng.uniform(0, 2 * math.pi), rng.uniform(0.9, 2.6) * size
                own = size * math.exp(rng.uniform(math.log(0.35), math.log(1.3)))
                if kind < 0.65:
                    own, way = size * rng.uniform(0.15, 0.38), rng.uniform(0, 0.45) * size
                elif kind < 0.7:
                    own, way = size * rng.uniform(3.0, 5.0), rng.uniform(0, 1.2) * size
                middle = middle + way * np.array([math.cos(turn), math.sin(turn)])
            else:
                picture = self.pictures[int(rng.integers(len(self.pictures)))]
                h, w = picture.levels[0].shape[:2]
                own = min(h, w) * math.exp(rng.uniform(math.log(0.03), math.log(0.6)))
                middle = np.array([rng.uniform(0, w), rng.uniform(0, h)])
            box = np.concatenate([middle - own / 2, middle + own / 2])
            h, w = picture.levels[0].shape[:2]
            if kind < 0.7:
                others = np.array([b for b in picture.near if kind >= 0.65 or not np.allclose(b, face)])
            else:
                others = picture.near
            is_free = not len(others) or share_inside(box[None], others).max() < 0.12
            if (is_free or 0.65 <= kind < 0.7) and (middle > 0).all() and middle[0] < w and middle[1] < h and own > 6:
                return self.cut(picture, box)
        picture, k = self.finds[int(rng.integers(len(self.finds)))]
        return self.cut(picture, picture.finds[k])

    def drawn(self) -> np.ndarray:
        """Lettering, or a figure whose halves are alike as those of faces are, on something of a picture."""
        rng = self.rng
        picture = self.pictures[int(rng.integers(len(self.pictures)))].levels[0]
        h, w = picture.shape[:2]
        part = int(min(h, w) * rng.uniform(0.03, 0.3)) + 2
        y, x = int(rng.integers(0, max(h - part, 1))), int(rng.integers(0, max(w - part, 1)))
        ground = cv2.resize(picture[y : y + part, x : x + part], (DRAWN, DRAWN), interpolation=cv2.INTER_AREA)
        plain = np.full_like(ground, rng.integers(0, 256, 3))
        ground = cv2.addWeighted(ground, float(rng.uniform(0, 0.5)), plain, 0.6, 0)
        colours = [tuple(int(v) for v in rng.integers(0, 256, 3)) for _ in range(3)]
        if rng.random() < 0.5:
            thick = int(rng.integers(2, 14))
            scale = float(rng.uniform(1.0, 5.0))
            y = int(rng.uniform(-0.1, 0.5) * DRAWN)
            while y < DRAWN * 1.3:
                words = "".join(rng.choice(list(LETTERS), int(rng.integers(2, 12))))
                at = int(rng.uniform(-0.4, 0.3) * DRAWN), y
                cv2.putText(
                    ground, words, at, int(rng.integers(0, 8)), scale, colours[int(rng.integers(2))], thick, cv2.LINE_AA
                )
                y += int(scale * rng.uniform(24, 44)) + 4
        else:
            for _ in range(int(rng.integers(2, 12))):
                colour, is_filled = colours[int(rng.integers(3))], rng.random() < 0.6
                thick = -1 if is_filled else int(rng.integers(1, 8))
                middle = tuple(int(v) for v in rng.uniform(0.1, 0.9, 2) * DRAWN)
                if rng.random() < 0.5:
                    axes = tuple(int(v) + 1 for v in rng.uniform(0.02, 0.3, 2) * DRAWN)
                    tilt, end = float(rng.uniform(0, 180)), float(rng.uniform(90, 360))
                    cv2.ellipse(ground, middle, axes, tilt, 0, end, colour, thick, cv2.LINE_AA)
                    continue
                points = np.array(middle) + rng.normal(0, 0.12 * DRAWN, (int(rng.integers(3, 7)), 2))
                cv2.polylines(ground, [points.astype(np.int32)], bool(is_filled), colour, abs(thick) + 1, cv2.LINE_AA)
                if is_filled:
                    cv2.fillPoly(ground, [points.astype(np.int32)], colour, cv2.LINE_AA)
            if rng.random() < 0.8:
                ground[:, DRAWN // 2 :] = ground[:, : DRAWN // 2][:, ::-1]
        turn = cv2.getRotationMatrix2D((DRAWN / 2, DRAWN / 2), float(rng.normal(0, 15)), float(rng.uniform(0.6, 1.3)))
        ground = cv2.warpAffine(ground, turn, (DRAWN, DRAWN), borderMode=cv2.BORDER_REPLICATE)
        seen = max(int(round(math.exp(rng.uniform(math.log(8), math.log(60))) * MARGIN)), 10)
        crop = self._spoil(cv2.resize(ground, (seen, seen), interpolation=cv2.INTER_AREA))
        return cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)

    def batch(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        crops = np.stack([self.face() if k % 2 else self.other() for k in range(count)])
        goal = torch.tensor([float(k % 2) for k in range(count)])
        return as_tensor(crops), goal


class Ring:
    """The last crops of a process of its own that goes on making them: each is seen a few times, mirrored or not."""

    def __init__(self, pictures: list[Picture], seed: int, count: int = 24000) -> None:
        context = get_context("fork")
        self.crops = np.frombuffer(context.RawArray("B", count * SIDE * SIDE * 3), np.uint8)
        self.crops = self.crops.reshape(count, SIDE, SIDE, 3)
        self.made = context.Value("q", 0, lock=False)
        self.rng = np.random.default_rng(seed)
        self.process = context.Process(target=self._fill, args=(pictures, seed), daemon=True)
        self.process.start()

    def _fill(self, pictures: list[Picture], seed: int) -> None:
        crops, parent = Crops(pictures, seed), os.getppid()
        while os.getppid() == parent:
            k = self.made.value
            self.crops[k % len(self.crops)] = crops.face() if k % 2 else crops.other()
            self.made.value = k + 1

    def batch(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        while self.made.value < 4 * count:
            time.sleep(0.2)
        rows = self.rng.choice(min(self.made.value // 2 * 2, len(self.crops)), count, replace=False)
        crops = self.crops[rows]
        is_mirrored = self.rng.random(count) < 0.5
        crops[is_mirrored] = crops[is_mirrored][:, :, ::-1]
        x = as_tensor(crops) * torch.from_numpy(self.rng.uniform(0.8, 1.15, (count, 1, 1, 1)).astype(np.float32))
        return x, torch.from_numpy((rows % 2).astype(np.float32))


def as_tensor(crops: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(crops[..., ::-1].copy()).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def held_out_set(pictures: list[Picture], count: int = 3000) -> tuple[torch.Tensor, torch.Tensor]:
    """The same crops every time, hard ones, from people and files that are not trained on."""
    crops = Crops(pictures, 99)
    return crops.batch(count)


def evaluate(net: nn.Module, x: torch.Tensor, goal: torch.Tensor) -> dict[str, float]:
    net.eval()
    with torch.no_grad():
        score = torch.sigmoid(torch.cat([net(part) for part in x.split(250)])).numpy()
    faces, others = score[goal.numpy() > 0.5], np.sort(score[goal.numpy() < 0.5])
    result = {}
    for least in (0.99, 0.98, 0.95, 0.9):
        limit = float(np.quantile(faces, 1 - least))
        result[f"false_at_{least}"] = float((others >= limit).mean())
    return result | {"limit_0.98": float(np.quantile(faces, 0.02))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("finds", "media", "run"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="continue from the weights of another run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    cv2.setNumThreads(1)
    crops = Crops(load_pictures(arguments.finds, arguments.media, False), arguments.seed)
    x, truth = held_out_set(load_pictures(arguments.finds, arguments.media, True))
    net, averaged = VerifierNet(), VerifierNet()
    if arguments.start:
        net.load_state_dict(torch.load(arguments.start)["average"])
    else:
        net.begin_as(ROOT / "src/facefusion/models/embedded/face_detector.onnx")
    print(
        f"{len(crops.pictures)} pictures, {len(crops.faces)} faces, {len(crops.finds)} mistakes of the detector, "
        f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters",
        flush=True,
    )
    average = {key: value.clone() for key, value in net.state_dict().items()}
    optimiser = torch.optim.AdamW(net.parameters(), arguments.rate, weight_decay=2e-2)
    arguments.run.mkdir(parents=True, exist_ok=True)
    ring = Ring(crops.pictures, arguments.seed)
    began = printed = time.monotonic()
    step, smooth = 0, 0.7
    while True:
        progress = (time.monotonic() - began) / (arguments.minutes * 60)
        if progress >= 1 or time.monotonic() - printed > 150:
            averaged.load_state_dict(average)
            torch.save({"average": average, "step": step}, arguments.run / "verifier.pt")
            result = {k: round(v, 4) for k, v in evaluate(averaged, x, truth).items()}
            print(
                f"{progress:5.1%} step {step} of {ring.made.value} crops, loss {smooth:.3f} held out: {result}",
                flush=True,
            )
            printed = time.monotonic()
            if progress >= 1:
                break
        for group in optimiser.param_groups:
            group["lr"] = arguments.rate * min(1.0, (step + 1) / 50) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.01)
        net.train()
        images, goal = ring.batch(arguments.batch)
        loss = F.binary_cross_entropy_with_logits(net(images), goal * 0.98 + 0.01)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        step += 1
        smooth = smooth * 0.98 + loss.item() * 0.02
        for key, value in net.state_dict().items():
            average[key].lerp_(value, 1 - min(0.999, (1 + step) / (20 + step)))


if __name__ == "__main__":
    main()
