"""From a recipe to a plan. Everything a user can get wrong is found here, before the first frame."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from facefusion.errors import ModelMismatch, NoFaceInSource, RecipeError
from facefusion.imaging.templates import TEMPLATES
from facefusion.media.files import Named, check_file, check_outputs
from facefusion.media.image import check_photo_output, is_photo, read_photo
from facefusion.media.passengers import TrackOptions, list_passengers
from facefusion.media.probe import probe
from facefusion.media.reader import ClipReader
from facefusion.media.writer import check_clip_output
from facefusion.metrics.report import check_report, read_limits, report_files
from facefusion.models.licences import check_licence
from facefusion.models.providers import check_precision, check_providers, core_count
from facefusion.models.spec import ModelSpec
from facefusion.models.store import missing
from facefusion.pipeline.selection import (
    Person,
    identifier_of,
    is_protective,
    load_face_map,
    wants_attributes,
    wants_identity,
)
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import check_model, check_processor, models_of_engine
from facefusion.recipe import Recipe, suggest, with_absolute_paths

Kind = Literal["photo", "clip"]
MESH_FAMILIES = {"mediapipe"}
"""Landmarkers that read the 478-point mesh by themselves."""
NEEDS_SOURCE = {"face_swapper"}
"""Processors that take a face from a photo."""


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
    """

    recipe: Recipe
    kind: Kind
    thread_count: int
    models: tuple[ModelSpec, ...] = ()


def check_sources(recipe: Recipe) -> None:
    """Refuse missing, unreadable or unsuitable source photos, and processors that need one and have none.

    Raises
    ------
    RecipeError, MediaError
    """
    people = face_map_of(recipe)
    groups = [(person.sources, person.processors) for person in people] or [(recipe.source_paths, recipe.processors)]
    for sources, processors in groups:
        if not sources and NEEDS_SOURCE & set(processors):
            raise RecipeError("No source is given.", "Name one or more photos with --source.")
    references = [person.reference for person in people] + [recipe.reference_face_path]
    photos = [path for sources, _ in groups for path in sources]
    for path in [*photos, *recipe.exempt_paths, *(reference for reference in references if reference is not None)]:
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


def capabilities_of_analysis(recipe: Recipe) -> list[str]:
    """Capabilities of pass 1 that a recipe uses."""
    used = ["face_detector", "face_landmarker"]
    if wants_identity(recipe, face_map_of(recipe)):
        used.append("face_identifier")
    if wants_attributes(recipe):
        used.append("face_classifier")
    return used


def capabilities_of_rendering(recipe: Recipe) -> list[str]:
    """Capabilities of pass 2 that a recipe uses, those of a mapping file included."""
    used = list(recipe.processors)
    for person in face_map_of(recipe):
        used += person.processors
    if recipe.motion_smoothing > 0:
        used.append("optical_flow")
    used += [capability for kind, capability in _MASK_MODELS.items() if kind in recipe.face_mask_types]
    return list(dict.fromkeys(used))


_MASK_MODELS = {"occlusion": "face_occluder", "region": "face_parser"}


def models_of(recipe: Recipe, capabilities: Sequence[str]) -> list[ModelSpec]:
    """Catalogue entries behind some capabilities, and those that they in turn need.

    Raises
    ------
    UnknownModel
    """
    context = EngineContext(recipe)
    store = context.store
    specs: list[ModelSpec] = []
    for capability in capabilities:
        name = identifier_of(recipe) if capability == "face_identifier" else getattr(recipe, f"{capability}_model")
        spec = check_model(capability, name, context)
        if capability == "face_landmarker" and (spec is None or spec.family not in MESH_FAMILIES):
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
    """People of the recipe's mapping file; none where there is no such file."""
    return () if recipe.face_map_path is None else load_face_map(recipe.face_map_path, recipe.processors)


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
    names = [*recipe.processors, *(name for person in face_map_of(recipe) for name in person.processors)]
    if not names:
        raise RecipeError("No processor is given.", "Add --processors face_swapper.")
    for name in names:
        check_processor(name)
    used = capabilities_of_analysis(recipe) + (capabilities_of_rendering(recipe) if is_rendering else [])
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
    is_hiding = is_protective(recipe, face_map_of(recipe))
    return TrackOptions(
        recipe.output_audio,
        recipe.drop_tracks,
        hides_people=is_hiding,  # a cover shows the face that the film hides
        hides_places=is_hiding and not recipe.keep_metadata,
        is_strict=recipe.strict,
    )


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
    recipe = with_absolute_paths(recipe)
    if recipe.target_path == Path():
        raise RecipeError("No target is given.", "Name a photo or clip with --target.")
    if recipe.output_path == Path():
        raise RecipeError("No output is given.", "Name a file with --output.")
    if recipe.face_anonymiser_seed is None and is_protective(recipe, face_map_of(recipe)):
        recipe = recipe.model_copy(update={"face_anonymiser_seed": secrets.randbits(62)})
    specs = check_models(recipe)
    read_limits(recipe.fail_under)
    if recipe.report_path is not None:
        check_report(recipe.report_path)
    check_sources(recipe)
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
    return Plan(recipe, kind, recipe.execution_thread_count or core_count(), tuple(specs))
