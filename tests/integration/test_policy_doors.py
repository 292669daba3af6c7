"""No door and no plan leads past the policy of a site: the packaged people are those who agreed, or who did not."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.graphs import channel_means
from tests.live import InProcess, upload, wait_for_job

import facefusion
from facefusion.apps import cli
from facefusion.errors import (
    ConsentMissing,
    ContentRefused,
    NoFaceInSource,
    PersonBlocked,
    PolicyUnready,
    RecipeError,
)
from facefusion.jobs import once
from facefusion.jobs.local import LocalJobs
from facefusion.jobs.work import Worker
from facefusion.media.image import Photo, read_photo, write_photo
from facefusion.models.store import UnknownHashWarning
from facefusion.pipeline.live import Live
from facefusion.pipeline.runner import analyse_target
from facefusion.policy.consent import Ledger
from facefusion.policy.site import SitePolicy
from facefusion.policy.verdict import Verdict
from facefusion.recipe import build_recipe
from facefusion.server.config import ServerConfig
from facefusion.service import consent
from facefusion.service.backend import Backend
from facefusion.service.jobs import Jobs
from facefusion.service.previews import Previews
from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of

SOURCE, PHOTO, CLIP = (sample_path(name) for name in ("source.jpg", "target.jpg", "target.mp4"))


@pytest.fixture
def site(tmp_path):
    """A site that requires consents, with an empty place for the ledger."""
    return SitePolicy(consent_mode="require", ledger=tmp_path / "policy" / "consents.toml")


@pytest.fixture
def agreed(site):
    """The same, where both people of the samples have agreed: one to be a source, the other to be changed."""
    consent.add_consent(site, "the-source", [SOURCE], uses=("source",))
    consent.add_consent(site, "the-target", [PHOTO], uses=("target",))
    return site


@pytest.fixture
def recipe(tmp_path):
    def make(**options):
        asked = {"source_paths": [SOURCE], "target_path": PHOTO, "output_path": tmp_path / "o.png"}
        return build_recipe({**asked, **options})

    return make


def call(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return int(stop.value.code or 0)


# Who has to agree to what


def test_both_people_of_a_swap_have_to_agree(site, recipe, tmp_path):
    with pytest.raises(PolicyUnready, match="no ledger"):
        once.run(recipe(), policy=site)
    consent.add_consent(site, "the-target", [PHOTO])
    with pytest.raises(ConsentMissing, match=r"The source .*source\.jpg"):
        once.run(recipe(), policy=site)
    consent.revoke_consent(site, "the-target")
    consent.add_consent(site, "the-source", [SOURCE])
    with pytest.raises(ConsentMissing, match="Person 0 of the target"):
        once.run(recipe(), policy=site)
    assert not (tmp_path / "o.png").exists()
    once.run(recipe(), policy=replace(site, consent_of="sources"))
    assert (tmp_path / "o.png").exists()


def test_where_everybody_has_agreed_the_output_is_the_same_to_the_byte_as_without_a_policy(agreed, recipe, tmp_path):
    once.run(recipe(output_path=tmp_path / "with.png"), policy=agreed)
    once.run(recipe(output_path=tmp_path / "without.png"))
    assert content_of(tmp_path / "with.png") == content_of(tmp_path / "without.png")


def test_whoever_hides_people_needs_nobodys_consent(site, recipe, tmp_path):
    consent.add_consent(site, "somebody-else", [SOURCE])
    once.run(recipe(processors=["face_anonymiser"], source_paths=[]), policy=site)
    assert (tmp_path / "o.png").exists()


def test_a_consent_for_one_processor_is_none_for_another(site, recipe):
    consent.add_consent(site, "the-source", [SOURCE], processors=("face_enhancer",))
    with pytest.raises(ConsentMissing):
        once.run(recipe(), policy=site)


def test_another_photo_of_who_agreed_is_covered_and_one_of_a_stranger_beside_it_is_not(agreed, recipe, tmp_path):
    pixels = read_photo(SOURCE).pixels
    other = tmp_path / "mirrored and darker.png"
    write_photo(other, Photo(np.ascontiguousarray((pixels[:, ::-1] * 0.8).astype(np.uint8)), None, None, None))
    once.run(recipe(source_paths=[SOURCE, other]), policy=agreed)
    with pytest.raises(ConsentMissing, match=r"target\.jpg"):
        once.run(recipe(source_paths=[SOURCE, PHOTO]), policy=agreed)


def test_a_photo_without_a_face_is_no_proof(site, tmp_path):
    write_photo(tmp_path / "grey.png", Photo(np.full((200, 200, 3), 128, np.uint8), None, None, None))
    with pytest.raises(NoFaceInSource):
        consent.add_consent(site, "anna", [tmp_path / "grey.png"])
    assert site.ledger is not None and not site.ledger.exists()


def test_photos_are_told_whom_they_show(agreed, tmp_path):
    listed = replace(agreed, blocklist=tmp_path / "b.json")
    consent.block(listed, [PHOTO])
    one, other = consent.check_photos(listed, [SOURCE, PHOTO])
    assert ([c.ref for c in one.consents], one.is_blocked) == (["the-source"], False)
    assert ([c.ref for c in other.consents], other.is_blocked) == (["the-target"], True)


# What is stored


def test_the_verdict_is_stored_with_the_job_and_holds_no_path_and_no_person(agreed, recipe, tmp_path):
    with Jobs(Backend(tmp_path / "jobs", policy=agreed)) as jobs:
        job = jobs.submit(recipe(consent=["the-source", "the-target"])).job
        assert (job.policy["consent"]["sources_covered"], job.policy["consent"]["targets"]) == (1, 0)
        jobs.run(job.id)
        told = jobs.show(job.id).policy
    assert told["consent"] == {
        "mode": "require", "asked": ["the-source", "the-target"], "used": ["the-source", "the-target"],
        "sources": 1, "sources_covered": 1, "targets": 1, "targets_covered": 1, "is_covered": True,
    }  # fmt: skip
    assert str(tmp_path) not in json.dumps(told)


def test_record_refuses_nobody_and_notes_who_has_not_agreed(site, recipe, tmp_path):
    recording = replace(site, consent_mode="record")  # and its ledger is not even there
    with Jobs(Backend(tmp_path / "jobs", policy=recording)) as jobs:
        job_id = jobs.submit(recipe()).job.id
        jobs.run(job_id)
        told = jobs.show(job_id).policy
    assert (tmp_path / "o.png").exists()
    assert not told["consent"]["is_covered"]
    assert "Source 1 is not covered by a consent." in told["notes"]
    assert "Person 0 of the target is not covered by a consent." in told["notes"]


def test_without_a_policy_a_reference_is_kept_and_nothing_is_looked_at(recipe, tmp_path):
    with Jobs(Backend(tmp_path / "jobs")) as jobs:
        job_id = jobs.submit(recipe(consent=["paper-17"])).job.id
        jobs.run(job_id)
        assert jobs.show(job_id).policy["consent"]["asked"] == ["paper-17"]


# The blocklist


@pytest.mark.parametrize(("photo", "who"), [(SOURCE, "The source"), (PHOTO, "Person 0 of the target")])
def test_somebody_on_the_blocklist_is_neither_a_source_nor_a_target(recipe, tmp_path, photo, who):
    site = SitePolicy(blocklist=tmp_path / "b.json")
    once.run(recipe(), policy=site)  # there is no list yet
    (tmp_path / "o.png").unlink()
    entry = consent.block(site, [photo])
    with pytest.raises(PersonBlocked, match=who):
        once.run(recipe(), policy=site)
    assert not (tmp_path / "o.png").exists()
    consent.unblock(site, [entry.id])
    once.run(recipe(), policy=site)


@pytest.fixture
def both(tmp_path):
    """A photo of both people of the samples side by side, the target's the larger."""
    left, right = read_photo(PHOTO).pixels, read_photo(SOURCE).pixels
    wide = np.full((max(len(left), len(right)), left.shape[1] + right.shape[1], 3), 127, np.uint8)
    wide[: len(left), : left.shape[1]], wide[: len(right), left.shape[1] :] = left, right
    path = tmp_path / "both.png"
    write_photo(path, Photo(wide))
    return path


