"""Two hundred clients at once, for three minutes, while jobs render: how long a status takes, how much memory it needs.

    python benchmarks/load.py                                     # 200 clients, 3 minutes, 2 jobs at once
    python benchmarks/load.py --clients 20 --minutes 0.33         # a try
    python benchmarks/load.py --pause 1                           # everybody in a hurry

Every client is a coroutine with a connection of its own, which speaks plain HTTP/1.1 over asyncio's streams: clients
share the machine with the service here, and a library for them takes almost as much of the processor as the service
does. It uploads, asks for jobs, looks at them, listens to events, makes previews and lists, at random, with a pause of
half to one and a half times ``--pause`` seconds after each. Clients arrive over the first sixth of the time. Prints a
table for docs/rest.md and each goal with whether it is met; ends with 1 where one is not: jobs are rendered all the
time, no answer is 5xx and no connection breaks, the p99 of a status is at most 100 ms, memory of the service grows by
no more than a quarter from the middle third to the last one, and no job fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.live import LiveServer

from facefusion.testing.fakes import sample_path

LIMIT_MS = 100.0
GROWTH = 1.25
FAILURES = (OSError, TimeoutError, EOFError, ValueError, LookupError, asyncio.LimitOverrunError)


class Broken(OSError):
    """A connection ended where an answer should be."""


class Answer:
    """Status and body of an answer."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status_code, self.body = status, body

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A connection to the service that is kept."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self.host, self.port = str(place.hostname), int(place.port or 80)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def request(
        self, method: str, path: str, key: str, content: bytes = b"", body: Any = None, params: Any = None
    ) -> Answer:
        """Ask, and read the whole answer."""
        try:
            status, headers, reader = await self._ask(method, path, key, content, body, params)
            found = b""
            if b"content-length" in headers:
                found = await reader.readexactly(int(headers[b"content-length"]))
            elif headers.get(b"transfer-encoding") == b"chunked":
                async for piece in _pieces(reader):
                    found += piece
            if headers.get(b"connection") == b"close":
                self.close()
            return Answer(status, found)
        except BaseException:
            self.close()
            raise

    async def listen(self, path: str, key: str, answers: Counter[str]) -> None:
        """Read a stream of events until it ends or nobody waits any more."""
        try:
            status, _, reader = await self._ask("GET", path, key)
            answers[f"events {status}"] += 1
            async for _ in _pieces(reader):
                pass
        finally:
            self.close()

    async def _ask(
        self, method: str, path: str, key: str, content: bytes = b"", body: Any = None, params: Any = None
    ) -> tuple[int, dict[bytes, bytes], asyncio.StreamReader]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self.host, self.port)
        if body is not None:
            content = json.dumps(body).encode()
        kind = "application/json" if body is not None else "application/octet-stream"
        told = [
            f"{method} {path}{'?' + urlencode(params) if params else ''} HTTP/1.1",
            f"Host: {self.host}:{self.port}", f"Authorization: Bearer {key}",
            *([f"Content-Type: {kind}", f"Content-Length: {len(content)}"] if method == "POST" else []),
        ]  # fmt: skip
        self._writer.write("\r\n".join([*told, "", ""]).encode() + content)
        await self._writer.drain()
        try:
            first, *rest = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        except asyncio.IncompleteReadError as error:
            raise Broken from error
        pairs = (line.split(b":", 1) for line in rest if line)
        return int(first.split()[1]), {name.lower(): value.strip() for name, value in pairs}, self._reader


