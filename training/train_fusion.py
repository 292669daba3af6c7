"""Train the fusion network on pairs made by `fusion_pool.py`.

    python training/train_fusion.py POOL HELD_POOL RUN --minutes 30

It sees the swapped face, its mask and the target with the inside of the face blurred away, so that it can learn light
and colour but not who the target is. What it may change is as narrow: a smooth field of gains and offsets for the
colours, and a mask that can only shrink. The plain blend is the yardstick: the same pairs without the network.
"""

from __future__ import annotations

import argparse
import math
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from augment import multiplies_bfloat16, update_average

SIDE = 128
FIELD = 8
"""Side of the field of gains and offsets: a sixth of a face is the least it can tell apart. With 32 the network learnt
to paint the target's features back: true to the frame, and the source was gone."""
HIDDEN_PX = 12.0
"""Blur of the target inside the face, pixels of 128: wider than eyes and mouth."""


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


class FusionNet(nn.Module):
    """(N, 10, 128, 128): swapped face, target outside of it, blurred target, mask -> field and mask.

    Returns
    -------
    (N, 6, 8, 8) logarithm of gains, and offsets; (N, 1, 64, 64) share of the mask that is kept where it is soft.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (24, 48, 80, 112, 144)
        self.down = nn.ModuleList(
            nn.Sequential(block(a, b, 2), *(Residual(b) for _ in range(count)))
            for a, b, count in zip((10, *widths[:-1]), widths, (0, 1, 2, 2, 2), strict=True)
        )
        self.reduce = nn.ModuleList(
            nn.Sequential(nn.Conv2d(b, a, 1, bias=False), nn.BatchNorm2d(a)) for a, b in pairwise(widths)
        )
        self.join = nn.ModuleList(Residual(a) for a in widths[:-1])
        self.field = nn.Conv2d(widths[1], 6, 3, 1, 1)
        self.keep = nn.Conv2d(widths[0], 1, 3, 1, 1)
        nn.init.zeros_(self.field.weight)
        nn.init.zeros_(self.field.bias)
        nn.init.zeros_(self.keep.weight)
        nn.init.constant_(self.keep.bias, 3.0)

    def forward(self, x: torch.Tensor, fast: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            levels = []
            for stage in self.down:
                x = stage(x)
                levels.append(x)
            field = x
            for k in range(len(self.join) - 1, -1, -1):
                x = F.interpolate(self.reduce[k](x), scale_factor=2.0, mode="nearest")
                x = self.join[k](x + levels[k])
                if k == 1:
                    field = self.field(x)
            field = F.avg_pool2d(field.float(), field.shape[-1] // FIELD)
            return torch.tanh(field * 0.5) * 0.6, torch.sigmoid(self.keep(x).float())


def gauss(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of (N, 3, H, W) with a repeated border."""
    radius = int(sigma * 2.5)
    at = torch.arange(-radius, radius + 1).float()
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    x = F.pad(x, (radius,) * 4, mode="replicate")
    x = F.conv2d(x, kernel.view(1, 1, 1, -1).expand(3, 1, 1, -1), groups=3)
    return F.conv2d(x, kernel.view(1, 1, -1, 1).expand(3, 1, -1, 1), groups=3)


def prepare(
    over: torch.Tensor, alpha: torch.Tensor, target: torch.Tensor, blurred: torch.Tensor | None = None
) -> torch.Tensor:
    """Inputs of the network from pictures and masks of 0 to 1."""
    blurred = gauss(target, HIDDEN_PX) if blurred is None else blurred
    return torch.cat([over, target * (1 - alpha), blurred, alpha], dim=1) * 2 - 1


def fuse(
    over: torch.Tensor, alpha: torch.Tensor, target: torch.Tensor, field: torch.Tensor, keep: torch.Tensor
) -> torch.Tensor:
    """The picture after blending; all from 0 to 1."""
    field = F.interpolate(field, size=over.shape[-2:], mode="bilinear", align_corners=False)
    keep = F.interpolate(keep, size=over.shape[-2:], mode="bilinear", align_corners=False)
    changed = (over * torch.exp(field[:, :3]) + 0.25 * field[:, 3:]).clamp(0, 1)
    # Only the soft edge may shrink; a network that may thin out the whole face gives the old one back.
    share = alpha * (1 - (1 - keep) * ((0.9 - alpha) / 0.4).clamp(0, 1))
    return target + (changed - target) * share


