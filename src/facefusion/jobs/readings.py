"""How the work stands, for operators: read from the store at the moment somebody asks, and counted by nobody.

Tenants are told of by class: names and ids never leave this module.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from facefusion.jobs import tally
from facefusion.jobs.ledger import Ledger, _assets, _deliveries, _orders
from facefusion.jobs.store import LOCAL, _is_due, _items, _jobs, _patient

NO_TENANT = "none"
"""Class of jobs that came by no service: of the command line and the library."""
OTHER = "other"
"""Class of tenants that stand in none."""


@dataclass(frozen=True, slots=True)
class Readings:
    """How the work of a store stands.

    Attributes
    ----------
    jobs
        Number of jobs by status, queue and class of tenant.
    orders
        Requests that came to the service, by status and class of tenant.
    items
        Parts of jobs that are not over, by queue, stage and status.
    ages_s
        How long the oldest part of a queue has been waiting to be taken, seconds; 0 where none is.
    at_work
        Processes that have something in hand and are not silent, by queue.
    silent
        Parts whose process has been silent for longer than its lease.
    assets
        Bytes of files of the service, by role.
    deliveries
        Messages to webhooks, by status.
    sums
        Over all work that was ever recorded (`facefusion.jobs.tally`).
    """

    jobs: Mapping[tuple[str, str, str], int]
    orders: Mapping[tuple[str, str], int]
    items: Mapping[tuple[str, str, str], int]
    ages_s: Mapping[str, float]
    at_work: Mapping[str, int]
    silent: int
    assets: Mapping[str, int]
    deliveries: Mapping[str, int]
    sums: Mapping[tally.Key, float]


class Gauge(Ledger):
    """Looks at a store and changes nothing."""

    @_patient
    def read(self, classes: Mapping[str, str], queues: Iterable[str] = ()) -> Readings:
        """How the work stands.

        Parameters
        ----------
        classes
            Class by tenant; others are `OTHER`.
        queues
            Queues that are told of in any case.

        Raises
        ------
        StoreUnreachable, StoreRefused
        """
        with self._reading() as connection:
            now = self._now(connection)
            jobs: dict[tuple[str, str, str], int] = defaultdict(int)
            owners = sa.select(_orders.c.job_id, sa.func.min(_orders.c.tenant).label("tenant")).where(
                _orders.c.job_id != ""
            )
            of = owners.group_by(_orders.c.job_id).subquery()
            query = sa.select(_jobs.c.status, _jobs.c.queue, of.c.tenant, sa.func.count()).select_from(
                _jobs.outerjoin(of, of.c.job_id == _jobs.c.id)
            )
            for status, queue, tenant, count in connection.execute(
                query.group_by(_jobs.c.status, _jobs.c.queue, of.c.tenant)
            ):
                jobs[status, shown(queue), _class(tenant, classes)] += count
            orders: dict[tuple[str, str], int] = defaultdict(int)
            found = sa.select(_orders.c.status, _orders.c.tenant, sa.func.count())
            for status, tenant, count in connection.execute(found.group_by(_orders.c.status, _orders.c.tenant)):
                orders[status, _class(tenant, classes)] += count
            known = connection.execute(sa.select(_jobs.c.queue).distinct()).scalars().all()
            names = sorted({shown(queue) for queue in (*known, *queues)})
            alive = sa.and_(_jobs.c.id == _items.c.job_id, _jobs.c.status.in_(("queued", "running")))
            items: dict[tuple[str, str, str], int] = dict.fromkeys(((name, "render", "queued") for name in names), 0)
            standing = sa.select(_jobs.c.queue, _items.c.stage, _items.c.status, sa.func.count()).where(
                alive, _items.c.status.in_(("waiting", "queued", "running"))
            )
            for queue, stage, status, count in connection.execute(
                standing.group_by(_jobs.c.queue, _items.c.stage, _items.c.status)
            ):
                items[shown(queue), stage, status] = count
            ages = dict.fromkeys(names, 0.0)
            oldest = sa.select(_jobs.c.queue, sa.func.min(_items.c.available_at)).where(
                alive, _items.c.status == "queued", _is_due(now)
            )
            for queue, since in connection.execute(oldest.group_by(_jobs.c.queue)):
                ages[shown(queue)] = max(now - since, 0.0)
            at_work = dict.fromkeys(names, 0)
            busy = sa.select(_jobs.c.queue, sa.func.count(_items.c.owner.distinct())).where(
                alive, _items.c.status == "running", _items.c.lease_until > now
            )
            for queue, count in connection.execute(busy.group_by(_jobs.c.queue)):
                at_work[shown(queue)] = count
            lost = sa.select(sa.func.count()).where(alive, _items.c.status == "running", _items.c.lease_until <= now)
            silent = connection.execute(lost).scalar() or 0
            assets = {"upload": 0, "output": 0}
            sizes = sa.select(_assets.c.role, sa.func.sum(_assets.c.size_bytes)).group_by(_assets.c.role)
            assets.update({role: int(size or 0) for role, size in connection.execute(sizes)})
            sent = sa.select(_deliveries.c.status, sa.func.count()).group_by(_deliveries.c.status)
            deliveries = {row[0]: row[1] for row in connection.execute(sent)}
            sums = tally.read(connection)
        return Readings(jobs, orders, items, ages, at_work, silent, assets, deliveries, sums)


def shown(queue: str) -> str:
    """A queue as it is told of."""
    return "local" if queue == LOCAL else queue


def _class(tenant: str | None, classes: Mapping[str, str]) -> str:
    return NO_TENANT if tenant is None else classes.get(tenant, OTHER)