async def _pieces(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The pieces of a chunked body (RFC 9112, 7.1)."""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")


class Load:
    """What all clients share.

    Parameters
    ----------
    live
        The service.
    count, seconds, pause_s
        Clients, for how long, and how long each pauses between two requests, on average.
    """

    def __init__(self, live: LiveServer, count: int, seconds: float, pause_s: float) -> None:
        self.live, self.count, self.until, self.pause_s = live, count, time.monotonic() + seconds, pause_s
        self.arrival_s = seconds / 6
        self.times: dict[str, list[float]] = defaultdict(list)
        self.answers: Counter[str] = Counter()
        self.keys = [live.key(f"tenant{k}") for k in range(10)]
        self.jobs: list[tuple[str, str]] = []
        self.photo, self.face = sample_path("target.jpg").read_bytes(), sample_path("source.jpg").read_bytes()
        self.clip = sample_path("target.mp4").read_bytes()
        self.rendered: Counter[str] = Counter()
        self.least_open = sys.maxsize

    async def run(self) -> None:
        async def visit(number: int) -> None:
            async with Connection(self.live.url) as client:
                await self._client(client, number)

        async with asyncio.TaskGroup() as group:
            await self._render_more(4)
            group.create_task(self._keep_rendering())
            for number in range(self.count):
                group.create_task(visit(number))
        await self._look()

    async def _keep_rendering(self) -> None:
        """Jobs that are at work all the time, so that nobody is measured at rest; everybody has one to look at."""
        while time.monotonic() < self.until:
            await self._look()
            open_count = len(self.jobs) - self.rendered.total()
            self.least_open = min(self.least_open, open_count)
            await self._render_more(4 - open_count)
            await asyncio.sleep(2)

    async def _look(self) -> None:
        """Count the jobs that are over."""
        async with Connection(self.live.url) as client:
            for key, job in self.jobs[self.rendered.total() :]:  # they end in the order in which they came
                answer = (await client.request("GET", f"/v1/jobs/{job}", key)).json()
                if answer.get("status") in ("queued", "running"):
                    return
                self.rendered[str(answer.get("status", "unknown"))] += 1

    async def _render_more(self, count: int) -> None:
        async with Connection(self.live.url) as client:
            for _ in range(count):
                key = self.keys[len(self.jobs) % len(self.keys)]
                source, clip = await self._upload(client, key, self.face), await self._upload(client, key, self.clip)
                body = {"recipe": {"target": clip, "sources": [source]}}
                answer = await self._ask(client, "create", "POST", "/v1/jobs", key, body=body)
                if answer is not None and answer.status_code == 202:
                    self.jobs.append((key, answer.json()["id"]))

    async def _client(self, client: Connection, number: int) -> None:
        rng = random.Random(number)
        key = self.keys[number % len(self.keys)]
        await asyncio.sleep(self.arrival_s * number / self.count)
        source, target = await self._upload(client, key, self.face), await self._upload(client, key, self.photo)
        while time.monotonic() < self.until:
            what = rng.choices(
                ("status", "list", "upload", "events", "preview", "cancel", "download"), (60, 10, 6, 6, 1, 2, 15)
            )[0]
            own = [job for owner, job in self.jobs if owner == key]
            if what == "upload":
                await self._upload(client, key, self.photo)
            elif what == "preview":
                body = {"recipe": {"target": target, "sources": [source]}, "size": 256}
                await self._ask(client, what, "POST", "/v1/previews", key, body=body)
            elif what == "list":
                await self._ask(client, what, "GET", "/v1/jobs", key, params={"limit": 20})
            elif what == "download":
                await self._ask(client, what, "GET", f"/v1/assets/{target}", key)
            elif what == "cancel":
                body = {"recipe": {"target": target, "sources": [source]}}
                answer = await self._ask(client, "create", "POST", "/v1/jobs", key, body=body)
                if answer is not None and answer.status_code == 202:
                    await self._ask(client, what, "POST", f"/v1/jobs/{answer.json()['id']}/cancel", key)
            elif own and what == "events":
                await self._listen(client, key, rng.choice(own), rng.uniform(1, 8))
            elif own:
                await self._ask(client, "status", "GET", f"/v1/jobs/{rng.choice(own)}", key)
            else:
                await self._ask(client, "session", "GET", "/v1/session", key)
            await asyncio.sleep(self.pause_s * rng.uniform(0.5, 1.5))

    async def _upload(self, client: Connection, key: str, content: bytes) -> str:
        answer = await self._ask(client, "upload", "POST", "/v1/assets", key, content=content)
        while answer is None or answer.status_code != 201:  # it is counted; what follows needs one
            if time.monotonic() > self.until:
                return "0" * 32
            await asyncio.sleep(1)
            answer = await self._ask(client, "upload", "POST", "/v1/assets", key, content=content)
        return str(answer.json()["id"])

    async def _listen(self, client: Connection, key: str, job: str, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await client.listen(f"/v1/jobs/{job}/events", key, self.answers)
        except TimeoutError:
            return
        except FAILURES as error:
            self.answers[f"events {type(error).__name__}"] += 1

    async def _ask(self, client: Connection, name: str, method: str, path: str, key: str, **rest) -> Answer | None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(120):
                answer = await client.request(method, path, key, **rest)
        except FAILURES as error:
            self.answers[f"{name} {type(error).__name__}"] += 1
            return None
        self.times[name].append(1000 * (time.perf_counter() - began))
        self.answers[f"{name} {answer.status_code}"] += 1
        return answer


def watch(pid: int, found: list[tuple[float, float]], is_over: threading.Event) -> None:
    """Memory of the service's own process, and of it with all its processes, each second, MB."""
    process = psutil.Process(pid)
    while not is_over.wait(1):
        try:
            own, children = process.memory_info().rss / 1e6, process.children(recursive=True)
        except psutil.Error:
            return
        rest = 0.0
        for child in children:
            with suppress(psutil.Error):
                rest += child.memory_info().rss / 1e6
        found.append((own, own + rest))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--jobs-at-once", type=int, default=2)
    parser.add_argument("--pause", type=float, default=4.0, help="seconds between two requests of a client")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flags = [
            "--jobs-at-once",
            str(arguments.jobs_at_once),
            "--open-jobs",
            "100000",
            "--requests-per-minute",
            "1000000",
        ]
        with LiveServer(Path(folder), flags) as live:
            load = Load(live, arguments.clients, 60 * arguments.minutes, arguments.pause)
            memory, is_over = [], threading.Event()
            watcher = threading.Thread(target=watch, args=(live.process.pid, memory, is_over), daemon=True)
            watcher.start()
            asyncio.run(load.run())
            is_over.set()
            watcher.join()
    return tell(load, memory, arguments)


def percentile(times: list[float], share: float) -> float:
    return sorted(times)[min(int(share * len(times)), len(times) - 1)]


def tell(load: Load, memory: list[tuple[float, float]], arguments: argparse.Namespace) -> int:
    """Print the table and what became of the goals; 0 where all are met."""
    print(
        f"{arguments.clients} clients, {arguments.minutes:g} min, a request each {arguments.pause:g} s, "
        f"{arguments.jobs_at_once} jobs at once\n"
    )
    print("| request | count | p50, ms | p99, ms | longest, ms |\n|---|---|---|---|---|")
    for name, times in sorted(load.times.items()):
        figures = [percentile(times, 0.5), percentile(times, 0.99), max(times)]
        print(f"| {name} | {len(times)} | {' | '.join(f'{one:.0f}' for one in figures)} |")
    third = max(len(memory) // 3, 1)
    early = statistics.median([own for own, _ in memory[third : 2 * third] or memory] or [0.0])
    late = statistics.median([own for own, _ in memory[-third:]] or [0.0])
    most = max((both for _, both in memory), default=0.0)
    print(f"\nanswers: {json.dumps(dict(sorted(load.answers.items())))}")
    counts = json.dumps(dict(load.rendered))
    print(f"of {len(load.jobs)} jobs ended: {counts}; never fewer open than {load.least_open}")
    print(
        f"memory of the service, MB: {early:.0f} in the middle, {late:.0f} at the end; with its processes {most:.0f}\n"
    )
    ends = {name: name.rsplit(" ", 1)[1] for name in load.answers}
    broken = {name: load.answers[name] for name, end in ends.items() if not end.isdigit() or end.startswith("5")}
    p99_ms = percentile(load.times.get("status") or [float("inf")], 0.99)
    goals = {
        f"no 5xx and no broken connection: {broken or 'none'}": not broken,
        f"p99 of a status at most {LIMIT_MS:.0f} ms: {p99_ms:.0f} ms": p99_ms <= LIMIT_MS,
        f"memory flat: {late / max(early, 1e-9):.2f} times": bool(memory) and late <= GROWTH * early,
        f"{arguments.jobs_at_once} jobs render all the time: {load.least_open} open": (
            arguments.jobs_at_once <= load.least_open < sys.maxsize
        ),
        f"no job failed: {dict(load.rendered)}": {*load.rendered} == {"done"},
    }
    for words, is_met in goals.items():
        print(f"{'met   ' if is_met else 'MISSED'} {words}")
    return 0 if all(goals.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
