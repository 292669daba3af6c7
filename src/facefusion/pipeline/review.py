"""What was decided on a review page, and which finds it is about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from facefusion.documents import border, load_text
from facefusion.errors import MediaMissing, RecipeError
from facefusion.imaging.boxes import overlap
from facefusion.recipe import Decision, Recipe
from facefusion.types.certainty import Certainty, certainties
from facefusion.types.track import Tracks

FORMAT = "facefusion-review-1"
MAX_BYTES = 4 << 20
_SAVE = "Save them with the button of the review page (--report)."
SAME_PLACE = 0.5
"""Overlap from which a find lies where it was decided on."""


def load_review(path: Path) -> tuple[Decision, ...]:
    """Read the decisions that a review page saved.

    Raises
    ------
    RecipeError, MediaMissing
    """
    values = _read(path)
    try:
        found = tuple(Decision.model_validate(one) for one in values["decisions"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecipeError(
            f"{path}: {where}: {first['msg']}.", "Save the decisions again with the review page."
        ) from error
    if len({one.area for one in found}) != len(found):
        raise RecipeError(f"{path} decides twice on one find.", "Save the decisions again with the review page.")
    return found


def check_reviewed(recipe: Recipe, hashes: Mapping[str, str]) -> None:
    """Refuse decisions on finds of another file, before anybody is looked for in this one.

    Parameters
    ----------
    recipe
        With whole paths.
    hashes
        SHA-256 of its inputs by path.

    Raises
    ------
    RecipeError
    """
    if recipe.review_path is None:
        return
    told, here = _read(recipe.review_path).get("target_sha256"), hashes.get(str(recipe.target_path))
    if told and here and told != here:
        raise RecipeError(
            f"{recipe.review_path} decides on finds of another file than {recipe.target_path} is now.",
            "Give what was decided on an output of this target.",
        )


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MediaMissing(f"There are no review decisions {path}.", "Check --review.")
    text = load_text(path, RecipeError, "review decisions")
    is_page = text.lstrip()[:1] == "<"
    what = "is the page, and no decisions" if is_page else "is damaged"
    with border(RecipeError, f"{path} {what}", _SAVE):
        values = json.loads(text)
    is_one = isinstance(values, dict) and values.get("format") == FORMAT
    if not is_one or not isinstance(values.get("decisions"), list):
        raise RecipeError(f"{path} holds no review decisions.", _SAVE)
    return dict(values)


def decisions_of(recipe: Recipe) -> tuple[Decision, ...]:
    """Decisions of a recipe's file; none where there is no such file. A planned recipe has them already."""
    if recipe.decisions or recipe.review_path is None:
        return recipe.decisions
    return load_review(recipe.review_path)


def check_decisions(recipe: Recipe, tracks: Tracks) -> None:
    """Refuse decisions on finds that are not where they were.

    Raises
    ------
    RecipeError
    """
    by_number = {track.track_id: track for track in tracks.tracks}
    for one in recipe.decisions:
        track = by_number.get(one.area)
        times = tracks.pts * float(tracks.time_base)
        row = None if track is None or not len(times) else track.find(int(np.abs(times - one.at_s).argmin()))
        is_there = False
        if track is not None and row is not None:
            points = track.meshes[row][:, :2]
            box = np.concatenate([points.min(axis=0), points.max(axis=0)])
            is_there = overlap(box, np.array(one.box, dtype=np.float32)) >= SAME_PLACE
        if not is_there:
            raise RecipeError(
                f"The review decisions do not fit: find {one.area} is not where it was decided on.",
                "Review an output of this target that was made with the same options, --start and --end too.",
            )


def judged(recipe: Recipe, tracks: Tracks) -> dict[int, Certainty]:
    """How sure every track is a face, with what was decided on it: a face is sure, what is none is unlikely."""
    found = certainties(tracks)
    said: Mapping[str, Certainty] = {"face": "sure", "none": "unlikely"}
    return found | {
        one.area: said[one.verdict] for one in recipe.decisions if one.verdict in said and one.area in found
    }


def exempted(recipe: Recipe, tracks: Tracks) -> set[int]:
    """Tracks of people who were exempted by decision: theirs that are faces beyond doubt, and the find itself."""
    own = {one.area for one in recipe.decisions if one.verdict == "exempt"} & {t.track_id for t in tracks.tracks}
    people = {tracks.person_of(number) for number in own}
    sure = {number for number, how in judged(recipe, tracks).items() if how == "sure"}
    return own | {k for k in sure if tracks.person_of(k) in people}
