"""The last step of pass 2: frames in which something was changed get an invisible mark (`facefusion.imaging.mark`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from facefusion.imaging.mark import Shaper
from facefusion.types.frame import RenderedFrame

FloatArray = npt.NDArray[np.float32]


class Marker:
    """Marks frames in any order and from several threads; what a frame gets depends on nothing but the frame.

    Parameters
    ----------
    signs
        What the mark says (`facefusion.policy.mark.MarkId.signs`).
    """

    def __init__(self, signs: FloatArray) -> None:
        self._shaper = Shaper(signs)

    def mark(self, rendered: RenderedFrame) -> RenderedFrame:
        """A rendered frame with the mark; one that nothing was changed in comes back as it is."""
        return replace(rendered, overlay=self._shaper) if rendered.is_changed else rendered
