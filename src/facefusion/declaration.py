"""What a processor declares: its options, what it requires, and where its builder is.

A package brings a processor by naming a `ProcessorSpec` in the entry-point group ``facefusion.processors``; the
built-in ones come in the same way. A declaration imports neither arrays nor engines, so that options can be listed at
once; the builder is imported only to run.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError

from facefusion.errors import FaceFusionError, ProcessorRefused, RecipeError, UnknownOption, UnknownProcessor
from facefusion.installed import list_entries

GROUP = "facefusion.processors"
"""Entry points of this group are processors."""
Kind = Literal["face", "frame", "source"]
TO_COME = (
    "age_modifier", "background_remover", "expression_restorer", "face_debugger", "face_editor", "frame_colorizer",
    "frame_enhancer", "lip_syncer",
)  # fmt: skip
"""Processors of FaceFusion 3 that do not ship yet; a package may bring them."""


def option(default: Any, text: str, *flags: str, group: str = "", **constraints: Any) -> Any:
    """A field of options.

    Parameters
    ----------
    default
        Its value where nobody gives one.
    text
        What it is, in one line, without a full stop.
    flags
        Spellings on the command line; processors leave them out and get ``--<processor>-<option>``.
    group
        Heading on the help page.
    constraints
        Of `pydantic.Field`, such as ``ge=0``.
    """
    return Field(default, description=text, json_schema_extra={"flags": list(flags), "group": group}, **constraints)


class Options(BaseModel):
    """Options of a processor; each has a subclass."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=False)

    def decided(self) -> Self:
        """The same with everything decided that was left open, such as a seed. Called once, when a job is planned."""
        return self


class Input(StrEnum):
    """What a processor wants besides the target."""

    FACE_PHOTO = "face photo"
    SOUND = "sound"
    DRIVING_CLIP = "driving clip"
    TEXT = "text"


class Need(StrEnum):
    """What a processor wants to know about the target."""

    FACES = "faces"
    IDENTITY = "identity"
    ATTRIBUTES = "attributes"
    VOICE = "voice"


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model that is opened: an engine or catalogue entry of a capability, as `build_engine` takes it."""

    capability: str
    name: str


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a processor requires under some options.

    Attributes
    ----------
    models
        What it opens, so that plan, licence gate and provenance know.
    inputs
        What it wants besides the target.
    needs
        What it wants to know about the target; nothing of it means that no face is looked for.
    identity_contract
        Id of the recogniser whose identities target faces must carry; empty where it does not matter.
    halo
        Frames before and after a frame that a frame processor looks at.
    is_protective
        Whether it hides people: it never fades, is not averaged over time, and a face that is missed is worse than a
        wall that is covered.
    replaces_sound
        Whether its sound takes the place of the target's.
    join
        How its crops are joined to the frame.
    cautious
        Options of the recipe that it wants where nobody has given them.
    masks
        Kinds of the recipe's masks that it honours and that need a model, ``occlusion`` and ``region``: the model is
        opened where the recipe asks for that kind, and not otherwise.
    shows_somebody
        Whether its models bring the face of a person of their own, who must have agreed as somebody on a photo must.
    """

    models: tuple[ModelRef, ...] = ()
    inputs: frozenset[Input] = frozenset()
    needs: frozenset[Need] = frozenset({Need.FACES})
    identity_contract: str = ""
    halo: int = 0
    is_protective: bool = False
    replaces_sound: bool = False
    join: Literal["feather", "pyramid", "poisson"] = "feather"
    cautious: Mapping[str, Any] = field(default_factory=dict)
    masks: frozenset[str] = frozenset()
    shows_somebody: bool = False


