"""Doing orders: a process takes one, plans it as everybody does, runs or follows its job, and brings the output in.

What is prepared, run and resumed is `facefusion.service.jobs`; here is only what a service adds: assets for paths, an
output that becomes an asset, and an end that is recorded with the order.
"""

from __future__ import annotations

import html
import json
import logging
import os
import platform
import secrets
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefusion import journal, traces
from facefusion.errors import FaceFusionError, Fault, LeaseLost, NotThere, QualityTooLow, Stopped, UnknownJob, own_error
from facefusion.jobs.ledger import Asset, Ledger, Order, OrderStatus, OrderView
from facefusion.jobs.storage import FolderStorage, Storage, bring, hash_file, open_storage
from facefusion.pipeline.progress import CancelToken
from facefusion.policy.provenance import sidecar_of
from facefusion.server.bodies import JobBody
from facefusion.server.config import ServerConfig
from facefusion.server.hands import NICE_JOBS, begin_child
from facefusion.server.intake import THUMBNAIL, key_folder, shown_name
from facefusion.server.problems import noted
from facefusion.server.provenance import MANIFEST
from facefusion.server.recipes import to_recipe
from facefusion.server.webhooks import message_of
from facefusion.wording import counted
from facefusion.workplace import Workplace, clear_dead, clear_user, make_folder
from facefusion.writing import save_bytes

if TYPE_CHECKING:
    from facefusion.recipe import Recipe
    from facefusion.service.jobs import Jobs

log = logging.getLogger("facefusion.server")
LEASE_S = 20.0
"""Who was not heard of for so long is taken to be gone."""
BEAT_S = 1.0
POLL_S = 0.3
FOLLOW_S = 1.0
"""How often a job that workers do is looked at."""
REPORT, FIGURES = "report.html", "report.json"
"""What an order's report is called: a page with its figures, or the figures alone."""
MAX_TRIES = 5
"""So many processes may die over one order."""


def made_folder(config: ServerConfig) -> Path:
    """Where outputs are made that are not assets yet."""
    return make_folder(config.folder / "made")


def hands_folder(config: ServerConfig) -> Path:
    """Where copies are while somebody plans an order of a cluster or brings its output. They are in the hands of one
    process (`facefusion.workplace`), and go with what it does, or with it.
    """
    return config.folder.absolute() / "hands"


def do_orders(config: ServerConfig, place: int, news: Any) -> None:
    """Take orders until told to stop; the body of a process.

    Parameters
    ----------
    config
        Of the service.
    place
        Number of the process.
    news
        Pipe: it tells its name, and hears when to stop.
    """
    begin_child(log=config.log, nice=NICE_JOBS)
    owner = f"{platform.node()[:30]}:{os.getpid()}:{place}:{secrets.token_hex(4)}"
    try:
        news.send(owner)
    except OSError:  # the service was stopped meanwhile
        return
    ledger = Ledger(config.store_url)
    storage = open_storage(config.assets_url, make_folder(config.folder / "cache"))
    from facefusion.service.jobs import Jobs

    clerk = _Clerk(config, ledger, storage, Jobs(config.backend), owner)
    stop = threading.Event()

    def listen() -> None:
        with suppress(EOFError, OSError):
            news.recv()
        stop.set()
        clerk.stop()

    threading.Thread(target=listen, name="orders", daemon=True).start()
    while not stop.is_set():
        try:
            order = ledger.claim_order(owner, LEASE_S)
            if order is None:
                stop.wait(POLL_S)
            else:
                clerk.serve(order)
        except FaceFusionError:  # the store is away
            stop.wait(POLL_S * 10)


class _Given(Exception):
    """The order is not ours any more, or this process is to stop."""


