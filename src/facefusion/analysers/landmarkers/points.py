"""Landmarkers of other layouts, given as the 68-point layout: 68 from 5, InsightFace 106, LivePortrait 203."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.analysers.landmarkers.cropped import CropLandmarker
from facefusion.imaging.align import invert, mesh_crop, square_crop, transform
from facefusion.imaging.templates import similarity, template_points
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.types.face import Face
from facefusion.types.frame import Pixels
from facefusion.types.topology import FIVE_POINTS

FROM_106 = (
    1, 10, 12, 14, 16, 3, 5, 7, 0, 23, 21, 19, 32, 30, 28, 26, 17,
    43, 48, 49, 51, 50, 102, 103, 104, 105, 101,
    72, 73, 74, 86, 78, 79, 80, 85, 84,
    35, 41, 42, 39, 37, 36, 89, 95, 96, 93, 91, 90,
    52, 64, 63, 71, 67, 68, 61, 58, 59, 53, 56, 55,
    65, 66, 62, 70, 69, 57, 60, 54,
)  # fmt: skip
"""Points of InsightFace's 106-point layout that lie where the 68-point layout has its points."""
EYES_203 = ((0, 6, 12, 18), (24, 30, 36, 42))
MOUTH_203 = (48, 66)


class FivePointLandmarker:
    """68 points from 5 alone: where the rest of an average face would be.

    The graph works in the plane of the template ``ffhq_512`` of side 1.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def locate(self, pixels: Pixels, faces: Sequence[Face]) -> list[tuple[FloatArray, float]]:
        """See `facefusion.plugins.protocols.PointLandmarker`."""
        if not faces:
            return []
        goal = template_points("ffhq_512", 1)
        fives = [face.mesh[list(FIVE_POINTS), :2] for face in faces]
        affines = [similarity(five, goal) for five in fives]
        unit = np.stack([transform(affine, five) for affine, five in zip(affines, fives, strict=True)])
        (found,) = self._session.run_batch({"#0": unit})
        return [
            (transform(invert(affine), points), face.score)
            for affine, points, face in zip(affines, found, faces, strict=True)
        ]


class InsightLandmarker(CropLandmarker):
    """106 points, -1 to 1 over a crop one and a half times the box; the graph scales bytes by itself."""

    def crop(self, face: Face, size: int) -> FloatArray:
        """See `CropLandmarker.crop`."""
        box = face.box
        return square_crop((box[:2] + box[2:]) / 2, float((box[2:] - box[:2]).max()) * 1.5, 0.0, size)

    def decode(self, outputs: list[FloatArray], size: int, face: Face) -> tuple[FloatArray, float]:
        """See `CropLandmarker.decode`."""
        points = (outputs[0].reshape(106, 2) + 1) * (size / 2)
        return np.asarray(points[list(FROM_106)], np.float32), face.score


class LivePortraitLandmarker(CropLandmarker):
    """203 points; eyes and mouth corners are taken from them and carry the mesh's other points along."""

    def crop(self, face: Face, size: int) -> FloatArray:
        """See `CropLandmarker.crop`."""
        return mesh_crop(face.mesh, size, 1.5)

    def decode(self, outputs: list[FloatArray], size: int, face: Face) -> tuple[FloatArray, float]:
        """See `CropLandmarker.decode`."""
        points = outputs[-1].reshape(203, 2) * size
        eyes = [points[list(rows)].mean(axis=0) for rows in EYES_203]
        goal = np.stack([*eyes, *points[list(MOUTH_203)]]).astype(np.float32)
        own = face.five_points[[0, 1, 3, 4]]
        return transform(similarity(own, goal), face.points_68), face.score


def build_five(context: EngineContext) -> FivePointLandmarker:
    """Builder named in the entry point."""
    return FivePointLandmarker(context.session(context.model))


def build_insight(context: EngineContext) -> InsightLandmarker:
    """Builder named in the entry point."""
    return InsightLandmarker(context.session(context.model))


def build_live_portrait(context: EngineContext) -> LivePortraitLandmarker:
    """Builder named in the entry point."""
    return LivePortraitLandmarker(context.session(context.model))
