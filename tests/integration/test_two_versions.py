"""Two versions of FaceFusion beside each other, as docs/upgrading.md says what holds then."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from tests.clusters import make_backend, small_request

from facefusion.errors import StoreRefused
from facefusion.jobs.ledger import Ledger
from facefusion.jobs.storage import open_storage
from facefusion.jobs.store import JobStore
from facefusion.jobs.work import Worker
from facefusion.service.jobs import Jobs

JOB = "0123456789abcdef"


def test_what_runs_goes_on_with_a_newer_store_and_nothing_starts_on_it(tmp_path):
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    running, service = JobStore(url), Ledger(url)
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as newer, newer:
        newer.execute("CREATE TABLE more (id INTEGER PRIMARY KEY)")  # what steps have done so far: they add
        newer.execute("ALTER TABLE jobs ADD COLUMN more TEXT DEFAULT ''")
        newer.execute("UPDATE alembic_version SET version_num = '9999'")
    running.create(JOB, {}, {}, "", [1], stages=("render", "merge"))
    assert running.claim((JOB, "render", 0), "w", 60) is not None
    assert service.used("studio")["open_jobs"] == 0
    for kind in (JobStore, Ledger):
        with pytest.raises(StoreRefused, match="another version"):
            kind(url)
    running.close()
    service.close()


def test_workers_leave_jobs_of_another_version_to_others(tmp_path):
    backend = make_backend(tmp_path)
    with Jobs(backend) as jobs:
        job_id = jobs.submit(small_request(tmp_path, tmp_path / "o.mp4")).job.id
        stored = jobs.store.get(job_id).plan
        jobs.store.record(job_id, plan=replace(stored, version="0.0.9").as_dict())
        worker = Worker(jobs.store, open_storage(backend.storage_url, tmp_path), is_one_of_many=True)
        try:
            worker.perform(job_id, "analyse", range(1))
        finally:
            worker.close()
        assert worker.refused == {job_id}
        (item,) = [one for one in jobs.store.items(job_id) if one.stage == "analyse"]
        assert (item.status, item.attempts) == ("queued", 0)
        assert "was begun with FaceFusion 0.0.9" in item.error
        assert jobs.show(job_id).status == "queued"
