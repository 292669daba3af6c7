"""Sums over all work that was ever recorded in a store, kept with it and changed in the same transactions.

Whoever works may be killed at any moment: what was recorded is counted once, and what was not is not. There are no
files of processes to add up, none that pile up, and no count that ends with whoever counted (see ADR 20).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from facefusion.jobs.states import Event, Expire, Fail, Finish, Invalidate, Item, Refuse

if TYPE_CHECKING:
    from facefusion.errors import FaceFusionError

Key = tuple[str, str, str]
"""Name of a sum, and what it is the sum of: two words of a short list each, never a name or id of anybody."""
Sums = Mapping[Key, float]
ITEMS, ITEM_S, FRAMES, WITHIN, FAILURES = "items", "item_s", "frames", "within", "failures"
MODEL_S, MODEL_RUNS, CACHE, JOBS, JOB_S = "model_s", "model_runs", "cache", "jobs", "job_s"
BOUNDS_S = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""Seconds of an item are counted up to each of these."""
OVER = ("done", "failed", "cancelled")
_LONGEST = 80
metadata = sa.MetaData()
tallies = sa.Table(
    "tallies", metadata,
    sa.Column("name", sa.String(20), primary_key=True), sa.Column("one", sa.String(_LONGEST), primary_key=True),
    sa.Column("other", sa.String(_LONGEST), primary_key=True), sa.Column("value", sa.Float),
)  # fmt: skip
RESULTS: dict[type, str] = {
    Finish: "done", Fail: "failed", Expire: "lost", Refuse: "refused", Invalidate: "invalidated",
}  # fmt: skip


def add(connection: sa.Connection, sums: Sums) -> None:
    """Add to what is there.

    Parameters
    ----------
    connection
        In a transaction; rows are taken in one order, so that two of them never wait for each other.
    sums
        What comes on top.
    """
    rows = [
        {"name": name, "one": one[:_LONGEST], "other": other[:_LONGEST], "value": value}
        for (name, one, other), value in sorted(sums.items())
        if value
    ]
    if not rows:
        return
    module = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = module.insert(tallies)
    on_top = {"value": tallies.c.value + statement.excluded.value}
    connection.execute(statement.on_conflict_do_update(index_elements=["name", "one", "other"], set_=on_top), rows)


def read(connection: sa.Connection) -> dict[Key, float]:
    """All sums."""
    rows = connection.execute(sa.select(tallies)).all()
    return {(row.name, row.one, row.other): float(row.value) for row in rows}


def of_item(
    before: Item, after: Item, event: Event, frame_count: int, error: FaceFusionError | None
) -> dict[Key, float]:
    """What an event of an item adds.

    Parameters
    ----------
    before, after
        The item.
    event
        What happened to it.
    frame_count
        Its frames.
    error
        What it failed with.
    """
    result = RESULTS.get(type(event))
    if result is None:
        return {}
    stage = before.stage
    sums: dict[Key, float] = {(ITEMS, stage, result): 1.0}
    if error is not None:
        sums[FAILURES, error.code, stage] = 1.0
    if isinstance(event, Finish):
        seconds = max(after.finished_at - before.claimed_at, 0.0)
        place = bisect_left(BOUNDS_S, seconds)
        sums[ITEM_S, stage, ""] = seconds
        sums[FRAMES, stage, ""] = float(frame_count)
        sums[WITHIN, stage, str(BOUNDS_S[place]) if place < len(BOUNDS_S) else "+Inf"] = 1.0
    return sums


def of_job(before: str, after: str, seconds: float) -> dict[Key, float]:
    """What a change of a job's status adds, where it is over by that."""
    if before == after or after not in OVER:
        return {}
    return {(JOBS, after, ""): 1.0, (JOB_S, after, ""): max(seconds, 0.0)}


def of_spent(stage: str, spent: Mapping[tuple[str, str], float]) -> dict[Key, float]:
    """What a process spent on a stage (`facefusion.models.spent`), as sums."""
    sums: dict[Key, float] = {}
    for (kind, name), value in spent.items():
        one, _, other = name.partition("/") if kind == CACHE else (stage, "", name)
        sums[kind, one, other] = value
    return sums
