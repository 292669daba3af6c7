"""Runs a plan: pass 1, pass 2, and the two together. Holds no state between calls."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from facefusion.analyse.analyser import Analyser
from facefusion.analyse.turned import TurnedDetector
from facefusion.errors import NoFaceInSource, NoFaceInTarget, QualityTooLow, TracksError, UnknownOption
from facefusion.media.files import partial_path, translate_os_error
from facefusion.media.image import Photo, read_photo, write_photo
from facefusion.media.reader import ClipReader
from facefusion.media.writer import ClipWriter
from facefusion.metrics.report import Reporter, read_limits
from facefusion.models.providers import core_count
from facefusion.pipeline.overlap import batched, map_in_order, prefetch
from facefusion.pipeline.plan import (
    Plan,
    build_plan,
    capabilities_of_analysis,
    face_map_of,
    find_kind,
    models_of,
)
from facefusion.pipeline.progress import OnProgress, Progress, ignore_progress
from facefusion.pipeline.selection import (
    Person,
    choose_tracks,
    identifier_of,
    is_protective,
    matching_tracks,
    wants_attributes,
    wants_identity,
)
from facefusion.plugins.protocols import EngineContext, FaceProcessor, FloatArray
from facefusion.plugins.registry import build_engine
from facefusion.recipe import Recipe, four_sides
from facefusion.render.grain import GrainMatcher
from facefusion.render.renderer import Renderer
from facefusion.render.smooth import Look, MotionSmoother
from facefusion.types.crop import SourceFace
from facefusion.types.face import Attributes
from facefusion.types.frame import Frame, RenderedFrame
from facefusion.types.track import Tracks
from facefusion.version import __version__

R = TypeVar("R")

READ_AHEAD = 4
DEFAULT_LANDMARKER = "embedded"
"""The mesh under landmarkers of other layouts."""
COMMENT = "Faces changed with FaceFusion (synthetic media)"


def comment_of(plan: Plan) -> str:
    """What is written into the output about how it was made."""
    return f"{COMMENT}; models: {', '.join(_models_of(plan))}"


def _models_of(plan: Plan) -> tuple[str, ...]:
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
    """

    output_path: Path
    frame_count: int
    changed_frame_count: int
    track_count: int
    analyse_s: float
    render_s: float
    models: tuple[str, ...] = ()

    @property
    def frames_per_s(self) -> float:
        """Frames per second of both passes together."""
        return self.frame_count / max(self.analyse_s + self.render_s, 1e-9)


def build_analyser(recipe: Recipe, has_identity: bool | None = None) -> Analyser:
    """Engines of pass 1 as a recipe names them.

    Parameters
    ----------
    recipe
        What is asked for.
    has_identity
        Whether people are told apart; None where the recipe's selection decides.
    """
    context = EngineContext(recipe, thread_count=1)
    # The detector is the only model large enough to gain from more threads.
    wide = EngineContext(recipe, thread_count=recipe.execution_thread_count or core_count())
    detector = upright = build_engine("face_detector", recipe.face_detector_model, wide)
    angles, margin = recipe.face_detector_angles, four_sides(recipe.face_detector_margin)
    if angles != (0,) or any(margin):
        detector = TurnedDetector(detector, angles, margin)
    landmarker = build_engine("face_landmarker", recipe.face_landmarker_model, context)
    is_mesh = hasattr(landmarker, "landmark")
    mesh = landmarker if is_mesh else build_engine("face_landmarker", DEFAULT_LANDMARKER, context)
    if has_identity is None:
        has_identity = wants_identity(recipe, face_map_of(recipe))
    identifier = build_engine("face_identifier", identifier_of(recipe), context) if has_identity else None
    wants_looks = wants_attributes(recipe)
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
        is_protective(recipe, face_map_of(recipe)),
        TurnedDetector(upright, (90, 180, 270), margin) if angles == (0,) else None,
    )


def read_sources(
    paths: Sequence[Path], analyser: Analyser, on_progress: OnProgress = ignore_progress
) -> list[SourceFace]:
    """The largest face of every photo.

    Raises
    ------
    NoFaceInSource
        Naming the photo without a face.
    """
    sources = []
    for number, path in enumerate(paths):
        pixels = read_photo(path, allow_8bit=True).pixels
        faces = analyser.find_faces(pixels)
        if not faces:
            raise NoFaceInSource(
                f"No face is found in the source {path}.",
                "Use a photo in which the face is at least 64 px high, or lower --face-detector-score.",
            )
        sources.append(SourceFace(pixels, faces[0]))
        on_progress(Progress("sources", number + 1, len(paths)))
    return sources


