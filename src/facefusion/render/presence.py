"""How strongly a person is changed in each frame: fades where a hard switch would be seen."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from facefusion.imaging.boxes import box_of, overlap
from facefusion.imaging.masks import HEAD
from facefusion.types.track import Track, Tracks

FloatArray = npt.NDArray[np.float32]

FADE_FRAMES = 3
"""Least frames over which a change comes and goes where a face is found or lost within a shot."""
FADE_S = 0.1
"""The same in seconds, for clips of many frames per second."""
MAX_FADE_FRAMES = 30
FADE_YAW_DEG = (76.0, 90.0)
"""Between these the change fades out: beyond, half of the mesh is a guess and would smear."""
GOES_ON = 0.5
"""Overlap of a face with one of another track in the next frame, from which that is the same face."""


def presence(track: Track, tracks: Tracks, changed: Collection[int] | None = None) -> FloatArray:
    """(N,) 0 to 1 for every row of a track.

    A face that comes with a cut, or from behind somebody, is changed at once, and so is one that is taken over from
    another track, if that is one of ``changed`` (None for all): what is half of each is a third. One that enters over
    the border is not: it is found only when much of it is in sight.
    """
    count = len(track.frames)
    if not count:
        return np.zeros(0, dtype=np.float32)
    low, high = FADE_YAW_DEG
    turned = np.clip((high - np.abs(track.poses[:, 0])) / (high - low), 0, 1)
    from_start, to_end = np.full(count, np.inf), np.full(count, np.inf)
    bounds = [*tracks.cuts.tolist(), len(tracks.pts)]
    others = [one for one in tracks.tracks if one is not track and (changed is None or one.track_id in changed)]
    starts = np.flatnonzero(np.diff(track.frames, prepend=-9) > 1)
    stops = np.append(starts[1:], count)
    for start, stop in zip(starts, stops, strict=True):
        run = np.arange(stop - start)
        first, last = int(start), int(stop) - 1
        if int(track.frames[first]) not in bounds and not (
            _is_beside_others(track, first, tracks) or _goes_on(track, first, -1, others)
        ):
            from_start[start:stop] = run
        if int(track.frames[last]) + 1 not in bounds and not (
            _is_beside_others(track, last, tracks) or _goes_on(track, last, 1, others)
        ):
            to_end[start:stop] = run[::-1]
    ramp = np.clip((np.minimum(from_start, to_end) + 1) / (_fade_frames(tracks) + 1), 0, 1)
    return np.asarray(np.minimum(turned, ramp), dtype=np.float32)


def _fade_frames(tracks: Tracks) -> int:
    if len(tracks.pts) < 2:
        return FADE_FRAMES
    step_s = float(np.median(np.diff(tracks.pts))) * float(tracks.time_base)
    return int(np.clip(round(FADE_S / max(step_s, 1e-6)), FADE_FRAMES, MAX_FADE_FRAMES))


def _goes_on(track: Track, row: int, step: int, others: Sequence[Track]) -> bool:
    """Whether one of the others is on the same face in the frame before (-1) or after (1) a row."""
    frame, box = int(track.frames[row]) + step, box_of(track.meshes[row])
    rows = ((other, other.find(frame)) for other in others)
    return any(at is not None and overlap(box, box_of(other.meshes[at])) >= GOES_ON for other, at in rows)


def _is_beside_others(track: Track, row: int, tracks: Tracks) -> bool:
    """Whether somebody else's head meets the face in one of its frames."""
    low, high = (f(track.meshes[row][:, :2], axis=0) for f in (np.min, np.max))
    frame = int(track.frames[row])
    for other in tracks.tracks:
        if other is track or not len(other.frames) or not other.frames[0] <= frame <= other.frames[-1]:
            continue
        at = other.find(frame)
        if at is None:
            continue
        start, stop = (f(other.meshes[at][:, :2], axis=0) for f in (np.min, np.max))
        room = (HEAD - 1) / 2 * (stop - start)
        if (np.minimum(high, stop + room) > np.maximum(low, start - room)).all():
            return True
    return False
