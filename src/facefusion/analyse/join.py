"""From what was seen in the parts of a clip to tracks over the whole: join, link, bridge, smooth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facefusion.analyse.people import find_changes, link_people
from facefusion.analyse.smooth import smooth_finishes, smooth_meshes, smooth_smears
from facefusion.imaging.align import mesh_roll
from facefusion.imaging.appearance import likeness_of_looks, points_inside
from facefusion.imaging.beards import NOT_LOOKED, beard_of
from facefusion.imaging.boxes import box_of, overlap, share_inside
from facefusion.imaging.glasses import worn_of
from facefusion.models.face_shape import proportions_of
from facefusion.models.pose import estimate_poses
from facefusion.types.certainty import INSIDE, NO_VERDICT, Evidence
from facefusion.types.certainty import SURE as FACE
from facefusion.types.face import Attributes
from facefusion.types.observation import LONG as LONG_SEEN
from facefusion.types.observation import SPECTRUM, Observation, Sighting, row_offsets
from facefusion.types.rows import Rows, absent
from facefusion.types.topology import MESH_TO_68, POINT_COUNT
from facefusion.types.track import LONG, SAME_PERSON_COSINE, Track, Tracks

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
FAR_LINK = 2.5
"""How much farther away than others somebody is looked for who looks the same beyond doubt."""
ALIKE, PERSON = 0.45, 0.3
"""Likeness of looks that speaks neither for nor against one person, and cosines that outweigh one step of 0.3 of it."""
STRANGER, SURE = -0.5, 0.5
"""Evidence below which two runs are of two people, and above which they are of one in any case."""
GUESS_GAP = 12
"""Frames between two runs over which something doubtful and a face beyond doubt are not taken for one."""
COVERED = 0.3
"""Share of a face that was not seen in a frame behind that of somebody who was, from which it is hidden."""
SHAPE_LOOKS = 48
"""Meshes of a track that are read to tell what somebody's face is like."""
HEAD_LOOKS, HEAD_SIZE = 16, 1.5
"""Frames in which it is looked whether a doubtful face lies on somebody's head, and a head over its face's outline."""
BODY_WIDE, BODY_BEGINS, BODY_HIGH = 1.5, 0.7, 7.0
"""Where somebody's body is below the middle of their face, over the size of the face."""
HAND_ACROSS, HAND_BEGINS, HAND_ENDS, HAND_SIZE = 1.3, 0.9, 6.0, 0.4
"""How far to the side of somebody's face and below it their hands may be, over its height, and up to which share of it
a find there is taken for one."""
HAND_UPRIGHT = 35.0
"""Degrees by which somebody may lean for their body to be below their face."""
TURNED_BRIDGE = 30.0
"""Degrees by which a face is turned after a gap from which it turns in between: points on straight ways would meet."""
FLASH = 3
"""Frames up to which what lies between two cuts is a flash, and no shot."""
AT_ENDS, AS_LARGE, SAME_FACE = FLASH + 1, 1.6, 0.3
"""Frames from the first or last of somebody sure and factor between sizes up to which, and overlap from which, a
doubtful find is the same face."""
AT_PLACE, LEAST_LIKE, LEAST_LIKE_BESIDE = 0.6, 0.25, 0.5
"""Overlap from which who fills a gap of somebody may be the same whatever they look like in that light, and shares of
the cosine of one person below which they are not: where they are seen before and after it, and on one side alone."""
OWN_FACE, PART_SIZE, PART_REACH = 0.99, 0.45, 1.35
"""Score of the mesh from which a find on somebody's head is a face of its own, as those held out are; size of another
over somebody's, and growth of their outline, up to which it is a part of them: ears have 0.96, 0.3 and 1.2."""
BORDER_REACH, CUT_HEAD_PX = 6, 40.0
"""Frames by which a doubtful find is made longer at either end where the picture's border cuts its head: networks know
few halves of heads, and lose them while they are there. Least height of such a find."""
HALF_INSIDE = 0.5
"""Share of a find at the border that lies on a head there from which both are the same: of a half, meshes differ."""
SMOOTHED_AT_ONCE, SMOOTHED_AROUND = 500, 100
"""Frames of a track that are smoothed together, and frames to each side that are looked at for it."""


