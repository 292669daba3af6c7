"""FaceFusion 3's jobs: named lists of steps, drafted, then submitted, then run. Each is a file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from facefusion.documents import load_json
from facefusion.errors import JobError, RecipeError, UnknownJob
from facefusion.media.files import translate_os_error
from facefusion.recipe import INNER, Recipe, build_recipe, known_options, with_absolute_paths
from facefusion.service.values import Problem
from facefusion.writing import save_bytes

DraftStatus = Literal["drafted", "queued", "failed", "completed"]
Edit = Literal["add", "insert", "remix", "remove"]


@dataclass(frozen=True, slots=True)
class Draft:
    """A list of steps.

    Attributes
    ----------
    name, status
        Which, and how it is.
    steps
        Options of a recipe each, as JSON, with target and output at least.
    """

    name: str
    status: DraftStatus = "drafted"
    steps: tuple[dict[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON, as it is stored."""
        return asdict(self) | {"steps": [dict(step) for step in self.steps]}


@dataclass(frozen=True, slots=True)
class DraftList:
    """Drafts that can be read, and what is wrong with the others."""

    drafts: tuple[Draft, ...]
    damaged: tuple[Problem, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "jobs": [draft.as_dict() for draft in self.drafts],
            "damaged": [problem.as_dict() for problem in self.damaged],
        }


class Drafts:
    """The drafts of a folder.

    Parameters
    ----------
    folder
        Holds a file for each; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def list(self) -> tuple[tuple[Draft, ...], tuple[JobError, ...]]:
        """All drafts that can be read, and what is wrong with the others."""
        found, damaged = [], []
        for path in sorted(self.folder.glob("*.json")):
            try:
                found.append(_read(path))
            except JobError as error:
                damaged.append(error)
        return tuple(found), tuple(damaged)

    def create(self, name: str) -> Draft:
        """Begin a draft.

        Raises
        ------
        RecipeError
            For what cannot be a name.
        JobError
            When there is one of that name.
        """
        if os.path.lexists(self._path(name)):
            raise JobError(f"There is a job '{name}' already.", "Use another name, or job-delete it.")
        return self.save(Draft(name))

    def load(self, name: str) -> Draft:
        """A draft.

        Raises
        ------
        UnknownJob
        JobError
            When the file is not what was written; it stays as it is.
        """
        path = self._path(name)
        if not os.path.isfile(path):
            raise UnknownJob(f"There is no job '{name}'.", "See job-list.")
        return _read(path)

    def save(self, draft: Draft) -> Draft:
        """Write a draft.

        Raises
        ------
        OutputRefused
        """
        path = self._path(draft.name)
        try:
            save_bytes(path, json.dumps(draft.as_dict(), indent=1).encode())
        except OSError as error:
            raise translate_os_error(error, path) from error
        return draft

    def submit(self, name: str) -> Draft:
        """Say that a draft is complete.

        Raises
        ------
        UnknownJob, JobError
        """
        draft = self._open(name)
        if not draft.steps:
            raise JobError(f"Job '{name}' has no steps.", f"Add one with job-add-step {name}.")
        return self.save(replace(draft, status="queued"))

    def delete(self, name: str) -> None:
        """Take a draft away, a damaged one too.

        Raises
        ------
        UnknownJob, JobError
        """
        path = self._path(name)
        if not os.path.lexists(path):
            raise UnknownJob(f"There is no job '{name}'.", "See job-list.")
        try:
            path.unlink()
        except OSError as error:
            raise JobError(f"{path} cannot be removed: {error.strerror}.", "Take it away yourself.") from error

    def edit(self, name: str, edit: Edit, place: str, given: Mapping[str, Any]) -> Draft:
        """Change the steps of a draft.

        Parameters
        ----------
        name
            Which.
        edit
            ``add`` at the end, ``insert`` before, ``remix`` after, on what that step makes, or ``remove``.
        place
            Number of a step, from 0 or, below 0, from the end; not for ``add``.
        given
            Options of the new step.

        Raises
        ------
        UnknownJob, JobError, RecipeError
        """
        draft = self._open(name)
        steps = list(draft.steps)
        has = f"Job '{name}' has {len(steps)}, from 0."
        number = len(steps)
        if edit != "add":
            if not re.fullmatch(r"-?[0-9]{1,9}", place):
                raise RecipeError(f"job-{edit}-step needs the number of a step.", has)
            number = int(place) + (len(steps) if int(place) < 0 else 0)
            if not 0 <= number < len(steps) + (edit == "insert"):
                raise RecipeError(f"There is no step {place}.", has)
        if edit == "remove":
            del steps[number]
            return self.save(replace(draft, steps=tuple(steps)))
        step = {key: value for key, value in given.items() if key in known_options()}
        if edit == "remix":
            step = {"target_path": steps[number]["output_path"], **step}
            number += 1
        # Where the job is run need not be where it was drafted.
        names = set(step) & set(Recipe.model_fields)
        if names != set(step):  # options of processors stand in their steps
            names |= set(INNER)
        recipe = with_absolute_paths(build_recipe(step)).model_dump(mode="json", include=names)
        for key in ("target_path", "output_path"):
            if key not in recipe:
                raise RecipeError(f"The step has no {key.replace('_', ' ')}.", "Add --target and --output.")
        steps.insert(number, recipe)
        return self.save(replace(draft, steps=tuple(steps)))

    def _open(self, name: str) -> Draft:
        draft = self.load(name)
        if draft.status != "drafted":
            raise JobError(f"Job '{name}' is {draft.status}, not drafted.", "Create another one.")
        return draft

    def _path(self, name: str) -> Path:
        is_plain = not any(letter in "/\\:" or not letter.isprintable() for letter in name)
        if not name.strip() or name.startswith(".") or not is_plain or len(os.fsencode(name)) > 200:
            raise RecipeError(f"{name!r} cannot be the name of a job.", "Use letters, digits, dots and dashes.")
        return self.folder / f"{name}.json"


def _read(path: Path) -> Draft:
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
        and draft.get("status") in get_args(DraftStatus)
    )
    if not is_whole:
        raise JobError(f"{path} is damaged: it is not a list of steps.", way_out)
    return Draft(draft["name"], draft["status"], tuple(draft["steps"]))
