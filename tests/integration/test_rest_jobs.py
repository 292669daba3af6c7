"""Jobs over HTTP: what may be asked for, what happens to a job, what is told of it, and that it survives."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import signal
import ssl
import threading
import time

import httpx
import psutil
import pytest
import sqlalchemy as sa
from tests.live import InProcess, LiveServer, upload, wait_for_job
from tests.patience import wait_until

from facefusion.client import Client
from facefusion.declaration import Options, option
from facefusion.errors import RecipeError
from facefusion.imaging.resample import resize_pixels
from facefusion.jobs.ledger import Delivery, Ledger
from facefusion.media.image import Photo, read_photo, write_photo
from facefusion.recipe import Execution, Recipe, Request
from facefusion.server import webhooks
from facefusion.server.config import ServerConfig
from facefusion.server.events import Hub
from facefusion.server.intake import key_folder
from facefusion.server.life import expire
from facefusion.server.problems import for_clients
from facefusion.server.recipes import allowed, recipe_models
from facefusion.service.backend import Backend
from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of

SECRET = "a secret of sixteen letters"


@pytest.fixture(scope="module")
def hooks():
    """What webhooks are sent to: remembers what came, and answers as it is told."""
    made = Hooks()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


class Hooks(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Hook)
        self.got, self.answers = [], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        status = self.server.answers.pop(0) if self.server.answers else 200
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    config = ServerConfig(
        Backend(tmp_path_factory.mktemp("live") / "jobs"), {"execution_thread_count": 1}, allow_private_webhooks=True
    )
    with InProcess(config, is_working=True) as made:
        yield made


@pytest.fixture(scope="module")
def anna(live):
    with live.client("anna") as client:
        yield client


@pytest.fixture(scope="module")
def things(anna):
    """Ids of a source, a photo and a clip."""
    return upload(anna, "source.jpg"), upload(anna, "target.jpg"), upload(anna, "target.mp4")


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A service in which nobody does anything: what is asked for waits."""
    with InProcess(ServerConfig(Backend(tmp_path_factory.mktemp("still") / "jobs"))) as made:
        yield made


@pytest.fixture
def waiting(still):
    with still.client("anna") as client:
        yield client


# What may be asked for


def test_nothing_that_may_be_asked_for_names_a_place_or_a_device():
    models = recipe_models()
    names = set(models.recipe.model_fields)
    assert not names & ({*Request.model_fields, *Execution.model_fields} - {"fail_under"})
    every = json.dumps(models.recipe.model_json_schema())
    for word in ("path", "url", "device", "provider", "folder", "broker", '"format": "path"'):
        assert f'_{word}"' not in every and f'"{word}' not in every, word
    ours = {name for name in Recipe.model_fields if name not in ("steps", "presets", "people", "decisions")}
    missing = ours - names - {*Request.model_fields, *Execution.model_fields}
    assert missing == set(), "an option that is plain comes by itself"


