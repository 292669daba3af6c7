"""What a running service holds: its store, its storage, its processes, and who may do what."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
import platformdirs
from starlette.requests import Request

from facefusion.errors import ExtraMissing, FaceFusionError
from facefusion.jobs.ledger import Deed, Ledger
from facefusion.jobs.storage import Storage, open_storage
from facefusion.jobs.store import LOCAL
from facefusion.server.access import Gate, Principal
from facefusion.server.config import ServerConfig
from facefusion.server.hands import Hands
from facefusion.server.pace import Pace
from facefusion.service.exposing import expose
from facefusion.service.watched import Watched
from facefusion.workplace import make_folder

if TYPE_CHECKING:
    from facefusion.service.capabilities import Capabilities
    from facefusion.service.exposition import Exposition
    from facefusion.service.jobs import Jobs
    from facefusion.service.models import Models

T = TypeVar("T")
INSPECTOR_BYTES = 12_000_000_000
"""Memory that a process may ask for which looks into a file: the largest photo that is taken needs a third of it."""
_AUDIT_EVERY_S = 1.0


SLOW_AT_ONCE = 64
"""Requests that wait for a process or a job at the same time; they are in nobody's way who only asks how things are."""


def new_id() -> str:
    """An id that nobody can guess."""
    return secrets.token_hex(16)


class Service:
    """Everything that requests share.

    Parameters
    ----------
    config
        How it listens, whom it lets in, and who does its work.

    Raises
    ------
    RecipeError
        When limits are to be counted where nothing can be.
    StoreUnreachable, StoreRefused, OutputRefused
    """

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        make_folder(config.folder)
        self.uploads = make_folder(config.folder / "uploads")
        self.cache = make_folder(config.folder / "cache")
        self.looked_at = make_folder(config.folder / "looked_at")
        self.ledger = Ledger(config.store_url)
        self.storage: Storage = open_storage(config.assets_url, self.cache)
        self.gate = Gate(self.ledger, config.is_loopback, config.oidc)
        self.inspectors = Hands(1, INSPECTOR_BYTES)
        self.studio = Hands(1)
        self.pace = Pace(config.limits_url)
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}
        self._deeds: list[Deed] = []
        self._deeds_lock = threading.Lock()  # of its own: nobody waits for what is made once
        self._slow: anyio.CapacityLimiter | None = None  # made in the loop that it belongs to
        self.fetches: dict[str, dict[str, Any]] = {}
        self.exposition: Exposition | None = None
        with suppress(ExtraMissing):  # whoever asks for metrics hears of it
            self.exposition = expose(self._watched())
        self._is_over = threading.Event()
        self._clerk = threading.Thread(target=self._write_deeds, name="audit", daemon=True)
        self._clerk.start()

    def _watched(self) -> Watched:
        config, folders = self.config, {"previews": self.looked_at, "uploads": self.uploads, "fetched": self.cache}
        folders["models"] = platformdirs.user_data_path("facefusion") / "models"
        queues = (config.backend.queue,) if config.backend.is_cluster else (LOCAL,)
        return Watched(config.store_url, "serve", config.tenant_classes, queues, folders)

    def get_exposition(self) -> Exposition:
        """What tells Prometheus how things are.

        Raises
        ------
        ExtraMissing
        """
        return self.exposition or expose(self._watched())

    def _once(self, name: str, make: Callable[[], T]) -> T:
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            found: T = self._made[name]
            return found

    @property
    def jobs(self) -> Jobs:
        """The room under the doors; loading it takes a moment."""

        def make() -> Jobs:
            from facefusion.service.jobs import Jobs

            return Jobs(self.config.backend)

        return self._once("jobs", make)

    @property
    def models(self) -> Models:
        """Models that this machine knows."""

        def make() -> Models:
            from facefusion.service.models import Models

            execution = self.config.execution
            return Models(execution.get("models_paths", ()), execution.get("licences", "commercial"))

        return self._once("models", make)

    @property
    def capabilities(self) -> Capabilities:
        """What can be asked for; found out once, for providers are tried."""

        def make() -> Capabilities:
            from facefusion.service.capabilities import find_capabilities

            return find_capabilities(models, self.config.backend.policy)

        models = self.models
        return self._once("capabilities", make)

    async def take_time(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function that may take long, apart from those that do not."""
        if self._slow is None:
            self._slow = anyio.CapacityLimiter(SLOW_AT_ONCE)
        return await anyio.to_thread.run_sync(partial(function, *args), limiter=self._slow)

    def count_request(self, principal: Principal) -> None:
        """Count a request of a tenant.

        Raises
        ------
        LimitReached
        """
        self.pace.hit(self.config.quotas.requests_per_minute, "tenant", principal.tenant)

    def count_refusal(self, request: Request) -> None:
        """Count a request that nobody answers for.

        Raises
        ------
        LimitReached
        """
        host = request.client.host if request.client else ""
        self.pace.hit(self.config.quotas.refusals_per_minute, "address", host)

    def note(self, deed: Deed) -> None:
        """Have it written who did what."""
        with self._deeds_lock:
            self._deeds.append(deed)

    def _write_deeds(self) -> None:
        while not self._is_over.wait(_AUDIT_EVERY_S):
            self.flush_deeds()

    def flush_deeds(self) -> None:
        """Write what was noted."""
        with self._deeds_lock:
            deeds, self._deeds = self._deeds, []
        with suppress(FaceFusionError):
            self.ledger.note_deeds(deeds)

    def path_of_upload(self, upload_id: str) -> Path:
        """Where the bytes of an upload are; ids are ours, and never a name that somebody sent."""
        return self.uploads / upload_id

    def close(self) -> None:
        """Let everything go."""
        self._is_over.set()
        self._clerk.join(5)
        self.flush_deeds()
        self.inspectors.close()
        self.studio.close()
        if "jobs" in self._made:
            self._made["jobs"].close()
        if self.exposition is not None:
            self.exposition.close()
        self.ledger.close()