PER_FRAME = ("frames", "scores", "is_moved", "depths", "blacks", "spectra", "beards", "glasses")
"""Short columns of a run that have a row for every frame."""


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
        Frames by which every track is made longer at both ends, within its shot or over a flash.
    contract, same_person_cosine
        Of the recogniser whose embeddings the sightings hold.
    """

    smoothing: float = 1.0
    max_gap: int = 12
    min_point_score: float = 0.5
    reach: int = 0
    contract: str = ""
    same_person_cosine: float = SAME_PERSON_COSINE


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """One person as followed without a break: a sighting, or several; names as there. Long columns are not read."""

    frames: IntArray
    scores: FloatArray
    is_moved: npt.NDArray[np.bool_]
    point_frames: IntArray
    point_scores: FloatArray
    finish_frames: IntArray
    finishes: FloatArray
    qualities: FloatArray
    identities: FloatArray
    attributes: tuple[Attributes, ...]
    depths: npt.NDArray[np.int8]
    looks: FloatArray | None
    blacks: FloatArray
    spectra: npt.NDArray[np.float16]
    beards: npt.NDArray[np.float16]
    glasses: npt.NDArray[np.float16]
    meshes: Rows
    motions: Rows
    trusts: Rows
    points: Rows
    evidence: FloatArray | None = None
    kept_frames: IntArray | None = None
    told_frames: IntArray | None = None
    told: FloatArray | None = None

    @property
    def is_seen(self) -> npt.NDArray[np.bool_]:
        """(N,) rows in which the person was measured, not carried along the motion of the picture."""
        return np.ones(len(self.frames), np.bool_) if self.evidence is None else self.scores > 0

    @property
    def seen(self) -> tuple[int, int]:
        """First and last frame of those."""
        frames = self.frames[self.is_seen]
        return (int(frames[0]), int(frames[-1])) if len(frames) else (int(self.frames[0]), int(self.frames[-1]))


def join(
    observations: Sequence[Observation],
    options: JoinOptions,
    notes: Mapping[str, str] | None = None,
    path: Path | None = None,
) -> Tracks:
    """Tracks of a whole clip.

    Parameters
    ----------
    observations
        Of all parts, in order.
    options
        How.
    notes
        Stored with the tracks.
    path
        A file to write the tracks to: long columns are then in memory a piece at a time, and are read from the file
        when they are touched.

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
    pieces: list[list[_Run]] = []
    open_runs: list[int] = []
    for number, (observation, offset) in enumerate(zip(observations, offsets, strict=False)):
        moved = [_run(sighting, offset) for sighting in observation.sightings]
        seam = offset if number and offset not in cuts else -1
        open_runs = _continue(pieces, open_runs, moved, seam, offsets[number + 1] if observation.overlaps else -1)
    runs = [run for run in map(_sum, pieces) if len(run.frames)]
    pieces.clear()
    first = observations[0]
    # Where people are hidden, two runs are parted only when nearly everything speaks against one person.
    least = STRANGER * (3 if options.reach else 1)
    linked = _link(runs, times, first.time_base, cuts, options.same_person_cosine, least)
    if not options.reach:
        linked = _without_parts(_woven(linked, cuts, options))
    # After linking, so that parts of one run are not linked again.
    turns = _turns(observations, offsets, cuts)
    linked = [part for run in linked for part in _parted(run, options.same_person_cosine, turns, options.reach > 0)]
    size = first.width, first.height
    drafts = [_draft(run, options, size) for run in _by_prominence(linked, size)]
    bounds = [*cuts, len(times)]
    if options.reach:  # where people are hidden, doubt covers
        drafts = [_extended(draft, bounds, *_reaches(draft, options.reach, len(times))) for draft in drafts]
    else:
        drafts = [_without_hidden(draft, drafts) for draft in drafts]
    tracks = [draft.outline(number) for number, draft in enumerate(drafts)]
    tracks = _with_heads(tracks, drafts, _without_flashes(bounds))
    people = link_people(tracks, options.same_person_cosine)
    tracks = _with_beards(tracks, people, [draft.run.beards for draft in drafts])
    result = Tracks(
        first.width, first.height, first.time_base, times, tuple(tracks), dict(notes or {}),
        np.array(cuts, dtype=np.int64), people, options.contract, options.same_person_cosine,
    )  # fmt: skip
    found = (
        (number, name, row, values)
        for number, draft in enumerate(drafts)
        for row, long in _smooth(draft, options, size)
        for name, values in long.items()
    )
    if path is not None:
        result.save(path, ((f"{number}.{name}", row, values) for number, name, row, values in found))
        return Tracks.load(path, is_mapped=True)
    filled = []
    for track in tracks:
        long: dict[str, Any] = {n: np.array(getattr(track, n)) for n in LONG if getattr(track, n) is not None}
        filled.append(replace(track, **long))
    for track_id, name, row, values in found:
        getattr(filled[track_id], name)[row : row + len(values)] = values
    return replace(result, tracks=tuple(filled))


def _run(sighting: Sighting, offset: int) -> _Run:
    """A sighting in rows of the whole clip."""
    return _Run(
        sighting.frames + offset, sighting.scores, sighting.is_moved, sighting.point_frames + offset,
        sighting.point_scores, sighting.finish_frames + offset, sighting.finishes, sighting.qualities,
        sighting.identities, sighting.attributes,
        np.zeros(len(sighting.frames), np.int8) if sighting.depths is None else sighting.depths, sighting.looks,
        _blacks(sighting),
        np.zeros((len(sighting.frames), SPECTRUM), np.float16) if sighting.spectra is None else sighting.spectra,
        np.tile(NOT_LOOKED, (len(sighting.frames), 1)) if sighting.beards is None else sighting.beards,
        np.tile(NOT_LOOKED, (len(sighting.frames), 1)) if sighting.glasses is None else sighting.glasses,
        Rows.of(sighting.meshes), Rows.of(sighting.motions), Rows.of(sighting.trusts), Rows.of(sighting.points),
        sighting.evidence,
        None if sighting.kept_frames is None else sighting.kept_frames + offset,
        None if sighting.told_frames is None else sighting.told_frames + offset,
        sighting.told,
    )  # fmt: skip


def _with_beards(
    tracks: Sequence[Track], people: Sequence[int], looks: Sequence[npt.NDArray[np.float16]]
) -> list[Track]:
    """Tracks that know of the beard of who they show, from all looks at them: none comes or goes between two shots."""
    told = {}
    for who in sorted(set(people)):
        of_person = [rows for rows, person in zip(looks, people, strict=True) if person == who]
        share = beard_of(np.concatenate(of_person))
        told[who] = np.array([share], np.float32) if share > 0 else None
    return [replace(track, beard=told[who]) for track, who in zip(tracks, people, strict=True)]


def _blacks(sighting: Sighting) -> FloatArray:
    """What is known of the darkest; NaN where nothing is."""
    return np.full((len(sighting.frames), 3), np.nan, np.float32) if sighting.blacks is None else sighting.blacks


