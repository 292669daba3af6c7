"""One pass of two: faces found and written to a file, and rendering from such a file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facefusion.errors import RecipeError
from facefusion.jobs.once import render_target
from facefusion.media.files import Named, translate_os_error
from facefusion.pipeline.plan import check_models, check_paths
from facefusion.pipeline.progress import OnProgress, ignore_progress
from facefusion.pipeline.runner import analyse_target
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.recipe import Recipe
from facefusion.service.export import Format, Layout, check_export, export, format_of
from facefusion.service.values import Finished
from facefusion.service.who import PersonSeen, people_of
from facefusion.types.paths import PathLike, as_path
from facefusion.types.track import Tracks


@dataclass(frozen=True, slots=True)
class Analysed:
    """Who is where in a target.

    Attributes
    ----------
    output
        The file: tracks, or data for other programs.
    format
        What it is: ``tracks``, or one of `facefusion.service.export`.
    frames, shots
        Of the target.
    people
        By number; 0 is the most prominent.
    analyse_s
        Wall time in seconds.
    """

    output: str
    format: str
    frames: int
    shots: int
    people: tuple[PersonSeen, ...]
    analyse_s: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def analyse(
    recipe: Recipe,
    path: PathLike,
    on_progress: OnProgress = ignore_progress,
    reads: Sequence[Named] = (),
    kind: Format | None = None,
    layouts: Sequence[Layout] = ("5",),
    has_embeddings: bool = False,
) -> Analysed:
    """Pass 1: find and follow faces, and write the tracks, or what they say as data for other programs.

    Parameters
    ----------
    recipe
        Its target, and how faces are found.
    path
        File to write: what the ending says (`facefusion.service.export.ENDINGS`), else a tracks file.
    on_progress
        Called now and then.
    reads
        Other files that must not be written over, such as the configuration.
    kind, layouts, has_embeddings
        As in `facefusion.service.export.export`.

    Raises
    ------
    FaceFusionError
        With nothing written.
    """
    path = as_path(path)
    if recipe.target_path == Path():
        raise RecipeError("No target is given.", "Name a photo or clip with --target.")
    kind = kind or format_of(path)
    if kind is None and has_embeddings:
        raise RecipeError("A tracks file holds embeddings anyway.", "Name a format with --format, such as jsonl.")
    if kind is not None:
        check_export(path, kind, layouts, has_embeddings)
    check_models(recipe, is_rendering=False)
    check_paths(recipe, writes=[("tracks file" if kind is None else "output", path)], reads=reads)
    began = time.perf_counter()
    tracks = analyse_target(recipe, on_progress=on_progress)
    if kind is not None:
        export(tracks, path, kind, layouts, has_embeddings, recipe.target_path.name)
    else:
        try:
            tracks.save(path)
        except OSError as error:
            raise translate_os_error(error, path) from error
    took_s = round(time.perf_counter() - began, 3)
    return Analysed(str(path), kind or "tracks", len(tracks.pts), len(tracks.cuts), people_of(tracks), took_s)


def render(
    recipe: Recipe,
    path: PathLike,
    on_progress: OnProgress = ignore_progress,
    reads: Sequence[Named] = (),
    policy: SitePolicy = NO_POLICY,
) -> Finished:
    """Pass 2 alone, from a tracks file.

    Parameters
    ----------
    recipe
        What is asked for.
    path
        Tracks file to read.
    on_progress, reads
        As in `analyse`.
    policy
        What may be done here.

    Raises
    ------
    FaceFusionError
        With nothing written.
    """
    path = as_path(path)
    check_paths(recipe, reads=[("tracks file", path), *reads])
    return Finished.of(render_target(recipe, Tracks.load(path), on_progress, policy))
