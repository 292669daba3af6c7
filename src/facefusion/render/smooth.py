"""Smoothing over time along the motion of the target.

What is smoothed is the change, output minus target, so that changes of light, blinks and cuts of the target pass
as they are. The change of the neighbouring frames is carried to the present one along the optical flow of the
target and mixed in as far as that flow can be believed. Where a new face covers the old one, the change holds the
old one's grain with its sign turned, and a mean over frames would lay part of that grain back on top: there the
target is taken without its finest detail. A frame needs its direct neighbours and nothing else, so a clip
comes out the same in one piece and in segments that are read with `HALO` more frames on each side.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from facefusion.imaging.flow import FlowEstimator, confidence, dense_inverse_search, follow
from facefusion.imaging.light import largest_of_channels, mean_of_channels
from facefusion.imaging.resample import add, enlarge, mean_around, stack, subtract, take
from facefusion.types.frame import Pixels, RenderedFrame
from facefusion.types.track import Track, Tracks

FloatArray = npt.NDArray[np.float32]

HALO = 1
"""Frames on each side that the smoothing of one frame looks at."""
MAX_SIDE = 256
"""Longest side in pixels at which smoothing works; larger faces are averaged over whole blocks of pixels first."""
MARGIN = 1.1
"""Side of the smoothed square over the longer side of the mesh."""
_STEADY_FRAMES = 12
"""Frames to each side over which the square keeps its size."""
_GRAIN_PX = 21
"""Side in pixels of the mean that takes the grain off."""
_COVERED = 3.0
"""Levels of 255 from which a change counts as covering."""
_RIM = 6
"""Pixels over which the correction fades out at the border of the square."""


@dataclass(frozen=True, slots=True)
class _Square:
    """A part of the frame that moves with a face by whole pixels: what is not resampled gains no noise.

    Attributes
    ----------
    x0, y0
        Its corner in frame pixels; it may lie outside.
    side
        In frame pixels.
    block
        Pixels of the frame, per axis, that are averaged into one.
    """

    x0: int
    y0: int
    side: int
    block: int


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """One person in one frame.

    Attributes
    ----------
    square
        Where.
    target
        (S, S, 3) uint8.
    values
        (S, S, 4) float32: the change in red, green and blue, and the brightness of the target.
    """

    square: _Square
    target: Pixels
    values: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A rendered frame and what is remembered of it for its neighbours."""

    rendered: RenderedFrame
    views: dict[int, _View]