def test_everybody_in_a_photo_that_is_put_on_the_blocklist_is_blocked(recipe, tmp_path, both, capsys):
    site = SitePolicy(blocklist=tmp_path / "b.json")
    assert consent.block(site, [both]).faces == 2
    for photo in (SOURCE, PHOTO):
        with pytest.raises(PersonBlocked, match="The source"):
            once.run(recipe(source_paths=[photo]), policy=site)
    assert call("blocklist", "add", both, "--blocklist-path", tmp_path / "other.json") == 0
    said = capsys.readouterr()
    assert "2 faces" in said.out and "everybody in them is blocked" in said.out + said.err


@pytest.mark.parametrize("blocked", [SOURCE, PHOTO])
def test_a_check_of_a_photo_looks_at_every_face_as_a_run_does(recipe, site, both, tmp_path, capsys, blocked):
    site = replace(site, consent_mode="off", blocklist=tmp_path / "b.json")
    consent.block(site, [blocked])
    with pytest.raises(PersonBlocked):
        once.run(recipe(source_paths=[both]), policy=site)
    (checked,) = consent.check_photos(site, [both])
    assert checked.is_blocked
    assert sorted(face.is_blocked for face in checked.faces) == [False, True]
    where = ("--consent-ledger", site.ledger, "--blocklist-path", site.blocklist)
    assert call("consent", "check", both, *where) == 0
    assert "2 faces, somebody on the blocklist" in capsys.readouterr().out


