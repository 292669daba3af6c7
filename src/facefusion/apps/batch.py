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
from facefusion.policy.site import SitePolicy
from facefusion.recipe import Recipe
from facefusion.service.batch import MARKS, BatchCounts, BatchStep, plan_batch, work_through
from facefusion.service.batch_report import save_batch_report
from facefusion.settings import JobSettings
from facefusion.wording import counted

_NAMED = 10
"""Files that are left as they are and called by name."""


def run_batch(
    recipe: Recipe,
    settings: JobSettings,
    policy: SitePolicy,
    source_pattern: str,
    target_pattern: str,
    output_pattern: str,
    show: Show,
    read: Sequence[Named] = (),
    is_halting: bool = False,
) -> int:
    """Do all runs of a batch (`facefusion.service.batch`), and say for each what came of it.

    Parameters
    ----------
    recipe, settings, policy
        What is asked for, but for sources, target and output.
    source_pattern, target_pattern, output_pattern
        Globs, and the pattern of outputs.
    show
        Who tells.
    read
        Other files that are read, such as the configuration.
    is_halting
        Whether the first that fails is the last that is tried.

    Returns
    -------
    0 when all went well, else the exit code of the first failure.
    """
    batch = plan_batch(recipe, source_pattern, target_pattern, output_pattern)
    told = [f"{shown(path)}: left out, it lies where outputs of this batch do" for path in batch.left_out]
    if batch.not_taken:
        names = ", ".join(shown(path) for path in batch.not_taken[:_NAMED])
        more = f" and {len(batch.not_taken) - _NAMED} more" if len(batch.not_taken) > _NAMED else ""
        count = counted(len(batch.not_taken), "file")
        told.append(f"Left as they are, since their names are hidden or of no photo or clip, {count}: {names}{more}")
    show.answer("batch", batch, "\n".join(told), is_news=True)
    codes: list[int] = []
    seen: list[BatchStep] = []
    done = skipped = 0
    steps = work_through(
        batch, recipe, settings.folder / MARKS, lambda one: run_recipe(one, settings, policy, show), read
    )
    try:
        for step in steps:
            seen.append(step)
            run = step.run
            title = f"{run.number + 1}/{run.count} {shown(run.output)}"
            text: str = step.status
            if step.status == "begun":
                show.restart()
                text = ""
            elif step.status == "skipped":
                skipped += 1
                text = "skipped, it is there already"
            elif step.outcome is not None:
                done += 1
                show.outcome(step.outcome)
            elif step.error is not None:
                if is_stopping():
                    raise step.error
                if isinstance(step.error, FaceFusionError):
                    codes.append(exit_code(step.error))
                    show.error(step.error)
                else:
                    codes.append(tell_exception(step.error, ["batch-run"], show.is_json))
            show.answer("step", step, f"{title}: {text}".removesuffix(": "), is_news=True)
            if is_halting and codes:
                break
    finally:  # who stops a batch wants to know about what is done
        if recipe.report_path is not None:
            save_batch_report(recipe.report_path, batch, seen)
    counts = BatchCounts(len(batch.runs), done, skipped, len(codes))
    text = f"{done} of {counts.runs} done, {skipped} skipped, {counts.failed} failed"
    show.answer("batch done", counts, text, is_news=True)
    return codes[0] if codes else 0
