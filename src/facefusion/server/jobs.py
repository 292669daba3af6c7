"""Routes of jobs: asked for, followed, stopped, taken away."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi import Path as FromPath
from pydantic import BaseModel, ConfigDict, Field, create_model

from facefusion import traces
from facefusion.errors import Conflict, FaceFusionError, LimitReached, NotThere, OutputRefused, RecipeError
from facefusion.jobs.ledger import Asked, Asset, OrderView
from facefusion.recipe import Recipe
from facefusion.server.access import Principal, allows, check_scope
from facefusion.server.assets import service_of
from facefusion.server.bodies import (
    MAX_PAGE,
    BatchBody,
    Deliveries,
    DeliveryBody,
    JobBody,
    Listing,
    PartBody,
    Parts,
    Status,
    read_cursor,
    write_cursor,
)
from facefusion.server.guard import CSP_OF_FILES
from facefusion.server.intake import LOOK_S, key_folder
from facefusion.server.life import remove_order
from facefusion.server.orders import FIGURES, REPORT, cancel_order, file_of
from facefusion.server.problems import documented, for_clients
from facefusion.server.recipes import FORMATS, AssetId, assets_of, output_suffix, plain, recipe_models, to_recipe
from facefusion.server.state import Service, new_id
from facefusion.server.webhooks import check_url
from facefusion.wording import counted

log = logging.getLogger("facefusion.server")
_FORMAT = rf"^({'|'.join(one for formats in FORMATS.values() for one in formats)})$"
MAX_BATCH = 500
"""Jobs that can be asked for at once."""
JobPath = Annotated[str, FromPath(pattern=r"^[0-9a-f]{32}$")]
IdempotencyKey = Annotated[
    str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200, description="the same key makes it once")
]
Label = Annotated[str, Field(max_length=200, description="yours, for lists")]


class Webhook(BaseModel):
    """Where to tell that a job is over."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(max_length=2000, pattern=r"^https?://")]
    secret: Annotated[str, Field(min_length=16, max_length=200, description="messages are signed with it")]


class Output(BaseModel):
    """What the output is called, and what it is."""

    model_config = ConfigDict(extra="forbid")

    format: Annotated[str, Field(pattern=_FORMAT)] | None = Field(
        None, description="file ending; without it the target's kind decides"
    )
    name: Annotated[str, Field(max_length=120)] = ""


def build_router() -> APIRouter:
    """The routes, with bodies made of the processors that are installed."""
    router = APIRouter(prefix="/v1", tags=["jobs"])
    recipe = recipe_models().recipe
    rest: dict[str, Any] = {
        "output": (Output, Field(default_factory=lambda: Output(format=None))),
        "report": (bool, Field(False, description="measure the output, and write a report")),
        "label": (Label, ""),
        "webhook": (Webhook | None, None),
    }
    strict = ConfigDict(extra="forbid")
    job_request: Any = create_model(
        "JobRequest", __config__=strict, __doc__="What is to be done.", recipe=(recipe, ...), **rest
    )
    without_files = create_model(
        "BatchRecipe",
        __config__=ConfigDict(extra="forbid", allow_inf_nan=False),
        __doc__="A recipe without target and sources.",
        **{
            name: (info.annotation if not info.metadata else Annotated[(info.annotation, *info.metadata)], info)
            for name, info in recipe.model_fields.items()
            if name not in ("target", "sources")
        },
    )  # type: ignore[call-overload]
    ids = Annotated[list[AssetId], Field(max_length=64)]
    batch_request: Any = create_model(
        "BatchRequest",
        __config__=strict,
        __doc__="Every group of sources with every target.",
        sources=(Annotated[list[ids], Field(max_length=MAX_BATCH)], Field(default_factory=list)),
        targets=(Annotated[list[AssetId], Field(min_length=1, max_length=MAX_BATCH)], ...),
        recipe=(without_files, Field(default_factory=without_files)),
        **rest,
    )

    @router.post(
        "/jobs", status_code=202, response_model=JobBody, summary="Ask for a job", responses=documented(404, 409, 415)
    )
    def create(
        request: Request,
        response: Response,
        body: job_request,
        idempotency_key: IdempotencyKey = None,
        principal: Principal = Depends(allows("jobs:write")),
    ) -> JobBody:
        """What can be known now is refused now; what only a look into the files tells, when the job is planned."""
        service = service_of(request)
        asked = plain(body.recipe)
        one = _asked(service, principal, asked, body)
        job_id, is_again = _place(service, principal, [one], one.id, idempotency_key, body)
        response.headers["Location"] = f"/v1/jobs/{job_id}"
        if is_again:
            response.headers["Idempotency-Replayed"] = "true"
        return told(service, principal, service.ledger.view(principal.tenant, job_id))

    @router.post(
        "/batches",
        status_code=202,
        response_model=BatchBody,
        summary="Ask for many jobs",
        responses=documented(404, 409, 415),
    )
    def create_batch(
        request: Request,
        response: Response,
        body: batch_request,
        idempotency_key: IdempotencyKey = None,
        principal: Principal = Depends(allows("jobs:write")),
    ) -> BatchBody:
        """All of them are recorded, or none."""
        service = service_of(request)
        groups = body.sources or [[]]
        if len(groups) * len(body.targets) > MAX_BATCH:
            raise RecipeError(
                f"That makes {counted(len(groups) * len(body.targets), 'job')}.", f"Ask for up to {MAX_BATCH} at once."
            )
        most = service.config.quotas.open_jobs
        if most and len(groups) * len(body.targets) > most:  # before anything is looked at
            raise LimitReached(
                f"That makes {counted(len(groups) * len(body.targets), 'job')}, and {most} may be open at once.",
                "Ask for fewer at once.", 0.0, "open_jobs",
            )  # fmt: skip
        batch, shared, made = new_id(), plain(body.recipe), []
        for group in groups:
            for target in body.targets:
                asked = {**shared, "target": target, **({"sources": group} if group else {})}
                made.append(_asked(service, principal, asked, body, batch))
        batch, is_again = _place(service, principal, made, batch, idempotency_key, body)
        response.headers["Location"] = f"/v1/batches/{batch}"
        if is_again:
            response.headers["Idempotency-Replayed"] = "true"
        return _batch(service, principal, batch)

    return router


