"""What can be known is refused before anything is begun, and who is refused is told what they themselves can do."""

from __future__ import annotations

import ast
import json
import re
import socket
import wave
from pathlib import Path

import pytest
from tests.live import InProcess, upload
from tests.patience import PATIENCE_S

import facefusion
from facefusion import errors
from facefusion.apps.cli import main
from facefusion.errors import DiskLimitReached, FaceFusionError, LicenceRefused, OutputRefused
from facefusion.server import run
from facefusion.server.config import ServerConfig
from facefusion.server.problems import hint_for_clients, respond
from facefusion.service.backend import Backend
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
    assert answer.status_code in (415, 422), told
    assert answer.headers["content-type"] == "application/problem+json"
    assert told["code"] in ((code,) if code else ("model_missing", "licence_refused", "unknown_model")), told
    assert said in told["detail"] and told["hint"], told
    assert not re.search(r"(?<!\w)--|[0-9a-f]{32}|facefusion ", told["detail"] + told["hint"]), told
    shared = {key: value for key, value in body["recipe"].items() if key not in ("target", "sources")}
    sources = body["recipe"].get("sources", [])
    batch = {"recipe": shared, "targets": [body["recipe"]["target"]], "sources": [sources], "output": output}
    assert anna.post("/v1/batches", json=batch).status_code in (415, 422)
    assert anna.get("/v1/jobs").json()["items"] == [], "none was made"


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
