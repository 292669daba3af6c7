"""What the detectors of the community share: a canvas of fixed size, channel order, and candidates to detections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np

from facefusion.errors import ModelMismatch
from facefusion.imaging.boxes import suppress
from facefusion.imaging.resample import shrink_onto
from facefusion.models.session import Session
from facefusion.models.spec import ModelSpec
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.types.face import Detection
from facefusion.types.frame import Pixels
from facefusion.wording import counted

MAX_OVERLAP = 0.4
MAX_SHARE, MANY = 0.25, 500
"""Share of all places that may see a face, from so many on: only a broken detector fires everywhere."""
STRIDES = (8, 16, 32)

Candidates = tuple[FloatArray, FloatArray, FloatArray]
"""Scores (N,), xyxy boxes (N, 4) and points (N, 5, 2) on the canvas."""


class CanvasDetector(ABC):
    """A detector that looks at a canvas of fixed size; a family says how its outputs are decoded.

    Parameters
    ----------
    session
        The model.
    size
        Side of the canvas in pixels; a graph with a fixed side has the last word.
    min_score
        Lowest score that is reported, 0 to 1.
    """

    scale, shift = 1.0, 0.0
    """``(value - shift) * scale`` before the graph, of bytes."""

    def __init__(self, session: Session, size: int, min_score: float) -> None:
        self.session, self._min_score = session, min_score
        fixed = session.shape("#0")
        limit = session.spec.preprocess.size or size
        side = max(min(size, limit) // 32 * 32, 32)
        self._height, self._width = fixed[2] or side, fixed[3] or side

    @classmethod
    def from_context(cls, context: EngineContext) -> Self:
        """The detector that a recipe asks for."""
        recipe = context.recipe
        return cls(context.session(context.model), recipe.face_detector_size, recipe.face_detector_score)

    def detect(self, pixels: Sequence[Pixels]) -> list[list[Detection]]:
        """See `facefusion.plugins.protocols.Detector`."""
        return [self._detect(picture) for picture in pixels]

    def _detect(self, picture: Pixels) -> list[Detection]:
        canvas, factor_x, factor_y = shrink_onto(picture, self._width, self._height)
        ordered = canvas[..., ::-1] if self.session.spec.preprocess.colour == "BGR" else canvas
        tensor = (ordered.transpose(2, 0, 1)[None].astype(np.float32) - self.shift) * self.scale
        outputs = self.session.run({"#0": tensor})
        scores, boxes, points = self.decode(outputs, self._height, self._width)
        good = scores >= self._min_score
        scores, boxes, points = scores[good], boxes[good], points[good]
        if not len(scores):
            return []
        if len(scores) > max(MANY, MAX_SHARE * len(good)):
            raise ModelMismatch(
                f"Model {self.session.spec.id} sees {counted(len(scores), 'face')} in one picture.",
                "This is another graph than its entry describes, or it is damaged; use another --face-detector-model.",
            )
        # Half a pixel, because pixel centres are integers on both sides.
        factor = np.array([factor_x, factor_y], dtype=np.float32)
        boxes = (boxes.reshape(-1, 2, 2) + 0.5) * factor - 0.5
        points = (points + 0.5) * factor - 0.5
        boxes = boxes.reshape(-1, 4).astype(np.float32)
        return [
            Detection(boxes[k], points[k].astype(np.float32), float(np.clip(scores[k], 0, 1)))
            for k in suppress(boxes, scores, MAX_OVERLAP)
        ]

    @abstractmethod
    def decode(self, outputs: list[FloatArray], height: int, width: int) -> Candidates:
        """Candidates of one canvas."""


def anchors(height: int, width: int, stride: int, each: int) -> FloatArray:
    """(N, 2) corners of the cells of a stride in rows, ``each`` times every one."""
    rows, columns = np.mgrid[: -(-height // stride), : -(-width // stride)].astype(np.float32) * stride
    return np.repeat(np.stack([columns.ravel(), rows.ravel()], axis=1), each, axis=0)


def expect_rows(spec: ModelSpec, output: FloatArray, columns: int, rows: int, name: str) -> FloatArray:
    """An output as (rows, columns).

    Raises
    ------
    ModelMismatch
        When the graph gives another number.
    """
    if output.size != rows * columns:
        raise ModelMismatch(
            f"Model {spec.id}: {name} has {output.size} values, expected {rows} x {columns}.",
            "This is another graph than its entry describes.",
        )
    return output.reshape(rows, columns)
