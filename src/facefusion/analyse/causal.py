"""Pass 1 for frames whose next ones are not known: who is where now, from what was seen so far and nothing else.

A clip is looked at whole and smoothed both ways; here every row is final when it is made. The tracks that come out are
a window of the last rows, in the form that rendering takes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from facefusion.analyse.analyser import THOROUGH_REACH, Analyser, Glimpse, Watch
from facefusion.analyse.join import FLASH, MAX_SAMPLES
from facefusion.analyse.smooth import FINISH_MEDIAN, USUAL_REACH, CausalSmoother, with_sign_of
from facefusion.imaging.beards import beard_of
from facefusion.imaging.boxes import box_of, overlap
from facefusion.imaging.glasses import worn_of
from facefusion.imaging.smear import NO_SMEAR, NO_SPECTRUM, Smear, find_smear, smear_in_picture, usual_spectrum
from facefusion.models.face_shape import proportions_of
from facefusion.models.pose import estimate_poses
from facefusion.types.face import Attributes
from facefusion.types.frame import Frame
from facefusion.types.topology import MESH_TO_68
from facefusion.types.track import Track, Tracks

FloatArray = npt.NDArray[np.float32]

ROWS = 48
"""Frames of the window: more than any fade takes."""
HOLD = 3
"""Frames for which somebody who is lost is taken to be still there: the old face is not to flash up. Where people are
hidden it is longer."""
SHAPE_LOOKS, SHAPE_EVERY = 48, 6
"""Looks that tell what somebody's face is like, and frames between two of them once there are a few."""
MAX_PEOPLE = 64
"""People who are known again when they come back; of more, those who were seen longest ago are forgotten."""
SAME_PLACE = 0.4
"""Overlap with where somebody was lost from which who is found there is taken to be the same."""
BEARD_LOOKS = GLASSES_LOOKS = 5
"""Looks for a beard, and for glasses, that are taken of a person: nobody shaves in a film."""
POINT_WEIGHT = 0.5
"""Share of what is new in the offset of 68 points from the mesh."""


@dataclass(slots=True, eq=False)
class _Person:
    """Somebody who is followed; ``number`` is that of the track, ``follower`` whom the watch follows now."""

    number: int
    follower: int
    person: int
    smoother: CausalSmoother
    last: int
    rows: deque[_Row] = field(default_factory=lambda: deque(maxlen=ROWS))
    finishes: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=FINISH_MEDIAN))
    shapes: list[FloatArray] = field(default_factory=list)
    looks: list[tuple[float, FloatArray, Attributes | None]] = field(default_factory=list)
    proportions: FloatArray | None = None
    offset: FloatArray | None = None
    speed: FloatArray = field(default_factory=lambda: np.zeros(3, np.float32))
    seen_count: int = 0
    beards: list[npt.NDArray[np.float16]] = field(default_factory=list)
    glasses: list[npt.NDArray[np.float16]] = field(default_factory=list)
    held: int = 0
    until: int | None = None
    """Last frame in which they are held since the picture was cut, where people are hidden."""

    @property
    def identity(self) -> FloatArray | None:
        known = [embedding for _, embedding, _ in self.looks if len(embedding)]
        return np.mean(known, axis=0).astype(np.float32) if known else None

    @property
    def attributes(self) -> Attributes | None:
        found = [attributes for _, _, attributes in self.looks if attributes is not None]
        if not found:
            return None
        names = ("ages", "gender", "race")
        return Attributes(*(Counter(getattr(one, name) for one in found).most_common(1)[0][0] for name in names))


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """Somebody in one frame, as it is told."""

    frame: int
    mesh: FloatArray
    score: float
    pose: FloatArray
    points: FloatArray | None
    is_guessed: bool
    finish: tuple[float, float]
    depth: int
    black: FloatArray
    spectrum: npt.NDArray[np.float16]
    found: Smear
    smear: FloatArray


