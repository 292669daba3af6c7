"""Train the network that looks closely at eyes and mouths, on pools made by `feature_pool.py`.

    python training/train_features.py POOL HELD RUN --minutes 40

Writes RUN/features.pt and prints figures of the people held out as they change: how well the opening of lids and lips
and the gaze agree with the labels (correlation), and how far points are off in pixels of the crop. Export with
`export_models.py`. One thread.

Method: two small networks without shared weights, points by regression from crops that the mesh has aligned, as in
Grishchenko et al., Attention Mesh, 2020; a smooth L1 loss on points, and on the differences that expressions are made of
(lid to lid, lip to lip, iris to corner).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn
from torch.nn import functional as F

from augment import Photometric
from face_pool import ROOT
from feature_pool import MARGIN
from loop import read_arguments, train
from train_mesh import POINTS, Residual, block

sys.path.insert(0, str(ROOT / "src"))
from facefusion.imaging import align
from facefusion.types import topology as names

TOPOLOGY = load_file(ROOT / "src/facefusion/models/embedded/face_mesh.safetensors")
EYE_SIDE, MOUTH_SIDE = 64, 80
INNER, OUTER = 0.8, 0.97
"""Distance from the middle of a crop, over half its side, up to which its points count whole and from which not at all."""
BESIDE = 0.5
"""Share of points that are neither lid, iris, brow nor lip: there the mesh sees as well, and the mean of both is best."""
FINE = {
    "eye": {*names.LEFT_EYE, *names.LEFT_BROW, *range(468, 473)},
    "mouth": {*names.LIPS_INNER, *names.LIPS_OUTER},
}
LIDS = ((159, 145), (158, 153), (160, 144), (157, 154), (161, 163))
GAZE = ((468, 33), (468, 133), (468, 159), (468, 145))
BROWS = ((105, 159), (66, 158), (63, 160))
LIPS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (0, 17), (61, 291), (0, 13), (14, 17))
JAW = ((17, 152), (2, 0))


def point_weights(crop: str) -> np.ndarray:
    """(478,) share of a crop's points in the mesh, by where they lie in the mean face."""
    mean = TOPOLOGY["mean"]
    cut = align.eye_crop if crop == "eye" else align.mouth_crop
    at = align.transform(cut(mean, 2), mean[:, :2]) - 0.5  # -1 to 1 over the crop
    away = np.abs(at).max(axis=1)
    share = np.clip((OUTER - away) / (OUTER - INNER), 0, 1)
    share[473:] = 0.0  # the other iris
    if crop == "mouth":
        share[468:] = 0.0
    share = share * share * (3 - 2 * share)
    beside = [k for k in range(POINTS) if k not in FINE[crop]]
    share[beside] *= BESIDE
    return np.asarray(share, np.float32)


