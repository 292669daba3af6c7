"""The truth about jobs, in SQLite on one machine or PostgreSQL for many.

Every change is one transaction: read the rows, ask `facefusion.jobs.states`, write what it says and a line of history.
A job's row is locked first, so two workers that finish the last two items at once cannot both miss that the stage is
complete.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, get_args

import sqlalchemy as sa
from sqlalchemy import exc
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from facefusion.documents import reason_of
from facefusion.errors import (
    ExtraMissing,
    FaceFusionError,
    IllegalMove,
    JobError,
    LeaseLost,
    OutputRefused,
    RecipeError,
    StoreRefused,
    StoreUnreachable,
    UnknownJob,
)
from facefusion.jobs import tally
from facefusion.jobs.schema import make_new, migrate
from facefusion.jobs.states import (
    IN_SPANS,
    MAX_BACK_OFF_S,
    STAGES,
    Beat,
    Cancel,
    Claim,
    Event,
    Expire,
    Fail,
    Finish,
    Invalidate,
    Item,
    JobStatus,
    Open,
    Park,
    Publish,
    Refuse,
    Retry,
    StageName,
    Status,
    Wait,
    is_due,
    is_expired,
    job_status,
    move_item,
    stage_to_open,
)
from facefusion.version import DISTRIBUTION
from facefusion.wording import counted, without_secrets
from facefusion.workplace import make_folder

if TYPE_CHECKING:
    from facefusion.jobs.stored import Joined, Merged, Rendered, StoredPlan, Told

HEAD = "0004"
"""Newest step in ``migrations``."""
KNOWN = ("0001", "0002", "0003", "0004")
"""All steps in ``migrations``."""
KINDS = ("sqlite", "postgresql")
"""Databases that a store can be in."""
LOCAL = "this machine"
"""Queue of jobs that `facefusion.jobs.local` does; no worker of a cluster takes from it."""
PATIENCE_S = 60.0
"""How long a call waits for a store that is away, such as while it is restarted."""
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_IOERR}
"""Errors of SQLite that pass: others have the file just now, or the disk may come back."""
_metadata = sa.MetaData()
_jobs = sa.Table(
    "jobs", _metadata,
    sa.Column("id", sa.String(32), primary_key=True), sa.Column("status", sa.String(12)),
    sa.Column("recipe", sa.JSON), sa.Column("plan", sa.JSON), sa.Column("outcome", sa.JSON),
    sa.Column("error", sa.Text),
    sa.Column("storage", sa.Text), sa.Column("queue", sa.String(40)), sa.Column("priority", sa.Integer),
    sa.Column("max_attempts", sa.Integer), sa.Column("created_at", sa.Float), sa.Column("updated_at", sa.Float),
)  # fmt: skip
_items = sa.Table(
    "items", _metadata,
    sa.Column("job_id", sa.String(32), primary_key=True), sa.Column("stage", sa.String(8), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True), sa.Column("status", sa.String(12)),
    sa.Column("attempts", sa.Integer), sa.Column("renders", sa.Integer), sa.Column("owner", sa.String(80)),
    sa.Column("lease_until", sa.Float), sa.Column("available_at", sa.Float), sa.Column("published_at", sa.Float),
    sa.Column("sha256", sa.String(64)), sa.Column("error", sa.Text), sa.Column("frame_count", sa.Integer),
    sa.Column("progress", sa.Integer), sa.Column("outcome", sa.JSON),
    sa.Column("claimed_at", sa.Float), sa.Column("finished_at", sa.Float),
)  # fmt: skip
_events = sa.Table(
    "events", _metadata,
    sa.Column("id", sa.Integer, primary_key=True), sa.Column("job_id", sa.String(32)), sa.Column("at", sa.Float),
    sa.Column("what", sa.Text),
)  # fmt: skip
_ITEM_FIELDS = tuple(field.name for field in fields(Item))
_LIGHT = [column for column in _items.c if column.name != "outcome"]
"""What is read often: outcomes hold the times of every frame."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Job:
    """One request, as stored.

    Attributes
    ----------
    id
        Made of what was asked for, so that the same request is the same job.
    status
        As its items make it.
    recipe
        What was asked for, as JSON (`facefusion.recipe.build_recipe` reads it).
    plan_row, outcome_row
        The plan, and what went wrong, as JSON; `plan` and `failure` read them.
    error
        Why it failed.
    storage
        URL of the folder with its working files.
    queue, priority
        Who may work on it, and how soon: larger first, 0 to 9.
    max_attempts
        Tries of an item.
    created_at, updated_at
        Seconds since 1970.
    """

    id: str
    status: JobStatus
    recipe: dict[str, Any]
    plan_row: dict[str, Any]
    outcome_row: dict[str, Any]
    error: str
    storage: str
    queue: str
    priority: int
    max_attempts: int
    created_at: float
    updated_at: float

    @property
    def plan(self) -> StoredPlan:
        """What was decided before the first frame.

        Raises
        ------
        StoreRefused
            When it is damaged.
        """
        from facefusion.jobs.stored import StoredPlan  # a list of jobs needs none of what comes with it

        return StoredPlan.from_dict(self.plan_row, self.id)

    @property
    def failure(self) -> Told | None:
        """The error that the job ended with, where trying again would not have helped."""
        from facefusion.jobs.stored import Told

        told = self.outcome_row.get("error")
        return None if told is None else Told.from_dict(told, self.id)

    @property
    def is_shared(self) -> bool:
        """Whether the workers of a cluster do it."""
        return bool(self.plan_row.get("inputs"))

    @property
    def target_path(self) -> Path:
        """The target as it was asked for."""
        return Path(self.recipe.get("target_path", ""))

    @property
    def output_path(self) -> Path:
        """Where the output goes."""
        return Path(self.recipe.get("output_path", ""))


