"""What answers look like: the models that OpenAPI describes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from facefusion.errors import RecipeError
from facefusion.jobs.ledger import Asset, Deed, Delivery, OrderView
from facefusion.jobs.states import STAGES
from facefusion.packed import pack, unpack
from facefusion.policy.verdict import Content, Mode
from facefusion.server.problems import for_clients, hint_for_clients, message_for_clients
from facefusion.service.values import share_of

T = TypeVar("T")
Status = Literal["queued", "running", "done", "failed", "cancelled"]
Stage = Literal["prepare", "generate", "assemble", "analyse", "join", "render", "merge"]
Identifier = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
MAX_PAGE = 200


def told_time(seconds: float) -> str:
    """A time as RFC 3339 has it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def maybe_time(seconds: float | None) -> str | None:
    """The same where there may be none."""
    return None if seconds is None else told_time(seconds)


class Listing(BaseModel, Generic[T]):
    """Some of a list, the newest first."""

    items: list[T]
    cursor: str = Field(description="what to ask for the next page with; empty at the end")


def write_cursor(at: float, last: str) -> str:
    """Where a page ended."""
    return pack(at, last)


def read_cursor(text: str) -> tuple[float, str] | None:
    """Where the page before ended; None for the first.

    Raises
    ------
    RecipeError
    """
    if not text:
        return None
    try:
        return unpack(text)
    except ValueError as error:
        raise RecipeError("This is no cursor.", "Use the one that the page before told.") from error


class Health(BaseModel):
    """Whether the service is up."""

    status: Literal["ok"] = "ok"
    version: str


class SessionKey(BaseModel):
    """A key that is traded for a cookie."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(min_length=1, max_length=200)]


class Quota(BaseModel):
    """What may be taken, and what is."""

    limit: float | None = Field(description="null for any")
    used: float | None = Field(description="null where it is not counted")


class SessionBody(BaseModel):
    """Who asks."""

    tenant: str
    who: str
    scopes: list[str]
    is_page: bool = Field(description="whether it is by cookie")
    quotas: dict[str, Quota]


class AssetBody(BaseModel):
    """A file."""

    model_config = ConfigDict(title="Asset")

    id: Identifier
    kind: Literal["photo", "clip", "sound"]
    role: Literal["upload", "output"]
    name: str
    media_type: str
    bytes: int
    sha256: str
    width: int | None
    height: int | None
    duration_s: float | None
    frame_rate: float | None
    has_sound: bool
    created_at: str
    expires_at: str | None

    @classmethod
    def of(cls, asset: Asset) -> AssetBody:
        """What is told of an asset."""
        about = {name: asset.about.get(name) for name in ("width", "height", "duration_s", "frame_rate")}
        return cls(
            id=asset.id, kind=asset.kind, role=asset.role, name=asset.name, media_type=asset.media_type,  # type: ignore[arg-type]
            bytes=asset.size_bytes, sha256=asset.sha256, has_sound=bool(asset.about.get("has_sound")),
            created_at=told_time(asset.created_at), expires_at=maybe_time(asset.expires_at), **about,
        )  # fmt: skip


class ErrorBody(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    hint: str

    @classmethod
    def of(cls, told: Mapping[str, str]) -> ErrorBody | None:
        """The error that was recorded, or None."""
        if not told:
            return None
        return cls(
            code=told["code"],
            message=message_for_clients(told["code"], told["message"]),
            hint=hint_for_clients(told["code"], told["hint"]),
        )


class StageBody(BaseModel):
    """How far one stage is."""

    parts: int
    parts_done: int
    frames: int
    frames_done: int
    frames_per_s: float
    time_left_s: float | None


class ProgressBody(BaseModel):
    """How far a job is."""

    share: float = Field(
        description="how much of its work is done, by the frames of all stages, 0 to 1; 1 when it is done"
    )
    stage: Stage | None
    frames_per_s: float
    time_left_s: float | None = Field(description="of the stage; null where nobody knows")
    stages: dict[Stage, StageBody]

    @classmethod
    def of(cls, view: OrderView) -> ProgressBody:
        """How far an order is."""
        stages: dict[Any, StageBody] = {
            one.stage: StageBody(
                parts=one.items, parts_done=one.items_done, frames=one.frames, frames_done=one.frames_done,
                frames_per_s=round(one.frames_per_s, 3), time_left_s=one.time_left_s,
            )
            for one in view.progress
        }  # fmt: skip
        if view.status == "done":
            return cls(share=1.0, stage=None, frames_per_s=0.0, time_left_s=0.0, stages=stages)
        now = next((name for name in STAGES if name in stages and stages[name].parts_done < stages[name].parts), None)
        stage: Any = now if stages else None if view.is_over else "prepare"
        current = stages.get(stage)
        done, total = (sum(getattr(one, name) for one in stages.values()) for name in ("frames_done", "frames"))
        return cls(
            share=round(share_of(done, total, is_done=False), 4), stage=stage, stages=stages,
            frames_per_s=current.frames_per_s if current else 0.0, time_left_s=current.time_left_s if current else None,
        )  # fmt: skip


class ConsentVerdict(BaseModel):
    """Who of those who were looked for has agreed."""

    mode: Mode = Field(description="whether consents were looked for, and whether they had to be there")
    asked: list[str] = Field(description="references of consents that the request named")
    used: list[str] = Field(description="references of consents that cover somebody")
    sources: int
    sources_covered: int
    targets: int = Field(description="people of the target who are changed")
    targets_covered: int
    is_covered: bool = Field(description="whether everybody who was looked for has agreed")


class BlocklistVerdict(BaseModel):
    """Whether people were looked for who must never take part."""

    is_checked: bool


class ContentVerdict(BaseModel):
    """What the check of the target's content said."""

    mode: Mode
    found: Content
    models: list[str] = Field(description="who looked: id, version and licence")
    frames: int = Field(description="frames that were looked at")


