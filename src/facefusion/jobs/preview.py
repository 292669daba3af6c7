"""One frame of a job as it will be, from its tracks, without running it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from facefusion.errors import JobError, TracksError
from facefusion.jobs.local import LocalJobs
from facefusion.jobs.work import key_of
from facefusion.media.image import Photo, write_photo
from facefusion.media.segments import Span
from facefusion.pipeline.cast import build_cast
from facefusion.pipeline.clip import build_flow, empty_tracks, load_tracks, read_clip
from facefusion.pipeline.inputs import BoundInputs
from facefusion.recipe import build_recipe
from facefusion.writing import replacing


def preview(jobs: LocalJobs, job_id: str, at_s: float, path: Path) -> float:
    """Write a picture of one frame.

    Parameters
    ----------
    jobs, job_id
        Which job; its tracks must have been made.
    at_s
        Time in the output, seconds.
    path
        Picture to write.

    Returns
    -------
    Exact time of the frame in seconds.

    Raises
    ------
    JobError
        When there are no tracks yet or no more, or no frame.
    JobMismatch
        When an input is not what the job began with: its faces are elsewhere, and might be shown.
    """
    job = jobs.store.get(job_id)
    recipe, storage = build_recipe(job.recipe), jobs.storage_of(job)
    plan = job.plan
    if plan.found.kind == "photo":
        raise JobError(f"Job {job_id} is of a photo, so there is nothing to see before it is done.", "Run it.")
    joined = jobs.store.joined(job_id)
    has_tracks = any(item.stage == "join" for item in jobs.store.items(job_id))
    key = key_of(job_id, "join", 0)
    none = JobError(
        f"Job {job_id} has no tracks.", "They are there from the end of the first pass to the end of the job."
    )
    if has_tracks and (not joined or not storage.has(key)):
        raise none
    reader = read_clip(recipe)
    first = reader.offset
    wanted = first + int(Fraction(at_s).limit_denominator(1_000_000) / reader.info.time_base)
    around = read_clip(recipe, span=(wanted, wanted + 1), halo=(0, 1))
    frame = next(iter(around), None)
    if frame is None:
        raise JobError(f"There is no frame at {at_s} s.", f"The clip has {reader.info.duration_s:.2f} s.")
    span = Span(frame.pts, frame.pts + 1)
    tracks = empty_tracks(recipe, "clip", plan.found.target)
    hashes = {} if job.is_shared else plan.hashes  # copies in the storage are changed by nobody
    inputs = BoundInputs.bind(map(Path, hashes), hashes)
    try:
        if has_tracks:
            with storage.local(key) as file:
                tracks = load_tracks(file, [span], range(1))
    except (FileNotFoundError, TracksError) as error:
        if storage.has(key):
            raise
        raise none from error  # the job was finished meanwhile
    cast = build_cast(recipe, kinds=plan.found.sources)
    flow = build_flow(recipe, cast, tracks, {} if joined is None else joined.assigned, first)
    # The frame and its neighbours, exactly as the job itself renders them.
    frames = list(read_clip(recipe, span=span.as_pair(), halo=(flow.halo, flow.halo)))
    for rendered in flow.render(frames):
        if rendered.frame.pts == frame.pts:
            with replacing(path) as made:
                write_photo(made, Photo(rendered.pixels, None, None, None), 95, "A preview of synthetic media")
                inputs.check()
    return float((frame.pts - first) * frame.time_base)
