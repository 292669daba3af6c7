"""What the output of a job says of itself: made of its recipe, its plan and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from facefusion.jobs.prepare import OF_THE_MACHINE
from facefusion.jobs.stored import StoredPlan
from facefusion.pipeline.inputs import hash_of
from facefusion.pipeline.plan import Models, Plan, find_models, hashes_of_models
from facefusion.pipeline.resolved import resolve
from facefusion.policy.mark import without_job
from facefusion.policy.provenance import drop_sidecar, sidecar_of, sign
from facefusion.policy.site import SitePolicy
from facefusion.policy.statement import Model, Statement, Target, without_paths
from facefusion.recipe import Recipe
from facefusion.writing import save_bytes

_OF_THE_TARGET = {"start_s", "end_s", "people", "faces", "exempt_faces", "reference_frame_number"}
"""Options that say something of the target, which nobody is to know where people are hidden."""


def statement_of(
    plan: Plan,
    asked: Recipe,
    stored: StoredPlan | None = None,
    open_target: Callable[[], IO[bytes]] | None = None,
    is_changed: bool = True,
    job: str = "",
    verdict: Mapping[str, Any] | None = None,
    watermark: str = "",
) -> Statement:
    """What is said of an output.

    Parameters
    ----------
    plan
        What was done, on this machine.
    asked
        The recipe with the paths of whoever asked.
    stored
        With the hashes of its inputs by these paths.
    open_target
        Opens the target.
    is_changed
        Whether any frame was.
    job
        Id of the job.
    verdict
        What the site checked (`Verdict.as_dict`); None where nobody asked.
    watermark
        Id of the invisible mark, hexadecimal.
    """
    hides = plan.resolved.is_private
    hashes = {} if stored is None else stored.hashes
    target = None
    if not plan.is_generated:
        # Whoever has the original could find it again by its hash, and its own manifest may show and name people.
        target = Target() if hides else Target(hashes.get(str(asked.target_path), ""), open_target)
    people = (path for person in asked.people for path in person.sources)
    sources = [hashes[str(path)] for path in (*asked.source_paths, *people) if str(path) in hashes]
    models = _told_models(plan.recipe, plan.models)
    return Statement(
        datetime.now(UTC), models, told_recipe(asked, hides), target, tuple(dict.fromkeys(sources)), is_changed, hides,
        job, verdict, watermark,
    )  # fmt: skip


def _told_models(recipe: Recipe, models: Models) -> tuple[Model, ...]:
    hashes = hashes_of_models(recipe, models.every)
    return tuple(Model(spec.key, spec.licence, hashes[spec.key]) for spec in models.every)


def told_recipe(recipe: Recipe, hides_people: bool = False) -> dict[str, Any]:
    """A recipe as it is told: what differs from the default, without machine and paths, and without what would tell of
    the target where people are hidden.
    """
    left_out = {*OF_THE_MACHINE, "presets", *(_OF_THE_TARGET if hides_people else ())}
    values = without_paths(recipe.model_dump(exclude=left_out, exclude_defaults=True)) or {}
    if hides_people:
        for step in values.get("steps", ()):
            step.get("options", {}).pop("seed", None)
    return dict(values)


def local_target(path: Path) -> Callable[[], IO[bytes]]:
    """Opens a target of this machine."""
    return lambda: path.open("rb")


def sign_alone(
    made: Path,
    output: Path,
    recipe: Recipe,
    policy: SitePolicy,
    is_changed: bool,
    verdict: Mapping[str, Any] | None = None,
) -> None:
    """Sign what is no job's, a recording or a picture from memory: the last thing that is done before it has its name.

    Parameters
    ----------
    made
        The file, in a folder of its own.
    output
        The name that it is going to have; a manifest that lies beside it from before is taken away.
    recipe
        What was done, with everything decided.
    policy
        Who signs.
    is_changed
        Whether anything is new in it.
    verdict
        What the site checked (`Verdict.as_dict`); None where nobody asked.

    Raises
    ------
    SigningRefused, OutputRefused
    """
    drop_sidecar(output)
    if policy.signing.is_off:
        return
    models = _told_models(recipe, find_models(recipe))
    hides = resolve(recipe).is_private
    sources = () if hides else tuple(dict.fromkeys(hash_of(path) for path in recipe.source_paths))
    told = told_recipe(recipe, hides)
    mark = str(without_job()) if policy.is_marked and is_changed else ""
    statement = Statement(
        datetime.now(UTC), models, told, Target(), sources, is_changed, hides, policy=verdict, watermark=mark
    )
    sign(made, statement, policy.signing.signer(), output)
    if sidecar_of(made).exists():
        save_bytes(sidecar_of(output), sidecar_of(made).read_bytes())
        sidecar_of(made).unlink()
