"""From what was seen in the parts of a clip to tracks over the whole: join, link, bridge, smooth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from facefusion.analyse.people import link_people
from facefusion.analyse.smooth import smooth_finishes, smooth_meshes
from facefusion.imaging.boxes import overlap
from facefusion.models.pose import estimate_poses
from facefusion.types.face import Attributes
from facefusion.types.observation import Observation, Sighting, row_offsets
from facefusion.types.topology import MESH_TO_68
from facefusion.types.track import SAME_PERSON_COSINE, Track, Tracks

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

MAX_SAMPLES = 5
"""Best looks at a person that are kept to tell who it is."""
POINT_REACH = 3
"""Frames to each side over which the offsets of 68 points are smoothed."""
MAX_LINK_S = 3.0
"""Time within a shot over which a lost person is taken to be the same one."""
SAME_PLACE = 0.4
"""Overlap from which two parts see one person in the frame that both look at."""
SMOOTHED_AT_ONCE, SMOOTHED_AROUND = 500, 100
"""Frames of a track that are smoothed together, and frames to each side that are looked at for it."""


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """How tracks are made.

    Attributes
    ----------
    smoothing
        Strength over time, 0 to 1.
    max_gap
        Frames without a face that are bridged by interpolation.
    min_point_score
        Below this score 68 points are not believed and the mesh stands in.
    reach
        Frames by which every track is made longer at both ends, within its shot.
    contract, same_person_cosine
        Of the recogniser whose embeddings the sightings hold.
    """

    smoothing: float = 1.0
    max_gap: int = 12
    min_point_score: float = 0.5
    reach: int = 0
    contract: str = ""
    same_person_cosine: float = SAME_PERSON_COSINE


def join(observations: Sequence[Observation], options: JoinOptions, notes: Mapping[str, str] | None = None) -> Tracks:
    """Tracks of a whole clip.

    Parameters
    ----------
    observations
        Of all parts, in order.
    options
        How.
    notes
        Stored with the tracks.

    Returns
    -------
    Smoothed tracks, the most prominent person first.
    """
    offsets = row_offsets(observations)
    times = np.concatenate(
        [o.pts[: stop - start] for o, start, stop in zip(observations, offsets, offsets[1:], strict=False)]
    )
    cuts: list[int] = []
    for number, (observation, offset) in enumerate(zip(observations, offsets, strict=False)):
        cuts += [
            offset + row for row in observation.cuts.tolist() if (row > 0 or number == 0) and offset + row < len(times)
        ]
    pieces: list[list[Sighting]] = []
    open_runs: list[int] = []
    for number, (observation, offset) in enumerate(zip(observations, offsets, strict=False)):
        moved = [_shifted(sighting, offset) for sighting in observation.sightings]
        seam = offset if number and offset not in cuts else -1
        open_runs = _continue(pieces, open_runs, moved, seam, offsets[number + 1] if observation.overlaps else -1)
    runs = [run for run in map(_sum, pieces) if len(run.frames)]
    pieces.clear()
    first = observations[0]
    linked = _link(runs, times, first.time_base, cuts)
    ordered = _by_prominence(linked, (first.width, first.height))
    tracks = [_finish(number, run, options) for number, run in enumerate(ordered)]
    if options.reach:
        tracks = [_extended(track, [*cuts, len(times)], options.reach) for track in tracks]
    people = link_people(tracks, options.same_person_cosine)
    return Tracks(
        first.width, first.height, first.time_base, times, tuple(tracks), dict(notes or {}),
        np.array(cuts, dtype=np.int64), people, options.contract, options.same_person_cosine,
    )  # fmt: skip


def _shifted(sighting: Sighting, offset: int) -> Sighting:
    return replace(
        sighting,
        frames=sighting.frames + offset,
        point_frames=sighting.point_frames + offset,
        finish_frames=sighting.finish_frames + offset,
    )


def _continue(
    pieces: list[list[Sighting]], open_runs: Sequence[int], found: Sequence[Sighting], seam: int, next_seam: int
) -> list[int]:
    """Go on with runs of the part before in the frame that both parts looked at.

    Parameters
    ----------
    pieces
        Runs so far, each a list of sightings; those of this part are added.
    open_runs
        Runs that reach the seam.
    found
        Sightings of this part.
    seam
        Row of the frame that both looked at, or -1 where there is a cut or nothing before.
    next_seam
        Row of the frame after this part that was looked at too, or -1.

    Returns
    -------
    Runs that reach the next seam.
    """
    places = []
    free = list(open_runs)
    for sighting in found:
        best = None
        if seam >= 0 and int(sighting.frames[0]) == seam:
            shares = {k: overlap(_box(pieces[k][-1].meshes[-1]), _box(sighting.meshes[0])) for k in free}
            best = max(shares, key=lambda k: shares[k], default=None)
            if best is not None and shares[best] < SAME_PLACE:
                best = None
        if best is None:
            pieces.append([sighting])
            places.append(len(pieces) - 1)
        else:
            free.remove(best)
            before = pieces[best][-1]
            pieces[best][-1] = _without_last(before)
            pieces[best].append(_with_first_motion(sighting, before))
            places.append(best)
    if seam < 0:
        # A new shot: what the part before saw of its first frame belongs to nobody.
        for k in free:
            pieces[k][-1] = _without_last(pieces[k][-1])
    return [k for k in places if int(pieces[k][-1].frames[-1]) == next_seam]


def _with_first_motion(after: Sighting, before: Sighting) -> Sighting:
    """A sighting whose first mesh is its own, with the motion that the part before measured up to it."""
    motions, trusts, is_moved = after.motions.copy(), after.trusts.copy(), after.is_moved.copy()
    motions[0], trusts[0], is_moved[0] = before.motions[-1], before.trusts[-1], before.is_moved[-1]
    return replace(after, motions=motions, trusts=trusts, is_moved=is_moved)


def _without_last(run: Sighting) -> Sighting:
    last = int(run.frames[-1])
    points, finishes = run.point_frames < last, run.finish_frames < last
    return replace(
        run,
        **{name: getattr(run, name)[:-1] for name in ("frames", "meshes", "scores", "motions", "trusts", "is_moved")},
        **{name: getattr(run, name)[points] for name in ("point_frames", "points", "point_scores")},
        **{name: getattr(run, name)[finishes] for name in ("finish_frames", "finishes")},
    )


def _sum(runs: Sequence[Sighting]) -> Sighting:
    """Consecutive runs of one person as one; of the looks the best."""
    if len(runs) == 1:
        return runs[0]
    qualities = np.concatenate([run.qualities for run in runs])
    best = np.argsort(-qualities, kind="stable")[:MAX_SAMPLES]
    looks = [look for run in runs for look in run.attributes]
    joined = (
        "frames", "meshes", "scores", "motions", "trusts", "is_moved", "point_frames", "points", "point_scores",
        "finish_frames", "finishes",
    )  # fmt: skip
    return replace(
        runs[0],
        **{name: np.concatenate([getattr(run, name) for run in runs]) for name in joined},
        qualities=qualities[best],
        identities=np.concatenate([run.identities for run in runs])[best],
        attributes=tuple(looks[k] for k in best) if looks else (),
    )


def _link(runs: Sequence[Sighting], pts: IntArray, time_base: Fraction, cuts: Sequence[int]) -> list[Sighting]:
    """Join runs of one shot that never appear together, are near in time, place and size."""
    linked: list[Sighting] = []

    def shot(frame: int) -> int:
        return int(np.searchsorted(cuts, frame, side="right"))

    for run in sorted(runs, key=lambda run: int(run.frames[0])):
        start = int(run.frames[0])
        candidates = [
            k
            for k, other in enumerate(linked)
            if shot(int(other.frames[0])) == shot(start)
            and other.frames[-1] < start
            and float((pts[start] - pts[other.frames[-1]]) * time_base) <= MAX_LINK_S
            and _is_near(other.meshes[-1], run.meshes[0])
        ]
        if candidates:
            latest = max(candidates, key=lambda k: int(linked[k].frames[-1]))
            linked[latest] = _sum([linked[latest], run])
        else:
            linked.append(run)
    return linked


def _is_near(one: FloatArray, other: FloatArray) -> bool:
    a, b = float(np.ptp(one[:, 1])), float(np.ptp(other[:, 1]))
    distance = float(np.linalg.norm((one - other)[:, :2].mean(axis=0)))
    return 0.6 < a / max(b, 1e-3) < 1.67 and distance < 1.2 * max(a, b)


def _by_prominence(runs: Sequence[Sighting], size: tuple[int, int]) -> list[Sighting]:
    """Largest, longest and most central first."""

    def prominence(run: Sighting) -> float:
        meshes = run.meshes[:, ::16, :2]
        area = np.ptp(meshes[..., 0], axis=1) * np.ptp(meshes[..., 1], axis=1)
        offset = np.abs(meshes.mean(axis=1) / np.array(size) - 0.5).max(axis=1)
        return float((area * (1.2 - np.clip(offset, 0, 1))).sum())

    return sorted(runs, key=lambda run: -prominence(run))


def _finish(track_id: int, run: Sighting, options: JoinOptions) -> Track:
    frames, meshes, scores = _bridge(run.frames, run.meshes, run.scores, options.max_gap)
    # Bridged frames have no measured motion: nothing is trusted there.
    source = np.full(len(frames), -1)
    rows = np.searchsorted(frames, run.frames)
    source[rows[run.is_moved]] = np.flatnonzero(run.is_moved)
    smooth = meshes.copy()
    for part in np.split(np.arange(len(frames)), np.flatnonzero(np.diff(frames) > 1) + 1):
        for start in range(0, len(part), SMOOTHED_AT_ONCE):
            inner = part[start : start + SMOOTHED_AT_ONCE]
            low = max(start - SMOOTHED_AROUND, 0)
            wide = part[low : start + SMOOTHED_AT_ONCE + SMOOTHED_AROUND]
            known = (source[wide] >= 0)[:, None]
            motions = np.where(known[..., None], run.motions[source[wide]], 0).astype(np.float32)
            trusts = np.where(known, run.trusts[source[wide]], 0).astype(np.float32)
            done = smooth_meshes(meshes[wide], motions, trusts, options.smoothing)
            smooth[inner] = done[start - low : start - low + len(inner)]
    points = None
    if len(run.point_frames):
        points = _smooth_points(frames, smooth, run, options.min_point_score)
    known_people = run.identities.shape[1] if len(run.identities) else 0
    finishes = {
        int(k): (float(blur), float(grain)) for k, (blur, grain) in zip(run.finish_frames, run.finishes, strict=True)
    }
    return Track(
        track_id,
        frames,
        smooth,
        scores,
        np.concatenate(
            [estimate_poses(smooth[k : k + SMOOTHED_AT_ONCE]) for k in range(0, len(smooth), SMOOTHED_AT_ONCE)]
        ),
        points,
        run.identities.mean(axis=0).astype(np.float32) if known_people else None,
        _majority(run.attributes) if run.attributes else None,
        ~np.isin(frames, run.frames),
        smooth_finishes(frames, finishes),
    )


def _smooth_points(frames: IntArray, meshes: FloatArray, run: Sighting, min_score: float) -> FloatArray:
    """68 points carried by the smoothed mesh: only their offset from it is measured, and smoothed."""
    landmarks = list(MESH_TO_68)
    offsets = np.zeros((len(frames), 68, 2), dtype=np.float32)
    weights = np.zeros(len(frames), dtype=np.float32)
    at = np.searchsorted(frames, run.point_frames)
    raw = run.meshes[np.searchsorted(run.frames, run.point_frames)][:, landmarks, :2]
    is_good = run.point_scores >= min_score
    offsets[at[is_good]], weights[at[is_good]] = (run.points - raw)[is_good], 1.0
    kernel = np.exp(-(np.arange(-POINT_REACH, POINT_REACH + 1) ** 2) / (2 * (POINT_REACH / 2) ** 2))
    total = np.zeros(len(frames), dtype=np.float32)
    added = np.zeros_like(offsets)
    for step, share in zip(range(-POINT_REACH, POINT_REACH + 1), kernel, strict=True):
        near = np.searchsorted(frames, frames + step)
        is_there = near < len(frames)
        near = np.minimum(near, len(frames) - 1)
        weight = np.where(is_there & (frames[near] == frames + step), share * weights[near], 0).astype(np.float32)
        total += weight
        added += weight[:, None, None] * offsets[near]
    return np.asarray(meshes[:, landmarks, :2] + added / np.maximum(total, 1e-6)[:, None, None], dtype=np.float32)


def _extended(track: Track, bounds: Sequence[int], reach: int) -> Track:
    """A track with more frames at both ends, within its shot, in which the face stays where it was."""
    first, last = int(track.frames[0]), int(track.frames[-1])
    start = max(max(bound for bound in bounds if bound <= first), first - reach)
    stop = min(min(bound for bound in bounds if bound > last), last + 1 + reach)
    before, after = np.arange(start, first), np.arange(last + 1, stop)
    rows = np.concatenate(
        [np.zeros(len(before), int), np.arange(len(track.frames)), np.full(len(after), len(track.frames) - 1)]
    )
    is_new = np.concatenate([np.ones(len(before), bool), np.zeros(len(track.frames), bool), np.ones(len(after), bool)])
    return replace(
        track,
        frames=np.concatenate([before, track.frames, after]),
        meshes=track.meshes[rows],
        scores=track.scores[rows],
        poses=track.poses[rows],
        points=None if track.points is None else track.points[rows],
        finishes=None if track.finishes is None else track.finishes[rows],
        guessed=is_new | (False if track.guessed is None else track.guessed[rows]),
    )


def _majority(found: Sequence[Attributes]) -> Attributes:
    """The most frequent value of each attribute; of equals the one seen in the better look."""
    ages, genders, races = ([getattr(one, name) for one in found] for name in ("ages", "gender", "race"))
    return Attributes(*(max(values, key=values.count) for values in (ages, genders, races)))


def _box(mesh: FloatArray) -> FloatArray:
    points = mesh[:, :2]
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def _bridge(
    frames: IntArray, meshes: FloatArray, scores: FloatArray, max_gap: int
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Fill gaps of a few frames by interpolation, so that the old face does not flash up."""
    gaps = np.flatnonzero(np.diff(frames) > 1)
    if not gaps.size:
        return frames, meshes, scores
    parts: list[tuple[IntArray, FloatArray, FloatArray]] = []
    start = 0
    for k in gaps.tolist():
        parts.append((frames[start : k + 1], meshes[start : k + 1], scores[start : k + 1]))
        start = k + 1
        gap = int(frames[k + 1] - frames[k]) - 1
        if gap <= max_gap and _is_near(meshes[k], meshes[k + 1]):
            share = (np.arange(1, gap + 1, dtype=np.float32) / (gap + 1))[:, None, None]
            between = (meshes[k] * (1 - share) + meshes[k + 1] * share).astype(np.float32)
            low = np.full(gap, min(scores[k], scores[k + 1]), dtype=np.float32)
            parts.append((np.arange(frames[k] + 1, frames[k + 1]), between, low))
    parts.append((frames[start:], meshes[start:], scores[start:]))
    found = tuple(np.concatenate(column) for column in zip(*parts, strict=True))
    return found[0], found[1], found[2]