class _Clerk:
    def __init__(self, config: ServerConfig, ledger: Ledger, storage: Storage, jobs: Jobs, owner: str) -> None:
        self._config, self._ledger, self._storage, self._jobs, self._owner = config, ledger, storage, jobs, owner
        self._stopping = CancelToken()
        self._place: Path | None = None

    def stop(self) -> None:
        """Leave what is in hand, as soon as possible, to whoever takes it next: it waits, and goes on where it is."""
        self._stopping.cancel()

    def serve(self, order: Order) -> None:
        """Bring an order as far as it goes now."""
        with journal.about(order=order.id), self._heart(order):
            try:
                self._serve(order)
            except (LeaseLost, _Given):
                self._ledger.let_go(order.id, self._owner, None, is_try=False)
            except Exception as error:
                self._fail(order, error)

    @contextmanager
    def _heart(self, order: Order) -> Iterator[None]:
        is_over = threading.Event()

        def beat() -> None:
            while not is_over.wait(BEAT_S):
                try:
                    now = self._ledger.keep_order(order.id, self._owner, LEASE_S)
                except LeaseLost:
                    return
                except FaceFusionError:
                    continue
                if now.is_cancelled and now.job_id:  # what runs hears of it by the store
                    with suppress(FaceFusionError):
                        self._ledger.cancel(now.job_id)

        thread = threading.Thread(target=beat, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def _serve(self, order: Order) -> None:
        if order.tries > MAX_TRIES and not self._config.backend.is_cluster:
            raise Fault(
                f"{counted(order.tries - 1, 'process', 'processes')} ended over this job.",
                "Try a smaller target, or tell us.",
            )
        if order.is_cancelled:
            if order.job_id:
                with suppress(UnknownJob):
                    self._ledger.cancel(order.job_id)
            self._end(order, "cancelled", order.outcome)
            return
        if not order.job_id or self._ledger.find(order.job_id) is None:
            order = self._plan(order)
        with traces.part(order.job_id, "order", order=[order.id]):
            if self._config.backend.is_cluster:
                self._follow(order)
            else:
                self._run(order)

    @contextmanager
    def _at_hand(self) -> Iterator[None]:
        """What is done for a cluster happens in a folder of its own: nobody else needs the copies, whoever goes on."""
        if not self._config.backend.is_cluster:
            yield
            return
        with Workplace(hands_folder(self._config)) as place:
            self._place = place.folder
            yield

    def _plan(self, order: Order, more: Mapping[str, Any] | None = None) -> Order:
        with warnings.catch_warnings():  # they are kept with the plan
            warnings.simplefilter("ignore")
            with self._at_hand():
                submitted = self._jobs.submit(self._recipe(order), tenant=order.tenant, base=self._place)
        plan = self._ledger.get(submitted.job.id).plan
        outcome = {"notes": self._without_files(order, plan.notes), "policy": plan.verdict.as_dict(), **(more or {})}
        self._ledger.change_order(order.id, self._owner, job_id=submitted.job.id, status="running", outcome=outcome)
        log.info("order is planned", extra={"order": order.id, "job": submitted.job.id})
        now = self._ledger.keep_order(order.id, self._owner, LEASE_S)
        if now.is_cancelled:
            self._ledger.cancel(now.job_id)
        return now

    def _run(self, order: Order) -> None:
        if order.status == "queued":  # a retry
            self._ledger.change_order(order.id, self._owner, status="running")
        try:
            self._recipe(order)  # what it reads is here
            self._jobs.run(order.job_id, self._config.execution, cancel=self._stopping)
        except QualityTooLow:
            pass  # it is written, and says so
        except Stopped:
            now = self._ledger.get_order(order.tenant, order.id)
            if now.is_cancelled:
                self._end(order, "cancelled", order.outcome)
                return
            raise _Given from None
        self._settle(order)

    def _follow(self, order: Order) -> None:
        """Look how far the workers are; bring the output in when they are done."""
        job = self._ledger.get(order.job_id)
        if order.outcome.get("is_retried") and job.status in ("failed", "cancelled"):
            self._jobs.retry(order.job_id)
            outcome = {name: told for name, told in order.outcome.items() if name != "is_retried"}
            self._ledger.change_order(order.id, self._owner, status="running", outcome=outcome)
        elif job.status == "failed":
            from facefusion.jobs.local import failure_of

            raise failure_of(job, "")
        elif job.status == "cancelled":
            self._end(order, "cancelled", order.outcome)
            return
        elif job.status == "done":
            with self._at_hand():
                if self._jobs.bring(order.job_id, *self._places(order)):
                    self._settle(order)
                    with suppress(FaceFusionError):  # it is done; a sweep takes the rest
                        self._jobs.clear(order.job_id)
                    return
            if order.outcome.get("is_made_again"):
                raise NotThere("The output is gone.", "Try again: POST …/retry.")
            self._plan(order, {"is_made_again": True})  # a job that is done is begun afresh
        self._ledger.let_go(order.id, self._owner, FOLLOW_S, is_try=False)

    def _recipe(self, order: Order) -> Recipe:
        """The recipe of everywhere else, for this machine."""
        request = order.request
        output, report = self._places(order)

        def path_of(asset_id: str) -> Path:
            asset = self._ledger.get_asset(order.tenant, asset_id)
            return self._local(order, asset)

        def face_of(asset_id: str, face: str) -> Path:
            return self._copy(order, f"{key_folder(order.tenant, asset_id)}faces/{face}.png", f"{asset_id}-{face}.png")

        return to_recipe(request["recipe"], path_of, output, face_of, report, self._config.execution)

    def _places(self, order: Order) -> tuple[Path, Path | None]:
        folder = make_folder((self._place / "made" if self._place else made_folder(self._config)) / order.id)
        output = folder / f"output{order.request['output']['suffix']}"
        asked = order.request["report"]
        # Orders of earlier versions say only that there is one.
        return output, folder / (asked if isinstance(asked, str) else REPORT) if asked else None

    def _local(self, order: Order, asset: Asset) -> Path:
        if self._place is None and isinstance(self._storage, FolderStorage):
            return self._storage.path(asset.key)
        return self._copy(order, asset.key, f"{asset.id}{Path(asset.key).suffix}")

    def _copy(self, order: Order, key: str, name: str) -> Path:
        """A file of the storage on this machine."""
        if self._place is None:
            assert isinstance(self._storage, FolderStorage)
            path = self._storage.path(key)
            if not path.is_file():
                raise NotThere(f"{name} is not there.", "Ask for the faces of the target first.")
            return path
        goal = make_folder(self._place / "inputs" / order.id) / name
        if not goal.is_file():
            try:
                bring(self._storage, key, goal)
            except FileNotFoundError as error:
                raise NotThere(f"{name} is not there.", "It may have expired; upload it again.") from error
        return goal

    def _settle(self, order: Order) -> None:
        """Make the output an asset, and record that the order is done."""
        from facefusion.media.describe import describe

        output, report = self._places(order)
        merged = self._ledger.merged(order.job_id)
        if merged is None:
            raise NotThere("The job is not done.", "Try again: POST …/retry.")
        folder = key_folder(order.tenant, order.id)  # an output is called as its order, so that it is brought in once
        key = f"{folder}{order.id}{output.suffix}"
        if output.is_file():
            thumbnail = output.with_name(THUMBNAIL)
            about = describe(output, thumbnail)
            size, sha256 = output.stat().st_size, hash_file(output)
            self._storage.put(f"{folder}{THUMBNAIL}", thumbnail)
            name = shown_name(order.request["output"]["name"]) or _stem(order.request["target_name"])
            suffix = "" if name.lower().endswith(output.suffix) else output.suffix
            asset = Asset(
                order.id, order.tenant, about.kind, "output", f"{name}{suffix}", about.media_type, size, sha256,
                about.as_dict(), key, expires_at=self._ledger.now() + self._config.backend.keep_days * 86400,
            )  # fmt: skip
            self._storage.put(key, output)
            if sidecar_of(output).is_file():
                self._storage.put(f"{folder}{MANIFEST}", sidecar_of(output))
        else:
            raise NotThere("The output is gone.", "Try again: POST …/retry.")
        reports = {}
        if report is not None:
            for name, path in (("html", report), ("json", report.with_suffix(".json"))):
                if path.is_file():
                    self._name_files(order, path)
                    self._storage.put(f"{folder}{path.name}", path)
                    reports[name] = f"{folder}{path.name}"
        outcome: dict[str, Any] = {
            "asset": asset.id,
            "notes": self._without_files(order, merged.notes),
            "models": list(merged.models),
            "report": reports,
            "frames": merged.frame_count,
            "changed": merged.changed_frame_count,
            "policy": merged.verdict.as_dict(),
        }
        failure = merged.failure
        error = {} if failure is None else {"code": failure.code, "message": failure.message, "hint": failure.hint}
        self._end(order, "done", outcome, error, asset)
        self._clear(order)

    def _fail(self, order: Order, error: Exception) -> None:
        known = own_error(error)
        if known.retryable and order.tries < MAX_TRIES and not isinstance(known, Fault):
            log.warning("order is tried again: %s", _for_the_log(known), extra={"order": order.id, "code": known.code})
            self._ledger.let_go(order.id, self._owner, 2.0**order.tries)
            return
        told = noted(error, f"order {order.id}", "Tell who runs this service the id of the job.")
        told = dict(zip(told, self._without_files(order, tuple(told.values())), strict=True))
        with suppress(LeaseLost):
            now = self._ledger.keep_order(order.id, self._owner, LEASE_S)  # with what its plan said
            self._end(now, "failed", now.outcome, told)
            extra = {"order": order.id, "job": now.job_id or None, "code": known.code}
            log.error("order failed: %s", _for_the_log(known), extra=extra)

    def _end(
        self,
        order: Order,
        status: OrderStatus,
        outcome: dict[str, Any],
        error: Mapping[str, str] | None = None,
        output: Asset | None = None,
    ) -> None:
        end_order(self._ledger, order, self._owner, status, outcome, error, output)

    def _name_files(self, order: Order, report: Path) -> None:
        """Call files in a report as their owner calls them."""
        text = report.read_text(encoding="utf-8")
        if report.suffix == ".json":
            told: list[str] = []

            def walk(value: Any, put: Callable[[str], str]) -> Any:
                if isinstance(value, str):
                    return put(value)
                if isinstance(value, dict):
                    return {name: walk(one, put) for name, one in value.items()}
                return [walk(one, put) for one in value] if isinstance(value, list) else value

            def collect(one: str) -> str:
                told.append(one)
                return one

            found = walk(json.loads(text), collect)
            named = dict(zip(told, self._without_files(order, told), strict=True))
            text = json.dumps(walk(found, named.__getitem__), indent=1)
        else:
            (text,) = self._without_files(order, [text], html.escape)
        save_bytes(report, text.encode())

    def _without_files(
        self, order: Order, texts: Sequence[str], written: Callable[[str], str] = lambda name: name
    ) -> list[str]:
        """Sentences in which files are called as their owner calls them, which may have to be ``written`` otherwise."""
        names = {}
        for asset_id in _ids_in(order.request["recipe"]):
            asset = self._ledger.find_asset(order.tenant, asset_id)
            if asset is not None:
                names[Path(asset.key).as_posix()] = written(asset.name)
                names[f"{asset.id}{Path(asset.key).suffix}"] = written(asset.name)
        own = self._config.folder.absolute()
        folders = [own, self._config.backend.folder.absolute()]
        job = self._ledger.find(order.job_id) if order.job_id else None
        if job is not None and len(job.output_path.parents) > 2:
            folders.insert(0, job.output_path.parents[2])  # of whoever planned it
        if self._place is not None:
            folders.insert(0, self._place)
        made = []
        for text in texts:
            for key, name in names.items():
                for folder in (own / "assets", *(one / "inputs" / order.id for one in folders)):
                    text = text.replace(f"{folder}/{key}", name)
                text = text.replace(key, name)
            for folder in folders:
                text = text.replace(str(folder), "…")
            made.append(text)
        return made

    def _clear(self, order: Order) -> None:
        clear_order(self._config, order.id)


def _for_the_log(error: FaceFusionError) -> str:
    """What whoever runs the service reads of an error, as clients may not: how it can be mended; no name of a file."""
    return journal.scrubbed(f"{error.message} {error.hint}".strip())


def _stem(name: str) -> str:
    return Path(name).stem or "output"


def _ids_in(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    from facefusion.server.recipes import assets_of

    return assets_of(recipe)


def end_order(
    ledger: Ledger,
    order: Order,
    owner: str,
    status: OrderStatus,
    outcome: dict[str, Any],
    error: Mapping[str, str] | None = None,
    output: Asset | None = None,
) -> None:
    """Record how an order ended, with the message that tells of it where somebody wants to hear.

    Raises
    ------
    LeaseLost
        When it is not in the owner's hands.
    """
    delivery = None
    if order.request.get("webhook"):
        now = ledger.view(order.tenant, order.id)
        ended = replace(order, status=status, outcome=outcome, error=dict(error or {}), updated_at=ledger.now())
        body = JobBody.of(OrderView(ended, status, now.progress), output).model_dump(mode="json")
        delivery = message_of(order.id, order.tenant, order.request["webhook"], body, secrets.token_hex(16))
    ledger.settle(order.id, owner, status, outcome, error or {}, output, delivery)


def cancel_order(ledger: Ledger, tenant: str, order_id: str) -> None:
    """Stop an order: at once where nobody has it, else whoever has it hears of it.

    Raises
    ------
    NotThere
    """
    order = ledger.cancel_order(tenant, order_id)
    if not order.is_cancelled:
        return
    if order.job_id:
        with suppress(UnknownJob):
            ledger.cancel(order.job_id)
    owner = f"cancel:{secrets.token_hex(8)}"
    taken = ledger.claim_order(owner, LEASE_S, order_id)
    if taken is not None:
        with suppress(LeaseLost):
            end_order(ledger, taken, owner, "cancelled", taken.outcome)


def file_of(storage: Storage, asset: Asset) -> Path:
    """The file of an asset, where the storage is a folder.

    Raises
    ------
    NotThere
    """
    assert isinstance(storage, FolderStorage)
    path = storage.path(asset.key)
    if not path.is_file():
        raise NotThere(f"{asset.name} is not there.", "It may have expired; upload it again.")
    return path


def clear_order(config: ServerConfig, order_id: str) -> None:
    """Take away what an order left on this machine that is no asset."""
    for folder in _left_folders(config):
        shutil.rmtree(folder / order_id, ignore_errors=True)


def clear_leavings(config: ServerConfig, ledger: Ledger) -> int:
    """Take away what is on this machine of orders that are not any more, whichever service took them away, and of
    processes that are gone; how much that was.

    Raises
    ------
    StoreUnreachable, StoreRefused
    """
    found = [path for folder in _left_folders(config) if folder.is_dir() for path in folder.iterdir()]
    states = ledger.states_of({path.name for path in found})
    # One that failed here may only have to be brought in once more.
    over = ("done", "failed", "cancelled") if config.backend.is_cluster else ("done",)
    gone = [path for path in found if states.get(path.name, "done") in over]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return len(gone) + clear_dead(hands_folder(config)) + clear_user()


def _left_folders(config: ServerConfig) -> tuple[Path, Path]:
    """Folders of orders; in that of inputs only earlier versions left any."""
    return made_folder(config), config.folder / "inputs"
