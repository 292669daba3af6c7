"""Where things of a face lie in its unrolled texture."""

from __future__ import annotations

from functools import cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from facefusion.imaging.texture import TexturePlane, blur, build_plane, inner_distance, resize, smoothstep
from facefusion.types.topology import FACE_OVAL, LEFT_BROW, LEFT_EYE, LIPS_OUTER, RIGHT_BROW, RIGHT_EYE

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]

SIZE, CELLS = 512, 48
"""Sides of the texture of a face, pixels, and of the coarse grid over it, cells."""
SHADING_SIGMA = 3.4
"""Smoothing of light and colour in cells of the grid, about 9 % of the face."""


class Topology(Protocol):
    """The triangles and the mean shape of a mesh (`facefusion.models.mesh_topology.MeshTopology`)."""

    @property
    def mean(self) -> FloatArray:
        """(478, 3) points of the mean face."""

    @property
    def skin(self) -> IntArray:
        """(T, 3) triangles of the face itself."""

    @property
    def eyes(self) -> IntArray:
        """What shows between the lids."""

    @property
    def mouth(self) -> IntArray:
        """What shows between the lips."""


@cache
def texture_plane(topology: Topology) -> TexturePlane:
    """The unrolled mean face; the same one for everybody who asks."""
    triangles = np.concatenate([topology.skin, topology.eyes, topology.mouth])
    return build_plane(topology.mean, triangles, np.array(FACE_OVAL, dtype=np.int32), SIZE)


@cache
def plain_places(plane: TexturePlane) -> FloatArray:
    """(S, S) how far a place has neither eyes, brows nor lips; nothing may be written into it."""
    side = plane.size
    plain = np.ones((side, side), dtype=np.float32)
    for ring, margin in (
        (LEFT_EYE, 0.02),
        (RIGHT_EYE, 0.02),
        (LEFT_BROW, 0.012),
        (RIGHT_BROW, 0.012),
        (LIPS_OUTER, 0.012),
    ):
        inside = (inner_distance(plane.points[list(ring)], side) > 0).astype(np.float32)
        plain *= 1 - np.clip(blur(inside, side * margin) * 2.5, 0, 1)
    return plain


@cache
def plain_skin(plane: TexturePlane) -> FloatArray:
    """(G, G) how far a cell is plain skin: not eyes, brows, lips or nostrils, not the rim; not to be written into."""
    depth = inner_distance(plane.points[list(FACE_OVAL)], plane.size)
    skin = smoothstep((depth - plane.size * 0.02) / (plane.size * 0.05))
    return resize(np.asarray(skin * plain_places(plane), dtype=np.float32), CELLS)
