"""Two services with folders of their own in front of one cluster: whoever ends a job, it is done, and no copy stays."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tests.chaos import Cluster
from tests.live import LiveServer, upload, wait_for_job
from tests.patience import wait_until
from tests.servers import PostgreSQL, Redis

from facefusion.jobs.ledger import Ledger
from facefusion.jobs.storage import open_storage
from facefusion.testing.fakes import sample_path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("servers")
    made = {kind: kind(folder / kind.__name__) for kind in (Redis, PostgreSQL)}
    try:
        for server in made.values():
            server.start()
        found = Cluster(folder / "cluster", made[Redis], made[PostgreSQL], (folder / "shared").as_uri(), {})
        yield found
        found.stop_workers()
    finally:
        for server in made.values():
            server.stop()


def sums_in(folder: Path) -> dict[str, Path]:
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in folder.rglob("*") if path.is_file()}


def test_a_job_that_one_service_planned_is_brought_by_another_and_deletion_reaches_every_copy(cluster, tmp_path):
    flags = [*cluster.words, "--job-tries", "12", "--lease", "4"]
    one, other = (LiveServer(tmp_path / name, flags, cluster.environment) for name in ("one", "other"))
    given = {hashlib.sha256(sample_path(name).read_bytes()).hexdigest() for name in ("source.jpg", "target.jpg")}
    one.start()
    ledger = Ledger(one.store_url)
    with one.client("anna") as anna:
        source, target = upload(anna, "source.jpg"), upload(anna, "target.jpg")
        asked = {"recipe": {"target": target, "sources": [source]}, "report": True}
        jobs = [anna.post("/v1/jobs", json=asked).json()["id"] for _ in range(2)]
        wait_until(lambda: all(ledger.get_order("anna", job).status == "running" for job in jobs))

    def is_handed_over() -> bool:
        return not given & set(sums_in(one.folder))

    wait_until(is_handed_over, lambda: f"a copy stays: {sums_in(one.folder)}", 60)
    one.kill()
    # What an earlier version, or a process that was killed, left here of a job that another service takes away.
    left = one.jobs / "service" / "inputs" / jobs[0] / f"{source}.jpg"
    looked_at = one.jobs / "service" / "looked_at" / f"{target}.jpg"
    dead = one.jobs / "service" / "hands" / "0123456789abcdef" / "inputs" / jobs[0] / f"{source}.jpg"
    for path in (left, looked_at, dead):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sample_path("source.jpg").read_bytes())
    with other:
        cluster.start_worker()
        with other.client("anna") as anna:
            for job in jobs:
                done = wait_for_job(anna, job)
                assert anna.get(f"/v1/assets/{done['output']['id']}").status_code == 200
                assert anna.get(f"/v1/jobs/{job}/report").status_code == 200
            storage = open_storage(cluster.backend.storage_url, tmp_path / "cache")
            wait_until(lambda: {stored.key.split("/")[0] for stored in storage.list()} <= {"assets", ".work"})
            for job, more in zip(jobs, ("", "?inputs=true"), strict=True):
                answer = anna.delete(f"/v1/jobs/{job}{more}")
                assert answer.status_code == 204, answer.text
        assert given.isdisjoint(sums_in(other.folder))
    with one:
        wait_until(lambda: given.isdisjoint(sums_in(one.folder)), lambda: f"a copy stays: {sums_in(one.folder)}", 90)
        assert not dead.exists() and not left.exists() and not looked_at.exists()
    ledger.close()


def test_an_output_that_is_gone_from_the_storage_is_made_again(cluster, tmp_path):
    live = LiveServer(tmp_path / "live", [*cluster.words, "--lease", "4"], cluster.environment).start()
    ledger = Ledger(live.store_url)
    storage = open_storage(cluster.backend.storage_url, tmp_path / "cache")
    with live.client("anna") as anna:
        source, target = upload(anna, "source.jpg"), upload(anna, "target.jpg")
        asked = {"recipe": {"target": target, "sources": [source]}}
        order = anna.post("/v1/jobs", json=asked).json()["id"]
        wait_until(lambda: ledger.get_order("anna", order).status == "running")
    live.kill()
    job = ledger.get_order("anna", order).job_id
    if not cluster.workers:
        cluster.start_worker()
    wait_until(lambda: ledger.get(job).status == "done")
    storage.delete(f"{job}/")
    with live, live.client("anna") as anna:
        done = wait_for_job(anna, order)
        assert anna.get(f"/v1/assets/{done['output']['id']}").status_code == 200
    ledger.close()
