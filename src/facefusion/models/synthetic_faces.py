"""Faces of nobody that ship with the package: means of at least twelve people each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

from facefusion.models.spec import EMBEDDED


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticFace:
    """One of them.

    Attributes
    ----------
    jpeg
        The picture, coded.
    mesh
        (478, 3) float32 in its pixels.
    """

    jpeg: bytes
    mesh: npt.NDArray[np.float32]


@cache
def load_synthetic_faces() -> tuple[SyntheticFace, ...]:
    """All of them, in a fixed order (made by ``training/make_synthetic.py``)."""
    held = load((EMBEDDED / "synthetic_faces.safetensors").read_bytes())
    coded, offsets = held["jpeg"].tobytes(), held["offsets"].tolist()
    return tuple(
        SyntheticFace(coded[start:stop], mesh)
        for start, stop, mesh in zip(offsets, offsets[1:], held["meshes"], strict=False)
    )