def build_processors(recipe: Recipe, names: Sequence[str], sources: Sequence[SourceFace]) -> tuple[FaceProcessor, ...]:
    """Processors in order, with the sources taken in."""
    context = EngineContext(recipe, thread_count=1)
    processors: list[FaceProcessor] = []
    for name in names:
        processor: FaceProcessor = build_engine(name, getattr(recipe, f"{name}_model"), context)
        processor.prepare(sources)
        processors.append(processor)
    return tuple(processors)


@dataclass(frozen=True, slots=True, eq=False)
class Cast:
    """Everyone who takes part: sources taken in, references encoded.

    Attributes
    ----------
    chain
        Processors of everyone who is selected; empty with a mapping file.
    people
        Entries of the mapping file, each with its processors and the embedding of its reference.
    reference
        Embedding of the recipe's reference photo.
    source
        What the first source looks like, where a filter asks for it.
    exempt
        Embeddings of people who are left as they are.
    sources
        Photos that each chain took in.
    """

    chain: tuple[FaceProcessor, ...]
    people: tuple[tuple[Person, tuple[FaceProcessor, ...], FloatArray | None], ...] = ()
    reference: FloatArray | None = None
    source: Attributes | None = None
    exempt: tuple[FloatArray, ...] = ()
    sources: tuple[tuple[tuple[FaceProcessor, ...], tuple[SourceFace, ...]], ...] = ()

    @property
    def needs(self) -> frozenset[str]:
        """What the processors want to know about target faces."""
        chains = [self.chain, *(chain for _, chain, _ in self.people)]
        return frozenset(need for chain in chains for processor in chain for need in processor.needs)

    def chains(self, recipe: Recipe, tracks: Tracks) -> dict[int, tuple[FaceProcessor, ...]]:
        """Processors of every track that is changed."""
        left_out = {k for face in self.exempt for k in matching_tracks(tracks, face, recipe.reference_face_distance)}
        left_out |= {t.track_id for t in tracks.tracks if tracks.person_of(t.track_id) in recipe.exempt_faces}
        return {k: chain for k, chain in self._chains(recipe, tracks).items() if k not in left_out}

    def _chains(self, recipe: Recipe, tracks: Tracks) -> dict[int, tuple[FaceProcessor, ...]]:
        if not self.people:
            chosen = choose_tracks(recipe, tracks, self.reference, self.source)
            return dict.fromkeys(chosen, self.chain)
        chains: dict[int, tuple[FaceProcessor, ...]] = {}
        known = {track.track_id for track in tracks.tracks}
        for person, chain, reference in self.people:
            if person.track is not None:
                if person.track not in known:
                    raise UnknownOption(
                        f"{recipe.face_map_path} names track {person.track}, which {recipe.target_path} does not have.",
                        f"It has {', '.join(map(str, sorted(known))) or 'none'}; see 'facefusion analyse'.",
                    )
                chains[person.track] = chain
            elif reference is not None:
                for track_id in matching_tracks(tracks, reference, recipe.reference_face_distance):
                    chains.setdefault(track_id, chain)
        return chains


def build_cast(recipe: Recipe, analyser: Analyser, on_progress: OnProgress = ignore_progress) -> Cast:
    """Read sources and references and build the processors.

    Raises
    ------
    NoFaceInSource, ModelError
    """
    if recipe.face_map_path is not None:
        people, photos = [], []
        for person in face_map_of(recipe):
            sources = read_sources(person.sources, analyser, on_progress)
            chain = build_processors(recipe, person.processors, sources)
            photos.append((chain, tuple(sources)))
            people.append((person, chain, _encode_reference(recipe, person.reference, analyser)))
        return Cast((), tuple(people), exempt=_exempt(recipe, analyser), sources=tuple(photos))
    sources = read_sources(recipe.source_paths, analyser, on_progress)
    chain = build_processors(recipe, recipe.processors, sources)
    reference = None
    if recipe.face_selector_mode == "reference":
        reference = _encode_reference(recipe, recipe.reference_face_path, analyser)
    looks = None
    if sources and "auto" in (recipe.face_selector_gender, recipe.face_selector_race):
        classifier = build_engine("face_classifier", recipe.face_classifier_model, EngineContext(recipe))
        looks = classifier.classify([sources[0].pixels], [sources[0].face.five_points])[0]
    return Cast(chain, (), reference, looks, _exempt(recipe, analyser), ((chain, tuple(sources)),))


