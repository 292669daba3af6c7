"""From a recipe to a plan. Everything a user can get wrong is found here, before the first frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from facefusion.declaration import Input, Step, processor_names, suggest
from facefusion.errors import ModelMismatch, NoFaceInSource, OutputRefused, RecipeError
from facefusion.imaging.templates import TEMPLATES
from facefusion.media.animation import check_animation, is_animation, notes_on_animation
from facefusion.media.files import Named, check_file, check_outputs
from facefusion.media.image import check_photo_output, is_photo, read_photo
from facefusion.media.layer_folders import check_layer_folder, index_in
from facefusion.media.layers import check_layer_output, is_sequence
from facefusion.media.numbering import count_frames, numbers_of, time_of_frame
from facefusion.media.passengers import TrackOptions, list_passengers
from facefusion.media.probe import probe
from facefusion.media.reader import ClipReader, check_start
from facefusion.media.segments import Span
from facefusion.media.sequence import check_sequence_output, is_index, members_of
from facefusion.media.sound import check_sound_encoder, has_sound
from facefusion.media.writer import check_clip_output
from facefusion.metrics.report import check_report, read_limits, report_files
from facefusion.models.licences import check_licence
from facefusion.models.providers import check_precision, check_providers, core_count
from facefusion.models.spec import ModelSpec
from facefusion.models.store import missing
from facefusion.models.tensors import check_readable
from facefusion.pipeline.inputs import Shelf
from facefusion.pipeline.resolved import Chain, Resolved, SourceKind, Use, face_map_of, resolve
from facefusion.pipeline.review import decisions_of
from facefusion.pipeline.selection import has_filter
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import check_model, is_mesh_reader, models_behind
from facefusion.policy.provenance import sidecar_of, wants_sidecar
from facefusion.recipe import Recipe, with_absolute_paths, with_caution
from facefusion.types.frame import SourceInfo, scaled_size
from facefusion.wording import counted

Kind = Literal["photo", "clip"]


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be known of a target besides its frames.

    Attributes
    ----------
    width, height
        Pixels, upright.
    time_base
        Seconds per unit of pts.
    begin
        The pts at which the output begins.
    frames
        Numbers of the frames that are read (`facefusion.types.numbers`); empty where all are.
    """

    width: int
    height: int
    time_base: Fraction = Fraction(1)
    begin: int = 0
    frames: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What looking at the files of a recipe has told. It is stored with a job, so nobody looks again.

    Attributes
    ----------
    kind
        Whether the target is a photo or a clip.
    target
        None where it is yet to be made.
    sources
        What each source is by its content.
    spans
        In which the work is done; empty as long as nobody needs them (`lay_out`).
    generated
        What a processor that makes the frames is going to make, or None.
    """

    kind: Kind
    target: Target | None = None
    sources: Mapping[Path, SourceKind] = field(default_factory=dict)
    spans: tuple[Span, ...] = ()
    generated: SourceInfo | None = None

    def at(self, places: Mapping[Path, Path]) -> Found:
        """The same of files that are at other places."""
        return replace(self, sources={places.get(path, path): kind for path, kind in self.sources.items()})


@dataclass(frozen=True, slots=True)
class Models:
    """Catalogue entries that run.

    Attributes
    ----------
    every
        Those of pass 1 first; each once.
    analysis
        Those of pass 1.
    """

    every: tuple[ModelSpec, ...] = ()
    analysis: tuple[ModelSpec, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A recipe that can run, with all that was found out about it: nobody who has it opens a file to know more.

    Attributes
    ----------
    resolved
        The recipe, and what follows from it alone.
    found
        What looking at its files has told.
    models
        What runs, on this machine.
    thread_count
        Threads for rendering.
    """

    resolved: Resolved
    found: Found
    models: Models
    thread_count: int

    @property
    def recipe(self) -> Recipe:
        """What was asked for, with what was left open decided."""
        return self.resolved.recipe

    @property
    def kind(self) -> Kind:
        """Whether the target is a photo or a clip."""
        return self.found.kind

    @property
    def spans(self) -> tuple[Span, ...]:
        """All spans of the target."""
        return self.found.spans

    @property
    def wants_faces(self) -> bool:
        """Whether anybody wants to know about faces: else there is no first pass."""
        return self.resolved.wants_faces

    @property
    def is_generated(self) -> bool:
        """Whether the first step makes the frames itself; they take the place of the target."""
        return self.resolved.generator is not None

    @property
    def new_sound(self) -> Path | None:
        """The file whose sound takes the place of the target's, or None."""
        return self.resolved.new_sound(self.found.sources)

    @property
    def target(self) -> Target:
        """What is to be known of the target; one that was made meanwhile is looked at."""
        return self.found.target or target_of(self.recipe, self.kind)

    def model_hashes(self) -> dict[str, str]:
        """SHA-256 of every model that runs, by id and version; empty where its file is not here."""
        return hashes_of_models(self.recipe, self.models.every)


