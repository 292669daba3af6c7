"""What a request is before it becomes a job: checked, planned, its files hashed, its id known."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facefusion.errors import RecipeError
from facefusion.jobs.states import StageName
from facefusion.jobs.stored import StoredPlan
from facefusion.media.files import check_file
from facefusion.media.generated import plan_generated
from facefusion.media.sequence import is_index
from facefusion.pipeline.cast import check_faces
from facefusion.pipeline.clip import plan_clip
from facefusion.pipeline.generate import build_source
from facefusion.pipeline.inputs import Shelf, hash_of, known_hash_of
from facefusion.pipeline.permission import Permission
from facefusion.pipeline.plan import Plan, build_plan, reads_of, with_times
from facefusion.pipeline.progress import OnProgress, ignore_progress
from facefusion.pipeline.review import check_reviewed
from facefusion.policy.mark import MarkId, job_part, site_id, site_secret
from facefusion.policy.site import SitePolicy
from facefusion.policy.verdict import Verdict
from facefusion.recipe import Execution, Recipe, with_absolute_paths
from facefusion.version import __version__

OF_THE_MACHINE = (*Execution.model_fields, "report_path", "fail_under")
"""Options that say how and not what: the same request with others is the same job."""
OF_THE_OUTPUT = (
    "output_path", "mask_path", "layer_path", "output_audio", "output_audio_encoder", "output_audio_quality",
    "output_audio_volume", "drop_tracks", "keep_metadata", "consent", "first_number",
)  # fmt: skip
"""Options that say what becomes of the finished parts. No part depends on them, nor on the ending of the output."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that nothing is wrong with.

    Attributes
    ----------
    job_id
        Of its job: the same request is the same job.
    recipe
        As it was asked for, with whole paths.
    plan
        What was decided.
    hashes
        SHA-256 of every file that it reads, by path.
    shelf
        What was read of its photos.
    mark
        What the invisible mark on changed faces says; empty where there is to be none.
    """

    job_id: str
    recipe: Recipe
    plan: Plan
    hashes: dict[str, str]
    shelf: Shelf
    mark: str = ""

    @property
    def chosen(self) -> Recipe:
        """What is asked for, with what was left open decided."""
        return self.plan.recipe

    @property
    def stages(self) -> tuple[StageName, ...]:
        """Stages of its job."""
        made: tuple[StageName, ...] = ("generate", "assemble") if self.plan.is_generated else ()
        seen: tuple[StageName, ...] = ("analyse", "join") if self.plan.wants_faces else ()
        return *made, *seen, "render", "merge"

    def check_faces(self, on_progress: OnProgress = ignore_progress) -> tuple[str, ...]:
        """Refuse photos without a face, and tell what others lack (`facefusion.pipeline.cast.check_faces`)."""
        return check_faces(self.plan.resolved, self.plan.found.sources, on_progress, self.shelf)

    def ask(self, site: SitePolicy, tenant: str = "") -> Verdict:
        """What the site's policy says of it before the first frame.

        Raises
        ------
        PolicyError
            Where it must not be done here.
        """
        return Permission(site, tenant, self.shelf).request(self.plan)

    def stored(self, notes: Sequence[str] = (), tenant: str = "", verdict: Verdict | None = None) -> StoredPlan:
        """What is decided before the first frame, as it is stored with the job; notes are told with its outcome."""
        found = self.plan.found
        if self.plan.is_generated:
            made = build_source(self.plan, self.shelf).info
            found = replace(found, generated=made, spans=plan_generated(made, self.chosen.segment_s))
        else:
            found = replace(found, spans=plan_clip(self.chosen, self.plan.kind))
        models = self.plan.model_hashes()
        work = work_id_of(self.recipe, self.hashes, models)
        told = Verdict() if verdict is None else verdict
        return StoredPlan(
            __version__, found, models, self.hashes, work, notes=tuple(notes), tenant=tenant, verdict=told,
            mark=self.mark,
        )  # fmt: skip


def prepare(
    recipe: Recipe,
    is_shared: bool = False,
    shelf: Shelf | None = None,
    is_marked: bool = False,
    base: Path | None = None,
) -> Prepared:
    """Check and plan a request; the same for this machine and for many.

    Parameters
    ----------
    recipe
        What is asked for.
    is_shared
        Whether workers of a cluster do it. They measure before they clear up, so there a job with a report is another
        one than a job without.
    shelf
        Where what is read of photos is kept for whoever does the job in this process.
    is_marked
        Whether changed faces get the invisible mark: what the site says, never the recipe.
    base
        Folder of the caller's copies: files in it are called by where they are in it, so that the same request is the
        same job whoever has the copies.

    Raises
    ------
    FaceFusionError
        Everything that `facefusion.pipeline.plan.build_plan` refuses.
    """
    recipe = with_times(with_absolute_paths(recipe))
    if is_shared and recipe.has_layer:
        raise RecipeError(
            "Workers of a cluster make no mattes and layers.", "Leave out --save-mask and --save-layer, or run it here."
        )
    if is_shared and is_index(recipe.output_path):
        raise RecipeError("Workers of a cluster write no numbered pictures.", "Name a clip, or run it here.")
    shelf = shelf or Shelf()
    plan = build_plan(recipe, shelf)
    hashes = hash_inputs(plan.recipe)  # its mapping file is read already
    check_reviewed(recipe, hashes)
    measured = {"report": str([recipe.report_path and recipe.report_path.suffix, recipe.fail_under])}
    job_id = job_id_of(recipe, {**hashes, **measured} if is_shared else hashes, base)
    mark = str(mark_of(recipe, hashes)) if is_marked else ""
    return Prepared(job_id, recipe, plan, hashes, shelf, mark)


def execution_of(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says of how and not what, which may differ from when its job began."""
    return {name: getattr(recipe, name) for name in OF_THE_MACHINE}