@dataclass(frozen=True, slots=True)
class ProcessorSpec:
    """A processor, declared.

    Attributes
    ----------
    name
        Lower-case words with underscores between them.
    kind
        ``face`` changes crops of faces, ``frame`` whole frames, ``source`` makes frames itself.
    options
        Its class of options.
    require
        What it requires under some options.
    build
        ``package.module:function``, called with an `facefusion.plugins.protocols.EngineContext` whose ``options`` are
        those of the step.
    title
        What it does, in a few words.
    is_default
        Whether it is what is done where nobody says what. What ships with FaceFusion goes before what others bring.
    """

    name: str
    kind: Kind
    options: type[Options]
    require: Callable[[Any], Requirements]
    build: str
    title: str = ""
    is_default: bool = False

    def key(self, option_name: str) -> str:
        """How one of its options is spelled beside those of others."""
        return f"{self.name}_{option_name}"

    def flag(self, option_name: str) -> str:
        """The same on the command line."""
        return "--" + self.key(option_name).replace("_", "-")

    def load(self) -> Callable[[Any], Any]:
        """The builder.

        Raises
        ------
        ProcessorRefused
            When it cannot be imported.
        """
        module, _, name = self.build.partition(":")
        try:
            found: Callable[[Any], Any] = getattr(import_module(module), name)
        except Exception as error:  # code of others
            raise ProcessorRefused(
                f"Processor '{self.name}' cannot be loaded: {told(error)}.",
                "Install or mend the package that brings it.",
            ) from error
        return found


def _entries() -> dict[str, list[EntryPoint]]:
    """Entry points by name; more than one where packages do not agree what a name stands for."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for entry in list_entries(GROUP):
        found.setdefault(entry.name, {}).setdefault(entry.value, entry)  # a package may be found twice
    return {name: list(entries.values()) for name, entries in found.items()}


_reserved: set[str] = set()


def reserve(names: Iterable[str]) -> None:
    """Keep flat spellings that options of processors must not take."""
    _reserved.update(names)
    find_processor.cache_clear()
    _flat_fields.cache_clear()


def processor_names() -> tuple[str, ...]:
    """Names of all processors that are installed; nothing is imported."""
    return tuple(sorted(_entries()))


def name_package(entry: EntryPoint) -> str:
    """Name and version of the package of an entry point; where it leads to, if that is not known."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value


def package_of(name: str) -> str:
    """Name and version of the package that brings a processor; where its declaration is, if that is not known."""
    return ", ".join(name_package(entry) for entry in _entries()[name])


def declared_at(name: str) -> str:
    """``package.module:NAME`` of a processor's declaration, as its package says."""
    return _entries()[name][0].value


def is_ours(name: str) -> bool:
    """Whether a processor ships with FaceFusion."""
    return declared_at(name).startswith(f"{__name__.partition('.')[0]}.")


@lru_cache(maxsize=256)
def find_processor(name: str) -> ProcessorSpec:
    """The declaration of a processor.

    Raises
    ------
    UnknownProcessor
        Suggesting the nearest.
    ProcessorRefused
        When what its package declares is not a declaration.
    """
    entries = _entries().get(name)
    if entries is None and name in TO_COME:
        raise UnknownProcessor(
            f"Processor '{name}' of FaceFusion 3 is not here yet.",
            f"Leave it out, or install a package that brings it. Here are {', '.join(processor_names())}.",
        )
    if entries is None:
        raise UnknownProcessor(f"There is no processor '{name}'.", suggest(name, list(processor_names())))
    if len(entries) > 1:
        raise ProcessorRefused(
            f"Several packages bring a processor '{name}': {package_of(name)}.", "Uninstall all but one of them."
        )
    (entry,) = entries
    try:
        spec = entry.load()
    except Exception as error:  # code of others
        raise ProcessorRefused(
            f"Processor '{name}' of the package {package_of(name)} cannot be loaded: {told(error)}.",
            "Mend or uninstall that package.",
        ) from error
    if not isinstance(spec, ProcessorSpec) or (flaw := _flaw_of(spec, name)):
        reason = flaw if isinstance(spec, ProcessorSpec) else "it is no ProcessorSpec"
        raise ProcessorRefused(
            f"The package {package_of(name)} declares no processor '{name}' at {entry.value}: {reason}.",
            "Mend or uninstall that package; see docs/plugins.md.",
        )
    return spec


