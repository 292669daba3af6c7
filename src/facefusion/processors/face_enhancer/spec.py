"""Declaration of the face enhancer."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from facefusion.declaration import ModelRef, Options, ProcessorSpec, Requirements, option


class FaceEnhancerOptions(Options):
    """Options of the face enhancer."""

    model: str = option("gfpgan_1.4", "model of the face enhancer")
    blend: Annotated[int, Field(ge=0, le=100)] = option(80, "share of the enhanced face, 0 to 100")
    weight: Annotated[float, Field(ge=0, le=1)] = option(
        0.5, "faithful (1) or beautiful (0), for models that have this input"
    )


def require(options: FaceEnhancerOptions) -> Requirements:
    """See `facefusion.declaration.ProcessorSpec`."""
    return Requirements(models=(ModelRef("face_enhancer", options.model),), masks=frozenset({"occlusion"}))


SPEC = ProcessorSpec(
    "face_enhancer", "face", FaceEnhancerOptions, require, "facefusion.plugins.registry:build_by_model",
    "restores detail of faces",
)  # fmt: skip
