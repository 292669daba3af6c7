"""Many machines: Celery carries messages, the job store knows the truth, the storage has the files.

A message says no more than that there is something to do in a queue. Whoever gets it takes the most urgent item of that
queue, so priorities hold on any broker, and a message that comes twice or never does no harm: what nobody claims is
published again by the sweeper, which runs beside every worker.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from billiard.process import current_process
from billiard.util import Finalize
from celery import Celery, signals
from kombu.entity import Queue
from kombu.exceptions import OperationalError

from facefusion.apps.console import say
from facefusion.apps.show import Show
from facefusion.errors import FaceFusionError, JobMismatch, RecipeError, Stopped, StoreUnreachable
from facefusion.jobs.local import check_report, failure_of, hash_inputs, input_paths, job_id_of, plan_of, stages_of
from facefusion.jobs.states import Publish
from facefusion.jobs.storage import Storage, check_job_id, hash_file, open_storage
from facefusion.jobs.store import LOCAL, Job, JobStore
from facefusion.jobs.sweep import sweep, wake
from facefusion.jobs.work import Worker, key_of, report_key
from facefusion.media.files import translate_os_error
from facefusion.metrics.report import report_files
from facefusion.pipeline.cast import check_faces
from facefusion.pipeline.plan import Plan, build_plan, check_paths
from facefusion.pipeline.progress import Progress
from facefusion.pipeline.runner import Outcome
from facefusion.recipe import Recipe, with_absolute_paths
from facefusion.settings import JobSettings
from facefusion.workplace import Workplace, cache_base, clear_dead
from facefusion.writing import delivery

TASK = "facefusion.work"
WAKE_EVERY_S = 1.0
SWEEP_EVERY_S = 3600.0


def check_cluster(settings: JobSettings) -> None:
    """Refuse settings that workers on other machines could not share.

    Raises
    ------
    RecipeError
    """
    for name, what in (("broker", "a broker"), ("job_store", "a job store"), ("storage", "storage")):
        if not getattr(settings, name):
            raise RecipeError(
                f"Work for other machines needs {what}.", f"Add --{name.replace('_', '-')} (see docs/cluster.md)."
            )
    try:
        Celery(broker=settings.broker).connection().transport  # noqa: B018  # says so where there is no such transport
    except (KeyError, ImportError, ValueError) as error:
        raise RecipeError(
            f"There can be no broker at {settings.broker}: {error}.", "Use amqp://… for RabbitMQ or redis://…."
        ) from error


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
    make_queue: Any = Queue
    is_rabbit = broker.startswith(("amqp", "pyamqp"))
    arguments = {"x-queue-type": "quorum"} if is_rabbit else None
    redis = {"visibility_timeout": 3600, "global_keyprefix": "facefusion:"}
    app.conf.update(
        task_queues=[make_queue(name, routing_key=name, queue_arguments=arguments) for name in queues],
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
            app.send_task(TASK, args=[queues[job_id]], queue=queues[job_id], retry=False)
        except (OperationalError, OSError):
            store.unpublished([command.item for command in due[number:]])
            return


_places: dict[int, Workplace] = {}


def cache() -> Workplace:
    """Where this process keeps what it fetches. A forked process has one of its own."""
    if os.getpid() not in _places:
        _places[os.getpid()] = place = Workplace(cache_base())
        atexit.register(place.close)
        # Processes of the worker end without that.
        Finalize(place, place.close, exitpriority=10)
    return _places[os.getpid()]


def clear_caches() -> int:
    """Take away what processes left that were killed: there may be photos in it.

    Returns
    -------
    How many there were.
    """
    return clear_dead(cache_base())


class _Process:
    """What a worker process keeps between messages."""

    def __init__(self, settings: JobSettings, recipe: Recipe, execution: dict[str, Any]) -> None:
        self.settings, self.recipe, self.execution = settings, recipe, execution
        self.store: JobStore | None = None
        self.workers: dict[str, Worker] = {}

    def worker(self, job: Job) -> Worker:
        """The worker for the storage of a job; one in each process works."""
        if job.storage not in self.workers:
            for other in self.workers.values():
                other.close()
            folder = cache().folder
            assert self.store is not None
            execution = dict(self.execution)
            if devices := execution.get("execution_device_ids"):
                # One device for each process of the worker, in turn.
                execution["execution_device_ids"] = (devices[getattr(current_process(), "index", 0) % len(devices)],)
            self.workers = {
                job.storage: Worker(
                    self.store, open_storage(job.storage, folder), folder, self.recipe.execution_thread_count,
                    execution, self.settings.lease_s, is_one_of_many=True,
                )
            }  # fmt: skip
        return self.workers[job.storage]

    def work(self, app: Any, queue: str) -> None:
        """Do the most urgent item of a queue, if there is one."""
        if self.store is None:  # only after the fork
            self.store = JobStore(self.settings.job_store)
        refused = {job_id for worker in self.workers.values() for job_id in worker.refused}
        item = self.store.most_urgent(queue, refused)
        if item is not None:
            job = self.store.get(item.job_id)
            publish(
                app, self.store, self.worker(job).perform(item.job_id, item.stage, range(item.number, item.number + 1))
            )


def run_worker(
    settings: JobSettings, recipe: Recipe, queues: list[str], name: str, is_draining: bool, show: Show
) -> int:
    """``facefusion worker``: work until told to stop. SIGTERM finishes the segment in hand, then leaves.

    Returns
    -------
    Exit code.
    """
    check_cluster(settings)
    app = build_app(settings.broker, queues)
    if is_draining:
        app.control.shutdown(destination=[f"{name}@{os.uname().nodename}"] if name else None)
        show.message("The workers finish what they have in hand, then leave.", drained=name or "all")
        return 0
    execution: dict[str, Any] = {"licences": recipe.licences}
    for option in ("execution_providers", "execution_device_ids", "models_paths"):
        if getattr(recipe, option) != Recipe.model_fields[option].default:
            execution[option] = getattr(recipe, option)
    process = _Process(settings, recipe, execution)

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def work(queue: str) -> None:
        process.work(app, queue)

    clear_caches()
    _run_sweeper(app, settings)
    count = settings.worker_count or 1
    show.message(f"Worker for {', '.join(queues)}: {count} at a time.", queues=queues, processes=count)
    arguments = [
        "worker", "--pool", "prefork", "--concurrency", str(count), "--queues", ",".join(queues),
        "--loglevel", "WARNING", "--without-gossip", "--without-mingle",
        "--hostname", f"{name or f'worker{os.getpid()}'}@%h",
    ]  # fmt: skip
    app.worker_main(arguments)
    return 0


def _run_sweeper(app: Any, settings: JobSettings) -> None:
    """Beside the worker, in its main process: offer again what was lost, take away what is old."""

    def run() -> None:
        store = JobStore(settings.job_store)
        last = time.monotonic()
        while True:
            time.sleep(WAKE_EVERY_S)
            try:
                publish(app, store, wake(store))
                if time.monotonic() - last > SWEEP_EVERY_S:
                    last = time.monotonic()
                    sweep(store, open_storage(settings.storage, cache().folder), settings.keep_days)
                    clear_caches()
            except FaceFusionError:
                continue  # the store is away; try again

    def start(**_: Any) -> None:
        say("facefusion: The worker is ready.", is_error=True)
        sys.stderr.flush()
        threading.Thread(target=run, name="sweeper", daemon=True).start()

    signals.worker_ready.connect(start, weak=False)


def submit(recipe: Recipe, settings: JobSettings, show: Show | None = None) -> str:
    """Put a job where workers find it.

    Returns
    -------
    Its id. The same request is the same job: one that stopped goes on.

    Raises
    ------
    FaceFusionError
        Everything that planning refuses.
    """
    check_cluster(settings)
    recipe = with_absolute_paths(recipe)
    plan = build_plan(recipe)
    hashes = hash_inputs(recipe)
    # Workers measure before they clear up, so a job with a report is another one than a job without.
    measured = {"report": str([recipe.report_path and recipe.report_path.suffix, recipe.fail_under])}
    job_id = job_id_of(recipe, {**hashes, **measured})
    store = JobStore(settings.job_store)
    storage = open_storage(settings.storage, cache().folder)
    app = build_app(settings.broker, [settings.queue])
    job = store.find(job_id)
    if job is not None and job.status != "done":
        commands = store.retry(job_id) if job.status in ("failed", "cancelled") else []
    else:
        check_faces(plan.recipe)
        inputs = {}
        for number, path in enumerate(dict.fromkeys(input_paths(recipe))):
            suffix = re.sub(r"[^.0-9a-z]", "", path.suffix.lower())
            key = f"{check_job_id(job_id)}/inputs/{number:03d}{suffix}"
            storage.put(key, path.absolute())
            inputs[str(path)] = key
            if show is not None:
                show.transfer(path.name, path.stat().st_size, path.stat().st_size)
        if hash_inputs(recipe) != hashes:
            storage.delete(f"{job_id}/")
            raise JobMismatch("An input was changed while it was sent.", "Run the same command again.")
        stored = plan_of(Plan(plan.recipe, plan.kind, plan.thread_count, plan.models), hashes)
        stored |= {"inputs": inputs, "target_bytes": recipe.target_path.stat().st_size}
        counts = [count for _, _, count in stored["spans"]]
        asked = plan.recipe.model_dump(mode="json")
        items = store.create(
            job_id, asked, stored, settings.storage, counts, settings.queue, settings.priority, settings.job_tries,
            is_afresh=True, stages=stages_of(plan),
        )  # fmt: skip
        commands = [Publish(item) for item in items]
    publish(app, store, commands)
    store.close()
    return job_id


def run_in_cluster(recipe: Recipe, settings: JobSettings, show: Show) -> Outcome:
    """Submit a job, follow it, and fetch what came of it.

    Raises
    ------
    SegmentFailed, Stopped, OutputRefused
    """
    recipe = with_absolute_paths(recipe)
    check_paths(recipe)
    began = time.perf_counter()
    job_id = submit(recipe, settings, show)
    show.message(f"Job {job_id} is with the workers; it goes on if this stops.", job=job_id)
    with closing(JobStore(settings.job_store)) as store:
        while (job := store.get(job_id)).status != "done":
            for stage in store.progress(job_id):
                if stage.stage != "join" and (stage.frames_done or stage.stage == "analyse"):
                    show.progress(Progress(stage.stage, stage.frames_done, stage.frames))
            if job.status == "failed":
                raise failure_of(job)
            if job.status == "cancelled":
                raise Stopped(f"Job {job_id} was cancelled.", "Run the same command again to go on.")
            time.sleep(0.3)
        found = store.outcome(job_id, "merge")
    storage = open_storage(settings.storage, cache().folder)
    fetch_output(storage, job_id, found["sha256"], recipe.output_path)
    if recipe.report_path is not None:
        for path in report_files(recipe.report_path):
            fetch(storage, report_key(job_id, path), path)
    with closing(JobStore(settings.job_store)) as store:
        again = store.find(job_id)
        if again is None or (again.status, again.created_at) == ("done", job.created_at):
            storage.delete(f"{check_job_id(job_id)}/")  # biometric data goes with the work
    check_report(found)
    return Outcome(
        recipe.output_path, found["frames"], found["changed"], found["tracks"], 0.0, time.perf_counter() - began,
        tuple(found["models"]), tuple(found.get("notes", ())),
    )  # fmt: skip


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
