"""Finds that are too faint to count, followed over time: what moves by itself in front of its surroundings is somebody.

A face in profile, blurred or half hidden often gets a score that a wall gets too. A wall stands still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from facefusion.imaging.boxes import overlap, share_inside
from facefusion.imaging.flow import camera_shift
from facefusion.types.face import Detection
from facefusion.types.frame import Pixels

FloatArray = npt.NDArray[np.float32]

LEAST, SMALLEST_PX, LARGEST_PX = 0.05, 24.0, 96.0
"""Score and sizes in pixels of a find that is followed at all; what is larger is seen well, and then is no face."""
STRAIGHT = 0.6
"""Way over the length of the path from which something goes somewhere, and does not only waver."""
HITS, PATIENCE = 3, 3
"""Finds in one trace that make it count, and frames without one after which it is let go."""
OWN_WAY = 0.4
"""Way against the surroundings, over the size of the find, from which it moves by itself."""
NEAR = 0.6
"""Distance of two finds over their size up to which one may be the other, a frame later."""
LIKE_SIZE = 1.8
"""Largest factor between the sizes of two finds of one trace."""
BODY_WIDE, BODY_HIGH = 1.5, 7.0
"""Somebody's body below their face, over the size of the face: what moves there moves with them."""


@dataclass(slots=True)
class Trace:
    """One find over time.

    Attributes
    ----------
    hits
        Frames and boxes, xyxy.
    score
        The best of the detector.
    """

    hits: list[tuple[int, FloatArray]]
    score: float
    own_way: FloatArray = field(default_factory=lambda: np.zeros(2, np.float32))
    speed: FloatArray = field(default_factory=lambda: np.zeros(2, np.float32))
    path: float = 0.0
    is_told: bool = False

    @property
    def goes_its_way(self) -> bool:
        """Whether it moves against its surroundings, and somewhere."""
        way = float(np.linalg.norm(_middle(self.hits[-1][1]) - _middle(self.hits[0][1])))
        return float(np.linalg.norm(self.own_way)) >= OWN_WAY * self.size_px and way >= STRAIGHT * self.path

    @property
    def size_px(self) -> float:
        """Of the last find."""
        return _size(self.hits[-1][1])

    @property
    def largest_px(self) -> float:
        """Largest size of the last finds."""
        return max(_size(box) for _, box in self.hits[-2 * HITS :])

    def expected(self, frame: int) -> FloatArray:
        """Where the middle should be."""
        last, box = self.hits[-1]
        return np.asarray(_middle(box) + self.speed * (frame - last), dtype=np.float32)


class FaintTraces:
    """Links faint finds from frame to frame."""

    def __init__(self) -> None:
        self._traces: list[Trace] = []

    def forget(self) -> None:
        """A new shot."""
        self._traces.clear()

    def see(
        self,
        found: Sequence[Detection],
        known: Sequence[FloatArray],
        before: Pixels | None,
        pixels: Pixels,
        number: int,
    ) -> list[Trace]:
        """Take in what is found in a frame.

        Parameters
        ----------
        found
            All finds, faint or not.
        known
            Boxes of people who are followed.
        before, pixels
            The frame before, None in a new shot, and this one.
        number
            Of the frame.

        Returns
        -------
        Traces that count and have a find in this frame.
        """
        faint = [d for d in found if _is_faint(d, pixels) and not any(_is_of(d.box, box) for box in known)]
        self._traces = [t for t in self._traces if number - t.hits[-1][0] <= PATIENCE]
        if not faint and not self._traces:
            return []
        shift = np.zeros(2, np.float32) if before is None else camera_shift(before, pixels)
        free = sorted(faint, key=lambda d: -d.score)
        for trace in sorted(self._traces, key=lambda t: -len(t.hits)):
            self._go_on(trace, free, shift, number)
        self._traces += [Trace([(number, d.box)], d.score) for d in free]
        return self._new(number)

    def _go_on(self, trace: Trace, free: list[Detection], shift: FloatArray, number: int) -> None:
        expected, size = trace.expected(number), trace.size_px
        best = None
        for detection in free:
            own = _size(detection.box)
            away = float(np.linalg.norm(_middle(detection.box) - expected))
            is_like = max(own / size, size / own) <= LIKE_SIZE and away <= NEAR * min(own, size)
            if is_like and (best is None or away < float(np.linalg.norm(_middle(best.box) - expected))):
                best = detection
        trace.own_way = trace.own_way - shift
        if best is None:
            return
        free.remove(best)
        last, box = trace.hits[-1]
        way = _middle(best.box) - _middle(box)
        trace.path += float(np.linalg.norm(way))
        trace.own_way = np.asarray(trace.own_way + way, dtype=np.float32)
        trace.speed = np.asarray(0.5 * trace.speed + 0.5 * way / (number - last), dtype=np.float32)
        trace.hits.append((number, best.box))
        trace.score = max(trace.score, best.evidence or best.score)

    def _new(self, number: int) -> list[Trace]:
        here = [t for t in self._traces if t.hits[-1][0] == number]
        told = [t for t in here if t.is_told]
        counted = [
            t for t in here
            if not t.is_told and len(t.hits) >= HITS and t.goes_its_way
        ]  # fmt: skip
        for trace in sorted(counted, key=lambda t: float(t.hits[-1][1][1])):  # a head is above its body
            if not any(_is_of(trace.hits[-1][1], other.hits[-1][1]) for other in told):
                trace.is_told = True
                told.append(trace)
        return told


def _middle(box: FloatArray) -> FloatArray:
    return np.asarray((box[:2] + box[2:]) / 2, dtype=np.float32)


def _is_faint(found: Detection, pixels: Pixels) -> bool:
    """Whether a find is one that may be followed: all of it in the picture, neither too small nor too large."""
    (height, width), box = pixels.shape[:2], found.box
    if found.score < LEAST or not SMALLEST_PX <= found.size_px <= LARGEST_PX:
        return False
    return bool(box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height)


def _size(box: FloatArray) -> float:
    return max(float((box[2:] - box[:2]).max()), 1.0)


def _is_of(box: FloatArray, face: FloatArray) -> bool:
    """Whether a find is somebody's own face, or lies on their body."""
    if overlap(box, face) > 0.1 or share_inside(box, face) > 0.3:
        return True
    size = _size(face)
    middle, own = _middle(box), _middle(face)
    return bool(abs(middle[0] - own[0]) < BODY_WIDE * size and -0.9 * size < middle[1] - own[1] < BODY_HIGH * size)
