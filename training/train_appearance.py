"""Train the appearance network: spoiled textures of faces back into clean ones.

    python training/train_appearance.py POOL.npz RUN --minutes 8

POOL.npz is what `appearance_pool.py` makes. Everything happens in the texture plane, where all faces are aligned. Clean
textures are the photos' own, without their light, with what does not fit a statistical model of faces left out of the
loss, and with the broad tones of the person's other photos. What spoils them is drawn: things before the face (those of
`mask_pool.py`, unwrapped as a photo would be), shadows that the mesh casts on itself, other shadows, flash, folds,
blur, blocks of JPEG, and the halves that a turned head does not show. The light is then taken out as the product does.

People with ``ident % 7 == 3`` are held out.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn
from torch.nn import functional as F

import facefusion
from augment import update_average
from face_pool import fit_box, turn
from facefusion.imaging.face_map import CELLS, plain_skin
from facefusion.imaging.mesh import rasterise, triangle_affines, warp_map
from facefusion.imaging.texture import _hidden, build_plane, facing, inner_distance, ring_extended, unwrap
from facefusion.types.topology import FACE_OVAL, LEFT_BROW, LEFT_EYE, LIPS_INNER, RIGHT_BROW, RIGHT_EYE
from mask_pool import DRAWN, Painter, fixed

SIDE = 192
SIGMA = 3.4
OFFSET = 0.004
LOW, HIGH = -2.6, 1.4
"""Limits of a texture's logarithm without its light."""
COMPONENTS = 100

# ---------------------------------------------------------------------------------------------------------------------
# The network


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


