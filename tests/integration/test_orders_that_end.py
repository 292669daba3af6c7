"""What operators and the next start learn of an order that failed, or whose service was stopped in the middle."""

from __future__ import annotations

import logging

import pytest
from tests.live import LiveServer, upload, wait_for_job
from tests.patience import wait_until

from facefusion.errors import OutputRefused
from facefusion.jobs import tally
from facefusion.jobs.ledger import Asked, Ledger
from facefusion.jobs.storage import open_storage
from facefusion.server.config import ServerConfig
from facefusion.server.orders import _Clerk
from facefusion.service.backend import Backend
from facefusion.service.jobs import Jobs
from facefusion.testing.fakes import sample_path

REQUEST = {"recipe": {"target": "1" * 32, "sources": ["2" * 32]}, "output": {}, "target_name": "Anna.jpg"}


@pytest.fixture
def clerk(tmp_path):
    config = ServerConfig(Backend(tmp_path / "jobs"))
    config.folder.mkdir(parents=True)
    ledger = Ledger(config.store_url)
    with Jobs(config.backend) as jobs:
        yield _Clerk(config, ledger, open_storage(config.assets_url, tmp_path), jobs, "me")
    ledger.close()


def ask(ledger, order_id):
    ledger.place("anna", "anna", [Asked(order_id, REQUEST, ())], order_id)


@pytest.mark.parametrize("of_job", ["", "done", "failed"])
def test_an_order_that_fails_is_in_the_log_and_counted_once(clerk, of_job, caplog):
    ledger = clerk._ledger
    ask(ledger, "a" * 32)
    order = ledger.claim_order("me", 60)
    if of_job:
        ledger.create("b" * 32, {}, {}, "", [10], "cpu", stages=("render", "merge"))
        ledger.change_order(order.id, "me", job_id="b" * 32)
        import sqlalchemy as sa

        with ledger._engine.begin() as connection:
            connection.execute(sa.text("UPDATE jobs SET status = :a"), {"a": of_job})
    with caplog.at_level(logging.INFO, "facefusion.server"):
        clerk._fail(order, OutputRefused("There is no room left for /data/Anna.jpg.", "Free some space."))
    assert ledger.get_order("anna", order.id).status == "failed"
    (line,) = caplog.records
    assert (line.levelname, line.order, line.code) == ("ERROR", order.id, "output_refused")
    assert "There is no room left" in line.getMessage() and "Free some space" in line.getMessage()
    assert "Anna" not in line.getMessage()
    sums = ledger.tallies()
    counted = 0 if of_job == "failed" else 1  # the job counted itself
    assert sums.get((tally.JOBS, "failed", ""), 0) == counted
    assert sums.get((tally.FAILURES, "output_refused", "order"), 0) == counted


def test_what_a_stopped_service_had_in_hand_is_not_cancelled_and_goes_on_first(tmp_path):
    live = LiveServer(tmp_path / "live", ["--workers", "1"]).start()
    ledger = Ledger(live.store_url)
    with live.client("anna") as client:
        source, clip = upload(client, "source.jpg"), upload(client, sample_path("target.mp4"))
        asked = {"recipe": {"target": clip, "sources": [source], "segment_s": 1}}
        first, second = (client.post("/v1/jobs", json=asked).json()["id"] for _ in range(2))

        def has_begun():
            view = ledger.view("anna", first)
            return view.status == "running" and any(stage.frames_done for stage in view.progress)

        wait_until(has_begun)
    assert live.stop() == 0, live.explain()
    job = ledger.get_order("anna", first).job_id
    assert ledger.get(job).status in ("queued", "running")
    assert not [what for _, what in ledger.history(job) if "cancelled" in what]
    with Jobs(Backend(live.jobs)) as jobs:
        (summary,) = jobs.list().jobs
        assert summary.is_stopped, "it is told that it goes on"
    assert ledger.claim_order("nobody", 1).id == first, "before what came later"
    ledger.let_go(first, "nobody", None, is_try=False)
    with live, live.client("anna") as client:
        wait_for_job(client, first)
        assert ledger.get_order("anna", second).status != "done"
    ledger.close()
