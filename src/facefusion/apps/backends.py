"""What settings say of where jobs are. Imports next to nothing, so that a service is up at once."""

from __future__ import annotations

from pathlib import Path

from facefusion.policy.signing import Signing
from facefusion.service.backend import Backend
from facefusion.settings import JobSettings


def backend_of(settings: JobSettings) -> Backend:
    """What settings say of where jobs are."""

    def size(limit_gb: float | None) -> int | None:
        return None if limit_gb is None else int(limit_gb * 1e9)

    return Backend(
        settings.folder, settings.job_store, settings.broker, settings.storage, settings.queue, settings.priority,
        settings.worker_count, size(settings.memory_limit_gb), size(settings.disk_limit_gb), settings.job_tries,
        settings.lease_s, settings.keep_days, signing_of(settings),
    )  # fmt: skip


def signing_of(settings: JobSettings) -> Signing:
    """What settings say of how outputs are signed."""

    def named(path: Path) -> Path | None:
        return None if path == Path() else path

    return Signing(
        named(settings.signing_certificate), named(settings.signing_key), named(settings.identity_path),
        is_off=settings.provenance == "off",
    )  # fmt: skip
