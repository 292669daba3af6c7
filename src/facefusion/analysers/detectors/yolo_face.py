"""YOLOv8-face: one table of boxes, scores and five points, decoded inside the graph."""

from __future__ import annotations

import numpy as np

from facefusion.analysers.detectors.canvas import Candidates, CanvasDetector
from facefusion.errors import ModelMismatch
from facefusion.plugins.protocols import EngineContext, FloatArray

ROWS = 20


class YoloFaceDetector(CanvasDetector):
    """Columns of the table: centre, size, score, and x, y and confidence of five points.

    References
    ----------
    derronqi, yolov8-face; Jocher et al., Ultralytics YOLOv8.
    """

    scale = 1 / 255

    def decode(self, outputs: list[FloatArray], height: int, width: int) -> Candidates:
        """See `CanvasDetector.decode`."""
        table = outputs[0]
        if table.ndim != 3 or table.shape[1] != ROWS:
            raise ModelMismatch(f"Model {self.session.spec.id}: output is {table.shape}, expected (1, {ROWS}, N).")
        table = table[0].T
        centre, half = table[:, :2], table[:, 2:4] / 2
        points = table[:, 5:].reshape(-1, 5, 3)[..., :2]
        return table[:, 4], np.concatenate([centre - half, centre + half], axis=1), points


def build(context: EngineContext) -> YoloFaceDetector:
    """Builder named in the entry point."""
    return YoloFaceDetector.from_context(context)
