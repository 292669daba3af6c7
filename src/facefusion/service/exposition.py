"""What Prometheus is told, by the service and by workers. The home of prometheus_client; nothing else loads it.

What the store knows is read from it when somebody asks, so it is right however many processes work and however they
end; every exporter of one store tells the same of it (``max`` over them, not ``sum``). What is of this machine or this
process is told by who is there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import prometheus_client as prometheus
import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from facefusion.errors import FaceFusionError, OutputRefused
from facefusion.jobs import tally
from facefusion.jobs.readings import Gauge, Readings
from facefusion.jobs.states import STAGES
from facefusion.service import gpus
from facefusion.service.watched import Watched
from facefusion.version import __version__

CONTENT_TYPE = prometheus.CONTENT_TYPE_LATEST
PATIENCE_S = 2.0
"""How long a scrape waits for a store that is away."""
KEEP_S = 2.0
"""A reading is good for so long: several scrapers ask once."""
WALK_S = 60.0
"""Folders are measured this often."""
HTTP_BOUNDS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Exposition:
    """Tells Prometheus how things are.

    Parameters
    ----------
    watched
        Of what.
    """

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self._registry)
        prometheus.PlatformCollector(registry=self._registry)
        self._http = prometheus.Histogram(
            "facefusion_http_request_seconds", "Time to answer requests, by route and never by path.",
            ("method", "route", "status"), registry=self._registry, buckets=HTTP_BOUNDS_S,
        )  # fmt: skip
        build = prometheus.Gauge("facefusion_build", "Always 1.", ("version", "door"), registry=self._registry)
        build.labels(__version__, watched.door).set(1)
        self._registry.register(self)  # it collects
        self._gauge: Gauge | None = None
        self._lock = threading.Lock()
        self._kept: tuple[float, Readings | None] = (float("-inf"), None)
        self._sizes: tuple[float, dict[str, int]] = (float("-inf"), {})
        self._listening: Any = None

    def describe(self) -> list[Any]:
        """Nothing is told before it is asked for."""
        return []

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered.

        Parameters
        ----------
        method
            Of HTTP; unknown ones are one.
        route
            Template of its path; ``-`` where there is no such route.
        status
            0 where the client was gone.
        seconds
            How long it took.
        """
        known = method if method in METHODS else "other"
        self._http.labels(known, route, str(status)).observe(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus's format."""
        return prometheus.generate_latest(self._registry)

    def listen(self, host: str, port: int) -> int:
        """Answer at a port of its own, to whoever can reach it.

        Returns
        -------
        The port.

        Raises
        ------
        OutputRefused
        """
        try:
            self._listening, _ = prometheus.start_http_server(port, host, self._registry)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputRefused(
                f"Nobody can listen at {host}, port {port}, for metrics: {reason}.",
                "Stop what is there, or choose another --metrics-port or --metrics-host.",
            ) from error
        return int(self._listening.server_port)

    def let_go(self) -> None:
        """In a process that was forked: the port is the parent's."""
        if self._listening is not None:
            with suppress(OSError):
                self._listening.socket.close()

    def close(self) -> None:
        """End."""
        if self._listening is not None:
            self._listening.shutdown()
            self._listening.server_close()
        if self._gauge is not None:
            self._gauge.close()

    def _look(self) -> Readings | None:
        with self._lock:
            at, found = self._kept
            if time.monotonic() - at > KEEP_S:
                found = None
                with suppress(FaceFusionError):
                    if self._gauge is None:
                        self._gauge = Gauge(self._watched.store_url, PATIENCE_S)
                    found = self._gauge.read(self._watched.classes, self._watched.queues)
                self._kept = time.monotonic(), found
            return found

    def collect(self) -> Iterator[Any]:
        """What is known at this moment."""
        readings = self._look()
        up = GaugeMetricFamily("facefusion_store_up", "Whether the job store answers; nothing of it is told where not.")
        up.add_metric((), float(readings is not None))
        yield up
        if readings is not None:
            yield from _of_store(readings)
            yield from _of_sums(readings.sums)
        yield from self._of_machine()

    def _of_machine(self) -> Iterator[Any]:
        own = psutil.Process()
        family = [own]
        with suppress(psutil.Error):
            family += own.children(recursive=True)
        memory = 0
        for process in family:
            with suppress(psutil.Error):
                memory += process.memory_info().rss
        yield _gauge("facefusion_processes", "Processes of this program on this machine.", (), {(): len(family)})
        yield _gauge("facefusion_memory_bytes", "Memory that they take together (resident).", (), {(): memory})
        yield _gauge("facefusion_cache_bytes", "Size of folders on this machine.", ("cache",), self._measured())
        found = gpus.look()
        if found:
            about, names = ("gpu", "model"), [(str(one.number), one.name) for one in found]
            used = dict(zip(names, (one.used_bytes for one in found), strict=True))
            total = dict(zip(names, (one.total_bytes for one in found), strict=True))
            busy = {name: one.busy for name, one in zip(names, found, strict=True) if one.busy is not None}
            yield _gauge("facefusion_gpu_memory_used_bytes", "Memory of a GPU that is taken.", about, used)
            yield _gauge("facefusion_gpu_memory_bytes", "Memory of a GPU.", about, total)
            yield _gauge("facefusion_gpu_busy_ratio", "Share of time in which a GPU computes, 0 to 1.", about, busy)

    def _measured(self) -> dict[tuple[str, ...], int]:
        at, sizes = self._sizes
        if time.monotonic() - at > WALK_S:
            sizes = {name: size_of(path) for name, path in self._watched.folders.items()}
            self._sizes = time.monotonic(), sizes
        return {(name,): size for name, size in sizes.items()}


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder; 0 where there is none."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and not path.is_symlink():
                total += path.stat().st_size
    return total


def _gauge(name: str, text: str, labels: Sequence[str], values: Mapping[Any, float | int]) -> Any:
    family = GaugeMetricFamily(name, text, labels=labels)
    for words, value in values.items():
        family.add_metric(words, float(value))
    return family


def _counter(name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Any:
    family = CounterMetricFamily(name, text, labels=labels)
    for words, value in values.items():
        family.add_metric(words, value)
    return family


_ONCE = "Of the whole store: every exporter tells the same."


def _of_store(readings: Readings) -> Iterator[Any]:
    yield _gauge("facefusion_jobs", f"Jobs. {_ONCE}", ("status", "queue", "tenant_class"), readings.jobs)
    yield _gauge("facefusion_orders", f"Jobs of the service. {_ONCE}", ("status", "tenant_class"), readings.orders)
    text = f"Parts of jobs that are not over. {_ONCE}"
    yield _gauge("facefusion_queue_items", text, ("queue", "stage", "status"), readings.items)
    text = f"How long the oldest part has waited to be taken. {_ONCE}"
    yield _gauge("facefusion_queue_age_seconds", text, ("queue",), _one(readings.ages_s))
    text = f"Processes that have a part in hand. {_ONCE}"
    yield _gauge("facefusion_at_work", text, ("queue",), _one(readings.at_work))
    text = f"Parts whose process is silent for longer than its lease. {_ONCE}"
    yield _gauge("facefusion_silent_items", text, (), {(): readings.silent})
    yield _gauge("facefusion_asset_bytes", f"Files of the service. {_ONCE}", ("role",), _one(readings.assets))
    text = f"Messages to webhooks. {_ONCE}"
    yield _gauge("facefusion_deliveries", text, ("status",), _one(readings.deliveries))


def _one(values: Mapping[str, float | int]) -> dict[tuple[str, ...], float | int]:
    return {(name,): value for name, value in values.items()}


def _of_sums(sums: Mapping[tally.Key, float]) -> Iterator[Any]:
    # What has not happened yet is told too: a sum that appears with a 1 never grew, for whoever takes a rate.
    by: dict[str, dict[tuple[str, str], float]] = {
        tally.JOBS: {(status, ""): 0.0 for status in tally.OVER},
        tally.JOB_S: {(status, ""): 0.0 for status in tally.OVER},
        tally.ITEMS: {(stage, result): 0.0 for stage in STAGES for result in tally.RESULTS.values()},
    }
    for (name, one, other), value in sums.items():
        by.setdefault(name, {})[one, other] = value

    def alone(name: str) -> dict[tuple[str, ...], float]:
        return {(one,): value for (one, _), value in by.get(name, {}).items()}

    def both(name: str) -> dict[tuple[str, ...], float]:
        return {(one, other): value for (one, other), value in by.get(name, {}).items()}

    text = f"Parts, by what came of each try. {_ONCE}"
    yield _counter("facefusion_items", text, ("stage", "result"), both(tally.ITEMS))
    yield _counter("facefusion_frames", f"Frames of parts that were done. {_ONCE}", ("stage",), alone(tally.FRAMES))
    yield _histogram(by)
    text = f"Parts that failed, by code of the error. {_ONCE}"
    yield _counter("facefusion_failures", text, ("code", "stage"), both(tally.FAILURES))
    text = f"Time in models; threads are added up. {_ONCE}"
    yield _counter("facefusion_model_seconds", text, ("stage", "model"), both(tally.MODEL_S))
    yield _counter("facefusion_model_runs", f"Runs of models. {_ONCE}", ("stage", "model"), both(tally.MODEL_RUNS))
    text = f"Whether something was in memory already. {_ONCE}"
    yield _counter("facefusion_cache_lookups", text, ("cache", "result"), both(tally.CACHE))
    yield _counter("facefusion_jobs_over", f"Jobs that came to their end. {_ONCE}", ("status",), alone(tally.JOBS))
    text = f"Seconds from asking for jobs to their end. {_ONCE}"
    yield _counter("facefusion_jobs_over_seconds", text, ("status",), alone(tally.JOB_S))


def _histogram(by: Mapping[str, Mapping[tuple[str, str], float]]) -> Any:
    text = f"Seconds of parts, from being taken to being recorded. {_ONCE}"
    family = HistogramMetricFamily("facefusion_item_seconds", text, labels=("stage",))
    within = by.get(tally.WITHIN, {})
    for (stage, _), seconds in by.get(tally.ITEM_S, {}).items():
        total, buckets = 0.0, []
        for bound in (*map(str, tally.BOUNDS_S), "+Inf"):
            total += within.get((stage, bound), 0.0)
            buckets.append((bound, total))
        family.add_metric((stage,), buckets, seconds)
    return family
