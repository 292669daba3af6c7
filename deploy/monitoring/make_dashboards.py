"""Makes Grafana's dashboards in ``dashboards/``: ``python deploy/monitoring/make_dashboards.py``.

What every exporter of one store tells the same of is taken by ``max`` over them, what is of one machine by ``sum``.
"""

from __future__ import annotations

import json
from pathlib import Path

FOLDER = Path(__file__).with_name("dashboards")
SOURCE = {"type": "prometheus", "uid": "${source}"}


def once(metric: str, by: str, window: str = "") -> str:
    """A figure of the store, whoever tells it."""
    return f"max by ({by}) ({f'rate({metric}[{window}])' if window else metric})"


BOARDS = {
    "overview": ("FaceFusion: jobs and queues", [
        ("Jobs by status", "short", [(f"sum by (status) ({once('facefusion_jobs', 'status, queue, tenant_class')})", "{{status}}")]),
        ("Open jobs by class of tenant", "short", [(
            "sum by (tenant_class) (max by (status, queue, tenant_class) "
            '(facefusion_jobs{status=~"queued|running"})) or vector(0)', "{{tenant_class}}")]),
        ("Parts that wait", "short", [(once('facefusion_queue_items{status="queued"}', "queue, stage"), "{{queue}} {{stage}}")]),
        ("Age of the oldest part that waits", "s", [(once("facefusion_queue_age_seconds", "queue"), "{{queue}}")]),
        ("Processes at work", "short", [(once("facefusion_at_work", "queue"), "{{queue}}")]),
        ("Jobs that ended, a minute", "short", [(f"60 * {once('facefusion_jobs_over_total', 'status', '5m')}", "{{status}}")]),
        ("Time of a job that is done", "s", [(
            f"{once('facefusion_jobs_over_seconds_total', 'status')} / {once('facefusion_jobs_over_total', 'status')}",
            "{{status}}")]),
        ("Requests of the service by status", "short", [(f"sum by (status) ({once('facefusion_orders', 'status, tenant_class')})", "{{status}}")]),
        ("Messages to webhooks", "short", [(f"{once('facefusion_deliveries', 'status')} or vector(0)", "{{status}}")]),
    ]),
    "work": ("FaceFusion: stages and models", [
        ("Frames a second", "short", [(once("facefusion_frames_total", "stage", "5m"), "{{stage}}")]),
        ("Seconds of a part, 95 of 100 within", "s", [(
            f"histogram_quantile(0.95, {once('facefusion_item_seconds_bucket', 'le, stage', '5m')})", "{{stage}}")]),
        ("Seconds by stage, a second", "short", [(once("facefusion_item_seconds_sum", "stage", "5m"), "{{stage}}")]),
        ("Seconds by model, a second", "short", [(once("facefusion_model_seconds_total", "stage, model", "5m"), "{{stage}} {{model}}")]),
        ("Seconds of a run by model", "s", [(
            f"{once('facefusion_model_seconds_total', 'model, stage')} / {once('facefusion_model_runs_total', 'model, stage')}",
            "{{stage}} {{model}}")]),
        ("Parts by result, a minute", "short", [(f"60 * {once('facefusion_items_total', 'stage, result', '5m')}", "{{stage}} {{result}}")]),
        ("Failures by code", "short", [(f"{once('facefusion_failures_total', 'code, stage')} or vector(0)", "{{code}} {{stage}}")]),
        ("Parts of silent processes", "short", [("max(facefusion_silent_items)", "silent")]),
        ("Found in memory", "percentunit", [(
            'sum by (cache) (max by (cache, result) (facefusion_cache_lookups_total{result="hit"})) / '
            "sum by (cache) (max by (cache, result) (facefusion_cache_lookups_total))", "{{cache}}")]),
    ]),
    "service": ("FaceFusion: the service", [
        ("Requests a second by route", "reqps", [("sum by (method, route) (rate(facefusion_http_request_seconds_count[5m]))", "{{method}} {{route}}")]),
        ("Answers a second by status", "reqps", [("sum by (status) (rate(facefusion_http_request_seconds_count[5m]))", "{{status}}")]),
        ("Time to answer, 50 and 95 of 100 within", "s", [
            ("histogram_quantile(0.5, sum by (le) (rate(facefusion_http_request_seconds_bucket[5m])))", "50"),
            ("histogram_quantile(0.95, sum by (le) (rate(facefusion_http_request_seconds_bucket[5m])))", "95")]),
        ("Files of the service", "bytes", [(once("facefusion_asset_bytes", "role"), "{{role}}")]),
    ]),
    "machines": ("FaceFusion: machines", [
        ("Answers", "short", [('up{job=~"facefusion-.*"}', "{{job}} {{instance}}")]),
        ("Store answers", "short", [("facefusion_store_up", "{{instance}}")]),
        ("Processes", "short", [("facefusion_processes", "{{instance}}")]),
        ("Memory of all processes", "bytes", [("facefusion_memory_bytes", "{{instance}}")]),
        ("Folders", "bytes", [("facefusion_cache_bytes", "{{instance}} {{cache}}")]),
        ("Memory of GPUs", "percentunit", [("facefusion_gpu_memory_used_bytes / facefusion_gpu_memory_bytes", "{{instance}} {{gpu}}")]),
        ("GPUs busy", "percentunit", [("facefusion_gpu_busy_ratio", "{{instance}} {{gpu}}")]),
        ("Versions", "short", [("sum by (version, door) (facefusion_build)", "{{door}} {{version}}")]),
    ]),
}  # fmt: skip


def board(name: str) -> dict[str, object]:
    """A dashboard as Grafana takes it (schemaVersion 36)."""
    title, panels = BOARDS[name]
    return {
        "uid": f"facefusion-{name}", "title": title, "tags": ["facefusion"], "schemaVersion": 36, "version": 1,
        "editable": True, "timezone": "browser", "refresh": "30s", "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]},
        "panels": [
            {
                "id": number + 1, "type": "timeseries", "title": text, "datasource": SOURCE,
                "gridPos": {"x": number % 3 * 8, "y": number // 3 * 8, "w": 8, "h": 8},
                "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                "options": {"legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"}},
                "targets": [
                    {"refId": chr(65 + place), "datasource": SOURCE, "expr": query, "legendFormat": legend}
                    for place, (query, legend) in enumerate(targets)
                ],
            }
            for number, (text, unit, targets) in enumerate(panels)
        ],
    }  # fmt: skip


def made(name: str) -> str:
    """Its file."""
    return json.dumps(board(name), indent=1) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for one in BOARDS:
        (FOLDER / f"{one}.json").write_text(made(one), encoding="utf-8")
