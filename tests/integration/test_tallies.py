"""What operators are told: sums that outlive jobs and processes, gauges from the store, and stores of before."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from prometheus_client.parser import text_string_to_metric_families
from tests.chaos import digest, make_recipe, make_small, render_alone

import facefusion.jobs
from facefusion.errors import NoFaceInTarget
from facefusion.jobs import tally
from facefusion.jobs.ledger import Asked, Ledger
from facefusion.jobs.local import LocalJobs
from facefusion.jobs.readings import NO_TENANT, OTHER, Gauge
from facefusion.jobs.store import HEAD, KNOWN, LOCAL, JobStore
from facefusion.jobs.work import Worker
from facefusion.models import spent
from facefusion.service import gpus
from facefusion.service.exposing import expose
from facefusion.service.watched import Watched

JOB = "a" * 32


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
def store(url):
    made = JobStore(url)
    made.create(JOB, {}, {}, "", [10, 20], "gpu", stages=("render", "merge"))
    yield made
    made.close()


def metrics_of(url, **options):
    exposition = expose(Watched(url, "serve", **options))
    try:
        found = {}
        for family in text_string_to_metric_families(exposition.text().decode()):
            for sample in family.samples:
                found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
        return found
    finally:
        exposition.close()


def test_parts_are_counted_once_and_outlive_their_job(store, url):
    store.claim((JOB, "render", 0), "w1", 60)
    store.finish((JOB, "render", 0), "w1", "", {}, spent=tally.of_spent("render", {("model_s", "swap"): 1.5}))
    store.claim((JOB, "render", 1), "w1", 60)
    store.fail((JOB, "render", 1), "w1", NoFaceInTarget("none", "look"))
    store.delete(JOB)
    found = metrics_of(url)
    assert found["facefusion_frames_total", (("stage", "render"),)] == 10
    assert found["facefusion_items_total", (("result", "done"), ("stage", "render"))] == 1
    assert found["facefusion_items_total", (("result", "failed"), ("stage", "render"))] == 1
    assert found["facefusion_failures_total", (("code", "no_face_in_target"), ("stage", "render"))] == 1
    assert found["facefusion_model_seconds_total", (("model", "swap"), ("stage", "render"))] == 1.5
    assert found["facefusion_jobs_over_total", (("status", "failed"),)] == 1
    assert found["facefusion_item_seconds_bucket", (("le", "+Inf"), ("stage", "render"))] == 1


def test_what_a_killed_process_had_in_hand_is_counted_as_lost(store, url):
    code = (
        "import sys, os, signal; from facefusion.jobs.store import JobStore; store = JobStore(sys.argv[1]); "
        "key = (sys.argv[2], 'render', 0); store.claim(key, 'dead', 60); store.finish(key, 'dead', '', {}); "
        "store.claim((sys.argv[2], 'render', 1), 'dead', 60); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, url, JOB])
    assert done.returncode == -signal.SIGKILL
    assert metrics_of(url)["facefusion_at_work", (("queue", "gpu"),)] == 1
    store.expire((JOB, "render", 1), is_known_dead=True)
    found = metrics_of(url)
    assert found["facefusion_at_work", (("queue", "gpu"),)] == 0
    assert found["facefusion_items_total", (("result", "done"), ("stage", "render"))] == 1
    assert found["facefusion_items_total", (("result", "lost"), ("stage", "render"))] == 1


def test_the_age_of_a_queue_is_that_of_its_oldest_part_that_may_be_taken(tmp_path):
    now = [1000.0]
    path = f"sqlite:///{tmp_path / 'jobs.db'}"
    store, gauge = JobStore(path, clock=lambda: now[0]), Gauge(path, clock=lambda: now[0])
    store.create(JOB, {}, {}, "", [1, 1], "gpu", stages=("render", "merge"))
    now[0] = 1040.0
    found = gauge.read({}, ["cpu"])
    assert found.ages_s == {"gpu": 40.0, "cpu": 0.0}
    assert found.items["gpu", "render", "queued"] == 2 and found.items["gpu", "merge", "waiting"] == 1
    assert found.jobs == {("queued", "gpu", NO_TENANT): 1} and found.at_work == {"gpu": 0, "cpu": 0}
    for number in (0, 1):
        store.claim((JOB, "render", number), f"w{number}", 15)
    found = gauge.read({})
    assert (found.ages_s["gpu"], found.at_work["gpu"], found.silent) == (0.0, 2, 0)
    now[0] = 1060.0
    found = gauge.read({})
    assert (found.at_work["gpu"], found.silent) == (0, 2)
    store.cancel(JOB)
    assert gauge.read({}).silent == 0 and gauge.read({}).sums["jobs", "cancelled", ""] == 1
    store.close()
    gauge.close()


def test_tenants_are_told_of_by_class_only(url):
    ledger = Ledger(url)
    for tenant in ("annas-studio", "benny", "carl"):
        ledger.place(tenant, "key", [Asked(tenant.ljust(32, "0")[:32], {}, ())], "x")
    ledger.close()
    found = metrics_of(url, classes={"annas-studio": "gold", "benny": "gold"})
    assert found["facefusion_orders", (("status", "queued"), ("tenant_class", "gold"))] == 2
    assert found["facefusion_orders", (("status", "queued"), ("tenant_class", OTHER))] == 1
    assert not any(name in str(found) for name in ("anna", "benny", "carl"))


def test_a_store_that_is_away_is_told_and_does_not_end_the_scrape(tmp_path):
    broken = tmp_path / "jobs.db"
    broken.write_bytes(b"no database at all" * 100)
    found = metrics_of(f"sqlite:///{broken}")
    assert found["facefusion_store_up", ()] == 0 and found["facefusion_processes", ()] >= 1
    assert not any(name == "facefusion_jobs" for name, _ in found)


def test_sums_of_processes_that_add_at_the_same_time_are_whole(url):
    JobStore(url).close()
    code = (
        "import sys; from facefusion.jobs.store import JobStore; store = JobStore(sys.argv[1])\n"
        "for _ in range(50): store.add_up({('items', 'render', 'done'): 1.0, ('frames', 'render', ''): 2.0})"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(3)]
    assert [child.wait() for child in children] == [0, 0, 0]
    store = JobStore(url)
    assert store.tallies() == {("items", "render", "done"): 150.0, ("frames", "render", ""): 300.0}
    store.close()


def test_gpus_are_told_of_where_the_library_is_and_not_where_it_is_not(url, monkeypatch):
    monkeypatch.setattr(gpus, "_found", [None])
    assert not any("gpu" in name for name, _ in metrics_of(url))
    monkeypatch.setattr(gpus, "_found", [])
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "gpu_hook"))
    found = metrics_of(url)
    about = (("gpu", "0"), ("model", "Stand-in"))
    assert found["facefusion_gpu_memory_used_bytes", about] == 6e9
    assert found["facefusion_gpu_busy_ratio", about] == pytest.approx(0.4)
    sys.modules.pop("pynvml")


def test_the_size_of_folders_is_told(url, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a").write_bytes(b"12345")
    found = metrics_of(url, folders={"models": tmp_path / "models", "nothing": tmp_path / "nothing"})
    assert found["facefusion_cache_bytes", (("cache", "models"),)] == 5
    assert found["facefusion_cache_bytes", (("cache", "nothing"),)] == 0


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A job of which the first pass is done, and what has to come of it."""
    folder = tmp_path_factory.mktemp("begun")
    clip = make_small(folder / "clip.mp4", frame_count=30, side=160)
    wanted = render_alone(clip, folder)
    jobs = LocalJobs.open(folder / "jobs")
    job = jobs.create(make_recipe(clip, folder / "out.mp4"))
    spent.take()
    worker = Worker(jobs.store, jobs.storage, thread_count=1)
    count = sum(item.stage == "analyse" for item in jobs.store.items(job.id))
    worker.perform(job.id, "analyse", range(count))
    worker.close()
    sums = jobs.store.tallies()
    jobs.store.close()
    return folder, job.id, wanted, sums


