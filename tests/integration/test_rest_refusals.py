"""What can be known is refused before anything is begun, and who is refused is told what they themselves can do."""

from __future__ import annotations

import ast
import gzip
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import wave
from pathlib import Path

import psutil
import pytest
from tests.live import InProcess, upload
from tests.patience import PATIENCE_S, wait_until

import facefusion
from facefusion import errors
from facefusion.apps.cli import main
from facefusion.errors import DiskLimitReached, ExtraMissing, FaceFusionError, LicenceRefused, OutputRefused
from facefusion.metrics import page
from facefusion.models import tensors
from facefusion.server import run
from facefusion.server.config import ServerConfig
from facefusion.server.problems import hint_for_clients, respond
from facefusion.service.backend import Backend
from facefusion.service.capabilities import find_capabilities
from facefusion.service.models import Models
from facefusion.testing.clips import make_clip
from facefusion.testing.fakes import sample_path


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with InProcess(ServerConfig(Backend(tmp_path_factory.mktemp("live") / "jobs"))) as made:
        yield made


@pytest.fixture(scope="module")
def anna(live):
    with live.client("anna") as client:
        yield client


@pytest.fixture(scope="module")
def things(anna, tmp_path_factory):
    """Assets by what they are."""
    folder = tmp_path_factory.mktemp("things")
    with wave.open(str(folder / "song.wav"), "wb") as song:
        song.setparams((1, 2, 8000, 0, "NONE", ""))
        song.writeframes(bytes(8000))
    paths = {"photo": sample_path("target.jpg"), "face": sample_path("source.jpg"), "sound": folder / "song.wav"}
    paths["clip"] = make_clip(folder / "my clip.mp4")
    return {name: upload(anna, path) for name, path in paths.items()}


@pytest.mark.parametrize(
    ("recipe", "output", "code", "said"),
    [
        ({}, {}, "recipe", "No source is given."),
        ({"target": "clip"}, {}, "recipe", "No source is given."),
        ({"people": [{"reference": "face"}]}, {}, "recipe", "No source is given."),
        ({"sources": ["clip"]}, {}, "no_face_in_source", "my clip.mp4 is a clip; sources are photos."),
        ({"sources": ["sound"]}, {}, "no_face_in_source", "song.wav is a sound; sources are photos."),
        ({"sources": ["face"], "exempt": ["clip"]}, {}, "no_face_in_source", "my clip.mp4 is a clip"),
        ({"sources": ["face"], "reference_face": "sound"}, {}, "no_face_in_source", "song.wav is a sound"),
        ({"sources": ["face"], "start_s": 0.1}, {}, "recipe", "target.jpg is a photo"),
        ({"target": "clip", "sources": ["face"], "start_s": 999}, {}, "media_unsupported", "the end of my clip.mp4"),
        ({"target": "clip", "sources": ["face"]}, {"format": "webm"}, "output_refused", "WebM cannot hold libx264"),
        ({"target": "clip", "sources": ["face"]}, {"format": "png"}, "recipe", "A clip does not become .png."),
        ({"target": "sound", "sources": ["face"]}, {}, "recipe", "The target is a sound."),
        ({"sources": ["face"], "fail_under": ["nonsense=1"]}, {}, "recipe", "nonsense"),
        ({"sources": ["face"], "face_detector_model": "nobody_made_this"}, {}, "unknown_model", "nobody_made_this"),
        ({"steps": [{"processor": "face_enhancer", "options": {"model": "gfpgan_1.4"}}]}, {}, None, ""),
    ],
)  # fmt: skip
def test_what_is_known_to_fail_is_refused_when_it_is_asked_for(anna, things, recipe, output, code, said):
    def filled(value):
        if isinstance(value, str):
            return things.get(value, value)
        if isinstance(value, list):
            return [filled(one) for one in value]
        return {key: filled(one) for key, one in value.items()} if isinstance(value, dict) else value

    body = {"recipe": filled({"target": "photo", **recipe}), "output": output}
    answer = anna.post("/v1/jobs", json=body)
    told = answer.json()
    assert answer.status_code == 422, told
    assert answer.headers["content-type"] == "application/problem+json"
    assert told["code"] in ((code,) if code else ("model_missing", "licence_refused", "unknown_model")), told
    assert said in told["detail"] and told["hint"], told
    assert not re.search(r"(?<!\w)--|[0-9a-f]{32}|facefusion ", told["detail"] + told["hint"]), told
    shared = {key: value for key, value in body["recipe"].items() if key not in ("target", "sources")}
    sources = body["recipe"].get("sources", [])
    batch = {"recipe": shared, "targets": [body["recipe"]["target"]], "sources": [sources], "output": output}
    assert anna.post("/v1/batches", json=batch).status_code == 422
    assert anna.get("/v1/jobs").json()["items"] == [], "none was made"