def test_a_photo_of_several_people_is_nobodys_consent(recipe, site, both):
    with pytest.raises(RecipeError, match="shows 2 faces"):
        consent.add_consent(site, "one-of-them", [both])
    assert not site.ledger.exists()
    Ledger(site.ledger).add("by-hand", [both])
    assert consent.show_consent(site, "by-hand").photos_usable == 0
    with pytest.raises(ConsentMissing):
        once.run(recipe(), policy=site)


def test_a_blocklist_that_was_named_and_is_gone_stops_the_work(recipe, tmp_path):
    with pytest.raises(PolicyUnready, match="missing"):
        once.run(recipe(), policy=SitePolicy(blocklist=tmp_path / "b.json", is_blocklist_named=True))


def test_saved_tracks_that_lie_about_who_somebody_is_help_nobody(recipe, tmp_path):
    """The identity in tracks is not read; who is changed is looked at where they are changed."""
    site = SitePolicy(blocklist=tmp_path / "b.json")
    consent.block(site, [PHOTO])
    tracks = analyse_target(build_recipe({"target_path": PHOTO}))
    someone_else = np.zeros_like(tracks.tracks[0].identity)
    someone_else[0] = 1
    forged = replace(tracks, tracks=tuple(replace(track, identity=someone_else) for track in tracks.tracks))
    with pytest.raises(PersonBlocked):
        once.render_target(recipe(), forged, policy=site)
    assert not (tmp_path / "o.png").exists()


# Workers trust no plan


