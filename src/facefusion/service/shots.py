"""Where shots begin in a clip, found a piece at a time, so that whoever does it can do something else in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from facefusion.imaging.resample import is_cut, thumbnail
from facefusion.pipeline.clip import read_clip
from facefusion.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Piece:
    """What was found in a piece of a clip.

    Attributes
    ----------
    shots_s
        When shots begin, seconds from the beginning of the clip.
    frames
        Frames in the piece; none at the end of the clip.
    last
        Miniature of its last frame, to be handed to the next piece.
    """

    shots_s: tuple[float, ...]
    frames: int
    last: Any


def find_shots(recipe: Recipe, start_s: float, stop_s: float, before: Sequence[Any] | None = None) -> Piece:
    """Find where shots begin in a piece of a recipe's target.

    Parameters
    ----------
    recipe
        Its target.
    start_s, stop_s
        The piece, half-open, seconds.
    before
        Miniature of the frame before it, as the last piece handed it over; None at the beginning.

    Raises
    ------
    FaceFusionError
        Where the target cannot be read.
    """
    whole = read_clip(recipe)
    base, offset = whole.info.time_base, whole.offset
    span = tuple(offset + int(Fraction(at_s).limit_denominator(1_000_000) / base) for at_s in (start_s, stop_s))
    last = None if before is None else np.asarray(before, dtype=np.float32)
    shots: list[float] = []
    frames = 0
    for frame in read_clip(recipe, span=(span[0], span[1])):
        now = thumbnail(frame.pixels)
        if last is None or is_cut(last, now):
            shots.append(round(float((frame.pts - offset) * base), 6))
        last = now
        frames += 1
    return Piece(tuple(shots), frames, None if last is None else last.tolist())
