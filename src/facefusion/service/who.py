"""Who is who in a target: of every person the number, when and where they are seen, how large and how well.

The numbers are those that ``--faces``, ``--exempt-faces`` and mapping files (``person``) take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from facefusion.types.track import Track, Tracks

FloatArray = npt.NDArray[np.float32]

FINE_PX = 96.0
"""A face that is as large is seen well, and no better where it is larger."""
SIDES = ("left", "middle", "right")
_ROWS = 500
"""Rows of a track at even distances that tell where and how large somebody is."""
_GAP_S = 0.5
"""Somebody who is away for less is not told as away."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """When somebody is seen without a break.

    Attributes
    ----------
    start_s, stop_s
        When the first frame is shown, and when the last one is no longer, seconds from the beginning of the target.
    track
        Number of the track.
    """

    start_s: float
    stop_s: float
    track: int


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A frame in which somebody is seen.

    Attributes
    ----------
    row
        Of the tracks.
    quality
        0 to 1.
    box
        (4,) float32 xyxy in frame pixels.
    """

    row: int
    quality: float
    box: FloatArray


@dataclass(frozen=True, slots=True)
class PersonSeen:
    """Somebody in a target.

    Attributes
    ----------
    person
        Number, 0 for the most prominent.
    tracks
        Numbers of the tracks: one who goes and comes back has several.
    frames
        In which the person is seen.
    stretches
        When.
    side
        Where most of the time: ``left``, ``middle`` or ``right`` third of the picture, as seen in the image.
    size_px
        Height of the face in most frames.
    quality
        How well the face is seen in most frames, 0 to 1: large, turned to the camera, surely found.
    best_s, best_box
        When it is seen best, and where then: xyxy in pixels.
    """

    person: int
    tracks: tuple[int, ...]
    frames: int
    stretches: tuple[Stretch, ...]
    side: str
    size_px: int
    quality: float
    best_s: float
    best_box: tuple[float, float, float, float]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def quality_of(heights: FloatArray, scores: FloatArray, poses: FloatArray) -> FloatArray:
    """How well faces are seen, 0 to 1.

    Parameters
    ----------
    heights
        (N,) height of the face, px.
    scores
        (N,) 0 to 1.
    poses
        (N, 3) yaw, pitch, roll in degrees.
    """
    turned = np.maximum(0.2, 1 - np.abs(poses[:, 0]) / 90 - np.abs(poses[:, 1]) / 120)
    return np.asarray(np.clip(np.minimum(heights / FINE_PX, 1) * np.clip(scores, 0, 1) * turned, 0, 1), np.float32)


def boxes_of(meshes: npt.NDArray[Any]) -> FloatArray:
    """(N, 4) xyxy around (N, 478, 3) meshes."""
    points = np.asarray(meshes)[:, :, :2]
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1).astype(np.float32)


def time_of(tracks: Tracks, row: int) -> float:
    """When a row of the tracks is shown, seconds from the beginning of the target."""
    return float(int(tracks.pts[row]) * tracks.time_base)


def end_of(tracks: Tracks, row: int) -> float:
    """When a row of the tracks is no longer shown: when the next one is; of the last one, as long as the usual one."""
    if row + 1 < len(tracks.pts):
        return time_of(tracks, row + 1)
    step = float(np.median(np.diff(tracks.pts)) * tracks.time_base) if len(tracks.pts) > 1 else 0.0
    return time_of(tracks, row) + step


def people_of(tracks: Tracks) -> tuple[PersonSeen, ...]:
    """Everybody in a target, by number."""
    by_person: dict[int, list[Track]] = {}
    for track in tracks.tracks:
        if len(track.frames):
            by_person.setdefault(tracks.person_of(track.track_id), []).append(track)
    return tuple(_person(tracks, number, by_person[number]) for number in sorted(by_person))


def looks_of(tracks: Tracks, seen: PersonSeen, count: int) -> tuple[Look, ...]:
    """Some of the frames in which somebody is seen, spread over all their time; the best of all is among them.

    Parameters
    ----------
    tracks, seen
        Whom.
    count
        How many at most. Of each part of the time it is the best look.
    """
    own = [track for track in tracks.tracks if track.track_id in seen.tracks]
    rows, qualities, boxes = _sampled(own)
    order = np.argsort(rows, kind="stable")
    parts = [part for part in np.array_split(order, max(min(count, len(order)), 1)) if len(part)]
    best = [int(part[np.argmax(qualities[part])]) for part in parts]
    return tuple(Look(int(rows[k]), float(qualities[k]), boxes[k]) for k in best)


def _sampled(own: Sequence[Track]) -> tuple[npt.NDArray[np.int64], FloatArray, FloatArray]:
    """Rows, quality and boxes of some frames of tracks; those in which nothing was measured count less."""
    rows, qualities, boxes = [], [], []
    step = max(sum(len(track.frames) for track in own) // _ROWS, 1)
    for track in own:
        here = boxes_of(track.meshes[::step])
        quality = quality_of(here[:, 3] - here[:, 1], track.scores[::step], np.asarray(track.poses[::step]))
        if track.guessed is not None:
            quality = np.where(track.guessed[::step], quality * 0.1, quality).astype(np.float32)
        rows.append(track.frames[::step])
        qualities.append(quality)
        boxes.append(here)
    return np.concatenate(rows), np.concatenate(qualities), np.concatenate(boxes)


def _person(tracks: Tracks, number: int, own: Sequence[Track]) -> PersonSeen:
    rows, qualities, boxes = _sampled(own)
    best = int(np.argmax(qualities))
    middle = float(np.median((boxes[:, 0] + boxes[:, 2]) / 2)) + 0.5
    side = SIDES[int(np.clip(middle * 3 // tracks.width, 0, 2))]
    stretches = sorted((s for track in own for s in _stretches(tracks, track)), key=lambda s: (s.start_s, s.track))
    left, top, right, bottom = (round(float(v), 2) for v in boxes[best])
    return PersonSeen(
        number,
        tuple(track.track_id for track in own),
        sum(len(track.frames) for track in own),
        tuple(stretches),
        side,
        round(float(np.median(boxes[:, 3] - boxes[:, 1]))),
        round(float(np.median(qualities)), 3),
        round(time_of(tracks, int(rows[best])), 3),
        (left, top, right, bottom),
    )


def _stretches(tracks: Tracks, track: Track) -> list[Stretch]:
    """Of one track; a few frames in which it was lost do not break it."""
    times = tracks.pts[track.frames]
    breaks = np.flatnonzero(np.diff(times) * float(tracks.time_base) > _GAP_S) + 1
    return [
        Stretch(round(time_of(tracks, int(part[0])), 3), round(end_of(tracks, int(part[-1])), 3), track.track_id)
        for part in np.split(track.frames, breaks)
    ]