def test_a_worker_asks_its_own_policy_whatever_the_plan_and_the_tracks_of_a_job_say(recipe, site, tmp_path):
    """A job made where nothing is required, with a plan and an analysis that claim that everybody has agreed."""
    consent.add_consent(site, "the-source", [SOURCE])
    jobs = LocalJobs.open(tmp_path / "jobs")
    job = jobs.create(recipe())
    claimed = Verdict("require", used=("forged",), sources=1, sources_covered=1, targets=1, targets_covered=1)
    lenient = Worker(jobs.store, jobs.storage)
    for stage in ("analyse", "join"):
        lenient.perform(job.id, stage, range(1))
    lenient.close()
    _forge(jobs, job.id, claimed)
    assert jobs.store.get(job.id).plan.verdict == claimed
    strict = Worker(jobs.store, jobs.storage, policy=site)
    strict.perform(job.id, "render", range(1))
    strict.close()
    stored = jobs.store.get(job.id)
    assert stored.status == "failed"
    assert stored.failure is not None and stored.failure.code == "consent_missing"
    assert "Person 0" in stored.failure.message
    assert not (tmp_path / "o.png").exists()
    with pytest.raises(ConsentMissing):
        LocalJobs.open(tmp_path / "jobs", policy=site).run(job.id, workers=1)
    # When it is mended the same job goes on, and what is stored with it is what this worker has seen.
    consent.add_consent(site, "the-target", [PHOTO])
    LocalJobs.open(tmp_path / "jobs", policy=site).run(job.id, workers=1)
    merged = jobs.store.merged(job.id)
    assert merged is not None and merged.verdict.used == ("the-source", "the-target")
    jobs.store.close()


def _forge(jobs, job_id, claimed):
    """Write a plan and an outcome of the analysis into the store as somebody would who can."""
    import sqlite3

    with sqlite3.connect(jobs.folder / "jobs.db") as connection:
        tables = [row[0] for row in connection.execute("select name from sqlite_master where type='table'")]
        for table in tables:
            columns = [row[1] for row in connection.execute(f"pragma table_info({table})")]
            if "plan" in columns:
                (text,) = connection.execute(f"select plan from {table} where id = ?", [job_id]).fetchone()
                plan = {**json.loads(text), "policy": claimed.as_dict()}
                connection.execute(f"update {table} set plan = ? where id = ?", [json.dumps(plan), job_id])
            if "outcome" in columns and "stage" in columns:
                rows = connection.execute(f"select outcome from {table} where job_id = ? and stage = 'join'", [job_id])
                outcome = {**json.loads(rows.fetchone()[0]), "policy": claimed.as_dict()}
                connection.execute(
                    f"update {table} set outcome = ? where job_id = ? and stage = 'join'", [json.dumps(outcome), job_id]
                )
    connection.close()


def test_a_worker_refuses_a_source_before_it_looks_at_the_target(recipe, site, tmp_path):
    consent.add_consent(site, "the-target", [PHOTO])
    jobs = LocalJobs.open(tmp_path / "jobs")
    job = jobs.create(recipe())
    worker = Worker(jobs.store, jobs.storage, policy=site)
    worker.perform(job.id, "analyse", range(1))
    worker.close()
    assert jobs.store.get(job.id).failure.code == "consent_missing"
    jobs.store.close()


def test_a_worker_whose_ledger_is_missing_leaves_the_work_to_others(recipe, site, tmp_path):
    jobs = LocalJobs.open(tmp_path / "jobs")
    job = jobs.create(recipe())
    worker = Worker(jobs.store, jobs.storage, is_one_of_many=True, policy=site)
    worker.perform(job.id, "analyse", range(1))
    worker.close()
    assert worker.refused == {job.id}
    assert jobs.store.items(job.id)[0].status == "queued"
    jobs.store.close()


def test_processes_of_a_pool_ask_too(agreed, recipe, tmp_path):
    with Jobs(Backend(tmp_path / "jobs", worker_count=2)) as jobs:  # made where nothing is required
        job_id = jobs.submit(recipe(target_path=CLIP, output_path=tmp_path / "o.mp4", end_s=0.4)).job.id
    consent.revoke_consent(agreed, "the-source")
    with Jobs(Backend(tmp_path / "jobs", worker_count=2, policy=agreed)) as jobs, pytest.raises(ConsentMissing):
        jobs.run(job_id)
    assert not (tmp_path / "o.mp4").exists()


