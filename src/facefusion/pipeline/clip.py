"""A clip, part by part: the same few steps for one process, a pool of them, and many machines.

Observe every span, join what was seen, render every span, merge. What a step makes depends on the plan and on what the
steps before made, never on who did it or what else was done in the same process.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from facefusion.analyse.analyser import Analyser
from facefusion.documents import reason_of
from facefusion.errors import MediaUnreadable, SegmentDamaged, TracksError
from facefusion.imaging.flow import dense_inverse_search
from facefusion.imaging.layer import layer_of, matte_of
from facefusion.imaging.resample import resize_pixels
from facefusion.media.animation import is_animation, notes_on_animation, notes_on_shape, write_animation
from facefusion.media.defects import NO_DEFECTS, Defects, join_defects
from facefusion.media.image import Photo, parts_behind, with_pixels, write_photo
from facefusion.media.layers import write_layer_photo, write_layers
from facefusion.media.privacy import clean_photo, kinds_in_clip, say_left_out, say_removed
from facefusion.media.reader import ClipReader, Region
from facefusion.media.segments import (
    SUFFIX,
    ClipMerger,
    Part,
    SegmentWriter,
    Span,
    listed_times,
    plan_spans,
    read_layers,
)
from facefusion.media.sequence import is_index, pattern_of, write_pictures
from facefusion.pipeline.cast import Cast, FacePart
from facefusion.pipeline.inputs import Shelf
from facefusion.pipeline.plan import Kind, Plan, Target, look_at_clip, target_of, track_options
from facefusion.pipeline.review import judged
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine
from facefusion.policy.mark import MarkId
from facefusion.recipe import Recipe
from facefusion.render.flow import FaceLink, Flow, FrameLink, Link
from facefusion.render.grain import GrainMatcher
from facefusion.render.mark import Marker
from facefusion.render.overlap import prefetch
from facefusion.render.renderer import Renderer
from facefusion.render.smooth import MotionSmoother
from facefusion.types.frame import Frame, Pixels, RenderedFrame, scaled_size
from facefusion.types.observation import Observation
from facefusion.types.track import Tracks
from facefusion.wording import counted

READ_AHEAD = 4
ROWS_AROUND = 64
"""Rows of the tracks that are read around a span: fades and squares of constant size look this far at most."""
MISSING_LOOKS = 8
"""Frames that tracks lack which are tried before anything is rendered."""
OnFrame = Callable[[int], None]
"""Called with the number of frames done so far."""


def ignore_frames(count: int) -> None:
    """Tell nobody."""


def plan_clip(recipe: Recipe, kind: Kind = "clip") -> tuple[Span, ...]:
    """The spans of a recipe's target: they depend on the target and the recipe alone. A photo is one."""
    return (Span(None, None, 1),) if kind == "photo" else plan_spans(read_clip(recipe), recipe.segment_s)


def photo_frame(photo: Photo) -> Frame:
    """A photo as the only frame of a clip."""
    return Frame(photo.pixels, 0, 0, Fraction(1))


def read_clip(
    recipe: Recipe,
    region: Region | None = None,
    span: tuple[int | None, int | None] | None = None,
    halo: tuple[int, int] = (0, 0),
) -> ClipReader:
    """A reader of a recipe's target."""
    return ClipReader(
        recipe.target_path, recipe.start_s, recipe.end_s, recipe.allow_8bit, region, span, halo, recipe.strict,
        recipe.output_video_fps,
    )  # fmt: skip


def observe_spans(
    recipe: Recipe,
    analyser: Analyser,
    spans: Sequence[Span],
    numbers: range,
    on_frame: OnFrame = ignore_frames,
    kind: Kind = "clip",
    shelf: Shelf | None = None,
) -> Generator[Observation]:
    """Pass 1, first half: look at consecutive spans, each with the first frame of the next one.

    Parameters
    ----------
    recipe, analyser
        What to look for.
    spans
        All of the clip.
    numbers
        Which of them, consecutive.
    on_frame
        Called after each frame.
    kind
        Of the target.
    shelf
        Where a photo may be already.
    """
    if kind == "photo":
        yield analyser.observe([photo_frame((shelf or Shelf()).photo(recipe.target_path, recipe.allow_8bit))])
        on_frame(1)
        return
    whole = spans[numbers[0]].start, spans[numbers[-1]].stop
    frames = iter(prefetch(read_clip(recipe, span=whole, halo=(0, 1)), READ_AHEAD))
    waiting: list[Frame] = []
    done = 0

    def part(stop: int | None) -> Iterator[Frame]:
        if waiting:
            yield waiting.pop()
        for frame in frames:
            is_next = stop is not None and frame.pts >= stop
            if is_next:
                waiting.append(frame)
            yield frame
            if is_next:
                return

    def count(frame: Frame) -> None:
        nonlocal done
        if frame not in waiting:
            done += 1
            on_frame(done)

    for number in numbers:
        found = analyser.observe(part(spans[number].stop), on_frame=count)
        yield replace(found, overlaps=bool(waiting))


