"""Traces of a service: what a request led to, over its processes, at a collector that takes in OTLP over HTTP."""

from __future__ import annotations

import gzip
import shutil
import sys
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.live import LiveServer, upload, wait_for_job, wait_until

from facefusion import traces
from facefusion.errors import ExtraMissing, RecipeError
from facefusion.jobs.ledger import Ledger
from facefusion.testing.clips import make_clip
from facefusion.testing.fakes import sample_path

SHORT = {"steps": [{"processor": "face_anonymiser", "options": {"model": "blur"}}], "end_s": 0.2}


class Collector:
    """Takes in spans."""

    def __init__(self) -> None:
        self.spans: list = []
        spans = self.spans

        class Taker(BaseHTTPRequestHandler):
            def do_POST(self):
                content = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    content = gzip.decompress(content)
                for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
                    spans.extend(one for scope in resource.scope_spans for one in scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Taker)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Collector:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def traces(self) -> dict[int, dict[str, list]]:
        """Spans by trace and name."""
        found: dict = defaultdict(lambda: defaultdict(list))
        for span in list(self.spans):
            found[int.from_bytes(span.trace_id, "big")][span.name].append(span)
        return found


def attributes(span) -> dict:
    told = {}
    for one in span.attributes:
        kind = one.value.WhichOneof("value")
        value = getattr(one.value, kind)
        told[one.key] = [each.string_value for each in value.values] if kind == "array_value" else value
    return told


@pytest.fixture
def collector():
    with Collector() as made:
        yield made


def test_all_parts_of_a_job_are_one_trace_whoever_did_them(tmp_path, collector):
    clip = shutil.copy(sample_path("target.mp4"), tmp_path / "somebody's clip.mp4")
    parent = (0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
    with LiveServer(tmp_path, ["--jobs-at-once", "1", "--traces-url", collector.url]) as live:
        with live.client() as client:
            target = upload(client, clip)
            answer = client.post(
                "/v1/jobs",
                json={"recipe": {"target": target, **SHORT}},
                headers={"traceparent": f"00-{parent[0]:032x}-{parent[1]:016x}-01"},
            )
            assert answer.status_code == 202, answer.text
            order = answer.json()["id"]
            wait_for_job(client, order)
            assert client.get("/v1/jobs/" + "0" * 32).status_code == 404
        ledger = Ledger(live.store_url)
        job_id = ledger.get_order("anna", order).job_id
        ledger.close()
        trace, root = traces.ids_of(job_id)
        wanted = {"job", "order", "analyse", "join", "render", "merge"}
        wait_until(lambda: wanted <= set(collector.traces()[trace]), live.explain)
        wait_until(lambda: "POST /v1/jobs" in collector.traces()[parent[0]], live.explain)
    found = collector.traces()
    (span,) = found[parent[0]]["POST /v1/jobs"]
    assert int.from_bytes(span.parent_span_id, "big") == parent[1]
    told = attributes(span)
    assert (told["facefusion.order"], told["http.response.status_code"]) == ([order], 202)
    assert attributes(found[trace]["order"][0])["facefusion.order"] == [order]
    (whole,) = found[trace]["job"]
    assert (int.from_bytes(whole.span_id, "big"), whole.parent_span_id) == (root, b"")
    for spans in found[trace].values():
        for span in spans:
            assert span is whole or int.from_bytes(span.parent_span_id, "big") == root
            assert attributes(span)["facefusion.job"] == job_id
            assert whole.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
    assert sum(attributes(span)["facefusion.segments"] for span in found[trace]["render"]) >= 1
    assert any("GET /v1/jobs/{job_id}" in names for names in found.values())
    everything = b"".join(span.SerializeToString() for span in collector.spans)
    for secret in (str(tmp_path), "somebody", target, "0" * 32):
        assert secret.encode() not in everything, secret


def test_a_job_that_fails_says_so_by_its_code(tmp_path, collector):
    clip = make_clip(tmp_path / "a.mp4", pts=[0, 512])
    with LiveServer(tmp_path, ["--jobs-at-once", "1", "--traces-url", collector.url]) as live, live.client() as client:
        target = upload(client, clip)
        answer = client.post("/v1/jobs", json={"recipe": {"target": target, **SHORT}})
        job = wait_for_job(client, answer.json()["id"], "failed")

        def codes() -> set:
            return {attributes(span).get("facefusion.code") for span in list(collector.spans) if span.status.code == 2}

        wait_until(lambda: job["error"]["code"] in codes(), live.explain)


def test_a_collector_that_is_not_there_stops_nobody(tmp_path):
    clip = sample_path("target.mp4")
    with LiveServer(tmp_path, ["--jobs-at-once", "1", "--traces-url", "http://127.0.0.1:9"]) as live:
        with live.client() as client:
            recipe = {"target": upload(client, clip), **SHORT}
            wait_for_job(client, client.post("/v1/jobs", json={"recipe": recipe}).json()["id"])
        assert live.stop() == 0


def test_traces_that_cannot_be_sent_are_refused_at_the_start(monkeypatch):
    with pytest.raises(RecipeError, match="no address of a collector"):
        traces.set_up("localhost:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ExtraMissing, match=r"facefusion-studio\[traces\]"):
        traces.set_up("http://localhost:4318")
    traces.set_up("")
    with traces.part("1" * 16, "render") as tell, traces.request(dict) as name:
        tell(segments=1)
        name("GET /")
    traces.end("1" * 16, 0.0)
    traces.flush()
    assert traces.address() == ""
