"""MediaPipe's 478-point face mesh, converted to ONNX by its user."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.errors import ModelMismatch
from facefusion.imaging.tensors import to_tensor
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.types.frame import Pixels
from facefusion.types.topology import POINT_COUNT


class MediapipeLandmarker:
    """Points in crop pixels and a face score, with the channels last as TFLite has them.

    References
    ----------
    Kartynnik et al., 2019; Grishchenko et al., Attention Mesh, 2020.
    """

    crop_margin = 1.5

    def __init__(self, session: Session) -> None:
        self._session = session
        self.crop_size = session.spec.preprocess.size

    def landmark(self, crops: Sequence[Pixels]) -> tuple[FloatArray, FloatArray]:
        """See `facefusion.plugins.protocols.Landmarker`."""
        outputs = self._session.run_batch({"#0": to_tensor(crops).transpose(0, 2, 3, 1)})
        count = len(crops)
        tables = [output for output in outputs if output.size == count * POINT_COUNT * 3]
        flags = [output for output in outputs if output.size == count]
        if len(tables) != 1 or not flags:
            raise ModelMismatch(
                f"Model {self._session.spec.id} gives no {POINT_COUNT} points with a score.",
                "Convert the mesh with irises (face_landmarks_detector).",
            )
        scores = 1 / (1 + np.exp(-flags[0].reshape(count)))
        # MediaPipe counts from the corner of the first pixel, we from its centre.
        meshes = tables[0].reshape(count, POINT_COUNT, 3) - np.array([0.5, 0.5, 0], dtype=np.float32)
        return meshes.astype(np.float32), scores.astype(np.float32)


def build(context: EngineContext) -> MediapipeLandmarker:
    """Builder named in the entry point."""
    return MediapipeLandmarker(context.session(context.model))


build.reads_mesh = True  # type: ignore[attr-defined]
