"""``facefusion batch-run``: every source with every target."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from facefusion.apps.jobs import run_recipe
from facefusion.apps.show import Show
from facefusion.errors import FaceFusionError, RecipeError, Stopped
from facefusion.jobs.local import hash_inputs, job_id_of
from facefusion.jobs.storage import hash_file
from facefusion.pipeline.plan import NEEDS_SOURCE
from facefusion.recipe import Recipe
from facefusion.settings import JobSettings

FIELDS = ("index", "source_name", "target_name", "target_extension")


def pair(sources: Sequence[Path], targets: Sequence[Path], pattern: str) -> list[tuple[Path | None, Path, Path]]:
    """Source, target and output of every run, sources first.

    Parameters
    ----------
    sources, targets
        Files; without sources every target is one run.
    pattern
        Output path with the fields of `FIELDS` in braces.

    Raises
    ------
    RecipeError
        For an unknown field, or two runs that would write one file.
    """
    runs: list[tuple[Path | None, Path, Path]] = []
    for source in sources or [None]:  # type: ignore[list-item]
        for target in targets:
            values = {
                "index": len(runs),
                "source_name": source.stem if source else "",
                "target_name": target.stem,
                "target_extension": target.suffix,
            }
            try:
                output = Path(pattern.format(**values))
            except (KeyError, IndexError, ValueError) as error:
                raise RecipeError(
                    f"--output-pattern {pattern} has a field that there is not: {error}.",
                    f"Fields: {', '.join('{' + name + '}' for name in FIELDS)}.",
                ) from error
            runs.append((source, target, output))
    outputs = [output for *_, output in runs]
    twice = next((output for output in outputs if outputs.count(output) > 1), None)
    if twice is not None:
        raise RecipeError(f"Two runs would write {twice}.", "Add {index} or {source_name} to --output-pattern.")
    return runs


def find_files(pattern: str, kind: str) -> list[Path]:
    """Files of a glob, in order.

    Raises
    ------
    RecipeError
        When there are none.
    """
    found = sorted(Path(name) for name in glob.glob(pattern, recursive=True) if Path(name).is_file())
    if not found:
        raise RecipeError(f"No {kind} matches {pattern}.", "Check the pattern, and put it into quotation marks.")
    return found


def run_batch(
    recipe: Recipe,
    settings: JobSettings,
    source_pattern: str,
    target_pattern: str,
    output_pattern: str,
    show: Show,
) -> int:
    """Do all runs; one that fails does not stop the others, what is finished is skipped, what was begun goes on.

    Returns
    -------
    0 when all went well, else the exit code of the first failure.
    """
    from facefusion.apps.cli import exit_code

    sources = find_files(source_pattern, "source") if source_pattern else []
    if not sources and NEEDS_SOURCE & set(recipe.processors) and recipe.face_map_path is None:
        raise RecipeError("No source is given.", "Name photos with --source-pattern.")
    runs = pair(sources, find_files(target_pattern, "target"), output_pattern)
    failures: list[FaceFusionError] = []
    skipped = 0

    def mark_of(one: Recipe) -> Path:
        """Names the request and its inputs, so that only the same output is skipped."""
        return settings.folder / "finished" / job_id_of(one, hash_inputs(one))

    def is_finished(one: Recipe) -> bool:
        mark = mark_of(one)
        return one.output_path.is_file() and mark.is_file() and mark.read_text() == hash_file(one.output_path)

    def mark_finished(one: Recipe) -> None:
        mark = mark_of(one)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(hash_file(one.output_path))

    for number, (source, target, output) in enumerate(runs):
        one = recipe.model_copy(
            update={"source_paths": (source,) if source else (), "target_path": target, "output_path": output}
        )
        title = f"{number + 1}/{len(runs)} {output}"
        if is_finished(one):
            skipped += 1
            show.message(f"{title}: skipped, it is there already", run=title, status="skipped", output=str(output))
            continue
        show.restart(title)
        try:
            show.outcome(run_recipe(one, settings, show))
            mark_finished(one)
        except Stopped:
            raise
        except FaceFusionError as error:
            failures.append(error)
            show.error(error)
    done = len(runs) - len(failures) - skipped
    show.message(
        f"{done} of {len(runs)} done, {skipped} skipped, {len(failures)} failed",
        done=done,
        skipped=skipped,
        failed=len(failures),
    )
    return exit_code(failures[0]) if failures else 0
