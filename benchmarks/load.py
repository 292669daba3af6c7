"""Two hundred clients at once, for three minutes, while jobs render: how long a status takes, and how much memory it all needs.

    python benchmarks/load.py --clients 200 --minutes 3 --jobs-at-once 2

Every client is a coroutine with connections of its own: it uploads, asks for jobs, looks at them, listens to events, makes previews
and lists, at random. Fails where an answer is 5xx, where the p99 of a status is above 100 ms, or where memory grows by more
than a quarter from the second minute to the last.
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
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.live import LiveServer

from facefusion.testing.fakes import sample_path

LIMIT_MS = 100.0
GROWTH = 1.25


class Load:
    """What all clients share.

    Parameters
    ----------
    live
        The service.
    count, seconds
        Clients, and for how long.
    """

    def __init__(self, live: LiveServer, count: int, seconds: float) -> None:
        self.live, self.count, self.until = live, count, time.monotonic() + seconds
        self.times: dict[str, list[float]] = defaultdict(list)
        self.answers: Counter[str] = Counter()
        self.keys = [live.key(f"tenant{k}") for k in range(10)]
        self.jobs: list[tuple[str, str]] = []
        self.photo, self.face = sample_path("target.jpg").read_bytes(), sample_path("source.jpg").read_bytes()
        self.clip = sample_path("target.mp4").read_bytes()

    async def run(self) -> None:
        limits = httpx.Limits(max_connections=self.count * 2, max_keepalive_connections=self.count * 2)
        async with httpx.AsyncClient(base_url=self.live.url, timeout=120, limits=limits) as client:
            await self._keep_rendering(client)
            await asyncio.gather(*(self._client(client, number) for number in range(self.count)))

    async def _keep_rendering(self, client: httpx.AsyncClient) -> None:
        """Jobs that are at work all the time, so that nobody is measured at rest."""
        key = self.keys[0]
        source, clip = await self._upload(client, key, self.face), await self._upload(client, key, self.clip)
        for _ in range(12):
            body = {"recipe": {"target": clip, "sources": [source]}}
            answer = await self._ask(client, "create", "POST", "/v1/jobs", key, json=body)
            self.jobs.append((key, answer.json()["id"]))

    async def _client(self, client: httpx.AsyncClient, number: int) -> None:
        rng = random.Random(number)
        key = self.keys[number % len(self.keys)]
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
                await self._ask(client, what, "POST", "/v1/previews", key, json=body)
            elif what == "list":
                await self._ask(client, what, "GET", "/v1/jobs", key, params={"limit": 20})
            elif what == "download":
                await self._ask(client, what, "GET", f"/v1/assets/{target}", key)
            elif what == "cancel":
                body = {"recipe": {"target": target, "sources": [source]}}
                answer = await self._ask(client, "create", "POST", "/v1/jobs", key, json=body)
                if answer.status_code == 202:
                    await self._ask(client, what, "POST", f"/v1/jobs/{answer.json()['id']}/cancel", key)
            elif own and what == "events":
                await self._listen(client, key, rng.choice(own), rng.uniform(1, 8))
            elif own:
                await self._ask(client, "status", "GET", f"/v1/jobs/{rng.choice(own)}", key)
            else:
                await self._ask(client, "session", "GET", "/v1/session", key)
            await asyncio.sleep(rng.uniform(0.5, 1.5))

    async def _upload(self, client: httpx.AsyncClient, key: str, content: bytes) -> str:
        answer = await self._ask(client, "upload", "POST", "/v1/assets", key, content=content)
        return str(answer.json().get("id", ""))

    async def _listen(self, client: httpx.AsyncClient, key: str, job: str, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                headers = {"Authorization": f"Bearer {key}"}
                async with client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as answer:
                    self.answers[f"events {answer.status_code}"] += 1
                    async for _ in answer.aiter_lines():
                        pass
        except TimeoutError:
            return

    async def _ask(
        self, client: httpx.AsyncClient, name: str, method: str, path: str, key: str, **rest
    ) -> httpx.Response:
        began = time.perf_counter()
        answer = await client.request(method, path, headers={"Authorization": f"Bearer {key}"}, **rest)
        self.times[name].append(1000 * (time.perf_counter() - began))
        self.answers[f"{name} {answer.status_code}"] += 1
        return answer


def watch(pid: int, found: list[tuple[float, float]], is_over: threading.Event) -> None:
    """Memory of the service's own process, and of it with all its processes, each second, MB."""
    process = psutil.Process(pid)
    while not is_over.wait(1):
        own = process.memory_info().rss / 1e6
        rest = 0.0
        for child in process.children(recursive=True):
            try:
                rest += child.memory_info().rss / 1e6
            except psutil.Error:
                continue
        found.append((own, own + rest))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--jobs-at-once", type=int, default=2)
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
            load, memory, is_over = Load(live, arguments.clients, 60 * arguments.minutes), [], threading.Event()
            watcher = threading.Thread(target=watch, args=(live.process.pid, memory, is_over), daemon=True)
            watcher.start()
            asyncio.run(load.run())
            is_over.set()
            watcher.join()
    third = max(len(memory) // 3, 1)
    early = statistics.median(own for own, _ in memory[third : 2 * third] or memory)
    late = statistics.median(own for own, _ in memory[-third:])
    figures = {
        name: {
            "count": len(times), "p50_ms": round(statistics.median(times), 1),
            "p99_ms": round(sorted(times)[min(int(0.99 * len(times)), len(times) - 1)], 1), "max_ms": round(max(times), 1),
        }
        for name, times in sorted(load.times.items())
    }  # fmt: skip
    broken = {name: count for name, count in load.answers.items() if name.rsplit(" ", 1)[1].startswith("5")}
    told = {
        "requests": figures, "answers": dict(sorted(load.answers.items())), "server_errors": broken,
        "memory_mb": {"middle": round(early), "end": round(late), "with_children": round(max(a for _, a in memory))},
    }  # fmt: skip
    print(json.dumps(told, indent=1))
    is_good = not broken and figures["status"]["p99_ms"] <= LIMIT_MS and late <= GROWTH * early
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
