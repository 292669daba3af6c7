"""The service over HTTP: assets in and out, jobs from the recipe to the output."""

from __future__ import annotations

import hashlib

import pytest
from tests.live import LiveServer, upload, wait_for_job


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
