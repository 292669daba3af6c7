"""What the user asks for. A `Recipe` is frozen, complete and the one source of every door:
command-line flags, configuration keys, environment variables and library options.

Adding a field here adds it everywhere; options of a processor are added to its own class (`facefusion.declaration`).
``flags`` in a field's extra schema are its command-line spellings; the first long one is shown in messages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from facefusion.declaration import Step, default_processors, flat_fields, option, reserve, suggest, union, words_of
from facefusion.errors import RecipeError, UnknownOption
from facefusion.facefusion3 import check_not_missing, fold, is_needless, without_needless
from facefusion.wording import counted

FaceChoice = Literal["largest", "all"] | tuple[Annotated[int, Field(ge=0, le=2**31 - 1)], ...]
"""Which tracks are changed: the most prominent person, everyone, or track numbers."""

Percent = Annotated[int, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
MAX_S = 10_000_000
"""Longest time that can be asked for, seconds: some four months."""
MaskType = Literal["box", "occlusion", "area", "region"]
MaskArea = Literal["upper-face", "lower-face", "mouth"]
MaskRegion = Literal[
    "skin",
    "left-eyebrow",
    "right-eyebrow",
    "left-eye",
    "right-eye",
    "glasses",
    "nose",
    "mouth",
    "upper-lip",
    "lower-lip",
]
SelectorOrder = Literal[
    "left-right",
    "right-left",
    "top-bottom",
    "bottom-top",
    "small-large",
    "large-small",
    "best-worst",
    "worst-best",
]
MASK_AREAS: tuple[MaskArea, ...] = get_args(MaskArea)
MASK_REGIONS: tuple[MaskRegion, ...] = get_args(MaskRegion)

_ALIASES = {
    "frame_processors": "processors",
    "source_path": "source_paths",
    "sources": "source_paths",
    "source": "source_paths",
    "target": "target_path",
    "output": "output_path",
    "start": "start_s",
    "end": "end_s",
    "step": "steps",
}


_option = option


class _Flat(BaseModel):
    """Options that are spelled beside those of a recipe and folded into its steps."""

    processors: tuple[str, ...] = _option(
        (), "what is done, in this order", "--processors", "--frame-processors", group="processing"
    )


CONSENT_REF = r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$"
"""How consents are called: a short name without a place, since it is written into outputs."""
GROUPS = ("paths", "processing", "masks", "selection", "analysis", "output", "execution", "models")
"""Headings of options, in the order of the help page."""
INNER = ("steps", "presets", "people", "decisions")
"""Fields that have no flag."""


WORKING_FOLDER_GONE = (
    "The working folder is gone, so paths that are relative to it lead nowhere.",
    "Go to a folder that is there, or give whole paths.",
)
"""What is wrong, and what to do next."""


def known_options() -> Mapping[str, Any]:
    """Every option by its flat spelling, with its field: those of a recipe and those of all processors."""
    own = {name: field for name, field in Recipe.model_fields.items() if name not in INNER}
    chain = copy(_Flat.model_fields["processors"])
    chain.default = default_processors()
    flat = flat_fields()
    every = {**own, "processors": chain, **{name: field for name, (_, _, field) in flat.items()}}

    def rank(name: str) -> tuple[int, bool]:
        """Options of processors stand behind those of processing."""
        is_of_processor = name in flat
        group = "processing" if is_of_processor else str(every[name].json_schema_extra["group"])
        return GROUPS.index(group), is_of_processor

    return {name: every[name] for name in sorted(every, key=rank)}


def spelled() -> Mapping[str, tuple[str, tuple[str, ...]]]:
    """Heading on help pages, and spellings on the command line, of every option."""
    flat = flat_fields()
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for name, field in known_options().items():
        extra: Any = field.json_schema_extra
        if name in flat:
            spec, option_name, _ = flat[name]
            found[name] = spec.name.replace("_", " "), (spec.flag(option_name), *extra["flags"])
        else:
            found[name] = str(extra["group"]), tuple(extra["flags"])
    return found


def flags_of(name: str) -> tuple[str, ...]:
    """Spellings of an option on the command line."""
    return spelled()[name][1]


_FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z0-9-]*(?![\w-])")


def for_programs(text: str) -> str:
    """A sentence in which options are called as programs call them, and not by their flags."""
    return _FLAG.sub(lambda found: _by_flag(frozenset(known_options())).get(found[0], found[0]), text)


@lru_cache(maxsize=4)
def _by_flag(names: frozenset[str]) -> Mapping[str, str]:
    return {flag: name for name in names for flag in flags_of(name)}


def group_of(name: str) -> str:
    """Heading under which an option stands on help pages."""
    return spelled()[name][0]


class Person(BaseModel):
    """One entry of a mapping file, read.

    Attributes
    ----------
    track
        Track number, or None where something else tells who it is.
    number
        Number of the person in the target, with all of their tracks: as `faces` takes it.
    places
        Where the person of that number is seen: number of the frame in the target, and x and y of the middle of the
        face as shares of width and height. They tell who is meant where numbers are others.
    reference
        Photo of the person in the target.
    sources
        Photos of the person whose face is taken.
    steps
        What is done, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    track: int | None = None
    number: int | None = None
    places: tuple[tuple[int, float, float], ...] = ()
    reference: Path | None = None
    sources: tuple[Path, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def processors(self) -> tuple[str, ...]:
        """Names of the processors, in order."""
        return tuple(step.processor for step in self.steps)


class Decision(BaseModel):
    """What somebody decided on a find when they reviewed an output.

    Attributes
    ----------
    area
        Number of the find, as the review page tells it.
    at_s, box
        When and where it is, seconds and xyxy in pixels: the find of that number has to lie there.
    verdict
        ``face``: it is one, and is hidden as all are. ``none``: it is none, and is left alone. ``exempt``: whoever it
        is is left as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    area: Annotated[int, Field(ge=0)]
    at_s: Annotated[float, Field(ge=0)]
    box: tuple[float, float, float, float]
    verdict: Literal["face", "none", "exempt"]


class Request(BaseModel):
    """Where: files that are read and written. Those that are read count by what is in them, not by their names."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=False, allow_inf_nan=False)

    source_paths: tuple[Path, ...] = _option(
        (), "photos of the person to take the face from", "-s", "--source", "--sources", "--source-paths", group="paths"
    )
    target_path: Path = _option(
        Path(),
        "photo or clip to change, or numbered pictures (frames/%04d.png)",
        "-t",
        "--target",
        "--target-path",
        group="paths",
    )
    output_path: Path = _option(
        Path(),
        "where the result goes; a clip as numbered pictures to out/%04d.png",
        "-o",
        "--output",
        "--output-path",
        group="paths",
    )
    frame_rate: Annotated[float, Field(gt=0, le=1000)] | None = _option(
        None,
        "frames a second of a target that is numbered pictures (else 25), such as 24 or 24000/1001, which 23.976 means "
        "too; with it a folder is such a target",
        "--frame-rate",
        group="paths",
    )
    first_number: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = _option(
        None,
        "number of the first picture where the output is numbered pictures (that of the target's pictures, else 1)",
        "--first-number",
        group="paths",
    )
    exempt_paths: tuple[Path, ...] = _option(
        (), "photos of people who are left as they are", "--exempt", "--exempt-paths", group="selection"
    )
    reference_face_path: Path | None = _option(
        None, "photo of the person to change, for mode reference", "--reference-face-path", group="selection"
    )
    face_map_path: Path | None = _option(
        None, "TOML file that gives every person their own sources", "--face-map", "--face-map-path", group="selection"
    )
    review_path: Path | None = _option(
        None,
        "decisions that were made on the review page of an earlier run: faces, no faces, and who is exempt",
        "--review",
        "--review-path",
        group="selection",
    )
    report_path: Path | None = _option(
        None,
        "HTML page with figures, plots and the frames to look at; a JSON file goes beside it",
        "--report",
        "--report-path",
        group="output",
    )
    mask_path: Path | None = _option(
        None,
        "where the output is new, as a matte: clip (.mkv, .mov, .mp4), folder of PNG pictures, or picture of a photo",
        "--save-mask",
        "--mask-path",
        group="output",
    )
    layer_path: Path | None = _option(
        None,
        "what is new as a layer with alpha, for compositors: clip (.mkv, .mov), folder of PNG pictures, or picture",
        "--save-layer",
        "--layer-path",
        group="output",
    )
    fail_under: tuple[str, ...] = _option(
        (),
        "worst figures that are accepted, such as similarity_source=0.4 flicker=1.1",
        "--fail-under",
        group="output",
    )


class Execution(BaseModel):
    """On what: options of the machine. The result does not depend on them, so workers may have others."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=False, allow_inf_nan=False)

    execution_providers: tuple[str, ...] = _option(
        ("cpu",), "ONNX Runtime providers, in order of preference", "--execution-providers", group="execution"
    )
    execution_thread_count: Annotated[int, Field(ge=0, le=256)] = _option(
        0, "threads; 0 takes as many as there are cores", "--execution-thread-count", group="execution"
    )
    execution_device_ids: tuple[Annotated[int, Field(ge=0, le=63)], ...] = _option(
        (0,), "devices of the provider; processes take them in turn", "--execution-device-ids", group="execution"
    )
    models_paths: tuple[str, ...] = _option(
        (),
        "folders or object storage URLs with models; a FaceFusion models folder too",
        "--models-path",
        group="models",
    )
    licences: Literal["commercial", "research", "any"] = _option(
        "commercial", "which models may run: commercial, research or any", "--licences", group="models"
    )


class Recipe(Request, Execution):
    """One request, checked on its own; files and models are checked when it is planned.

    A recipe says what; what `Request` and `Execution` say, where and on what, is beside it. Precision and batch size
    are part of the recipe, since they change bytes.

    What is done stands in ``steps``. The flat spelling (``processors`` and ``<processor>_<option>``) is understood too.

    Raises
    ------
    RecipeError
        From `build_recipe`, when a value is out of range or an option is unknown.
    """

    def __init__(self, **values: Any) -> None:
        super().__init__(**with_caution(fold(values)))

    steps: tuple[Step, ...] = _option((), "what is done, in this order", group="processing", validate_default=False)
    presets: tuple[Step, ...] = _option(
        (), "options of processors that only a mapping file names", group="processing", validate_default=False
    )
    people: tuple[Person, ...] = _option(
        (), "the mapping file as it was read when the job was planned", group="selection", validate_default=False
    )
    decisions: tuple[Decision, ...] = _option(
        (), "the review decisions as they were read when the job was planned", group="selection", validate_default=False
    )
    exempt_faces: tuple[Count, ...] = _option(
        (), "numbers of people who are left as they are", "--exempt-faces", group="selection"
    )
    face_mask_types: tuple[MaskType, ...] = _option(
        ("box", "occlusion"),
        "masks, combined by minimum: box, occlusion, area, region",
        "--face-mask-types",
        group="masks",
    )
    face_mask_blur: Share = _option(0.3, "softness of the mask's edge, 0 to 1", "--face-mask-blur", group="masks")
    face_mask_padding: tuple[Percent, ...] = _option(
        (0,),
        "percent cut off the box mask: one to four numbers, top right bottom left",
        "--face-mask-padding",
        group="masks",
    )
    face_mask_areas: tuple[MaskArea, ...] = _option(
        MASK_AREAS, "parts of the face that the area mask keeps", "--face-mask-areas", group="masks"
    )
    face_mask_regions: tuple[MaskRegion, ...] = _option(
        MASK_REGIONS, "parts of the face that the region mask keeps", "--face-mask-regions", group="masks"
    )
    face_occluder_model: str = _option(
        "embedded",
        "model of the occlusion mask: embedded, xseg_1 to 3, or many",
        "--face-occluder-model",
        group="masks",
    )
    face_parser_model: str = _option(
        "embedded", "model of the region mask: embedded, bisenet_resnet_18 or 34", "--face-parser-model", group="masks"
    )
    faces: FaceChoice = _option(
        "largest", "which people are changed: largest, all, or their numbers, such as 0,2", "--faces", group="selection"
    )
    face_selector_mode: Literal["reference", "one", "many"] | None = _option(
        None,
        "who is changed: whoever looks like the reference, one person, or many; without it --faces decides",
        "--face-selector-mode",
        group="selection",
    )
    face_selector_order: SelectorOrder = _option(
        "large-small", "order in which people are counted", "--face-selector-order", group="selection"
    )
    face_selector_age_start: Percent | None = _option(
        None, "only people of this age and older", "--face-selector-age-start", group="selection"
    )
    face_selector_age_end: Percent | None = _option(
        None, "only people younger than this", "--face-selector-age-end", group="selection"
    )
    face_selector_gender: Literal["auto", "female", "male"] | None = _option(
        None, "only people of this gender; auto takes the source's", "--face-selector-gender", group="selection"
    )
    face_selector_race: Literal["auto", "white", "black", "latino", "asian", "indian", "arabic"] | None = _option(
        None, "only people of this appearance; auto takes the source's", "--face-selector-race", group="selection"
    )
    reference_face_position: Count = _option(
        0, "which person of the reference frame, in selector order", "--reference-face-position", group="selection"
    )
    reference_face_distance: Share = _option(
        0.3, "how far a face may be from the reference, 0 to 1", "--reference-face-distance", group="selection"
    )
    reference_frame_number: Count = _option(
        0, "frame of the target that shows the reference", "--reference-frame-number", group="selection"
    )
    motion_smoothing: Share = _option(
        0.4,
        "how strongly the change is steadied along the motion of the target, 0 to 1; photos are not touched",
        "--motion-smoothing",
        group="processing",
    )
    finish_matching: Share = _option(
        1.0,
        "how far sharpness and grain of the new face are made those of the shot, 0 to 1",
        "--finish-matching",
        group="processing",
    )
    optical_flow_model: str = _option(
        "dis",
        "optical flow that steadies the change: dis, or a RAFT of yours",
        "--optical-flow-model",
        group="processing",
    )
    face_detector_model: str = _option("embedded", "face detector", "--face-detector-model", group="analysis")
    face_detector_size: Annotated[int, Field(ge=64, le=4096)] = _option(
        1280, "longest side at which the detector looks at a picture, px", "--face-detector-size", group="analysis"
    )
    face_detector_score: Annotated[float, Field(ge=0, le=1)] = _option(
        0.5, "lowest score of a detection, 0 to 1", "--face-detector-score", group="analysis"
    )
    face_detector_margin: tuple[Percent, ...] = _option(
        (0,),
        "percent of the picture added around it: one to four numbers, top right bottom left",
        "--face-detector-margin",
        group="analysis",
    )
    face_detector_angles: tuple[Literal[0, 90, 180, 270], ...] = _option(
        (0,), "turns of the picture in which faces are looked for", "--face-detector-angles", group="analysis"
    )
    face_detector_interval: Annotated[int, Field(ge=1, le=240)] = _option(
        12,
        "detect again every so many frames; in between faces are followed",
        "--face-detector-interval",
        group="analysis",
    )
    face_landmarker_model: str = _option("embedded", "face mesh model", "--face-landmarker-model", group="analysis")
    face_landmarker_score: Share = _option(
        0.5, "lowest score at which a 68-point landmarker is believed", "--face-landmarker-score", group="analysis"
    )
    face_identifier_model: str = _option(
        "embedded", "model that tells people apart", "--face-identifier-model", group="analysis"
    )
    face_classifier_model: str = _option(
        "fairface", "model that estimates age, gender and appearance", "--face-classifier-model", group="analysis"
    )
    face_tracker_smoothing: Annotated[float, Field(ge=0, le=1)] = _option(
        1.0, "smoothing of the mesh over time, 0 to 1", "--face-tracker-smoothing", group="analysis"
    )
    start_s: Annotated[float, Field(ge=0, le=MAX_S)] | None = _option(
        None, "start of the part to keep: seconds, or 00:01:02.5", "--start", group="output"
    )
    end_s: Annotated[float, Field(gt=0, le=MAX_S)] | None = _option(
        None, "end of the part to keep: seconds, or 00:01:02.5", "--end", group="output"
    )
    trim_frame_start: Count | None = _option(
        None, "first frame of the part to keep, counted from 0", "--trim-frame-start", group="output"
    )
    trim_frame_end: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = _option(
        None, "the frame behind the last one of the part to keep", "--trim-frame-end", group="output"
    )
    output_image_quality: Annotated[int, Field(ge=0, le=100)] = _option(
        92, "quality of JPEG, WebP, HEIC and AVIF, 0 to 100", "--output-image-quality", group="output"
    )
    output_video_encoder: Literal[
        "libx264",
        "libx265",
        "libsvtav1",
        "libvpx-vp9",
        "prores_ks",
        "ffv1",
        "h264_nvenc",
        "hevc_nvenc",
        "h264_qsv",
        "hevc_qsv",
        "h264_amf",
        "hevc_amf",
        "h264_videotoolbox",
        "hevc_videotoolbox",
    ] = _option(
        "libx264",
        "video encoder: libx264, libx265, libsvtav1, libvpx-vp9, prores_ks, ffv1 (no loss), or one of hardware",
        "--output-video-encoder",
        group="output",
    )
    output_video_preset: Literal[
        "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
    ] = _option("veryfast", "speed against size of the encoder", "--output-video-preset", group="output")
    output_video_quality: Annotated[int, Field(ge=0, le=100)] = _option(
        80, "quality of the video, 0 to 100 (80 is visually lossless)", "--output-video-quality", group="output"
    )
    output_image_scale: Annotated[float, Field(ge=0.05, le=8)] = _option(
        1.0, "sides of an output photo over those of the target, 0.05 to 8", "--output-image-scale", group="output"
    )
    output_video_scale: Annotated[float, Field(ge=0.05, le=8)] = _option(
        1.0, "sides of an output clip over those of the target, 0.05 to 8", "--output-video-scale", group="output"
    )
    output_video_fps: Annotated[float, Field(gt=0, le=1000)] | None = _option(
        None,
        "frames per second at most: frames in between are left out, and none is made up",
        "--output-video-fps",
        group="output",
    )
    segment_s: Annotated[float, Field(ge=1, le=600)] = _option(
        8.0,
        "length of the parts that a clip is rendered in, s; a part is what is lost at most when something breaks",
        "--segment-length",
        group="output",
    )
    output_audio: Literal["keep", "convert", "none"] = _option(
        "keep",
        "sound of the target: keep it as it is, convert what the output's container cannot hold, or none",
        "--audio",
        "--output-audio",
        group="output",
    )
    output_audio_encoder: (
        Literal["aac", "libmp3lame", "libopus", "libvorbis", "flac", "alac", "pcm_s16le", "pcm_s32le"] | None
    ) = _option(
        None,
        "convert all sound with this encoder: aac, libopus, libmp3lame, libvorbis, flac, alac, pcm_s16le or pcm_s32le",
        "--output-audio-encoder",
        group="output",
    )
    output_audio_quality: Percent = _option(
        80, "quality of sound that is converted, 0 to 100", "--output-audio-quality", group="output"
    )
    output_audio_volume: Percent = _option(
        100, "volume of the sound, percent; other than 100 converts it, and 0 leaves it out", "--output-audio-volume",
        group="output",
    )  # fmt: skip
    drop_tracks: tuple[str, ...] = _option(
        (),
        "other tracks of the target that are left out: audio, subtitle, data, attachment, picture, or their numbers",
        "--drop-tracks",
        group="output",
    )
    keep_metadata: bool = _option(
        False,
        "keep metadata that tells who, where and when (place, owner, camera, dates, titles) when people are anonymised",
        "--keep-metadata",
        group="output",
    )
    strict: bool = _option(
        False,
        "refuse targets that are damaged or incomplete instead of doing what can be done",
        "--strict",
        group="output",
    )
    allow_8bit: bool = _option(
        False, "accept targets of more than 8 bits and reduce them", "--allow-8bit", group="output"
    )
    consent: tuple[Annotated[str, Field(pattern=CONSENT_REF)], ...] = _option(
        (), "references of the consents under which it is done (see docs/policy.md)", "--consent", group="output"
    )
    allow_empty: bool = _option(
        False, "copy a clip without any face instead of failing", "--allow-empty", group="output"
    )
    execution_precision: Literal["model", "half"] = _option(
        "model",
        "arithmetic of models that make pictures: as their file says, or 16 bits (tensorrt, openvino, openvino_cpu)",
        "--execution-precision",
        group="execution",
    )
    execution_batch_size: Annotated[int, Field(ge=1, le=64)] = _option(
        1, "frames whose faces go through a model together", "--execution-batch-size", group="execution"
    )

    @field_validator(
        "source_paths",
        "exempt_paths",
        "exempt_faces",
        "fail_under",
        "drop_tracks",
        "execution_providers",
        "models_paths",
        "face_mask_types",
        "face_mask_areas",
        "face_mask_regions",
        "face_mask_padding",
        "face_detector_margin",
        "face_detector_angles",
        "execution_device_ids",
        "consent",
        mode="before",
    )
    @classmethod
    def _one_is_many(cls, value: object) -> object:
        for one in value if isinstance(value, tuple | list) else (value,):
            check_no_picture(one)
        return (value,) if isinstance(value, str | Path | int) else value

    @field_validator("start_s", "end_s", mode="before")
    @classmethod
    def _read_times(cls, value: object) -> object:
        return read_time(value)

    @field_validator("frame_rate", "output_video_fps", mode="before")
    @classmethod
    def _read_rate(cls, value: object) -> object:
        """A rate such as 24000/1001."""
        found = _RATE.fullmatch(value) if isinstance(value, str) else None
        return int(found[1]) / int(found[2]) if found and int(found[2]) else value

    @field_validator("face_detector_angles", mode="before")
    @classmethod
    def _read_angles(cls, value: object) -> object:
        words = value if isinstance(value, tuple | list) else (value,)
        return tuple(int(word) if isinstance(word, str) and word.isdigit() else word for word in words)

    @field_validator("face_detector_size", mode="before")
    @classmethod
    def _read_size(cls, value: object) -> object:
        """A FaceFusion size such as 640x640 is its longer side."""
        parts = value.lower().split("x") if isinstance(value, str) else []
        return max(int(part) for part in parts) if len(parts) == 2 and all(p.isdigit() for p in parts) else value

    @field_validator("face_mask_padding", "face_detector_margin")
    @classmethod
    def _check_four(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not 1 <= len(value) <= 4:
            raise ValueError("takes one to four numbers")
        return value

    @field_validator("execution_device_ids", "face_mask_types", "face_detector_angles")
    @classmethod
    def _check_some(cls, value: tuple[object, ...]) -> tuple[object, ...]:
        if not value:
            raise ValueError("needs at least one value")
        return value

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

    @field_validator("source_paths", "exempt_paths", "models_paths")
    @classmethod
    def _check_names(cls, value: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(check_name(path) for path in value)

    @field_validator(
        "target_path", "output_path", "report_path", "mask_path", "layer_path", "reference_face_path", "face_map_path",
        "review_path",
    )  # fmt: skip
    @classmethod
    def _check_one_name(cls, value: object) -> object:
        return check_name(value)

    @field_validator("target_path", "reference_face_path", "source_paths", "exempt_paths")
    @classmethod
    def _check_are_here(cls, value: Any) -> Any:
        for path in value if isinstance(value, tuple) else (value,):
            if isinstance(path, Path):
                check_is_here(path)
        return value

    @field_validator(
        "target_path", "output_path", "report_path", "reference_face_path", "face_map_path", "source_paths",
        "exempt_paths", "models_paths", mode="before",
    )  # fmt: skip
    @classmethod
    def _check_no_blank(cls, value: object) -> object:
        return check_no_blank(value)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What differs from the default."""
        return [
            (name, getattr(self, name))
            for name, field in type(self).model_fields.items()
            if getattr(self, name) != field.default
        ]

    @property
    def has_layer(self) -> bool:
        """Whether what is changed is wanted by itself."""
        return self.mask_path is not None or self.layer_path is not None

    @property
    def execution(self) -> Execution:
        """What it says about the machine."""
        return Execution(**{name: getattr(self, name) for name in Execution.model_fields})

    @property
    def request(self) -> Request:
        """What it says about files."""
        return Request(**{name: getattr(self, name) for name in Request.model_fields})

    @property
    def processors(self) -> tuple[str, ...]:
        """Names of the processors, in order."""
        return tuple(step.processor for step in self.steps)

    def step_of(self, processor: str) -> Step:
        """The first step of a processor; with the options that are known of it where it stands in none.

        Raises
        ------
        UnknownProcessor
        """
        found = (step for step in (*self.steps, *self.presets) if step.processor == processor)
        return next(found, None) or Step(processor)

    def with_options(self, **values: Any) -> Recipe:
        """The same recipe with other options, in any spelling of `build_recipe`; they are checked."""
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        if "processors" in values:
            # Steps that stay keep their options.
            names = _words(values.pop("processors"))
            kept |= {"steps": [self.step_of(str(name)) for name in names], "presets": (*self.steps, *self.presets)}
        return build_recipe({**kept, **values})

    @model_validator(mode="after")
    def _check_ages(self) -> Recipe:
        start, end = self.face_selector_age_start, self.face_selector_age_end
        if start is not None and end is not None and end <= start:
            raise ValueError(f"--face-selector-age-end ({end}) must be above --face-selector-age-start ({start})")
        return self

    @model_validator(mode="after")
    def _check_frames(self) -> Recipe:
        first, last = self.trim_frame_start, self.trim_frame_end
        if first is not None and last is not None and last <= first:
            raise ValueError(f"--trim-frame-end ({last}) must be above --trim-frame-start ({first})")
        for time, frame, what in ((self.start_s, first, "start"), (self.end_s, last, "end")):
            if time is not None and frame is not None:
                raise ValueError(f"--{what} and --trim-frame-{what} both say where the part to keep {what}s")
        return self

    @model_validator(mode="after")
    def _check_span(self) -> Recipe:
        if self.start_s is not None and self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"The end ({self.end_s} s) must be later than the start ({self.start_s} s)")
        return self


