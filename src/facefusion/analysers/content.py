"""Checks of what a picture shows: the two kinds of answers that the community's models give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facefusion.errors import ModelMismatch
from facefusion.imaging.resample import resize_pixels
from facefusion.imaging.tensors import to_tensor
from facefusion.models.session import Session
from facefusion.plugins.protocols import EngineContext, FloatArray
from facefusion.types.frame import Pixels


class _ContentModel:
    """A model that looks at a whole picture, which is shrunk into the middle of a black square.

    Parameters
    ----------
    session
        Its options say from which score on a picture is not to be worked on (``limit``).
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.limit = float(session.spec.options["limit"])

    def check(self, pixels: Sequence[Pixels]) -> FloatArray:
        """See `facefusion.plugins.protocols.ContentCheck`."""
        if not pixels:
            return np.zeros(0, dtype=np.float32)
        prepared = self._session.spec.preprocess
        pictures = [_contained(picture, prepared.size) for picture in pixels]
        (found, *_) = self._session.run_batch({"#0": to_tensor(pictures, prepared.mean, prepared.std)})
        return np.asarray(self._scores(found), dtype=np.float32)

    def _scores(self, found: FloatArray) -> FloatArray:
        raise NotImplementedError

    def _refuse(self, found: FloatArray) -> ModelMismatch:
        return ModelMismatch(
            f"The answer of model {self._session.spec.id} has the shape {found.shape}.", "Get the right file."
        )


class RowsCheck(_ContentModel):
    """A detector: (N, 4 + C, A), places of boxes first, then a row for each class. Its best class anywhere counts."""

    def _scores(self, found: FloatArray) -> FloatArray:
        if found.ndim != 3 or found.shape[1] <= 4:
            raise self._refuse(found)
        return np.asarray(found[:, 4:].max(axis=(1, 2)))


class MarginCheck(_ContentModel):
    """A classifier: (N, C). Classes that speak for refusing less those that speak against it (option ``weights``)."""

    def _scores(self, found: FloatArray) -> FloatArray:
        weights = np.asarray(self._session.spec.options["weights"], dtype=np.float32)
        if found.ndim != 2 or found.shape[1] != len(weights):
            raise self._refuse(found)
        return np.asarray(found @ weights)


def _contained(picture: Pixels, side: int) -> Pixels:
    height, width = picture.shape[:2]
    scale = min(side / height, side / width)
    inner_width, inner_height = max(int(width * scale), 1), max(int(height * scale), 1)
    left, top = (side - inner_width) // 2, (side - inner_height) // 2
    canvas = np.zeros((side, side, 3), dtype=np.uint8)
    canvas[top : top + inner_height, left : left + inner_width] = resize_pixels(picture, inner_width, inner_height)
    return canvas


def build_rows(context: EngineContext) -> RowsCheck:
    """Builder named in the entry point."""
    return RowsCheck(context.session(context.model))


def build_margin(context: EngineContext) -> MarginCheck:
    """Builder named in the entry point."""
    return MarginCheck(context.session(context.model))