def job_id_of(recipe: Recipe, inputs: dict[str, str], base: Path | None = None) -> str:
    """The id of a request: made of what is asked for and of what is in the input files (`prepare`)."""
    asked = recipe.model_dump(mode="json", exclude=set(OF_THE_MACHINE))
    asked["output_path"] = str(recipe.output_path.absolute())
    if base is not None:
        folder = f"{base.absolute()}{os.sep}"
        asked = _renamed(asked, lambda text: text.removeprefix(folder))
    text = json.dumps([asked, sorted(inputs.values()), __version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def work_id_of(recipe: Recipe, inputs: dict[str, str], models: dict[str, str]) -> str:
    """The id of the work behind a request: jobs that share it have the same tracks and segments.

    Parameters
    ----------
    recipe
        As it was asked for, with whole paths, before anything that was left open is decided.
    inputs
        SHA-256 of every file that it reads.
    models
        SHA-256 of every model that it runs.
    """
    asked = recipe.model_dump(mode="json", exclude={*OF_THE_MACHINE, *OF_THE_OUTPUT})
    asked["has_layer"] = recipe.has_layer  # it lies in the segments
    text = json.dumps([asked, sorted(inputs.values()), models, __version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def mark_of(recipe: Recipe, inputs: Mapping[str, str]) -> MarkId:
    """What the invisible mark of a request says: the same wherever its files lie, whoever does it, and however.

    Parameters
    ----------
    recipe
        As it was asked for, with whole paths, before anything that was left open is decided.
    inputs
        SHA-256 of every file that it reads, by path.
    """
    asked = recipe.model_dump(mode="json", exclude={*OF_THE_MACHINE, *OF_THE_OUTPUT})
    asked = _renamed(asked, lambda text: inputs.get(text, text))
    text = json.dumps([asked, sorted(inputs.values()), __version__], sort_keys=True)
    return MarkId(site_id(), job_part(text.encode(), site_secret()))


def _renamed(value: Any, rename: Callable[[str], str]) -> Any:
    """A value of JSON with all its texts, but for names of values, renamed."""
    if isinstance(value, dict):
        return {name: _renamed(one, rename) for name, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, rename) for one in value]
    return rename(value) if isinstance(value, str) else value


def input_paths(recipe: Recipe) -> list[Path]:
    """Files that a recipe reads, those that a mapping file names included."""
    return [path for _, path in reads_of(recipe)]


def hash_inputs(recipe: Recipe, is_read_again: bool = False) -> dict[str, str]:
    """SHA-256 of every file that a recipe reads, by path.

    Parameters
    ----------
    recipe
        What is asked for.
    is_read_again
        Whether files that are in the state in which they were read last are read all the same.

    Raises
    ------
    MediaMissing
    """
    found = {}
    for path in dict.fromkeys(input_paths(recipe)):
        check_file(path)
        found[str(path)] = hash_of(path) if is_read_again else known_hash_of(path)
    return found
