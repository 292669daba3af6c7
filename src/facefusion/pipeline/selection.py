"""Who is changed: by size, order, reference, age, gender and appearance, or by a mapping file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facefusion.declaration import Step
from facefusion.documents import load_toml
from facefusion.errors import MediaMissing, NoFaceInTarget, RecipeError, TracksError, UnknownOption
from facefusion.recipe import Person, Recipe
from facefusion.types.face import Attributes
from facefusion.types.track import FRAMES, SAME_PERSON_COSINE, Track, Tracks
from facefusion.wording import counted

FloatArray = npt.NDArray[np.float32]

PLACES = 600
"""Places that a template notes of everybody, at most."""
EVERY_S = 1.0
"""Seconds between two of them."""
_LONGEST_S = 3600.0
_REACH_S = 1.5
"""Seconds between two places within which somebody is taken to be where a line between them goes."""
_USUAL_STEP_S = 0.02
"""Of a single frame, whose rate is not known."""
_NEAR = 0.4
"""How far a place may be from the middle of a face that it names, over the face's width and height."""
MEDIAN_OF = 500
"""Rows of a track whose median tells where and how large somebody is."""


def load_face_map(path: Path, recipe: Recipe) -> tuple[Person, ...]:
    """Read a mapping file.

    Parameters
    ----------
    path
        TOML with a ``[[person]]`` table for each person: ``person``, ``track`` or ``reference``, ``sources`` and, if
        they differ from the recipe's, ``processors``, or ``[[person.step]]`` tables with options. Paths are relative
        to the file.
    recipe
        Its steps are those of people who have none of their own, and its options those of processors that are named.

    Raises
    ------
    RecipeError, MediaMissing
        Naming the entry that is wrong.
    """
    if not path.is_file():
        raise MediaMissing(f"There is no mapping file {path}.", "Check --face-map.")
    values = load_toml(path, RecipeError, "a mapping file")
    folder = path.parent
    entries = values.get("person")
    if not values:
        raise RecipeError(
            f"{path} names nobody.", f"Take away the # before those who change, and name their photos. {_EXAMPLE}"
        )
    if set(values) != {"person"} or not isinstance(entries, list) or not entries:
        raise RecipeError(f"{path} must hold [[person]] tables and nothing else.", _EXAMPLE)
    people = []
    for number, entry in enumerate(entries):
        where = f"{path}, person {number}"
        if not isinstance(entry, dict):
            raise RecipeError(f"{where} is no table.", _EXAMPLE)
        unknown = set(entry) - {"person", "track", "reference", "seen", "sources", "processors", "step"}
        if unknown:
            raise RecipeError(f"{where}: unknown key '{sorted(unknown)[0]}'.", _EXAMPLE)
        if len({"person", "track", "reference"} & set(entry)) != 1:
            raise RecipeError(f"{where} needs one of person, track and reference.", _EXAMPLE)
        for name in ("person", "track"):
            value = entry.get(name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise RecipeError(f"{where}: {name} must be a whole number from 0.", _EXAMPLE)
        sources = _words(entry.get("sources", []), f"{where}: sources")
        people.append(
            Person(
                track=entry.get("track"),
                number=entry.get("person"),
                places=_places(entry, where),
                reference=folder / _word(entry["reference"], f"{where}: reference") if "reference" in entry else None,
                sources=tuple(folder / name for name in sources),
                steps=_steps_of(entry, recipe, where),
            )
        )
    tracks = [person.track for person in people if person.track is not None]
    if len(set(tracks)) != len(tracks):
        raise RecipeError(f"{path} names one track twice.", "Give every track to one person.")
    numbers = [person.number for person in people if person.number is not None]
    if len(set(numbers)) != len(numbers):
        raise RecipeError(f"{path} names one person twice.", "Keep one of the two tables.")
    return tuple(people)


_EXAMPLE = 'For example: [[person]] person = 0 sources = ["anna.jpg"]; see docs/selection.md.'


def _places(entry: dict[str, Any], where: str) -> tuple[tuple[int, float, float], ...]:
    """Where the person of a number is seen, as a template notes it.

    Raises
    ------
    RecipeError
    """
    told = entry.get("seen", [])
    if told and "person" not in entry:
        raise RecipeError(f"{where}: seen belongs to a person's number.", "Take it away.")
    is_right = isinstance(told, list) and all(
        isinstance(one, list)
        and len(one) == 3
        and all(isinstance(value, int | float) and not isinstance(value, bool) for value in one)
        and isinstance(one[0], int)
        and one[0] >= 0
        for one in told
    )
    if not is_right:
        raise RecipeError(
            f"{where}: seen must be a list of [frame, x, y].",
            "Leave it as 'facefusion people' wrote it, or out.",
        )
    return tuple((one[0], float(one[1]), float(one[2])) for one in told)


def places_of(tracks: Tracks, person: int, most: int = PLACES) -> list[tuple[int, float, float]]:
    """Where somebody is seen: the frame's number in the target, x and y as shares of the picture.

    At the beginning and the end of every stretch, and about every second between; less often where that is too many.
    """
    width, height = tracks.width, tracks.height
    numbers, times = tracks.numbers, tracks.pts.astype(np.float64) * float(tracks.time_base)
    rows: list[tuple[int, npt.NDArray[np.float32]]] = []
    every_s = EVERY_S
    while True:
        rows = [
            (int(track.frames[row]), track.meshes[row, :, :2])
            for track in tracks.tracks
            if tracks.person_of(track.track_id) == person
            for row in _rows_at(track.frames, times, every_s)
        ]
        if len(rows) <= most or every_s > _LONGEST_S:
            break
        every_s *= 1.5
    rows.sort(key=lambda one: one[0])
    if len(rows) > most:
        rows = [rows[k] for k in np.linspace(0, len(rows) - 1, most).round().astype(int)]
    found = []
    for frame, mesh in rows:
        x, y = ((mesh.min(axis=0) + mesh.max(axis=0)) / 2).tolist()
        found.append((int(numbers[frame]), round(x / width, 3), round(y / height, 3)))
    return found


def _rows_at(frames: npt.NDArray[np.int64], times: npt.NDArray[np.float64], every_s: float) -> list[int]:
    """Rows of a track: of every stretch without a gap the first, the last, and some at even distances."""
    found: list[int] = []
    if not len(frames):
        return found
    gaps = np.flatnonzero(np.diff(frames) > 1) + 1
    for low, stop in zip([0, *gaps.tolist()], [*gaps.tolist(), len(frames)], strict=True):
        length_s = float(times[frames[stop - 1]] - times[frames[low]])
        count = min(int(np.ceil(length_s / every_s - 1e-6)) + 1, stop - low)
        found += sorted(set(np.linspace(low, stop - 1, max(count, 2)).round().astype(int).tolist()))
    return found


def people_at(tracks: Tracks, places: Sequence[tuple[int, float, float]]) -> set[int]:
    """Numbers that the person of some places has in these tracks; none where nobody is at such a place.

    Every place has a vote: it names who has the most, and whoever has a third as many (one person may be two here). A
    part that lies between two places which follow each other closely is told by where a line between them goes.
    """
    numbers = tracks.numbers
    if not len(numbers):
        return set()
    span = int(numbers[-1] - numbers[0])
    step_s = float((tracks.pts[-1] - tracks.pts[0]) * tracks.time_base) / span if span else _USUAL_STEP_S
    noted = sorted(places)
    spans = np.array([(t.frames[0], t.frames[-1]) if len(t.frames) else (1, 0) for t in tracks.tracks]).reshape(-1, 2)
    votes: Counter[int] = Counter()
    for number, x, y in noted:
        if not numbers[0] <= number <= numbers[-1]:
            continue
        frame = _nearest(numbers, number)
        off_s = abs(int(numbers[frame]) - number) * step_s
        if off_s <= _REACH_S:
            votes.update(_person_at(tracks, spans, frame, x, y, off_s))
    if not votes:
        for (one, left, top), (other, right, bottom) in pairwise(noted):
            if not 0 < (other - one) * step_s <= _REACH_S:
                continue
            low, stop = (int(np.searchsorted(numbers, number)) for number in (one, other))
            for frame in sorted({low, (low + stop - 1) // 2, stop - 1}) if low < stop else ():
                share = (int(numbers[frame]) - one) / (other - one)
                x, y = left + share * (right - left), top + share * (bottom - top)
                off_s = min(share, 1 - share) * (other - one) * step_s
                votes.update(_person_at(tracks, spans, frame, x, y, off_s))
    most = max(votes.values(), default=0)
    return {one for one, count in votes.items() if 3 * count >= most and (count > 1 or most <= 2)}


def _nearest(numbers: npt.NDArray[np.int64], number: int) -> int:
    frame = min(int(np.searchsorted(numbers, number)), len(numbers) - 1)
    return frame - 1 if frame and number - numbers[frame - 1] < numbers[frame] - number else frame


def _person_at(
    tracks: Tracks, spans: npt.NDArray[np.int64], frame: int, x: float, y: float, off_s: float
) -> tuple[int, ...]:
    """Who is at a place in a frame, or nobody. The longer ago the place was noted, the further they may have moved."""
    best, nearest = None, _NEAR * (1 + off_s)
    for k in np.flatnonzero((spans[:, 0] <= frame) & (frame <= spans[:, 1])):
        track = tracks.tracks[k]
        row = track.find(frame)
        if row is None:
            continue
        mesh = track.meshes[row, :, :2]
        low, high = mesh.min(axis=0), mesh.max(axis=0)
        middle = np.array([x * tracks.width, y * tracks.height])
        away = float((np.abs(middle - (low + high) / 2) / np.maximum(high - low, 1)).max())
        if away < nearest:
            best, nearest = track.track_id, away
    return () if best is None else (tracks.person_of(best),)


def told_numbers(recipe: Recipe, tracks: Tracks) -> list[str]:
    """Sentences on who the numbers of a recipe are: another part, or another look for faces, has other numbers."""
    named: set[int] = set()
    for one in recipe.people:
        if one.number is not None:
            named |= people_at(tracks, one.places) if one.places else {one.number}
    named |= set(recipe.exempt_faces) | (set() if isinstance(recipe.faces, str) else set(recipe.faces))
    return [told for person in sorted(named) if (told := _told(tracks, person))]


def told_choice(recipe: Recipe, tracks: Tracks, found: Collection[int], assigned: Collection[int]) -> list[str]:
    """A sentence on who is changed, where nobody said whom of several to change and some stay as they are.

    Parameters
    ----------
    recipe, tracks
        Who was asked for, and who is there.
    found
        Numbers of people who were found.
    assigned
        Tracks that are changed.
    """
    is_said = recipe.faces != "largest" or recipe.face_selector_mode is not None or has_filter(recipe)
    changed = {tracks.person_of(number) for number in assigned}
    if is_said or not changed or len(found) <= len(changed) or recipe.exempt_paths or recipe.exempt_faces:
        return []
    who = "the most prominent one is" if len(changed) == 1 else f"{len(changed)}, the most prominent of each shot, are"
    return [
        f"Of {counted(len(found), 'person', 'people')} {who} changed. --faces all changes everybody, "
        "--faces with numbers whom you name; "
        "'facefusion people' shows who has which number."
    ]


def _told(tracks: Tracks, person: int) -> str:
    own = [track for track in tracks.tracks if tracks.person_of(track.track_id) == person and len(track.frames)]
    if not own or len(tracks.pts) < 2:
        return ""
    frames = np.concatenate([track.frames for track in own])
    first, last = (float(tracks.pts[k] * tracks.time_base) for k in (frames.min(), frames.max()))
    meshes = np.concatenate([track.meshes[:: max(len(track.frames) // MEDIAN_OF, 1), :, :2] for track in own])
    size_px = float(np.median(np.ptp(meshes[:, :, 1], axis=1)))
    middle = float(np.median(meshes[:, :, 0].mean(axis=1))) / tracks.width
    side = "left" if middle < 1 / 3 else "right" if middle > 2 / 3 else "middle"
    return f"Person {person} is seen from {first:.2f} to {last:.2f} s, {side}, {size_px:.0f} px high."


def _steps_of(entry: dict[str, Any], recipe: Recipe, where: str) -> tuple[Step, ...]:
    """What is done with one person.

    Raises
    ------
    RecipeError
    """
    if "processors" in entry and "step" in entry:
        raise RecipeError(f"{where} has both processors and steps.", "Keep one of them.")
    if "step" in entry:
        steps = entry["step"]
        if not isinstance(steps, list) or not all(isinstance(s, dict) and "processor" in s for s in steps):
            raise RecipeError(f"{where}: step must be tables that name a processor.", _EXAMPLE)
        # The recipe's options of a processor stand under those of the table.
        named = [(str(step["processor"]), {k: v for k, v in step.items() if k != "processor"}) for step in steps]
        found = tuple(recipe.step_of(name).with_options(values) for name, values in named)
    elif "processors" in entry:
        found = tuple(recipe.step_of(name) for name in _words(entry["processors"], f"{where}: processors"))
    else:  # steps on whole frames are nobody's own
        return tuple(step for step in recipe.steps if step.spec.kind == "face")
    if not found:
        raise RecipeError(f"{where} has no processor.", "Name one, or leave the person out.")
    for step in found:
        if step.spec.kind != "face":
            raise RecipeError(
                f"{where}: {step.processor} changes whole frames, not one person.", "Name it with --processors."
            )
    return found


def _words(value: object, where: str) -> list[str]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list):
        raise RecipeError(f"{where} must be a list of words.", _EXAMPLE)
    return [_word(word, where) for word in words]


def _word(value: object, where: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise RecipeError(f"{where}: {value!r} is not a name.", _EXAMPLE)
    return value


def has_filter(recipe: Recipe) -> bool:
    """Whether only people of some age, gender or appearance are changed."""
    filters = (recipe.face_selector_age_start, recipe.face_selector_age_end)
    return any(value is not None for value in (*filters, recipe.face_selector_gender, recipe.face_selector_race))


def distance(one: FloatArray, other: FloatArray, same_person_cosine: float = SAME_PERSON_COSINE) -> float:
    """FaceFusion's distance of two embeddings, 0 upwards: half of one minus the cosine with ArcFace.

    With another recogniser it is scaled, so that 0.3 always is where two people begin.
    """
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    scale = (1 - SAME_PERSON_COSINE) / (1 - same_person_cosine)
    return (1 - float(one @ other) / max(length, 1e-9)) / 2 * scale


def choose_tracks(
    recipe: Recipe,
    tracks: Tracks,
    reference: FloatArray | None = None,
    source: Attributes | None = None,
) -> tuple[int, ...]:
    """Track ids that a recipe selects.

    Parameters
    ----------
    recipe
        Its ``faces``, or its selector options where a mode or a filter is given.
    tracks
        What pass 1 left.
    reference
        Embedding of the reference photo; None takes the person in the reference frame.
    source
        What the source looks like, for filters set to ``auto``.

    Raises
    ------
    UnknownOption
        For a track number that does not exist.
    NoFaceInTarget
        When the reference frame shows nobody, or not as many as asked for.
    TracksError
        When the tracks were made without what the selection needs.
    """
    candidates = [track for track in tracks.tracks if _passes(track, recipe, source)]
    if recipe.face_selector_mode is None:
        return _by_faces(recipe, tracks, {track.track_id for track in candidates})
    ordered = order_tracks(candidates, recipe.face_selector_order)
    if recipe.face_selector_mode == "many":
        return tuple(track.track_id for track in ordered)
    if recipe.face_selector_mode == "one":
        return tracks.one_at_a_time(ordered)
    wanted = _reference_in_frame(recipe, tracks, source) if reference is None else reference
    allowed_ids = {track.track_id for track in candidates}
    return tuple(k for k in matching_tracks(tracks, wanted, recipe.reference_face_distance) if k in allowed_ids)


def matching_tracks(tracks: Tracks, reference: FloatArray, max_distance: float) -> tuple[int, ...]:
    """Track ids of people who look like a reference.

    Raises
    ------
    TracksError
        When the tracks carry no identities, or those of another recogniser.
    """
    near: set[int] = set()
    for track in tracks.tracks:
        if track.identity is None:
            raise TracksError("The tracks carry no identities.", "Analyse the target again with the same selection.")
        if track.identity.shape != reference.shape:
            raise TracksError("The tracks were made with another recogniser.", "Analyse the target again.")
        if distance(track.identity, reference, tracks.same_person_cosine) < max_distance:
            near.add(track.track_id)
    return tuple(track.track_id for track in tracks.tracks if track.track_id in near)


def order_tracks(tracks: Sequence[Track], order: str) -> list[Track]:
    """Tracks in one of FaceFusion's eight orders, by their medians over time."""

    def some(track: Track) -> FloatArray:
        """Meshes at even distances: enough for a median, however long the track is."""
        return np.asarray(track.meshes[:: max(len(track.frames) // MEDIAN_OF, 1)])

    keys = {
        "left-right": lambda t: float(np.median(some(t)[:, :, 0].mean(axis=1))),
        "top-bottom": lambda t: float(np.median(some(t)[:, :, 1].mean(axis=1))),
        "small-large": lambda t: float(np.median(np.prod(np.ptp(some(t)[:, :, :2], axis=1), axis=1))),
        "worst-best": lambda t: float(np.median(t.scores)),
    }
    backwards = {
        "right-left": "left-right",
        "bottom-top": "top-bottom",
        "large-small": "small-large",
        "best-worst": "worst-best",
    }
    return sorted(tracks, key=keys[backwards.get(order, order)], reverse=order in backwards)


def _by_faces(recipe: Recipe, tracks: Tracks, allowed: set[int]) -> tuple[int, ...]:
    known = tuple(track.track_id for track in tracks.tracks)
    if recipe.faces == "all":
        return tuple(k for k in known if k in allowed)
    if recipe.faces == "largest":
        return tuple(k for k in tracks.prominent() if k in allowed)
    people = sorted({tracks.person_of(k) for k in known})
    missing = [number for number in recipe.faces if number not in people]
    if missing and known:
        raise UnknownOption(
            f"There is no face {missing[0]} in {recipe.target_path}.",
            f"It has {len(people)}: {', '.join(map(str, people))}; 0 is the most prominent.",
        )
    return tuple(k for k in known if tracks.person_of(k) in recipe.faces and k in allowed)


def _passes(track: Track, recipe: Recipe, source: Attributes | None) -> bool:
    if not has_filter(recipe):
        return True
    found = track.attributes
    if found is None:
        raise TracksError("The tracks carry no ages.", "Analyse the target again with the same selection.")
    start, end = recipe.face_selector_age_start, recipe.face_selector_age_end
    if (start is not None and found.ages[1] <= start) or (end is not None and found.ages[0] >= end):
        return False
    for wanted, actual, own in (
        (recipe.face_selector_gender, found.gender, source and source.gender),
        (recipe.face_selector_race, found.race, source and source.race),
    ):
        goal = own if wanted == "auto" else wanted
        if goal is not None and goal != actual:
            return False
    return True


def _reference_in_frame(recipe: Recipe, tracks: Tracks, source: Attributes | None) -> FloatArray:
    number, numbers = recipe.reference_frame_number, tracks.numbers
    frame = int(np.searchsorted(numbers, number))
    if frame >= len(numbers) or numbers[frame] != number:
        if FRAMES in tracks.notes and len(numbers):
            raise NoFaceInTarget(
                f"The reference frame {number} is none of those that are looked at: of the target they are frames "
                f"{numbers[0]} to {numbers[-1]}.",
                "Numbers count from the beginning of the target; give --reference-frame-number one of these.",
            )
        raise NoFaceInTarget(
            f"The target has {counted(len(tracks.pts), 'frame')}, so there is no reference frame {number}.",
            "Lower --reference-frame-number.",
        )
    seen = [t for t in tracks.tracks if t.find(frame) is not None and _passes(t, recipe, source)]
    at_frame = []
    for track in seen:
        row = track.find(frame)
        assert row is not None
        part = slice(row, row + 1)
        at_frame.append(
            Track(track.track_id, track.frames[part], track.meshes[part], track.scores[part], track.poses[part])
        )
    ordered = order_tracks(at_frame, recipe.face_selector_order)
    if recipe.reference_face_position >= len(ordered):
        raise NoFaceInTarget(
            f"Frame {number} of the target shows {counted(len(ordered), 'person', 'people')}, so there is no reference "
            f"{recipe.reference_face_position}.",
            "Choose another --reference-frame-number or --reference-face-position, or name a photo with "
            "--reference-face-path.",
        )
    chosen = next(t for t in seen if t.track_id == ordered[recipe.reference_face_position].track_id)
    if chosen.identity is None:
        raise TracksError("The tracks carry no identities.", "Analyse the target again with the same selection.")
    return chosen.identity