# The doors


@pytest.fixture
def door(tmp_path, monkeypatch, site):
    """A machine whose environment requires consents; the ledger has somebody else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("FACEFUSION_CONSENT_MODE", "require")
    monkeypatch.setenv("FACEFUSION_CONSENT_LEDGER", str(site.ledger))
    consent.add_consent(site, "the-target", [PHOTO])
    return site


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--consent-mode", "off"),
        ("--consent-of", "sources"),
        ("--consent-ledger", "mine.toml"),
        ("--consent", "the-target"),
    ],
)
def test_the_command_line_cannot_weaken_what_the_site_requires(door, tmp_path, capsys, words):
    consent.add_consent(replace(door, ledger=tmp_path / "mine.toml"), "mine", [SOURCE])
    assert call("run", "-s", SOURCE, "-t", PHOTO, "-o", "o.png", "--json", *words) == 10
    error = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (error["event"], error["code"]) == ("error", "consent_missing")
    assert error["hint"]
    assert not Path("o.png").exists()


def test_a_configuration_file_cannot_weaken_it_either(door, tmp_path, capsys):
    for name in ("facefusion.toml", "named.toml"):
        Path(name).write_text('consent_mode = "off"\nconsent_of = "sources"\ncontent_mode = "off"\n')
    assert call("run", "-s", SOURCE, "-t", PHOTO, "-o", "o.png", "--config-path", "named.toml", "--quiet") == 10
    assert call("preview", "-s", SOURCE, "-t", PHOTO, "-o", "p.png", "--quiet") == 10
    assert call("batch-run", "-s", SOURCE, "-t", PHOTO, "-o", "b-{index}.png", "--quiet") == 10
    assert not list(tmp_path.glob("*.png"))
    capsys.readouterr()


def test_the_library_cannot_weaken_it_either(door, tmp_path):
    asked = {"source_paths": [SOURCE], "target_path": PHOTO, "output_path": tmp_path / "o.png"}
    with pytest.raises(ConsentMissing):
        facefusion.run(build_recipe(asked))
    facefusion.set_options(asked)
    with pytest.raises(ConsentMissing):
        facefusion.process_image()
    with pytest.raises(ConsentMissing):
        facefusion.render_target(build_recipe(asked), analyse_target(build_recipe({"target_path": PHOTO})))
    with pytest.raises(ConsentMissing):
        facefusion.Live(build_recipe({"source_paths": [SOURCE]}))
    with pytest.raises(facefusion.FaceFusionError):
        build_recipe({**asked, "consent_mode": "off"})  # it is no option of a request
    assert not (tmp_path / "o.png").exists()
    consent.add_consent(door, "the-source", [SOURCE])
    facefusion.run(build_recipe({**asked, "consent": ["the-source", "the-target"]}))
    assert (tmp_path / "o.png").exists()


def test_the_ledger_is_kept_from_the_command_line(door, tmp_path, capsys):
    assert call("consent", "add", "the-source", SOURCE, "--until", "2999-12-31", "--uses", "source") == 0
    assert call("run", "-s", SOURCE, "-t", PHOTO, "-o", "o.png", "--quiet") == 0
    assert call("verify", "o.png") == 0
    assert "consent require, everybody covered (by the-source" in capsys.readouterr().out
    assert call("consent", "revoke", "the-source") == 0
    Path("o.png").unlink()
    assert call("run", "-s", SOURCE, "-t", PHOTO, "-o", "o.png", "--quiet") == 10
    assert call("consent", "add", "x", SOURCE, "--until", "tomorrow") == 2
    assert "2026-01-31" in capsys.readouterr().err
    assert call("doctor") == 0
    assert "require" in capsys.readouterr().out


def test_over_http_a_refusal_is_a_problem_and_a_job_that_failed_and_no_body_weakens_it(agreed, tmp_path):
    consent.revoke_consent(agreed, "the-source")
    config = ServerConfig(Backend(tmp_path / "jobs", policy=agreed), {"execution_thread_count": 1})
    with InProcess(config, is_working=True) as live, live.client("ada") as client:
        source, target = upload(client, "source.jpg"), upload(client, "target.jpg")
        asked = {"target": target, "sources": [source], "consent": ["the-target"]}
        told = client.get("/v1/capabilities").json()["policy"]
        assert told == {"consent": "require", "consent_of": "everyone", "blocklist": False, "content": "off"}
        answer = client.post("/v1/previews", json={"recipe": asked})
        assert (answer.status_code, answer.json()["code"]) == (403, "consent_missing")
        assert str(tmp_path) not in answer.text and "--" not in answer.json()["hint"]
        for weaker in ({"consent_mode": "off"}, {"policy": {}}):
            assert client.post("/v1/jobs", json={"recipe": {**asked, **weaker}}).status_code == 422
        job = client.post("/v1/jobs", json={"recipe": asked}).json()
        failed = wait_for_job(client, job["id"], "failed")
        assert failed["error"]["code"] == "consent_missing"
        assert str(tmp_path) not in json.dumps(failed)
        assert failed["policy"] is None, "nothing of it was planned"
        consent.add_consent(agreed, "of-bens", [SOURCE], tenants=("ben",))
        assert client.post("/v1/previews", json={"recipe": {**asked, "consent": []}}).status_code == 403
        consent.add_consent(agreed, "of-adas", [SOURCE], tenants=("ada",))
        assert client.post("/v1/previews", json={"recipe": {**asked, "consent": []}}).status_code == 200
        job = client.post("/v1/jobs", json={"recipe": {**asked, "consent": ["of-adas", "the-target"]}}).json()
        told = wait_for_job(client, job["id"])["policy"]
        people = {"sources": 1, "sources_covered": 1, "targets": 1, "targets_covered": 1, "is_covered": True}
        refs = {"asked": ["of-adas", "the-target"], "used": ["of-adas", "the-target"]}
        assert told["consent"] == {"mode": "require", **refs, **people}
        assert (told["blocklist"], told["content"]["found"]) == ({"is_checked": False}, "unchecked")
        # Who is in the target is found out in the middle: what was known before is still told when that fails.
        job = client.post("/v1/jobs", json={"recipe": {**asked, "consent": ["of-adas"]}}).json()
        failed = wait_for_job(client, job["id"], "failed")
        assert failed["error"]["code"] == "consent_missing"
        assert (failed["policy"]["consent"]["sources_covered"], failed["policy"]["consent"]["targets"]) == (1, 0)
        assert client.post(f"/v1/jobs/{job['id']}/retry").json()["policy"] == failed["policy"]
        wait_for_job(client, job["id"], "failed")
        # Which references others have is not told by how one is refused.
        refused = [
            client.post("/v1/previews", json={"recipe": {**asked, "consent": [ref]}}).json()["detail"]
            for ref in ("of-bens", "of-nobody")
        ]
        assert refused[0].replace("of-bens", "of-nobody") == refused[1]


def test_previews_and_live_pictures_show_nobody_who_has_not_agreed(agreed, recipe, tmp_path):
    frame = next(iter(facefusion_frames()))
    assert Previews(policy=agreed).of_recipe(recipe()).is_changed
    consent.revoke_consent(agreed, "the-target")
    with pytest.raises(ConsentMissing, match="Person 0"):
        Previews(policy=agreed).of_recipe(recipe())
    with Jobs(Backend(tmp_path / "jobs")) as jobs:
        job_id = jobs.submit(recipe()).job.id
    with Jobs(Backend(tmp_path / "jobs", policy=agreed)) as jobs, pytest.raises(ConsentMissing):
        jobs.picture(job_id)
    with Live(build_recipe({"source_paths": [SOURCE]}), agreed) as live:
        rendered = live.render(frame)
        assert rendered is not None and not rendered.is_changed  # as long as nobody knows them
        with pytest.raises(ConsentMissing):
            for number in range(1, 40):
                live.render(replace(frame, pts=frame.pts + number))


def facefusion_frames():
    from facefusion.media.reader import ClipReader

    return ClipReader(CLIP, end_s=0.1)


# Content


@pytest.fixture
def looking(tmp_path):
    """A site whose only content model says how much redder a picture is than green, from -1 to 1; 0.25 is too much."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "nsfw_2.onnx").write_bytes(channel_means(384, 2))
    return SitePolicy(content_mode="require", models_paths=(str(folder),))


