"""What settings say of where jobs are and what may be done. Imports next to nothing: a service is up at once."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from facefusion.policy.signing import Signing
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.service.backend import Backend
from facefusion.settings import JobSettings, PolicySettings, load_policy


def backend_of(settings: JobSettings, policy: SitePolicy = NO_POLICY) -> Backend:
    """What settings say of where jobs are, with what may be done with them."""

    def size(limit_gb: float | None) -> int | None:
        return None if limit_gb is None else int(limit_gb * 1e9)

    return Backend(
        settings.folder, settings.job_store, settings.broker, settings.storage, settings.queue, settings.priority,
        settings.worker_count, size(settings.memory_limit_gb), size(settings.disk_limit_gb), settings.job_tries,
        settings.lease_s, settings.keep_days, policy,
    )  # fmt: skip


def policy_of(settings: PolicySettings) -> SitePolicy:
    """What settings say of what may be done."""
    folder = platformdirs.user_data_path("facefusion") / "policy"

    def named(path: Path) -> Path | None:
        return path.absolute() if path != Path() else None

    return SitePolicy(
        consent_mode=settings.consent_mode,
        consent_of=settings.consent_of,
        ledger=named(settings.consent_ledger) or folder / "consents.toml",
        blocklist=named(settings.blocklist_path) or folder / "blocklist.json",
        is_blocklist_named=named(settings.blocklist_path) is not None,
        blocklist_key=settings.blocklist_key,
        blocklist_key_path=named(settings.blocklist_key_path),
        content_mode=settings.content_mode,
        content_models=settings.content_models,
        content_licences=settings.content_licences,
        models_paths=settings.content_models_paths,
        signing=Signing(
            named(settings.signing_certificate), named(settings.signing_key), named(settings.identity_path),
            is_off=settings.provenance == "off",
        ),
        is_marked=settings.watermark == "on",
    )  # fmt: skip


def site_policy() -> SitePolicy:
    """What may be done here, for the library: it reads no other setting.

    Raises
    ------
    RecipeError
    """
    try:
        folder: Path | None = Path.cwd()
    except OSError:
        folder = None
    return policy_of(load_policy(os.environ, folder))
