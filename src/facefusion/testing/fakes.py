"""Fakes with known answers: a drawn face whose mesh is known, and engines that return it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.types.crop import Crop, CropShape, SourceFace
from facefusion.types.face import Detection, Face, Pose
from facefusion.types.frame import Pixels
from facefusion.types.topology import FIVE_POINTS

FloatArray = npt.NDArray[np.float32]


def sample_path(name: str) -> Path:
    """A packaged sample of people who do not exist: ``source.jpg``, ``target.jpg`` or ``target.mp4``."""
    return Path(str(resources.files("facefusion") / "samples" / name))


def rotation(yaw: float, pitch: float, roll: float) -> npt.NDArray[np.float64]:
    """Rotation matrix of a head pose in degrees: Rz(roll) Rx(-pitch) Ry(-yaw), x right, y down, z away."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y)


def make_mesh(
    centre: tuple[float, float] = (128.0, 128.0),
    eye_distance: float = 50.0,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
) -> FloatArray:
    """The mean face as a (478, 3) mesh at a place, size (px between the irises) and pose (degrees)."""
    mesh = load_mesh_topology().mean.astype(np.float64) @ rotation(yaw, pitch, roll).T * eye_distance
    mesh[:, :2] += centre
    return mesh.astype(np.float32)


def make_face(**place: float | tuple[float, float]) -> Face:
    """A face with the mesh of `make_mesh`."""
    pose = Pose(*(float(place.get(name, 0.0)) for name in ("yaw", "pitch", "roll")))  # type: ignore[arg-type]
    return Face(make_mesh(**place), 1.0, pose)  # type: ignore[arg-type]


class FakeDetector:
    """Reports one box around known meshes, frame after frame."""

    def __init__(self, meshes: Sequence[FloatArray]) -> None:
        self._meshes = list(meshes)
        self.calls = 0

    def detect(self, pixels: Sequence[Pixels]) -> list[list[Detection]]:
        """See `facefusion.plugins.protocols.Detector`."""
        self.calls += 1
        found = []
        for mesh in self._meshes:
            points = mesh[:, :2]
            box = np.concatenate([points.min(axis=0), points.max(axis=0)])
            found.append(Detection(box, mesh[list(FIVE_POINTS), :2], 0.9))
        return [found for _ in pixels]


class BrightSpotLandmarker:
    """Puts the mean face on the brightest spot of a crop; the score is 0 where nothing is bright."""

    crop_size = 128

    def landmark(self, crops: Sequence[Pixels]) -> tuple[FloatArray, FloatArray]:
        """See `facefusion.plugins.protocols.Landmarker`."""
        meshes, scores = [], []
        for crop in crops:
            bright = crop[..., 1].astype(np.float64)
            weight = np.where(bright > 200, bright, 0.0)
            total = weight.sum()
            scores.append(float(total > 0))
            rows, columns = np.mgrid[0 : crop.shape[0], 0 : crop.shape[1]]
            x, y = ((weight * axis).sum() / max(total, 1.0) for axis in (columns, rows))
            meshes.append(make_mesh((float(x), float(y)), 36.0))
        return np.stack(meshes), np.array(scores, dtype=np.float32)


class PaintProcessor:
    """Paints the oval of every crop in one colour; what it returns is known to the last pixel."""

    crop_shape: CropShape | None = None
    needs: frozenset[str] = frozenset()
    covers_fully = False

    def __init__(self, colour: tuple[int, int, int] = (255, 0, 0), crop_shape: CropShape | None = None) -> None:
        self._colour, self.crop_shape = colour, crop_shape
        self.sources: list[SourceFace] = []

    def prepare(self, sources: Sequence[SourceFace]) -> None:
        """See `facefusion.plugins.protocols.FaceProcessor`."""
        self.sources = list(sources)

    def process(self, crops: Sequence[Crop]) -> list[Crop]:
        """See `facefusion.plugins.protocols.FaceProcessor`."""
        painted = []
        for crop in crops:
            pixels = np.empty_like(crop.pixels)
            pixels[:] = self._colour
            painted.append(crop.with_layer(pixels, np.ones_like(crop.alpha)))
        return painted