def painted(path, colour):
    """The packaged target in the corner of a picture of one colour that is three times as large."""
    face = read_photo(PHOTO).pixels
    height, width = face.shape[:2]
    pixels = np.empty((3 * height, 3 * width, 3), np.uint8)
    pixels[:] = colour
    pixels[:height, :width] = face
    write_photo(path, Photo(pixels, None, None, None))
    return path


@pytest.mark.filterwarnings("ignore::facefusion.models.store.UnknownHashWarning")
def test_content_is_looked_at_before_anything_is_rendered(looking, recipe, tmp_path):
    red = painted(tmp_path / "red.png", (255, 0, 0))
    with pytest.raises(ContentRefused):
        once.run(recipe(target_path=red), policy=looking)
    with pytest.raises(ContentRefused):
        Previews(policy=looking).of_recipe(recipe(target_path=red))
    assert not (tmp_path / "o.png").exists()
    with Jobs(Backend(tmp_path / "jobs", policy=looking)) as jobs:
        job_id = jobs.submit(recipe(target_path=CLIP, output_path=tmp_path / "o.mp4", end_s=0.4)).job.id
        jobs.run(job_id)
        told = jobs.show(job_id).policy["content"]
    assert (told["mode"], told["found"], told["models"]) == ("require", "clear", ["nsfw_2@1 (Apache-2.0)"])
    assert told["frames"] >= 8