reserve([*Recipe.model_fields, *_Flat.model_fields, *_ALIASES])


_CLOCK = re.compile(r"(?:(?P<h>\d{1,4}):)?(?P<m>\d{1,2}):(?P<s>\d{1,2}(?:[.,]\d{1,9})?)")


_RATE = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*")


def read_time(value: object) -> object:
    """Seconds of a time that is written as ``01:02`` or ``00:01:02.5``; everything else as it is."""
    found = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return value
    seconds = float(found["s"].replace(",", "."))
    if seconds >= 60 or (found["h"] is not None and int(found["m"]) >= 60):
        raise ValueError("is no time: minutes and seconds go up to 59")
    return int(found["h"] or 0) * 3600 + int(found["m"]) * 60 + seconds


def check_name(path: object) -> object:
    """A path that a system can have been given, or ValueError."""
    if "\0" in str(path):
        raise ValueError("holds a null character")
    return path


_ADDRESS = re.compile(r"(?:^|/)([a-z][a-z0-9+]{1,9}):/", re.IGNORECASE)


def check_is_here(path: Path) -> Path:
    """A path of this machine, or ValueError: addresses and standard input are not read."""
    address = _ADDRESS.search(str(path))
    if address and address[1].lower() in _SCHEMES and not os.path.lexists(path):
        raise ValueError("addresses are not read; fetch the file first, and name it")
    if path.name == "-" and not os.path.lexists(path):
        raise ValueError("standard input is not read; write it to a file first, and name that")
    return path


