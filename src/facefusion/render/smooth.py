"""Smoothing over time along the motion of the target.

What is smoothed is the change, output minus target, so that changes of light, blinks and cuts of the target pass
as they are. The change of the neighbouring frames is carried to the present one along the optical flow of the
target and mixed in as far as that flow can be believed. Where a new face covers the old one, the change holds the
old one's grain with its sign turned, and a mean over frames would lay part of that grain back on top: there the
target is taken without its finest detail. A frame needs `HALO` neighbours on each side and nothing else, so a clip
comes out the same in one piece and in segments that are read with as many more frames.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from facefusion.imaging.flow import FlowEstimator, confidence, dense_inverse_search, follow
from facefusion.imaging.light import largest_of_channels, mean_of_channels
from facefusion.imaging.masks import beside_heads
from facefusion.imaging.resample import (
    add,
    alike,
    averaged,
    channel,
    enlarge,
    mean_around,
    padded,
    scaled_colours,
    stack,
    subtract,
    take,
    warp,
)
from facefusion.imaging.texture import blur
from facefusion.render.depth import stand_before
from facefusion.render.presence import presence
from facefusion.types.frame import Pixels, RenderedFrame
from facefusion.types.track import Track, Tracks

FloatArray = npt.NDArray[np.float32]
T = TypeVar("T", np.uint8, np.float32)

HALO = 2
"""Frames on each side that the smoothing of one frame looks at."""
MAX_SIDE = 256
"""Longest side in pixels at which smoothing works; larger faces are averaged over whole blocks of pixels first."""
MARGIN = 1.1
"""Side of the smoothed square over the longer side of the mesh."""
_STEADY_FRAMES = 12
"""Frames to each side over which the square keeps its size."""
LEAST_SHARE = 0.1
"""A change that is shown more faintly is not steadied."""
_GRAIN_PX = 21
"""Side in pixels of the mean that takes the grain off."""
_COVERED = 3.0
"""Levels of 255 from which a change counts as covering."""
_STRIP = 32
"""Rows of the frame that are subtracted at a time."""
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
    share
        How strongly the change is shown (`facefusion.render.presence`); the values are those of a full one, so that
        fades pass as they are.
    """

    square: _Square
    target: Pixels
    values: FloatArray
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A rendered frame and what is remembered of it for its neighbours."""

    rendered: RenderedFrame
    views: dict[int, _View]


@dataclass(frozen=True, slots=True, eq=False)
class _Carried:
    """A view as seen from the frame beside it.

    Attributes
    ----------
    square, own
        Where it was seen, and where the one beside lies.
    flow
        (S, S, 2) where each pixel of the one beside was in it.
    away
        (S, S, 4) its change, carried there, less the one found there; and 1.
    share
        (S, S, 4) weight of that, 0 to the strength of the smoothing, in every channel.
    """

    square: _Square
    own: _Square
    flow: FloatArray
    away: FloatArray
    share: FloatArray


class _Link:
    """What a frame and the next say of each other, found once for all who ask."""

    def __init__(self, before: Look, after: Look, estimate: FlowEstimator, strength: float) -> None:
        self._before, self._after, self._estimate, self._strength = before, after, estimate, strength
        self._lock = threading.Lock()
        self._flows: dict[int, tuple[FloatArray, FloatArray]] = {}
        self._found: dict[tuple[int, bool], _Carried] = {}

    def carried(self, track_id: int, is_forward: bool) -> _Carried | None:
        """The earlier view as seen from the later frame, or the other way round."""
        looks = (self._before, self._after) if is_forward else (self._after, self._before)
        there, here = (look.views.get(track_id) for look in looks)
        if there is None or here is None:
            return None
        key = track_id, is_forward
        with self._lock:
            if key not in self._found:
                self._found[key] = self._carry(there, here, track_id, is_forward)
            return self._found[key]

    def _carry(self, there: _View, here: _View, track_id: int, is_forward: bool) -> _Carried:
        values = _refit(there.values, there.square, here.square)
        if values is there.values:
            if track_id not in self._flows:
                one, other = (there.target, here.target) if is_forward else (here.target, there.target)
                self._flows[track_id] = self._estimate(one, other), self._estimate(other, one)
            flow, back = self._flows[track_id] if is_forward else self._flows[track_id][::-1]
        else:  # the square grew or shrank in between: flows are found once for either size
            target = _refit(there.target, there.square, here.square)
            flow, back = self._estimate(target, here.target), self._estimate(here.target, target)
        away = follow(values, flow)
        away -= here.values
        share = confidence(channel(away, 3), flow, back)
        share *= np.float32(self._strength)
        away[..., 3] = 1
        return _Carried(there.square, here.square, flow, away, alike(share, 4))


def _refit(values: npt.NDArray[T], old: _Square, new: _Square) -> npt.NDArray[T]:
    """What was seen in one square at the size of another; both lie around the middle of the same face."""
    if (old.side, old.block) == (new.side, new.block):
        return values
    scale, side = old.block / new.block, new.side // new.block
    shift = (side - 1) / 2 - scale * (values.shape[0] - 1) / 2
    affine = np.array([[scale, 0, shift], [0, scale, shift]], dtype=np.float32)
    if scale < 1:  # whole blocks become one, as if they had been taken so
        sigma = 0.4 / scale
        values = np.asarray(blur(values.astype(np.float32), sigma), dtype=values.dtype)
    return np.ascontiguousarray(warp(values, affine, side, side, is_border_black=False))


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A frame between its neighbours.

    Attributes
    ----------
    now
        The frame.
    before, after
        Links that lead away from it, up to `HALO` on each side; fewer where the clip or the shot ends.
    """

    now: Look
    before: tuple[_Link, ...]
    after: tuple[_Link, ...]


