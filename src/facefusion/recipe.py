"""What the user asks for. A `Recipe` is frozen, complete and the one source of every door:
command-line flags, configuration keys, environment variables and library options.

Adding a field here adds it everywhere. ``flags`` in a field's extra schema are its command-line
spellings; the first long one is shown in messages.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from facefusion.errors import RecipeError, UnknownOption

FaceChoice = Literal["largest", "all"] | tuple[int, ...]
"""Which tracks are changed: the most prominent person, everyone, or track numbers."""

_ALIASES = {
    "frame_processors": "processors",
    "source_path": "source_paths",
    "sources": "source_paths",
    "source": "source_paths",
    "target": "target_path",
    "output": "output_path",
    "start": "start_s",
    "end": "end_s",
}


def _option(default: Any, text: str, *flags: str, group: str, **constraints: Any) -> Any:
    return Field(default, description=text, json_schema_extra={"flags": list(flags), "group": group}, **constraints)


class Recipe(BaseModel):
    """One request, checked on its own; files and models are checked when it is planned.

    Raises
    ------
    RecipeError
        From `build_recipe`, when a value is out of range or an option is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=False)

    source_paths: tuple[Path, ...] = _option(
        (), "photos of the person to take the face from", "-s", "--source", "--sources", "--source-paths", group="paths"
    )
    target_path: Path = _option(Path(), "photo or clip to change", "-t", "--target", "--target-path", group="paths")
    output_path: Path = _option(Path(), "where the result goes", "-o", "--output", "--output-path", group="paths")

    processors: tuple[str, ...] = _option(
        ("face_swapper",), "what is done, in this order", "--processors", "--frame-processors", group="processing"
    )
    face_swapper_model: str = _option("mesh", "model of the face swapper", "--face-swapper-model", group="processing")
    face_swapper_blend: Literal["feather", "pyramid", "poisson"] = _option(
        "feather", "how the new face is joined to the frame", "--face-swapper-blend", group="processing"
    )
    face_swapper_light: Annotated[float, Field(ge=0, le=1)] = _option(
        1.0,
        "how much of the target's light and colour the new face takes, 0 to 1",
        "--face-swapper-light",
        group="processing",
    )
    face_mask_blur: Annotated[float, Field(ge=0, le=1)] = _option(
        0.3, "softness of the mask's edge, 0 to 1", "--face-mask-blur", group="processing"
    )
    faces: FaceChoice = _option(
        "largest", "which people are changed: largest, all, or track numbers such as 0,2", "--faces", group="processing"
    )

    face_detector_model: str = _option("embedded", "face detector", "--face-detector-model", group="analysis")
    face_detector_size: Annotated[int, Field(ge=64, le=4096)] = _option(
        1280, "longest side at which the detector looks at a picture, px", "--face-detector-size", group="analysis"
    )
    face_detector_score: Annotated[float, Field(ge=0, le=1)] = _option(
        0.5, "lowest score of a detection, 0 to 1", "--face-detector-score", group="analysis"
    )
    face_detector_interval: Annotated[int, Field(ge=1, le=240)] = _option(
        12,
        "detect again every so many frames; in between faces are followed",
        "--face-detector-interval",
        group="analysis",
    )
    face_landmarker_model: str = _option("embedded", "face mesh model", "--face-landmarker-model", group="analysis")
    face_tracker_smoothing: Annotated[float, Field(ge=0, le=1)] = _option(
        1.0, "smoothing of the mesh over time, 0 to 1", "--face-tracker-smoothing", group="analysis"
    )

    start_s: Annotated[float, Field(ge=0)] | None = _option(
        None, "start of the part to keep, s", "--start", group="output"
    )
    end_s: Annotated[float, Field(gt=0)] | None = _option(None, "end of the part to keep, s", "--end", group="output")
    output_image_quality: Annotated[int, Field(ge=0, le=100)] = _option(
        92, "quality of JPEG and WebP, 0 to 100", "--output-image-quality", group="output"
    )
    output_video_encoder: Literal["libx264", "libx265", "libsvtav1"] = _option(
        "libx264", "video encoder", "--output-video-encoder", group="output"
    )
    output_video_preset: Literal[
        "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
    ] = _option("veryfast", "speed against size of the encoder", "--output-video-preset", group="output")
    output_video_quality: Annotated[int, Field(ge=0, le=100)] = _option(
        80, "quality of the video, 0 to 100 (80 is visually lossless)", "--output-video-quality", group="output"
    )
    allow_8bit: bool = _option(
        False, "accept targets of more than 8 bits and reduce them", "--allow-8bit", group="output"
    )
    allow_empty: bool = _option(
        False, "copy a clip without any face instead of failing", "--allow-empty", group="output"
    )

    execution_providers: tuple[str, ...] = _option(
        ("cpu",), "ONNX Runtime providers, in order of preference", "--execution-providers", group="execution"
    )
    execution_thread_count: Annotated[int, Field(ge=0, le=256)] = _option(
        0, "threads; 0 takes as many as there are cores", "--execution-thread-count", group="execution"
    )

    @field_validator("source_paths", "processors", "execution_providers", mode="before")
    @classmethod
    def _one_is_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str | Path) else value

    @field_validator("faces", mode="before")
    @classmethod
    def _read_faces(cls, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            return (value,)
        if isinstance(value, str) and value not in ("largest", "all"):
            parts = [part.strip() for part in value.split(",")]
            if not all(part.isdigit() for part in parts):
                raise ValueError("must be largest, all, or track numbers such as 0,2")
            return tuple(int(part) for part in parts)
        return value

    @model_validator(mode="after")
    def _check_span(self) -> Recipe:
        if self.start_s is not None and self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"--end ({self.end_s} s) must be later than --start ({self.start_s} s)")
        return self


def build_recipe(options: dict[str, Any]) -> Recipe:
    """Build a recipe from loose options.

    Parameters
    ----------
    options
        Field names of `Recipe` (older spellings such as ``frame_processors`` are understood).

    Returns
    -------
    The checked recipe.

    Raises
    ------
    UnknownOption
        For a name that is not an option; the nearest one is suggested.
    RecipeError
        For a value that is out of range, naming the option and the rule.
    """
    known = Recipe.model_fields
    values: dict[str, Any] = {}
    for key, value in options.items():
        name = _ALIASES.get(key, key).replace("-", "_")
        if name not in known:
            raise UnknownOption(f"There is no option '{key}'.", suggest(key, [*known, *_ALIASES]))
        if name in values:
            raise RecipeError(f"'{key}' and another spelling of it are both given.", "Keep one of them.")
        values[name] = value
    try:
        return Recipe(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][:1]) or "recipe"
        message = str(first["msg"]).removeprefix("Value error, ")
        raise RecipeError(
            f"Option '{where}': {message} (given: {first.get('input')!r}).",
            f"{known[where].description}." if where in known else "",
        ) from error


def suggest(name: str, known: list[str]) -> str:
    """A hint that names the nearest known word, or all of them when none is near."""
    near = difflib.get_close_matches(name.replace("-", "_"), known, n=1, cutoff=0.5)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Known: {', '.join(sorted(known))}."