class PartNet(nn.Module):
    """An RGB crop in [-1, 1] -> points in crop pixels."""

    def __init__(self, side: int, count: int, start: np.ndarray) -> None:
        super().__init__()
        self.side, self.count = side, count
        self.trunk = nn.Sequential(
            block(3, 16, 2), block(16, 32, 2), Residual(32), block(32, 64, 2), Residual(64), block(64, 96, 2), Residual(96)
        )  # fmt: skip
        self.squeeze = nn.Sequential(nn.Conv2d(96, 40, 1, bias=False), nn.BatchNorm2d(40), nn.ReLU(inplace=True))
        self.hidden = nn.Sequential(nn.Linear(40 * (side // 16) ** 2, 224), nn.ReLU(inplace=True))
        self.points = nn.Linear(224, count * 2)
        with torch.no_grad():
            self.points.weight.mul_(0.1)
            self.points.bias.copy_(torch.from_numpy(start.reshape(-1)) / side)

    def forward(self, x: torch.Tensor, fast: bool = False) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            squeezed = self.squeeze(self.trunk(x))
        return self.points(self.hidden(squeezed.float().flatten(1))).view(-1, self.count, 2) * self.side


class FeatureNet(nn.Module):
    """Crops of eyes (those on the right mirrored) and of mouths -> all points of the mesh: x and y in crop pixels, and their share."""

    def __init__(self) -> None:
        super().__init__()
        mean = TOPOLOGY["mean"]
        for name, side, cut in (("eye", EYE_SIDE, align.eye_crop), ("mouth", MOUTH_SIDE, align.mouth_crop)):
            share = point_weights(name)
            rows = np.flatnonzero(share > 0)
            start = align.transform(cut(mean, side), mean[:, :2])[rows].astype(np.float32)
            self.register_buffer(f"{name}_rows", torch.from_numpy(rows))
            self.register_buffer(f"{name}_share", torch.from_numpy(share))
            setattr(self, name, PartNet(side, len(rows), start))

    def forward(self, eyes: torch.Tensor, mouths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Shares go with the points: runtimes other than the CPU's know no outputs that are constants.
        return tuple(
            torch.cat([spread_out(net(crops), rows), share[None, :, None].expand(crops.shape[0], -1, 1)], dim=2)
            for net, crops, rows, share in (
                (self.eye, eyes, self.eye_rows, self.eye_share),
                (self.mouth, mouths, self.mouth_rows, self.mouth_share),
            )
        )


class Patches:
    """Crops of one kind out of patches, a little off, as the mesh will cut them."""

    def __init__(self, pool: Path, name: str, side: int, seed: int) -> None:
        self.images = torch.from_numpy(np.load(pool / f"{name}_images.npy"))
        self.points = torch.from_numpy(np.load(pool / f"{name}_points.npy"))
        self.weights = np.load(pool / f"{name}_weights.npy")
        self.side, self.rng = side, np.random.default_rng(seed)
        self.photometric = Photometric(side, self.rng)
        self.is_mirrored_too = name == "mouths"
        self.flip = torch.from_numpy(TOPOLOGY["flip"].astype(np.int64))

    def cut(self, chosen: np.ndarray, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, S, S) RGB crops from 0 to 1 and (N, 478, 2) points in their pixels."""
        n, rng, size = len(chosen), self.rng, self.images.shape[1]
        wide = np.where(rng.random(n) < 0.25, 2.5, 1.0)[:, None] * strength
        spread = np.array([0.022, 0.022, 0.035, 0.03])
        off = torch.from_numpy((rng.standard_normal((n, 4)) * spread * wide).astype(np.float32))
        scale = size / MARGIN / self.side * torch.exp(off[:, 2])
        c, s = off[:, 3].cos() * scale, off[:, 3].sin() * scale
        linear = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)  # patch from crop
        centre = (size - 1) / 2 + off[:, :2] * size / MARGIN
        grid = torch.einsum("nij,hwj->nhwi", linear, self.photometric.offsets) + centre[:, None, None]
        goal = torch.einsum("nij,nkj->nki", torch.linalg.inv(linear), self.points[chosen] - centre[:, None])
        goal = goal + (self.side - 1) / 2
        pixels = self.images[chosen].permute(0, 3, 1, 2).flip(1).float().div_(255.0)  # pools are BGR
        crop = F.grid_sample(pixels, grid * (2 / (size - 1)) - 1, padding_mode="border", align_corners=True)
        return crop, goal

    def next(self, count: int, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Crops from -1 to 1 and points of a batch, changed in light, sharpness and cover."""
        crop, goal = self.cut(self.rng.choice(len(self.images), count, p=self.weights), 1.0)
        if self.is_mirrored_too:
            turned = torch.from_numpy(self.rng.random(count) < 0.5)
            crop[turned] = crop[turned].flip(3)
            other = goal[turned][:, self.flip]
            other[..., 0] = self.side - 1 - other[..., 0]
            goal[turned] = other
        low = np.flatnonzero(self.rng.random(count) < 0.35 * strength)
        if len(low):
            small = int(self.rng.integers(self.side // 5, self.side))
            shrunk = F.interpolate(crop[low], size=(small, small), mode="bilinear", antialias=True)
            crop[low] = F.interpolate(shrunk, size=(self.side, self.side), mode="bilinear", align_corners=False)
        return self.photometric(crop, 0.7 * strength), goal


def pairs_of(points: torch.Tensor, pairs: tuple[tuple[int, int], ...]) -> torch.Tensor:
    """(N, P, 2) differences of pairs of points."""
    one, other = zip(*pairs, strict=True)
    return points[:, list(one)] - points[:, list(other)]


def spread_out(found: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return torch.zeros(found.shape[0], POINTS, 2).index_copy(1, rows, found)


def load_held(pool: Path) -> dict[str, Patches]:
    """Patches of people who are held out."""
    return {name: Patches(pool, name, side, 5) for name, side in (("eyes", EYE_SIDE), ("mouths", MOUTH_SIDE))}


def figures_of(look: Callable[[str, torch.Tensor], torch.Tensor], held: dict[str, Patches]) -> dict[str, float]:
    """How well what is seen in crops that are a little off agrees with the labels.

    Parameters
    ----------
    look
        Gives (N, 478, 2) points in crop pixels of ``eyes`` or ``mouths``, of (N, 3, S, S) crops from -1 to 1.
    held
        As of `load_held`.
    """
    figures = {"faces": float(len(held["mouths"].images))}
    for name, pool in held.items():
        pool.rng = np.random.default_rng(3)
        rows = np.flatnonzero(point_weights(name.removesuffix("s")))
        found, goal = [], []
        for part in np.array_split(np.arange(len(pool.images)), math.ceil(len(pool.images) / 128)):
            crop, at = pool.cut(part, 0.7)
            found.append(look(name, crop.mul(2).sub(1)))
            goal.append(at)
        one, other = torch.cat(found), torch.cat(goal)
        figures[f"{name}_px"] = float((one - other)[:, rows].norm(dim=2).mean())
        for what, pairs in (("lids", LIDS[:2]), ("gaze", GAZE[:2])) if name == "eyes" else (("lips", LIPS[:3]),):
            axis = 0 if what == "gaze" else 1
            a, b = (pairs_of(p, pairs)[..., axis].mean(dim=1) for p in (one, other))
            figures[f"{what}_r"] = float(torch.corrcoef(torch.stack([a, b]))[0, 1])
            figures[f"{what}_slope"] = float(((a - a.mean()) * (b - b.mean())).sum() / ((b - b.mean()) ** 2).sum())
    return figures


def main() -> None:
    arguments = read_arguments(__doc__ or "", "the weights of another run")
    eyes = Patches(arguments.pool, "eyes", EYE_SIDE, arguments.seed)
    mouths = Patches(arguments.pool, "mouths", MOUTH_SIDE, arguments.seed + 1)
    held = load_held(arguments.held)
    net, averaged = FeatureNet(), FeatureNet()
    if arguments.start:
        net.load_state_dict(torch.load(arguments.start)["average"])
    weight = {}
    for name, fine in (("eye", (*range(468, 473), 33, 133)), ("mouth", (61, 291))):
        rows = getattr(net, f"{name}_rows")
        own = getattr(net, f"{name}_share").clamp(min=0.15)
        lines = LIDS if name == "eye" else LIPS
        own[sorted({*fine, *(k for pair in lines for k in pair)})] *= 2.0
        weight[name] = (own / own[rows].mean())[rows][None, :, None]

    def loss_of(net: nn.Module, progress: float, fast: bool) -> torch.Tensor:
        strength = min(1.0, 1.4 - progress)
        loss = torch.zeros(())
        for name, pool, lines in (("eye", eyes, (LIDS, GAZE, BROWS)), ("mouth", mouths, (LIPS, JAW))):
            crop, goal = pool.next(arguments.batch, strength)
            rows = getattr(net, f"{name}_rows")
            found = getattr(net, name)(crop.to(memory_format=torch.channels_last), fast)
            loss = loss + (F.smooth_l1_loss(found, goal[:, rows], beta=0.5, reduction="none") * weight[name]).mean()
            whole = spread_out(found, rows)
            for pairs in lines:
                loss = loss + F.smooth_l1_loss(pairs_of(whole, pairs), pairs_of(goal, pairs), beta=0.5)
        return loss

    def measure(net: nn.Module, _: Path) -> dict[str, float]:
        def look(name: str, crops: torch.Tensor) -> torch.Tensor:
            part = name.removesuffix("s")
            return spread_out(getattr(net, part)(crops), getattr(net, f"{part}_rows"))

        with torch.no_grad():
            return figures_of(look, held)

    train(net, averaged, arguments, loss_of, measure, "features.pt", 0.999)


if __name__ == "__main__":
    main()
