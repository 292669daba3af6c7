"""DFM: models of one person, as DeepFaceLab makes them and DeepFaceLive uses them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.errors import ModelMismatch
from facefusion.imaging.light import colour_agreement, match_low_frequencies
from facefusion.imaging.masks import erode_soft
from facefusion.imaging.resample import sharpen
from facefusion.plugins.protocols import EngineContext
from facefusion.processors.masking import CropMasks
from facefusion.types.crop import Crop, CropShape, SourceFace

MORPH = "morph_value:0"


class DfmSwapper:
    """Swaps aligned crops by a model that knows one person; it needs no source.

    Parameters
    ----------
    context
        Recipe, catalogue entry and sessions.

    References
    ----------
    Perov et al., DeepFaceLab, 2020; DeepFaceLive's DFM format.
    """

    needs: frozenset[str] = frozenset()
    covers_fully = False

    def __init__(self, context: EngineContext) -> None:
        self._session = context.session(context.model)
        shape = self._session.shape("#0")
        if len(shape) != 4 or shape[3] != 3 or shape[1] is None:
            raise ModelMismatch(
                f"Model {context.model.id}: the first input is {shape}, expected (1, S, S, 3).", "Is it a DFM model?"
            )
        self.crop_shape: CropShape | None = CropShape(context.model.preprocess.template, shape[1])
        self._morph = context.options.morph / 100
        self._masks = CropMasks(context, ["box", *context.recipe.face_mask_types])

    def prepare(self, sources: Sequence[SourceFace]) -> None:
        """See `facefusion.plugins.protocols.FaceProcessor`; sources are not needed."""

    def process(self, crops: Sequence[Crop]) -> list[Crop]:
        """See `facefusion.plugins.protocols.FaceProcessor`."""
        return [self._swap(crop) for crop in crops]

    def _swap(self, crop: Crop) -> Crop:
        before = crop.visible()
        size = before.shape[0]
        scaled = sharpen(np.asarray(before[..., ::-1] / 255, dtype=np.float32))
        inputs = {"#0": scaled[None]}
        if self._session.has_input(MORPH):
            inputs[MORPH] = np.array([self._morph], dtype=np.float32)
        target_mask, face, source_mask = (output[0] for output in self._session.run(inputs))
        new = np.clip(face[..., ::-1] * 255 + 0.5, 0, 255).astype(np.uint8)
        share = (colour_agreement(new, before) + 1) / 2
        new = match_low_frequencies(new, before, share)
        own = np.clip(np.minimum(target_mask, source_mask).reshape(size, size), 0, 1)
        own = erode_soft(np.ascontiguousarray(own, dtype=np.float32), 2, 6.25)
        return crop.with_layer(new, np.minimum(own, self._masks.mask(before, new, crop.face)))


def build(context: EngineContext) -> DfmSwapper:
    """Builder named in the entry point."""
    return DfmSwapper(context)
