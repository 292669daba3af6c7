"""FaceFusion 3's spelling: its flat options are folded into steps, and what it has and we do not is told about, so that
its command lines and its ini file are never half obeyed.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from facefusion.declaration import Step, default_processors, find_processor, flat_fields, processor_names
from facefusion.documents import border, load_text
from facefusion.errors import RecipeError, UnknownOption

_LATER = "It is planned; leave it out for now."
_NO_FILES = "Frames never go through files here; leave it out."

MISSING: dict[str, str] = {
    "temp_path": _NO_FILES,
    "temp_frame_format": _NO_FILES,
    "temp_pixel_format": _NO_FILES,
    "face_tracker_score": "People are always tracked here; leave it out.",
    "voice_extractor_model": _LATER,
    "trim_frame_start": "Use --start with seconds.",
    "trim_frame_end": "Use --end with seconds.",
    "target_frame_amount": "Smoothing sees the whole clip here; leave it out.",
    "output_image_scale": _LATER,
    "output_video_scale": _LATER,
    "output_audio_encoder": "Sound is copied as it is; leave it out.",
    "output_audio_quality": "Sound is copied as it is; leave it out.",
    "output_audio_volume": "Sound is copied as it is; leave it out.",
    "output_video_fps": "Every frame keeps its own time; leave it out.",
    "workflow_mode": "The kind of the target is seen from its content; leave it out.",
    "workflow_strategy": _NO_FILES,
    "open_browser": _LATER,
    "ui_layouts": _LATER,
    "ui_workflow": _LATER,
    "download_providers": "Nothing is downloaded unasked; see 'facefusion models fetch'.",
    "download_scope": "Nothing is downloaded unasked; see 'facefusion models fetch'.",
    "benchmark_mode": "See benchmarks/.",
    "benchmark_resolutions": "See benchmarks/.",
    "benchmark_cycle_count": "See benchmarks/.",
    "video_memory_strategy": "Models stay loaded as long as there is room; leave it out.",
    "log_level": "Use --quiet or --json.",
    "halt_on_error": "A batch goes on and says at the end what failed; leave it out.",
    **dict.fromkeys(
        (
            "age_modifier_model",
            "age_modifier_direction",
            "background_remover_model",
            "background_remover_fill_color",
            "background_remover_despill_color",
            "expression_restorer_model",
            "expression_restorer_factor",
            "expression_restorer_areas",
            "face_debugger_items",
            "face_editor_model",
            "frame_colorizer_model",
            "frame_colorizer_size",
            "frame_colorizer_blend",
            "frame_enhancer_model",
            "frame_enhancer_blend",
            "lip_syncer_model",
            "lip_syncer_weight",
            *(
                f"face_editor_{name}"
                for name in (
                    "eyebrow_direction",
                    "eye_gaze_horizontal",
                    "eye_gaze_vertical",
                    "eye_open_ratio",
                    "lip_open_ratio",
                    "mouth_grim",
                    "mouth_pout",
                    "mouth_purse",
                    "mouth_smile",
                    "mouth_position_horizontal",
                    "mouth_position_vertical",
                    "head_pitch",
                    "head_yaw",
                    "head_roll",
                )
            ),
        ),
        "This processor is not here yet; leave it out.",
    ),
}
"""Options of FaceFusion 3.8 that we do not have, each with what to do instead."""


def check_not_missing(name: str, where: str) -> None:
    """Refuse an option of FaceFusion 3 that we do not have.

    Raises
    ------
    UnknownOption
    """
    if name in MISSING and name not in flat_fields():  # a package may bring what is missing
        raise UnknownOption(f"'{name}' is an option of FaceFusion 3 that is not here ({where}).", MISSING[name])


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
