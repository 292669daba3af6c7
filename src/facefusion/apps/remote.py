"""``facefusion run --server``: the same command line, done by a service; the result is fetched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from facefusion.apps.console import shown
from facefusion.apps.show import Show
from facefusion.client import Client, Job
from facefusion.client import Progress as Told
from facefusion.declaration import Step
from facefusion.errors import FaceFusionError, RecipeError, ServiceError, Stopped
from facefusion.jobs.stored import Told as Problem
from facefusion.media.sequence import is_index
from facefusion.metrics.report import check_report, has_page, read_limits
from facefusion.pipeline.plan import check_generator, check_output_name, check_paths, check_sources, reads_of
from facefusion.pipeline.progress import Progress
from facefusion.pipeline.resolved import face_map_of
from facefusion.policy.provenance import drop_sidecar, sidecar_of, wants_sidecar
from facefusion.recipe import INNER, Execution, Recipe, Request, flags_of
from facefusion.wording import without_secrets
from facefusion.writing import replacing, save_bytes

_SUFFIXES = {".jpeg": "jpg", ".tiff": "tif", ".heif": "heic"}
_NOT_SHOWN = ("join", "assemble")


def run_remote(recipe: Recipe, url: str, key: str, given: Mapping[str, Any], reads: Any, show: Show) -> int:
    """Have a service do what a recipe asks for.

    Parameters
    ----------
    recipe
        What is asked for, with whole paths of this machine.
    url, key
        Of the service.
    given
        What stood on the command line.
    reads
        Other files that are read, such as the configuration.
    show
        Who tells.

    Raises
    ------
    FaceFusionError
        What the service refuses, with its code and hint, or what is wrong here.
    """
    for name in (*Execution.model_fields, "worker_count", "queue", "priority"):
        if name in given and name in Recipe.model_fields:
            show.note(f"{flags_of(name)[0]} is decided by the service and not sent.")
    if recipe.target_path == Path() or recipe.output_path == Path():
        raise RecipeError("A service needs a target and an output.", "Name them with --target and --output.")
    if recipe.review_path is not None:
        raise RecipeError("A service takes no review decisions yet.", "Run it here, without --server.")
    people = face_map_of(recipe)
    recipe = recipe.model_copy(update={"people": people})
    _check_here(recipe, reads)
    body = _recipe_of(recipe)
    hashes = {str(path): _hash(path) for _, path in reads_of(recipe)}
    mark = hashlib.sha256(json.dumps([body, sorted(hashes.items())], sort_keys=True).encode()).hexdigest()
    label = f"facefusion run {mark[:16]}"
    with Client(url, key, has_flags=True) as service:
        url = without_secrets(url)
        job = _find(service, label)
        if job is None:
            ids = {path: service.upload(path, on_bytes=show.transfer).id for path in hashes}
            suffix = recipe.output_path.suffix.lower()
            output = {"format": _SUFFIXES.get(suffix, suffix.lstrip(".")), "name": recipe.output_path.stem[:120]}
            wants_report = recipe.report_path is not None
            job = service.create_job(_with_ids(body, recipe, ids), output, wants_report, label)
            show.message(f"Job {job.id} is at {url}; it goes on if this stops.", job=job.id, server=url)
        else:
            show.message(f"Job {job.id} is at {url} already; it is followed.", job=job.id, server=url)
        return _finish(service, service.wait(job.id, lambda told: _show_progress(show, told)), recipe, show)


def _check_here(recipe: Recipe, reads: Any) -> None:
    """Refuse what a run on this machine would refuse and a service could not know, before anything is sent: inputs that
    are missing or no use, and an output that cannot be written or whose ending does not fit.

    Raises
    ------
    FaceFusionError
    """
    check_generator(recipe)
    read_limits(recipe.fail_under)
    if recipe.report_path is not None:
        check_report(recipe.report_path)
    check_sources(recipe)
    if recipe.has_layer:
        raise RecipeError(
            "A service makes no mattes and layers.", "Leave out --save-mask and --save-layer, or run it here."
        )
    if is_index(recipe.output_path):
        raise RecipeError("A service writes no numbered pictures.", "Name a clip with --output, or run it here.")
    if any(person.number is not None for person in face_map_of(recipe)):
        raise RecipeError(
            f"{recipe.face_map_path} names people by their numbers, which a service does not take.",
            "Name tracks or references instead.",
        )
    check_paths(recipe, reads=reads)
    check_output_name(recipe)


def _finish(service: Client, job: Job, recipe: Recipe, show: Show) -> int:
    if job.status == "failed" and job.error is not None:
        raise _error_of(job.error)
    if job.status != "done":
        raise Stopped(f"Job {job.id} was cancelled.", "Run the same command again to begin anew.")
    beside = service.manifest(job.output) if job.output is not None and wants_sidecar(recipe.output_path) else None
    with replacing(recipe.output_path) as made:
        service.download(job.output, made, show.transfer)
        drop_sidecar(recipe.output_path)
        if beside is not None:
            save_bytes(sidecar_of(recipe.output_path), beside)
    if recipe.report_path is not None and job.has_report:
        if has_page(recipe.report_path):
            save_bytes(recipe.report_path, service.report(job.id, "html"))
        save_bytes(recipe.report_path.with_suffix(".json"), service.report(job.id, "json"))
    lines = [shown(str(recipe.output_path)), *(f"  {shown(note)}" for note in job.notes)]
    show.message(
        "\n".join(lines), output=str(recipe.output_path), job=job.id, models=list(job.models), notes=list(job.notes)
    )
    if job.error is not None:  # it was written, and is worse than was allowed
        raise _error_of(job.error)
    return 0


def _find(service: Client, label: str) -> Job | None:
    """The same request, where it is still at work."""
    return next((job for job in service.jobs(("queued", "running")) if job.label == label), None)


def _recipe_of(recipe: Recipe) -> dict[str, Any]:
    """What is asked for, without files and without this machine."""
    left_out = {*Request.model_fields, *Execution.model_fields, *INNER} - {"fail_under"}
    options = recipe.model_dump(mode="json", include=recipe.model_fields_set - left_out, exclude_none=True)
    return {**options, "steps": [_step(step) for step in recipe.steps]}


def _step(step: Step) -> dict[str, Any]:
    return {"processor": step.processor, "options": step.options.model_dump(mode="json", exclude_none=True)}


def _with_ids(body: dict[str, Any], recipe: Recipe, ids: Mapping[str, str]) -> dict[str, Any]:
    """The recipe with assets for paths."""

    def one(path: Path) -> str:
        return ids[str(path)]

    made = {**body, "target": one(recipe.target_path), "sources": [one(path) for path in recipe.source_paths]}
    if recipe.exempt_paths:
        made["exempt"] = [one(path) for path in recipe.exempt_paths]
    if recipe.reference_face_path is not None:
        made["reference_face"] = one(recipe.reference_face_path)
    people = []
    for person in recipe.people:
        who: dict[str, Any] = {"track": person.track} if person.track is not None else {}
        if person.reference is not None:
            who["reference"] = one(person.reference)
        people.append({**who, "sources": [one(p) for p in person.sources], "steps": [_step(s) for s in person.steps]})
    return {**made, "people": people} if people else made


def _hash(path: Path) -> str:
    from facefusion.jobs.storage import hash_file
    from facefusion.media.files import check_file

    check_file(path)
    return hash_file(path)


def _show_progress(show: Show, told: Told) -> None:
    if told.stage in _NOT_SHOWN or (told.stage == "merge" and not told.done):
        return
    show.progress(Progress(told.stage, told.done, told.total))  # type: ignore[arg-type]


def _error_of(told: Mapping[str, str]) -> FaceFusionError:
    """The error of ours that a job failed with."""
    with suppress(Exception):
        from facefusion.jobs.local import error_of

        found = error_of(Problem(told["code"], told["message"], told["hint"]))
        if found.code == told["code"]:
            return found
    return ServiceError(told["message"], told["hint"], code=told["code"])
