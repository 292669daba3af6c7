"""Training pictures for the mask network: faces with things drawn over them, and what is where.

    python training/mask_pool.py FACES_POOL MASK_POOL --count 9000

FACES_POOL is what `face_pool.py` makes. Regions come from the mesh. Hands, strands of hair, glasses, microphones,
masks, cups, walls and patches of pictures without faces are drawn by this script, hands also with skin of the pictures
themselves; nothing is taken from anybody's labels.
Real hair and glasses in the photos carry the label of the face under them; `train_masks.py` allows for that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from face_pool import ROOT

sys.path.insert(0, str(ROOT / "src"))
from facefusion.types.topology import (
    FACE_OVAL,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_IRIS,
    LIPS_INNER,
    LIPS_OUTER,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_IRIS,
)

CLASSES = (
    "other", "skin", "left-eyebrow", "right-eyebrow", "left-eye", "right-eye",
    "glasses", "nose", "mouth", "upper-lip", "lower-lip", "hair",
)  # fmt: skip
NOSE = (168, 193, 417, 122, 351, 174, 399, 198, 420, 49, 279, 48, 278, 64, 294, 98, 327, 2, 97, 326)
UPPER_LIP = (*LIPS_OUTER[:11], *reversed(LIPS_INNER[:11]))
LOWER_LIP = (*LIPS_OUTER[10:], LIPS_OUTER[0], LIPS_INNER[0], *reversed(LIPS_INNER[10:]))
SHIFT = 4
"""Bits behind the point in the coordinates that OpenCV draws with."""
ROWS = 112
"""Steps in which the edge of hair beside a face is told, from over its top to below its chin."""

Rng = np.random.Generator


def fixed(points: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(points)[:, :2] * (1 << SHIFT)).astype(np.int32)


def label_regions(mesh: np.ndarray, side: int) -> np.ndarray:
    """(S, S) uint8 index into `CLASSES`, read off a mesh."""
    labels = np.zeros((side, side), np.uint8)

    def fill(rows: tuple[int, ...], name: str, is_hull: bool = False) -> None:
        points = fixed(mesh[list(rows)])
        points = cv2.convexHull(points) if is_hull else points
        cv2.fillPoly(labels, [points], CLASSES.index(name), shift=SHIFT)

    fill(FACE_OVAL, "skin")
    fill(NOSE, "nose", is_hull=True)
    fill(LEFT_BROW, "left-eyebrow", is_hull=True)
    fill(RIGHT_BROW, "right-eyebrow", is_hull=True)
    fill(LEFT_EYE, "left-eye")
    fill(RIGHT_EYE, "right-eye")
    fill((*LIPS_INNER,), "mouth")
    fill(UPPER_LIP, "upper-lip")
    fill(LOWER_LIP, "lower-lip")
    return labels


def hair_inside(pixels: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """(S, S) bool: where a photo shows its own hair, a cap or what is behind within the outline of the mesh.

    Found by colour (Rother, Kolmogorov and Blake, GrabCut, 2004): what is around the face and unlike its skin, and goes on over the outline.
    Skin at the sides that is as dark as hair may be taken for it, and hair in the colour of skin is not found.
    """
    whole, side = pixels.shape[0], pixels.shape[0] // 2
    pixels, mesh = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA), mesh[:, :2] / 2
    labels = label_regions(mesh, side)
    inside = labels > 0
    unit = max(float(np.linalg.norm(mesh[RIGHT_IRIS, :2] - mesh[LEFT_IRIS, :2])), side * 0.12)
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    away = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5)
    lab = cv2.cvtColor(pixels, cv2.COLOR_BGR2LAB).astype(np.float32)
    rows = np.mgrid[0:side, 0:side][0]
    brows, mouth = mesh[[*LEFT_BROW, *RIGHT_BROW], 1].max(), mesh[list(LIPS_OUTER), 1].min()
    core = (depth > 0.32 * unit) & (rows > brows + 0.1 * unit) & np.isin(labels, (1, CLASSES.index("nose")))
    around = (away > 0.1 * unit) & (away < 0.9 * unit) & (rows < mouth + 0.4 * unit)
    nothing = np.zeros((whole, whole), bool)
    if core.sum() < 20:
        return nothing
    skin = np.median(lab[core], axis=0)
    spread = np.median(np.abs(lab[core] - skin), axis=0) * 1.5 + (12, 4, 4)
    unlike = (np.abs(lab - skin) / spread).max(axis=-1) > 2
    state = np.where(inside, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[core] = cv2.GC_FGD
    state[around & unlike] = cv2.GC_BGD
    state[(away > 0.1 * unit) & ~(around & unlike)] = cv2.GC_PR_FGD
    if (state == cv2.GC_BGD).sum() < 20:
        return nothing
    cv2.setRNGSeed(1)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(lab.clip(0, 255).astype(np.uint8), state, None, *models, 2, cv2.GC_INIT_WITH_MASK)
    features = cv2.dilate(np.isin(labels, (2, 3, 4, 5, 8, 9, 10)).astype(np.uint8), np.ones((3, 3))) > 0
    found = ((state == cv2.GC_BGD) | (state == cv2.GC_PR_BGD)) & inside & ~features & unlike
    found = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2)))
    count, parts = cv2.connectedComponents(found)
    kept = np.zeros((side, side), np.float32)
    for k in range(1, count):
        part = parts == k
        if part.sum() > 4 and depth[part].min() < 1.6:
            kept[part] = 1
    return cv2.resize(kept, (whole, whole), interpolation=cv2.INTER_LINEAR) > 0.5


class Painter:
    """Draws things over one face; keeps the labels true."""

    def __init__(
        self,
        pixels: np.ndarray,
        mesh: np.ndarray,
        rng: Rng,
        patches: np.ndarray,
        others: np.ndarray,
        hair: np.ndarray | None = None,
    ) -> None:
        self.pixels, self.mesh, self.rng = pixels.astype(np.float32), mesh, rng
        self.patches, self.others = patches, others
        self.side = pixels.shape[0]
        self.labels = label_regions(mesh, self.side)
        if hair is not None:
            self.labels[hair] = CLASSES.index("hair")
        self.eyes = mesh[[LEFT_IRIS, RIGHT_IRIS], :2]
        self.unit = max(float(np.linalg.norm(self.eyes[1] - self.eyes[0])), self.side * 0.12)
        across = (self.eyes[1] - self.eyes[0]) / max(float(np.linalg.norm(self.eyes[1] - self.eyes[0])), 1e-3)
        self.across, self.down = across, np.array([-across[1], across[0]])
        low, high = mesh[:468, :2].min(axis=0), mesh[:468, :2].max(axis=0)
        self.centre, self.half = (low + high) / 2, (high - low) / 2

    def skin_colour(self) -> np.ndarray:
        inside = self.labels == 1
        colour = np.median(self.pixels[inside], axis=0) if inside.sum() > 20 else np.array([120.0, 140, 180])
        if self.rng.random() < 0.25:  # somebody else's hand
            other = self.others[self.rng.integers(len(self.others))]
            colour = np.median(other[60:130, 60:130].reshape(-1, 3), axis=0)
        return colour * self.rng.uniform(0.75, 1.2)

    def texture(self) -> np.ndarray:
        """(S, S, 3) something without a face: a patch, a flat colour, stripes or a gradient."""
        rng, side = self.rng, self.side
        kind = rng.random()
        if kind < 0.55:
            patch = self.patches[rng.integers(len(self.patches))]
            return cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
        y, x = np.mgrid[0:side, 0:side].astype(np.float32)
        angle = rng.uniform(0, np.pi)
        ramp = (x * np.cos(angle) + y * np.sin(angle)) / side
        one, two = rng.uniform(0, 255, (2, 3))
        if kind < 0.8:
            two = one * rng.uniform(0.5, 1.3)
            share = np.clip(ramp * rng.uniform(0.5, 2), 0, 1)
        else:
            share = 0.5 + 0.5 * np.sin(ramp * rng.uniform(20, 120))
        flat = one + (two - one) * share[..., None]
        return np.clip(flat + rng.normal(0, rng.uniform(1, 12), (side, side, 1)), 0, 255).astype(np.float32)

    def skin_texture(self, colour: np.ndarray) -> np.ndarray:
        """(S, S, 3) somebody's real skin, turned and enlarged, in another colour."""
        rng, side = self.rng, self.side
        other = self.others[rng.integers(len(self.others))] if rng.random() < 0.6 else self.pixels.astype(np.uint8)
        rows = other.shape[0]
        size = int(rng.integers(rows // 8, rows // 4))
        top, left = (
            int(rng.integers(round(low * rows), round(high * rows) - size)) for low, high in ((0.3, 0.72),) * 2
        )
        patch = other[top : top + size, left : left + size].astype(np.float32)
        patch = np.rot90(patch, int(rng.integers(4)))
        patch = cv2.resize(np.ascontiguousarray(patch), (side, side), interpolation=cv2.INTER_CUBIC)
        return np.clip(patch / np.maximum(np.median(patch, axis=(0, 1)), 8) * colour, 0, 255)

    def lay(self, alpha: np.ndarray, colour: np.ndarray, name: str = "other", is_labelled: bool = True) -> None:
        """Composite a layer, with a faint shadow, and label what it covers."""
        alpha = cv2.GaussianBlur(alpha, (0, 0), float(self.rng.uniform(0.4, 1.3)))
        if self.rng.random() < 0.5:
            shift = np.float32([[1, 0, self.rng.normal(0, 3)], [0, 1, abs(self.rng.normal(0, 3))]])
            shadow = cv2.warpAffine(cv2.GaussianBlur(alpha, (0, 0), 3.5), shift, alpha.shape[::-1])
            self.pixels *= 1 - (shadow * self.rng.uniform(0, 0.4))[..., None]
        self.pixels += (colour - self.pixels) * alpha[..., None]
        if is_labelled:
            self.labels[alpha > min(0.5, 0.5 * float(alpha.max()))] = CLASSES.index(name)

    def canvas(self) -> np.ndarray:
        return np.zeros((self.side, self.side), np.float32)

    def near_face(self, reach: float = 0.9) -> np.ndarray:
        return self.centre + self.rng.uniform(-reach, reach, 2) * self.half

    def hand(self) -> None:
        """Fingers like capsules fanning from a palm, shaded across."""
        rng = self.rng
        colour, width = self.skin_colour(), self.unit * rng.uniform(0.2, 0.36)
        tip, angle = self.near_face(0.75), rng.uniform(0, 2 * np.pi)
        direction = np.array([np.cos(angle), np.sin(angle)])
        aside = np.array([-direction[1], direction[0]])
        count, fan = int(rng.integers(1, 6)), rng.uniform(-0.1, 0.25)
        shade, alpha = self.canvas(), self.canvas()
        light = rng.uniform(0, 2 * np.pi)
        palm = tip + direction * width * rng.uniform(5, 8)
        for k in range(count):
            offset = k - (count - 1) / 2
            end = tip + aside * offset * width * 1.08 - direction * width * rng.normal(0, 0.5) * (count > 1)
            turned = direction + aside * offset * fan
            joint = end + turned * width * rng.uniform(2, 3) + aside * rng.normal(0, 0.2) * width
            start = palm + aside * offset * width * rng.uniform(0.8, 1.05)
            for a, b in ((end, joint), (joint, start)):
                self._capsule(alpha, shade, a, b, width / 2, light)
        if count > 2 or rng.random() < 0.4:
            self._capsule(alpha, shade, palm, palm + direction * width * 5, width * max(count, 3) * 0.55, light)
        self._lay_hand(alpha, shade, colour)

    def fist(self) -> None:
        """Knuckles side by side before the back of a hand, close to the mouth, the chin or an eye."""
        rng = self.rng
        colour, width = self.skin_colour(), self.unit * rng.uniform(0.24, 0.42)
        middle, angle = self.near_face(0.7), rng.uniform(0, 2 * np.pi)
        direction = np.array([np.cos(angle), np.sin(angle)])
        aside = np.array([-direction[1], direction[0]])
        shade, alpha = self.canvas(), self.canvas()
        light, count = rng.uniform(0, 2 * np.pi), int(rng.integers(3, 5))
        wrist = middle + direction * width * rng.uniform(2.5, 4)
        self._capsule(alpha, shade, wrist, wrist + direction * self.unit * 3, width * rng.uniform(0.9, 1.4), light)
        self._capsule(alpha, shade, middle + direction * width * 0.8, wrist, width * count * 0.5, light)
        for k in range(count):
            offset = (k - (count - 1) / 2) * width * rng.uniform(0.9, 1.05)
            begin = middle + aside * offset + direction * width * rng.normal(0, 0.15)
            end = begin + direction * width * rng.uniform(0.6, 1.6)
            self._capsule(alpha, shade, begin, end, width * rng.uniform(0.45, 0.58), light)
        if rng.random() < 0.7:  # the thumb lies across, or stands off
            begin = middle + aside * width * count * rng.choice([-0.5, 0.5]) + direction * width
            end = middle + rng.normal(0, 1.2, 2) * width
            self._capsule(alpha, shade, begin, end, width * rng.uniform(0.4, 0.55), light)
        self._lay_hand(alpha, shade, colour)

    def _lay_hand(self, alpha: np.ndarray, shade: np.ndarray, colour: np.ndarray) -> None:
        rng = self.rng
        relief = cv2.resize(
            rng.normal(0, 1, (12, 12)).astype(np.float32), (self.side,) * 2, interpolation=cv2.INTER_CUBIC
        )
        grain = rng.normal(0, rng.uniform(0, 4), (self.side, self.side)).astype(np.float32)
        tone = 1 - rng.uniform(0.1, 0.55) * shade + 0.05 * relief
        skin = self.skin_texture(colour) if rng.random() < 0.6 else np.broadcast_to(colour, (*alpha.shape, 3))
        self.lay(alpha, skin * tone[..., None] + grain[..., None])

    def _capsule(
        self, alpha: np.ndarray, shade: np.ndarray, a: np.ndarray, b: np.ndarray, radius: float, light: float
    ) -> None:
        y, x = np.mgrid[0 : self.side, 0 : self.side].astype(np.float32)
        line = b - a
        length = max(float(line @ line), 1e-3)
        along = np.clip(((x - a[0]) * line[0] + (y - a[1]) * line[1]) / length, 0, 1)
        dx, dy = x - (a[0] + along * line[0]), y - (a[1] + along * line[1])
        distance = np.hypot(dx, dy) / max(radius, 1.0)
        inside = distance < 1
        side = (dx * np.cos(light) + dy * np.sin(light)) / max(radius, 1.0)
        alpha[inside] = 1
        shade[inside] = (0.5 * distance**2 + 0.5 * np.clip(side, 0, 1))[inside]

    def blob(self) -> None:
        """A patch of something with a smooth or an angular outline."""
        rng = self.rng
        count = int(rng.integers(4, 12))
        angles = np.sort(rng.uniform(0, 2 * np.pi, count))
        radii = self.unit * rng.uniform(0.25, 1.1) * rng.uniform(0.5, 1.2, count)
        points = self.near_face(1.1) + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None] * [
            1,
            rng.uniform(0.5, 1.8),
        ]
        alpha = self.canvas()
        cv2.fillPoly(alpha, [fixed(points)], 1.0, shift=SHIFT)
        if rng.random() < 0.5:
            alpha = (cv2.GaussianBlur(alpha, (0, 0), self.unit * 0.12) > 0.5).astype(np.float32)
        self.lay(alpha, self.texture())

    def microphone(self) -> None:
        rng = self.rng
        head = self.mesh[[13, 14, 152], :2].mean(axis=0) + rng.normal(0, 0.35, 2) * self.unit
        angle = np.pi / 2 + rng.normal(0, 0.7)
        direction = np.array([np.cos(angle), np.sin(angle)])
        radius = self.unit * rng.uniform(0.18, 0.5)
        alpha, shade = self.canvas(), self.canvas()
        self._capsule(
            alpha,
            shade,
            head + direction * radius,
            head + direction * self.unit * 4,
            radius * rng.uniform(0.3, 0.7),
            rng.uniform(0, 6),
        )
        self._capsule(alpha, shade, head, head + direction * radius * 0.6, radius, rng.uniform(0, 6))
        dots = rng.normal(0, rng.uniform(3, 25), (self.side, self.side, 1))
        colour = np.full(3, rng.uniform(10, 90)) if rng.random() < 0.7 else rng.uniform(0, 255, 3)
        self.lay(alpha, colour * (1.3 - shade[..., None]) + dots)

    def glasses(self) -> None:
        """Frames, with clear or dark lenses."""
        rng = self.rng
        frame, lenses = self.canvas(), self.canvas()
        width, height = self.unit * rng.uniform(0.36, 0.5), self.unit * rng.uniform(0.24, 0.44)
        squareness, drop = rng.uniform(2, 5), rng.uniform(-0.03, 0.12) * self.unit
        thickness = max(1, round(self.unit * rng.uniform(0.02, 0.12)))
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        edges = []
        squash = [np.linalg.norm(self.mesh[e, :2] - self.mesh[168, :2]) for e in (LEFT_IRIS, RIGHT_IRIS)]
        for eye, side, near in ((self.eyes[0], -1, squash[0]), (self.eyes[1], 1, squash[1])):
            share = np.clip(near / max(np.mean(squash), 1e-3), 0.3, 1.4)
            x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** (2 / squareness) * width * share
            y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** (2 / squareness) * height
            outline = eye + drop * self.down + x[:, None] * self.across + y[:, None] * self.down
            cv2.fillPoly(lenses, [fixed(outline)], 1.0, shift=SHIFT)
            is_half = rng.random() < 0.15
            part = outline[20:] if is_half else outline
            cv2.polylines(frame, [fixed(part)], not is_half, 1.0, thickness, cv2.LINE_AA, SHIFT)
            edges.append((outline[20 if side > 0 else 0], outline[0 if side > 0 else 20]))
        for a, b in ((edges[0][0], edges[1][0]), (edges[0][1], self.mesh[127, :2]), (edges[1][1], self.mesh[356, :2])):
            cv2.polylines(frame, [fixed(np.stack([a, b]))], False, 1.0, thickness, cv2.LINE_AA, SHIFT)
        kind = rng.random()
        colour = rng.uniform(0, 70, 3) if kind < 0.5 else rng.uniform(0, 255, 3)
        if kind > 0.75:  # thin metal: light, and lost against the skin here and there
            colour = np.full(3, rng.uniform(60, 230))
            frame *= rng.uniform(0.45, 0.9)
        elif kind > 0.6:  # clear plastic: the skin shows through, with light edges
            inner = cv2.erode(frame, np.ones((3, 3), np.uint8))
            frame = np.clip(frame * rng.uniform(0.35, 0.8) - inner * rng.uniform(0, 0.35), 0, 1)
            colour = rng.uniform(120, 240) * rng.uniform(0.85, 1.1, 3)
        if rng.random() < 0.35:  # dark lenses
            tint = rng.uniform(0, 60, 3)
            self.lay(lenses * rng.uniform(0.75, 1.0), tint + 0.15 * self.texture(), "glasses")
        elif rng.random() < 0.6:  # a tint or a reflection; the eye behind stays what it is
            glare = self.texture() if rng.random() < 0.5 else np.full((self.side, self.side, 3), rng.uniform(60, 255))
            self.lay(lenses * rng.uniform(0.03, 0.3), glare, is_labelled=False)
        self.lay(np.clip(frame, 0, 1), colour + rng.normal(0, 6, (self.side, self.side, 1)), "glasses")

    def hair(self) -> None:
        """A fringe or strands hanging in."""
        rng = self.rng
        alpha, shade = self.canvas(), self.canvas()
        top = self.mesh[10, :2] - self.down * self.unit * rng.uniform(0.1, 0.5)
        count, spread = int(rng.integers(12, 140)), self.unit * rng.uniform(0.3, 1.2)
        middle = rng.normal(0, 0.6) * self.unit
        sweep, length = rng.normal(0, 0.6), self.unit * rng.uniform(0.3, 1.6)
        for _ in range(count):
            root = top + self.across * (middle + rng.normal(0, 1) * spread)
            bend, reach = sweep + rng.normal(0, 0.25), length * rng.uniform(0.4, 1.15)
            t = np.linspace(0, 1, 10)[:, None]
            strand = root + self.down * reach * t + self.across * reach * (bend * t + rng.normal(0, 0.3) * t * t)
            thickness = int(rng.integers(1, max(2, round(self.unit * 0.07)) + 1))
            cv2.polylines(alpha, [fixed(strand)], False, 1.0, thickness, cv2.LINE_AA, SHIFT)
            cv2.polylines(shade, [fixed(strand)], False, float(rng.uniform(0.2, 1)), thickness, cv2.LINE_AA, SHIFT)
        above = self.pixels[max(int(top[1]) - 4, 0) : max(int(top[1]) + 2, 3), :].reshape(-1, 3)
        colour = above.mean(axis=0) if rng.random() < 0.4 else rng.uniform(5, 90) * np.array([0.7, 0.85, 1.1])
        if rng.random() < 0.15:
            colour = rng.uniform(60, 230) * np.array([0.75, 0.95, 1.05])
        self.lay(np.clip(alpha, 0, 1), colour * (0.6 + 0.7 * shade[..., None]), "hair")

    def curtain(self) -> None:
        """Hair that hangs before a cheek, a temple or the forehead: what is beside the face, drawn over it, or a sheet
        of strands in any colour that hair has.
        """
        rng = self.rng
        y, x = np.mgrid[0 : self.side, 0 : self.side].astype(np.float32)
        across = ((x - self.centre[0]) * self.across[0] + (y - self.centre[1]) * self.across[1]) * rng.choice([-1, 1])
        down = (x - self.centre[0]) * self.down[0] + (y - self.centre[1]) * self.down[1]
        if rng.random() < 0.2:  # from above
            across, down = -down, across
        face = self.labels > 0
        if not face.any():
            return
        bins = np.clip((down / self.half.mean() + 1.4) * ROWS / 2.8, 0, ROWS - 1).astype(int)
        rim = np.full(ROWS, -np.inf, np.float32)
        np.maximum.at(rim, bins[face], across[face])
        seen = np.isfinite(rim)
        rim = np.interp(np.arange(ROWS), np.nonzero(seen)[0], rim[seen]).astype(np.float32)
        rim = cv2.GaussianBlur(rim[None], (0, 0), 3)[0]
        where, width = rng.uniform(5, 105), rng.uniform(25, 90)
        wave = cv2.resize(rng.normal(0, 0.18, (1, 6)).astype(np.float32), (ROWS, 1), interpolation=cv2.INTER_CUBIC)[0]
        depth = np.clip(np.exp(-(((np.arange(ROWS) - where) / width) ** 2)) + wave, 0, 1.3)
        depth *= self.unit * rng.uniform(0.1, 0.85)
        inner = (rim - depth)[bins]
        # Strands run along the edge, and part from it.
        sway = rng.normal(0, 6) * np.sin(down / self.half.mean() * rng.uniform(0.5, 2))
        at = np.clip((across - inner) / self.unit * 64 + sway + 128, 0, 255).astype(np.float32)
        strands = np.zeros_like(across)
        for scale in (1.3, 3.0, 8.0):
            grid = rng.normal(0, 1, (int(rng.integers(4, 9)), 256)).astype(np.float32)
            grid = cv2.resize(cv2.GaussianBlur(grid, (0, 0), sigmaX=scale, sigmaY=0.3), (256, ROWS))
            strands += cv2.remap(grid, at, bins.astype(np.float32), cv2.INTER_LINEAR) / (3 * max(grid.std(), 1e-3))
        edge = across - inner + strands * self.unit * rng.uniform(0, 0.12)
        alpha = np.clip(edge / (self.unit * rng.uniform(0.02, 0.2)) + 0.5, 0, 1).astype(np.float32)
        if rng.random() < 0.3:  # thin enough to see through
            alpha *= np.clip(rng.uniform(0.5, 1) + 0.5 * strands, 0, 1)
        over = (alpha > 0.5) & face
        skin = np.median(self.pixels[self.labels == 1], axis=0) if (self.labels == 1).any() else np.zeros(3)
        if over.sum() < 20:
            return
        outwards = np.array([across[0, 1] - across[0, 0], across[1, 0] - across[0, 0]])
        shift = (depth[bins] * rng.uniform(0.9, 1.1) + self.unit * rng.uniform(0.02, 0.12)).astype(np.float32)
        places = [(place + shift * part).astype(np.float32) for place, part in zip((x, y), outwards, strict=True)]
        beside = cv2.remap(self.pixels, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        if np.abs(np.median(beside[over], axis=0) - skin).max() > 22 and rng.random() < 0.6:
            colour = beside * (1 + rng.uniform(0, 0.12) * strands[..., None])
        else:
            bright = 255 * rng.uniform(0.06, 0.95) * np.clip(skin.max() / 190, 0.2, 1.2)
            is_grey = rng.random() < 0.12
            tint = rng.uniform(
                (0.9, 0.95, 0.97) if is_grey else (0.35, 0.62, 1), (1.02, 1.01, 1) if is_grey else (0.8, 0.88, 1)
            )
            sheen = np.cos(down / self.half.mean() * rng.uniform(1, 4) + rng.uniform(0, 6))
            tone = 1 + rng.uniform(0.08, 0.35) * strands + rng.uniform(0, 0.3) * sheen
            colour = np.clip(bright * tint * tone[..., None], 0, 255)
        self.lay(alpha, colour, "hair")

    def face_mask(self) -> None:
        """A surgical mask over the lower face."""
        rng = self.rng
        rows = [*FACE_OVAL[10:27], 195 if rng.random() < 0.5 else 5]
        points = self.mesh[rows, :2] + rng.normal(0, 0.05, (len(rows), 2)) * self.unit
        alpha = self.canvas()
        cv2.fillPoly(alpha, [fixed(points)], 1.0, shift=SHIFT)
        colour = (
            self.texture() if rng.random() < 0.4 else np.full((self.side,) * 2 + (3,), 1.0) * rng.uniform(30, 250, 3)
        )
        folds = 1 + 0.1 * np.sin(np.arange(self.side)[:, None, None] * rng.uniform(0.2, 0.6))
        self.lay(alpha, colour * folds)

    def bar(self) -> None:
        """Something long before the face: a phone, a pole, an arm, the edge of a cup."""
        rng = self.rng
        alpha, shade = self.canvas(), self.canvas()
        a = self.near_face(0.9)
        angle = rng.uniform(0, 2 * np.pi)
        b = a + np.array([np.cos(angle), np.sin(angle)]) * self.unit * rng.uniform(1.5, 5)
        self._capsule(alpha, shade, a, b, self.unit * rng.uniform(0.06, 0.6), rng.uniform(0, 6))
        colour = self.skin_colour() if rng.random() < 0.3 else self.texture()
        self.lay(alpha, colour * (1.1 - 0.5 * shade[..., None]))

    def cover(self) -> None:
        """A wall, a door or somebody's back before all of the face, or before one side of it."""
        rng = self.rng
        y, x = np.mgrid[0 : self.side, 0 : self.side].astype(np.float32)
        angle = rng.normal(rng.choice([0, np.pi / 2, np.pi]), 0.25)
        across = (x - self.centre[0]) * np.cos(angle) + (y - self.centre[1]) * np.sin(angle)
        edge = rng.uniform(-0.9, 0.9) * self.half.mean() if rng.random() < 0.4 else -np.inf
        texture = self.texture()
        if rng.random() < 0.4:  # boards: a colour, grain along them, and dark gaps or frames
            colour = rng.uniform(20, 200) * np.array([rng.uniform(0.3, 1.1), rng.uniform(0.55, 1.05), 1.0])
            grain = cv2.resize(rng.normal(0, 1, (6, self.side)).astype(np.float32), (self.side, self.side))
            gaps = np.mod(x + rng.uniform(0, 50), self.unit * rng.uniform(0.5, 3)) < rng.uniform(1, 4)
            tone = 1 + grain * rng.uniform(0.02, 0.2) - gaps * rng.uniform(0, 0.6)
            tone = tone if rng.random() < 0.7 else tone.T
            texture = np.clip(colour * tone[..., None], 0, 255)
        self.lay((across > edge).astype(np.float32), texture)


DRAWN: tuple[tuple[Callable[[Painter], None], float], ...] = (
    (Painter.hand, 0.26), (Painter.fist, 0.14), (Painter.blob, 0.10), (Painter.glasses, 0.32), (Painter.hair, 0.16),
    (Painter.microphone, 0.05), (Painter.face_mask, 0.03), (Painter.bar, 0.07),
    (Painter.cover, 0.12), (Painter.curtain, 0.24),
)  # fmt: skip


def paint(
    pixels: np.ndarray, mesh: np.ndarray, rng: Rng, patches: np.ndarray, others: np.ndarray, hair: np.ndarray
) -> Painter:
    """A face with nothing, one thing or two things over it; ``hair`` is its own."""
    painter = Painter(pixels, mesh, rng, patches, others, hair)
    chances = np.array([share for _, share in DRAWN])
    for _ in range(int(rng.choice(3, p=(0.3, 0.5, 0.2)))):
        DRAWN[rng.choice(len(DRAWN), p=chances / chances.sum())][0](painter)
    return painter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--count", type=int, default=9000)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(11)
    images = np.load(arguments.faces / "images.npy", mmap_mode="r")
    meshes = np.load(arguments.faces / "meshes.npy")
    weights = np.load(arguments.faces / "weights.npy")
    patches = np.load(arguments.faces / "negatives.npy")
    chosen = rng.choice(len(images), arguments.count, p=weights)
    side = images.shape[1]
    shape = (arguments.count, side, side)
    arguments.pool.mkdir(parents=True, exist_ok=True)
    pixels = np.lib.format.open_memmap(arguments.pool / "images.npy", "w+", np.uint8, (*shape, 3))
    labels = np.lib.format.open_memmap(arguments.pool / "labels.npy", "w+", np.uint8, shape)
    hair: dict[int, np.ndarray] = {}
    for number, k in enumerate(chosen):
        if k not in hair:
            hair[k] = hair_inside(images[k], meshes[k])
        painter = paint(images[k], meshes[k], rng, patches, images, hair[k])
        pixels[number] = np.clip(painter.pixels, 0, 255).astype(np.uint8)
        labels[number] = painter.labels
        if number % 1000 == 0:
            print(f"{number}/{arguments.count}", flush=True)
    np.save(arguments.pool / "meshes.npy", meshes[chosen])


if __name__ == "__main__":
    main()
