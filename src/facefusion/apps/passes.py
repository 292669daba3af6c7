"""``facefusion analyse``, ``render`` and ``preview``: print what the service tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facefusion.apps.console import shown
from facefusion.apps.jobs import text_of_preview
from facefusion.apps.show import Show
from facefusion.media.files import Named
from facefusion.policy.site import SitePolicy
from facefusion.recipe import Recipe
from facefusion.service.passes import analyse, render
from facefusion.service.previews import Previews
from facefusion.types.track import Tracks
from facefusion.wording import counted


def run_analyse(recipe: Recipe, path: Path, show: Show, reads: Sequence[Named] = ()) -> int:
    """Find and follow faces, and write a tracks file.

    Raises
    ------
    FaceFusionError
    """
    found = analyse(recipe, path, show.progress, reads)
    lines = [f"{shown(found.output)}: {counted(len(found.people), 'person', 'people')}"]
    lines += [
        f"  face {seen.face}: {seen.frames} of {counted(found.frames, 'frame')}, "
        f"{seen.start_s:.2f} to {seen.stop_s:.2f} s, "
        f"{seen.size_px} px"
        for seen in found.people
    ]
    show.answer("analysed", found, "\n".join(lines), is_news=True)
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
    picture = previews.of_recipe(recipe, words["at_s"], words["is_beside"], tracks)
    made = previews.write(picture, words["picture_path"])
    show.answer("preview", made, text_of_preview(made), is_news=True)
    return 0
