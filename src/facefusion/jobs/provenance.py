"""What the output of a job says of itself: made of its recipe, its plan and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from facefusion.jobs.prepare import OF_THE_MACHINE
from facefusion.jobs.stored import StoredPlan
from facefusion.pipeline.plan import Plan, hashes_of_models
from facefusion.policy.statement import Model, Statement, Target, without_paths
from facefusion.recipe import Recipe

_OF_THE_TARGET = {"start_s", "end_s", "people", "faces", "exempt_faces", "reference_frame_number"}
"""Options that say something of the target, which nobody is to know where people are hidden."""


def statement_of(
    plan: Plan,
    asked: Recipe,
    stored: StoredPlan | None = None,
    open_target: Callable[[], IO[bytes]] | None = None,
    is_changed: bool = True,
    job: str = "",
    consent: Mapping[str, Any] | None = None,
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
    consent
        What is known of the consent of people; None where nobody asked.
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
    hashed = hashes_of_models(plan.recipe, plan.models.every)
    models = tuple(Model(spec.key, spec.licence, hashed[spec.key]) for spec in plan.models.every)
    return Statement(
        datetime.now(UTC), models, told_recipe(asked, hides), target, tuple(dict.fromkeys(sources)), is_changed, hides,
        job, consent, watermark,
    )  # fmt: skip


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
