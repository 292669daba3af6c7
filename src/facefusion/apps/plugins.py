"""``facefusion processors`` and ``facefusion plugins``: print what `facefusion.service.plugins` tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from facefusion.apps.console import shown
from facefusion.apps.show import Show
from facefusion.plugins.listing import ModelChoice, ProcessorView
from facefusion.recipe import Recipe
from facefusion.service.models import Models
from facefusion.service.plugins import (
    CheckCounts,
    Checked,
    check_plugins,
    list_processors,
    show_processors,
)
from facefusion.wording import counted

_FAILED = 6


def run_processors(action: str, names: Sequence[str], recipe: Recipe, show: Show) -> int:
    """``facefusion processors list | show NAME``.

    Raises
    ------
    RecipeError, UnknownProcessor, ProcessorRefused
    """
    if action == "list":
        found = list_processors()
        rows = [
            f"{line.name:<20}{line.kind:<8}{line.package:<34}{line.problem or line.title}".rstrip()
            for line in found.processors
        ]
        head = f"{'processor':<20}{'kind':<8}{'package':<34}what it does"
        show.answer("processors", found, "\n".join([head, *rows]))
        return 0
    for view in show_processors(names, Models(recipe.models_paths, recipe.licences)):
        show.answer("processor", view, "\n".join(_lines(view)))
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
    if view.masks:
        yield f"  masks      {', '.join(view.masks)}"
    if view.opens:
        yield f"  opens      {', '.join(view.opens)}"
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
    checked: list[Checked] = []
    for one in check_plugins(names, recipe):
        checked.append(one)
        text = f"{one.name:<44}{one.package:<34}{one.state}"
        show.answer("check", one, f"{text}\n    {shown(one.reason)}" if one.reason else text)
    counts = CheckCounts.of(checked)
    text = f"{counts.holds} hold, {counts.fails} fail, {counts.not_run} could not be run"
    show.answer("checked", counts, text)
    return _FAILED if counts.fails else 0
