"""BiSeNet: which part of the face a pixel belongs to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.imaging.masks import resize_mask
from facefusion.imaging.resample import resize_pixels
from facefusion.imaging.tensors import to_tensor
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.types.face import Face
from facefusion.types.frame import Pixels

REGIONS = {
    "skin": 1,
    "left-eyebrow": 2,
    "right-eyebrow": 3,
    "left-eye": 4,
    "right-eye": 5,
    "glasses": 6,
    "nose": 10,
    "mouth": 11,
    "upper-lip": 12,
    "lower-lip": 13,
}


class BisenetMasker:
    """Keeps chosen regions.

    References
    ----------
    Yu et al., BiSeNet, ECCV 2018; classes of CelebAMask-HQ.
    """

    def __init__(self, session: Session, regions: Sequence[str]) -> None:
        self._session = session
        self._ids = np.array([REGIONS[name] for name in regions])

    def mask(self, crops: Sequence[Pixels], faces: Sequence[Face]) -> list[FloatArray]:
        """See `facefusion.plugins.protocols.Masker`."""
        prepared = self._session.spec.preprocess
        small = [resize_pixels(crop, prepared.size, prepared.size) for crop in crops]
        scores = self._session.run_batch({"#0": to_tensor(small, prepared.mean, prepared.std)})[0]
        chosen = np.isin(scores.argmax(axis=1), self._ids).astype(np.float32)
        return [resize_mask(mask, *crop.shape[:2]) for mask, crop in zip(chosen, crops, strict=True)]


def build(context: EngineContext) -> BisenetMasker:
    """Builder named in the entry point."""
    return BisenetMasker(context.session(context.model), context.recipe.face_mask_regions)
