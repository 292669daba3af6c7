"""Many machines: Celery carries messages, the job store knows the truth, the storage has the files.

A message says no more than that there is something to do in a queue. Whoever gets it takes the most urgent item of that
queue, so priorities hold on any broker, and a message that comes twice or never does no harm: what nobody claims is
published again by the sweeper, which runs beside every worker.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import re
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from billiard.process import current_process
from celery import Celery, signals
from celery.apps import worker as worker_of_celery
from kombu.entity import Queue
from kombu.exceptions import OperationalError

from facefusion import journal
from facefusion.documents import reason_of
from facefusion.errors import FaceFusionError, JobMismatch, RecipeError, StoreUnreachable
from facefusion.jobs.prepare import hash_inputs, input_paths, prepare
from facefusion.jobs.states import Publish
from facefusion.jobs.storage import FolderStorage, Storage, check_job_id, hash_file, open_storage
from facefusion.jobs.store import LOCAL, Job, JobStore
from facefusion.jobs.stored import Merged
from facefusion.jobs.sweep import sweep, wake
from facefusion.jobs.work import Worker, key_of, report_key, sidecar_key
from facefusion.media.files import translate_os_error
from facefusion.metrics.report import report_files
from facefusion.models.store import OnBytes, ignore_bytes
from facefusion.policy.provenance import drop_sidecar, sidecar_of
from facefusion.recipe import Recipe
from facefusion.service.backend import Backend
from facefusion.wording import without_secrets
from facefusion.workplace import Workplace, cache_base, clear_dead, place_of
from facefusion.writing import delivery

TASK = "facefusion.work"
log = logging.getLogger("facefusion.worker")
WAKE_EVERY_S = 1.0
SWEEP_EVERY_S = 3600.0


def check_cluster(backend: Backend) -> None:
    """Refuse a backend that workers on other machines could not share.

    Raises
    ------
    RecipeError
    """
    for value, flag, what in (
        (backend.broker, "--broker", "a broker"),
        (backend.store_url, "--job-store", "a job store"),
        (backend.storage_url, "--storage", "storage"),
    ):
        if not value:
            raise RecipeError(f"Work for other machines needs {what}.", f"Add {flag} (see docs/cluster.md).")
    try:
        Celery(broker=backend.broker).connection().transport  # noqa: B018  # says so where there is no such transport
    except (KeyError, ImportError, ValueError) as error:
        raise RecipeError(
            f"There can be no broker at {backend.broker}: {reason_of(error)}.",
            "Use amqp://… for RabbitMQ or redis://….",
        ) from error


def check_broker(backend: Backend, patience_s: float) -> None:
    """Look whether the broker answers.

    Raises
    ------
    RecipeError, StoreUnreachable
    """
    check_cluster(backend)
    app = Celery(broker=backend.broker)
    app.conf.broker_transport_options = {"socket_connect_timeout": patience_s, "socket_timeout": patience_s}
    try:
        with app.connection(connect_timeout=patience_s) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=patience_s)
    except (OperationalError, OSError) as error:
        raise StoreUnreachable(
            f"The broker {without_secrets(backend.broker)} does not answer: {reason_of(error)}.",
            "Check that it runs, and --broker (FACEFUSION_BROKER).",
        ) from error


def _is_rabbit(broker: str) -> bool:
    return broker.startswith(("amqp", "pyamqp"))


def queue_of(broker: str, name: str) -> Any:
    """A queue as whoever sends to it and whoever takes from it declare it."""
    make_queue: Any = Queue
    return make_queue(
        name, routing_key=name, queue_arguments={"x-queue-type": "quorum"} if _is_rabbit(broker) else None
    )


def build_app(broker: str, queues: Iterable[str] = ("cpu",)) -> Any:
    """A Celery application that loses nothing: late acknowledgement, one message at a time, no results kept.

    Parameters
    ----------
    broker
        URL of RabbitMQ (quorum queues) or Redis.
    queues
        Names of queues to declare.
    """
    app = Celery("facefusion", broker=broker)
    is_rabbit = _is_rabbit(broker)
    redis = {"visibility_timeout": 3600, "global_keyprefix": "facefusion:"}
    app.conf.update(
        task_queues=[queue_of(broker, name) for name in queues],
        task_create_missing_queues=False,
        task_default_queue=next(iter(queues)),
        task_default_queue_type="quorum" if is_rabbit else "classic",
        worker_detect_quorum_queues=True,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        # What is in hand is finished: its result counts whether or not the message comes again.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={"confirm_publish": True} if is_rabbit else redis,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        task_serializer="json",
        accept_content=["json"],
    )
    return app


def publish(app: Any, store: JobStore, commands: Iterable[Publish]) -> None:
    """Say that there is something to do. Where the broker is away the sweeper says it later."""
    queues: dict[str, str] = {}
    due = [command for command in commands if command.delay_s <= 0]  # the others when they are
    for number, command in enumerate(due):
        job_id = command.item.job_id
        try:
            if job_id not in queues:
                found = store.find(job_id)
                queues[job_id] = found.queue if found is not None else LOCAL
            if queues[job_id] == LOCAL:
                continue  # deleted meanwhile, or done on the machine that asked for it
            # A worker offers what others left, too, and that may be in queues that it does not serve itself.
            queue = queue_of(app.conf.broker_url, queues[job_id])
            app.send_task(TASK, args=[queues[job_id]], queue=queue, retry=False)
        except (OperationalError, OSError):
            store.unpublished([command.item for command in due[number:]])
            return


_places: dict[int, Workplace] = {}


def cache() -> Workplace:
    """Where this process keeps what it fetches. A forked process has one of its own."""
    if os.getpid() not in _places:
        _places[os.getpid()] = place = Workplace(cache_base())
        atexit.register(place.close)
    return _places[os.getpid()]


def clear_caches(storage_url: str = "") -> int:
    """Take away what processes left that were killed: there may be photos in it.

    Parameters
    ----------
    storage_url
        Where they worked, too, if it is a folder.

    Returns
    -------
    How many there were.
    """
    return clear_dead(cache_base()) + (clear_work(storage_url) if storage_url else 0)


def clear_work(storage_url: str) -> int:
    """Take away what workers left in a shared folder that were killed; other storage has no working folders in it.

    Returns
    -------
    How many there were.
    """
    if "://" in storage_url and not storage_url.startswith("file://"):
        return 0
    storage = open_storage(storage_url, Path())
    return clear_dead(storage.work) if isinstance(storage, FolderStorage) else 0


class _Process:
    """What a worker process keeps between messages."""

    def __init__(self, backend: Backend, recipe: Recipe, execution: dict[str, Any]) -> None:
        self.backend, self.recipe, self.execution = backend, recipe, execution
        self.store: JobStore | None = None
        self.workers: dict[str, Worker] = {}

    def worker(self, job: Job) -> Worker:
        """The worker for the storage of a job; one in each process works."""
        if job.storage not in self.workers:
            self.close()
            folder = cache().folder
            assert self.store is not None
            execution = dict(self.execution)
            if devices := execution.get("execution_device_ids"):
                # One device for each process of the worker, in turn.
                execution["execution_device_ids"] = (devices[getattr(current_process(), "index", 0) % len(devices)],)
            self.workers = {
                job.storage: Worker(
                    self.store, open_storage(job.storage, folder), folder, self.recipe.execution_thread_count,
                    execution, self.backend.lease_s, is_one_of_many=True, policy=self.backend.policy,
                )
            }  # fmt: skip
        return self.workers[job.storage]

    def close(self) -> None:
        """Take working folders away; whoever is told to leave does it."""
        for worker in self.workers.values():
            worker.close()
        self.workers = {}

    def leave(self) -> None:
        """Take everything away that this process has: Celery ends it without what Python does at an end."""
        self.close()
        if os.getpid() in _places:
            _places.pop(os.getpid()).close()

    def work(self, app: Any, queue: str) -> None:
        """Do the most urgent item of a queue, if there is one."""
        if self.store is None:  # only after the fork
            self.store = JobStore(self.backend.store_url)
        refused = {job_id for worker in self.workers.values() for job_id in worker.refused}
        item = self.store.most_urgent(queue, refused)
        if item is not None:
            job = self.store.get(item.job_id)
            publish(
                app, self.store, self.worker(job).perform(item.job_id, item.stage, range(item.number, item.number + 1))
            )


def drain(backend: Backend, queues: list[str], name: str) -> None:
    """Tell workers to finish what they have in hand, then to leave: those of a name, or all."""
    check_cluster(backend)
    app = build_app(backend.broker, queues)
    app.control.shutdown(destination=[f"{name}@{os.uname().nodename}"] if name else None)


def work(
    backend: Backend,
    recipe: Recipe,
    queues: list[str],
    name: str,
    on_ready: Callable[[], None] = lambda: None,
    on_fork: Callable[[], None] = lambda: None,
) -> None:
    """Do the work of queues until told to stop. SIGTERM finishes the segment in hand, then leaves.

    Parameters
    ----------
    backend
        Of the cluster.
    recipe
        For the options that say how and not what.
    queues, name
        Where work is taken from, and how the worker is called.
    on_ready
        Called when it is there.
    on_fork
        Called in each of its processes first.
    """
    check_cluster(backend)
    backend.policy.signing.check()
    app = build_app(backend.broker, queues)
    execution: dict[str, Any] = {"licences": recipe.licences}
    for option in ("execution_providers", "execution_device_ids", "models_paths"):
        if getattr(recipe, option) != Recipe.model_fields[option].default:
            execution[option] = getattr(recipe, option)
    process = _Process(backend, recipe, execution)

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def do(queue: str) -> None:
        process.work(app, queue)

    clear_caches(backend.storage_url)

    def begin(**_: Any) -> None:
        on_fork()
        clear_caches(backend.storage_url)  # one that begins may follow one that was killed

    signals.worker_process_init.connect(begin, weak=False)
    signals.worker_process_shutdown.connect(lambda **_: process.leave(), weak=False)
    if journal.is_set_up():
        signals.setup_logging.connect(lambda **_: None, weak=False)  # the log is ours
        worker_of_celery.safe_say = lambda text, *_: log.info(str(text).strip())
    _run_sweeper(app, backend, on_ready)
    # Of it: what Celery is configured to be, and an option that is not ours.
    warnings.filterwarnings("ignore", "You're running the worker with superuser privileges")
    arguments = [
        "--quiet", "worker", "--pool", "prefork", "--concurrency", str(backend.worker_count or 1),
        "--queues", ",".join(queues),
        "--loglevel", "WARNING", "--without-gossip", "--without-mingle",
        "--hostname", f"{name or f'worker{os.getpid()}'}@%h",
    ]  # fmt: skip
    app.worker_main(arguments)


def _run_sweeper(app: Any, backend: Backend, on_ready: Callable[[], None]) -> None:
    """Beside the worker, in its main process: offer again what was lost, take away what is old."""

    def run() -> None:
        store = JobStore(backend.store_url)
        last = time.monotonic()
        while True:
            time.sleep(WAKE_EVERY_S)
            try:
                publish(app, store, wake(store))
                if time.monotonic() - last > SWEEP_EVERY_S:
                    last = time.monotonic()
                    sweep(store, open_storage(backend.storage_url, cache().folder), backend.keep_days)
                    clear_caches(backend.storage_url)
            except FaceFusionError:
                continue  # the store is away; try again

    def start(**_: Any) -> None:
        on_ready()
        threading.Thread(target=run, name="sweeper", daemon=True).start()

    signals.worker_ready.connect(start, weak=False)


def place_id_of(output: Path) -> str:
    """What tells places of outputs apart without naming them (`facefusion.workplace.place_of`)."""
    return hashlib.sha256(place_of(output).encode(errors="surrogateescape")).hexdigest()[:32]


def create(
    backend: Backend,
    recipe: Recipe,
    store: JobStore,
    on_bytes: OnBytes = ignore_bytes,
    tenant: str = "",
    base: Path | None = None,
) -> str:
    """Put a job where workers find it.

    Parameters
    ----------
    backend
        Where that is.
    recipe
        What is asked for.
    store
        Its job store.
    on_bytes
        Called as input files are sent.
    tenant
        On whose behalf.
    base
        Folder of the caller's copies (`facefusion.jobs.prepare.prepare`).

    Returns
    -------
    Its id. The same request is the same job: one that stopped goes on.

    Raises
    ------
    FaceFusionError
        Everything that planning refuses.
    JobError
        When another job is making the same output.
    """
    check_cluster(backend)
    asked = prepare(recipe, is_shared=True, is_marked=backend.policy.is_marked, base=base)
    job_id = asked.job_id
    verdict = asked.ask(backend.policy, tenant)
    job = store.find(job_id)
    if job is not None and job.status != "done":
        if job.status in ("failed", "cancelled"):
            retry(backend, store, job_id)
        return job_id
    told = asked.check_faces()
    place = place_id_of(asked.recipe.output_path)
    store.check_place(job_id, {"output_place": place})  # before anything is sent
    storage = open_storage(backend.storage_url, cache().folder)
    inputs = {}
    for number, path in enumerate(dict.fromkeys(input_paths(asked.chosen))):
        suffix = re.sub(r"[^.0-9a-z]", "", path.suffix.lower())
        key = f"{check_job_id(job_id)}/inputs/{number:03d}{suffix}"
        storage.put(key, path.absolute())
        inputs[str(path)] = key
        on_bytes(path.name, path.stat().st_size, path.stat().st_size)
    if hash_inputs(asked.chosen, is_read_again=True) != asked.hashes:
        storage.delete(f"{job_id}/")
        raise JobMismatch("An input was changed while it was sent.", "Run the same command again.")
    # No job takes over what workers have made, so there is no work to share.
    size = asked.recipe.target_path.stat().st_size
    stored = replace(asked.stored(told, tenant, verdict), inputs=inputs, target_bytes=size, work="", output_place=place)
    counts = [span.frame_count for span in stored.found.spans]
    items = store.create(
        job_id, asked.plan.recipe.model_dump(mode="json"), stored.as_dict(), backend.storage_url, counts, backend.queue,
        backend.priority, backend.max_attempts, is_afresh=True, stages=asked.stages,
    )  # fmt: skip
    publish(build_app(backend.broker, [backend.queue]), store, map(Publish, items))
    return job_id


def retry(backend: Backend, store: JobStore, job_id: str) -> None:
    """Have workers go on with a job that stopped; every part has all its tries again."""
    queue = store.get(job_id).queue
    publish(build_app(backend.broker, [queue]), store, store.retry(job_id))


def bring(job: Job, merged: Merged | None, output: Path, report: Path | None) -> None:
    """Copy what workers made of a job that is done: its output and its report.

    Parameters
    ----------
    job
        The job.
    merged
        What came of it.
    output, report
        Where to: a matter of who brings it. Whoever planned the job may be another machine, with other folders.

    Raises
    ------
    OutputRefused, StoreUnreachable
    """
    storage = open_storage(job.storage, cache().folder)
    if merged is not None and merged.signed is not None and merged.signed.where == "beside":
        fetch(storage, sidecar_key(job.id), sidecar_of(output))
    else:
        drop_sidecar(output)
    fetch_output(storage, job.id, "" if merged is None else merged.sha256, output)
    if report is not None:
        for path in report_files(report):
            fetch(storage, report_key(job.id, path), path)


def is_there(job: Job) -> bool:
    """Whether the output of a job that is done is still where workers left it."""
    return open_storage(job.storage, cache().folder).has(key_of(job.id, "merge", 0))


def clear(job: Job, store: JobStore) -> None:
    """Take the working files of a job away that is done and whose output was brought: there is biometric data in them.

    Raises
    ------
    OutputRefused, StoreUnreachable
    """
    again = store.find(job.id)
    if again is None or (again.status, again.created_at) == ("done", job.created_at):
        open_storage(job.storage, cache().folder).delete(f"{check_job_id(job.id)}/")


def fetch_output(storage: Storage, job_id: str, sha256: str, path: Path) -> None:
    """Copy the output of a job to its place, whole or not at all.

    Raises
    ------
    OutputRefused, StoreUnreachable
    """
    fetch(storage, key_of(job_id, "merge", 0), path, sha256)


def fetch(storage: Storage, key: str, path: Path, sha256: str = "") -> None:
    """Copy a file to its place, whole or not at all.

    Raises
    ------
    OutputRefused, StoreUnreachable
    """
    try:
        with delivery(cache(), path) as made:
            with storage.local(key) as copy:
                shutil.copyfile(copy, made)
            if sha256 and hash_file(made) != sha256:
                raise StoreUnreachable(f"{path.name} arrived damaged.", "Run the same command again.")
    except FileNotFoundError as error:
        raise StoreUnreachable(f"{path.name} is gone from the storage.", "Run the same command again.") from error
    except OSError as error:
        if isinstance(error, FaceFusionError):
            raise
        raise translate_os_error(error, path) from error
