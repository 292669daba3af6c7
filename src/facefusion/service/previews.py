"""Seeing before waiting: one frame as it will be, of a recipe or of a job, before and after."""

from __future__ import annotations

import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from facefusion.analyse.analyser import Analyser
from facefusion.errors import RecipeError
from facefusion.jobs.local import LocalJobs, check_target
from facefusion.jobs.preview import preview
from facefusion.media.files import Named, replacing
from facefusion.media.image import Photo, check_photo_output, encode_picture, write_photo
from facefusion.pipeline.cast import Cast, FacePart, build_analyser, build_cast
from facefusion.pipeline.clip import check_analysed, empty_tracks
from facefusion.pipeline.inputs import hash_of
from facefusion.pipeline.permission import Permission
from facefusion.pipeline.plan import (
    Kind,
    Target,
    check_models,
    check_paths,
    check_sources,
    decided,
    find_kind,
    reads_of,
    settled,
)
from facefusion.pipeline.progress import OnProgress, ignore_progress
from facefusion.pipeline.resolved import resolve
from facefusion.pipeline.runner import analyse_target, check_size
from facefusion.pipeline.still import Moment, Still, find_moment, look_around, render_still
from facefusion.plugins.protocols import MeetsPeople
from facefusion.policy.mark import without_job
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.recipe import Recipe, build_recipe
from facefusion.service.values import Preview
from facefusion.types.frame import Frame, Pixels
from facefusion.types.paths import PathLike, as_path
from facefusion.types.track import Tracks

T = TypeVar("T")