class AppearanceNet(nn.Module):
    """(N, 5, 192, 192): texture without light, how squarely it was seen, chance that it is covered -> clean texture
    and how far its fine detail is the person's own.

    The mirrored texture comes in as well: half of a face says much about the other.
    """

    def __init__(self, mean: torch.Tensor) -> None:
        super().__init__()
        widths = (24, 44, 64, 96, 128, 144)
        self.register_buffer("mean", mean)
        ramp = torch.linspace(-1, 1, SIDE)
        place = torch.stack([ramp.view(1, -1).expand(SIDE, SIDE), ramp.view(-1, 1).expand(SIDE, SIDE)])
        self.register_buffer("place", place[None].clone())
        self.first = block(13, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(block(a, b, 2), *(Residual(b) for _ in range(count)))
            for a, b, count in zip(widths[:-1], widths[1:], (1, 2, 2, 2, 2), strict=True)
        )
        self.where = nn.Parameter(torch.zeros(1, widths[2], SIDE // 4, SIDE // 4))
        self.reduce = nn.ModuleList(
            nn.Sequential(nn.Conv2d(b, a, 1, bias=False), nn.BatchNorm2d(a)) for a, b in pairwise(widths)
        )
        self.join = nn.ModuleList(nn.Sequential(Residual(a), Residual(a)) for a in widths[:-1])
        self.last = nn.Conv2d(widths[0], 5, 3, 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        detail, seen = image[:, :3], image[:, 3:]
        visible = (seen[:, :1] * 12).clamp(0, 1) * (1 - seen[:, 1:])
        own = (detail - self.mean) * visible
        both = torch.cat([own, seen], 1)
        shape = (image.shape[0], 2, SIDE, SIDE)
        x = self.first(torch.cat([both, both.flip(3), self.place.expand(shape), visible], 1))
        levels = [x]
        for k, stage in enumerate(self.down):
            x = stage(x)
            if k == 1:
                x = x + self.where
            levels.append(x)
        for k in range(len(self.join) - 1, -1, -1):
            x = F.interpolate(self.reduce[k](x), scale_factor=2.0, mode="nearest")
            x = self.join[k](x + levels[k])
        out = self.last(x)
        # Where the photo can be believed it passes by the network.
        gate = torch.sigmoid(out[:, 3:4]) * visible
        clean = self.mean + out[:, :3] * (1 - gate) + own * gate
        return clean, torch.sigmoid(out[:, 4:5] + 1) * visible


class Critic(nn.Module):
    """Tells patches of clean textures from completed ones."""

    def __init__(self) -> None:
        super().__init__()
        widths = (6, 48, 96, 128, 160)
        layers: list[nn.Module] = []
        for k, (a, b) in enumerate(pairwise(widths)):
            layers += [nn.utils.spectral_norm(nn.Conv2d(a, b, 4, 2 if k < 3 else 1, 1)), nn.LeakyReLU(0.2, True)]
        layers.append(nn.utils.spectral_norm(nn.Conv2d(widths[-1], 1, 4, 1, 1)))
        self.body = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        return self.body(torch.cat([x - mean, mean.expand_as(x)], 1))


# ---------------------------------------------------------------------------------------------------------------------
# Light


def to_linear(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def to_srgb(x: torch.Tensor) -> torch.Tensor:
    x = x.clamp(0, 1)
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.clamp(min=1e-6) ** (1 / 2.4) - 0.055)


def to_log(srgb: torch.Tensor) -> torch.Tensor:
    return torch.log(to_linear(srgb) + OFFSET)


def kernel_of(sigma: float, device: torch.device) -> torch.Tensor:
    radius = max(int(sigma * 3 + 0.5), 1)
    at = torch.arange(-radius, radius + 1, device=device).float()
    values = torch.exp(-(at**2) / (2 * sigma**2))
    return values / values.sum()


def gauss(x: torch.Tensor, sigma: float, across: bool = True, down: bool = True) -> torch.Tensor:
    kernel = kernel_of(sigma, x.device)
    radius, channels = len(kernel) // 2, x.shape[1]
    if across:
        x = F.conv2d(
            F.pad(x, (radius, radius, 0, 0), mode="replicate"),
            kernel.view(1, 1, 1, -1).repeat(channels, 1, 1, 1),
            groups=channels,
        )
    if down:
        x = F.conv2d(
            F.pad(x, (0, 0, radius, radius), mode="replicate"),
            kernel.view(1, 1, -1, 1).repeat(channels, 1, 1, 1),
            groups=channels,
        )
    return x


def enlarge(x: torch.Tensor, side: int = SIDE) -> torch.Tensor:
    return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


def estimate_shading(log: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`facefusion.imaging.light.estimate_shading` for a batch: (N, 3, G, G), (N, 1, G, G) -> the same shapes."""
    count, _, side, _ = log.shape
    ramp = torch.linspace(-1, 1, side, device=log.device)
    y, x = torch.meshgrid(ramp, ramp, indexing="ij")
    basis = torch.stack([torch.ones_like(x), x, y, x * y, x * x, y * y], -1).reshape(-1, 6)
    values = log.flatten(2).transpose(1, 2)
    base = weight.flatten(1)
    fit = base
    flat = torch.diag(torch.tensor([0.0, 1, 1, 3, 3, 3], device=log.device))
    ridge = flat * (0.02 * base.sum(1).clamp(min=1e-3))[:, None, None] + torch.eye(6, device=log.device) * 1e-4
    for _ in range(3):
        weighted = basis[None] * fit[..., None]
        system = weighted.transpose(1, 2) @ basis + ridge
        surface = basis @ torch.linalg.solve(system, weighted.transpose(1, 2) @ values)
        rest = values - surface
        light = rest.mean(2, keepdim=True)
        hue = (rest - light).abs().amax(2)
        trust = 1 / (1 + (light[..., 0] / 0.38) ** 4 + (hue / 0.28) ** 4)
        fit = base * trust
    rest = rest.transpose(1, 2).reshape(log.shape)
    sure = fit.reshape(count, 1, side, side)
    spread = gauss(rest * sure, SIGMA) / (gauss(sure, SIGMA) + 0.05)
    return surface.transpose(1, 2).reshape(log.shape) + spread, trust.reshape(count, 1, side, side)


def without_light(log: torch.Tensor, weight: torch.Tensor, skin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A texture without its light, and the light; weight is (N, 1, S, S)."""
    shading, _ = estimate_shading(F.adaptive_avg_pool2d(log, CELLS), skin * F.adaptive_avg_pool2d(weight, CELLS))
    wide = enlarge(shading)
    return (log - wide).clamp(LOW, HIGH), shading


# ---------------------------------------------------------------------------------------------------------------------
# The plane, and what is drawn


class Plane:
    """The swapper's texture plane at the network's size."""

    def __init__(self, topology: dict[str, np.ndarray]) -> None:
        triangles = np.concatenate([topology["skin"], topology["eyes"], topology["mouth"]])
        self.plane = build_plane(topology["mean"], triangles, np.array(FACE_OVAL, dtype=np.int32), SIDE)
        self.mean = topology["mean"]
        points = self.plane.points

        def inside(ring: tuple[int, ...]) -> np.ndarray:
            return inner_distance(points[list(ring)], SIDE)

        self.face = (inside(FACE_OVAL) > 1).astype(np.float32)
        holes = np.zeros_like(self.face)
        for ring in (LEFT_EYE, RIGHT_EYE, LIPS_INNER):
            holes = np.maximum(holes, np.clip(inside(ring) / 1.5, 0, 1))
        self.drawn = self.face * (1 - holes)
        self.skin = plain_skin(self.plane)
        # Where hair hangs over a face: forehead and temples, and its sides.
        rows, columns = np.mgrid[0:CELLS, 0:CELLS].astype(np.float32)
        side = np.abs(columns - (CELLS - 1) / 2) / (CELLS / 2)
        brows = points[[*LEFT_BROW, *RIGHT_BROW], 1].min() / SIDE * CELLS
        step = lambda x: np.clip(x, 0, 1) ** 2 * (3 - 2 * np.clip(x, 0, 1))  # noqa: E731
        forehead = step((brows + 0.5 - rows) / 3)
        temple = step((side - 0.62) / 0.15) * step((0.62 * CELLS - rows) / 6)
        self.hairy = np.maximum(np.maximum(forehead, temple), step((side - 0.5) / 0.14)).astype(np.float32)

    def unwrap(self, layers: np.ndarray, mesh: np.ndarray) -> np.ndarray:
        points = ring_extended(mesh.astype(np.float32), self.plane.oval)
        where = warp_map(self.plane.index_map, triangle_affines(self.plane.points, points, self.plane.triangles))
        return cv2.remap(layers, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def quality(self, mesh: np.ndarray, side: int) -> np.ndarray:
        points = ring_extended(mesh.astype(np.float32), self.plane.oval)
        hidden = _hidden(points, self.plane.triangles, side, side)
        seen = np.where(hidden, 0.0, np.clip(facing(points, self.plane.triangles), 0, 1)).astype(np.float32)
        return cv2.GaussianBlur(np.where(self.plane.index_map >= 0, seen[self.plane.index_map], 0), (0, 0), SIDE / 128)

    def normals_and_places(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """(side, side, 3) of the mean face, smooth."""
        points = ring_extended(self.mean, self.plane.oval)
        triangles = self.plane.triangles
        a, b, c = (points[triangles[:, k]] for k in range(3))
        normal = np.cross(c - a, b - a)
        of_point = np.zeros((len(points), 3))
        for k in range(3):
            np.add.at(of_point, triangles[:, k], normal)
        of_point /= np.linalg.norm(of_point, axis=1, keepdims=True) + 1e-9
        at = ((np.arange(side) + 0.5) * SIDE / side - 0.5).astype(np.float32)
        x, y = np.meshgrid(at, at)
        owner = self.plane.index_map[
            np.clip(y.round().astype(int), 0, SIDE - 1), np.clip(x.round().astype(int), 0, SIDE - 1)
        ]
        corners = triangles[np.maximum(owner, 0)]
        p = self.plane.points
        pa, pb, pc = (p[corners[..., k]] for k in range(3))
        total = (pb - pa)[..., 0] * (pc - pa)[..., 1] - (pb - pa)[..., 1] * (pc - pa)[..., 0] + 1e-9
        sb = ((x - pa[..., 0]) * (pc - pa)[..., 1] - (y - pa[..., 1]) * (pc - pa)[..., 0]) / total
        sc = ((pb - pa)[..., 0] * (y - pa[..., 1]) - (pb - pa)[..., 1] * (x - pa[..., 0])) / total
        shares = np.stack([1 - sb - sc, sb, sc], -1)[..., None]
        places = (points[corners] * shares).sum(2)
        normals = (of_point[corners] * shares).sum(2)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9
        if normals[side // 2, side // 2, 2] > 0:  # towards the camera is -z
            normals = -normals
        return normals.astype(np.float32), places.astype(np.float32)


LIGHTS = 160


def make_lights(plane: Plane, count: int = LIGHTS, side: int = 96) -> np.ndarray:
    """(K, 3, side, side) uint8: Lambert's cosine, what the face does not shade of itself, and a highlight."""
    rng = np.random.default_rng(1)
    normals, places = plane.normals_and_places(side)
    low, high = plane.mean[:468].min(0), plane.mean[:468].max(0)
    grid, spread = 128, 1.15
    centre, half = (low + high)[:2] / 2, (high - low)[:2].max() / 2 * spread
    points = ring_extended(plane.mean, plane.plane.oval)
    drawn = points.copy()
    drawn[:, :2] = ((points[:, :2] - centre) / half * 0.5 + 0.5) * (grid - 1)
    index = rasterise(drawn.astype(np.float32), plane.plane.triangles, grid, grid)
    depth = np.where(index >= 0, points[plane.plane.triangles][:, :, 2].mean(1)[index], 9.0).astype(np.float32)
    depth = cv2.GaussianBlur(np.minimum(depth, high[2] + 0.3), (0, 0), 0.8)
    found = []
    for _ in range(count):
        direction = np.array([rng.normal(0, 1), rng.normal(-0.35, 0.8), -rng.uniform(0.25, 1.6)])
        direction /= np.linalg.norm(direction)
        cosine = np.clip(normals @ direction, 0, 1)
        lit = np.ones((side, side), np.float32)
        for step in np.linspace(0.03, 1.1, 44):
            at = places + direction * step
            x, y = (((at[..., k] - centre[k]) / half * 0.5 + 0.5) * (grid - 1) for k in (0, 1))
            near = cv2.remap(
                depth,
                x.astype(np.float32),
                y.astype(np.float32),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
                borderValue=9,
            )
            lit = np.minimum(lit, np.clip(1 - (at[..., 2] - near - 0.02) / 0.03, 0, 1))
        halfway = direction + np.array([0, 0, -1])
        halfway /= np.linalg.norm(halfway)
        shine = np.clip(normals @ halfway, 0, 1) ** rng.uniform(12, 60)
        found.append(np.stack([cosine, cv2.GaussianBlur(lit, (0, 0), 0.7), shine]) * 255)
    return np.stack(found).astype(np.uint8)


class LayerPainter(Painter):
    """Keeps what is drawn apart from what it is drawn on: picture = photo * passes + added."""

    def __init__(self, mesh: np.ndarray, rng: np.random.Generator, patches: np.ndarray, side: int) -> None:
        skin = np.array([110.0, 140.0, 190.0])
        super().__init__(
            np.full((side, side, 3), skin, np.float32), mesh, rng, patches, np.full((1, side, side, 3), skin)
        )
        self.passes = np.ones((side, side), np.float32)
        self.added = np.zeros((side, side, 3), np.float32)
        self.covered = np.zeros((side, side), np.float32)
        self.is_skin = 0.0

    def skin_colour(self) -> np.ndarray:
        self.is_skin = float(self.rng.random() < 0.8)
        return np.array([110.0, 140.0, 190.0]) * self.rng.uniform(0.7, 1.25)

    def texture(self) -> np.ndarray:
        return np.clip(super().texture(), 0, 255)

    def lay(self, alpha: np.ndarray, colour: np.ndarray, name: str = "other", is_labelled: bool = True) -> None:
        alpha = np.clip(cv2.GaussianBlur(alpha, (0, 0), float(self.rng.uniform(0.4, 1.3))), 0, 1)
        if self.rng.random() < 0.6:
            shift = np.float32([[1, 0, self.rng.normal(0, 4)], [0, 1, abs(self.rng.normal(0, 4))]])
            soft = cv2.GaussianBlur(alpha, (0, 0), self.rng.uniform(1.2, 5))
            shade = 1 - cv2.warpAffine(soft, shift, alpha.shape[::-1]) * self.rng.uniform(0, 0.55)
            self.passes *= shade
            self.added *= shade[..., None]
        self.passes *= 1 - alpha
        self.added += (np.clip(colour, 0, 255) - self.added) * alpha[..., None]
        self.covered = 1 - (1 - self.covered) * (1 - alpha)

    def folds(self) -> None:
        """Lines of a wide expression: from the nose to the corners of the mouth, on the forehead, beside the eyes."""
        rng = self.rng
        mesh = self.mesh + rng.normal(0, 0.02, self.mesh.shape) * self.unit
        lines = [
            (129, 206, 216),
            (358, 426, 436),
            (129, 203, 216, 212),
            (358, 423, 436, 432),
            (70, 63, 105, 66, 107),
            (300, 293, 334, 296, 336),
            (54, 68, 69, 108, 151, 337, 299, 298, 284),
            (214, 210, 211, 32),
            (434, 430, 431, 262),
            (33, 226, 113),
            (263, 446, 342),
        ]
        shade = self.canvas()
        for k in rng.choice(len(lines), int(rng.integers(1, 6)), replace=False):
            thick = max(1, round(self.unit * rng.uniform(0.01, 0.06)))
            layer = self.canvas()
            cv2.polylines(
                layer,
                [fixed(mesh[list(lines[k])] + np.array([0, rng.normal(0, 0.06) * self.unit, 0]))],
                False,
                1.0,
                thick,
                cv2.LINE_AA,
                4,
            )
            shade = np.maximum(
                shade, cv2.GaussianBlur(layer, (0, 0), self.unit * rng.uniform(0.01, 0.05)) * rng.uniform(0.15, 0.7)
            )
        bright = 1 + cv2.GaussianBlur(shade, (0, 0), self.unit * 0.1) * rng.uniform(0, 0.5)
        self.passes *= (1 - shade) * bright

    def brim(self) -> None:
        """The hard or soft shadow of something that is not in the photo's face: a hat, a branch, a window."""
        rng = self.rng
        angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.6 else np.pi / 2 + rng.normal(0, 0.3)
        y, x = np.mgrid[0 : self.side, 0 : self.side].astype(np.float32)
        at = self.near_face(0.7)
        bend = cv2.resize(rng.normal(0, 1, (5, 5)).astype(np.float32), (self.side,) * 2, interpolation=cv2.INTER_CUBIC)
        across = (x - at[0]) * np.cos(angle) + (y - at[1]) * np.sin(angle) + bend * self.unit * rng.uniform(0, 0.5)
        shade = 1 / (1 + np.exp(np.clip(across / (self.unit * 10 ** rng.uniform(-1.9, -0.5)), -30, 30)))
        if rng.random() < 0.4:
            shade *= 1 / (
                1 + np.exp(np.clip(-(across + self.unit * rng.uniform(0.2, 1.2)) / (self.unit * 0.04), -30, 30))
            )
        factor = 1 - shade * rng.uniform(0.15, 0.75)
        self.passes *= factor
        self.added *= factor[..., None]


KINDS = (*((draw, share) for draw, share in DRAWN), (LayerPainter.folds, 0.16), (LayerPainter.brim, 0.2))

_STATE: dict[str, object] = {}


def _start(topology: dict[str, np.ndarray], meshes: np.ndarray, patches: np.ndarray) -> None:
    cv2.setNumThreads(1)
    _STATE.update(plane=Plane(topology), meshes=meshes, patches=patches)


def _draw(seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """One layer in the plane, (S, S, 5) uint8: passes, added RGB, covered; and how squarely a turned face is seen."""
    rng = np.random.default_rng([17, seed])
    plane, meshes, patches = _STATE["plane"], _STATE["meshes"], _STATE["patches"]
    mesh = meshes[rng.integers(len(meshes))].astype(np.float64)
    mesh = fit_box(
        turn(mesh, float(rng.normal(0, 12)), float(rng.normal(0, 7)), float(rng.normal(0, 6))),
        SIDE,
        rng.uniform(0.62, 0.85),
    )
    painter = LayerPainter(mesh.astype(np.float32), rng, patches, SIDE)
    chances = np.array([share for _, share in KINDS])
    for _ in range(1 + (rng.random() < 0.3)):
        KINDS[rng.choice(len(KINDS), p=chances / chances.sum())][0](painter)
    layers = np.dstack([painter.passes * 170, painter.added[..., ::-1], painter.covered * 255])
    drawn = plane.unwrap(np.clip(layers, 0, 255).astype(np.float32), mesh)
    other = meshes[rng.integers(len(meshes))].astype(np.float64)
    yaw = float(rng.uniform(5, 62) * rng.choice([-1, 1])) if rng.random() < 0.6 else float(rng.normal(0, 8))
    other = fit_box(turn(other, yaw, float(rng.normal(0, 8)), 0.0), SIDE, 0.8)
    seen = cv2.resize(plane.quality(other, SIDE), (96, 96), interpolation=cv2.INTER_AREA)
    return drawn.astype(np.uint8), (seen * 255).astype(np.uint8), painter.is_skin


def draw_layers(
    topology, meshes, patches, count: int, workers: int, first: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    layers = np.empty((count, 5, SIDE, SIDE), np.uint8)
    seen = np.empty((count, 96, 96), np.uint8)
    skin = np.empty(count, np.float32)
    with multiprocessing.get_context("fork").Pool(workers, _start, (topology, meshes, patches)) as pool:
        for k, (layer, quality, is_skin) in enumerate(pool.imap(_draw, range(first, first + count), 16)):
            layers[k], seen[k], skin[k] = layer.transpose(2, 0, 1), quality, is_skin
    return layers, seen, skin


# ---------------------------------------------------------------------------------------------------------------------
# Clean textures


class Model:
    """Principal components of clean textures at a third of the size, fitted robustly."""

    def __init__(self, detail: torch.Tensor, weight: torch.Tensor, face: torch.Tensor, count: int = COMPONENTS) -> None:
        """Detail (N, 3, S, S), weight (N,)."""
        small = F.adaptive_avg_pool2d(detail, 64)
        small = torch.cat([small, small.flip(3)])
        weight = torch.cat([weight, weight])
        self.face = (F.adaptive_avg_pool2d(face, 64) > 0.5).float()
        mean = (small * weight[:, None, None, None]).sum(0) / weight.sum()
        for _ in range(3):
            far = F.avg_pool2d((small - mean).abs().mean(1, keepdim=True), 3, 1, 1)
            trust = weight[:, None, None, None] / (1 + (far / (2.5 * (far.median(0)[0] + 0.05))) ** 2)
            mean = (trust * small).sum(0) / trust.sum(0)
        y = ((small - mean) * (trust / weight[:, None, None, None]) * self.face).flatten(1) * weight[:, None].sqrt()
        values, vectors = torch.linalg.eigh(y.double() @ y.double().T)
        values, vectors = values.flip(0)[:count].float(), vectors.flip(1)[:, :count].float()
        self.mean, self.var = mean, values / weight.sum()
        self.basis = (vectors.T @ y) / values.sqrt()[:, None]

    def fit(
        self, detail: torch.Tensor, known: torch.Tensor, rounds: int = 10, noise: float = 0.12
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The model's face and where the texture agrees with it, both at the full size."""
        small, visible = F.adaptive_avg_pool2d(detail, 64), F.adaptive_avg_pool2d(known, 64) * self.face
        y = (small - self.mean).flatten(1)
        trust = torch.ones_like(visible)
        for _ in range(rounds):
            weight = (visible * trust).expand(-1, 3, -1, -1).flatten(1)
            fits = []
            for row, w in zip(y, weight, strict=True):  # one by one: a batch of products would not fit
                a = self.basis * w
                fits.append(
                    torch.linalg.solve(
                        a @ self.basis.T / noise**2 + torch.diag(2 / self.var.clamp(min=1e-6)), a @ row / noise**2
                    )
                )
            c = torch.stack(fits)
            rest = gauss((y - c @ self.basis).view_as(small), 1.2).abs().amax(1, keepdim=True)
            middle = torch.stack(
                [r[v > 0.3].median() if (v > 0.3).any() else r.median() for r, v in zip(rest, visible, strict=True)]
            )
            spread = middle.clamp(max=0.14)[:, None, None, None] + 0.04
            trust = 1 / (1 + (rest / (2.0 * spread)) ** 2)
        return enlarge(self.mean + (c @ self.basis).view_as(small)), enlarge(trust)


def _unwrap(work: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    coded, mesh = work
    pixels = np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])
    texture, quality = unwrap(pixels, mesh, _STATE["plane"].plane)
    return texture, quality


def unwrap_all(topology, pool: dict[str, np.ndarray], workers: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, S, S, 3) uint8 textures and (N, S, S) float32 how squarely each part was seen."""
    work = [(pool["jpg"][a:b], mesh) for (a, b), mesh in zip(pairwise(pool["off"]), pool["mesh"], strict=True)]
    with multiprocessing.get_context("fork").Pool(workers, _start, (topology, pool["mesh"], pool["patches"])) as group:
        found = list(group.imap(_unwrap, work, 8))
    return np.stack([texture for texture, _ in found]), np.stack([quality for _, quality in found])


def make_clean(
    pool: dict[str, np.ndarray], pictures: np.ndarray, quality_of: np.ndarray, plane: Plane, device: torch.device
) -> dict[str, torch.Tensor]:
    """Clean textures with how far they can be believed."""
    face = torch.from_numpy(plane.face).to(device)[None, None]
    skin = torch.from_numpy(plane.skin).to(device)[None, None]
    hairy = torch.from_numpy(plane.hairy).to(device)[None, None]
    detail, light, seen, sharp, strange = [], [], [], [], []
    for k in range(0, len(pictures), 128):
        part = (
            torch.from_numpy(np.ascontiguousarray(pictures[k : k + 128])).to(device).permute(0, 3, 1, 2).float() / 255
        )
        quality = torch.from_numpy(quality_of[k : k + 128]).to(device)[:, None]
        log = to_log(part)
        d, s = without_light(log, (quality * 4).clamp(0, 1), skin)
        rest = F.adaptive_avg_pool2d(log, CELLS) - s
        dark = ((-rest.mean(1, keepdim=True) - 0.22) / 0.25).clamp(0, 1)
        tinged = (((rest - rest.mean(1, keepdim=True)).abs().amax(1, keepdim=True) - 0.2) / 0.2).clamp(0, 1)
        strange.append(enlarge((gauss(torch.maximum(dark, tinged) * hairy, 1.0) * 2).clamp(0, 1)))
        detail.append(d)
        light.append(s)
        seen.append(quality)
        grey = d.mean(1, keepdim=True)
        sharp.append((((grey - gauss(grey, 1.2)) * face) ** 2).mean((1, 2, 3)).sqrt())
    detail, light, seen, sharp, strange = (torch.cat(v) for v in (detail, light, seen, sharp, strange))
    ident = pool["ident"].astype(np.int64)
    person = np.where(ident > 0, ident, -1 - np.arange(len(ident)))
    counts = {int(p): int((person == p).sum()) for p in set(person.tolist())}
    weight = torch.tensor([1 / counts[int(p)] for p in person], device=device).float()
    is_plain = torch.from_numpy(~pool["covered"] & ~pool["held"]).to(device)
    model = Model(detail[is_plain], weight[is_plain], face)
    known = (seen * 3 - 0.3).clamp(0, 1)
    fitted = [model.fit(d, q) for d, q in zip(detail.split(64), known.split(64), strict=True)]
    fit, trust = (torch.cat([pair[k] for pair in fitted]) for k in (0, 1))
    believed = -F.max_pool2d(-((trust - 0.3) / 0.3).clamp(0, 1), 5, 1, 2) * known
    believed = gauss(believed, 1.5)
    mixed = detail * believed + fit * (1 - believed)
    # Hair over the face is not the face: in its place, plain skin with the tones that most have there.
    usual = gauss(enlarge(model.mean[None]), 2.0)
    mixed = mixed + ((usual + usual.flip(3)) / 2 - mixed) * strange
    believed = torch.maximum(believed, 0.7 * strange)
    clean = mixed.clone()
    for p in set(person.tolist()):
        rows = torch.from_numpy(np.flatnonzero(person == p)).to(device)
        if len(rows) >= 3:  # broad tones of all their photos: other light, other expressions
            w = believed[rows] + 0.05
            mean = (mixed[rows] * w).sum(0, keepdim=True) / w.sum(0, keepdim=True)
            clean[rows] += gauss(mean - mixed[rows], 5.0)
    wide = gauss(clean, 9.0)
    clean = clean + (wide.flip(3) - wide) * 0.45
    return {
        "clean": clean, "believed": believed, "light": light, "fit": fit, "detail": detail, "seen": seen,
        "strange": strange,
        "share": weight * (sharp / sharp.median()).clamp(0.35, 1.6) * (believed * face).mean((1, 2, 3)) ** 2,
        "model": model,
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Spoiling


class Spoiler:
    """Makes pairs of spoiled and clean textures on the device."""

    def __init__(
        self,
        clean: dict[str, torch.Tensor],
        rows: np.ndarray,
        layers,
        lights: np.ndarray,
        plane: Plane,
        device: torch.device,
        seed: int,
    ) -> None:
        self.clean = clean
        self.rows = torch.from_numpy(rows).to(device)
        self.chance = clean["share"][self.rows]
        self.layers, self.seen, self.is_skin = (torch.from_numpy(v).to(device) for v in layers)
        self.lights = torch.from_numpy(lights).to(device)
        self.face = torch.from_numpy(plane.face).to(device)[None, None]
        self.skin = torch.from_numpy(plane.skin).to(device)[None, None]
        self.drawn = torch.from_numpy(plane.drawn).to(device)[None, None]
        self.device = device
        self.g = torch.Generator(device).manual_seed(seed)
        at = (torch.arange(8, device=device).float() + 0.5) * math.pi / 8
        self.dct = torch.stack([torch.cos(at * k) * math.sqrt((1 if k == 0 else 2) / 8) for k in range(8)])

    def rand(self, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=self.g, device=self.device)

    def randn(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.g, device=self.device)

    def some(self, count: int, chance: float) -> torch.Tensor:
        return (self.rand(count, 1, 1, 1) < chance).float()

    def pick(self, count: int) -> torch.Tensor:
        return self.rows[torch.multinomial(self.chance, count, True, generator=self.g)]

    def flipped(self, x: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        return torch.where(which, x.flip(3), x)

    def draw(self, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Inputs (N, 5, S, S), clean (N, 3, S, S), how far it counts (N, 1, S, S), uncovered (N, 1, S, S)."""
        one, two = self.pick(n), self.pick(n)
        flip = self.rand(n, 1, 1, 1) < 0.5
        clean, counts = self.flipped(self.clean["clean"][one], flip), self.flipped(self.clean["believed"][one], flip)
        # A person between two: regions of one, the rest of the other.
        mix = enlarge(F.interpolate(self.randn(n, 1, 4, 4), size=(24, 24), mode="bicubic"))
        mix = torch.sigmoid(mix * 4 - 3 * self.rand(n, 1, 1, 1)) * self.some(n, 0.35)
        clean = clean + (self.clean["clean"][two] - clean) * mix
        counts = counts + (self.clean["believed"][two] - counts) * mix
        # Half of the photos keep what really was in them: hair, their own shadows, their own expression.
        is_raw = self.some(n, 0.5) * (1 - mix)
        raw = (self.flipped(self.clean["detail"][one], flip) - self.flipped(self.clean["clean"][one], flip)) * is_raw
        strange = self.flipped(self.clean["strange"][one], flip) * is_raw
        clean = clean * (1 + 0.12 * self.randn(n, 1, 1, 1)).clamp(0.7, 1.3)
        clean = clean + 0.03 * self.randn(n, 3, 1, 1) * (gauss(clean, 2.0) < -0.25).float()
        # Another shape, by a little.
        base = F.affine_grid(
            torch.eye(2, 3, device=self.device).expand(n, 2, 3), (n, 1, SIDE, SIDE), align_corners=False
        )
        shift = (
            enlarge(F.interpolate(self.randn(n, 2, 5, 5), size=(32, 32), mode="bicubic")) * 0.012 * self.some(n, 0.6)
        )
        both = F.grid_sample(
            torch.cat([clean, counts, raw, strange], 1),
            base + shift.permute(0, 2, 3, 1),
            padding_mode="border",
            align_corners=False,
        )
        clean, counts, raw, strange = both.split((3, 1, 3, 1), 1)

        light = self.clean["light"][self.pick(n)]
        log = clean + raw + enlarge(light) + 0.15 * self.randn(n, 1, 1, 1) + 0.06 * self.randn(n, 3, 1, 1)
        k = torch.randint(len(self.lights), (n,), generator=self.g, device=self.device)
        cosine, lit, shine = (enlarge(self.lights[k][:, c : c + 1].float() / 255) for c in range(3))
        soft = 10 ** (self.rand(1).item() * 1.1 - 0.2)
        lit = torch.where(self.rand(n, 1, 1, 1) < 0.5, lit, gauss(lit, max(soft, 0.5)))
        strength = self.rand(n, 1, 1, 1) ** 1.3 * self.some(n, 0.6)
        ambient = 1 - strength * (0.55 + 0.4 * self.rand(n, 1, 1, 1))
        tint = 1 + 0.12 * self.randn(n, 3, 1, 1) * strength
        lamp = ambient + strength * 1.6 * tint * cosine * (lit * self.some(n, 0.75) + (1 - self.some(n, 0.75))).clamp(
            0, 1
        )
        log = log + torch.log(lamp.clamp(min=0.03)) * (strength > 0)
        linear = torch.exp(log) - OFFSET
        linear = linear + shine * self.rand(n, 1, 1, 1) ** 2 * 0.9 * self.some(n, 0.35)
        linear = linear * torch.exp(0.35 * self.randn(n, 1, 1, 1))
        srgb = to_srgb(linear)

        uncovered = torch.ones(n, 1, SIDE, SIDE, device=self.device)
        true = torch.zeros_like(uncovered)
        tone = (srgb * self.face).sum((2, 3), keepdim=True) / self.face.sum()
        for chance in (0.72, 0.22):
            k = torch.randint(len(self.layers), (n,), generator=self.g, device=self.device)
            layer = self.flipped(self.layers[k].float(), self.rand(n, 1, 1, 1) < 0.5)
            is_used = self.some(n, chance)
            passes = 1 + (layer[:, :1] / 170 - 1) * is_used
            added = layer[:, 1:4] / 255 * is_used
            nominal = torch.tensor([190.0, 140, 110], device=self.device).view(1, 3, 1, 1) / 255
            ratio = tone / nominal * (1 + 0.08 * self.randn(n, 3, 1, 1))
            added = added * torch.where(self.is_skin[k].view(-1, 1, 1, 1) > 0, ratio, 1 + 0 * ratio)
            covered = layer[:, 4:] / 255 * is_used
            srgb = (srgb * passes + added).clamp(0, 1)
            true = torch.maximum(true, covered)
            uncovered = uncovered * (1 - covered)

        # The camera.
        is_low = self.rand(n, 1, 1, 1)
        for sigma in (0.6, 1.1, 2.0, 3.4):
            srgb = torch.where((is_low > 0.62) & (self.rand(n, 1, 1, 1) < 0.3), gauss(srgb, sigma), srgb)
        srgb = srgb + self.randn(n, 3, SIDE, SIDE) * 0.02 * self.rand(n, 1, 1, 1) ** 2
        step = 0.02 + 0.12 * self.rand(n, 1, 1, 1, 1, 1) ** 2
        blocks = srgb.reshape(n, 3, SIDE // 8, 8, SIDE // 8, 8)
        freq = torch.einsum("kx,nchxwy,ly->nchkwl", self.dct, blocks, self.dct)
        coarse = step * (
            1
            + torch.arange(8, device=self.device).view(1, 1, 1, 8, 1, 1) / 4
            + torch.arange(8, device=self.device).view(1, 1, 1, 1, 1, 8) / 4
        )
        coded = torch.einsum(
            "kx,nchkwl,ly->nchxwy", self.dct, torch.round(freq / coarse) * coarse, self.dct
        ).reshape_as(srgb)
        srgb = torch.where(self.rand(n, 1, 1, 1) < 0.3, coded, srgb)
        srgb = torch.round(srgb.clamp(0, 1) * 255) / 255

        k = torch.randint(len(self.seen), (n,), generator=self.g, device=self.device)
        seen = enlarge(self.seen[k][:, None].float() / 255)
        smeared = gauss(srgb, 3.0, down=False)
        srgb = srgb + (smeared - srgb) * ((0.45 - seen) / 0.3).clamp(0, 1)
        visible = (seen * 12).clamp(0, 1)

        # What the mask network would say: sometimes nothing, never exact, sometimes too much.
        said = true
        grow = self.rand(n, 1, 1, 1)
        said = torch.where(
            grow < 0.3, F.max_pool2d(said, 5, 1, 2), torch.where(grow > 0.75, -F.max_pool2d(-said, 3, 1, 1), said)
        )
        said = gauss(said, 1.6) * (0.55 + 0.45 * self.rand(n, 1, 1, 1))
        holes = torch.sigmoid(enlarge(F.interpolate(self.randn(n, 1, 6, 6), size=(24, 24), mode="bicubic")) * 6 + 3)
        said = said * torch.where(self.rand(n, 1, 1, 1) < 0.5, holes, 1 + 0 * holes) * self.some(n, 0.75)
        wrong = torch.sigmoid(enlarge(F.interpolate(self.randn(n, 1, 7, 7), size=(28, 28), mode="bicubic")) * 6 - 9)
        said = torch.maximum(said, wrong * self.some(n, 0.2) * self.rand(n, 1, 1, 1))

        log = to_log(srgb)
        detail, _ = without_light(log, visible * (1 - said), self.skin)
        inputs = torch.cat([detail * visible, seen, said], 1)
        # Fine detail is the person's own where nothing lies over it and the picture is not burnt out.
        burnt = (srgb.amax(1, keepdim=True) > 0.995).float()
        own = uncovered * visible * (1 - gauss(burnt, 1.0)) * (1 - strange)
        return inputs, clean, counts * self.face, own


def gradients(x: torch.Tensor) -> list[torch.Tensor]:
    return [x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]]


def loss_of(clean: torch.Tensor, goal: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean absolute difference, and that of the slopes at two sizes."""
    total = counts.sum() * 3 + 1
    value = ((clean - goal).abs() * counts).sum() / total
    slope = torch.zeros((), device=clean.device)
    difference, weight = clean - goal, counts
    for _ in range(2):
        for d, w in zip(gradients(difference), gradients_weight(weight), strict=True):
            slope = slope + (d.abs() * w).sum() / total
        difference, weight = F.avg_pool2d(difference, 2) * 1.4, F.avg_pool2d(weight, 2) * 1.4
    return value, slope


def gradients_weight(w: torch.Tensor) -> list[torch.Tensor]:
    return [torch.minimum(w[..., 1:], w[..., :-1]), torch.minimum(w[..., 1:, :], w[..., :-1, :])]


@torch.no_grad()
def evaluate(run, spoiler: Spoiler, batches: int = 8, size: int = 32) -> dict[str, float]:
    """Differences to the clean texture, in all and where it was covered, unseen or in order; and of leaving it."""
    spoiler.g.manual_seed(99)
    sums: dict[str, float] = {}
    for _ in range(batches):
        inputs, goal, counts, own = spoiler.draw(size)
        clean, trust = run(inputs)
        counts = counts * spoiler.drawn
        for part, where in (("all", counts), ("hidden", counts * (own < 0.3)), ("own", counts * (own > 0.9))):
            for name, value in (("net", clean), ("left", inputs[:, :3])):
                v, s = loss_of(value, goal, where)
                sums[f"{part} {name}"] = sums.get(f"{part} {name}", 0) + v.item() / batches
                sums[f"{part} {name} slope"] = sums.get(f"{part} {name} slope", 0) + s.item() / batches
        sums["trust wrong"] = (
            sums.get("trust wrong", 0) + (((trust - own).abs() * counts).sum() / counts.sum()).item() / batches
        )
    return sums


def to_picture(detail: torch.Tensor) -> np.ndarray:
    """(N, 3, S, S) without light -> one strip, in a plain skin light."""
    light = torch.tensor([-0.75, -1.25, -1.6], device=detail.device).view(1, 3, 1, 1)
    picture = to_srgb(torch.exp(detail.float() + light) - OFFSET)
    return (torch.cat(list(picture), 2).permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)


@torch.no_grad()
def sheet(run, spoiler: Spoiler, path: Path, count: int = 12, model: Model | None = None, seed: int = 5) -> None:
    spoiler.g.manual_seed(seed)
    inputs, goal, _, _ = spoiler.draw(count)
    clean, trust = run(inputs)
    grey = lambda x: (torch.cat(list(x.expand(-1, 3, -1, -1)), 2).permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)  # noqa: E731
    rows = [to_picture(inputs[:, :3]), to_picture(clean), to_picture(goal), grey(trust), grey(inputs[:, 4:])]
    if model is not None:
        fit, believed = model.fit(inputs[:, :3], (inputs[:, 3:4] * 12).clamp(0, 1) * (1 - inputs[:, 4:]))
        share = ((believed - 0.35) / 0.35).clamp(0, 1) * (inputs[:, 3:4] * 12).clamp(0, 1)
        rows.insert(2, to_picture(fit + (inputs[:, :3] - fit) * share))
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


@dataclass
class Made:
    """What training and measuring work with."""

    plane: Plane
    clean: dict[str, torch.Tensor]
    train: np.ndarray
    spoiler: Spoiler
    judge: Spoiler
    held: int
    held_people: int
    size: int


def prepare(path: Path, count: int = 10000, limit: int = 0, seed: int = 0, first: int = 0) -> Made:
    """Unwrap, clean and draw; photos of people who are held out go into the judge only."""
    begun = time.monotonic()
    cv2.setNumThreads(0)  # threads do not survive the forks below
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    topology = load_file(Path(facefusion.__file__).parent / "models/embedded/face_mesh.safetensors")
    pool = dict(np.load(path))
    if limit:
        kept = np.sort(np.random.default_rng(0).permutation(len(pool["ident"]))[:limit])
        coded = [pool["jpg"][pool["off"][k] : pool["off"][k + 1]] for k in kept]
        pool |= {name: pool[name][kept] for name in ("ident", "held", "covered", "mesh")}
        pool |= {"jpg": np.concatenate(coded), "off": np.cumsum([0, *(len(c) for c in coded)])}
    plane = Plane(topology)
    is_plain = ~pool["covered"]
    train, held = np.flatnonzero(~pool["held"] & is_plain), np.flatnonzero(pool["held"] & is_plain)
    workers = min(os.cpu_count() or 1, 16)
    textures = unwrap_all(topology, pool, workers)
    layers = draw_layers(topology, pool["mesh"][~pool["held"]], pool["patches"], count, workers, first)
    lights = make_lights(plane)
    print(f"{count} layers at {time.monotonic() - begun:.0f} s", flush=True)
    clean = make_clean(pool, *textures, plane, device)
    print(f"{len(train)} clean textures, {len(held)} held out, at {time.monotonic() - begun:.0f} s", flush=True)
    few = min(count // 8, 800)
    judge = Spoiler(clean, held, tuple(v[-few:] for v in layers), lights, plane, device, 99)
    spoiler = Spoiler(clean, train, tuple(v[:-few] for v in layers), lights, plane, device, seed)
    people = len(set(pool["ident"][held].tolist()))
    return Made(plane, clean, train, spoiler, judge, len(held), people, 4 if limit else 32)


def model_of(made: Made) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """The statistical model in place of the network, for comparison."""
    model = made.clean["model"]

    def run(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = (inputs[:, 3:4] * 12).clamp(0, 1) * (1 - inputs[:, 4:])
        fit, trust = model.fit(inputs[:, :3], seen)
        share = gauss(((trust - 0.35) / 0.35).clamp(0, 1) * seen, 1.5)
        return fit + (inputs[:, :3] - fit) * share, share

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--layers", type=int, default=9000)
    parser.add_argument("--first", type=int, default=0, help="number of the first thing to draw; another one, others")
    parser.add_argument("--critic", type=float, default=0.0, help="weight of the critic, from half of the time on")
    parser.add_argument("--start", type=Path)
    parser.add_argument("--limit", type=int, default=0, help="photos to use, to try the script")
    arguments = parser.parse_args()
    begun = time.monotonic()
    cv2.setNumThreads(0)  # threads do not survive the forks below
    arguments.run.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    made = prepare(arguments.pool, arguments.layers, arguments.limit, int(begun) % 10000, arguments.first)
    spoiler, judge, clean, drawn = made.spoiler, made.judge, made.clean, made.spoiler.drawn
    train, size = made.train, made.size
    share = clean["share"][torch.from_numpy(train).to(device)][:, None, None, None]
    rows = torch.from_numpy(train).to(device)
    mean = (clean["clean"][rows] * share).sum(0, keepdim=True) / share.sum()
    mean = (mean + mean.flip(3)) / 2

    net = AppearanceNet(mean).to(device)
    if arguments.start:
        net.load_state_dict(torch.load(arguments.start, map_location=device)["average"])
    net = net.to(memory_format=torch.channels_last)
    average = AppearanceNet(mean).to(device)
    average.load_state_dict(net.state_dict())
    averaged = average.state_dict()
    critic = Critic().to(device)
    print(f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters", flush=True)
    optimiser = torch.optim.AdamW(net.parameters(), arguments.rate, (0.9, 0.98), weight_decay=1e-2)
    rival = torch.optim.AdamW(critic.parameters(), 3e-4, (0.5, 0.95))
    limit = begun + arguments.minutes * 60
    first, number, log = time.monotonic(), 0, []
    shown = first
    while True:
        now = time.monotonic()
        progress = (now - first) / max(limit - first, 1)
        if progress >= 1:
            break
        rate = arguments.rate * min(1, (number + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * progress)) + 1e-6
        for group in optimiser.param_groups:
            group["lr"] = rate
        with torch.no_grad():
            inputs, goal, counts, own = spoiler.draw(arguments.batch)
        net.train()
        with torch.autocast(device.type, torch.bfloat16):
            result, trust = net(inputs.to(memory_format=torch.channels_last))
        result, trust = result.float(), trust.float().clamp(1e-4, 1 - 1e-4)
        counted = counts * (0.35 + 0.65 * drawn)
        value, slope = loss_of(result, goal, counted)
        sure = F.binary_cross_entropy(trust, own.clamp(0, 1), weight=drawn.expand_as(trust))
        loss = value + 0.6 * slope + 0.06 * sure
        is_rivalled = arguments.critic > 0 and progress > 0.4
        if is_rivalled:
            shown_mask = counts * drawn
            fake = result * shown_mask + goal * (1 - shown_mask)
            with torch.autocast(device.type, torch.bfloat16):
                for p in critic.parameters():
                    p.requires_grad_(False)
                loss = loss - arguments.critic * min(1, (progress - 0.4) / 0.1) * critic(fake, mean).float().mean()
                for p in critic.parameters():
                    p.requires_grad_(True)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        if is_rivalled or (arguments.critic > 0 and progress > 0.35):
            with torch.autocast(device.type, torch.bfloat16):
                shown_mask = counts * drawn
                fake = (result * shown_mask + goal * (1 - shown_mask)).detach()
                against = F.relu(1 - critic(goal, mean).float()).mean() + F.relu(1 + critic(fake, mean).float()).mean()
            rival.zero_grad(set_to_none=True)
            against.backward()
            rival.step()
        update_average(averaged, net, min(0.999, (number + 1) / (number + 20)))
        number += 1
        if number in (3, 100) or now - shown > 60:
            shown = now
            average.eval()
            figures = evaluate(average, judge, 2, size)
            log.append({"step": number, "s": now - begun, **figures})
            print(
                f"{now - begun:.0f} s, step {number}: loss {loss.item():.4f}; "
                + ", ".join(f"{k} {v:.4f}" for k, v in figures.items() if "slope" not in k),
                flush=True,
            )
            torch.save({"average": average.state_dict(), "step": number}, arguments.run / "appearance.pt")
    average.eval()
    figures = evaluate(average, judge, size=size)
    model = clean["model"]
    figures_model = {
        key.replace("net", "model"): value
        for key, value in evaluate(model_of(made), judge, size=size).items()
        if "left" not in key
    }
    print(json.dumps({**figures, **figures_model}, indent=1))
    print(f"{number} batches of {arguments.batch}, {time.monotonic() - begun:.0f} s", flush=True)
    torch.save(
        {"average": average.state_dict(), "step": number, "figures": {**figures, **figures_model}},
        arguments.run / "appearance.pt",
    )
    (arguments.run / "log.json").write_text(json.dumps(log))
    for k in range(2):
        sheet(average, judge, arguments.run / f"held_{k}.jpg", 12, model, 5 + k)
    sheet(average, spoiler, arguments.run / "train.jpg", 12, None, 7)


if __name__ == "__main__":
    main()