def hashes_of_models(recipe: Recipe, specs: Iterable[ModelSpec]) -> dict[str, str]:
    """SHA-256 of models on this machine, by id and version; empty where a file is not here."""
    store = EngineContext(recipe).store
    paths = {spec.key: store.find(spec) for spec in specs}
    return {key: "" if path is None else store.hash_of(path) for key, path in paths.items()}


def check_sources(asked: Recipe | Resolved, shelf: Shelf | None = None) -> dict[Path, SourceKind]:
    """Refuse missing, unreadable or unsuitable source photos, and processors that need one and have none.

    Parameters
    ----------
    asked
        What is asked for.
    shelf
        Where photos are kept for who reads them next.

    Returns
    -------
    What every source is by its content.

    Raises
    ------
    RecipeError, MediaError
    """
    resolved, shelf = resolve(asked), shelf or Shelf()

    def look(path: Path, takes_sound: bool) -> SourceKind:
        if takes_sound and not is_photo(path):
            _check_sound(path, has_sound(path))
            return "sound"
        _check_photo(path, shelf)
        return "photo"

    kinds: dict[Path, SourceKind] = {}
    for chain in resolved.chains:
        _check_chain(chain, kinds, look)
    for path in resolved.known_faces:
        _check_photo(path, shelf)
    return kinds


