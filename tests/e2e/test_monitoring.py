"""A live Prometheus scrapes a service and a worker that do a real job; every panel and alert is tried on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from tests.chaos import Cluster, make_small
from tests.live import LiveServer, upload, wait_for_job
from tests.patience import wait_until
from tests.servers import PostgreSQL, Redis, Server, free_port, need, read_tail

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
TENANT = "annas-studio"


class Prometheus(Server):
    """With our rules and targets of its own, and alerts that need not last."""

    def __init__(self, folder, targets, alerts_port):
        super().__init__(folder)
        config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
        rules = yaml.safe_load((MONITORING / "rules.yml").read_text())
        for group in rules["groups"]:
            for rule in group["rules"]:
                rule["for"] = "0s"
        config["global"] = {"scrape_interval": "5s", "evaluation_interval": "1s", "scrape_timeout": "5s"}
        config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alerts_port}"]}]}]
        config["scrape_configs"] = [
            {"job_name": name, "static_configs": [{"targets": [target]}], **more} for name, target, more in targets
        ]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (folder / "rules.yml").write_text(yaml.safe_dump(rules))

    def command(self):
        return [
            *need("prometheus"), f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}",
        ]  # fmt: skip

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def is_ready(self):
        return super().is_ready() and httpx.get(f"{self.url}/-/ready", timeout=20).status_code == 200

    def ask(self, query):
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=60).json()
        assert answer["status"] == "success", (query, answer)
        return answer["data"]["result"]


class Alertmanager(Server):
    def command(self):
        shutil.copy(MONITORING / "alertmanager.yml", self.folder)
        return [
            *need("prometheus-alertmanager"), f"--config.file={self.folder / 'alertmanager.yml'}",
            f"--storage.path={self.folder / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",
        ]  # fmt: skip

    def alerts(self):
        return httpx.get(f"http://127.0.0.1:{self.port}/api/v2/alerts", timeout=60).json()


def panels():
    return [
        (path.stem, panel["title"], target["expr"])
        for path in sorted((MONITORING / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    ]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    need("prometheus", "prometheus-alertmanager")
    folder = tmp_path_factory.mktemp("monitoring")
    made = {kind: kind(folder / kind.__name__) for kind in (Redis, PostgreSQL, Alertmanager)}
    cluster = prometheus = None
    try:
        for server in made.values():
            server.start()
        hook = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1] / "gpu_hook"), *_paths()])}
        cluster = Cluster(folder / "cluster", made[Redis], made[PostgreSQL], (folder / "files").as_uri(), hook)
        port = free_port()
        worker = cluster.start_worker("--metrics-port", str(port), "--log-format", "json")
        flags = [*cluster.words, "--metrics-port", "0", "--tenant-classes", f"gold={TENANT}", "--log-format", "json"]
        with LiveServer(folder / "live", flags) as live:
            told = json.loads((live.folder / "out").read_text().splitlines()[0])
            own = told["metrics_url"].removeprefix("http://").removesuffix("/metrics")
            key = {"authorization": {"credentials": live.key("operators", ["admin"])}}
            targets = [
                ("facefusion-api", own, {}), ("facefusion-worker", f"127.0.0.1:{port}", {}),
                ("facefusion-gate", live.url.removeprefix("http://"), key),
            ]  # fmt: skip
            prometheus = Prometheus(folder / "prometheus", targets, made[Alertmanager].port)
            prometheus.start()
            live.cluster, live.prometheus, live.alerts = cluster, prometheus, made[Alertmanager]
            live.worker, live.metrics_url = worker, told["metrics_url"]
            yield live
    finally:
        if cluster is not None:
            cluster.stop_workers()
        for server in (*made.values(), *([prometheus] if prometheus is not None else [])):
            server.stop()


def _paths():
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


@pytest.fixture(scope="module")
def job(world, tmp_path_factory):
    """A job that was done under the eyes of Prometheus."""
    wait_until(lambda: len(world.prometheus.ask("up == 1")) == 3, lambda: str(world.prometheus.ask("up")))
    clip = make_small(tmp_path_factory.mktemp("clip") / "secret-name.mp4", frame_count=40, side=160)
    with world.client(TENANT) as client:
        recipe = {"target": upload(client, clip), "sources": [upload(client, "source.jpg")], "segment_s": 5.0}
        done = wait_for_job(client, client.post("/v1/jobs", json={"recipe": recipe}).json()["id"])
    wait_until(lambda: world.prometheus.ask('facefusion_jobs_over_total{status="done"} > 0'))
    return done


def test_what_the_job_came_to_is_the_same_from_every_exporter(world, job):
    frames = 'facefusion_frames_total{stage="render"}'
    wanted = dict.fromkeys(("facefusion-api", "facefusion-worker", "facefusion-gate"), "40")

    def is_same():
        return {one["metric"]["job"]: one["value"][1] for one in world.prometheus.ask(frames)} == wanted

    wait_until(is_same, lambda: str(world.prometheus.ask(frames)))
    models = world.prometheus.ask('facefusion_model_seconds_total{job="facefusion-worker"} > 0')
    assert {"analyse", "render"} <= {one["metric"]["stage"] for one in models}
    orders = 'facefusion_orders{job="facefusion-api"}'
    told = [("done", "gold", "1")]

    def is_told():
        found = [(one["metric"], one["value"][1]) for one in world.prometheus.ask(orders)]
        return [(one["status"], one["tenant_class"], value) for one, value in found] == told

    wait_until(is_told, lambda: str(world.prometheus.ask(orders)))


@pytest.mark.parametrize(("board", "title", "query"), panels())
def test_every_panel_has_series(world, job, board, title, query):
    found: list = []

    def has_series():
        found[:] = world.prometheus.ask(query)
        return bool(found)

    wait_until(has_series, lambda: f"{board}, {title}: {query}")


def test_nothing_that_is_told_or_logged_names_anybody_or_any_file(world, job):
    text = httpx.get(world.metrics_url, timeout=60).text
    logs = world.cluster.logs() + (world.folder / "log").read_text()
    for word in (TENANT, "secret-name", "source.jpg", str(world.folder)):
        assert word not in text and word not in logs, word
    assert job["id"] not in text
    assert "{asset_id}" in text or "/v1/assets" in text


def test_logs_are_json_with_the_ids_of_requests_and_jobs(world, job):
    lines = [json.loads(line) for line in (world.folder / "log").read_text().splitlines() if line.startswith("{")]
    requests = [line for line in lines if line.get("route") == "/v1/jobs/{job_id}"]
    assert requests and all(len(line["request"]) == 16 and line["status"] == 200 for line in requests)
    [asked] = [line for line in lines if line["message"] == "order is taken in"]
    assert asked["order"] == job["id"] and len(asked["request"]) == 16
    [planned] = [line for line in lines if line["message"] == "order is planned"]
    assert planned["order"] == job["id"]
    worker = [json.loads(line) for line in world.cluster.logs().splitlines() if line.startswith("{")]
    parts = [line for line in worker if line["logger"] == "facefusion.jobs"]
    assert parts and {line["job"] for line in parts} == {planned["job"]}
    assert parts[-1]["stage"] == "merge" and parts[-1]["segment"] == 0


def test_only_a_key_that_allows_everything_opens_the_metrics_of_the_service(world):
    with world.client(TENANT) as client:
        assert client.get("/metrics").status_code == 403
    assert httpx.get(f"{world.url}/metrics", timeout=60).status_code == 401


def test_an_alert_fires_and_arrives_when_a_worker_is_gone(world, job):
    os.killpg(world.cluster.workers[world.worker].pid, signal.SIGKILL)

    def has_arrived():
        return any(
            one["labels"]["alertname"] == "FaceFusionDown" and one["labels"]["job"] == "facefusion-worker"
            for one in world.alerts.alerts()
        )

    wait_until(has_arrived, lambda: str(world.alerts.alerts()) + read_tail(world.prometheus.folder / "log"))
    frames = "max(facefusion_frames_total{stage='render'})"
    wait_until(lambda: [one["value"][1] for one in world.prometheus.ask(frames)] == ["40"])


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("promtool", ["check", "config", "prometheus.yml"]), ("promtool", ["check", "rules", "rules.yml"]),
        ("promtool", ["test", "rules", "rules_test.yml"]), ("amtool", ["check-config", "alertmanager.yml"]),
    ],
)  # fmt: skip
def test_what_monitors_is_written_as_it_should_be(program, words):
    done = subprocess.run([*need(program), *words], cwd=MONITORING, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboards_are_what_the_script_makes():
    sys.path.insert(0, str(MONITORING))
    try:
        import make_dashboards
    finally:
        sys.path.remove(str(MONITORING))
    assert {path.stem for path in (MONITORING / "dashboards").glob("*.json")} == set(make_dashboards.BOARDS)
    for name in make_dashboards.BOARDS:
        assert (MONITORING / "dashboards" / f"{name}.json").read_text() == make_dashboards.made(name), name


def test_every_alert_has_its_place_in_the_docs():
    rules = yaml.safe_load((MONITORING / "rules.yml").read_text())
    text = (MONITORING.parents[1] / "docs" / "operations.md").read_text()
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert f"`{rule['alert']}`" in text, rule["alert"]
