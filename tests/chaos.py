"""A cluster of real servers and workers, and a hand that breaks it at random: for tests and for benchmarks/chaos.py."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image
from tests.patience import wait_until
from tests.servers import Server

from facefusion.jobs.once import run
from facefusion.jobs.storage import open_storage
from facefusion.jobs.store import JobStore
from facefusion.media.generate import write_test_clip
from facefusion.media.reader import ClipReader
from facefusion.recipe import Recipe, build_recipe
from facefusion.service.backend import Backend
from facefusion.service.cluster import fetch_output
from facefusion.service.jobs import Jobs
from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of

TRIES = 12


def digest(path: Path) -> str:
    return content_of(path)


def make_small(path: Path, frame_count: int, side: int) -> Path:
    """A clip with a face, sound, and five frames in a second."""
    small = [np.asarray(Image.fromarray(f.pixels).resize((side, side))) for f in ClipReader(sample_path("target.mp4"))]
    there_and_back = [*small, *small[-2:0:-1]]
    frames = [there_and_back[k % len(there_and_back)] for k in range(frame_count)]
    write_test_clip(path, frames, [k * 2560 for k in range(frame_count)], Fraction(1, 12800), audio_tracks=1)
    return path


def make_minute(path: Path) -> Path:
    """A minute of it."""
    return make_small(path, 300, 256)


def make_recipe(clip: Path, output: Path) -> Recipe:
    return build_recipe(
        {
            "source_paths": [sample_path("source.jpg")], "target_path": clip, "output_path": output,
            "segment_s": 5.0, "output_video_preset": "ultrafast", "execution_thread_count": 1,
        }
    )  # fmt: skip


class Cluster:
    """Servers, and as many workers as are wanted.

    Parameters
    ----------
    broker, database
        Running servers with a ``url``.
    storage_url, environment
        Where files go, and what is needed to get there.
    """

    def __init__(
        self, folder: Path, broker: Server, database: Server, storage_url: str, environment: dict[str, str]
    ) -> None:
        self.folder, self.broker, self.database, self.environment = folder, broker, database, environment
        self.backend = Backend(folder / "jobs", database.url, broker.url, storage_url, max_attempts=TRIES, lease_s=4)
        self.workers: dict[str, subprocess.Popen] = {}
        self.started = 0
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def words(self) -> list[str]:
        """Options of a command that uses it."""
        backend = self.backend
        return ["--broker", backend.broker, "--job-store", backend.store_url, "--storage", backend.storage_url]

    def submit(self, recipe: Recipe) -> str:
        with Jobs(self.backend) as jobs:
            return jobs.submit(recipe).job.id

    def start_worker(self, *options: str) -> str:
        self.started += 1
        name = f"w{self.started}"
        with (self.folder / f"{name}.log").open("wb") as log:
            self.workers[name] = subprocess.Popen(
            [sys.executable, "-m", "facefusion", "worker", "--name", name, *self.words, "--lease",
             str(self.backend.lease_s), "--execution-thread-count", "1", *options],
            stdout=log, stderr=log, start_new_session=True, cwd=self.folder,
            env={**os.environ, **self.environment, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        return name

    def kill_worker(self, name: str) -> None:
        worker = self.workers.pop(name)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()

    def stop_workers(self) -> None:
        for name in list(self.workers):
            self.kill_worker(name)

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-1500:] for path in sorted(self.folder.glob("w*.log"))[-4:])


@dataclass
class Report:
    """What came of one seed."""

    seed: int
    seconds: float
    kills: int
    tries: int
    items: int


def run_seed(
    cluster: Cluster, seed: int, clip: Path, wanted: str, kills: int = 2, has_restarts: bool = True, span_s: float = 14
) -> Report:
    """Run a job while workers, broker and database are broken at random moments; raise where anything goes wrong."""
    rng = random.Random(seed)
    for _ in range(2 - len(cluster.workers)):
        cluster.start_worker()
    output = cluster.folder / f"{seed}.mp4"
    job_id = cluster.submit(make_recipe(clip, output))
    store = JobStore(cluster.backend.store_url)
    # What breaks, breaks in the middle of the work, however long workers take to start: a RabbitMQ that is killed while
    # its first queue is declared may come back with a queue that has no leader, and nothing but taking it away helps.
    wait_until(lambda: any(item.status in ("running", "done") for item in store.items(job_id)), cluster.logs)
    began = time.monotonic()
    events = [(rng.uniform(1.5, span_s), "kill") for _ in range(kills)]
    if has_restarts:
        events += [(rng.uniform(1.5, span_s), "broker"), (rng.uniform(1.5, span_s), "database")]
    done_kills = 0
    for at, what in sorted(events):
        while time.monotonic() - began < at and store.get(job_id).status not in ("done", "failed"):
            time.sleep(0.05)
        if what == "kill":
            cluster.kill_worker(rng.choice(sorted(cluster.workers)))
            cluster.start_worker()
            done_kills += 1
        elif what == "broker":
            cluster.broker.restart()
        else:
            cluster.database.restart()

    def explain() -> str:
        history = "\n".join(f"{at:.1f} {what}" for at, what in store.history(job_id)[-40:])
        return f"seed {seed} is not done\n{history}\n{cluster.logs()}"

    wait_until(lambda: store.get(job_id).status in ("done", "failed"), explain)
    job = store.get(job_id)
    assert job.status == "done", f"seed {seed}: {job.error}"
    storage = open_storage(cluster.backend.storage_url, cluster.folder / "cache")
    fetch_output(storage, job_id, store.outcomes(job_id, "merge")[0]["sha256"], output)
    assert digest(output) == wanted, f"seed {seed}: another output"
    items = store.items(job_id)
    claims: dict[str, int] = {}
    for _, what in store.history(job_id):
        match = re.match(r"(\w+ \d+): queued to running", what)
        if match:
            claims[match[1]] = claims.get(match[1], 0) + 1
    for item in items:
        assert item.status == "done"
        assert claims[f"{item.stage} {item.number}"] == item.renders <= TRIES
    storage.delete(f"{job_id}/")
    store.delete(job_id)

    def left() -> list[str]:
        return [stored.key for stored in storage.list() if stored.key.startswith(job_id)]

    wait_until(lambda: not left(), lambda: f"seed {seed}: {left()} left behind")
    output.unlink()
    store.close()
    return Report(seed, time.monotonic() - began, done_kills, sum(item.renders for item in items), len(items))


def render_alone(clip: Path, folder: Path) -> str:
    """The hash that every cluster must come to."""
    recipe = make_recipe(clip, folder / "alone.mp4")
    run(recipe)
    return digest(recipe.output_path)
