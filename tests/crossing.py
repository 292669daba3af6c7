"""Made-up crowds: cut-out heads of people who do not exist move before a wall; what is in sight of each is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import cv2
import numpy as np

from facefusion.media.image import read_photo
from facefusion.models.synthetic_faces import load_synthetic_faces
from facefusion.testing.fakes import sample_path
from facefusion.types.frame import Frame
from facefusion.types.topology import FACE_OVAL

WIDTH, HEIGHT = 640, 320


@dataclass
class Cutout:
    """A head as a picture with a soft outline; ``oval`` is its face, both about the middle of the face."""

    pixels: np.ndarray
    alpha: np.ndarray
    oval: np.ndarray


def cut_head(pixels, mesh, height, blur=0.0) -> Cutout:
    """A head with hair and a bit of neck, scaled to a height of the face."""
    scale = height / np.ptp(mesh[:, 1])
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    picture = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if blur:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    oval = mesh[list(FACE_OVAL), :2] * scale
    middle = (oval.min(axis=0) + oval.max(axis=0)) / 2
    half = np.ptp(oval, axis=0) / 2
    alpha = np.zeros(picture.shape[:2], np.uint8)
    axes = (int(half[0] * 1.3), int(half[1] * 1.35))
    cv2.ellipse(alpha, (int(middle[0]), int(middle[1])), axes, 0, 0, 360, 255, -1)
    return Cutout(picture, cv2.GaussianBlur(alpha, (0, 0), 1.5).astype(np.float32) / 255, oval - middle), middle


@dataclass
class Scene:
    """Frames, and of every person in each the face's outline and the share of it that is in sight."""

    frames: list[Frame] = field(default_factory=list)
    ovals: list[list[np.ndarray]] = field(default_factory=list)
    shares: list[list[float]] = field(default_factory=list)

    def mask(self, number: int, person: int, growth: float = 1.0) -> np.ndarray:
        """Where somebody's face is, hidden or not."""
        return oval_mask(self.ovals[number][person], growth)


def oval_mask(oval, growth=1.0):
    middle = oval.mean(axis=0)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(mask, [np.round(middle + (oval - middle) * growth).astype(np.int32)], 1)
    return mask > 0


def sample_head(analyser, name, height, blur=0.0):
    pixels = read_photo(sample_path(name)).pixels
    return cut_head(pixels, analyser.find_faces(pixels)[0].mesh, height, blur)


def packaged_head(number, height, blur=0.0):
    from facefusion.imaging.resample import decode

    face = load_synthetic_faces()[number]
    return cut_head(decode(face.jpeg), face.mesh, height, blur)


def door(height):
    """Something tall that is no face."""
    rng = np.random.default_rng(5)
    wood = np.full((int(2.4 * height), int(1.5 * height), 3), (112, 74, 48), np.uint8)
    grain = cv2.GaussianBlur(rng.normal(0, 40, wood.shape[:2]), (0, 0), sigmaX=1.2, sigmaY=25)
    wood = np.clip(wood + 4 * grain[..., None], 0, 255).astype(np.uint8)
    middle = np.array([wood.shape[1] / 2, wood.shape[0] / 2])
    return Cutout(wood, np.ones(wood.shape[:2], np.float32), np.zeros((36, 2))), middle


def compose_scene(people, paths, count, seed=0) -> Scene:
    """Move cut-outs along paths.

    Parameters
    ----------
    people
        What `cut_head` or `door` gives, farthest first.
    paths
        For each a function of the frame's number that gives the middle of the face.
    count
        Frames.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    wall = np.stack([120 + columns / 16, 118 + rows / 20, 110 - columns / 40], axis=-1).astype(np.float32)
    scene = Scene()
    for number in range(count):
        picture, ovals = wall.copy(), []
        visible = []
        for (cutout, middle), path in zip(people, paths, strict=True):
            where = np.asarray(path(number), np.float32)
            shift = np.array([[1, 0, where[0] - middle[0]], [0, 1, where[1] - middle[1]]], np.float32)
            over = cv2.warpAffine(cutout.pixels, shift, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
            alpha = cv2.warpAffine(cutout.alpha, shift, (WIDTH, HEIGHT))
            picture += (over - picture) * alpha[..., None]
            for seen in visible:
                seen &= alpha < 0.5
            ovals.append(cutout.oval + where)
            visible.append(oval_mask(ovals[-1]))
        noisy = np.clip(picture + rng.normal(0, 1.0, picture.shape), 0, 255)
        scene.frames.append(Frame((noisy + 0.5).astype(np.uint8), number, number * 512, Fraction(1, 12800)))
        scene.ovals.append(ovals)
        scene.shares.append(
            [float(seen.sum() / max(oval_mask(oval).sum(), 1)) for seen, oval in zip(visible, ovals, strict=True)]
        )
    return scene
