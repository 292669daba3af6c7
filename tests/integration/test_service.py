"""The room under the doors: jobs, models and the state of the installation, as values and without a word printed."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import threading

import numpy as np
import pytest
from PIL import Image
from tests.graphs import inverting
from tests.patience import wait_until

from facefusion.errors import (
    ExtraMissing,
    JobError,
    NoFaceInTarget,
    QualityTooLow,
    RecipeError,
    SegmentDamaged,
    Stopped,
    StoreRefused,
    UnknownJob,
    UnknownModel,
)
from facefusion.jobs.once import run
from facefusion.jobs.prepare import execution_of
from facefusion.jobs.store import JobStore
from facefusion.jobs.work import Worker
from facefusion.media import encoders
from facefusion.media.image import read_photo
from facefusion.plugins.listing import show_processor
from facefusion.recipe import build_recipe
from facefusion.service.backend import Backend
from facefusion.service.batch import plan_batch, work_through
from facefusion.service.capabilities import find_capabilities
from facefusion.service.doctor import examine
from facefusion.service.drafts import Drafts
from facefusion.service.jobs import Jobs
from facefusion.service.models import Models
from facefusion.service.values import Advanced, Changed, Happened
from facefusion.testing.clips import make_clip
from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of


@pytest.fixture(autouse=True)
def _nothing_is_printed(capfd):
    yield
    assert capfd.readouterr().out == ""


@pytest.fixture
def backend(tmp_path):
    return Backend(tmp_path / "jobs", worker_count=1)


@pytest.fixture
def jobs(backend):
    with Jobs(backend) as made:
        yield made


@pytest.fixture
def recipe(tmp_path, few_frames):
    def build(name="o.mp4", **options):
        return build_recipe(
            {"source_paths": [sample_path("source.jpg")], "target_path": few_frames, "output_path": tmp_path / name}
            | options
        )

    return build


def stop_before(jobs, job_id, stage, monkeypatch):
    """Run a job until a stage begins, and cancel it there."""
    perform = Worker.perform

    def cancelled(self, job_id, asked, numbers):
        if asked == stage:
            self.store.cancel(job_id)
            return []
        return perform(self, job_id, asked, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "perform", cancelled)
        with pytest.raises(Stopped):
            jobs.run(job_id)


def is_json(value):
    """Whether a value goes through JSON as it is, as a REST API and --json need it."""
    fields = value.as_dict()
    assert json.loads(json.dumps(fields, allow_nan=False)).keys() == fields.keys()
    return True


def test_a_job_is_submitted_shown_and_run(jobs, recipe, tmp_path):
    submitted = jobs.submit(recipe())
    job = submitted.job
    assert (job.status, job.share, job.stage, job.outcome) == ("queued", 0.0, "analyse", None)
    assert (job.state, job.as_dict()["status"], jobs.list().jobs[0].state) == ("stopped",) * 3  # nobody is at it yet
    with jobs.local._alone(job.id):
        assert jobs.show(job.id).state == jobs.list().jobs[0].state == "queued"
    assert submitted.parts_done == 0
    assert not job.is_over and not job.is_shared
    assert job.stages["render"].frames == 5
    assert not (tmp_path / "o.mp4").exists()
    assert jobs.submit(recipe()).job.id == job.id  # the same request is the same job
    outcome = jobs.run(job.id, execution_of(recipe()))
    assert outcome.frame_count == 5
    done = jobs.show(job.id)
    assert (done.status, done.share, done.stage, done.is_over) == ("done", 1.0, None, True)
    assert done.outcome.frames == done.outcome.changed == 5
    assert done.outcome.size_bytes == (tmp_path / "o.mp4").stat().st_size
    assert done.target == str(recipe().target_path)
    assert all(stage.time_left_s == 0 and stage.done == stage.parts for stage in done.stages.values())
    assert is_json(done) and is_json(submitted)
    with pytest.raises(dataclasses.FrozenInstanceError):
        done.status = "queued"


def test_jobs_are_listed_a_page_at_a_time_though_some_come_and_go(jobs, recipe):
    ids = [jobs.submit(recipe(f"{k}.mp4")).job.id for k in range(5)]
    first = jobs.list(limit=2)
    assert [job.id for job in first.jobs] == ids[:2:-1]
    newer = jobs.submit(recipe("newer.mp4")).job.id
    jobs.delete(ids[2])
    rest = jobs.list(limit=2, cursor=first.cursor)
    assert [job.id for job in rest.jobs] == [ids[1], ids[0]]
    assert rest.cursor == ""
    jobs.cancel(ids[0])
    assert [job.id for job in jobs.list(statuses=["cancelled"]).jobs] == [ids[0]]
    assert jobs.list(queue="gpu").jobs == ()
    assert [job.id for job in jobs.iter_all()] == [newer, ids[4], ids[3], ids[1], ids[0]]
    assert is_json(first) and is_json(first.jobs[0])
    for asked in ({"limit": 0}, {"limit": 501}, {"cursor": "x"}, {"statuses": ["fine"]}):
        with pytest.raises(RecipeError):
            jobs.list(**asked)


def test_an_id_may_be_shortened_but_not_to_nothing_or_to_what_two_have(jobs):
    ids = ["0123456789abcdef", "0123456789abcde0", "fedcba9876543210"]
    for job_id in ids:
        jobs.store.create(job_id, {}, {}, "", [10])
    assert jobs.find_id(ids[0]) == ids[0]
    assert jobs.find_id("f") == ids[2]
    for name in ("nothing", "%", "_", "0123", "FED"):
        with pytest.raises(UnknownJob):
            jobs.find_id(name)
    with pytest.raises(RecipeError):
        jobs.find_id(" ")


def test_events_tell_everything_to_the_end_and_go_on_where_somebody_was_cut_off(jobs, backend, recipe):
    job_id = jobs.submit(recipe()).job.id
    told = []

    def listen():
        with Jobs(backend) as ears:
            told.extend(ears.events(job_id, poll_s=0.01))

    listener = threading.Thread(target=listen)
    listener.start()
    jobs.run(job_id)
    listener.join()
    assert isinstance(told[-1], Changed) and told[-1].status == "done"
    statuses = [event.status for event in told if isinstance(event, Changed)]
    assert statuses == sorted(set(statuses), key=["queued", "running", "done"].index)
    history = [event for event in told if isinstance(event, Happened)]
    assert tuple(history) == jobs.history(job_id)
    assert history[-1].what == "merge 0: running to done"
    last = {event.stage: event for event in told if isinstance(event, Advanced)}
    assert (last["render"].done, last["render"].total, last["render"].time_left_s) == (5, 5, 0.0)
    assert all(is_json(event) and event.as_dict()["event"] for event in told)
    # Who comes later, or comes back, misses nothing and hears nothing twice.
    again = list(jobs.events(job_id, after=history[2].number))
    assert [event for event in again if isinstance(event, Happened)] == history[3:]
    assert again[-1] == Changed("done")


def test_events_of_a_job_that_is_deleted_end_with_that(jobs, recipe):
    job_id = jobs.submit(recipe()).job.id
    events = jobs.events(job_id, poll_s=0.01)
    while not isinstance(next(events), Changed):
        pass
    jobs.store.delete(job_id)
    assert list(events) == [Changed("deleted")]
    with pytest.raises(UnknownJob):
        next(jobs.events(job_id))


def test_a_failed_job_tells_code_and_hint_and_can_be_tried_again(jobs, recipe, tmp_path):
    empty = make_clip(tmp_path / "empty.mp4", pts=[k * 512 for k in range(5)])
    job_id = jobs.submit(recipe(target_path=empty)).job.id
    with pytest.raises(NoFaceInTarget):
        jobs.run(job_id)
    job = jobs.show(job_id)
    assert job.status == "failed"
    assert job.problem.code == NoFaceInTarget.code
    assert "allow-empty" in job.problem.hint
    assert is_json(job)
    assert list(jobs.events(job_id))[-1] == Changed("failed", job.problem)
    again = jobs.retry(job_id)
    assert (again.status, again.problem, again.error) == ("running", None, "")  # what was analysed is kept
    with pytest.raises(JobError, match="nothing to try again"):
        jobs.retry(job_id)


def test_a_cancelled_job_can_be_previewed_retried_and_run_to_its_end(jobs, recipe, tmp_path, monkeypatch):
    job_id = jobs.submit(recipe()).job.id
    stop_before(jobs, job_id, "render", monkeypatch)
    assert jobs.show(job_id).status == "cancelled"
    made = jobs.preview(job_id, 0.1, tmp_path / "p.png")
    assert made.time_s == pytest.approx(0.08, abs=0.05)
    assert read_photo(tmp_path / "p.png").pixels.size
    assert is_json(made)
    for at_s in (-1, float("nan")):
        with pytest.raises(RecipeError):
            jobs.preview(job_id, at_s, tmp_path / "q.png")
    assert jobs.retry(job_id).stages["analyse"].done == 1
    assert jobs.run(job_id).frame_count == 5
    assert jobs.cancel(job_id).status == "done"  # what is done stays done


def test_a_job_is_deleted_with_its_files_and_old_ones_are_swept(jobs, backend, recipe, monkeypatch):
    job_id = jobs.submit(recipe()).job.id
    stop_before(jobs, job_id, "render", monkeypatch)
    assert any((backend.folder / "files").rglob("*.safetensors"))
    jobs.delete(job_id)
    assert not any((backend.folder / "files").rglob("*.safetensors"))
    with pytest.raises(UnknownJob):
        jobs.show(job_id)
    jobs.submit(recipe("p.mp4"))
    assert jobs.sweep().deleted == 0
    with Jobs(dataclasses.replace(backend, keep_days=0.0)) as hasty:
        swept = hasty.sweep()
    assert swept.deleted == 1
    assert is_json(swept)


def test_a_photo_is_a_job_with_the_same_bytes(jobs, recipe, tmp_path, target_photo):
    report = {"report_path": tmp_path / "r.json", "fail_under": ("similarity_source=0.999",)}
    asked = recipe("far.png", target_path=target_photo, **report)
    job = jobs.submit(asked).job
    assert all(stage.frames == stage.parts == 1 for stage in job.stages.values())
    assert jobs.cancel(job.id).status == "cancelled"
    assert not (tmp_path / "far.png").exists()
    assert jobs.retry(job.id).status == "queued"
    told = []
    with pytest.raises(QualityTooLow):
        jobs.run(job.id, on_progress=told.append)
    done = jobs.show(job.id)
    assert (done.status, done.share, done.outcome.frames, done.outcome.changed) == ("done", 1.0, 1, 1)
    assert jobs.list().jobs[0].share == 1.0
    assert done.problem.code == "quality_too_low"
    assert (told[-1].done, told[-1].total) == (1, 1)
    far = (tmp_path / "r.json").read_text()
    with pytest.raises(QualityTooLow):
        run(recipe("near.png", target_path=target_photo, **report))
    assert content_of(tmp_path / "far.png") == content_of(tmp_path / "near.png")
    assert (tmp_path / "r.json").read_text() == far
    shown = jobs.picture(job.id)
    assert (shown.is_changed, shown.notes) == (True, ())
    np.testing.assert_array_equal(shown.pixels, read_photo(tmp_path / "far.png").pixels)


def test_a_photo_can_be_seen_before_its_job_is_run(jobs, recipe, tmp_path, target_photo):
    job_id = jobs.submit(recipe("o.png", target_path=target_photo)).job.id
    made = jobs.preview(job_id, 0.0, tmp_path / "p.png", is_beside=True)
    assert jobs.show(job_id).share == 0  # nothing of the job was done
    assert made.is_changed and made.is_beside and made.notes == ()
    jobs.run(job_id)
    before, after = read_photo(target_photo).pixels, read_photo(tmp_path / "o.png").pixels
    both, width = read_photo(tmp_path / "p.png").pixels, before.shape[1]
    np.testing.assert_array_equal(both[:, :width], before)
    np.testing.assert_array_equal(both[:, -width:], after)


def test_a_photo_without_a_face_fails_with_code_and_hint(jobs, recipe, tmp_path):
    Image.new("RGB", (256, 256)).save(tmp_path / "black.png")
    job_id = jobs.submit(recipe("o.png", target_path=tmp_path / "black.png")).job.id
    with pytest.raises(NoFaceInTarget, match=r"black\.png"):
        jobs.run(job_id)
    assert jobs.show(job_id).problem.code == NoFaceInTarget.code
    assert not (tmp_path / "o.png").exists()


def test_a_worker_that_cannot_make_the_report_leaves_the_job_to_others_before_the_first_frame(
    jobs, recipe, tmp_path, monkeypatch
):
    job_id = jobs.submit(recipe(report_path=tmp_path / "r.html")).job.id
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    worker = Worker(jobs.store, jobs.local.storage, is_one_of_many=True)
    worker.perform(job_id, "analyse", range(1))
    worker.close()
    assert worker.refused == {job_id}
    (item, *_) = jobs.store.items(job_id)
    assert (item.status, item.attempts) == ("queued", 0)
    assert "matplotlib" in item.error
    with pytest.raises(ExtraMissing, match=r"matplotlib.*facefusion-studio\[report\]"):
        jobs.run(job_id)  # here there is nobody else
    assert jobs.show(job_id).stages["analyse"].frames_done == 0


def test_a_job_that_is_damaged_in_the_store_is_said_to_be(jobs):
    job_id = "0123456789abcdef"
    jobs.store.create(job_id, {}, {"models": 5}, "", [10], stages=("merge",))
    with pytest.raises(StoreRefused, match="damaged"):
        jobs.show(job_id)
    assert jobs.list().jobs[0].output == ""


def test_drafts_are_values_and_damaged_ones_are_said(tmp_path):
    drafts = Drafts(tmp_path / "drafts")
    assert drafts.create("film").status == "drafted"
    step = {"target_path": tmp_path / "a.mp4", "output_path": tmp_path / "b.mp4"}
    assert len(drafts.edit("film", "add", "", step).steps) == 1
    remixed = drafts.edit("film", "remix", "0", {"output_path": tmp_path / "c.mp4"})
    assert remixed.steps[1]["target_path"] == str(tmp_path / "b.mp4")
    assert len(drafts.edit("film", "remove", "-1", {}).steps) == 1
    assert drafts.submit("film") == drafts.load("film")
    with pytest.raises(JobError, match="is queued, not drafted"):
        drafts.edit("film", "remove", "0", {})
    (tmp_path / "drafts" / "bad.json").write_text("{}")
    found, damaged = drafts.list()
    assert [draft.name for draft in found] == ["film"]
    assert "bad.json is damaged" in damaged[0].message
    assert is_json(found[0])
    drafts.delete("bad")
    with pytest.raises(UnknownJob):
        drafts.load("bad")
    with pytest.raises(RecipeError):
        drafts.create("../film")


def test_speed_and_time_left_come_from_what_is_being_done(tmp_path):
    now = [1000.0]
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}", clock=lambda: now[0])
    store.create("j", {}, {}, "", [10, 10, 10], "cpu")

    def speed():
        return round(store.progress("j")[0].frames_per_s, 3)

    assert speed() == 0.0
    assert store.progress("j")[0].time_left_s is None
    store.claim(("j", "analyse", 0), "a", 30)
    now[0] += 2
    store.beat(("j", "analyse", 0), "a", 30, 4)
    assert speed() == 2.0
    assert store.progress("j")[0].time_left_s == 13.0
    store.claim(("j", "analyse", 1), "b", 30)  # taken just now: as fast as the other
    assert speed() == 4.0
    now[0] += 2
    store.finish(("j", "analyse", 0), "a", "", {})
    store.fail(("j", "analyse", 1), "b", SegmentDamaged("it was damaged"))
    assert speed() == 0.0  # nobody is at it
    store.claim(("j", "analyse", 2), "a", 30)
    assert speed() == 2.5  # as fast as what was done last
    store.close()


def test_a_try_that_failed_leaves_no_progress_behind(tmp_path):
    store = JobStore(f"sqlite:///{tmp_path / 'jobs.db'}")
    store.create("j", {}, {}, "", [10], "cpu")
    store.claim(("j", "analyse", 0), "a", 30)
    store.beat(("j", "analyse", 0), "a", 30, 7)
    store.expire(("j", "analyse", 0), is_known_dead=True)
    store.claim(("j", "analyse", 0), "b", 30)
    assert store.progress("j")[0].frames_done == 0
    store.close()


OF_THE_FIRST = {"jobs", "items", "events", "alembic_version"}
"""Tables of the first version of the store."""


@pytest.mark.parametrize("version", ["0001", "0002"])
def test_a_store_of_a_version_before_is_taken_along(tmp_path, version):
    import sqlite3

    path = tmp_path / "jobs.db"
    store = JobStore(f"sqlite:///{path}")
    store.create("j", {}, {}, "", [10], "cpu")
    store.close()
    with sqlite3.connect(path) as old:
        told = old.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        tables = {name for (name,) in told}
        for name in tables - OF_THE_FIRST:
            old.execute(f"DROP TABLE {name}")
        if version == "0001":
            old.execute("DROP INDEX jobs_by_age")
            for name in ("claimed_at", "finished_at"):
                old.execute(f"ALTER TABLE items DROP COLUMN {name}")
        old.execute("UPDATE alembic_version SET version_num = ?", (version,))
    old.close()
    store = JobStore(f"sqlite:///{path}")
    assert store.items("j")[0].claimed_at == 0.0
    assert store.claim(("j", "analyse", 0), "a", 30) is not None
    store.close()
    with sqlite3.connect(path) as new:
        assert {name for (name,) in new.execute("SELECT name FROM sqlite_master WHERE type = 'table'")} >= tables
    new.close()


def test_a_batch_is_planned_then_worked_through_and_the_second_time_skipped(tmp_path, backend, target_photo):
    (tmp_path / "in").mkdir()
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / "in" / name).write_bytes(target_photo.read_bytes())
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no picture")
    recipe = build_recipe({})
    batch = plan_batch(
        recipe, str(sample_path("source.jpg")), str(tmp_path / "in" / "*.jpg"), str(tmp_path / "out-{target_name}.png")
    )
    assert [run.target.name for run in batch.runs] == ["bad.jpg", "one.jpg", "two.jpg"]
    assert is_json(batch)
    steps = list(work_through(batch, recipe, backend.folder / "finished", run))
    assert [(step.run.number, step.status) for step in steps] == [
        (0, "begun"), (0, "failed"), (1, "begun"), (1, "done"), (2, "begun"), (2, "done"),
    ]  # fmt: skip
    assert steps[1].as_dict()["problem"]["code"] == "media_unsupported"
    assert all(is_json(step) for step in steps)
    again = list(work_through(batch, recipe, backend.folder / "finished", run))
    assert [step.status for step in again] == ["begun", "failed", "skipped", "skipped"]


def test_a_batch_takes_photos_whole_where_a_part_of_its_clips_is_asked_for(tmp_path, backend, few_frames):
    (tmp_path / "in").mkdir()
    shutil.copy(sample_path("target.jpg"), tmp_path / "in" / "a.jpg")
    shutil.copy(few_frames, tmp_path / "in" / "b.mp4")
    for part in ({"start_s": 0.04, "end_s": 0.1}, {"trim_frame_start": 1, "trim_frame_end": 3}):
        recipe = build_recipe({"source_paths": [str(sample_path("source.jpg"))], **part})
        batch = plan_batch(recipe, "", str(tmp_path / "in"), str(tmp_path / f"out{len(str(part))}"))
        steps = [step for step in work_through(batch, recipe, backend.folder / "finished", run) if step.outcome]
        photo, clip = (step.outcome for step in steps)
        assert any("a.jpg is a photo and is taken whole" in note for note in photo.notes)
        assert not any("taken whole" in note for note in clip.notes)
        assert clip.frame_count == 2


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "gfpgan_1.4.onnx").write_bytes(inverting(512))
    return Models([str(folder)])


def test_models_are_listed_shown_verified_and_pinned_as_values(models, tmp_path):
    lines = {line.id: line for line in models.list()}
    assert lines["gfpgan_1.4"].place == "here"
    assert lines["face_detector_embedded"].place == "embedded"
    assert not lines["inswapper_128"].is_allowed
    assert {line.capability for line in models.list("face_swapper")} == {"face_swapper"}
    view = models.show("gfpgan_1.4")
    assert view.files[0].path == str(tmp_path / "models" / "gfpgan_1.4.onnx")
    assert is_json(view) and is_json(view.line)
    (found,) = models.verify(["gfpgan_1.4"])
    assert found.problem is None
    assert "nobody has said" in found.state
    (pinned,) = models.pin(["gfpgan_1.4"])
    assert (pinned.id, pinned.file) == ("gfpgan_1.4", "gfpgan_1.4.onnx")
    (tmp_path / "models" / "gfpgan_1.4.onnx").write_bytes(inverting(256))
    (found,) = models.verify(["gfpgan_1.4"])
    assert found.problem.code == "hash_mismatch"
    assert is_json(found) and is_json(pinned)
    with pytest.raises(UnknownModel):  # before any is looked at
        models.verify(["gfpgan_1.4", "nothing"])
    (fetched,) = models.fetch(["face_detector_embedded"])
    assert fetched.is_embedded


def test_models_are_carried_over_as_values(models, tmp_path, monkeypatch):
    made = models.export(tmp_path / "b.ffbundle", ["gfpgan_1.4"], tmp_path / "key.pem")
    assert made.public_key == models.public_key(tmp_path / "key.pem")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "other"))
    (taken,) = Models().take_in(tmp_path / "b.ffbundle", [made.public_key])
    assert (taken.id, taken.state) == ("gfpgan_1.4", "imported")
    assert is_json(made) and is_json(taken)


def test_models_are_timed_as_values(models):
    (timed,) = models.bench(["face_landmarker_embedded"])
    assert timed.fastest.provider == "cpu"
    assert timed.fastest.seconds > 0
    assert is_json(timed)


def test_an_encoder_that_does_not_start_here_is_not_said_to_work(models, monkeypatch):
    monkeypatch.setattr(encoders, "refusal_of", lambda name: "no such device" if name == "libx265" else "")
    health = examine(models)
    assert health.encoders["libx264"] and not health.encoders["libx265"]
    assert health.encoder_problems["libx265"] == "does not work on this machine: no such device"
    assert "libx265" not in find_capabilities(models).encoders


def test_the_doctor_and_the_capabilities_are_values(models):
    health = examine(models)
    assert health.is_well
    assert health.packages["numpy"]
    assert "cpu" in [provider.name for provider in health.providers if provider.runs_on]
    assert is_json(health)
    able = find_capabilities(models)
    processors = {processor.name: processor for processor in able.processors}
    assert processors["face_swapper"].inputs == ("face photo",)
    assert processors["face_anonymiser"].inputs == ()
    assert "mesh" in [model.name for model in processors["face_swapper"].models]
    assert "model" in processors["face_swapper"].schema["properties"]
    assert processors == {name: show_processor(name, models.store) for name in processors}  # one view, here and there
    assert "segment_s" in able.options["properties"]
    assert "cpu" in able.providers
    assert is_json(able)


def test_a_store_that_many_share_is_followed_by_all_of_them(jobs, backend, recipe):
    """Two rooms over one backend, as two workers of a server have them."""
    job_id = jobs.submit(recipe()).job.id
    with Jobs(backend) as other:
        assert other.show(job_id).status == "queued"
        other.cancel(job_id)
    wait_until(lambda: jobs.show(job_id).status == "cancelled")
