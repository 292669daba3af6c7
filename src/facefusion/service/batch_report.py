"""What is told of a whole batch: a page and a JSON file beside the reports of its runs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from facefusion.documents import load_json
from facefusion.errors import FaceFusionError, RecipeError
from facefusion.media.files import translate_os_error
from facefusion.metrics.batch_page import BatchEntry, batch_values, entry_of, render_batch
from facefusion.metrics.report import has_page, report_files
from facefusion.service.batch import Batch, BatchStep, report_of
from facefusion.writing import save_private


def save_batch_report(path: Path, batch: Batch, steps: Sequence[BatchStep]) -> None:
    """Write what came of a batch: ``path`` (HTML) and the same name with ``.json``; only JSON for that suffix.

    Parameters
    ----------
    path
        What the recipe names as its report; reports of runs lie beside their outputs (`report_of`).
    batch
        All runs.
    steps
        What became of those that were tried.

    Raises
    ------
    OutputRefused
    """
    last = {step.run.number: step for step in steps if step.status != "begun"}
    entries = [_entry(path, run.target, run.output, last.get(run.number)) for run in batch.runs]
    values = json.dumps(batch_values(entries), indent=1).encode("utf-8", "backslashreplace")
    try:
        save_private(path.with_suffix(".json"), values)
        if has_page(path):
            save_private(path, render_batch(entries).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise translate_os_error(error, path) from error


def _entry(path: Path, target: Path, output: Path, step: BatchStep | None) -> BatchEntry:
    known: dict[str, Any] = {
        "target": str(target), "output": str(output), "status": "left" if step is None else step.status,
    }  # fmt: skip
    if step is not None and step.error is not None:
        known["said"] = str(step.error)
    own = report_of(output, path)
    page, *_ = report_files(own)
    if step is None or not own.with_suffix(".json").is_file():
        return BatchEntry(**known)
    if page.is_file():
        known["page"] = _reference(page, path.parent)
    try:
        values = load_json(own.with_suffix(".json"), RecipeError, "report")
        if step.status == "failed":  # of an earlier time: what failed now says nothing of who is hidden
            return BatchEntry(**known)
        return entry_of(values, **known) if isinstance(values, dict) else BatchEntry(**known)
    except (FaceFusionError, KeyError, TypeError):
        return BatchEntry(**known)


def _reference(page: Path, folder: Path) -> str:
    """A link from a folder to a page, for browsers."""
    try:
        return quote(os.path.relpath(os.path.abspath(page), os.path.abspath(folder)).replace(os.sep, "/"))
    except ValueError:  # another drive
        return Path(os.path.abspath(page)).as_uri()
