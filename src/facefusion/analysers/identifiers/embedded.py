"""The embedded identity encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.imaging.resample import cut
from facefusion.imaging.templates import align_to
from facefusion.imaging.tensors import to_tensor
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.types.frame import Pixels

TEMPLATE, SIZE = "arcface_112_v2", 112
_HALF = (0.5, 0.5, 0.5)


class EmbeddedIdentifier:
    """Encoder of our own training; see ``docs/models/face_identifier_embedded.md``.

    Looks at a crop and at its mirror image; the vectors that it gives are of unit length.

    Parameters
    ----------
    session
        A session of ``face_identifier_embedded``.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.contract = str(session.spec.options["contract"])
        self.same_person_cosine = float(str(session.spec.options["same_person_cosine"]))

    def identify(self, pixels: Sequence[Pixels], points: Sequence[FloatArray]) -> FloatArray:
        """See `facefusion.plugins.protocols.Identifier`."""
        crops = [
            cut(picture, align_to(five, TEMPLATE, SIZE), SIZE) for picture, five in zip(pixels, points, strict=True)
        ]
        both = [*crops, *(np.ascontiguousarray(crop[:, ::-1]) for crop in crops)]
        (found,) = self._session.run({"image": to_tensor(both, _HALF, _HALF)})
        codes = found[: len(crops)] + found[len(crops) :]
        return np.asarray(codes / np.linalg.norm(codes, axis=1, keepdims=True), dtype=np.float32)


def build(context: EngineContext) -> EmbeddedIdentifier:
    """Builder named in the entry point."""
    return EmbeddedIdentifier(context.session("face_identifier_embedded"))
