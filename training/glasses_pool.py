"""Training pictures for the glasses network: bands around the eyes with glasses drawn over them, and what hides the face.

    python training/glasses_pool.py FACEPACK MEDIA GLASSES_POOL --count 9000
    python training/glasses_pool.py FACEPACK MEDIA HELD_GLASSES_POOL --count 1200 --held

Faces are those of permissive licences and of people who wear nothing over their eyes. A clear lens hides nothing, so
what is labelled is the frame, a lens that is dark and a glare that one cannot see through.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from face_pool import COVERED, ROOT, is_held_out, load_faces
from mask_pool import SHIFT, Painter, Rng, fixed

sys.path.insert(0, str(ROOT / "src"))
from facefusion.imaging.align import compose, eye_band, shifted

BAND = (192, 96)
"""Width and height of what the network sees, pixels; as wide as a face is tall."""
FINE = 1.5
"""Pixels of the pool for one that the network sees."""
SIDE, ROWS = 336, 192
"""Of what is drawn, and of what is kept of it: a band with some room to move in."""
WORN = 0.85
"""Share of pictures with glasses."""


class GlassesPainter(Painter):
    """Draws glasses of many kinds, and keeps how much of the face they hide."""

    def __init__(self, pixels: np.ndarray, mesh: np.ndarray, rng: Rng, patches: np.ndarray, others: np.ndarray) -> None:
        super().__init__(pixels, mesh, rng, patches, others)
        self.cover = self.canvas()

    def lay(self, alpha: np.ndarray, colour: np.ndarray, name: str = "other", is_labelled: bool = True) -> None:
        super().lay(alpha, colour, name, is_labelled)
        if name != "glasses" and is_labelled:
            self.cover *= 1 - np.clip(alpha, 0, 1)

    def _hide(self, alpha: np.ndarray) -> None:
        self.cover = np.maximum(self.cover, np.clip(alpha, 0, 1))

    def _outline(self, eye: np.ndarray, side: int, share: float, shape: dict[str, float]) -> np.ndarray:
        turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        c, s = np.cos(turn), np.sin(turn)
        x = np.sign(c) * np.abs(c) ** (2 / shape["square"]) * shape["width"]
        y = np.sign(s) * np.abs(s) ** (2 / shape["square"]) * shape["height"]
        # Aviators hang down towards the ears, cat's eyes rise there.
        y = y * (1 + shape["hang"] * side * x / shape["width"])
        x = x * (1 + shape["taper"] * y / shape["height"]) + side * shape["apart"]
        return eye + (x * share)[:, None] * self.across + (y + shape["drop"])[:, None] * self.down

    def glasses(self) -> None:
        """Frames of all kinds before clear, tinted, dark or shining lenses."""
        rng, unit = self.rng, self.unit
        shape = {
            "width": unit * rng.uniform(0.32, 0.56), "height": unit * rng.uniform(0.2, 0.5),
            "square": rng.uniform(1.8, 6), "hang": rng.normal(0, 0.12), "taper": rng.normal(0, 0.06),
            "apart": unit * rng.uniform(-0.03, 0.06), "drop": unit * rng.uniform(-0.06, 0.2),
        }  # fmt: skip
        thin = unit * float(np.exp(rng.uniform(np.log(0.012), np.log(0.13))))
        kind = rng.choice(["full", "half", "rimless", "browline"], p=[0.7, 0.1, 0.1, 0.1])
        frame, lenses = self.canvas(), self.canvas()
        tilt = rng.normal(0, 0.03)
        turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
        middle = self.eyes.mean(axis=0)
        nose = self.mesh[168, :2]
        away = np.array([np.linalg.norm(eye - nose) for eye in self.eyes])
        ends = []
        for eye, side, near in zip(self.eyes, (-1, 1), away, strict=True):
            share = float(np.clip(near / max(away.mean(), 1e-3), 0.3, 1.4))
            outline = middle + (self._outline(eye, side, share, shape) - middle) @ turn.T
            cv2.fillPoly(lenses, [fixed(outline)], 1.0, shift=SHIFT)
            upper, lower = outline[32:], outline[:33]
            self._line(frame, upper, thin * (2 if kind == "browline" else 1), 0.25 if kind == "rimless" else 1)
            if kind in ("full", "browline"):
                self._line(frame, lower, thin * rng.uniform(0.6, 1))
            elif kind == "rimless":
                self._line(frame, lower, thin, 0.25)
            inner, outer = (outline[0], outline[32]) if side < 0 else (outline[32], outline[0])
            ends.append((inner, outer))
            if rng.random() < 0.5:  # pads
                pad = inner + (nose - inner) * 0.25 + self.down * unit * rng.uniform(0.05, 0.15)
                axes = (max(round(unit * 0.02), 1), max(round(unit * rng.uniform(0.03, 0.07)), 1))
                cv2.ellipse(frame, tuple(int(v) for v in pad), axes, 0, 0, 360, float(rng.uniform(0.3, 1)), -1)
        self._bridge(frame, ends, thin)
        for (_, outer), side, temple in zip(ends, (-1, 1), self.mesh[[127, 356], :2], strict=True):
            if side * (temple - outer) @ self.across < 0.05 * unit:
                continue  # behind the face
            rise = -self.down * unit * rng.uniform(0, 0.12)
            end = temple + (temple - outer) * rng.uniform(0, 0.6) + rise
            self._line(frame, np.stack([outer + rise * 0.5, end]), thin * rng.uniform(0.8, 2))
        self._lay_lenses(lenses)
        self._lay_frame(np.clip(frame, 0, 1))

    def _line(self, canvas: np.ndarray, points: np.ndarray, thickness: float, share: float = 1.0) -> None:
        line = self.canvas()
        cv2.polylines(line, [fixed(points)], False, 1.0, max(round(thickness), 1), cv2.LINE_AA, SHIFT)
        np.maximum(canvas, line * share * min(thickness, 1), out=canvas)

    def _bridge(self, frame: np.ndarray, ends: list[tuple[np.ndarray, np.ndarray]], thin: float) -> None:
        a, b = ends[0][0], ends[1][0]
        for lift in (0.0, self.rng.uniform(0.1, 0.2))[: 2 if self.rng.random() < 0.2 else 1]:
            t = np.linspace(0, 1, 9)[:, None]
            bow = self.rng.uniform(0, 0.12) * 4 * t * (1 - t) + lift
            self._line(frame, a + (b - a) * t - self.down * self.unit * bow, thin * self.rng.uniform(0.8, 1.4))

    def _lay_lenses(self, lenses: np.ndarray) -> None:
        rng = self.rng
        y, x = np.mgrid[0 : self.side, 0 : self.side].astype(np.float32)
        kind = rng.random()
        if kind < 0.2:  # dark, or dark above only
            depth = rng.uniform(0.7, 1.0) * np.ones_like(lenses)
            if rng.random() < 0.4:
                depth *= np.clip((self.eyes[:, 1].mean() - y) / self.unit * rng.uniform(0.5, 2) + 0.6, 0, 1)
            tint = rng.uniform(0, 60, 3)
            alpha = lenses * depth
            self.lay(alpha, tint + rng.uniform(0, 0.3) * self.texture(), "glasses")
            self._hide((alpha > 0.5).astype(np.float32))
            return
        if kind < 0.55:
            glare = self.texture() if rng.random() < 0.5 else np.full((self.side, self.side, 3), rng.uniform(0, 255))
            self.lay(lenses * rng.uniform(0.03, 0.25), glare, is_labelled=False)
        for _ in range(int(rng.integers(0, 4))):  # bands of light
            angle = rng.uniform(0, np.pi)
            across = (x - self.centre[0]) * np.cos(angle) + (y - self.eyes[:, 1].mean()) * np.sin(angle)
            at, width = rng.uniform(-1, 1) * self.unit, self.unit * rng.uniform(0.03, 0.3)
            band = lenses * np.clip(width - np.abs(across - at), 0, 1)
            strong = rng.random() < 0.25
            alpha = band * (rng.uniform(0.65, 1) if strong else rng.uniform(0.05, 0.35))
            self.lay(alpha, np.full(3, rng.uniform(150, 255)), is_labelled=False)
            if strong:
                self._hide((alpha > 0.5).astype(np.float32))

    def _lay_frame(self, frame: np.ndarray) -> None:
        rng = self.rng
        kind = rng.random()
        shape = (self.side, self.side, 3)
        if kind < 0.45:
            colour = np.full(shape, 1.0) * rng.uniform(0, 70, 3)
        elif kind < 0.6:
            colour = np.full(shape, 1.0) * rng.uniform(0, 255, 3)
        elif kind < 0.8:  # metal
            colour = np.full(shape, rng.uniform(50, 230)) * rng.uniform(0.8, 1.15, 3)
        elif kind < 0.9:
            colour = self.texture() * rng.uniform(0.3, 1)
        else:  # clear plastic
            inner = cv2.erode(frame, np.ones((3, 3), np.uint8))
            self._hide((frame > 0.3).astype(np.float32))
            frame = np.clip(frame * rng.uniform(0.35, 0.8) - inner * rng.uniform(0, 0.35), 0, 1)
            colour = np.full(shape, rng.uniform(120, 240)) * rng.uniform(0.85, 1.1, 3)
        coarse = rng.normal(0, 1, (10, 10)).astype(np.float32)
        shine = cv2.resize(coarse, (self.side, self.side), interpolation=cv2.INTER_CUBIC)[..., None]
        colour = colour * (1 + shine * rng.uniform(0, 0.35)) + np.maximum(shine - 1.2, 0) * rng.uniform(0, 200)
        self._hide(np.clip(frame / 0.6, 0, 1))
        self.lay(frame * (rng.uniform(0.6, 1) if rng.random() < 0.3 else 1.0), np.clip(colour, 0, 255), "glasses")


def band_crop(mesh: np.ndarray) -> np.ndarray:
    """(2, 3) affine from pixels of a picture to those of a square around the eyes."""
    fine = round(BAND[0] * FINE)
    return compose(shifted(-(SIDE - fine) // 2, -(SIDE - fine) // 2), eye_band(mesh, fine, fine))


def draw(pixels: np.ndarray, mesh: np.ndarray, rng: Rng, patches: np.ndarray, others: np.ndarray):
    """A band of (ROWS, SIDE, 3) uint8 and (ROWS, SIDE) uint8 of what glasses hide in it."""
    affine = band_crop(mesh)
    picture = cv2.warpAffine(pixels, affine, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    moved = mesh.copy()
    moved[:, :2] = mesh[:, :2] @ affine[:, :2].T + affine[:, 2]
    painter = GlassesPainter(picture, moved, rng, patches, others)
    if rng.random() < 0.1:
        painter.hair()
    if rng.random() < WORN:
        painter.glasses()
    if rng.random() < 0.12:
        (painter.hair, painter.hand, painter.bar)[int(rng.integers(3))]()
    top = (SIDE - ROWS) // 2
    cover = cv2.GaussianBlur(painter.cover, (0, 0), 0.5)
    rows = slice(top, top + ROWS)
    return np.clip(painter.pixels[rows], 0, 255).astype(np.uint8), np.round(cover[rows] * 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("facepack", "media", "pool"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--count", type=int, default=9000)
    parser.add_argument("--held", action="store_true", help="the people who are held out, to measure with")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(12 if arguments.held else 11)
    faces = load_faces(arguments.facepack, arguments.media)
    chosen = (is_held_out(faces["ident"]) == arguments.held) & (faces["flip_error"] < 0.04)
    chosen &= ~np.isin(faces["ident"], list(COVERED)) & (faces["licence"] == "permissive")
    rows = np.flatnonzero(chosen)
    patches = np.stack([cv2.resize(faces["image"][k][:64, :64], (96, 96)) for k in rows[::5]])
    others = faces["image"][rows]
    arguments.pool.mkdir(parents=True, exist_ok=True)
    shape = (arguments.count, ROWS, SIDE)
    pixels = np.lib.format.open_memmap(arguments.pool / "images.npy", "w+", np.uint8, (*shape, 3))
    covers = np.lib.format.open_memmap(arguments.pool / "covers.npy", "w+", np.uint8, shape)
    # A person counts as often as another, however many pictures there are.
    _, which, counts = np.unique(faces["ident"][rows], return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(counts[which])
    for number, k in enumerate(rng.choice(rows, arguments.count, p=weights / weights.sum())):
        pixels[number], covers[number] = draw(faces["image"][k], faces["mesh"][k], rng, patches, others)
        if number % 1000 == 0:
            print(f"{number}/{arguments.count}", flush=True)


if __name__ == "__main__":
    main()
