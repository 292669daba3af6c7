"""From a recipe to a plan. Everything a user can get wrong is found here, before the first frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from facefusion.errors import NoFaceInSource, RecipeError, UnknownModel
from facefusion.media.files import check_file, check_output
from facefusion.media.image import check_photo_output, is_photo, read_photo
from facefusion.media.probe import probe
from facefusion.media.reader import ClipReader
from facefusion.media.writer import check_clip_output
from facefusion.models.session import check_providers, core_count
from facefusion.plugins.registry import (
    DETECTORS,
    LANDMARKERS,
    check_processor,
    list_engines,
)
from facefusion.recipe import Recipe, suggest

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
    """

    recipe: Recipe
    kind: Kind
    thread_count: int


def check_sources(recipe: Recipe) -> None:
    """Refuse missing, unreadable or unsuitable source photos.

    Raises
    ------
    RecipeError, MediaError
    """
    if not recipe.source_paths:
        raise RecipeError("No source is given.", "Name one or more photos with --source.")
    for path in recipe.source_paths:
        if not is_photo(path):
            probe(path)  # says so where it is no media at all
            raise NoFaceInSource(f"{path} is a clip; sources are photos.", "Save a frame of it as a photo.")
        read_photo(path, allow_8bit=True)


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


def check_models(recipe: Recipe) -> None:
    """Refuse unknown processors, models and providers.

    Raises
    ------
    UnknownProcessor, UnknownModel, ProviderRefused
    """
    if not recipe.processors:
        raise RecipeError("No processor is given.", "Add --processors face_swapper.")
    for name in recipe.processors:
        check_processor(name)
    wanted = [
        (DETECTORS, recipe.face_detector_model, "face detector"),
        (LANDMARKERS, recipe.face_landmarker_model, "face mesh"),
        *((f"facefusion.{name}", getattr(recipe, f"{name}_model"), name) for name in recipe.processors),
    ]
    for group, model, kind in wanted:
        names = list_engines(group)
        if model not in names:
            raise UnknownModel(f"There is no {kind} model '{model}'.", suggest(model, names))
    check_providers(recipe.execution_providers)


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
    if recipe.target_path == Path():
        raise RecipeError("No target is given.", "Name a photo or clip with --target.")
    if recipe.output_path == Path():
        raise RecipeError("No output is given.", "Name a file with --output.")
    check_models(recipe)
    check_sources(recipe)
    kind = find_kind(recipe.target_path)
    check_output(recipe.output_path, [recipe.target_path, *recipe.source_paths])
    if kind == "photo":
        if recipe.start_s is not None or recipe.end_s is not None:
            raise RecipeError(f"{recipe.target_path} is a photo, so --start and --end mean nothing.", "Leave them out.")
        read_photo(recipe.target_path, recipe.allow_8bit)
        check_photo_output(recipe.output_path)
    else:
        ClipReader(recipe.target_path, recipe.start_s, recipe.end_s, recipe.allow_8bit)
        check_clip_output(recipe.output_path, recipe.output_video_encoder)
    return Plan(recipe, kind, recipe.execution_thread_count or core_count())