def _continue(
    pieces: list[list[_Run]], open_runs: Sequence[int], found: Sequence[_Run], seam: int, next_seam: int
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
            shares = {k: overlap(box_of(pieces[k][-1].meshes.row(-1)), box_of(sighting.meshes.row(0))) for k in free}
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


def _with_first_motion(after: _Run, before: _Run) -> _Run:
    """A run whose first mesh is its own, with the motion that the part before measured up to it."""
    last, count = len(before.frames) - 1, len(after.frames)
    return replace(
        after,
        motions=before.motions.cut(last, last + 1) + after.motions.cut(1, count),
        trusts=before.trusts.cut(last, last + 1) + after.trusts.cut(1, count),
        is_moved=np.concatenate([before.is_moved[-1:], after.is_moved[1:]]),
    )


def _without_last(run: _Run) -> _Run:
    return _part(run, 0, len(run.frames) - 1)


def _part(run: _Run, low: int, high: int) -> _Run:
    """Some rows of a run."""
    if (low, high) == (0, len(run.frames)):
        return run
    first, stop = (int(run.frames[k]) if k < len(run.frames) else int(run.frames[-1]) + 1 for k in (low, high))
    begin, end = np.searchsorted(run.point_frames, (first, stop)).tolist()
    finishes = (run.finish_frames >= first) & (run.finish_frames < stop)
    if run.told_frames is not None and run.told is not None:
        is_in = (run.told_frames >= first) & (run.told_frames < stop)
        run = replace(run, told_frames=run.told_frames[is_in], told=run.told[is_in])
    return replace(
        run,
        **{name: getattr(run, name)[low:high] for name in PER_FRAME},
        **{name: getattr(run, name)[begin:end] for name in ("point_frames", "point_scores")},
        **{name: getattr(run, name)[finishes] for name in ("finish_frames", "finishes")},
        **{name: getattr(run, name).cut(low, high) for name in ("meshes", "motions", "trusts")},
        points=run.points.cut(begin, end),
    )


def _one_after_other(before: _Run, after: _Run) -> list[_Run]:
    """Two runs of one person without the rows in which both were carried along: there the earlier one counts."""
    before = _part(before, 0, int(np.searchsorted(before.frames, after.seen[0])))
    return [
        before,
        _part(after, int(np.searchsorted(after.frames, before.frames[-1], side="right")), len(after.frames)),
    ]


def _sum(runs: Sequence[_Run]) -> _Run:
    """Consecutive runs as one, with all looks: whether it is one person is seen later."""
    if len(runs) == 1:
        return runs[0]
    told = [(run.told_frames, run.told) for run in runs if run.told_frames is not None and run.told is not None]
    has_kept = all(run.kept_frames is not None for run in runs)
    short = (*PER_FRAME, "point_frames", "point_scores", "finish_frames", "finishes")
    joined: dict[str, Any] = {name: np.concatenate([getattr(run, name) for run in runs]) for name in short}
    joined |= {name: Rows.sum(getattr(run, name) for run in runs) for name in LONG_SEEN}
    return replace(
        runs[0],
        **joined,
        qualities=np.concatenate([run.qualities for run in runs]),
        identities=np.concatenate([run.identities for run in runs]),
        attributes=tuple(look for run in runs for look in run.attributes),
        kept_frames=np.concatenate([r.kept_frames for r in runs if r.kept_frames is not None]) if has_kept else None,
        told_frames=np.concatenate([frames for frames, _ in told]) if told else None,
        told=np.concatenate([embeddings for _, embeddings in told]) if told else None,
        evidence=_best_evidence([run.evidence for run in runs]),
        looks=_ends([run.looks for run in runs]),
    )


def _with_looks(run: _Run, which: IntArray) -> _Run:
    """A run with some of its looks, the best of those."""
    best = which[np.argsort(-run.qualities[which], kind="stable")][:MAX_SAMPLES]
    return replace(
        run,
        qualities=run.qualities[best],
        identities=run.identities[best],
        attributes=tuple(run.attributes[k] for k in best.tolist()) if run.attributes else (),
        kept_frames=None if run.kept_frames is None else run.kept_frames[best],
    )


def _parted(run: _Run, same_person_cosine: float, turns: Sequence[int], is_shared: bool) -> list[_Run]:
    """A run as those of the people it shows: where one picture dissolves into the next, a face is followed over both.

    Parameters
    ----------
    run
        With all looks.
    same_person_cosine
        Cosine above which two embeddings are one person.
    turns
        As of `_turns`.
    is_shared
        Whether frames in which both may be seen belong to both, so that nobody is bare when the other one is left as
        they are; otherwise every frame is one person's.
    """
    everything = np.arange(len(run.qualities))
    run = _with_kept_told(run)
    if run.told_frames is None or run.told is None:
        return [_with_looks(run, everything)]
    changes = find_changes(run.told_frames, run.told, same_person_cosine, turns)
    if not changes:
        return [_with_looks(run, everything)]
    bounds = [int(run.frames[0]), *(change.at for change in changes), int(run.frames[-1]) + 1]
    parts = []
    for number, (start, stop) in enumerate(pairwise(bounds)):
        before, after = ([None, *changes][number], [*changes, None][number])
        # Looks at both are looks at neither, but where there are no others.
        sure = before.begins if before else start, after.last + 1 if after else stop
        wide = (max(before.both[0], bounds[number - 1]) if before and is_shared else start,
                min(after.both[1], bounds[number + 2]) if after and is_shared else stop)  # fmt: skip
        low, high = np.searchsorted(run.frames, wide).tolist()
        if low == high:
            continue
        part = _with_looks_of(_part(run, low, high), run, sure, (start, stop))
        if is_shared and run.evidence is not None:
            is_own = (part.frames >= start) & (part.frames < stop)
            part = replace(part, scores=np.where(is_own, part.scores, 0).astype(np.float32))
        parts.append(part)
    return parts


def _turns(observations: Sequence[Observation], offsets: Sequence[int], cuts: Sequence[int]) -> list[int]:
    """Frames at which the picture as a whole has become another, rising; what it did over a seam is not known."""
    found = {*cuts, *offsets[1:-1]}
    for observation, offset in zip(observations, offsets, strict=False):
        found.update((observation.turns + offset).tolist() if observation.turns is not None else ())
    return sorted(found)


def _with_kept_told(run: _Run) -> _Run:
    """A run whose best looks tell who it is, too: they are read in any case."""
    if run.told_frames is None or run.told is None or run.kept_frames is None or not run.identities.shape[1]:
        return run
    frames, rows = np.unique(np.concatenate([run.told_frames, run.kept_frames]), return_index=True)
    return replace(run, told_frames=frames, told=np.concatenate([run.told, run.identities])[rows])


def _with_looks_of(part: _Run, run: _Run, *spans: tuple[int, int]) -> _Run:
    """Part of a run with the looks in the first of some half-open spans of frames that has any."""
    assert run.told_frames is not None
    assert run.told is not None
    told = np.zeros(0, np.int64)
    for start, stop in spans:
        told = np.flatnonzero((run.told_frames >= start) & (run.told_frames < stop))
        kept = np.zeros(0) if run.kept_frames is None else run.kept_frames
        which = np.flatnonzero((kept >= start) & (kept < stop))
        if len(which):
            return _with_looks(part, which)
        if len(told):
            break
    # Who has no good look is known by those that told; what they look like is not.
    best = told[:MAX_SAMPLES]
    return replace(
        part, qualities=np.zeros(len(best), np.float32), identities=run.told[best], attributes=(), kept_frames=None
    )


def _best_evidence(found: Sequence[FloatArray | None]) -> FloatArray | None:
    known = [one for one in found if one is not None]
    return np.max(known, axis=0) if known else None


def _ends(looks: Sequence[FloatArray | None]) -> FloatArray | None:
    """What somebody looks like at the beginning and the end of several runs."""
    known = [one for one in looks if one is not None]
    return np.stack([known[0][0], known[-1][1]]) if known else None


def _link(
    runs: Sequence[_Run],
    pts: IntArray,
    time_base: Fraction,
    cuts: Sequence[int],
    same_person_cosine: float,
    least: float = STRANGER,
) -> list[_Run]:
    """Join runs of one shot that never appear together, are near in time, place and size, and look alike."""
    linked: list[_Run] = []

    recent: list[int] = []
    for run in sorted(runs, key=lambda run: run.seen[0]):
        start = run.seen[0]
        recent = [k for k in recent if float((pts[start] - pts[linked[k].seen[1]]) * time_base) <= MAX_LINK_S]
        candidates: dict[int, float] = {}
        for k in recent:
            if _shot_of(cuts, linked[k].frames[0]) != _shot_of(cuts, start) or linked[k].seen[1] >= start:
                continue
            if _is_guess(linked[k], run):
                continue
            evidence = _evidence(linked[k], run, same_person_cosine)
            reach = FAR_LINK if evidence >= SURE and len(run.identities) else 1.0
            if evidence > least and _is_near(linked[k].meshes.row(-1), run.meshes.row(0), reach):
                candidates[k] = evidence
        if candidates:
            # Who looks most like it; of those of whom nothing is known, who was seen last.
            best = max(candidates, key=lambda k: (candidates[k], linked[k].seen[1]))
            linked[best] = _sum(_one_after_other(linked[best], run))
        else:
            recent.append(len(linked))
            linked.append(run)
    return linked


def _woven(runs: Sequence[_Run], cuts: Sequence[int], options: JoinOptions) -> list[_Run]:
    """Runs of one shot that fill each other's gaps at one place, as one.

    In the light of a flash somebody is found anew, and after it again as who they were before.
    """
    woven = dict(enumerate(runs))
    firsts, lasts = (np.array([run.frames[row] for run in runs], dtype=np.int64) for row in (0, -1))
    for number in sorted(woven, key=lambda k: len(runs[k].frames)):
        run = woven[number]
        shot = _shot_of(cuts, run.frames[0])
        is_near = (firsts <= lasts[number] + options.max_gap) & (lasts >= firsts[number] - options.max_gap)
        places: dict[int, tuple[int, float]] = {}
        for k in np.flatnonzero(is_near).tolist():
            if k != number and k in woven and _shot_of(cuts, woven[k].frames[0]) == shot:
                place = _place_between(woven[k], run, options)
                if place is not None:
                    places[k] = place
        if places:
            best = min(places, key=lambda k: places[k])
            woven[best] = _as_one(woven[best], woven.pop(number))
            firsts[best], lasts[best] = min(firsts[best], firsts[number]), max(lasts[best], lasts[number])
    return list(woven.values())


def _without_parts(runs: Sequence[_Run]) -> list[_Run]:
    """Runs without what is found on the head of somebody surer and is no face of its own: an ear, above all."""
    result = []
    firsts, lasts = (np.array([run.frames[row] for run in runs], dtype=np.int64) for row in (0, -1))
    for number, run in enumerate(runs):
        if float(np.median(run.scores[run.is_seen])) < OWN_FACE:
            near = np.flatnonzero((firsts <= lasts[number]) & (lasts >= firsts[number])).tolist()
            if _is_part(run, [runs[k] for k in near if k != number]):
                continue
        result.append(run)
    return result


def _is_part(run: _Run, others: Sequence[_Run]) -> bool:
    """Whether in most of some of its frames a find is much smaller than somebody, less sure, and on their head."""
    rows = np.unique(np.linspace(0, len(run.frames) - 1, min(len(run.frames), HEAD_LOOKS)).astype(int)).tolist()
    count = 0
    for row in rows:
        mesh = run.meshes.row(row)
        for other in others:
            at = int(np.searchsorted(other.frames, run.frames[row]))
            if at == len(other.frames) or other.frames[at] != run.frames[row] or other.scores[at] <= run.scores[row]:
                continue
            head = other.meshes.row(at)
            is_small = float(np.ptp(mesh[:, 1])) <= PART_SIZE * float(np.ptp(head[:, 1]))
            if is_small and points_inside(mesh.mean(axis=0, keepdims=True), head, PART_REACH)[0]:
                count += 1
                break
    return count >= INSIDE * len(rows)


def _shot_of(cuts: Sequence[int], frame: int | np.integer[Any]) -> int:
    return int(np.searchsorted(cuts, int(frame), side="right"))


def _pieces(run: _Run) -> list[tuple[int, int]]:
    """Half-open rows of a run that have no frames between them."""
    bounds = [0, *(np.flatnonzero(np.diff(run.frames) > 1) + 1).tolist(), len(run.frames)]
    return list(pairwise(bounds))


def _place_between(run: _Run, other: _Run, options: JoinOptions) -> tuple[int, float] | None:
    """How near another run is whose every piece is where a run is before or after it, and of whom nothing says no.

    Who is not surely the same has to be seen in the very frames in which the run is not, at the very place, and no
    longer than a flash: nobody else comes and goes so.

    Returns
    -------
    Least frames from the one to the other, and how little their looks are alike; None where they are two.
    """
    if np.isin(other.frames, run.frames).any():
        return None
    likeness = _likeness_of(run, other) / options.same_person_cosine
    if likeness < 1 and len(other.frames) > FLASH:
        return None
    reach, least = (options.max_gap, SAME_PLACE) if likeness >= 1 else (1, AT_PLACE)
    nearest = reach
    for low, high in _pieces(other):
        at = int(np.searchsorted(run.frames, other.frames[low]))
        sides = {}
        for beside, row in ((at - 1, low), (at, high - 1)):
            if 0 <= beside < len(run.frames):
                gap = abs(int(other.frames[row] - run.frames[beside]))
                if gap <= reach:
                    sides[beside] = overlap(box_of(run.meshes.row(beside)), box_of(other.meshes.row(row)))
                    nearest = min(nearest, gap)
        least_like = LEAST_LIKE if len(sides) > 1 else LEAST_LIKE_BESIDE
        if not sides or min(sides.values()) < least or likeness < least_like:
            return None
    return nearest, -likeness


def _likeness_of(run: _Run, other: _Run) -> float:
    """Cosine between the two looks at two runs that are nearest in time, or the median where nobody knows when.

    Of many looks at two people some are alike. Where nobody is told apart, it is one that says little.
    """
    if not (len(run.identities) and len(other.identities) and run.identities.shape[1]):
        return SAME_PERSON_COSINE * LEAST_LIKE
    one, two = (looks / np.linalg.norm(looks, axis=1, keepdims=True) for looks in (run.identities, other.identities))
    cosines = one @ two.T
    times = run.kept_frames, other.kept_frames
    if times[0] is not None and times[1] is not None and (len(times[0]), len(times[1])) == cosines.shape:
        away = np.abs(times[0][:, None] - times[1][None])
        cosines = cosines[away == away.min()]
    return float(np.median(cosines))


def _as_one(run: _Run, other: _Run) -> _Run:
    """Two runs that share no frame, in order."""
    parts: list[tuple[int, _Run]] = []
    for one in (run, other):
        bounds = np.searchsorted(one.frames, (run if one is other else other).frames).tolist()
        rows = sorted({0, *bounds, len(one.frames)})
        for number, (low, high) in enumerate(pairwise(rows)):
            part = _part(one, low, high)
            parts.append((int(one.frames[low]), part if number == 0 else _without_looks(part)))
    return _sum([part for _, part in sorted(parts, key=lambda part: part[0])])


def _without_looks(run: _Run) -> _Run:
    kept = None if run.kept_frames is None else run.kept_frames[:0]
    return replace(run, qualities=run.qualities[:0], identities=run.identities[:0], attributes=(), kept_frames=kept)


def _is_guess(before: _Run, after: _Run) -> bool:
    """Whether of two runs far apart one is a face beyond doubt and the other not: a rack is not who comes by later."""
    if before.evidence is None or after.evidence is None or after.seen[0] - before.seen[1] <= GUESS_GAP:
        return False
    return bool((before.evidence[0] >= FACE) != (after.evidence[0] >= FACE))


def _evidence(before: _Run, after: _Run, same_person_cosine: float) -> float:
    """How much speaks for one person in two runs: 0 where nothing is known, below where more speaks against it."""
    total = 0.0
    if before.looks is not None and after.looks is not None:
        total += (likeness_of_looks(before.looks[1], after.looks[0]) - ALIKE) / 0.3
    if len(before.identities) and len(after.identities) and before.identities.shape[1]:
        one, other = (
            _with_looks(run, np.arange(len(run.qualities))).identities.mean(axis=0) for run in (before, after)
        )
        length = float(np.linalg.norm(one) * np.linalg.norm(other))
        if before.looks is not None and after.looks is not None:
            total += (float(one @ other) / max(length, 1e-9) - same_person_cosine) / PERSON
    return total


def _is_near(one: FloatArray, other: FloatArray, reach: float = 1.0) -> bool:
    a, b = float(np.ptp(one[:, 1])), float(np.ptp(other[:, 1]))
    distance = float(np.linalg.norm((one - other)[:, :2].mean(axis=0)))
    return 0.6 < a / max(b, 1e-3) < 1.67 and distance < 1.2 * reach * max(a, b)


def _by_prominence(runs: Sequence[_Run], size: tuple[int, int]) -> list[_Run]:
    """Largest, longest and most central first."""

    def prominence(run: _Run) -> float:
        total = 0.0
        for low in range(0, len(run.frames), SMOOTHED_AT_ONCE):
            meshes = run.meshes.read(low, min(low + SMOOTHED_AT_ONCE, len(run.frames)))[:, ::16, :2]
            area = np.ptp(meshes[..., 0], axis=1) * np.ptp(meshes[..., 1], axis=1)
            offset = np.abs(meshes.mean(axis=1) / np.array(size) - 0.5).max(axis=1)
            total += float((area * (1.2 - np.clip(offset, 0, 1))).sum())
        return total

    return sorted(runs, key=lambda run: -prominence(run))


@dataclass(frozen=True, slots=True, eq=False)
class _Draft:
    """A track before its long columns are made.

    Attributes
    ----------
    run
        What was seen.
    frames, scores
        Of every row, those between two sightings included.
    lefts, shares
        (N,) row of ``run`` at or before, and how far on the way to the next one, 0 to 1.
    size
        Of the picture, width and height.
    before, after
        Rows added at both ends in which the face stays where it was.
    """

    run: _Run
    frames: IntArray
    scores: FloatArray
    lefts: IntArray
    shares: FloatArray
    size: tuple[int, int]
    before: int = 0
    after: int = 0

    def outline(self, track_id: int) -> Track:
        """The track without its long columns."""
        run = self.run
        first, last = int(self.frames[0]), int(self.frames[-1])
        added = np.arange(first - self.before, first), np.arange(last + 1, last + 1 + self.after)
        frames = np.concatenate([added[0], self.frames, added[1]])
        rows = np.clip(np.arange(len(frames)) - self.before, 0, len(self.frames) - 1)
        smears = smooth_smears(run.frames, run.spectra)
        smeared = set() if smears is None else set(run.frames[smears.any(axis=1)].tolist())
        measured = {int(k): (float(b), float(g)) for k, (b, g) in zip(run.finish_frames, run.finishes, strict=True)}
        # How sharp a shot is tell the frames that are not smeared; otherwise it would be counted twice.
        sharp = {frame: finish for frame, finish in measured.items() if frame not in smeared}
        finishes = smooth_finishes(self.frames, sharp or measured)
        if smears is not None:  # between two sightings it is that of the nearer one
            smears = smears[self.lefts + (self.shares > 0.5)][rows]
        depths = np.zeros(len(frames), np.int8)
        depths[np.searchsorted(frames, run.frames)] = run.depths
        # Between two sightings it is what it was on both sides.
        share = self.shares[:, None]
        blacks = run.blacks[self.lefts] * (1 - share)
        blacks += run.blacks[np.minimum(self.lefts + 1, len(run.frames) - 1)] * share
        known_people = run.identities.shape[1] if len(run.identities) else 0
        return Track(
            track_id,
            frames,
            absent((len(frames), POINT_COUNT, 3)),
            self.scores[rows],
            absent((len(frames), 3)),
            absent((len(frames), 68, 2)) if len(run.point_frames) else None,
            run.identities.mean(axis=0).astype(np.float32) if known_people else None,
            _majority(run.attributes) if run.attributes else None,
            ~np.isin(frames, run.frames[run.is_seen]),
            None if finishes is None else finishes[rows],
            depths if depths.any() else None,
            None if np.isnan(blacks).any() else blacks[rows].astype(np.float32),
            _proportions(run),
            None if run.evidence is None else self.evidence().as_row(),
            smears,
            glasses=worn_of(run.glasses),
        )

    def evidence(self) -> Evidence:
        """What speaks for a face in all that was seen; where others stand is not known here."""
        run, is_seen = self.run, self.run.is_seen
        rows = np.flatnonzero(is_seen)
        some = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), SHAPE_LOOKS)).astype(int))
        meshes = [run.meshes.row(int(row))[:, :2] for row in rows[some]]
        heights = [float(np.ptp(mesh[:, 1])) for mesh in meshes]
        cuts = [_cut(mesh, self.size) for mesh in meshes]
        assert run.evidence is not None
        best, has_moved, verdict = (float(v) for v in run.evidence)
        return Evidence(
            best, float(np.median(run.scores[is_seen])), len(rows), has_moved > 0, float(np.median(heights)),
            verdict=None if verdict == NO_VERDICT else verdict, cut=float(np.median(cuts)),
            beyond=max(_cut(_head_box(box_of(mesh)).reshape(2, 2), self.size) for mesh in meshes),
        )  # fmt: skip

    def meshes(self, low: int, high: int) -> FloatArray:
        """Measured and bridged meshes of some rows."""
        lefts, shares = self.lefts[low:high], self.shares[low:high]
        start = int(lefts[0])
        seen = self.run.meshes.read(start, min(int(lefts[-1]) + 2, len(self.run.frames)))
        at = lefts - start
        share = shares[:, None, None]
        nexts = np.minimum(at + 1, len(seen) - 1)
        found = np.where(share > 0, seen[at] * (1 - share) + seen[nexts] * share, seen[at]).astype(np.float32)
        for row in np.flatnonzero(shares > 0).tolist():
            if abs(_turn(seen[at[row]], seen[nexts[row]])) > TURNED_BRIDGE:
                found[row] = _on_the_way(seen[at[row]], seen[nexts[row]], float(shares[row]))
        return found

    def motions(self, low: int, high: int) -> tuple[FloatArray, FloatArray]:
        """Motion of some rows and its trust; nothing is trusted where there is no measurement."""
        lefts = self.lefts[low:high]
        start, stop = int(lefts[0]), int(lefts[-1]) + 1
        is_known = ((self.shares[low:high] == 0) & self.run.is_moved[lefts])[:, None]
        motions = self.run.motions.read(start, stop)[lefts - start]
        trusts = self.run.trusts.read(start, stop)[lefts - start]
        return (
            np.where(is_known[..., None], motions, 0).astype(np.float32),
            np.where(is_known, trusts, 0).astype(np.float32),
        )


