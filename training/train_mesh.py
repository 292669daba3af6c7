"""Train the 478-point mesh network on a pool made by `face_pool.py`.

    python training/train_mesh.py POOL FACEPACK MEDIA RUN --minutes 75

Writes RUN/mesh.pt (weights and averaged weights) and prints the held-out error as it falls.
Export with `export_models.py`. One thread per run: two runs side by side do not disturb each other.
Convolutions run in bfloat16 where the processor multiplies it in hardware (AMX), which doubles the steps
per minute; the last layers, the loss and the weights stay in float32.

Method: wing loss (Feng et al., CVPR 2018) with more weight on lids, irises and lips; a linear shape
basis (PCA of the training meshes) as the initial last layer; averaged weights (EMA); crops as the
tracker will cut them, most of them with a small error (second look), some with a large one (first look).
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn
from torch.nn import functional as F

from augment import Photometric, multiplies_bfloat16, update_average
from face_pool import ROOT, is_held_out, load_faces

sys.path.insert(0, str(ROOT / "src"))
from facefusion.imaging import align
from facefusion.types import topology as names

SIZE = 128
POINTS = 478


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = block(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class MeshNet(nn.Module):
    """128 px RGB crop in [-1, 1] -> 478 points in crop pixels and a face logit; 2.2 M parameters."""

    def __init__(self, basis: int = 160) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            block(3, 16, 2), block(16, 32, 2), Residual(32),
            block(32, 64, 2), Residual(64), Residual(64),
            block(64, 128, 2), Residual(128), Residual(128),
            block(128, 192, 2), Residual(192), Residual(192),
        )  # fmt: skip
        self.squeeze = nn.Sequential(nn.Conv2d(192, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
        self.hidden = nn.Sequential(nn.Linear(64 * 16, 320), nn.ReLU(inplace=True))
        self.coefficients = nn.Linear(320, basis)
        self.shape = nn.Linear(basis, POINTS * 3)
        self.score = nn.Linear(320, 1)

    def forward(self, x: torch.Tensor, fast: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            squeezed = self.squeeze(self.trunk(x))
        features = self.hidden(squeezed.float().flatten(1))
        points = self.shape(self.coefficients(features)).view(-1, POINTS, 3) * SIZE
        middle = points.new_tensor([(SIZE - 1) / 2, (SIZE - 1) / 2, 0.0])
        return points + middle, self.score(features)[:, 0]


def point_weights() -> torch.Tensor:
    weight = torch.ones(POINTS, 3)
    fine = {*names.LEFT_EYE, *names.RIGHT_EYE, *names.LIPS_OUTER, *names.LIPS_INNER}
    finest = {*range(468, 478), 33, 133, 362, 263, 61, 291, 13, 14, 78, 308}
    weight[sorted(fine)] = 2.0
    weight[sorted(finest)] = 3.0
    weight[:, 2] *= 0.3
    return weight / weight.mean()


def wing(difference: torch.Tensor, width: float = 6.0, curvature: float = 1.2) -> torch.Tensor:
    offset = width - width * math.log(1 + width / curvature)
    size = difference.abs()
    return torch.where(size < width, width * torch.log1p(size / curvature), size - offset)


class Batches:
    """Augmented batches, made on whole tensors so that one thread keeps up with the network."""

    def __init__(self, pool: Path, batch: int, flip: np.ndarray, seed: int, strength: float = 1.0) -> None:
        self.strength = strength
        self.images = torch.from_numpy(np.load(pool / "images.npy"))
        self.meshes = torch.from_numpy(np.load(pool / "meshes.npy"))
        self.negatives = torch.from_numpy(np.load(pool / "negatives.npy"))
        self.weights = np.load(pool / "weights.npy")
        self.batch, self.rng = batch, np.random.default_rng(seed)
        self.flip = torch.from_numpy(flip.astype(np.int64))
        self.photometric = Photometric(SIZE, self.rng)
        self.offsets = self.photometric.offsets
        squares = [self._square(m) for m in self.meshes.numpy()]
        self.squares = torch.tensor(np.array(squares), dtype=torch.float32)  # cx, cy, side, roll

    @staticmethod
    def _square(points: np.ndarray) -> tuple[float, float, float, float]:
        inverse = align.invert(align.mesh_crop(points, SIZE))
        centre = align.transform(inverse, np.full((1, 2), (SIZE - 1) / 2, dtype=np.float32))[0]
        side = SIZE * float(np.hypot(inverse[0, 0], inverse[1, 0]))
        return float(centre[0]), float(centre[1]), side, align.mesh_roll(points)

    def _normal(self, spread: np.ndarray | float, *shape: int) -> torch.Tensor:
        return torch.from_numpy((self.rng.standard_normal(shape) * spread).astype(np.float32))

    def _uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.from_numpy(self.rng.uniform(low, high, shape).astype(np.float32))

    def next(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        n, rng = self.batch, self.rng
        negatives = max(1, n // 10)
        lost = max(1, n // 16)
        chosen = rng.choice(len(self.images), n, p=self.weights)
        source = self.images[chosen]
        label = torch.ones(n)
        source[:negatives] = self.negatives[rng.integers(0, len(self.negatives), negatives)]
        label[: negatives + lost] = 0.0
        points, square = self.meshes[chosen], self.squares[chosen]

        is_wide = rng.random(n) < 0.3 * self.strength
        centre = square[:, :2] + self._normal(np.where(is_wide, 0.06, 0.022)[:, None], n, 2) * square[:, 2:3]
        side = square[:, 2] * torch.exp(self._normal(np.where(is_wide, 0.16, 0.055), n))
        roll = square[:, 3] + self._normal(np.where(is_wide, 0.28, 0.08), n)
        away = slice(negatives, negatives + lost)
        angle = self._uniform(0, 2 * math.pi, lost)
        direction = torch.stack([angle.cos(), angle.sin()], dim=1)
        centre[away] = square[away, :2] + direction * square[away, 2:3] * self._uniform(0.42, 0.6, lost, 1)

        scale = side / SIZE
        c, s = roll.cos(), roll.sin()
        turn = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)  # frame from crop
        stretch = torch.exp(self._normal(0.05, n))
        linear = turn @ torch.diag_embed(torch.stack([stretch, 1 / stretch], 1)) * scale[:, None, None]
        warp = (
            self._normal(1.0, n, 2, 4, 4)
            * (self._uniform(0, 2.2, n) * (self._uniform(0, 1, n) < 0.5))[:, None, None, None]
        )
        field = F.interpolate(warp, size=(SIZE, SIZE), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
        grid = torch.einsum("nij,nhwj->nhwi", linear, self.offsets + field) + centre[:, None, None]
        side_px = source.shape[1]
        grid = grid * (2 / (side_px - 1)) - 1

        goal = torch.einsum("nij,nkj->nki", torch.linalg.inv(linear), points[..., :2] - centre[:, None])
        at = (goal / ((SIZE - 1) / 2)).clamp(-1, 1)
        goal = goal - F.grid_sample(field.permute(0, 3, 1, 2), at[:, :, None], align_corners=True)[..., 0].permute(
            0, 2, 1
        )
        goal = torch.cat([goal + (SIZE - 1) / 2, points[..., 2:] / scale[:, None, None]], dim=2)

        mirrored = torch.from_numpy(rng.random(n) < 0.5)
        grid[mirrored] = grid[mirrored].flip(2)
        swapped = goal[mirrored][:, self.flip]
        swapped[..., 0] = SIZE - 1 - swapped[..., 0]
        goal[mirrored] = swapped

        pixels = source.permute(0, 3, 1, 2).flip(1).float().div_(255.0)  # pool is BGR
        padding = "border" if rng.random() < 0.6 else "zeros"
        crop = F.grid_sample(pixels, grid, mode="bilinear", padding_mode=padding, align_corners=True)
        return self.photometric(crop, self.strength), goal, label


def load_held_out(facepack: Path, media: Path) -> dict[str, np.ndarray]:
    faces = load_faces(facepack, media)
    held = is_held_out(faces["ident"])
    return {key: values[held] for key, values in faces.items()}


def look(net: nn.Module, images: np.ndarray, affines: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Meshes in picture pixels, and scores, for one crop of every picture."""
    crops = [
        cv2.warpAffine(image, a, (SIZE, SIZE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
        for image, a in zip(images, affines, strict=True)
    ]
    x = torch.from_numpy(np.stack(crops)[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        found = [net(part) for part in x.split(64)]
    points = torch.cat([p for p, _ in found]).numpy()
    scores = torch.sigmoid(torch.cat([s for _, s in found])).numpy()
    return np.stack([align.transform(align.invert(a), p) for a, p in zip(affines, points, strict=True)]), scores


class Mirrored(nn.Module):
    """A network that looks at a crop and at its mirror image, as the analyser does for photos."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        flip = load_file(ROOT / "src/facefusion/models/embedded/face_mesh.safetensors")["flip"]
        self.flip = torch.from_numpy(flip.astype(np.int64))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        points, score = self.net(x)
        other, _ = self.net(x.flip(3).contiguous())
        other = other[:, self.flip].clone()
        other[..., 0] = SIZE - 1 - other[..., 0]
        return (points + other) / 2, score


def evaluate(net: nn.Module, held: dict[str, np.ndarray], looks: int = 2) -> np.ndarray:
    """Mean 2-D error of the 468 skin points over the 3-D eye distance, one number per picture."""
    boxes = np.concatenate([held["box"][:, :2], held["box"][:, :2] + held["box"][:, 2:]], axis=1)
    affines = [align.detection_crop(b, f, SIZE) for b, f in zip(boxes, held["five"], strict=True)]
    points, _ = look(net, held["image"], affines)
    for _ in range(looks - 1):
        points, _ = look(net, held["image"], [align.mesh_crop(p, SIZE) for p in points])
    truth = held["mesh"]
    error = np.linalg.norm(points[:, :468, :2] - truth[:, :468, :2], axis=2).mean(axis=1)
    return error / np.linalg.norm(truth[:, 468] - truth[:, 473], axis=1)


def report(errors: np.ndarray) -> str:
    return f"mean {errors.mean():.2%} median {np.median(errors):.2%} p95 {np.quantile(errors, 0.95):.2%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("pool", "facepack", "media", "run"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--minutes", type=float, default=100.0)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--strength", type=float, default=1.0, help="share of strongly changed pictures, 0 to 1; halved at the end"
    )
    parser.add_argument("--start", type=Path, help="continue from the weights of another run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    cv2.setNumThreads(1)
    flip = load_file(ROOT / "src/facefusion/models/embedded/face_mesh.safetensors")["flip"]
    batches = Batches(arguments.pool, arguments.batch, flip, arguments.seed, arguments.strength)
    held = load_held_out(arguments.facepack, arguments.media)

    net = MeshNet()
    aligned = np.stack([align.transform(align.mesh_crop(m, SIZE), m) for m in batches.meshes.numpy()])
    aligned = (aligned.reshape(len(aligned), -1) - np.tile([(SIZE - 1) / 2, (SIZE - 1) / 2, 0], POINTS)) / SIZE
    mean = aligned.mean(axis=0)
    _, strength, axes = np.linalg.svd((aligned - mean)[:: max(1, len(aligned) // 3000)], full_matrices=False)
    spread = strength / math.sqrt(min(len(aligned), 3000))
    with torch.no_grad():
        net.shape.bias.copy_(torch.tensor(mean))
        net.shape.weight.copy_(torch.tensor((axes[:160] * spread[:160, None]).T))
        net.coefficients.weight.mul_(0.3)
    if arguments.start:
        net.load_state_dict(torch.load(arguments.start)["average"])
    print(
        f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters, {len(held['ident'])} held-out pictures",
        flush=True,
    )

    net = net.to(memory_format=torch.channels_last)
    average = {key: value.clone() for key, value in net.state_dict().items()}
    averaged = MeshNet()
    weights = point_weights()
    optimiser = torch.optim.AdamW(net.parameters(), arguments.rate, weight_decay=1e-2, fused=True)
    fast = multiplies_bfloat16()
    began, step, smooth, printed = time.monotonic(), 0, 0.0, time.monotonic()
    arguments.run.mkdir(parents=True, exist_ok=True)
    while True:
        progress = (time.monotonic() - began) / (arguments.minutes * 60)
        is_last = progress >= 1
        if is_last or time.monotonic() - printed > 240:
            printed = time.monotonic()
            averaged.load_state_dict(average)
            averaged.eval()
            errors = evaluate(averaged, held)
            torch.save({"average": average, "net": net.state_dict(), "step": step}, arguments.run / "mesh.pt")
            print(f"{progress:5.1%} step {step} loss {smooth:.3f} held out: {report(errors)}", flush=True)
        if is_last:
            break
        rate = arguments.rate * min(1.0, (step + 1) / 150) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.003)
        for group in optimiser.param_groups:
            group["lr"] = rate
        batches.strength = arguments.strength * min(1.0, 1.5 - progress)
        x, goal, label = batches.next()
        points, logit = net(x.to(memory_format=torch.channels_last), fast)
        is_face = label > 0.5
        loss = (wing(points[is_face] - goal[is_face]) * weights).mean()
        loss = loss + 0.5 * F.binary_cross_entropy_with_logits(logit, label)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 20.0)
        optimiser.step()
        step += 1
        smooth = smooth * 0.98 + loss.item() * 0.02 if step > 1 else loss.item()
        update_average(average, net, min(0.9995, (1 + step) / (20 + step)))


if __name__ == "__main__":
    main()