def join_observations(
    analyser: Analyser, observations: Sequence[Observation], notes: Mapping[str, str], path: Path | None = None
) -> Tracks:
    """Pass 1, second half: tracks over the whole clip; with a path they are written to it and stay there."""
    seen = [one for one in observations if len(one.pts)]
    if not seen:
        raise MediaUnreadable("The target has no frame in this part.", "Check --start and --end.")
    return analyser.join(seen, notes, path)


def load_tracks(path: Path, spans: Sequence[Span], numbers: range) -> Tracks:
    """As much of saved tracks as rendering some consecutive spans needs."""
    pts = Tracks.load(path, (0, 0)).pts
    start, stop = spans[numbers[0]].start, spans[numbers[-1]].stop
    low = 0 if start is None else int(np.searchsorted(pts, start)) - ROWS_AROUND
    high = len(pts) if stop is None else int(np.searchsorted(pts, stop)) + ROWS_AROUND
    return Tracks.load(path, (max(low, 0), high))


def check_analysed(tracks: Tracks, times: Sequence[int], name: str) -> None:
    """Refuse tracks that lack a frame which is rendered: whoever is in it would be shown as they are.

    Parameters
    ----------
    tracks
        Of pass 1, perhaps of another part of the target, or at a lower rate.
    times
        Of frames, in the target's pts.
    name
        Of the target.

    Raises
    ------
    TracksError
    """
    missing = np.setdiff1d(np.asarray(times, dtype=np.int64), tracks.pts)
    if not len(missing):
        return
    begin, end = (float(tracks.pts[k] * tracks.time_base) for k in (0, -1)) if len(tracks.pts) else (0.0, 0.0)
    at_s = float(missing[0] * tracks.time_base)
    raise TracksError(
        f"Nobody was looked for in the frame of {name} at {at_s:.2f} s; the tracks are of "
        f"{counted(len(tracks.pts), 'frame')} from {begin:.2f} to {end:.2f} s.",
        "Analyse all that is rendered, or render the part, at the rate, that was analysed.",
    )


def check_covered(recipe: Recipe, tracks: Tracks) -> None:
    """`check_analysed` before anything is rendered, as far as the container tells: a film may take hours.

    Frames that are listed and cannot be shown are in no tracks, so some of those that are missing are read first.

    Raises
    ------
    TracksError
    """
    missing = np.setdiff1d(np.array(listed_times(read_clip(recipe)), dtype=np.int64), tracks.pts)
    some = np.unique(np.linspace(0, len(missing) - 1, min(len(missing), MISSING_LOOKS)).astype(int))
    for at in missing[some].tolist():
        times = [frame.pts for frame in read_clip(recipe, span=(at, at + 1))]
        check_analysed(tracks, times, recipe.target_path.name)


@dataclass(frozen=True, slots=True)
class Segment:
    """A span that was rendered.

    Attributes
    ----------
    number
        Of the span.
    part
        File and frame times.
    changed_frame_count
        Frames in which a face was changed.
    defects
        What was wrong with its frames.
    """

    number: int
    part: Part
    changed_frame_count: int
    defects: Defects = NO_DEFECTS


def empty_tracks(recipe: Recipe, kind: Kind, target: Target | None = None) -> Tracks:
    """Tracks of nobody, for chains that need no faces.

    Parameters
    ----------
    recipe, kind
        Of the target.
    target
        What is known of it; None looks.
    """
    target = target or target_of(recipe, kind)
    none = np.zeros(0, dtype=np.int64)
    return Tracks(target.width, target.height, target.time_base, none, (), {}, none)


def begin_of(recipe: Recipe, kind: Kind) -> int:
    """Time in pts at which the output begins."""
    return 0 if kind == "photo" else look_at_clip(recipe).begin


