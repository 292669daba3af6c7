"""From a recipe to a plan. Everything a user can get wrong is found here, before the first frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from facefusion.declaration import Input, ModelRef, Step, processor_names, suggest, union
from facefusion.errors import ModelMismatch, NoFaceInSource, RecipeError
from facefusion.imaging.templates import TEMPLATES
from facefusion.media.files import Named, check_file, check_outputs
from facefusion.media.image import check_photo_output, is_photo, read_photo
from facefusion.media.passengers import TrackOptions, list_passengers
from facefusion.media.probe import probe
from facefusion.media.reader import ClipReader
from facefusion.media.sound import has_sound
from facefusion.media.writer import check_clip_output
from facefusion.metrics.report import check_report, read_limits, report_files
from facefusion.models.licences import check_licence
from facefusion.models.providers import check_precision, check_providers, core_count
from facefusion.models.spec import ModelSpec
from facefusion.models.store import missing
from facefusion.pipeline.selection import (
    chains_of,
    identifier_of,
    is_protective,
    load_face_map,
    wants_attributes,
    wants_faces,
    wants_identity,
)
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import check_model, is_mesh_reader, models_of_engine
from facefusion.recipe import Person, Recipe, with_absolute_paths, with_caution

Kind = Literal["photo", "clip"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe that can run.

    Attributes
    ----------
    recipe
        What was asked for.
    kind
        Whether the target is a photo or a clip.
    thread_count
        Threads for rendering.
    models
        Catalogue entries that will run.
    wants_faces
        Whether anybody wants to know about faces: else there is no first pass.
    is_generated
        Whether the first step makes the frames itself; they take the place of the target.
    """

    recipe: Recipe
    kind: Kind
    thread_count: int
    models: tuple[ModelSpec, ...] = ()
    wants_faces: bool = True
    is_generated: bool = False


def check_sources(recipe: Recipe) -> None:
    """Refuse missing, unreadable or unsuitable source photos, and processors that need one and have none.

    Raises
    ------
    RecipeError, MediaError
    """
    people = face_map_of(recipe)
    groups = [(person.sources, person.steps) for person in people] or [(recipe.source_paths, recipe.steps)]
    for sources, steps in groups:
        if not sources and any(Input.FACE_PHOTO in step.requirements.inputs for step in steps):
            raise RecipeError("No source is given.", "Name one or more photos with --source.")
        _check_kinds(sources, steps)
    references = [person.reference for person in people] + [recipe.reference_face_path]
    for path in [*recipe.exempt_paths, *(reference for reference in references if reference is not None)]:
        _check_photo(path)


def _check_kinds(sources: Sequence[Path], steps: Sequence[Step]) -> None:
    """Refuse sources that nobody can use, and steps that lack one."""
    wants_sound = {step.processor for step in steps if Input.SOUND in step.requirements.inputs}
    has_one = False
    for path in sources:
        if wants_sound and not is_photo(path):
            if not has_sound(path):
                raise RecipeError(f"{path} has no sound.", "Give a sound, or a clip with one.")
            has_one = True
        else:
            _check_photo(path)
    if wants_sound and not has_one:
        raise RecipeError(f"{sorted(wants_sound)[0]} needs a sound.", "Name a file with sound with --source.")
    wants_photo = any(Input.FACE_PHOTO in step.requirements.inputs for step in steps)
    if wants_photo and not any(is_photo(path) for path in sources):
        raise RecipeError("No photo is among the sources.", "Name one or more photos with --source.")


def _check_photo(path: Path) -> None:
    if not is_photo(path):
        probe(path)  # says so where it is no media at all
        raise NoFaceInSource(f"{path} is a clip; sources are photos.", "Save a frame of it as a photo.")
    read_photo(path, allow_8bit=True)


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
        *(("reference photo of the mapping file", person.reference) for person in people),
    ]
    return [(what, path) for what, path in named if path is not None]


def writes_of(recipe: Recipe) -> list[Named]:
    """Every file that a recipe writes."""
    written = [] if recipe.output_path == Path() else [("output", recipe.output_path)]
    if recipe.report_path is not None:
        page, *others = report_files(recipe.report_path)
        written += [("report", page), *(("report's JSON file", path) for path in others)]
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
    check_outputs([*writes_of(recipe), *writes], [*reads_of(recipe), *reads])


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


@dataclass(frozen=True, slots=True)
class Use:
    """A model that runs, and the step that it runs for; None for pass 1."""

    model: ModelRef
    step: Step | None = None


