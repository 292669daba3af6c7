"""What a target shows: frames that are looked at by every check that is here, and what is made of their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from facefusion.errors import ContentRefused, FaceFusionError, PolicyUnready
from facefusion.models.licences import is_allowed
from facefusion.models.store import check_places
from facefusion.plugins.protocols import EngineContext
from facefusion.plugins.registry import build_engine, list_engines, models_behind
from facefusion.policy.site import SitePolicy
from facefusion.policy.verdict import Verdict
from facefusion.recipe import Recipe
from facefusion.types.frame import Pixels

CAPABILITY = "content_check"
MAX_SHARE = 0.1
"""Of the frames that were looked at, so many may be flagged."""
_BATCH = 4


@dataclass(frozen=True, slots=True)
class Checker:
    """An engine that looks.

    Attributes
    ----------
    title
        Id, version and licence of what runs, or the name of the engine.
    engine
        See `facefusion.plugins.protocols.ContentCheck`.
    """

    title: str
    engine: Any


def find_checkers(site: SitePolicy) -> tuple[Checker, ...]:
    """Everything that is here and allowed, or what the site names.

    Raises
    ------
    UnknownModel, ModelMissing, LicenceRefused
        For a model that the site names.
    """
    context = context_of(site)
    names = site.content_models or tuple(_here(context))
    return tuple(_build(name, context) for name in names)


def context_of(site: SitePolicy) -> EngineContext:
    """Under which content models run: what a request says of models and licences does not count."""
    check_places(site.models_paths, "content_models_paths")
    recipe = Recipe(models_paths=site.models_paths, licences=site.content_licences)
    return EngineContext(recipe)


def _here(context: EngineContext) -> list[str]:
    store = context.store
    entries = [spec for spec in store.catalog().values() if spec.capability == CAPABILITY]
    there = [
        spec.id
        for spec in entries
        if is_allowed(spec, context.recipe.licences) and all(store.find(spec, file) is not None for file in spec.files)
    ]
    return [*list_engines(CAPABILITY), *there]


def _build(name: str, context: EngineContext) -> Checker:
    specs = models_behind(CAPABILITY, name, context)
    title = ", ".join(f"{spec.key} ({spec.licence})" for spec in specs) or name
    return Checker(title, build_engine(CAPABILITY, name, context))


def check_content(site: SitePolicy, pixels: Sequence[Pixels], checkers: Sequence[Checker] | None = None) -> Verdict:
    """Look at frames.

    Parameters
    ----------
    site
        What is in force.
    pixels
        (H, W, 3) uint8 RGB frames from all over the target.
    checkers
        Who looks, where they are built already.

    Raises
    ------
    ContentRefused
        When more than a tenth of the frames are flagged by half of those who look, where that is required.
    PolicyUnready
        When nobody can look, where that is required.
    """
    verdict = Verdict(content_mode=site.content_mode)
    if site.content_mode == "off":
        return verdict
    try:
        checkers = find_checkers(site) if checkers is None else checkers
        if not checkers:
            raise PolicyUnready(
                "No model that checks content is here.",
                "Fetch one: facefusion models fetch nsfw_1, and name its folder with --models-path.",
            )
        flagged = _count(checkers, pixels)
    except FaceFusionError as error:
        if site.content_mode == "require":
            raise PolicyUnready(f"The content of the target cannot be checked: {error.message}", error.hint) from error
        return replace(verdict, notes=(f"The content was not checked ({error.code}).",))
    titles = tuple(checker.title for checker in checkers)
    is_flagged = flagged > MAX_SHARE * len(pixels)
    if is_flagged and site.content_mode == "require":
        raise ContentRefused(
            "The target shows what must not be worked on here.",
            "Use other material. If this is a mistake, tell whoever runs this site.",
        )
    notes = ("The content of the target was flagged.",) if is_flagged else ()
    return replace(
        verdict, content="flagged" if is_flagged else "clear", content_models=titles, frames_checked=len(pixels),
        notes=notes,
    )  # fmt: skip


def _count(checkers: Sequence[Checker], pixels: Sequence[Pixels]) -> int:
    """Frames that at least half of those who look would not work on."""
    if not pixels:
        raise PolicyUnready("The target has no frame to look at.", "Check the target.")
    votes = [0] * len(pixels)
    for checker in checkers:
        for start in range(0, len(pixels), _BATCH):
            scores = checker.engine.check(pixels[start : start + _BATCH])
            for number, score in enumerate(scores, start=start):
                votes[number] += not score <= checker.engine.limit  # what is no number is no pass
    return sum(2 * vote >= len(checkers) for vote in votes)
