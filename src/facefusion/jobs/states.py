"""What a job and its items may do: pure functions from a state and an event to the next state and what follows.

A job has items in stages: ``analyse`` (one for each span), ``join``, ``render`` (one for each span), ``merge``. A job
that looks for no faces lacks the first two. Where a processor makes the frames itself, ``generate`` (one for each span)
and ``assemble`` come before. Items of a stage are opened when all of the stage before are done.

    waiting ─open─► queued ─claim─► running ─finish─► done
                      ▲                │                │
                      ├──fail, expire──┤                │
                      └────────── invalidate ◄──────────┘
    running ─wait─► waiting             when something it needs has to be made again
    running ─refuse─► queued            when this worker may not do it, and another one may
    running ─fail, expire─► failed      when it may not be tried again, or was tried too often
    anything but done ─cancel─► cancelled;   failed, cancelled ─retry─► queued or waiting
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from facefusion.errors import IllegalMove, LeaseLost

StageName = Literal["generate", "assemble", "analyse", "join", "render", "merge"]
Status = Literal["waiting", "queued", "running", "done", "failed", "cancelled"]
JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]
STAGES: tuple[StageName, ...] = ("generate", "assemble", "analyse", "join", "render", "merge")
IN_SPANS: tuple[StageName, ...] = ("generate", "analyse", "render")
"""Stages with an item for each span; the others have one."""
REFUSED_S = 1.0
"""Wait after a worker has refused an item."""
BACK_OFF_S, MAX_BACK_OFF_S = 1.0, 60.0
"""Wait before the second try, twice as long before each further one, at most this long."""
MAX_LEASE_S = 3600.0
"""No lease is longer."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to do.

    Attributes
    ----------
    job_id, stage, number
        Which.
    status
        See the module.
    attempts
        Tries since somebody last asked for it.
    renders
        Tries in all.
    owner, lease_until
        Who has it, and until when, in seconds of the store's clock.
    available_at
        Not to be claimed before.
    sha256
        Of the file it left.
    error
        Why it failed last.
    claimed_at, finished_at
        When it was last taken, and when its file was recorded, in seconds of the store's clock; 0 for never.
    """

    job_id: str
    stage: StageName
    number: int
    status: Status = "waiting"
    attempts: int = 0
    renders: int = 0
    owner: str = ""
    lease_until: float = 0.0
    available_at: float = 0.0
    sha256: str = ""
    error: str = ""
    claimed_at: float = 0.0
    finished_at: float = 0.0

    @property
    def key(self) -> tuple[str, str, int]:
        """What names it in a message."""
        return self.job_id, self.stage, self.number


@dataclass(frozen=True, slots=True)
class Open:
    """All of the stage before is done."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker takes it."""

    owner: str
    lease_s: float


@dataclass(frozen=True, slots=True)
class Beat:
    """The worker is still at it."""

    owner: str
    lease_s: float


@dataclass(frozen=True, slots=True)
class Finish:
    """Its file is in its place."""

    owner: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Fail:
    """It went wrong."""

    owner: str
    error: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """Something it needs has to be made again first; this was no try."""

    owner: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """This worker may not or cannot do it; another one may. This was no try."""

    owner: str
    why: str


@dataclass(frozen=True, slots=True)
class Expire:
    """Nobody has heard of its worker; with ``is_known_dead`` at once, else when the lease has run out.

    Attributes
    ----------
    how
        How the worker ended, in words that follow a subject.
    """

    is_known_dead: bool = False
    how: str = ""


@dataclass(frozen=True, slots=True)
class Invalidate:
    """Its file is missing or not what was recorded."""

    reason: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """The user does not want it any more."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The user wants it after all, with fresh tries."""

    is_open: bool


Event = Open | Claim | Beat | Finish | Fail | Wait | Refuse | Expire | Invalidate | Cancel | Retry


@dataclass(frozen=True, slots=True)
class Publish:
    """Tell workers that there is something to do."""

    item: Item
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Park:
    """Put the item aside, and with it the job."""

    item: Item


Command = Publish | Park


def is_due(item: Item, now: float) -> bool:
    """Whether an item may be claimed by its time.

    One that would have to wait for longer than anything ever waits was put back by a clock that went wrong, or was set
    back since: it is due, so that nothing stands still in silence.
    """
    return not now < item.available_at <= now + MAX_BACK_OFF_S


def is_expired(item: Item, now: float) -> bool:
    """Whether a lease has run out, or ends later than any lease can: then the clock was set back since."""
    return not now < item.lease_until <= now + MAX_LEASE_S


