"""Jobs on one machine: store, files, resume, damage, limits."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import facefusion
from facefusion.errors import (
    DiskLimitReached,
    ExtraMissing,
    IllegalMove,
    JobError,
    JobMismatch,
    LeaseLost,
    NoFaceInSource,
    NoFaceInTarget,
    OutputRefused,
    RecipeError,
    SegmentFailed,
    Stopped,
    StoreUnreachable,
    UnknownJob,
)
from facefusion.jobs import local, schema, work
from facefusion.jobs.local import LocalJobs, next_stretch
from facefusion.jobs.once import run
from facefusion.jobs.prepare import job_id_of
from facefusion.jobs.schema import SCRIPT, migrated_script, script_of
from facefusion.jobs.states import Item
from facefusion.jobs.storage import FolderStorage, _Ranged, open_storage
from facefusion.jobs.store import JobStore
from facefusion.jobs.sweep import sweep, wake
from facefusion.jobs.work import Worker
from facefusion.media.image import read_photo
from facefusion.media.probe import mount
from facefusion.media.reader import ClipReader
from facefusion.pipeline import cast
from facefusion.pipeline.advice import ADVICE, verdict_of
from facefusion.pipeline.cast import PoorSourceWarning, _linked
from facefusion.processors.face_swapper.mesh import MeshSwapper
from facefusion.recipe import build_recipe
from facefusion.service.previews import AROUND, Previews
from facefusion.service.sources import inspect_sources
from facefusion.testing.clips import make_clip
from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of
from facefusion.types.crop import Inspection
from facefusion.workplace import clear_dead


def digest(path):
    return content_of(path)


@pytest.fixture
def clock():
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    made = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}", clock=clock)
    yield made
    made.close()


def add(store, job_id="j", spans=2, **options):
    return store.create(job_id, {"output_path": "o"}, {"spans": []}, "file:///x", [10] * spans, **options)


def do(store, stage, number, owner="a", job_id="j"):
    assert store.claim((job_id, stage, number), owner, 30) is not None
    return store.finish((job_id, stage, number), owner, "abc", {"n": number})


def recipe_for(tmp_path, **options):
    return build_recipe(
        {
            "source_paths": [sample_path("source.jpg")], "target_path": sample_path("target.mp4"), "end_s": 2.0,
            "output_path": tmp_path / "out.mp4", "segment_s": 1.0, "output_video_preset": "ultrafast", **options,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """Hash of the output of a single, undisturbed process."""
    folder = tmp_path_factory.mktemp("wanted")
    run(recipe_for(folder))
    return digest(folder / "out.mp4")


# The store


def test_a_job_opens_its_stages_one_after_the_other(store):
    assert [item.key for item in add(store)] == [("j", "analyse", 0), ("j", "analyse", 1)]
    assert store.claim(("j", "join", 0), "a", 30) is None
    assert do(store, "analyse", 1) == []
    (opened,) = do(store, "analyse", 0)
    assert opened.item.key == ("j", "join", 0)
    assert len(do(store, "join", 0)) == 2
    do(store, "render", 0)
    assert store.get("j").status == "running"
    do(store, "render", 1)
    do(store, "merge", 0)
    assert store.get("j").status == "done"
    assert store.outcomes("j", "render") == [{"n": 0}, {"n": 1}]


def test_two_workers_cannot_claim_one_item(store):
    add(store)
    got = []

    def take(owner):
        got.append(store.claim(("j", "analyse", 0), owner, 30))

    threads = [threading.Thread(target=take, args=[str(k)]) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(item is not None for item in got) == 1
    assert store.items("j")[0].attempts == 1


def test_a_lost_worker_is_found_by_its_lease_and_its_item_offered_again(store, clock):
    add(store)
    store.claim(("j", "analyse", 0), "a", 30)
    assert store.expired() == []
    clock.now += 31
    assert ("j", "analyse", 0) in [command.item.key for command in wake(store)]
    with pytest.raises(LeaseLost):
        store.finish(("j", "analyse", 0), "a", "x", {})
    assert store.claim(("j", "analyse", 0), "b", 30).attempts == 2


def test_a_clock_that_jumps_costs_a_try_and_nothing_else(store, clock):
    add(store, spans=1)
    store.claim(("j", "analyse", 0), "a", 30)
    clock.now += 86400  # as a laptop that slept
    wake(store)
    clock.now -= 172800  # and a clock that was set back
    do(store, "analyse", 0, "b")
    assert store.items("j")[0].status == "done"


def test_a_clock_that_was_set_back_keeps_nothing_from_being_done(store, clock):
    clock.now = 1e6
    add(store, spans=1)
    clock.now -= 86400
    assert store.most_urgent("cpu").key == ("j", "analyse", 0)
    assert [item.key for item in store.forgotten(20)] == [("j", "analyse", 0)]
    do(store, "analyse", 0)


def test_a_clock_that_was_set_back_leaves_no_item_with_a_dead_worker(store, clock):
    clock.now = 1e6
    add(store, spans=1)
    store.claim(("j", "analyse", 0), "a", 30)
    clock.now -= 86400
    assert ("j", "analyse", 0) in [command.item.key for command in wake(store)]
    assert store.claim(("j", "analyse", 0), "b", 30).attempts == 2


@pytest.mark.parametrize("jump_s", [86400, -86400])
def test_a_clock_that_jumps_takes_no_item_from_a_living_worker(store, clock, monkeypatch, jump_s):
    clock.now = 1e6
    add(store, spans=1)
    store.claim(("j", "analyse", 0), "a", 30)
    clock.now += jump_s
    assert [item.key for item in store.expired()] == [("j", "analyse", 0)]
    # Between the two looks the worker renews its lease, as it does twice in a second.
    monkeypatch.setattr("facefusion.jobs.sweep.time.sleep", lambda _: store.beat(("j", "analyse", 0), "a", 30, 1))
    wake(store)
    assert store.items("j")[0].owner == "a"
    store.finish(("j", "analyse", 0), "a", "x", {})


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_is_done_although_the_clock_was_set_back(tmp_path, wanted, workers):
    folder = tmp_path / "jobs"
    folder.mkdir()
    tomorrow = JobStore(f"sqlite:///{folder / 'jobs.db'}", clock=lambda: time.time() + 86400)
    job = LocalJobs(folder, tomorrow, FolderStorage(folder / "files")).create(recipe_for(tmp_path))
    tomorrow.close()
    jobs = LocalJobs.open(folder)
    jobs.run(job.id, workers=workers)
    assert digest(tmp_path / "out.mp4") == wanted
    jobs.store.close()


def test_a_message_that_got_lost_is_published_again(store, clock):
    add(store)
    assert store.forgotten(20) == []
    clock.now += 21
    assert len(store.forgotten(20)) == 2
    assert store.forgotten(20) == []


def test_what_could_not_be_published_is_published_as_soon_as_possible(store):
    items = add(store)
    store.unpublished(items[:1])
    assert [item.number for item in store.forgotten(20)] == [0]


def test_a_failed_item_becomes_due_after_its_wait(store, clock):
    add(store, spans=1)
    store.claim(("j", "analyse", 0), "a", 30)
    store.fail(("j", "analyse", 0), "a", StoreUnreachable("away"))
    assert store.forgotten(20) == []
    clock.now += 1.1
    assert [item.key for item in store.forgotten(20)] == [("j", "analyse", 0)]


def test_the_most_urgent_item_comes_first_and_only_from_its_queue(store, clock):
    add(store, "old")
    clock.now += 1
    add(store, "urgent", priority=9)
    add(store, "elsewhere", queue="gpu", priority=9)
    assert store.most_urgent("cpu").job_id == "urgent"
    assert store.most_urgent("cpu", {"urgent"}).job_id == "old"
    assert store.most_urgent("gpu").job_id == "elsewhere"
    assert store.most_urgent("gpu.large") is None


def test_a_poison_segment_parks_the_job_with_its_reason(store, clock):
    add(store, spans=1, max_attempts=2)
    for _ in range(2):
        store.claim(("j", "analyse", 0), "a", 30)
        store.fail(("j", "analyse", 0), "a", StoreUnreachable("Lightning.", "Wait."))
        clock.now += 100
    job = store.get("j")
    assert job.status == "failed"
    assert job.error == "analyse 0 failed 2 times: Lightning. Wait."
    assert store.claim(("j", "analyse", 0), "a", 30) is None
    store.retry("j")
    assert store.claim(("j", "analyse", 0), "a", 30).attempts == 1


def test_an_illegal_move_tells_the_history(store):
    add(store)
    with pytest.raises(IllegalMove, match="History: created with 2 spans"):
        store.invalidate(("j", "analyse", 0), "x")


def test_cancelling_is_heard_by_the_worker(store):
    add(store)
    store.claim(("j", "analyse", 0), "a", 30)
    store.cancel("j")
    with pytest.raises(LeaseLost):
        store.beat(("j", "analyse", 0), "a", 30, 5)
    assert store.get("j").status == "cancelled"


def test_a_deleted_job_is_gone(store):
    add(store)
    store.delete("j")
    with pytest.raises(UnknownJob, match="no job j"):
        store.get("j")
    assert store.find("j") is None
    assert store.history("j") == []


def test_the_store_of_another_time_is_opened_again(store, tmp_path):
    add(store)
    again = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    assert again.get("j").status == "queued"
    again.close()


def test_a_store_that_is_away_says_so_and_hides_the_password():
    with pytest.raises(StoreUnreachable, match=r"://me:\*\*\*@") as caught:
        JobStore("postgresql+psycopg://me:secret@127.0.0.1:9/x", patience_s=0.2)
    assert "secret" not in str(caught.value)
    with pytest.raises(RecipeError, match="There can be no job store"):
        JobStore("nonsense://x")


@pytest.mark.parametrize("url", ["mysql://me:secret@host/db", "mariadb+pymysql://host/db", "oracle://host"])
def test_a_database_that_is_no_store_is_answered_with_those_that_are(url):
    """It was told to install the extra 'worker', which brings no driver for it."""
    with pytest.raises(RecipeError, match="is not supported") as caught:
        JobStore(url)
    assert "SQLite (sqlite:///FILE) for one machine and PostgreSQL (postgresql+psycopg://…" in caught.value.hint
    assert "secret" not in str(caught.value)


def test_a_driver_that_is_missing_names_its_extra_only_where_that_brings_it(monkeypatch):
    for name, kind in (("psycopg", ExtraMissing), ("pg8000", RecipeError)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(kind) as caught:
            JobStore(f"postgresql+{name}://host/db")
        assert type(caught.value) is kind
        assert "[worker]" in caught.value.hint


# Files


def test_a_range_reader_reads_what_the_file_holds(tmp_path):
    data = np.random.default_rng(1).integers(0, 256, 3_500_000, dtype=np.uint8).tobytes()
    asked = []

    def fetch(start, stop):
        asked.append((start, stop))
        return data[start:stop]

    file = _Ranged(len(data), fetch)
    file.seek(-10, 2)
    assert file.read() == data[-10:]
    file.seek(1_048_570)
    assert file.read(20) == data[1_048_570:1_048_590]
    assert file.tell() == 1_048_590
    assert file.read(0) == b""
    assert max(stop - start for start, stop in asked) <= 1 << 20
    count = len(asked)
    file.seek(0, 0)
    file.read(100)
    file.seek(1_048_576)
    file.read(100)
    assert len(asked) == count  # remembered


def test_a_clip_is_read_in_ranges_without_the_whole_of_it(tmp_path):
    clip = sample_path("target.mp4")
    data = clip.read_bytes()
    name = tmp_path / "far.mp4"
    with mount(name, len(data), lambda: _Ranged(len(data), lambda a, b: data[a:b])):
        far = [frame.pixels for frame in ClipReader(name, start_s=1, end_s=1.5)]
    near = [frame.pixels for frame in ClipReader(clip, start_s=1, end_s=1.5)]
    assert all(np.array_equal(a, b) for a, b in zip(far, near, strict=True))


def test_a_copy_of_what_is_far_away_stays_while_it_is_used(tmp_path):
    pytest.importorskip("obstore")
    from facefusion.jobs.storage import ObjectStorage

    objects = ObjectStorage("memory:///", tmp_path / "cache")
    (tmp_path / "a.mp4").write_bytes(b"content")
    objects.put("anna/a.mp4", tmp_path / "a.mp4")
    with objects.local("anna/a.mp4") as path:
        assert clear_dead(tmp_path / "cache") == 0  # as a service does every minute, and a run when it begins
        assert (path.suffix, path.read_bytes()) == (".mp4", b"content")
    assert not list((tmp_path / "cache").iterdir())
    with pytest.raises(FileNotFoundError), objects.local("anna/b.mp4"):
        pass
    assert not list((tmp_path / "cache").iterdir())


def test_object_storage_and_folder_do_the_same(tmp_path):
    pytest.importorskip("obstore")
    import obstore.store

    from facefusion.jobs.storage import ObjectStorage

    (tmp_path / "objects").mkdir()
    objects = ObjectStorage("memory:///", tmp_path / "cache")
    objects._store = obstore.store.MemoryStore()
    photo = sample_path("source.jpg")
    for storage in (objects, open_storage(str(tmp_path / "folder"), tmp_path)):
        storage.put("a/b.jpg", photo)
        assert storage.has("a/b.jpg")
        assert not storage.has("a/c.jpg")
        assert [(s.key, s.size_bytes) for s in storage.list("a/")] == [("a/b.jpg", photo.stat().st_size)]
        with storage.local("a/b.jpg") as path:
            assert path.read_bytes() == photo.read_bytes()
        with pytest.raises(FileNotFoundError), storage.local("a/c.jpg"):
            pass
        file = storage.open_range("a/b.jpg")
        file.seek(100)
        assert file.read(9) == photo.read_bytes()[100:109]
        file.close()
        storage.delete("a/")
        assert storage.list() == []


@pytest.mark.parametrize(
    ("name", "url", "is_allowed"),
    [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1", True),
        ("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1/account", True),
        ("AWS_ENDPOINT_URL", "https://s3.example.org", False),
    ],
)
def test_an_address_without_tls_is_used_where_it_is_asked_for(tmp_path, monkeypatch, name, url, is_allowed):
    store = pytest.importorskip("obstore.store")
    from facefusion.jobs.storage import ObjectStorage

    for other in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, url)
    asked = []
    monkeypatch.setattr(store, "from_url", lambda url, **options: asked.append(options))
    ObjectStorage("s3://bucket/prefix", tmp_path)
    assert (asked[0].get("client_options") == {"allow_http": True}) == is_allowed


def test_a_limit_of_room_is_kept(tmp_path):
    storage = FolderStorage(tmp_path / "files", limit_bytes=1000)
    with pytest.raises(DiskLimitReached, match="the limit is"):
        storage.put("a", sample_path("source.jpg"))
    assert storage.list() == []


# Jobs


def test_a_job_makes_what_a_single_process_makes_and_leaves_nothing_behind(jobs, tmp_path, wanted):
    job = jobs.create(recipe_for(tmp_path))
    outcome = jobs.run(job.id, workers=1)
    assert digest(tmp_path / "out.mp4") == wanted
    assert (outcome.frame_count, outcome.changed_frame_count, outcome.track_count) == (50, 50, 1)
    assert [stored.key for stored in jobs.storage.list() if not stored.key.startswith(".work")] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs", "out.mp4"]


def test_a_pool_loses_nothing_when_a_process_is_killed(jobs, tmp_path, wanted):
    job = jobs.create(recipe_for(tmp_path))
    killed = []

    def kill_somebody(progress):
        running = [item for item in jobs.store.items(job.id) if item.status == "running"]
        if progress.stage == "render" and running and not killed:
            killed.append(int(running[0].owner.split(":")[1]))
            os.kill(killed[0], signal.SIGKILL)

    jobs.run(job.id, workers=2, on_progress=kill_somebody)
    assert killed
    assert digest(tmp_path / "out.mp4") == wanted
    assert any("its worker was lost" in what for _, what in jobs.store.history(job.id))


def test_missing_and_damaged_files_are_made_again(jobs, tmp_path, wanted, monkeypatch):
    job = jobs.create(recipe_for(tmp_path))
    broken = []
    merge = Worker._merge

    def breaks(self, bench, count):
        first, second = (jobs.storage.path(work.key_of(job.id, "render", k)) for k in (0, 1))
        if not broken:
            broken.append(True)
            first.unlink()
            data = bytearray(second.read_bytes())
            data[len(data) // 2] ^= 1
            second.write_bytes(bytes(data))
        return merge(self, bench, count)

    monkeypatch.setattr(Worker, "_merge", breaks)
    jobs.run(job.id, workers=1)
    assert digest(tmp_path / "out.mp4") == wanted
    history = [what for _, what in jobs.store.history(job.id)]
    assert "render 0: done to queued (its file is missing)" in history
    assert "render 1: done to queued (its file is not what was recorded)" in history


def test_a_job_that_stopped_goes_on_where_it_was(jobs, tmp_path, wanted):
    recipe = recipe_for(tmp_path)
    job = jobs.create(recipe)

    def stop(progress):
        if any(item.stage == "render" and item.status == "running" for item in jobs.store.items(job.id)):
            jobs.store.cancel(job.id)

    with pytest.raises(Stopped, match="jobs resume"):
        jobs.run(job.id, workers=1, on_progress=stop)
    assert not (tmp_path / "out.mp4").exists()
    assert jobs.create(recipe).id == job.id
    before = len(jobs.store.history(job.id))
    jobs.run(job.id, workers=1)
    assert digest(tmp_path / "out.mp4") == wanted
    again = [what for _, what in jobs.store.history(job.id)[before:]]
    assert not any("analyse 0: queued to running" in what for what in again)


def test_a_changed_input_is_found_before_anything_is_done(jobs, tmp_path):
    source = tmp_path / "me.jpg"
    source.write_bytes(sample_path("source.jpg").read_bytes())
    job = jobs.create(recipe_for(tmp_path, source_paths=[source]))
    source.write_bytes(source.read_bytes() + b" ")
    with pytest.raises(JobMismatch, match=r"me\.jpg has changed since job"):
        jobs.run(job.id)
    source.unlink()
    with pytest.raises(JobMismatch, match="is gone"):
        jobs.run(job.id)


def test_the_same_request_is_the_same_job_whatever_machine_options_it_has(tmp_path):
    recipe = recipe_for(tmp_path)
    threads = recipe.model_copy(update={"execution_thread_count": 7})
    other = recipe.with_options(face_swapper_light=0.5)
    assert job_id_of(recipe, {"a": "1"}) == job_id_of(threads, {"b": "1"})
    assert job_id_of(recipe, {"a": "1"}) != job_id_of(other, {"a": "1"})
    assert job_id_of(recipe, {"a": "1"}) != job_id_of(recipe, {"a": "2"})


def test_two_processes_do_not_run_one_job(jobs, tmp_path):
    job = jobs.create(recipe_for(tmp_path))
    with jobs._alone(job.id), pytest.raises(JobError, match="running in another process"):
        jobs.run(job.id)


def test_a_segment_that_always_fails_puts_the_job_aside_and_keeps_the_rest(jobs, tmp_path, wanted, monkeypatch):
    from facefusion.pipeline import clip

    job = jobs.create(recipe_for(tmp_path), max_attempts=2)
    writer = clip.SegmentWriter

    class Failing(writer):
        def write(self, rendered, prepared=None):
            if rendered.frame.pts >= 12800:
                raise OutputRefused("Lightning.", "Wait.")
            super().write(rendered, prepared)

    monkeypatch.setattr(clip, "SegmentWriter", Failing)
    with pytest.raises(OutputRefused, match=r"Lightning\. Wait\. Job .* is kept: facefusion jobs resume"):
        jobs.run(job.id, workers=1)
    statuses = {item.key[1:]: item.status for item in jobs.store.items(job.id)}
    assert statuses[("render", 0)] == "done"
    assert statuses[("render", 1)] == "failed"
    monkeypatch.setattr(clip, "SegmentWriter", writer)
    jobs.run(job.id, workers=1)
    assert digest(tmp_path / "out.mp4") == wanted


def test_a_source_without_a_face_is_refused_before_anything_is_done(jobs, tmp_path):
    path = tmp_path / "wall.png"
    Image.fromarray(np.full((200, 200, 3), 127, np.uint8)).save(path)
    for options in (
        {"source_paths": [path]}, {"exempt_paths": [path]},
        {"face_selector_mode": "reference", "reference_face_path": path},
    ):  # fmt: skip
        with pytest.raises(NoFaceInSource, match=r"wall\.png"):
            jobs.create(recipe_for(tmp_path, **options))
    assert jobs.store.list_jobs() == []


def test_a_poor_source_is_told_about_once_and_the_job_goes_on(jobs, tmp_path):
    path = tmp_path / "small.png"
    Image.open(sample_path("source.jpg")).resize((90, 90)).save(path)
    with pytest.warns(PoorSourceWarning, match=r"small\.png shows a face of only \d\d pixels"):
        job = jobs.create(recipe_for(tmp_path, source_paths=[path]))
    jobs.run(job.id, workers=1)  # a second warning would be an error here
    assert (tmp_path / "out.mp4").exists()


def test_too_little_of_a_face_is_said_at_once_in_the_outcome_and_in_the_report(jobs, tmp_path, analyser):
    with Image.open(sample_path("source.jpg")) as picture:
        pixels = np.array(picture.convert("RGB"))
    x0, y0, x1, y1 = analyser.find_faces(pixels)[0].box.astype(int)
    pixels[y0 - 10 : y1 + 10, x0 - 20 : (x0 + x1) // 2] = (30, 60, 120)  # somebody stands before half of it
    path = tmp_path / "half.png"
    Image.fromarray(pixels).save(path)
    lack = r"half\.png: Little is seen of: right cheek\. Add a photo in which the person's right cheek is seen\."
    with pytest.warns(PoorSourceWarning, match=lack):
        job = jobs.create(recipe_for(tmp_path, source_paths=[path], report_path=tmp_path / "report.json"))
    outcome = jobs.run(job.id, workers=1)
    assert sum(bool(re.fullmatch(lack, note)) for note in outcome.notes) == 1
    told = json.loads((tmp_path / "report.json").read_text())["notes"]
    assert re.fullmatch(lack, *told)


def test_a_run_calls_a_poor_photo_what_inspection_calls_it(tmp_path, monkeypatch):
    shares = dict.fromkeys(("face", *ADVICE), 0.4)
    found = Inspection(*(np.zeros((1, 1, 3), np.uint8),) * 2, np.zeros((1, 1), np.float32), shares, (0.4,))
    monkeypatch.setattr(MeshSwapper, "inspect", lambda *_: found)
    assert verdict_of(found) == "poor"
    said = r".*source\.jpg: poor; much of it is a guess\. Little is seen of the face\. Add .*"
    with pytest.warns(PoorSourceWarning, match=said):
        cast.check_faces(recipe_for(tmp_path))


def test_photos_of_two_people_as_one_are_told_about_and_those_of_one_are_not(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(cast, "STRANGERS", 0.8)  # the packaged faces are averages of many, and much alike
    one, two = tmp_path / "one.jpg", tmp_path / "one again.png"
    Image.open(sample_path("source.jpg")).save(one)
    Image.open(sample_path("source.jpg")).resize((300, 300)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(two)
    other = sample_path("target.jpg")
    said = r".*target\.jpg shows somebody else than .*one\.jpg, and one face is made of all\."
    with pytest.warns(PoorSourceWarning, match=said):
        job = jobs.create(recipe_for(tmp_path, source_paths=[one, other, two]))
    assert sum(bool(re.match(said, note)) for note in jobs.run(job.id, workers=1).notes) == 1
    advice = inspect_sources("face_swapper", [one, other, two], build_recipe({})).advice
    assert any(re.match(said, line) for line in advice)
    advice = inspect_sources("face_swapper", [one, two], build_recipe({})).advice
    assert not any("somebody else" in line for line in advice)


@pytest.mark.parametrize(
    ("pairs", "groups"),
    [
        ([], [[0], [1], [2], [3]]),
        ([(0, 1), (1, 2), (2, 3)], [[0, 1, 2, 3]]),
        ([(0, 3), (1, 2)], [[0, 3], [1, 2]]),
        ([(0, 2), (2, 3)], [[0, 2, 3], [1]]),
    ],
)
def test_photos_are_of_one_person_where_a_row_of_likenesses_leads_from_each_to_each(pairs, groups):
    is_alike = np.eye(4, dtype=bool)
    for a, b in pairs:
        is_alike[a, b] = is_alike[b, a] = True
    assert _linked(is_alike) == groups


def test_a_good_source_needs_no_advice(jobs, tmp_path):
    job = jobs.create(recipe_for(tmp_path))  # a warning would be an error here
    assert job.plan.notes == ()


def test_nobody_in_the_target_is_said_and_nothing_is_written(jobs, tmp_path):
    clip = make_clip(tmp_path / "empty.mp4", pts=[k * 512 for k in range(60)])
    recipe = recipe_for(tmp_path, target_path=clip)
    job = jobs.create(recipe)
    with pytest.raises(NoFaceInTarget, match="No face is found in the target"):
        jobs.run(job.id, workers=1)
    assert not (tmp_path / "out.mp4").exists()
    with pytest.raises(NoFaceInTarget):
        run(recipe)


def test_too_little_room_stops_the_job_which_goes_on_when_there_is_more(tmp_path, wanted):
    small = LocalJobs.open(tmp_path / "jobs", limit_bytes=100_000)
    job = small.create(recipe_for(tmp_path))
    with pytest.raises(DiskLimitReached, match="--disk-limit"):
        small.run(job.id, workers=1)
    small.store.close()
    roomy = LocalJobs.open(tmp_path / "jobs", limit_bytes=10**9)
    roomy.run(job.id, workers=1)
    assert digest(tmp_path / "out.mp4") == wanted
    roomy.store.close()


def test_a_full_disk_is_said_and_the_job_can_be_resumed(jobs, tmp_path, wanted, monkeypatch):
    import errno

    job = jobs.create(recipe_for(tmp_path))
    replace = os.replace

    def full(source, goal):
        if "/segments/00001" in str(goal):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, goal)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputRefused, match="There is no room left"):
        jobs.run(job.id, workers=1)
    monkeypatch.setattr(os, "replace", replace)
    jobs.run(job.id, workers=1)
    assert digest(tmp_path / "out.mp4") == wanted


def test_a_jobs_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputRefused, match="--jobs-path"):
        LocalJobs.open(tmp_path / "jobs")


def test_a_preview_is_the_frame_as_the_job_renders_it(jobs, tmp_path, monkeypatch):
    # As good as no loss, so that the written frame can be compared.
    job = jobs.create(recipe_for(tmp_path, output_video_quality=100))
    previews, made = Previews(), []
    render = Worker._render

    def peeks(self, bench, numbers, count):
        if not made:
            made.append(previews.write_of_job(jobs, job.id, 0.84, tmp_path / "p.png"))
        return render(self, bench, numbers, count)

    monkeypatch.setattr(Worker, "_render", peeks)
    jobs.run(job.id, workers=1)
    assert [(one.time_s, one.is_changed, one.notes) for one in made] == [(pytest.approx(0.84), True, ())]
    written = next(frame for frame in ClipReader(tmp_path / "out.mp4") if frame.index == 21)
    apart = np.abs(read_photo(tmp_path / "p.png").pixels.astype(int) - written.pixels)
    assert np.quantile(apart, 0.99) <= 4
    # The job is done and its tracks are gone: faces are looked for around the moment, and it says so.
    later = previews.of_job(jobs, job.id, 0.84)
    assert later.notes == (AROUND,)
    # What is usual for the face is told from fewer looks then.
    apart = np.abs(read_photo(tmp_path / "p.png").pixels.astype(int) - later.pixels)
    assert np.quantile(apart, 0.99) <= 8
    previews.learn(build_recipe(job.recipe))
    exact = previews.of_job(jobs, job.id, 0.84)
    assert exact.notes == ()
    np.testing.assert_array_equal(exact.pixels, read_photo(tmp_path / "p.png").pixels)
    with pytest.raises(RecipeError, match="no frame"):
        previews.of_job(jobs, job.id, 99.0)


def test_sweeping_takes_old_jobs_and_stray_files_away(jobs, tmp_path):
    job = jobs.create(recipe_for(tmp_path))
    jobs.storage.put(f"{job.id}/segments/00000.nut", sample_path("source.jpg"))
    jobs.storage.put("nobody/segments/00000.nut", sample_path("source.jpg"))
    swept = sweep(jobs.store, jobs.storage, keep_days=30, stray_s=-1)
    assert (swept.deleted, swept.orphans) == (0, 1)
    assert [stored.key for stored in jobs.storage.list()] == [f"{job.id}/segments/00000.nut"]
    time.sleep(0.02)
    swept = sweep(jobs.store, jobs.storage, keep_days=1e-7)
    assert swept.deleted == 1
    assert jobs.storage.list() == []


def test_no_more_than_the_memory_allows_and_the_work_needs(jobs, tmp_path, monkeypatch):
    job = jobs.create(recipe_for(tmp_path))
    asked = []
    monkeypatch.setattr(local, "core_count", lambda: 64)
    monkeypatch.setattr(LocalJobs, "_work_in_pool", lambda self, job_id, share, *_: asked.append(share.process_count))
    monkeypatch.setattr(LocalJobs, "_work_here", lambda *_: asked.append(1))
    for memory, expected in ((10**12, 2), (3.2e9, 2), (1e9, 1)):
        with pytest.raises(SegmentFailed):
            jobs.run(job.id, memory_bytes=int(memory))
        assert asked[-1] == expected


def test_every_process_of_the_pool_has_a_device_of_its_own(jobs, tmp_path, wanted, monkeypatch):
    """Two processes over devices 3 and 5: each works with one of them, and neither with both."""
    job = jobs.create(recipe_for(tmp_path))
    noted = tmp_path / "devices"
    noted.mkdir()
    plugin = tmp_path / "note"
    plugin.mkdir()
    (plugin / "sitecustomize.py").write_text(
        "import os, pathlib\n"
        "from facefusion.models.session import SessionCache\n"
        "get = SessionCache.get\n"
        "def note(self, spec, store, providers=('cpu',), thread_count=1, device_id=0, is_half=False):\n"
        f"    pathlib.Path({str(noted)!r}, f'{{os.getpid()}}-{{device_id}}').touch()\n"
        "    return get(self, spec, store, providers, thread_count, device_id, is_half)\n"
        "SessionCache.get = note\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(plugin), str(Path(facefusion.__file__).parents[1])]))
    jobs.run(job.id, workers=2, execution={"execution_device_ids": (3, 5)})
    assert digest(tmp_path / "out.mp4") == wanted
    assert list((jobs.folder / "locks").iterdir()) == []
    pids, devices = zip(*(path.name.split("-") for path in noted.iterdir()), strict=True)
    assert len(set(pids)) == len(pids) == 2
    assert set(devices) == {"3", "5"}


def test_there_is_a_process_for_each_device(jobs, tmp_path, monkeypatch):
    job = jobs.create(recipe_for(tmp_path))
    asked = []
    monkeypatch.setattr(local, "core_count", lambda: 2)
    monkeypatch.setattr(LocalJobs, "_work_in_pool", lambda self, job_id, share, *_: asked.append(share.process_count))
    with pytest.raises(SegmentFailed):
        jobs.run(job.id, execution={"execution_device_ids": (0, 1)}, memory_bytes=10**12)
    assert asked == [2]


def test_what_a_cluster_needs_is_said_where_it_is_not_installed(monkeypatch):
    import sys

    from facefusion.service.jobs import cluster_room

    monkeypatch.setitem(sys.modules, "celery", None)
    monkeypatch.delitem(sys.modules, "facefusion.service.cluster", raising=False)
    monkeypatch.delattr("facefusion.service.cluster", raising=False)
    with pytest.raises(ExtraMissing, match=r"celery.*facefusion-studio\[worker\]"):
        cluster_room()


def items_of(statuses, **values):
    names = {"q": "queued", "r": "running", "d": "done"}
    return [Item("job", "render", number, names[letter], **values) for number, letter in enumerate(statuses)]


@pytest.mark.parametrize(
    ("statuses", "taken", "expected"),
    [
        ("qqqqqq", [], (0, 6)),  # alone: all of it on end
        ("qqqqqq", [0], (3, 6)),  # beside one who has been sent to the first: the second half
        ("ddrqqq", [], (4, 6)),
        ("drqq", [], (3, 4)),
        ("drqqqdqq", [], (6, 8)),  # towards which nobody works
        ("rqrqqq", [], (4, 6)),
        ("drq", [], (2, 3)),
        ("ddr", [], None),
        ("q" * 40, [], (0, 16)),
    ],
)
def test_a_free_process_takes_what_others_get_to_last(statuses, taken, expected):
    found = next_stretch(items_of(statuses), {("render", number) for number in taken})
    assert found == (expected and ("render", range(*expected)))


def test_an_item_that_may_not_be_tried_yet_is_not_taken():
    items = items_of("qq", available_at=50.0)
    assert next_stretch(items, now=49.0) is None
    assert next_stretch(items, now=50.0) == ("render", range(2))


def test_storage_by_path_and_by_url_is_the_same(tmp_path):
    assert open_storage(str(tmp_path), tmp_path).url == open_storage(Path(tmp_path).as_uri(), tmp_path).url


def test_a_new_store_is_what_all_steps_make_and_is_made_without_alembic(tmp_path):
    assert SCRIPT.read_text() == migrated_script(), (
        "python -m facefusion.jobs.schema > src/facefusion/jobs/new_store.sql"
    )
    code = (
        "import sys; from facefusion.jobs.store import JobStore; JobStore(sys.argv[1]).close(); "
        "assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, f"sqlite:///{tmp_path / 'new.db'}"], check=True)
    with closing(sqlite3.connect(tmp_path / "new.db")) as made:
        assert script_of(made) == migrated_script()


def test_a_new_store_is_whole_where_the_script_is_of_another_step(tmp_path, monkeypatch):
    old = tmp_path / "old.sql"
    old.write_text("CREATE TABLE jobs (id INTEGER);\nINSERT INTO alembic_version VALUES ('0000');\n")
    monkeypatch.setattr(schema, "SCRIPT", old)
    JobStore(f"sqlite:///{tmp_path / 'new.db'}").close()
    with closing(sqlite3.connect(tmp_path / "new.db")) as made:
        assert script_of(made) == migrated_script()
