"""Who owns which file of a job: two at once, hostile ids and links, full disks, damaged stores, reuse of parts."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.patience import PATIENCE_S
from tests.soak import digest, make_clips, options_of

from facefusion.apps import jobs as door
from facefusion.errors import (
    FaceFusionError,
    JobError,
    LeaseLost,
    OutputRefused,
    RecipeError,
    Stopped,
    StoreRefused,
    StoreUnreachable,
)
from facefusion.jobs import local, work
from facefusion.jobs import storage as storage_module
from facefusion.jobs.local import LocalJobs
from facefusion.jobs.once import run
from facefusion.jobs.storage import FolderStorage, check_job_id
from facefusion.jobs.store import JobStore
from facefusion.jobs.sweep import sweep
from facefusion.jobs.work import Worker, key_of
from facefusion.recipe import build_recipe
from facefusion.service.backend import Backend
from facefusion.service.jobs import Jobs
from facefusion.workplace import LOCK, Workplace, is_held, take


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("clips"), 1)[0]


@pytest.fixture(scope="module")
def wanted(clip, tmp_path_factory):
    output = tmp_path_factory.mktemp("wanted") / "o.mp4"
    run(build_recipe(options_of(clip, output)))
    return digest(output)


@pytest.fixture
def recipe(clip, tmp_path):
    def make(name="o.mp4", **options):
        return build_recipe({**options_of(clip, tmp_path / name), **options})

    return make


@pytest.fixture(autouse=True)
def _no_waiting_for_who_stays(monkeypatch):
    monkeypatch.setattr(local, "GLANCE_S", 0.2)


def left_in(jobs):
    """Everything in the jobs folder but the store."""
    return sorted(
        path.relative_to(jobs.folder).as_posix()
        for path in jobs.folder.rglob("*")
        if path.is_file() and not path.name.startswith("jobs.db")
    )


def stop_at(jobs, job_id, stage):
    """Cancel a job when a stage begins."""
    name = {"join": "_join", "render": "_render"}[stage]
    do = getattr(Worker, name)

    def cancelled(self, *words):
        jobs.store.cancel(job_id)
        return do(self, *words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worker, name, cancelled)
        with pytest.raises(Stopped):
            jobs.run(job_id, workers=1)


# Two at once


def test_a_run_that_begins_leaves_the_working_folder_of_another_alone(jobs, recipe, tmp_path, wanted, monkeypatch):
    """The other one works in the same jobs folder, and is in the middle of a segment."""
    other = jobs.create(recipe("other.mp4"))
    job = jobs.create(recipe())
    render, between = Worker._render, []

    def meanwhile(self, bench, numbers, count):
        if bench.job.id == job.id and not between:
            between.append(True)
            again = LocalJobs.open(jobs.folder)
            again.run(other.id, workers=1)
            again.store.close()
        return render(self, bench, numbers, count)

    monkeypatch.setattr(Worker, "_render", meanwhile)
    jobs.run(job.id, workers=1)
    assert between
    assert digest(tmp_path / "o.mp4") == digest(tmp_path / "other.mp4") == wanted
    assert left_in(jobs) == []


def test_the_same_request_twice_at_once_is_one_job(jobs, recipe):
    made, errors, barrier = [], [], threading.Barrier(4)

    def create():
        mine = LocalJobs.open(jobs.folder)
        barrier.wait()
        try:
            made.append(mine.create(recipe()).id)
        except FaceFusionError as error:
            errors.append(error)
        mine.store.close()

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(made) == 4 and len(set(made)) == 1
    assert len([what for _, what in jobs.store.history(made[0]) if what.startswith("created")]) == 1


def test_creating_in_the_store_is_atomic(tmp_path):
    stores = [JobStore(f"sqlite:///{tmp_path / 'jobs.db'}") for _ in range(6)]
    barrier, found = threading.Barrier(6), []

    def create(store):
        barrier.wait()
        found.append(len(store.create("0" * 16, {}, {"spans": []}, "file:///x", [1, 1])))

    threads = [threading.Thread(target=create, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 0, 0, 0, 0, 2]
    for store in stores:
        store.close()


def test_a_job_that_is_done_is_begun_afresh_by_one_of_two(jobs, recipe, tmp_path, wanted):
    job = jobs.create(recipe())
    jobs.run(job.id, workers=1)
    with jobs._alone(job.id), pytest.raises(JobError, match="running in another process"):
        local.LEAVE_S, patience = 0.1, local.LEAVE_S
        try:
            jobs.create(recipe())
        finally:
            local.LEAVE_S = patience
    assert jobs.store.get(job.id).status == "done"
    assert jobs.create(recipe()).status == "queued"
    jobs.run(job.id, workers=1)
    assert digest(tmp_path / "o.mp4") == wanted


def test_two_jobs_do_not_write_one_output_at_once(jobs, recipe, monkeypatch):
    one, other = jobs.create(recipe()), jobs.create(recipe(face_swapper_light=0.5))
    assert one.id != other.id
    refused, merge = [], Worker._merge

    def meanwhile(self, bench, count):
        with pytest.raises(JobError, match="Another job is writing") as caught:
            jobs.run(other.id, workers=1)
        refused.append(caught.value)
        return merge(self, bench, count)

    monkeypatch.setattr(Worker, "_merge", meanwhile)
    jobs.run(one.id, workers=1)
    assert len(refused) == 1


def test_the_library_in_threads_with_outputs_of_one_stem_keeps_them_apart(clip, tmp_path, wanted):
    errors, outputs = [], [tmp_path / "o.mp4", tmp_path / "o.mov", tmp_path / "o.mkv", tmp_path / "deep" / "o.mp4"]

    def make(output):
        try:
            run(build_recipe(options_of(clip, output)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make, args=[output]) for output in outputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert digest(outputs[0]) == digest(outputs[3]) == wanted
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "o.mkv", "o.mkv.c2pa", "o.mov", "o.mp4"]


def test_a_job_that_somebody_only_looks_at_is_run_a_moment_later(jobs, recipe, tmp_path, wanted, monkeypatch):
    monkeypatch.setattr(local, "GLANCE_S", 60)
    job = jobs.create(recipe())
    lock = take(jobs.folder / "locks" / job.id)
    timer = threading.Timer(0.3, lock.release, kwargs={"is_removing": True})
    timer.start()
    jobs.run(job.id, workers=1)
    timer.join()
    assert digest(tmp_path / "o.mp4") == wanted


def test_workers_of_a_cluster_leave_the_jobs_of_one_machine_alone(jobs, recipe):
    jobs.create(recipe())
    assert jobs.store.most_urgent("cpu") is None


def test_a_heart_that_beats_just_after_an_item_is_finished_does_not_give_the_next_one_up(jobs, recipe, monkeypatch):
    """What was in hand is done when its lease is found gone; the item after it would stay as running for ever."""
    job = jobs.create(recipe())
    finish, beat, missed = JobStore.finish, JobStore.beat, threading.Event()

    def finishes(self, key, *words):
        found = finish(self, key, *words)
        if key[2] == 0:
            assert missed.wait(PATIENCE_S)
        return found

    def beats(self, key, *words):
        try:
            beat(self, key, *words)
        except LeaseLost:
            missed.set()
            raise

    monkeypatch.setattr(work, "BEAT_S", 0.01)
    monkeypatch.setattr(JobStore, "finish", finishes)
    monkeypatch.setattr(JobStore, "beat", beats)
    worker = Worker(jobs.store, jobs.storage)
    worker.perform(job.id, "analyse", range(2))
    worker.close()
    assert [item.status for item in jobs.store.items(job.id) if item.stage == "analyse"] == ["done", "done"]


# Delete and sweep


def test_deleting_beside_its_own_run_is_refused_and_says_how(jobs, recipe, tmp_path, wanted, monkeypatch):
    job, refused, merge = jobs.create(recipe()), [], Worker._merge

    def meanwhile(self, bench, count):
        with pytest.raises(JobError, match="running in another process") as caught:
            jobs.delete(job.id)
        refused.append(caught.value.hint)
        return merge(self, bench, count)

    monkeypatch.setattr(Worker, "_merge", meanwhile)
    jobs.run(job.id, workers=1)
    assert refused == [f"Cancel it first: facefusion jobs cancel {job.id}"]
    assert digest(tmp_path / "o.mp4") == wanted


def test_a_job_that_an_orphan_works_on_is_not_deleted(jobs, recipe):
    job = jobs.create(recipe())
    owner = work.owner_name()
    jobs.store.claim((job.id, "analyse", 0), owner, 30)
    with Workplace(jobs.storage.work, work.workplace_name(owner)), pytest.raises(JobError, match="running in another"):
        jobs.delete(job.id)
    jobs.delete(job.id)  # its lease is still alive, and its process is not
    assert jobs.store.list_jobs() == []


def test_what_cannot_be_taken_away_is_said_and_the_job_is_kept(jobs, recipe, monkeypatch):
    job = jobs.create(recipe())
    stop_at(jobs, job.id, "render")
    rmtree = shutil.rmtree

    def refuses(path, *words, onerror=None, **options):
        if onerror is not None:
            onerror(os.unlink, f"{path}/tracks.safetensors", (PermissionError, PermissionError(1, "not yours"), None))
        else:
            rmtree(path, *words, **options)

    monkeypatch.setattr(storage_module.shutil, "rmtree", refuses)
    with pytest.raises(OutputRefused, match=r"is not deleted: .*tracks\.safetensors cannot be removed: not yours"):
        jobs.delete(job.id)
    assert jobs.store.get(job.id).status == "cancelled"
    swept = jobs.sweep(keep_days=1e-9)
    assert swept.deleted == 0 and "cannot be removed" in swept.kept[0]
    monkeypatch.undo()
    jobs.delete(job.id)
    assert left_in(jobs) == []


def test_partly_done_jobs_that_nobody_is_at_are_swept_when_they_are_old(jobs, recipe):
    job = jobs.create(recipe())
    worker = Worker(jobs.store, jobs.storage)
    worker.perform(job.id, "analyse", range(1))
    jobs.store.claim((job.id, "analyse", 1), "gone:1:dead", 0.0)
    worker.close()
    assert jobs.store.get(job.id).status == "running"
    time.sleep(0.05)
    with jobs._alone(job.id):
        assert jobs.sweep(keep_days=1e-9).deleted == 0
    assert jobs.sweep(keep_days=1).deleted == 0
    assert jobs.sweep(keep_days=1e-9).deleted == 1
    assert left_in(jobs) == []


def test_a_job_that_is_just_made_by_another_process_is_no_stray(jobs):
    job_id = "0123456789abcdef"
    jobs.storage.folder.joinpath(job_id).mkdir(parents=True)
    (jobs.storage.folder / job_id / "tracks.safetensors").write_text("x")
    with take(jobs.folder / "locks" / f"{job_id}.new"):
        assert jobs.sweep(keep_days=30).orphans == 0
    assert jobs.sweep(keep_days=30).orphans == 1
    assert left_in(jobs) == []


KILLED = """
import sys, os, signal
from pathlib import Path
from facefusion.jobs.local import LocalJobs
from facefusion.jobs.work import Worker
from facefusion.pipeline import clip, runner
from facefusion.media.segments import ClipMerger
merge = ClipMerger.merge
def dies(self):
    merge(self)
    os.kill(os.getpid(), signal.SIGKILL)
