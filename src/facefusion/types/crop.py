"""A cut-out of a frame on its way through face processors, and what comes back from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from facefusion.types.face import Face
from facefusion.types.frame import Pixels

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """Pixels around one face.

    Attributes
    ----------
    pixels
        (H, W, 3) uint8 RGB.
    crop_from_frame
        (2, 3) float32 affine from frame pixels to crop pixels.
    face
        The face in crop pixels.
    alpha
        (H, W) float32, 0 to 1: where the crop replaces the frame. 0 everywhere until a processor
        has changed something.
    """

    pixels: Pixels
    crop_from_frame: FloatArray
    face: Face
    alpha: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class SourceFace:
    """A face in a source photo.

    Attributes
    ----------
    pixels
        (H, W, 3) uint8 RGB of the photo.
    face
        The face in the photo's pixels.
    """

    pixels: Pixels
    face: Face
