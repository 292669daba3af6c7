"""SCRFD and the RetinaFace of InsightFace: distances from two anchors per cell."""

from __future__ import annotations

import numpy as np

from facefusion.analysers.detectors.canvas import STRIDES, Candidates, CanvasDetector, anchors, expect_rows
from facefusion.plugins.protocols import EngineContext, FloatArray


class ScrfdDetector(CanvasDetector):
    """Three scores, three box distances and three point offsets, in strides.

    References
    ----------
    Guo et al., Sample and Computation Redistribution for Efficient Face Detection, 2021;
    Deng et al., RetinaFace, CVPR 2020.
    """

    shift, scale = 127.5, 1 / 128

    def decode(self, outputs: list[FloatArray], height: int, width: int) -> Candidates:
        """See `CanvasDetector.decode`."""
        scores, boxes, points = [], [], []
        for k, stride in enumerate(STRIDES):
            anchor = anchors(height, width, stride, 2)
            count, spec = len(anchor), self.session.spec
            scores.append(expect_rows(spec, outputs[k], 1, count, f"score {stride}")[:, 0])
            reach = expect_rows(spec, outputs[k + 3], 4, count, f"box {stride}") * stride
            boxes.append(np.concatenate([anchor - reach[:, :2], anchor + reach[:, 2:]], axis=1))
            offset = expect_rows(spec, outputs[k + 6], 10, count, f"points {stride}") * stride
            points.append(anchor[:, None] + offset.reshape(-1, 5, 2))
        return np.concatenate(scores), np.concatenate(boxes), np.concatenate(points)


def build(context: EngineContext) -> ScrfdDetector:
    """Builder named in the entry point."""
    return ScrfdDetector.from_context(context)