@dataclass(frozen=True, slots=True)
class StageProgress:
    """How far a stage is: items and frames, done and in all.

    Attributes
    ----------
    frames_per_s
        How fast it goes just now, all workers together; 0 where nobody is at it.
    """

    stage: StageName
    items_done: int
    items: int
    frames_done: int
    frames: int
    frames_per_s: float = 0.0

    @property
    def time_left_s(self) -> float | None:
        """Seconds until the stage is done, or None where nobody knows."""
        left = self.frames - self.frames_done
        return 0.0 if not left else left / self.frames_per_s if self.frames_per_s else None


def _said(error: BaseException) -> str:
    """What a database's library says, in one line."""
    return reason_of(getattr(error, "orig", None) or error)


def _patient(function: Callable[P, R]) -> Callable[P, R]:
    """Try again while the store is away; say what is wrong with it where waiting is of no use."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        store: Any = args[0]
        try:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                if not store._may_pass(error):
                    raise
            attempts = Retrying(
                retry=retry_if_exception(store._may_pass),
                stop=stop_after_delay(store.patience_s),
                wait=wait_exponential(0.05, max=2.0),
                reraise=True,
            )
            return attempts(function, *args, **kwargs)
        except FaceFusionError:
            raise
        except exc.DBAPIError as error:
            raise store._why_hopeless(error) or StoreUnreachable(
                f"The job store {store.shown_url} does not answer: {_said(error)}.",
                "Check that it runs, can be written, and that no process that uses it was stopped; the job can then be "
                "resumed.",
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError, exc.SQLAlchemyError) as error:
            # What was read is not what is ever written.
            raise store._refused("holds what cannot be read", error) from error

    return call


_SHUT = re.compile(r"(database|role) \".*\" does not exist|authentication failed|no pg_hba\.conf entry")
"""What PostgreSQL says where waiting changes nothing."""


class JobStore:
    """Jobs and their items.

    Parameters
    ----------
    url
        SQLAlchemy URL: ``sqlite:///file`` or ``postgresql+psycopg://…``.
    patience_s
        How long every call waits for a store that is away.
    clock
        Seconds since 1970, for SQLite; PostgreSQL's own clock is used there, so that workers need not agree.

    Raises
    ------
    RecipeError
        When the URL is none of a job store.
    StoreUnreachable
        From any call, when the store does not answer in time.
    """

    def __init__(self, url: str, patience_s: float = PATIENCE_S, clock: Callable[[], float] = time.time) -> None:
        self.url, self.patience_s, self._clock = url, patience_s, clock
        self._is_sqlite = url.startswith("sqlite")
        options: dict[str, Any] = {"pool_pre_ping": not url.startswith("sqlite"), "hide_parameters": True}
        if self._is_sqlite:
            options["connect_args"] = {"timeout": min(patience_s, 10.0), "check_same_thread": False}
        elif url.startswith("postgresql+psycopg:") and "connect_timeout" not in url:
            # Where no answer comes at all, one try would take the system's two minutes.
            options["connect_args"] = {"connect_timeout": int(max(min(patience_s, 10.0), 2.0))}
        try:
            if (kind := sa.make_url(url).get_backend_name()) not in KINDS:
                raise ValueError(f"{kind} is not supported")
            self._engine = sa.create_engine(url, **options)
            if self._engine.url.port is not None and not 0 < self._engine.url.port < 1 << 16:
                raise ValueError(f"there is no port {self._engine.url.port}")
        except (exc.ArgumentError, exc.NoSuchModuleError, ImportError, ValueError) as error:
            if isinstance(error, ModuleNotFoundError) and error.name == "psycopg":
                raise ExtraMissing.of(f"The job store {url}", "psycopg", "worker") from error
            raise RecipeError(
                f"There can be no job store at {url}: {reason_of(error)}.",
                "Stores are SQLite (sqlite:///FILE) for one machine and PostgreSQL (postgresql+psycopg://…, with "
                f"pip install '{DISTRIBUTION}[worker]') for many.",
            ) from error
        if self._is_sqlite:
            if not self._file.parent.is_dir():
                make_folder(self._file.parent)
            # One that is there already, or cannot be made: SQLite says what is wrong with it. Some stores are no files.
            with suppress(OSError):
                if self._engine.url.database not in (None, "", ":memory:"):
                    os.close(os.open(self._file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            sa.event.listen(self._engine, "connect", _set_up_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise
        if self._is_sqlite:
            self._keep_private()

    def _keep_private(self) -> None:
        """Let nobody else read a store of ours: it names files and holds seeds. SQLite's own files beside it get the
        rights that it has when they are made."""
        for ending in ("", "-wal", "-shm", "-journal"):
            path = Path(f"{self._file}{ending}")
            with suppress(OSError):  # it is not there, or somebody else's
                if (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
                    path.chmod(mode & 0o700)

    @property
    def _file(self) -> Path:
        return Path(str(self._engine.url.database)).absolute()

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return without_secrets(self._engine.url.render_as_string(hide_password=True))

    def close(self) -> None:
        """Let all connections go."""
        self._engine.dispose()

    @_patient
    def _migrate(self) -> None:
        with self._reading() as connection:
            if self._check_kind(connection) == HEAD:
                return
        if self._is_sqlite:
            self._set_up_new()
        with self._engine.begin() as connection:
            if not self._is_sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7310001)"))  # one at a time
            step = self._check_kind(connection)
            if step == HEAD or (not step and self._is_sqlite and make_new(connection, HEAD)):
                return
            migrate(connection)

    def _set_up_new(self) -> None:
        """Let readers and a writer go beside each other. It is a change of the file, so only of one that is ours."""
        connection = self._engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode=WAL")
        except sqlite3.Error as error:
            raise exc.OperationalError("PRAGMA journal_mode", {}, error) from error
        finally:
            connection.close()

    def _check_kind(self, connection: sa.Connection) -> str:
        """The step that a store is at, nothing where it is new.

        Raises
        ------
        StoreRefused
            When it is not ours, or newer than we are.
        """
        tables = set(sa.inspect(connection).get_table_names())
        known = None
        if "alembic_version" in tables:
            known = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        is_ours = {"jobs", "items", "events"} <= tables
        if known is None:
            # A server's database may hold other things too; a file is ours alone.
            if tables & {"jobs", "items", "events"} or (self._is_sqlite and tables - {"alembic_version"}):
                raise self._refused("is a database of something else")
            return ""
        if not is_ours:
            raise self._refused("is a database of something else")
        if known not in KNOWN:
            raise self._refused(f"is of another version of FaceFusion (its step is {known}, this one knows {HEAD})")
        return str(known)

    def _refused(self, what: str, error: BaseException | None = None) -> StoreRefused:
        why = f": {_said(error)}" if error is not None else ""
        if not self._is_sqlite:
            return StoreRefused(
                f"The job store {self.shown_url} {what}{why}.", "It was left as it is; use another --job-store."
            )
        return StoreRefused(
            f"The job store {self._file} {what}{why}.",
            "It was left as it is; use another --jobs-path, or move the file away to begin a new one.",
        )

    def _may_pass(self, error: BaseException) -> bool:
        return isinstance(error, exc.DBAPIError) and self._why_hopeless(error) is None

    def _why_hopeless(self, error: exc.DBAPIError) -> FaceFusionError | None:
        """What to say where waiting for the store is of no use."""
        if isinstance(error, exc.IntegrityError):
            return self._refused("does not fit together", error)
        if not self._is_sqlite:
            kinds = (exc.OperationalError, exc.InterfaceError, exc.InternalError)
            is_away = isinstance(error, kinds) or error.connection_invalidated
            if is_away and _SHUT.search(str(error.orig)):
                return StoreRefused(
                    f"The job store {self.shown_url} lets nobody in: {_said(error)}.",
                    "Make the database and its user, or correct --job-store (FACEFUSION_JOB_STORE).",
                )
            return None if is_away else self._refused("does not do what it should", error)
        text = str(error.orig)
        if "disk is full" in text or ("disk I/O error" in text and self._is_disk_full()):
            return OutputRefused(
                f"There is no room left for the job store {self._file}.",
                "Free some space, or use another --jobs-path; the job can then be resumed.",
            )
        if "readonly" in text or "unable to open" in text:
            what = "can only be read" if "readonly" in text else "cannot be opened"
            return OutputRefused(
                f"The job store {self._file} {what}: {text}.",
                "Use another --jobs-path, or change its permissions and those of its folder.",
            )
        if "not a database" in text:
            return self._refused("is no job store", error)
        code = getattr(error.orig, "sqlite_errorcode", None)  # what Python's own part raises has none
        is_passing = "locked" in text if code is None else code & 0xFF in _PASSING
        return None if is_passing and isinstance(error, exc.OperationalError) else self._refused("is damaged", error)

    def _is_disk_full(self) -> bool:
        with suppress(OSError):
            return shutil.disk_usage(self._file.parent).free < 1_000_000
        return False

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        """A transaction that only reads: nobody who writes, or was stopped while writing, is in its way."""
        with self._engine.connect().execution_options(is_reading=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def _locked(self, job_id: str) -> Iterator[tuple[sa.Connection, Any, float]]:
        """A transaction that holds the job's row."""
        with self._engine.begin() as connection:
            row = connection.execute(sa.select(_jobs).where(_jobs.c.id == job_id).with_for_update()).first()
            if row is None:
                raise UnknownJob(f"There is no job {job_id}.", "See 'facefusion jobs list'.")
            yield connection, row, self._now(connection)

    def _now(self, connection: sa.Connection) -> float:
        if self._is_sqlite:
            return self._clock()
        return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar() or 0)

    @_patient
    def create(
        self,
        job_id: str,
        recipe: dict[str, Any],
        plan: dict[str, Any],
        storage: str,
        frame_counts: Sequence[int],
        queue: str = "cpu",
        priority: int = 5,
        max_attempts: int = 3,
        is_afresh: bool = False,
        taken_over: Mapping[tuple[StageName, int], tuple[str, dict[str, Any]]] | None = None,
        stages: Sequence[StageName] = STAGES[2:],
    ) -> list[Item]:
        """Add a job with all its items, unless there is one; its first stage is open.

        Parameters
        ----------
        frame_counts
            Frames of every span.
        is_afresh
            Whether a job of this id that is done is begun again.
        taken_over
            Items whose files are there already, with the files' SHA-256 and what they left beside them.
        stages
            Which there are; a job that looks for no faces has no first pass.

        Returns
        -------
        Items to publish; none where somebody else has made the job.

        Raises
        ------
        JobError
            When another job has the place of the output (`check_place`).
        """
        with self._engine.begin() as connection:
            now = self._now(connection)
            found = connection.execute(sa.select(_jobs.c.status).where(_jobs.c.id == job_id)).first()
            if found is not None and not (found.status == "done" and is_afresh):
                return []
            self._check_place(connection, job_id, plan)
            self._drop(connection, job_id)
            job = sa.insert(_jobs).values(
                id=job_id, status="queued", recipe=recipe, plan=plan, outcome={}, error="", storage=storage,
                queue=queue, priority=priority, max_attempts=max_attempts, created_at=now, updated_at=now,
            )  # fmt: skip
            try:
                with connection.begin_nested():
                    connection.execute(job)
            except exc.IntegrityError:  # a server has no lock on what is not there yet
                return []
            rows = []
            for stage in stages:
                numbers = frame_counts if stage in IN_SPANS else [sum(frame_counts)]
                for number, count in enumerate(numbers):
                    status = "queued" if stage == stages[0] else "waiting"
                    rows.append({
                        "job_id": job_id, "stage": stage, "number": number, "status": status, "attempts": 0,
                        "renders": 0, "owner": "", "lease_until": 0.0, "available_at": now, "published_at": now,
                        "sha256": "", "error": "", "frame_count": count, "progress": 0, "outcome": {},
                    "claimed_at": 0.0, "finished_at": 0.0,
                    })  # fmt: skip
                    if taken_over and (stage, number) in taken_over:
                        sha256, outcome = taken_over[stage, number]
                        rows[-1] |= {"status": "done", "sha256": sha256, "outcome": outcome}
            connection.execute(sa.insert(_items), rows)
            self._note(connection, job_id, now, f"created with {counted(len(frame_counts), 'span')}")
            if not taken_over:
                return [_item(row) for row in rows if row["status"] == "queued"]
            self._note(connection, job_id, now, f"{counted(len(taken_over), 'part')} taken over")
            made = connection.execute(sa.select(_jobs).where(_jobs.c.id == job_id)).first()
            opened = [command.item for command in self._settle(connection, made, now)]
            return [*(_item(row) for row in rows if row["status"] == "queued"), *opened]

    @_patient
    def check_place(self, job_id: str, plan: Mapping[str, Any]) -> None:
        """Refuse a job of a cluster whose output another one is making that is not over.

        Raises
        ------
        JobError
        """
        with self._reading() as connection:
            self._check_place(connection, job_id, plan, is_locking=False)

    def _check_place(
        self, connection: sa.Connection, job_id: str, plan: Mapping[str, Any], is_locking: bool = True
    ) -> None:
        place = str(plan.get("output_place", ""))
        if not place:
            return  # of one machine, where there is a lock for it
        if is_locking and not self._is_sqlite:  # there writers are one after the other anyway
            number = int.from_bytes(bytes.fromhex(place[:8]), "big", signed=True)
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7310002, :place)"), {"place": number})
        query = sa.select(_jobs.c.id, _jobs.c.recipe).where(
            _jobs.c.id != job_id,
            _jobs.c.status.in_(("queued", "running")),
            _jobs.c.plan["output_place"].as_string() == place,
        )
        other = connection.execute(query.limit(1)).first()
        if other is not None:
            raise JobError(
                f"Another job ({other.id}) is writing {other.recipe.get('output_path', '')} just now.",
                f"Wait until it is done, end it (facefusion jobs cancel {other.id}), or choose another --output.",
            )

    @_patient
    def get(self, job_id: str) -> Job:
        """A job.

        Raises
        ------
        UnknownJob
        """
        with self._reading() as connection:
            row = connection.execute(sa.select(_jobs).where(_jobs.c.id == job_id)).first()
        if row is None:
            raise UnknownJob(f"There is no job {job_id}.", "See 'facefusion jobs list'.")
        return _job(row)

    @_patient
    def find(self, job_id: str) -> Job | None:
        """A job, or None."""
        try:
            return self.get(job_id)
        except UnknownJob:
            return None

    @_patient
    def list_jobs(self) -> list[Job]:
        """All jobs, the newest first."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(_jobs).order_by(_jobs.c.created_at.desc())).all()
        return [_job(row) for row in rows]

    @_patient
    def list_page(
        self,
        limit: int,
        after: tuple[float, str] | None = None,
        statuses: Collection[JobStatus] = (),
        queue: str = "",
    ) -> list[tuple[Job, tuple[int, int]]]:
        """Some jobs, the newest first, each with how many frames of all its stages are done, and how many there are.

        Parameters
        ----------
        limit
            At most so many.
        after
            ``created_at`` and ``id`` of the job that comes before the first.
        statuses, queue
            Only jobs like this; empty for all.
        """
        query = sa.select(_jobs).order_by(_jobs.c.created_at.desc(), _jobs.c.id.desc()).limit(limit)
        if after is not None:
            at, job_id = after
            query = query.where(sa.or_(_jobs.c.created_at < at, sa.and_(_jobs.c.created_at == at, _jobs.c.id < job_id)))
        if statuses:
            query = query.where(_jobs.c.status.in_(tuple(statuses)))
        if queue:
            query = query.where(_jobs.c.queue == queue)
        done = sa.case((_items.c.status == "done", _items.c.frame_count), else_=_items.c.progress)
        with self._reading() as connection:
            jobs = [_job(row) for row in connection.execute(query).all()]
            sums = (
                sa.select(_items.c.job_id, sa.func.sum(done), sa.func.sum(_items.c.frame_count))
                .where(_items.c.job_id.in_([job.id for job in jobs]))
                .group_by(_items.c.job_id)
            )
            counts = {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(sums).all()}
        return [(job, counts.get(job.id, (0, 0))) for job in jobs]

    @_patient
    def find_ids(self, beginning: str) -> list[str]:
        """Ids of jobs that begin so, the newest first."""
        query = sa.select(_jobs.c.id).where(_jobs.c.id.startswith(beginning, autoescape=True))
        with self._reading() as connection:
            rows = connection.execute(query.order_by(_jobs.c.created_at.desc())).all()
        return [row[0] for row in rows if row[0].startswith(beginning)]  # SQLite does not mind the case

    @_patient
    def find_marked(self, mark: str) -> list[tuple[str, str]]:
        """Ids and tenants of jobs whose outputs carry an invisible mark, the newest first."""
        query = sa.select(_jobs.c.id, _jobs.c.plan).where(
            sa.cast(_jobs.c.plan, sa.Text).contains(mark, autoescape=True)
        )
        with self._reading() as connection:
            rows = connection.execute(query.order_by(_jobs.c.created_at.desc())).all()
        return [(str(row[0]), str(row[1].get("tenant", ""))) for row in rows if row[1].get("mark") == mark]

    @_patient
    def marks(self, limit: int) -> list[str]:
        """The invisible marks that outputs of jobs carry, each once, the newest first."""
        mark = _jobs.c.plan["mark"].as_string()
        every = sa.select(mark.label("mark"), _jobs.c.created_at).where(mark != "").subquery()
        query = sa.select(every.c.mark).group_by(every.c.mark).order_by(sa.func.max(every.c.created_at).desc())
        with self._reading() as connection:
            return [str(row[0]) for row in connection.execute(query.limit(limit)).all()]

    @_patient
    def items(self, job_id: str) -> list[Item]:
        """All items of a job, in order."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(*_LIGHT).where(_items.c.job_id == job_id)).all()
        return _in_order(rows)

    @_patient
    def outcomes(self, job_id: str, stage: StageName) -> list[dict[str, Any]]:
        """What every item of a stage left beside its file, in order."""
        query = sa.select(_items.c.outcome).where(_items.c.job_id == job_id, _items.c.stage == stage)
        with self._reading() as connection:
            return [dict(row[0]) for row in connection.execute(query.order_by(_items.c.number)).all()]

    def outcome(self, job_id: str, stage: StageName) -> dict[str, Any]:
        """What a stage of one item left; empty where it is not done, or the job has no such stage.

        Raises
        ------
        UnknownJob
        """
        found = self.outcomes(job_id, stage)
        if not found:
            self.get(job_id)  # says so where there is no such job
            return {}
        return found[0]

    def joined(self, job_id: str) -> Joined | None:
        """What was recorded with the tracks of a job; None where there are none yet, or it looks for no faces.

        Raises
        ------
        UnknownJob, StoreRefused
        """
        from facefusion.jobs.stored import Joined

        found = self.outcome(job_id, "join")
        return Joined.from_dict(found, job_id) if found else None

    def rendered(self, job_id: str) -> list[Rendered]:
        """What was recorded with the segments of a job that are done, in order.

        Raises
        ------
        StoreRefused
        """
        from facefusion.jobs.stored import Rendered

        return [Rendered.from_dict(found, job_id) for found in self.outcomes(job_id, "render") if found]

    def merged(self, job_id: str) -> Merged | None:
        """What came of a job; None where it is not done.

        Raises
        ------
        UnknownJob, StoreRefused
        """
        from facefusion.jobs.stored import Merged

        found = self.outcome(job_id, "merge")
        return Merged.from_dict(found, job_id) if found else None

    @_patient
    def history(self, job_id: str) -> list[tuple[float, str]]:
        """What happened to a job, with times."""
        return [(at, what) for _, at, what in self.events(job_id)]

    @_patient
    def events(self, job_id: str, after: int = 0) -> list[tuple[int, float, str]]:
        """What happened to a job: numbers that grow, times, and words.

        Parameters
        ----------
        job_id
            Which.
        after
            Number of the last one that is known already.
        """
        query = sa.select(_events.c.id, _events.c.at, _events.c.what).where(
            _events.c.job_id == job_id, _events.c.id > after
        )
        with self._reading() as connection:
            return [(row[0], row[1], row[2]) for row in connection.execute(query.order_by(_events.c.id)).all()]

    @_patient
    def progress(self, job_id: str) -> list[StageProgress]:
        """How far every stage is that the job has."""
        with self._reading() as connection:
            rows = connection.execute(sa.select(*_LIGHT).where(_items.c.job_id == job_id)).all()
            return _progress(rows, self._now(connection))

    @_patient
    def look(self, job_id: str) -> tuple[Job, list[StageProgress], list[Item], Merged | None]:
        """A job, how far its stages are, its items, and what came of it, all of one moment.

        Raises
        ------
        UnknownJob, StoreRefused
        """
        from facefusion.jobs.stored import Merged

        merge = sa.select(_items.c.outcome).where(_items.c.job_id == job_id, _items.c.stage == "merge")
        with self._reading() as connection:
            row = connection.execute(sa.select(_jobs).where(_jobs.c.id == job_id)).first()
            rows = connection.execute(sa.select(*_LIGHT).where(_items.c.job_id == job_id)).all()
            merged = connection.execute(merge).scalar() or {}
            now = self._now(connection)
        if row is None:
            raise UnknownJob(f"There is no job {job_id}.", "See 'facefusion jobs list'.")
        came_of_it = Merged.from_dict(merged, job_id) if merged else None
        return _job(row), _progress(rows, now), _in_order(rows), came_of_it

    @_patient
    def claim(self, key: tuple[str, str, int], owner: str, lease_s: float) -> Item | None:
        """Take an item, or None where it is not to be had: taken, done, cancelled, not yet open."""
        with self._locked(key[0]) as (connection, job, now):
            row = self._row(connection, key)
            if row is None or row.status != "queued" or job.status in ("failed", "cancelled"):
                return None
            found = _item(row._mapping)
            if not is_due(found, now):
                return None
            # What an earlier try had done of it is lost.
            item, _ = self._apply(connection, job, found, Claim(owner, lease_s), now, {"progress": 0})
            return item

    @_patient
    def beat(self, key: tuple[str, str, int], owner: str, lease_s: float, progress: int) -> None:
        """Say that work goes on.

        Raises
        ------
        LeaseLost
            When it is to stop: cancelled, or taken over.
        """
        with self._engine.begin() as connection:
            row = self._row(connection, key, is_locking=True)
            now = self._now(connection)
            if row is None:
                raise UnknownJob(f"There is no job {key[0]}.", "It was deleted; nothing is to be done.")
            moved, _ = move_item(_item(row._mapping), Beat(owner, lease_s), now, 1)
            self._write(connection, moved, {"progress": progress})

    @_patient
    def finish(
        self,
        key: tuple[str, str, int],
        owner: str,
        sha256: str,
        outcome: dict[str, Any],
        deliver: Callable[[], None] | None = None,
        spent: tally.Sums | None = None,
    ) -> list[Publish]:
        """Record that an item's file is in its place; open the next stage where it was the last.

        Parameters
        ----------
        spent
            What it took, for the sums of the store.
        deliver
            Puts the file into its place; called only if the item is still wanted, and nobody can cancel it meanwhile.
        """
        return self._change(key, Finish(owner, sha256), {"outcome": outcome}, deliver, spent)

    @_patient
    def fail(self, key: tuple[str, str, int], owner: str, error: FaceFusionError) -> list[Publish]:
        """Record that an item went wrong."""
        return self._change(key, Fail(owner, str(error), error.retryable), error=error)

    @_patient
    def add_up(self, sums: tally.Sums) -> None:
        """Add to the sums of the store what was spent for nothing."""
        with self._engine.begin() as connection:
            tally.add(connection, sums)

    @_patient
    def tallies(self) -> dict[tally.Key, float]:
        """Sums over all work that was ever recorded (`facefusion.jobs.tally`)."""
        with self._reading() as connection:
            return tally.read(connection)

    @_patient
    def wait(self, key: tuple[str, str, int], owner: str) -> list[Publish]:
        """Put an item back until what it needs has been made again."""
        return self._change(key, Wait(owner))

    @_patient
    def refuse(self, key: tuple[str, str, int], owner: str, why: str) -> list[Publish]:
        """Leave an item to workers that may do it."""
        return self._change(key, Refuse(owner, why))

    @_patient
    def most_urgent(self, queue: str, without: Collection[str] = ()) -> Item | None:
        """The item of a queue that is to be done next: by priority, then by age of the job, then in order.

        Parameters
        ----------
        queue
            Name of the queue.
        without
            Jobs that are left out.
        """
        with self._reading() as connection:
            now = self._now(connection)
            query = (
                sa.select(_items)
                .join(_jobs, _jobs.c.id == _items.c.job_id)
                .where(
                    _jobs.c.queue == queue,
                    _jobs.c.status.in_(("queued", "running")),
                    _jobs.c.id.not_in(list(without)),
                    _items.c.status == "queued",
                    _is_due(now),
                )
                .order_by(_jobs.c.priority.desc(), _jobs.c.created_at, _items.c.number)
                .limit(1)
            )
            row = connection.execute(query).first()
            return None if row is None else _item(row._mapping)

    @_patient
    def expire(self, key: tuple[str, str, int], is_known_dead: bool = False, how: str = "") -> list[Publish]:
        """Take an item from a worker that is gone; ``how`` it ended is kept with the item."""
        return self._change(key, Expire(is_known_dead, how))

    @_patient
    def invalidate(self, key: tuple[str, str, int], reason: str) -> list[Publish]:
        """Have an item made again, whose file is missing or damaged."""
        return self._change(key, Invalidate(reason))

    @_patient
    def cancel(self, job_id: str) -> None:
        """Stop a job; what is done is kept."""
        with self._locked(job_id) as (connection, job, now):
            for item in self._all(connection, job_id):
                if item.status != "done":
                    self._apply(connection, job, item, Cancel(), now)
            self._settle(connection, job, now)

    @_patient
    def retry(self, job_id: str) -> list[Publish]:
        """Let a job go on that failed, was cancelled or lost its process; every item has all its tries again.

        Raises
        ------
        JobError
            When another job has the place of the output by now.
        """
        with self._locked(job_id) as (connection, job, now):
            self._check_place(connection, job_id, job.plan)
            commands: list[Publish] = []
            items = self._all(connection, job_id)
            is_open = True
            for stage in STAGES:
                own = [item for item in items if item.stage == stage]
                for item in own:
                    if item.status != "done":
                        commands += self._apply(connection, job, item, Retry(is_open), now)[1]
                is_open = is_open and all(item.status == "done" for item in own)
            outcome = {name: value for name, value in job.outcome.items() if name != "error"}
            connection.execute(sa.update(_jobs).where(_jobs.c.id == job_id).values(error="", outcome=outcome))
            return commands + self._settle(connection, job, now)

    @_patient
    def record(self, job_id: str, plan: dict[str, Any] | None = None, outcome: dict[str, Any] | None = None) -> None:
        """Keep something that was found out on the way."""
        with self._locked(job_id) as (connection, job, _):
            values = {"plan": {**job.plan, **(plan or {})}, "outcome": {**job.outcome, **(outcome or {})}}
            connection.execute(sa.update(_jobs).where(_jobs.c.id == job_id).values(**values))

    @_patient
    def delete(self, job_id: str) -> None:
        """Forget a job."""
        with self._locked(job_id) as (connection, _, _):
            self._drop(connection, job_id)

    @_patient
    def close_off(self, job_id: str, untouched_since: float | None = None) -> bool:
        """Cancel what is left of a job, so that nobody takes any of it up again.

        Parameters
        ----------
        job_id
            Which.
        untouched_since
            Leave the job alone when somebody had to do with it later (seconds since 1970) or has a lease on it.

        Returns
        -------
        Whether it is closed.
        """
        with self._locked(job_id) as (connection, job, now):
            items = self._all(connection, job_id)
            if untouched_since is not None:
                is_leased = any(item.status == "running" and item.lease_until > now for item in items)
                if is_leased or job.updated_at > untouched_since:
                    return False
            for item in items:
                if item.status not in ("done", "cancelled"):
                    self._apply(connection, job, item, Cancel(), now)
            status = job_status(_counts(self._all(connection, job_id)))
            connection.execute(sa.update(_jobs).where(_jobs.c.id == job_id).values(status=status))
            return True

    @staticmethod
    def _drop(connection: sa.Connection, job_id: str) -> None:
        for table in (_events, _items):
            connection.execute(sa.delete(table).where(table.c.job_id == job_id))
        connection.execute(sa.delete(_jobs).where(_jobs.c.id == job_id))

    @_patient
    def expired(self) -> list[Item]:
        """Items whose lease has run out."""
        with self._reading() as connection:
            now = self._now(connection)
            rows = connection.execute(sa.select(_items).where(_items.c.status == "running")).all()
            return [item for item in (_item(row._mapping) for row in rows) if is_expired(item, now)]

    @_patient
    def forgotten(self, older_than_s: float) -> list[Item]:
        """Items that wait although they were published that long ago, or that have become due since.

        They are taken to be published now.
        """
        with self._engine.begin() as connection:
            now = self._now(connection)
            is_forgotten = sa.and_(
                _items.c.status == "queued",
                _is_due(now),
                sa.or_(
                    _items.c.published_at < _items.c.available_at,
                    _items.c.published_at < now - older_than_s,
                    _items.c.published_at > now,  # the clock was set back since
                ),
            )
            alive = sa.select(_jobs.c.id).where(_jobs.c.status.in_(("queued", "running")))
            rows = connection.execute(sa.select(_items).where(is_forgotten, _items.c.job_id.in_(alive))).all()
            found = [_item(row._mapping) for row in rows]
            for item in found:
                connection.execute(_only(sa.update(_items), item.key).values(published_at=now))
            return found

    @_patient
    def unpublished(self, items: Sequence[Item]) -> None:
        """Note that items could not be published: the sweeper does it as soon as it can."""
        with self._engine.begin() as connection:
            for item in items:
                connection.execute(_only(sa.update(_items), item.key).values(published_at=0.0))

    def _change(
        self,
        key: tuple[str, str, int],
        event: Event,
        values: dict[str, Any] | None = None,
        deliver: Callable[[], None] | None = None,
        spent: tally.Sums | None = None,
        error: FaceFusionError | None = None,
    ) -> list[Publish]:
        with self._locked(key[0]) as (connection, job, now):
            row = self._row(connection, key)
            if row is None:
                raise IllegalMove(f"Job {key[0]} has no {key[1]} {key[2]}.", "See 'facefusion jobs show'.")
            item = _item(row._mapping)
            moved, commands = self._apply(connection, job, item, event, now, values)
            sums = {**(spent or {}), **tally.of_item(item, moved, event, row.frame_count, error)}
            tally.add(connection, sums)
            commands += self._settle(connection, job, now)
            if deliver is not None:
                if job.status in ("failed", "cancelled"):
                    raise LeaseLost(f"Job {key[0]} is {job.status}.", "Nothing is to be done.")
                deliver()
            return commands

    def _apply(
        self,
        connection: sa.Connection,
        job: Any,
        item: Item,
        event: Event,
        now: float,
        values: dict[str, Any] | None = None,
    ) -> tuple[Item, list[Publish]]:
        try:
            moved, commands = move_item(item, event, now, job.max_attempts)
        except IllegalMove as error:
            query = sa.select(_events.c.what).where(_events.c.job_id == item.job_id).order_by(_events.c.id.desc())
            last = [row[0] for row in connection.execute(query.limit(6)).all()][::-1]
            raise IllegalMove(f"{error.message} History: {'; '.join(last)}.", error.hint) from None
        if moved == item:
            return item, []
        is_told = any(isinstance(command, Publish) and not command.delay_s for command in commands)
        self._write(connection, moved, {**(values or {}), **({"published_at": now} if is_told else {})})
        self._note(connection, item.job_id, now, _sentence(item, moved, event))
        for command in commands:
            if isinstance(command, Park):
                tries = f" {moved.attempts} times" if moved.attempts > 1 else ""
                where = f"{item.stage} {item.number} failed{tries}"
                connection.execute(
                    sa.update(_jobs).where(_jobs.c.id == item.job_id).values(error=f"{where}: {moved.error}")
                )
        return moved, [command for command in commands if isinstance(command, Publish)]

    def _settle(self, connection: sa.Connection, job: Any, now: float) -> list[Publish]:
        """Open a stage whose turn has come, and write the status that the items make."""
        commands: list[Publish] = []
        items = self._all(connection, job.id)
        counts = _counts(items)
        stage = stage_to_open(counts)
        if stage is not None:
            for item in items:
                if item.stage == stage and item.status == "waiting":
                    commands += self._apply(connection, job, item, Open(), now)[1]
        status = job_status(counts)
        connection.execute(sa.update(_jobs).where(_jobs.c.id == job.id).values(status=status, updated_at=now))
        tally.add(connection, tally.of_job(job.status, status, now - job.created_at))
        return commands

    @staticmethod
    def _row(connection: sa.Connection, key: tuple[str, str, int], is_locking: bool = False) -> Any:
        query = _only(sa.select(_items), key)
        return connection.execute(query.with_for_update() if is_locking else query).first()

    @staticmethod
    def _all(connection: sa.Connection, job_id: str) -> list[Item]:
        rows = connection.execute(sa.select(*_LIGHT).where(_items.c.job_id == job_id)).all()
        return [_item(row._mapping) for row in rows]

    @staticmethod
    def _write(connection: sa.Connection, item: Item, values: dict[str, Any]) -> None:
        own = {name: getattr(item, name) for name in _ITEM_FIELDS if name not in ("job_id", "stage", "number")}
        connection.execute(_only(sa.update(_items), item.key).values(**own, **values))

    @staticmethod
    def _note(connection: sa.Connection, job_id: str, now: float, what: str) -> None:
        connection.execute(sa.insert(_events).values(job_id=job_id, at=now, what=what))