def test_options_of_others_are_allowed_only_where_they_are_harmless():
    from pathlib import Path
    from typing import Annotated, Any, Literal

    from pydantic import Field

    class Strange(Options):
        strength: Annotated[float, Field(ge=0, le=1)] = option(0.5, "plain")
        mode: Literal["a", "b"] | None = option(None, "plain")
        names: tuple[str, ...] = option((), "plain")
        script: Path = option(Path(), "a file")
        audio_path: str = option("", "a file by its name")
        model_url: str = option("", "an address")
        device: int = option(0, "a device")
        anything: Any = option(None, "whatever")
        table: dict[str, str] = option({}, "whatever")
        either: Path | None = option(None, "a file perhaps")
        files: tuple[Path, ...] = option((), "files")
        hidden: int = Field(0, json_schema_extra={"server": False})

    assert [name for name, _, _ in allowed(Strange.model_fields)] == ["strength", "mode", "names"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"target_path": "/etc/passwd"}, "request"), ({"output_path": "/tmp/x"}, "request"),
        ({"models_paths": ["/tmp"]}, "request"), ({"execution_providers": ["cuda"]}, "request"),
        ({"execution_device_ids": [1]}, "request"), ({"licences": "any"}, "request"),
        ({"face_map_path": "x"}, "request"),
        ({"target": "../../etc/passwd"}, "request"), ({"target": "a" * 31}, "request"), ({"target": None}, "request"),
        ({"target": "f" * 32}, "not_there"), ({"faces": "somebody"}, "request"), ({"face_mask_blur": 2}, "request"),
        ({"face_mask_blur": float("1e400")}, "request"), ({"nonsense": 1}, "request"),
        ({"start_s": 5, "end_s": 4}, "recipe"),
        ({"steps": [{"processor": "nobody"}]}, "request"),
        ({"steps": [{"processor": "face_swapper", "options": {"x": 1}}]}, "request"),
        ({"steps": [{"processor": "face_swapper", "options": {"model": "../../evil"}}]}, "request"),
        ({"steps": [{"processor": "face_swapper", "options": {"model": "C:\\evil"}}]}, "request"),
        ({"steps": [{"processor": "face_swapper", "options": {"pixel_boost": "3x4"}}]}, "recipe"),
        ({"people": [{"sources": []}]}, "recipe"), ({"people": [{"track": 0, "face": "0"}]}, "recipe"),
        ({"face_detector_model": "~/x"}, "request"), ({"drop_tracks": ["a"] * 1000}, "request"),
    ],
)  # fmt: skip
def test_recipes_that_are_wrong_are_refused_with_what_is_wrong(waiting, change, code):
    target = upload(waiting, "target.jpg")
    body = json.dumps({"recipe": {"target": target, **change}}).replace("Infinity", "1e400")
    answer = waiting.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == (404 if code == "not_there" else 422), answer.text
    told = answer.json()
    assert (told["code"], bool(told["detail"])) == (code, True)
    if code == "request":
        assert told["errors"][0]["where"].startswith("recipe")
    assert waiting.delete(f"/v1/assets/{target}").status_code == 204, "no job was made"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"recipe": 1}', b'{"recipe": {}, "more": 1}', b"{}" * 1000],
)
def test_bodies_that_are_none_are_refused(waiting, body):
    answer = waiting.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_same_request_sent_again_is_the_same_job(waiting):
    target, other = upload(waiting, "target.jpg"), upload(waiting, "source.jpg")
    body, key = {"recipe": {"target": target, "sources": [target]}}, {"Idempotency-Key": "one"}
    first = waiting.post("/v1/jobs", json=body, headers=key)
    again = waiting.post("/v1/jobs", json=body, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert "idempotency-replayed" not in first.headers and again.headers["idempotency-replayed"] == "true"
    changed = waiting.post("/v1/jobs", json={"recipe": {"target": other, "sources": [other]}}, headers=key)
    assert (changed.status_code, changed.json()["code"]) == (422, "replay")
    fresh = waiting.post("/v1/jobs", json=body, headers={"Idempotency-Key": "two"})
    assert fresh.json()["id"] != first.json()["id"]
    many = {"sources": [[target]], "targets": [target]}
    batches = [waiting.post("/v1/batches", json=many, headers={"Idempotency-Key": "three"}) for _ in range(2)]
    assert batches[0].json() == batches[1].json()
    found = []

    def send():
        found.append(waiting.post("/v1/jobs", json=body, headers={"Idempotency-Key": "four"}).json()["id"])

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1


def test_keys_of_requests_are_a_tenants_own(still):
    with still.client("ben") as ben, still.client("carl") as carl:
        made = []
        for client in (ben, carl):
            target = upload(client, "target.jpg")
            body = {"recipe": {"target": target, "sources": [target]}}
            made.append(client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"}))
        assert [one.status_code for one in made] == [202, 202]
        assert made[0].json()["id"] != made[1].json()["id"]


def test_every_group_of_sources_meets_every_target_or_none_does(still):
    with still.client("dora") as dora:
        a, b, c = (upload(dora, "source.jpg") for _ in range(3))
        t, u = (upload(dora, "target.jpg") for _ in range(2))
        body = {"sources": [[a, b], [c]], "targets": [t, u], "recipe": {"faces": "all"}, "label": "many"}
        answer = dora.post("/v1/batches", json=body)
        assert answer.status_code == 202, answer.text
        batch = answer.json()
        assert (len(batch["jobs"]), batch["counts"]) == (4, {"queued": 4})
        recipes = [dora.get(f"/v1/jobs/{job}").json()["recipe"] for job in batch["jobs"]]
        pairs = {(tuple(one["sources"]), one["target"]) for one in recipes}
        assert pairs == {((a, b), t), ((a, b), u), ((c,), t), ((c,), u)}
        assert all(one["faces"] == "all" for one in recipes)
        listed = dora.get("/v1/jobs", params={"batch": batch["id"]}).json()["items"]
        assert {job["id"] for job in listed} == set(batch["jobs"])
        assert {job["batch"] for job in listed} == {batch["id"]}
        for wrong in (
            {**body, "targets": [t, "f" * 32]}, {**body, "targets": []},
            {**body, "targets": [t] * 300, "sources": [[a]] * 2},
            {**body, "recipe": {"target": t}}, {**body, "recipe": {"sources": [a]}},
        ):  # fmt: skip
            assert dora.post("/v1/batches", json=wrong).status_code in (404, 422)
        assert len(dora.get("/v1/jobs").json()["items"]) == 4


def test_jobs_are_listed_by_pages_and_status(still):
    with still.client("emil") as emil:
        target = upload(emil, "target.jpg")
        body = {"recipe": {"target": target, "sources": [target]}}
        ids = [emil.post("/v1/jobs", json=body).json()["id"] for _ in range(5)]
        assert emil.post(f"/v1/jobs/{ids[1]}/cancel").json()["status"] == "cancelled"
        page = emil.get("/v1/jobs", params={"limit": 3}).json()
        assert [job["id"] for job in page["items"]] == ids[:1:-1]
        page = emil.get("/v1/jobs", params={"limit": 3, "cursor": page["cursor"]}).json()
        assert ([job["id"] for job in page["items"]], page["cursor"]) == ([ids[1], ids[0]], "")
        found = emil.get("/v1/jobs", params={"status": ["cancelled", "failed"]}).json()["items"]
        assert [job["id"] for job in found] == [ids[1]]
        assert len(emil.get("/v1/jobs", params={"status": "queued"}).json()["items"]) == 4
        assert emil.get("/v1/jobs", params={"status": "lost"}).status_code == 422
        assert emil.get("/v1/jobs", params={"limit": 0}).status_code == 422


# What happens to a job


def test_what_comes_out_is_the_same_to_the_byte_as_on_the_command_line(anna, things, tmp_path):
    from facefusion.jobs.once import run
    from facefusion.recipe import build_recipe

    source, _, clip = things
    recipe = {"target": clip, "sources": [source], "end_s": 0.4}
    job = wait_for_job(anna, anna.post("/v1/jobs", json={"recipe": recipe}).json()["id"])
    path = tmp_path / "o.mp4"
    run(build_recipe({
        "source_paths": [sample_path("source.jpg")], "target_path": sample_path("target.mp4"), "output_path": path,
        "end_s": 0.4,
    }))  # fmt: skip
    made = tmp_path / "made.mp4"
    made.write_bytes(anna.get(f"/v1/assets/{job['output']['id']}").content)
    assert content_of(made) == content_of(path)
    assert job["progress"]["share"] == 1 and job["progress"]["stage"] is None
    assert job["models"] and all("(" in model for model in job["models"])


def test_the_output_has_the_name_and_the_kind_that_were_asked_for(anna, things):
    source, photo, clip = things
    for target, output, name, media_type in (
        (photo, {"format": "png", "name": "../Ergebnis"}, "Ergebnis.png", "image/png"),
        (photo, {"format": "webp"}, "target.webp", "image/webp"),
        (clip, {"format": "mkv", "name": "a.mkv"}, "a.mkv", "video/x-matroska"),
    ):
        body = {"recipe": {"target": target, "sources": [source], "end_s": 0.1}, "output": output}
        if target == photo:
            del body["recipe"]["end_s"]
        answer = anna.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        made = wait_for_job(anna, answer.json()["id"])["output"]
        assert (made["name"], made["media_type"]) == (name, media_type)
    for target, kind in ((photo, "mp4"), (clip, "jpg"), (photo, "exe")):
        recipe = {"target": target, "sources": [source]}
        answer = anna.post("/v1/jobs", json={"recipe": recipe, "output": {"format": kind}})
        assert answer.status_code == 422


def test_why_a_job_failed_is_told_with_code_and_hint_and_no_path(anna, things, live, tmp_path):
    from facefusion.testing.clips import make_clip

    source, photo, _ = things
    nobody = upload(anna, make_clip(tmp_path / "nobody here.mp4"))
    job_id = anna.post("/v1/jobs", json={"recipe": {"target": nobody, "sources": [source]}}).json()["id"]
    failed = wait_for_job(anna, job_id, "failed")
    assert failed["error"]["code"] == "no_face_in_target"
    assert failed["error"]["hint"]
    text = json.dumps(failed)
    assert str(live.service.config.backend.folder) not in text and "/tmp" not in text and "facefusion jobs" not in text
    assert failed["error"]["message"] == "No face is found in the target nobody here.mp4."
    job_id = anna.post(
        "/v1/jobs", json={"recipe": {"target": photo, "sources": [source], "fail_under": ["similarity_source=1"]}}
    )
    made = wait_for_job(anna, job_id.json()["id"])
    assert made["output"] and made["error"]["code"] == "quality_too_low"


@pytest.mark.parametrize("kind", ["small", "covered"])
def test_what_a_source_lacks_is_told_once_and_by_the_name_of_its_owner(anna, things, tmp_path, kind):
    photo = read_photo(sample_path("source.jpg"))
    pixels = photo.pixels.copy()
    if kind == "small":
        pixels = resize_pixels(pixels, 80, 80)
    else:
        pixels[pixels.shape[0] // 2 :] = (20, 60, 140)  # a scarf up to the nose
    write_photo(tmp_path / "my aunt.png", Photo(pixels, None, None, None), 95, "")
    source = upload(anna, tmp_path / "my aunt.png")
    job_id = anna.post("/v1/jobs", json={"recipe": {"target": things[1], "sources": [source]}}).json()["id"]
    notes = wait_for_job(anna, job_id)["notes"]
    about = [note for note in notes if "my aunt.png" in note]
    assert len(about) == 1, notes
    assert source not in " ".join(notes)
    assert len(set(notes)) == len(notes)


def test_a_report_is_made_where_it_is_asked_for(anna, things):
    source, photo, _ = things
    body = {"recipe": {"target": photo, "sources": [source]}, "report": True}
    job = wait_for_job(anna, anna.post("/v1/jobs", json=body).json()["id"])
    assert job["has_report"]
    figures = anna.get(f"/v1/jobs/{job['id']}/report")
    assert figures.headers["content-type"] == "application/json" and figures.json()
    page = anna.get(f"/v1/jobs/{job['id']}/report", params={"format": "html"})
    assert page.headers["content-type"].startswith("text/html")
    assert figures.json()["title"] == "target.jpg" and "<h1>target.jpg</h1>" in page.text
    assert photo not in page.text and photo not in figures.text
    assert "sandbox" in page.headers["content-security-policy"]
    assert str(sample_path("target.jpg").parent) not in page.text
    other = wait_for_job(anna, anna.post("/v1/jobs", json={**body, "report": False}).json()["id"])
    assert anna.get(f"/v1/jobs/{other['id']}/report").status_code == 404


def begun(client, job_id):
    """Wait until frames of a job are rendered."""

    def is_so():
        job = client.get(f"/v1/jobs/{job_id}").json()
        assert job["status"] in ("queued", "running"), job
        return job["progress"]["stages"].get("analyse", {}).get("frames_done", 0) > 0

    wait_until(is_so)


def test_a_job_that_is_cancelled_stops_and_goes_on_when_it_is_tried_again(anna, things):
    source, _, clip = things
    recipe = {"target": clip, "sources": [source], "segment_s": 1}
    job_id = anna.post("/v1/jobs", json={"recipe": recipe}).json()["id"]
    begun(anna, job_id)
    assert anna.post(f"/v1/jobs/{job_id}/retry").status_code == 409
    assert anna.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    job = wait_for_job(anna, job_id, "cancelled")
    assert job["output"] is None
    assert anna.post(f"/v1/jobs/{job_id}/cancel").json()["status"] == "cancelled"
    parts = anna.get(f"/v1/jobs/{job_id}/segments").json()["parts"]
    assert {part["stage"] for part in parts} == {"analyse", "join", "render", "merge"}
    assert anna.post(f"/v1/jobs/{job_id}/retry").json()["status"] == "queued"
    assert anna.delete(f"/v1/assets/{clip}").status_code == 409
    done = wait_for_job(anna, job_id)
    assert done["output"]["kind"] == "clip"
    assert anna.post(f"/v1/jobs/{job_id}/cancel").json()["status"] == "done"
    assert anna.post(f"/v1/jobs/{job_id}/retry").status_code == 409
    assert {part["status"] for part in anna.get(f"/v1/jobs/{job_id}/segments").json()["parts"]} == {"done"}


def test_a_job_that_is_deleted_while_it_runs_leaves_nothing(anna, things, live):
    source, _, clip = things
    folder = live.service.config.backend.folder
    job_id = anna.post("/v1/jobs", json={"recipe": {"target": clip, "sources": [source], "segment_s": 1}}).json()["id"]
    begun(anna, job_id)
    order = live.service.ledger.get_order("anna", job_id)
    assert anna.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert anna.get(f"/v1/jobs/{job_id}").status_code == 404
    assert live.service.ledger.find(order.job_id) is None
    names = [str(path) for path in folder.rglob("*")]
    assert not [name for name in names if job_id in name or order.job_id in name]


def test_events_tell_everything_once_also_to_who_was_cut_off(anna, things, live):
    source, _, clip = things
    recipe = {"target": clip, "sources": [source], "end_s": 1, "segment_s": 1}
    job_id = anna.post("/v1/jobs", json={"recipe": recipe}).json()["id"]
    with Client(live.url, anna.headers["authorization"].split()[1]) as service:
        told = list(service.events(job_id))
    statuses = [values["status"] for kind, values in told if kind == "status"]
    assert statuses[0] in ("queued", "running") and statuses[-1] == "done" and told[-1][0] == "status"
    history = [values["number"] for kind, values in told if kind == "history"]
    assert history == sorted(set(history)) and len(history) > 5
    assert not [values for kind, values in told if kind == "history" and " by " in values["what"]]
    progress = [values for kind, values in told if kind == "progress" and values["stage"] == "render"]
    assert progress[-1]["done"] == progress[-1]["total"] == 25
    half = history[len(history) // 2]
    with anna.stream("GET", f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(half)}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"].startswith("no-")
        lines = list(answer.iter_lines())
    seen = [int(line.removeprefix("id: ")) for line in lines if line.startswith("id: ")]
    assert seen == history[len(history) // 2 + 1 :]
    assert anna.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "x"}).status_code == 422


def test_a_status_is_the_first_event_unless_it_is_the_last(waiting, still):
    target = upload(waiting, "target.jpg")
    job_id = waiting.post("/v1/jobs", json={"recipe": {"target": target, "sources": [target]}}).json()["id"]

    async def listen(count):
        told = []
        async for event in Hub(still.service).follow("anna", job_id, 0):
            told.append((event["event"], json.loads(event["data"]).get("status")))
            if len(told) == count:
                break
        return told

    assert asyncio.run(listen(1)) == [("status", "queued")]
    waiting.post(f"/v1/jobs/{job_id}/cancel")
    with still.service.ledger._engine.begin() as connection:
        connection.execute(sa.text("UPDATE orders SET status = 'cancelled'"))
    over = asyncio.run(listen(99))
    assert over[-1] == ("status", "cancelled") and [kind for kind, _ in over].count("status") == 1


def test_a_job_that_is_still_being_stopped_is_said_to_be(waiting, still):
    target = upload(waiting, "target.jpg")
    job_id = waiting.post("/v1/jobs", json={"recipe": {"target": target, "sources": [target]}}).json()["id"]
    assert "nothing to try again" in waiting.post(f"/v1/jobs/{job_id}/retry").json()["detail"]
    with still.service.ledger._engine.begin() as connection:
        connection.execute(sa.text("UPDATE orders SET status = 'running', is_cancelled = TRUE"))
    answer = waiting.post(f"/v1/jobs/{job_id}/retry")
    assert answer.status_code == 409 and "still being stopped" in answer.json()["detail"]
    assert "in a moment" in answer.json()["hint"]


def test_who_listens_hears_that_a_job_is_deleted(waiting, still):
    target = upload(waiting, "target.jpg")
    job_id = waiting.post("/v1/jobs", json={"recipe": {"target": target, "sources": [target]}}).json()["id"]
    seen = []

    def listen():
        with Client(still.url, waiting.headers["authorization"].split()[1]) as service:
            seen.extend(values["status"] for kind, values in service.events(job_id) if kind == "status")

    thread = threading.Thread(target=listen)
    thread.start()
    hub: Hub = still.app.state.hub
    wait_until(lambda: ("anna", job_id) in hub._watched)
    still.service.ledger.remove_order("anna", job_id)
    thread.join()
    assert seen[-1] == "deleted"
    wait_until(lambda: not hub._watched)


# Messages


def test_a_webhook_is_told_signed_and_tried_again(anna, things, hooks, monkeypatch):
    monkeypatch.setattr(webhooks, "DELAYS_S", (0.1, 0.1, 0.1))
    source, photo, _ = things
    hooks.answers[:] = [500, 302]
    body = {
        "recipe": {"target": photo, "sources": [source]}, "webhook": {"url": hooks.url, "secret": SECRET},
        "label": "told",
    }  # fmt: skip
    answer = anna.post("/v1/jobs", json=body)
    assert SECRET not in answer.text
    job_id = answer.json()["id"]
    wait_until(lambda: len([1 for _, _, body in hooks.got if job_id.encode() in body]) == 3)
    assert {path for path, _, _ in hooks.got} == {"/hook"}, "a redirect is not followed"
    messages = [(headers, body) for _, headers, body in hooks.got if job_id.encode() in body]
    assert len({headers["FaceFusion-Delivery"] for headers, _ in messages}) == 1
    headers, message = messages[-1]
    told = json.loads(message)
    assert (told["id"], told["status"], told["label"]) == (job_id, "done", "told")
    assert told["output"]["kind"] == "photo" and SECRET not in message.decode()
    signature = headers["FaceFusion-Signature"]
    assert webhooks.verify(SECRET, signature, message)
    assert not webhooks.verify("another secret of ours", signature, message)
    assert not webhooks.verify(SECRET, signature, message + b" ")
    assert not webhooks.verify(SECRET, signature, message, now=time.time() + 3600)
    assert not webhooks.verify(SECRET, "nonsense", message)

    def is_delivered():
        (one,) = anna.get(f"/v1/jobs/{job_id}/deliveries").json()["deliveries"]
        return (one["status"], one["tries"], one["told"]) == ("delivered", 3, "200 OK")

    wait_until(is_delivered)


def test_a_webhook_that_never_answers_is_given_up(live, anna, things, hooks, monkeypatch):
    monkeypatch.setattr(webhooks, "DELAYS_S", (0.05,))
    source, photo, _ = things
    hooks.answers[:] = [500] * 2
    body = {"recipe": {"target": photo}, "webhook": {"url": hooks.url, "secret": SECRET}}
    job_id = anna.post("/v1/jobs", json={**body, "recipe": {"target": photo, "sources": [photo]}}).json()["id"]

    def is_given_up():
        found = anna.get(f"/v1/jobs/{job_id}/deliveries").json()["deliveries"]
        return [(one["status"], one["tries"]) for one in found] == [("given up", 2)]

    wait_until(is_given_up)
    assert live.service.ledger.deliveries(job_id)[0].secret == "", "what is over needs its secret no more"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x", "https://127.0.0.1/x", "https://localhost/x", "https://10.0.0.1/x", "https://192.168.1.1/",
        "https://169.254.169.254/latest/meta-data", "https://[::1]/x", "https://[::ffff:127.0.0.1]/", "https://[fe80::1]/",
        "https://[fc00::1]/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/", "https://0.0.0.0/", "https://0/",
        "https://2130706433/", "https://0x7f.1/", "https://127.1/", "https://user:pw@example.org/", "https://example.org:22/",
        "https://metadata.internal/", "https://printer.local/", "https://intranet/", "ftp://example.org/", "https:///x",
        "https://example.org/#x", "https://224.0.0.1/", "https://[ff02::1]/", "https://100.64.0.1/",
        "javascript:alert(1)", "https://example.org:99999/", "https://exa mple.org/", "https://exa_%20mple.org/",
        "https://-a.example.org/", "https://a-.example.org/", "https://a..example.org/", "https://example.123/",
        "https://" + "a" * 64 + ".example.org/", "https://exa<mple.org/", "https://example.org,other.org/",
    ],
)  # fmt: skip
def test_a_webhook_leads_nowhere_but_to_the_public_internet(waiting, url):
    target = upload(waiting, "target.jpg")
    body = {"recipe": {"target": target, "sources": [target]}, "webhook": {"url": url, "secret": SECRET}}
    answer = waiting.post("/v1/jobs", json=body)
    if answer.status_code == 202:  # a name that only a look-up can tell; then it is not sent
        host = url.split("/")[2]
        with pytest.raises(RecipeError, match=r"not on the public internet|is not found"):
            webhooks.resolve(host, 443)
    else:
        assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(
    "url", ["https://exa mple.org/", "https://exa%20mple.org/", "https://-a.org/", "https://a..org/", "https://a.123/",
            "https://" + "a" * 64 + ".org/", "https://a,b.org/", "https://a;b.org/"],
)  # fmt: skip
def test_a_host_that_cannot_be_is_refused_at_once(url):
    for allow_private in (False, True):
        with pytest.raises(RecipeError, match="no address for a webhook"):
            webhooks.check_url(url, allow_private)
    for good in ("https://a-b.example.org/x", "https://bücher.example/", "https://example.org./", "https://1.1.1.1/"):
        webhooks.check_url(good)


@pytest.mark.parametrize(
    "error",
    [httpx.ConnectError("certificate verify failed: self-signed of CN=inner"), httpx.ReadError("inner"),
     httpx.ReadTimeout("inner"), ssl.SSLError("inner"), OSError("inner"), httpx.RemoteProtocolError("inner")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_of_a_webhook_that_fails_nothing_is_told_but_how(monkeypatch, error):
    async def fail(*_):
        raise error

    monkeypatch.setattr(webhooks, "_post", fail)
    monkeypatch.setattr(webhooks, "resolve", lambda *_: "93.184.216.34")
    delivery = Delivery("d", "t", "o", "waiting", "https://example.org/", SECRET, "{}", 0, "", 0.0, 0.0, 0.0)
    told = webhooks.send(delivery)
    assert told.endswith(".") and "inner" not in told and type(error).__name__ not in told


def test_an_empty_list_of_steps_is_no_swap(waiting):
    target = upload(waiting, "target.jpg")
    for recipe in (
        {"target": target, "sources": [target], "steps": []},
        {"target": target, "people": [{"track": 0, "sources": [target], "steps": []}]},
    ):
        answer = waiting.post("/v1/jobs", json={"recipe": recipe})
        assert answer.status_code == 422
        assert "without a step nothing would be done" in answer.json()["detail"]


def test_a_name_that_leads_to_this_machine_too_is_refused_and_the_address_checked_is_the_one_used(monkeypatch):
    """DNS rebinding: all addresses count, and no second look-up happens."""
    import socket

    def two(*_, **__):
        kind = socket.SOCK_STREAM
        return [(socket.AF_INET, kind, 6, "", (a, 443)) for a in ("93.184.216.34", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with pytest.raises(RecipeError, match="not on the public internet"):
        webhooks.resolve("example.org", 443)
    seen = []

    class Refused(Exception):
        pass

    def request(self, method, url, **rest):
        seen.append((str(url), rest["headers"]["Host"], rest["extensions"]["sni_hostname"], self.follow_redirects))
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: two()[:1])
    monkeypatch.setattr(webhooks.httpx.AsyncClient, "stream", request)

    delivery = Delivery(
        "1", "anna", "2", "waiting", "https://example.org/a?b=1", SECRET, "{}", 1, "", 0.0, 0.0, 0.0
    )  # fmt: skip
    # Why is nothing that whoever named the address may know.
    assert webhooks.send(delivery) == "No connection could be made."
    assert seen == [("https://93.184.216.34/a?b=1", "example.org", "example.org", False)]


# That it survives


def runners_of(process):
    """Processes of a service that do orders: they have no parent but it, and use more than a little memory."""
    return [one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())]


def test_a_job_survives_its_process_and_the_service_being_killed(tmp_path, tmp_path_factory):
    from facefusion.jobs.once import run
    from facefusion.recipe import build_recipe

    path = tmp_path_factory.mktemp("alone") / "o.mp4"
    run(build_recipe({
        "source_paths": [sample_path("source.jpg")], "target_path": sample_path("target.mp4"), "output_path": path,
        "segment_s": 1,
    }))  # fmt: skip
    live = LiveServer(tmp_path / "live", ["--workers", "1"]).start()
    try:
        key = live.key("anna")
        client = live.client("anna")
        source, clip = upload(client, "source.jpg"), upload(client, "target.mp4")
        recipe = {"target": clip, "sources": [source], "segment_s": 1}
        job_id = client.post("/v1/jobs", json={"recipe": recipe}).json()["id"]
        begun(client, job_id)
        for one in runners_of(live.process):
            os.kill(one.pid, signal.SIGKILL)
        assert client.get("/v1/health").status_code == 200
        ledger = Ledger(live.store_url)

        def goes_on():
            view = ledger.view("anna", job_id)
            assert view.status in ("queued", "running"), view
            return any(stage.stage == "render" and stage.frames_done > 0 for stage in view.progress)

        wait_until(goes_on)
        ledger.close()
        client.close()
        children = psutil.Process(live.process.pid).children(recursive=True)
        live.kill()
        wait_until(lambda: not [one for one in children if one.is_running() and one.status() != psutil.STATUS_ZOMBIE])
        live.start()
        with Client(live.url, key) as service:
            done = service.wait(job_id)
            assert done.status == "done", done
            assert content_of(service.download(done.output, tmp_path / "made.mp4")) == content_of(path)
    finally:
        live.stop()


def test_the_service_stops_at_once_and_goes_on_later(tmp_path):
    live = LiveServer(tmp_path / "live").start()
    key = live.key("anna")
    with live.client("anna") as client:
        source, clip = upload(client, "source.jpg"), upload(client, "target.mp4")
        job_id = client.post("/v1/jobs", json={"recipe": {"target": clip, "sources": [source]}}).json()["id"]
        begun(client, job_id)
    assert live.stop() == 0, live.explain()
    assert "Stopped" in (live.folder / "log").read_text()
    live.start()
    try:
        with Client(live.url, key) as service:
            assert service.job(job_id).status in ("queued", "running")
            assert service.wait(job_id).status == "done"
    finally:
        live.stop()


def test_old_jobs_go_with_their_outputs(anna, things, live):
    source, photo, _ = things
    job = wait_for_job(
        anna, anna.post("/v1/jobs", json={"recipe": {"target": photo, "sources": [source]}}).json()["id"]
    )
    import sqlalchemy as sa

    with live.service.ledger._engine.begin() as connection:
        connection.execute(sa.text("UPDATE orders SET updated_at = 1 WHERE id = :a"), {"a": job["id"]})
    assert expire(live.service) >= 1
    assert anna.get(f"/v1/jobs/{job['id']}").status_code == 404
    assert anna.get(f"/v1/assets/{job['output']['id']}").status_code == 404
    folder = live.service.config.backend.folder
    assert not [path for path in folder.rglob("*") if job["id"] in str(path)]


def test_a_port_that_is_taken_is_told_as_that(live, tmp_path, capfd):
    from facefusion.apps.cli import main

    with pytest.raises(SystemExit) as end:
        main(["serve", "--port", str(live.port), "--jobs-path", str(tmp_path)])
    assert end.value.code == 5
    assert f"port {live.port}" in capfd.readouterr().err


def test_sentences_lose_folders_keep_names_and_call_options_as_the_service_does():
    for text, wanted in (
        (
            "No face is found in the source /srv/ff/service/assets/a/content.jpg.",
            "No face is found in the source content.jpg.",
        ),
        ("C:\\Users\\anna\\a.jpg is damaged: x.", "a.jpg is damaged: x."),
        ("See GET /v1/assets/{id}/faces.", "See GET /v1/assets/{id}/faces."),
        ("3/4 of it, 12/25 frames", "3/4 of it, 12/25 frames"),
        (
            "Lower --face-detector-score, or name photos with -s.",
            "Lower face_detector_score, or name photos with sources.",
        ),
        ("Choose another --face-swapper-model.", "Choose another face_swapper.model."),
        ("Start with --jobs-path and --models-path.", "Start with --jobs-path and --models-path."),
    ):
        assert for_clients(text) == wanted


# What a job was made of


def kept(still, asset_id):
    """Files that are kept of an asset, its crops and its thumbnail among them."""
    return still.service.storage.list(key_folder("anna", asset_id))


def with_crop(still, asset_id, tmp_path):
    (tmp_path / "1.png").write_bytes(b"a face")
    still.service.storage.put(f"{key_folder('anna', asset_id)}faces/1.png", tmp_path / "1.png")
    return asset_id


def test_a_job_takes_along_what_it_was_made_of_where_that_is_asked_for_and_nobody_else_reads_it(
    waiting, still, tmp_path
):
    one, other, source = (
        with_crop(still, upload(waiting, name), tmp_path) for name in ("target.jpg", "target.jpg", "source.jpg")
    )
    first, second, third = (
        waiting.post("/v1/jobs", json={"recipe": {"target": target, "sources": [source]}}).json()["id"]
        for target in (one, other, other)
    )
    assert waiting.delete(f"/v1/jobs/{first}", params={"inputs": "true"}).status_code == 204
    assert waiting.get(f"/v1/assets/{one}/about").status_code == 404 and kept(still, one) == []
    assert waiting.get(f"/v1/assets/{source}/about").status_code == 200 and len(kept(still, source)) == 3
    assert waiting.delete(f"/v1/assets/{source}", params={"unused": "true"}).status_code == 409
    waiting.post(f"/v1/jobs/{third}/cancel")  # what is over can be tried again, or looked at
    assert waiting.delete(f"/v1/jobs/{second}", params={"inputs": "true"}).status_code == 204
    assert len(kept(still, other)) == len(kept(still, source)) == 3
    assert waiting.delete(f"/v1/assets/{source}", params={"unused": "true"}).status_code == 409
    assert waiting.delete(f"/v1/jobs/{third}").status_code == 204
    assert len(kept(still, other)) == len(kept(still, source)) == 3  # unasked they stay until their time comes
    assert waiting.delete(f"/v1/assets/{source}", params={"unused": "true"}).status_code == 204
    assert kept(still, source) == []


def test_who_may_not_delete_files_takes_a_job_away_alone(waiting, still):
    target = upload(waiting, "target.jpg")
    recipe = {"target": target, "steps": [{"processor": "face_anonymiser"}]}
    job_id = waiting.post("/v1/jobs", json={"recipe": recipe}).json()["id"]
    with still.client("anna", ("jobs:read", "jobs:write")) as few:
        answer = few.delete(f"/v1/jobs/{job_id}", params={"inputs": "true"})
        assert (answer.status_code, answer.json()["detail"]) == (403, "This key does not allow assets:write.")
        assert few.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert waiting.get(f"/v1/assets/{target}/about").status_code == 200


def test_what_expires_takes_crops_and_thumbnails_along(waiting, still, tmp_path):
    target = with_crop(still, upload(waiting, "target.jpg"), tmp_path)
    ledger = still.service.ledger
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE assets SET expires_at = 1 WHERE id = ?", (target,))
    expire(still.service)
    assert waiting.get(f"/v1/assets/{target}/about").status_code == 404 and kept(still, target) == []
