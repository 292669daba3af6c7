"""Uploads in pieces where several services share one store and one storage: any of them goes on with any upload."""

from __future__ import annotations

import pytest
from tests.live import InProcess

from facefusion.server import pieces
from facefusion.server.config import ServerConfig
from facefusion.server.life import expire
from facefusion.service.backend import Backend
from facefusion.testing.fakes import sample_path

TUS = {"Tus-Resumable": "1.0.0"}
PIECE = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Two services in front of one cluster, each with a folder of its own; what comes is stored often."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 3000)
    shared = tmp_path / "shared"
    shared.mkdir()

    def service(name):
        backend = Backend(
            tmp_path / name, f"sqlite:///{tmp_path / 'jobs.db'}", "memory://", (shared / "storage").as_uri()
        )  # fmt: skip
        return InProcess(ServerConfig(backend))

    with service("one") as one, service("two") as other:
        yield one, other, shared / "storage"


def _pieces(storage):
    return sorted(path for path in storage.rglob("pieces/*") if path.is_file())


def test_an_upload_goes_on_at_another_service(two):
    one, other, storage = two
    content = sample_path("source.jpg").read_bytes()
    key = one.key("anna")
    with one.client() as first, other.client() as second:
        for client in (first, second):
            client.headers["Authorization"] = f"Bearer {key}"
        place = first.post("/v1/uploads", headers={**TUS, "Upload-Length": str(len(content))}).headers["location"]
        assert second.head(place, headers=TUS).headers["upload-offset"] == "0"
        at, clients = 0, [first, second]
        for size in (10_000, 1, 12_345):
            told = clients[0].patch(place, content=content[at : at + size], headers={**PIECE, "Upload-Offset": str(at)})
            assert told.status_code == 204, told.text
            at += size
            clients.reverse()
            assert clients[0].head(place, headers=TUS).headers["upload-offset"] == str(at)
        assert len(_pieces(storage)) >= 3
        wrong = second.patch(place, content=b"x", headers={**PIECE, "Upload-Offset": "5"})
        assert wrong.status_code == 409
        long = b"x" * (len(content) - at + 4000)
        assert second.patch(place, content=iter([long]), headers={**PIECE, "Upload-Offset": str(at)}).status_code == 413
        assert first.head(place, headers=TUS).headers["upload-offset"] == str(at), "it counts for nothing"
        done = second.patch(place, content=content[at:], headers={**PIECE, "Upload-Offset": str(at)})
        assert done.status_code == 204, done.text
        asset = done.headers["facefusion-asset"]
        assert first.head(place, headers=TUS).headers["facefusion-asset"] == asset
        assert first.get(f"/v1/assets/{asset}").content == content
    assert _pieces(storage) == []


def test_what_is_refused_expires_or_is_taken_away_leaves_no_piece(two):
    one, other, storage = two
    with one.client("ben") as client:

        def begin(content, length):
            place = client.post("/v1/uploads", headers={**TUS, "Upload-Length": str(length)}).headers["location"]
            return place, client.patch(place, content=content, headers={**PIECE, "Upload-Offset": "0"})

        place, told = begin(b"no media at all" * 400, 6000)
        assert told.status_code == 415
        assert client.head(place, headers=TUS).status_code == 404
        place, _ = begin(b"x" * 400_000, 800_000)
        assert len(_pieces(storage)) > 1, "stored as it comes"
        assert client.head(place, headers=TUS).headers["upload-offset"] == "400000"
        assert client.delete(place, headers=TUS).status_code == 204
        assert _pieces(storage) == []
        place, _ = begin(b"x" * 4000, 8000)
        import sqlalchemy as sa

        with other.service.ledger._engine.begin() as connection:
            connection.execute(sa.text("UPDATE uploads SET expires_at = 1"))
        assert client.head(place, headers=TUS).status_code == 410
        expire(other.service)
    assert _pieces(storage) == []