_SCHEMES = ("http", "https", "ftp", "sftp", "s3", "gs", "rtsp", "rtmp", "rtp", "udp", "tcp", "srt", "data", "file")


def check_no_blank(value: object) -> object:
    """Paths, or ValueError: an empty one is a variable that nobody set, and would mean the folder one is in."""
    several = value if isinstance(value, list | tuple | set | frozenset) else [value]
    if any(isinstance(one, str | Path) and not str(one).strip() for one in several):
        raise ValueError("an empty path names nothing")
    return check_no_picture(value)


def check_no_picture(value: object) -> object:
    """What can be a value of an option, or ValueError: pictures in memory are none."""
    if isinstance(value, bytes | bytearray | memoryview) or hasattr(value, "__array_interface__"):
        raise ValueError("takes paths, not pictures in memory; Swapper and Anonymiser take those")
    return value


NAMED_OPTION = re.compile(r"\bOption '([a-z][a-z0-9_]*)':")
"""An option in a sentence of `refusal_of`: doors call it as it was given to them."""


def refusal_of(error: ValidationError, fields: Mapping[str, Any], fallback: str) -> tuple[str, str]:
    """What is wrong with which option, and what the option is for."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][:1]) or fallback
    message = words_of(first)
    if not first["loc"]:  # a rule between options names them itself, and what was given is all of it
        return f"{message[:1].upper()}{message[1:].rstrip('.')}.", "Change one of them."
    given = _spelled(first.get("input"))
    given = given if len(given) <= 100 else f"{given[:100]}…"
    return (
        f"Option '{where}': {message} (given: {given}).",
        f"{fields[where].description}." if where in fields else "",
    )


def _spelled(value: object) -> str:
    """A value that was given, without what is in a file or an array."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{counted(len(value), 'byte')}>"
    if hasattr(value, "__array_interface__"):
        return f"<{type(value).__name__}>"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_spelled, value[:8]))}{'' if len(value) <= 8 else ', …'})"
    return repr(value)


