"""``facefusion run`` as a job, ``facefusion jobs``, and FaceFusion 3's ``job-*`` verbs."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from facefusion.apps.console import say, shown
from facefusion.apps.show import Show
from facefusion.documents import load_json
from facefusion.errors import JobError, RecipeError, UnknownJob
from facefusion.jobs.prepare import execution_of
from facefusion.media.files import translate_os_error
from facefusion.pipeline import runner
from facefusion.pipeline.plan import find_kind
from facefusion.pipeline.runner import Outcome
from facefusion.recipe import Recipe, build_recipe, with_absolute_paths
from facefusion.service.backend import Backend
from facefusion.service.jobs import Jobs, cluster_room
from facefusion.settings import JobSettings
from facefusion.writing import save_bytes

_in_hand: list[tuple[str, Jobs]] = []


def job_in_hand() -> str:
    """The job that this process works on, or that failed last; or nothing."""
    return _in_hand[-1][0] if _in_hand else ""


def state_in_hand() -> str:
    """What the store says of `job_in_hand`."""
    if not _in_hand:
        return ""
    job_id, jobs = _in_hand[-1]
    return str(jobs.store.get(job_id).status)


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
    """Do what a recipe asks for: photos at once, clips as a job that can be resumed.

    Raises
    ------
    FaceFusionError
    """
    _in_hand.clear()
    if recipe.target_path == Path() or recipe.output_path == Path() or find_kind(recipe.target_path) == "photo":
        return runner.run(recipe, show.progress)
    jobs = Jobs(backend_of(settings))
    submitted = jobs.submit(recipe, show.transfer)
    job, done, other = submitted.job, submitted.parts_done, submitted.taken_from
    if job.is_shared:
        show.message(f"Job {job.id} is with the workers; it goes on if this stops.", job=job.id)
    elif done:
        text = f"Job {job.id} goes on: {done} parts are there already" + (f", from job {other}." if other else ".")
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
        return Drafts(settings, show).run(command, [names] if isinstance(names, str) else list(names or ()), given)
    action, names = words["action"], list(words["names"])
    jobs = Jobs(backend_of(settings))
    if action == "list":
        return _list(jobs, show)
    if action == "sweep":
        swept = jobs.sweep()
        text = (
            f"{swept.deleted} old jobs, {swept.orphans} stray files, {swept.cleared} working folders of processes that "
            f"are gone taken away, {swept.woken} parts woken up"
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
            fresh = {name: value for name, value in given.items() if name in type(stored).model_fields}
            show.outcome(_run(jobs, job_id, stored.model_copy(update=fresh), show))
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
            f"{job.id}  {job.status:<10}{job.share:>5.0%}  {began}  {shown(job.output)}"
            + (f"  {shown(job.error)}" if job.error else "")
        )
    show.message("\n".join(lines) or "No jobs.", jobs=[job.as_dict() for job in found])
    return 0


def _show(jobs: Jobs, job_id: str, show: Show) -> None:
    job = jobs.show(job_id)
    lines = [f"{job_id}  {job.status}", f"  target  {shown(job.target)}", f"  output  {shown(job.output)}"]
    for name, stage in job.stages.items():
        width = 30
        filled = round(width * stage.frames_done / max(stage.frames, 1))
        speed = f", {stage.frames_per_s:.1f} frames/s" if stage.frames_per_s else ""
        left = f", {stage.time_left_s:.0f} s left" if stage.time_left_s else ""
        bar = "█" * filled + "·" * (width - filled)
        lines.append(f"  {name:<8} {bar} {stage.done} of {stage.parts} parts{speed}{left}")
    if job.error:
        lines.append(f"  {shown(job.error)}")
    history = jobs.history(job_id)[-20:]
    lines.append("  history")
    lines += [f"    {datetime.fromtimestamp(h.at).strftime('%H:%M:%S')}  {shown(h.what)}" for h in history]
    show.message("\n".join(lines), **job.as_dict(), history=[line.as_dict() for line in history])


STATES_OF_DRAFTS = ("drafted", "queued", "failed", "completed")


class Drafts:
    """FaceFusion 3's jobs: named lists of steps, drafted, then submitted, then run.

    Parameters
    ----------
    settings
        Where they are.
    show
        Who tells.
    """

    def __init__(self, settings: JobSettings, show: Show) -> None:
        self._settings, self._show = settings, show
        self._folder = settings.folder / "drafts"

    def run(self, verb: str, names: list[str], given: Mapping[str, Any]) -> int:
        """Do what a verb says."""
        if verb == "job-list":
            return self._list(names[0] if names else "")
        if verb.endswith("-all"):
            status = {"job-submit-all": "drafted", "job-run-all": "queued", "job-retry-all": "failed"}.get(verb)
            chosen = [d["name"] for d in self._all()[0] if status is None or d["status"] == status]
            return max((self.run(verb.removesuffix("-all"), [name], given) for name in chosen), default=0)
        name = names[0]
        if verb == "job-create":
            if os.path.lexists(self._path(name)):
                raise JobError(f"There is a job '{name}' already.", "Use another name, or job-delete it.")
            self._save({"name": name, "status": "drafted", "steps": []})
            return self._tell(f"Job '{name}' is drafted; add steps with job-add-step {name}.")
        if verb == "job-delete":  # a damaged one too
            self._delete(name)
            return self._tell(f"Job '{name}' is deleted.")
        draft = self._load(name)
        if verb in ("job-run", "job-retry"):
            return self._run(draft, {"job-run": "queued", "job-retry": "failed"}[verb])
        if draft["status"] != "drafted":
            raise JobError(f"Job '{name}' is {draft['status']}, not drafted.", "Create another one.")
        if verb == "job-submit":
            if not draft["steps"]:
                raise JobError(f"Job '{name}' has no steps.", f"Add one with job-add-step {name}.")
            draft["status"] = "queued"
            self._save(draft)
            return self._tell(f"Job '{name}' is queued; run it with job-run {name}.")
        return self._edit(verb, draft, names[1:], given)

    def _list(self, wanted: str) -> int:
        found, damaged = self._all()
        rows = [d for d in found if not wanted or d["status"] == wanted]
        lines = [f"{shown(d['name']):<24}{d['status']:<11}{len(d['steps'])} steps" for d in rows]
        lines += [shown(f"{error.message} {error.hint}") for error in damaged]
        fields = {"damaged": [error.message for error in damaged]} if damaged else {}
        self._show.message("\n".join(lines) or "No jobs.", jobs=rows, **fields)
        return 0

    def _delete(self, name: str) -> None:
        path = self._path(name)
        if not os.path.lexists(path):
            raise UnknownJob(f"There is no job '{name}'.", "See job-list.")
        try:
            path.unlink()
        except OSError as error:
            raise JobError(f"{path} cannot be removed: {error.strerror}.", "Take it away yourself.") from error

    def _edit(self, verb: str, draft: dict[str, Any], places: list[str], given: Mapping[str, Any]) -> int:
        step = {k: v for k, v in given.items() if k in Recipe.model_fields}
        steps: list[dict[str, Any]] = draft["steps"]
        place = len(steps)
        has = f"Job '{draft['name']}' has {len(steps)}, from 0."
        if verb != "job-add-step":
            if not places or not re.fullmatch(r"-?[0-9]{1,9}", places[0]):
                raise RecipeError(
                    f"{verb} needs the number of a step.", f"Job '{draft['name']}' has {len(steps)}, from 0."
                )
            place = int(places[0]) + (len(steps) if int(places[0]) < 0 else 0)
            if not 0 <= place < len(steps) + (verb == "job-insert-step"):
                raise RecipeError(f"There is no step {places[0]}.", has)
        if verb == "job-remove-step":
            del steps[place]
        else:
            if verb == "job-remix-step":  # works on what the step makes
                step = {"target_path": steps[place]["output_path"], **step}
                place += 1
            # Where the job is run need not be where it was drafted.
            recipe = with_absolute_paths(build_recipe(step)).model_dump(mode="json", include=set(step))
            for key in ("target_path", "output_path"):
                if key not in recipe:
                    raise RecipeError(f"The step has no {key.replace('_', ' ')}.", "Add --target and --output.")
            steps.insert(place, recipe)
        self._save(draft)
        return self._tell(f"Job '{draft['name']}' has {len(steps)} steps.")

    def _run(self, draft: dict[str, Any], wanted: str) -> int:
        if draft["status"] != wanted:
            raise JobError(
                f"Job '{draft['name']}' is {draft['status']}, not {wanted}.",
                f"A drafted job is submitted first: job-submit {draft['name']}",
            )
        try:
            for number, step in enumerate(draft["steps"]):
                self._show.restart(f"{draft['name']} {number + 1}/{len(draft['steps'])}")
                self._show.outcome(run_recipe(build_recipe(step), self._settings, self._show))
        except Exception:
            draft["status"] = "failed"
            self._save(draft)
            raise
        draft["status"] = "completed"
        self._save(draft)
        return 0

    def _tell(self, text: str) -> int:
        self._show.message(text, text_only=True)
        return 0

    def _path(self, name: str) -> Path:
        is_plain = not any(letter in "/\\:" or not letter.isprintable() for letter in name)
        if not name.strip() or name.startswith(".") or not is_plain or len(os.fsencode(name)) > 200:
            raise RecipeError(f"{name!r} cannot be the name of a job.", "Use letters, digits, dots and dashes.")
        return self._folder / f"{name}.json"

    def _load(self, name: str) -> dict[str, Any]:
        path = self._path(name)
        if not os.path.isfile(path):
            raise UnknownJob(f"There is no job '{name}'.", "See job-list.")
        return self._read(path)

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        """A draft.

        Raises
        ------
        JobError
            When the file is not what was written; it stays as it is.
        """
        way_out = f"Mend it or bring it back, or take it away: facefusion job-delete {path.stem}"
        try:
            found = load_json(path, JobError, "a job")
        except JobError as error:
            raise JobError(error.message, way_out) from error
        draft: dict[str, Any] = found if isinstance(found, dict) else {}
        steps = draft.get("steps")
        is_whole = (
            isinstance(steps, list)
            and all(isinstance(step, dict) and {"target_path", "output_path"} <= set(step) for step in steps)
            and all(isinstance(step[key], str) for step in steps for key in ("target_path", "output_path"))
            and draft.get("name") == path.stem
            and draft.get("status") in STATES_OF_DRAFTS
        )
        if not is_whole:
            raise JobError(f"{path} is damaged: it is not a list of steps.", way_out)
        return draft

    def _save(self, draft: dict[str, Any]) -> None:
        path = self._path(draft["name"])
        try:
            save_bytes(path, json.dumps(draft, indent=1).encode())
        except OSError as error:
            raise translate_os_error(error, path) from error

    def _all(self) -> tuple[list[dict[str, Any]], list[JobError]]:
        """All drafts that can be read, and what is wrong with the others."""
        found, damaged = [], []
        for path in sorted(self._folder.glob("*.json")):
            try:
                found.append(self._read(path))
            except JobError as error:
                damaged.append(error)
        return found, damaged
