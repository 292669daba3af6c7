"""Storage and models places that do not answer: the rest stays usable, and clients learn nothing of the inside."""

import json
import time

import pytest
from tests.live import InProcess

from facefusion.apps import cli
from facefusion.errors import StoreUnreachable
from facefusion.jobs import storage
from facefusion.jobs.storage import ObjectStorage, one_patience
from facefusion.models import store as model_store
from facefusion.server.access import create_key
from facefusion.server.config import ServerConfig
from facefusion.service.backend import Backend
from facefusion.testing.fakes import sample_path

pytest.importorskip("obstore")


@pytest.fixture(autouse=True)
def away(monkeypatch):
    """Object storage at a port where nobody listens."""
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "inner-key", "AWS_SECRET_ACCESS_KEY": "hunter22",
        "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(storage, "PATIENCE_S", 1.5)
    monkeypatch.setattr(model_store, "_away", {})


def test_all_calls_of_one_patience_wait_no_longer_than_one(tmp_path):
    place = ObjectStorage("s3://inner-bucket", tmp_path)
    began = time.monotonic()
    with one_patience():
        for _ in range(4):
            with pytest.raises(StoreUnreachable) as caught:
                place.put("a/b", sample_path("target.jpg"))
    assert time.monotonic() - began < 4.5
    assert "Debug source" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(StoreUnreachable):
        place.delete("a/")


def test_a_client_whose_file_cannot_be_kept_learns_so_soon_and_nothing_of_the_inside(tmp_path):
    with InProcess(ServerConfig(Backend(tmp_path / "jobs"))) as live, live.client() as client:
        live.service.storage = ObjectStorage("s3://inner-bucket", tmp_path)
        _, key = create_key(live.service.ledger, "anna", ["admin"])
        client.headers["Authorization"] = f"Bearer {key}"
        began = time.monotonic()
        answer = client.post("/v1/assets", params={"name": "a.jpg"}, content=sample_path("target.jpg").read_bytes())
        assert time.monotonic() - began < 6
        told = answer.json()
        assert (answer.status_code, told["code"]) == (503, "store_unreachable")
        assert "again" in told["hint"]
        for word in ("inner", "127.0.0.1", "s3:", "Debug", "resumed", "keys", "bucket"):
            assert word not in told["detail"] + told["hint"], told


def test_a_models_place_that_is_away_leaves_the_embedded_models_usable(tmp_path, monkeypatch, capsys):
    place = "s3://KEY:hunter22@inner-models"
    monkeypatch.setenv("FACEFUSION_MODELS_PATHS", json.dumps([place]))
    config = ServerConfig(Backend(tmp_path / "jobs"), {"models_paths": (place,)})
    began = time.monotonic()
    with InProcess(config) as live, live.client() as client:
        _, key = create_key(live.service.ledger, "anna", ["admin"])
        client.headers["Authorization"] = f"Bearer {key}"
        for path in ("/v1/capabilities", "/v1/models", "/v1/models/face_landmarker_embedded"):
            answer = client.get(path)
            assert answer.status_code == 200, answer.text
            assert "inner-models" not in answer.text
    assert time.monotonic() - began < 60
    run = ("run", "-s", sample_path("source.jpg"), "-t", sample_path("target.jpg"), "-o", tmp_path / "o.png")
    for words in (("doctor",), ("models", "list"), run):
        with pytest.raises(SystemExit) as end:
            cli.main([str(word) for word in words])
        said = capsys.readouterr()
        assert not end.value.code, said
        assert "hunter22" not in said.out + said.err and "Debug source" not in said.out + said.err
        if words == ("doctor",):
            assert "inner-models cannot be read" in said.out