def build_flow(
    recipe: Recipe,
    cast: Cast,
    tracks: Tracks,
    assigned: Mapping[int, int],
    begin: int = 0,
    mark: MarkId | None = None,
) -> Flow:
    """Set up rendering.

    Parameters
    ----------
    recipe, cast
        What is asked for, and the processors.
    tracks
        All of them, or the part around the frames to render.
    assigned
        Which chain of the cast changes which track (`Cast.assign`).
    begin
        Time in pts at which the output begins.
    mark
        What the invisible mark on changed faces says; None leaves it out.

    Raises
    ------
    TracksError
        When the tracks lack what the processors need.
    """
    links: list[Link] = []
    scale = Fraction(1)
    for part in cast.parts:
        if isinstance(part, FacePart):
            links.append(_face_link(recipe, part, tracks.scaled(scale), assigned, begin))
        else:
            links.append(FrameLink(part.step.processor, part.processor, part.step.requirements.halo, begin))
            scale *= links[-1].scale
    if mark is None or not assigned or not any(isinstance(part, FacePart) for part in cast.parts):
        return Flow(tuple(links))
    return Flow(tuple(links), Marker(mark.signs))


def _face_link(recipe: Recipe, part: FacePart, tracks: Tracks, assigned: Mapping[int, int], begin: int) -> FaceLink:
    seen = {track.track_id for track in tracks.tracks if len(track.frames)}
    chains = {track_id: part.chains[number] for track_id, number in assigned.items() if track_id in seen}
    joins = {track_id: part.joins[assigned[track_id]] for track_id in chains}
    wanted = {getattr(p, "identity_contract", "") for chain in part.chains for p in chain if "identity" in p.needs}
    if chains and wanted - {tracks.contract, ""}:
        raise TracksError(
            "The tracks carry no identities, which --face-swapper-weight needs.",
            "Analyse the target again with the same options.",
        )
    doubtful = {k for k, how in judged(recipe, tracks).items() if how != "sure"}
    renderer = Renderer(chains, tracks, joins, begin, recipe.has_layer, doubtful)
    # A mean over frames could bring back a trace of who is hidden.
    steadied = [k for k, chain in chains.items() if not any(processor.covers_fully for processor in chain)]
    flow = dense_inverse_search
    if steadied and recipe.motion_smoothing > 0:  # else none is looked for, and its model need not be here
        flow = build_engine("optical_flow", recipe.optical_flow_model, EngineContext(recipe))
    return FaceLink(
        renderer,
        MotionSmoother(tracks, steadied, recipe.motion_smoothing, flow),
        GrainMatcher(tracks, steadied, recipe.finish_matching),
    )


def render_spans(
    plan: Plan,
    flow: Flow,
    spans: Sequence[Span],
    numbers: range,
    folder: Path,
    on_frame: OnFrame = ignore_frames,
    shelf: Shelf | None = None,
) -> Generator[Segment]:
    """Pass 2 over consecutive spans, each into a file of its own.

    Parameters
    ----------
    plan, flow
        What to do.
    spans, numbers
        All spans of the clip, and which of them.
    folder
        Where the files go.
    on_frame
        Called after each frame.
    shelf
        Where a photo may be already.
    """
    recipe = plan.recipe
    if plan.kind == "photo":
        yield _render_photo(recipe, flow, folder, shelf or Shelf())
        on_frame(1)
        return
    if len(numbers) > 1 and recipe.execution_batch_size > 1:
        # Which frames go through a model together must not depend on who has how many spans.
        for number in numbers:
            yield from render_spans(plan, flow, spans, range(number, number + 1), folder, on_frame)
        return
    whole = spans[numbers[0]].start, spans[numbers[-1]].stop
    target = read_clip(recipe)

    def open_writer(number: int) -> SegmentWriter:
        settings = recipe.output_video_encoder, recipe.output_video_preset, recipe.output_video_quality
        resize = Fraction(recipe.output_video_scale).limit_denominator(1000)
        path = folder / f"{number:05d}{SUFFIX}"
        return SegmentWriter(path, target, *settings, flow.scale, recipe.has_layer, resize).__enter__()

    def close(number: int) -> Segment:
        writer.__exit__(None, None, None)
        part = Part(folder / f"{number:05d}{SUFFIX}", writer.pts, writer.durations)
        return Segment(number, part, changed, reader.defects(spans[number].as_pair()))

    number, changed, done = numbers[0], 0, 0
    writer = maker = open_writer(number)
    reader = read_clip(recipe, flow.region if maker.keeps_native else None, whole, (flow.halo, flow.halo))

    def prepare(rendered: RenderedFrame) -> tuple[object, Pixels | None]:
        # The encoder waits for one thread; what can be done beside it is done here.
        if not _is_inside(rendered.frame.pts, whole):
            return None, None
        layer = layer_in_frame(rendered, flow.is_on_target) if recipe.has_layer else None
        return maker.prepare(rendered), layer

    try:
        frames = prefetch(reader, READ_AHEAD)
        for rendered, (picture, layer) in flow.run(frames, prepare, recipe.execution_batch_size, plan.thread_count):
            if not _is_inside(rendered.frame.pts, whole):
                continue
            while not _is_inside(rendered.frame.pts, spans[number].as_pair()):
                yield close(number)
                number, changed = number + 1, 0
                writer = open_writer(number)
            if layer is not None:
                writer.write_layer(rendered.frame, layer)
            writer.write(rendered, picture)
            changed += rendered.is_changed
            done += 1
            on_frame(done)
        yield close(number)
        while number < numbers[-1]:  # the container promised frames that do not decode
            number, changed = number + 1, 0
            writer = open_writer(number)
            yield close(number)
    except BaseException as error:
        writer.__exit__(type(error), error, None)
        raise