def uses_of_analysis(recipe: Recipe) -> list[Use]:
    """Models of pass 1."""
    people = face_map_of(recipe)
    if not wants_faces(recipe, people):
        return []
    used = ["face_detector", "face_landmarker"]
    if wants_identity(recipe, people):
        used.append("face_identifier")
    if wants_attributes(recipe, people):
        used.append("face_classifier")
    names = {name: getattr(recipe, f"{name}_model") for name in used}
    if "face_identifier" in names:
        names["face_identifier"] = identifier_of(recipe, people)
    return [Use(ModelRef(capability, name)) for capability, name in names.items()]


def uses_of_rendering(recipe: Recipe) -> list[Use]:
    """Models of pass 2, those of a mapping file included."""
    people = face_map_of(recipe)
    chains = [recipe.steps, *(person.steps for person in people)]
    used = [Use(model, step) for chain in chains for step in chain for model in step.requirements.models]
    if any(step.spec.kind == "face" for chain in chains for step in chain):
        if recipe.motion_smoothing > 0:
            used.append(Use(ModelRef("optical_flow", recipe.optical_flow_model)))
        used += [
            Use(ModelRef(capability, getattr(recipe, f"{capability}_model")))
            for kind, capability in _MASK_MODELS.items()
            if kind in recipe.face_mask_types
        ]
    return used


_MASK_MODELS = {"occlusion": "face_occluder", "region": "face_parser"}


def models_of(recipe: Recipe, uses: Sequence[Use]) -> list[ModelSpec]:
    """Catalogue entries behind some models, and those that they in turn need.

    Raises
    ------
    UnknownModel
    """
    specs: list[ModelSpec] = []
    for use in uses:
        context = EngineContext(recipe, step=use.step)
        store = context.store
        capability, name = use.model.capability, use.model.name
        spec = check_model(capability, name, context)
        if capability == "face_landmarker" and (spec is None or not is_mesh_reader(spec)):
            specs.append(store.get("face_landmarker_embedded"))  # the mesh under landmarkers of other layouts
        if spec is not None:
            found = [spec]
        elif name == "embedded":
            found = [store.get(f"{capability}_embedded")]
        else:
            found = [store.get(id_) for id_ in models_of_engine(capability, name, context)]
        for spec in found:
            specs += [spec, *(store.get(needed) for needed in spec.needs)]
    return list({spec.key: spec for spec in specs}.values())


def face_map_of(recipe: Recipe) -> tuple[Person, ...]:
    """People of the recipe's mapping file; none where there is no such file. A planned recipe has them already."""
    if recipe.people or recipe.face_map_path is None:
        return recipe.people
    return load_face_map(recipe.face_map_path, recipe)


def is_faces_only(recipe: Recipe) -> bool:
    """Whether nothing but faces is changed."""
    chains = (recipe.steps, *chains_of(recipe, face_map_of(recipe)))
    return all(step.spec.kind == "face" for steps in chains for step in steps)


def settled(recipe: Recipe) -> Recipe:
    """The recipe with its mapping file read, and with what people in it want of it where nobody has given that."""
    recipe = with_absolute_paths(recipe.model_copy(update={"people": face_map_of(recipe)}))
    steps = [step for person in recipe.people for step in person.steps]
    given = {name: getattr(recipe, name) for name in recipe.model_fields_set}
    wanted = {name: value for name, value in with_caution(given, steps).items() if name not in given}
    return recipe.model_copy(update=wanted) if wanted else recipe


def decided(recipe: Recipe) -> Recipe:
    """The recipe with everything decided that its steps leave open, such as a seed."""
    people = face_map_of(recipe)
    chains = (recipe.steps, *chains_of(recipe, people))
    if all(step.decided() is step for chain in chains for step in chain):
        return recipe

    def decide(steps: Sequence[Step]) -> tuple[Step, ...]:
        return tuple(step.decided() for step in steps)

    everybody = tuple(person.model_copy(update={"steps": decide(person.steps)}) for person in people)
    return recipe.model_copy(update={"steps": decide(recipe.steps), "people": everybody})


