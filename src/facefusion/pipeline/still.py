"""One frame of a target as it will be: the code of the final rendering, on one frame and its neighbours."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from facefusion.analyse.analyser import Analyser
from facefusion.errors import RecipeError
from facefusion.imaging.resample import resize_pixels
from facefusion.media.image import read_photo
from facefusion.media.reader import ClipReader
from facefusion.media.segments import Span
from facefusion.pipeline.cast import Cast
from facefusion.pipeline.clip import build_flow, join_observations, photo_frame, read_clip
from facefusion.pipeline.plan import Kind
from facefusion.policy.mark import MarkId
from facefusion.recipe import Recipe
from facefusion.types.frame import Frame, Pixels
from facefusion.types.shown import shown
from facefusion.types.track import Tracks

REACH = 6
"""Frames to each side of a moment that are read with it: rendering wants fewer, and need not read them again."""
REACH_BYTES = 200_000_000
"""Larger frames are not kept together; they are read once more where they are wanted."""
ROUNDED_S = Fraction(1, 200)
"""What a time in hundredths of a second may be early by."""
AROUND_S = 0.6
"""Time to each side of a moment in which faces are looked for where the whole clip was not."""
GAP = 4
"""Pixels of white between two pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """A frame before and after.

    Attributes
    ----------
    moment
        When it is shown in the output, seconds; exact.
    target, pixels
        (H, W, 3) uint8 RGB as it is, and as it will be; sides of the second may be scaled.
    is_changed
        Whether anything is new.
    """

    moment: Fraction
    target: Pixels
    pixels: Pixels
    is_changed: bool

    __repr__ = shown

    def beside(self) -> Pixels:
        """Both pictures in one, before on the left."""
        height, width = self.pixels.shape[:2]
        is_same = self.target.shape == self.pixels.shape
        before = self.target if is_same else resize_pixels(self.target, width, height)
        return np.ascontiguousarray(np.hstack([before, np.full((height, GAP, 3), 255, np.uint8), self.pixels]))


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """A frame with those beside it.

    Attributes
    ----------
    frame
        The frame.
    frames
        It and its neighbours, in order.
    reach
        How many neighbours to each side are among them, where the target has as many.
    """

    frame: Frame
    frames: tuple[Frame, ...]
    reach: int

    __repr__ = shown

    def around(self, halo: int) -> list[Frame] | None:
        """The frame with so many neighbours to each side, or None where they are not all here."""
        if halo > self.reach:
            return None
        at = self.frames.index(self.frame)
        return list(self.frames[max(at - halo, 0) : at + halo + 1])


def find_frame(recipe: Recipe, kind: Kind, at_s: float) -> Frame:
    """The frame of `find_moment` alone."""
    return find_moment(recipe, kind, at_s, 0).frame


def find_moment(recipe: Recipe, kind: Kind, at_s: float, reach: int = REACH) -> Moment:
    """The frame that is on the screen at a time: the last that has begun, or the first of all before it begins.

    One that begins within `ROUNDED_S` counts as begun, since times are written in hundredths of a second.

    Parameters
    ----------
    recipe, kind
        Of the target.
    at_s
        Time in the output, seconds. A photo has one frame at all times.
    reach
        How many neighbours to each side are wanted with it; of large frames there are none.

    Raises
    ------
    RecipeError
        When there is none.
    """
    if kind == "photo":
        photo = photo_frame(read_photo(recipe.target_path, recipe.allow_8bit))
        return Moment(photo, (photo,), reach)
    reader = read_clip(recipe)
    if reader.info.width * reader.info.height * 3 * (2 * reach + 1) > REACH_BYTES:
        reach = 0
    wanted = reader.offset + int(Fraction(at_s).limit_denominator(1_000_000) / reader.info.time_base)
    # One more to each side: which frame is on the screen is told by the one after it.
    frames = list(read_clip(recipe, span=(wanted, wanted + 1), halo=(reach + 1, reach + 1)))
    if frames:
        at = _shown(frames, wanted, int(ROUNDED_S / reader.info.time_base))
        return Moment(frames[at], tuple(frames[max(at - reach, 0) : at + reach + 1]), reach)
    if wanted < _end_of(reader):
        second = int(1 / reader.info.time_base)
        for start in (wanted - second, wanted - 12 * second, None):
            for frame in deque(read_clip(recipe, span=(start, None)), maxlen=1):
                return Moment(frame, (frame,), 0)
    length_s = float((_end_of(reader) - reader.offset) * reader.info.time_base)
    raise RecipeError(f"There is no frame at {at_s} s.", f"The output has {max(length_s, 0.0):.2f} s.")


def _shown(frames: Sequence[Frame], wanted: int, rounded: int) -> int:
    """Which of several frames in a row is on the screen; one counts as begun so many units before it begins."""
    begun = sum(frame.pts <= wanted for frame in frames)
    if begun == len(frames) or begun == 0:
        return max(begun - 1, 0)
    last, following = frames[begun - 1].pts, frames[begun].pts
    return begun if following - wanted <= min(rounded, (following - last) // 2) else begun - 1


def _end_of(reader: ClipReader) -> int:
    """Time at which the last frame is not shown any more, in the target's units."""
    stated = int(Fraction(reader.info.duration_s).limit_denominator(1_000_000) / reader.info.time_base)
    _, last = reader.span_pts()
    return stated if last is None else min(stated, last)


def look_around(recipe: Recipe, analyser: Analyser, kind: Kind, frame: Frame) -> Tracks:
    """Pass 1 around a frame alone: who is in it, not who they are in the whole clip. Of a photo it is all of pass 1."""
    frames: Iterator[Frame] = iter([frame])
    if kind == "clip":
        reach = int(Fraction(AROUND_S) / frame.time_base)
        frames = iter(read_clip(recipe, span=(frame.pts - reach, frame.pts + reach + 1)))
    return join_observations(analyser, [analyser.observe(frames)], {})


def render_still(
    recipe: Recipe,
    cast: Cast,
    tracks: Tracks,
    assigned: Mapping[int, int],
    kind: Kind,
    moment: Moment,
    mark: MarkId | None = None,
) -> Still:
    """A frame and its neighbours, exactly as a job renders them.

    Parameters
    ----------
    recipe, cast, kind
        What is asked for.
    tracks, assigned
        Who is there at least as far as rendering this frame needs, and which chain changes whom (`Cast.assign`).
    moment
        From `find_moment`.
    mark
        What the invisible mark on changed faces says; None leaves it out.
    """
    frame = moment.frame
    begin = 0 if kind == "photo" else read_clip(recipe).offset
    flow = build_flow(recipe, cast, tracks, assigned, begin, mark)
    frames = moment.around(flow.halo) if kind == "clip" else [frame]
    if frames is None:
        frames = list(read_clip(recipe, span=Span(frame.pts, frame.pts + 1).as_pair(), halo=(flow.halo, flow.halo)))
    time = (frame.pts - begin) * frame.time_base
    for rendered in flow.render(frames):
        if rendered.frame.pts == frame.pts:
            return Still(time, frame.pixels, rendered.pixels, rendered.is_changed)
    return Still(time, frame.pixels, frame.pixels, is_changed=False)
