"""A real service for tests: ``facefusion serve`` as a process of its own, on a free loopback port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
from tests.patience import PATIENCE_S, wait_until
from tests.servers import read_tail

from facefusion.jobs.ledger import Ledger
from facefusion.server.access import SCOPES, create_key
from facefusion.testing.fakes import sample_path

ALL = tuple(scope for scope in SCOPES if scope != "admin")


class LiveServer:
    """A service that runs.

    Parameters
    ----------
    folder
        Its jobs folder is in it.
    flags
        More of the command line.
    environment
        More variables.
    """

    def __init__(self, folder: Path, flags: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self.folder, self.jobs = folder, folder / "jobs"
        self._flags, self._environment = list(flags), dict(environment or {})
        self.process: subprocess.Popen | None = None
        self.url = ""
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def store_url(self) -> str:
        flags = self._flags
        return flags[flags.index("--job-store") + 1] if "--job-store" in flags else f"sqlite:///{self.jobs / 'jobs.db'}"

    def start(self) -> LiveServer:
        words = [sys.executable, "-m", "facefusion", "serve", "--json", "--port", "0", "--jobs-path", str(self.jobs)]
        with (self.folder / "out").open("wb") as out, (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*words, *self._flags], stdout=out, stderr=log, env={**os.environ, **self._environment}
            )

        def is_up() -> bool:
            assert self.process.poll() is None, self.explain()
            lines = (self.folder / "out").read_text().splitlines()
            told = [json.loads(line) for line in lines if line.endswith("}")]
            self.url = next((one["url"] for one in told if one["event"] == "serving"), "")
            return bool(self.url)

        wait_until(is_up, self.explain)
        return self

    def explain(self) -> str:
        return read_tail(self.folder / "log") + read_tail(self.folder / "out")

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def __enter__(self) -> LiveServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def key(self, tenant: str = "anna", scopes: Sequence[str] = ALL, expires_in_s: float | None = None) -> str:
        """A key for a tenant."""
        ledger = Ledger(self.store_url)
        try:
            return create_key(ledger, tenant, scopes, expires_in_s)[1]
        finally:
            ledger.close()

    def client(self, tenant: str = "anna", scopes: Sequence[str] = ALL) -> httpx.Client:
        """A client with a key of its own."""
        headers = {"Authorization": f"Bearer {self.key(tenant, scopes)}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S)


def upload(client: httpx.Client, path: Path | str) -> str:
    """Id of the asset that a file becomes; a name is that of a packaged sample."""
    path = sample_path(path) if isinstance(path, str) else path
    answer = client.post("/v1/assets", params={"name": path.name}, content=path.read_bytes())
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def wait_for_job(client: httpx.Client, job_id: str, status: str = "done") -> dict:
    """A job, when it has a status."""
    found: dict = {}

    def is_so() -> bool:
        found.update(client.get(f"/v1/jobs/{job_id}").json())
        over = {"done", "failed", "cancelled"} - {status}
        assert found["status"] not in over, found
        return found["status"] == status

    wait_until(is_so, lambda: json.dumps(found))
    return found
