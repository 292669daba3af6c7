"""Working folders of a cluster's workers in a shared folder, when these are gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from tests.clusters import make_backend, small_request
from tests.patience import PATIENCE_S, wait_until

from facefusion.jobs.storage import FolderStorage
from facefusion.service.jobs import Jobs
from facefusion.workplace import Workplace

KILLED = """
import os, signal, sys
from pathlib import Path
from facefusion.workplace import Workplace
place = Workplace(Path(sys.argv[1]), sys.argv[2])
(place.folder / "photo.png").write_bytes(b"x")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def backend(tmp_path):
    return make_backend(tmp_path)


def settings_of(backend):
    return {
        "FACEFUSION_BROKER": backend.broker, "FACEFUSION_JOB_STORE": backend.store_url,
        "FACEFUSION_STORAGE": backend.storage_url,
    }  # fmt: skip


def leave(storage, name):
    """What a killed worker leaves: its folder, with a photo in it, and a lock that nobody has."""
    subprocess.run([sys.executable, "-c", KILLED, str(storage.work), name], check=False, timeout=PATIENCE_S)
    assert (storage.work / name / "photo.png").exists()


def names(storage):
    return sorted(path.name for path in storage.work.iterdir()) if storage.work.exists() else []


def test_a_sweep_takes_away_what_killed_workers_left_and_no_more(backend):
    storage = FolderStorage(backend.folder.parent / "shared")
    leave(storage, "host-1-dead")
    with Workplace(storage.work, "host-2-alive"):
        done = subprocess.run(
            [sys.executable, "-m", "facefusion", "jobs", "sweep", "--json"], capture_output=True, text=True,
            env={**os.environ, **settings_of(backend)}, check=True, timeout=PATIENCE_S,
        )  # fmt: skip
        assert names(storage) == ["host-2-alive", "host-2-alive.lock"]
    assert json.loads(done.stdout)["cleared"] >= 1  # the temporary folder is everybody's


def test_a_worker_takes_it_away_when_it_begins_and_leaves_nothing_when_it_is_told_to_leave(backend, tmp_path):
    storage = FolderStorage(tmp_path / "shared")
    leave(storage, "host-1-dead")
    (tmp_path / "tmp").mkdir()
    worker = subprocess.Popen(
        [sys.executable, "-m", "facefusion", "worker"],
        env={**os.environ, **settings_of(backend), "TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_until(lambda: names(storage) == [])
        with Jobs(backend) as jobs:
            job_id = jobs.submit(small_request(tmp_path, tmp_path / "o.mp4")).job.id
            wait_until(lambda: jobs.show(job_id).status == "done")
        assert len(names(storage)) == 2  # kept for the next job
        worker.send_signal(signal.SIGTERM)
        worker.wait(PATIENCE_S)
        assert names(storage) == []
        assert not [*(tmp_path / "tmp").glob("facefusion-cache-*/*")]  # nor of what it had fetched
    finally:
        worker.kill()
        worker.wait()
