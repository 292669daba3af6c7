"""``facefusion source inspect``: prints what `facefusion.service.sources` finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facefusion.apps.console import shown
from facefusion.apps.show import Show
from facefusion.pipeline.advice import GOOD, MEANING, PARTS
from facefusion.recipe import Recipe
from facefusion.service.sources import Inspected, inspect_sources

PROCESSOR = "face_swapper"


def run_source(paths: Sequence[Path], picture: Path | None, recipe: Recipe, show: Show) -> int:
    """Print what photos show of a face, and write a picture of it where one is asked for.

    Raises
    ------
    FaceFusionError
    """
    found = inspect_sources(PROCESSOR, paths, recipe, picture)
    show.answer("source", found, _text(found))
    return 0


def _text(found: Inspected) -> str:
    meaning = MEANING[found.verdict]
    if found.advice and found.verdict == "good":
        meaning = "good, but for this"
    elif found.verdict == "fair" and found.shares["face"] >= GOOD:
        meaning = "fair, because of this"
    lines = [f"{found.shares['face']:.0%} of the face is what the photos show, the rest is completed: {meaning}."]
    lines += [f"  {PARTS.get(name, name):<18}{share:>5.0%}" for name, share in found.shares.items() if name != "face"]
    if len(found.photos) > 1:
        lines.append("by itself")
        lines += [f"  {shown(Path(photo.path).name):<40}{photo.share:>5.0%}" for photo in found.photos]
    lines += found.advice
    if found.picture is not None:
        lines.append(
            f"{shown(found.picture)}: photos, face as they show it, as it is used, and in green what is theirs."
        )
    return "\n".join(lines)
