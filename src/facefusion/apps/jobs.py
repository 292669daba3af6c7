"""``facefusion run`` as a job, ``facefusion jobs``, and FaceFusion 3's ``job-*`` verbs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from facefusion.apps.console import say, shown
from facefusion.apps.faults import is_debugging
from facefusion.apps.show import Show
from facefusion.errors import JobError, RecipeError
from facefusion.jobs.prepare import execution_of
from facefusion.pipeline.runner import Outcome
from facefusion.recipe import Recipe, build_recipe, known_options
from facefusion.service.backend import Backend
from facefusion.service.drafts import Draft, Drafts, Edit
from facefusion.service.jobs import Jobs, cluster_room
from facefusion.settings import JobSettings
from facefusion.wording import counted

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


def backend_of(settings: JobSettings) -> Backend:
    """What settings say of where jobs are."""

    def size(limit_gb: float | None) -> int | None:
        return None if limit_gb is None else int(limit_gb * 1e9)

    return Backend(
        settings.folder, settings.job_store, settings.broker, settings.storage, settings.queue, settings.priority,
        settings.worker_count, size(settings.memory_limit_gb), size(settings.disk_limit_gb), settings.job_tries,
        settings.lease_s, settings.keep_days,
    )  # fmt: skip


def run_recipe(recipe: Recipe, settings: JobSettings, show: Show) -> Outcome:
    """Do what a recipe asks for, as a job that can be resumed.

    Raises
    ------
    FaceFusionError
    """
    _in_hand.clear()
    jobs = Jobs(backend_of(settings))
    submitted = jobs.submit(recipe, show.transfer)
    job, done, other = submitted.job, submitted.parts_done, submitted.taken_from
    if job.is_shared:
        show.message(f"Job {job.id} is with the workers; it goes on if this stops.", job=job.id)
    elif done:
        text = f"Job {job.id} goes on: {counted(done, 'part is', 'parts are')} there already" + (
            f", from job {other}." if other else "."
        )
        show.message(text, job=job.id, parts_done=done, taken_from=other)
    return _run(jobs, job.id, recipe, show)


def _run(jobs: Jobs, job_id: str, recipe: Recipe, show: Show) -> Outcome:
    _in_hand[:] = [(job_id, jobs)]
    # What says how and not what may differ from when the job began.
    outcome = jobs.run(job_id, execution_of(recipe), show.progress)
    _in_hand.clear()
    return outcome


def run_command(
    command: str, words: Mapping[str, Any], recipe: Recipe, settings: JobSettings, given: Mapping[str, Any], show: Show
) -> int:
    """``jobs``, ``worker`` and the verbs of FaceFusion 3."""
    if command == "worker":
        return _work(backend_of(settings), recipe, words, show)
    if command.startswith("job-"):
        names = words["names"]
        return DraftVerbs(settings, show).run(command, [names] if isinstance(names, str) else list(names or ()), given)
    action, names = words["action"], list(words["names"])
    jobs = Jobs(backend_of(settings))
    if action == "list":
        return _list(jobs, show)
    if action == "sweep":
        swept = jobs.sweep()
        text = (
            f"{counted(swept.deleted, 'old job')}, {counted(swept.orphans, 'stray file')}, "
            f"{counted(swept.cleared, 'working folder')} of processes that are gone taken away, "
            f"{counted(swept.woken, 'part')} woken up"
        )
        show.message("\n".join([text, *(f"  kept: {why}" for why in swept.kept)]), **swept.as_dict())
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
            show.message(f"Job {job_id} {text}.", job=job_id, status=job.status)
        elif action == "delete":
            jobs.delete(job_id)
            show.message(f"Job {job_id} is deleted, with its working files.", job=job_id, status="deleted")
        elif action == "report":
            job = jobs.show(job_id)
            show.message(json.dumps(job.as_dict(), indent=1), **job.as_dict())
        elif action == "preview":
            if words["picture_path"] is None:
                raise RecipeError("Where is the picture to go?", "Add -o preview.png.")
            made = jobs.preview(job_id, words["at_s"], words["picture_path"])
            show.message(f"{shown(made.output)}: the frame at {made.time_s:.3f} s", **made.as_dict())
        else:  # resume, retry
            stored = jobs.recipe_of(job_id)
            fresh = {name: value for name, value in given.items() if name in known_options()}
            show.outcome(_run(jobs, job_id, stored.with_options(**fresh), show))
    return 0


def _work(backend: Backend, recipe: Recipe, words: Mapping[str, Any], show: Show) -> int:
    """``facefusion worker``."""
    room, queues, name = cluster_room(), words["queues"], words["name"]
    room.check_cluster(backend)
    if words["drain"]:
        room.drain(backend, queues, name)
        show.message("The workers finish what they have in hand, then leave.", drained=name or "all")
        return 0

    def tell() -> None:
        say("facefusion: The worker is ready.", is_error=True)
        sys.stderr.flush()

    count = backend.worker_count or 1
    show.message(f"Worker for {', '.join(queues)}: {count} at a time.", queues=queues, processes=count)
    room.work(backend, recipe, queues, name, tell)
    return 0


def _list(jobs: Jobs, show: Show) -> int:
    found = list(jobs.iter_all())
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
    show.message("\n".join(lines) or "No jobs.", jobs=[job.as_dict() for job in found])
    return 0


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
    trace = {"trace": job.trace} if is_debugging() else {}
    lines += [f"  {shown(line)}" for line in trace.get("trace", "").splitlines()]
    history = jobs.history(job_id)[-20:]
    lines.append("  history")
    lines += [f"    {datetime.fromtimestamp(h.at).strftime('%H:%M:%S')}  {shown(h.what)}" for h in history]
    show.message("\n".join(lines), **job.as_dict(), **trace, history=[line.as_dict() for line in history])


class DraftVerbs:
    """FaceFusion 3's verbs for its jobs (`facefusion.service.drafts`), in words.

    Parameters
    ----------
    settings
        Where they are.
    show
        Who tells.
    """

    def __init__(self, settings: JobSettings, show: Show) -> None:
        self._settings, self._show = settings, show
        self._drafts = Drafts(settings.folder / "drafts")

    def run(self, verb: str, names: list[str], given: Mapping[str, Any]) -> int:
        """Do what a verb says."""
        if verb == "job-list":
            return self._list(names[0] if names else "")
        if verb.endswith("-all"):
            status = {"job-submit-all": "drafted", "job-run-all": "queued", "job-retry-all": "failed"}.get(verb)
            chosen = [draft.name for draft in self._drafts.list()[0] if status in (None, draft.status)]
            return max((self.run(verb.removesuffix("-all"), [name], given) for name in chosen), default=0)
        name = names[0]
        if verb == "job-create":
            self._drafts.create(name)
            return self._tell(f"Job '{name}' is drafted; add steps with job-add-step {name}.")
        if verb == "job-delete":
            self._drafts.delete(name)
            return self._tell(f"Job '{name}' is deleted.")
        if verb in ("job-run", "job-retry"):
            return self._run(self._drafts.load(name), "queued" if verb == "job-run" else "failed")
        if verb == "job-submit":
            self._drafts.submit(name)
            return self._tell(f"Job '{name}' is queued; run it with job-run {name}.")
        draft = self._drafts.edit(name, EDITS[verb], names[1] if len(names) > 1 else "", given)
        return self._tell(f"Job '{name}' has {counted(len(draft.steps), 'step')}.")

    def _list(self, wanted: str) -> int:
        found, damaged = self._drafts.list()
        rows = [draft for draft in found if wanted in ("", draft.status)]
        lines = [f"{shown(draft.name):<24}{draft.status:<11}{counted(len(draft.steps), 'step')}" for draft in rows]
        lines += [shown(f"{error.message} {error.hint}") for error in damaged]
        fields = {"damaged": [error.message for error in damaged]} if damaged else {}
        self._show.message("\n".join(lines) or "No jobs.", jobs=[draft.as_dict() for draft in rows], **fields)
        return 0

    def _run(self, draft: Draft, wanted: str) -> int:
        if draft.status != wanted:
            raise JobError(
                f"Job '{draft.name}' is {draft.status}, not {wanted}.",
                f"A drafted job is submitted first: job-submit {draft.name}",
            )
        try:
            for number, step in enumerate(draft.steps):
                self._show.restart(f"{draft.name} {number + 1}/{len(draft.steps)}")
                self._show.outcome(run_recipe(build_recipe(step), self._settings, self._show))
        except Exception:
            self._drafts.save(replace(draft, status="failed"))
            raise
        self._drafts.save(replace(draft, status="completed"))
        return 0

    def _tell(self, text: str) -> int:
        self._show.message(text, text_only=True)
        return 0


EDITS: dict[str, Edit] = {
    "job-add-step": "add",
    "job-insert-step": "insert",
    "job-remix-step": "remix",
    "job-remove-step": "remove",
}
