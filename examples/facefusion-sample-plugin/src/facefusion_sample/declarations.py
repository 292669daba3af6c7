"""What the processors of this package are called, and which options they have.

This module is imported whenever options are listed, so it imports neither numpy nor an engine.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from facefusion.declaration import Input, Need, Options, ProcessorSpec, Requirements, option

Share = Annotated[float, Field(ge=0, le=1)]


class FaceTintOptions(Options):
    """Options of ``face_tint``."""

    colour: str = option("#ff8000", "colour that faces are tinted with, as #rrggbb")
    strength: Share = option(0.5, "how much of the colour is seen, 0 to 1")
    keep_light: bool = option(False, "leave light and dark as they are")

    @field_validator("colour")
    @classmethod
    def _check_colour(cls, value: str) -> str:
        digits = value.removeprefix("#")
        if len(digits) != 6 or any(letter not in "0123456789abcdefABCDEF" for letter in digits):
            raise ValueError("must be a colour such as #ff8000")
        return value


def require_tint(options: FaceTintOptions) -> Requirements:
    """It needs to know where faces are, and nothing else."""
    return Requirements(needs=frozenset({Need.FACES}))


FACE_TINT = ProcessorSpec(
    name="face_tint",
    kind="face",
    options=FaceTintOptions,
    require=require_tint,
    build="facefusion_sample.tint:build",
    title="tints faces",
)


class FrameDoublerOptions(Options):
    """Options of ``frame_doubler``."""

    reach: Annotated[int, Field(ge=0, le=2)] = option(2, "frames before and after one that it is averaged with")
    filter: Literal["blocks", "smooth"] = option("smooth", "how pixels are doubled")


def require_doubler(options: FrameDoublerOptions) -> Requirements:
    """It looks at neighbours, and does not care about faces: a chain of such steps looks for none."""
    return Requirements(needs=frozenset(), halo=options.reach)


FRAME_DOUBLER = ProcessorSpec(
    name="frame_doubler",
    kind="frame",
    options=FrameDoublerOptions,
    require=require_doubler,
    build="facefusion_sample.doubler:build",
    title="doubles the size of frames and takes their noise away",
)


class MouthMeterOptions(Options):
    """Options of ``mouth_meter``."""

    gain: Annotated[float, Field(gt=0, le=100)] = option(4.0, "how far a sound of a given loudness opens the mouth")
    length_s: Annotated[float, Field(gt=0, le=1)] = option(0.08, "length of the sound that is listened to, s")


def require_meter(options: MouthMeterOptions) -> Requirements:
    """It is driven by a sound."""
    return Requirements(inputs=frozenset({Input.SOUND}), needs=frozenset({Need.FACES}))


MOUTH_METER = ProcessorSpec(
    name="mouth_meter",
    kind="face",
    options=MouthMeterOptions,
    require=require_meter,
    build="facefusion_sample.meter:build",
    title="draws a mouth that opens as loudly as a sound is",
)