def test_time_in_models_is_counted_by_stage(begun):
    _, _, _, sums = begun
    models = {model for (name, stage, model) in sums if (name, stage) == ("model_s", "analyse")}
    assert "face_detector_embedded" in models and "face_landmarker_embedded" in models
    assert all(value > 0 for (name, *_), value in sums.items() if name in ("model_s", "model_runs"))
    assert sums["frames", "analyse", ""] == 30 and ("jobs", "done", "") not in sums


def make_old(path: Path, step: str, newer: Path) -> None:
    """A store as an earlier version left it, with the rows of a newer one as far as it has room for them."""
    engine = sa.create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(Path(facefusion.jobs.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, step)
    engine.dispose()
    with closing(sqlite3.connect(path)) as old:
        old.execute("ATTACH ? AS newer", (str(newer),))
        for table in ("jobs", "items", "events"):
            columns = ", ".join(f'"{row[1]}"' for row in old.execute(f"PRAGMA table_info({table})"))
            old.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM newer.{table}")
        old.commit()


@pytest.mark.parametrize("step", KNOWN[:-1])
def test_a_store_of_an_earlier_version_is_brought_up_to_date_and_its_jobs_go_on(begun, tmp_path, step):
    folder, job_id, wanted, _ = begun
    shutil.copytree(folder / "jobs" / "files", folder / f"jobs-{step}" / "files")
    make_old(folder / f"jobs-{step}" / "jobs.db", step, folder / "jobs" / "jobs.db")
    jobs = LocalJobs.open(folder / f"jobs-{step}")
    with closing(sqlite3.connect(folder / f"jobs-{step}" / "jobs.db")) as opened:
        assert opened.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)
    assert jobs.store.get(job_id).queue == LOCAL
    moved = jobs.folder / "files"
    with closing(sqlite3.connect(folder / f"jobs-{step}" / "jobs.db")) as opened:
        opened.execute("UPDATE jobs SET storage = ?", (moved.as_uri(),))
        opened.commit()
    outcome = jobs.run(job_id, workers=1)
    assert digest(outcome.output_path) == wanted, "the same to the byte"
    assert jobs.store.tallies()["jobs", "done", ""] == 1
    assert ("items", "analyse", "done") not in jobs.store.tallies(), "what was done is not done again"
    jobs.store.close()
    os.unlink(outcome.output_path)
