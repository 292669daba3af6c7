"""The recipe as it comes over the network: made of the same options, less everything that names what is the server's.

What may be asked for follows from the options themselves: plain values only, nothing of `Request` (files) and
`Execution` (the machine), and no name that speaks of a path, an address or a device. A new option is allowed if it is
harmless by that, and never by being added to a list.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from facefusion.declaration import Step, default_processors, find_processor, processor_names
from facefusion.errors import ProcessorRefused, RecipeError
from facefusion.recipe import INNER, Execution, Recipe, Request, build_recipe

AssetId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="id of an asset")]
FaceId = Annotated[str, Field(pattern=r"^[0-9]{1,6}$", description="one of GET /v1/assets/{id}/faces")]
_BAD = r"\x00-\x1f\x7f\\:~$`"
_WORD = Annotated[
    str,
    Field(
        max_length=120,
        pattern=rf"^(?:(?:[^{_BAD}./]|\.[^{_BAD}./])(?:[^{_BAD}.]|\.[^{_BAD}.])*)?$",
    ),
]
"""A name of a model and the like. Two dots, a slash in front, backslashes, colons and tildes belong to places."""
_MINE = re.compile(
    r"(^|_)(path|paths|file|files|folder|folders|url|uri|host|device|devices|provider|providers|command|broker)(_|$)"
)
_MANY = 64
HARMLESS_OF_REQUEST = ("fail_under",)
"""Options beside the files of a request that name none."""
FORMATS: Mapping[str, tuple[str, ...]] = {
    "photo": ("jpg", "png", "webp", "tif", "avif", "heic", "bmp"),
    "clip": ("mp4", "mkv", "mov", "webm", "m4v"),
}
"""Endings of outputs by kind; the first is taken where nobody chooses."""


def _check_some(steps: list[Any]) -> list[Any]:
    """Refuse a list that was given and is empty: who sends it has not asked for a swap."""
    if not steps:
        raise ValueError("without a step nothing would be done; leave it out to have the face swapped")
    return steps


_SOME = AfterValidator(_check_some)


def narrowed(annotation: Any) -> Any:
    """An annotation as it may come over the network, or None where it may not."""
    if annotation in (bool, int, float, type(None)) or annotation is None:
        return annotation
    if annotation is str:
        return _WORD
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return annotation
    if origin is Annotated:
        first = narrowed(inner[0])
        return None if first is None else Annotated[(first, *inner[1:])]
    if origin in (Union, types.UnionType):
        parts = [narrowed(part) for part in inner]
        return (
            None
            if any(p is None and q is not type(None) for p, q in zip(parts, inner, strict=True))
            else Union[tuple(parts)]  # noqa: UP007
        )
    if origin is tuple and inner:
        parts = [narrowed(part) for part in inner if part is not Ellipsis]
        if any(part is None for part in parts):
            return None
        made: Any = types.GenericAlias(tuple, (parts[0], ...) if inner[-1] is Ellipsis else tuple(parts))
        return Annotated[made, Field(max_length=_MANY)] if inner[-1] is Ellipsis else made
    return None


def allowed(fields: Mapping[str, FieldInfo]) -> Iterator[tuple[str, Any, FieldInfo]]:
    """Options that may come over the network: name, annotation and field."""
    for name, info in fields.items():
        extra = info.json_schema_extra
        is_kept = isinstance(extra, dict) and extra.get("server") is False
        annotation = info.annotation if not info.metadata else Annotated[(info.annotation, *info.metadata)]
        narrow = narrowed(annotation)
        if narrow is not None and not is_kept and not _MINE.search(name):
            yield name, narrow, info


def _model(name: str, fields: Mapping[str, FieldInfo], doc: str, **more: Any) -> type[BaseModel]:
    made: dict[str, Any] = {}
    for key, annotation, info in allowed(fields):
        made[key] = (annotation | None, Field(None, description=info.description))  # what is left out is decided below
    return create_model(name, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), __doc__=doc, **made, **more)


@dataclass(frozen=True, slots=True)
class Models:
    """The bodies of what may be asked for, made of what is installed."""

    step: Any
    recipe: type[BaseModel]


@lru_cache(maxsize=4)
def _models(names: tuple[str, ...]) -> Models:
    steps = []
    for name in names:
        try:
            spec = find_processor(name)
        except ProcessorRefused:  # told about when it is asked for
            continue
        title = "".join(word.capitalize() for word in name.split("_"))
        options = _model(f"{title}Options", spec.options.model_fields, f"Options of {name}: it {spec.title}.")
        fields: dict[str, Any] = {
            "processor": (Literal[name], ...),
            "options": (options, Field(default_factory=options)),
        }
        doc = f"{spec.title[:1].upper()}{spec.title[1:]}."
        steps.append(create_model(f"{title}Step", __config__=ConfigDict(extra="forbid"), __doc__=doc, **fields))
    step: Any = steps[0] if len(steps) == 1 else Annotated[Union[tuple(steps)], Field(discriminator="processor")]  # noqa: UP007
    person = create_model(
        "Person",
        __config__=ConfigDict(extra="forbid"),
        __doc__="Somebody in the target, and whose face they get. One of face, reference and track says who.",
        face=(FaceId | None, None),
        reference=(AssetId | None, Field(None, description="an asset that shows the person")),
        track=(Annotated[int, Field(ge=0, le=2**31 - 1)] | None, Field(None, description="number of a track")),
        sources=(Annotated[list[AssetId], Field(max_length=_MANY)], Field(default_factory=list)),
        steps=(Annotated[list[step], Field(max_length=16), _SOME], Field(default_factory=list)),
    )
    files: dict[str, Any] = {
        "target": (AssetId, Field(description="photo or clip to change")),
        "sources": (
            Annotated[list[AssetId], Field(max_length=_MANY)],
            Field(default_factory=list, description="photos, or sound for processors that are driven by it"),
        ),
        "exempt": (
            Annotated[list[AssetId], Field(max_length=_MANY)],
            Field(default_factory=list, description="photos of people who are left as they are"),
        ),
        "reference_face": (AssetId | None, Field(None, description="photo of the person to change")),
        "people": (
            Annotated[list[person], Field(max_length=_MANY)],  # type: ignore[valid-type]
            Field(default_factory=list, description="who gets whose face"),
        ),
        "steps": (
            Annotated[list[step], Field(max_length=16), _SOME],
            Field(default_factory=list, description="what is done, in order"),
        ),
    }
    own = {
        name: info
        for name, info in Recipe.model_fields.items()
        if name not in INNER
        and (name in HARMLESS_OF_REQUEST or name not in {*Request.model_fields, *Execution.model_fields})
    }
    recipe = _model("Recipe", own, "What is asked for. What is left out takes its default.", **files)
    return Models(step, recipe)


def recipe_models() -> Models:
    """Bodies of what may be asked for here."""
    return _models(processor_names())


def plain(recipe: BaseModel) -> dict[str, Any]:
    """A recipe as it was asked for, as JSON."""
    return recipe.model_dump(mode="json", exclude_none=True, exclude_unset=True)


def assets_of(asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids of all assets that a recipe reads, each once."""
    found = [asked["target"], *asked.get("sources", ()), *asked.get("exempt", ())]
    found += [asked["reference_face"]] if asked.get("reference_face") else []
    for person in asked.get("people", ()):
        found += [*person.get("sources", ()), *([person["reference"]] if person.get("reference") else [])]
    return tuple(dict.fromkeys(found))


