"""One frame of a job as it will be, without running it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from facefusion.errors import JobError, TracksError
from facefusion.jobs.local import LocalJobs
from facefusion.jobs.work import key_of
from facefusion.media.segments import Span
from facefusion.pipeline.cast import Cast, build_cast
from facefusion.pipeline.clip import empty_tracks, load_tracks
from facefusion.pipeline.inputs import BoundInputs
from facefusion.pipeline.permission import Permission
from facefusion.pipeline.plan import Kind
from facefusion.pipeline.resolved import resolve
from facefusion.pipeline.still import Still, find_moment, render_still
from facefusion.recipe import Recipe, build_recipe
from facefusion.types.frame import Frame
from facefusion.types.track import Tracks

Look = Callable[[Recipe, Cast, Kind, Frame], tuple[Tracks, dict[int, int]]]
"""Finds the faces of a frame of a recipe, and who of them is changed, where a job has no tracks."""


@dataclass(frozen=True, slots=True)
class JobStill:
    """A frame of a job.

    Attributes
    ----------
    still
        Before and after.
    inputs
        What it was made from; to be checked before anybody sees it.
    is_of_job
        Whether it was made from the job's own tracks.
    """

    still: Still
    inputs: BoundInputs
    is_of_job: bool


def preview(
    jobs: LocalJobs,
    job_id: str,
    at_s: float,
    look: Look,
    cast_of: Callable[[Recipe], Cast] = build_cast,
    permission: Permission | None = None,
) -> JobStill:
    """Render one frame of a job.

    Parameters
    ----------
    jobs, job_id
        Which job.
    at_s
        Time in the output, seconds.
    look
        Finds faces where the job has no tracks: before the first pass is over, and when the job is done.
    cast_of
        Gives the processors of a recipe.
    permission
        Who says whether it may be seen; None asks the policy of the jobs.

    Raises
    ------
    RecipeError
        When there is no frame.
    JobError
        When the job makes its target itself.
    JobMismatch
        When an input is not what the job began with: its faces are elsewhere, and might be shown.
    """
    job = jobs.store.get(job_id)
    recipe, storage = build_recipe(job.recipe), jobs.storage_of(job)
    plan = job.plan
    if plan.found.generated is not None:
        raise JobError(f"Job {job_id} makes its frames itself.", "There is nothing to see before it is done; run it.")
    kind = plan.found.kind
    hashes = {} if job.is_shared else plan.hashes  # copies in the storage are changed by nobody
    inputs = BoundInputs.bind(map(Path, hashes), hashes)
    moment = find_moment(recipe, kind, at_s)
    frame = moment.frame
    cast = cast_of(recipe)
    has_faces = any(item.stage == "join" for item in jobs.store.items(job_id))
    tracks, is_of_job = empty_tracks(recipe, kind, plan.found.target), True
    assigned: Mapping[int, int] = {}
    if has_faces:
        joined, key = jobs.store.joined(job_id), key_of(job_id, "join", 0)
        found = None
        try:
            if joined is not None and storage.has(key):
                with storage.local(key) as file:
                    found = load_tracks(file, [Span(frame.pts, frame.pts + 1)], range(1))
        except (FileNotFoundError, TracksError):
            if storage.has(key):
                raise  # else the job was finished meanwhile
        if joined is None or found is None:
            (tracks, assigned), is_of_job = look(recipe, cast, kind, frame), False
        else:
            tracks, assigned = found, joined.assigned
    permission = permission or Permission(jobs.policy, plan.tenant)
    resolved = resolve(recipe)
    permission.sources(resolved)
    permission.frames([frame.pixels])
    permission.people(resolved, kind, tracks, assigned, frame)
    return JobStill(render_still(recipe, cast, tracks, assigned, kind, moment, plan.mark_id), inputs, is_of_job)