def _check_chain(chain: Chain, kinds: dict[Path, SourceKind], look: Callable[[Path, bool], SourceKind]) -> None:
    """Refuse sources that nobody can use, and steps that lack one; note what each is."""
    inputs = chain.required.inputs
    if not chain.sources and Input.FACE_PHOTO in inputs:
        raise RecipeError("No source is given.", "Name one or more photos with --source.")
    for path in chain.sources:
        kinds[path] = look(path, Input.SOUND in inputs)
    found = {kinds[path] for path in chain.sources}
    if Input.SOUND in inputs and "sound" not in found:
        names = sorted(step.processor for step in chain.steps if Input.SOUND in step.requirements.inputs)
        raise RecipeError(f"{names[0]} needs a sound.", "Name a file with sound with --source.")
    if Input.FACE_PHOTO in inputs and "photo" not in found:
        raise RecipeError("No photo is among the sources.", "Name one or more photos with --source.")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a file without opening it, because somebody has looked before.

    Attributes
    ----------
    kind
        Photo, clip, or a sound without a picture.
    has_sound
        Whether a clip has sound.
    width, height
        Pixels, upright; 0 of a sound.
    duration_s
        Of a clip; 0 where it is not known.
    """

    kind: Literal["photo", "clip", "sound"]
    has_sound: bool = False
    width: int = 0
    height: int = 0
    duration_s: float = 0.0


def check_known(recipe: Recipe, known: Mapping[Path, Known]) -> Resolved:
    """Refuse what `build_plan` would refuse, as far as that can be told without opening a file.

    Parameters
    ----------
    recipe
        What is asked for.
    known
        What is known of every file that it reads.

    Returns
    -------
    The recipe, and what follows from it.

    Raises
    ------
    FaceFusionError
        The first thing that is wrong, in the words of `build_plan`.
    """

    def check_photo(path: Path) -> None:
        if known[path].kind != "photo":
            raise _no_photo(path, known[path].kind)

    def look(path: Path, takes_sound: bool) -> SourceKind:
        about = known[path]
        if takes_sound and about.kind != "photo":
            _check_sound(path, about.kind == "sound" or about.has_sound)
            return "sound"
        check_photo(path)
        return "photo"

    resolved = resolve(settled(recipe))
    recipe = resolved.recipe
    check_generator(recipe)
    find_models(resolved)
    read_limits(recipe.fail_under)
    if recipe.report_path is not None:
        check_report(recipe.report_path)
    kinds: dict[Path, SourceKind] = {}
    for chain in resolved.chains:
        _check_chain(chain, kinds, look)
    for path in resolved.known_faces:
        check_photo(path)
    target = known[recipe.target_path]
    if target.kind == "photo":
        _check_photo_target(recipe, target.width, target.height)
    else:
        check_start(recipe.target_path, recipe.start_s, target.duration_s)
        check_film_output(recipe)
    return resolved


def check_clip(asked: Recipe | Resolved, sources: Mapping[Path, SourceKind]) -> Target:
    """Refuse a clip that cannot become the output that is asked for.

    Parameters
    ----------
    asked
        What is asked for.
    sources
        What each source is by its content.

    Returns
    -------
    What is to be known of it.

    Raises
    ------
    MediaError, RecipeError
    """
    resolved = resolve(asked)
    recipe = resolved.recipe
    clip = ClipReader(recipe.target_path, recipe.start_s, recipe.end_s, recipe.allow_8bit)
    check_film_output(recipe)
    options = track_options(resolved, resolved.new_sound(sources))
    if is_animation(recipe.output_path) or is_index(recipe.output_path):
        notes_on_animation(recipe.output_path, clip, recipe.strict and options.audio != "none")
        return _target_of(clip)
    list_passengers(clip, recipe.output_path.suffix, recipe.output_video_encoder, options)
    return _target_of(clip)


def check_film_output(recipe: Recipe) -> None:
    """Refuse an output for a clip whose ending is none of a clip's, or does not fit the encoder.

    Raises
    ------
    OutputRefused
    """
    if is_index(recipe.output_path):
        check_sequence_output(recipe.output_path)
        if recipe.report_path is not None or recipe.fail_under:
            raise OutputRefused(
                "Numbered pictures are not measured while they are made.",
                "Leave out --report and --fail-under; 'facefusion report' measures them afterwards.",
            )
        return
    check_clip_output(
        recipe.output_path.with_suffix(".mkv") if is_animation(recipe.output_path) else recipe.output_path,
        recipe.output_video_encoder,
    )
    check_sound_encoder(recipe.output_audio_encoder or "")
    if is_animation(recipe.output_path):
        check_animation(recipe.output_path)


def check_output_name(recipe: Recipe) -> None:
    """Refuse an output whose ending does not fit the target, or the encoder.

    Raises
    ------
    OutputRefused, MediaError
    """
    if resolve(recipe).generator is None and find_kind(recipe.target_path) == "photo":
        check_photo_output(recipe.output_path)
    else:
        check_film_output(recipe)


def _check_photo_target(recipe: Recipe, width: int, height: int) -> None:
    if recipe.start_s is not None or recipe.end_s is not None:
        raise RecipeError(f"{recipe.target_path} is a photo, so --start and --end mean nothing.", "Leave them out.")
    if is_index(recipe.output_path):
        raise OutputRefused(
            f"{recipe.target_path} is a photo, so it becomes one picture.", "Name a file with --output."
        )
    resize = Fraction(recipe.output_image_scale).limit_denominator(1000)
    check_photo_output(recipe.output_path, *scaled_size(width, height, resize))


def _check_sound(path: Path, is_there: bool) -> None:
    if not is_there:
        raise RecipeError(f"{path} has no sound.", "Give a sound, or a clip with one.")


def _no_photo(path: Path, kind: str = "clip") -> NoFaceInSource:
    hint = "Save a frame of it as a photo." if kind == "clip" else "Use a photo."
    return NoFaceInSource(f"{path} is a {kind}; sources are photos.", hint)


def kind_of_source(path: Path) -> SourceKind:
    """What a source is by its content, not by its name.

    Raises
    ------
    MediaError
        When it is no media file.
    """
    return "photo" if is_photo(path) else "sound" if has_sound(path) else "other"


def _check_photo(path: Path, shelf: Shelf) -> None:
    if not is_photo(path):
        probe(path)  # says so where it is no media at all
        raise _no_photo(path)
    shelf.photo(path, allow_8bit=True)


def reads_of(recipe: Recipe) -> list[Named]:
    """Every file that a recipe reads, those that a mapping file names included."""
    people = face_map_of(recipe)
    named: list[tuple[str, Path | None]] = [
        ("target", recipe.target_path if recipe.target_path != Path() else None),
        *(("source", path) for path in recipe.source_paths),
        *(("source of the mapping file", path) for person in people for path in person.sources),
        *(("photo of somebody exempt", path) for path in recipe.exempt_paths),
        ("reference photo", recipe.reference_face_path),
        ("mapping file", recipe.face_map_path),
        ("review decisions", recipe.review_path),
        *(("reference photo of the mapping file", person.reference) for person in people),
    ]
    return [(what, path) for what, path in named if path is not None]


def writes_of(recipe: Recipe) -> list[Named]:
    """Every file that a recipe writes."""
    written = [] if recipe.output_path == Path() else [("output", recipe.output_path)]
    if written and wants_sidecar(recipe.output_path):
        written.append(("manifest of the output", sidecar_of(recipe.output_path)))
    if recipe.report_path is not None:
        page, *others = report_files(recipe.report_path)
        written += [("report", page), *(("report's JSON file", path) for path in others)]
    for what, path in (("matte", recipe.mask_path), ("layer", recipe.layer_path)):
        if path is not None:
            written.append((what, index_in(path) if is_sequence(path) else path))
    return written


def check_paths(recipe: Recipe, writes: Sequence[Named] = (), reads: Sequence[Named] = ()) -> None:
    """Refuse to write what is read, to write one file twice, and to write where nothing can be written.

    Parameters
    ----------
    recipe
        What is asked for.
    writes, reads
        Files besides those of the recipe: a tracks file, a picture, the configuration.

    Raises
    ------
    OutputRefused
        Naming the two files that clash.
    """
    written = [*writes_of(recipe), *writes]
    read = [*reads_of(recipe), *reads]
    read += [(f"picture of the {what}", member) for what, path in read for member in members_of(path)]
    check_outputs(written, read)
    for what, folder in (("matte", recipe.mask_path), ("layer", recipe.layer_path)):
        if folder is not None and is_sequence(folder):
            check_layer_folder(what, folder, [*read, *(named for named in written if is_index(named[1]))])


def find_kind(path: Path) -> Kind:
    """Whether a file is a photo or a clip, by its content.

    Raises
    ------
    MediaError
        When it is neither.
    """
    check_file(path)
    if is_photo(path):
        return "photo"
    probe(path)
    return "clip"


def models_of(recipe: Recipe, uses: Sequence[Use]) -> list[ModelSpec]:
    """Catalogue entries behind some models, and those that they in turn need; each once.

    Raises
    ------
    UnknownModel
    """
    return list({spec.key: spec for use in uses for spec in _models_of_use(recipe, use)}.values())


def _models_of_use(recipe: Recipe, use: Use) -> Iterator[ModelSpec]:
    context = EngineContext(recipe, step=use.step)
    capability, name = use.model.capability, use.model.name
    if capability == "face_landmarker":
        entry = check_model(capability, name, context)
        if entry is None or not is_mesh_reader(entry):
            yield from models_behind(capability, "embedded", context)  # the mesh under landmarkers of other layouts
    for spec in models_behind(capability, name, context):
        yield spec
        yield from (context.store.get(needed) for needed in spec.needs)


def settled(recipe: Recipe) -> Recipe:
    """The recipe with its mapping file read, what people in it want of it where nobody has given that, and times in the
    place of frames' numbers.
    """
    read = {"people": face_map_of(recipe), "decisions": decisions_of(recipe)}
    recipe = with_times(with_absolute_paths(recipe.model_copy(update=read)))
    _check_mapped(recipe)
    steps = [step for person in recipe.people for step in person.steps]
    given = {name: getattr(recipe, name) for name in recipe.model_fields_set}
    wanted = {name: value for name, value in with_caution(given, steps).items() if name not in given}
    return recipe.model_copy(update=wanted) if wanted else recipe


def _check_mapped(recipe: Recipe) -> None:
    """Refuse what says who gets whose face beside a mapping file, which says it already.

    Raises
    ------
    RecipeError
    """
    if not recipe.people:
        return
    beside = {
        "--faces": isinstance(recipe.faces, tuple),  # 'all' may be what hiding people wants
        "--face-selector-mode": recipe.face_selector_mode is not None,
        "--face-selector-age-start, -age-end, -gender and -race": has_filter(recipe),
        "--source": bool(recipe.source_paths),
    }
    for name, is_given in beside.items():
        if is_given:
            raise RecipeError(
                f"A mapping file says who is changed and whose face they get, so {name} would mean nothing beside it.",
                f"Leave out {name}, or the mapping file.",
            )


def with_times(recipe: Recipe) -> Recipe:
    """The recipe with the part to keep in seconds, where it was said in frames.

    Raises
    ------
    RecipeError
        When the target has fewer frames, or is a photo, which has no part to keep.
    MediaError
    """
    first, stop = recipe.trim_frame_start, recipe.trim_frame_end
    path = recipe.target_path
    if (first is None and stop is None) or path == Path() or not path.exists():
        return recipe
    update: dict[str, float | int | None] = {"trim_frame_start": None, "trim_frame_end": None}
    if find_kind(path) == "photo":
        raise RecipeError(
            f"{path} is a photo, so --trim-frame-start and --trim-frame-end mean nothing.", "Leave them out."
        )
    if find_kind(path) == "clip":
        if first:
            update["start_s"] = time_of_frame(path, first)
            if update["start_s"] is None:
                raise RecipeError(
                    f"{path} has {counted(count_frames(path), 'frame')}; there is no frame {first}.",
                    "Numbers count from 0; give --trim-frame-start a smaller one.",
                )
        if stop is not None:
            update["end_s"] = time_of_frame(path, stop)  # behind the end means up to the end
    return recipe.model_copy(update=update)


def decided(recipe: Recipe) -> Recipe:
    """The recipe with everything decided that its steps leave open, such as a seed."""
    people = face_map_of(recipe)
    chains = (recipe.steps, *(person.steps for person in people))
    if all(step.decided() is step for chain in chains for step in chain):
        return recipe

    def decide(steps: Sequence[Step]) -> tuple[Step, ...]:
        return tuple(step.decided() for step in steps)

    everybody = tuple(person.model_copy(update={"steps": decide(person.steps)}) for person in people)
    return recipe.model_copy(update={"steps": decide(recipe.steps), "people": everybody})


def check_models(asked: Recipe | Resolved, is_rendering: bool = True) -> list[ModelSpec]:
    """`find_models` as one list."""
    return list(find_models(asked, is_rendering).every)


def find_models(asked: Recipe | Resolved, is_rendering: bool = True) -> Models:
    """Refuse unknown processors, models and providers, licences that are not accepted, and files that are not here.

    Parameters
    ----------
    asked
        What is asked for.
    is_rendering
        Whether pass 2 will run too.

    Returns
    -------
    The catalogue entries that will run.

    Raises
    ------
    UnknownProcessor, UnknownModel, LicenceRefused, ModelMissing, ExtraMissing, ProviderRefused
    """
    resolved = resolve(asked)
    recipe = resolved.recipe
    if not any(chain.steps for chain in resolved.chains):
        raise RecipeError("No processor is given.", f"Add --processors with one of {', '.join(processor_names())}.")
    analysis = [spec for use in resolved.uses_of_analysis for spec in _models_of_use(recipe, use)]
    others = resolved.uses_of_rendering if is_rendering else ()
    every = {spec.key: spec for spec in analysis}
    every |= {spec.key: spec for use in others for spec in _models_of_use(recipe, use) if spec.key not in every}
    store = EngineContext(recipe).store
    for spec in every.values():
        check_licence(spec, recipe.licences)
        if spec.preprocess.template and spec.preprocess.template not in TEMPLATES:
            raise ModelMismatch(
                f"Model {spec.id} names the alignment template '{spec.preprocess.template}', which there is not.",
                suggest(spec.preprocess.template, list(TEMPLATES)),
            )
        for file in spec.files:
            if store.find(spec, file) is None:
                raise missing(spec, file)
        check_readable(spec.family, spec.id)
    check_providers(recipe.execution_providers)
    check_precision(recipe.execution_providers, recipe.execution_precision)
    return Models(tuple(every.values()), tuple({spec.key: spec for spec in analysis}.values()))


def track_options(asked: Recipe | Resolved, new_sound: Path | None = None) -> TrackOptions:
    """What a recipe asks for about the tracks beside the film.

    Parameters
    ----------
    asked
        What is asked for.
    new_sound
        The file whose sound takes the place of the target's.
    """
    resolved = resolve(asked)
    recipe = resolved.recipe
    return TrackOptions(
        "none" if new_sound is not None or recipe.output_audio_volume == 0 else recipe.output_audio,
        recipe.drop_tracks,
        hides_people=resolved.is_protective,  # a cover shows the face that the film hides
        hides_places=resolved.is_private,
        is_strict=recipe.strict,
        sound=None if recipe.output_audio == "none" else new_sound,
        codec=recipe.output_audio_encoder or "",
        quality=recipe.output_audio_quality,
        volume=recipe.output_audio_volume,
    )


def check_generator(recipe: Recipe) -> None:
    """Refuse a step that makes frames where it is not the first, or where a target is given too.

    Raises
    ------
    RecipeError
    """
    people = face_map_of(recipe)
    every = [step for chain in (recipe.steps, *(person.steps for person in people)) for step in chain]
    found = [step for step in every if step.spec.kind == "source"]
    if not found:
        return
    if len(found) > 1 or not recipe.steps or recipe.steps[0] is not found[0]:
        raise RecipeError(f"'{found[0].processor}' makes frames, so it comes first, and once.", "Put it first.")
    if recipe.target_path != Path():
        raise RecipeError(f"'{found[0].processor}' makes the frames itself.", "Leave --target out.")
    if recipe.start_s is not None or recipe.end_s is not None:
        raise RecipeError(f"'{found[0].processor}' makes the frames itself.", "Leave --start and --end out.")


def build_plan(recipe: Recipe, shelf: Shelf | None = None) -> Plan:
    """Check a recipe against this machine.

    Parameters
    ----------
    recipe
        What is asked for.
    shelf
        Where photos are kept for who reads them next.

    Returns
    -------
    A plan that cannot fail on names, options, models or files that can be checked beforehand.

    Raises
    ------
    FaceFusionError
        The first thing that is wrong, with what to do about it.
    """
    shelf = shelf or Shelf()
    recipe = settled(with_absolute_paths(recipe))
    check_generator(recipe)
    resolved = resolve(recipe)
    if recipe.target_path == Path() and resolved.generator is None:
        raise RecipeError("No target is given.", "Name a photo or clip with --target.")
    if recipe.output_path == Path():
        raise RecipeError("No output is given.", "Name a file with --output.")
    if recipe.frame_rate is not None:
        raise RecipeError("--frame-rate is for a target that is numbered pictures.", "Leave it out.")
    chosen = decided(recipe)
    resolved = resolved if chosen is recipe else resolve(chosen)
    recipe = resolved.recipe
    models = find_models(resolved)
    read_limits(recipe.fail_under)
    if recipe.report_path is not None:
        check_report(recipe.report_path)
    sources = check_sources(resolved, shelf)
    threads = recipe.execution_thread_count or core_count()
    if resolved.generator is not None and recipe.has_layer:
        raise RecipeError(
            "The first step makes the frames itself, so there is no target to lay a layer over.",
            "Leave out --save-mask and --save-layer.",
        )
    if resolved.generator is not None:
        check_paths(recipe)
        check_film_output(recipe)
        return Plan(resolved, Found("clip", sources=sources), models, threads)
    kind = find_kind(recipe.target_path)
    for path, is_matte in ((recipe.mask_path, True), (recipe.layer_path, False)):
        if path is not None:
            check_layer_output(path, is_matte, kind == "photo")
    check_paths(recipe)
    if kind == "photo":
        height, width = shelf.photo(recipe.target_path, recipe.allow_8bit).pixels.shape[:2]
        _check_photo_target(recipe, width, height)
        target = Target(width, height)
    else:
        target = check_clip(resolved, sources)
    return Plan(resolved, Found(kind, target, sources), models, threads)


def target_of(recipe: Recipe, kind: Kind) -> Target:
    """What is to be known of a recipe's target, from a look at it."""
    if kind == "clip":
        return look_at_clip(recipe)
    height, width = read_photo(recipe.target_path, recipe.allow_8bit).pixels.shape[:2]
    return Target(width, height)


def look_at_clip(recipe: Recipe) -> Target:
    """What is to be known of a recipe's clip."""
    return _target_of(ClipReader(recipe.target_path, recipe.start_s, recipe.end_s, recipe.allow_8bit))


def _target_of(clip: ClipReader) -> Target:
    return Target(clip.info.width, clip.info.height, clip.info.time_base, clip.offset, numbers_of(clip))