def _without_flashes(bounds: Sequence[int]) -> list[int]:
    """Where shots begin, and the end of the last one, without those of what is too short to be a shot.

    A flash of a camera is a cut, and a cut again; who stands there stays.
    """
    parted = {bound for shot in pairwise(bounds) if _is_flash(shot) for bound in shot}
    return [bound for bound in bounds if bound not in parted or bound in (bounds[0], bounds[-1])]


@dataclass(frozen=True, slots=True)
class _End:
    """Where somebody is first or last found: frame, box, the way on from there, -1 or 1, and whether they are sure."""

    frame: int
    box: FloatArray
    step: int
    is_sure: bool = True

    def is_same(self, box: FloatArray, size: tuple[int, int]) -> bool:
        """Whether a find near in time is the same face, in a picture of a size.

        One that is doubtful itself tells of others at the border alone, and lies on another part of the head there.
        """
        sizes = [float((one[2:] - one[:2]).max()) for one in (box, self.box)]
        if self.is_sure:
            return max(sizes) <= AS_LARGE * min(sizes) and overlap(box, self.box) >= SAME_FACE
        return _is_cut_head(box, size) and share_inside(box, _head_box(self.box)) >= HALF_INSIDE


def _ends_of(draft: _Draft, is_sure: bool = True) -> list[_End]:
    """Of all pieces of a track: where somebody is lost and found again counts, too."""
    parted = np.flatnonzero(np.diff(draft.frames) > 1)
    rows = [(0, -1), *((int(k), 1) for k in parted), *((int(k) + 1, -1) for k in parted), (len(draft.frames) - 1, 1)]
    return [_End(int(draft.frames[row]), box_of(draft.meshes(row, row + 1)[0]), step, is_sure) for row, step in rows]