SOFTWARE = "A preview of synthetic media"
KEPT = 4
"""Casts, and targets, that are kept for a next look."""
AROUND = "Faces were looked for around this moment alone; in the whole clip others may be chosen."
OPEN = "The recipe leaves something to chance (a seed), so a job may show another face."
_NOT_OF_TRACKS = (
    "source_paths", "output_path", "report_path", "fail_under", "steps", "presets", "people", "exempt_faces",
    "face_map_path", "exempt_paths", "reference_face_path", "faces", "face_selector_mode", "face_selector_order",
    "face_selector_age_start", "face_selector_age_end", "face_selector_gender", "face_selector_race",
    "reference_face_position", "reference_face_distance", "reference_frame_number", "motion_smoothing",
    "finish_matching", "optical_flow_model", "face_mask_types", "face_mask_blur", "face_mask_padding",
    "face_mask_areas", "face_mask_regions", "face_occluder_model", "face_parser_model", "output_image_quality",
    "output_video_encoder", "output_video_preset", "output_video_quality", "output_audio", "drop_tracks",
    "output_audio_encoder", "output_audio_quality", "output_audio_volume",
    "output_image_scale", "output_video_scale", "keep_metadata", "allow_empty", "execution_batch_size",
    "execution_precision", "segment_s", "mask_path", "layer_path",
)  # fmt: skip
"""Options that say nothing about where faces are. One that is forgotten here costs time and nothing else."""
_NOT_OF_CASTS = (
    "target_path", "output_path", "report_path", "fail_under", "start_s", "end_s", "faces", "exempt_faces",
    "reference_frame_number", "reference_face_position", "motion_smoothing", "finish_matching", "output_image_quality",
    "output_video_encoder", "output_video_preset", "output_video_quality", "output_audio", "drop_tracks",
    "output_audio_encoder", "output_audio_quality", "output_audio_volume",
    "output_image_scale", "output_video_scale", "output_video_fps", "keep_metadata", "allow_empty", "segment_s",
    "strict", "mask_path", "layer_path",
)  # fmt: skip
"""The same of what says nothing about processors and sources."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A frame as it will be.

    Attributes
    ----------
    pixels
        (H, W, 3) uint8 RGB: the frame after, or before and after beside one another.
    time_s
        Exact time of the frame in the output.
    is_changed
        Whether anything is new in it.
    is_beside
        Whether the frame before is on the left.
    notes
        Sentences on what may be otherwise in the output.
    """

    pixels: Pixels = field(repr=False)
    time_s: float
    is_changed: bool
    is_beside: bool
    notes: tuple[str, ...] = ()

    def encoded(self, kind: Literal["jpeg", "webp", "png"] = "jpeg", quality: int = 90) -> bytes:
        """The picture as the content of a file; it says that it is synthetic."""
        return encode_picture(self.pixels, kind, quality, SOFTWARE)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the pixels."""
        height, width = self.pixels.shape[:2]
        return {
            "time_s": self.time_s, "width": width, "height": height, "is_changed": self.is_changed,
            "is_beside": self.is_beside, "notes": list(self.notes),
        }  # fmt: skip


class Previews:
    """Makes previews, and keeps what a next one needs: sources taken in, faces found. Safe to use from many threads.

    Parameters
    ----------
    kept
        How many casts and targets are kept.
    policy
        What may be done here: a preview shows a changed face as an output does.
    """

    def __init__(self, kept: int = KEPT, policy: SitePolicy = NO_POLICY) -> None:
        self._policy = policy
        self._mark = without_job() if policy.is_marked else None
        self._recipes: _Kept[tuple[Recipe, bool]] = _Kept(4 * kept)
        self._casts: _Kept[tuple[Cast, threading.Lock]] = _Kept(kept)
        self._analysers: _Kept[Analyser] = _Kept(kept)
        self._wholes: _Kept[Tracks] = _Kept(kept)
        self._parts: _Kept[Tracks] = _Kept(4 * kept)
        self._moments: _Kept[Moment] = _Kept(2)
        self._hashes: _Kept[str] = _Kept(4 * kept)

    def of_recipe(
        self,
        recipe: Recipe,
        at_s: float = 0.0,
        is_beside: bool = False,
        tracks: Tracks | None = None,
        tenant: str = "",
    ) -> Picture:
        """One frame of what a recipe will make, rendered by the code of the final rendering.

        Parameters
        ----------
        recipe
            What is asked for; an output need not be named.
        at_s
            Time in the output, seconds.
        is_beside
            Whether the frame before is shown too, on the left.
        tracks
            What an earlier first pass left. Without them faces are looked for around the moment, or in the whole clip
            where they are chosen by what only the whole clip tells (numbers, a reference frame); `learn` does that
            beforehand.
        tenant
            On whose behalf.

        Raises
        ------
        PolicyError
            What must not be done here.
        FaceFusionError
            Everything that planning refuses, and a time that there is not.
        """
        _check_time(at_s)
        recipe, is_open = self._settle(recipe)
        kind = find_kind(recipe.target_path)
        moment = self._moment(recipe, kind, at_s)
        frame = moment.frame
        permission = Permission(self._policy, tenant)
        permission.sources(resolve(recipe))
        permission.frames([frame.pixels])
        cast, lock = self._cast(recipe)
        notes = [OPEN] if is_open else []
        seen = empty_tracks(recipe, kind)
        assigned: dict[int, int] = {}
        if resolve(recipe).wants_faces:
            if tracks is not None:
                check_size(tracks, Target(frame.pixels.shape[1], frame.pixels.shape[0]), recipe.target_path)
                check_target(tracks, recipe.target_path, {str(recipe.target_path): self._hash(recipe)})
                if kind == "clip":
                    check_analysed(tracks, [frame.pts], recipe.target_path.name)
                seen = tracks
            elif needs_whole(recipe) and kind == "clip":
                seen = self._learn(recipe, ignore_progress)
            else:
                seen, is_whole = self._look(recipe, kind, frame)
                notes += [] if is_whole or kind == "photo" else [AROUND]
            assigned = cast.assign(recipe, seen)
        permission.people(resolve(recipe), kind, seen, assigned, frame)
        with lock:
            still = render_still(recipe, cast, seen, assigned, kind, moment, self._mark)
        return _picture(still, is_beside, notes)

    def of_job(self, jobs: LocalJobs, job_id: str, at_s: float = 0.0, is_beside: bool = False) -> Picture:
        """One frame of a job: from its own tracks where they are there, else as `of_recipe`; of a finished job too.

        Parameters
        ----------
        jobs, job_id
            Which.
        at_s, is_beside
            As in `of_recipe`.

        Raises
        ------
        RecipeError, UnknownJob, JobError, JobMismatch
        """
        picture, check = self._of_job(jobs, job_id, at_s, is_beside)
        check()
        return picture

    @staticmethod
    def check(path: PathLike, recipe: Recipe, reads: Sequence[Named] = ()) -> None:
        """Refuse a place for a preview where nothing can be written, or where an input is.

        Parameters
        ----------
        path
            Where the picture is to go.
        recipe, reads
            Whose files, and which others, it must not go over.

        Raises
        ------
        OutputRefused
        """
        path = as_path(path)
        check_photo_output(path)
        check_paths(recipe, writes=[("picture", path)], reads=reads)

    @staticmethod
    def write(picture: Picture, path: PathLike, before_naming: Callable[[], None] = lambda: None) -> Preview:
        """Write a preview to a file, whose ending chooses the format.

        Parameters
        ----------
        picture
            From `of_recipe` or `of_job`.
        path
            Where it goes.
        before_naming
            Called when the file is complete; what it raises leaves none.

        Raises
        ------
        OutputRefused
        """
        path = as_path(path)
        with replacing(path) as made:
            write_photo(made, Photo(picture.pixels, None, None, None), 95, SOFTWARE)
            before_naming()
        height, width = picture.pixels.shape[:2]
        return Preview(
            str(path), picture.time_s, width, height, picture.is_changed, picture.is_beside, picture.notes
        )  # fmt: skip

    def write_of_job(
        self,
        jobs: LocalJobs,
        job_id: str,
        at_s: float,
        path: PathLike,
        is_beside: bool = False,
        is_exact: bool = False,
        on_progress: OnProgress = ignore_progress,
    ) -> Preview:
        """`of_job` and `write`; an input that changes meanwhile leaves no picture.

        Where it is to be exact and the job has no tracks (any more), faces are found in the whole target first.
        """
        path = as_path(path)
        _check_time(at_s)
        job = jobs.store.get(job_id)
        recipe = build_recipe(job.recipe)
        self.check(path, recipe)
        if is_exact and (job.status == "done" or jobs.store.joined(job_id) is None):
            self.find_all(recipe, on_progress)
        picture, check = self._of_job(jobs, job_id, at_s, is_beside)
        return self.write(picture, path, check)

    def learn(self, recipe: Recipe, on_progress: OnProgress = ignore_progress) -> Tracks:
        """Find the faces of a whole target, once; every preview of it is exact and fast from then on."""
        return self._learn(self._settle(recipe)[0], on_progress)

    def find_all(self, recipe: Recipe, on_progress: OnProgress = ignore_progress) -> None:
        """`learn`, where that makes a preview more exact: not of photos, nor where no faces are wanted."""
        if not self.faces_of(recipe)[1]:
            self.learn(recipe, on_progress)

    def faces_of(self, recipe: Recipe) -> tuple[Hashable, bool]:
        """What tells recipes apart for which other faces are found, and whether nothing is left to `learn`.

        Raises
        ------
        FaceFusionError
            Everything that planning refuses.
        """
        recipe, _ = self._settle(recipe)
        key = _key_of_tracks(recipe)
        is_known = not resolve(recipe).wants_faces or self._wholes.find(key) is not None
        return key, is_known or find_kind(recipe.target_path) == "photo"

    def _of_job(self, jobs: LocalJobs, job_id: str, at_s: float, is_beside: bool) -> tuple[Picture, Callable[[], None]]:
        _check_time(at_s)
        locks: list[threading.Lock] = []
        is_whole = True

        def cast_of(recipe: Recipe) -> Cast:
            cast, lock = self._cast(recipe)
            lock.acquire()
            locks.append(lock)
            return cast

        def look(recipe: Recipe, cast: Cast, kind: Kind, frame: Frame) -> tuple[Tracks, dict[int, int]]:
            nonlocal is_whole
            if needs_whole(recipe) and kind == "clip":
                tracks, is_whole = self._learn(recipe, ignore_progress), True
            else:
                tracks, is_whole = self._look(recipe, kind, frame)
            return tracks, cast.assign(recipe, tracks)

        try:
            made = preview(jobs, job_id, at_s, look, cast_of)
        finally:
            for lock in locks:
                lock.release()
        return _picture(made.still, is_beside, [] if is_whole else [AROUND]), made.inputs.check

    def _settle(self, recipe: Recipe) -> tuple[Recipe, bool]:
        """The recipe with everything decided, and whether chance decided some of it; the same one for the same."""

        def settle() -> tuple[Recipe, bool]:
            asked = settled(recipe)
            if asked.target_path == Path():
                raise RecipeError("No target is given.", "Name a photo or clip with --target.")
            if resolve(asked).generator is not None:
                raise RecipeError("The first step makes the frames itself.", "Run it to see them.")
            chosen = decided(asked)
            check_models(chosen)
            check_sources(chosen)
            return chosen, chosen is not asked

        return self._recipes.get((_told(recipe, ()), _states(recipe)), settle)

    def _moment(self, recipe: Recipe, kind: Kind, at_s: float) -> Moment:
        """A frame with its neighbours; the last ones are kept, for options change while the moment stays."""
        states = tuple(state for state in _states(recipe) if state[0] == "target")
        key = states, recipe.start_s, recipe.end_s, recipe.allow_8bit, recipe.strict, recipe.output_video_fps, at_s
        return self._moments.get(key, lambda: find_moment(recipe, kind, at_s))

    def _cast(self, recipe: Recipe) -> tuple[Cast, threading.Lock]:
        states = tuple(state for state in _states(recipe) if state[0] != "target")
        key = _told(recipe, _NOT_OF_CASTS), states
        return self._casts.get(
            key, lambda: (build_cast(recipe, self._analyser(recipe, has_identity=False)), threading.Lock()), _is_for_any
        )

    def _analyser(self, recipe: Recipe, has_identity: bool | None = None) -> Analyser:
        key = _told(recipe, (*_NOT_OF_TRACKS, "target_path", "start_s", "end_s")), _facts(recipe), has_identity
        return self._analysers.get(key, lambda: build_analyser(recipe, has_identity))

    def _hash(self, recipe: Recipe) -> str:
        states = tuple(state for state in _states(recipe) if state[0] == "target")
        return self._hashes.get(states, lambda: hash_of(recipe.target_path))

    def _learn(self, recipe: Recipe, on_progress: OnProgress) -> Tracks:
        return self._wholes.get(
            _key_of_tracks(recipe), lambda: analyse_target(recipe, self._analyser(recipe), on_progress)
        )

    def _look(self, recipe: Recipe, kind: Kind, frame: Frame) -> tuple[Tracks, bool]:
        """Tracks around a frame, or of the whole clip where they are known; and which."""
        key = _key_of_tracks(recipe)
        if (whole := self._wholes.find(key)) is not None:
            return whole, True
        found = self._parts.get((key, frame.pts), lambda: look_around(recipe, self._analyser(recipe), kind, frame))
        return found, kind == "photo"


def needs_whole(recipe: Recipe) -> bool:
    """Whether people are chosen by what only the whole clip tells."""
    by_number = isinstance(recipe.faces, tuple) and recipe.face_selector_mode is None
    by_frame = recipe.face_selector_mode == "reference" and recipe.reference_face_path is None
    by_track = any(person.track is not None or person.number is not None for person in recipe.people)
    return by_number or by_frame or by_track or bool(recipe.exempt_faces)


class _Kept(Generic[T]):
    """The last few of something that takes time to make; whoever asks for the same waits for the one who makes it."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._makers: dict[Hashable, threading.Lock] = {}
        self._held: OrderedDict[Hashable, T] = OrderedDict()

    def find(self, key: Hashable) -> T | None:
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def get(self, key: Hashable, make: Callable[[], T], is_kept: Callable[[T], bool] = lambda _: True) -> T:
        with self._lock:
            maker = self._makers.setdefault(key, threading.Lock())
        try:
            with maker:
                if (found := self.find(key)) is not None:
                    return found
                made = make()
                if not is_kept(made):
                    return made
                with self._lock:
                    self._held[key] = made
                    while len(self._held) > self._count:
                        self._held.popitem(last=False)
                return made
        finally:
            with self._lock:
                self._makers.pop(key, None)


