"""Runs a plan: pass 1, pass 2, and the two together. Holds no state between calls."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from facefusion.analyse.analyser import Analyser
from facefusion.errors import FaceFusionError, NoFaceInTarget, QualityTooLow, TracksError, own_error
from facefusion.media.files import replacing, translate_os_error
from facefusion.media.image import Photo, read_photo, write_photo
from facefusion.media.privacy import clean_photo, say_removed
from facefusion.media.reader import ClipReader
from facefusion.metrics.report import Reporter, read_limits, write_report
from facefusion.pipeline.cast import (
    DEFAULT_LANDMARKER,
    Cast,
    build_analyser,
    build_cast,
    build_processors,
    read_sources,
)
from facefusion.pipeline.clip import (
    READ_AHEAD,
    Stage,
    build_stage,
    join_observations,
    merge_segments,
    notes_on_target,
    observe_spans,
    plan_clip,
    privacy_notes,
    read_clip,
    render_spans,
)
from facefusion.pipeline.inputs import BoundInputs
from facefusion.pipeline.overlap import prefetch
from facefusion.pipeline.plan import (
    Plan,
    build_plan,
    capabilities_of_analysis,
    face_map_of,
    find_kind,
    models_of,
    reads_of,
    track_options,
)
from facefusion.pipeline.progress import OnProgress, Progress, ignore_progress
from facefusion.pipeline.selection import choose_tracks, is_private
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine
from facefusion.recipe import Recipe
from facefusion.types.frame import Frame, RenderedFrame
from facefusion.types.track import Tracks
from facefusion.version import __version__
from facefusion.workplace import delivery, user_workplace

COMMENT = "Faces changed with FaceFusion (synthetic media)"


def comment_of(plan: Plan) -> str:
    """What is written into the output about how it was made."""
    return f"{COMMENT}; models: {', '.join(models_used(plan))}"


def models_used(plan: Plan) -> tuple[str, ...]:
    """Id, version and licence of every model that runs."""
    return tuple(f"{spec.key} ({spec.licence})" for spec in plan.models)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did, as measured.

    Attributes
    ----------
    output_path
        The file that was written.
    frame_count
        Frames in it.
    changed_frame_count
        Frames in which a face was changed.
    track_count
        People found.
    analyse_s, render_s
        Wall time of the two passes in seconds.
    models
        What ran: id, version and licence of every model.
    notes
        Sentences on what is not as one would expect: frames that are missing, tracks that were left out.
    """

    output_path: Path
    frame_count: int
    changed_frame_count: int
    track_count: int
    analyse_s: float
    render_s: float
    models: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def frames_per_s(self) -> float:
        """Frames per second of both passes together."""
        return self.frame_count / max(self.analyse_s + self.render_s, 1e-9)


def notes_of(recipe: Recipe) -> dict[str, str]:
    """What made the tracks, to be stored with them."""
    notes = {"facefusion": __version__, "target": recipe.target_path.name}
    store = EngineContext(recipe).store
    for spec in models_of(recipe, capabilities_of_analysis(recipe)):
        path = store.find(spec)
        notes[f"model {spec.key}"] = "" if path is None else store.hash_of(path)
    return notes


@contextmanager
def own_errors(on_progress: OnProgress) -> Iterator[OnProgress]:
    """Let no exception of a library out as it is; those of the caller's own function, and warnings, pass.

    Parameters
    ----------
    on_progress
        The caller's function.

    Returns
    -------
    The function to call in its place.

    Raises
    ------
    FaceFusionError
    """
    passed: list[BaseException] = []

    def told(progress: Progress) -> None:
        try:
            on_progress(progress)
        except BaseException as error:
            passed.append(error)
            raise

    try:
        yield told
    except Exception as error:
        if isinstance(error, Warning) or any(error is one for one in passed):
            raise
        found = own_error(error)
        if found is error:
            raise
        raise found from error


def analyse_target(
    recipe: Recipe, analyser: Analyser | None = None, on_progress: OnProgress = ignore_progress
) -> Tracks:
    """Pass 1 over a photo or clip.

    Returns
    -------
    Tracks, which may hold nobody.

    Raises
    ------
    FaceFusionError
    """
    with own_errors(on_progress) as told:
        return _analyse(recipe, analyser, told)


def _analyse(recipe: Recipe, analyser: Analyser | None, on_progress: OnProgress) -> Tracks:
    analyser = analyser or build_analyser(recipe)
    notes = notes_of(recipe)
    if find_kind(recipe.target_path) == "photo":
        photo = read_photo(recipe.target_path, recipe.allow_8bit)
        tracks = analyser.analyse([_photo_frame(photo)], notes)
        on_progress(Progress("analyse", 1, 1))
        return tracks
    spans = plan_clip(recipe)
    total = sum(span.frame_count for span in spans)

    def count(done: int) -> None:
        on_progress(Progress("analyse", done, total))

    observations = list(observe_spans(recipe, analyser, spans, range(len(spans)), count))
    return join_observations(analyser, observations, notes)