plain_router = APIRouter(prefix="/v1", tags=["jobs"])


def _checked(
    service: Service, asked: Mapping[str, Any], assets: Mapping[str, Asset], suffix: str, report: str, is_opened: bool
) -> Recipe:
    """The recipe, refused where it can be known now that it will fail: by what is known of its assets and of this
    machine, and, where the target is at hand, by a look at what is in it besides its frames.

    Raises
    ------
    FaceFusionError
    """
    from facefusion.pipeline.plan import Known, check_clip, check_known

    execution, target = service.config.execution, assets[asked["target"]]
    there = Path("/")

    def face_of(asset_id: str, face: str) -> Path:
        return there / f"{asset_id}-{face}"

    report_path = there / report if report else None
    recipe = to_recipe(asked, there.joinpath, there / f"output{suffix}", face_of, report_path, execution)
    known = {there / asset_id: _known(asset) for asset_id, asset in assets.items()}
    for person in asked.get("people", ()):
        if person.get("face"):
            known[face_of(target.id, person["face"])] = Known("photo")
    with _named({str(there / asset_id): asset.name for asset_id, asset in assets.items()}):
        check_known(recipe, known)
    if is_opened and target.kind == "clip" and not service.config.backend.is_cluster:
        places = {asset_id: file_of(service.storage, asset) for asset_id, asset in assets.items()}
        near = to_recipe(
            asked, places.__getitem__, there / f"output{suffix}", lambda asset, face: places[asset], None, execution
        )
        kinds: dict[Path, Any] = {
            places[asset_id]: "photo" if asset.kind == "photo" else "sound" for asset_id, asset in assets.items()
        }
        with (
            suppress(LimitReached),  # planning will tell
            _named({str(places[asset_id]): asset.name for asset_id, asset in assets.items()}),
        ):
            service.inspectors.call_soon(check_clip, LOOK_S, near, kinds)
    return recipe


def _known(asset: Asset) -> Any:
    from facefusion.pipeline.plan import Known

    about = asset.about
    return Known(
        cast(Any, asset.kind), bool(about.get("has_sound")), about.get("width") or 0, about.get("height") or 0,
        float(about.get("duration_s") or 0.0),
    )  # fmt: skip


@contextmanager
def _named(names: Mapping[str, str]) -> Iterator[None]:
    """Have errors call files as their owner calls them. One about the output is about what was asked for here."""
    try:
        yield
    except FaceFusionError as error:
        known: FaceFusionError = error
        if isinstance(error, OutputRefused):
            known = RecipeError(error.message, error.hint)
            known.code = error.code
        for path, name in names.items():
            known.message = known.message.replace(path, name)
            known.hint = known.hint.replace(path, name)
        raise known from error


