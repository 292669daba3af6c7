"""Routes of the service itself: health, session, what can be asked for, models, tenants, the log of deeds."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from facefusion.declaration import find_processor
from facefusion.errors import FaceFusionError, NotThere, UnknownModel
from facefusion.server.access import COOKIE, SESSION_S, Principal, allows, anybody, check_same_origin
from facefusion.server.assets import service_of
from facefusion.server.bodies import (
    MAX_PAGE,
    DeedBody,
    ErrorBody,
    Health,
    Listing,
    ModelBody,
    ModelList,
    Quota,
    RemovedBody,
    SessionBody,
    SessionKey,
    TenantBody,
    read_cursor,
    told_time,
    write_cursor,
)
from facefusion.server.life import files_of, remove_tenant
from facefusion.server.problems import documented, noted
from facefusion.server.recipes import FORMATS, allowed, recipe_models
from facefusion.server.state import Service
from facefusion.version import __version__

router = APIRouter(prefix="/v1", tags=["service"])
_beginning = threading.Lock()
"""Two who ask for a model at once begin one transfer."""
TenantPath = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


@router.get("/health", response_model=Health, summary="Whether it is up", responses=documented())
def health() -> Health:
    """Anybody may ask."""
    return Health(version=__version__)


@router.get("/session", response_model=SessionBody, summary="Who asks", responses=documented())
def session(request: Request, principal: Principal = Depends(anybody)) -> SessionBody:
    """Tenant, scopes, quotas and what is used of them."""
    return _session(service_of(request), principal)


def _session(service: Service, principal: Principal) -> SessionBody:
    used, quotas = service.ledger.used(principal.tenant), service.config.quotas
    return SessionBody(
        tenant=principal.tenant, who=principal.who, scopes=sorted(principal.scopes), is_page=principal.by_cookie,
        quotas={
            "requests_per_minute": Quota(limit=quotas.requests_per_minute, used=None),
            "open_jobs": Quota(limit=quotas.open_jobs, used=used["open_jobs"]),
            "stored_bytes": Quota(limit=quotas.stored_bytes, used=used["bytes"]),
            "video_s_per_day": Quota(limit=quotas.video_s_per_day or None, used=used["video_s"]),
        },
    )  # fmt: skip


@router.post("/session", response_model=SessionBody, summary="Trade a key for a cookie", responses=documented(415))
def begin_session(request: Request, response: Response, body: SessionKey) -> SessionBody:
    """For the page: the key itself need not be kept in the browser."""
    service = service_of(request)
    check_same_origin(request)
    try:
        principal, cookie = service.gate.key_cookie(body.key)
    except FaceFusionError:
        service.count_refusal(request)
        raise
    request.state.principal = principal
    service.count_request(principal)
    is_secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
    set_cookie(response, cookie, is_secure)
    return _session(service, principal)


@router.delete("/session", status_code=204, summary="End the session", responses=documented())
def end_session(response: Response, principal: Principal = Depends(anybody)) -> None:
    """Takes the cookie away."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")


def set_cookie(response: Response, cookie: str, is_secure: bool) -> None:
    """Give a browser its session: no script reads it, and no other page sends it."""
    response.set_cookie(
        COOKIE, cookie, max_age=int(SESSION_S), path="/", httponly=True, samesite="strict", secure=is_secure
    )


class ChoiceBody(BaseModel):
    """A model that a processor can take."""

    model_config = ConfigDict(title="ModelChoice")

    name: str = Field(description="as its option model takes it")
    licence: str
    commercial: str = Field(description="whether its licence allows commercial use: yes, no or unclear")
    place: str = Field(description="built in, here or not here")
    is_allowed: bool


class ProcessorBody(BaseModel):
    """A processor that can be asked for."""

    model_config = ConfigDict(title="Processor")

    name: str
    title: str
    kind: str
    is_default: bool
    is_protective: bool = Field(description="whether it hides people")
    models: list[ChoiceBody]
    inputs: list[str] = Field(description="what it wants besides the target")
    options: dict[str, Any] = Field(description="JSON Schema of its options")