def loss_of(found: torch.Tensor, goal: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Difference of colours, at three scales, and of edges, where the mask is or was."""
    total = found.new_zeros(())
    for k in range(3):
        total = total + ((found - goal).abs() * weight).sum() / (weight.sum() * 3 + 1)
        dx = (found - goal)[..., 1:] - (found - goal)[..., :-1]
        dy = (found - goal)[..., 1:, :] - (found - goal)[..., :-1, :]
        total = total + 0.5 * ((dx.abs() * weight[..., 1:]).sum() + (dy.abs() * weight[..., 1:, :]).sum()) / (
            weight.sum() * 3 + 1
        )
        if k < 2:
            found, goal, weight = (F.avg_pool2d(v, 2) for v in (found, goal, weight))
    return total


class Pairs:
    def __init__(self, pool: Path, seed: int = 0) -> None:
        self.over, self.alpha, self.target = (
            np.load(pool / f"{n}.npy", mmap_mode="r") for n in ("over", "alpha", "target")
        )
        ident = np.load(pool / "ident.npy")
        counts = {int(k): int((ident == k).sum()) for k in np.unique(ident)}
        chance = np.array([counts[int(k)] ** -0.6 for k in ident])
        self.chance = chance / chance.sum()
        self.rng = np.random.default_rng(seed)

    def take(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        over, target = (
            torch.from_numpy(np.stack([a[k] for k in rows])).permute(0, 3, 1, 2).float() / 255
            for a in (self.over, self.target)
        )
        return over, torch.from_numpy(np.stack([self.alpha[k] for k in rows]))[:, None].float() / 255, target

    def batch(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        over, alpha, target = self.take(self.rng.choice(len(self.over), count, p=self.chance))
        mirrored = torch.from_numpy(self.rng.random(count) < 0.5)
        for x in (over, alpha, target):
            x[mirrored] = x[mirrored].flip(3)
        # The swap may still be off in colour: more of what there is to put right.
        tint = torch.from_numpy(np.exp(self.rng.normal(0, 0.06, (count, 3, 1, 1))).astype(np.float32))
        return (over * tint).clamp(0, 1), alpha, target


def lab(rgb: torch.Tensor) -> np.ndarray:
    pixels = rgb.permute(0, 2, 3, 1).numpy().astype(np.float32)
    return np.stack([cv2.cvtColor(np.ascontiguousarray(p), cv2.COLOR_RGB2LAB) for p in pixels])


def evaluate(net, pool: Path, prepare=prepare) -> dict[str, tuple[float, float]]:
    """CIE76 distance from the true frame inside the mask and at its rim, and loss: plain blend, fused."""
    pairs = Pairs(pool)
    rows: dict[str, list[tuple[float, float]]] = {"inside": [], "rim": [], "loss": []}
    for start in range(0, len(pairs.over), 32):
        over, alpha, target = pairs.take(np.arange(start, min(start + 32, len(pairs.over))))
        with torch.no_grad():
            found = prepare(over, alpha, target)
            field, keep = net(*found) if isinstance(found, tuple) else net(found)
        both = target + (over - target) * alpha, fuse(over, alpha, target, field, keep)
        truth = lab(target)
        masks = (alpha > 0.5).numpy()[:, 0], ((alpha > 0.02) & (alpha < 0.5)).numpy()[:, 0]
        distances = [np.linalg.norm(lab(x) - truth, axis=-1) for x in both]
        for k in range(len(over)):
            for name, mask in zip(("inside", "rim"), masks, strict=True):
                if mask[k].sum() > 16:
                    rows[name].append(tuple(float(d[k][mask[k]].mean()) for d in distances))
            rows["loss"].append(tuple(float(loss_of(x[k : k + 1], target[k : k + 1], alpha[k : k + 1])) for x in both))
    return {name: tuple(np.mean(values, axis=0)) for name, values in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("pool", "held", "run"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--start", type=Path, help="continue from the weights of another run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cv2.setNumThreads(1)
    pairs = Pairs(arguments.pool)
    net = FusionNet()
    if arguments.start:
        net.load_state_dict(torch.load(arguments.start)["average"])
    net = net.to(memory_format=torch.channels_last)
    print(f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters, {len(pairs.over)} pairs", flush=True)
    average = {key: value.clone() for key, value in net.state_dict().items()}
    averaged = FusionNet()
    optimiser = torch.optim.AdamW(net.parameters(), arguments.rate, weight_decay=2e-2, fused=True)
    fast = multiplies_bfloat16()
    began, step, smooth, printed = time.monotonic(), 0, 0.0, -1e9
    arguments.run.mkdir(parents=True, exist_ok=True)
    while True:
        progress = (time.monotonic() - began) / (arguments.minutes * 60)
        is_last = progress >= 1
        if is_last or time.monotonic() - printed > 180:
            printed = time.monotonic()
            averaged.load_state_dict(average)
            averaged.eval()
            figures = evaluate(averaged, arguments.held)
            torch.save({"average": average, "step": step}, arguments.run / "fusion.pt")
            shown = " ".join(f"{key} {a:.4f} -> {b:.4f}" for key, (a, b) in figures.items())
            print(f"{progress:5.1%} step {step} loss {smooth:.4f} held out: {shown}", flush=True)
        if is_last:
            break
        rate = arguments.rate * min(1.0, (step + 1) / 100) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.003)
        for group in optimiser.param_groups:
            group["lr"] = rate
        over, alpha, target = pairs.batch(arguments.batch)
        field, keep = net(prepare(over, alpha, target).to(memory_format=torch.channels_last), fast)
        found = fuse(over, alpha, target, field, keep)
        # A mask that is gone makes no mistakes: keeping it is worth something, as is a field that does little.
        lost = (alpha * (1 - F.interpolate(keep, size=SIDE, mode="bilinear"))).sum() / (alpha.sum() + 1)
        rough = (field[..., 1:] - field[..., :-1]).pow(2).mean() + (field[..., 1:, :] - field[..., :-1, :]).pow(
            2
        ).mean()
        loss = loss_of(found, target, alpha) + 0.15 * lost + 2.0 * rough
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        step += 1
        smooth = smooth * 0.98 + loss.item() * 0.02 if step > 1 else loss.item()
        update_average(average, net, min(0.999, (1 + step) / (20 + step)))


if __name__ == "__main__":
    main()
