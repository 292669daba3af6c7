"""What a service keeps beside its jobs, in the same store: keys, assets, uploads, orders, deliveries, who did what.

An order is a request that came to a service: whose it is, what it asks for, and which job does it. Everything has a
tenant, and every question names one, so that nobody sees what is another's.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from facefusion.errors import Conflict, LeaseLost, NotThere
from facefusion.jobs import tally
from facefusion.jobs.states import JobStatus
from facefusion.jobs.store import JobStore, StageProgress, _jobs, _metadata, _patient, _progress
from facefusion.jobs.store import _items as _parts
from facefusion.wording import counted, lengths_of

OrderStatus = JobStatus
COMPARE_S = 60.0
OVER = ("done", "failed", "cancelled")
_keys = sa.Table(
    "service_keys", _metadata,
    sa.Column("id", sa.String(32), primary_key=True), sa.Column("tenant", sa.String(64)),
    sa.Column("hash", sa.String(64)), sa.Column("scopes", sa.JSON), sa.Column("note", sa.Text),
    sa.Column("created_at", sa.Float), sa.Column("expires_at", sa.Float), sa.Column("revoked_at", sa.Float),
    sa.Column("used_at", sa.Float),
)  # fmt: skip
_assets = sa.Table(
    "assets", _metadata,
    sa.Column("id", sa.String(32), primary_key=True), sa.Column("tenant", sa.String(64)),
    sa.Column("kind", sa.String(12)), sa.Column("role", sa.String(12)), sa.Column("name", sa.Text),
    sa.Column("media_type", sa.String(80)), sa.Column("size_bytes", sa.BigInteger), sa.Column("sha256", sa.String(64)),
    sa.Column("about", sa.JSON), sa.Column("key", sa.Text), sa.Column("created_at", sa.Float),
    sa.Column("expires_at", sa.Float),
)  # fmt: skip
_uploads = sa.Table(
    "uploads", _metadata,
    sa.Column("id", sa.String(32), primary_key=True), sa.Column("tenant", sa.String(64)), sa.Column("name", sa.Text),
    sa.Column("size_bytes", sa.BigInteger), sa.Column("asset_id", sa.String(32)), sa.Column("created_at", sa.Float),
    sa.Column("expires_at", sa.Float),
)  # fmt: skip
_orders = sa.Table(
    "orders", _metadata,
    sa.Column("id", sa.String(32), primary_key=True), sa.Column("tenant", sa.String(64)),
    sa.Column("status", sa.String(12)), sa.Column("job_id", sa.String(32)), sa.Column("request", sa.JSON),
    sa.Column("batch", sa.String(32)), sa.Column("asked_by", sa.Text), sa.Column("is_cancelled", sa.Boolean),
    sa.Column("outcome", sa.JSON), sa.Column("error", sa.JSON), sa.Column("tries", sa.Integer),
    sa.Column("owner", sa.String(80)), sa.Column("lease_until", sa.Float), sa.Column("available_at", sa.Float),
    sa.Column("created_at", sa.Float), sa.Column("updated_at", sa.Float),
)  # fmt: skip
_order_assets = sa.Table(
    "order_assets", _metadata,
    sa.Column("order_id", sa.String(32), primary_key=True), sa.Column("asset_id", sa.String(32), primary_key=True),
)  # fmt: skip
_replays = sa.Table(
    "replays", _metadata,
    sa.Column("tenant", sa.String(64), primary_key=True), sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("body", sa.String(64)), sa.Column("made", sa.String(40)), sa.Column("created_at", sa.Float),
)  # fmt: skip
_deliveries = sa.Table(
    "deliveries", _metadata,
    sa.Column("id", sa.String(32), primary_key=True), sa.Column("tenant", sa.String(64)),
    sa.Column("order_id", sa.String(32)), sa.Column("status", sa.String(12)), sa.Column("url", sa.Text),
    sa.Column("secret", sa.Text), sa.Column("body", sa.Text), sa.Column("tries", sa.Integer),
    sa.Column("told", sa.Text),
    sa.Column("available_at", sa.Float), sa.Column("created_at", sa.Float), sa.Column("updated_at", sa.Float),
)  # fmt: skip
_used = sa.Table(
    "used", _metadata,
    sa.Column("tenant", sa.String(64), primary_key=True), sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("video_s", sa.Float),
)  # fmt: skip
_audit = sa.Table(
    "audit", _metadata,
    sa.Column("id", sa.Integer, primary_key=True), sa.Column("at", sa.Float), sa.Column("tenant", sa.String(64)),
    sa.Column("who", sa.Text), sa.Column("what", sa.String(120)), sa.Column("object", sa.String(80)),
    sa.Column("status", sa.Integer), sa.Column("request_id", sa.String(32)),
)  # fmt: skip
_OF_A_TENANT = {
    "keys": _keys, "assets": _assets, "uploads": _uploads, "orders": _orders, "replays": _replays,
    "deliveries": _deliveries, "used": _used, "audit": _audit,
}  # fmt: skip
# What is asked all the time is put together once.
_ONE_ORDER = (
    sa.select(_orders, _jobs.c.status.label("of_job"))
    .join(_jobs, _jobs.c.id == _orders.c.job_id, isouter=True)
    .where(_orders.c.id == sa.bindparam("order"), _orders.c.tenant == sa.bindparam("of_tenant"))
)
_ONE_ORDER_OF_ANYBODY = (
    sa.select(_orders.c.created_at, _jobs.c.status.label("of_job"))
    .join(_jobs, _jobs.c.id == _orders.c.job_id, isouter=True)
    .where(_orders.c.id == sa.bindparam("order"))
)
_ITS_PARTS = sa.select(*[column for column in _parts.c if column.name != "outcome"]).where(
    _parts.c.job_id == sa.bindparam("job")
)


def _sum(column: Any, *where: Any) -> Any:
    return sa.select(sa.func.coalesce(sa.func.sum(column), 0)).where(*where).scalar_subquery()


_USES = sa.select(
    _sum(_assets.c.size_bytes, _assets.c.tenant == sa.bindparam("tenant")).label("stored"),
    _sum(_uploads.c.size_bytes, _uploads.c.tenant == sa.bindparam("tenant"), _uploads.c.asset_id == "").label("coming"),
    sa.select(sa.func.count())
    .where(_orders.c.tenant == sa.bindparam("tenant"), _orders.c.status.not_in(OVER))
    .scalar_subquery()
    .label("is_open"),
    _sum(_used.c.video_s, _used.c.tenant == sa.bindparam("tenant"), _used.c.day == sa.bindparam("day")).label(
        "video_s"
    ),
)


@dataclass(frozen=True, slots=True)
class Key:
    """A key that opens the service to a tenant; of the key itself only its hash is kept.

    Attributes
    ----------
    id, tenant
        Which, and whose.
    scopes
        What it allows.
    note
        What it is for.
    created_at, expires_at, revoked_at, used_at
        Seconds since 1970; None for never.
    """

    id: str
    tenant: str
    scopes: tuple[str, ...]
    note: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    used_at: float | None = None

    def is_valid(self, now: float) -> bool:
        """Whether it opens anything at a time."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that a tenant brought or that a job made.

    Attributes
    ----------
    id, tenant
        Which, and whose.
    kind
        ``photo``, ``clip`` or ``sound``.
    role
        ``upload`` or ``output``.
    name
        As its owner calls it; only ever shown.
    media_type, size_bytes, sha256
        Of the content.
    about
        What is known of it: width, height, duration_s, frame_rate, has_sound.
    key
        Where it is in the storage.
    created_at, expires_at
        Seconds since 1970; None for never.
    """

    id: str
    tenant: str
    kind: str
    role: str
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    about: dict[str, Any]
    key: str
    created_at: float = 0.0
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that comes in pieces.

    Attributes
    ----------
    id, tenant, name
        Which, whose, and what its owner calls it.
    size_bytes
        How long it will be.
    asset_id
        What became of it; empty as long as bytes are missing.
    created_at, expires_at
        Seconds since 1970.
    """

    id: str
    tenant: str
    name: str
    size_bytes: int
    asset_id: str
    created_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Order:
    """A request that came to a service.

    Attributes
    ----------
    id, tenant
        Which, and whose.
    status
        As it was recorded; while a job does it, `Ledger.view` knows more.
    job_id
        Which job does it; empty until that is made.
    request
        What was asked for, as JSON.
    batch
        Which batch it belongs to, or nothing.
    asked_by
        Who asked.
    is_cancelled
        Whether it is not wanted any more.
    outcome
        What came of it.
    error
        Why it failed: code, message and hint.
    tries
        How often somebody took it up.
    owner, lease_until, available_at
        Who has it and until when, and when it may be taken.
    created_at, updated_at
        Seconds since 1970.
    """

    id: str
    tenant: str
    status: OrderStatus
    job_id: str
    request: dict[str, Any]
    batch: str
    asked_by: str
    is_cancelled: bool
    outcome: dict[str, Any]
    error: dict[str, str]
    tries: int
    owner: str
    lease_until: float
    available_at: float
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order as it is just now.

    Attributes
    ----------
    order
        As recorded.
    status
        As it is.
    progress
        How far the stages of its job are; nothing where there is no job.
    """

    order: Order
    status: OrderStatus
    progress: tuple[StageProgress, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether nobody goes on with it unless told to."""
        return self.status in OVER


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message to a webhook.

    Attributes
    ----------
    id, tenant, order_id
        Which, whose, and about what.
    status
        ``waiting``, ``delivered`` or ``given up``.
    url, secret, body
        Where to, how it is signed, and what it says.
    tries, told
        How often it was tried, and what came of the last try.
    available_at, created_at, updated_at
        Seconds since 1970.
    """

    id: str
    tenant: str
    order_id: str
    status: Literal["waiting", "delivered", "given up"]
    url: str
    secret: str = field(repr=False)
    body: str = field(repr=False)
    tries: int
    told: str
    available_at: float
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class Deed:
    """Who did what, and when. No file names, nothing of people's faces."""

    id: int
    at: float
    tenant: str
    who: str
    what: str
    object: str
    status: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What comes with an order.

    Attributes
    ----------
    id, request, batch
        As in `Order`.
    assets
        Ids of what it reads.
    video_s
        Seconds of video that it will make.
    """

    id: str
    request: dict[str, Any]
    assets: tuple[str, ...]
    batch: str = ""
    video_s: float = 0.0


def day_of(now: float) -> str:
    """The day of a time, in UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(now))