class LimitsBody(BaseModel):
    """What is refused because it is too large."""

    upload_bytes: int
    clip_s: float
    photo_pixels: int
    clip_pixels: int
    clip_side_px: int
    jobs_in_a_batch: int


class PolicyBody(BaseModel):
    """What is checked before anything is done."""

    consent: Literal["off", "record", "require"] = Field(description="consents of people")
    consent_of: Literal["sources", "everyone"] = Field(description="whose consents")
    blocklist: bool = Field(description="whether there are people who must never take part")
    content: Literal["off", "record", "require"] = Field(description="what targets show")


class CapabilitiesBody(BaseModel):
    """What can be asked for here."""

    model_config = ConfigDict(title="Capabilities")

    version: str
    processors: list[ProcessorBody]
    options: dict[str, Any] = Field(description="JSON Schema of the options of a recipe that are no processor's")
    formats: dict[str, list[str]]
    models: list[ModelBody]
    providers: list[str]
    encoders: list[str]
    reports: bool = Field(description="whether jobs may be asked for with a report")
    licences: str = Field(description="which models may run here: commercial, research or any")
    limits: LimitsBody
    policy: PolicyBody


@router.get("/capabilities", response_model=CapabilitiesBody, summary="What can be asked for", responses=documented())
def capabilities(request: Request, principal: Principal = Depends(anybody)) -> CapabilitiesBody:
    """Processors with their options, models, what really works here, and limits."""
    from facefusion.server.jobs import MAX_BATCH

    service = service_of(request)
    found, config = service.capabilities, service.config
    here = {line.id: line.place for line in service.models.list() if line.place != "embedded"}  # it changes
    files = ("target", "sources", "exempt", "reference_face", "people", "steps")
    known = [name for name in recipe_models().recipe.model_fields if name not in files]
    return CapabilitiesBody(
        version=found.version,
        processors=[
            ProcessorBody(
                name=one.name, title=one.title, kind=one.kind, is_default=find_processor(one.name).is_default,
                is_protective=one.is_protective, inputs=list(one.inputs),
                models=[
                    ChoiceBody(**asdict(choice) | {"place": here.get(choice.name, choice.place)})
                    for choice in one.models
                ],
                options=_only(one.schema, [n for n, _, _ in allowed(find_processor(one.name).options.model_fields)]),
            )
            for one in found.processors
        ],
        options=_only(found.options, known),
        formats={kind: list(formats) for kind, formats in FORMATS.items()},
        models=_models(service),
        providers=list(found.providers),
        encoders=list(found.encoders),
        reports=found.reports,
        licences=str(config.execution.get("licences", "commercial")),
        limits=LimitsBody(
            upload_bytes=config.upload_bytes, clip_s=config.clip_s, photo_pixels=found.limits.photo_pixels,
            clip_pixels=found.limits.clip_pixels, clip_side_px=found.limits.clip_side_px, jobs_in_a_batch=MAX_BATCH,
        ),
        policy=PolicyBody.model_validate(config.backend.policy.as_dict()),
    )  # fmt: skip