class VerdictBody(BaseModel):
    """What the policy of the site said of a job: no face, no likeness, no name of a person and none of a file."""

    model_config = ConfigDict(title="Verdict")

    consent: ConsentVerdict
    blocklist: BlocklistVerdict
    content: ContentVerdict
    notes: list[str]

    @classmethod
    def of(cls, told: Mapping[str, Any] | None) -> VerdictBody | None:
        """The verdict that was recorded, or None where none is known yet."""
        if not told:
            return None
        made = cls.model_validate(told)
        return made.model_copy(update={"notes": [for_clients(note) for note in made.notes]})


class JobBody(BaseModel):
    """A job."""

    model_config = ConfigDict(title="Job")

    id: Identifier
    status: Status
    label: str
    batch: Identifier | None
    created_at: str
    updated_at: str
    recipe: dict[str, Any]
    progress: ProgressBody
    output: AssetBody | None
    error: ErrorBody | None
    notes: list[str]
    models: list[str]
    has_report: bool
    policy: VerdictBody | None = Field(
        description="what the policy of the site said: of its output when it is done, before that of what it reads; "
        "null where it is not planned yet"
    )

    @classmethod
    def of(cls, view: OrderView, output: Asset | None = None) -> JobBody:
        """What is told of an order."""
        order = view.order
        outcome = order.outcome if view.is_over else {}
        return cls(
            id=order.id, status=view.status, label=str(order.request.get("label") or ""), batch=order.batch or None,
            created_at=told_time(order.created_at), updated_at=told_time(order.updated_at),
            recipe=order.request["recipe"], progress=ProgressBody.of(view),
            output=None if output is None else AssetBody.of(output), error=ErrorBody.of(order.error),
            notes=[for_clients(note) for note in outcome.get("notes", ())], models=list(outcome.get("models", ())),
            has_report=bool(outcome.get("report")), policy=VerdictBody.of(order.outcome.get("policy")),
        )  # fmt: skip


class PartBody(BaseModel):
    """One part of a job."""

    stage: Stage
    number: int
    status: Literal["waiting", "queued", "running", "done", "failed", "cancelled"]
    tries: int
    error: str


class Parts(BaseModel):
    """All parts of a job; none before it is planned."""

    parts: list[PartBody]


class DeliveryBody(BaseModel):
    """A message to a webhook."""

    id: Identifier
    url: str
    status: Literal["waiting", "delivered", "given up"]
    tries: int
    told: str = Field(description="what came of the last try")
    next_at: str | None
    created_at: str

    @classmethod
    def of(cls, one: Delivery) -> DeliveryBody:
        """What is told of a delivery."""
        return cls(
            id=one.id, url=one.url, status=one.status, tries=one.tries, told=one.told,
            next_at=told_time(one.available_at) if one.status == "waiting" else None,
            created_at=told_time(one.created_at),
        )  # fmt: skip


class Deliveries(BaseModel):
    """Messages about a job."""

    deliveries: list[DeliveryBody]


class BatchBody(BaseModel):
    """Many jobs that were asked for together."""

    model_config = ConfigDict(title="Batch")

    id: Identifier
    jobs: list[Identifier]
    counts: dict[Status, int]


class PersonBody(BaseModel):
    """Somebody in a target."""

    model_config = ConfigDict(title="FoundPerson")

    face: str
    frames: int = Field(description="in how many of the frames that were looked at")
    first_s: float
    last_s: float
    best_s: float
    box: list[float] = Field(description="at best_s, as shares of width and height: left, top, right, bottom")
    seen: list[tuple[float, float, float]] = Field(
        default_factory=list, description="stretches in which they are seen: start and stop in seconds, how well 0 to 1"
    )
    picture: str


class Faces(BaseModel):
    """People in a target."""

    state: Literal["finding", "known", "failed"]
    people: list[PersonBody] = Field(default_factory=list)
    error: ErrorBody | None = None


class ModelBody(BaseModel):
    """A model."""

    model_config = ConfigDict(title="Model")

    id: str
    version: str
    capability: str
    family: str
    licence: str
    commercial: Literal["yes", "no", "unclear"] = Field(description="whether its licence allows commercial use")
    is_allowed: bool = Field(description="whether it may run under the licences that this service accepts")
    state: Literal["embedded", "here", "missing", "fetching", "failed"]
    fetched_bytes: int = 0
    total_bytes: int = 0
    error: ErrorBody | None = None


class ModelList(BaseModel):
    """Models that this service knows."""

    models: list[ModelBody]


class DeedBody(BaseModel):
    """Who did what."""

    id: int
    at: str
    tenant: str
    who: str
    what: str
    object: str
    status: int
    request_id: str

    @classmethod
    def of(cls, deed: Deed) -> DeedBody:
        """What is told of a deed."""
        return cls(
            id=deed.id, at=told_time(deed.at), tenant=deed.tenant, who=deed.who, what=deed.what, object=deed.object,
            status=deed.status, request_id=deed.request_id,
        )  # fmt: skip


class TenantBody(BaseModel):
    """What there is of a tenant."""

    model_config = ConfigDict(title="Tenant")

    tenant: str
    counts: dict[str, int]


class RemovedBody(BaseModel):
    """What was of a tenant, and what is left; looked at anew after it was taken away."""

    model_config = ConfigDict(title="RemovedTenant")

    tenant: str
    removed: dict[str, int]
    left: dict[str, int]
    files_removed: int
    files_left: int
    removed_at: str