def _flaw_of(spec: ProcessorSpec, name: str) -> str:
    """What keeps a declaration from being used; empty where nothing does."""
    if spec.name != name:
        return f"its name is '{spec.name}'"
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        return "names are lower-case words with underscores between them"
    if not isinstance(spec.options, type) or not issubclass(spec.options, Options):
        return "its options are no subclass of facefusion.declaration.Options"
    for option_name, info in spec.options.model_fields.items():
        if option_name in ("processor", "options") or spec.key(option_name) in _reserved:
            return f"its option '{option_name}' has a name that FaceFusion needs itself"
        if info.is_required():
            return f"its option '{option_name}' has no default"
    return ""


def default_processors() -> tuple[str, ...]:
    """What is done where nobody says what."""
    marked = []
    for name in processor_names():
        try:
            if find_processor(name).is_default:
                marked.append(name)
        except ProcessorRefused:
            continue
    marked.sort(key=lambda name: not is_ours(name))
    return tuple(marked[:1])


def flat_fields() -> Mapping[str, tuple[ProcessorSpec, str, Any]]:
    """Every option of every processor by its flat spelling: the declaration, the option's name and its field.

    Packages that are broken are left out; they are told about when they are asked for. Where two options are spelled
    alike, neither has a flat spelling.
    """
    return _flat_fields(processor_names())


@lru_cache(maxsize=4)
def _flat_fields(names: tuple[str, ...]) -> Mapping[str, tuple[ProcessorSpec, str, Any]]:
    found: dict[str, tuple[ProcessorSpec, str, Any]] = {}
    twice: set[str] = set()
    for name in names:
        try:
            spec = find_processor(name)
        except ProcessorRefused:
            continue
        for option_name, info in spec.options.model_fields.items():
            key = spec.key(option_name)
            twice |= {key} & set(found)
            found[key] = spec, option_name, info
    return {key: value for key, value in found.items() if key not in twice}


def told(error: BaseException) -> str:
    """An exception of others in a few words."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}".removesuffix(": ").rstrip(".")[:300]


class Step(BaseModel):
    """One thing that is done: a processor with its options.

    Parameters
    ----------
    processor
        Its name.
    options
        Its options, or their values by name; what is left out takes its default.
    values
        The same, beside the name, as they stand in a configuration file.

    Raises
    ------
    UnknownProcessor, UnknownOption, RecipeError
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    processor: str
    options: SerializeAsAny[Options]

    def __init__(self, processor: str, options: Options | Mapping[str, Any] | None = None, **values: Any) -> None:
        spec = find_processor(str(processor))
        if isinstance(options, Options):
            if not isinstance(options, spec.options):
                raise RecipeError(
                    f"{type(options).__name__} are not the options of '{processor}'.", f"Take {spec.options.__name__}."
                )
            found = build_options(spec, {**options.model_dump(), **values}) if values else options
        elif options is None or isinstance(options, Mapping):
            found = build_options(spec, {**(options or {}), **values})
        else:
            raise RecipeError(f"Options of '{processor}' are a table, not {options!r}.", 'For example {"model": "…"}.')
        super().__init__(processor=spec.name, options=found)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Step:
        """A step as it stands in a file: options beside the processor's name, or in a table of their own.

        Raises
        ------
        RecipeError, UnknownProcessor, UnknownOption
        """
        beside = {name: value for name, value in table.items() if name not in ("processor", "options")}
        options = table.get("options", {})
        if not isinstance(options, Mapping):
            raise RecipeError(f"'options' of a step is a table, not {options!r}.", 'For example {model = "mesh"}.')
        return cls(str(table["processor"]), {**options, **beside})

    @property
    def spec(self) -> ProcessorSpec:
        """The declaration of its processor."""
        return find_processor(self.processor)

    @property
    def requirements(self) -> Requirements:
        """What it requires.

        Raises
        ------
        ProcessorRefused
            When its declaration cannot say so.
        """
        try:
            found = self.spec.require(self.options)
        except FaceFusionError:
            raise
        except Exception as error:  # code of others
            raise _refused(self.spec, error) from error
        if not isinstance(found, Requirements):
            raise _refused(self.spec, TypeError(f"require answers with {type(found).__name__}, not with Requirements"))
        return found

    def decided(self) -> Step:
        """The same step with everything decided that was left open; itself where nothing was."""
        try:
            options = self.options.decided()
        except Exception as error:  # code of others
            raise _refused(self.spec, error) from error
        return self if options is self.options else Step(self.processor, options)

    def with_options(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> Step:
        """The same step with other options, which are checked."""
        given = {name: getattr(self.options, name) for name in self.options.model_fields_set}
        return Step(self.processor, {**given, **(values or {}), **more})


def build_options(spec: ProcessorSpec, values: Mapping[str, Any]) -> Options:
    """Options of a processor from loose values.

    Parameters
    ----------
    spec
        Whose.
    values
        By name.

    Raises
    ------
    UnknownOption, RecipeError
    """
    for name in values:
        if name not in spec.options.model_fields:
            raise UnknownOption(
                f"Processor '{spec.name}' has no option '{name}'.", suggest(str(name), list(spec.options.model_fields))
            )
    try:
        return spec.options(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0]) if first["loc"] else ""
        message = words_of(first)
        given = repr(first.get("input"))
        named = spec.key(where) if where else spec.name
        info = spec.options.model_fields.get(where)
        raise RecipeError(
            f"Option '{named}': {message} (given: {given if len(given) <= 100 else given[:100] + '…'}).",
            f"{info.description}." if info is not None and info.description else "",
        ) from error
    except Exception as error:  # a check of others that raises what is no ValueError
        raise _refused(spec, error) from error