def test_a_body_of_another_type_is_told_which_type_is_taken(anna, things):
    body = json.dumps({"recipe": {"target": things["photo"], "sources": [things["face"]]}}).encode()
    for path in ("/v1/jobs", "/v1/batches", "/v1/previews", "/v1/session"):
        for kind in ("application/x-www-form-urlencoded", "text/plain; charset=utf-8", ""):
            answer = anna.post(path, content=body, headers={"Content-Type": kind} if kind else {})
            told = answer.json()
            assert (answer.status_code, told["code"]) == (415, "media_type"), told
            assert kind.partition(";")[0] in told["detail"] and "application/json" in told["hint"]
    answer = anna.post("/v1/jobs", content=b"[]", headers={"Content-Type": "application/json; charset=utf-8"})
    assert answer.status_code == 422, "it is JSON, and wrong"


def test_a_place_in_a_body_is_named_as_it_was_sent(anna, things):
    recipe = {"target": things["photo"], "sources": [things["face"]]}
    for more, where, said in (
        ({"faces": {"a": 1}}, "recipe.faces", "should be"),
        ({"segment_s": 0.5}, "recipe.segment_s", "should be greater"),
        ({"sources": None}, "recipe.sources", "takes several values"),
    ):
        told = anna.post("/v1/jobs", json={"recipe": {**recipe, **more}}).json()
        assert told["status"] == 422
        places = [one["where"] for one in told["errors"]]
        assert where in places or where.rpartition(".")[2] in told["detail"], told
        assert said in told["detail"] and "Input should" not in json.dumps(told), told
        assert not re.search(r"[\[\]]", " ".join(places)), told
    told = anna.post("/v1/jobs", json={}).json()
    assert ("recipe", "is missing") in [(one["where"], one["message"]) for one in told["errors"]], told


def test_a_packed_body_is_told_to_be_sent_plain(anna):
    body = gzip.compress(b"{}")
    for path in ("/v1/jobs", "/v1/batches", "/v1/previews", "/v1/assets"):
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        answer = anna.post(path, content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "media_type")
        assert "Content-Encoding" in answer.json()["hint"]
    answer = anna.post("/v1/jobs", content=b"[]", headers={**headers, "Content-Encoding": "identity"})
    assert answer.status_code == 422


def test_a_method_that_a_path_does_not_take_is_told_all_that_it_takes(anna, live):
    methods = {}
    for path, operations in live.app.openapi()["paths"].items():
        methods[path] = {method.upper() for method in operations}
    for path in ("/v1/session", "/v1/jobs", "/v1/assets", "/v1/uploads"):
        answer = anna.request("TRACE" if path != "/v1/jobs" else "PUT", path)
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) - {"HEAD"} == methods[path] - {"HEAD"}, path
    answer = anna.put(f"/v1/jobs/{'0' * 32}")
    assert (answer.status_code, set(answer.headers["allow"].split(", ")) - {"HEAD"}) == (405, {"GET", "DELETE"})