def _photo_frame(photo: Photo) -> Frame:
    return Frame(photo.pixels, 0, 0, Fraction(1))


def run(recipe: Recipe, on_progress: OnProgress = ignore_progress) -> Outcome:
    """Do what a recipe asks for: plan, analyse, render.

    Parameters
    ----------
    recipe
        What is asked for.
    on_progress
        Called after each frame of each pass.

    Returns
    -------
    What was done.

    Raises
    ------
    FaceFusionError
        With nothing written; an older output is still there.
    """
    with own_errors(on_progress) as told:
        plan = build_plan(recipe)
        recipe = plan.recipe  # what was left open is now decided
        inputs = BoundInputs.bind(path for _, path in reads_of(recipe))
        cast = build_cast(recipe, build_analyser(recipe, has_identity=False), told)
        began = time.perf_counter()
        tracks = _analyse(recipe, build_analyser(recipe), told)
        return _render(plan, tracks, cast, time.perf_counter() - began, told, inputs)


def render_target(recipe: Recipe, tracks: Tracks, on_progress: OnProgress = ignore_progress) -> Outcome:
    """Pass 2 alone, from tracks that were saved.

    Raises
    ------
    TracksError
        When the tracks were made from a target of another size.
    """
    with own_errors(on_progress) as told:
        plan = build_plan(recipe)
        recipe = plan.recipe
        inputs = BoundInputs.bind(path for _, path in reads_of(recipe))
        cast = build_cast(recipe, build_analyser(recipe, has_identity=False), told)
        return _render(plan, tracks, cast, 0.0, told, inputs)


def _render(
    plan: Plan, tracks: Tracks, cast: Cast, analyse_s: float, on_progress: OnProgress, inputs: BoundInputs
) -> Outcome:
    recipe = plan.recipe
    began = time.perf_counter()
    if not tracks.tracks and not (recipe.allow_empty and plan.kind == "clip"):
        way_out = " Add --allow-empty to get a copy." if plan.kind == "clip" else ""
        raise NoFaceInTarget(
            f"No face is found in the target {recipe.target_path}.",
            f"Lower --face-detector-score or raise --face-detector-size.{way_out}",
        )
    notes: tuple[str, ...] = ()
    assigned = cast.assign(recipe, tracks)
    stage = build_stage(recipe, cast, tracks, assigned)
    reporter = build_reporter(recipe, tracks, cast, assigned)
    if plan.kind == "photo":
        with user_workplace() as place, delivery(place, recipe.output_path) as made:
            rendered, notes = render_photo(plan, tracks, stage, made, inputs.check)
        if reporter is not None:
            reporter.add(rendered)
        on_progress(Progress("render", 1, 1))
        frame_count, changed = 1, int(rendered.is_changed)
    elif not tracks.tracks and can_copy(recipe, recipe.output_path):
        with user_workplace() as place, delivery(place, recipe.output_path) as made:
            copy_target(recipe.target_path, made, inputs.check)
        frame_count, changed, notes = len(tracks.pts), 0, ()
    else:
        frame_count, changed, notes = _render_clip(plan, tracks, stage, on_progress, inputs)
        notes += privacy_notes(recipe)
    if reporter is not None:
        if plan.kind == "clip":
            measure_output(recipe, tracks, reporter)
        save_report(recipe, reporter, models_used(plan))
    return Outcome(
        recipe.output_path,
        frame_count,
        changed,
        len(tracks.tracks),
        analyse_s,
        time.perf_counter() - began,
        models_used(plan),
        notes,
    )


def render_photo(
    plan: Plan, tracks: Tracks, stage: Stage, output: Path, check: Callable[[], None] = lambda: None
) -> tuple[RenderedFrame, tuple[str, ...]]:
    """Pass 2 of a photo.

    Parameters
    ----------
    plan, tracks, stage
        What is asked for, who is where, and who renders.
    output
        File to write.
    check
        Called when it is written.

    Returns
    -------
    What was rendered, and what is not as one would expect.
    """
    recipe = plan.recipe
    photo = read_photo(recipe.target_path, recipe.allow_8bit)
    check_size(tracks, photo.pixels.shape[1], photo.pixels.shape[0], recipe.target_path)
    rendered = stage.grain.match(stage.renderer.render(_photo_frame(photo)))
    result, notes = replace(photo, pixels=rendered.pixels), photo.notes
    if is_private(recipe, face_map_of(recipe)):
        result, removed = clean_photo(result)
        notes += say_removed(removed)
    notes += write_photo(output, result, recipe.output_image_quality, comment_of(plan))
    check()
    return rendered, notes