def _render_photo(recipe: Recipe, flow: Flow, folder: Path, shelf: Shelf) -> Segment:
    (rendered,) = flow.render([photo_frame(shelf.photo(recipe.target_path, recipe.allow_8bit))])
    path = folder / "00000.npy"
    pixels = rendered.pixels
    if recipe.has_layer:
        pixels = np.dstack([pixels, layer_in_frame(rendered, flow.is_on_target)])
    np.save(path, pixels, allow_pickle=False)
    return Segment(0, Part(path, (0,), (0,)), int(rendered.is_changed))


def _merge_photo(
    plan: Plan,
    part: Part,
    comment: str,
    output: Path,
    before_naming: Callable[[], None] | None,
    shelf: Shelf,
) -> tuple[str, ...]:
    recipe = plan.recipe
    pixels = np.ascontiguousarray(_load_photo(recipe, part)[..., :3])
    photo = shelf.photo(recipe.target_path, recipe.allow_8bit)
    resize = Fraction(recipe.output_image_scale).limit_denominator(1000)
    width, height = scaled_size(pixels.shape[1], pixels.shape[0], resize)
    pixels = resize_pixels(pixels, max(width, 1), max(height, 1))
    if plan.resolved.is_private:  # the file is read again where it is told, and nowhere else
        photo = replace(photo, small_parts=photo.small_parts + parts_behind(recipe.target_path))
    notes = write_changed(photo, pixels, output, recipe.output_image_quality, comment, plan.resolved.is_private)
    if before_naming is not None:
        before_naming()
    return notes


def write_changed(
    photo: Photo, pixels: Pixels, output: Path, quality: int, comment: str, is_private: bool
) -> tuple[str, ...]:
    """Write what became of a photo, with what the photo tells besides its pixels.

    Parameters
    ----------
    photo
        As it was.
    pixels
        (H, W, 3) uint8 RGB as they are now.
    output
        Where to; its ending chooses the format.
    quality
        0 to 100, for formats that have one.
    comment
        How it was made.
    is_private
        Whether what tells who and where is left out.

    Returns
    -------
    Sentences on what is not carried.
    """
    result, notes = with_pixels(photo, pixels), photo.notes
    if is_private:
        result, removed = clean_photo(result)
        notes += say_left_out(photo.small_parts) + say_removed(removed)
    return notes + write_photo(output, result, quality, comment)


def _load_photo(recipe: Recipe, part: Part) -> Pixels:
    """(H, W, 3) uint8 RGB, and behind that the layer, where one is wanted."""
    channels = 7 if recipe.has_layer else 3
    try:
        with part.path.open("rb") as file:  # it need not end as numpy's files do
            pixels: Pixels = np.load(file, allow_pickle=False)
        if pixels.ndim != 3 or pixels.shape[2] != channels or pixels.dtype != np.uint8:
            raise ValueError(f"it holds {pixels.shape} {pixels.dtype}")
    except (ValueError, EOFError) as error:
        raise SegmentDamaged(f"{part.path.name} is damaged: {reason_of(error)}.", "It is made again.") from error
    return pixels


def layer_in_frame(rendered: RenderedFrame, is_on_target: bool) -> Pixels:
    """What was changed in a frame, as a picture of the output's size.

    Parameters
    ----------
    rendered
        After all links.
    is_on_target
        `Flow.is_on_target`. Where not, all of the output counts as new.

    Returns
    -------
    (H, W, 4) uint8: red, green, blue, not multiplied by alpha, and alpha. Over the target it gives the output,
    but for the mark (`RenderedFrame.overlay`), which reaches over all of the frame.
    """
    height, width = rendered.frame.pixels.shape[:2]
    if not is_on_target:
        pixels = rendered.pixels
        return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    layer = np.zeros((height, width, 4), dtype=np.uint8)
    if rendered.patch is not None:
        x0, y0, x1, y1 = rendered.box
        target, output = rendered.frame.pixels[y0:y1, x0:x1], rendered.patch
        laid = np.ones(output.shape[:2], np.float32) if rendered.alpha is None else rendered.alpha
        colours, alpha = layer_of(target, output, matte_of(target, output, laid))
        layer[y0:y1, x0:x1, :3], layer[y0:y1, x0:x1, 3] = colours, alpha
    return layer


