"""``facefusion live``: records what a camera shows, changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from facefusion.apps.console import shown
from facefusion.apps.show import Show
from facefusion.errors import RecipeError
from facefusion.media.files import Named
from facefusion.policy.site import SitePolicy
from facefusion.recipe import Recipe
from facefusion.service.live import CameraChoice, Recorded, record
from facefusion.wording import counted


def run_live(
    recipe: Recipe, words: Mapping[str, Any], policy: SitePolicy, show: Show, reads: Sequence[Named] = ()
) -> int:
    """Record.

    Raises
    ------
    FaceFusionError
    """
    rate = words["camera_rate"]
    if rate is not None and not 0 < rate <= 1000:
        raise RecipeError(f"No camera gives {counted(rate, 'frame')} per second.", "Leave out --camera-rate.")
    camera = CameraChoice(words["camera"], _size(words["camera_size"]), rate, words["camera_format"])
    is_dropping = not words["every_frame"]
    made = record(recipe, camera, words["clip_path"], words["seconds"], is_dropping, show.progress, reads, policy)
    show.answer("recorded", made, _text(made), is_news=True)
    return 0


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if found is None:
        raise RecipeError(f"'{text}' is no size.", "Write it as 1280x720.")
    return int(found[1]), int(found[2])


def _text(made: Recorded) -> str:
    left_out = f", {made.dropped_frames} left out" if made.dropped_frames else ""
    line = (
        f"{shown(made.output)}: {made.length_s:.1f} s, {made.changed_frames} of {counted(made.frames, 'frame')} changed"
        f"{left_out}, {made.frames_per_s:.1f} frames/s"
    )
    return "\n".join([line, *(f"  {shown(note)}" for note in made.notes)])
