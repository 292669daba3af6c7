"""``facefusion serve``: reads the settings, says where the service is, and runs it until it is told to stop."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from facefusion.apps.backends import backend_of
from facefusion.apps.console import say
from facefusion.apps.show import Show
from facefusion.errors import ExtraMissing
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.recipe import Execution, Recipe
from facefusion.settings import JobSettings, OperationSettings, ServerSettings

if TYPE_CHECKING:
    from facefusion.server.config import ServerConfig, Serving

log = logging.getLogger("facefusion.server")


def config_of(
    recipe: Recipe,
    settings: JobSettings,
    server: ServerSettings,
    policy: SitePolicy = NO_POLICY,
    operation: OperationSettings | None = None,
) -> ServerConfig:
    """What settings say of a service.

    Raises
    ------
    ExtraMissing
    """
    from facefusion.server.config import Oidc, Quotas, ServerConfig

    operation = operation or OperationSettings()
    backend = backend_of(settings, policy)
    oidc = None
    if server.oidc_issuer:
        oidc = Oidc(
            server.oidc_issuer, server.oidc_audience, server.oidc_jwks, server.oidc_algorithms, server.oidc_tenant_claim
        )
    execution = {name: getattr(recipe, name) for name in Execution.model_fields}
    return ServerConfig(
        backend=backend,
        execution=execution,
        host=server.server_host,
        port=server.server_port,
        names=server.server_names,
        certificate=server.server_certificate,
        certificate_key=server.server_certificate_key,
        jobs_at_once=server.server_jobs or _jobs_at_once(backend.is_cluster),
        upload_bytes=int(server.upload_limit_gb * 1e9),
        clip_s=server.clip_limit_minutes * 60,
        asset_days=server.asset_days,
        audit_days=server.audit_days,
        quotas=Quotas(
            server.requests_per_minute, server.open_jobs, int(server.tenant_gb * 1e9), server.video_minutes_per_day * 60
        ),
        limits_url=server.limits_store,
        oidc=oidc,
        tenant_classes=operation.classes,
        metrics_host=operation.metrics_host,
        metrics_port=operation.metrics_port,
        log=(operation.log_format, operation.log_level, operation.traces_url),
    )


def _jobs_at_once(is_cluster: bool) -> int:
    """One for every four cores: each shares its own among processes. For a cluster they are only sent and brought."""
    if is_cluster:
        return 4
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, cores // 4))


def run_server(
    recipe: Recipe,
    settings: JobSettings,
    server: ServerSettings,
    policy: SitePolicy,
    show: Show,
    operation: OperationSettings,
) -> int:
    """Run the service.

    Raises
    ------
    ExtraMissing, RecipeError, OutputRefused
    """
    try:
        from facefusion.server import run
    except ModuleNotFoundError as error:
        raise ExtraMissing.of("The service", str(error.name), "server") from error
    config = config_of(recipe, settings, server, policy, operation)
    config.backend.policy.signing.check()

    is_log = config.log[0] == "json"  # then all that is written is

    def tell(serving: Serving) -> None:
        lines = [f"FaceFusion is at {serving.url}"]
        if serving.is_loopback:
            way = "" if serving.has_keys else "; for others make a key: facefusion keys create --tenant NAME --scopes …"
            lines.append(f"Only this machine can reach it{way}.".replace("….", "…"))
        if serving.metrics_url:
            lines.append(f"Prometheus may ask at {serving.metrics_url}")
        lines.append("Ctrl-C stops it; jobs go on with the next start.")
        if is_log and not show.is_json:
            log.info("the service answers")
        else:
            show.answer("serving", serving, "\n".join(lines))

    run.serve(config, tell)
    if is_log:
        log.info("stopped")
    else:
        say("facefusion: Stopped.", is_error=True)
    return 0