@pytest.mark.filterwarnings("ignore::facefusion.models.store.UnknownHashWarning")
def test_a_worker_looks_at_the_content_itself(looking, recipe, tmp_path):
    red = painted(tmp_path / "red.png", (255, 0, 0))
    jobs = LocalJobs.open(tmp_path / "jobs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownHashWarning)
        job = jobs.create(recipe(target_path=red, processors=["face_anonymiser"], source_paths=[]))
        worker = Worker(jobs.store, jobs.storage, policy=looking)
        for stage in ("analyse", "join", "render"):
            worker.perform(job.id, stage, range(1))
        worker.close()
    assert jobs.store.get(job.id).failure.code == "content_refused"
    assert jobs.store.get(job.id).status == "failed"
    jobs.store.close()


@pytest.mark.parametrize("models", [(), ("nsfw_2",)])
def test_a_required_check_without_a_model_refuses_and_a_recorded_one_says_so(recipe, tmp_path, models):
    site = SitePolicy(content_mode="require", content_models=models)
    with pytest.raises(PolicyUnready):
        once.run(recipe(), policy=site)
    assert not (tmp_path / "o.png").exists()
    with Jobs(Backend(tmp_path / "jobs", policy=replace(site, content_mode="record"))) as jobs:
        job_id = jobs.submit(recipe()).job.id
        jobs.run(job_id)
        told = jobs.show(job_id).policy
    assert told["content"]["found"] == "unchecked"
    assert any("not checked" in note for note in told["notes"])


def test_models_and_licences_of_a_request_do_not_count_for_the_check(recipe, tmp_path, looking):
    site = SitePolicy(content_mode="require")
    with pytest.raises(PolicyUnready):
        once.run(recipe(models_paths=looking.models_paths, licences="any"), policy=site)