def _is_for_any(found: tuple[Cast, threading.Lock]) -> bool:
    """Whether a cast can be used for any target: processors that meet people keep what they decided for them."""
    chains = (chain for part in found[0].parts if isinstance(part, FacePart) for chain in part.chains)
    return not any(isinstance(processor, MeetsPeople) for chain in chains for processor in chain)


def _check_time(at_s: float) -> None:
    if not math.isfinite(at_s) or at_s < 0:
        raise RecipeError(f"There is no time {at_s} s.", "Name a time in the output with --at, in seconds.")


def _told(recipe: Recipe, without: Sequence[str]) -> str:
    return json.dumps(recipe.model_dump(mode="json", exclude=set(without)), sort_keys=True)


def _states(recipe: Recipe) -> tuple[tuple[str, str, int, int], ...]:
    """What tells whether files that a recipe reads are still the same."""
    found = []
    for what, path in reads_of(recipe):
        try:
            state = path.stat()
        except OSError:  # said where it is read
            continue
        found.append((what, str(path), state.st_size, state.st_mtime_ns))
    return tuple(found)


def _facts(recipe: Recipe) -> Hashable:
    resolved = resolve(recipe)
    return (
        resolved.identifier, resolved.wants_identity, resolved.wants_attributes, resolved.is_protective,
    )  # fmt: skip


def _key_of_tracks(recipe: Recipe) -> Hashable:
    states = tuple(state for state in _states(recipe) if state[0] == "target")
    return _told(recipe, _NOT_OF_TRACKS), _facts(recipe), states


def _picture(still: Still, is_beside: bool, notes: Sequence[str]) -> Picture:
    pixels = still.beside() if is_beside else still.pixels
    return Picture(pixels, float(still.moment), still.is_changed, is_beside, tuple(notes))
