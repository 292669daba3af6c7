"""What is told of a run: its outcome, its report, what made it; and pass 1 alone. Holds no state between calls."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from facefusion.analyse.analyser import Analyser
from facefusion.errors import FaceFusionError, MediaUnreadable, QualityTooLow, TracksError, own_error
from facefusion.imaging.resample import resize_pixels
from facefusion.media.files import replacing, translate_os_error
from facefusion.media.image import is_photo, read_photo
from facefusion.media.numbering import numbers_of
from facefusion.media.picture import data_uri
from facefusion.media.reader import ClipReader
from facefusion.metrics.report import Reporter, read_limits, write_report
from facefusion.metrics.review import Reviewer
from facefusion.models.spec import ModelSpec
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
    join_observations,
    observe_spans,
    photo_frame,
    plan_clip,
    read_clip,
)
from facefusion.pipeline.inputs import BoundInputs, Shelf
from facefusion.pipeline.plan import (
    Kind,
    Plan,
    Target,
    find_kind,
    hashes_of_models,
    models_of,
    settled,
    track_options,
)
from facefusion.pipeline.progress import OnProgress, Progress, check_listener, ignore_progress
from facefusion.pipeline.resolved import Resolved, resolve
from facefusion.pipeline.review import judged
from facefusion.pipeline.selection import choose_tracks
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine
from facefusion.recipe import Recipe
from facefusion.render.overlap import prefetch
from facefusion.types.frame import Frame, Pixels, RenderedFrame
from facefusion.types.shown import shown
from facefusion.types.track import FRAMES, Tracks
from facefusion.version import __version__
from facefusion.wording import counted

TARGET_HASH = "target sha256"
"""Note of tracks that are kept: faces are where they were in this file only."""
COMMENT = "Faces changed with FaceFusion (synthetic media)"
COMMENT_WITHOUT_FACES = "Made or changed with FaceFusion (synthetic media)"


def comment_of(plan: Plan) -> str:
    """What is written into the output about how it was made."""
    return comment_on(plan.wants_faces, models_used(plan))


def comment_on(wants_faces: bool, models: Sequence[str]) -> str:
    """The same of what has no plan.

    Parameters
    ----------
    wants_faces
        Whether it has to do with faces.
    models
        Id, version and licence of every model that ran.
    """
    what = COMMENT if wants_faces else COMMENT_WITHOUT_FACES
    return f"{what}; models: {', '.join(models)}" if models else what


def models_used(plan: Plan) -> tuple[str, ...]:
    """Id, version and licence of every model that runs."""
    return tuple(f"{spec.key} ({spec.licence})" for spec in plan.models.every)


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
    is_marked
        Whether changed frames carry the mark of the site, which is not seen.
    """

    output_path: Path
    frame_count: int
    changed_frame_count: int
    track_count: int
    analyse_s: float
    render_s: float
    models: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_marked: bool = False

    __repr__ = shown

    @property
    def frames_per_s(self) -> float:
        """Frames per second of both passes together; 0 where neither took any time, since another run did the work."""
        spent = self.analyse_s + self.render_s
        return self.frame_count / spent if spent > 0 else 0.0

    def _repr_html_(self) -> str:
        """For notebooks: a frame from the middle of the output, and what was done."""
        told = (
            f"{self.output_path.name}: {self.changed_frame_count} of {counted(self.frame_count, 'frame')} changed, "
            f"{counted(self.track_count, 'person', 'people')} found, {self.frames_per_s:.1f} fps"
        )
        lines = [told, *self.notes]
        with suppress(FaceFusionError):  # it may be gone by now
            image = f'<img alt="a frame of the output" src="{data_uri(_middle_of(self.output_path), SHOWN_PX)}"><br>'
            return f'<div style="font:12px sans-serif">{image}{"<br>".join(map(escape, lines))}</div>'
        return f'<div style="font:12px sans-serif">{"<br>".join(map(escape, lines))}</div>'


SHOWN_PX = 480
"""Longest side of a picture on a page."""


def _middle_of(path: Path) -> Pixels:
    """A photo, or a frame from the middle of a clip.

    Raises
    ------
    MediaError
    """
    if is_photo(path):
        return read_photo(path, allow_8bit=True).pixels
    info = ClipReader(path, allow_8bit=True).info
    for start_s in (info.duration_s / 2, None):
        frame = next(iter(ClipReader(path, start_s, allow_8bit=True)), None)
        if frame is not None:
            return frame.pixels
    raise MediaUnreadable(f"{path} has no frame.", "Look at it with a player.")