def check_models(recipe: Recipe, is_rendering: bool = True) -> list[ModelSpec]:
    """Refuse unknown processors, models and providers, licences that are not accepted, and files that are not here.

    Parameters
    ----------
    recipe
        What is asked for.
    is_rendering
        Whether pass 2 will run too.

    Returns
    -------
    The catalogue entries that will run.

    Raises
    ------
    UnknownProcessor, UnknownModel, LicenceRefused, ModelMissing, ProviderRefused
    """
    if not any(chains_of(recipe, face_map_of(recipe))):
        raise RecipeError("No processor is given.", f"Add --processors with one of {', '.join(processor_names())}.")
    used = uses_of_analysis(recipe) + (uses_of_rendering(recipe) if is_rendering else [])
    specs = models_of(recipe, used)
    store = EngineContext(recipe).store
    for spec in specs:
        check_licence(spec, recipe.licences)
        if spec.preprocess.template and spec.preprocess.template not in TEMPLATES:
            raise ModelMismatch(
                f"Model {spec.id} names the alignment template '{spec.preprocess.template}', which there is not.",
                suggest(spec.preprocess.template, list(TEMPLATES)),
            )
        for file in spec.files:
            if store.find(spec, file) is None:
                raise missing(spec, file)
    check_providers(recipe.execution_providers)
    check_precision(recipe.execution_providers, recipe.execution_precision)
    return specs


def track_options(recipe: Recipe) -> TrackOptions:
    """What a recipe asks for about the tracks beside the film."""
    people = face_map_of(recipe)
    is_hiding, sound = is_protective(recipe, people), new_sound_of(recipe, people)
    return TrackOptions(
        "none" if sound is not None else recipe.output_audio,
        recipe.drop_tracks,
        hides_people=is_hiding,  # a cover shows the face that the film hides
        hides_places=is_hiding and not recipe.keep_metadata,
        is_strict=recipe.strict,
        sound=None if recipe.output_audio == "none" else sound,
    )


def new_sound_of(recipe: Recipe, people: Sequence[Person]) -> Path | None:
    """The file whose sound takes the place of the target's: the first with sound of a chain that replaces it."""
    for sources, steps in [(p.sources, p.steps) for p in people] or [(recipe.source_paths, recipe.steps)]:
        if union(step.requirements for step in steps).replaces_sound:
            return next((path for path in sources if not is_photo(path) and has_sound(path)), None)
    return None


def generator_of(recipe: Recipe) -> Step | None:
    """The step that makes the frames itself, where there is one."""
    return next((step for step in recipe.steps if step.spec.kind == "source"), None)


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


def build_plan(recipe: Recipe) -> Plan:
    """Check a recipe against this machine.

    Parameters
    ----------
    recipe
        What is asked for.

    Returns
    -------
    A plan that cannot fail on names, options, models or files that can be checked beforehand.

    Raises
    ------
    FaceFusionError
        The first thing that is wrong, with what to do about it.
    """
    recipe = settled(with_absolute_paths(recipe))
    check_generator(recipe)
    generator = generator_of(recipe)
    if recipe.target_path == Path() and generator is None:
        raise RecipeError("No target is given.", "Name a photo or clip with --target.")
    if recipe.output_path == Path():
        raise RecipeError("No output is given.", "Name a file with --output.")
    recipe = decided(recipe)
    specs = check_models(recipe)
    read_limits(recipe.fail_under)
    if recipe.report_path is not None:
        check_report(recipe.report_path)
    check_sources(recipe)
    is_looking = wants_faces(recipe, face_map_of(recipe))
    if generator is not None:
        check_paths(recipe)
        check_clip_output(recipe.output_path, recipe.output_video_encoder)
        threads = recipe.execution_thread_count or core_count()
        return Plan(recipe, "clip", threads, tuple(specs), is_looking, is_generated=True)
    kind = find_kind(recipe.target_path)
    check_paths(recipe)
    if kind == "photo":
        if recipe.start_s is not None or recipe.end_s is not None:
            raise RecipeError(f"{recipe.target_path} is a photo, so --start and --end mean nothing.", "Leave them out.")
        height, width = read_photo(recipe.target_path, recipe.allow_8bit).pixels.shape[:2]
        check_photo_output(recipe.output_path, width, height)
    else:
        target = ClipReader(recipe.target_path, recipe.start_s, recipe.end_s, recipe.allow_8bit)
        encoder = recipe.output_video_encoder
        check_clip_output(recipe.output_path, encoder)
        list_passengers(target, recipe.output_path.suffix, encoder, track_options(recipe))
    return Plan(recipe, kind, recipe.execution_thread_count or core_count(), tuple(specs), is_looking)
