"""Who takes part: engines of pass 1, sources, references, and the processors that they go into."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from facefusion.analyse.analyser import Analyser
from facefusion.analyse.turned import TurnedDetector
from facefusion.declaration import Input, Need, Requirements, Step, union
from facefusion.errors import FaceFusionWarning, NoFaceInSource, NoFaceInTarget, UnknownOption
from facefusion.imaging.finish import grain_around, measure_finish
from facefusion.media.image import Photo
from facefusion.media.sound import read_sound
from facefusion.models.face_shape import mouth_gap
from facefusion.models.providers import core_count
from facefusion.models.verifier import Verifier
from facefusion.pipeline.advice import MEANING, advice, verdict_of
from facefusion.pipeline.inputs import Shelf
from facefusion.pipeline.plan import kind_of_source, models_of
from facefusion.pipeline.progress import OnProgress, Progress, ignore_progress
from facefusion.pipeline.resolved import Resolved, SourceKind, Use, resolve
from facefusion.pipeline.review import check_decisions, exempted, judged
from facefusion.pipeline.selection import choose_tracks, distance, has_filter, matching_tracks, people_at
from facefusion.plugins.protocols import (
    EngineContext,
    FaceProcessor,
    FloatArray,
    FrameProcessor,
    SeesGlasses,
    ShowsSources,
    TellsOfTargets,
)
from facefusion.plugins.registry import build_engine, build_processor
from facefusion.recipe import Person, Recipe, four_sides
from facefusion.types.crop import SourceFace
from facefusion.types.face import Attributes
from facefusion.types.shown import shown
from facefusion.types.sources import Sources
from facefusion.types.track import Tracks
from facefusion.wording import agreed, counted

DEFAULT_LANDMARKER = "embedded"
"""The mesh under landmarkers of other layouts."""
LOOKS = 2
"""How many looks at a picture are taken side by side where it is looked at often."""
SMALL_PX, TURNED_DEG, DARK = 64, 40.0, 40
"""Sources with less height of the face, turned further or darker (mean of 255) than that are told about."""
GRAIN, GRAIN_AROUND = (3.0, 0.9), 2.0
"""Grain of a face, levels of 255, from which it is told, and from which it is if what surrounds it has that much, too:
skin has a relief of its own. Of 536 photos 12 are told about."""
OPEN_MOUTH = 0.4
"""Gap between the lips over their length from which a mouth is told to be wide open: 8 of these photos, no smile."""
SAME_PERSON = 0.3
"""Distance up to which two exempt photos are of one person, whatever the limit for people in the target is."""
STRANGERS = 0.2
"""Dot product of embeddings below which two photos are of two people. Far below the limit of the recogniser: photos of
one person, beards, glasses and profiles too, were each likelier than 0.27 to be of one of the others."""


class PoorSourceWarning(FaceFusionWarning):
    """A source shows too little of a face for a good likeness."""


def build_analyser(asked: Recipe | Resolved, has_identity: bool | None = None) -> Analyser:
    """Engines of pass 1 as a recipe names them.

    Parameters
    ----------
    asked
        What is asked for.
    has_identity
        Whether people are told apart; None where the recipe's selection decides.
    """
    resolved = resolve(asked)
    recipe = resolved.recipe
    context = EngineContext(recipe, thread_count=1)
    # The detector is the only model large enough to gain from more threads.
    threads = recipe.execution_thread_count or core_count()
    # Two looks side by side cost less than one look after the other in twice the threads, and find the same.
    look_count = min(LOOKS, threads) if resolved.is_protective and set(recipe.execution_providers) == {"cpu"} else 1
    wide = EngineContext(recipe, thread_count=max(threads // look_count, 1))
    detector = upright = build_engine("face_detector", recipe.face_detector_model, wide)
    angles, margin = recipe.face_detector_angles, four_sides(recipe.face_detector_margin)
    if angles != (0,) or any(margin):
        detector = TurnedDetector(detector, angles, margin)
    landmarker = build_engine("face_landmarker", recipe.face_landmarker_model, context)
    is_mesh = hasattr(landmarker, "landmark")
    mesh = landmarker if is_mesh else build_engine("face_landmarker", DEFAULT_LANDMARKER, context)
    if has_identity is None:
        has_identity = resolved.wants_identity
    identifier = build_engine("face_identifier", resolved.identifier, context) if has_identity else None
    wants_looks = resolved.wants_attributes
    classifier = build_engine("face_classifier", recipe.face_classifier_model, context) if wants_looks else None
    return Analyser(
        detector,
        mesh,
        recipe.face_detector_interval,
        recipe.face_tracker_smoothing,
        None if is_mesh else landmarker,
        recipe.face_landmarker_score,
        identifier,
        classifier,
        resolved.is_protective,
        TurnedDetector(upright, (90, 180, 270), margin) if angles == (0,) else None,
        Verifier(context.session("face_verifier_embedded")) if resolved.is_protective else None,
        look_count,
        _glasses_seer(resolved, context),
    )


def _glasses_seer(resolved: Resolved, context: EngineContext) -> SeesGlasses | None:
    """Who tells whether somebody wears glasses: the masker that keeps them before new faces, if it can."""
    if not resolved.wants_glasses:
        return None
    masker = build_engine("face_occluder", resolved.recipe.face_occluder_model, context)
    return masker if isinstance(masker, SeesGlasses) else None


class Looker:
    """Finds the faces of photos for a recipe, with engines that are built when the first is wanted.

    Parameters
    ----------
    asked
        What is asked for. Where people are hidden, targets are looked at for whatever might be a face; photos that
        somebody is known by are not.
    shelf
        Where photos and faces are kept for who wants them next.
    analyser
        Engines that are there already.
    """

    def __init__(self, asked: Recipe | Resolved, shelf: Shelf | None = None, analyser: Analyser | None = None) -> None:
        resolved = resolve(asked)
        self._resolved, self._shelf = _for_photos(resolved), shelf or Shelf()
        self._analyser = None if resolved.is_protective else analyser
        # What is found depends on no other option.
        recipe = self._resolved.recipe
        names = [name for name in Recipe.model_fields if name.startswith(_LOOKING)]
        self._settings = recipe.model_dump_json(include=set(names)), self._resolved.is_protective

    def find(self, path: Path, what: str = "source") -> SourceFace:
        """The largest face of a photo.

        Parameters
        ----------
        path
            Of the photo.
        what
            It is, for errors.

        Raises
        ------
        NoFaceInSource
            Naming the photo without a face.
        """

        def find(photo: Photo) -> SourceFace:
            if self._analyser is None:
                self._analyser = build_analyser(self._resolved, has_identity=False)
            found = self._analyser.find_faces(photo.pixels)
            if not found:
                raise NoFaceInSource(
                    f"No face is found in the {what} {path}.",
                    "Use a photo in which the face is at least 64 px high, or lower --face-detector-score.",
                )
            return SourceFace(photo.pixels, found[0])

        return self._shelf.face(path, self._settings, find)


def _for_photos(resolved: Resolved) -> Resolved:
    """The same, with photos looked at as they are where nobody is hidden."""
    if not resolved.is_protective:
        return resolved
    recipe = resolved.recipe
    usual = {
        name: Recipe.model_fields[name].default
        for name, value in resolved.required.cautious.items()
        if getattr(recipe, name) == value  # nobody asked for it
    }
    return replace(resolved, recipe=recipe.model_copy(update=usual), is_protective=False)


_LOOKING = ("face_detector", "face_landmarker", "execution", "models_paths", "licences")
"""Beginnings of the options that decide what is found in a photo."""


def read_faces(
    paths: Sequence[Path], analyser: Analyser | Looker, on_progress: OnProgress = ignore_progress
) -> list[SourceFace]:
    """The largest face of every photo.

    Raises
    ------
    NoFaceInSource
        Naming the photo without a face.
    """
    looker = analyser if isinstance(analyser, Looker) else Looker(Recipe(), None, analyser)
    faces = []
    for number, path in enumerate(paths):
        faces.append(looker.find(path))
        on_progress(Progress("sources", number + 1, len(paths)))
    return faces


def read_sources(
    paths: Sequence[Path], analyser: Analyser | Looker, on_progress: OnProgress = ignore_progress
) -> list[SourceFace]:
    """`read_faces`, and a `PoorSourceWarning` for each that shows too little for a good likeness."""
    sources = read_faces(paths, analyser, on_progress)
    for sentence in weaknesses(paths, sources):
        warnings.warn(sentence, PoorSourceWarning, stacklevel=2)
    return sources


def weaknesses(paths: Sequence[Path], sources: Sequence[SourceFace]) -> list[str]:
    """What keeps photos from being good sources, in sentences; nothing where nothing does."""
    return [
        f"{path} {weakness}, so the result will look little like it. Add photos that are larger, from the front and "
        "evenly lit."
        for path, source in zip(paths, sources, strict=True)
        if (weakness := find_weakness(source))
    ]


def cautions(paths: Sequence[Path], sources: Sequence[SourceFace]) -> list[str]:
    """What of photos that show enough will be seen in the new face all the same, in sentences."""
    told = []
    for path, source in zip(paths, sources, strict=True):
        if _is_grainy(source):
            told.append(f"{path} is grainy, and its grain is drawn with the face. Use a photo without grain.")
        if mouth_gap(source.face.mesh) >= OPEN_MOUTH:
            told.append(f"{path} shows a wide open mouth, which distorts the lips. Use a photo with a calm face.")
    return told


def _is_grainy(source: SourceFace) -> bool:
    finish = measure_finish(source.pixels, source.face.mesh)
    grain = 0.0 if finish is None else finish[1]
    return grain >= GRAIN[0] or (grain >= GRAIN[1] and grain_around(source.pixels, source.face.mesh) >= GRAIN_AROUND)


def strangers(recipe: Recipe, paths: Sequence[Path], sources: Sequence[SourceFace]) -> list[str]:
    """What is to be said where photos that are to show one person surely show several; nothing where they may not."""
    if len(sources) < 2:
        return []
    identifier = build_engine("face_identifier", "embedded", EngineContext(recipe))
    found = np.concatenate([identifier.identify([one.pixels], [one.face.five_points]) for one in sources])
    found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)
    groups = _linked(found @ found.T >= STRANGERS)
    most = max(groups, key=len)
    others = [str(paths[k]) for group in groups if group is not most for k in group]
    if not others:
        return []
    return [
        f"{', '.join(others)} {agreed(len(others), 'shows', 'show')} somebody else than {paths[most[0]]}, and one "
        "face is made of all. Leave out who is not meant; --face-map gives people faces of their own."
    ]


def _linked(is_alike: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Numbers in groups, each of which is held together by pairs that are alike, in the order of their first."""
    left, groups = list(range(len(is_alike))), []
    while left:
        group = [left.pop(0)]
        for one in group:  # it grows meanwhile
            group += (near := [k for k in left if is_alike[one, k]])
            left = [k for k in left if k not in near]
        groups.append(sorted(group))
    return groups


