"""The triangles and the mean shape of the 478-point mesh (made by ``training/build_topology.py``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load

from facefusion.models.spec import EMBEDDED


@dataclass(frozen=True, slots=True, eq=False)
class MeshTopology:
    """Triangles by part, and the mean face.

    Attributes
    ----------
    skin, eyes, mouth
        (T, 3) int32 vertex indices, clockwise in the image where they face the camera. Eyes and
        mouth are the openings: eyeballs, teeth and tongue.
    mean
        (478, 3) float32 mean face in eye distances, upright and frontal; x right, y down, z away.
    flip
        (478,) int32: ``mesh[flip]`` with x negated is the mirrored mesh.
    """

    skin: npt.NDArray[np.int32]
    eyes: npt.NDArray[np.int32]
    mouth: npt.NDArray[np.int32]
    mean: npt.NDArray[np.float32]
    flip: npt.NDArray[np.int32]


@cache
def load_mesh_topology() -> MeshTopology:
    """The topology that ships with the package."""
    return MeshTopology(**load((EMBEDDED / "face_mesh.safetensors").read_bytes()))