def move_item(item: Item, event: Event, now: float, max_attempts: int) -> tuple[Item, tuple[Command, ...]]:
    """Apply an event.

    Parameters
    ----------
    item
        As it is.
    event
        What happened.
    now
        Seconds of the store's clock.
    max_attempts
        Tries after which an item is put aside.

    Returns
    -------
    The item as it is then, and what follows.

    Raises
    ------
    LeaseLost
        When a worker reports on what is no longer its own.
    IllegalMove
        When the event makes no sense in this state.
    """
    match event, item.status:
        case Open(), "waiting":
            return _queued(item, now)
        case Claim(owner, lease_s), "queued":
            if not is_due(item, now):
                raise _illegal(item, event)
            moved = replace(
                item, status="running", owner=owner, lease_until=now + min(lease_s, MAX_LEASE_S),
                attempts=item.attempts + 1, renders=item.renders + 1, claimed_at=now,
            )  # fmt: skip
            return moved, ()
        case ((Beat() | Finish() | Fail() | Wait() | Refuse()), _) if (
            item.status != "running" or item.owner != event.owner
        ):
            raise LeaseLost(
                f"{item.stage} {item.number} of job {item.job_id} is {item.status}, not in the hands of {event.owner}.",
                "Nothing is to be done; whoever has it now goes on.",
            )
        case Beat(_, lease_s), _:
            return replace(item, lease_until=now + min(lease_s, MAX_LEASE_S)), ()
        case Finish(_, sha256), _:
            return replace(item, status="done", owner="", sha256=sha256, error="", finished_at=now), ()
        case Fail(_, error, retryable), _:
            return _again(replace(item, error=error), now, max_attempts if retryable else 0)
        case Wait(), _:
            return replace(item, status="waiting", owner="", attempts=item.attempts - 1), ()
        case Refuse(_, why), _:
            return _queued(replace(item, attempts=item.attempts - 1, error=why), now, REFUSED_S)
        case Expire(is_known_dead, how), "running":
            if not is_known_dead and not is_expired(item, now):
                raise _illegal(item, event)
            error = f"its worker was lost: it {how}" if how else item.error or "its worker was lost"
            return _again(replace(item, error=error), now, max_attempts, is_at_once=True)
        case Invalidate(reason), "done":
            return _queued(replace(item, sha256="", error=reason, attempts=0), now)
        case Cancel(), ("waiting" | "queued" | "running" | "failed"):
            return replace(item, status="cancelled", owner=""), ()
        case Cancel(), "cancelled":
            return item, ()
        case Retry(is_open), ("waiting" | "queued" | "running" | "failed" | "cancelled"):
            fresh = replace(item, attempts=0, owner="", error="", status="waiting")
            return _queued(fresh, now) if is_open else (fresh, ())
    raise _illegal(item, event)


def _queued(item: Item, now: float, delay_s: float = 0.0) -> tuple[Item, tuple[Command, ...]]:
    moved = replace(item, status="queued", owner="", available_at=now + delay_s)
    return moved, (Publish(moved, delay_s),)


def _again(item: Item, now: float, max_attempts: int, is_at_once: bool = False) -> tuple[Item, tuple[Command, ...]]:
    if item.attempts >= max_attempts:
        parked = replace(item, status="failed", owner="")
        return parked, (Park(parked),)
    delay_s = 0.0 if is_at_once else min(BACK_OFF_S * 2 ** (item.attempts - 1), MAX_BACK_OFF_S)
    return _queued(item, now, delay_s)


def _illegal(item: Item, event: Event) -> IllegalMove:
    return IllegalMove(
        f"{item.stage} {item.number} of job {item.job_id} is {item.status}: no {type(event).__name__} is possible.",
        "See 'facefusion jobs show' for its history.",
    )


def stage_to_open(counts: Mapping[StageName, Mapping[Status, int]]) -> StageName | None:
    """The stage whose turn it is, where none of it has been opened yet.

    Parameters
    ----------
    counts
        Number of items by stage and status.
    """
    for stage in STAGES:
        found = {status: number for status, number in counts.get(stage, {}).items() if number}
        if set(found) - {"done"}:
            return stage if found.get("waiting") else None
    return None


def job_status(counts: Mapping[StageName, Mapping[Status, int]]) -> JobStatus:
    """What a job's items make of it."""
    total: dict[str, int] = {}
    for stage in counts.values():
        for status, number in stage.items():
            total[status] = total.get(status, 0) + number
    present = {status for status, number in total.items() if number}
    if "cancelled" in present:
        return "cancelled"
    if "failed" in present:
        return "failed"
    if present <= {"done"}:
        return "done"
    return "running" if "running" in present or "done" in present else "queued"
