"""YuNet: class and object scores, a centre and a size in strides."""

from __future__ import annotations

import numpy as np

from facefusion.analysers.detectors.canvas import STRIDES, Candidates, CanvasDetector, anchors, expect_rows
from facefusion.plugins.protocols import EngineContext, FloatArray


class YunetDetector(CanvasDetector):
    """Twelve outputs: classes, objects, boxes and points of three strides.

    References
    ----------
    Wu et al., YuNet: A Tiny Millisecond-level Face Detector, 2023.
    """

    def decode(self, outputs: list[FloatArray], height: int, width: int) -> Candidates:
        """See `CanvasDetector.decode`."""
        scores, boxes, points = [], [], []
        for k, stride in enumerate(STRIDES):
            anchor = anchors(height, width, stride, 1)
            count, spec = len(anchor), self.session.spec
            classes, objects = (
                expect_rows(spec, outputs[k + first], 1, count, f"{name} {stride}")[:, 0]
                for first, name in ((0, "cls"), (3, "obj"))
            )
            box = expect_rows(spec, outputs[k + 6], 4, count, f"box {stride}")
            five = expect_rows(spec, outputs[k + 9], 10, count, f"kps {stride}")
            centre, half = box[:, :2] * stride + anchor, np.exp(box[:, 2:]) * stride / 2
            scores.append(classes * objects)
            boxes.append(np.concatenate([centre - half, centre + half], axis=1))
            points.append(five.reshape(-1, 5, 2) * stride + anchor[:, None])
        return np.concatenate(scores), np.concatenate(boxes), np.concatenate(points)


def build(context: EngineContext) -> YunetDetector:
    """Builder named in the entry point."""
    return YunetDetector.from_context(context)
