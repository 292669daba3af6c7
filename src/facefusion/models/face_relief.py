"""How dark and how colourful each place of a face usually is, beside what is around it (``training/build_relief.py``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

from facefusion.models.spec import EMBEDDED

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class FaceRelief:
    """What even light leaves of the faces of many people, in the texture plane.

    Attributes
    ----------
    usual
        (R, R, 3) float32, natural logarithm of light: relief of all light, beside what is around it; red and blue over
        all light, beside those of plain skin. Medians over people.
    spread
        (R, R, 3) the same, half of what two thirds of people lie within.
    """

    usual: FloatArray
    spread: FloatArray


@cache
def load_face_relief() -> FaceRelief:
    """The statistics that ship with the package; they are symmetric, and half of them is kept."""
    held = load((EMBEDDED / "face_relief.safetensors").read_bytes())
    halves = (held[name].astype(np.float32) for name in ("usual", "spread"))
    return FaceRelief(*(np.concatenate([half, half[:, ::-1]], axis=1) for half in halves))