def _refused(spec: ProcessorSpec, error: Exception) -> ProcessorRefused:
    return ProcessorRefused(
        f"The declaration of processor '{spec.name}' ({package_of(spec.name)}) does not work: {told(error)}.",
        "Mend or uninstall that package; 'facefusion plugins check' tells more.",
    )


def union(requirements: Iterable[Requirements]) -> Requirements:
    """What several steps require together."""
    found = list(requirements)
    return Requirements(
        tuple(dict.fromkeys(model for one in found for model in one.models)),
        frozenset(wanted for one in found for wanted in one.inputs),
        frozenset(need for one in found for need in one.needs),
        next((one.identity_contract for one in found if one.identity_contract), ""),
        max((one.halo for one in found), default=0),
        any(one.is_protective for one in found),
        any(one.replaces_sound for one in found),
        next((one.join for one in found if one.join != "feather"), "feather"),
        {name: value for one in found for name, value in one.cautious.items()},
        frozenset(kind for one in found for kind in one.masks),
        any(one.shows_somebody for one in found),
    )


MOST_NAMED = 5
"""How many words that hold what was written a hint names."""


CUTOFF = 0.7
"""Likeness from which a word that is known is taken for what was meant."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The word that was meant: one that is much like it, or is of the same letters; empty where there is none."""
    every = list(known)
    near = difflib.get_close_matches(word, every, n=1, cutoff=CUTOFF)
    return next(iter(near or [one for one in every if sorted(one) == sorted(word)]), "")


_FLAWS = {
    "tuple_type": "takes several values, in a list",
    "list_type": "takes several values, in a list",
    "dict_type": "takes names with values",
    "model_type": "takes names with values",
    "model_attributes_type": "takes names with values",
    "path_type": "takes a path",
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "none_required": "takes no value",
}


_FORMS = {
    "^[0-9a-f]{32}$": "should be an id, 32 digits of 0-9 and a-f, as an upload is answered with",
    "^[0-9]{1,6}$": "should be the number of a person, as GET /v1/assets/{id}/faces has it",
}
"""Words for patterns."""


def meant_by(flaw: Mapping[str, Any], known: Iterable[str] = ()) -> str:
    """The word that was meant where another one was written; empty where none is near.

    Parameters
    ----------
    flaw
        One of `pydantic.ValidationError.errors`.
    known
        Names that may stand where one is not known.
    """
    told = flaw.get("ctx") or {}
    words = re.findall(r"'([^']+)'", str(told.get("expected_tags") or told.get("expected") or ""))
    if flaw["type"] == "union_tag_invalid":
        return nearest(str(told.get("tag")), words)
    if flaw["type"] == "literal_error":
        return nearest(str(flaw.get("input")), words)
    return nearest(str(flaw["loc"][-1]), known) if flaw["type"] == "extra_forbidden" and flaw["loc"] else ""