def _lacks(drawer: ShowsSources, paths: Sequence[Path], sources: Sequence[SourceFace]) -> list[str]:
    """What to add to one person's photos, which by themselves are good ones, as who draws them says."""
    named, found = ", ".join(path.name for path in paths), drawer.inspect(sources)
    lead = f"{MEANING['poor']}. " if verdict_of(found) == "poor" else ""
    return [f"{named}: {lead if n == 0 else ''}{one}" for n, one in enumerate(advice(found))]


def _shown_by(recipe: Recipe, chain: Sequence[Step]) -> ShowsSources | None:
    """The embedded processor of a chain that draws what photos show."""
    for step in chain:
        specs = models_of(recipe, [Use(model, step) for model in step.requirements.models])
        # Others take long to load, and are loaded where the work is done.
        if Input.FACE_PHOTO in step.requirements.inputs and all(spec.origin == "embedded" for spec in specs):
            processor = build_processor(step, EngineContext(recipe, step=step))
            if isinstance(processor, ShowsSources):
                return processor
    return None


def find_weakness(source: SourceFace) -> str:
    """What keeps a photo from being a good source, in words; empty where nothing does."""
    points = source.face.mesh[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    height, width = source.pixels.shape[:2]
    (x0, y0), (x1, y1) = np.maximum(low, 0).astype(int), np.minimum(high, (width, height)).astype(int)
    if high[1] - low[1] < SMALL_PX:
        return f"shows a face of only {counted(round(float(high[1] - low[1])), 'pixel')}"
    if abs(source.face.pose.yaw) > TURNED_DEG:
        return f"shows a face that is turned aside by {abs(source.face.pose.yaw):.0f} degrees"
    if y1 > y0 and x1 > x0 and source.pixels[y0:y1, x0:x1].mean() < DARK:
        return "shows a face in the dark"
    return ""


def check_faces(
    asked: Recipe | Resolved,
    kinds: Mapping[Path, SourceKind] | None = None,
    on_progress: OnProgress = ignore_progress,
    shelf: Shelf | None = None,
) -> tuple[str, ...]:
    """Refuse photos without a face before a clip is worked on for hours, and tell about those that show little of one.

    Parameters
    ----------
    asked
        What is asked for.
    kinds
        What its sources are, where that is known.
    on_progress
        Called after each source.
    shelf
        Where faces are kept for who takes the sources in.

    Returns
    -------
    What was told: a `PoorSourceWarning` for each photo, or for the photos of a person, in sentences.

    Raises
    ------
    NoFaceInSource
    """
    resolved = resolve(asked)
    if Need.FACES not in resolved.required.needs and Input.FACE_PHOTO not in resolved.required.inputs:
        return ()
    wanted = [(chain, sort_sources(chain.sources, kinds)[0]) for chain in resolved.chains]
    looker = Looker(resolved, shelf)
    sources = iter(read_faces([path for _, own in wanted for path in own], looker, on_progress))
    told: list[str] = []
    for chain, paths in wanted:
        own = [next(sources) for _ in paths]
        weak, drawer = weaknesses(paths, own), _shown_by(resolved.recipe, chain.steps) if own else None
        told += weak or ([] if drawer is None else _lacks(drawer, paths, own))
        told += [] if drawer is None else cautions(paths, own)
        told += strangers(resolved.recipe, paths, own)
    for sentence in dict.fromkeys(told):
        warnings.warn(sentence, PoorSourceWarning, stacklevel=2)
    for path, what in resolved.known_faces.items():  # to know somebody by, less will do
        looker.find(path, what)
    return tuple(dict.fromkeys(told))


def sort_sources(
    paths: Sequence[Path], kinds: Mapping[Path, SourceKind] | None = None
) -> tuple[list[Path], list[Path]]:
    """Photos, and files with sound, in the order they were given; by content, not by name.

    Parameters
    ----------
    paths
        Of sources.
    kinds
        What they are; where that is not known they are looked at.

    Raises
    ------
    MediaError
        For a file that is neither.
    """
    found = {path: (kinds or {}).get(path) or kind_of_source(path) for path in paths}
    return [path for path in paths if found[path] == "photo"], [path for path in paths if found[path] == "sound"]


def gather_sources(
    paths: Sequence[Path],
    required: Requirements,
    looker: Looker,
    kinds: Mapping[Path, SourceKind] | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Sources:
    """What a chain is given: the faces of photos, and sound where one of its processors wants it.

    Raises
    ------
    NoFaceInSource, MediaError
    """
    photos, sounds = sort_sources(paths, kinds)
    is_wanted = Input.FACE_PHOTO in required.inputs or Need.FACES in required.needs
    faces = read_sources(photos, looker, on_progress) if photos and is_wanted else []
    return Sources(faces, [read_sound(path) for path in sounds] if Input.SOUND in required.inputs else ())


def build_processors(
    recipe: Recipe, steps: Sequence[Step], sources: Sources | Sequence[SourceFace]
) -> tuple[FaceProcessor, ...]:
    """Processors in order, with the sources taken in."""
    context = EngineContext(recipe, thread_count=1)
    sources = sources if isinstance(sources, Sources) else Sources(sources)
    processors: list[FaceProcessor] = []
    for step in steps:
        processor: FaceProcessor = build_processor(step, context)
        processor.prepare(sources)
        processors.append(processor)
    return tuple(processors)


@dataclass(frozen=True, slots=True, eq=False)
class FacePart:
    """Consecutive face steps.

    Attributes
    ----------
    chains
        Processors of everyone who is selected, or of each person of a mapping file.
    joins
        For each chain how its crops are joined to the frame.
    """

    chains: tuple[tuple[FaceProcessor, ...], ...]
    joins: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FramePart:
    """A frame step.

    Attributes
    ----------
    step
        What is done.
    processor
        Prepared.
    """

    step: Step
    processor: FrameProcessor


@dataclass(frozen=True, slots=True)
class Exemption:
    """What came of a photo of somebody who is left as they are.

    Attributes
    ----------
    photo
        Its name.
    matched
        Distances of the tracks that it matched, by their numbers; 0 is the same face.
    nearest
        The smallest distance of all tracks, or None where there are none.
    limit
        Distance from which it is somebody else.
    is_absent
        Whether nobody is known by it, nor by another photo that shows the same person.
    """

    photo: str
    matched: Mapping[int, float]
    nearest: float | None
    limit: float
    is_absent: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        tracks = [{"area": k, "distance": v} for k, v in self.matched.items()]
        return {
            "photo": self.photo, "matched": tracks, "nearest": self.nearest, "limit": self.limit,
            "absent": self.is_absent,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Cast:
    """Everyone who takes part: sources taken in, references encoded.

    Attributes
    ----------
    parts
        What is done, in order.
    people
        Entries of the mapping file, each with the embedding of its reference.
    reference
        Embedding of the recipe's reference photo.
    source
        What the first source looks like, where a filter asks for it.
    exempt
        Embeddings of people who are left as they are.
    sources
        What each chain took in.
    hides
        Whether people are hidden: in doubt nobody is exempt then.
    """

    parts: tuple[FacePart | FramePart, ...]
    people: tuple[tuple[Person, FloatArray | None], ...] = ()
    reference: FloatArray | None = None
    source: Attributes | None = None
    exempt: tuple[FloatArray, ...] = ()
    sources: tuple[Sources, ...] = ()
    hides: bool = False

    __repr__ = shown

    @property
    def chain(self) -> tuple[FaceProcessor, ...]:
        """The face processors of everyone who is selected, or of the first person."""
        return tuple(p for part in self.parts if isinstance(part, FacePart) for p in part.chains[0])

    def chains(self, recipe: Recipe, tracks: Tracks) -> dict[int, tuple[FaceProcessor, ...]]:
        """Processors of every track that is changed, as far as the first frame step."""
        part = next((part for part in self.parts if isinstance(part, FacePart)), None)
        assigned = self.assign(recipe, tracks)
        return {} if part is None else {track_id: part.chains[number] for track_id, number in assigned.items()}

    def notes_on(self, tracks: Tracks, assigned: Mapping[int, int]) -> list[str]:
        """What processors leave of people who are changed, a sentence for each kind of thing.

        Parameters
        ----------
        tracks, assigned
            Who is there, and as of `assign`.
        """
        part = next((part for part in self.parts if isinstance(part, FacePart)), None)
        told: dict[str, set[int]] = {}
        for track in tracks.tracks:
            if part is None or track.track_id not in assigned or track.beard is None:
                continue
            for processor in part.chains[assigned[track.track_id]]:
                if isinstance(processor, TellsOfTargets) and (note := processor.note_on(float(track.beard[0]))):
                    told.setdefault(note, set()).add(tracks.person_of(track.track_id))
        is_one = len({tracks.person_of(track.track_id) for track in tracks.tracks}) == 1

        def name(people: set[int]) -> str:
            if is_one:
                return "the target"
            return f"{'person' if len(people) == 1 else 'people'} {', '.join(map(str, sorted(people)))}"

        return [note.format(who=name(people)) for note, people in told.items()]

    def assign(self, recipe: Recipe, tracks: Tracks) -> dict[int, int]:
        """Number of the chain that changes a track, for every track that is changed.

        Parameters
        ----------
        recipe
            Who is selected.
        tracks
            Of the whole clip.
        """
        if not any(isinstance(part, FacePart) for part in self.parts):
            return {}
        check_decisions(recipe, tracks)
        unlikely = {k for k, one in judged(recipe, tracks).items() if one == "unlikely"}
        left_out = self.left_as_they_are(recipe, tracks) | unlikely
        return {k: number for k, number in self._assign(recipe, tracks).items() if k not in left_out}

    def left_as_they_are(self, recipe: Recipe, tracks: Tracks) -> set[int]:
        """Tracks of people who are exempt. Where people are hidden, a face in doubt is not exempt by looks."""
        how = judged(recipe, tracks)
        left_out = {
            k for face in self.exempt for k in matching_tracks(tracks, face, recipe.reference_face_distance)
            if how[k] == "sure" or not self.hides
        }  # fmt: skip
        left_out |= {t.track_id for t in tracks.tracks if tracks.person_of(t.track_id) in recipe.exempt_faces}
        return left_out | exempted(recipe, tracks)

    def exemptions(self, recipe: Recipe, tracks: Tracks) -> tuple[Exemption, ...]:
        """Whom every exempt photo matched, and how surely."""
        how, found = judged(recipe, tracks), []
        known = [t for t in tracks.tracks if t.identity is not None and (how[t.track_id] == "sure" or not self.hides)]
        for path, face in zip(recipe.exempt_paths, self.exempt, strict=True):
            away = {
                t.track_id: distance(t.identity, face, tracks.same_person_cosine)
                for t in known
                if t.identity is not None and t.identity.shape == face.shape
            }
            matched = {k: round(v, 4) for k, v in away.items() if v < recipe.reference_face_distance}
            nearest = round(min(away.values()), 4) if away else None
            found.append(Exemption(path.name, matched, nearest, recipe.reference_face_distance))
        present = {k for group in self._same_exempt(tracks) if any(found[k].matched for k in group) for k in group}
        return tuple(replace(one, is_absent=k not in present) for k, one in enumerate(found))

    def _same_exempt(self, tracks: Tracks) -> list[list[int]]:
        """Numbers of exempt photos by the people in them."""
        is_alike = [
            [distance(one, other, tracks.same_person_cosine) < SAME_PERSON for other in self.exempt]
            for one in self.exempt
        ]
        return _linked(np.array(is_alike, bool))

    def unmatched(self, recipe: Recipe, tracks: Tracks) -> tuple[str, ...]:
        """Names of reference photos of the mapping file that nobody looks like."""
        return tuple(
            person.reference.name
            for person, face in self.people
            if person.reference is not None
            and face is not None
            and not matching_tracks(tracks, face, recipe.reference_face_distance)
        )

    def check_chosen(self, recipe: Recipe, tracks: Tracks, name: str) -> None:
        """Refuse a target in which nobody is changed, unless that is meant, since who would be is exempt.

        Parameters
        ----------
        recipe
            Who is selected.
        tracks
            Of the whole clip.
        name
            Of the target, for errors.

        Raises
        ------
        NoFaceInTarget
        """
        if not any(isinstance(part, FacePart) for part in self.parts):
            return
        chosen = set(self._assign(recipe, tracks))
        if chosen & self.left_as_they_are(recipe, tracks):
            return
        are_none = all(how == "unlikely" for how in judged(recipe, tracks).values())
        if self.hides and (chosen or are_none):
            raise NoFaceInTarget(
                f"No face is found in the target {name}; "
                f"{counted(len(tracks.tracks), 'find is', 'finds are')} taken for something else.",
                "Add --allow-empty if nobody is in it, or say what a find is with --review.",
            )
        if chosen:
            return
        photos, known = self._known_by(recipe)
        if known and not any(matching_tracks(tracks, face, recipe.reference_face_distance) for face in known):
            away = [
                distance(track.identity, face, tracks.same_person_cosine)
                for track in tracks.tracks
                for face in known
                if track.identity is not None
            ]
            raise NoFaceInTarget(
                f"Nobody in the target {name} looks like {', '.join(photos)}: the nearest is {min(away):.2f} away, and "
                f"{recipe.reference_face_distance:g} is somebody else.",
                "Use another photo, raise --reference-face-distance, name people by number with --faces, or add "
                "--allow-empty to get a copy.",
            )
        if has_filter(recipe):
            raise NoFaceInTarget(
                f"Nobody in the target {name} is of the age, gender or appearance that is asked for.",
                "Change --face-selector-gender, --face-selector-race or the ages, name people by number with --faces, "
                "or add --allow-empty to get a copy.",
            )
        if recipe.face_selector_mode == "reference":
            raise NoFaceInTarget(
                f"Nobody in the target {name} is less than {recipe.reference_face_distance:g} away from the reference.",
                "Raise --reference-face-distance, name people by number with --faces, or add --allow-empty to get a "
                "copy.",
            )

    def _known_by(self, recipe: Recipe) -> tuple[list[str], list[FloatArray]]:
        """Names and embeddings of the photos that those who are changed are known by."""
        if self.people:
            pairs = [(person.reference, face) for person, face in self.people]
        else:
            pairs = [(recipe.reference_face_path, self.reference)]
        known = [(path.name, face) for path, face in pairs if path is not None and face is not None]
        return [name for name, _ in known], [face for _, face in known]

    def _assign(self, recipe: Recipe, tracks: Tracks) -> dict[int, int]:
        if not self.people:
            return dict.fromkeys(choose_tracks(recipe, tracks, self.reference, self.source), 0)
        assigned: dict[int, int] = {}
        known = {track.track_id for track in tracks.tracks}
        persons = {track_id: tracks.person_of(track_id) for track_id in known}
        for number, (person, reference) in enumerate(self.people):
            if person.track is not None:
                if person.track not in known:
                    raise UnknownOption(
                        f"{recipe.face_map_path} names track {person.track}, which {recipe.target_path} does not have.",
                        f"It has {', '.join(map(str, sorted(known))) or 'none'}; see 'facefusion analyse'.",
                    )
                assigned[person.track] = number
            elif person.number is not None:
                meant = people_at(tracks, person.places) if person.places else {person.number}
                if not meant:
                    raise UnknownOption(
                        f"{recipe.face_map_path} names person {person.number}, and nobody is here at the "
                        "places where that one was seen: another part or file, or faces are looked for otherwise.",
                        "Numbers are those of the part that they were made of. Write a mapping file of this part "
                        "('facefusion people' with the same --start and --end), take out who is not in it, or name "
                        "people by a picture: reference in the place of person and seen.",
                    )
                own = [track_id for track_id, one in persons.items() if one in meant]
                if not own:
                    raise UnknownOption(
                        f"{recipe.face_map_path} names person {person.number}, who is not in {recipe.target_path}.",
                        f"It has {', '.join(map(str, sorted(set(persons.values())))) or 'nobody'}; see 'facefusion "
                        "people'.",
                    )
                for track_id in own:
                    assigned.setdefault(track_id, number)
            elif reference is not None:
                for track_id in matching_tracks(tracks, reference, recipe.reference_face_distance):
                    assigned.setdefault(track_id, number)
        return assigned


def build_cast(
    asked: Recipe | Resolved,
    analyser: Analyser | None = None,
    on_progress: OnProgress = ignore_progress,
    kinds: Mapping[Path, SourceKind] | None = None,
    shelf: Shelf | None = None,
    is_rendering: bool = True,
) -> Cast:
    """Read sources and references and build the processors.

    Parameters
    ----------
    asked
        What is asked for.
    analyser
        Finds the faces of photos; None builds one where there is a photo.
    on_progress
        Called after each photo.
    kinds
        What the sources are, where that is known.
    shelf
        Where photos and faces may be already.
    is_rendering
        Whether processors are built; without them it can be asked who is changed, and no more.

    Raises
    ------
    NoFaceInSource, ModelError
    """
    resolved = resolve(asked)
    recipe, people = resolved.recipe, resolved.people
    looker = Looker(resolved, shelf, analyser)
    sources = tuple(
        gather_sources(chain.sources, chain.required, looker, kinds, on_progress) for chain in resolved.chains
    )
    references = tuple(_encode(resolved, person.reference, looker) for person in people)
    parts = build_parts(recipe, people, sources) if is_rendering else _parts_to_choose(resolved)
    if people:
        exempt = _exempt(resolved, looker)
        named = tuple(zip(people, references, strict=True))
        return Cast(parts, named, exempt=exempt, sources=sources, hides=resolved.is_protective)
    reference = None
    if recipe.face_selector_mode == "reference":
        reference = _encode(resolved, recipe.reference_face_path, looker)
    looks = None
    if sources[0] and "auto" in (recipe.face_selector_gender, recipe.face_selector_race):
        classifier = build_engine("face_classifier", recipe.face_classifier_model, EngineContext(recipe))
        looks = classifier.classify([sources[0][0].pixels], [sources[0][0].face.five_points])[0]
    return Cast(parts, (), reference, looks, _exempt(resolved, looker), sources, resolved.is_protective)


def build_parts(
    recipe: Recipe, people: Sequence[Person], sources: Sequence[Sources]
) -> tuple[FacePart | FramePart, ...]:
    """Processors of all steps, with the sources taken in: consecutive face steps together.

    Parameters
    ----------
    recipe
        Its steps, in order. With a mapping file the people's own stand where the recipe's first face steps are.
    people
        Of the mapping file.
    sources
        Of every person, or of the recipe.
    """
    parts: list[FacePart | FramePart] = []
    is_face_done = False
    steps_here = [step for step in recipe.steps if step.spec.kind != "source"]
    for is_face, group in groupby(steps_here, key=lambda step: step.spec.kind == "face"):
        steps = tuple(group)
        if is_face and not people:
            parts.append(_face_part(recipe, [steps], sources))
        elif is_face and not is_face_done:
            parts.append(_face_part(recipe, [person.steps for person in people], sources))
            is_face_done = True
        elif not is_face:
            everything = Sources([f for one in sources for f in one], [s for one in sources for s in one.sounds])
            for step in steps:
                (processor,) = build_processors(recipe, [step], everything)
                parts.append(FramePart(step, cast(FrameProcessor, processor)))
    if people and not is_face_done:
        parts.insert(0, _face_part(recipe, [person.steps for person in people], sources))
    return tuple(parts)


def _parts_to_choose(resolved: Resolved) -> tuple[FacePart, ...]:
    """What a cast without processors has where faces are changed."""
    is_any = resolved.people or any(step.spec.kind == "face" for step in resolved.recipe.steps)
    return (FacePart((), ()),) if is_any else ()


def _face_part(recipe: Recipe, chains: Sequence[Sequence[Step]], sources: Sequence[Sources]) -> FacePart:
    built = tuple(build_processors(recipe, steps, own) for steps, own in zip(chains, sources, strict=True))
    return FacePart(built, tuple(union(step.requirements for step in steps).join for steps in chains))


def _exempt(resolved: Resolved, looker: Looker) -> tuple[FloatArray, ...]:
    """Embeddings of people who are left as they are."""
    found = (_encode(resolved, path, looker) for path in resolved.recipe.exempt_paths)
    return tuple(face for face in found if face is not None)


def _encode(resolved: Resolved, path: Path | None, looker: Looker) -> FloatArray | None:
    if path is None:
        return None
    face = looker.find(path, resolved.known_faces.get(path, "photo"))
    identifier = build_engine("face_identifier", resolved.identifier, EngineContext(resolved.recipe))
    embedding: FloatArray = identifier.identify([face.pixels], [face.face.five_points])[0]
    return embedding
