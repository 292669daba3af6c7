"""What the library offers under ``facefusion``: the same calls as below, under the policy of this site."""

from __future__ import annotations

from facefusion.apps.backends import site_policy
from facefusion.jobs import once
from facefusion.pipeline import live
from facefusion.pipeline.progress import OnProgress, ignore_progress
from facefusion.pipeline.runner import Outcome
from facefusion.recipe import Recipe
from facefusion.types.track import Tracks


def run(recipe: Recipe, on_progress: OnProgress = ignore_progress) -> Outcome:
    """Do what a recipe asks for: plan, analyse, render.

    Parameters
    ----------
    recipe
        What is asked for.
    on_progress
        Called now and then, from another thread. What it raises ends the run and comes out of it.

    Returns
    -------
    What was done.

    Raises
    ------
    FaceFusionError
        With nothing written; an older output is still there.
    """
    return once.run(recipe, on_progress, site_policy())


def render_target(recipe: Recipe, tracks: Tracks, on_progress: OnProgress = ignore_progress) -> Outcome:
    """Pass 2 alone, from tracks that were saved.

    Raises
    ------
    TracksError
        When the tracks were made from a target of another size.
    """
    return once.render_target(recipe, tracks, on_progress, site_policy())


class Live(live.Live):
    """Changes frames as they come (`facefusion.pipeline.live.Live`).

    Parameters
    ----------
    recipe
        What is done; target, output, times and report mean nothing here.

    Raises
    ------
    FaceFusionError
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe, site_policy())


__all__ = ["Live", "render_target", "run"]
