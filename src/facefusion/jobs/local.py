"""Jobs on one machine: created from a recipe, done here, resumed by asking again. No server."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from facefusion import journal
from facefusion.errors import (
    MEMORY_HINT,
    FaceError,
    FaceFusionError,
    Fault,
    IllegalMove,
    JobError,
    JobMismatch,
    OutputRefused,
    QualityTooLow,
    RecipeError,
    SegmentFailed,
    Stopped,
    StoreRefused,
    StoreUnreachable,
    TracksError,
    UnknownJob,
    UnknownOption,
    own_error,
)
from facefusion.jobs.memory import free_bytes
from facefusion.jobs.pool import LACK_OF_MEMORY, Done, Gone, Pool
from facefusion.jobs.prepare import Prepared, prepare
from facefusion.jobs.states import Item, StageName, is_due
from facefusion.jobs.storage import FolderStorage, Storage, check_job_id, hash_file, is_same_storage, open_storage
from facefusion.jobs.store import LOCAL, PATIENCE_S, Job, JobStore
from facefusion.jobs.stored import Joined, Merged, StoredPlan, Told
from facefusion.jobs.sweep import STRAY_S, Swept, remove, sweep
from facefusion.jobs.work import LEASE_S, Worker, give_up, is_at_work, joined_as, key_of, owner_name
from facefusion.models.providers import core_count
from facefusion.pipeline.cast import build_cast
from facefusion.pipeline.clip import check_covered
from facefusion.pipeline.inputs import Shelf, State, known_hash_of, known_hashes, learn_hashes
from facefusion.pipeline.permission import Permission
from facefusion.pipeline.plan import check_paths
from facefusion.pipeline.progress import NEVER, CancelToken, OnProgress, Progress, ignore_progress
from facefusion.pipeline.runner import TARGET_HASH, Outcome
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.recipe import Recipe, build_recipe
from facefusion.types.track import Tracks
from facefusion.workplace import clear_dead, is_held, make_folder, take, user_base, user_workplace

WORKER_BYTES = 1_500_000_000
"""Memory to reckon with for each process."""
MAX_STRETCH = 16
"""Spans that a process does on end: it reads the tracks of all of them at once."""
POLL_S = 0.2
GLANCE_S = 3.0
"""How long to wait for whoever has a job: a sweep, or a new job that takes over its parts, has it for a moment only."""
LEAVE_S = 10.0
"""How long to wait for a process that was told to leave a job, or is just done with it."""
MAX_BARREN = 5
"""So many processes on end may die before they begin an item."""
Stretch = tuple[StageName, range]
"""Items on end of one stage, which a process does in one go."""


def check_target(tracks: Tracks, target: Path, hashes: Mapping[str, str]) -> None:
    """Refuse tracks of another file, or of this one before it was changed: faces would be elsewhere.

    Raises
    ------
    TracksError
    """
    if tracks.notes.get(TARGET_HASH, hashes[str(target)]) != hashes[str(target)]:
        raise TracksError(f"The tracks were made from another file than {target} is now.", "Analyse this target again.")


@dataclass(frozen=True, slots=True)
class LocalJobs:
    """Where jobs of this machine are.

    Attributes
    ----------
    folder
        Holds the working files.
    store
        The truth.
    storage
        The working files.
    is_kept
        Whether a job that did not come to its end is still there afterwards and can be resumed.
    shelf
        What was read of the photos of the job that was made last, for whoever does it in this process.
    policy
        What may be done here.
    """

    folder: Path
    store: JobStore
    storage: Storage
    is_kept: bool = True
    shelf: Shelf = field(default_factory=Shelf, repr=False, compare=False)
    policy: SitePolicy = NO_POLICY

    @classmethod
    def open(
        cls,
        folder: Path,
        store_url: str = "",
        limit_bytes: int | None = None,
        is_kept: bool = True,
        policy: SitePolicy = NO_POLICY,
        patience_s: float = PATIENCE_S,
    ) -> LocalJobs:
        """Open, or make, the jobs of a folder.

        Raises
        ------
        OutputRefused
            When the folder cannot be written.
        """
        if not folder.is_dir():
            try:
                make_folder(folder)
            except OutputRefused as error:
                raise OutputRefused(error.message, "Choose another --jobs-path.") from error
        if not os.access(folder, os.W_OK):
            raise OutputRefused(f"{folder} cannot be written.", "Choose another --jobs-path.")
        store = JobStore(store_url or f"sqlite:///{(folder / 'jobs.db').absolute()}", patience_s)
        files = FolderStorage(make_folder(folder.absolute() / "files"), limit_bytes)
        return cls(folder, store, files, is_kept, policy=policy)

    def create(
        self,
        recipe: Recipe,
        max_attempts: int = 3,
        on_progress: OnProgress = ignore_progress,
        tracks: Tracks | None = None,
        tenant: str = "",
    ) -> Job:
        """The job of a recipe: the one that was begun, or a new one.

        A job that is done is begun afresh; one that stopped goes on. A new one takes over what an unfinished job has
        made whose parts are the same: one that differs in the output's name, its sound or its other tracks. That one
        stays as it is.

        Parameters
        ----------
        recipe
            What is asked for.
        max_attempts
            Tries of each item.
        on_progress
            Called after each source.
        tracks
            What an earlier first pass left; None has it done.
        tenant
            On whose behalf.

        Raises
        ------
        FaceFusionError
            Everything that `facefusion.pipeline.plan.build_plan` refuses.
        PolicyError
            What must not be done here.
        JobError
            When another process is just making it, or just done with it.
        """
        self.policy.signing.check()
        self.shelf.clear()
        asked = prepare(recipe, shelf=self.shelf, is_marked=self.policy.is_marked)
        job_id = asked.job_id
        verdict = asked.ask(self.policy, tenant)
        job = self.store.find(job_id)
        if job is not None and job.status != "done":
            return job
        chosen, stored = asked.chosen, asked.stored(asked.check_faces(on_progress), tenant, verdict)
        counts = [span.frame_count for span in stored.found.spans]
        with ExitStack() as stack:
            self._hold(stack, job_id, self._lock_path(job_id, ".new"), LEAVE_S)
            job = self.store.find(job_id)
            if job is not None and job.status != "done":
                return job  # another process was faster
            if job is not None:
                self._hold(stack, job_id, self._lock_path(job_id), LEAVE_S)
                self.storage.delete(f"{job_id}/")
            done: dict[tuple[StageName, int], tuple[str, dict[str, Any]]] = {}
            stages = asked.stages
            other = None
            if tracks is not None and "join" in stages:
                check_target(tracks, asked.recipe.target_path, asked.hashes)
                done, stages = self._take_in(asked, tracks, tenant), stages[stages.index("join") :]
            else:
                other = self._find_alike(stack, job_id, stored)
            if other is not None:
                done = self._take_over(other.id, job_id)
                stored = replace(stored, taken_from=other.id)
                # What was left open was decided for those parts.
                before = build_recipe(other.recipe)
                chosen = chosen.model_copy(update={"steps": before.steps, "people": before.people})
            self.store.create(
                job_id, chosen.model_dump(mode="json"), stored.as_dict(), self.storage.url, counts, LOCAL,
                max_attempts=max_attempts, is_afresh=True, taken_over=done,
                stages=stages,
            )  # fmt: skip
        return self.store.get(job_id)

    def _take_in(
        self, asked: Prepared, tracks: Tracks, tenant: str
    ) -> dict[tuple[StageName, int], tuple[str, dict[str, Any]]]:
        """Put tracks where the first pass would have left them; items as the store takes them."""
        job_id, plan = asked.job_id, asked.plan
        cast = build_cast(plan.resolved, kinds=plan.found.sources, shelf=asked.shelf, is_rendering=False)
        outcome: Joined = joined_as(plan, plan.target, cast, tracks, plan.recipe.target_path.name)
        if plan.kind == "clip":
            check_covered(plan.recipe, tracks)
        verdict = Permission(self.policy, tenant, asked.shelf).people(
            plan.resolved, plan.kind, tracks, outcome.assigned
        )  # fmt: skip
        outcome = replace(outcome, verdict=verdict)
        with user_workplace() as place:
            path = place.folder / "tracks.safetensors"
            tracks.save(path)
            sha256 = hash_file(path)
            self.storage.put(key_of(job_id, "join", 0), path)
        return {("join", 0): (sha256, outcome.as_dict())}

    def _find_alike(self, stack: ExitStack, job_id: str, plan: StoredPlan) -> Job | None:
        """The unfinished job with the same parts that is furthest, held as long as the stack is open; or None."""
        found: list[tuple[int, str]] = []
        for job in self.store.list_jobs():
            if job.id == job_id or job.status == "done" or not self._is_ours(job):
                continue
            is_alike = False
            with suppress(StoreRefused):  # one that is damaged has nothing to give
                is_alike = job.plan.is_alike(plan)
            if is_alike:
                done = sum(item.status == "done" for item in self.store.items(job.id))
                found.append((done, job.id))
        for done, other in sorted(found, reverse=True):
            lock = take(self._lock_path(other)) if done else None
            if lock is not None:
                stack.callback(lock.release, is_removing=True)
                job_now = self.store.find(other)
                if job_now is not None and job_now.status != "done" and not self._owners(other):
                    return job_now
        return None

    def _take_over(self, other: str, job_id: str) -> dict[tuple[StageName, int], tuple[str, dict[str, Any]]]:
        """Give the finished files of a job to another one; items by stage and number, as the store takes them."""
        taken: dict[tuple[StageName, int], tuple[str, dict[str, Any]]] = {}
        items = [item for item in self.store.items(other) if item.status == "done" and item.stage != "merge"]
        for item in sorted(items, key=lambda item: item.stage not in ("assemble", "join")):
            outcome = self.store.outcomes(other, item.stage)[item.number]
            try:
                self.storage.copy(key_of(*item.key), key_of(job_id, item.stage, item.number))  # type: ignore[arg-type]
            except FileNotFoundError:
                if item.stage not in ("analyse", "generate") or not taken:  # taken away when it is joined
                    continue
            taken[item.stage, item.number] = item.sha256, outcome
        return taken

    def delete(self, job_id: str) -> None:
        """Forget a job, and take away everything that it left but its output.

        Raises
        ------
        UnknownJob
        JobError
            When somebody is at it.
        OutputRefused
            When something cannot be taken away; the job is kept then, and is not gone on with.
        """
        check_job_id(job_id)
        job = self.store.get(job_id)
        storage = self.storage_of(job)
        way_on = f"Cancel it first: facefusion jobs cancel {job_id}"
        with ExitStack() as stack:
            patience_s = LEAVE_S if job.status == "cancelled" else GLANCE_S
            self._hold(stack, job_id, self._lock_path(job_id), patience_s, way_on)
            owners = self._owners(job_id, storage)
            if owners:
                raise JobError(f"Job {job_id} is running in another process ({owners[0]}).", way_on)
            self._clear()
            remove(self.store, storage, job_id)

    def sweep(self, keep_days: float, stray_s: float = STRAY_S) -> Swept:
        """Tidy up (`facefusion.jobs.sweep.sweep`); what somebody is at is left alone."""
        return sweep(self.store, self.storage, keep_days, stray_s, self.folder / "locks")

    def storage_of(self, job: Job) -> Storage:
        """Where the working files of a job are: here, or where the workers of a cluster put them.

        Raises
        ------
        JobError
            When they are in another folder of this machine.
        """
        if job.is_shared and not self._is_ours(job):  # made by workers, who have leases
            return open_storage(job.storage, user_base())
        self._check_ours(job)
        return self.storage

    def is_stopped(self, job: Job) -> bool:
        """Whether a job is neither over nor in anybody's hands."""
        is_open = job.status in ("queued", "running") and job.queue == LOCAL
        return is_open and not any(is_held(self._lock_path(job.id, ending)) for ending in ("", ".new"))

    def _is_ours(self, job: Job) -> bool:
        """Whether the files of a job are here; a folder that was moved is still the same."""
        if is_same_storage(job.storage, self.storage.url):
            return True
        return not job.is_shared and not Path(unquote(urlparse(job.storage).path)).exists()

    def _check_ours(self, job: Job) -> None:
        if not self._is_ours(job):
            raise JobError(
                f"Job {job.id} has its working files in {job.storage}, not in {self.storage.url}.",
                "Use the --jobs-path (or --broker and --storage) that it was begun with.",
            )

    def _owners(self, job_id: str, storage: Storage | None = None) -> list[str]:
        """Who is at work on a job, this process included."""
        items, now = self.store.items(job_id), time.time()
        return [item.owner for item in items if is_at_work(storage or self.storage, item, now)]

    def _clear(self) -> None:
        """Take away what processes left that are gone."""
        if isinstance(self.storage, FolderStorage):
            clear_dead(self.storage.work)
        clear_dead(user_base())

    def run(
        self,
        job_id: str,
        workers: int = 0,
        memory_bytes: int | None = None,
        on_progress: OnProgress = ignore_progress,
        execution: dict[str, Any] | None = None,
        cancel: CancelToken = NEVER,
    ) -> Outcome:
        """Do what is left of a job.

        Parameters
        ----------
        job_id
            Which.
        workers
            Processes; 0 takes one for every two cores, as far as memory and work go. One process works in this one.
        memory_bytes
            What all of them may take together; None is what is free now.
        on_progress
            Called now and then.
        execution
            Options of this machine that take the place of the job's.

        cancel
            Ends it; the job can go on later.

        Raises
        ------
        SegmentFailed
            When an item failed too often; the job is kept and can be retried.
        JobMismatch
            When an input file has changed.
        JobError
            When another process is at it, or another job writes the same output.
        QualityTooLow
            When the output was written, and is worse than was allowed.
        Stopped
            When the job was cancelled meanwhile, or by the token.
        """
        began, since = time.perf_counter(), time.time()
        with self._alone(job_id), self._kept(job_id), ExitStack() as stack:
            stack.callback(self.shelf.clear)
            job = self.store.get(job_id)
            if job.status == "done":
                return self._outcome(job, 0.0)
            plan = _plan_of(job)
            self.policy.signing.check()
            self._check_ours(job)
            self._check_inputs(job, plan)
            self._hold_output(stack, job.output_path)
            self._clear()
            stack.callback(self._clear)  # processes of the pool are not asked to tidy up
            self.store.retry(job_id)  # nobody else can be at it: whatever is running has lost its process
            self._mend(job_id)
            spans = len(plan.found.spans)
            threads = int((execution or {}).get("execution_thread_count", job.recipe["execution_thread_count"]) or 0)
            cores = threads or core_count()
            devices = (execution or {}).get("execution_device_ids") or job.recipe["execution_device_ids"]
            wanted = max(cores // 2, len(devices))  # a process for each device at least
            count = workers or max(1, min(wanted, spans, int((memory_bytes or free_bytes()) // WORKER_BYTES)))
            with _Reporter(self.store, job_id, on_progress, cancel) as reporter, self._put_back(job_id):
                if count == 1:
                    self._work_here(job_id, reporter, threads, execution or {})
                else:
                    execution = {**(execution or {}), "execution_device_ids": tuple(devices)}
                    known = known_hashes(map(Path, plan.hashes))
                    share = Share(
                        self.store.url, self.folder.absolute(), max(cores // count, 1), execution, count, known,
                        self.policy,
                    )  # fmt: skip
                    self._work_in_pool(job_id, share, reporter)
            job = self.store.get(job_id)
            if job.status == "done":
                notes = []
                try:
                    self.storage.delete(f"{check_job_id(job_id)}/")  # biometric data goes with the work
                except OutputRefused as error:
                    notes.append(f"Working files are left: {error}")
                return self._outcome(job, time.perf_counter() - began, notes, since)
            if job.status == "cancelled":
                raise Stopped(f"Job {job_id} was cancelled.", f"Go on with: facefusion jobs resume {job_id}")
            raise failure_of(job, self._way_on(job_id))

    @contextmanager
    def _alone(self, job_id: str) -> Iterator[None]:
        """Let one process at a time run a job; the lock goes with the process, however it ends."""
        with ExitStack() as stack:
            self._hold(stack, job_id, self._lock_path(job_id), GLANCE_S)
            yield

    def _hold(self, stack: ExitStack, job_id: str, path: Path, patience_s: float = 0.0, hint: str = "") -> None:
        """Hold a lock of a job as long as the stack is open.

        Raises
        ------
        JobError
            When another process has it.
        """
        lock = take(path, patience_s)
        if lock is None:
            raise JobError(
                f"Job {job_id} is running in another process.", hint or f"Follow it with: facefusion jobs show {job_id}"
            )
        stack.callback(lock.release, is_removing=True)

    def _hold_output(self, stack: ExitStack, output: Path) -> None:
        """Let one job at a time make an output."""
        name = hashlib.sha256(os.path.realpath(output).encode(errors="surrogateescape")).hexdigest()[:16]
        lock = take(self.folder / "locks" / f"{name}.output")
        if lock is None:
            raise JobError(
                f"Another job is writing {output} just now.", "Wait until it is done, or choose another --output."
            )
        stack.callback(lock.release, is_removing=True)

    def _lock_path(self, job_id: str, ending: str = "") -> Path:
        return self.folder / "locks" / f"{check_job_id(job_id)}{ending}"

    def _check_inputs(self, job: Job, plan: StoredPlan) -> None:
        recipe = Recipe(**job.recipe)
        check_paths(recipe)
        for path, sha256 in plan.hashes.items():
            if self.is_kept and not Path(path).is_file():
                raise JobMismatch(f"{path} is gone, and job {job.id} needs it.", "Bring it back, then resume the job.")
            if not Path(path).is_file() or known_hash_of(Path(path)) != sha256:
                if not self.is_kept:
                    raise JobMismatch(
                        f"{path} was changed while it was read; nothing was written.",
                        "Begin again with what is there now.",
                    )
                raise JobMismatch(
                    f"{path} has changed since job {job.id} began.",
                    f"Bring it back, or begin again: facefusion jobs delete {job.id}",
                )

    def _mend(self, job_id: str) -> None:
        """Have files made again that are missing or damaged."""
        worker = Worker(self.store, self.storage)
        for key, reason in worker.find_damage(job_id):
            self.store.invalidate(key, reason)

    @contextmanager
    def _kept(self, job_id: str) -> Iterator[None]:
        """Let only errors of ours out of a run; what a caller's own function raised passes as it is."""
        try:
            yield
        except FaceFusionError:
            raise
        except _OfTheCaller as broken:
            raise broken.error from None
        except Exception as error:
            own = own_error(error)
            self._fail(job_id, own)
            own.hint = f"{own.hint} {self._way_on(job_id)}".strip()
            raise own from error

    @contextmanager
    def _put_back(self, job_id: str) -> Iterator[None]:
        """Leave nothing as running that nobody does any more, and no job whose work ended with an error."""
        try:
            yield
        except (StoreUnreachable, UnknownJob):
            raise  # nothing can be recorded
        except Exception as error:
            self._fail(job_id, own_error(error))
            raise
        except BaseException:  # Ctrl-C
            self._release(job_id)
            raise
        else:
            self._release(job_id)

    def _fail(self, job_id: str, error: FaceFusionError) -> None:
        """Record with a job why nobody goes on with it: with what is in hand, or with what would come next."""
        with suppress(Exception):  # the store may be what is broken
            if self.store.get(job_id).status not in ("queued", "running"):
                return
            owner = owner_name()
            last: FaceFusionError = copy(error)
            last.retryable = False  # nobody is left to try it
            items = self._running(job_id)
            if not items:
                waiting = [item for item in self._stage_in_hand(job_id) if item.status == "queued"]
                claimed = (self.store.claim(item.key, owner, LEASE_S) for item in waiting[:1])
                items = [item for item in claimed if item is not None]
            for item in items:
                give_up(self.store, item.key, item.owner, last)  # type: ignore[arg-type]

    def _release(self, job_id: str) -> None:
        with suppress(Exception):  # deleted meanwhile, or the store is away: the next run does it
            for item in self._running(job_id):
                self.store.wait(item.key, item.owner)

    def _running(self, job_id: str, owner: str | None = None) -> list[Item]:
        items = self.store.items(job_id)
        return [item for item in items if item.status == "running" and owner in (None, item.owner)]

    def _work_here(self, job_id: str, reporter: _Reporter, threads: int, execution: dict[str, Any]) -> None:
        worker = Worker(self.store, self.storage, thread_count=threads, execution=execution, shelf=self.shelf,
                        policy=self.policy)  # fmt: skip
        reporter.on_break = worker.stop
        try:
            while self._is_wanted(job_id, reporter):
                stretch = next_stretch(self._stage_in_hand(job_id))
                if stretch:
                    worker.perform(job_id, *stretch)
                else:
                    time.sleep(POLL_S)  # a failed item waits for its next try
        finally:
            worker.close()

    def _is_wanted(self, job_id: str, reporter: _Reporter) -> bool:
        return not reporter.is_broken and self.store.get(job_id).status in ("queued", "running")

    def _stage_in_hand(self, job_id: str) -> list[Item]:
        """Items of the first stage that is not done."""
        items = self.store.items(job_id)
        stage = next((i.stage for i in items if i.status != "done"), None)
        return [i for i in items if i.stage == stage]

    def _work_in_pool(self, job_id: str, share: Share, reporter: _Reporter) -> None:
        """Processes, each with sessions of its own; one that dies loses its item to the others."""
        barren, before = 0, 0
        with Pool(share.process_count, hire, share) as pool:
            while self._is_wanted(job_id, reporter):
                items = self._stage_in_hand(job_id)
                taken = {(stage, numbers[0]) for _, stage, numbers in pool.tasks}
                while pool.room:
                    stretch = next_stretch(items, taken)
                    if not stretch:
                        break
                    pool.give(job_id, *stretch)
                    taken.add((stretch[0], stretch[1][0]))
                # What is done opens what comes next; only a failed item that waits for its next try needs a clock.
                for event in pool.wait(POLL_S):
                    if isinstance(event, Gone):
                        is_barren = not self._take_back(job_id, event) and event.task is not None
                        done = sum(item.status == "done" for item in self.store.items(job_id))
                        barren, before = (barren + 1 if done == before else 1) if is_barren else 0, done
                        if barren >= MAX_BARREN:
                            self._despair(job_id, event)
                        time.sleep(POLL_S * barren)
                    elif event.told is not None:
                        self._record(job_id, event)

    def _take_back(self, job_id: str, gone: Gone) -> bool:
        """Offer again what a dead process had; False where it had not begun anything."""
        found = self._running(job_id, gone.owner) if gone.owner else []
        for item in found:
            with suppress(IllegalMove, UnknownJob):  # cancelled or deleted just now
                self.store.expire(item.key, is_known_dead=True, how=gone.how)
        self._clear()  # it may have held much room
        return bool(found)

    def _despair(self, job_id: str, gone: Gone) -> None:
        """Put an item aside whose processes die before they begin it."""
        assert gone.task is not None
        _, stage, numbers = gone.task
        error = SegmentFailed(
            f"{stage} {numbers[0]} cannot be begun: its process {gone.how}, {MAX_BARREN} times on end.",
            "Try --workers 1, which needs no further process.",
        )
        key, owner = (job_id, stage, numbers[0]), owner_name()
        if self.store.claim(key, owner, LEASE_S) is None:
            raise SegmentFailed(error.message, f"{error.hint} {self._way_on(job_id)}".strip())
        give_up(self.store, key, owner, error)

    def _record(self, job_id: str, done: Done) -> None:
        """What a process could not record itself."""
        assert done.told is not None
        error = error_of(Told.from_dict(done.told, job_id))
        if isinstance(error, StoreUnreachable):
            raise error
        for item in self._running(job_id, done.owner):
            give_up(self.store, item.key, item.owner, error)  # type: ignore[arg-type]

    def _way_on(self, job_id: str) -> str:
        return way_on(job_id) if self.is_kept else ""

    def _outcome(self, job: Job, seconds: float, notes: Sequence[str] = (), since: float = math.inf) -> Outcome:
        seen_s = looked_s(self.store, job.id, seconds, since)
        return outcome_of(job, self.store.merged(job.id), seconds, seen_s, notes)


def looked_s(store: JobStore, job_id: str, seconds: float, since: float = 0.0) -> float:
    """Wall time that a job took until its faces were found.

    Parameters
    ----------
    store, job_id
        Which.
    seconds
        All the time that is counted.
    since
        When that began, seconds since 1970; 0 counts from the first item that was taken.
    """
    items = [item for item in store.items(job_id) if item.stage not in ("render", "merge") and item.claimed_at]
    taken = min((item.claimed_at for item in items), default=0.0)
    finished = max((item.finished_at for item in items), default=0.0)
    return min(max(finished - (since or taken), 0.0), seconds)


def _plan_of(job: Job) -> StoredPlan:
    """The plan of a job that is to be done.

    Raises
    ------
    StoreRefused
        When it is not one, or not of a whole job.
    """
    plan = job.plan
    if not plan.found.spans:
        raise StoreRefused(f"Job {job.id} is damaged in the store.", f"Delete it: facefusion jobs delete {job.id}")
    return plan


def outcome_of(
    job: Job, merged: Merged | None, seconds: float, seen_s: float = 0.0, notes: Sequence[str] = ()
) -> Outcome:
    """What came of a job that is done.

    Parameters
    ----------
    job, merged
        As stored.
    seconds, seen_s
        Wall time that it took, and how much of it until faces were found.
    notes
        More to say.

    Raises
    ------
    QualityTooLow
        When the output was measured and found too bad.
    StoreRefused
        When nothing is stored.
    """
    if merged is None:
        raise StoreRefused(f"Job {job.id} is damaged in the store.", f"Delete it: facefusion jobs delete {job.id}")
    if merged.failure is not None:
        raise QualityTooLow(merged.failure.message, merged.failure.hint)
    return Outcome(
        job.output_path, merged.frame_count, merged.changed_frame_count, merged.track_count, seen_s,
        seconds - seen_s, merged.models, (*merged.notes, *notes),
        bool(job.plan.mark and merged.changed_frame_count and merged.track_count),
    )  # fmt: skip


def failure_of(job: Job, next_step: str | None = None) -> FaceFusionError:
    """Why a job failed: the error itself where trying again would not have helped.

    Parameters
    ----------
    job
        As stored.
    next_step
        What to do with the job; None says how to resume it.
    """
    next_step = way_on(job.id) if next_step is None else next_step
    told = job.failure
    if told is not None:
        error = error_of(told)
        if not is_of_the_request(error):
            error.hint = f"{error.hint} {next_step}".strip()
        return error
    what_to_do = MEMORY_HINT if LACK_OF_MEMORY in job.error else "Mend what is wrong."
    return SegmentFailed(f"Job {job.id}: {job.error}", f"{what_to_do} {next_step}".strip())


def is_of_the_request(error: FaceFusionError) -> bool:
    """Whether the same job would end the same way again: only another request does better, so resuming is no way on."""
    return isinstance(error, FaceError | TracksError | UnknownOption) or type(error) is RecipeError


def error_of(told: Told) -> FaceFusionError:
    """The error that is told of."""
    kinds = {kind.code: kind for kind in _all_kinds(FaceFusionError)}
    error = kinds.get(told.code, FaceFusionError)(told.message, told.hint)
    if isinstance(error, Fault):
        error.trace = told.trace
    return error


def way_on(job_id: str) -> str:
    """What to say of a job that did not come to its end."""
    return f"Job {job_id} is kept: facefusion jobs resume {job_id}"


CANCELLED = "What is finished is kept with the job, which can go on."


class _OfTheCaller(Exception):
    """Carries what `on_progress` raised out of a run."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


def _all_kinds(kind: type[FaceFusionError]) -> Iterator[type[FaceFusionError]]:
    yield kind
    for other in kind.__subclasses__():
        yield from _all_kinds(other)


def next_stretch(
    items: Sequence[Item], taken: Collection[tuple[StageName, int]] = (), now: float | None = None
) -> Stretch | None:
    """What a process that has nothing to do takes next.

    Parameters
    ----------
    items
        Of one stage, in order.
    taken
        Where others have been sent, though they may not have begun.
    now
        Time of the store; None takes this machine's.

    Returns
    -------
    Stage and consecutive numbers, or None where nothing waits. Of items towards which somebody is working it is the
    second half, so that everyone reads on for as long as possible.
    """
    now = time.time() if now is None else now
    stretches: list[tuple[bool, list[Item]]] = []
    is_going_on = is_followed = False
    for item in items:
        if item.status == "queued" and (item.stage, item.number) not in taken and is_due(item, now):
            if not is_going_on:
                stretches.append((is_followed, []))
            stretches[-1][1].append(item)
            is_going_on = True
        else:
            is_going_on = False
            is_followed = item.status == "running" or (item.stage, item.number) in taken
    if not stretches:
        return None
    is_followed, stretch = min(stretches, key=lambda found: (found[0], -len(found[1])))
    if is_followed:
        stretch = stretch[len(stretch) // 2 :]
    stretch = stretch[:MAX_STRETCH]
    return stretch[0].stage, range(stretch[0].number, stretch[-1].number + 1)


@dataclass(frozen=True, slots=True)
class Share:
    """What a process of the pool is told: where everything is, how many share the machine, and hashes of the inputs."""

    store_url: str
    folder: Path
    threads: int
    execution: dict[str, Any]
    process_count: int
    known: Mapping[Path, tuple[State, str]] = field(default_factory=dict)
    policy: SitePolicy = NO_POLICY
    log: journal.Plan = field(default_factory=journal.plan)


def hire(share: Share, place: int) -> Worker:
    """What does the work in a process of the pool: it keeps to the cores of its place and has a device of its own."""
    journal.set_up(*share.log)
    logging.captureWarnings(True)  # of libraries: they would be written over the user's progress
    _keep_to_cores(place, share.process_count)
    learn_hashes(share.known)
    jobs = LocalJobs.open(share.folder, share.store_url)
    devices = share.execution["execution_device_ids"]
    execution = {**share.execution, "execution_device_ids": (devices[place % len(devices)],)}
    return Worker(jobs.store, jobs.storage, thread_count=share.threads, execution=execution, policy=share.policy)


def _keep_to_cores(place: int, count: int) -> None:
    """Threads that wander between all cores cost a tenth."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if count <= len(cores):
            os.sched_setaffinity(0, cores[place * len(cores) // count : (place + 1) * len(cores) // count])


class _Reporter:
    """Tells how far a job is, from what is recorded; where nobody can be told any more the work stops.

    Attributes
    ----------
    on_break
        Called when ``on_progress`` has raised something, which then comes out of the run, or when it was cancelled.
    """

    def __init__(self, store: JobStore, job_id: str, on_progress: OnProgress, cancel: CancelToken = NEVER) -> None:
        import threading

        self._store, self._job_id, self._on_progress, self._cancel = store, job_id, on_progress, cancel
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._last: dict[str, int] = {}
        self._error: BaseException | None = None
        self.on_break: Callable[[], None] = lambda: None

    @property
    def is_broken(self) -> bool:
        """Whether ``on_progress`` has raised something."""
        return self._error is not None

    def __enter__(self) -> _Reporter:
        if self._on_progress is not ignore_progress or self._cancel is not NEVER:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._on_progress is not ignore_progress and self._error is None:
            self._tell()
        if self._error is not None and kind is None:
            if isinstance(self._error, Stopped) and self._store.get(self._job_id).status == "done":
                return  # it came too late
            raise _OfTheCaller(self._error)

    def _run(self) -> None:
        while self._error is None and not self._is_over.wait(POLL_S):
            try:
                self._cancel.check(CANCELLED)
            except Stopped as stopped:
                self._error = stopped
                self.on_break()
                return
            if self._on_progress is not ignore_progress:
                self._tell()

    def _tell(self) -> None:
        try:
            stages = self._store.progress(self._job_id)
        except Exception:
            return  # the store is away, or the job deleted: the work itself finds that out
        for stage in stages:
            if stage.stage in ("join", "assemble") or (stage.stage == "merge" and not stage.frames_done):
                continue
            if self._last.get(stage.stage) != stage.frames_done:
                self._last[stage.stage] = stage.frames_done
                try:
                    self._on_progress(Progress(stage.stage, stage.frames_done, stage.frames))
                except BaseException as error:
                    self._error = error
                    self.on_break()
                    return