def test_an_answer_without_a_body_is_of_no_type(live):
    with live.client("bert") as client:
        answer = client.delete("/v1/session", headers={"Sec-Fetch-Site": "same-origin"})
        assert (answer.status_code, answer.content) == (204, b"") and "content-type" not in answer.headers
        asset = upload(client, "source.jpg")
        answer = client.delete(f"/v1/assets/{asset}")
        assert answer.status_code == 204 and "content-type" not in answer.headers


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_report_that_cannot_be_made_here_is_refused_when_it_is_asked_for(anna, things, monkeypatch, package):
    """Limits need figures alone, so they stay."""
    recipe = {"target": things["photo"], "sources": [things["face"]]}
    assert anna.get("/v1/capabilities").json()["reports"] is True
    found = importlib.util.find_spec
    monkeypatch.setattr(page, "find_spec", lambda name, *rest: None if name == package else found(name, *rest))
    for path, body in (
        ("/v1/jobs", {"recipe": recipe, "report": True}),
        ("/v1/batches", {"targets": [recipe["target"]], "sources": [recipe["sources"]], "report": True}),
    ):
        answer = anna.post(path, json=body)
        told = answer.json()
        assert (answer.status_code, told["code"]) == (422, "extra_missing"), told
        assert package in told["detail"] and told["hint"] == "Tell who runs this service."
    assert anna.get("/v1/jobs").json()["items"] == [], "none was made"
    answer = anna.post("/v1/jobs", json={"recipe": {**recipe, "fail_under": ["similarity_source=0.1"]}})
    assert answer.status_code == 202, answer.text
    anna.delete(f"/v1/jobs/{answer.json()['id']}")
    assert not find_capabilities(Models()).reports


def test_a_model_that_cannot_be_read_without_a_package_is_refused_before_it_runs(monkeypatch):
    monkeypatch.setattr(tensors, "find_spec", lambda name: None)
    tensors.check_readable("arcface", "w600k")
    with pytest.raises(ExtraMissing, match="inswapper_128 needs the package onnx"):
        tensors.check_readable("inswapper", "inswapper_128")


@pytest.mark.parametrize("name", ["o.gif", "o", "o.mp4", "file/o.jpg", "folder.png", "target.jpg"])
def test_a_run_by_a_service_is_refused_like_one_here_before_anything_is_sent(tmp_path, capfd, name):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    target = tmp_path / "target.jpg"
    target.write_bytes(sample_path("target.jpg").read_bytes())
    words = ["run", "-s", str(sample_path("source.jpg")), "-t", str(target), "-o", str(tmp_path / name)]
    told = []
    for more in ([], ["--server", "http://127.0.0.1:9", "--key", "ff_x"]):  # nobody answers there, and nobody is asked
        with pytest.raises(SystemExit) as end:
            main([*words, "--jobs-path", str(tmp_path / "jobs"), *more])
        told.append((end.value.code, capfd.readouterr().err.strip()))
    assert told[0] == told[1]
    assert told[0][0] and "127.0.0.1" not in told[0][1]


def test_a_run_by_a_service_refuses_sources_that_are_missing_or_none_before_anything_is_sent(tmp_path, capfd):
    for sources in ([], [str(tmp_path / "nobody.jpg")], [str(make_clip(tmp_path / "clip.mp4"))]):
        words = ["run", "-t", str(sample_path("target.jpg")), "-o", str(tmp_path / "o.jpg")]
        words += ["-s", *sources] if sources else []
        told = []
        for more in ([], ["--server", "http://127.0.0.1:9", "--key", "ff_x"]):
            with pytest.raises(SystemExit) as end:
                main([*words, "--jobs-path", str(tmp_path / "jobs"), *more])
            told.append((end.value.code, capfd.readouterr().err.strip()))
        assert told[0] == told[1] and "127.0.0.1" not in told[0][1]


