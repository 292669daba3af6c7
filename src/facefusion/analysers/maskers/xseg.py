"""XSeg: where a face is not covered by a hand, a microphone or hair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.imaging.masks import resize_mask
from facefusion.imaging.resample import resize_pixels
from facefusion.imaging.tensors import to_tensor
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray, opens
from facefusion.types.face import Face
from facefusion.types.frame import Pixels


class XsegMasker:
    """Takes and gives pictures with the channels last.

    References
    ----------
    Perov et al., DeepFaceLab, 2020.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def mask(self, crops: Sequence[Pixels], faces: Sequence[Face]) -> list[FloatArray]:
        """See `facefusion.plugins.protocols.Masker`."""
        prepared = self._session.spec.preprocess
        small = [resize_pixels(crop, prepared.size, prepared.size) for crop in crops]
        batch = to_tensor(small, is_bgr=prepared.colour == "BGR").transpose(0, 2, 3, 1)
        (found,) = self._session.run_batch({"#0": batch})
        return [
            resize_mask(np.clip(mask[..., 0], 0, 1), *crop.shape[:2]) for mask, crop in zip(found, crops, strict=True)
        ]


class ManyMaskers:
    """What all of several maskers let through."""

    def __init__(self, maskers: Sequence[XsegMasker]) -> None:
        self._maskers = tuple(maskers)

    def mask(self, crops: Sequence[Pixels], faces: Sequence[Face]) -> list[FloatArray]:
        """See `facefusion.plugins.protocols.Masker`."""
        found = [masker.mask(crops, faces) for masker in self._maskers]
        return [np.minimum.reduce(list(masks)) for masks in zip(*found, strict=True)]


def build(context: EngineContext) -> XsegMasker:
    """Builder named in the entry point."""
    return XsegMasker(context.session(context.model))


ALL = ("xseg_1", "xseg_2", "xseg_3")


@opens(lambda _: ALL)
def build_many(context: EngineContext) -> ManyMaskers:
    """Builder of the three together."""
    return ManyMaskers([XsegMasker(context.session(name)) for name in ALL])
