"""``facefusion analyse``, ``render`` and ``preview``: print what the service tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facefusion.apps.console import shown
from facefusion.apps.data import table_of
from facefusion.apps.jobs import text_of_preview
from facefusion.apps.show import Show
from facefusion.errors import RecipeError
from facefusion.media.files import Named
from facefusion.policy.site import SitePolicy
from facefusion.recipe import Recipe
from facefusion.service.backend import Backend
from facefusion.service.jobs import Jobs
from facefusion.service.passes import analyse, render
from facefusion.service.previews import Previews
from facefusion.types.track import Tracks
from facefusion.wording import counted


def run_analyse(recipe: Recipe, path: Path, words: Mapping[str, Any], show: Show, reads: Sequence[Named] = ()) -> int:
    """Find and follow faces, and write a tracks file or data for other programs.

    Raises
    ------
    FaceFusionError
    """
    asked = words["format"], words["layouts"], words["has_embeddings"]
    found = analyse(recipe, path, show.progress, reads, *asked)
    head = f"{shown(found.output)}: {counted(len(found.people), 'person', 'people')} in "
    head += f"{counted(found.frames, 'frame')} ({found.format})"
    show.answer("analysed", found, "\n".join([head, *table_of(found.people, found.frames)]), is_news=True)
    return 0


def run_render(recipe: Recipe, path: Path, policy: SitePolicy, show: Show, reads: Sequence[Named] = ()) -> int:
    """Change faces from a tracks file.

    Raises
    ------
    FaceFusionError
    """
    show.finished(render(recipe, path, show.progress, reads, policy))
    return 0


def run_preview(
    recipe: Recipe,
    words: Mapping[str, Any],
    tracks_path: Path | None,
    policy: SitePolicy,
    show: Show,
    reads: Sequence[Named] = (),
) -> int:
    """Write one frame as it will be.

    Raises
    ------
    FaceFusionError
    """
    previews = Previews(policy=policy)
    named = [*reads, *([("tracks file", tracks_path)] if tracks_path is not None else [])]
    previews.check(words["picture_path"], recipe, named)
    tracks = None if tracks_path is None else Tracks.load(tracks_path)
    if words["is_exact"] and tracks is None:
        previews.find_all(recipe, show.progress)
    picture = previews.of_recipe(recipe, words["at_s"], words["is_beside"], tracks)
    made = previews.write(picture, words["picture_path"])
    show.answer("preview", made, text_of_preview(made), is_news=True)
    return 0


def run_preview_of_job(
    recipe: Recipe, words: Mapping[str, Any], tracks_path: Path | None, backend: Backend, show: Show
) -> int:
    """Write one frame of a job, done or not.

    Raises
    ------
    FaceFusionError
    """
    names = words["names"]
    if len(names) > 1:
        raise RecipeError(f"There is one picture for {counted(len(names), 'job')}.", "Name one of them.")
    if recipe.source_paths or recipe.target_path != Path() or tracks_path is not None:
        raise RecipeError(
            "A job has its own source and target.", "Leave out --source, --target and --tracks, or the job."
        )
    with Jobs(backend) as jobs:
        look = words["is_beside"], words["is_exact"], show.progress
        made = jobs.preview(jobs.find_id(names[0]), words["at_s"], words["picture_path"], *look)
    show.answer("preview", made, text_of_preview(made), is_news=True)
    return 0
