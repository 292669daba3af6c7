"""Detection in turned and framed pictures, with any detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from facefusion.analyse.answers import checked_detections
from facefusion.imaging.boxes import suppress
from facefusion.plugins.protocols import Detector, FloatArray
from facefusion.types.face import Detection
from facefusion.types.frame import Pixels

MAX_OVERLAPS = {1: 0.4, 2: 0.3, 3: 0.2, 4: 0.1}
"""More views of one face are more boxes on it."""


class TurnedDetector:
    """Looks for faces in quarter turns of a picture, and with a margin around it.

    Parameters
    ----------
    detector
        Any detector.
    angles
        Clockwise turns of the picture, multiples of 90 degrees.
    margin
        Percent added at top, right, bottom and left, half of it of that side's length: 100 adds a half.
    """

    def __init__(self, detector: Detector, angles: Sequence[int], margin: tuple[int, int, int, int]) -> None:
        self._detector, self._angles, self._margin = detector, tuple(dict.fromkeys(angles)), margin

    def detect(self, pixels: Sequence[Pixels]) -> list[list[Detection]]:
        """See `facefusion.plugins.protocols.Detector`."""
        return [self._detect(picture) for picture in pixels]

    def looks(self, picture: Pixels) -> list[Callable[[], list[Detection]]]:
        """One call for each direction, to be made side by side; `join` takes what they return, in their order."""
        return [partial(self._look, picture, angle) for angle in self._angles]

    def join(self, by_look: Sequence[Sequence[Detection]]) -> list[Detection]:
        """What all directions found of a picture, each face once, best score first."""
        found = [detection for part in by_look for detection in part]
        if not found:
            return []
        boxes, scores = np.stack([d.box for d in found]), np.array([d.score for d in found])
        return [found[k] for k in suppress(boxes, scores, MAX_OVERLAPS[len(self._angles)])]

    def _detect(self, picture: Pixels) -> list[Detection]:
        return self.join([look() for look in self.looks(picture)])

    def _look(self, picture: Pixels, angle: int) -> list[Detection]:
        height, width = picture.shape[:2]
        top, right, bottom, left = (
            int(side * share / 200) for side, share in zip((height, width, height, width), self._margin, strict=True)
        )
        framed = np.pad(picture, ((top, bottom), (left, right), (0, 0))) if any(self._margin) else picture
        turned = np.ascontiguousarray(np.rot90(framed, -angle // 90))
        shift = np.array([left, top], dtype=np.float32)
        found = []
        for detection in checked_detections(self._detector.detect([turned])[0]):
            corners = _back(detection.box.reshape(2, 2), angle, framed.shape[1], framed.shape[0])
            box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
            points = _back(detection.points, angle, framed.shape[1], framed.shape[0])
            found.append(
                Detection(
                    (box - np.tile(shift, 2)).astype(np.float32), (points - shift).astype(np.float32), detection.score
                )
            )
        return found


def _back(points: FloatArray, angle: int, width: int, height: int) -> FloatArray:
    """Points of a picture turned clockwise, in the picture as it was (``width`` x ``height``)."""
    x, y = points[:, 0], points[:, 1]
    if angle == 90:
        return np.stack([y, height - 1 - x], axis=1)
    if angle == 180:
        return np.stack([width - 1 - x, height - 1 - y], axis=1)
    if angle == 270:
        return np.stack([width - 1 - y, x], axis=1)
    return points