def _goes_on(draft: _Draft, ends: Sequence[_End], shots: Sequence[int]) -> bool:
    """Whether a find is where somebody is first or last found (`_End.is_same`), and goes on from there."""
    for end in ends:
        at = int(np.searchsorted(draft.frames, end.frame, side="left" if end.step < 0 else "right"))
        on = at - (end.step < 0)  # the next row of the find on the way
        if not 0 <= on < len(draft.frames):
            continue
        rows = [row for row in (on, on - end.step) if 0 <= row < len(draft.frames)]
        near = min(rows, key=lambda row: abs(int(draft.frames[row]) - end.frame))
        if abs(int(draft.frames[near]) - end.frame) > AT_ENDS:
            continue
        if np.searchsorted(shots, end.frame, side="right") != np.searchsorted(shots, draft.frames[on], side="right"):
            continue
        if end.is_same(box_of(draft.meshes(near, near + 1)[0]), draft.size):
            return True
    return False


def _with_heads(tracks: list[Track], drafts: Sequence[_Draft], shots: Sequence[int]) -> list[Track]:
    """The tracks with how far those in doubt lie on the heads of those that are sure, and whether they go on there."""
    frame_count = shots[-1]
    found = [Evidence.of(track) for track in tracks]
    sure: list[_Draft] = []
    moving: list[_Draft] = []
    ends: list[tuple[_Draft, _End]] = []
    for draft, one in zip(drafts, found, strict=True):
        # What is left alone hides nobody, so nothing on it may be left alone for its sake.
        if one is None or one.is_left_alone(frame_count):
            continue
        is_sure = one.is_sure(frame_count)
        ends += [(draft, end) for end in _ends_of(draft, is_sure) if is_sure or _is_cut_head(end.box, draft.size)]
        if one.is_left_alone(frame_count, is_eased=False):
            continue  # hidden to be safe, which may leave nobody else bare
        if is_sure:
            sure.append(draft)
        elif one.has_moved:
            moving.append(draft)
    result = []
    for track, draft, one in zip(tracks, drafts, found, strict=True):
        if one is None:
            result.append(track)
            continue
        if not one.is_sure(frame_count):
            share = _share_on(draft, sure, _is_on_head)
            if one.may_be_a_hand:
                share = max(share, _share_on(draft, sure, _is_like_a_hand))
            if one.has_moved:  # what is seen of a coat moves as the face above it does
                share = max(share, _share_on(draft, [*sure, *(m for m in moving if m is not draft)], _is_on_body))
            one = replace(one, inside=share)
        if one.is_left_alone(frame_count) or one.is_part_of_another:
            # Not from its own: whatever is lost and found again goes on from there.
            others = [end for owner, end in ends if owner is not draft]
            one = replace(one, goes_on=_goes_on(draft, others, shots))
        track = replace(track, evidence=one.as_row())
        result.append(track)
    return result


