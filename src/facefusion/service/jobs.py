"""Jobs: asked for, followed, stopped, taken away. The one place that makes them, on this machine or for a cluster."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from facefusion.documents import border
from facefusion.errors import ExtraMissing, JobError, RecipeError, Stopped, StoreRefused, UnknownJob
from facefusion.jobs.local import LocalJobs, failure_of, looked_s, outcome_of
from facefusion.jobs.states import Item, JobStatus
from facefusion.jobs.store import LOCAL, Job, JobStore, StageProgress
from facefusion.jobs.stored import Merged
from facefusion.jobs.sweep import Swept
from facefusion.models.store import OnBytes, ignore_bytes
from facefusion.packed import pack, unpack
from facefusion.pipeline.progress import NEVER, CancelToken, OnProgress, Progress, ignore_progress
from facefusion.pipeline.runner import Outcome
from facefusion.policy.mark import MAX_KNOWN
from facefusion.recipe import Recipe, build_recipe
from facefusion.service.backend import Backend
from facefusion.service.previews import Picture, Previews
from facefusion.service.values import (
    Advanced,
    Changed,
    Event,
    Happened,
    JobSummary,
    JobView,
    Page,
    Preview,
    Problem,
    Result,
    StageState,
    Submitted,
    share_of,
)
from facefusion.types.paths import PathLike, as_path
from facefusion.wording import counted

MAX_LIMIT = 500
"""Jobs on a page at most."""
POLL_S = 0.3
"""How often the store is asked for what is new."""


def cluster_room() -> Any:
    """The part that needs Celery.

    Raises
    ------
    ExtraMissing
        Saying what to install.
    """
    try:
        from facefusion.service import cluster
    except ModuleNotFoundError as error:
        raise ExtraMissing.of("Work on other machines", str(error.name), "worker") from error
    return cluster


class Jobs:
    """The jobs of a backend.

    Parameters
    ----------
    backend
        Where they are.
    previews
        Who makes previews; several rooms may share one, and what it keeps.

    Raises
    ------
    StoreUnreachable, StoreRefused, OutputRefused
        From any call.
    """

    def __init__(self, backend: Backend, previews: Previews | None = None) -> None:
        self.backend = backend
        self.previews = previews or Previews(policy=backend.policy)
        self._local: LocalJobs | None = None
        self._far: JobStore | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let all connections go."""
        for store in (self._far, self._local and self._local.store):
            if store:
                store.close()
        self._local = self._far = None

    @property
    def local(self) -> LocalJobs:
        """The jobs folder of this machine, which is made where it is missing."""
        if self._local is None:
            self._local = LocalJobs.open(
                self.backend.folder,
                self.backend.store_url,
                self.backend.disk_bytes,
                policy=self.backend.policy,
                patience_s=self.backend.patience_s,
            )
        return self._local

    @property
    def store(self) -> JobStore:
        """The truth."""
        if self.backend.is_cluster and self.backend.store_url:  # needs no folder here
            if self._far is None:
                self._far = JobStore(self.backend.store_url, self.backend.patience_s)
            return self._far
        return self.local.store

    def submit(
        self, recipe: Recipe, on_bytes: OnBytes = ignore_bytes, tenant: str = "", base: PathLike | None = None
    ) -> Submitted:
        """The job of a recipe: the one that was begun, or a new one, which `run` or the workers do.

        Parameters
        ----------
        recipe
            What is asked for. The same request is the same job; one that is done is begun afresh.
        on_bytes
            Called as input files are sent to a cluster.
        tenant
            On whose behalf.
        base
            Folder of copies that go when a cluster has the job: the same request of other copies is the same job.

        Raises
        ------
        FaceFusionError
            Everything that planning refuses.
        PolicyError
            What must not be done here.
        """
        base = None if base is None else as_path(base)
        if self.backend.is_cluster:
            room = cluster_room()
            room.check_cluster(self.backend)
            return Submitted(self.show(room.create(self.backend, recipe, self.store, on_bytes, tenant, base)))
        job = self.local.create(recipe, self.backend.max_attempts, tenant=tenant)
        done = sum(item.status == "done" for item in self.store.items(job.id))
        return Submitted(self.show(job.id), done, job.plan.taken_from)

    def run(
        self,
        job_id: str,
        execution: Mapping[str, Any] | None = None,
        on_progress: OnProgress = ignore_progress,
        cancel: CancelToken = NEVER,
    ) -> Outcome:
        """Bring a job to its end: do what is left of it on this machine, or follow the workers and fetch the output.

        Parameters
        ----------
        job_id
            Which.
        execution
            Options of this machine that take the place of the job's (`facefusion.jobs.prepare.execution_of`).
        on_progress
            Called now and then.

        cancel
            Ends it, or the following of workers; the job can go on later.

        Raises
        ------
        SegmentFailed, JobMismatch, JobError, QualityTooLow, Stopped
            As `facefusion.jobs.local.LocalJobs.run` says.
        """
        job = self.store.get(job_id)
        if job.is_shared and self.backend.is_cluster:
            return self._follow(job, cancel.watched(on_progress))
        return self.local.run(
            job_id, self.backend.worker_count, self.backend.memory_bytes, on_progress, dict(execution or {}), cancel
        )

    def _follow(self, job: Job, on_progress: OnProgress) -> Outcome:
        began = time.perf_counter()
        room = cluster_room()
        room.check_cluster(self.backend)
        if job.status in ("failed", "cancelled"):
            room.retry(self.backend, self.store, job.id)
        for event in self.events(job.id):
            # The merge has frames only where the output is measured.
            if (
                isinstance(event, Advanced)
                and event.stage not in ("join", "assemble")
                and (event.done or event.stage != "merge")
            ):
                on_progress(Progress(event.stage, event.done, event.total))
        job = self.store.get(job.id)
        if job.status == "failed":
            raise failure_of(job)
        if job.status == "cancelled":
            raise Stopped(f"Job {job.id} was cancelled.", "Run the same command again to go on.")
        merged = self.store.merged(job.id)
        report = job.recipe["report_path"]
        room.bring(job, merged, job.output_path, None if report is None else Path(report))
        room.clear(job, self.store)
        seconds = time.perf_counter() - began
        return outcome_of(job, merged, seconds, looked_s(self.store, job.id, seconds))

    def bring(self, job_id: str, output: PathLike, report: PathLike | None = None) -> bool:
        """Copy what workers made of a job that is done to a place of the caller's; `clear` takes theirs away.

        Parameters
        ----------
        job_id
            Which.
        output, report
            Where to.

        Returns
        -------
        Whether it was still there.

        Raises
        ------
        UnknownJob, OutputRefused, StoreUnreachable
        """
        output = as_path(output)
        report = None if report is None else as_path(report)
        job, room = self.store.get(job_id), cluster_room()
        if not room.is_there(job):
            return False
        room.bring(job, self.store.merged(job_id), output, report)
        return True

    def clear(self, job_id: str) -> None:
        """Take away what workers made of a job that is done, since all that is wanted of it was brought.

        Raises
        ------
        UnknownJob, OutputRefused, StoreUnreachable
        """
        cluster_room().clear(self.store.get(job_id), self.store)

    def list(self, limit: int = 50, cursor: str = "", statuses: Collection[JobStatus] = (), queue: str = "") -> Page:
        """Some jobs, the newest first.

        Parameters
        ----------
        limit
            At most so many, 1 to `MAX_LIMIT`.
        cursor
            What the page before told; empty for the first. Jobs that come or go meanwhile shift nothing.
        statuses, queue
            Only jobs like this; empty for all.

        Raises
        ------
        RecipeError
            For a limit, cursor or status that there is not.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise RecipeError(f"A page cannot have {counted(limit, 'job')}.", f"Ask for 1 to {MAX_LIMIT}.")
        known = get_args(JobStatus)
        for status in statuses:
            if status not in known:
                raise RecipeError(f"No job is ever '{status}'.", f"Known: {', '.join(known)}.")
        found = self.store.list_page(limit + 1, _read_cursor(cursor), statuses, queue)
        last = found[limit - 1][0] if len(found) > limit else None
        jobs = tuple(_summary(job, counts, self._is_stopped(job)) for job, counts in found[:limit])
        return Page(jobs, "" if last is None else _write_cursor(last))

    def iter_all(self, statuses: Collection[JobStatus] = ()) -> Iterator[JobSummary]:
        """All jobs, the newest first, read a page at a time."""
        page = self.list(MAX_LIMIT, "", statuses)
        yield from page.jobs
        while page.cursor:
            page = self.list(MAX_LIMIT, page.cursor, statuses)
            yield from page.jobs

    def find_marked(self, mark: str, tenant: str | None = None) -> str:
        """Id of the last job whose output carries an invisible mark; empty for none.

        Parameters
        ----------
        mark
            As `facefusion.policy.mark.MarkId` is written.
        tenant
            Only jobs of this one; None looks at all.
        """
        if not self.backend.store_url and not (self.backend.folder / "jobs.db").exists():
            return ""  # there was never a job
        return next((id for id, whose in self.store.find_marked(mark) if tenant in (None, whose)), "")

    def marks(self) -> Sequence[str]:
        """The invisible marks of jobs, the newest first; as many as can be looked for."""
        if not self.backend.store_url and not (self.backend.folder / "jobs.db").exists():
            return []
        return self.store.marks(MAX_KNOWN)

    def find_id(self, name: str) -> str:
        """The whole id of a job whose id begins so.

        Raises
        ------
        RecipeError
            For an empty name.
        UnknownJob
            Where there is none, or more than one.
        """
        if not name.strip():
            raise RecipeError("An empty name is no job.", "See 'facefusion jobs list'.")
        found = self.store.find_ids(name)
        if len(found) != 1:
            many = f"{len(found)} jobs begin with {name}." if found else f"There is no job {name}."
            raise UnknownJob(many, "See 'facefusion jobs list'.")
        return found[0]

    def show(self, job_id: str) -> JobView:
        """All that is told about a job.

        Raises
        ------
        UnknownJob
        """
        job, progress, items, merged = self.store.look(job_id)
        way_out = f"Delete it: facefusion jobs delete {job.id}"
        with border(StoreRefused, f"Job {job.id} is damaged in the store", way_out):
            return _view(job, progress, items, merged, self._is_stopped(job))

    def history(self, job_id: str, after: int = 0) -> tuple[Happened, ...]:
        """What happened to a job, after the line of that number.

        Raises
        ------
        UnknownJob
        """
        self.store.get(job_id)
        return tuple(Happened(*line) for line in self.store.events(job_id, after))

    def events(self, job_id: str, after: int = 0, poll_s: float = POLL_S) -> Iterator[Event]:
        """What happens to a job from now on, until it is done, failed, cancelled or deleted.

        Parameters
        ----------
        job_id
            Which.
        after
            Number of the last line of history that is known already: who was cut off misses nothing.
        poll_s
            How often to look.

        Returns
        -------
        Lines of history, progress of stages, and changes of status; the first status is the one that it has, and the
        last event is always a status.

        Raises
        ------
        UnknownJob
            When there is no such job at the beginning.
        """
        self.store.get(job_id)
        status: str = ""
        told: dict[str, int] = {}
        while True:
            try:
                # The state first: what it rests on is then told before it.
                view = self.show(job_id)
            except UnknownJob:
                yield Changed("deleted")
                return
            for line in self.store.events(job_id, after):
                after = line[0]
                yield Happened(*line)
            for name, stage in view.stages.items():
                if told.get(name, -1 if name == view.stage else 0) != stage.frames_done:
                    told[name] = stage.frames_done
                    yield Advanced(name, stage.frames_done, stage.frames, stage.frames_per_s, stage.time_left_s)
            if view.status != status:
                status = view.status
                yield Changed(view.status, view.problem)
            if view.is_over:
                return
            time.sleep(poll_s)

    def cancel(self, job_id: str) -> JobView:
        """Stop a job; what is finished of it is kept. One that is done stays so.

        Raises
        ------
        UnknownJob
        """
        self.store.cancel(job_id)
        return self.show(job_id)

    def retry(self, job_id: str) -> JobView:
        """Put a job back that failed or was cancelled; every part has all its tries again.

        Workers of a cluster take it up by themselves; on this machine `run` does.

        Raises
        ------
        UnknownJob
        JobError
            When it is running or done, or belongs to a cluster and no broker is named.
        """
        job = self.store.get(job_id)
        if job.status not in ("failed", "cancelled"):
            raise JobError(f"Job {job_id} is {job.status}, so there is nothing to try again.", "Nothing was changed.")
        if not job.is_shared:
            self.store.retry(job_id)
        elif self.backend.is_cluster:
            cluster_room().retry(self.backend, self.store, job_id)
        else:
            raise JobError(f"Job {job_id} is done by the workers of a cluster.", "Add --broker and --storage.")
        return self.show(job_id)

    def delete(self, job_id: str) -> None:
        """Forget a job, and take away everything that it left but its output.

        Raises
        ------
        UnknownJob, JobError, OutputRefused
            As `facefusion.jobs.local.LocalJobs.delete` says.
        """
        self.local.delete(job_id)

    def sweep(self) -> Swept:
        """Take old jobs and stray files of this machine away, and offer again what was forgotten.

        Of a cluster only what killed workers left goes: how long its jobs are kept is a matter of its workers.
        """
        swept = self.local.sweep(self.backend.keep_days)
        if not (self.backend.is_cluster and self.backend.storage_url):
            return swept
        return replace(swept, cleared=swept.cleared + cluster_room().clear_work(self.backend.storage_url))

    def preview(
        self,
        job_id: str,
        at_s: float,
        path: PathLike,
        is_beside: bool = False,
        is_exact: bool = False,
        on_progress: OnProgress = ignore_progress,
    ) -> Preview:
        """Write a picture of one frame as it will be (`facefusion.service.previews.Previews.of_job`).

        Parameters
        ----------
        job_id
            Which; before it is run, in the middle, or when it is done.
        at_s
            Time in the output, seconds.
        path
            Picture to write.
        is_beside
            Whether the frame before is shown too, on the left.
        is_exact
            Whether faces are found in the whole target first, where the job has no tracks or none any more.
        on_progress
            Called meanwhile.

        Raises
        ------
        RecipeError, UnknownJob, JobError, JobMismatch, OutputRefused
        """
        path = as_path(path)
        return self.previews.write_of_job(self.local, job_id, at_s, path, is_beside, is_exact, on_progress)

    def picture(self, job_id: str, at_s: float = 0.0, is_beside: bool = False) -> Picture:
        """The same as a value that holds the pixels.

        Raises
        ------
        RecipeError, UnknownJob, JobError, JobMismatch
        """
        return self.previews.of_job(self.local, job_id, at_s, is_beside)

    def recipe_of(self, job_id: str) -> Recipe:
        """What was asked for.

        Raises
        ------
        UnknownJob
        """
        return build_recipe(self.store.get(job_id).recipe)

    def _is_stopped(self, job: Job) -> bool:
        return job.queue == LOCAL and self.local.is_stopped(job)


def _view(
    job: Job, progress: Sequence[StageProgress], items: Sequence[Item], merged: Merged | None, is_stopped: bool
) -> JobView:
    stages = {
        stage.stage: StageState(
            stage.items, stage.items_done, stage.frames, stage.frames_done, round(stage.frames_per_s, 3),
            stage.time_left_s,
        )
        for stage in progress
        if stage.items
    }  # fmt: skip
    counts = [(one.frames_done, one.frames) for one in stages.values()]
    done, total = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    return JobView(
        id=job.id,
        status=job.status,
        share=share_of(done, total, job.status == "done"),
        target=str(job.recipe.get("target_path", "")),
        output=str(job.recipe.get("output_path", "")),
        error=job.error,
        problem=_problem_of(job, merged),
        created_at=job.created_at,
        updated_at=job.updated_at,
        is_shared=job.is_shared,
        models=dict(job.plan.models),
        stages=stages,
        tries={f"{item.stage} {item.number}": item.renders for item in items if item.renders > 1},
        outcome=_result_of(merged),
        is_stopped=is_stopped,
        trace="" if job.failure is None else job.failure.trace,
        policy=(job.plan.verdict if merged is None else merged.verdict).as_dict(),
    )


def _problem_of(job: Job, merged: Merged | None) -> Problem | None:
    if job.status == "failed":
        return Problem.of(failure_of(job))
    if job.status == "done" and merged is not None and merged.failure is not None:
        return Problem(merged.failure.code, merged.failure.message, merged.failure.hint)
    return None


def _result_of(merged: Merged | None) -> Result | None:
    if merged is None:
        return None
    return Result(
        merged.frame_count, merged.changed_frame_count, merged.track_count, merged.models, merged.notes,
        merged.sha256, merged.size_bytes, merged.signed,
    )  # fmt: skip


def _summary(job: Job, counts: tuple[int, int], is_stopped: bool) -> JobSummary:
    target, output = (str(job.recipe.get(name, "")) for name in ("target_path", "output_path"))
    share = share_of(*counts, job.status == "done")
    return JobSummary(job.id, job.status, share, target, output, job.error, job.created_at, job.updated_at, is_stopped)


def _write_cursor(job: Job) -> str:
    return pack(job.created_at, job.id)


def _read_cursor(text: str) -> tuple[float, str] | None:
    if not text:
        return None
    try:
        return unpack(text)
    except ValueError as error:
        raise RecipeError(f"{text!r} is no cursor.", "Use the one that the page before told.") from error
