"""A real service for tests: ``facefusion serve`` as a process of its own, on a free loopback port."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import uvicorn
from tests.patience import PATIENCE_S, wait_until
from tests.servers import read_tail

from facefusion.jobs.ledger import Ledger
from facefusion.server.access import SCOPES, create_key
from facefusion.server.app import build_app
from facefusion.server.config import ServerConfig
from facefusion.server.run import PatientProtocol, ReadyServer, listen
from facefusion.server.state import Service
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
            self.process = subprocess.Popen([*words, *self._flags], stdout=out, stderr=log, env=self._own_environment())

        def is_up() -> bool:
            assert self.process.poll() is None, self.explain()
            lines = (self.folder / "out").read_text().splitlines()
            told = [json.loads(line) for line in lines if line.endswith("}")]
            self.url = next((one["url"] for one in told if one["event"] == "serving"), "")
            return bool(self.url)

        wait_until(is_up, self.explain)
        return self

    def _own_environment(self) -> dict[str, str]:
        outside = {name: value for name, value in os.environ.items() if not name.startswith("FACEFUSION_")}
        own = {"XDG_STATE_HOME": str(self.folder / "state"), "XDG_CONFIG_HOME": str(self.folder / "no-configuration")}
        return {**outside, **own, **self._environment}

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


class InProcess:
    """A service in a thread of this process, with everything but the processes that do jobs.

    Parameters
    ----------
    config
        Its port does not matter.
    is_working
        Whether it does jobs after all.
    """

    def __init__(self, config: ServerConfig, is_working: bool = False) -> None:
        self.app = build_app(config, is_working)
        self._held = listen(replace(config, port=0))
        self.port = self._held.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._ready = threading.Event()
        self.server = ReadyServer(
            uvicorn.Config(
                self.app, http=PatientProtocol, ws="none", log_config=None, server_header=False, lifespan="on"
            ),
            self._ready.set,
        )
        self._thread = threading.Thread(target=lambda: asyncio.run(self.server.serve([self._held])), daemon=True)

    def start(self) -> InProcess:
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(PATIENCE_S)
        self._held.close()

    def __enter__(self) -> InProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def service(self) -> Service:
        return self.app.state.service

    def key(self, tenant: str = "anna", scopes: Sequence[str] = ALL, expires_in_s: float | None = None) -> str:
        """A key for a tenant."""
        return create_key(self.service.ledger, tenant, scopes, expires_in_s)[1]

    def client(self, tenant: str = "", scopes: Sequence[str] = ALL) -> httpx.Client:
        """A client with a key of its own, or without any."""
        headers = {"Authorization": f"Bearer {self.key(tenant, scopes)}"} if tenant else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S)
