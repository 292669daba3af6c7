"""``facefusion batch-run``: every source with every target."""

from __future__ import annotations

from collections.abc import Sequence

from facefusion.apps.console import shown
from facefusion.apps.endings import exit_code, tell_exception
from facefusion.apps.jobs import run_recipe
from facefusion.apps.show import Show
from facefusion.apps.stopping import is_stopping
from facefusion.errors import FaceFusionError
from facefusion.media.files import Named
from facefusion.recipe import Recipe
from facefusion.service.batch import MARKS, plan_batch, work_through
from facefusion.settings import JobSettings


def run_batch(
    recipe: Recipe,
    settings: JobSettings,
    source_pattern: str,
    target_pattern: str,
    output_pattern: str,
    show: Show,
    read: Sequence[Named] = (),
) -> int:
    """Do all runs of a batch (`facefusion.service.batch`), and say for each what came of it.

    Parameters
    ----------
    recipe, settings
        What is asked for, but for sources, target and output.
    source_pattern, target_pattern, output_pattern
        Globs, and the pattern of outputs.
    show
        Who tells.
    read
        Other files that are read, such as the configuration.

    Returns
    -------
    0 when all went well, else the exit code of the first failure.
    """
    batch = plan_batch(recipe, source_pattern, target_pattern, output_pattern)
    for path in batch.left_out:
        show.message(f"{shown(path)}: left out, it is an output of this batch", status="left out", target=str(path))
    codes: list[int] = []
    skipped = 0
    steps = work_through(batch, recipe, settings.folder / MARKS, lambda one: run_recipe(one, settings, show), read)
    for step in steps:
        run = step.run
        title = f"{run.number + 1}/{run.count} {shown(run.output)}"
        if step.status == "begun":
            show.restart(title)
            continue
        text: str = step.status
        if step.status == "skipped":
            skipped += 1
            text = "skipped, it is there already"
        elif step.outcome is not None:
            show.outcome(step.outcome)
        elif step.error is not None:
            if is_stopping():
                raise step.error
            if isinstance(step.error, FaceFusionError):
                codes.append(exit_code(step.error))
                show.error(step.error)
            else:
                codes.append(tell_exception(step.error, ["batch-run"], show.is_json))
        fields = {"target": str(run.target), "output": str(run.output)}
        show.message(f"{title}: {text}", status=step.status, run=title, **fields)
    done = len(batch.runs) - len(codes) - skipped
    show.message(
        f"{done} of {len(batch.runs)} done, {skipped} skipped, {len(codes)} failed",
        done=done,
        skipped=skipped,
        failed=len(codes),
    )
    return codes[0] if codes else 0