def _exempt(recipe: Recipe, analyser: Analyser) -> tuple[FloatArray, ...]:
    """Embeddings of people who are left as they are."""
    found = (_encode_reference(recipe, path, analyser) for path in recipe.exempt_paths)
    return tuple(face for face in found if face is not None)


def _encode_reference(recipe: Recipe, path: Path | None, analyser: Analyser) -> FloatArray | None:
    if path is None:
        return None
    (face,) = read_sources([path], analyser)
    identifier = build_engine("face_identifier", identifier_of(recipe), EngineContext(recipe))
    embedding: FloatArray = identifier.identify([face.pixels], [face.face.five_points])[0]
    return embedding


def notes_of(recipe: Recipe) -> dict[str, str]:
    """What made the tracks, to be stored with them."""
    notes = {"facefusion": __version__, "target": recipe.target_path.name}
    store = EngineContext(recipe).store
    for spec in models_of(recipe, capabilities_of_analysis(recipe)):
        path = store.find(spec)
        notes[f"model {spec.key}"] = "" if path is None else store.hash_of(path)
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
    recipe = plan.recipe  # what was left open is now decided
    cast = build_cast(recipe, build_analyser(recipe, has_identity=False), on_progress)
    began = time.perf_counter()
    tracks = analyse_target(recipe, build_analyser(recipe), on_progress)
    return _render(plan, tracks, cast, time.perf_counter() - began, on_progress)


def render_target(recipe: Recipe, tracks: Tracks, on_progress: OnProgress = ignore_progress) -> Outcome:
    """Pass 2 alone, from tracks that were saved.

    Raises
    ------
    TracksError
        When the tracks were made from a target of another size.
    """
    plan = build_plan(recipe)
    recipe = plan.recipe
    cast = build_cast(recipe, build_analyser(recipe, has_identity=False), on_progress)
    return _render(plan, tracks, cast, 0.0, on_progress)


def _render(plan: Plan, tracks: Tracks, cast: Cast, analyse_s: float, on_progress: OnProgress) -> Outcome:
    recipe = plan.recipe
    began = time.perf_counter()
    if not tracks.tracks and not (recipe.allow_empty and plan.kind == "clip"):
        way_out = " Add --allow-empty to get a copy." if plan.kind == "clip" else ""
        raise NoFaceInTarget(
            f"No face is found in the target {recipe.target_path}.",
            f"Lower --face-detector-score or raise --face-detector-size.{way_out}",
        )
    chains = cast.chains(recipe, tracks)
    wanted = {getattr(processor, "identity_contract", "") for chain in chains.values() for processor in chain} - {""}
    if "identity" in cast.needs and wanted - {tracks.contract}:
        raise TracksError(
            "The tracks carry no identities, which --face-swapper-weight needs.",
            "Analyse the target again with the same options.",
        )
    renderer = Renderer(chains, tracks, recipe.face_swapper_blend)
    # A mean over frames could bring back a trace of who is hidden.
    steadied = [k for k, chain in chains.items() if not any(processor.covers_fully for processor in chain)]
    flow = build_engine("optical_flow", recipe.optical_flow_model, EngineContext(recipe))
    smoother = MotionSmoother(tracks, steadied, recipe.motion_smoothing, flow)
    grain = GrainMatcher(tracks, steadied, recipe.finish_matching)
    reporter = _build_reporter(recipe, tracks, chains, cast)
    if plan.kind == "photo":
        photo = read_photo(recipe.target_path, recipe.allow_8bit)
        _check_size(tracks, photo.pixels.shape[1], photo.pixels.shape[0], recipe.target_path)
        rendered = grain.match(renderer.render(_photo_frame(photo)))
        result = Photo(rendered.pixels, photo.alpha, photo.exif, photo.icc_profile)
        if reporter is not None:
            reporter.add(rendered)
        write_photo(recipe.output_path, result, recipe.output_image_quality, comment_of(plan))
        on_progress(Progress("render", 1, 1))
        frame_count, changed = 1, int(rendered.is_changed)
    elif not tracks.tracks and _can_copy(recipe):
        _copy(recipe.target_path, recipe.output_path)
        frame_count, changed = len(tracks.pts), 0
    else:
        frame_count, changed = _render_clip(plan, tracks, renderer, smoother, grain, reporter, on_progress)
    if reporter is not None:
        _save_report(recipe, reporter, _models_of(plan))
    return Outcome(
        recipe.output_path,
        frame_count,
        changed,
        len(tracks.tracks),
        analyse_s,
        time.perf_counter() - began,
        _models_of(plan),
    )


