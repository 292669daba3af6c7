"""68-point landmarkers that look at a box: 2DFAN-4 and PeppaPig/WuTz."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.analysers.landmarkers.cropped import CropLandmarker
from facefusion.imaging.align import mesh_roll
from facefusion.imaging.resample import brighten_dark
from facefusion.plugins.protocols import EngineContext, FloatArray, opens
from facefusion.types.face import Face
from facefusion.types.frame import Pixels

FACE_PX = 195.0
"""The longer side of a face's box inside the crop."""
MARGIN = 0.2
"""How much surer the other one must be to be believed."""


class BoxLandmarker(CropLandmarker):
    """Crops by a box, turned by whole quarters so that the face stands upright; brightens what is almost black.

    References
    ----------
    Bulat and Tzimiropoulos, How far are we from solving the 2D & 3D Face Alignment problem?, ICCV 2017.
    """

    def crop(self, face: Face, size: int) -> FloatArray:
        """See `CropLandmarker.crop`."""
        return box_crop(face, size)

    def prepare(self, crop: Pixels) -> Pixels:
        """See `CropLandmarker.prepare`."""
        return brighten_dark(crop)


class FanLandmarker(BoxLandmarker):
    """Points on a grid of 64 cells, and a heat map of each; 0.9 counts as certain."""

    def decode(self, outputs: list[FloatArray], size: int, face: Face) -> tuple[FloatArray, float]:
        """See `CropLandmarker.decode`."""
        points, heat = outputs
        score = float(heat.reshape(68, -1).max(axis=1).mean()) / 0.9
        return np.asarray(points[:, :2] * (size / 64), np.float32), score


class PeppaLandmarker(BoxLandmarker):
    """Points on a grid of 64 cells with a score each; 0.95 counts as certain."""

    def decode(self, outputs: list[FloatArray], size: int, face: Face) -> tuple[FloatArray, float]:
        """See `CropLandmarker.decode`."""
        table = outputs[0].reshape(68, 3)
        return np.asarray(table[:, :2] * (size / 64), np.float32), float(table[:, 2].mean()) / 0.95


class ManyLandmarkers:
    """Takes 2DFAN-4 unless the other is clearly surer."""

    def __init__(self, first: FanLandmarker, second: PeppaLandmarker) -> None:
        self._first, self._second = first, second

    def locate(self, pixels: Pixels, faces: Sequence[Face]) -> list[tuple[FloatArray, float]]:
        """See `facefusion.plugins.protocols.PointLandmarker`."""
        pairs = zip(self._first.locate(pixels, faces), self._second.locate(pixels, faces), strict=True)
        return [one if one[1] > other[1] - MARGIN else other for one, other in pairs]


def box_crop(face: Face, size: int) -> FloatArray:
    """(2, 3) ``crop_from_frame``: the box in the middle, its longer side `FACE_PX` of 256, upright by quarters."""
    box = face.box
    scale = FACE_PX / 256 * size / max(float((box[2:] - box[:2]).max()), 1.0)
    quarter = round(mesh_roll(face.mesh) / (np.pi / 2)) * np.pi / 2
    c, s = np.cos(quarter) * scale, np.sin(quarter) * scale
    linear = np.array([[c, s], [-s, c]])
    shift = size / 2 - linear @ ((box[:2] + box[2:]) / 2)
    return np.concatenate([linear, shift[:, None]], axis=1).astype(np.float32)


def build_fan(context: EngineContext) -> FanLandmarker:
    """Builder named in the entry point."""
    return FanLandmarker(context.session(context.model))


def build_peppa(context: EngineContext) -> PeppaLandmarker:
    """Builder named in the entry point."""
    return PeppaLandmarker(context.session(context.model))


@opens(lambda _: ("2dfan4", "peppa_wutz"))
def build_many(context: EngineContext) -> ManyLandmarkers:
    """Builder of the two together."""
    return ManyLandmarkers(FanLandmarker(context.session("2dfan4")), PeppaLandmarker(context.session("peppa_wutz")))