def _cut(mesh: FloatArray, size: tuple[int, int]) -> float:
    """Share of the width or height of (478, 2) that lies out of a picture, the larger one."""
    low, high = mesh.min(axis=0), mesh.max(axis=0)
    out = np.maximum(-low, 0) + np.maximum(high - np.array(size), 0)
    return float(np.clip(out / np.maximum(high - low, 1e-6), 0, 1).max())


def _turn(one: FloatArray, other: FloatArray) -> float:
    """Degrees by which the second mesh is turned in the picture against the first, clockwise, -180 to 180."""
    return float((np.degrees(mesh_roll(other) - mesh_roll(one)) + 180) % 360 - 180)


def _on_the_way(one: FloatArray, other: FloatArray, share: float) -> FloatArray:
    """(478, 3) between two meshes, 0 to 1, one of which is turned: the head turns, where a plain mean would shrink."""
    turn = np.radians(_turn(one, other))

    def turned(mesh: FloatArray, angle: float) -> FloatArray:
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        return np.concatenate([mesh[:, :2] @ rotation, mesh[:, 2:]], axis=1)

    middles = [np.array([*mesh[:, :2].mean(axis=0), 0.0]) for mesh in (one, other)]
    upright = (one - middles[0]) * (1 - share) + turned(other - middles[1], -turn) * share
    return (turned(upright, turn * share) + middles[0] * (1 - share) + middles[1] * share).astype(np.float32)


