"""Runs a plan: pass 1, pass 2, and the two together. Holds no state between calls."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from facefusion.analyse.analyser import Analyser
from facefusion.errors import NoFaceInSource, NoFaceInTarget, TracksError, UnknownOption
from facefusion.media.files import partial_path, translate_os_error
from facefusion.media.image import Photo, read_photo, write_photo
from facefusion.media.reader import ClipReader
from facefusion.media.writer import ClipWriter
from facefusion.models.session import core_count
from facefusion.models.spec import load_catalog
from facefusion.pipeline.overlap import map_in_order, prefetch
from facefusion.pipeline.plan import Plan, build_plan, find_kind
from facefusion.pipeline.progress import OnProgress, Progress, ignore_progress
from facefusion.plugins.protocols import EngineContext, FaceProcessor
from facefusion.plugins.registry import DETECTORS, LANDMARKERS, build_engine
from facefusion.recipe import Recipe
from facefusion.render.renderer import Renderer
from facefusion.types.crop import SourceFace
from facefusion.types.frame import Frame
from facefusion.types.track import Tracks
from facefusion.version import __version__

READ_AHEAD = 4
COMMENT = "Faces changed with FaceFusion (synthetic media)"


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
    """

    output_path: Path
    frame_count: int
    changed_frame_count: int
    track_count: int
    analyse_s: float
    render_s: float

    @property
    def frames_per_s(self) -> float:
        """Frames per second of both passes together."""
        return self.frame_count / max(self.analyse_s + self.render_s, 1e-9)


def build_analyser(recipe: Recipe) -> Analyser:
    """Engines of pass 1 as a recipe names them."""
    context = EngineContext(recipe, thread_count=1)
    # The detector is the only model large enough to gain from more threads.
    wide = EngineContext(recipe, thread_count=recipe.execution_thread_count or core_count())
    return Analyser(
        build_engine(DETECTORS, recipe.face_detector_model, wide),
        build_engine(LANDMARKERS, recipe.face_landmarker_model, context),
        recipe.face_detector_interval,
        recipe.face_tracker_smoothing,
    )


def read_sources(recipe: Recipe, analyser: Analyser, on_progress: OnProgress = ignore_progress) -> list[SourceFace]:
    """The largest face of every source photo.

    Raises
    ------
    NoFaceInSource
        Naming the photo without a face.
    """
    sources = []
    for number, path in enumerate(recipe.source_paths):
        pixels = read_photo(path, allow_8bit=True).pixels
        faces = analyser.find_faces(pixels)
        if not faces:
            raise NoFaceInSource(
                f"No face is found in the source {path}.",
                "Use a photo in which the face is at least 64 px high, or lower --face-detector-score.",
            )
        sources.append(SourceFace(pixels, faces[0]))
        on_progress(Progress("sources", number + 1, len(recipe.source_paths)))
    return sources


def build_processors(recipe: Recipe, sources: Sequence[SourceFace]) -> list[FaceProcessor]:
    """Processors in the recipe's order, with the sources taken in."""
    context = EngineContext(recipe, thread_count=1)
    processors: list[FaceProcessor] = []
    for name in recipe.processors:
        processor: FaceProcessor = build_engine(f"facefusion.{name}", getattr(recipe, f"{name}_model"), context)
        processor.prepare(sources)
        processors.append(processor)
    return processors


def choose_tracks(recipe: Recipe, tracks: Tracks) -> tuple[int, ...]:
    """Track ids that a recipe's ``faces`` selects.

    Raises
    ------
    UnknownOption
        For a track number that does not exist.
    """
    known = tuple(track.track_id for track in tracks.tracks)
    if recipe.faces == "all":
        return known
    if recipe.faces == "largest":
        return tracks.prominent()
    missing = [number for number in recipe.faces if number not in known]
    if missing and known:
        raise UnknownOption(
            f"There is no face {missing[0]} in {recipe.target_path}.",
            f"It has {len(known)}: {', '.join(map(str, known))}; 0 is the most prominent.",
        )
    return recipe.faces


def notes_of(recipe: Recipe) -> dict[str, str]:
    """What made the tracks, to be stored with them."""
    notes = {"facefusion": __version__, "target": recipe.target_path.name}
    for spec in load_catalog().values():
        notes[f"model {spec.id}@{spec.version}"] = spec.sha256
    return notes


