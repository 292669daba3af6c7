"""Face restoration networks: GFPGAN, CodeFormer, GPEN, RestoreFormer++. They share one contract."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.imaging.resample import resize_pixels
from facefusion.imaging.tensors import from_tensor, to_tensor
from facefusion.plugins.protocols import EngineContext
from facefusion.processors.masking import CropMasks
from facefusion.types.crop import Crop, CropShape, SourceFace

WEIGHT = "weight"


class RestorationEnhancer:
    """Restores aligned crops and lays a share of them over the face.

    Parameters
    ----------
    context
        Recipe, catalogue entry and sessions.

    References
    ----------
    Wang et al., GFP-GAN, CVPR 2021; Zhou et al., CodeFormer, NeurIPS 2022; Yang et al., GPEN, CVPR 2021;
    Wang et al., RestoreFormer++, TPAMI 2023.
    """

    needs: frozenset[str] = frozenset()
    covers_fully = False

    def __init__(self, context: EngineContext) -> None:
        options, self._prepared = context.options, context.model.preprocess
        self._session = context.session(context.model)
        self.crop_shape: CropShape | None = CropShape(self._prepared.template, self._prepared.size)
        self._share, self._weight = options.blend / 100, options.weight
        kinds = ["box", *(kind for kind in context.recipe.face_mask_types if kind == "occlusion")]
        self._masks = CropMasks(context, kinds, has_padding=False)

    def prepare(self, sources: Sequence[SourceFace]) -> None:
        """See `facefusion.plugins.protocols.FaceProcessor`; sources are not needed."""

    def process(self, crops: Sequence[Crop]) -> list[Crop]:
        """See `facefusion.plugins.protocols.FaceProcessor`."""
        before = [crop.visible() for crop in crops]
        batch = to_tensor(before, self._prepared.mean, self._prepared.std)
        if self._session.has_input(WEIGHT):
            # The weight is one number for the whole call, not one per face.
            weight = np.array([self._weight])
            output = np.concatenate([self._session.run({"#0": one[None], WEIGHT: weight})[0] for one in batch])
        else:
            (output,) = self._session.run_batch({"#0": batch})
        restored = from_tensor(output, self._prepared.mean, self._prepared.std)
        return [
            crop.with_layer(
                resize_pixels(new, old.shape[1], old.shape[0]), self._masks.mask(old, new, crop.face) * self._share
            )
            for crop, old, new in zip(crops, before, restored, strict=True)
        ]


def build(context: EngineContext) -> RestorationEnhancer:
    """Builder named in the entry point."""
    return RestorationEnhancer(context)
