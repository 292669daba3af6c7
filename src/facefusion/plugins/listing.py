"""What is installed, in words: processors with options, requirements and models; packages of others included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefusion.declaration import GROUP, ProcessorSpec, find_processor, package_of, processor_names
from facefusion.errors import ProcessorRefused
from facefusion.installed import list_groups

if TYPE_CHECKING:
    from facefusion.models.store import ModelStore


@dataclass(frozen=True, slots=True)
class ProcessorLine:
    """A processor as one line of a list.

    Attributes
    ----------
    name, kind, title
        As declared; empty kind and title where the declaration cannot be loaded.
    package
        Who brings it, with version.
    problem
        Why it cannot be used; empty where it can.
    """

    name: str
    kind: str
    title: str
    package: str
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class OptionView:
    """An option of a processor.

    Attributes
    ----------
    name, flag, key, variable
        How it is called in a step, on the command line, beside options of others and in the environment.
    type
        What it takes, in words.
    default
        Plain value.
    range
        What is allowed, in words; empty where everything of the type is.
    meaning
        One line.
    """

    name: str
    flag: str
    key: str
    variable: str
    type: str
    default: Any
    range: str
    meaning: str


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """An engine or a model that a processor can take.

    Attributes
    ----------
    name
        As its option ``model`` takes it.
    licence, commercial
        Of a catalogue entry; those of an engine with a model of its own are those of its models.
    place
        ``built in``, ``here`` or ``not here``.
    is_allowed
        Whether the licences that are accepted let it run.
    """

    name: str
    licence: str
    commercial: str
    place: str
    is_allowed: bool


@dataclass(frozen=True, slots=True)
class ProcessorView:
    """All that is known of a processor.

    Attributes
    ----------
    name, kind, title, package
        As in `ProcessorLine`.
    options
        In order, in words.
    schema
        JSON Schema of the options.
    inputs, needs
        What it wants besides the target, and to know about it, with the options' defaults.
    halo, is_protective, replaces_sound
        See `facefusion.declaration.Requirements`.
    masks
        Kinds of the recipe's masks that it honours and that open a model: ``occlusion``, ``region``.
    opens
        Models that it opens with the options' defaults, as capability and name.
    models
        What it can take.
    """

    name: str
    kind: str
    title: str
    package: str
    options: tuple[OptionView, ...]
    schema: dict[str, Any]
    inputs: tuple[str, ...]
    needs: tuple[str, ...]
    halo: int
    is_protective: bool
    replaces_sound: bool
    masks: tuple[str, ...]
    opens: tuple[str, ...]
    models: tuple[ModelChoice, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def list_processors() -> tuple[ProcessorLine, ...]:
    """Every processor that is installed; those of broken packages say what is wrong."""
    lines = []
    for name in processor_names():
        package = package_of(name)
        try:
            spec = find_processor(name)
        except ProcessorRefused as error:
            lines.append(ProcessorLine(name, "", "", package, error.message))
        else:
            lines.append(ProcessorLine(name, spec.kind, spec.title, package))
    return tuple(lines)


def show_processor(name: str, store: ModelStore) -> ProcessorView:
    """All about a processor.

    Raises
    ------
    UnknownProcessor, ProcessorRefused
    """
    spec = find_processor(name)
    required = spec.require(spec.options())
    return ProcessorView(
        spec.name,
        spec.kind,
        spec.title,
        package_of(name),
        tuple(_option(spec, option_name) for option_name in spec.options.model_fields),
        spec.options.model_json_schema(),
        tuple(sorted(required.inputs)),
        tuple(sorted(required.needs)),
        required.halo,
        required.is_protective,
        required.replaces_sound,
        tuple(sorted(required.masks)),
        tuple(f"{model.capability} {model.name}".strip() for model in required.models),
        list_models(name, store),
    )


def list_models(capability: str, store: ModelStore) -> tuple[ModelChoice, ...]:
    """Engines and catalogue entries of a capability."""
    from facefusion.models.licences import is_allowed
    from facefusion.plugins.registry import list_engines

    own = [ModelChoice(name, "", "", "built in", True) for name in list_engines(capability)]
    found = []
    for spec in store.catalog().values():
        if spec.capability == capability and spec.origin != "embedded":
            is_here = all(store.find_known(spec, file) is not None for file in spec.files)
            place = "here" if is_here else "not here"
            found.append(
                ModelChoice(spec.id, spec.licence, spec.commercial, place, is_allowed(spec, store.licences))
            )  # fmt: skip
    return (*own, *sorted(found, key=lambda model: model.name))


def engine_groups() -> tuple[str, ...]:
    """Capabilities for which some package brings an engine with a model of its own."""
    apart = (GROUP, "facefusion.families")
    return tuple(group.removeprefix("facefusion.") for group in list_groups() if group not in apart)


def _option(spec: ProcessorSpec, name: str) -> OptionView:
    field = spec.options.model_fields[name]
    schema = spec.options.model_json_schema()["properties"][name]
    default = field.get_default(call_default_factory=True)
    return OptionView(
        name,
        spec.flag(name),
        spec.key(name),
        f"FACEFUSION_{spec.key(name).upper()}",
        _type_of(schema),
        _plain(default),
        _range_of(schema),
        field.description or "",
    )


_TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "yes or no", "array": "list"}


def _parts(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Alternatives of a schema but None."""
    return [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]


def _type_of(schema: Mapping[str, Any]) -> str:
    words = []
    for part in _parts(schema):
        kind = part.get("type", "")
        word = "choice" if "enum" in part or "const" in part else _TYPES.get(kind, kind or "value")
        if kind == "array" and isinstance(part.get("items"), Mapping):
            word = f"list of {_type_of(part['items'])}"
        words.append(word)
    return " or ".join(dict.fromkeys(words))


def _range_of(schema: Mapping[str, Any]) -> str:
    words = []
    for part in _parts(schema):
        if "enum" in part:
            words.append(", ".join(map(str, part["enum"])))
        for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")):
            if key in part:
                words.append(f"{sign} {part[key]}")
    return ", ".join(words)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
