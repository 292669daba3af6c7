"""Tidying: work whose worker is gone is offered again, old jobs and stray files are taken away."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facefusion.errors import IllegalMove, JobError, OutputRefused, UnknownJob
from facefusion.jobs.states import Item, Publish
from facefusion.jobs.storage import (
    ASSETS,
    WORK,
    FolderStorage,
    Storage,
    Stored,
    check_job_id,
    is_job_id,
    is_same_storage,
)
from facefusion.jobs.store import Job, JobStore
from facefusion.jobs.work import is_at_work
from facefusion.workplace import clear_dead, clear_user, take

FORGOTTEN_S = 10.0
"""An item that nobody has claimed for so long after it was published is published again: messages can be lost."""
SECOND_LOOK_S = 1.5
"""Workers renew their leases three times in this time (`facefusion.jobs.work.BEAT_S`)."""
STRAY_S = 3600.0
"""Files of no job are taken away when they are this old: younger ones may be of a job that is just being made."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What was done.

    Attributes
    ----------
    deleted
        Old jobs.
    orphans
        Stray files.
    woken
        Items offered again.
    cleared
        Working folders and locks of processes that are gone.
    kept
        What could not be taken away, and why.
    """

    deleted: int
    orphans: int
    woken: int
    cleared: int = 0
    kept: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def wake(
    store: JobStore, forgotten_s: float = FORGOTTEN_S, is_alive: Callable[[Item], bool] = lambda _: False
) -> list[Publish]:
    """Take items from workers that are gone, and find items that were forgotten.

    Parameters
    ----------
    store
        Of the jobs.
    forgotten_s
        Age of what is forgotten, in seconds.
    is_alive
        Whether the owner of an item whose lease has run out is known to live all the same, as one that was stopped.

    Returns
    -------
    What is to be published now.
    """
    commands: list[Publish] = []
    lost = [item for item in store.expired() if not is_alive(item)]
    if lost:
        # By a clock that jumped, leases of the living end too: they are renewed before the second look.
        time.sleep(SECOND_LOOK_S)
        still = {(item.key, item.owner, item.lease_until) for item in store.expired()}
        lost = [item for item in lost if (item.key, item.owner, item.lease_until) in still]
    for item in lost:
        try:
            commands += store.expire(item.key)
        except (IllegalMove, UnknownJob):
            continue  # it has been heard of since
    return commands + [Publish(item) for item in store.forgotten(forgotten_s)]


def remove(store: JobStore, storage: Storage, job_id: str) -> None:
    """Take a job's files away, and forget it when all of them are gone.

    Raises
    ------
    OutputRefused
        When some are still there; the job is kept, cancelled.
    """
    check_job_id(job_id)
    store.close_off(job_id)
    try:
        storage.delete(f"{job_id}/")
    except OutputRefused as error:
        raise OutputRefused(f"Job {job_id} is not deleted: {error.message}", error.hint) from error
    store.delete(job_id)


def sweep(
    store: JobStore, storage: Storage, keep_days: float, stray_s: float = STRAY_S, locks: Path | None = None
) -> Swept:
    """Delete jobs that nobody touched for long, with their biometric data, and files that no job knows.

    Parameters
    ----------
    store, storage
        Of the jobs.
    keep_days
        Age of a job in days, whatever its state; one that somebody is at has no age.
    stray_s
        Age of a stray file in seconds. With locks it counts only where no lock can tell.
    locks
        Folder with the locks of jobs; None where jobs are done by the workers of a cluster, which have leases.
    """
    since = time.time() - keep_days * 86400
    deleted, kept = 0, []
    for job in store.list_jobs():
        if job.updated_at > since:
            continue
        try:
            with _hold(locks, job.id) as is_free:
                deleted += is_free and _remove_old(store, storage, job, since)
        except UnknownJob:
            continue  # somebody else was faster
        except (OutputRefused, JobError) as error:
            kept.append(str(error))
    orphans, stuck = _remove_strays(store, storage, stray_s, locks)
    # By its lock it can be told that a process lives, though it has been stopped for longer than its lease.
    woken = wake(store, is_alive=lambda item: locks is not None and is_at_work(storage, item, math.inf))
    cleared = clear_dead(storage.work) if isinstance(storage, FolderStorage) else 0
    cleared += clear_user()
    if locks is not None:
        _remove_locks(locks)
    return Swept(deleted, orphans, len(woken), cleared, tuple(kept + stuck))


@contextmanager
def _hold(locks: Path | None, job_id: str) -> Iterator[bool]:
    """Hold all locks of a job; False where somebody has one."""
    check_job_id(job_id)
    with ExitStack() as stack:
        for ending in ("", ".new"):
            lock = take(locks / f"{job_id}{ending}") if locks is not None else None
            if lock is not None:
                stack.callback(lock.release, is_removing=True)
            elif locks is not None:
                yield False
                return
        yield True


def _remove_old(store: JobStore, storage: Storage, job: Job, since: float) -> bool:
    if not is_same_storage(job.storage, storage.url) and job.is_shared:
        return False  # its files are elsewhere, and so is who tidies them up
    if any(is_at_work(storage, item, time.time()) for item in store.items(job.id)):
        return False
    if not store.close_off(job.id, untouched_since=since):
        return False
    remove(store, storage, job.id)
    return True


def _remove_strays(store: JobStore, storage: Storage, stray_s: float, locks: Path | None) -> tuple[int, list[str]]:
    now = time.time()
    files: dict[str, list[Stored]] = {}
    if isinstance(storage, FolderStorage):
        files = {name: [] for name in storage.folders() if name != ASSETS}
    for stored in storage.list():
        owner = stored.key.split("/")[0]
        if owner not in (WORK, ASSETS):
            files.setdefault(owner, []).append(stored)
    known = {job.id: job.status for job in store.list_jobs()}
    orphans, stuck = 0, []
    for owner, own in files.items():
        is_done = known.get(owner) == "done"
        if owner in known and not is_done:
            continue
        # What a cluster has made waits for whoever asked for it.
        left = [stored for stored in own if not is_done or "/output" not in stored.key]
        try:
            with _hold(locks, owner) if locks is not None and is_job_id(owner) else nullcontext(False) as is_free:
                if is_free and store.find(owner) is not None and not is_done:
                    continue  # it was made just now
                old = [stored for stored in left if is_free or now - stored.changed_at > stray_s]
                if len(old) == len(own) and (old or is_free):
                    storage.delete(f"{owner}/" if "/" in (old[0].key if old else "/") else owner)
                else:
                    for stored in old:
                        storage.delete(stored.key)
                orphans += len(old)
        except (OutputRefused, JobError) as error:
            stuck.append(str(error))
    return orphans, stuck


def _remove_locks(locks: Path) -> None:
    """Take locks away that nobody has."""
    if locks.is_symlink() or not locks.is_dir():
        return
    for path in sorted(locks.iterdir()):
        with suppress(OutputRefused):  # a link, or of another user
            lock = take(path)
            if lock is not None:
                lock.release(is_removing=True)