class Ledger(JobStore):
    """The job store with what a service keeps beside the jobs.

    Parameters
    ----------
    url, patience_s, clock
        As for `facefusion.jobs.store.JobStore`.
    """

    _compared = (-1e9, 0.0)
    """When a server's clock was asked for, and how far it is ahead of this machine's, s."""

    key_changes = 0
    """How often this object has ended keys; whoever keeps one in mind looks again after it."""

    def now(self) -> float:
        """Seconds since 1970 by the store's clock; a server is asked for its own once a minute."""
        if self._is_sqlite:
            return self._clock()
        at, ahead_s = self._compared
        if not 0 <= time.monotonic() - at < COMPARE_S:
            ahead_s = self._ask_time() - time.time()
            self._compared = time.monotonic(), ahead_s
        return time.time() + ahead_s

    @_patient
    def _ask_time(self) -> float:
        with self._reading() as connection:
            return self._now(connection)

    # Keys

    @_patient
    def add_key(self, key: Key, digest: str) -> None:
        """Record a key by its hash."""
        with self._engine.begin() as connection:
            connection.execute(sa.insert(_keys).values(hash=digest, **_fields(key)))

    @_patient
    def find_key(self, digest: str) -> Key | None:
        """The key with a hash, whether it is valid or not."""
        with self._reading() as connection:
            row = connection.execute(sa.select(_keys).where(_keys.c.hash == digest)).first()
        return None if row is None else _key(row)

    @_patient
    def find_key_by_id(self, key_id: str) -> tuple[Key | None, str]:
        """The key of an id with its hash, whether it is valid or not."""
        with self._reading() as connection:
            row = connection.execute(sa.select(_keys).where(_keys.c.id == key_id)).first()
        return (None, "") if row is None else (_key(row), str(row.hash))

    @_patient
    def list_keys(self, tenant: str = "") -> list[Key]:
        """All keys, or those of a tenant, the oldest first."""
        query = sa.select(_keys).order_by(_keys.c.created_at, _keys.c.id)
        with self._reading() as connection:
            rows = connection.execute(query if not tenant else query.where(_keys.c.tenant == tenant)).all()
        return [_key(row) for row in rows]

    @_patient
    def has_keys(self) -> bool:
        """Whether any key is valid now."""
        with self._reading() as connection:
            now = self._now(connection)
            valid = sa.and_(
                _keys.c.revoked_at.is_(None), sa.or_(_keys.c.expires_at.is_(None), _keys.c.expires_at > now)
            )
            return connection.execute(sa.select(_keys.c.id).where(valid).limit(1)).first() is not None

    @_patient
    def change_key(self, key_id: str, **values: Any) -> None:
        """Set when a key expires, was revoked or used.

        Raises
        ------
        NotThere
        """
        with self._engine.begin() as connection:
            done = connection.execute(sa.update(_keys).where(_keys.c.id == key_id).values(**values))
            if not done.rowcount:
                raise NotThere(f"There is no key {key_id}.", "See 'facefusion keys list'.")
        self.key_changes += bool({*values} - {"used_at"})

    def _own_row(self, table: sa.Table, tenant: str, id_: str) -> sa.Row[Any] | None:
        """What a tenant has of an id; None where it is not there, or somebody else's."""
        with self._reading() as connection:
            return connection.execute(sa.select(table).where(table.c.id == id_, table.c.tenant == tenant)).first()

    # Assets

    @_patient
    def add_asset(self, asset: Asset) -> Asset:
        """Record an asset; the store says when."""
        with self._engine.begin() as connection:
            return self._add_asset(connection, asset)

    def _add_asset(self, connection: sa.Connection, asset: Asset) -> Asset:
        values = _fields(asset) | {"created_at": self._now(connection)}
        connection.execute(sa.delete(_assets).where(_assets.c.id == asset.id))
        connection.execute(sa.insert(_assets).values(**values))
        return Asset(**values)

    @_patient
    def find_asset(self, tenant: str, asset_id: str) -> Asset | None:
        """An asset of a tenant."""
        row = self._own_row(_assets, tenant, asset_id)
        return None if row is None else Asset(**row._mapping)

    def get_asset(self, tenant: str, asset_id: str) -> Asset:
        """An asset of a tenant.

        Raises
        ------
        NotThere
        """
        found = self.find_asset(tenant, asset_id)
        if found is None:
            raise NotThere(f"There is no asset {asset_id}.", "It may have expired; see GET /v1/assets.")
        return found

    @_patient
    def list_assets(
        self, tenant: str, limit: int, after: tuple[float, str] | None = None, kind: str = "", role: str = ""
    ) -> list[Asset]:
        """Some assets, the newest first."""
        query = sa.select(_assets).where(_assets.c.tenant == tenant)
        for column, value in ((_assets.c.kind, kind), (_assets.c.role, role)):
            if value:
                query = query.where(column == value)
        with self._reading() as connection:
            rows = connection.execute(_newest(query, _assets, limit, after)).all()
        return [Asset(**row._mapping) for row in rows]

    @_patient
    def remove_asset(
        self, tenant: str, asset_id: str, is_expired_at: float | None = None, is_unused: bool = False
    ) -> Asset:
        """Forget an asset that no open order reads; its file is the caller's to take away.

        Parameters
        ----------
        tenant, asset_id
            Which.
        is_expired_at
            Only if it has expired at this time.
        is_unused
            Only if it was uploaded and no order reads it, be it over or not.

        Raises
        ------
        NotThere
        Conflict
            While an order needs it.
        """
        with self._engine.begin() as connection:
            query = sa.select(_assets).where(_assets.c.id == asset_id, _assets.c.tenant == tenant)
            row = connection.execute(query.with_for_update()).first()
            if row is None:
                raise NotThere(f"There is no asset {asset_id}.", "It may have expired; see GET /v1/assets.")
            asset = Asset(**row._mapping)
            if is_expired_at is not None and (asset.expires_at is None or asset.expires_at > is_expired_at):
                raise Conflict(f"Asset {asset_id} has not expired.", "Nothing was changed.")
            user = connection.execute(self._users(asset_id, are_open=not is_unused)).scalar()
            if is_unused and asset.role != "upload":
                raise Conflict(f"Asset {asset_id} is the output of a job.", "Delete that job.")
            if user is not None:
                way_out = "Delete the job first." if is_unused else "Cancel or delete the job first."
                raise Conflict(f"Asset {asset_id} is needed by job {user}.", way_out)
            connection.execute(sa.delete(_assets).where(_assets.c.id == asset_id))
            return asset

    @staticmethod
    def _users(asset_id: str, are_open: bool) -> Any:
        found = (
            sa.select(_orders.c.id)
            .join(_order_assets, _order_assets.c.order_id == _orders.c.id)
            .where(_order_assets.c.asset_id == asset_id)
        )
        return (found.where(_orders.c.status.not_in(OVER)) if are_open else found).limit(1)

    @_patient
    def inputs_of(self, tenant: str, order_id: str) -> list[str]:
        """Ids of the assets that an order reads."""
        with self._reading() as connection:
            query = (
                sa.select(_order_assets.c.asset_id)
                .join(_orders, _orders.c.id == _order_assets.c.order_id)
                .where(_orders.c.id == order_id, _orders.c.tenant == tenant)
            )
            return [str(row[0]) for row in connection.execute(query)]

    @_patient
    def assets_there(self, asset_ids: Collection[str]) -> set[str]:
        """Those of some assets that there are, whoever's they are."""
        query = sa.select(_assets.c.id).where(_assets.c.id.in_(tuple(asset_ids)))
        with self._reading() as connection:
            return {row.id for row in connection.execute(query)}

    @_patient
    def expired_assets(self, limit: int = 100) -> list[Asset]:
        """Assets whose time has come and that no open order reads."""
        with self._reading() as connection:
            now = self._now(connection)
            busy = (
                sa.select(_order_assets.c.asset_id)
                .join(_orders, _orders.c.id == _order_assets.c.order_id)
                .where(_orders.c.status.not_in(OVER))
            )
            query = sa.select(_assets).where(_assets.c.expires_at < now, _assets.c.id.not_in(busy)).limit(limit)
            return [Asset(**row._mapping) for row in connection.execute(query).all()]

    # Uploads

    @_patient
    def add_upload(self, upload: Upload) -> None:
        """Record that a file will come in pieces."""
        with self._engine.begin() as connection:
            connection.execute(sa.insert(_uploads).values(**_fields(upload)))

    @_patient
    def get_upload(self, tenant: str, upload_id: str) -> Upload:
        """An upload of a tenant.

        Raises
        ------
        NotThere
        """
        row = self._own_row(_uploads, tenant, upload_id)
        if row is None:
            raise NotThere(f"There is no upload {upload_id}.", "It may have expired: begin again.")
        return Upload(**row._mapping)

    @_patient
    def change_upload(self, upload_id: str, **values: Any) -> None:
        """Set what became of an upload, or when it expires."""
        with self._engine.begin() as connection:
            connection.execute(sa.update(_uploads).where(_uploads.c.id == upload_id).values(**values))

    @_patient
    def remove_upload(self, upload_id: str) -> None:
        """Forget an upload; its file is the caller's to take away."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_uploads).where(_uploads.c.id == upload_id))

    @_patient
    def open_uploads(self, tenant: str) -> int:
        """How many uploads of a tenant are begun and not done."""
        own = sa.and_(_uploads.c.tenant == tenant, _uploads.c.asset_id == "")
        with self._reading() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(_uploads).where(own)).scalar() or 0)

    @_patient
    def uploads(self) -> list[Upload]:
        """All uploads."""
        with self._reading() as connection:
            return [Upload(**row._mapping) for row in connection.execute(sa.select(_uploads)).all()]

    # Orders

    @_patient
    def place(
        self,
        tenant: str,
        asked_by: str,
        asked: Sequence[Asked],
        made: str,
        replay: tuple[str, str] | None = None,
        max_open: int = 0,
        max_video_s: float = 0.0,
    ) -> tuple[str, bool]:
        """Record orders, all of them or none.

        Parameters
        ----------
        tenant, asked_by
            Whose, and who asks.
        asked
            What is asked for.
        made
            What the caller is told of: the id of the order, or of the batch.
        replay
            Key and hash of the body of a request that may be sent again.
        max_open, max_video_s
            Quotas: orders that are not over, and seconds of video a day; 0 for none.

        Returns
        -------
        What was made, and whether that was by an earlier request.

        Raises
        ------
        NotThere
            When an asset is gone.
        Conflict
            With ``code`` ``replay`` where the key came with another body, ``open_jobs`` or ``video_minutes`` where a
            quota is used up.
        """
        with self._engine.begin() as connection:
            if not self._is_sqlite:  # one request of a tenant at a time, so that quotas and keys hold
                connection.execute(
                    sa.text("SELECT pg_advisory_xact_lock(7310002, hashtext(:tenant))"), {"tenant": tenant}
                )
            now = self._now(connection)
            if replay is not None:
                key, body = replay
                row = connection.execute(
                    sa.select(_replays).where(_replays.c.tenant == tenant, _replays.c.key == key)
                ).first()
                if row is not None:
                    if row.body != body:
                        raise Conflict(
                            "This Idempotency-Key came with another body.", "Use a fresh key for another request.",
                            code="replay", status=422,
                        )  # fmt: skip
                    return str(row.made), True
                connection.execute(
                    sa.insert(_replays).values(tenant=tenant, key=key, body=body, made=made, created_at=now)
                )
            self._check_quotas(connection, tenant, asked, now, max_open, max_video_s)
            wanted = {asset for one in asked for asset in one.assets}
            query = sa.select(_assets.c.id).where(_assets.c.tenant == tenant, _assets.c.id.in_(wanted))
            missing = wanted - {row[0] for row in connection.execute(query.with_for_update()).all()}
            if missing:
                raise NotThere(f"There is no asset {min(missing)}.", "It may have expired; see GET /v1/assets.")
            for one in asked:
                connection.execute(sa.insert(_orders).values(
                    id=one.id, tenant=tenant, status="queued", job_id="", request=one.request, batch=one.batch,
                    asked_by=asked_by, is_cancelled=False, outcome={}, error={}, tries=0, owner="", lease_until=0.0,
                    available_at=now, created_at=now, updated_at=now,
                ))  # fmt: skip
                rows = [{"order_id": one.id, "asset_id": asset} for asset in one.assets]
                if rows:
                    connection.execute(sa.insert(_order_assets), rows)
            return made, False

    @staticmethod
    def _check_quotas(
        connection: sa.Connection, tenant: str, asked: Sequence[Asked], now: float, max_open: int, max_video_s: float
    ) -> None:
        if max_open:
            query = sa.select(sa.func.count()).where(_orders.c.tenant == tenant, _orders.c.status.not_in(OVER))
            found = int(connection.execute(query).scalar() or 0)
            if found + len(asked) > max_open:
                raise Conflict(
                    f"{counted(found, 'job is', 'jobs are')} open of {max_open} that may be at once, and "
                    f"this is {len(asked)} more.",
                    "Wait until some are over.",
                    code="open_jobs",
                )  # fmt: skip
        day, seconds = day_of(now), sum(one.video_s for one in asked)
        if not seconds:
            return
        own = sa.and_(_used.c.tenant == tenant, _used.c.day == day)
        used = float(connection.execute(sa.select(_used.c.video_s).where(own).with_for_update()).scalar() or 0.0)
        if max_video_s and used + seconds > max_video_s:
            had, most, more = lengths_of(
                (used, max_video_s, seconds), lambda told: told[2] > 0 and told[0] + told[2] > told[1] > 0
            )
            raise Conflict(
                f"{had} of {most} of video a day are used, and this is {more} more.",
                "Go on tomorrow (UTC).", code="video_minutes",
            )  # fmt: skip
        changed = connection.execute(sa.update(_used).where(own).values(video_s=_used.c.video_s + seconds))
        if not changed.rowcount:
            connection.execute(sa.insert(_used).values(tenant=tenant, day=day, video_s=seconds))

    @_patient
    def get_order(self, tenant: str, order_id: str) -> Order:
        """An order of a tenant.

        Raises
        ------
        NotThere
        """
        row = self._own_row(_orders, tenant, order_id)
        if row is None:
            raise NotThere(f"There is no job {order_id}.", "See GET /v1/jobs.")
        return Order(**row._mapping)

    @_patient
    def order_of(self, tenant: str, job_id: str) -> str:
        """Id of the order that a job of a tenant was made for; empty for none."""
        query = sa.select(_orders.c.id).where(_orders.c.tenant == tenant, _orders.c.job_id == job_id)
        with self._reading() as connection:
            return str(connection.execute(query.order_by(_orders.c.created_at.desc())).scalar() or "")

    @_patient
    def view(self, tenant: str, order_id: str) -> OrderView:
        """An order as it is just now, with the stages of its job.

        Raises
        ------
        NotThere
        """
        with self._reading() as connection:
            row = connection.execute(_ONE_ORDER, {"order": order_id, "of_tenant": tenant}).first()
            if row is None:
                raise NotThere(f"There is no job {order_id}.", "See GET /v1/jobs.")
            parts = connection.execute(_ITS_PARTS, {"job": row.job_id}).all() if row.job_id else []
            return _view(row, _progress(parts, self._now(connection)))

    @_patient
    def list_orders(
        self,
        tenant: str,
        limit: int,
        after: tuple[float, str] | None = None,
        statuses: Collection[str] = (),
        batch: str = "",
    ) -> list[OrderView]:
        """Some orders, the newest first, each with the sums of its rendering."""
        of_job = _jobs.c.status.label("of_job")
        query = sa.select(_orders, of_job).join(_jobs, _jobs.c.id == _orders.c.job_id, isouter=True)
        query = query.where(_orders.c.tenant == tenant)
        if batch:
            query = query.where(_orders.c.batch == batch)
        if statuses:
            query = query.where(_status_now().in_(tuple(statuses)))
        done = sa.case((_parts.c.status == "done", _parts.c.frame_count), else_=_parts.c.progress)
        with self._reading() as connection:
            rows = connection.execute(_newest(query, _orders, limit, after)).all()
            jobs = [row.job_id for row in rows if row.job_id]
            sums = (
                sa.select(
                    _parts.c.job_id,
                    sa.func.sum(sa.case((_parts.c.status == "done", 1), else_=0)),
                    sa.func.count(),
                    sa.func.sum(done),
                    sa.func.sum(_parts.c.frame_count),
                )
                .where(_parts.c.stage == "render", _parts.c.job_id.in_(jobs))
                .group_by(_parts.c.job_id)
            )
            found = {row[0]: StageProgress("render", *map(int, row[1:])) for row in connection.execute(sums).all()}
        return [_view(row, [found[row.job_id]] if row.job_id in found else []) for row in rows]

    @_patient
    def count_orders(self, tenant: str, batch: str = "") -> dict[str, int]:
        """How many orders there are of each status."""
        status = _status_now()
        query = sa.select(status, sa.func.count()).select_from(
            _orders.join(_jobs, _jobs.c.id == _orders.c.job_id, isouter=True)
        )
        query = query.where(_orders.c.tenant == tenant, *([_orders.c.batch == batch] if batch else []))
        with self._reading() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query.group_by(status)).all()}

    @_patient
    def order_ids(self, tenant: str, batch: str = "") -> list[str]:
        """Ids of all orders of a tenant, or of a batch, the oldest first."""
        query = sa.select(_orders.c.id).where(_orders.c.tenant == tenant).order_by(_orders.c.created_at, _orders.c.id)
        with self._reading() as connection:
            rows = connection.execute(query.where(_orders.c.batch == batch) if batch else query).all()
        return [row[0] for row in rows]

    @_patient
    def states_of(self, order_ids: Collection[str]) -> dict[str, str]:
        """Recorded status of those of some orders that there are, whoever's they are."""
        query = sa.select(_orders.c.id, _orders.c.status).where(_orders.c.id.in_(tuple(order_ids)))
        with self._reading() as connection:
            return {row.id: row.status for row in connection.execute(query)}

    @_patient
    def claim_order(self, owner: str, lease_s: float, order_id: str = "") -> Order | None:
        """Take an order that nobody has: of the tenant that has least in hand the one that waits longest, or None.

        Parameters
        ----------
        owner, lease_s
            Who takes it, and for how long unless it is kept.
        order_id
            This one, or none.
        """
        with self._engine.begin() as connection:
            now = self._now(connection)
            is_open = _orders.c.status.not_in(OVER)
            is_held = sa.and_(_orders.c.owner != "", _orders.c.lease_until >= now)
            held = connection.execute(sa.select(_orders.c.tenant).where(is_open, is_held)).all()
            busy = Counter(row[0] for row in held)
            query = (
                sa.select(_orders.c.id, _orders.c.tenant, _orders.c.available_at)
                .where(is_open, sa.not_(is_held), _orders.c.available_at <= now)
                .order_by(_orders.c.available_at, _orders.c.created_at)
                .limit(500)
            )
            rows = connection.execute(query.where(_orders.c.id == order_id) if order_id else query).all()
            for row in sorted(rows, key=lambda row: busy[row.tenant]):
                changed = connection.execute(
                    sa.update(_orders)
                    .where(_orders.c.id == row.id, is_open, sa.not_(is_held))
                    .values(owner=owner, lease_until=now + lease_s, tries=_orders.c.tries + 1)
                )
                if changed.rowcount:
                    return Order(**connection.execute(sa.select(_orders).where(_orders.c.id == row.id)).one()._mapping)
            return None

    @_patient
    def keep_order(self, order_id: str, owner: str, lease_s: float) -> Order:
        """Go on having an order; what it is now.

        Raises
        ------
        LeaseLost
            When somebody else has it, or it is gone.
        """
        with self._engine.begin() as connection:
            values = {"lease_until": self._now(connection) + lease_s}
            self._change_own(connection, order_id, owner, values)
            return Order(**connection.execute(sa.select(_orders).where(_orders.c.id == order_id)).one()._mapping)

    @_patient
    def change_order(self, order_id: str, owner: str, **values: Any) -> None:
        """Record something about an order that one has.

        Raises
        ------
        LeaseLost
        """
        with self._engine.begin() as connection:
            self._change_own(connection, order_id, owner, values | {"updated_at": self._now(connection)})

    @_patient
    def let_go(self, order_id: str, owner: str, delay_s: float | None = 0.0, is_try: bool = True) -> None:
        """Leave an order to whoever takes it next, not before some seconds have passed.

        Parameters
        ----------
        order_id, owner, delay_s
            Which, whose it was, and for how long nobody takes it; None leaves it its place before what came later.
        is_try
            Whether it counts as a try; else tries are counted anew.
        """
        with self._engine.begin() as connection:
            values: dict[str, Any] = {
                "owner": "", "lease_until": 0.0, **({} if is_try else {"tries": 0}),
                **({} if delay_s is None else {"available_at": self._now(connection) + delay_s}),
            }  # fmt: skip
            connection.execute(
                sa.update(_orders).where(_orders.c.id == order_id, _orders.c.owner == owner).values(**values)
            )

    @_patient
    def free_orders(self, owner: str) -> int:
        """Offer again what somebody had who is known to be gone; how many there were."""
        with self._engine.begin() as connection:
            held = sa.update(_orders).where(_orders.c.owner == owner, _orders.c.status.not_in(OVER))
            return int(connection.execute(held.values(owner="", lease_until=0.0)).rowcount)

    @_patient
    def settle(
        self,
        order_id: str,
        owner: str,
        status: OrderStatus,
        outcome: dict[str, Any],
        error: Mapping[str, str],
        output: Asset | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        """Record how an order ended, with its output and the message that tells of it.

        Raises
        ------
        LeaseLost
        """
        with self._engine.begin() as connection:
            now = self._now(connection)
            values = {
                "status": status, "outcome": outcome, "error": dict(error), "owner": "", "lease_until": 0.0,
                "updated_at": now,
            }  # fmt: skip
            self._change_own(connection, order_id, owner, values)
            if status == "failed":
                tally.add(connection, self._failure_of(connection, order_id, str(error.get("code", "")), now))
            if output is not None:
                self._add_asset(connection, output)
            if delivery is not None:
                values = _fields(delivery) | {"available_at": now, "created_at": now, "updated_at": now}
                connection.execute(sa.insert(_deliveries).values(**values))

    @staticmethod
    def _failure_of(connection: sa.Connection, order_id: str, code: str, now: float) -> tally.Sums:
        """What an order adds that failed: nothing where its job did, which is counted."""
        row = connection.execute(_ONE_ORDER_OF_ANYBODY, {"order": order_id}).one()
        if row.of_job == "failed":
            return {}
        return {(tally.FAILURES, code, "order"): 1.0, **tally.of_job("", "failed", now - row.created_at)}

    @staticmethod
    def _change_own(connection: sa.Connection, order_id: str, owner: str, values: Mapping[str, Any]) -> None:
        own = sa.update(_orders).where(_orders.c.id == order_id, _orders.c.owner == owner)
        if not connection.execute(own.values(**values)).rowcount:
            raise LeaseLost(f"Order {order_id} is not in the hands of {owner}.", "Nothing is to be done.")

    @_patient
    def cancel_order(self, tenant: str, order_id: str) -> Order:
        """Note that an order is not wanted any more; one that nobody has in hand is over at once.

        Raises
        ------
        NotThere
        """
        with self._engine.begin() as connection:
            own = sa.and_(_orders.c.id == order_id, _orders.c.tenant == tenant)
            row = connection.execute(sa.select(_orders).where(own).with_for_update()).first()
            if row is None:
                raise NotThere(f"There is no job {order_id}.", "See GET /v1/jobs.")
            now = self._now(connection)
            values: dict[str, Any] = {}
            if row.status not in OVER:
                values = {"is_cancelled": True, "updated_at": now, "available_at": now}
            if values:
                connection.execute(sa.update(_orders).where(own).values(**values))
            return Order(**{**row._mapping, **values})

    @_patient
    def retry_order(self, tenant: str, order_id: str) -> Order:
        """Put an order back that failed or was cancelled.

        Raises
        ------
        NotThere
        Conflict
            When there is nothing to try again.
        """
        with self._engine.begin() as connection:
            own = sa.and_(_orders.c.id == order_id, _orders.c.tenant == tenant)
            row = connection.execute(sa.select(_orders).where(own).with_for_update()).first()
            if row is None:
                raise NotThere(f"There is no job {order_id}.", "See GET /v1/jobs.")
            if row.status not in OVER and row.is_cancelled:
                raise Conflict(
                    f"Job {order_id} was cancelled and is still being stopped.", "Try again in a moment.",
                )  # fmt: skip
            if row.status not in ("failed", "cancelled"):
                raise Conflict(
                    f"Job {order_id} is {row.status}: there is nothing to try again.", "Nothing was changed."
                )
            wanted = sa.select(_order_assets.c.asset_id).where(_order_assets.c.order_id == order_id)
            there = sa.select(_assets.c.id).where(_assets.c.id.in_(wanted))
            missing = {r[0] for r in connection.execute(wanted)} - {r[0] for r in connection.execute(there)}
            if missing:
                raise Conflict(f"Asset {min(missing)} is gone, and job {order_id} needs it.", "Make a new job.")
            now = self._now(connection)
            kept = {name: told for name, told in row.outcome.items() if name == "policy"}  # it is not planned again
            values = {
                "status": "queued", "is_cancelled": False, "error": {}, "outcome": {**kept, "is_retried": True},
                "tries": 0, "available_at": now, "updated_at": now,
            }  # fmt: skip
            connection.execute(sa.update(_orders).where(own).values(**values))
            return Order(**{**row._mapping, **values})

    @_patient
    def remove_order(self, tenant: str, order_id: str) -> None:
        """Forget an order that nobody has in hand.

        Raises
        ------
        NotThere
        Conflict
            While somebody has it.
        """
        with self._engine.begin() as connection:
            own = sa.and_(_orders.c.id == order_id, _orders.c.tenant == tenant)
            row = connection.execute(sa.select(_orders).where(own).with_for_update()).first()
            if row is None:
                raise NotThere(f"There is no job {order_id}.", "See GET /v1/jobs.")
            if row.owner and row.lease_until > self._now(connection):
                raise Conflict(f"Job {order_id} is just being stopped.", "Try again in a moment.")
            self._drop_orders(connection, [order_id])

    @staticmethod
    def _drop_orders(connection: sa.Connection, ids: Sequence[str]) -> None:
        for table, column in ((_order_assets, _order_assets.c.order_id), (_deliveries, _deliveries.c.order_id)):
            connection.execute(sa.delete(table).where(column.in_(ids)))
        connection.execute(sa.delete(_replays).where(_replays.c.made.in_(ids)))
        connection.execute(sa.delete(_orders).where(_orders.c.id.in_(ids)))

    @_patient
    def old_orders(self, older_than_s: float, limit: int = 100) -> list[Order]:
        """Orders that are over and that nobody touched for so long."""
        with self._reading() as connection:
            before = self._now(connection) - older_than_s
            query = sa.select(_orders).where(_orders.c.status.in_(OVER), _orders.c.updated_at < before).limit(limit)
            return [Order(**row._mapping) for row in connection.execute(query).all()]

    @_patient
    def used(self, tenant: str) -> dict[str, float]:
        """What a tenant uses: stored bytes with those that are announced, open orders, seconds of video today."""
        with self._reading() as connection:
            values = {"tenant": tenant, "day": day_of(self._now(connection))}
            found = connection.execute(_USES, values).one()
        return {"bytes": float(found.stored + found.coming), "open_jobs": float(found.is_open),
                "video_s": float(found.video_s)}  # fmt: skip

    # Deliveries

    @_patient
    def deliveries(self, order_id: str) -> list[Delivery]:
        """Messages about an order, the oldest first."""
        query = sa.select(_deliveries).where(_deliveries.c.order_id == order_id).order_by(_deliveries.c.created_at)
        with self._reading() as connection:
            return [Delivery(**row._mapping) for row in connection.execute(query).all()]

    @_patient
    def claim_delivery(self, patience_s: float) -> Delivery | None:
        """Take a message that is due; it is due again after some seconds unless something is recorded before."""
        with self._engine.begin() as connection:
            now = self._now(connection)
            is_due = sa.and_(_deliveries.c.status == "waiting", _deliveries.c.available_at <= now)
            query = sa.select(_deliveries).where(is_due).order_by(_deliveries.c.available_at).limit(20)
            for row in connection.execute(query).all():
                taken = sa.update(_deliveries).where(
                    _deliveries.c.id == row.id, is_due, _deliveries.c.tries == row.tries
                )
                values = {"available_at": now + patience_s, "tries": row.tries + 1, "updated_at": now}
                if connection.execute(taken.values(**values)).rowcount:
                    return Delivery(**{**row._mapping, **values})
            return None

    @_patient
    def note_delivery(self, delivery_id: str, status: str, told: str, delay_s: float = 0.0) -> None:
        """Record what came of a try. A message that is over needs its secret no more."""
        with self._engine.begin() as connection:
            now = self._now(connection)
            values = {"status": status, "told": told, "available_at": now + delay_s, "updated_at": now}
            values |= {} if status == "waiting" else {"secret": ""}
            connection.execute(sa.update(_deliveries).where(_deliveries.c.id == delivery_id).values(**values))

    # Who did what

    @_patient
    def note_deeds(self, deeds: Sequence[Deed]) -> None:
        """Record who did what; ids are given by the store."""
        rows = [{name: value for name, value in _fields(deed).items() if name != "id"} for deed in deeds]
        if rows:
            with self._engine.begin() as connection:
                connection.execute(sa.insert(_audit), rows)

    @_patient
    def list_deeds(self, limit: int, before: int = 0, tenant: str = "") -> list[Deed]:
        """Some of what was done, the last first."""
        query = sa.select(_audit).order_by(_audit.c.id.desc()).limit(limit)
        query = query.where(_audit.c.id < before) if before else query
        with self._reading() as connection:
            rows = connection.execute(query.where(_audit.c.tenant == tenant) if tenant else query).all()
        return [Deed(**row._mapping) for row in rows]

    @_patient
    def drop_old(self, deeds_older_than_s: float, replays_older_than_s: float) -> None:
        """Forget what was done long ago, and keys of requests that nobody sends again."""
        with self._engine.begin() as connection:
            now = self._now(connection)
            connection.execute(sa.delete(_audit).where(_audit.c.at < now - deeds_older_than_s))
            connection.execute(sa.delete(_replays).where(_replays.c.created_at < now - replays_older_than_s))
            connection.execute(sa.delete(_used).where(_used.c.day < day_of(now - 40 * 86400)))

    # Tenants

    @_patient
    def count_tenant(self, tenant: str) -> dict[str, int]:
        """How many rows there are of a tenant, by kind."""
        with self._reading() as connection:
            return {
                name: int(
                    connection.execute(
                        sa.select(sa.func.count()).select_from(table).where(table.c.tenant == tenant)
                    ).scalar()
                    or 0
                )
                for name, table in _OF_A_TENANT.items()
            }

    @_patient
    def tenants(self) -> list[str]:
        """Names of all tenants of which there is anything."""
        with self._reading() as connection:
            found: set[str] = set()
            for table in (_keys, _assets, _orders):
                found.update(row[0] for row in connection.execute(sa.select(table.c.tenant).distinct()).all())
        return sorted(found)

    @_patient
    def assets_of(self, tenant: str) -> list[Asset]:
        """All assets of a tenant."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(_assets).where(_assets.c.tenant == tenant)).all()
        return [Asset(**row._mapping) for row in rows]

    @_patient
    def drop_tenant(self, tenant: str) -> None:
        """Forget a tenant; files and jobs are the caller's to take away before."""
        with self._engine.begin() as connection:
            ids = [
                row[0] for row in connection.execute(sa.select(_orders.c.id).where(_orders.c.tenant == tenant)).all()
            ]
            self._drop_orders(connection, ids)
            for table in _OF_A_TENANT.values():
                connection.execute(sa.delete(table).where(table.c.tenant == tenant))
        self.key_changes += 1


def _status_now() -> Any:
    """What an order is, its job asked: recorded ends count, and what a job has done is still to be brought."""
    return sa.case(
        (_orders.c.status.in_(OVER), _orders.c.status),
        (_jobs.c.status.in_(("queued", "running")), _jobs.c.status),
        (sa.and_(_orders.c.status == "queued", _jobs.c.status.in_(("failed", "cancelled"))), "queued"),  # a retry
        (_jobs.c.status.is_not(None), "running"),
        else_=_orders.c.status,
    )


def _view(row: Any, progress: Sequence[StageProgress]) -> OrderView:
    values = dict(row._mapping)
    of_job = values.pop("of_job")
    order = Order(**values)
    status = order.status
    if status not in OVER and of_job is not None:
        is_retried = status == "queued" and of_job in ("failed", "cancelled")
        status = of_job if of_job in ("queued", "running") else "queued" if is_retried else "running"
    return OrderView(order, status, tuple(progress))


def _newest(query: Any, table: sa.Table, limit: int, after: tuple[float, str] | None) -> Any:
    query = query.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
    if after is None:
        return query
    at, last = after
    return query.where(sa.or_(table.c.created_at < at, sa.and_(table.c.created_at == at, table.c.id < last)))


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _key(row: Any) -> Key:
    values = {name: value for name, value in row._mapping.items() if name != "hash"}
    return Key(**{**values, "scopes": tuple(values["scopes"])})
