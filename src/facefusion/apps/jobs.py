"""``facefusion run`` as a job, ``facefusion jobs``, and FaceFusion 3's ``job-*`` verbs."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import platformdirs

from facefusion import journal
from facefusion.apps.backends import backend_of
from facefusion.apps.console import say, shown
from facefusion.apps.endings import exit_code
from facefusion.apps.faults import is_debugging
from facefusion.apps.show import Show
from facefusion.apps.stopping import is_stopping
from facefusion.errors import FaceFusionError, FaceFusionWarning, JobError, RecipeError, Stopped
from facefusion.jobs.prepare import execution_of
from facefusion.pipeline.runner import Outcome
from facefusion.policy.site import SitePolicy
from facefusion.recipe import Recipe, build_recipe, known_options
from facefusion.service.backend import Backend
from facefusion.service.drafts import Draft, DraftList, Drafts, Edit
from facefusion.service.exposing import expose
from facefusion.service.jobs import MAX_LIMIT, Jobs, cluster_room
from facefusion.service.values import Deleted, Drained, Hired, Page, Preview, Problem, Told
from facefusion.service.watched import Watched
from facefusion.settings import JobSettings, OperationSettings
from facefusion.wording import counted
from facefusion.workplace import cache_base

log = logging.getLogger("facefusion.worker")
ASKED_S = 8.0
"""How long a question waits for a job store that is away."""
_in_hand: list[tuple[str, Jobs]] = []


def job_in_hand() -> str:
    """The job that this process works on, or that failed last; or nothing."""
    return _in_hand[-1][0] if _in_hand else ""


def state_in_hand() -> str:
    """What the store says of `job_in_hand`."""
    if not _in_hand:
        return ""
    job_id, jobs = _in_hand[-1]
    status = str(jobs.store.get(job_id).status)
    return "stopped" if status in ("queued", "running") else status  # this process is on its way out


def run_recipe(recipe: Recipe, settings: JobSettings, policy: SitePolicy, show: Show) -> Outcome:
    """Do what a recipe asks for, as a job that can be resumed.

    Raises
    ------
    FaceFusionError
    """
    _in_hand.clear()
    jobs = Jobs(backend_of(settings, policy))
    submitted = jobs.submit(recipe, show.transfer)
    job, done, other = submitted.job, submitted.parts_done, submitted.taken_from
    text = ""
    if job.is_shared:
        text = f"Job {job.id} is with the workers; it goes on if this stops."
    elif done:
        text = f"Job {job.id}: {counted(done, 'part is', 'parts are')} there already"
        text += f", from job {other}." if other else "."
    begun = replace(job, is_stopped=False)  # it is in our hands, though nothing is done of it yet
    show.answer("submitted", replace(submitted, job=begun), text, is_news=True)
    return _run(jobs, job.id, recipe, show)


def _run(jobs: Jobs, job_id: str, recipe: Recipe, show: Show) -> Outcome:
    _in_hand[:] = [(job_id, jobs)]
    # What says how and not what may differ from when the job began.
    outcome = jobs.run(job_id, execution_of(recipe), show.progress)
    _in_hand.clear()
    return outcome


def run_command(
    command: str,
    words: Mapping[str, Any],
    recipe: Recipe,
    settings: JobSettings,
    policy: SitePolicy,
    given: Mapping[str, Any],
    show: Show,
    operation: OperationSettings,
) -> int:
    """``jobs``, ``worker`` and the verbs of FaceFusion 3."""
    if command == "worker":
        return _work(backend_of(settings, policy), recipe, words, show, operation)
    if command.startswith("job-"):
        names = words["names"]
        verbs = DraftVerbs(settings, policy, show, bool(words.get("is_halting")))
        return verbs.run(command, [names] if isinstance(names, str) else list(names or ()), given)
    action, names = words["action"], list(words["names"])
    backend = backend_of(settings, policy)
    if action not in ("resume", "retry"):  # somebody waits for an answer
        backend = replace(backend, patience_s=ASKED_S)
    jobs = Jobs(backend)
    if action == "list":
        return _list(jobs, words, show)
    if action == "sweep":
        swept = jobs.sweep()
        text = (
            f"{counted(swept.deleted, 'old job')}, {counted(swept.orphans, 'stray file')}, "
            f"{counted(swept.cleared, 'working folder')} of processes that are gone taken away, "
            f"{counted(swept.woken, 'part')} woken up"
        )
        show.answer("swept", swept, "\n".join([text, *(f"  kept: {why}" for why in swept.kept)]), is_news=True)
        return 5 if swept.kept else 0  # as every file that cannot be written
    if not names:
        raise RecipeError(f"Which job is to be told '{action}'?", "See 'facefusion jobs list'.")
    for name in names:
        job_id = jobs.find_id(name)
        if action == "show":
            _show(jobs, job_id, show)
        elif action == "cancel":
            job = jobs.cancel(job_id)
            text = "is done already" if job.status == "done" else "is cancelled"
            show.answer("job", job, f"Job {job_id} {text}.", is_news=True)
        elif action == "delete":
            jobs.delete(job_id)
            text = f"Job {job_id} is deleted, with its working files."
            show.answer("deleted", Deleted(job_id), text, is_news=True)
        elif action == "report":
            job = jobs.show(job_id)
            show.answer("job", job, json.dumps(job.as_dict(), indent=1))
        elif action == "preview":
            if words["picture_path"] is None:
                raise RecipeError("Where is the picture to go?", "Add -o preview.png.")
            look = words["is_beside"], words["is_exact"], show.progress
            made = jobs.preview(job_id, words["at_s"], words["picture_path"], *look)
            show.answer("preview", made, text_of_preview(made), is_news=True)
        else:  # resume, retry
            stored = jobs.recipe_of(job_id)
            fresh = {name: value for name, value in given.items() if name in known_options()}
            show.outcome(_run(jobs, job_id, stored.with_options(**fresh), show))
    return 0


def _work(backend: Backend, recipe: Recipe, words: Mapping[str, Any], show: Show, operation: OperationSettings) -> int:
    """``facefusion worker``."""
    room, queues, name = cluster_room(), words["queues"], words["name"]
    room.check_cluster(backend)
    if words["drain"]:
        room.drain(backend, queues, name)
        drained = Drained(name or "all")
        show.answer("drained", drained, "The workers finish what they have in hand, then leave.", is_news=True)
        return 0

    def tell() -> None:
        if operation.log_format == "json":
            log.info("the worker is ready")
        else:
            say("facefusion: The worker is ready.", is_error=True)
        sys.stderr.flush()

    journal.set_up(operation.log_format, operation.log_level, operation.traces_url)
    count = backend.worker_count or 1
    text, metrics_url, exposition = f"Worker for {', '.join(queues)}: {count} at a time.", "", None
    if operation.metrics_port is not None:
        folders = {"models": platformdirs.user_data_path("facefusion") / "models", "fetched": cache_base()}
        exposition = expose(Watched(backend.store_url, "worker", operation.classes, tuple(queues), folders))
        host, port = operation.metrics_host, exposition.listen(operation.metrics_host, operation.metrics_port)
        metrics_url = f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics"
        text += f" Prometheus may ask at {metrics_url}"
    if operation.log_format == "json":  # and so is all else that it writes
        logging.captureWarnings(True)
    if operation.log_format != "json" or show.is_json:
        show.answer("worker", Hired(tuple(queues), count, metrics_url), text, is_news=True)
    else:
        log.info("the worker begins, %d at a time, for %s", count, ", ".join(queues))
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        warnings.warn("The worker runs as root; give it a user of its own.", FaceFusionWarning, stacklevel=1)
    try:
        room.work(backend, recipe, queues, name, tell, (lambda: None) if exposition is None else exposition.let_go)
    finally:
        if exposition is not None:
            exposition.close()
    return 0


def _list(jobs: Jobs, words: Mapping[str, Any], show: Show) -> int:
    """All jobs, or a page of them where a page was asked for."""
    limit, after, statuses = words["limit"], words["after"], tuple(words["statuses"])
    page = jobs.list(limit or MAX_LIMIT, after, statuses)
    found, cursor = list(page.jobs), page.cursor
    while cursor and not limit:
        page = jobs.list(MAX_LIMIT, cursor, statuses)
        cursor = page.cursor
        found += page.jobs
    lines = []
    for job in found:
        began = datetime.fromtimestamp(job.created_at).strftime("%Y-%m-%d %H:%M")
        lines.append(
            f"{job.id}  {job.state:<10}{job.share:>5.0%}  {began}  {shown(job.output)}"
            + (f"  {shown(job.error)}" if job.error else "")
        )
    if stopped := [job.id for job in found if job.is_stopped]:
        lines.append(
            f"What is stopped goes on with: facefusion jobs resume {stopped[0] if len(stopped) == 1 else 'ID'}"
        )
    if cursor:
        lines.append(f"There are more: add --after {cursor}")
    show.answer("jobs", Page(tuple(found), cursor), "\n".join(lines) or "No jobs.")
    return 0


def text_of_preview(made: Preview) -> str:
    """Where a preview is, and what is to be known of it."""
    line = (
        f"{shown(made.output)}: the frame at {made.time_s:.3f} s{'' if made.is_changed else ', which stays as it is'}"
    )
    return "\n".join([line, *(f"  {shown(note)}" for note in made.notes)])


def _show(jobs: Jobs, job_id: str, show: Show) -> None:
    job = jobs.show(job_id)
    lines = [f"{job_id}  {job.state}"]
    if job.is_stopped:
        lines.append(f"  goes on with: facefusion jobs resume {job_id}")
    lines += [f"  target  {shown(job.target)}", f"  output  {shown(job.output)}"]
    for name, stage in job.stages.items():
        width = 30
        filled = round(width * stage.frames_done / max(stage.frames, 1))
        speed = f", {stage.frames_per_s:.1f} frames/s" if stage.frames_per_s else ""
        left = f", {stage.time_left_s:.0f} s left" if stage.time_left_s else ""
        bar = "█" * filled + "·" * (width - filled)
        lines.append(f"  {name:<8} {bar} {stage.done} of {counted(stage.parts, 'part')}{speed}{left}")
    if job.error:
        lines.append(f"  {shown(job.error)}")
    if is_debugging():
        lines += [f"  {shown(line)}" for line in job.trace.splitlines()]
    history = jobs.history(job_id)[-20:]
    lines.append("  history")
    lines += [f"    {datetime.fromtimestamp(h.at).strftime('%H:%M:%S')}  {shown(h.what)}" for h in history]
    show.answer("job", Told(job, history), "\n".join(lines))


class DraftVerbs:
    """FaceFusion 3's verbs for its jobs (`facefusion.service.drafts`), in words.

    Parameters
    ----------
    settings
        Where they are.
    policy
        What may be done here.
    show
        Who tells.
    is_halting
        Whether the verbs that do all of them stop at the first that fails.
    """

    def __init__(self, settings: JobSettings, policy: SitePolicy, show: Show, is_halting: bool = False) -> None:
        self._settings, self._policy, self._show, self._is_halting = settings, policy, show, is_halting
        self._drafts = Drafts(settings.folder / "drafts")

    def run(self, verb: str, names: list[str], given: Mapping[str, Any]) -> int:
        """Do what a verb says."""
        if verb == "job-list":
            return self._list(names[0] if names else "")
        if verb.endswith("-all"):
            status = {"job-submit-all": "drafted", "job-run-all": "queued", "job-retry-all": "failed"}.get(verb)
            chosen = [draft.name for draft in self._drafts.list()[0] if status in (None, draft.status)]
            codes = [self._one_of_all(verb.removesuffix("-all"), name, given) for name in chosen]
            return next(filter(None, codes), 0)
        name = names[0]
        if verb == "job-create":
            draft = self._drafts.create(name)
            return self._tell(draft, f"Job '{name}' is drafted; add steps with job-add-step {name}.")
        if verb == "job-delete":
            self._drafts.delete(name)
            self._show.answer("deleted", Deleted(name), f"Job '{name}' is deleted.", is_news=True)
            return 0
        if verb in ("job-run", "job-retry"):
            return self._run(self._drafts.load(name), "queued" if verb == "job-run" else "failed")
        if verb == "job-submit":
            draft = self._drafts.submit(name)
            return self._tell(draft, f"Job '{name}' is queued; run it with job-run {name}.")
        draft = self._drafts.edit(name, EDITS[verb], names[1] if len(names) > 1 else "", given)
        return self._tell(draft, f"Job '{name}' has {counted(len(draft.steps), 'step')}.")

    def _one_of_all(self, verb: str, name: str, given: Mapping[str, Any]) -> int:
        """Do it to one of several: the others need not wait for one that fails."""
        try:
            return self.run(verb, [name], given)
        except Stopped:
            raise
        except FaceFusionError as error:
            if self._is_halting or is_stopping():
                raise
            self._show.error(error)
            return exit_code(error)

    def _list(self, wanted: str) -> int:
        found, damaged = self._drafts.list()
        rows = tuple(draft for draft in found if wanted in ("", draft.status))
        lines = [f"{shown(draft.name):<24}{draft.status:<11}{counted(len(draft.steps), 'step')}" for draft in rows]
        lines += [shown(f"{error.message} {error.hint}") for error in damaged]
        listed = DraftList(rows, tuple(map(Problem.of, damaged)))
        self._show.answer("drafts", listed, "\n".join(lines) or "No jobs.")
        return 0

    def _run(self, draft: Draft, wanted: str) -> int:
        if draft.status != wanted:
            raise JobError(
                f"Job '{draft.name}' is {draft.status}, not {wanted}.",
                f"A drafted job is submitted first: job-submit {draft.name}",
            )
        try:
            for number, step in enumerate(draft.steps):
                self._show.restart()
                self._show.message(f"{draft.name} {number + 1}/{len(draft.steps)}")
                self._show.outcome(run_recipe(build_recipe(step), self._settings, self._policy, self._show))
        except Exception:
            self._drafts.save(replace(draft, status="failed"))
            raise
        return self._tell(self._drafts.save(replace(draft, status="completed")), "")

    def _tell(self, draft: Draft, text: str) -> int:
        self._show.answer("draft", draft, text, is_news=True)
        return 0


EDITS: dict[str, Edit] = {
    "job-add-step": "add",
    "job-insert-step": "insert",
    "job-remix-step": "remix",
    "job-remove-step": "remove",
}
