"""FaceFusion 3's spelling: its flat options are folded into steps, and what it has and we do not is told about, so that
its command lines and its ini file are never half obeyed.
"""

from __future__ import annotations

import configparser
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from facefusion.declaration import TO_COME, Step, default_processors, find_processor, flat_fields, processor_names
from facefusion.documents import border, load_text
from facefusion.errors import FaceFusionWarning, RecipeError, UnknownOption

OPTIONS: dict[str, tuple[str, ...]] = {
    "paths": ("config_path", "temp_path", "jobs_path", "source_paths", "target_path", "output_path"),
    "patterns": ("source_pattern", "target_pattern", "output_pattern"),
    "face detector": (
        "face_detector_model", "face_detector_size", "face_detector_margin", "face_detector_angles",
        "face_detector_score",
    ),
    "face landmarker": ("face_landmarker_model", "face_landmarker_score"),
    "face selector": (
        "face_selector_mode", "face_selector_order", "face_selector_age_start", "face_selector_age_end",
        "face_selector_gender", "face_selector_race", "reference_face_position", "reference_face_distance",
        "reference_frame_number",
    ),
    "face tracker": ("face_tracker_score",),
    "face masker": (
        "face_occluder_model", "face_parser_model", "face_mask_types", "face_mask_areas", "face_mask_regions",
        "face_mask_blur", "face_mask_padding",
    ),
    "voice extractor": ("voice_extractor_model",),
    "frame extraction": ("trim_frame_start", "trim_frame_end", "temp_frame_format", "temp_pixel_format"),
    "frame distribution": ("target_frame_amount",),
    "output creation": (
        "output_image_quality", "output_image_scale", "output_audio_encoder", "output_audio_quality",
        "output_audio_volume", "output_video_encoder", "output_video_preset", "output_video_quality",
        "output_video_scale", "output_video_fps",
    ),
    "workflow": ("workflow_mode", "workflow_strategy"),
    "processors": (
        "processors", "age_modifier_model", "age_modifier_direction", "background_remover_model",
        "background_remover_fill_color", "background_remover_despill_color", "deep_swapper_model",
        "deep_swapper_morph", "expression_restorer_model", "expression_restorer_factor", "expression_restorer_areas",
        "face_debugger_items", "face_editor_model", "face_editor_eyebrow_direction",
        "face_editor_eye_gaze_horizontal", "face_editor_eye_gaze_vertical", "face_editor_eye_open_ratio",
        "face_editor_lip_open_ratio", "face_editor_mouth_grim", "face_editor_mouth_pout", "face_editor_mouth_purse",
        "face_editor_mouth_smile", "face_editor_mouth_position_horizontal", "face_editor_mouth_position_vertical",
        "face_editor_head_pitch", "face_editor_head_yaw", "face_editor_head_roll", "face_enhancer_model",
        "face_enhancer_blend", "face_enhancer_weight", "face_swapper_model", "face_swapper_pixel_boost",
        "face_swapper_weight", "frame_colorizer_model", "frame_colorizer_size", "frame_colorizer_blend",
        "frame_enhancer_model", "frame_enhancer_blend", "lip_syncer_model", "lip_syncer_weight",
    ),
    "uis": ("open_browser", "ui_layouts", "ui_workflow"),
    "download": ("download_providers", "download_scope"),
    "benchmark": ("benchmark_mode", "benchmark_resolutions", "benchmark_cycle_count"),
    "execution": ("execution_device_ids", "execution_providers", "execution_thread_count"),
    "memory": ("video_memory_strategy",),
    "misc": ("log_level", "halt_on_error"),
}  # fmt: skip
"""Every option of FaceFusion 3.8.1 by its key, under the heading that it has there."""

_NO_FILES = "frames never go through files here"
_NO_DOWNLOADS = "nothing is downloaded unasked; see 'facefusion models fetch'"
_A_PAGE = "the page is 'facefusion serve'"
_BENCH = "see 'facefusion models bench'"

NEEDLESS: dict[str, str] = {
    "temp_path": _NO_FILES,
    "temp_frame_format": _NO_FILES,
    "temp_pixel_format": _NO_FILES,
    "face_tracker_score": "people are always followed here",
    "voice_extractor_model": "no processor that is here listens to a voice",
    "target_frame_amount": "smoothing sees the whole clip here",
    "workflow_mode": "what the target is, is seen from its content",
    "workflow_strategy": _NO_FILES,
    "open_browser": _A_PAGE,
    "ui_layouts": _A_PAGE,
    "ui_workflow": _A_PAGE,
    "download_providers": _NO_DOWNLOADS,
    "download_scope": _NO_DOWNLOADS,
    "benchmark_mode": _BENCH,
    "benchmark_resolutions": _BENCH,
    "benchmark_cycle_count": _BENCH,
    "video_memory_strategy": "models stay loaded as long as there is room",
    "halt_on_error": "it counts for job-run-all, job-retry-all and batch-run; elsewhere there is nothing to go on with",
}
"""Options that change nothing here, each with the reason: they are accepted, and said once."""
IS_FLAG = ("open_browser", "halt_on_error")
"""Those that take no value."""

