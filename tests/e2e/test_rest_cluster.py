"""The same requests to a service on one machine and to one in front of a cluster: the same answers, the same bytes."""

from __future__ import annotations

import pytest
from tests.chaos import Cluster, make_small, render_alone
from tests.live import LiveServer, upload, wait_for_job
from tests.patience import wait_until
from tests.servers import Ceph, PostgreSQL, RabbitMQ

from facefusion.client import Client
from facefusion.jobs.storage import open_storage
from facefusion.jobs.sweep import sweep
from facefusion.server.config import ServerConfig
from facefusion.testing.fakes import sample_path
from facefusion.testing.provenance import content_of

OPTIONS = {"segment_s": 5.0, "output_video_preset": "ultrafast"}
"""As in `tests.chaos.make_recipe`."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Half a minute, in six parts."""
    return make_small(tmp_path_factory.mktemp("clip") / "clip.mp4", frame_count=150, side=160)


@pytest.fixture(scope="module")
def wanted(clip, tmp_path_factory):
    return render_alone(clip, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("servers")
    made = {kind: kind(folder / kind.__name__) for kind in (Ceph, RabbitMQ, PostgreSQL)}
    try:
        for server in made.values():
            server.start()
        made[Ceph].make_bucket("service")
        environment = made[Ceph].environment_of_clients
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            found = Cluster(folder / "cluster", made[RabbitMQ], made[PostgreSQL], "s3://service/ff", environment)
            found.start_worker()
            found.start_worker()
            yield found
            found.stop_workers()
    finally:
        for server in made.values():
            server.stop()


@pytest.fixture(scope="module", params=["on one machine", "in front of a cluster"])
def live(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    flags, environment = ["--execution-thread-count", "1"], {}
    if request.param != "on one machine":
        cluster = request.getfixturevalue("cluster")
        flags += [*cluster.words, "--job-tries", "12", "--lease", "4"]
        environment = cluster.environment
    with LiveServer(folder, flags, environment) as made:
        made.cluster = None if request.param == "on one machine" else cluster
        yield made


def test_a_clip_is_made_with_a_worker_killed_in_the_middle(live, clip, wanted, tmp_path):
    with Client(live.url, live.key("anna")) as service:
        source, target = service.upload(sample_path("source.jpg")), service.upload(clip)
        job = service.create_job({"target": target.id, "sources": [source.id], **OPTIONS})
        is_killed = False
        for kind, values in service.events(job.id):
            if kind == "progress" and values["stage"] == "render" and not is_killed and live.cluster:
                is_killed = True
                live.cluster.kill_worker(sorted(live.cluster.workers)[0])
                live.cluster.start_worker()
        done = service.job(job.id)
        assert done.status == "done", done
        made = service.download(done.output, tmp_path / "made.mp4")
        assert content_of(made) == wanted, "the same to the byte"
        assert is_killed or not live.cluster


def test_what_can_be_done_with_jobs_and_assets_is_the_same(live, clip, tmp_path):
    with live.client("ben") as ben:
        source, target = upload(ben, "source.jpg"), upload(ben, clip)
        wait_until(lambda: ben.get(f"/v1/assets/{target}/faces").status_code == 200)
        told = ben.get(f"/v1/assets/{target}/faces").json()
        people = told["people"]
        assert len(people) == 1, told
        assert ben.get(people[0]["picture"]).headers["content-type"] == "image/webp"
        recipe = {"target": target, "people": [{"face": "0", "sources": [source]}], "end_s": 4, **OPTIONS}
        assert ben.post("/v1/previews", json={"recipe": recipe, "at_s": 1}).status_code == 200
        assert ben.get(f"/v1/assets/{target}", headers={"Range": "bytes=5-9"}).content == clip.read_bytes()[5:10]
        job_id = ben.post("/v1/jobs", json={"recipe": recipe, "report": True}).json()["id"]
        job = wait_for_job(ben, job_id)
        assert ben.get(f"/v1/jobs/{job_id}/report").json()
        assert {part["status"] for part in ben.get(f"/v1/jobs/{job_id}/segments").json()["parts"]} == {"done"}
        output = job["output"]["id"]
        assert len(ben.get(f"/v1/assets/{output}").content) == job["output"]["bytes"]
        assert ben.delete(f"/v1/jobs/{job_id}").status_code == 204
        assert ben.get(f"/v1/assets/{output}").status_code == 404
        # Cancelled, tried again, deleted in the middle.
        job_id = ben.post("/v1/jobs", json={"recipe": {**recipe, "end_s": 30}}).json()["id"]
        wait_until(lambda: ben.get(f"/v1/jobs/{job_id}").json()["status"] == "running")
        assert ben.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
        wait_for_job(ben, job_id, "cancelled")
        assert ben.post(f"/v1/jobs/{job_id}/retry").status_code == 200
        wait_until(lambda: ben.get(f"/v1/jobs/{job_id}").json()["progress"]["stages"])
        assert ben.delete(f"/v1/jobs/{job_id}").status_code == 204
        refused = ben.post("/v1/jobs", json={"recipe": {"target": source, "sources": [target]}})
        assert (refused.status_code, refused.json()["code"]) == (422, "no_face_in_source")


def test_nothing_of_a_tenant_is_left_and_what_is_of_the_service_is_no_stray(live, clip):
    with live.client("carl") as carl, live.client("root", ["admin"]) as root:
        target = upload(carl, "target.jpg")
        wait_for_job(carl, carl.post("/v1/jobs", json={"recipe": {"target": target, "sources": [target]}}).json()["id"])
        if live.cluster:
            from facefusion.jobs.store import JobStore

            store = JobStore(live.cluster.backend.store_url)
            sweep(store, open_storage(live.cluster.backend.storage_url, live.folder / "cache"), 30, stray_s=0)
            store.close()
            assert carl.get(f"/v1/assets/{target}").status_code == 200
        told = root.delete("/v1/tenants/carl").json()
        assert set(told["left"].values()) == {0} and told["files_left"] == 0 and told["files_removed"] == 4
        if live.cluster:
            backend = live.cluster.backend
            storage = open_storage(ServerConfig(backend).assets_url, live.folder / "cache")
            assert [one.key for one in storage.list() if one.key.startswith("carl/")] == []
