"""Train the identity encoder on a pool made by `identity_pool.py`.

    python training/train_identity.py POOL RUN --minutes 45

It learns to give an aligned crop the numbers that the teacher gives it, whatever the light, noise or sharpness
(knowledge distillation: Hinton et al., 2015), and to keep the teacher's similarities between all pictures of a
batch (Park et al., Relational Knowledge Distillation, CVPR 2019). Judged on people that training never sees, by
the area under the curve of telling whether two pictures show one person.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from augment import Photometric, multiplies_bfloat16, update_average
from identity_pool import ROOM, SIZE

CODE = 128


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.PReLU(outputs)
    )


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = block(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class IdentityNet(nn.Module):
    """112 px RGB crop in [-1, 1] -> 128 numbers; 1.6 M parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            block(3, 24, 2), block(24, 48, 2), Residual(48), Residual(48),
            block(48, 96, 2), Residual(96), Residual(96), Residual(96),
            block(96, 176, 2), Residual(176), Residual(176), Residual(176),
        )  # fmt: skip
        self.pool = nn.Sequential(
            nn.Conv2d(176, 320, 1, bias=False), nn.BatchNorm2d(320), nn.PReLU(320),
            nn.Conv2d(320, 320, 7, groups=320, bias=False), nn.BatchNorm2d(320),
        )  # fmt: skip
        self.code = nn.Linear(320, CODE)

    def forward(self, x: torch.Tensor, fast: bool = False) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            features = self.trunk(x)
            features = self.pool(features)
        return self.code(features.float().flatten(1))


class Batches:
    """Augmented crops and what the teacher says of them when they are clean."""

    def __init__(self, pool: Path, batch: int, seed: int, centre: np.ndarray, unit: float) -> None:
        self.crops = torch.from_numpy(np.load(pool / "crops.npy"))
        self.codes = torch.from_numpy((np.load(pool / "codes.npy") - centre) / unit)
        self.batch, self.rng = batch, np.random.default_rng(seed)
        self.photometric = Photometric(SIZE, self.rng)

    def next(self, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
        n, rng = self.batch, self.rng
        chosen = torch.from_numpy(rng.integers(0, len(self.crops), n))
        normal = lambda spread: torch.from_numpy((rng.standard_normal(n) * spread).astype(np.float32))  # noqa: E731
        roll, scale = normal(0.05), torch.exp(normal(0.035))
        c, s = roll.cos() * scale, roll.sin() * scale
        linear = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)
        side = SIZE + 2 * ROOM
        middle = (side - 1) / 2 + torch.stack([normal(1.6), normal(1.6)], 1)
        grid = torch.einsum("nij,hwj->nhwi", linear, self.photometric.offsets) + middle[:, None, None]
        mirrored = torch.from_numpy(rng.random(n) < 0.5)
        grid[mirrored] = grid[mirrored].flip(2)
        pixels = self.crops[chosen].permute(0, 3, 1, 2).flip(1).float().div_(255.0)
        x = F.grid_sample(pixels, grid * (2 / (side - 1)) - 1, padding_mode="border", align_corners=True)
        return self.photometric(x, strength), self.codes[chosen]


def area_under_curve(scores: np.ndarray, is_same: np.ndarray) -> float:
    """Share of (same, different) pairs that are ranked rightly."""
    order = np.argsort(scores)
    rank = np.empty(len(scores))
    rank[order] = np.arange(len(scores))
    same, other = int(is_same.sum()), int((~is_same).sum())
    return float((rank[is_same].sum() - same * (same - 1) / 2) / (same * other))


def verification(codes: np.ndarray, ident: np.ndarray) -> float:
    """Area under the curve over all pairs of held-out pictures; every person's pairs count the same."""
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    first, second = np.triu_indices(len(ident), 1)
    return area_under_curve((unit @ unit.T)[first, second], ident[first] == ident[second])


def encode(net: nn.Module, crops: np.ndarray) -> np.ndarray:
    inner = crops[:, ROOM:-ROOM, ROOM:-ROOM, ::-1].copy()
    x = torch.from_numpy(inner).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        return torch.cat([net(part) for part in x.split(64)]).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    cv2.setNumThreads(1)
    codes = np.load(arguments.pool / "codes.npy")
    centre = codes.mean(axis=0)
    unit = float(np.linalg.norm(codes - centre, axis=1).mean() / math.sqrt(CODE))
    batches = Batches(arguments.pool, arguments.batch, arguments.seed, centre, unit)
    held = {key: np.load(arguments.pool / f"held_{key}.npy") for key in ("crops", "codes", "ident")}
    teacher = verification(held["codes"] - centre, held["ident"])
    print(f"{len(codes)} pictures; the teacher's own area under the curve, held out: {teacher:.4f}", flush=True)

    net = IdentityNet().to(memory_format=torch.channels_last)
    print(f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters", flush=True)
    average = {key: value.clone() for key, value in net.state_dict().items()}
    averaged = IdentityNet()
    optimiser = torch.optim.AdamW(net.parameters(), arguments.rate, weight_decay=2e-2, fused=True)
    fast = multiplies_bfloat16()
    began, step, smooth, printed = time.monotonic(), 0, 0.0, time.monotonic()
    arguments.run.mkdir(parents=True, exist_ok=True)
    off_diagonal = ~torch.eye(arguments.batch, dtype=torch.bool)
    while True:
        progress = (time.monotonic() - began) / (arguments.minutes * 60)
        is_last = progress >= 1
        if is_last or time.monotonic() - printed > 180:
            printed = time.monotonic()
            averaged.load_state_dict(average)
            averaged.eval()
            found = encode(averaged, held["crops"])
            torch.save({"average": average, "step": step}, arguments.run / "identity.pt")
            near = F.cosine_similarity(torch.from_numpy(found), torch.from_numpy(held["codes"] - centre)).mean()
            area = verification(found, held["ident"])
            print(f"{progress:5.1%} step {step} loss {smooth:.3f} held out: {area:.4f} cosine {near:.3f}", flush=True)
        if is_last:
            break
        rate = arguments.rate * min(1.0, (step + 1) / 100) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.003)
        for group in optimiser.param_groups:
            group["lr"] = rate
        x, goal = batches.next(0.8 * min(1.0, 1.5 - progress))
        found = net(x.to(memory_format=torch.channels_last), fast)
        unit_found, unit_goal = F.normalize(found), F.normalize(goal)
        relation = (unit_found @ unit_found.T - unit_goal @ unit_goal.T)[off_diagonal]
        loss = F.mse_loss(found, goal) + 2 * (1 - (unit_found * unit_goal).sum(1)).mean() + 8 * relation.pow(2).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        step += 1
        smooth = smooth * 0.98 + loss.item() * 0.02 if step > 1 else loss.item()
        update_average(average, net, min(0.9995, (1 + step) / (20 + step)))


if __name__ == "__main__":
    main()
