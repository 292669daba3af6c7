"""What the process does that looks at targets: people in them, and previews. It keeps what a next look needs."""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from facefusion.errors import Conflict
from facefusion.policy.site import NO_POLICY, SitePolicy
from facefusion.recipe import Recipe, build_recipe

WHOLE_S = 30.0
"""Of longer clips no preview is made that needs the faces of the whole clip."""


AHEAD_S = 180.0
"""Of clips up to so long the faces of the whole clip are found beside the previews, which look nowhere from then on."""


@lru_cache(maxsize=1)
def _previews(policy: SitePolicy) -> Any:
    from facefusion.service.previews import Previews

    return Previews(policy=policy)


@lru_cache(maxsize=1)
def _ahead(policy: SitePolicy) -> Any:
    from facefusion.service.ahead import Ahead

    return Ahead(_previews(policy))


def look_for_people(options: dict[str, Any], folder: Path, policy: SitePolicy = NO_POLICY) -> list[dict[str, Any]]:
    """Who is in a target; see `facefusion.service.people.find_people`."""
    from facefusion.service.people import find_people

    with _ahead(policy).aside():
        return [seen.as_dict() for seen in find_people(build_recipe(options), folder)]


def make_preview(
    recipe: Recipe, at_s: float, show: Literal["before", "after", "both"], side_px: int, kind: Literal["webp", "jpeg"],
    length_s: float, policy: SitePolicy = NO_POLICY, tenant: str = "",
) -> tuple[bytes, float, tuple[str, ...], bool]:  # fmt: skip
    """One frame of a recipe.

    Returns
    -------
    The picture, its exact time, sentences on what may be otherwise in the output, and whether anything is new in it.

    Raises
    ------
    FaceFusionError
    """
    from facefusion.service.previews import needs_whole

    # Who needs all of the clip waits for it, and is not in the way of whoever learns it already.
    with nullcontext() if needs_whole(recipe) else _ahead(policy).aside():
        made = _make_preview(recipe, at_s, show, side_px, kind, length_s, policy, tenant)
    if 0.0 < length_s <= AHEAD_S and show != "before":
        _ahead(policy).want(recipe)
    return made


def _make_preview(
    recipe: Recipe, at_s: float, show: Literal["before", "after", "both"], side_px: int, kind: Literal["webp", "jpeg"],
    length_s: float, policy: SitePolicy, tenant: str,
) -> tuple[bytes, float, tuple[str, ...], bool]:  # fmt: skip
    from facefusion.pipeline.plan import find_kind
    from facefusion.pipeline.still import find_frame
    from facefusion.service.previews import needs_whole

    target_kind = find_kind(recipe.target_path)
    if show == "before":
        frame = find_frame(recipe, target_kind, at_s)
        begin = 0.0 if target_kind == "photo" else float(_offset_s(recipe))
        time_s = 0.0 if target_kind == "photo" else float(frame.pts * frame.time_base) - begin
        return _encode(frame.pixels, side_px, kind), time_s, (), False
    if needs_whole(recipe) and target_kind == "clip" and length_s > WHOLE_S:
        raise Conflict(
            "People are chosen by what only the whole clip tells, and this one is long.",
            "Choose them by face or reference, or run the job.", code="needs_whole",
        )  # fmt: skip
    picture = _previews(policy).of_recipe(recipe, at_s, is_beside=show == "both", tenant=tenant)
    return (
        _encode(picture.pixels, side_px * (2 if show == "both" else 1), kind), picture.time_s, tuple(picture.notes),
        picture.is_changed,
    )  # fmt: skip


def _offset_s(recipe: Recipe) -> float:
    from facefusion.pipeline.clip import read_clip

    reader = read_clip(recipe)
    return float(reader.offset * reader.info.time_base)


def _encode(pixels: Any, side_px: int, kind: Literal["webp", "jpeg"]) -> bytes:
    from facefusion.media.describe import fit
    from facefusion.media.image import encode_picture
    from facefusion.service.previews import SOFTWARE

    return encode_picture(fit(pixels, side_px), kind, 88, SOFTWARE)
