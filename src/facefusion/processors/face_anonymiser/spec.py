"""Declaration of the face anonymiser."""

from __future__ import annotations

import secrets
from typing import Annotated, Self

from pydantic import Field

from facefusion.declaration import ModelRef, Options, ProcessorSpec, Requirements, option

CAUTIOUS = {"faces": "all", "face_detector_score": 0.05, "face_detector_interval": 3}
"""Somebody who is missed cannot be called back: everyone, and rather too much than too little."""


class FaceAnonymiserOptions(Options):
    """Options of the face anonymiser."""

    model: str = option(
        "synthetic", "how people are hidden: synthetic, blur, pixelate, head (all of it, in squares), mask or blackout"
    )
    strength: Annotated[float, Field(ge=0, le=1)] = option(0.5, "strength of blur and pixelate, 0 to 1")
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = option(
        None, "number that the synthetic faces are drawn by; without it every job draws others"
    )

    def decided(self) -> Self:
        """With a seed, which nobody can guess."""
        return self if self.seed is not None else self.model_copy(update={"seed": secrets.randbits(62)})


def require(options: FaceAnonymiserOptions) -> Requirements:
    """See `facefusion.declaration.ProcessorSpec`."""
    return Requirements(models=(ModelRef("face_anonymiser", options.model),), is_protective=True, cautious=CAUTIOUS)


SPEC = ProcessorSpec(
    "face_anonymiser", "face", FaceAnonymiserOptions, require, "facefusion.plugins.registry:build_by_model",
    "hides who people are",
)  # fmt: skip