def words_of(flaw: Mapping[str, Any]) -> str:
    """What is wrong with a value, from pydantic's words on it.

    Parameters
    ----------
    flaw
        One of `pydantic.ValidationError.errors`.
    """
    told = flaw.get("ctx") or {}
    if flaw["type"] == "string_pattern_mismatch":
        return _FORMS.get(str(told.get("pattern")), "has signs that may not stand here")
    if flaw["type"] == "union_tag_invalid":
        return f"there is no {str(told.get('discriminator', '')).strip(chr(39))} {told.get('tag')!r}"
    if flaw["type"] == "union_tag_not_found":
        return f"lacks its {str(told.get('discriminator', '')).strip(chr(39))}"
    message = str(flaw["msg"]).removeprefix("Value error, ").replace("Input should", "should")
    message = message.replace("a valid integer", "an integer").replace("should be a valid", "should be a")
    return _FLAWS.get(str(flaw["type"]), message)


MEANT: dict[tuple[str, ...], tuple[str, ...]] = {
    ("start", "start_s"): ("trim_start", "begin", "begins", "from", "start_time", "time_start", "since", "seek", "ss"),
    ("end", "end_s"): (
        "trim_end", "to", "until", "till", "stop", "finish", "end_time", "time_end", "duration", "length",
    ),
    ("trim_frame_start",): ("start_frame", "frame_start", "first_frame", "from_frame", "begin_frame"),
    ("trim_frame_end",): ("end_frame", "frame_end", "last_frame", "to_frame", "stop_frame"),
    ("source", "source_paths", "source_pattern"): (
        "source_path", "source_file", "source_image", "source_photo", "source_face", "src", "src_path", "face",
        "photo", "photos", "face_image", "face_path",
    ),
    ("target", "target_path", "target_pattern"): (
        "targets", "target_paths", "target_file", "target_video", "target_image", "in", "input", "inputs",
        "input_path", "input_file", "input_video", "infile", "video", "clip",
    ),
    ("output", "output_path", "output_pattern"): (
        "outputs", "output_file", "output_video", "out", "out_path", "out_file", "outfile", "output_dir", "outdir",
        "output_folder", "dest", "destination", "result", "save_to", "save_path", "save",
    ),
    ("output_video_quality",): ("crf", "video_quality"),
    ("output_video_encoder",): ("codec", "video_codec", "vcodec", "encoder"),
    ("output_video_fps",): ("rate", "framerate"),
    ("audio", "output_audio"): ("keep_audio", "no_audio", "skip_audio", "copy_audio", "sound", "mute"),
    ("execution_providers",): ("provider", "providers", "gpu", "cuda", "cpu", "device", "backend"),
    ("execution_thread_count",): ("threads", "thread_count", "num_threads", "execution_threads"),
    ("workers", "worker_count"): ("jobs", "num_workers"),
    ("config_path",): ("config", "config_file", "settings"),
    ("log_level",): ("verbose", "log", "loglevel"),
    ("face_swapper_model",): ("model", "swapper", "swapper_model"),
    ("processors", "steps"): ("processor", "frame_processor", "process"),
    ("report", "report_path"): ("html", "report_file"),
}  # fmt: skip
"""Options by what people, and other programs, call them where no word of ours is written."""
_MEANT = {written: ours for ours, every in MEANT.items() for written in every}


def suggest(name: str, known: list[str]) -> str:
    """A hint that names what is meant by what was written: what others call so, the words that are made of it, the
    nearest one, or all where nothing is near.
    """
    word = name.replace("-", "_").lower()
    if ours := next((one for one in _MEANT.get(word, ()) if one in known), ""):
        return f"Did you mean '{ours}'?"
    parts = sorted(one for one in known if f"_{word}_" in f"_{one}_")
    if parts:
        others = ", or another of them" if len(parts) > MOST_NAMED else ""
        return f"Did you mean {' or '.join(repr(one) for one in parts[:MOST_NAMED])}{others}?"
    if near := nearest(word, known):
        return f"Did you mean '{near}'?"
    return f"Known: {', '.join(sorted(known))}."