def analyse_target(
    recipe: Recipe, analyser: Analyser | None = None, on_progress: OnProgress = ignore_progress
) -> Tracks:
    """Pass 1 over a photo or clip.

    Returns
    -------
    Tracks, which may hold nobody.
    """
    analyser = analyser or build_analyser(recipe)
    if find_kind(recipe.target_path) == "photo":
        photo = read_photo(recipe.target_path, recipe.allow_8bit)
        frames: Iterator[Frame] = iter([_photo_frame(photo)])
        total = 1
    else:
        reader = ClipReader(recipe.target_path, recipe.start_s, recipe.end_s, recipe.allow_8bit)
        frames, total = prefetch(reader, READ_AHEAD), reader.frame_count

    def count(frame: Frame) -> None:
        on_progress(Progress("analyse", frame.index + 1, total))

    return analyser.analyse(frames, notes_of(recipe), count)


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
    plan = build_plan(recipe)
    analyser = build_analyser(recipe)
    sources = read_sources(recipe, analyser, on_progress)
    processors = build_processors(recipe, sources)
    began = time.perf_counter()
    tracks = analyse_target(recipe, analyser, on_progress)
    return _render(plan, tracks, processors, time.perf_counter() - began, on_progress)


def render_target(recipe: Recipe, tracks: Tracks, on_progress: OnProgress = ignore_progress) -> Outcome:
    """Pass 2 alone, from tracks that were saved.

    Raises
    ------
    TracksError
        When the tracks were made from a target of another size.
    """
    plan = build_plan(recipe)
    sources = read_sources(recipe, build_analyser(recipe), on_progress)
    return _render(plan, tracks, build_processors(recipe, sources), 0.0, on_progress)


def _render(
    plan: Plan, tracks: Tracks, processors: Sequence[FaceProcessor], analyse_s: float, on_progress: OnProgress
) -> Outcome:
    recipe = plan.recipe
    began = time.perf_counter()
    if not tracks.tracks and not (recipe.allow_empty and plan.kind == "clip"):
        way_out = " Add --allow-empty to get a copy." if plan.kind == "clip" else ""
        raise NoFaceInTarget(
            f"No face is found in the target {recipe.target_path}.",
            f"Lower --face-detector-score or raise --face-detector-size.{way_out}",
        )
    renderer = Renderer(processors, tracks, choose_tracks(recipe, tracks), recipe.face_swapper_blend)
    if plan.kind == "photo":
        photo = read_photo(recipe.target_path, recipe.allow_8bit)
        _check_size(tracks, photo.pixels.shape[1], photo.pixels.shape[0], recipe.target_path)
        rendered = renderer.render(_photo_frame(photo))
        result = Photo(rendered.pixels, photo.alpha, photo.exif, photo.icc_profile)
        write_photo(recipe.output_path, result, recipe.output_image_quality, COMMENT)
        on_progress(Progress("render", 1, 1))
        frame_count, changed = 1, int(rendered.is_changed)
    elif not tracks.tracks and _can_copy(recipe):
        _copy(recipe.target_path, recipe.output_path)
        frame_count, changed = len(tracks.pts), 0
    else:
        frame_count, changed = _render_clip(plan, tracks, renderer, on_progress)
    return Outcome(recipe.output_path, frame_count, changed, len(tracks.tracks), analyse_s, time.perf_counter() - began)


def _render_clip(plan: Plan, tracks: Tracks, renderer: Renderer, on_progress: OnProgress) -> tuple[int, int]:
    recipe = plan.recipe
    reader = ClipReader(recipe.target_path, recipe.start_s, recipe.end_s, recipe.allow_8bit)
    _check_size(tracks, reader.info.width, reader.info.height, recipe.target_path)
    frame_count = changed = 0
    total = len(tracks.pts) or reader.frame_count
    with ClipWriter(
        recipe.output_path,
        reader,
        recipe.output_video_encoder,
        recipe.output_video_preset,
        recipe.output_video_quality,
        recipe.execution_thread_count,
        COMMENT,
    ) as writer:
        for rendered in map_in_order(renderer.render, prefetch(reader, READ_AHEAD), plan.thread_count):
            writer.write(rendered)
            frame_count += 1
            changed += rendered.is_changed
            on_progress(Progress("render", frame_count, total))
    return frame_count, changed


def _check_size(tracks: Tracks, width: int, height: int, path: Path) -> None:
    if (tracks.width, tracks.height) != (width, height):
        raise TracksError(
            f"The tracks were made from a target of {tracks.width} x {tracks.height} px; "
            f"{path} is {width} x {height} px.",
            "Analyse this target again.",
        )


def _can_copy(recipe: Recipe) -> bool:
    is_same_kind = recipe.target_path.suffix.lower() == recipe.output_path.suffix.lower()
    return recipe.start_s is None and recipe.end_s is None and is_same_kind


def _copy(target: Path, output: Path) -> None:
    partial = partial_path(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(target, partial)
        partial.replace(output)
    except OSError as error:
        raise translate_os_error(error, output) from error
    finally:
        partial.unlink(missing_ok=True)


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
