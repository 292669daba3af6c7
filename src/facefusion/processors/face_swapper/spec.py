"""Declaration of the face swapper."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from facefusion.declaration import Input, ModelRef, Need, Options, ProcessorSpec, Requirements, option

Share = Annotated[float, Field(ge=0, le=1)]
EMBEDDED = "mesh"
IDENTIFIER = "arcface_w600k_r50"
"""The recogniser whose embeddings swappers of other people are fed with."""


class FaceSwapperOptions(Options):
    """Options of the face swapper."""

    model: str = option(EMBEDDED, "model of the face swapper")
    blend: Literal["feather", "pyramid", "poisson"] = option("feather", "how the new face is joined to the frame")
    light: Share = option(1.0, "how much of the target's light and colour the new face takes, 0 to 1")
    fusion: Share = option(
        0.3, "how much the fusion network fits light, colour and edge of the embedded swapper, 0 to 1"
    )
    shape: Share = option(
        1.0,
        "how far the head takes the proportions of the source, for the embedded swapper, 0 to 1; what is close beside "
        "the head bends with it",
    )
    eyes: Literal["source", "target"] = option(
        "source",
        "whose eyes the embedded swapper draws: source where its photos show them open and clear (else the target's), "
        "or target; gaze and blinks are always the target's",
    )
    beard: Literal["fit", "source"] = option(
        "fit",
        "whose beard the embedded swapper draws: fit leaves that of a target, which goes on beyond the face, and draws "
        "the source's where the target has none or both are dark; source draws the source's in any case, "
        "as far as the face goes",
    )
    pixel_boost: str | None = option(
        None, "size at which model swappers work, such as 512x512; a multiple of the model's own"
    )
    weight: Share = option(
        0.5, "identity from the target's own (0) over plain (0.5) to exaggerated (1), for model swappers"
    )

    @field_validator("pixel_boost")
    @classmethod
    def _check_boost(cls, value: str | None) -> str | None:
        sides = (value or "1x1").lower().split("x")
        if len(sides) != 2 or sides[0] != sides[1] or not sides[0].isdigit():
            raise ValueError("must be a square such as 512x512")
        return value


def require(options: FaceSwapperOptions) -> Requirements:
    """See `facefusion.declaration.ProcessorSpec`."""
    # Away from the middle the weight moves between the source's identity and the target's own.
    is_weighted = options.weight != 0.5 and options.model != EMBEDDED
    return Requirements(
        models=(ModelRef("face_swapper", options.model),),
        inputs=frozenset({Input.FACE_PHOTO}),
        needs=frozenset({Need.FACES, Need.IDENTITY}) if is_weighted else frozenset({Need.FACES}),
        identity_contract=IDENTIFIER if is_weighted else "",
        join=options.blend,
        masks=frozenset({"occlusion", "region"}),
    )


SPEC = ProcessorSpec(
    "face_swapper", "face", FaceSwapperOptions, require, "facefusion.plugins.registry:build_by_model",
    "puts the face of a photo on people", is_default=True,
)  # fmt: skip
