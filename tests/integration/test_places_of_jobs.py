"""What is configured of job store, broker and storage is looked at, told of in seconds, and called by its name."""

from __future__ import annotations

import http.server
import json
import threading
import time

import pytest
from tests.servers import PostgreSQL, Redis, free_port

from facefusion.apps.cli import main
from facefusion.errors import StoreRefused, StoreUnreachable
from facefusion.jobs.storage import open_storage
from facefusion.jobs.store import JobStore
from facefusion.service.backend import Backend
from facefusion.service.doctor import look_at_places
from facefusion.service.jobs import Jobs


class _NoBucket(http.server.BaseHTTPRequestHandler):
    """An S3 that has no such bucket."""

    def do_GET(self):
        body = b"<?xml version='1.0'?><Error><Code>NoSuchBucket</Code><Message>no such bucket</Message></Error>"
        if length := int(self.headers.get("Content-Length") or 0):
            self.rfile.read(length)
        self.send_response(404)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_PUT = do_POST = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def no_bucket(monkeypatch):
    pytest.importorskip("obstore")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _NoBucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_ACCESS_KEY_ID": "a", "AWS_REGION": "x",
        "AWS_SECRET_ACCESS_KEY": "b", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    yield "s3://facefusion/work"
    server.shutdown()
    server.server_close()


def test_a_bucket_that_is_not_there_is_called_that(no_bucket, tmp_path):
    storage = open_storage(no_bucket, tmp_path)
    (tmp_path / "a").write_bytes(b"a")
    for ask in (lambda: storage.put("b" * 16 + "/a", tmp_path / "a"), storage.list, storage.check):
        with pytest.raises(StoreRefused, match="no bucket or container at s3://facefusion/work") as told:
            ask()
        assert "FACEFUSION_STORAGE" in told.value.hint
    with pytest.raises(FileNotFoundError):
        storage.put("b" * 16 + "/a", tmp_path / "nothing")
    assert not storage.has("b" * 16 + "/a")


def test_the_doctor_looks_at_what_is_configured(no_bucket, tmp_path, monkeypatch, capsys):
    port = free_port()
    monkeypatch.setenv("FACEFUSION_BROKER", f"redis://:secret@127.0.0.1:{port}/0")
    monkeypatch.setenv("FACEFUSION_JOB_STORE", f"postgresql+psycopg://f:secret@127.0.0.1:{port}/jobs")
    monkeypatch.setenv("FACEFUSION_STORAGE", no_bucket)
    monkeypatch.setenv("FACEFUSION_JOBS_PATH", str(tmp_path / "jobs"))
    began = time.monotonic()
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--json"])
    assert time.monotonic() - began < 60
    told = capsys.readouterr().out
    assert "secret" not in told
    places = {place["name"]: place for place in json.loads(told)["places"]}
    assert end.value.code == 6
    assert {name for name, place in places.items() if place["problem"]} == {"job store", "broker", "storage"}
    assert not (tmp_path / "jobs").exists()
    with pytest.raises(SystemExit) as end:
        main(["doctor"])
    assert "Something is broken" in (text := capsys.readouterr().out) and "There is no bucket" in text


def test_the_doctor_changes_nothing_in_what_answers(tmp_path):
    servers = [Redis(tmp_path / "redis"), PostgreSQL(tmp_path / "postgres")]
    try:
        for server in servers:
            server.start()
        redis, postgres = servers
        backend = Backend(tmp_path / "jobs", postgres.url, redis.url, (tmp_path / "files").as_uri())
        assert [place.problem for place in look_at_places(backend)] == [None] * 4
        import psycopg

        with psycopg.connect(f"host=127.0.0.1 port={postgres.port} user=facefusion dbname=postgres") as connection:
            assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
        assert not (tmp_path / "files").exists() and not (tmp_path / "jobs").exists()
        # A database that is not there is told at once.
        began = time.monotonic()
        with pytest.raises(StoreRefused, match='database "nosuch" does not exist'):
            JobStore(postgres.url.replace("/postgres", "/nosuch"))
        assert time.monotonic() - began < 10
    finally:
        for server in servers:
            server.stop()


def test_a_full_or_forbidden_jobs_folder_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    (place,) = look_at_places(Backend(tmp_path / "file" / "jobs"))
    assert "is no folder" in place.problem.message
    monkeypatch.setattr("facefusion.jobs.storage.shutil.disk_usage", lambda _: type("Usage", (), {"free": 5_000_000}))
    (place,) = look_at_places(Backend(tmp_path / "jobs"))
    assert "0.01 GB are free" in place.problem.message or "0.00 GB are free" in place.problem.message


def test_a_question_does_not_wait_a_minute_for_a_store_that_is_away(tmp_path, capsys):
    url = f"postgresql+psycopg://f@127.0.0.1:{free_port()}/jobs"
    began = time.monotonic()
    with pytest.raises(SystemExit) as end:
        main(["jobs", "list", "--job-store", url, "--jobs-path", str(tmp_path)])
    assert end.value.code == 8 and "does not answer" in capsys.readouterr().err
    assert time.monotonic() - began < 30
    with pytest.raises(StoreUnreachable), Jobs(Backend(tmp_path, url, patience_s=0.5)) as jobs:
        jobs.list()


def test_what_killed_workers_left_in_a_shared_folder_goes(tmp_path, monkeypatch):
    from facefusion.service import cluster

    storage = open_storage((tmp_path / "shared").as_uri(), tmp_path)
    left = storage.work / "vm-1-abcd" / "00000.nut"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"a face")
    monkeypatch.setattr(cluster, "cache_base", lambda: tmp_path / "cache")
    assert cluster.clear_caches(storage.url) == 1
    assert not left.exists()