def _asked(service: Service, principal: Principal, asked: dict[str, Any], body: Any, batch: str = "") -> Asked:
    """An order for a recipe, checked as far as that goes without opening a file.

    Raises
    ------
    RecipeError, NotThere
    """
    from facefusion.metrics.page import can_make_page

    ledger, tenant = service.ledger, principal.tenant
    wanted = assets_of(asked)
    assets = {asset_id: ledger.get_asset(tenant, asset_id) for asset_id in wanted}
    target = assets[asked["target"]]
    if target.kind == "sound":
        raise RecipeError("The target is a sound.", "Choose a photo or a clip.")
    for person in asked.get("people", ()):
        if person.get("face") and not service.storage.has(f"{key_folder(tenant, target.id)}faces/{person['face']}.png"):
            raise RecipeError(
                f"There is no face {person['face']} in the target.", f"See GET /v1/assets/{target.id}/faces."
            )
    suffix = output_suffix(target.kind, body.output.format)
    report = ""
    if body.report or asked.get("fail_under"):  # limits need figures, and no page
        report = REPORT if body.report or can_make_page() else FIGURES
    recipe = _checked(service, asked, assets, suffix, report, is_opened=not batch)
    if body.webhook is not None:
        check_url(body.webhook.url, service.config.allow_private_webhooks)
    length_s = float(target.about.get("duration_s") or 0.0)
    stop_s = length_s if recipe.end_s is None else min(recipe.end_s, length_s)
    request = {
        "recipe": asked,
        "output": {"suffix": suffix, "name": body.output.name},
        "report": report,
        "label": body.label,
        "webhook": None if body.webhook is None else body.webhook.model_dump(mode="json"),
        "target_name": target.name,
    }
    return Asked(new_id(), request, wanted, batch, max(stop_s - (recipe.start_s or 0.0), 0.0))


def _place(
    service: Service, principal: Principal, asked: Sequence[Asked], made: str, key: str | None, body: BaseModel
) -> tuple[str, bool]:
    """Record orders; the same request again is the same.

    Raises
    ------
    LimitReached, Conflict, NotThere
    """
    replay = None
    if key is not None:
        kind = type(body).__name__
        text = json.dumps([kind, body.model_dump(mode="json", exclude_unset=True)], sort_keys=True)
        replay = (hashlib.sha256(key.encode()).hexdigest(), hashlib.sha256(text.encode()).hexdigest())
    quotas = service.config.quotas
    try:
        answer = service.ledger.place(
            principal.tenant, principal.who, asked, made, replay, quotas.open_jobs, quotas.video_s_per_day
        )
    except Conflict as error:
        if error.code in ("open_jobs", "video_minutes"):
            wait_s = 30.0 if error.code == "open_jobs" else 86400 - service.ledger.now() % 86400
            raise LimitReached(error.message, error.hint, wait_s, error.code) from error
        raise
    for one in () if answer[1] else asked:
        log.info("order is taken in", extra={"order": one.id})
    traces.note(order=[one.id for one in asked])
    return answer


def told(service: Service, principal: Principal, view: OrderView) -> JobBody:
    """What is told of an order, with its output."""
    output: Asset | None = None
    if view.status == "done":
        output = service.ledger.find_asset(principal.tenant, view.order.outcome.get("asset", ""))
    return JobBody.of(view, output)


def _batch(service: Service, principal: Principal, batch: str) -> BatchBody:
    ids = service.ledger.order_ids(principal.tenant, batch)
    if not ids:
        raise NotThere(f"There is no batch {batch}.", "See GET /v1/jobs.")
    counts: Mapping[Any, int] = service.ledger.count_orders(principal.tenant, batch)
    return BatchBody(id=batch, jobs=ids, counts=dict(counts))


@plain_router.get("/batches/{batch_id}", response_model=BatchBody, summary="A batch", responses=documented(404))
def show_batch(request: Request, batch_id: JobPath, principal: Principal = Depends(allows("jobs:read"))) -> BatchBody:
    """Its jobs, counted by status."""
    return _batch(service_of(request), principal, batch_id)


@plain_router.get("/jobs", response_model=Listing[JobBody], summary="List jobs", responses=documented())
def index(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    cursor: Annotated[str, Query(max_length=200)] = "",
    status: Annotated[list[Status] | None, Query(description="only jobs like this")] = None,
    batch: Annotated[str | None, Query(pattern=r"^[0-9a-f]{32}$")] = None,
    principal: Principal = Depends(allows("jobs:read")),
) -> Listing[JobBody]:
    """The newest first. Of their stages only the rendering is told."""
    service = service_of(request)
    found = service.ledger.list_orders(principal.tenant, limit + 1, read_cursor(cursor), status or (), batch or "")
    last = found[limit - 1].order if len(found) > limit else None
    return Listing(
        items=[told(service, principal, view) for view in found[:limit]],
        cursor="" if last is None else write_cursor(last.created_at, last.id),
    )