def notes_of(recipe: Recipe, models: Iterable[ModelSpec], frames: str = "") -> dict[str, str]:
    """What made the tracks, to be stored with them.

    Parameters
    ----------
    recipe
        What was asked for.
    models
        Those of pass 1.
    frames
        Numbers of the frames that were looked at, where they are not all (`facefusion.types.numbers`).
    """
    hashes = hashes_of_models(recipe, models)
    made_of = {f"model {key}": sha256 for key, sha256 in hashes.items()}
    return {
        "facefusion": __version__,
        "target": recipe.target_path.name,
        **made_of,
        **({FRAMES: frames} if frames else {}),
    }


@contextmanager
def own_errors(on_progress: OnProgress, callers: Sequence[BaseException] = ()) -> Iterator[OnProgress]:
    """Let no exception of a library out as it is; those of the caller's own function, and warnings, pass.

    Parameters
    ----------
    on_progress
        The caller's function.
    callers
        What else of the caller's has raised; filled meanwhile.

    Returns
    -------
    The function to call in its place.

    Raises
    ------
    FaceFusionError
    """
    check_listener(on_progress)
    passed: list[BaseException] = []

    def told(progress: Progress) -> None:
        try:
            on_progress(progress)
        except BaseException as error:
            passed.append(error)
            raise

    try:
        yield on_progress if on_progress is ignore_progress else told  # who tells nobody need not look either
    except Exception as error:
        if isinstance(error, Warning) or any(error is one for one in (*passed, *callers)):
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
    Tracks, which may hold nobody. They are of this file as it is: its hash is noted with them.

    Raises
    ------
    FaceFusionError
        Where the file changes meanwhile too.
    """
    with own_errors(on_progress) as told:
        resolved = resolve(settled(recipe))
        recipe = resolved.recipe
        inputs = BoundInputs.bind([recipe.target_path])
        tracks = _analyse(resolved, analyser, told)
        inputs.check()
        return replace(tracks, notes={**tracks.notes, TARGET_HASH: inputs.hashes[recipe.target_path]})


def _analyse(resolved: Resolved, analyser: Analyser | None, on_progress: OnProgress) -> Tracks:
    recipe = resolved.recipe
    analyser = analyser or build_analyser(resolved)
    kind = find_kind(recipe.target_path)
    spans = plan_clip(recipe, kind)
    total = sum(span.frame_count for span in spans)

    def count(done: int) -> None:
        on_progress(Progress("analyse", done, total))

    observations = list(observe_spans(recipe, analyser, spans, range(len(spans)), count, kind))
    models = models_of(recipe, resolved.uses_of_analysis)
    frames = numbers_of(read_clip(recipe)) if kind == "clip" else ""
    return join_observations(analyser, observations, notes_of(recipe, models, frames))


def build_reporter(recipe: Recipe, tracks: Tracks, cast: Cast, assigned: Mapping[int, int]) -> Reporter | None:
    """Who measures the output, with the embedded engines, or None where nobody asked."""
    if recipe.report_path is None and not recipe.fail_under:
        return None
    return reporter_of(recipe, tracks, cast, assigned)


def reporter_of(recipe: Recipe, tracks: Tracks, cast: Cast, assigned: Mapping[int, int]) -> Reporter:
    """Who measures an output: likeness to sources is known of tracks whose chain of the cast has some."""
    context = EngineContext(recipe)
    identifier = build_engine("face_identifier", "embedded", context)
    known = {
        number: identifier.identify([s.pixels for s in own], [s.face.five_points for s in own]).mean(axis=0)
        for number, own in enumerate(cast.sources)
        if len(own)
    }
    wanted = {track_id: known[number] for track_id, number in assigned.items() if number in known}
    landmarker = build_engine("face_landmarker", DEFAULT_LANDMARKER, context)
    masker = build_engine("face_occluder", "embedded", context)
    reporter = Reporter(tracks, tuple(assigned), landmarker, identifier, masker, wanted)
    if cast.hides:
        decided = {one.area: one.verdict for one in recipe.decisions}
        exempt = sorted(cast.left_as_they_are(recipe, tracks) - set(assigned))
        reporter.reviewer = Reviewer(tracks, tuple(assigned), exempt, judged(recipe, tracks), decided)
    return reporter


def measure_output(
    recipe: Recipe,
    tracks: Tracks,
    reporter: Reporter,
    output: Path | None = None,
    on_progress: OnProgress = ignore_progress,
    kind: Kind = "clip",
    shelf: Shelf | None = None,
) -> None:
    """Measure an output as it was written, beside its target."""
    if kind == "photo":
        frame = photo_frame((shelf or Shelf()).photo(recipe.target_path, recipe.allow_8bit))
        photo = read_photo(output or recipe.output_path, allow_8bit=True)
        reporter.add(beside(frame, photo.pixels, bool(tracks.at(frame.pts, reporter.track_ids))))
        return
    written_frames = prefetch(ClipReader(output or recipe.output_path), READ_AHEAD)
    for number, (target, written) in enumerate(zip(read_clip(recipe), written_frames, strict=False)):
        is_seen = bool(tracks.at(target.pts, reporter.track_ids))
        reporter.add(beside(target, written.pixels, is_seen))
        on_progress(Progress("measure", number + 1, len(tracks.pts)))


def beside(target: Frame, pixels: Pixels, is_changed: bool) -> RenderedFrame:
    """A picture of an output beside its target; one of another size is brought to the target's."""
    if not is_changed:
        return RenderedFrame(target)
    height, width = target.pixels.shape[:2]
    is_padded = (pixels.shape[0] - height, pixels.shape[1] - width) in ((0, 0), (0, 1), (1, 0), (1, 1))
    pixels = pixels[:height, :width] if is_padded else resize_pixels(pixels, width, height)
    return RenderedFrame(target, pixels, (0, 0, width, height))


