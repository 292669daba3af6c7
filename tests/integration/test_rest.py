"""The service over HTTP: assets in and out, jobs from the recipe to the output."""

from __future__ import annotations

import hashlib
import io
import logging
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from tests.live import InProcess, LiveServer, upload, wait_for_job
from tests.patience import wait_until

from facefusion.apps.cli import main
from facefusion.client import Client
from facefusion.errors import AccessRefused, NotThere
from facefusion.jobs.storage import hash_file
from facefusion.media.generate import write_test_clip
from facefusion.policy.provenance import sidecar_of
from facefusion.policy.verifying import verify
from facefusion.server.config import ServerConfig
from facefusion.server.hands import log_faults
from facefusion.service.backend import Backend
from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with LiveServer(tmp_path_factory.mktemp("live")) as made:
        yield made


@pytest.fixture(scope="module")
def anna(live):
    with live.client("anna") as client:
        yield client


def test_a_photo_is_swapped_and_the_output_is_an_asset(anna):
    source, target = upload(anna, "source.jpg"), upload(anna, "target.jpg")
    answer = anna.post("/v1/jobs", json={"recipe": {"target": target, "sources": [source]}, "label": "first"})
    assert answer.status_code == 202
    made = answer.json()
    assert (made["status"], made["label"], made["output"]) == ("queued", "first", None)
    assert answer.headers["location"] == f"/v1/jobs/{made['id']}"
    job = wait_for_job(anna, made["id"])
    output = job["output"]
    assert (output["kind"], output["role"], output["media_type"]) == ("photo", "output", "image/jpeg")
    content = anna.get(f"/v1/assets/{output['id']}")
    assert hashlib.sha256(content.content).hexdigest() == output["sha256"]
    assert content.headers["etag"] == f'"{output["sha256"]}"'
    said = anna.get(f"/v1/assets/{output['id']}/provenance").json()
    assert (said["state"], said["is_own"], said["is_beside"]) == ("valid", True, False), said
    assert said["models"] and said["actions"] == ["c2pa.opened", "c2pa.edited"]
    assert said["job"] == made["id"]
    assert anna.get(f"/v1/assets/{output['id']}/provenance/manifest").status_code == 404
    assert anna.get(f"/v1/assets/{target}/provenance").json()["state"] == "none"