@plain_router.get("/jobs/{job_id}", response_model=JobBody, summary="A job", responses=documented(404))
def show(request: Request, job_id: JobPath, principal: Principal = Depends(allows("jobs:read"))) -> JobBody:
    """How it is, how far, and what came of it."""
    service = service_of(request)
    return told(service, principal, service.ledger.view(principal.tenant, job_id))


@plain_router.post("/jobs/{job_id}/cancel", response_model=JobBody, summary="Cancel a job", responses=documented(404))
def cancel(request: Request, job_id: JobPath, principal: Principal = Depends(allows("jobs:write"))) -> JobBody:
    """What is finished of it is kept for a retry. One that is over stays as it is."""
    service = service_of(request)
    cancel_order(service.ledger, principal.tenant, job_id)
    return told(service, principal, service.ledger.view(principal.tenant, job_id))


@plain_router.post(
    "/jobs/{job_id}/retry", response_model=JobBody, summary="Try a job again", responses=documented(404, 409)
)
def retry(request: Request, job_id: JobPath, principal: Principal = Depends(allows("jobs:write"))) -> JobBody:
    """One that failed or was cancelled goes on where it was."""
    service = service_of(request)
    service.ledger.retry_order(principal.tenant, job_id)
    return told(service, principal, service.ledger.view(principal.tenant, job_id))


@plain_router.delete("/jobs/{job_id}", status_code=204, summary="Delete a job", responses=documented(404, 409))
async def delete(
    request: Request,
    job_id: JobPath,
    inputs: Annotated[
        bool,
        Query(description="with the uploads that it read and no other job does; needs the scope assets:write, too"),
    ] = False,
    principal: Principal = Depends(allows("jobs:write")),
) -> None:
    """With its output and its working files. One that is running is stopped first."""
    service = service_of(request)
    if inputs:
        check_scope(principal, "assets:write")
    await service.take_time(remove_order, service, principal.tenant, job_id, inputs)


@plain_router.get("/jobs/{job_id}/segments", response_model=Parts, summary="Parts of a job", responses=documented(404))
def segments(request: Request, job_id: JobPath, principal: Principal = Depends(allows("jobs:read"))) -> Parts:
    """Every part with its stage, status and tries."""
    service = service_of(request)
    order = service.ledger.get_order(principal.tenant, job_id)
    items = service.ledger.items(order.job_id) if order.job_id else []
    return Parts(
        parts=[
            PartBody(
                stage=item.stage, number=item.number, status=item.status, tries=item.renders,
                error=for_clients(item.error),
            )
            for item in items
        ]
    )  # fmt: skip


@plain_router.get(
    "/jobs/{job_id}/deliveries",
    response_model=Deliveries,
    summary="Webhook messages of a job",
    responses=documented(404),
)
def deliveries(request: Request, job_id: JobPath, principal: Principal = Depends(allows("jobs:read"))) -> Deliveries:
    """What became of every message."""
    service = service_of(request)
    service.ledger.get_order(principal.tenant, job_id)
    return Deliveries(deliveries=[DeliveryBody.of(one) for one in service.ledger.deliveries(job_id)])


@plain_router.get(
    "/jobs/{job_id}/report",
    response_class=Response,
    summary="Figures of an output",
    responses={
        200: {
            "description": "Figures, or the page",
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "text/html": {"schema": {"type": "string"}},
            },
        },
        **documented(404),
    },
)
def report(
    request: Request,
    job_id: JobPath,
    format: Annotated[str, Query(pattern="^(json|html)$")] = "json",
    principal: Principal = Depends(allows("jobs:read")),
) -> Response:
    """Of a job that was asked for with `report`."""
    service = service_of(request)
    order = service.ledger.get_order(principal.tenant, job_id)
    key = (order.outcome.get("report") or {}).get(format)
    if not key:
        raise NotThere(f"Job {job_id} has no report.", 'Ask for one with "report": true, and wait until it is done.')
    try:
        with service.storage.local(key) as path:
            content = path.read_bytes()
    except FileNotFoundError as error:
        raise NotThere(f"The report of job {job_id} is gone.", "Make a new job.") from error
    headers = {"Content-Security-Policy": f"{CSP_OF_FILES}; img-src data:", "Cache-Control": "private, no-cache"}
    return Response(content, headers=headers, media_type="application/json" if format == "json" else "text/html")