def save_report(
    recipe: Recipe,
    reporter: Reporter,
    models: tuple[str, ...],
    title: str = "",
    notes: tuple[str, ...] = (),
    evidence: Mapping[str, Any] | None = None,
) -> None:
    """Write what was measured where the recipe says.

    Parameters
    ----------
    recipe
        As it was asked for, with where the report goes.
    reporter
        Who has measured.
    models
        What ran.
    title
        Of the page; without it the name of the target.
    notes
        Sentences on what is not as one would expect.
    evidence
        What proves which files and which recipe a review is about.

    Raises
    ------
    QualityTooLow
        When it is worse than the recipe allows; the report is written.
    OutputRefused
    """
    report = replace(reporter.finish(title or recipe.target_path.name, models), notes=notes)
    failures = tuple(report.failures(read_limits(recipe.fail_under)))
    if recipe.report_path is not None:
        try:
            review = None if reporter.reviewer is None else reporter.reviewer.finish(evidence or {})
            write_report(report, recipe.report_path, failures, review)
        except OSError as error:
            raise translate_os_error(error, recipe.report_path) from error
    if failures:
        raise QualityTooLow(
            f"{recipe.output_path} was written, but {'; '.join(failures)}.",
            "Look at it, or at --report, before you use it.",
        )


def check_size(tracks: Tracks, target: Target, path: Path) -> None:
    """Refuse tracks of a target of another size."""
    width, height = target.width, target.height
    if (tracks.width, tracks.height) != (width, height):
        raise TracksError(
            f"The tracks were made from a target of {tracks.width} x {tracks.height} px; "
            f"{path} is {width} x {height} px.",
            "Analyse this target again.",
        )


def can_copy(plan: Plan, output: Path) -> bool:
    """Whether an output without any change can be the target's own bytes, with all that they tell."""
    recipe = plan.recipe
    is_same_kind = recipe.target_path.suffix.lower() == output.suffix.lower()
    options = track_options(plan.resolved, plan.new_sound)
    keeps_tracks = (
        options.audio != "none" and not options.converts_all and not options.drop and not options.hides_places
    )
    is_whole = recipe.start_s is None and recipe.end_s is None and recipe.output_video_fps is None
    is_as_large = (recipe.output_image_scale if plan.kind == "photo" else recipe.output_video_scale) == 1
    return is_whole and is_as_large and is_same_kind and keeps_tracks


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
    "build_cast",
    "build_processors",
    "choose_tracks",
    "read_sources",
]