def _counts(items: Sequence[Item]) -> dict[StageName, dict[Status, int]]:
    counts: dict[StageName, dict[Status, int]] = defaultdict(lambda: defaultdict(int))
    for item in items:
        counts[item.stage][item.status] += 1
    return counts


def _in_order(rows: Sequence[Any]) -> list[Item]:
    found = [_item(row._mapping) for row in rows]
    return sorted(found, key=lambda item: (STAGES.index(item.stage), item.number))


def _progress(rows: Sequence[Any], now: float) -> list[StageProgress]:
    result = []
    for stage in STAGES:
        own = [row for row in rows if row.stage == stage]
        if not own:
            continue
        frames = sum(row.frame_count if row.status == "done" else row.progress for row in own)
        done = sum(row.status == "done" for row in own)
        total = sum(row.frame_count for row in own)
        result.append(StageProgress(stage, done, len(own), frames, total, _speed(own, now)))
    return result


def _speed(rows: Sequence[Any], now: float) -> float:
    """Frames per second of the items of a stage that are being done."""
    running = [row for row in rows if row.status == "running"]
    begun = [row.progress / (now - row.claimed_at) for row in running if row.progress and now > row.claimed_at]
    if begun:
        return float(sum(begun) / len(begun) * len(running))
    # Taken just now: as fast as what was finished last.
    done = [row for row in rows if row.status == "done" and row.finished_at > row.claimed_at > 0]
    if not running or not done:
        return 0.0
    last = max(done, key=lambda row: row.finished_at)
    return float(last.frame_count / (last.finished_at - last.claimed_at) * len(running))


