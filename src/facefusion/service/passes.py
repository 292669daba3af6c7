"""One pass of two: faces found and written to a file, and rendering from such a file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facefusion.errors import RecipeError
from facefusion.jobs.once import render_target
from facefusion.media.files import Named, translate_os_error
from facefusion.pipeline.plan import check_models, check_paths
from facefusion.pipeline.progress import OnProgress, ignore_progress
from facefusion.pipeline.runner import analyse_target
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.recipe import Recipe
from facefusion.service.values import Finished
from facefusion.types.track import Track, Tracks


@dataclass(frozen=True, slots=True)
class Seen:
    """A person as followed without a break.

    Attributes
    ----------
    face, person
        Number of the track, and of the person behind it: one who comes back has several tracks.
    frames
        In which the person is seen.
    start_s, stop_s
        When the first of them is shown, and the last.
    size_px
        Height of the face in the middle of its frames.
    """

    face: int
    person: int
    frames: int
    start_s: float
    stop_s: float
    size_px: int


@dataclass(frozen=True, slots=True)
class Analysed:
    """Who is where in a target.

    Attributes
    ----------
    output
        The tracks file.
    frames, shots
        Of the target.
    people
        Most prominent first.
    analyse_s
        Wall time in seconds.
    """

    output: str
    frames: int
    shots: int
    people: tuple[Seen, ...]
    analyse_s: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def analyse(
    recipe: Recipe, path: Path, on_progress: OnProgress = ignore_progress, reads: Sequence[Named] = ()
) -> Analysed:
    """Pass 1: find and follow faces, and write the tracks.

    Parameters
    ----------
    recipe
        Its target, and how faces are found.
    path
        Tracks file to write.
    on_progress
        Called now and then.
    reads
        Other files that must not be written over, such as the configuration.

    Raises
    ------
    FaceFusionError
        With nothing written.
    """
    if recipe.target_path == Path():
        raise RecipeError("No target is given.", "Name a photo or clip with --target.")
    check_models(recipe, is_rendering=False)
    check_paths(recipe, writes=[("tracks file", path)], reads=reads)
    began = time.perf_counter()
    tracks = analyse_target(recipe, on_progress=on_progress)
    try:
        tracks.save(path)
    except OSError as error:
        raise translate_os_error(error, path) from error
    seen = tuple(_seen(tracks, track) for track in tracks.tracks)
    return Analysed(str(path), len(tracks.pts), len(tracks.cuts), seen, round(time.perf_counter() - began, 3))


def render(
    recipe: Recipe,
    path: Path,
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
    check_paths(recipe, reads=[("tracks file", path), *reads])
    return Finished.of(render_target(recipe, Tracks.load(path), on_progress, policy))


def _seen(tracks: Tracks, track: Track) -> Seen:
    def time_of(row: int) -> float:
        return round(float((int(tracks.pts[row]) - int(tracks.pts[0])) * tracks.time_base), 3)

    middle = len(track.frames) // 2
    return Seen(
        track.track_id, tracks.person_of(track.track_id), len(track.frames), time_of(int(track.frames[0])),
        time_of(int(track.frames[-1])), round(float(np.ptp(track.meshes[middle][:, 1]))),
    )  # fmt: skip