def test_a_copy_without_its_manifest_is_known_by_its_mark_and_names_the_job_to_whom_it_is(anna, live, tmp_path):
    source, target = upload(anna, "source.jpg"), upload(anna, "target.jpg")
    made = anna.post("/v1/jobs", json={"recipe": {"target": target, "sources": [source]}}).json()
    output = wait_for_job(anna, made["id"])["output"]
    bare = tmp_path / "bare.jpg"
    with Image.open(io.BytesIO(anna.get(f"/v1/assets/{output['id']}").content)) as picture:
        small = picture.convert("RGB").resize((picture.width * 3 // 4, picture.height * 3 // 4))
        small.save(bare, quality=80)
    said = anna.get(f"/v1/assets/{upload(anna, bare)}/provenance").json()
    assert (said["state"], said["is_own"]) == ("marked-only", True)
    with live.client("dora") as dora:
        told = dora.get(f"/v1/assets/{upload(dora, bare)}/provenance").json()
    assert (told["state"], told["job"]) == ("marked-only", "")
    assert said["job"] == made["id"]
    assert anna.get("/v1/jobs/" + said["job"]).json()["output"]["id"] == output["id"]


def test_an_output_that_cannot_hold_its_manifest_has_it_beside(anna, live, tmp_path):
    source, target = upload(anna, "source.jpg"), upload(anna, "target.mp4")
    recipe = {"target": target, "sources": [source], "end_s": 0.2}
    made = anna.post("/v1/jobs", json={"recipe": recipe, "output": {"format": "mkv"}}).json()
    output = wait_for_job(anna, made["id"])["output"]
    said = anna.get(f"/v1/assets/{output['id']}/provenance").json()
    assert (said["state"], said["is_own"], said["is_beside"]) == ("valid", True, True), said
    manifest = anna.get(f"/v1/assets/{output['id']}/provenance/manifest")
    assert manifest.headers["content-type"] == "application/c2pa"
    path = tmp_path / "o.mkv"
    path.write_bytes(anna.get(f"/v1/assets/{output['id']}").content)
    assert verify(path).state == "none"
    sidecar_of(path).write_bytes(manifest.content)
    assert verify(path).state == "valid"


def test_shots_of_a_clip_are_found_also_where_it_is_read_in_pieces(anna, tmp_path):
    grey, ramp = np.full((96, 96, 3), 90, np.uint8), np.zeros((96, 96, 3), np.uint8)
    ramp[..., 0] = np.arange(96) * 2
    clip = tmp_path / "shots.mp4"
    # Twelve frames a second; the second piece of 8 s begins in the middle of the second shot, and none begins with it.
    write_test_clip(clip, [grey] * 60 + [ramp] * 48 + [grey] * 24, [k * 1024 for k in range(132)], Fraction(1, 12288))
    asset = upload(anna, clip)
    found = {}

    def is_known():
        answer = anna.get(f"/v1/assets/{asset}/shots")
        assert answer.status_code in (200, 202), answer.text
        found.update(answer.json())
        return answer.status_code == 200

    wait_until(is_known)
    assert found == {"state": "known", "shots": [0.0, 5.0, 9.0], "is_whole": True, "error": None}
    photo = anna.get(f"/v1/assets/{upload(anna, 'target.jpg')}/shots")
    assert (photo.status_code, photo.json()["shots"]) == (200, [0.0])


def test_people_are_found_and_one_of_them_is_mapped(anna, live):
    source, target = upload(anna, "source.jpg"), upload(anna, "target.mp4")
    found = {}

    def is_known():
        answer = anna.get(f"/v1/assets/{target}/faces")
        assert answer.status_code in (200, 202), answer.text
        found.update(answer.json())
        return answer.status_code == 200

    wait_until(is_known)
    assert found["state"] == "known"
    (person,) = found["people"]
    left, top, right, bottom = person["box"]
    assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    assert person["frames"] > 10 and person["first_s"] < person["last_s"] < 4
    stretches = person["seen"]
    assert stretches[0][0] == 0 and stretches[-1][1] == pytest.approx(4, abs=0.1)
    assert all(start < stop and 0 <= well <= 1 for start, stop, well in stretches)
    assert all(before[1] <= after[0] for before, after in pairwise(stretches))
    picture = anna.get(person["picture"])
    assert picture.headers["content-type"] == "image/webp"
    recipe = {"target": target, "people": [{"face": person["face"], "sources": [source]}], "end_s": 0.2}
    answer = anna.post("/v1/jobs", json={"recipe": recipe})
    assert answer.status_code == 202, answer.text
    job = wait_for_job(anna, answer.json()["id"])
    assert job["output"]["media_type"] == "video/mp4"
    nobody = recipe | {"people": [{"face": "7", "sources": [source]}]}
    refused = anna.post("/v1/jobs", json={"recipe": nobody})
    assert (refused.status_code, refused.json()["code"]) == (422, "recipe")


def test_a_preview_is_one_frame_of_the_recipe_and_shows_before_and_after(anna):
    source, target = upload(anna, "source.jpg"), upload(anna, "target.mp4")
    recipe = {"target": target, "sources": [source]}
    pictures = {}
    for show in ("before", "after", "both"):
        answer = anna.post("/v1/previews", json={"recipe": recipe, "at_s": 1.0, "show": show, "size": 256})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "image/webp"
        assert float(answer.headers["facefusion-time"]) == pytest.approx(1.0)
        pictures[show] = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
    assert pictures["before"].shape == pictures["after"].shape == (256, 256, 3)
    assert pictures["both"].shape[1] == 512  # with a gap between them
    assert np.abs(pictures["before"].astype(int) - pictures["after"]).mean() > 0.5
    jpeg = anna.post("/v1/previews", json={"recipe": recipe}, headers={"Accept": "image/jpeg"})
    assert jpeg.headers["content-type"] == "image/jpeg"
    late = anna.post("/v1/previews", json={"recipe": recipe, "at_s": 99})
    assert (late.status_code, late.json()["code"]) == (422, "recipe")


def test_the_client_sends_follows_and_fetches(live, tmp_path):
    seen, sent = [], []
    with Client(live.url, live.key("ben")) as service:
        source = service.upload(sample_path("source.jpg"), on_bytes=lambda *told: sent.append(told))
        target = service.upload(sample_path("target.mp4"))
        job = service.create_job({"target": target.id, "sources": [source.id], "end_s": 0.2}, label="mine")
        done = service.wait(job.id, seen.append)
        assert (done.status, done.label, done.error) == ("done", "mine", None)
        path = service.download(done.output, tmp_path / "o.mp4")
        assert hash_file(path) == done.output.sha256
        assert [one.id for one in service.jobs()] == [job.id]
        assert {one.id for one in service.assets(role="upload")} == {source.id, target.id}
        service.delete_job(job.id)
        with pytest.raises(NotThere):
            service.job(job.id)
        assert [one.role for one in service.assets()] == ["upload", "upload"]
    assert sent[-1] == ("source.jpg", 41009, 41009)
    assert {"analyse", "render"} <= {one.stage for one in seen}
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_command_line_is_done_by_a_service(live, tmp_path, target_photo, source_photo, capfd):
    output = tmp_path / "o.png"
    words = ["run", "-s", str(source_photo), "-t", str(target_photo), "-o", str(output), "--json"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--server", live.url, "--key", live.key("carl")])
    told = capfd.readouterr()
    assert end.value.code == 0, told
    here = tmp_path / "here.png"
    words[6] = str(here)
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    assert content_of(output) == content_of(here), "the same bytes, wherever it was done"


def test_what_can_be_asked_for_is_what_may_be_asked_for(anna):
    """Options, defaults and models of the capabilities make a job that is taken."""
    told = anna.get("/v1/capabilities").json()
    names = {one["name"]: one for one in told["processors"]}
    assert {"face_swapper", "face_anonymiser", "face_enhancer", "deep_swapper"} <= set(names)
    assert [name for name, one in names.items() if one["is_default"]] == ["face_swapper"]
    target = upload(anna, "target.jpg")
    for name, one in names.items():
        options = {key: value["default"] for key, value in one["options"]["properties"].items() if "default" in value}
        assert options and all(value["description"] for value in one["options"]["properties"].values())
        step = {"processor": name, "options": options}
        answer = anna.post("/v1/jobs", json={"recipe": {"target": target, "sources": [target], "steps": [step]}})
        line = next((model for model in one["models"] if model["name"] == options.get("model")), None)
        if line is not None and not (line["is_allowed"] and line["place"] != "not here"):
            assert answer.json()["code"] in ("model_missing", "licence_refused"), answer.text
            continue
        if options.get("model") == "":  # there is no model that everybody would want
            assert (answer.json()["code"], bool(answer.json()["hint"])) == ("unknown_model", True), answer.text
            continue
        assert answer.status_code == 202, answer.text
        anna.delete(f"/v1/jobs/{answer.json()['id']}")
    mesh = next(model for model in names["face_swapper"]["models"] if model["name"] == "mesh")
    assert mesh["is_allowed"] and mesh["place"] == "built in"
    defaults = {
        key: value["default"]
        for key, value in told["options"]["properties"].items()
        if value.get("default") is not None
    }
    assert len(defaults) > 25
    assert (
        anna.post("/v1/jobs", json={"recipe": {"target": target, "sources": [target], **defaults}}).status_code == 202
    )
    assert "cpu" in told["providers"] and told["limits"]["upload_bytes"] > 0
    models = anna.get("/v1/models").json()["models"]
    assert {"embedded", "missing"} <= {model["state"] for model in models}
    assert anna.get(f"/v1/models/{models[0]['id']}").json() == models[0]
    assert anna.get("/v1/models/nothing").status_code == 404


@pytest.mark.parametrize("key", ["x\xe9y", "x\ny", "\ud800", "x\0"])
def test_a_key_that_no_header_can_carry_is_refused_by_the_client(key):
    with pytest.raises(AccessRefused, match="no key"):
        Client("http://127.0.0.1:1", key=key)


def test_what_nobody_expected_is_noted_once_with_the_id_that_the_client_is_told(tmp_path, capfd, monkeypatch):
    log = logging.getLogger("facefusion.server")
    monkeypatch.setattr(log, "handlers", [])
    log_faults()
    log_faults()  # as every process of a service does, and a service that is made twice
    with InProcess(ServerConfig(Backend(tmp_path / "jobs"))) as made, made.client("anna") as client:
        monkeypatch.setattr(made.service.ledger, "list_orders", lambda *_, **__: 1 / 0)
        told = client.get("/v1/jobs")
    assert told.status_code == 500 and told.json()["code"] == "fault"
    assert "division" not in told.text
    noted = capfd.readouterr().err
    assert "ZeroDivisionError" in noted
    assert noted.count(told.json()["request_id"]) == 1
