"""The embedded detector: centres of faces with sizes and five points, for pictures of any size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.imaging.boxes import suppress
from facefusion.imaging.resample import peaks, resize_to_multiple
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext
from facefusion.types.face import Detection
from facefusion.types.frame import Pixels

STRIDE = 8
SIDE_MULTIPLE = 64
COARSEST = 320
"""The pyramid of sizes ends at a longest side of at most this many pixels."""
SMALL, LARGE = 24.0, 200.0
"""Sizes of the faces that one level of the pyramid answers for, px."""
ENLARGE = 1.5
"""Small pictures are enlarged by this much at most: small faces are the hard ones."""


class EmbeddedDetector:
    """Detector of our own training; see ``docs/models/detector.md`` for its figures.

    Parameters
    ----------
    session
        A session of ``face_detector_embedded``.
    longest_side
        Pictures are looked at with up to this many pixels on their longer side.
    min_score
        Lowest score that is reported, 0 to 1.

    References
    ----------
    Zhou et al., Objects as Points, 2019.
    """

    def __init__(self, session: Session, longest_side: int = 1280, min_score: float = 0.5) -> None:
        self._session, self._longest_side, self._min_score = session, longest_side, min_score

    def detect(self, pixels: Sequence[Pixels]) -> list[list[Detection]]:
        """See `facefusion.plugins.protocols.Detector`."""
        return [self._detect(picture, is_quick=False) for picture in pixels]

    def detect_large(self, pixels: Sequence[Pixels]) -> list[list[Detection]]:
        """The same without the finest size of the picture, which finds the smallest faces and takes three quarters
        of the time.
        """
        return [self._detect(picture, is_quick=True) for picture in pixels]

    def _detect(self, picture: Pixels, is_quick: bool) -> list[Detection]:
        found: list[Detection] = []
        levels = self._levels(picture)
        for number, longest_side in enumerate(levels):
            if is_quick and number == 0 and len(levels) > 1:
                continue
            low = 0.0 if number == 0 else SMALL
            high = np.inf if number == len(levels) - 1 else LARGE
            found += self._detect_level(picture, longest_side, low, high)
        if not found:
            return []
        kept = suppress(np.stack([d.box for d in found]), np.array([d.score for d in found]))
        return [found[k] for k in kept]

    def _levels(self, picture: Pixels) -> list[int]:
        """Longest sides at which the picture is looked at: halving, down to `COARSEST`."""
        longest = round(min(self._longest_side, max(picture.shape[:2]) * ENLARGE))
        levels = [longest]
        while levels[-1] > COARSEST:
            levels.append(round(levels[-1] / 2))
        return levels

    def _detect_level(self, picture: Pixels, longest_side: int, low: float, high: float) -> list[Detection]:
        """Faces whose size at this level is within a range of pixels."""
        small, scale = resize_to_multiple(picture, longest_side, SIDE_MULTIPLE)
        tensor = np.ascontiguousarray(small.transpose(2, 0, 1))[None].astype(np.float32)
        tensor *= np.float32(1 / 127.5)
        tensor -= 1
        heat, sizes, five = (output[0] for output in self._session.run({"image": tensor}))
        rows, columns = peaks(heat[0], self._min_score)
        scores = heat[0][rows, columns]
        x, y = (axis * STRIDE + (STRIDE - 1) / 2 for axis in (columns, rows))
        reach = sizes[:, rows, columns].T
        boxes = np.stack([x - reach[:, 0], y - reach[:, 1], x + reach[:, 2], y + reach[:, 3]], axis=1)
        points = five[:, rows, columns].T.reshape(-1, 5, 2) + np.stack([x, y], axis=1)[:, None]
        side = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0)
        to_picture = 1 / scale
        # Pixel centres are integers, so shrinking by s maps x to (x + 0.5) s - 0.5.
        shift = 0.5 * to_picture - 0.5
        return [
            Detection(
                (boxes[k] * to_picture + shift).astype(np.float32),
                (points[k] * to_picture + shift).astype(np.float32),
                float(scores[k]),
            )
            for k in np.flatnonzero((side >= low) & (side <= high))
        ]


def build(context: EngineContext) -> EmbeddedDetector:
    """Builder named in the entry point."""
    recipe = context.recipe
    session = context.session("face_detector_embedded")
    return EmbeddedDetector(session, recipe.face_detector_size, recipe.face_detector_score)