def _is_on_head(mesh: FloatArray, other: FloatArray) -> bool:
    return bool(points_inside(mesh.mean(axis=0, keepdims=True), other, HEAD_SIZE)[0])


def _is_like_a_hand(mesh: FloatArray, other: FloatArray) -> bool:
    """Whether a find lies on somebody's body and is far smaller than their face: who stands before them is larger."""
    if abs(mesh_roll(other)) > np.radians(HAND_UPRIGHT):
        return False  # the body of somebody who lies is not below them
    size = float(np.ptp(other[:, 1]))
    middle, own = ((m[:, :2].min(axis=0) + m[:, :2].max(axis=0)) / 2 for m in (mesh, other))
    across, down = (middle - own) / max(size, 1.0)
    is_on_body = abs(across) < HAND_ACROSS and HAND_BEGINS < down < HAND_ENDS
    return bool(is_on_body and float(np.ptp(mesh[:, :2], axis=0).max()) <= HAND_SIZE * size)


def _is_on_body(mesh: FloatArray, other: FloatArray) -> bool:
    size = float(np.ptp(other[:, :2], axis=0).max())
    across, down = (mesh.mean(axis=0) - other.mean(axis=0))[:2] / max(size, 1.0)
    return bool(abs(across) < BODY_WIDE and BODY_BEGINS < down < BODY_HIGH)


def _share_on(draft: _Draft, others: Sequence[_Draft], is_on: Callable[[FloatArray, FloatArray], bool]) -> float:
    """Share of its frames, of some at even distances, in which a face lies on somebody."""
    rows = np.unique(np.linspace(0, len(draft.frames) - 1, min(len(draft.frames), HEAD_LOOKS)).astype(int)).tolist()
    count = 0
    for row in rows:
        mesh = draft.meshes(row, row + 1)[0]
        for other in others:
            at = int(np.searchsorted(other.frames, draft.frames[row]))
            is_there = at < len(other.frames) and other.frames[at] == draft.frames[row]
            if is_there and is_on(mesh, other.meshes(at, at + 1)[0]):
                count += 1
                break
    return count / len(rows)


def _proportions(run: _Run) -> FloatArray:
    """What somebody's face is like over a whole run, from looks at even steps."""
    count = len(run.frames)
    rows = np.unique(np.linspace(0, count - 1, min(count, SHAPE_LOOKS)).astype(int)).tolist()
    meshes = np.stack([run.meshes.row(row) for row in rows])
    return proportions_of(meshes, estimate_poses(meshes)[:, 0])


def _draft(run: _Run, options: JoinOptions, size: tuple[int, int]) -> _Draft:
    """Fill gaps of a few frames by interpolation, so that the old face does not flash up."""
    frames, scores = [run.frames[:1]], [run.scores[:1]]
    lefts, shares = [np.zeros(1, np.int64)], [np.zeros(1, np.float32)]
    start = 0  # the last row that is taken in
    gaps = np.diff(run.frames) - 1
    for k in [*np.flatnonzero(gaps > 0).tolist(), len(run.frames) - 1]:
        frames.append(run.frames[start + 1 : k + 1])
        scores.append(run.scores[start + 1 : k + 1])
        lefts.append(np.arange(start + 1, k + 1))
        shares.append(np.zeros(k - start, np.float32))
        start = k
        gap = int(gaps[k]) if k < len(gaps) else 0
        if 0 < gap <= options.max_gap and _is_near(run.meshes.row(k), run.meshes.row(k + 1)):
            frames.append(np.arange(run.frames[k] + 1, run.frames[k + 1]))
            scores.append(np.full(gap, min(run.scores[k], run.scores[k + 1]), np.float32))
            lefts.append(np.full(gap, k))
            shares.append((np.arange(1, gap + 1) / (gap + 1)).astype(np.float32))
        if k < len(gaps):
            frames.append(run.frames[k + 1 : k + 2])
            scores.append(run.scores[k + 1 : k + 2])
            lefts.append(np.array([k + 1]))
            shares.append(np.zeros(1, np.float32))
            start = k + 1
    return _Draft(
        run, np.concatenate(frames), np.concatenate(scores), np.concatenate(lefts), np.concatenate(shares), size
    )  # fmt: skip


def _without_hidden(draft: _Draft, drafts: Sequence[_Draft]) -> _Draft:
    """A draft without the bridged rows in which somebody who was seen stands where the face would be."""
    bridged = np.flatnonzero(draft.shares > 0)
    others = [
        other for other in drafts
        if other is not draft and bridged.size
        and other.frames[0] <= draft.frames[bridged[-1]] and other.frames[-1] >= draft.frames[bridged[0]]
    ]  # fmt: skip
    if not others:
        return draft
    is_kept = np.ones(len(draft.frames), dtype=np.bool_)
    for row in bridged.tolist():
        mesh = draft.meshes(row, row + 1)[0]
        for other in others:
            at = int(np.searchsorted(other.run.frames, draft.frames[row]))
            if at < len(other.run.frames) and other.run.frames[at] == draft.frames[row]:
                is_kept[row] &= float(points_inside(mesh, other.run.meshes.row(at)).mean()) < COVERED
    columns = {name: getattr(draft, name)[is_kept] for name in ("frames", "scores", "lefts", "shares")}
    return replace(draft, **columns)


