"""The pass over the frames: detect now and then, follow in between, link what belongs together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from facefusion.analyse.answers import checked_detections, numbers
from facefusion.analyse.faint import FaintTraces, Trace
from facefusion.analyse.join import FLASH, MAX_SAMPLES, JoinOptions, join
from facefusion.analyse.people import APART, Sameness
from facefusion.analyse.turned import TurnedDetector
from facefusion.imaging.align import MESH_CROP_MARGIN, detection_crop, invert, mesh_crop, square_crop, transform
from facefusion.imaging.appearance import POINTS, likeness_of_looks, points_inside, read_looks, unlikeness_at
from facefusion.imaging.beards import NOT_LOOKED, Beards
from facefusion.imaging.boxes import box_of, overlap, share_inside
from facefusion.imaging.face_map import SHADING_SIGMA, plain_skin, texture_plane
from facefusion.imaging.finish import measure_finish
from facefusion.imaging.flow import MOTION_SIDE, crop_shift, measure_motion, motion_crop
from facefusion.imaging.masks import HEAD
from facefusion.imaging.resample import cut, is_cut, is_same_layout, pan_between, thumbnail
from facefusion.imaging.smear import NO_SPECTRUM, measure_spectrum
from facefusion.imaging.templates import similarity
from facefusion.imaging.texture import TexturePlane
from facefusion.imaging.veil import measure_black
from facefusion.models.mesh_topology import load_mesh_topology
from facefusion.models.pose import estimate_poses
from facefusion.models.verifier import CROP_MARGIN, CROP_SIDE, Verifier
from facefusion.plugins.protocols import (
    Classifier,
    CloserLook,
    Detector,
    Identifier,
    Landmarker,
    PointLandmarker,
    SeesGlasses,
)
from facefusion.types.certainty import verdict_of
from facefusion.types.face import Attributes, Detection, Face, Pose
from facefusion.types.frame import Frame, Pixels
from facefusion.types.observation import Observation, Sighting
from facefusion.types.shown import shown
from facefusion.types.topology import LEFT_IRIS, MESH_TO_68, POINT_COUNT, RIGHT_IRIS, five_from_68
from facefusion.types.track import SAME_PERSON_COSINE, Tracks

FloatArray = npt.NDArray[np.float32]

MIN_SCORE = 0.5
"""Lowest score of the mesh of a face that is being followed."""
MIN_NEW_SCORE = 0.9
"""The same for a face that is new; held-out faces have 0.99, most false detections far less."""
MIN_SIZE_PX = 18.0
"""Smaller detections are left out: there is nothing to see in them, and most are no faces."""
MAX_GAP = 12
"""Frames without a face that are bridged by interpolation: a hand that passes, not a person who leaves."""
MAX_WAITING = 6
"""Measurements of motion that may lie behind the frame in hand."""
THOROUGH_SIZE_PX = 10.0
"""The same where a face too few is worse than a wall too many."""
THOROUGH_GAP = 30
THOROUGH_SCORE = 0.3
"""Score from which a detection counts although the mesh sees no face."""
THOROUGH_REACH = 10
"""Frames by which every track is made longer at both ends, carried along the motion of the picture."""
STILL_REACH = 2
"""Frames by which it is made longer without looking at the picture."""
ANYWAY = 3
"""Frames over which somebody is carried along whatever the picture shows: blur hides a face that is there."""
CARRIED_TRUST = 0.2
"""Mean trust in the motion of the picture from which somebody is carried along it for longer."""
PROMISING = 0.25
"""What the detector thinks at best of a find that is carried along."""
FAINT, FAINT_TWICE = 0.12, 0.15
"""Score of the detector, and mean of two looks, below which a find counts only where it moves by itself
(`facefusion.analyse.faint`)."""
UNCERTAIN = 1.5
"""Size of what is hidden of a faint find over its largest size: nobody knows which part of a head it was."""
SAME_FIND = 0.3
"""Overlap from which a find in the mirrored picture, or one of a later frame, is the same."""
LOOK_AGAIN = 0.25
"""Score from which what is found in a turned picture alone, or more surely there, is looked at a second time."""
IN_A_FACE = 0.8
"""A new face of which so much lies in one that is followed is a part of it: nobody's face is in another's."""
SURELY_UPRIGHT = 0.999
"""Score of a new face from which it need not be looked at upside down."""
TURNED_SIZE_PX = 48.0
TURNED_SCORE = 0.6
"""Least size and score of a detection that is not upright."""
TURNED_EVERY = 24
"""Frames between two looks for faces that are not upright."""
BEARD_EVERY, BEARD_EVERY_AT_FIRST = 24, 6
"""Frames between two looks for a beard, and within the first of those: a short shot is more than one look."""
GLASSES_EVERY, GLASSES_LATER = 6, 48
"""Frames between two looks for glasses, while few were taken and later on."""
GLASSES_SOON = 96
"""Frames that are soon."""
GLASSES_PX = 40
"""Height of a face below which nobody looks for glasses."""
FINISH_EVERY = 6
"""Frames between two measurements of sharpness and grain."""
SAMPLE_EVERY = 8
"""Frames between two looks that may be kept to tell who somebody is."""
SAMPLE_SIDE = 256
TELL_EVERY, THOROUGH_TELL_EVERY = 24, 8
"""Frames between two looks that tell whether a face that is followed is still the same person's: each costs about
half of what following does in a frame. Between two that differ, those that may be kept are looked at, too."""
TELLING_PX = 40.0
"""Size from which such a look tells: of smaller faces two looks may have little in common."""
SCENE_EVERY = 4
"""Frames between two looks at whether the picture as a whole has become another."""
DOUBTS = 4
"""Looks that are taken at once because the ones before were strange; then it is their turn again."""
TURN, REMEMBERED = 24, 72
"""Frames after which everything that is done every so many frames has its turn again, and frames of somebody that a
watch without an end remembers at least."""
BESIDE = 0.1
"""How much a look at somebody is worth before whom another stands."""
SLID, SLID_BESIDE = 0.35, 0.4
"""Likeness to its own looks below which a mesh has slid onto something else; the same while somebody is beside it."""
OF_USUAL = 0.6
"""Share of its usual likeness below which a face that never looks the same twice (in the dark) has slid."""
SAME, SAME_BESIDE = 0.6, 0.45
"""Likeness from which somebody who was hidden is taken to be back, wherever nearby that is; by the part of
a face that comes out from behind somebody, less."""
LEARN = 0.15
"""Weight of a frame in what is remembered of somebody's looks."""
AT_ONE_PLACE = 0.1
"""Share of a face in another's outline from which the network may fit the one for the other."""
AWAITED, AWAITED_OFTEN, AWAITED_EVERY = 50, 16, 3
"""Frames in which somebody who went behind another is looked for; in the first ones always, then now and then."""
INTACT = 0.25
"""Unlikeness to its own looks, natural logarithm, up to which nothing stands before a part of a face."""
IN_SIGHT = 0.25
"""Share of a face outside of another's outline from which that part tells whether it is still there."""
FEWEST = 3
"""Points of a face on another's head from which the two meet."""


