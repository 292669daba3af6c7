"""The embedded mesh network: 478 points and a score from a 128 px crop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.types.frame import Pixels


class EmbeddedLandmarker:
    """Mesh network of our own training; see ``docs/models/mesh.md`` for its figures.

    Parameters
    ----------
    session
        A session of ``face_landmarker_embedded``.
    """

    crop_size = 128

    def __init__(self, session: Session) -> None:
        self._session = session

    def landmark(self, crops: Sequence[Pixels]) -> tuple[FloatArray, FloatArray]:
        """See `facefusion.plugins.protocols.Landmarker`."""
        batch = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
        meshes, scores = self._session.run({"image": batch})
        return meshes, scores


def build(context: EngineContext) -> EmbeddedLandmarker:
    """Builder named in the entry point."""
    return EmbeddedLandmarker(context.session("face_landmarker_embedded"))