def _only(schema: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """A schema with some of its properties, free of what only a command line needs."""
    kept = {
        name: {key: part for key, part in value.items() if key not in ("flags",)}
        for name, value in schema.get("properties", {}).items()
        if name in names
    }
    return {**schema, "properties": kept, "additionalProperties": False}


def _models(service: Service) -> list[ModelBody]:
    return [_model(service, line) for line in service.models.list()]


def _model(service: Service, line: Any) -> ModelBody:
    state: Any = {"embedded": "embedded", "here": "here"}.get(line.place, "missing")
    fetch = service.fetches.get(line.id, {}) if state == "missing" else {}
    return ModelBody(
        id=line.id, version=line.version, capability=line.capability, family=line.family, licence=line.licence,
        commercial=line.commercial, is_allowed=line.is_allowed, state=fetch.get("state", state),
        fetched_bytes=fetch.get("done", 0), total_bytes=fetch.get("total", 0),
        error=ErrorBody.of(fetch.get("error") or {}),
    )  # fmt: skip


ModelPath = Annotated[str, Path(max_length=120, pattern=r"^[\w./-]+$")]


@router.get("/models", response_model=ModelList, summary="Models", responses=documented())
def models(request: Request, principal: Principal = Depends(anybody)) -> ModelList:
    """With licences, and whether they are here."""
    return ModelList(models=_models(service_of(request)))


@router.post(
    "/models/{model_id:path}/fetch", status_code=202, response_model=ModelBody, summary="Fetch a model",
    responses=documented(404),
)  # fmt: skip
def fetch(request: Request, model_id: ModelPath, principal: Principal = Depends(allows("admin"))) -> ModelBody:
    """It comes in the background; ask again for how far it is."""
    service = service_of(request)
    line = _line(service, model_id)
    with _beginning:
        if line.place == "not here" and service.fetches.get(model_id, {}).get("state") != "fetching":
            told: dict[str, Any] = {"state": "fetching", "done": 0, "total": 0}
            service.fetches[model_id] = told
            threading.Thread(target=_fetch, args=(service, model_id, told), name="fetch", daemon=True).start()
    return _model(service, line)


def _fetch(service: Service, model_id: str, told: dict[str, Any]) -> None:
    def on_bytes(_: str, done: int, total: int) -> None:
        told.update(done=done, total=total)

    try:
        for _ in service.models.fetch([model_id], on_bytes):
            pass
        told["state"] = "here"
    except Exception as error:
        hint = "Tell who runs this service which model it was."
        told.update(state="failed", error=noted(error, f"model {model_id}", hint))


@router.get("/models/{model_id:path}", response_model=ModelBody, summary="A model", responses=documented(404))
def model(request: Request, model_id: ModelPath, principal: Principal = Depends(anybody)) -> ModelBody:
    """One of them."""
    service = service_of(request)
    return _model(service, _line(service, model_id))


def _line(service: Service, model_id: str) -> Any:
    with suppress(UnknownModel):
        return service.models.show(model_id).line
    raise NotThere(f"There is no model {model_id}.", "See GET /v1/models.")


@router.get("/audit", response_model=Listing[DeedBody], summary="Who did what", responses=documented())
def audit(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    cursor: Annotated[str, Query(max_length=200)] = "",
    tenant: Annotated[str | None, Query(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")] = None,
    principal: Principal = Depends(allows("admin")),
) -> Listing[DeedBody]:
    """The last first. Neither names of files nor anything of faces is in it."""
    service = service_of(request)
    service.flush_deeds()
    after = read_cursor(cursor)
    found = service.ledger.list_deeds(limit + 1, 0 if after is None else min(int(after[0]), 2**62), tenant or "")
    last = found[limit - 1] if len(found) > limit else None
    return Listing(
        items=[DeedBody.of(deed) for deed in found[:limit]], cursor="" if last is None else write_cursor(last.id, "")
    )


@router.get("/tenants/{tenant}", response_model=TenantBody, summary="What there is of a tenant", responses=documented())
def tenant_of(request: Request, tenant: TenantPath, principal: Principal = Depends(allows("admin"))) -> TenantBody:
    """Counted by kind, files too."""
    service = service_of(request)
    service.flush_deeds()
    return TenantBody(tenant=tenant, counts={**service.ledger.count_tenant(tenant), "files": files_of(service, tenant)})


@router.delete("/tenants/{tenant}", response_model=RemovedBody, summary="Take a tenant away", responses=documented(409))
async def remove(request: Request, tenant: TenantPath, principal: Principal = Depends(allows("admin"))) -> RemovedBody:
    """Keys, jobs, assets, tracks and the log of what it did; then it is looked what is left."""
    service = service_of(request)
    removed, left, files, files_left = await service.take_time(remove_tenant, service, tenant)
    return RemovedBody(
        tenant=tenant, removed=removed, left=left, files_removed=files - files_left, files_left=files_left,
        removed_at=told_time(service.ledger.now()),
    )  # fmt: skip
