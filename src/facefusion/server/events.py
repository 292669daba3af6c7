"""Server-sent events of jobs: one look at the store for all who listen to a job."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from sse_starlette.sse import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from facefusion.errors import AccessRefused, FaceFusionError, LimitReached, NotThere
from facefusion.jobs.ledger import OrderView
from facefusion.server.access import Principal, allows
from facefusion.server.assets import service_of
from facefusion.server.bodies import ErrorBody, ProgressBody, told_time
from facefusion.server.jobs import JobPath
from facefusion.server.problems import documented, for_clients
from facefusion.wording import counted

if TYPE_CHECKING:
    from facefusion.server.state import Service

router = APIRouter(prefix="/v1", tags=["jobs"])
LOOK_S = 0.5
PING_S = 15
KNOWN_S = 30.0
"""How often it is asked whether a key still opens anything."""
MOST = 500
"""Streams of a tenant."""
_BY = re.compile(r" by [^ ,]+(?=,|$)")
Seen = tuple[OrderView, tuple[tuple[int, float, str], ...]]


class Hub:
    """Looks at orders that somebody listens to, once for all who do.

    Parameters
    ----------
    service
        Whose.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._watched: dict[tuple[str, str], _Watched] = {}

    def check_room(self, tenant: str) -> None:
        """Refuse one who listens to so much that connections for others become few.

        Raises
        ------
        LimitReached
        """
        count = sum(watched.listeners for (whose, _), watched in self._watched.items() if whose == tenant)
        if count >= MOST:
            raise LimitReached(
                f"{counted(count, 'stream of events is', 'streams of events are')} open.", "Close some of them.", 5.0,
                "streams",
            )  # fmt: skip

    async def follow(
        self, tenant: str, order_id: str, after: int, identify: Callable[[], object] = lambda: None
    ) -> AsyncIterator[dict[str, Any]]:
        """What happens to an order from now on, until it is over or deleted, or until whoever listens is not known any
        more (`identify` raises).
        """
        key, known_at = (tenant, order_id), time.monotonic()
        watched = self._watched.setdefault(key, _Watched())
        watched.listeners += 1
        if watched.task is None:
            watched.task = asyncio.create_task(self._watch(key, watched))
        told_status, told_stages = "", dict[str, int]()
        try:
            while True:
                seen, version = watched.seen, watched.version
                if seen is None and watched.is_gone:
                    yield _event("status", {"status": "deleted", "error": None})
                    return
                if seen is not None:
                    view, history = seen
                    status = _status_event(view) if view.status != told_status else None
                    told_status = view.status
                    # Whoever listens may leave after a final status, so that it comes after all the rest.
                    if status is not None and not view.is_over:
                        yield status
                    for number, at, what in history:
                        if number > after:
                            after = number
                            yield _event("history", told_line(number, at, what), number)
                    progress = ProgressBody.of(view)
                    for name, stage in progress.stages.items():
                        unseen = -1 if name == progress.stage else 0
                        if told_stages.get(name, unseen) != stage.frames_done:
                            told_stages[name] = stage.frames_done
                            yield _event("progress", {
                                "stage": name, "done": stage.frames_done, "total": stage.frames,
                                "frames_per_s": stage.frames_per_s, "time_left_s": stage.time_left_s,
                                "share": progress.share,
                            })  # fmt: skip
                    if view.is_over:
                        if status is not None:
                            yield status
                        return
                with suppress(TimeoutError):
                    await asyncio.wait_for(watched.wait(version), KNOWN_S)
                if time.monotonic() - known_at >= KNOWN_S:
                    try:
                        await run_in_threadpool(identify)
                    except AccessRefused:
                        return
                    except FaceFusionError:  # the store is away for a moment
                        continue
                    known_at = time.monotonic()
        finally:
            watched.listeners -= 1
            if not watched.listeners:
                if watched.task is not None:
                    watched.task.cancel()
                self._watched.pop(key, None)

    async def _watch(self, key: tuple[str, str], watched: _Watched) -> None:
        while True:
            try:
                known = watched.seen[1] if watched.seen is not None else ()
                seen: Seen | None = await run_in_threadpool(self._look, *key, known)
                watched.is_gone = False
            except NotThere:
                seen, watched.is_gone = None, True
            except FaceFusionError:  # the store is away for a moment
                await asyncio.sleep(LOOK_S * 4)
                continue
            if seen != watched.seen or watched.is_gone:
                watched.tell(seen)
            if watched.is_gone or (seen is not None and seen[0].is_over):
                return
            await asyncio.sleep(LOOK_S)

    def _look(self, tenant: str, order_id: str, known: tuple[tuple[int, float, str], ...]) -> Seen:
        ledger = self._service.ledger
        view = ledger.view(tenant, order_id)
        # The state first: what it rests on is then told before it.
        news = ledger.events(view.order.job_id, known[-1][0] if known else 0) if view.order.job_id else []
        return view, (*known, *news)


class _Watched:
    def __init__(self) -> None:
        self.listeners, self.version = 0, 0
        self.seen: Seen | None = None
        self.is_gone = False
        self.task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    def tell(self, seen: Seen | None) -> None:
        self.seen = seen
        self.version += 1
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def wait(self, version: int) -> None:
        while self.version == version:
            await self._news.wait()


def told_line(number: int, at: float, what: str) -> dict[str, Any]:
    """A line of history, without who did it and where."""
    return {"number": number, "at": told_time(at), "what": for_clients(_BY.sub("", what))}


def _status_event(view: OrderView) -> dict[str, Any]:
    error = ErrorBody.of(view.order.error)
    return _event("status", {"status": view.status, "error": error and error.model_dump()})


def _event(kind: str, values: dict[str, Any], number: int | None = None) -> dict[str, Any]:
    made = {"event": kind, "data": json.dumps(values)}
    return made if number is None else {**made, "id": str(number)}


@router.get(
    "/jobs/{job_id}/events",
    response_class=EventSourceResponse,
    summary="What happens to a job",
    responses={
        200: {"description": "Server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **documented(404),
    },
)
async def events(
    request: Request,
    job_id: JobPath,
    last: Annotated[
        str | None, Header(alias="Last-Event-ID", max_length=20, pattern=r"^[0-9]*$", description="what was seen last")
    ] = None,
    principal: Principal = Depends(allows("jobs:read")),
) -> EventSourceResponse:
    """Until it is over. History has ids, so who was cut off misses nothing of it."""
    service = service_of(request)
    await run_in_threadpool(service.ledger.get_order, principal.tenant, job_id)
    hub: Hub = request.app.state.hub
    hub.check_room(principal.tenant)
    return EventSourceResponse(
        hub.follow(principal.tenant, job_id, int(last or 0), request.state.identify), ping=PING_S
    )