def save_layers(
    plan: Plan, parts: Sequence[Part], comment: str, mask_path: Path | None, layer_path: Path | None
) -> None:
    """Write the matte and the layer that a recipe wants.

    Parameters
    ----------
    plan, parts
        What was rendered, all of it in order.
    comment
        What is written into them.
    mask_path, layer_path
        Where they go, with the endings of the recipe's.

    Raises
    ------
    OutputRefused
    SegmentDamaged
    """
    filled = [part for part in parts if len(part.pts)]
    if plan.kind == "photo":
        pixels = _load_photo(plan.recipe, filled[0])[..., 3:]
        for path, is_matte in ((mask_path, True), (layer_path, False)):
            if path is not None:
                write_layer_photo(pixels, path, is_matte, comment)
        return
    layers = (layer for part in filled for layer in read_layers(part.path, len(part.pts)))
    times = [time for part in filled for time in part.pts]
    durations = [length for part in filled for length in part.durations]
    aspect = read_clip(plan.recipe).info.shown_aspect
    first = plan.recipe.first_number or 0
    write_layers(layers, times, durations, plan.target.time_base, mask_path, layer_path, comment, aspect, first)


def _is_inside(pts: int, span: tuple[int | None, int | None]) -> bool:
    start, stop = span
    return (start is None or pts >= start) and (stop is None or pts < stop)


def merge_segments(
    plan: Plan,
    parts: Sequence[Part],
    comment: str,
    output: Path | None = None,
    before_naming: Callable[[], None] | None = None,
    shelf: Shelf | None = None,
) -> tuple[str, ...]:
    """Join all segments, in order, with everything else of the target.

    Parameters
    ----------
    plan, parts, comment
        What is joined, and what is written into it.
    output
        Another place than the recipe's.
    before_naming
        Called when the file is complete; what it raises leaves the old file there.
    shelf
        Where a photo may be already.

    Returns
    -------
    Sentences on what the output lacks or has in another form.
    """
    recipe = plan.recipe
    filled = [part for part in parts if len(part.pts)]
    path = output or recipe.output_path
    if plan.kind == "photo":
        return _merge_photo(plan, filled[0], comment, path, before_naming, shelf or Shelf())
    if is_animation(path):
        reader = read_clip(recipe)
        lost = notes_on_animation(path, reader, recipe.strict) if recipe.output_audio != "none" else ()
        lost += notes_on_shape(path, reader)
        return (*lost, *write_animation(path, reader, filled, recipe.output_video_quality, before_naming))
    if is_index(path):
        reader = read_clip(recipe)
        lost = notes_on_animation(path, reader, recipe.strict) if recipe.output_audio != "none" else ()
        lost += notes_on_shape(path, reader)
        first = 1 if recipe.first_number is None else recipe.first_number
        base, colour = reader.info.time_base, reader.colour
        names, quality = pattern_of(recipe.output_path), recipe.output_image_quality
        return (*lost, *write_pictures(path, names, filled, first, base, quality, comment, colour, before_naming))
    settings = recipe.output_video_encoder, filled, comment
    options = track_options(plan.resolved, plan.new_sound)
    with ClipMerger(path, read_clip(recipe), *settings, tracks=options, quality=recipe.output_video_quality) as merger:
        if before_naming is not None:
            merger.before_naming = before_naming  # type: ignore[method-assign]
        merger.merge()
    return tuple(merger.notes)


def notes_on_target(plan: Plan, times: Sequence[int], defects: Sequence[Defects]) -> tuple[str, ...]:
    """Sentences on what was wrong with a target that was rendered.

    Parameters
    ----------
    plan
        What was done; a photo's notes come with its merge.
    times
        Of all frames that were written, in the output's time.
    defects
        Of all spans, in order.
    """
    return () if plan.kind == "photo" else read_clip(plan.recipe).describe(join_defects(defects), times)


def privacy_notes(plan: Plan) -> tuple[str, ...]:
    """What was left out of a clip's output because it tells who, where or when."""
    if plan.kind == "photo" or not plan.resolved.is_private:
        return ()
    with read_clip(plan.recipe).open() as container:
        return say_removed(kinds_in_clip(container))
