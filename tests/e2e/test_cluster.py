"""Jobs on two workers with real servers, which are broken on the way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest
from tests.chaos import Cluster, digest, make_recipe, make_small, render_alone, run_seed
from tests.patience import PATIENCE_S, wait_until
from tests.servers import Ceph, PostgreSQL, RabbitMQ, Redis, read_tail

from facefusion.errors import QualityTooLow, RecipeError, UnknownJob
from facefusion.jobs.once import run
from facefusion.jobs.prepare import input_paths
from facefusion.jobs.storage import open_storage
from facefusion.jobs.store import JobStore
from facefusion.recipe import build_recipe
from facefusion.service.backend import Backend
from facefusion.service.cluster import clear_caches
from facefusion.service.jobs import Jobs
from facefusion.service.values import Changed
from facefusion.testing.clips import make_clip
from facefusion.testing.fakes import sample_path

SEEDS = 2
"""benchmarks/chaos.py runs a hundred, of longer clips."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Half a minute, in six parts."""
    return make_small(tmp_path_factory.mktemp("clip") / "clip.mp4", frame_count=150, side=160)


@pytest.fixture(scope="module")
def wanted(clip, tmp_path_factory):
    return render_alone(clip, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("servers")
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = kind(folder / kind.__name__)
            made[kind].start()
        elif kind is not Ceph and not made[kind].is_running():
            made[kind].start()  # the test in which it died has failed
        return made[kind]

    yield get
    for server in made.values():
        server.stop()


@pytest.fixture
def cluster(servers, tmp_path, monkeypatch):
    ceph = servers(Ceph)
    bucket = f"jobs-{abs(hash(str(tmp_path))) % 10**8}"
    ceph.make_bucket(bucket)
    for name, value in ceph.environment_of_clients.items():
        monkeypatch.setenv(name, value)
    made = Cluster(
        tmp_path / "cluster", servers(RabbitMQ), servers(PostgreSQL), f"s3://{bucket}/ff", ceph.environment_of_clients
    )
    yield made
    made.stop_workers()
    for server in (made.broker, made.database):
        assert server.is_running(), f"{server.folder.name} died:\n{read_tail(server.folder / 'log')}"


def test_a_job_survives_killed_workers_and_restarted_servers(cluster, clip, wanted):
    for seed in range(SEEDS):
        run_seed(cluster, seed, clip, wanted, span_s=8)


def test_redis_and_a_shared_folder_do_as_well(servers, tmp_path, clip, wanted):
    folder = tmp_path / "shared"
    made = Cluster(tmp_path / "cluster", servers(Redis), servers(PostgreSQL), folder.as_uri(), {})
    try:
        run_seed(made, 1001, clip, wanted, kills=2, span_s=8)
    finally:
        made.stop_workers()


def test_a_clip_without_faces_is_copied_by_workers_too(cluster, tmp_path):
    cluster.start_worker()
    clip = make_clip(tmp_path / "empty.mp4", pts=[k * 512 for k in range(60)])
    recipe = make_recipe(clip, tmp_path / "o.mp4")
    store = JobStore(cluster.backend.store_url)
    job_id = cluster.submit(recipe)
    wait_until(lambda: store.get(job_id).status == "failed")
    assert "No face is found" in store.get(job_id).error
    store.delete(job_id)
    allowed = recipe.model_copy(update={"allow_empty": True})
    job_id = cluster.submit(allowed)
    wait_until(lambda: store.get(job_id).status == "done")
    assert store.outcomes(job_id, "merge")[0]["sha256"] == digest(clip)
    store.delete(job_id)
    store.close()


def test_a_mapping_file_and_a_report_go_with_the_job(cluster, clip, tmp_path):
    cluster.start_worker()
    (tmp_path / "photos").mkdir()
    shutil.copy(sample_path("source.jpg"), tmp_path / "photos" / "anna.jpg")
    mapping = tmp_path / "map.toml"
    mapping.write_text('[[person]]\ntrack = 0\nsources = ["photos/anna.jpg"]\n')
    asked = {
        "target_path": clip, "face_map_path": mapping, "end_s": 2.5, "segment_s": 1.0,
        "fail_under": ["similarity_source=0.999"],
    }  # fmt: skip
    far, near = (
        build_recipe(
            {**asked, "output_path": tmp_path / f"{name}.mp4", "report_path": tmp_path / "reports" / f"{name}.html"}
        )
        for name in ("far", "near")
    )
    with pytest.raises(QualityTooLow, match=r"far\.mp4 was written, but") as told, Jobs(cluster.backend) as jobs:
        jobs.run(jobs.submit(far).job.id)
    with pytest.raises(QualityTooLow) as wanted:
        run(near)
    assert str(told.value).replace("far", "near") == str(wanted.value)
    assert digest(tmp_path / "far.mp4") == digest(tmp_path / "near.mp4")
    reports = {path.name: path.read_text() for path in (tmp_path / "reports").iterdir()}
    assert reports["far.json"] == reports["near.json"]
    assert "clip.mp4" in reports["far.html"]
    storage = open_storage(cluster.backend.storage_url, tmp_path / "cache")
    assert storage.list() == []


FETCHING = """
import time
from facefusion.service.cluster import cache
(cache().folder / "inputs").mkdir()
print("there", flush=True)
time.sleep(600)
"""


def test_what_a_killed_worker_fetched_is_taken_away_and_what_lives_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    words = [sys.executable, "-c", FETCHING]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "there\n"
    assert clear_caches() == 0
    for left, process in ((1, processes[0]), (0, processes[1])):
        process.kill()
        process.wait()
        process.stdout.close()
        assert clear_caches() == 1
        assert len(list(tmp_path.glob("facefusion-cache-*/*/inputs"))) == left


def test_a_photo_that_a_mapping_file_names_counts_as_input(tmp_path):
    shutil.copy(sample_path("source.jpg"), tmp_path / "anna.jpg")
    mapping = tmp_path / "map.toml"
    mapping.write_text('[[person]]\ntrack = 0\nsources = ["anna.jpg"]\n')
    recipe = build_recipe({"target_path": sample_path("target.mp4"), "face_map_path": mapping})
    assert tmp_path / "anna.jpg" in input_paths(recipe)


def test_draining_by_name_lets_one_worker_leave(cluster):
    names = [cluster.start_worker(), cluster.start_worker()]
    wait_until(lambda: all("ready" in (cluster.folder / f"{name}.log").read_text() for name in names))
    subprocess.run(
        [sys.executable, "-m", "facefusion", "worker", "--drain", "--name", names[0], *cluster.words],
        check=True, capture_output=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert cluster.workers.pop(names[0]).wait(PATIENCE_S) == 0
    assert cluster.workers[names[1]].poll() is None


def test_a_drained_worker_finishes_what_it_has_and_loses_nothing(cluster, clip):
    name = cluster.start_worker()
    job_id = cluster.submit(make_recipe(clip, cluster.folder / "o.mp4"))
    store = JobStore(cluster.backend.store_url)
    wait_until(lambda: any(item.status == "running" for item in store.items(job_id)))
    os.kill(cluster.workers[name].pid, signal.SIGTERM)
    assert cluster.workers.pop(name).wait(PATIENCE_S) == 0
    items = store.items(job_id)
    assert all(item.status != "running" for item in items)
    assert all(item.renders == (item.status == "done") for item in items)
    assert any(item.status == "done" for item in items)
    store.cancel(job_id)
    store.delete(job_id)
    store.close()


def test_cancelling_frees_a_worker_for_other_work(cluster, clip):
    cluster.start_worker()
    recipe = make_recipe(clip, cluster.folder / "o.mp4")
    job_id = cluster.submit(recipe)
    store = JobStore(cluster.backend.store_url)
    wait_until(lambda: any(item.stage == "render" and item.status == "running" for item in store.items(job_id)))
    store.cancel(job_id)
    before, done = store.history(job_id), [item.key for item in store.items(job_id) if item.status == "done"]
    other = cluster.submit(recipe.model_copy(update={"output_path": cluster.folder / "p.mp4", "end_s": 5.0}))
    wait_until(lambda: store.get(other).status == "done", lambda: store.get(other).error + cluster.logs())
    assert store.history(job_id) == before  # nobody finishes or takes anything any more
    assert [item.key for item in store.items(job_id) if item.status == "done"] == done
    assert store.get(job_id).status == "cancelled"
    for each in (job_id, other):
        store.delete(each)
    store.close()


def test_a_worker_leaves_work_that_its_licences_do_not_allow(cluster, clip):
    recipe = make_recipe(clip, cluster.folder / "o.mp4")
    job_id = cluster.submit(recipe)
    store = JobStore(cluster.backend.store_url)
    try:
        # As a job would be that was planned where other models are installed. Nobody works yet who could be at it.
        plan = store.get(job_id).plan
        store.record(job_id, plan={"models": {**plan.models, "face_detector_embedded@1": "0" * 64}})
        cluster.start_worker()
        refused = "is not the file that job"
        wait_until(
            lambda: any(refused in what for _, what in store.history(job_id)),
            lambda: f"{store.history(job_id)}\n{cluster.logs()}",
        )
        items = store.items(job_id)
        assert {item.status for item in items} <= {"queued", "waiting", "running"}
        assert all(item.attempts == 0 for item in items if item.status == "queued")
        assert store.get(job_id).status != "failed"
    finally:
        store.cancel(job_id)
        store.delete(job_id)
        store.close()


def test_the_command_line_follows_a_job_and_fetches_the_output(cluster, clip, wanted, tmp_path):
    cluster.start_worker()
    recipe = make_recipe(clip, tmp_path / "o.mp4")
    done = subprocess.run(
        [sys.executable, "-m", "facefusion", "run", "-s", str(recipe.source_paths[0]), "-t", str(clip), "-o",
         str(recipe.output_path), "--segment-length", "5", "--output-video-preset", "ultrafast", *cluster.words],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert digest(recipe.output_path) == wanted
    assert open_storage(cluster.backend.storage_url, tmp_path).list() == []


def test_a_photo_is_done_by_workers_too_and_followed_by_events(servers, tmp_path):
    made = Cluster(tmp_path / "cluster", servers(Redis), servers(PostgreSQL), (tmp_path / "shared").as_uri(), {})
    asked = {"source_paths": [sample_path("source.jpg")], "target_path": sample_path("target.jpg")}
    far, near = (build_recipe({**asked, "output_path": tmp_path / f"{name}.png"}) for name in ("far", "near"))
    try:
        with Jobs(made.backend) as jobs:
            job = jobs.submit(far).job
            assert job.is_shared
            assert jobs.cancel(job.id).status == "cancelled"
            assert jobs.submit(far).job.status == "queued"  # the same request goes on
            made.start_worker()
            assert [event.status for event in jobs.events(job.id) if isinstance(event, Changed)][-1] == "done"
            assert not (tmp_path / "far.png").exists()
            assert jobs.run(job.id).changed_frame_count == 1
            run(near)
            assert digest(tmp_path / "far.png") == digest(tmp_path / "near.png")
            assert open_storage(made.backend.storage_url, tmp_path).list(job.id) == []
            jobs.delete(job.id)
            with pytest.raises(UnknownJob):
                jobs.show(job.id)
    finally:
        made.stop_workers()


def test_work_for_others_needs_all_three_places(tmp_path, clip):
    with pytest.raises(RecipeError, match="needs storage"):
        Jobs(Backend(tmp_path, "sqlite://", "redis://127.0.0.1/0")).submit(make_recipe(clip, tmp_path / "o.mp4"))