def _sentence(before: Item, after: Item, event: Event) -> str:
    text = f"{before.stage} {before.number}: {before.status} to {after.status}"
    if isinstance(event, Claim):
        text += f" by {event.owner}, try {after.attempts}"
    if isinstance(event, Fail | Expire | Invalidate | Refuse):
        text += f" ({after.error})"
    return text


def _only(statement: Any, key: tuple[str, str, int]) -> Any:
    return statement.where(_items.c.job_id == key[0], _items.c.stage == key[1], _items.c.number == key[2])


def _job(row: Any) -> Job:
    """A job as it was read.

    Raises
    ------
    ValueError
        When it is not one.
    """
    names = {"plan": "plan_row", "outcome": "outcome_row"}
    job = Job(**{names.get(name, name): value for name, value in row._mapping.items()})
    texts = (job.id, job.error, job.storage, job.queue)
    numbers = (job.priority, job.max_attempts, job.created_at, job.updated_at)
    if (
        not all(isinstance(text, str) for text in texts)
        or not all(isinstance(number, (int, float)) for number in numbers)
        or not all(isinstance(told, dict) for told in (job.recipe, job.plan_row, job.outcome_row))
        or job.status not in get_args(JobStatus)
    ):
        raise ValueError(f"job {job.id!r} is damaged")
    return job


def _is_due(now: float) -> Any:
    """`facefusion.jobs.states.is_due` as a condition."""
    return sa.or_(_items.c.available_at <= now, _items.c.available_at > now + MAX_BACK_OFF_S)


def _item(row: Any) -> Item:
    item = Item(**{name: row[name] for name in _ITEM_FIELDS})
    if item.stage not in STAGES or item.status not in get_args(Status):
        raise ValueError(f"{item.stage!r} {item.number!r} of job {item.job_id!r} is damaged")
    return item


class LookedAt(JobStore):
    """A job store that is only looked at: nothing is made or changed."""

    @_patient
    def _migrate(self) -> None:
        with self._reading() as connection:
            self._check_kind(connection)


def _set_up_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions are begun by us
    cursor = connection.cursor()
    try:
        for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
    finally:
        cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # Who means to write says so at once: two that have read and then want to write would wait for each other.
    is_reading = connection.get_execution_options().get("is_reading", False)
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")
