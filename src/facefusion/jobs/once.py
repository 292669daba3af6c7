"""A request that is done at once: a job in a folder of its own, which goes with the call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facefusion.errors import Stopped
from facefusion.jobs.local import LocalJobs
from facefusion.pipeline.progress import NEVER, CancelToken, OnProgress, ignore_progress
from facefusion.pipeline.runner import Outcome, own_errors
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.recipe import Recipe
from facefusion.types.track import Tracks
from facefusion.workplace import user_workplace


def run(
    recipe: Recipe,
    on_progress: OnProgress = ignore_progress,
    policy: SitePolicy = NO_POLICY,
    cancel: CancelToken = NEVER,
) -> Outcome:
    """Do what a recipe asks for: plan, analyse, render.

    Parameters
    ----------
    recipe
        What is asked for.
    on_progress
        Called now and then, from another thread. What it raises ends the run and comes out of it.
    policy
        What may be done here; doors read it from their settings (`facefusion.run` does).
    cancel
        Ends the run.

    Returns
    -------
    What was done.

    Raises
    ------
    FaceFusionError
        With nothing written; an older output is still there.
    """
    with own_errors(on_progress) as told, _private_jobs(policy) as jobs:
        return _run(jobs, recipe, None, told, cancel)


def render_target(
    recipe: Recipe,
    tracks: Tracks,
    on_progress: OnProgress = ignore_progress,
    policy: SitePolicy = NO_POLICY,
    cancel: CancelToken = NEVER,
) -> Outcome:
    """Pass 2 alone, from tracks that were saved.

    Raises
    ------
    TracksError
        When the tracks were made from a target of another size.
    """
    with own_errors(on_progress) as told, _private_jobs(policy) as jobs:
        return _run(jobs, recipe, tracks, told, cancel)


def _run(jobs: LocalJobs, recipe: Recipe, tracks: Tracks | None, told: OnProgress, cancel: CancelToken) -> Outcome:
    try:
        cancel.check()
        job = jobs.create(recipe, max_attempts=1, on_progress=cancel.watched(told), tracks=tracks)
        return jobs.run(job.id, workers=1, on_progress=told, cancel=cancel)
    except Stopped as stopped:
        raise Stopped(stopped.message, "Nothing was written. Name a jobs_path to keep what is finished.") from None


@contextmanager
def _private_jobs(policy: SitePolicy) -> Iterator[LocalJobs]:
    with user_workplace() as place:
        jobs = LocalJobs.open(Path(place.folder) / "jobs", is_kept=False, policy=policy)
        try:
            yield jobs
        finally:
            jobs.store.close()