ClipMerger.merge = dies
if sys.argv[1] == "job":
    jobs = LocalJobs.open(Path(sys.argv[2]))
    jobs.run(sys.argv[3], workers=1)
else:
    from facefusion import build_recipe, run
    import json
    run(build_recipe(json.loads(sys.argv[3])))
"""


@pytest.mark.parametrize("kind", ["job", "library"])
def test_what_a_killed_process_leaves_anywhere_is_swept(jobs, recipe, clip, tmp_path, kind):
    import json

    job = jobs.create(recipe())
    told = job.id if kind == "job" else json.dumps(options_of(clip, tmp_path / "o.mp4"))
    done = subprocess.run([sys.executable, "-c", KILLED, kind, str(jobs.folder), told], check=False)
    assert done.returncode == -9
    beside = list(tmp_path.glob(".facefusion-*"))
    assert len(beside) == 1 and list(beside[0].iterdir())
    (tmp_path / ".o.1234.part.mp4").write_text("a file of the user that only looks like one of ours")
    swept = jobs.sweep(keep_days=30)
    assert swept.cleared == 1
    names = sorted(path.name for path in tmp_path.iterdir() if path.name != "no-configuration")
    assert names == [".o.1234.part.mp4", "jobs"]
    if kind == "library":
        assert left_in(jobs) == []


def test_tracks_and_observations_are_for_their_owner_alone_and_observations_go_after_the_join(jobs, recipe):
    job = jobs.create(recipe())
    stop_at(jobs, job.id, "join")
    files = list(jobs.storage.folder.rglob("*.safetensors"))
    assert files
    for path in [*files, *jobs.storage.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    stop_at(jobs, job.id, "render")
    kept = [stored.key.split("/")[1] for stored in jobs.storage.list(f"{job.id}/")]
    assert "tracks.safetensors" in kept and "observations" not in kept


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "made by an earlier version"])
def test_the_job_store_is_for_its_owner_alone(tmp_path, is_new):
    before = os.umask(0o022)
    try:
        path = tmp_path / "jobs.db"
        if not is_new:
            with JobStore(f"sqlite:///{path}")._engine.connect():
                path.chmod(0o664)
        with closing(JobStore(f"sqlite:///{path}")) as store:
            store.create("0" * 16, {}, {"spans": []}, "file:///x", [1])
            files = sorted(tmp_path.glob("jobs.db*"))
            assert len(files) == 3  # with SQLite's own
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)


def test_a_store_of_somebody_else_keeps_its_rights(tmp_path):
    path = tmp_path / "jobs.db"
    foreign(path)
    path.chmod(0o644)
    with pytest.raises(StoreRefused):
        JobStore(f"sqlite:///{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_tracks_that_are_damaged_after_their_observations_are_gone_are_made_again(jobs, recipe, tmp_path, wanted):
    job = jobs.create(recipe())
    stop_at(jobs, job.id, "render")
    jobs.storage.path(key_of(job.id, "join", 0)).write_bytes(b"nonsense")
    jobs.run(job.id, workers=1)
    assert digest(tmp_path / "o.mp4") == wanted


# Ids and paths


@pytest.mark.parametrize("job_id", ["", "../../victim", "/", ".", "0123/../../etc", "0" * 15, "0" * 33, "A" * 16, None])
def test_what_is_no_id_never_becomes_a_path(jobs, tmp_path, job_id):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "dear").write_text("x")
    with pytest.raises(JobError, match="is no id of a job"):
        check_job_id(job_id)
    with pytest.raises(JobError):
        jobs.delete(job_id)
    with pytest.raises(JobError):
        jobs.run(job_id)
    with pytest.raises(JobError):
        key_of(job_id, "join", 0)
    assert (victim / "dear").exists()


def test_a_store_with_hostile_ids_harms_nothing_outside(jobs, recipe, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "dear").write_text("x")
    good = jobs.create(recipe())
    for job_id in ("../../victim", "", "..", "."):
        jobs.store.create(job_id, {"output_path": "o"}, {"spans": []}, jobs.storage.url, [1])
    time.sleep(0.05)
    swept = jobs.sweep(keep_days=1e-9)
    assert swept.deleted == 1  # the good one
    assert len(swept.kept) == 4 and all("is no id of a job" in why for why in swept.kept)
    assert (victim / "dear").exists() and (jobs.folder / "jobs.db").exists()
    assert jobs.store.find(good.id) is None
    with pytest.raises(JobError, match="is no id of a job"):
        jobs.delete("../../victim")


@pytest.mark.parametrize("key", ["", "/", "../x", "a/../../x", "a//b", "/etc/passwd", "./a", "a\\b", "c:x", "a\0b"])
def test_no_key_leads_out_of_the_storage_and_none_is_all_of_it(tmp_path, key):
    storage = FolderStorage(tmp_path / "files")
    source = tmp_path / "x"
    source.write_text("dear")
    storage.put("kept/a", source)
    for call in (storage.delete, storage.path, storage.has, lambda k: storage.put(k, source)):
        with pytest.raises(JobError, match="is no name of a working file"):
            call(key)
    assert storage.has("kept/a") and source.exists()


def test_links_in_the_storage_are_not_followed(tmp_path):
    storage = FolderStorage(tmp_path / "files")
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "dear").write_text("x")
    (tmp_path / "y").write_text("y")
    storage.put("job/a", tmp_path / "y")
    (tmp_path / "files" / "job" / "link").symlink_to(victim)
    (tmp_path / "files" / "linked").symlink_to(victim)
    for call in (storage.path, storage.has, lambda key: storage.put(key, tmp_path / "y")):
        with pytest.raises(JobError, match="is a link"):
            call("linked/dear")
    with pytest.raises(JobError, match="is a link"):
        storage.delete("linked/dear")
    assert [stored.key for stored in storage.list()] == ["job/a"]
    storage.delete("linked/")  # the link itself
    storage.delete("job/")
    assert (victim / "dear").read_text() == "x"
    assert storage.folders() == ()
    assert list(storage.work.iterdir()) == []


def test_an_empty_name_is_no_job(jobs, recipe):
    jobs.create(recipe())
    with pytest.raises(RecipeError, match="empty name"):
        Jobs(Backend(jobs.folder)).find_id("")


# Reuse


def test_another_name_for_the_output_renders_nothing_twice(jobs, recipe, tmp_path, monkeypatch):
    """The merge fails, as where a container cannot hold a track; the same request with another name goes on."""
    from facefusion.errors import MediaUnsupported

    def refuses(self, *_):
        raise MediaUnsupported(".mp4 files cannot hold the target's subtitle track.", "End the output in .mkv.")

    job = jobs.create(recipe("o.mp4"))
    with monkeypatch.context() as patch:
        patch.setattr(Worker, "_write_output", refuses)
        with pytest.raises(MediaUnsupported):
            jobs.run(job.id, workers=1)
    calls = []
    for name in ("_observe", "_join", "_render"):
        monkeypatch.setattr(Worker, name, lambda self, *_, name=name: calls.append(name))
    other = jobs.create(recipe("o.mkv", output_audio="none", drop_tracks=("subtitle",)))
    assert other.id != job.id and other.plan.taken_from == job.id
    done = {(item.stage, item.number): item.status for item in jobs.store.items(other.id)}
    assert [key for key, status in done.items() if status != "done"] == [("merge", 0)]
    jobs.run(other.id, workers=1)
    assert calls == []
    monkeypatch.undo()
    run(recipe("alone.mkv", output_audio="none", drop_tracks=("subtitle",)))
    assert digest(tmp_path / "o.mkv") == digest(tmp_path / "alone.mkv")
    assert jobs.store.get(job.id).status == "failed"  # stays as it is
    jobs.run(job.id, workers=1)


def test_a_half_done_job_hands_on_what_it_has_and_the_same_unknown_face(jobs, clip, tmp_path):
    def ask(name):
        asked = {**options_of(clip, tmp_path / name), "source_paths": [], "processors": ["face_anonymiser"]}
        return build_recipe(asked)

    job = jobs.create(ask("a.mp4"))
    stop_at(jobs, job.id, "render")
    other = jobs.create(ask("b.mp4"))
    assert other.recipe["steps"] == job.recipe["steps"]
    assert job.recipe["steps"][0]["options"]["seed"] is not None
    statuses = {item.status for item in jobs.store.items(other.id) if item.stage in ("analyse", "join")}
    assert statuses == {"done"}
    jobs.run(other.id, workers=1)
    jobs.run(job.id, workers=1)
    assert digest(tmp_path / "a.mp4") == digest(tmp_path / "b.mp4")


def test_other_parts_or_a_job_that_is_running_are_not_taken_over(jobs, recipe):
    job = jobs.create(recipe())
    stop_at(jobs, job.id, "render")
    assert not jobs.create(recipe("p.mp4", face_swapper_light=0.5)).plan.taken_from
    with jobs._alone(job.id):
        assert not jobs.create(recipe("q.mp4")).plan.taken_from
    # What one tenant may do, and who is nobody in its outputs, is nothing of another's.
    assert not jobs.create(recipe("t.mp4"), tenant="another").plan.taken_from
    assert jobs.create(recipe("r.mp4")).plan.taken_from == job.id


def test_the_message_says_that_parts_are_there_and_from_where(jobs, recipe, capsys):
    from facefusion.apps.show import Show
    from facefusion.policy.site import NO_POLICY
    from facefusion.settings import JobSettings

    job = jobs.create(recipe())
    stop_at(jobs, job.id, "render")
    with Show("bar") as show:
        door.run_recipe(recipe("p.mp4"), JobSettings(jobs_path=jobs.folder, worker_count=1), NO_POLICY, show)
    told = "".join(capsys.readouterr())
    assert "3 parts are there already, from job" in " ".join(told.split())


# Cancel


def test_cancelling_during_the_merge_leaves_the_old_output_as_it_was(jobs, recipe, tmp_path, monkeypatch):
    (tmp_path / "o.mp4").write_text("old")
    report = tmp_path / "report.html"
    job = jobs.create(recipe(report_path=report))
    write = Worker._write_output

    def cancelled_at_last(self, *words):
        outcome = write(self, *words)
        jobs.store.cancel(job.id)
        return outcome

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "_write_output", cancelled_at_last)
        with pytest.raises(Stopped):
            jobs.run(job.id, workers=1)
    assert (tmp_path / "o.mp4").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "no-configuration") == ["jobs", "o.mp4"]
    jobs.run(job.id, workers=1)
    assert (tmp_path / "o.mp4").read_text(errors="replace") != "old"
    assert report.exists() and report.with_suffix(".json").exists()


def test_an_output_is_delivered_only_while_the_item_is_wanted(tmp_path):
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    store.create("j", {}, {"spans": []}, "file:///x", [1])
    store.claim(("j", "analyse", 0), "a", 30)
    store.cancel("j")
    with pytest.raises(LeaseLost):
        store.finish(("j", "analyse", 0), "a", "x", {}, lambda: pytest.fail("it was delivered"))
    store.retry("j")
    store.claim(("j", "analyse", 0), "a", 30)

    def fails():
        raise OutputRefused("There is no room left.")

    with pytest.raises(OutputRefused):
        store.finish(("j", "analyse", 0), "a", "x", {}, fails)
    assert store.items("j")[0].status == "running"  # not done without its output
    store.close()


# The store


def test_readers_go_on_while_a_writer_was_stopped_in_its_transaction(tmp_path):
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}", patience_s=0.5)
    store.create("j", {}, {"spans": []}, "file:///x", [1])
    stopped = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    stopped.execute("BEGIN IMMEDIATE")
    stopped.execute("UPDATE jobs SET error = 'half'")
    assert store.get("j").error == ""
    for read in (store.list_jobs, lambda: store.items("j"), lambda: store.progress("j"), lambda: store.history("j")):
        assert read()
    JobStore(f"sqlite:///{tmp_path / 'jobs.db'}", patience_s=0.5).close()
    with pytest.raises(StoreUnreachable, match="stopped"):
        store.cancel("j")
    stopped.rollback()
    store.cancel("j")
    stopped.close()
    store.close()


def foreign(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (id INTEGER)")
    connection.close()


def newer(path):
    JobStore(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    connection.close()


def cut_off(path):
    store = JobStore(f"sqlite:///{path}")
    for number in range(40):
        store.create(f"{number:016x}", {"x": "y" * 2000}, {"spans": []}, "file:///x", [1] * 20)
    store.close()
    data = path.read_bytes()
    path.write_bytes(data[:4096] + os.urandom(len(data) - 4096))


def of_a_format_to_come(path):
    JobStore(f"sqlite:///{path}").close()
    data = bytearray(path.read_bytes())
    data[18:20] = b"\x07\x07"
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_bytes(b"These are my notes, and no store.\n" * 300), "is no job store"),
        (foreign, "is a database of something else"),
        (newer, "is of another version of FaceFusion"),
        (of_a_format_to_come, "is damaged: unsupported file format|is no job store"),
        (cut_off, "is damaged|is no job store|holds what cannot be read"),
    ],
)
def test_a_store_that_is_none_is_said_at_once_kept_and_a_way_out_named(tmp_path, make, says):
    path = tmp_path / "jobs.db"
    make(path)
    before = path.read_bytes()
    tries = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", tries.append)  # waiting is of no use
        with pytest.raises(StoreRefused, match=says) as caught:
            store = JobStore(f"sqlite:///{path}")
            store.list_jobs()
    assert "--jobs-path" in caught.value.hint and str(path) in caught.value.message
    assert path.read_bytes() == before
    assert not [wait for wait in tries if wait >= 0.05]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE jobs SET recipe = 'no json'", "UPDATE jobs SET plan = '[1, 2]'", "UPDATE jobs SET status = 'odd'",
        "UPDATE items SET stage = 'odd' WHERE stage = 'join'", "UPDATE items SET status = 'odd'",
        "UPDATE items SET outcome = '{'",
        "UPDATE jobs SET created_at = 'yesterday'", "UPDATE jobs SET storage = x'00ff'", "DROP TABLE items",
    ],
)  # fmt: skip
def test_rows_that_cannot_be_read_are_said_in_our_words(tmp_path, change):
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}", patience_s=1)
    store.create("j", {}, {"spans": []}, "file:///x", [1])
    with sqlite3.connect(tmp_path / "jobs.db") as connection:
        connection.execute(change)
    connection.close()
    with pytest.raises(StoreRefused, match=r"left as it is|--jobs-path|move the file away"):
        store.list_jobs()
        store.items("j")
        store.outcomes("j", "analyse")
    store.close()


def test_a_plan_that_is_none_is_said(jobs, recipe):
    job = jobs.create(recipe())
    jobs.store.record(job.id, plan={"spans": "none"})
    with pytest.raises(StoreRefused, match="is damaged in the store"):
        jobs.run(job.id)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("database or disk is full", "no room left for the job store"),
        ("attempt to write a readonly database", "can only be read"),
        ("unable to open database file", "cannot be opened"),
        ("database disk image is malformed", "is damaged"),
    ],
)
def test_what_sqlite_says_is_translated_at_once(tmp_path, text, says):
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    store.create("j", {}, {"spans": []}, "file:///x", [1])

    @sa.event.listens_for(store._engine, "begin")
    def fails(_):
        raise sa.exc.OperationalError("x", {}, sqlite3.OperationalError(text))

    with pytest.raises(FaceFusionError, match=says):
        store.cancel("j")
    with pytest.raises(FaceFusionError, match=says):
        store.create("k", {}, {"spans": []}, "file:///x", [1])
    sa.event.remove(store._engine, "begin", fails)
    store.close()


@pytest.mark.parametrize("at", [19, 47])
def test_a_store_whose_header_is_damaged_is_refused_and_not_waited_for(tmp_path, at):
    """Versions of the format and of the schema: SQLite says of some what it also says of a server that is away."""
    path = tmp_path / "jobs.db"
    store = JobStore(f"sqlite:///{path}")
    store.create("0123456789abcdef", {}, {"spans": []}, "file:///x", [1])
    store.close()
    content = bytearray(path.read_bytes())
    content[at : at + 1] = b"\xff"
    path.write_bytes(content)
    with pytest.raises(FaceFusionError) as told:
        JobStore(f"sqlite:///{path}", patience_s=1e9).list_jobs()  # whoever waits, waits for ever
    assert str(path) in told.value.message
    assert path.read_bytes() == content


def test_text_in_a_store_that_is_none_is_refused_and_not_waited_for(tmp_path):
    path = tmp_path / "jobs.db"
    JobStore(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO events (job_id, at, what) VALUES ('j', 1.0, CAST(x'61ff62' AS TEXT))")
    store = JobStore(f"sqlite:///{path}", patience_s=1e9)
    with pytest.raises(StoreRefused, match="is damaged"):
        store.history("j")
    store.close()


# Full disks


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (Path, "mkdir"), (os, "replace"), (os, "link"), (work.Observation, "save"), (Workplace, "beside"),
        (local, "take"), (storage_module, "sync"), (os, "fsync"),
    ],
)  # fmt: skip
def test_a_full_disk_is_our_error_wherever_it_is_noticed_and_the_job_goes_on_later(
    tmp_path, recipe, wanted, monkeypatch, place, name
):
    if (place, name) == (local, "take"):
        monkeypatch.setattr(local, "take", lambda path, *_: take(Path("/proc/none") / path.name))
    else:
        monkeypatch.setattr(place, name, full)
    jobs = None
    with pytest.raises(FaceFusionError):
        jobs = LocalJobs.open(tmp_path / "jobs")
        jobs.run(jobs.create(recipe()).id, workers=1)
        raise FaceFusionError("it was never noticed")  # a copy in place of a link is no failure
    monkeypatch.undo()
    if jobs is not None:
        jobs.store.close()
    jobs = LocalJobs.open(tmp_path / "jobs")
    jobs.run(jobs.create(recipe()).id, workers=1)
    assert digest(tmp_path / "o.mp4") == wanted
    assert left_in(jobs) == []
    jobs.store.close()


def test_a_link_in_place_of_a_lock_harms_nothing(jobs, recipe, tmp_path):
    job = jobs.create(recipe())
    (tmp_path / "precious").write_text("x")
    (jobs.folder / "locks" / job.id).symlink_to(tmp_path / "precious")
    with pytest.raises(OutputRefused, match="is a link"):
        jobs.run(job.id)
    assert (tmp_path / "precious").read_text() == "x"


def test_a_job_whose_files_are_elsewhere_is_not_touched_from_here(jobs, recipe, tmp_path):
    job = jobs.create(recipe())
    elsewhere = LocalJobs.open(tmp_path / "elsewhere", jobs.store.url)
    with pytest.raises(JobError, match="has its working files in"):
        elsewhere.run(job.id)
    with pytest.raises(JobError, match="has its working files in"):
        elsewhere.delete(job.id)
    elsewhere.store.close()


def test_a_stopped_process_is_not_taken_for_dead_by_a_sweep(jobs, recipe):
    job = jobs.create(recipe())
    owner = work.owner_name()
    with Workplace(jobs.storage.work, work.workplace_name(owner)) as place:
        jobs.store.claim((job.id, "analyse", 0), owner, -1.0)  # its lease has run out
        swept = jobs.sweep(keep_days=1e-9)
        assert (swept.deleted, swept.cleared) == (0, 0)
        assert jobs.store.items(job.id)[0].status == "running"
        assert is_held(jobs.storage.work / f"{place.folder.name}{LOCK}")
    assert sweep(jobs.store, jobs.storage, 30).woken == 1  # a cluster goes by leases
