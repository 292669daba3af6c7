"""Declaration of the deep swapper."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from facefusion.declaration import ModelRef, Options, ProcessorSpec, Requirements, option


class DeepSwapperOptions(Options):
    """Options of the deep swapper."""

    model: str = option("", "one-person model, such as iperov/elon_musk_224")
    morph: Annotated[int, Field(ge=0, le=100)] = option(100, "share of the model's person, 0 to 100")


def require(options: DeepSwapperOptions) -> Requirements:
    """See `facefusion.declaration.ProcessorSpec`."""
    masks = frozenset({"occlusion", "region"})
    return Requirements(models=(ModelRef("deep_swapper", options.model),), masks=masks, shows_somebody=True)


SPEC = ProcessorSpec(
    "deep_swapper", "face", DeepSwapperOptions, require, "facefusion.plugins.registry:build_by_model",
    "puts on the face of the one person that a model knows",
)  # fmt: skip
