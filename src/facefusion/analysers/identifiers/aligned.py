"""Recognisers that look at an aligned crop: ArcFace in its variants, and SFace."""

from __future__ import annotations

from collections.abc import Sequence

from facefusion.imaging.resample import cut
from facefusion.imaging.templates import align_to
from facefusion.imaging.tensors import to_tensor
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.types.frame import Pixels
from facefusion.types.track import SAME_PERSON_COSINE


class AlignedIdentifier:
    """Raw embeddings of aligned crops; template, size, colour and scaling come from the catalogue entry.

    References
    ----------
    Deng et al., ArcFace, CVPR 2019; Zhong et al., SFace, 2022.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.contract = str(session.spec.options.get("contract", session.spec.id))
        self.same_person_cosine = float(str(session.spec.options.get("same_person_cosine", SAME_PERSON_COSINE)))

    def identify(self, pixels: Sequence[Pixels], points: Sequence[FloatArray]) -> FloatArray:
        """See `facefusion.plugins.protocols.Identifier`."""
        prepared = self._session.spec.preprocess
        crops = [
            cut(picture, align_to(five, prepared.template, prepared.size), prepared.size)
            for picture, five in zip(pixels, points, strict=True)
        ]
        batch = to_tensor(crops, prepared.mean, prepared.std, prepared.colour == "BGR")
        return self._session.run_batch({"#0": batch})[0]


def build(context: EngineContext) -> AlignedIdentifier:
    """Builder named in the entry point."""
    return AlignedIdentifier(context.session(context.model))