_Motion = tuple[npt.NDArray[np.float16], npt.NDArray[np.float16]]
"""(478, 2) motion since the frame before in pixels and (478,) trust; halves are exact enough for one step."""
_Looks = list[Future[list[Detection]]]
"""Looks of the detector that are on their way."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """A good look at a person, kept to tell who it is."""

    quality: float
    pixels: Pixels
    points: FloatArray
    frame: int


@dataclass(slots=True)
class _Follower:
    """A person as seen so far."""

    shot: int
    frames: list[int] = field(default_factory=list)
    meshes: list[FloatArray] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    motions: list[Future[_Motion] | None] = field(default_factory=list)
    points: dict[int, tuple[FloatArray, float]] = field(default_factory=dict)
    samples: list[_Sample] = field(default_factory=list)
    former: list[_Sample] = field(default_factory=list)
    pending: list[_Sample] = field(default_factory=list)
    told: dict[int, FloatArray] = field(default_factory=dict)
    sameness: Sameness | None = None
    turns: Sequence[int] = ()
    doubts: int = 0
    changed_at: int = -1
    latest: _Sample | None = None
    finishes: dict[int, tuple[float, float]] = field(default_factory=dict)
    is_lost: bool = False
    depths: dict[int, int] = field(default_factory=dict)
    looks_at_first: FloatArray = field(default_factory=lambda: np.zeros((len(POINTS), 3), np.float32))
    looks: FloatArray | None = None
    usual: float = 1.0
    is_hidden: bool = False
    blacks: list[FloatArray] = field(default_factory=list)
    spectra: list[npt.NDArray[np.float16]] = field(default_factory=list)
    beards: list[npt.NDArray[np.float16]] = field(default_factory=list)
    glasses: list[npt.NDArray[np.float16]] = field(default_factory=list)
    evidence: float | None = None
    has_moved: bool = False
    verdicts: list[float] = field(default_factory=list)
    room: float = 1.0
    head: list[tuple[int, FloatArray]] = field(default_factory=list)
    tail: list[tuple[int, FloatArray]] = field(default_factory=list)
    forgotten: int = 0
    now: tuple[int, FloatArray] | None = None
    likeness: tuple[int, float] | None = None
    number: int = -1

    def is_awaited(self, frame: int) -> bool:
        """Whether to look in a frame for somebody who went behind another."""
        gap = frame - self.frames[-1]
        is_often = gap <= AWAITED_OFTEN or gap % AWAITED_EVERY == 0
        return self.is_lost and self.is_hidden and gap <= AWAITED and is_often

    def read_looks(self, pixels: Pixels, mesh: FloatArray, frame: int) -> FloatArray:
        """What is seen at a mesh in a frame; read once."""
        if self.now is None or self.now[0] != frame:
            self.now = frame, read_looks(pixels, mesh)
        return self.now[1]

    def learn(self, looks: FloatArray, likeness: float | None = None) -> None:
        """Remember what the face looks like; slowly, for light and pose change slowly."""
        if self.looks is None:
            self.looks_at_first = self.looks = looks
            return
        likeness = likeness_of_looks(looks, self.looks) if likeness is None else likeness
        self.usual += LEARN * (likeness - self.usual)
        self.looks = np.asarray(self.looks + LEARN * (looks - self.looks), dtype=np.float32)

    @property
    def told_last(self) -> int:
        """Frame of the last look that told who it is, or a frame long ago."""
        return next(reversed(self.told)) if self.told else -TELL_EVERY

    @property
    def is_promising(self) -> bool:
        """Whether so much speaks for a face that it is worth while to carry it along."""
        return self.has_moved or (self.evidence or 0) >= PROMISING

    def believe(self, evidence: float | None) -> None:
        """Remember the best that was thought of it."""
        if evidence is not None:
            self.evidence = evidence if self.evidence is None else max(self.evidence, evidence)

    def add(self, frame: int, mesh: FloatArray, score: float, motion: Future[_Motion] | None = None) -> None:
        self.tail.clear()  # between two sightings nothing has to be carried
        self.frames.append(frame)
        self.meshes.append(mesh)
        self.scores.append(score)
        self.motions.append(motion)

    @property
    def row(self) -> int:
        """How many frames they were seen in before the last one."""
        return self.forgotten + len(self.frames) - 1

    def forget(self, count: int) -> None:
        """Keep the last frames alone, at least so many; what is done every so many frames keeps its turn."""
        over = (len(self.frames) - count) // TURN * TURN
        if over <= 0:
            return
        self.forgotten += over
        for column in (
            self.frames,
            self.meshes,
            self.scores,
            self.motions,
            self.blacks,
            self.spectra,
            self.beards,
            self.glasses,
        ):
            del column[:over]
        del self.verdicts[:-count]
        self.former.clear()
        for held in (self.points, self.finishes, self.depths, self.told):
            for frame in [frame for frame in held if frame < self.frames[0]]:
                del held[frame]

    def expected(self) -> FloatArray:
        """Where the mesh should be in the next frame: it goes on half as fast."""
        last = self.meshes[-1]
        if len(self.meshes) < 2 or self.frames[-1] - self.frames[-2] != 1:
            return last
        motion = (last - self.meshes[-2]).mean(axis=0)
        return np.asarray(last + 0.5 * motion, dtype=np.float32)


class Analyser:
    """Finds and follows faces.

    Parameters
    ----------
    detector, landmarker
        Engines.
    interval
        Detect at least every so many frames.
    smoothing
        Strength of the smoothing over time, 0 to 1.
    point_landmarker
        Reads the 68-point layout off every face, or None.
    min_point_score
        Below this score its points are not believed and the mesh stands in.
    identifier, classifier
        Tell who people are and what they look like, or None where nobody asked.
    is_thorough
        Rather a wall too many than a face too few: doubtful and small faces count, long gaps are bridged, and every
        track goes on for a while before it starts and after it ends.
    turned
        Looks for faces that lie or stand on their head, where the detector finds nobody; when thorough, in any case.
    verifier
        Judges what is seen when thorough, frame by frame, or None: then the detector's word counts.
    look_count
        How many looks at a picture the detector takes side by side when thorough, one thread each.
    glasses_seer
        Who tells whether somebody wears glasses; None where nobody asks.
    """

    def __init__(
        self,
        detector: Detector,
        landmarker: Landmarker,
        interval: int = 12,
        smoothing: float = 1.0,
        point_landmarker: PointLandmarker | None = None,
        min_point_score: float = 0.5,
        identifier: Identifier | None = None,
        classifier: Classifier | None = None,
        is_thorough: bool = False,
        turned: TurnedDetector | None = None,
        verifier: Verifier | None = None,
        look_count: int = 1,
        glasses_seer: SeesGlasses | None = None,
    ) -> None:
        self._detector, self._landmarker = detector, landmarker
        self._interval, self._smoothing = interval, smoothing
        self._point_landmarker, self._min_point_score = point_landmarker, min_point_score
        self._identifier, self._classifier = identifier, classifier
        self._is_thorough, self._turned, self._verifier = is_thorough, turned, verifier
        self._look_count, self._glasses_seer = look_count, glasses_seer
        self._min_new_score = MIN_SCORE if is_thorough else MIN_NEW_SCORE
        self._min_size_px = THOROUGH_SIZE_PX if is_thorough else MIN_SIZE_PX
        self._max_gap = THOROUGH_GAP if is_thorough else MAX_GAP
        self._margin = float(getattr(landmarker, "crop_margin", MESH_CROP_MARGIN))

    @property
    def is_thorough(self) -> bool:
        """Whether a face too few is worse than a wall too many."""
        return self._is_thorough

    @property
    def smoothing(self) -> float:
        """Strength of the smoothing over time, 0 to 1."""
        return self._smoothing

    @property
    def min_point_score(self) -> float:
        """Score below which 68 points are not believed."""
        return self._min_point_score

    @property
    def patience(self) -> int:
        """Frames after which nobody who was lost is looked for any more."""
        return max(AWAITED, self._max_gap + 1)

    @property
    def contract(self) -> str:
        """Name of the space of identities; empty where nobody is told apart."""
        return "" if self._identifier is None else self._identifier.contract

    @property
    def same_person_cosine(self) -> float:
        """Cosine in that space above which two identities are one person."""
        return SAME_PERSON_COSINE if self._identifier is None else self._identifier.same_person_cosine

    def tell_apart(self, pixels: Pixels, points: FloatArray) -> tuple[FloatArray, Attributes | None]:
        """Embedding of a face at its (5, 2) points in a picture, empty where nobody asked, and what it looks like."""
        embedding = np.zeros(0, np.float32)
        if self._identifier is not None:
            embedding = np.asarray(self._identifier.identify([pixels], [points])[0], dtype=np.float32)
            numbers(embedding, "face_identifier")
        return embedding, None if self._classifier is None else self._classifier.classify([pixels], [points])[0]

    def find_faces(self, pixels: Pixels) -> list[Face]:
        """Faces of a single picture, largest first.

        Parameters
        ----------
        pixels
            (H, W, 3) uint8 RGB.
        """
        seen = self._look_at_detections(pixels, self._clear(self._detect(pixels)))
        if not seen and self._turned is not None:
            seen = self._look_at_detections(pixels, self._clear(self._find_turned(pixels)))
        if not seen:
            return []
        meshes = np.stack([mesh for mesh, _, _ in seen])
        poses = estimate_poses(meshes)
        faces = [Face(mesh, score, _pose(pose)) for (mesh, score, _), pose in zip(seen, poses, strict=True)]
        if self._point_landmarker is not None:
            found = self._locate(self._point_landmarker, pixels, faces)
            faces = [
                replace(face, points=points) if score >= self._min_point_score else face
                for face, (points, score) in zip(faces, found, strict=True)
            ]
        return sorted(faces, key=lambda face: -float(np.prod(face.box[2:] - face.box[:2])))

    def analyse(
        self,
        frames: Iterable[Frame],
        notes: Mapping[str, str] | None = None,
        on_frame: Callable[[Frame], None] | None = None,
    ) -> Tracks:
        """Pass 1 over a clip in one piece; a photo is a clip of one frame.

        Parameters
        ----------
        frames
            All frames in order; each is looked at once and let go.
        notes
            Stored with the tracks.
        on_frame
            Called after each frame.

        Returns
        -------
        Smoothed tracks, the most prominent person first.
        """
        return self.join([self.observe(frames, on_frame=on_frame)], notes)

    def join(
        self,
        observations: Sequence[Observation],
        notes: Mapping[str, str] | None = None,
        path: Path | None = None,
    ) -> Tracks:
        """Tracks over a whole clip from what was seen in its parts, in order (`facefusion.analyse.join.join`)."""
        options = JoinOptions(
            self._smoothing,
            self._max_gap,
            self._min_point_score,
            STILL_REACH if self._is_thorough else 0,
            self.contract,
            self.same_person_cosine,
        )
        return join(observations, options, notes, path)

    def observe(
        self, frames: Iterable[Frame], overlaps: bool = False, on_frame: Callable[[Frame], None] | None = None
    ) -> Observation:
        """Look at a part of a clip.

        Parameters
        ----------
        frames
            All frames of the part in order, each looked at once and let go.
        overlaps
            Whether the last of them is the first of the next part.
        on_frame
            Called after each frame.
        """
        with Watch(self) as watch:
            for frame in frames:
                watch.see(frame)
                if on_frame is not None:
                    on_frame(frame)
        return watch.observation(overlaps)

    def _sighting(self, follower: _Follower) -> Sighting:
        """What is kept of a follower: no pictures, only numbers."""
        seen = self._sighting_seen(follower)
        return seen if follower.evidence is None else _with_carried(seen, follower)

    def _sighting_seen(self, follower: _Follower) -> Sighting:
        count = len(follower.frames)
        motions = np.zeros((count, POINT_COUNT, 2), np.float16)
        trusts = np.zeros((count, POINT_COUNT), np.float16)
        for row, measured in enumerate(follower.motions):
            if measured is not None:
                motions[row], trusts[row] = measured.result()
        samples = [*follower.former, *follower.samples]
        identities = np.zeros((len(samples), 0), np.float32)
        attributes: tuple[Attributes, ...] = ()
        if samples:
            pixels, fives = [s.pixels for s in samples], [s.points for s in samples]
            if self._identifier is not None:
                known = {k: follower.told[s.frame] for k, s in enumerate(samples) if s.frame in follower.told}
                rest = [k for k in range(len(samples)) if k not in known]
                if rest:
                    known |= zip(rest, self._identify([samples[k] for k in rest]), strict=True)
                identities = np.stack([known[k] for k in range(len(samples))])
            if self._classifier is not None:
                attributes = tuple(self._classifier.classify(pixels, fives))
        located, finished = sorted(follower.points), sorted(follower.finishes)
        return Sighting(
            np.array(follower.frames, dtype=np.int64),
            np.stack(follower.meshes).astype(np.float32),
            np.array(follower.scores, dtype=np.float32),
            motions,
            trusts,
            np.array([measured is not None for measured in follower.motions]),
            np.array(located, dtype=np.int64),
            np.array([follower.points[k][0] for k in located], dtype=np.float32).reshape(-1, 68, 2),
            np.array([follower.points[k][1] for k in located], dtype=np.float32),
            np.array(finished, dtype=np.int64),
            np.array([follower.finishes[k] for k in finished], dtype=np.float32).reshape(-1, 2),
            np.array([s.quality for s in samples], dtype=np.float32),
            identities,
            attributes,
            np.array([follower.depths.get(k, 0) for k in follower.frames], np.int8) if follower.depths else None,
            None if follower.looks is None else np.stack([follower.looks_at_first, follower.looks]),
            np.stack(follower.blacks),
            kept_frames=np.array([s.frame for s in samples], dtype=np.int64),
            told_frames=np.array(list(follower.told), dtype=np.int64) if follower.told else None,
            told=np.stack(list(follower.told.values())) if follower.told else None,
            spectra=np.stack(follower.spectra),
            beards=np.stack(follower.beards),
            glasses=np.stack(follower.glasses),
        )

    def _look_for_glasses(self, follower: _Follower, pixels: Pixels) -> npt.NDArray[np.float16]:
        row, mesh = follower.row, follower.meshes[-1]
        is_turn = row % (GLASSES_EVERY if row < GLASSES_SOON else GLASSES_LATER) == 0
        if self._glasses_seer is None or not is_turn or float(np.ptp(mesh[:, 1])) < GLASSES_PX:
            return NOT_LOOKED
        found = self._glasses_seer.see_glasses(pixels, Face(mesh, follower.scores[-1], Pose(0, 0, 0)))
        return np.array(found, dtype=np.float16)

    def _identify(self, samples: Sequence[_Sample]) -> FloatArray:
        """(N, D) embeddings of looks."""
        assert self._identifier is not None
        found = self._identifier.identify([s.pixels for s in samples], [s.points for s in samples])
        found = np.asarray(found, dtype=np.float32)
        numbers(found, "face_identifier")
        return found

    def _tell(self, follower: _Follower, sample: _Sample, is_due: bool) -> bool:
        """Take in a look, and read who it shows where it is due; whether it has come to show somebody else.

        Parameters
        ----------
        follower
            Whom it was taken of.
        sample
            The look.
        is_due
            Whether to read it now; otherwise it is kept until the next one is read, and read only if that differs.
        """
        follower.pending.append(sample)
        if not is_due:
            return False
        looks, follower.pending = follower.pending, []
        (last,) = self._identify(looks[-1:])
        if (
            follower.told
            and len(looks) > 1
            and _cosine(last, follower.told[follower.told_last]) < self.same_person_cosine
        ):
            between = list(self._identify(looks[:-1]))
        else:
            looks, between = looks[-1:], []
        has_changed = False
        for look, embedding in zip(looks, [*between, last], strict=True):
            follower.told[look.frame] = embedding
            if follower.sameness is None:
                follower.sameness = Sameness(self.same_person_cosine, follower.turns)
            before = follower.sameness.strange
            if follower.sameness.see(look.frame, embedding):
                has_changed = True
                # The best looks at who comes are not to be measured against those at who went.
                assert before is not None
                follower.former += [s for s in follower.samples if s.frame < before[0]]
                follower.samples = [s for s in follower.samples if s.frame >= before[0]]
            follower.doubts = follower.doubts + 1 if follower.sameness.strange is not None else 0
        return has_changed

    def _tell_at_end(self, follower: _Follower, pixels: Pixels | None, number: int) -> None:
        """Read who somebody was in the last frame they were seen in, which is the one at hand."""
        if self._identifier is None or pixels is None or follower.frames[-1] != number or number in follower.depths:
            return
        if number - follower.told_last >= APART and follower.told and _extent(follower.meshes[-1]) >= TELLING_PX:
            self._tell(follower, _sample(pixels, follower, 1.0), True)

    def _follow(
        self,
        followers: list[_Follower],
        before: Pixels | None,
        pixels: Pixels,
        number: int,
        aside: Executor,
        waiting: deque[Future[_Motion]],
    ) -> bool:
        """Move every follower to this frame; whether one was lost."""
        active = [follower for follower in followers if not follower.is_lost]
        if not active:
            return False
        expected = [follower.expected() for follower in active]
        affines = [mesh_crop(mesh, self._landmarker.crop_size, self._margin) for mesh in expected]
        looks = self._look(pixels, affines, is_mirrored_too=True)
        again = [k for k, (mesh, _) in enumerate(looks) if _has_moved(expected[k], mesh)]
        if again:
            # Mirrored too: frames that are read in one way and frames in another would take turns.
            crops = [mesh_crop(looks[k][0], self._landmarker.crop_size, self._margin) for k in again]
            second = self._look(pixels, crops, is_mirrored_too=True)
            for k, seen in zip(again, second, strict=True):
                looks[k] = seen
        was_lost = False
        still_there = self._without_slid(active, looks, pixels, number)
        for follower, (mesh, score), is_there in zip(active, looks, still_there, strict=True):
            if score < MIN_SCORE or not _is_in_picture(mesh, pixels) or not is_there:
                follower.is_lost = True
                self._tell_at_end(follower, before, number - 1)
                follower.is_hidden = not is_there or _is_beside(follower.meshes[-1], active, follower)
                was_lost = True
            else:
                motion = None
                if self._smoothing > 0 and before is not None and follower.frames[-1] == number - 1:
                    motion = aside.submit(_measure_motion, before, pixels, follower.meshes[-1], mesh)
                    waiting.append(motion)
                follower.add(number, mesh, score, motion)
        return was_lost

    def _without_slid(
        self, followers: list[_Follower], found: list[tuple[FloatArray, float]], pixels: Pixels, number: int
    ) -> list[bool]:
        """Whether each mesh still lies on whom it followed: the network fits any face that comes before it as gladly.

        Parameters
        ----------
        followers
            People who are followed.
        found
            Their meshes and scores in this frame.
        pixels, number
            The frame.
        """
        likenesses, is_there = [], []
        for k, (follower, (mesh, _)) in enumerate(zip(followers, found, strict=True)):
            is_free, limit = np.ones(len(POINTS), dtype=np.bool_), SLID
            for n, (other, _) in enumerate(found):
                if n != k and _share_behind(mesh, other) > AT_ONE_PLACE:
                    is_free &= ~points_inside(mesh[POINTS], other)
                    limit = SLID_BESIDE
            likeness = 1.0
            if follower.looks is not None:
                now, is_seen = follower.read_looks(pixels, mesh, number), float(is_free.mean()) >= IN_SIGHT
                likeness = likeness_of_looks(now, follower.looks, is_free if is_seen else None)
                limit = limit if is_seen else SAME
                follower.likeness = (number, likeness) if is_free.all() else None
            likenesses.append(likeness)
            is_there.append(likeness >= min(limit, OF_USUAL * follower.usual))
        for one, two in _pairs(len(found)):
            if is_there[one] and is_there[two] and overlap(box_of(found[one][0]), box_of(found[two][0])) > 0.6:
                # Two on one face: who looks less like before is lost, of equals the younger.
                ages = [len(followers[n].frames) for n in (one, two)]
                difference = likenesses[one] - likenesses[two]
                is_first_less = difference < 0 if abs(difference) > 0.05 else ages[0] < ages[1]
                is_there[one if is_first_less else two] = False
        return is_there

    def _order(self, followers: list[_Follower], pixels: Pixels, number: int) -> None:
        """Find out who stands before whom where faces meet, and remember what everybody else looks like."""
        looks = [follower.read_looks(pixels, follower.meshes[-1], number) for follower in followers]
        is_alone = [True] * len(followers)
        for one, other in _pairs(len(followers)):
            pair = followers[one], followers[other]
            inside = [_points_behind(a.meshes[-1], b.meshes[-1]) for a, b in (pair, pair[::-1])]
            if max(int(part.sum()) for part in inside) < FEWEST:
                continue
            is_alone[one] = is_alone[other] = False
            # Where they meet the picture shows one of them.
            strange: list[float | None] = [
                unlikeness_at(now, follower.looks, part) if follower.looks is not None and part.any() else None
                for follower, now, part in zip(pair, (looks[one], looks[other]), inside, strict=True)
            ]
            sizes = [_extent(follower.meshes[-1]) for follower in pair]
            behind = pair[_which_is_behind(strange, sizes)]
            behind.depths[number] = behind.depths.get(number, 0) + 1
        for follower, now, alone in zip(followers, looks, is_alone, strict=True):
            # What stands before a face is not learned as its own.
            known = follower.looks
            if alone or known is None or number not in follower.depths or likeness_of_looks(now, known) > SAME:
                measured = follower.likeness
                follower.learn(now, measured[1] if measured is not None and measured[0] == number else None)

    def _find(self, pixels: Pixels, is_quick: bool) -> list[Detection]:
        detect = getattr(self._detector, "detect_large", self._detector.detect) if is_quick else self._detector.detect
        return checked_detections(detect([pixels])[0])

    def _begin(self, looks: Executor, pixels: Pixels, is_turned_too: bool) -> tuple[_Looks, _Looks]:
        """Look at a picture and its mirror image, and in quarter turns of it where they are due, all side by side."""
        upright = [looks.submit(self._detect, pixels), looks.submit(self._detect_mirrored, pixels)]
        return upright, self._begin_turned(looks, pixels) if is_turned_too else []

    def _begin_turned(self, looks: Executor, pixels: Pixels) -> _Looks:
        assert self._turned is not None
        return [looks.submit(look) for look in self._turned.looks(pixels)]

    def _detect(self, pixels: Pixels) -> list[Detection]:
        return checked_detections(self._detector.detect([pixels])[0])

    def _detect_mirrored(self, pixels: Pixels) -> list[Detection]:
        return [_mirrored(d, pixels.shape[1]) for d in self._detect(np.ascontiguousarray(pixels[:, ::-1]))]

    def _find_turned(self, pixels: Pixels) -> list[Detection]:
        """Faces that lie or stand on their head. Three more looks find three times as many things that are no faces."""
        assert self._turned is not None
        if self._is_thorough:
            with ThreadPoolExecutor(self._look_count) as looks:
                return self._judge_turned(looks, self._begin_turned(looks, pixels), pixels)
        found = self._turned.detect([pixels])[0]
        return [d for d in found if d.score >= TURNED_SCORE and d.size_px >= TURNED_SIZE_PX]

    def _judge_turned(
        self, looks: Executor, begun: _Looks, pixels: Pixels, upright: Sequence[Detection] = ()
    ) -> list[Detection]:
        """The same when thorough: all that is found, and how sure it is.

        Parameters
        ----------
        looks
            Takes more of them.
        begun
            In quarter turns of the picture.
        pixels
            (H, W, 3) uint8 RGB.
        upright
            What was found without turning the picture.
        """
        assert self._turned is not None
        found = self._turned.join([look.result() for look in begun])
        # Three more looks at the mirror image say how sure it is; where nothing is, there is nothing to be sure of.
        is_better = any(
            one.score >= LOOK_AGAIN
            and all(overlap(one.box, other.box) < SAME_FIND or other.score < one.score for other in upright)
            for one in found
        )
        if not is_better:
            return [replace(one, evidence=one.score / 2) for one in found]
        again = self._begin_turned(looks, np.ascontiguousarray(pixels[:, ::-1]))
        mirrored = self._turned.join([look.result() for look in again])
        return _agreed(found, [_mirrored(d, pixels.shape[1]) for d in mirrored])

    def _add_new(
        self,
        followers: list[_Follower],
        pixels: Pixels,
        number: int,
        shot: int,
        detections: list[Detection],
        allow_new: bool = True,
    ) -> None:
        """Follow faces that nobody follows yet, or only those who were lost."""
        known = [f for f in followers if not f.is_lost and f.frames[-1] == number]
        fresh = []
        for detection in detections:
            shares = [overlap(detection.box, box_of(follower.meshes[-1])) for follower in known]
            if shares and max(shares) >= SAME_FIND:
                known[int(np.argmax(shares))].believe(detection.evidence)
            if all(share < 0.25 for share in shares):
                fresh.append(detection)
        for mesh, score, evidence in self._look_at_detections(pixels, self._clear(fresh)):
            box, others = box_of(mesh), [box_of(follower.meshes[-1]) for follower in known]
            if any(overlap(box, other) > 0.4 or share_inside(box, other) > IN_A_FACE for other in others):
                continue
            looks = read_looks(pixels, mesh)
            is_free = np.ones(len(POINTS), dtype=np.bool_)
            for other in known:
                is_free &= ~_points_behind(mesh, other.meshes[-1])
            lost = [f for f in followers if f.is_lost and f.shot == shot]
            again = self._returned(lost, mesh, looks, is_free if is_free.mean() >= IN_SIGHT else None, number)
            if again is None and not allow_new:
                continue
            follower = again or _Follower(shot)
            follower.now = number, looks
            if again is None:
                followers.append(follower)
            follower.is_lost = follower.is_hidden = False
            follower.room = 1.0
            follower.add(number, mesh, score)
            follower.believe(evidence)
            known.append(follower)

    def _returned(
        self,
        lost: list[_Follower],
        mesh: FloatArray,
        looks: FloatArray,
        is_free: npt.NDArray[np.bool_] | None,
        number: int,
    ) -> _Follower | None:
        """Who of those that were lost is found again, if anybody.

        Parameters
        ----------
        lost
            Of this shot.
        mesh, looks
            Of a face that nobody is followed on.
        is_free
            (K,) which points of it are on nobody else's head, or None where too few are.
        number
            The frame.
        """
        best, most = None, 0.0
        for follower in lost:
            gap = number - follower.frames[-1]
            place = follower.tail[-1][1] if follower.tail else follower.meshes[-1]
            likeness = 1.0 if follower.looks is None else likeness_of_looks(looks, follower.looks, is_free)
            least = min(SLID, OF_USUAL * follower.usual)
            is_at_place = gap <= self._max_gap + 1 and overlap(box_of(place), box_of(mesh)) > 0.3
            if not is_at_place:
                least = SAME if is_free is None or is_free.all() else SAME_BESIDE
                is_at_place = follower.is_hidden and gap <= AWAITED and _is_near(place, mesh)
            if gap > 0 and is_at_place and likeness >= max(least, most):
                best, most = follower, likeness
        return best

    def _examine(self, seen: list[_Follower], pixels: Pixels, number: int) -> None:
        """Read sharpness, grain and 68 points; keep the best looks where somebody wants to know who is who."""
        for follower in seen:
            follower.blacks.append(measure_black(pixels, follower.meshes[-1]))
            # Who stands before somebody has edges of their own.
            is_clear = number not in follower.depths
            follower.spectra.append(measure_spectrum(pixels, follower.meshes[-1]) if is_clear else NO_SPECTRUM)
            every = BEARD_EVERY_AT_FIRST if follower.row < BEARD_EVERY else BEARD_EVERY
            is_turn = is_clear and not self._is_thorough and follower.row % every == 0
            follower.beards.append(_look_for_beard(pixels, follower.meshes[-1]) if is_turn else NOT_LOOKED)
            follower.glasses.append(self._look_for_glasses(follower, pixels) if is_clear else NOT_LOOKED)
            if (len(follower.frames) - 1) % FINISH_EVERY == 0 and number not in follower.depths:
                finish = measure_finish(pixels, follower.meshes[-1])
                if finish is not None:
                    follower.finishes[number] = finish
        if self._point_landmarker is not None and seen:
            faces = [Face(f.meshes[-1], f.scores[-1], Pose(0, 0, 0)) for f in seen]
            for follower, found in zip(seen, self._locate(self._point_landmarker, pixels, faces), strict=True):
                follower.points[number] = found
        if self._identifier is None and self._classifier is None:
            return
        every = THOROUGH_TELL_EVERY if self._is_thorough else TELL_EVERY
        for follower in seen:
            follower.latest = None
            is_turn = (len(follower.frames) - 1) % SAMPLE_EVERY == 0
            is_in_doubt = 0 < follower.doubts <= DOUBTS and number - follower.told_last >= APART
            if not is_turn and not is_in_doubt:
                continue
            sample = _sample(pixels, follower, BESIDE if number in follower.depths else 1.0)
            if is_turn:
                follower.samples = _best_samples([*follower.samples, sample])
            is_telling = number not in follower.depths and _extent(follower.meshes[-1]) >= TELLING_PX
            if self._identifier is not None and is_telling:
                is_due = is_in_doubt or number - follower.told_last >= every
                if self._tell(follower, sample, is_due):
                    follower.number, follower.changed_at = -1, number  # to who watches, somebody new
                follower.latest = sample if is_due else None

    @staticmethod
    def _locate(landmarker: PointLandmarker, pixels: Pixels, faces: Sequence[Face]) -> list[tuple[FloatArray, float]]:
        found = landmarker.locate(pixels, faces)
        for points, score in found:
            numbers(points, "face_landmarker", points, score)
        return found

    def _verify(self, seen: list[_Follower], pixels: Pixels) -> None:
        """Ask the verifier what it thinks of those who are seen in a frame."""
        if self._verifier is None or not seen:
            return
        crops = []
        for follower in seen:
            box = box_of(follower.meshes[-1])
            side = float(max(box[2:] - box[:2])) / follower.room * CROP_MARGIN
            affine = square_crop((box[:2] + box[2:]) / 2, side, 0.0, CROP_SIDE)
            crops.append(cut(pixels, affine, CROP_SIDE))
        for follower, verdict in zip(seen, self._verifier.verify(crops).tolist(), strict=True):
            follower.verdicts.append(verdict)

    def _clear(self, detections: list[Detection]) -> list[Detection]:
        """Those that count by themselves."""
        if not self._is_thorough:
            return detections
        return [d for d in detections if (d.score >= FAINT if d.evidence is None else d.evidence >= FAINT_TWICE)]

    def _look_at_detections(
        self, pixels: Pixels, detections: list[Detection]
    ) -> list[tuple[FloatArray, float, float | None]]:
        """Meshes of detections by two looks, the second mirrored too, with scores and what the detector thought of them
        when it looked again; those that are no face are left out.
        """
        detections = [detection for detection in detections if detection.size_px >= self._min_size_px]
        if not detections:
            return []
        size = self._landmarker.crop_size
        first = self._look(pixels, [detection_crop(d.box, d.points, size, self._margin) for d in detections])
        second = self._look(pixels, [mesh_crop(mesh, size, self._margin) for mesh, _ in first], is_mirrored_too=True)
        second = self._turned_back(pixels, detections, second)
        sure = [(mesh, score) if score >= self._min_new_score else None for mesh, score in second]
        if self._is_thorough:  # what only the detector believes in gets a mean face, for want of its own
            for k, detection in enumerate(detections):
                if sure[k] is None and detection.score >= THOROUGH_SCORE:
                    sure[k] = _mean_face(detection.points), MIN_SCORE
        return [(*seen, d.evidence) for seen, d in zip(sure, detections, strict=True) if seen is not None]

    def _turned_back(
        self, pixels: Pixels, detections: list[Detection], seen: list[tuple[FloatArray, float]]
    ) -> list[tuple[FloatArray, float]]:
        """The same faces, or those on their head where that is what they look like: detectors take them for upright."""
        doubtful = [k for k, (_, score) in enumerate(seen) if score < SURELY_UPRIGHT]
        if not doubtful:
            return seen
        size = self._landmarker.crop_size
        crops = []
        for k in doubtful:
            box, points = detections[k].box, detections[k].points
            crops.append(detection_crop(box, (box[:2] + box[2:] - points).astype(np.float32), size, self._margin))
        looks = self._look(pixels, crops)
        looks = self._look(pixels, [mesh_crop(mesh, size, self._margin) for mesh, _ in looks], is_mirrored_too=True)
        result = list(seen)
        for k, other in zip(doubtful, looks, strict=True):
            # Scores near 1 are told apart by what they lack.
            if 1 - other[1] < 0.3 * (1 - seen[k][1]):
                result[k] = other
        return result

    def _look(
        self, pixels: Pixels, affines: list[FloatArray], is_mirrored_too: bool = False
    ) -> list[tuple[FloatArray, float]]:
        """Meshes and scores of crops; looking at mirror images too and averaging costs twice the time."""
        crops = [cut(pixels, affine, self._landmarker.crop_size) for affine in affines]
        count = len(crops)
        if is_mirrored_too:
            crops += [np.ascontiguousarray(crop[:, ::-1]) for crop in crops]
        meshes, scores = self._landmarker.landmark(crops)
        numbers(meshes, "face_landmarker", meshes, scores)
        if is_mirrored_too:
            mirrored = meshes[count:, load_mesh_topology().flip].copy()
            mirrored[..., 0] = self._landmarker.crop_size - 1 - mirrored[..., 0]
            meshes = np.asarray((meshes[:count] + mirrored) / 2, dtype=np.float32)
            scores = scores[:count]
        found = [transform(invert(affine), mesh) for affine, mesh in zip(affines, meshes, strict=True)]
        # When thorough, what decides whether somebody is hidden was measured on meshes as the first look has them.
        if is_mirrored_too and not self._is_thorough and isinstance(self._landmarker, CloserLook):
            found = self._landmarker.look_closer(pixels, found)
            numbers(np.asarray(found), "face_landmarker", np.asarray(found), scores)
        return [(mesh, float(score)) for mesh, score in zip(found, scores, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Glimpse:
    """A person in one frame, as measured.

    Attributes
    ----------
    number, shot
        Of the follower, from 0, and of the shot; nobody is followed over a cut.
    mesh, score
        (478, 3) float32 in frame pixels, and 0 to 1.
    motion
        (478, 2) motion of the picture under the mesh since the frame before, and (478,) trust, or None.
    points
        (68, 2) pixels of a 68-point landmarker and their score, or None.
    finish
        Blur in pixels and grain in levels of 255, where they were measured in this frame.
    black
        (3,) linear light of the darkest that is seen of the person and near by.
    depth
        How many of the other people stand before this one.
    look
        A picture with the five points of the face in it, and how good it is, where this frame's is one to know
        somebody by.
    is_other
        Whether the face that was followed has just turned out to be somebody else's: the number is new.
    spectrum
        (50,) detail by size and direction (`facefusion.imaging.smear`).
    beard
        (2,) how rough and how dark a beard is (`facefusion.imaging.beards`), below 0 where nobody looked.
    glasses
        (2,) what speaks for glasses and for dark ones (`facefusion.imaging.glasses`), below 0 where nobody looked.
    """

    number: int
    shot: int
    mesh: FloatArray
    score: float
    motion: tuple[FloatArray, FloatArray] | None
    points: tuple[FloatArray, float] | None
    finish: tuple[float, float] | None
    black: FloatArray
    depth: int
    look: tuple[Pixels, FloatArray, float] | None
    is_other: bool = False
    spectrum: npt.NDArray[np.float16] = field(default_factory=lambda: NO_SPECTRUM)
    beard: npt.NDArray[np.float16] = field(default_factory=lambda: NOT_LOOKED)
    glasses: npt.NDArray[np.float16] = field(default_factory=lambda: NOT_LOOKED)

    __repr__ = shown


@cache
def _texture() -> tuple[TexturePlane, Beards]:
    """The unrolled face, and what looks for beards in it."""
    plane = texture_plane(load_mesh_topology())
    return plane, Beards(plane, plain_skin(plane), SHADING_SIGMA)


def _look_for_beard(pixels: Pixels, mesh: FloatArray) -> npt.NDArray[np.float16]:
    plane, beards = _texture()
    return beards.measure(pixels, mesh, plane)


class Watch:
    """Looks at frames one after the other and follows whoever is in them.

    Parameters
    ----------
    analyser
        How.
    """

    def __init__(self, analyser: Analyser) -> None:
        self._analyser = analyser
        self._followers: list[_Follower] = []
        self._pts: list[int] = []
        self._cuts: list[int] = []
        self._scene: FloatArray | None = None
        self._turns: list[int] = []
        self._size, self._time_base = (0, 0), Fraction(1, 1)
        self._miniature: FloatArray | None = None
        self._miniatures: deque[tuple[int, FloatArray]] = deque(maxlen=FLASH + 1)
        self._before: Pixels | None = None
        self._next_detection = self._next_turned = 0
        self._was_quick = False
        self._number = self._shot = self._follower_count = 0
        self._faint = FaintTraces()
        self._of_traces: list[tuple[Trace, _Follower]] = []
        self._lately: deque[Pixels] = deque(maxlen=THOROUGH_REACH)
        # Motion is needed only at the end, so it is measured beside the meshes of later frames.
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="motion")
        self._waiting: deque[Future[_Motion]] = deque()
        self._looks = ThreadPoolExecutor(analyser._look_count, thread_name_prefix="look")

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the threads go."""
        self._looks.shutdown(cancel_futures=True)
        self._aside.shutdown()

    @property
    def shot(self) -> int:
        """Number of the shot, from 1."""
        return self._shot

    def see(self, frame: Frame) -> None:
        """Look at the next frame; it is let go but for the one after it."""
        analyser, followers, number = self._analyser, self._followers, self._number
        self._size, self._time_base = (frame.pixels.shape[1], frame.pixels.shape[0]), frame.time_base
        self._pts.append(frame.pts)
        current = thumbnail(frame.pixels)
        if self._miniature is None or is_cut(self._miniature, current):
            self._cuts.append(number)
            self._shot += 1
            self._next_detection = self._next_turned = number
            for follower in followers:
                analyser._tell_at_end(follower, self._before, number - 1)
                follower.is_lost, follower.is_hidden = True, False
            if not analyser._is_thorough:  # there who is found in a flash may be anybody
                self._end_flash(current)
            self._faint.forget()
            self._lately.clear()
        elif not analyser._is_thorough:
            self._end_flash(current)  # its light may go little by little, which is no second cut
        elif pan_between(self._miniature, current) not in (None, (0, 0)):
            self._next_detection = number  # whoever comes in at the border is not waited for
        self._miniature = current
        self._miniatures.append((number, current))
        # A dissolve is no cut from one frame to the next, and one over many.
        if self._scene is None or (number % SCENE_EVERY == 0 and is_cut(self._scene, current)):
            self._scene = current
            self._turns.append(number)
        faint: list[Detection] | None = None
        was_lost = analyser._follow(followers, self._before, frame.pixels, number, self._aside, self._waiting)
        if was_lost or number >= self._next_detection:  # look again at once when somebody was lost
            # While somebody is followed, the smallest faces are looked for every second time.
            is_followed = not was_lost and any(not follower.is_lost for follower in followers)
            self._was_quick = is_followed and not self._was_quick and not analyser._is_thorough
            is_turned_due = analyser._turned is not None and number >= self._next_turned
            turned: _Looks = []
            if analyser._is_thorough:
                upright, turned = analyser._begin(self._looks, frame.pixels, is_turned_due)
                faint = found = _agreed(*(look.result() for look in upright))
            else:
                found = analyser._find(frame.pixels, self._was_quick)
            analyser._add_new(followers, frame.pixels, number, self._shot, found)
            # With nobody in sight look more often; a face may walk in.
            is_empty = all(follower.is_lost for follower in followers)
            if is_turned_due and (is_empty or analyser._is_thorough):
                if analyser._is_thorough:
                    lying = analyser._judge_turned(self._looks, turned, frame.pixels, found)
                else:
                    lying = analyser._find_turned(frame.pixels)
                analyser._add_new(followers, frame.pixels, number, self._shot, lying)
                self._next_turned = number + TURNED_EVERY
            interval = analyser._interval
            self._next_detection = number + (max(interval // 3, 1) if is_empty else interval)
        elif any(follower.is_awaited(number) for follower in followers):
            faint = found = analyser._find(frame.pixels, number % 2 == 0)
            analyser._add_new(followers, frame.pixels, number, self._shot, found, allow_new=False)
        seen = [f for f in followers if f.frames and f.frames[-1] == number]
        for follower in seen:
            follower.turns = self._turns
        analyser._order(seen, frame.pixels, number)
        analyser._examine(seen, frame.pixels, number)
        for follower in followers:
            if follower.number < 0:
                follower.number, self._follower_count = self._follower_count, self._follower_count + 1
        if analyser._is_thorough:
            self._look_closer(frame.pixels, number, faint)
            analyser._verify([f for f in followers if f.frames and f.frames[-1] == number], frame.pixels)
            self._lately.append(frame.pixels)
        self._before = frame.pixels
        self._number += 1
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft().result()

    def _end_flash(self, current: FloatArray) -> None:
        """Take back the cuts of a flash where the picture, as a miniature, is again what it was before them.

        What lies between has to show the same in another light: a short shot of something else keeps its cuts, and so
        does a flash in which nothing can be seen.
        """
        for number, before in self._miniatures:
            if not any(number < cut < self._number for cut in self._cuts) or is_cut(before, current):
                continue
            between = [picture for k, picture in self._miniatures if k > number]
            if all(is_same_layout(before, one) or is_same_layout(current, one) for one in between):
                self._cuts = [cut for cut in self._cuts if cut <= number]
                if self._turns and self._turns[-1] > number:
                    self._turns[:] = [turn for turn in self._turns if turn <= number]
                    self._scene = before
                for follower in self._followers:
                    if follower.frames[-1] >= number:
                        follower.shot = self._shot
                return

    def _look_closer(self, pixels: Pixels, number: int, found: list[Detection] | None) -> None:
        """Carry along who was lost and who has just come, and follow what is faint and moves by itself."""
        analyser, followers = self._analyser, self._followers
        known = [f for f in followers if f.frames[-1] == number]
        if self._before is not None and self._lately:
            for follower in followers:
                is_due = follower.is_lost and number - follower.frames[-1] <= THOROUGH_REACH
                if is_due and follower.shot == self._shot and follower.is_promising:
                    _carry_on(follower, self._before, pixels, number, known)
        if found is None:
            found = analyser._find(pixels, is_quick=True)
        boxes = [box_of(f.meshes[-1]) for f in known]
        before = self._before if self._lately else None
        fresh = [follower for follower in known if follower.frames[0] == number]
        traces = self._faint.see(found, boxes, before, pixels, number)
        self._of_traces = [one for one in self._of_traces if number - one[1].frames[-1] <= THOROUGH_REACH]
        for trace in traces:
            known_as = [f for t, f in self._of_traces if t is trace]
            if known_as:
                follower = known_as[0]
            else:
                follower = _Follower(
                    self._shot, is_lost=True, has_moved=True, room=UNCERTAIN, number=self._follower_count
                )
                self._follower_count += 1
                followers.append(follower)
                fresh.append(follower)
                self._of_traces.append((trace, follower))
            for frame, box in trace.hits[len(follower.frames) :]:
                follower.add(frame, _face_in_box(_roomy(box, trace.largest_px)), MIN_SCORE)
                follower.blacks.append(measure_black(pixels, follower.meshes[-1]))
                follower.spectra.append(NO_SPECTRUM)
                follower.beards.append(NOT_LOOKED)
                follower.glasses.append(NOT_LOOKED)
            follower.believe(trace.score)
            if not follower.samples and (analyser._identifier is not None or analyser._classifier is not None):
                follower.samples = [_sample(pixels, follower, BESIDE)]
        for follower in (one for one in fresh if one.is_promising):
            _carry_back(follower, [*self._lately, pixels], number)

    def observation(self, overlaps: bool = False) -> Observation:
        """Everything that was seen; the watch is over."""
        for follower in self._followers:
            if follower.frames and not follower.is_lost:
                self._analyser._tell_at_end(follower, self._before, self._number - 1)
        return Observation(
            self._size[0],
            self._size[1],
            self._time_base,
            np.array(self._pts, dtype=np.int64),
            np.array(self._cuts, dtype=np.int64),
            overlaps,
            tuple(self._analyser._sighting(follower) for follower in self._followers if follower.frames),
            np.array(self._turns, dtype=np.int64),
        )

    def glimpses(self) -> list[Glimpse]:
        """Who is in the frame that was seen last."""
        now = self._number - 1
        return [self._glimpse(f, now) for f in self._followers if f.frames and f.frames[-1] == now]

    def _glimpse(self, follower: _Follower, now: int) -> Glimpse:
        motion = follower.motions[-1]
        measured = None if motion is None else motion.result()
        sample = next((sample for sample in follower.samples if sample.frame == now), follower.latest)
        return Glimpse(
            follower.number,
            follower.shot,
            follower.meshes[-1],
            follower.scores[-1],
            None if measured is None else (measured[0].astype(np.float32), measured[1].astype(np.float32)),
            follower.points.get(now),
            follower.finishes.get(now),
            follower.blacks[-1],
            follower.depths.get(now, 0),
            None if sample is None else (sample.pixels, sample.points, sample.quality),
            follower.changed_at == now,
            follower.spectra[-1],
            follower.beards[-1],
            follower.glasses[-1],
        )

    def forget(self) -> None:
        """Let go what is of no use for frames to come, so that a watch without an end needs no more and more room."""
        self._pts.clear()
        self._cuts.clear()
        del self._turns[:-REMEMBERED]
        now, patience = self._number - 1, self._analyser.patience
        self._followers = [
            f for f in self._followers if f.shot == self._shot and (not f.is_lost or now - f.frames[-1] <= patience)
        ]
        for follower in self._followers:
            follower.forget(REMEMBERED)


def _mean_face(five: FloatArray) -> FloatArray:
    """(478, 3) the mean face where a detector saw five points."""
    mean = load_mesh_topology().mean
    affine = similarity(five_from_68(mean[list(MESH_TO_68), :2]), five)
    scale = float(np.hypot(affine[0, 0], affine[1, 0]))
    return np.concatenate([transform(affine, mean[:, :2]), mean[:, 2:] * scale], axis=1).astype(np.float32)


def _sample(pixels: Pixels, follower: _Follower, share: float) -> _Sample:
    mesh = follower.meshes[-1]
    affine = mesh_crop(mesh, SAMPLE_SIDE, 2.0)
    five = five_from_68(transform(affine, mesh)[list(MESH_TO_68), :2])
    # Large, sure and seen from the front: the eyes are far apart in the picture.
    quality = float(np.linalg.norm(mesh[RIGHT_IRIS, :2] - mesh[LEFT_IRIS, :2])) * follower.scores[-1]
    return _Sample(share * quality, cut(pixels, affine, SAMPLE_SIDE), five, follower.frames[-1])


def _cosine(one: FloatArray, other: FloatArray) -> float:
    return float(one @ other) / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-9)


def _best_samples(samples: list[_Sample]) -> list[_Sample]:
    return sorted(samples, key=lambda sample: -sample.quality)[:MAX_SAMPLES]


def _measure_motion(before: Pixels, pixels: Pixels, mesh: FloatArray, now: FloatArray) -> _Motion:
    """How the pixels under a mesh of the frame before have moved; ``now`` says about where to."""
    affine = mesh_crop(mesh, MOTION_SIDE, 1.15)
    shift = crop_shift(mesh, now, affine)
    moved = affine.copy()
    moved[:, 2] -= shift
    motion, trust = measure_motion(motion_crop(before, affine), motion_crop(pixels, moved), mesh, affine, shift)
    return motion.astype(np.float16), trust.astype(np.float16)


def _pose(values: FloatArray) -> Pose:
    return Pose(*(float(v) for v in values))


def _pairs(count: int) -> list[tuple[int, int]]:
    return [(one, other) for one in range(count) for other in range(one + 1, count)]


def _is_beside(mesh: FloatArray, followers: list[_Follower], own: _Follower) -> bool:
    """Whether somebody else was at the same place."""
    return any(_share_behind(mesh, other.meshes[-1], 1.3) > AT_ONE_PLACE for other in followers if other is not own)


def _which_is_behind(strange: Sequence[float | None], sizes: Sequence[float]) -> int:
    """0 or 1: which of two faces that meet is behind.

    Parameters
    ----------
    strange
        How unlike themselves they are where they meet; None where that is not known.
    sizes
        In the same unit: where the looks do not tell, the smaller is farther away.
    """
    first, second = strange
    if first is not None and second is not None and abs(first - second) >= 0.05:
        return int(second > first)
    if first is not None and second is None:
        return int(first < INTACT)
    if second is not None and first is None:
        return int(second >= INTACT)
    return int(sizes[1] < sizes[0])


def _points_behind(mesh: FloatArray, other: FloatArray) -> npt.NDArray[np.bool_]:
    """Which of the points that are looked at lie on another's head."""
    box = box_of(other)
    room = (HEAD - 1) / 2 * (box[2:] - box[:2])
    if overlap(box_of(mesh), np.concatenate([box[:2] - room, box[2:] + room])) <= 0:
        return np.zeros(len(POINTS), dtype=np.bool_)
    return points_inside(mesh[POINTS], other, HEAD)


def _share_behind(mesh: FloatArray, other: FloatArray, growth: float = 1.0) -> float:
    """Share of one face that lies in the outline of another, grown by a factor."""
    box = box_of(other)
    room = (growth - 1) / 2 * (box[2:] - box[:2])
    if overlap(box_of(mesh), np.concatenate([box[:2] - room, box[2:] + room])) <= 0:
        return 0.0
    return float(points_inside(mesh, other, growth).mean())


def _is_near(one: FloatArray, other: FloatArray) -> bool:
    """Whether somebody can have gone from one place to the other while being hidden."""
    distance = float(np.linalg.norm((one - other)[:, :2].mean(axis=0)))
    return 0.6 < _extent(one) / _extent(other) < 1.67 and distance < 3 * max(_extent(one), _extent(other))


def _has_moved(expected: FloatArray, mesh: FloatArray) -> bool:
    """Whether the crop was far enough off for a second look to pay."""
    size = _extent(expected)
    shift = float(np.linalg.norm((mesh - expected)[:, :2].mean(axis=0)))
    growth = _extent(mesh) / size
    return shift > 0.05 * size or not 0.92 < growth < 1.09


def _extent(mesh: FloatArray) -> float:
    return max(float(np.ptp(mesh[:, 0])), float(np.ptp(mesh[:, 1])), 1.0)


def _is_in_picture(mesh: FloatArray, pixels: Pixels) -> bool:
    """Whether most of a mesh lies in the picture and it is large enough to be read."""
    height, width = pixels.shape[:2]
    inside = (mesh[:, 0] > 0) & (mesh[:, 0] < width) & (mesh[:, 1] > 0) & (mesh[:, 1] < height)
    return float(inside.mean()) > 0.4 and float(np.ptp(mesh[:, 1])) > 12


def _agreed(found: Sequence[Detection], mirrored: list[Detection]) -> list[Detection]:
    """What was found in a picture and in its mirror image, with how far they agree: what is seen in both is more of a
    face than the rest.
    """
    result = []
    for one in found:
        same = [k for k, other in enumerate(mirrored) if overlap(one.box, other.box) >= SAME_FIND]
        best = max(same, key=lambda k: mirrored[k].score, default=None)
        again = 0.0 if best is None else mirrored[best].score
        result.append(replace(one, score=max(one.score, again), evidence=(one.score + again) / 2))
        mirrored = [other for k, other in enumerate(mirrored) if k not in same]
    return result + [replace(other, evidence=other.score / 2) for other in mirrored]


def _mirrored(detection: Detection, width: int) -> Detection:
    """A detection of a mirrored picture in the picture itself."""
    box = detection.box.copy()
    box[[0, 2]] = width - 1 - detection.box[[2, 0]]
    points = detection.points[[1, 0, 2, 4, 3]].copy()
    points[:, 0] = width - 1 - points[:, 0]
    return replace(detection, box=box, points=points)


def _roomy(box: FloatArray, side: float) -> FloatArray:
    """A square about a faint find that holds the head, wherever exactly that is."""
    half, middle = UNCERTAIN / 2 * side, (box[:2] + box[2:]) / 2
    return np.concatenate([middle - half, middle + half]).astype(np.float32)


def _face_in_box(box: FloatArray) -> FloatArray:
    """(478, 3) the mean face that fills a box: where nothing is known of a face but its place."""
    mean = load_mesh_topology().mean.astype(np.float64)
    low, high = mean[:, :2].min(axis=0), mean[:, :2].max(axis=0)
    scale = (box[2:] - box[:2]) / (high - low)
    flat = (mean[:, :2] - low) * scale + box[:2]
    return np.concatenate([flat, mean[:, 2:] * scale.mean()], axis=1).astype(np.float32)


def _carried(before: Pixels, pixels: Pixels, mesh: FloatArray) -> tuple[FloatArray, float]:
    """A mesh moved as a whole with the picture under it, and the mean trust in that."""
    motion, trust = _measure_motion(before, pixels, mesh, mesh)
    weights = trust.astype(np.float32)
    is_good = weights >= np.median(weights)
    shift = np.median(motion.astype(np.float32)[is_good], axis=0)
    moved = mesh.copy()
    moved[:, :2] += shift
    return moved, float(weights.mean())


def _carry_on(follower: _Follower, before: Pixels, pixels: Pixels, number: int, known: Sequence[_Follower]) -> None:
    """Go on with somebody who was lost, as long as the picture seems to show them."""
    last = follower.tail[-1] if follower.tail else (follower.frames[-1], follower.meshes[-1])
    if last[0] != number - 1:
        return
    moved, trust = _carried(before, pixels, last[1])
    gap = number - follower.frames[-1]
    if not _is_in_picture(moved, pixels) or (gap > ANYWAY and not _may_be_there(follower, pixels, moved, trust)):
        return
    if any(overlap(box_of(moved), box_of(other.meshes[-1])) > AT_ONE_PLACE * 4 for other in known):
        return
    follower.tail.append((number, moved))


def _carry_back(follower: _Follower, lately: Sequence[Pixels], number: int) -> None:
    """Look for somebody who has just been found in the frames before: a face is there before it is seen."""
    first, mesh = follower.frames[0], follower.meshes[0]
    for back in range(1, THOROUGH_REACH + 1):
        at = len(lately) - 1 - (number - first) - back
        if at < 0:
            return
        mesh, trust = _carried(lately[at + 1], lately[at], mesh)
        is_there = back <= ANYWAY or _may_be_there(follower, lately[at], mesh, trust)
        if not is_there or not _is_in_picture(mesh, lately[at]):
            return
        follower.head.insert(0, (first - back, mesh))


def _may_be_there(follower: _Follower, pixels: Pixels, mesh: FloatArray, trust: float) -> bool:
    """Whether the picture at a carried mesh looks as somebody did."""
    if follower.looks is None:
        return trust >= CARRIED_TRUST
    return trust >= CARRIED_TRUST and likeness_of_looks(read_looks(pixels, mesh), follower.looks) >= SLID


def _with_carried(seen: Sighting, follower: _Follower) -> Sighting:
    """A sighting with the rows in which somebody was carried along: their scores are 0."""
    head, tail = follower.head, follower.tail
    assert follower.evidence is not None
    verdict = verdict_of(follower.verdicts)
    evidence = np.array([follower.evidence, follower.has_moved, verdict], dtype=np.float32)
    before, after = len(head), len(tail)

    def padded(values: npt.NDArray[Any], is_held: bool = False) -> npt.NDArray[Any]:
        return np.pad(values, [(before, after), *[(0, 0)] * (values.ndim - 1)], mode="edge" if is_held else "constant")

    meshes = [mesh for _, mesh in head], [mesh for _, mesh in tail]
    return replace(
        seen,
        frames=np.array([*(k for k, _ in head), *seen.frames.tolist(), *(k for k, _ in tail)], dtype=np.int64),
        meshes=np.concatenate(
            [
                np.stack(m) if m else np.zeros((0, POINT_COUNT, 3), np.float32)
                for m in (meshes[0], list(np.asarray(seen.meshes)), meshes[1])
            ]
        ).astype(np.float32),
        scores=padded(seen.scores),
        motions=padded(np.asarray(seen.motions)),
        trusts=padded(np.asarray(seen.trusts)),
        is_moved=padded(seen.is_moved),
        depths=None if seen.depths is None else padded(seen.depths),
        blacks=None if seen.blacks is None else padded(seen.blacks, is_held=True),
        spectra=None if seen.spectra is None else padded(seen.spectra),
        beards=None if seen.beards is None else padded(seen.beards, is_held=True),
        glasses=None if seen.glasses is None else padded(seen.glasses, is_held=True),
        evidence=evidence,
    )