def _smooth(draft: _Draft, options: JoinOptions, size: tuple[int, int]) -> Iterator[tuple[int, dict[str, FloatArray]]]:
    """Long columns of a track: first row and rows, piece by piece."""
    bounds = [0, *(np.flatnonzero(np.diff(draft.frames) > 1) + 1).tolist(), len(draft.frames)]
    for start, stop in pairwise(bounds):
        for low in range(start, stop, SMOOTHED_AT_ONCE):
            high = min(low + SMOOTHED_AT_ONCE, stop)
            wide = max(low - SMOOTHED_AROUND, start), min(high + SMOOTHED_AROUND, stop)
            done = smooth_meshes(draft.meshes(*wide), *draft.motions(*wide), options.smoothing, size)
            meshes = done[low - wide[0] : high - wide[0]]
            found = {"meshes": meshes, "poses": estimate_poses(meshes)}
            if len(draft.run.point_frames):
                found["points"] = _smooth_points(draft, low, high, meshes, options.min_point_score)
            yield draft.before + low, found
            if low == 0 and draft.before:
                yield 0, {name: np.repeat(values[:1], draft.before, axis=0) for name, values in found.items()}
            if high == len(draft.frames) and draft.after:
                yield (
                    draft.before + high,
                    {name: np.repeat(values[-1:], draft.after, axis=0) for name, values in found.items()},
                )


def _smooth_points(draft: _Draft, low: int, high: int, meshes: FloatArray, min_score: float) -> FloatArray:
    """68 points carried by the smoothed mesh: only their offset from it is measured, and smoothed."""
    landmarks, run = list(MESH_TO_68), draft.run
    wide = max(low - POINT_REACH, 0), min(high + POINT_REACH, len(draft.frames))
    frames = draft.frames[slice(*wide)]
    offsets = np.zeros((len(frames), 68, 2), dtype=np.float32)
    weights = np.zeros(len(frames), dtype=np.float32)
    first, end = np.searchsorted(run.point_frames, (frames[0], frames[-1] + 1)).tolist()
    if end > first:
        known = run.point_frames[first:end]
        seen = np.searchsorted(run.frames, known)
        raw = run.meshes.read(int(seen[0]), int(seen[-1]) + 1)[seen - seen[0]][:, landmarks, :2]
        is_good = run.point_scores[first:end] >= min_score
        at = np.searchsorted(frames, known)
        offsets[at[is_good]], weights[at[is_good]] = (run.points.read(first, end) - raw)[is_good], 1.0
    kernel = np.exp(-(np.arange(-POINT_REACH, POINT_REACH + 1) ** 2) / (2 * (POINT_REACH / 2) ** 2))
    own = draft.frames[low:high]
    total = np.zeros(len(own), dtype=np.float32)
    added = np.zeros((len(own), 68, 2), dtype=np.float32)
    for step, share in zip(range(-POINT_REACH, POINT_REACH + 1), kernel, strict=True):
        near = np.searchsorted(frames, own + step)
        is_there = near < len(frames)
        near = np.minimum(near, len(frames) - 1)
        weight = np.where(is_there & (frames[near] == own + step), share * weights[near], 0).astype(np.float32)
        total += weight
        added += weight[:, None, None] * offsets[near]
    return np.asarray(meshes[:, landmarks, :2] + added / np.maximum(total, 1e-6)[:, None, None], dtype=np.float32)


def _reaches(draft: _Draft, reach: int, frame_count: int) -> tuple[int, int]:
    """Frames by which a track is made longer at its beginning and its end."""
    if draft.run.evidence is None or draft.evidence().is_sure(frame_count):
        return reach, reach
    ends = (draft.meshes(row, row + 1)[0] for row in (0, len(draft.frames) - 1))
    before, after = (max(reach, BORDER_REACH) if _is_cut_head(box_of(mesh), draft.size) else reach for mesh in ends)
    return before, after


def _is_cut_head(box: FloatArray, size: tuple[int, int]) -> bool:
    """Whether the border of a picture cuts a head about a face, xyxy, that is large enough for half of it to count."""
    return float(box[3] - box[1]) >= CUT_HEAD_PX and _cut(_head_box(box).reshape(2, 2), size) > 0


def _head_box(box: FloatArray) -> FloatArray:
    """That of a head about the one of a face, xyxy."""
    middle, half = (box[:2] + box[2:]) / 2, HEAD_SIZE * (box[2:] - box[:2]) / 2
    return np.concatenate([middle - half, middle + half])


def _extended(draft: _Draft, bounds: Sequence[int], before: int, after: int) -> _Draft:
    """A track with more frames at both ends, within its shot, and through a flash where it comes that far."""
    first, last = int(draft.frames[0]), int(draft.frames[-1])
    start, stop = _shot(bounds, first)[0], _shot(bounds, last)[1]
    start, stop = max(start, first - before), min(stop, last + 1 + after)
    # What is found in a flash stays in it: whoever it is, is known better beside it.
    if start in bounds and not _is_flash(_shot(bounds, first)) and start > bounds[0]:
        shot = _shot(bounds, start - 1)
        start = shot[0] if _is_flash(shot) else start
    if stop in bounds and not _is_flash(_shot(bounds, last)) and stop < bounds[-1]:
        shot = _shot(bounds, stop)
        stop = shot[1] if _is_flash(shot) else stop
    return replace(draft, before=first - start, after=stop - last - 1)


def _shot(bounds: Sequence[int], frame: int) -> tuple[int, int]:
    """First frame of the shot of a frame, and that of the next one."""
    at = int(np.searchsorted(bounds, frame, side="right"))
    return int(bounds[at - 1]), int(bounds[at])


def _is_flash(shot: tuple[int, int]) -> bool:
    return shot[1] - shot[0] <= FLASH


def _majority(found: Sequence[Attributes]) -> Attributes:
    """The most frequent value of each attribute; of equals the one seen in the better look."""
    ages, genders, races = ([getattr(one, name) for one in found] for name in ("ages", "gender", "race"))
    return Attributes(*(max(values, key=values.count) for values in (ages, genders, races)))