class Trail:
    """The last frames of a stream, for steadying that knows no future."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque(maxlen=HALO)
        self._links: deque[_Link | None] = deque(maxlen=HALO)

    def add(self, look: Look, is_cut: bool, estimate: FlowEstimator, strength: float) -> Window:
        """The window of the next frame, with nothing after it."""
        if self._looks:
            self._links.append(None if is_cut else _Link(self._looks[-1], look, estimate, strength))
        self._looks.append(look)
        links = takewhile(lambda link: link is not None, reversed(self._links))
        return Window(look, tuple(links), ())  # type: ignore[arg-type]


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
        self._presence = {t.track_id: presence(t, tracks, self._ids) for t in tracks.tracks if t.track_id in self._ids}
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
            share = float(self._presence[track.track_id][row])
            if share < LEAST_SHARE:
                continue
            target = take(rendered.frame.pixels, square.x0, square.y0, square.side, square.block)
            if rendered.is_changed:
                assert rendered.patch is not None
                views[track.track_id] = _view(square, target, _change(rendered, square), share)
        return Look(rendered, views)

    def windows(self, looks: Iterable[Look]) -> Iterator[Window]:
        """Every frame with its neighbours; `HALO` frames of delay."""
        known: list[Look] = []
        links: list[_Link | None] = []  # from each of them to the next
        at = 0
        for look in looks:
            if known:
                is_cut = look.rendered.frame.pts in self._starts
                links.append(None if is_cut else _Link(known[-1], look, self._estimate, self._strength))
            known.append(look)
            if len(known) - at > HALO:
                yield _window(known, links, at)
                at += 1
            if at > HALO:
                del known[0], links[0]
                at -= 1
        for k in range(at, len(known)):
            yield _window(known, links, k)

    def window_after(self, trail: Trail, look: Look) -> Window:
        """A frame and those before it, where the next ones are not known; the trail takes it in."""
        return trail.add(look, look.rendered.frame.pts in self._starts, self._estimate, self._strength)

    def smooth(self, window: Window) -> RenderedFrame:
        """The middle frame of a window with its change steadied."""
        rendered = window.now.rendered
        before = {
            track.track_id: stand_before(self._tracks, track, row) for track, row in self._seen(rendered.frame.pts)
        }
        for track_id, view in window.now.views.items():
            correction = self._correction(view, track_id, window)
            if before.get(track_id):  # what was there a frame ago is not carried onto who is there now
                correction *= _beside(before[track_id], view.square)[..., None]
            rendered = _corrected(rendered, correction, view.square)
        return rendered

    def _correction(self, view: _View, track_id: int, window: Window) -> FloatArray:
        """(S, S, 3) what to add to the frame."""
        total: FloatArray | None = None
        for links, is_forward in ((window.before, True), (window.after, False)):
            found = _from_afar([link.carried(track_id, is_forward) for link in links])
            if found is not None:
                total = found if total is None else total + found
        if total is None:
            return np.zeros(view.target.shape, dtype=np.float32)
        weight = _taper(len(total)) * np.float32(view.share) / (channel(total, 3) + 1)
        return scaled_colours(total, weight)


def _window(known: Sequence[Look], links: Sequence[_Link | None], at: int) -> Window:
    before, after = links[max(at - HALO, 0) : at][::-1], links[at : at + HALO]
    return Window(known[at], *(tuple(takewhile(lambda link: link is not None, side)) for side in (before, after)))  # type: ignore[arg-type]


def _from_afar(path: Sequence[_Carried | None]) -> FloatArray | None:
    """(S, S, 4) differences from views farther and farther away, times their weights, and the sum of the weights.

    Every frame hands on what it was told, so a view two frames away costs no more than one beside.
    """
    reached = list(takewhile(lambda step: step is not None, path))
    told: FloatArray | None = None
    for step in reversed(reached):
        assert step is not None
        if told is None:
            told = step.away * step.share
            continue
        told = follow(_refit(told, step.square, step.own), step.flow)
        weight = channel(told, 3) + 1
        told[..., 3] = 0
        told += step.away * alike(weight, 4)
        told *= step.share
    return told


def _beside(meshes: Sequence[FloatArray], square: _Square) -> FloatArray:
    """(S, S) 0 on some heads."""
    corner = np.array([square.x0, square.y0], dtype=np.float32)
    moved = [((mesh[:, :2] - corner + 0.5) / square.block - 0.5).astype(np.float32) for mesh in meshes]
    return beside_heads(moved, square.side // square.block, square.side // square.block)


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


def _change(rendered: RenderedFrame, square: _Square) -> FloatArray:
    """(S, S, 3) output minus target in a square; 0 where nothing was changed."""
    assert rendered.patch is not None
    left, top, right, bottom = rendered.box
    side = square.side // square.block
    change = np.zeros((side, side, 3), dtype=np.float32)
    x0, x1 = max(left, square.x0), min(right, square.x0 + square.side)
    # Strip by strip, so that what is made in between stays in the cache.
    for first in range(0, side, _STRIP // square.block):
        start, stop = (square.y0 + min(k, side) * square.block for k in (first, first + _STRIP // square.block))
        y0, y1 = max(top, start), min(bottom, stop)
        if x1 > x0 and y1 > y0:
            changed = rendered.patch[y0 - top : y1 - top, x0 - left : x1 - left]
            room = y0 - start, stop - y1, x0 - square.x0, square.x0 + square.side - x1
            strip = padded(subtract(changed, rendered.frame.pixels[y0:y1, x0:x1]), room)
            change[first : first + len(strip) // square.block] = averaged(strip, square.block)
    return change


def _view(square: _Square, target: Pixels, change: FloatArray, share: float) -> _View:
    """What is remembered: the change as if the target that it covers had no grain."""
    light = mean_of_channels(target)
    covered = mean_around(np.minimum(largest_of_channels(np.abs(change)) * np.float32(1 / _COVERED), 1), 7)
    fine = target.astype(np.float32)
    fine -= mean_around(fine, _GRAIN_PX)
    if share < 1:
        change = change * np.float32(1 / share)
    fine *= alike(covered, 3)
    fine += change
    return _View(square, target, stack(fine, light), share)


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
    if joined == box:
        patch = rendered.patch.copy()
    else:
        patch = frame.pixels[joined[1] : joined[3], joined[0] : joined[2]].copy()
        patch[box[1] - joined[1] : box[3] - joined[1], box[0] - joined[0] : box[2] - joined[0]] = rendered.patch
    part = patch[y0 - joined[1] : y1 - joined[1], x0 - joined[0] : x1 - joined[0]]
    np.copyto(part, add(part, added))
    return rendered.with_patch(patch, joined)


@cache
def _taper(side: int) -> FloatArray:
    """(S, S) 1 inside, falling to 0 at the border of the square."""
    edge = np.clip((np.arange(side) + 0.5) / _RIM, 0, 1)
    line = np.minimum(edge, edge[::-1]).astype(np.float32)
    return np.asarray(np.minimum(line[:, None], line[None, :]), dtype=np.float32)
