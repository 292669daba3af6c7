"""Tidying: work whose worker is gone is offered again, old jobs and stray files are taken away."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

from facefusion.errors import IllegalMove, UnknownJob
from facefusion.jobs.states import Publish
from facefusion.jobs.storage import Storage
from facefusion.jobs.store import JobStore

FORGOTTEN_S = 10.0
"""An item that nobody has claimed for so long after it was published is published again: messages can be lost."""
SECOND_LOOK_S = 1.5
"""Workers renew their leases three times in this time (`facefusion.jobs.work.BEAT_S`)."""
STRAY_S = 3600.0
"""Files of no job are taken away when they are this old: younger ones may be of a job that is just being made."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What was done: jobs deleted, stray files deleted, items offered again, damaged items found."""

    deleted: int
    orphans: int
    woken: int

    def as_fields(self) -> dict[str, int]:
        """For messages."""
        return asdict(self)


def wake(store: JobStore, forgotten_s: float = FORGOTTEN_S) -> list[Publish]:
    """Take items from workers that are gone, and find items that were forgotten.

    Returns
    -------
    What is to be published now.
    """
    commands: list[Publish] = []
    lost = store.expired()
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


def sweep(store: JobStore, storage: Storage, keep_days: float, stray_s: float = STRAY_S) -> Swept:
    """Delete jobs that nobody touched for long, with their biometric data, and files that no job knows.

    Parameters
    ----------
    store, storage
        Of the jobs.
    keep_days
        Age of a job in days.
    stray_s
        Age of a stray file in seconds.
    """
    now = time.time()
    deleted = 0
    for job in store.list_jobs():
        if job.status != "running" and now - job.updated_at > keep_days * 86400:
            storage.delete(f"{job.id}/")
            store.delete(job.id)
            deleted += 1
    known = {job.id: job.status for job in store.list_jobs()}
    orphans = 0
    for stored in storage.list():
        owner = stored.key.split("/")[0]
        is_left = owner not in known or (known[owner] == "done" and "/output" not in stored.key)
        if is_left and now - stored.changed_at > stray_s:
            storage.delete(stored.key)
            orphans += 1
    return Swept(deleted, orphans, len(wake(store)))
