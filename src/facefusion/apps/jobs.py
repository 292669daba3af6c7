"""``facefusion run`` as a job, ``facefusion jobs``, and FaceFusion 3's ``job-*`` verbs."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from facefusion.apps.console import shown
from facefusion.apps.faults import is_debugging
from facefusion.apps.show import Show
from facefusion.documents import load_json
from facefusion.errors import JobError, RecipeError, UnknownJob
from facefusion.media.files import translate_os_error
from facefusion.pipeline.runner import Outcome
from facefusion.recipe import INNER, Recipe, build_recipe, known_options, with_absolute_paths
from facefusion.settings import JobSettings
from facefusion.writing import save_bytes

_in_hand: list[tuple[str, Any]] = []


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


def open_jobs(settings: JobSettings) -> Any:
    """The jobs of this machine."""
    from facefusion.jobs.local import LocalJobs

    limit = settings.disk_limit_gb
    return LocalJobs.open(settings.folder, settings.job_store, None if limit is None else int(limit * 1e9))


def _cluster() -> Any:
    """The part that needs Celery.

    Raises
    ------
    JobError
        Saying what to install.
    """
    try:
        from facefusion.apps import cluster
    except ModuleNotFoundError as error:
        raise JobError(
            f"Work on other machines needs the package {error.name}.", "Run: pip install 'facefusion[worker]'"
        ) from error
    return cluster


def run_recipe(recipe: Recipe, settings: JobSettings, show: Show) -> Outcome:
    """Do what a recipe asks for, as a job that can be resumed.

    Raises
    ------
    FaceFusionError
    """
    _in_hand.clear()
    if settings.broker:
        outcome: Outcome = _cluster().run_in_cluster(recipe, settings, show)
        return outcome
    jobs = open_jobs(settings)
    job = jobs.create(recipe, settings.job_tries)
    done = [item for item in jobs.store.items(job.id) if item.status == "done"]
    if done:
        other = job.plan.get("taken_from", "")
        text = f"Job {job.id} goes on: {len(done)} parts are there already" + (f", from job {other}." if other else ".")
        show.message(text, job=job.id, parts_done=len(done), taken_from=other)
    return _run(jobs, job.id, recipe, settings, show)


def _run(jobs: Any, job_id: str, recipe: Recipe, settings: JobSettings, show: Show) -> Outcome:
    from facefusion.jobs.local import OF_THE_MACHINE

    _in_hand[:] = [(job_id, jobs)]
    limit = settings.memory_limit_gb
    # What says how and not what may differ from when the job began.
    execution = {name: getattr(recipe, name) for name in OF_THE_MACHINE}
    outcome: Outcome = jobs.run(
        job_id, settings.worker_count, None if limit is None else int(limit * 1e9), show.progress, execution
    )
    _in_hand.clear()
    return outcome


def run_command(
    command: str, words: Mapping[str, Any], recipe: Recipe, settings: JobSettings, given: Mapping[str, Any], show: Show
) -> int:
    """``jobs``, ``worker`` and the verbs of FaceFusion 3."""
    if command == "worker":
        return int(_cluster().run_worker(settings, recipe, words["queues"], words["name"], words["drain"], show))
    if command.startswith("job-"):
        names = words["names"]
        return Drafts(settings, show).run(command, [names] if isinstance(names, str) else list(names or ()), given)
    action, names = words["action"], list(words["names"])
    jobs = open_jobs(settings)
    if action == "list":
        return _list(jobs, show)
    if action == "sweep":
        swept = jobs.sweep(settings.keep_days)
        text = (
            f"{swept.deleted} old jobs, {swept.orphans} stray files, {swept.cleared} working folders of processes that "
            f"are gone taken away, {swept.woken} parts woken up"
        )
        show.message("\n".join([text, *(f"  kept: {why}" for why in swept.kept)]), **swept.as_fields())
        return 5 if swept.kept else 0  # as every file that cannot be written
    if not names:
        raise RecipeError(f"Which job is to be told '{action}'?", "See 'facefusion jobs list'.")
    for name in names:
        job_id = _full_id(jobs, name)
        if action == "show":
            _show(jobs, job_id, show)
        elif action == "cancel":
            jobs.store.cancel(job_id)
            status = jobs.store.get(job_id).status
            text = "is done already" if status == "done" else "is cancelled"
            show.message(f"Job {job_id} {text}.", job=job_id, status=status)
        elif action == "delete":
            jobs.delete(job_id)
            show.message(f"Job {job_id} is deleted, with its working files.", job=job_id, status="deleted")
        elif action == "report":
            show.message(json.dumps(_report(jobs, job_id), indent=1), **_report(jobs, job_id))
        elif action == "preview":
            _preview(jobs, job_id, words["at_s"], words["picture_path"], show)
        else:  # resume, retry
            stored = build_recipe(jobs.store.get(job_id).recipe)
            fresh = {name: value for name, value in given.items() if name in known_options()}
            show.outcome(_run(jobs, job_id, stored.with_options(**fresh), settings, show))
    return 0


def _full_id(jobs: Any, name: str) -> str:
    if not name.strip():
        raise RecipeError("An empty name is no job.", "See 'facefusion jobs list'.")
    found = [job.id for job in jobs.store.list_jobs() if job.id.startswith(name)]
    if len(found) != 1:
        many = f"{len(found)} jobs begin with {name}." if found else f"There is no job {name}."
        raise UnknownJob(many, "See 'facefusion jobs list'.")
    return str(found[0])


def _list(jobs: Any, show: Show) -> int:
    found = jobs.store.list_jobs()
    if not found:
        show.message("No jobs.", jobs=[])
        return 0
    rows, lines = [], []
    states = {job.id: jobs.state(job) for job in found}
    for job in found:
        stages = {stage.stage: stage for stage in jobs.store.progress(job.id)}
        rendered = stages["render"]
        share = rendered.frames_done / max(rendered.frames, 1)
        began = datetime.fromtimestamp(job.created_at).strftime("%Y-%m-%d %H:%M")
        output = job.recipe["output_path"]
        lines.append(
            f"{job.id}  {states[job.id]:<10}{share:>5.0%}  {began}  {shown(output)}"
            + (f"  {shown(job.error)}" if job.error else "")
        )
        rows.append(
            {"id": job.id, "status": states[job.id], "share": round(share, 4), "output": output, "error": job.error}
        )
    if stopped := [job_id for job_id, state in states.items() if state == "stopped"]:
        lines.append(
            f"What is stopped goes on with: facefusion jobs resume {stopped[0] if len(stopped) == 1 else 'ID'}"
        )
    show.message("\n".join(lines), jobs=rows)
    return 0


def _report(jobs: Any, job_id: str) -> dict[str, Any]:
    job = jobs.store.get(job_id)
    items = jobs.store.items(job_id)
    return {
        "id": job.id,
        "status": jobs.state(job),
        "error": job.error,
        "target": job.recipe["target_path"],
        "output": job.recipe["output_path"],
        "models": job.plan["models"],
        "stages": {
            stage.stage: {
                "parts": stage.items, "done": stage.items_done, "frames": stage.frames,
                "frames_done": stage.frames_done,
            }
            for stage in jobs.store.progress(job_id)
        },
        "tries": {f"{item.stage} {item.number}": item.renders for item in items if item.renders > 1},
        "outcome": jobs.store.outcome(job_id, "merge"),
        **({"trace": job.outcome.get("error", {}).get("trace", "")} if is_debugging() else {}),
    }  # fmt: skip


def _show(jobs: Any, job_id: str, show: Show) -> None:
    report = _report(jobs, job_id)
    lines = [f"{job_id}  {report['status']}"]
    if report["status"] == "stopped":
        lines.append(f"  goes on with: facefusion jobs resume {job_id}")
    lines += [f"  {what}  {shown(report[what])}" for what in ("target", "output")]
    for name, stage in report["stages"].items():
        width = 30
        filled = round(width * stage["frames_done"] / max(stage["frames"], 1))
        lines.append(f"  {name:<8} {'█' * filled}{'·' * (width - filled)} {stage['done']} of {stage['parts']} parts")
    if report["error"]:
        lines.append(f"  {shown(report['error'])}")
    lines += [f"  {shown(line)}" for line in report.get("trace", "").splitlines()]
    lines.append("  history")
    for at, what in jobs.store.history(job_id)[-20:]:
        lines.append(f"    {datetime.fromtimestamp(at).strftime('%H:%M:%S')}  {shown(what)}")
    show.message("\n".join(lines), **report)


def _preview(jobs: Any, job_id: str, at_s: float, path: Path | None, show: Show) -> None:
    from facefusion.jobs.preview import preview
    from facefusion.media.image import check_photo_output
    from facefusion.pipeline.plan import check_paths

    if path is None:
        raise RecipeError("Where is the picture to go?", "Add -o preview.png.")
    if not math.isfinite(at_s) or at_s < 0:
        raise RecipeError(f"There is no time {at_s} s.", "Name a time in the output with --at, in seconds.")
    check_photo_output(path)
    check_paths(build_recipe(jobs.store.get(job_id).recipe), writes=[("picture", path)])
    time_s = preview(jobs, job_id, at_s, path)
    show.message(f"{shown(path)}: the frame at {time_s:.3f} s", output=str(path), time_s=time_s)


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
        step = {k: v for k, v in given.items() if k in known_options()}
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
            names = set(step) & set(Recipe.model_fields)
            if names != set(step):  # options of processors stand in their steps
                names |= set(INNER)
            recipe = with_absolute_paths(build_recipe(step)).model_dump(mode="json", include=names)
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