def _words(value: object) -> tuple[object, ...]:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else ()


def build_recipe(options: Mapping[str, Any]) -> Recipe:
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
    if not isinstance(options, Mapping):
        raise RecipeError(f"Options are names with their values, not {type(options).__name__}.", "Give a dict.")
    known = known_options()
    values: dict[str, Any] = {}
    for key, value in options.items():
        name = _ALIASES.get(key, key).replace("-", "_") if isinstance(key, str) else ""
        check_not_missing(name, "options")
        if is_needless(name):
            values[name] = value
            continue
        if name not in known and name not in INNER:
            raise UnknownOption(f"There is no option '{key}'.", suggest(str(key), [*known, *_ALIASES]))
        if name in values:
            raise RecipeError(f"'{key}' and another spelling of it are both given.", "Keep one of them.")
        values[name] = value
    values = without_needless(values)
    try:
        return Recipe(**values)
    except ValidationError as error:
        raise RecipeError(*refusal_of(error, known, "recipe")) from error


def with_caution(values: dict[str, Any], steps: Sequence[Step] | None = None) -> dict[str, Any]:
    """Options of a recipe with what its steps want where nobody has given it.

    Parameters
    ----------
    values
        Fields of `Recipe` that were given.
    steps
        Others than the recipe's.
    """
    wanted = union(step.requirements for step in (values.get("steps", ()) if steps is None else steps)).cautious
    return {**wanted, **values}


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe with paths that mean the same in every folder: spelled in one way, with no links in their folders.

    Inputs are named by the file that a link leads to. What is written, and the mapping file, which others are relative
    to, keep their own name.

    Raises
    ------
    RecipeError
        For a relative path where the working folder is gone.
    """
    values: dict[str, Any] = {}
    try:
        for name in ("target_path", "reference_face_path", "review_path"):
            values[name] = _absolute(getattr(recipe, name), is_followed=True)
        for name in ("output_path", "report_path", "mask_path", "layer_path", "face_map_path"):
            values[name] = _absolute(getattr(recipe, name), is_followed=False)
        for name in ("source_paths", "exempt_paths"):
            values[name] = tuple(_absolute(path, is_followed=True) for path in getattr(recipe, name))
        values["people"] = tuple(
            person.model_copy(
                update={
                    "reference": _absolute(person.reference, is_followed=True),
                    "sources": tuple(_absolute(path, is_followed=True) for path in person.sources),
                }
            )
            for person in recipe.people
        )
        values["models_paths"] = tuple(
            place if "://" in place or not place else str(_absolute(Path(place), is_followed=False))
            for place in recipe.models_paths
        )
    except FileNotFoundError as error:
        raise RecipeError(*WORKING_FOLDER_GONE) from error
    return recipe.model_copy(update=values)


def _absolute(path: Path | None, is_followed: bool) -> Path | None:
    if path is None or path == Path():
        return path
    if is_followed and os.path.isfile(path):
        return Path(os.path.realpath(path))
    if path.name in ("", ".."):
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent)) / path.name


def four_sides(values: tuple[int, ...]) -> tuple[int, int, int, int]:
    """One to four numbers as top, right, bottom, left, the way CSS reads them."""
    top = values[0]
    right = values[1] if len(values) > 1 else top
    bottom = values[2] if len(values) > 2 else top
    left = values[3] if len(values) > 3 else right
    return top, right, bottom, left