COMMANDS: dict[str, tuple[str, str]] = {
    "force-download": (
        "Nothing is downloaded unasked, and never more than what is named.",
        "Use 'facefusion models fetch ID', with ids from 'facefusion models list'.",
    ),
    "benchmark": (
        "There is no benchmark command.",
        "Use 'facefusion models bench' to time models on this machine; benchmarks/speed.py times whole jobs.",
    ),
}
"""Commands that we do not have, with what is said of each and what to use instead."""


def is_here(name: str) -> bool:
    """Whether an option of a processor of theirs is here, from whatever package."""
    return name in flat_fields()


def processor_of(name: str) -> str:
    """The processor of theirs, not here yet, that an option belongs to; empty for every other option."""
    if name not in OPTIONS["processors"] or is_here(name):
        return ""
    return next((one for one in TO_COME if name.startswith(f"{one}_") and one not in processor_names()), "")


def is_needless(name: str) -> bool:
    """Whether an option of FaceFusion 3 is accepted and changes nothing."""
    return name in NEEDLESS and not is_here(name)


def check_not_missing(name: str, where: str) -> None:
    """Refuse an option of a processor of FaceFusion 3 that is not here yet.

    Raises
    ------
    UnknownOption
    """
    if processor := processor_of(name):
        raise UnknownOption(
            f"'{name}' is an option of FaceFusion 3's {processor}, which is not here yet ({where}).",
            "Leave it out, or install a package that brings that processor.",
        )


def part_needless(values: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Options without those that change nothing here, and a sentence on these; empty where there are none."""
    found = {name: NEEDLESS[name] for name in values if is_needless(name)}
    reasons: dict[str, list[str]] = {}
    for name, why in found.items():
        reasons.setdefault(why, []).append("--" + name.replace("_", "-"))
    told = "; ".join(f"{', '.join(flags)} ({why})" for why, flags in reasons.items())
    rest = {name: value for name, value in values.items() if name not in found}
    return rest, f"Of FaceFusion 3, and without effect here: {told}." if told else ""


def without_needless(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options without those that change nothing here, which are named in one warning."""
    rest, note = part_needless(values)
    if note:
        warnings.warn(note, FaceFusion3Warning, stacklevel=3)
    return rest


class FaceFusion3Warning(FaceFusionWarning):
    """An option of FaceFusion 3 was given that changes nothing here."""


def read_ini(path: Path) -> dict[str, str]:
    """The keys of a ``facefusion.ini`` that are not blank, whatever section they stand in.

    Raises
    ------
    RecipeError
    """
    parser = configparser.ConfigParser(interpolation=None)
    text = load_text(path, RecipeError, "a configuration file")
    with border(RecipeError, f"{path} is not a valid ini file", "Mend that line."):
        parser.read_string(text)
    return {key: value for name in parser.sections() for key, value in parser[name].items() if value.strip()}


def fold(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options with ``processors`` and ``<processor>_<option>`` folded into ``steps``.

    Parameters
    ----------
    values
        By name. Options of a processor go to each of its steps; those of a processor that stands in none become
        presets, which a mapping file may ask for.

    Raises
    ------
    RecipeError, UnknownProcessor, UnknownOption
    """
    flat: dict[str, dict[str, Any]] = {}
    rest: dict[str, Any] = {}
    for key, value in values.items():
        if key in flat_fields():
            spec, name, _ = flat_fields()[key]
            flat.setdefault(spec.name, {})[name] = value
        else:
            rest[key] = value
    if "processors" in rest and "steps" in rest:
        raise RecipeError("Both 'processors' and 'steps' are given.", "Keep one of them.")
    presets = _steps_of(rest.pop("presets", ()), "presets")
    if "steps" in rest:
        steps = _steps_of(rest["steps"], "steps")
    else:
        names = _names_of(rest.pop("processors", default_processors()))
        known = {step.processor: step for step in presets}
        steps = [known[name] if name in known else Step(name) for name in names]
    present = {step.processor for step in steps}
    others = [step for step in presets if step.processor not in present]
    others += [Step(name) for name in flat if name not in present and name not in {o.processor for o in others}]
    rest["steps"] = tuple(_given(step, flat.get(step.processor)) for step in steps)
    others = [_given(step, flat.get(step.processor)) for step in others]
    if others:
        rest["presets"] = tuple({step.processor: step for step in reversed(others)}.values())
    return rest


def _given(step: Step, values: Mapping[str, Any] | None) -> Step:
    return step.with_options(values) if values else step


def _steps_of(value: Any, where: str) -> list[Step]:
    example = f'For example {where} = [{{processor = "{_any_name()}"}}].'
    if not isinstance(value, list | tuple):
        raise RecipeError(f"Option '{where}' is a list of tables, not {value!r}.", example)
    found = []
    for one in value:
        if isinstance(one, Step):
            found.append(one)
        elif isinstance(one, str):
            found.append(Step(one))
        elif isinstance(one, Mapping) and isinstance(one.get("processor"), str):
            found.append(Step.from_table(one))
        else:
            raise RecipeError(f"Option '{where}': {one!r} names no processor.", example)
    return found


def _any_name() -> str:
    return next(iter((*default_processors(), *processor_names())), "NAME")


def _names_of(value: Any) -> list[str]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, Iterable) or not all(isinstance(word, str) for word in words):
        raise RecipeError(f"Option 'processors' is a list of names, not {value!r}.", f"For example {_any_name()}.")
    names = list(words)
    for name in names:
        find_processor(name)
    return names
