"""Train the glasses network on a pool made by `glasses_pool.py`.

    python training/train_glasses.py GLASSES_POOL HELD_GLASSES_POOL RUN --minutes 40

It is the mask network with fewer channels, on a band around the eyes that it sees larger, and gives one number for a
pixel: how much of the face glasses hide there.
"""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from augment import Photometric
from glasses_pool import BAND, FINE
from loop import read_arguments, train
from train_masks import MaskNet

WIDTH, HEIGHT = BAND
WIDTHS = (12, 24, 40, 64)


def glasses_net() -> MaskNet:
    return MaskNet(WIDTHS, 1)


class Batches:
    """Bands as the renderer cuts them by the mesh, with some error."""

    def __init__(self, pool: Path, batch: int, seed: int) -> None:
        self.images = np.load(pool / "images.npy", mmap_mode="r")
        self.covers = np.load(pool / "covers.npy", mmap_mode="r")
        self.batch, self.rng = batch, np.random.default_rng(seed)
        self.photometric = Photometric(WIDTH, self.rng, has_occluders=False)

    def cut(self, k: int, jitter: float) -> tuple[np.ndarray, np.ndarray]:
        rng = self.rng
        angle, scale = rng.normal(0, 0.06) * jitter, FINE * math.exp(rng.normal(0, 0.07) * jitter)
        c, s = math.cos(angle) * scale, math.sin(angle) * scale
        pool_from_band = np.array([[c, -s, 0], [s, c, 0]], np.float32)
        rows, columns = self.covers[k].shape
        middle = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2])
        there = np.array([(columns - 1) / 2, (rows - 1) / 2]) + rng.normal(0, 4, 2) * jitter
        pool_from_band[:, 2] = there - pool_from_band[:, :2] @ middle
        images = (cv2.GaussianBlur(np.asarray(one), (0, 0), 0.5) for one in (self.images[k], self.covers[k]))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        pixels, cover = (
            cv2.warpAffine(one, pool_from_band, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REPLICATE)
            for one in images
        )
        return pixels, cover

    def next(self, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
        cuts = [self.cut(int(k), 1.0) for k in self.rng.integers(0, len(self.images), self.batch)]
        x, covers = tensors(cuts)
        mirrored = torch.from_numpy(self.rng.random(self.batch) < 0.5)
        x[mirrored], covers[mirrored] = x[mirrored].flip(3), covers[mirrored].flip(2)
        # What changes pictures works on squares.
        square = F.pad(x, (0, 0, (WIDTH - HEIGHT) // 2, (WIDTH - HEIGHT) // 2), mode="replicate")
        changed = self.photometric(square, strength)
        top = (WIDTH - HEIGHT) // 2
        return changed[:, :, top : top + HEIGHT].contiguous(), covers


def tensors(cuts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 3, H, W) RGB and (N, H, W), from 0 to 1."""
    x = torch.from_numpy(np.stack([p for p, _ in cuts])[..., ::-1].copy()).permute(0, 3, 1, 2).float().div_(255)
    return x, torch.from_numpy(np.stack([m for _, m in cuts])).float().div_(255)


def evaluate(net: nn.Module, pool: Path) -> dict[str, float]:
    """Held-out people: what is drawn and found over what is drawn or found, and what is found where nothing is."""
    batches = Batches(pool, 1, 5)
    hits = unions = found_in_vain = bare = 0.0
    for k in range(0, len(batches.images), 50):
        x, covers = tensors([batches.cut(i, 0.4) for i in range(k, min(k + 50, len(batches.images)))])
        with torch.no_grad():
            found = torch.sigmoid(net(x * 2 - 1)[:, 0]) > 0.5
        drawn = covers > 0.5
        hits += float((found & drawn).sum())
        unions += float((found | drawn).sum())
        none = covers.flatten(1).amax(1) < 0.05
        found_in_vain += float(found[none].float().mean(dim=(1, 2)).sum())
        bare += float(none.sum())
    return {"glasses": hits / unions, "found where none are": found_in_vain / max(bare, 1)}


def main() -> None:
    arguments = read_arguments(__doc__, "the weights of another run")
    batches, net = Batches(arguments.pool, arguments.batch, arguments.seed), glasses_net()
    if arguments.start:
        net.load_state_dict(torch.load(arguments.start)["average"])

    def loss_of(net: nn.Module, progress: float, fast: bool) -> torch.Tensor:
        x, covers = batches.next(min(1.0, 1.3 - 0.5 * progress))
        found = net(x.to(memory_format=torch.channels_last), fast)[:, 0]
        # Thin frames are few pixels, so they count more.
        return F.binary_cross_entropy_with_logits(found, covers, pos_weight=torch.tensor(2.0))

    train(net, glasses_net(), arguments, loss_of, evaluate, "glasses.pt", memory=0.999, digits=4)


if __name__ == "__main__":
    main()