def output_suffix(kind: str, wanted: str | None) -> str:
    """The ending of an output.

    Raises
    ------
    RecipeError
        For one that this kind of target does not go into.
    """
    formats = FORMATS["photo" if kind == "photo" else "clip"]
    if wanted is None:
        return f".{formats[0]}"
    if wanted not in formats:
        raise RecipeError(f"A {kind} does not become .{wanted}.", f"Choose one of {', '.join(formats)}.")
    return f".{wanted}"


def to_recipe(
    asked: Mapping[str, Any],
    path_of: Callable[[str], Path],
    output: Path,
    face_of: Callable[[str, str], Path],
    report: Path | None = None,
    execution: Mapping[str, Any] | None = None,
) -> Recipe:
    """The recipe of everywhere else.

    Parameters
    ----------
    asked
        As it came, checked (`plain`).
    path_of
        Where an asset is on this machine.
    output
        Where the output goes.
    face_of
        Where a picture of a face of an asset is.
    report
        Where the report goes, or None.
    execution
        Options of this machine.

    Raises
    ------
    RecipeError, UnknownOption, UnknownProcessor
    """
    files = ("target", "sources", "exempt", "reference_face", "people", "steps")
    values: dict[str, Any] = {name: value for name, value in asked.items() if name not in files}
    steps = _steps(asked.get("steps", ())) or [Step(name) for name in default_processors()]
    values |= {
        "steps": steps,
        "target_path": path_of(asked["target"]),
        "output_path": output,
        "source_paths": [path_of(asset) for asset in asked.get("sources", ())],
        "exempt_paths": [path_of(asset) for asset in asked.get("exempt", ())],
        "report_path": report,
        **(execution or {}),
    }
    if asked.get("reference_face"):
        values["reference_face_path"] = path_of(asked["reference_face"])
    people = []
    for person in asked.get("people", ()):
        who = [name for name in ("face", "reference", "track") if person.get(name) is not None]
        if len(who) != 1:
            raise RecipeError("Every person needs one of face, reference and track.", "See docs/rest.md.")
        reference = None
        if who == ["face"]:
            reference = face_of(asked["target"], person["face"])
        elif who == ["reference"]:
            reference = path_of(person["reference"])
        people.append({
            "track": person.get("track"),
            "reference": reference,
            "sources": tuple(path_of(asset) for asset in person.get("sources", ())),
            "steps": tuple(_steps(person.get("steps", ())) or steps),
        })  # fmt: skip
    if people:
        values["people"] = people
    return build_recipe(values)


def _steps(asked: Sequence[Mapping[str, Any]]) -> list[Step]:
    return [Step(step["processor"], dict(step.get("options", {}))) for step in asked]