def build_reporter(recipe: Recipe, tracks: Tracks, cast: Cast, assigned: Mapping[int, int]) -> Reporter | None:
    """Who measures the output, with the embedded engines, or None where nobody asked."""
    if recipe.report_path is None and not recipe.fail_under:
        return None
    context = EngineContext(recipe)
    identifier = build_engine("face_identifier", "embedded", context)
    known = {
        number: identifier.identify([s.pixels for s in photos], [s.face.five_points for s in photos]).mean(axis=0)
        for number, (_, photos) in enumerate(cast.sources)
        if photos
    }
    wanted = {track_id: known[number] for track_id, number in assigned.items() if number in known}
    landmarker = build_engine("face_landmarker", DEFAULT_LANDMARKER, context)
    masker = build_engine("face_occluder", "embedded", context)
    return Reporter(tracks, tuple(assigned), landmarker, identifier, masker, wanted)


def measure_output(
    recipe: Recipe,
    tracks: Tracks,
    reporter: Reporter,
    output: Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> None:
    """Measure a clip as it was written, beside its target."""
    written_frames = prefetch(ClipReader(output or recipe.output_path), READ_AHEAD)
    for number, (target, written) in enumerate(zip(read_clip(recipe), written_frames, strict=False)):
        height, width = target.pixels.shape[:2]
        is_seen = bool(tracks.at(target.pts, reporter.track_ids))
        pixels = written.pixels[:height, :width]
        reporter.add(RenderedFrame(target, pixels, (0, 0, width, height)) if is_seen else RenderedFrame(target))
        on_progress(Progress("measure", number + 1, len(tracks.pts)))


def save_report(recipe: Recipe, reporter: Reporter, models: tuple[str, ...], title: str = "") -> None:
    """Write what was measured where the recipe says.

    Raises
    ------
    QualityTooLow
        When it is worse than the recipe allows; the report is written.
    OutputRefused
    """
    report = reporter.finish(title or recipe.target_path.name, models)
    failures = tuple(report.failures(read_limits(recipe.fail_under)))
    if recipe.report_path is not None:
        try:
            write_report(report, recipe.report_path, failures)
        except OSError as error:
            raise translate_os_error(error, recipe.report_path) from error
    if failures:
        raise QualityTooLow(
            f"{recipe.output_path} was written, but {'; '.join(failures)}.",
            "Look at it, or at --report, before you use it.",
        )


def _render_clip(
    plan: Plan, tracks: Tracks, stage: Stage, on_progress: OnProgress, inputs: BoundInputs
) -> tuple[int, int, tuple[str, ...]]:
    recipe = plan.recipe
    reader = read_clip(recipe)
    check_size(tracks, reader.info.width, reader.info.height, recipe.target_path)
    spans = plan_clip(recipe)
    total = len(tracks.pts)

    def count(done: int) -> None:
        on_progress(Progress("render", done, total))

    # A folder of this call alone: others may run at the same time, with an output of the same name too.
    with user_workplace() as place, delivery(place, recipe.output_path) as made:
        try:
            segments = list(render_spans(plan, stage, spans, range(len(spans)), made.parent, count))
            parts = [segment.part for segment in segments]
            notes = merge_segments(plan, parts, comment_of(plan), made, inputs.check)
        except OSError as error:
            if isinstance(error, FaceFusionError):
                raise
            raise translate_os_error(error, recipe.output_path) from error
    changed = sum(segment.changed_frame_count for segment in segments)
    times = [time for part in parts for time in part.pts]
    notes += notes_on_target(recipe, times, [segment.defects for segment in segments])
    return len(times), changed, notes


def check_size(tracks: Tracks, width: int, height: int, path: Path) -> None:
    """Refuse tracks of a target of another size."""
    if (tracks.width, tracks.height) != (width, height):
        raise TracksError(
            f"The tracks were made from a target of {tracks.width} x {tracks.height} px; "
            f"{path} is {width} x {height} px.",
            "Analyse this target again.",
        )


def can_copy(recipe: Recipe, output: Path) -> bool:
    """Whether an output without any change can be the target's own bytes, with all that they tell."""
    is_same_kind = recipe.target_path.suffix.lower() == output.suffix.lower()
    options = track_options(recipe)
    keeps_tracks = options.audio != "none" and not options.drop and not options.hides_places
    return recipe.start_s is None and recipe.end_s is None and is_same_kind and keeps_tracks


def copy_target(target: Path, output: Path, before_naming: Callable[[], None] = lambda: None) -> None:
    """Copy a file, whole or not at all."""
    try:
        with replacing(output) as partial:
            shutil.copyfile(target, partial)
            before_naming()
    except OSError as error:
        raise translate_os_error(error, output) from error


__all__ = [
    "Outcome",
    "analyse_target",
    "build_analyser",
    "build_processors",
    "choose_tracks",
    "read_sources",
    "render_target",
    "run",
]
