"""What landmarkers that look at a crop share: cut, run, decode, move back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from facefusion.imaging.align import invert, transform
from facefusion.imaging.crops import move_face
from facefusion.imaging.resample import cut
from facefusion.imaging.tensors import to_tensor
from facefusion.models.session import Session
from facefusion.plugins.protocols import FloatArray
from facefusion.types.face import Face
from facefusion.types.frame import Pixels


class CropLandmarker(ABC):
    """A landmarker of any layout that gives the 68-point layout; a family says how it cuts and decodes.

    Parameters
    ----------
    session
        The model.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def locate(self, pixels: Pixels, faces: Sequence[Face]) -> list[tuple[FloatArray, float]]:
        """See `facefusion.plugins.protocols.PointLandmarker`."""
        if not faces:
            return []
        prepared = self._session.spec.preprocess
        affines = [self.crop(face, prepared.size) for face in faces]
        crops = [self.prepare(cut(pixels, affine, prepared.size, is_border_black=True)) for affine in affines]
        batch = to_tensor(crops, prepared.mean, prepared.std, prepared.colour == "BGR")
        outputs = self._session.run_batch({"#0": batch})
        found = []
        for k, (affine, face) in enumerate(zip(affines, faces, strict=True)):
            points, score = self.decode([output[k] for output in outputs], prepared.size, move_face(face, affine))
            found.append((transform(invert(affine), points), float(np.clip(score, 0, 1))))
        return found

    @abstractmethod
    def crop(self, face: Face, size: int) -> FloatArray:
        """(2, 3) ``crop_from_frame`` of a face."""

    def prepare(self, crop: Pixels) -> Pixels:
        """What is done to a crop before the graph sees it."""
        return crop

    @abstractmethod
    def decode(self, outputs: list[FloatArray], size: int, face: Face) -> tuple[FloatArray, float]:
        """(68, 2) points in crop pixels and the score of one face, which is given in crop pixels."""