class CausalTracker:
    """Follows people through frames that come one at a time.

    Parameters
    ----------
    analyser
        Engines and options.

    Notes
    -----
    People are numbered as they come. Who comes back after a cut, or after a while, has another track and, where the
    analyser tells people apart, the same number.
    """

    def __init__(self, analyser: Analyser) -> None:
        self._analyser = analyser
        self._watch = Watch(analyser)
        self._times: deque[tuple[int, bool]] = deque(maxlen=ROWS)  # pts, and whether a shot starts
        self._people: dict[int, _Person] = {}
        self._gallery: dict[int, FloatArray] = {}
        self._beards: dict[int, list[npt.NDArray[np.float16]]] = {}
        self._count = self._track_count = self._person_count = self._shot = 0

    def __enter__(self) -> CausalTracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the thread go."""
        self._watch.close()

    @property
    def held(self) -> int:
        """Rows of people that are kept; it has a bound."""
        return sum(len(person.rows) for person in self._people.values()) + len(self._gallery)

    def see(self, frame: Frame) -> Tracks:
        """Look at the next frame.

        Returns
        -------
        Tracks of the last frames, this one the last of them. What they say of earlier frames does not change any more.
        """
        now = self._count
        self._watch.see(frame)
        found = self._watch.glimpses()
        is_cut = self._watch.shot != self._shot
        self._shot = self._watch.shot
        self._watch.forget()
        self._times.append((frame.pts, is_cut))
        height, width = frame.pixels.shape[:2]
        seen = {glimpse.number for glimpse in found}
        if not is_cut:
            self._take_up(found, seen, now)
        for glimpse in found:
            self._take(glimpse, seen, now, (width, height))
        for person in list(self._people.values()):
            if person.last != now:
                self._miss(person, now, is_cut, (width, height))
        self._count += 1
        return self._tracks(width, height, frame.time_base)

    def _take_up(self, found: Sequence[Glimpse], seen: Set[int], now: int) -> None:
        """Who is followed anew where somebody was lost just now is taken to be the same, if they look it."""
        for glimpse in found:
            if glimpse.number in self._people or glimpse.is_other:
                continue
            best, most = None, SAME_PLACE
            for person in self._people.values():
                if person.follower in seen or now - person.last > self._limit + 1 or not person.rows:
                    continue
                share = overlap(box_of(person.rows[-1].mesh), box_of(glimpse.mesh))
                if share > most and self._may_be(person, glimpse):
                    best, most = person, share
            if best is not None:
                del self._people[best.follower]
                best.follower = glimpse.number
                self._people[glimpse.number] = best

    def _may_be(self, person: _Person, glimpse: Glimpse) -> bool:
        """Whether nothing speaks against it that somebody who comes is a person who was lost."""
        known = person.identity
        if known is None or glimpse.look is None:
            return True
        own, _ = self._analyser.tell_apart(glimpse.look[0], glimpse.look[1])
        return not len(own) or _likeness(own, known) > self._analyser.same_person_cosine / 2

    @property
    def _limit(self) -> int:
        """Frames for which who is lost is held."""
        return THOROUGH_REACH if self._analyser.is_thorough else HOLD

    def _take(self, glimpse: Glimpse, seen: Set[int], now: int, size: tuple[int, int]) -> None:
        strength = self._analyser.smoothing
        person = self._people.get(glimpse.number)
        if person is None:
            person = _Person(self._track_count, glimpse.number, -1, CausalSmoother(strength, size), now)
            self._people[glimpse.number] = person
            self._track_count += 1
        if person.last != now - 1:
            person.smoother.forget()
            person.offset = None
        self._learn(person, glimpse)
        if person.person < 0:
            person.person = self._who(person, seen)
            # Who comes back has the beard they had.
            person.beards = self._beards.setdefault(person.person, person.beards)
        mesh = person.smoother.step(glimpse.mesh, glimpse.motion)
        centre = mesh.mean(axis=0)
        if person.rows and person.rows[-1].frame == now - 1:
            person.speed = centre - person.rows[-1].mesh.mean(axis=0)
        pose = np.asarray(estimate_poses(mesh[None])[0], dtype=np.float32)
        if len(person.shapes) < SHAPE_LOOKS and (
            person.seen_count < SHAPE_EVERY or person.seen_count % SHAPE_EVERY == 0
        ):
            person.shapes.append(glimpse.mesh)
            looks = np.stack(person.shapes)
            person.proportions = proportions_of(looks, estimate_poses(looks)[:, 0])
        person.seen_count += 1
        if glimpse.glasses[0] >= 0 and len(person.glasses) < GLASSES_LOOKS:
            person.glasses.append(glimpse.glasses)
        if glimpse.beard[0] >= 0 and len(person.beards) < BEARD_LOOKS:
            person.beards.append(glimpse.beard)
        found, smear = _smear(person, glimpse, now)
        # How sharp a shot is tell the frames that are not smeared.
        if glimpse.finish is not None and not (smear.any() and person.finishes):
            person.finishes.append(glimpse.finish)
        person.rows.append(
            _Row(
                now, mesh, glimpse.score, pose, self._points(person, glimpse, mesh), False, _middle(person.finishes),
                glimpse.depth, glimpse.black, glimpse.spectrum, found, smear,
            )
        )  # fmt: skip
        person.last, person.held, person.until = now, 0, None

    def _miss(self, person: _Person, now: int, is_cut: bool, size: tuple[int, int]) -> None:
        """Somebody is not seen in a frame: taken to be where they went for a while, then let go."""
        is_there = bool(person.rows) and person.rows[-1].frame == now - 1
        if is_cut and self._analyser.is_thorough and person.until is None:
            person.until = now + FLASH - 1  # it may be a flash, behind which they still stand
        is_over = is_cut if person.until is None else now > person.until
        is_going = not is_over and person.held < self._limit and is_there
        if is_going:
            last = person.rows[-1]
            mesh = last.mesh + person.speed * np.float32(0.5 ** (person.held + 1))
            middle, box = mesh[:, :2].mean(axis=0), box_of(mesh)
            is_free = all(
                overlap(box, box_of(other.rows[-1].mesh)) <= SAME_PLACE
                for other in self._people.values()
                if other.last == now
            )
            is_inside = bool(((middle >= 0) & (middle < np.array(size))).all())
            # After a flash whoever is found there is the same.
            if is_free if person.until is not None else self._analyser.is_thorough or (is_free and is_inside):
                points = None if last.points is None else last.points + (mesh - last.mesh)[:, :2].mean(axis=0)
                person.rows.append(
                    _Row(
                        now, mesh, last.score, last.pose, points, True, last.finish, last.depth, last.black,
                        NO_SPECTRUM, NO_SMEAR, last.smear,
                    )
                )  # fmt: skip
                person.held += 1
                return
        if now - person.last > ROWS + self._analyser.patience:
            del self._people[person.follower]
            if (identity := person.identity) is not None:
                self._gallery.pop(person.person, None)
                self._gallery[person.person] = identity
                while len(self._gallery) > MAX_PEOPLE:
                    del self._gallery[next(iter(self._gallery))]
            known = {*self._gallery, *(other.person for other in self._people.values())}
            self._beards = {number: looks for number, looks in self._beards.items() if number in known}

    def _learn(self, person: _Person, glimpse: Glimpse) -> None:
        """Keep the best looks at somebody."""
        if glimpse.look is None:
            return
        pixels, points, quality = glimpse.look
        embedding, attributes = self._analyser.tell_apart(pixels, points)
        looks = [*person.looks, (quality, embedding, attributes)]
        person.looks = sorted(looks, key=lambda look: -look[0])[:MAX_SAMPLES]

    def _who(self, person: _Person, seen: Set[int]) -> int:
        """The number of somebody who comes: that of who is out of sight and looks the same, or a new one."""
        own = person.identity
        here = {other.person for other in self._people.values() if other is not person and other.follower in seen}
        known = {other.person: other.identity for other in self._people.values() if other is not person}
        best, most = -1, self._analyser.same_person_cosine
        for number, identity in {**self._gallery, **known}.items():
            if own is None or identity is None or number in here or number < 0:
                continue
            likeness = _likeness(own, identity)
            if likeness > most:
                best, most = number, likeness
        if best >= 0:
            return best
        self._person_count += 1
        return self._person_count - 1

    def _points(self, person: _Person, glimpse: Glimpse, mesh: FloatArray) -> FloatArray | None:
        """68 points carried by the smoothed mesh; their offset from it is what is measured."""
        if glimpse.points is None:
            return None
        landmarks = list(MESH_TO_68)
        points, score = glimpse.points
        if score >= self._analyser.min_point_score:
            offset = (points - glimpse.mesh[landmarks, :2]).astype(np.float32)
            before = offset if person.offset is None else person.offset
            person.offset = (before + POINT_WEIGHT * (offset - before)).astype(np.float32)
        added = 0 if person.offset is None else person.offset
        return np.asarray(mesh[landmarks, :2] + added, dtype=np.float32)

    def _tracks(self, width: int, height: int, time_base: Fraction) -> Tracks:
        first = self._count - len(self._times)
        pts = np.array([at for at, _ in self._times], dtype=np.int64)
        cuts = np.array([k for k, (_, is_cut) in enumerate(self._times) if is_cut or k == 0], dtype=np.int64)
        tracks, people = [], []
        for person in self._people.values():
            rows = [row for row in person.rows if row.frame >= first]
            if rows:
                tracks.append(_track(person, rows, first))
                people.append(person.person)
        return Tracks(
            width, height, time_base, pts, tuple(tracks), {}, cuts, tuple(people), self._analyser.contract,
            self._analyser.same_person_cosine,
        )  # fmt: skip


def _track(person: _Person, rows: list[_Row], first: int) -> Track:
    has_points = all(row.points is not None for row in rows)
    depths = np.array([row.depth for row in rows], np.int8)
    blacks = np.stack([row.black for row in rows]).astype(np.float32)
    smears = np.stack([row.smear for row in rows])
    beard = beard_of(np.stack(person.beards)) if person.beards else 0.0
    return Track(
        person.number,
        np.array([row.frame - first for row in rows], dtype=np.int64),
        np.stack([row.mesh for row in rows]).astype(np.float32),
        np.array([row.score for row in rows], dtype=np.float32),
        np.stack([row.pose for row in rows]).astype(np.float32),
        np.stack([row.points for row in rows if row.points is not None]).astype(np.float32) if has_points else None,
        person.identity,
        person.attributes,
        np.array([row.is_guessed for row in rows]),
        np.array([row.finish for row in rows], dtype=np.float32),
        depths if depths.any() else None,
        None if np.isnan(blacks).any() else blacks,
        person.proportions,
        smears=smears if smears.any() else None,
        beard=np.array([beard], np.float32) if beard > 0 else None,
        glasses=worn_of(np.stack(person.glasses)) if person.glasses else None,
    )


def _smear(person: _Person, glimpse: Glimpse, now: int) -> tuple[Smear, FloatArray]:
    """How somebody is smeared in a frame against the last ones, and (3,) as much of it as counts."""
    rows = person.rows
    spectra = [*(row.spectrum for row in rows), glimpse.spectrum][-2 * USUAL_REACH - 1 :]
    usual = usual_spectrum(np.stack(spectra))
    found = NO_SMEAR if usual is None else find_smear(glimpse.spectrum, usual)
    surety = found.surety
    if rows and rows[-1].frame == now - 1:
        surety = (2 * surety + rows[-1].found.surety) / 3  # as `smooth_smears`, which knows the next frame, too
    smear = np.array(smear_in_picture(found, surety), np.float32)
    return found, with_sign_of(smear, rows[-1].smear) if rows else smear


def _likeness(one: FloatArray, other: FloatArray) -> float:
    return float(one @ other) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-9)


def _middle(finishes: deque[tuple[float, float]]) -> tuple[float, float]:
    """The median of the last measurements of sharpness and grain; nothing where there is none."""
    if not finishes:
        return 0.0, 0.0
    blur, grain = np.median(np.array(finishes), axis=0).tolist()
    return blur, grain