def _build_reporter(
    recipe: Recipe, tracks: Tracks, chains: dict[int, tuple[FaceProcessor, ...]], cast: Cast
) -> Reporter | None:
    """Who measures the output, with the embedded engines, or None where nobody asked."""
    if recipe.report_path is None and not recipe.fail_under:
        return None
    context = EngineContext(recipe)
    identifier = build_engine("face_identifier", "embedded", context)
    known = {
        id(chain): identifier.identify([s.pixels for s in photos], [s.face.five_points for s in photos]).mean(axis=0)
        for chain, photos in cast.sources
        if photos
    }
    wanted = {track_id: known[id(chain)] for track_id, chain in chains.items() if id(chain) in known}
    landmarker = build_engine("face_landmarker", DEFAULT_LANDMARKER, context)
    masker = build_engine("face_occluder", "embedded", context)
    return Reporter(tracks, tuple(chains), landmarker, identifier, masker, wanted)


def _save_report(recipe: Recipe, reporter: Reporter, models: tuple[str, ...]) -> None:
    report = reporter.finish(recipe.target_path.name, models)
    failures = tuple(report.failures(read_limits(recipe.fail_under)))
    if recipe.report_path is not None:
        try:
            report.save(recipe.report_path, failures)
        except OSError as error:
            raise translate_os_error(error, recipe.report_path) from error
    if failures:
        raise QualityTooLow(
            f"{recipe.output_path} was written, but {'; '.join(failures)}.",
            "Look at it, or at --report, before you use it.",
        )


def rendered_frames(
    frames: Iterable[Frame],
    renderer: Renderer,
    smoother: MotionSmoother,
    finish: Callable[[RenderedFrame], R],
    thread_count: int,
    batch_size: int = 1,
) -> Iterator[R]:
    """Pass 2 over frames in order: render, steady over time, finish; all in ``thread_count`` threads.

    The first and the last frame have no neighbour on one side. To get a part of a clip as it is in the whole, read
    `facefusion.render.smooth.HALO` more frames on each side and leave their results out.
    """

    def render(group: list[Frame]) -> list[Look]:
        return [smoother.look(rendered) for rendered in renderer.render_many(group)]

    groups = batched(prefetch(frames, READ_AHEAD), batch_size)
    looks = (look for group in map_in_order(render, groups, thread_count) for look in group)
    yield from map_in_order(lambda window: finish(smoother.smooth(window)), smoother.windows(looks), thread_count)


def _render_clip(
    plan: Plan,
    tracks: Tracks,
    renderer: Renderer,
    smoother: MotionSmoother,
    grain: GrainMatcher,
    reporter: Reporter | None,
    on_progress: OnProgress,
) -> tuple[int, int]:
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
        comment_of(plan),
    ) as writer:
        if writer.keeps_native and reporter is None:  # only what is changed needs to be converted

            def region(pts: int) -> tuple[int, int, int, int] | None:
                return _joined(renderer.region(pts), smoother.region(pts))

            reader = ClipReader(recipe.target_path, recipe.start_s, recipe.end_s, recipe.allow_8bit, region)

        def finish(rendered: RenderedFrame) -> tuple[RenderedFrame, object]:
            # The encoder waits for one thread; what can be done beside it is done here.
            rendered = grain.match(rendered)
            return rendered, writer.prepare(rendered)

        done = rendered_frames(reader, renderer, smoother, finish, plan.thread_count, recipe.execution_batch_size)
        for rendered, picture in done:
            writer.write(rendered, picture)
            if reporter is not None:
                reporter.add(rendered)
            frame_count += 1
            changed += rendered.is_changed
            on_progress(Progress("render", frame_count, total))
    return frame_count, changed


def _joined(
    one: tuple[int, int, int, int] | None, other: tuple[int, int, int, int] | None
) -> tuple[int, int, int, int] | None:
    """The box around two boxes."""
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


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
