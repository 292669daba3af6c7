"""The embedded verifier: whether a find of the detector shows a face, judged with what is around it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from facefusion.models.session import Session

FloatArray = npt.NDArray[np.float32]

CROP_SIDE = 64
"""Side of a crop in pixels."""
CROP_MARGIN = 1.8
"""Side of a crop over the longer side of the find, as in training."""


class Verifier:
    """Looks at finds that may be no faces; see ``docs/models/face_verifier_embedded.md`` for its figures.

    It belongs to the analyser and is no choice: its scores are what `facefusion.types.certainty` was set by.

    Parameters
    ----------
    session
        A session of ``face_verifier_embedded``.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def verify(self, crops: Sequence[npt.NDArray[np.uint8]]) -> FloatArray:
        """How much crops look as if there were a face in the middle.

        Parameters
        ----------
        crops
            (64, 64, 3) uint8 RGB about the middle of each find, `CROP_MARGIN` times its longer side wide.

        Returns
        -------
        (N,) float32, 0 to 1; the mean of a look at each crop and one at its mirror image.
        """
        both = [*crops, *(crop[:, ::-1] for crop in crops)]
        batch = np.stack(both).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
        (scores,) = self._session.run({"image": np.ascontiguousarray(batch)})
        return np.asarray(scores.reshape(2, -1).mean(axis=0), dtype=np.float32)
