"""What an engine must offer. Implement one of these, name its builder in an entry point, and it is found.

A builder is a function ``build(context: EngineContext) -> engine``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from facefusion.recipe import Recipe
from facefusion.types.crop import Crop, SourceFace
from facefusion.types.face import Detection
from facefusion.types.frame import Pixels

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EngineContext:
    """What a builder gets: the recipe, and the threads one call may use."""

    recipe: Recipe
    thread_count: int = 1


class Detector(Protocol):
    """Finds faces."""

    def detect(self, pixels: Sequence[Pixels]) -> list[list[Detection]]:
        """Faces of every picture, best score first.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8 RGB pictures of any size.
        """


class Landmarker(Protocol):
    """Reads the 478-point mesh off crops."""

    crop_size: int
    """Side of its crops in pixels."""

    def landmark(self, crops: Sequence[Pixels]) -> tuple[FloatArray, FloatArray]:
        """Meshes and scores of upright crops.

        Parameters
        ----------
        crops
            (S, S, 3) uint8 RGB with S = ``crop_size``.

        Returns
        -------
        (N, 478, 3) float32 in crop pixels, and (N,) float32 scores, 0 to 1.
        """


class FaceProcessor(Protocol):
    """Changes faces, crop by crop."""

    def prepare(self, sources: Sequence[SourceFace]) -> None:
        """Take in the source faces, once per job."""

    def process(self, crops: Sequence[Crop]) -> list[Crop]:
        """Changed crops in the same order, with ``alpha`` where they replace the frame.

        Called from several threads at once.
        """
