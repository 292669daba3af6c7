"""``facefusion processors``: what is installed. ``facefusion plugins check``: whether it holds to its contracts."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from facefusion.apps.console import shown
from facefusion.apps.show import Show
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
from facefusion.errors import FaceFusionError, RecipeError, UnknownOption
from facefusion.models.store import ModelStore
from facefusion.plugins.listing import (
    ModelChoice,
    ProcessorView,
    engine_groups,
    list_models,
    list_processors,
    show_processor,
)
from facefusion.plugins.registry import FAMILIES, find_entry
from facefusion.recipe import Recipe
from facefusion.wording import counted

_FAILED = 6
State = Literal["holds", "fails", "not here", "not allowed"]


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of checking one engine.

    Attributes
    ----------
    name
        What was checked, such as ``face_swapper mesh``.
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


def run_processors(action: str, names: Sequence[str], recipe: Recipe, show: Show) -> int:
    """``facefusion processors list | show NAME``.

    Raises
    ------
    RecipeError, UnknownProcessor, ProcessorRefused
    """
    if action == "list":
        lines = list_processors()
        rows = [
            f"{line.name:<20}{line.kind:<8}{line.package:<34}{line.problem or line.title}".rstrip() for line in lines
        ]
        head = f"{'processor':<20}{'kind':<8}{'package':<34}what it does"
        show.message("\n".join([head, *rows]), processors=[line.as_dict() for line in lines])
        return 0
    if not names:
        raise RecipeError("No processor is named.", f"Installed: {', '.join(processor_names())}.")
    store = ModelStore(recipe.models_paths, recipe.licences)
    for name in names:
        view = show_processor(name.replace("-", "_"), store)
        show.message("\n".join(_lines(view)), processor=view.as_dict())
    return 0


def _lines(view: ProcessorView) -> Iterator[str]:
    yield f"{view.name}: {view.title}"
    yield f"  kind       {view.kind}"
    yield f"  package    {view.package}"
    yield f"  wants      {', '.join(view.inputs) or 'the target alone'}"
    yield f"  looks for  {', '.join(view.needs) or 'nothing in the target'}"
    if view.halo:
        yield f"  halo       {counted(view.halo, 'frame')} before and after"
    if view.is_protective:
        yield "  protects   people are hidden: a face that is missed is worse than a wall that is covered"
    if view.replaces_sound:
        yield "  sound      its sound takes the place of the target's"
    yield "  options"
    for option in view.options:
        default = "none" if option.default in (None, "") else option.default
        allowed = f", {option.range}" if option.range else ""
        yield f"    {option.flag}  ({option.type}{allowed}; default: {default})"
        yield f"      {option.meaning}"
    if view.models:
        yield "  models"
        for model in view.models:
            yield f"    {model.name:<28}{_licence(model):<32}{model.place}"


def _licence(model: ModelChoice) -> str:
    if not model.licence:
        return ""
    return model.licence if model.is_allowed else f"{model.licence} (not accepted)"


def run_plugins(action: str, names: Sequence[str], recipe: Recipe, show: Show) -> int:
    """``facefusion plugins check [NAME …]``.

    Returns
    -------
    The exit code: 6 where something fails.

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
    is_good = True
    checked: list[Checked] = []
    for words, package, check in found:
        if wanted and not set(wanted) & set(words):
            continue
        state, reason = _state_of(check)
        one = Checked(" ".join(dict.fromkeys(words)), package, state, reason)
        checked.append(one)
        is_good = is_good and state != "fails"
        text = f"{one.name:<44}{one.package:<34}{one.state}"
        fields = {"name": one.name, "package": one.package, "state": one.state, "reason": one.reason}
        show.message(f"{text}\n    {shown(reason)}" if reason else text, check=fields)
    counts = {state: sum(one.state == state for one in checked) for state in ("holds", "fails", "not here")}
    show.message(
        f"{counts['holds']} hold, {counts['fails']} fail, {len(checked) - counts['holds'] - counts['fails']} could not "
        "be run",
        checked=len(checked), **{state.replace(" ", "_"): count for state, count in counts.items()},
    )  # fmt: skip
    return 0 if is_good else _FAILED


def _state_of(check: Callable[[], State | None]) -> tuple[State, str]:
    from facefusion.testing.conformance import Nonconforming

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return check() or "holds", ""
    except Nonconforming as error:
        return "fails", f"{error}."
    except FaceFusionError as error:
        return "fails", str(error)
    except Exception as error:  # code of others
        return "fails", f"{type(error).__name__}: {error}"


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
    from facefusion.errors import ModelMissing
    from facefusion.plugins.protocols import EngineContext
    from facefusion.plugins.registry import build_engine
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
    from facefusion.errors import ModelMissing
    from facefusion.plugins.protocols import EngineContext
    from facefusion.plugins.registry import build_processor
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
