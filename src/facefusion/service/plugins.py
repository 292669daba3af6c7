"""Processors and engines that are installed, of others too: what they are, and whether they hold to their contracts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from facefusion.declaration import (
    ModelRef,
    Step,
    declared_at,
    find_processor,
    name_package,
    package_of,
    processor_names,
    suggest,
)
from facefusion.documents import reason_of
from facefusion.errors import FaceFusionError, ModelMissing, RecipeError, UnknownOption
from facefusion.models.store import ModelStore
from facefusion.plugins import listing
from facefusion.plugins.listing import ModelChoice, ProcessorLine, ProcessorView, engine_groups, list_models
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import FAMILIES, build_engine, build_processor, find_entry
from facefusion.recipe import Recipe
from facefusion.service.models import Models

State = Literal["holds", "fails", "not here", "not allowed"]


@dataclass(frozen=True, slots=True)
class ProcessorList:
    """Every processor that is installed."""

    processors: tuple[ProcessorLine, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"processors": [line.as_dict() for line in self.processors]}


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of checking one engine.

    Attributes
    ----------
    name
        What was checked, such as ``face_detector many``.
    package
        Who brings it.
    state
        ``not here`` and ``not allowed`` say that its model could not be run.
    reason
        What is wrong; empty where nothing is.
    """

    name: str
    package: str
    state: State
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CheckCounts:
    """How many of what was checked hold, fail, and could not be run."""

    checked: int
    holds: int
    fails: int
    not_run: int

    @classmethod
    def of(cls, found: Sequence[Checked]) -> CheckCounts:
        """Counted."""
        holds, fails = (sum(one.state == state for one in found) for state in ("holds", "fails"))
        return cls(len(found), holds, fails, len(found) - holds - fails)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def list_processors() -> ProcessorList:
    """Every processor that is installed; those of broken packages say what is wrong."""
    return ProcessorList(listing.list_processors())


def show_processors(names: Sequence[str], models: Models) -> Iterator[ProcessorView]:
    """All about some processors.

    Parameters
    ----------
    names
        With dashes or underscores.
    models
        What there is for them.

    Raises
    ------
    RecipeError
        When none is named.
    UnknownProcessor, ProcessorRefused
    """
    if not names:
        raise RecipeError("No processor is named.", f"Installed: {', '.join(processor_names())}.")
    for name in names:
        yield listing.show_processor(name.replace("-", "_"), models.store)


def check_plugins(names: Sequence[str], recipe: Recipe) -> Iterator[Checked]:
    """Run the conformance suite, one engine after the other.

    Parameters
    ----------
    names
        Processors, engines or models; without any all that is installed.
    recipe
        Its models, licences and execution options.

    Raises
    ------
    UnknownOption
        For a name of nothing that is installed.
    """
    wanted = [name.replace("-", "_") for name in names]
    found = list(_to_check(recipe))
    known = sorted({word for words, _, _ in found for word in words})
    for name in wanted:
        if name not in known:
            raise UnknownOption(f"There is no engine, model or processor '{name}' to check.", suggest(name, known))
    for words, package, check in found:
        if not wanted or set(wanted) & set(words):
            yield Checked(" ".join(dict.fromkeys(words)), package, *_state_of(check))


def _state_of(check: Callable[[], State | None]) -> tuple[State, str]:
    from facefusion.testing.conformance import Nonconforming

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return check() or "holds", ""
    except Nonconforming as error:
        return "fails", f"{reason_of(error)}."
    except FaceFusionError as error:
        return "fails", str(error)
    except Exception as error:  # code of others
        return "fails", f"{type(error).__name__}: {reason_of(error)}"


Check = tuple[tuple[str, ...], str, Callable[[], State | None]]
"""The words that name it, its package, and what checks it."""


def _to_check(recipe: Recipe) -> Iterator[Check]:
    """Everything that can be checked."""
    store = ModelStore(recipe.models_paths, recipe.licences)
    for capability in engine_groups():
        if capability in processor_names():
            continue
        for model in list_models(capability, store):
            package = _package_of_engine(capability, model, store)
            yield (capability, model.name), package, partial(_check_engine, capability, model, recipe)
    for name in processor_names():
        yield (name, "declaration"), package_of(name), partial(_check_declaration, name)
        try:
            step = Step(name)
            has_models = ModelRef(name, getattr(step.options, "model", "")) in step.requirements.models
        except FaceFusionError:
            continue  # the check of its declaration says so
        if not has_models:
            yield (name,), package_of(name), partial(_check_step, name, None, recipe)
        for model in list_models(name, store) if has_models else ():
            yield (name, model.name), package_of(name), partial(_check_step, name, model, recipe)


def _blocked(model: ModelChoice) -> State | None:
    if model.place == "not here":
        return "not here"
    return None if model.is_allowed else "not allowed"


def _check_declaration(name: str) -> None:
    from facefusion.testing.conformance import check_declaration, check_is_light

    spec = find_processor(name)
    check_is_light(declared_at(name))
    check_declaration(spec)
    spec.load()


def _check_engine(capability: str, model: ModelChoice, recipe: Recipe) -> State | None:
    from facefusion.testing.conformance import check_engine

    if blocked := _blocked(model):
        return blocked
    try:
        engine = build_engine(capability, model.name, EngineContext(recipe))
    except ModelMissing:
        return "not here"
    check_engine(capability, engine)
    return None


def _check_step(name: str, model: ModelChoice | None, recipe: Recipe) -> State | None:
    from facefusion.testing.conformance import check_step

    if model is not None and (blocked := _blocked(model)):
        return blocked
    step = Step(name) if model is None else Step(name, model=model.name)
    try:
        check_step(step, lambda one: build_processor(one, EngineContext(recipe)))
    except ModelMissing:
        return "not here"
    return None


def _package_of_engine(capability: str, model: ModelChoice, store: ModelStore) -> str:
    """Who brings an engine, or the family that runs a catalogue entry."""
    group, name = f"facefusion.{capability}", model.name
    if model.place != "built in":
        group, name = FAMILIES, store.get(model.name).family
    entry = find_entry(group, name)
    return "nobody" if entry is None else name_package(entry)
