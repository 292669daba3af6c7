"""What a service is told before it begins: everything that a door has read from its settings."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from facefusion import journal
from facefusion.jobs.storage import ASSETS
from facefusion.service.backend import Backend

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Quotas:
    """What one tenant may take.

    Attributes
    ----------
    requests_per_minute
        Requests.
    open_jobs
        Jobs that wait or run.
    stored_bytes
        All files together.
    video_s_per_day
        Seconds of video that jobs make, counted when they are asked for; 0 for any.
    refusals_per_minute
        Requests without a valid key, of one address.
    """

    requests_per_minute: int = 3000
    open_jobs: int = 100
    stored_bytes: int = 100_000_000_000
    video_s_per_day: float = 0.0
    refusals_per_minute: int = 120


@dataclass(frozen=True, slots=True)
class Oidc:
    """Whose tokens are accepted besides keys.

    Attributes
    ----------
    issuer, audience
        What tokens must name.
    jwks
        File or https URL with public keys.
    algorithms
        By which they may be signed; never what the token says.
    tenant_claim
        Claim that names the tenant.
    """

    issuer: str
    audience: str
    jwks: str
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    tenant_claim: str = "tenant"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How a service listens, whom it lets in, what it takes, and who does its work.

    Attributes
    ----------
    backend
        Where jobs are and who does them.
    execution
        Options of this machine for all jobs: providers, devices, threads, folders of models, licences.
    host, port
        Where it listens.
    names
        Host names by which clients may call it, besides its address.
    certificate, certificate_key
        PEM files, for https; empty for http.
    jobs_at_once
        Jobs that are done here at the same time.
    upload_bytes, clip_s
        Largest file and longest clip that are taken.
    asset_days, audit_days
        How long files that no job needs, and who did what, are kept.
    quotas
        Of every tenant.
    limits_url
        Redis in which several services count together; empty for counting here.
    oidc
        Whose tokens are accepted besides keys.
    allow_private_webhooks
        Whether webhooks may lead to addresses that are not on the public internet, and go by http; for tests.
    tenant_classes
        Class by tenant, by which metrics tell of them.
    metrics_host, metrics_port
        Where Prometheus may ask without a key; None for nowhere.
    log
        How all processes write their log, the least that is written, and where their traces go.
    """

    backend: Backend
    execution: Mapping[str, Any] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 5000
    names: tuple[str, ...] = ()
    certificate: str = ""
    certificate_key: str = ""
    jobs_at_once: int = 1
    upload_bytes: int = 8_000_000_000
    clip_s: float = 240 * 60.0
    asset_days: float = 7.0
    audit_days: float = 365.0
    quotas: Quotas = Quotas()
    limits_url: str = ""
    oidc: Oidc | None = None
    allow_private_webhooks: bool = False
    tenant_classes: Mapping[str, str] = field(default_factory=dict)
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    log: journal.Plan = journal.NO_PLAN

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def known_hosts(self) -> frozenset[str]:
        """Host names that requests may name; without a name of its own every address that it listens at."""
        own = {self.host.strip("[]").lower()} - {"0.0.0.0", "::"}
        return frozenset({*LOOPBACK_NAMES, *own, *(name.lower() for name in self.names)})

    @property
    def folder(self) -> Path:
        """Where it keeps what comes in and goes out on this machine."""
        return self.backend.folder / "service"

    @property
    def store_url(self) -> str:
        """The job store."""
        return self.backend.store_url or f"sqlite:///{(self.backend.folder / 'jobs.db').absolute()}"

    @property
    def assets_url(self) -> str:
        """Where assets are: beside the jobs of this machine, or in the storage that all share."""
        if self.backend.is_cluster:
            return f"{self.backend.storage_url.rstrip('/')}/{ASSETS}"
        return (self.folder.absolute() / ASSETS).as_uri()


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a service is that answers.

    Attributes
    ----------
    url
        Its address.
    is_loopback
        Whether only this machine can reach it.
    has_keys
        Whether anybody has a key.
    metrics_url
        Where Prometheus may ask without one; empty for nowhere.
    """

    url: str
    is_loopback: bool
    has_keys: bool
    metrics_url: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