def test_what_a_client_is_told_to_do_is_what_a_client_can_do():
    """Every hint there is in the program, as a client would be told it."""
    kinds = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    classes = {name for name, kind in kinds.items() if issubclass(kind, FaceFusionError)}
    root = Path(facefusion.__file__).parent
    seen = 0
    for path in root.rglob("*.py"):
        if path.parent.name == "apps":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or len(node.args) < 2:
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            parts = [part.value for part in ast.walk(node.args[1]) if isinstance(part, ast.Constant)]
            if name not in classes or not all(isinstance(part, str) for part in parts):
                continue
            hint = hint_for_clients(getattr(errors, name).code, "X".join(parts))
            seen += 1
            wrong = re.search(r"(?<!\w)--?[a-z]|\bfacefusion [a-z]|FACEFUSION_|\bpip ", hint)
            assert wrong is None, f"{path.name}:{node.lineno}: {hint}"
    assert seen > 300


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (DiskLimitReached("Full.", "Raise --disk-limit, or use another --jobs-path."), "Delete jobs"),
        (OutputRefused("There is no room left for /srv/x.", "Free some space; then try again."), "Delete jobs"),
        (LicenceRefused("No.", "Add --licences research if you may."), "capabilities"),
    ],
)  # fmt: skip
def test_hints_that_only_help_who_runs_the_service_become_what_a_client_can_do(error, word):
    told = json.loads(bytes(respond(error, "1").body))
    assert word in told["hint"] and "--" not in told["hint"]
    assert "/srv" not in told["detail"]


def _send(port: int, content: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as made:
        made.sendall(content)
        found = b""
        while piece := made.recv(65536):
            found += piece
        return found


@pytest.mark.parametrize(
    "content", [b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n"]
)
def test_what_is_no_http_is_answered_with_a_problem(live, content):
    head, _, body = _send(live.port, content).partition(b"\r\n\r\n")
    told = json.loads(body)
    assert head.startswith(b"HTTP/1.1 400 ") and b"application/problem+json" in head
    assert (told["status"], told["code"]) == (400, "bad_request")
    assert f"x-request-id: {told['request_id']}".encode() in head.lower()
    assert b"nosniff" in head


def test_too_many_connections_are_answered_with_a_problem(live, monkeypatch):
    monkeypatch.setattr(run, "CONNECTIONS", 0)
    head, _, body = _send(live.port, b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ") and b"retry-after" in head.lower()
    assert json.loads(body)["code"] == "busy"


def test_a_body_that_is_no_json_and_a_file_that_is_none_are_told_in_our_words(anna, tmp_path):
    answer = anna.post("/v1/jobs", content=b'{"recipe": nonsense', headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "the body is no JSON, from letter 11 on" in answer.json()["detail"]
    clip = make_clip(tmp_path / "clip.mp4").read_bytes()
    for content in (sample_path("target.jpg").read_bytes()[:3000], clip[:1500], b"nothing " * 99):
        answer = anna.post("/v1/assets", params={"name": "a"}, content=content)
        assert answer.status_code == 415
        for word in ("Errno", "Invalid data", "truncated", "not processed"):
            assert word not in answer.text, answer.text


def test_a_signal_to_the_whole_group_stops_a_service_once_and_nothing_is_replaced(tmp_path):
    """As systemd and a shell send it."""
    if os.name == "nt":
        pytest.skip("signals")
    script = tmp_path / "facefusion"  # as pip makes it
    script.write_text("from facefusion.__main__ import main\nif __name__ == '__main__':\n    main()\n")
    words = ("serve", "--port", "0", "--jobs-path", tmp_path / "jobs", "--log-format", "text")
    source = str(Path(facefusion.__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, script, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "PYTHONPATH": source},
        preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    ) as service:  # fmt: skip
        try:
            wait_until(lambda: len(psutil.Process(service.pid).children()) >= 2)  # Python's own, and who does jobs
            for line in service.stdout:
                if "Ctrl-C" in line:
                    break
            os.killpg(service.pid, signal.SIGTERM)
            _, said = service.communicate(timeout=PATIENCE_S)
        finally:
            if service.poll() is None:
                os.killpg(service.pid, signal.SIGKILL)
    assert said.count("Stopped") == 1, said
    assert "is replaced" not in said and "nothing was written" not in said