class _Link:
    """Flows between a frame and the next, found once for both, by whoever asks first."""

    def __init__(self, before: Look, after: Look, estimate: FlowEstimator) -> None:
        self._before, self._after, self._estimate = before, after, estimate
        self._lock = threading.Lock()
        self._flows: dict[int, tuple[FloatArray, FloatArray]] = {}

    def flows(self, track_id: int) -> tuple[FloatArray, FloatArray] | None:
        """Where each pixel of the later crop was in the earlier one, and the other way round."""
        one, other = self._before.views.get(track_id), self._after.views.get(track_id)
        if one is None or other is None or one.target.shape != other.target.shape:
            return None
        with self._lock:
            if track_id not in self._flows:
                self._flows[track_id] = (
                    self._estimate(one.target, other.target),
                    self._estimate(other.target, one.target),
                )
            return self._flows[track_id]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A frame between its neighbours; None where the clip or the shot ends."""

    now: Look
    before: tuple[Look, _Link] | None
    after: tuple[Look, _Link] | None


class MotionSmoother:
    """Steadies what was changed, from several threads.

    Parameters
    ----------
    tracks
        What pass 1 left.
    track_ids
        People who are changed.
    strength
        0 to 1: weight of each neighbour, with a flow that is certain, over that of the frame itself.
    estimate
        Optical flow.

    References
    ----------
    Lai et al., Learning Blind Video Temporal Consistency, ECCV 2018 (flow-warped neighbours and their checks);
    Bonneel et al., Blind Video Temporal Consistency, 2015.
    """

    def __init__(
        self,
        tracks: Tracks,
        track_ids: Sequence[int],
        strength: float,
        estimate: FlowEstimator = dense_inverse_search,
    ) -> None:
        self._tracks, self._ids, self._strength, self._estimate = tracks, tuple(track_ids), strength, estimate
        self._starts = {int(tracks.pts[row]) for row in tracks.cuts if row < len(tracks.pts)}
        self._sides = {t.track_id: _sides(t) for t in tracks.tracks if t.track_id in self._ids}

    def region(self, pts: int) -> tuple[int, int, int, int] | None:
        """Half-open xyxy box of the frame at a time that `look` reads, None where it reads nothing; not clipped."""
        squares = [self._square(track, row) for track, row in self._seen(pts)]
        if not squares:
            return None
        return (
            min(s.x0 for s in squares),
            min(s.y0 for s in squares),
            max(s.x0 + s.side for s in squares),
            max(s.y0 + s.side for s in squares),
        )

    def _seen(self, pts: int) -> list[tuple[Track, int]]:
        return self._tracks.at(pts, self._ids) if self._strength > 0 else []

    def _square(self, track: Track, row: int) -> _Square:
        side = int(self._sides[track.track_id][row])
        low, high = (f(track.meshes[row, :, :2], axis=0) for f in (np.min, np.max))
        x0, y0 = np.round((low + high) / 2 - side / 2).astype(int)
        return _Square(int(x0), int(y0), side, -(-side // MAX_SIDE))

    def look(self, rendered: RenderedFrame) -> Look:
        """Remember a frame for its neighbours."""
        views = {}
        for track, row in self._seen(rendered.frame.pts):
            square = self._square(track, row)
            target = take(rendered.frame.pixels, square.x0, square.y0, square.side, square.block)
            if rendered.is_changed:
                assert rendered.patch is not None
                x0, y0, x1, y1 = rendered.box
                difference = subtract(rendered.patch, rendered.frame.pixels[y0:y1, x0:x1])
                change = take(
                    difference, square.x0 - x0, square.y0 - y0, square.side, square.block, is_border_black=True
                )
                views[track.track_id] = _view(square, target, change)
        return Look(rendered, views)

    def windows(self, looks: Iterable[Look]) -> Iterator[Window]:
        """Every frame with its neighbours; one frame of delay."""
        before: tuple[Look, _Link] | None = None
        now: Look | None = None
        for look in looks:
            if now is None:
                now = look
                continue
            link = None
            if look.rendered.frame.pts not in self._starts:
                link = _Link(now, look, self._estimate)
            yield Window(now, before, None if link is None else (look, link))
            before, now = (None if link is None else (now, link)), look
        if now is not None:
            yield Window(now, before, None)

    def smooth(self, window: Window) -> RenderedFrame:
        """The middle frame of a window with its change steadied."""
        rendered = window.now.rendered
        for track_id, view in window.now.views.items():
            rendered = _corrected(rendered, self._correction(view, track_id, window), view.square)
        return rendered

    def _correction(self, view: _View, track_id: int, window: Window) -> FloatArray:
        """(S, S, 3) what to add to the frame."""
        total = np.ones(view.target.shape[:2], dtype=np.float32)
        added = np.zeros(view.values.shape, dtype=np.float32)
        for neighbour, is_before in ((window.before, True), (window.after, False)):
            flows = None if neighbour is None else neighbour[1].flows(track_id)
            if neighbour is None or flows is None:
                continue
            flow, back = flows if is_before else flows[::-1]
            away = follow(neighbour[0].views[track_id].values, flow)
            away -= view.values
            share = confidence(np.ascontiguousarray(away[..., 3]), flow, back)
            share *= np.float32(self._strength)
            added += away * share[..., None]
            total += share
        return np.asarray(added[..., :3] * (_taper(len(total)) / total)[..., None], dtype=np.float32)


def _sides(track: Track) -> npt.NDArray[np.int64]:
    """(N,) side of the square around every row in frame pixels; it changes seldom, and in steps."""
    if not len(track.frames):
        return np.zeros(0, dtype=np.int64)
    extent = np.ptp(track.meshes[:, :, :2], axis=1).max(axis=1) * MARGIN
    padded = np.pad(extent, _STEADY_FRAMES, mode="edge")
    widest = np.lib.stride_tricks.sliding_window_view(padded, 2 * _STEADY_FRAMES + 1).max(axis=1)
    side = 2 ** (np.ceil(np.log2(np.maximum(widest, 16.0)) * 4) / 4)
    block = np.ceil(side / MAX_SIDE)
    unit = 8 * block
    return np.asarray(np.ceil(side / unit) * unit, dtype=np.int64)


def _view(square: _Square, target: Pixels, change: FloatArray) -> _View:
    """What is remembered: the change as if the target that it covers had no grain."""
    light = mean_of_channels(target)
    covered = mean_around(np.minimum(largest_of_channels(np.abs(change)) * np.float32(1 / _COVERED), 1), 7)
    fine = target.astype(np.float32)
    fine -= mean_around(fine, _GRAIN_PX)
    return _View(square, target, stack(change + fine * covered[..., None], light))


def _corrected(rendered: RenderedFrame, correction: FloatArray, square: _Square) -> RenderedFrame:
    """A frame with something small added to a part of it."""
    if not rendered.is_changed:
        return rendered
    assert rendered.patch is not None
    frame, box = rendered.frame, rendered.box
    height, width = frame.pixels.shape[:2]
    x0, y0 = max(square.x0, 0, box[0] - _RIM), max(square.y0, 0, box[1] - _RIM)
    x1, y1 = min(square.x0 + square.side, width, box[2] + _RIM), min(square.y0 + square.side, height, box[3] + _RIM)
    if x1 <= x0 or y1 <= y0:
        return rendered
    added = enlarge(correction, square.block)[y0 - square.y0 : y1 - square.y0, x0 - square.x0 : x1 - square.x0]
    joined = min(box[0], x0), min(box[1], y0), max(box[2], x1), max(box[3], y1)
    patch = frame.pixels[joined[1] : joined[3], joined[0] : joined[2]].copy()
    patch[box[1] - joined[1] : box[3] - joined[1], box[0] - joined[0] : box[2] - joined[0]] = rendered.patch
    part = patch[y0 - joined[1] : y1 - joined[1], x0 - joined[0] : x1 - joined[0]]
    np.copyto(part, add(part, added))
    return RenderedFrame(frame, patch, joined)


@cache
def _taper(side: int) -> FloatArray:
    """(S, S) 1 inside, falling to 0 at the border of the square."""
    edge = np.clip((np.arange(side) + 0.5) / _RIM, 0, 1)
    line = np.minimum(edge, edge[::-1]).astype(np.float32)
    return np.asarray(np.minimum(line[:, None], line[None, :]), dtype=np.float32)
